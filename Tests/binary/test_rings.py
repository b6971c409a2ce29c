"""Keys that jotd makes itself, one after the other: no verifier is refused while they follow each
other, whatever happens to jotd, its files or its disk; and what operators can want of them."""

import contextlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import threading
import time

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm

from conftest import JOTD, Answer, Connection, claims_of, eventually, in_memory, jotd, needs_root
from test_private_keys import KEYS, OPEN, PEM, PKCS8, parts_of, written
from test_published_files import ask, kids


@pytest.fixture
def ring(home):
    """A key that jotd makes, its set in a file, and an identity of it."""
    def configure(rotate="1d", ahead="2h", life="1h", before="10m", algorithm="ES256", extra=""):
        rotation = f"rotate_every: {rotate}, " if rotate else ""
        home.config.write_text(f"""
keys:
  streams:
    algorithm: {algorithm}
    generate: {{ folder: @/keys, {rotation}publish_ahead: {ahead} }}
    jwks: [ {{ file: @/streams.json }} ]
    {extra}
socket: {{ path: @/s }}
defaults: {{ lifetime: {life}, refresh_before: {before} }}
identities:
  a: {{ claims: {{ sub: alice }}, deliver: [ {{ file: @/a.jwt }} ] }}
""".replace("@", str(home.folder)))
        return home
    home.make, home.set, home.keys = configure, home.path("streams.json"), home.path("keys")
    return configure()


def states(home):
    """The members as the daemon says, oldest first."""
    return [each["state"] for each in json.loads(ask(home, "/v1/keys")[1])["keys"][0]["members"]]


def key(home, verb, *words, expect=0):
    done = jotd("key", verb, "streams", *words, "--socket", home.path("s"), expect=expect)
    return done.stdout if expect == 0 else done.stderr


def accepts(jwks, token):
    """Whether a verifier with this set accepts it."""
    header = jwt.get_unverified_header(token)
    for each in jwks["keys"]:
        if each["kid"] == header["kid"]:
            jwt.decode(token, ECAlgorithm.from_jwk(json.dumps(each)), algorithms=["ES256"])
            return True
    return False


def test_the_first_key_is_made_at_the_first_start(ring):
    checked = jotd("check", "--config", ring.config)
    assert "all is well" in checked.stdout and not ring.keys.exists()
    daemon = ring.start().ready()
    assert stat.S_IMODE(ring.keys.stat().st_mode) == 0o700
    files = sorted(path.name for path in ring.keys.iterdir())
    assert files == ["1.ES256.pem", "state.json"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in ring.keys.iterdir())
    assert accepts(json.loads(ring.set.read_text()), ring.read("a.jwt"))
    assert "PRIVATE" not in (ring.keys / "state.json").read_text()
    # The same one signs ever after.
    before = ring.read("a.jwt"), kids(ring.set)
    for how in (signal.SIGTERM, signal.SIGKILL):
        daemon.stop(how)
        daemon = ring.start().ready()
        assert (ring.read("a.jwt"), kids(ring.set)) == before
        assert daemon.count("changed") == 0
    jotd("check", "--config", ring.config)
    jotd("check", "--reload", "--config", ring.config)
    assert states(ring) == ["active"]


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"])
def test_every_algorithm(ring, algorithm):
    ring.make(algorithm=algorithm)
    ring.start().ready()
    token = ring.read("a.jwt")
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    assert jotd("verify", "--jwks", ring.set, token).stdout.startswith("valid: ")
    # And by the commands that read the folder.
    assert jotd("verify", "--config", ring.config, token).stdout.startswith("valid: ")
    assert jotd("key", "jwks", "--config", ring.config).stdout == ring.set.read_text()
    made = jotd("mint", "--config", ring.config, "--user-id", "u", "--role", "viewer").stdout
    assert jotd("verify", "--jwks", ring.set, made.strip()).stdout.startswith("valid: ")


def test_a_verifier_with_an_old_set_refuses_nobody(ring):
    """Through five rotations, killed at random moments, with sets as old as they may be."""
    ahead = 2
    ring.make(rotate="4s", ahead=f"{ahead}s", life="3s", before="1s")
    daemon = ring.start().ready()
    ends, refused, seen = threading.Event(), [], set()
    sets = [json.loads(ring.set.read_text())]

    def verify():
        fetched = time.monotonic()
        while not ends.is_set():
            # Kept for nearly as long as it may be.
            if time.monotonic() - fetched > 0.9 * ahead:
                sets[0] = json.loads(ring.set.read_text())
                fetched = time.monotonic()
            token = ring.read("a.jwt")
            seen.add(jwt.get_unverified_header(token)["kid"])
            if claims_of(token)["exp"] > time.time() and not accepts(sets[0], token):
                refused.append((time.time(), token))
            time.sleep(0.01)

    reader = threading.Thread(target=verify)
    reader.start()
    try:
        chance = random.Random(7)
        end = time.monotonic() + 120
        while len(seen) < 6 and time.monotonic() < end:
            time.sleep(chance.uniform(0.05, 2.5))
            daemon.stop(signal.SIGKILL)
            daemon = ring.start().ready()
    finally:
        ends.set()
        reader.join()
    assert not refused and len(seen) >= 6, (refused, len(seen))
    assert json.loads(ask(ring, "/health")[1])["status"] == "pass"


def test_a_key_lives_from_published_to_retired(ring):
    ring.make(rotate="8s", ahead="4s", life="4s", before="1s")
    daemon = ring.start().ready()
    first = kids(ring.set)
    daemon.wait_for("number 2 (")
    eventually(lambda: states(ring) == ["active", "published"])
    assert jwt.get_unverified_header(ring.read("a.jwt"))["kid"] == first[0]
    eventually(lambda: states(ring)[:2] == ["retiring", "active"])
    # Its tokens come a moment later.
    eventually(lambda: jwt.get_unverified_header(ring.read("a.jwt"))["kid"] != first[0])
    second = jwt.get_unverified_header(ring.read("a.jwt"))["kid"]
    assert set(kids(ring.set)) >= {second, first[0]}
    metrics = ask(ring, "/metrics")[1]
    assert f'jotd_key_state{{key="streams",kid="{first[0]}",state="retiring"}} 1' in metrics
    eventually(lambda: states(ring)[0] == "retired")
    eventually(lambda: first[0] not in kids(ring.set))
    assert not (ring.keys / "1.ES256.pem").exists()
    for words in ("number 2 (%s) is published, and signs once" % second[:8],
                  "number 1 (%s) signs no more, and stays" % first[0][:8],
                  "number 2 (%s) signs from now on" % second[:8],
                  "number 1 (%s) is not published any more" % first[0][:8]):
        daemon.wait_for(words)


def test_a_key_that_no_file_has_yet_does_not_sign(ring):
    folder = ring.path("sets")
    folder.mkdir()
    ring.make(rotate="3s", ahead="1s", life="2s", before="1s")
    text = ring.config.read_text().replace(
        "streams.json }", "streams.json }, { file: @/sets/b.json }".replace("@", str(ring.folder)))
    ring.config.write_text(text)
    daemon = ring.start().ready()
    shutil.rmtree(folder)
    daemon.wait_for("number 2 (")
    # A verifier that reads there would refuse it: overdue, and said so.
    eventually(lambda: any("another key should sign by now" in note for note in
                           json.loads(ask(ring, "/health")[1])["notes"]))
    assert states(ring) == ["active", "published"]
    folder.mkdir()
    eventually(lambda: "retiring" in states(ring))


def test_a_lost_state_leaves_the_oldest_signing(ring):
    daemon = ring.start().ready()
    key(ring, "add")
    eventually(lambda: len(kids(ring.set)) == 2)
    before = ring.read("a.jwt"), kids(ring.set)
    for loss in (lambda path: path.unlink(), lambda path: path.write_text("{"),
                 lambda path: path.write_text('{"version":1}')):
        daemon.stop(signal.SIGKILL)
        loss(ring.keys / "state.json")
        daemon = ring.start().ready()
        daemon.wait_for("there are keys, and no state of them")
        assert (ring.read("a.jwt"), kids(ring.set)) == before
        eventually(lambda: states(ring) == ["active", "published"])


def test_a_state_of_a_later_jotd_is_left_alone(ring):
    ring.start().ready().stop()
    path = ring.keys / "state.json"
    path.write_text(path.read_text().replace('"version":1', '"version":2'))
    before = path.read_text()
    error = jotd("check", "--config", ring.config, expect=78).stderr
    assert "state.json: it is of version 2" in error
    assert ring.start().process.wait() == 78 and path.read_text() == before


def test_a_lost_key_is_followed_by_the_next(ring):
    daemon = ring.start().ready()
    key(ring, "add")
    old = ring.read("a.jwt")
    daemon.stop()
    (ring.keys / "1.ES256.pem").write_text("garbage")
    daemon = ring.start().ready()
    daemon.wait_for("it is as if this key were lost")
    eventually(lambda: states(ring) == ["retiring", "active"])
    eventually(lambda: ring.read("a.jwt") != old)
    # What it signed is still about.
    jwks = json.loads(ring.set.read_text())
    assert accepts(jwks, old) and accepts(jwks, ring.read("a.jwt"))


def test_what_operators_can_want(ring):
    ring.make(rotate=None, ahead="1s")
    daemon = ring.start().ready()
    assert "the next key signs when it is activated" in key(ring, "add").splitlines()[0]
    assert states(ring) == ["active", "published"]
    assert "key 2 (" in (error := key(ring, "add", expect=69)) and "already" in error, error
    second = kids(ring.set)[1]
    # Not before verifiers know it.
    error = key(ring, "activate", "2", expect=69)
    assert "Wait, or say --now" in error or "Say --now" in error
    eventually(lambda: "known to verifiers" in jotd(
        "key", "list", "--socket", ring.path("s")).stdout)
    old = ring.read("a.jwt")
    eventually(lambda: "--now" not in jotd_error(ring, "activate", second[:6]))
    assert states(ring) == ["retiring", "active"]
    eventually(lambda: ring.read("a.jwt") != old)
    assert jwt.get_unverified_header(ring.read("a.jwt"))["kid"] == second
    # And back: the first is still published.
    key(ring, "activate", "1")
    assert states(ring) == ["active", "retiring"]
    assert "retires by itself" in key(ring, "retire", "2", expect=69)
    assert "signs: have another sign first" in key(ring, "retire", "1", expect=69)
    key(ring, "add")
    key(ring, "retire", "3")
    assert states(ring) == ["active", "retiring", "retired"]
    assert "there are" not in key(ring, "revoke", "2")
    assert states(ring) == ["active", "revoked", "retired"]
    eventually(lambda: len(kids(ring.set)) == 1)
    eventually(lambda: sorted(os.listdir(ring.keys)) == ["1.ES256.pem", "state.json"])
    assert "it has no such key" in key(ring, "activate", "9", expect=69)
    daemon.wait_for("is revoked: who has a token of it is refused")


def jotd_error(home, verb, *words):
    """What it says, once it works: nothing."""
    return subprocess.run([JOTD, "key", verb, "streams", *words, "--socket", home.path("s")],
                          capture_output=True, text=True).stderr


def test_what_signs_can_be_revoked_at_once(ring):
    ring.start().ready()
    old = ring.read("a.jwt")
    out = key(ring, "revoke", "1")
    assert "revoked" in out and "active" in out
    eventually(lambda: ring.read("a.jwt") != old)
    eventually(lambda: accepts(json.loads(ring.set.read_text()), ring.read("a.jwt")))
    assert not accepts(json.loads(ring.set.read_text()), old)
    # Nor is it believed by whoever asks jotd.
    assert json.loads(post(ring, old))["active"] is False
    assert json.loads(post(ring, ring.read("a.jwt")))["active"] is True
    eventually(lambda: not (ring.keys / "1.ES256.pem").exists())


def post(home, token):
    with contextlib.closing(Connection(home.path("s"))) as connection:
        connection.request("POST", "/introspect", f"token={token}",
                           {"Content-Type": "application/x-www-form-urlencoded"})
        return Answer(connection.getresponse()).body


def test_a_key_for_another_algorithm_follows_like_any_other(ring):
    ring.make(rotate=None, ahead="1s")
    daemon = ring.start().ready()
    old = ring.read("a.jwt")
    ring.make(rotate=None, ahead="1s", algorithm="ES384")
    daemon.reload()
    assert ring.read("a.jwt") == old
    eventually(lambda: states(ring) == ["retiring", "active"])
    eventually(lambda: jwt.get_unverified_header(ring.read("a.jwt"))["alg"] == "ES384")
    assert accepts(json.loads(ring.set.read_text()), old)


def test_a_reload_leaves_a_ring_as_it_is(ring):
    daemon = ring.start().ready()
    key(ring, "add")
    eventually(lambda: (ring.keys / "state.json").read_text().count('"published":') == 2)
    before = ring.read("a.jwt"), kids(ring.set), (ring.keys / "state.json").stat().st_ino
    for _ in range(3):
        daemon.reload()
        assert daemon.count("is refused") == 0
        assert (ring.read("a.jwt"), kids(ring.set)) == before[:2]
        assert states(ring) == ["active", "published"]
    assert (ring.keys / "state.json").stat().st_ino == before[2]
    # A longer life is noted before the key may retire.
    ring.make(life="2h")
    daemon.reload()
    eventually(lambda: '"life":7200000000' in (ring.keys / "state.json").read_text())


def test_a_ring_may_come_and_go_with_a_reload(home):
    home.configure("  a: { user_id: u, role: viewer, deliver: [ { file: @/a.jwt } ] }\n")
    daemon = home.start().ready()
    text = home.config.read_text()
    home.config.write_text(text.replace(
        f"signing:\n  secret: {{ file: {home.secret} }}\n",
        f"signing: {{ algorithm: ES256, generate: {{ folder: {home.path('keys')} }} }}\n"))
    daemon.reload()
    eventually(lambda: jwt.get_unverified_header(home.read("a.jwt"))["alg"] == "ES256")
    home.config.write_text(text)
    daemon.reload()
    eventually(lambda: jwt.get_unverified_header(home.read("a.jwt"))["alg"] == "HS256")
    # What was made stays.
    assert (home.path("keys") / "1.ES256.pem").exists()


@pytest.mark.parametrize("spoil,message", [
    (lambda ring: ring.keys.write_text(""), "keys: Not a directory"),
    (lambda ring: (ring.keys.mkdir(), ring.keys.chmod(0o755)), "others than its owner have rights"),
    (lambda ring: ring.config.write_text(
        ring.config.read_text().replace("/keys,", "/nowhere/keys,")), "nowhere"),
], ids=["file", "open", "no parent"])
def test_a_folder_that_will_not_do_is_refused(ring, spoil, message):
    spoil(ring)
    error = jotd("check", "--config", ring.config, expect=78).stderr
    assert message in error and "jotd.yaml:5:" in error, error
    assert ring.start().process.wait() != 0


@pytest.mark.parametrize("words,message", [
    ("{}", 'keys.streams.generate lacks the key "folder"'),
    ("{ folder: keys }", "keys.streams.generate.folder must be an absolute path"),
    ("{ folder: @/k, rotate_every: 1h }", "rotate_every (1h) must be longer than publish_ahead"),
    ("{ folder: @/k, rotate_every: soon }", "keys.streams.generate.rotate_every must be"),
    ("{ folder: @/k, publish_ahead: 11y }", "publish_ahead"),
    ("{ folder: @/k, rotate_every: 9m, publish_ahead: 1m }", "is too short for tokens of 1h"),
    ("{ folder: @/k, every: 1d }", "is unknown in keys.streams.generate"),
    ("{ folder: @/k }\n    kid: x", "keys.streams.kid does not go with generate"),
    ("{ folder: @/k }\n    private_key: { file: @/p }",
     "keys.streams.private_key does not go with generate"),
    ("{ folder: @/k }\n    secret: { file: @/p }", "keys.streams.secret goes with the algorithms"),
    ("{ folder: @/a.jwt }", "a.jwt is already delivered to in"),
])
def test_what_is_wrong_is_said_where_it_stands(ring, words, message):
    text = ring.config.read_text().splitlines()
    text[4] = f"    generate: {words}".replace("@", str(ring.folder))
    ring.config.write_text("\n".join(text) + "\n")
    error = jotd("check", "--config", ring.config, expect=78).stderr
    assert message in error, error


def test_a_folder_that_fails_is_said_and_tried_again(ring):
    ring.make(rotate="3s", ahead="1s", life="2s", before="1s")
    daemon = ring.start().ready()
    # No room for another file there.
    away = ring.path("away")
    ring.keys.rename(away)
    ring.keys.write_text("")
    daemon.wait_for("error: the key streams: ")
    assert json.loads(ask(ring, "/health")[1])["status"] == "warn"
    token = ring.read("a.jwt")
    eventually(lambda: ring.read("a.jwt") != token)
    ring.keys.unlink()
    away.rename(ring.keys)
    daemon.wait_for("the key streams: its folder works again")
    eventually(lambda: "retiring" in states(ring))


def test_without_a_daemon_there_is_no_key_before_the_first_start(ring):
    error = jotd("key", "jwks", "--config", ring.config, expect=78).stderr
    assert "there is no key yet: the first start of jotd makes it" in error


@needs_root
def test_only_operators_change_keys(ring):
    text = ring.config.read_text().replace(f"socket: {{ path: {ring.path('s')} }}",
                                           f"socket: {{ path: {ring.path('s')}, mode: '0666' }}")
    ring.config.write_text(text)
    for path in [ring.folder, *ring.folder.parents][:4]:
        path.chmod(0o755)
    ring.start().ready()
    for words in (["list"], ["add", "streams"], ["revoke", "streams", "1"]):
        done = subprocess.run([JOTD, "key", *words, "--socket", ring.path("s")],
                              capture_output=True, text=True, user=65534)
        assert done.returncode == 77 and "is no operator" in done.stderr, done
    assert states(ring) == ["active"]


def test_a_key_that_others_may_read_stops_the_start_and_is_not_lost(ring):
    ring.start().ready().stop()
    path = ring.keys / "1.ES256.pem"
    path.chmod(0o644)
    (ring.keys / "state.json").unlink()
    before = path.read_text()
    assert "chmod 600" in jotd("check", "--config", ring.config, expect=78).stderr
    assert ring.start().process.wait() == 78 and path.read_text() == before
    path.chmod(0o600)
    ring.start().ready()
    assert path.read_text() == before and states(ring) == ["active"]


def test_what_is_no_key_is_not_written_over(ring):
    ring.keys.mkdir(mode=0o700)
    written(ring.keys / "1.ES256.pem", "somebody's notes")
    ring.start().ready()
    assert (ring.keys / "1.ES256.pem").read_text() == "somebody's notes"
    assert (ring.keys / "2.ES256.pem").exists()


def test_a_file_with_another_key_is_a_lost_key(ring):
    daemon = ring.start().ready()
    old = ring.read("a.jwt")
    daemon.stop()
    written(ring.keys / "1.ES256.pem", KEYS["ES256"].private_bytes(PEM, PKCS8, OPEN))
    for _ in range(2):
        daemon = ring.start().ready()
        assert states(ring) == ["retiring", "active"]
        assert accepts(json.loads(ring.set.read_text()), old)
        daemon.stop()


def test_a_copy_of_a_key_is_none(ring):
    ring.start().ready().stop()
    shutil.copy2(ring.keys / "1.ES256.pem", ring.keys / "2.ES256.pem")
    (ring.keys / "state.json").unlink()
    for _ in range(2):
        daemon = ring.start().ready()
        key(ring, "add")
        key(ring, "retire", str(json.loads(ask(ring, "/v1/keys")[1])["keys"][0]["members"][-1]
                                ["number"]))
        assert states(ring)[0] == "active" and daemon.process.poll() is None
        daemon.stop()


def test_a_folder_is_for_one_ring(ring):
    first = ring.start().ready()
    before = (ring.keys / "state.json").stat().st_ino
    # Another jotd with the same configuration, and one with another that names the folder.
    other = ring.path("other.yaml")
    text = ring.config.read_text().replace("/s }", "/t }").replace("a.jwt", "b.jwt")
    other.write_text(text.replace("streams.json", "other.json"))
    for config in (ring.config, other):
        done = subprocess.run([JOTD, "run", "--config", config], capture_output=True, text=True,
                              timeout=60)
        assert done.returncode != 0 and "in use" in done.stderr, done
    assert (ring.keys / "state.json").stat().st_ino == before
    # And another key of the same jotd, by another name of the folder.
    ring.path("link").symlink_to(ring.keys)
    text = ring.config.read_text().replace(
        "socket:", f"  yard: {{ algorithm: ES256, generate: {{ folder: {ring.path('link')} }} }}\n"
        "socket:", 1).replace("sub: alice }", "sub: alice }, key: streams")
    ring.config.write_text(text)
    first.reload()
    assert first.count("is in use: by another jotd, or by another key") == 1
    assert states(ring) == ["active"]


def test_a_wish_is_answered_although_its_ring_goes(ring):
    daemon = ring.start().ready()
    text = ring.config.read_text()
    asked = [subprocess.Popen([JOTD, "key", "add", "streams", "--socket", ring.path("s")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)]
    ring.config.write_text(text.replace("/keys,", "/keys2,"))
    daemon.reload()
    for client in asked:
        out = client.communicate(timeout=30)[0].decode()
        assert "does not answer" not in out, out
    eventually(lambda: states(ring)[:1] == ["active"])


@pytest.mark.parametrize("text", [
    "[" * 60_000, '{"version":1,"members":[]}', "x" * 300_000, '{"version":%d}' % (1 << 62),
    '{"version":1,"boot_id":"","since_boot":-9223372036854775808,"at":{"wall":0,'
    '"seen":9223372036854775807},"members":[]}',
    '{"version":1,"boot_id":"b","since_boot":0,"at":{"wall":31999999999000000,'
    '"seen":31999999999000000},"members":[]}'],
    ids=["deep", "lacking", "long", "later", "extreme", "far"])
def test_no_state_can_bring_it_down(ring, text):
    daemon = ring.start().ready()
    before = kids(ring.set)
    daemon.stop()
    (ring.keys / "state.json").write_text(text)
    process = ring.start()
    if '"version":4' in text:
        assert process.process.wait() == 78
    else:
        process.ready()
        assert before[0] in kids(ring.set)


@needs_root
@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_what_jotd_makes_is_in_locked_memory_only(ring, algorithm):
    """After it was made, and written; and after it was read anew."""
    ring.make(algorithm=algorithm)
    daemon = ring.start().ready()
    for _ in range(2):
        pem = (ring.keys / f"1.{algorithm}.pem").read_bytes()
        _, wanted = parts_of(load_pem_private_key(pem, None), "pem")
        jotd("rotate", "--config", ring.config, "a")
        found = in_memory(daemon.pid, wanted)
        assert [each for each in found if each[1]], "it must be somewhere"
        assert [each for each in found if not each[1]] == []
        daemon.stop()
        daemon = ring.start().ready()
