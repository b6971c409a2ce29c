"""The JWK Set of a key in files: there before READY, always whole, replaced with the key, kept over
restarts, put back; and what is done once another one is there."""

import contextlib
import json
import signal
import stat
import threading
import time

import pytest

from conftest import Answer, Connection, eventually, jotd, needs_root
from test_private_keys import KEYS, OPEN, PEM, PKCS8, new_key, thumbprint, verified, written


def kids(path):
    return [key["kid"] for key in json.loads(path.read_text())["keys"]]


def ask(home, target):
    with contextlib.closing(Connection(home.path("s"))) as connection:
        connection.request("GET", target)
        answer = Answer(connection.getresponse())
    return answer.status, answer.body.decode()


@pytest.fixture
def published(home):
    """Keys of ES256 and EdDSA, of which the first is published, and an identity of each."""
    def write(name, key):
        new = written(home.path(f"{name}.new"), key.private_bytes(PEM, PKCS8, OPEN))
        new.rename(home.path(f"{name}.pem"))

    def publish(jwks="[ { file: @/streams.json } ]", extra="", life="1d", before="1h"):
        home.config.write_text(f"""
keys:
  streams:
    algorithm: ES256
    private_key: {{ file: @/streams.pem }}
    {f"jwks: {jwks}" if jwks else ""}
    {extra}
  yard: {{ algorithm: EdDSA, private_key: {{ file: @/yard.pem }} }}
socket: {{ path: @/s }}
defaults: {{ lifetime: {life}, refresh_before: {before} }}
identities:
  a: {{ claims: {{ sub: alice }}, key: streams, deliver: [ {{ file: @/a.jwt }} ] }}
  b: {{ claims: {{ sub: bob }}, key: yard, deliver: [ {{ file: @/b.jwt }} ] }}
""".replace("@", str(home.folder)))
        return home
    home.key, home.publish, home.set = write, publish, home.path("streams.json")
    write("streams", KEYS["ES256"])
    write("yard", KEYS["EdDSA"])
    return publish()


def test_the_set_is_there_once_jotd_is_ready(published):
    assert jotd("check", "--config", published.config).stdout.count("3 deliveries") == 1
    daemon = published.start().ready()
    # Of this key alone, for anybody to read, as the query socket and `key jwks` have it.
    assert kids(published.set) == [thumbprint(KEYS["ES256"])]
    assert stat.S_IMODE(published.set.stat().st_mode) == 0o644
    printed = jotd("key", "jwks", "--config", published.config, "--key", "streams").stdout
    assert printed == published.set.read_text() and printed.endswith("}\n")
    daemon.wait_for("the key streams: its JWK Set is published")
    assert daemon.count("its JWK Set is published") == 1
    assert daemon.count("the key yard") == 0
    token = published.read("a.jwt")
    shown = jotd("verify", "--jwks", published.set, token)
    assert shown.stdout.startswith("valid: ")
    assert 'jotd_jwks_current{key="streams"} 1' in ask(published, "/metrics")[1]


def test_a_changed_key_is_published_beside_the_one_that_it_replaces(published):
    """Until the last of its tokens has ended; and readers never see a torn set."""
    published.publish(life="3s", before="1s")
    daemon = published.start().ready()
    seen, ends = set(), threading.Event()

    def read():
        while not ends.is_set():
            seen.add(tuple(kids(published.set)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        old, new = thumbprint(KEYS["ES256"]), new_key("ES256")
        published.key("streams", new)
        eventually(lambda: kids(published.set) == [thumbprint(new), old])
        eventually(lambda: kids(published.set) == [thumbprint(new)])
    finally:
        ends.set()
        reader.join()
    assert seen <= {(old,), (thumbprint(new), old), (thumbprint(new),)}
    # A line comes after what it tells of.
    daemon.wait_for("its JWK Set is published", times=3)
    assert daemon.count("its JWK Set is published") == 3
    assert verified(published.read("a.jwt"), new, "ES256")["sub"] == "alice"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_set_that_is_right_is_not_written_again(published, how):
    daemon = published.start().ready()
    before = published.set.stat()
    for _ in range(3):
        daemon.process.send_signal(how)
        daemon.process.wait()
        daemon = published.start().ready()
        assert daemon.count("published") == 0
    daemon.reload()
    after = published.set.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_key_that_changed_while_nobody_ran_is_published_at_the_next_start(published):
    published.start().ready().stop()
    new = new_key("ES256")
    published.key("streams", new)
    daemon = published.start().ready()
    assert kids(published.set) == [thumbprint(new)]
    daemon.wait_for("its JWK Set is published")
    assert daemon.count("its JWK Set is published") == 1


@pytest.mark.parametrize("deed,words", [
    (lambda path: path.unlink(), "was removed or moved away"),
    (lambda path: path.write_text(""), "was emptied"),
    (lambda path: path.write_text("junk"), "held something other than a JWK Set"),
    (lambda path: path.write_text('{"keys":[]}'), "held another JWK Set"),
    (lambda path: path.chmod(0o666), "was given another owner, group or mode"),
], ids=["removed", "emptied", "junk", "another", "loosened"])
def test_what_is_taken_away_is_put_back(published, deed, words):
    daemon = published.start().ready()
    before = published.set.read_text()
    deed(published.set)
    daemon.wait_for(f"the key streams: {published.set} {words}")
    eventually(lambda: published.set.exists() and published.set.read_text() == before
               and stat.S_IMODE(published.set.stat().st_mode) == 0o644)
    assert daemon.count("put back") == 1


@pytest.mark.parametrize("found", ["# somebody's notes\n", "eyJhbGciOiJub25lIn0.e30.", '{"a":[]}'])
def test_what_is_no_set_is_not_replaced_at_the_first_contact(published, found):
    published.set.write_text(found)
    error = jotd("check", "--config", published.config, expect=78).stderr
    assert "streams.json holds something other than a JWK Set" in error
    daemon = published.start().ready()
    daemon.wait_for("the key streams: ")
    assert published.set.read_text() == found
    # Tokens go on, and health says what is not.
    assert published.path("a.jwt").exists()
    status, body = ask(published, "/health")
    assert status == 503 and "the key streams" in json.loads(body)["notes"][0]
    assert 'jotd_jwks_current{key="streams"} 0' in ask(published, "/metrics")[1]
    published.set.unlink()
    daemon.wait_for("the key streams: delivering to")
    assert kids(published.set) and ask(published, "/health")[0] == 200


@pytest.mark.parametrize("found", [
    "", " \n", '{"keys":[]}', '{ "x": 1, "keys": [ {"kty":"EC"} ] }\n', '{"keys":[{"kty":"E'],
    ids=["empty", "blank", "empty set", "foreign set", "torn"])
def test_an_older_set_is_replaced(published, found):
    published.set.write_text(found)
    jotd("check", "--config", published.config)
    published.start().ready()
    assert kids(published.set) == [thumbprint(KEYS["ES256"])]


def test_a_set_that_is_not_wanted_any_more_is_removed(published):
    daemon = published.start().ready()
    published.publish(jwks="[ { file: @/other.json, mode: 0600 } ]")
    daemon.reload()
    eventually(lambda: not published.set.exists() and published.path("other.json").exists())
    assert kids(published.path("other.json")) == [thumbprint(KEYS["ES256"])]
    assert stat.S_IMODE(published.path("other.json").stat().st_mode) == 0o600
    published.publish(jwks=None)
    daemon.reload()
    eventually(lambda: not published.path("other.json").exists())


def test_a_reload_with_another_key_publishes_it_beside_the_old_one(published):
    daemon = published.start().ready()
    old, new = published.set.stat().st_ino, new_key("ES256")
    written(published.path("streams2.pem"), new.private_bytes(PEM, PKCS8, OPEN))
    text = published.config.read_text().replace("streams.pem", "streams2.pem")
    published.config.write_text(text)
    daemon.reload()
    eventually(lambda: published.set.stat().st_ino != old)
    assert kids(published.set) == [thumbprint(new), thumbprint(KEYS["ES256"])]


def test_a_folder_that_is_gone_and_comes_back(published):
    folder = published.path("sets")
    folder.mkdir()
    published.publish(jwks="[ { file: @/sets/a.json }, { file: @/streams.json } ]")
    daemon = published.start().ready()
    folder.rename(published.path("away"))
    daemon.wait_for("error: the key streams: ")
    assert ask(published, "/health")[0] == 503
    assert kids(published.set)
    folder.mkdir()
    eventually((folder / "a.json").exists)
    eventually(lambda: ask(published, "/health")[0] == 200)


def test_in_place_writes_through(published):
    published.set.write_text("")
    inode = published.set.stat().st_ino
    published.publish(jwks="[ { file: @/streams.json, in_place: true } ]")
    published.start().ready()
    assert kids(published.set) and published.set.stat().st_ino == inode


def test_a_hook_runs_once_another_set_is_there(published):
    hook = published.path("hook")
    hook.write_text(
        f'#!/bin/sh\ncat {published.set} >> {published.path("found")}\n'
        f'echo "$JOTD_KEYS/$JOTD_IDENTITIES_COUNT/$(cat)" >> {published.path("told")}\n')
    hook.chmod(0o755)
    published.publish(extra=f"on_publish: [ run: [ {hook} ] ]")
    jotd("check", "--config", published.config)
    daemon = published.start().ready()
    eventually(lambda: published.path("told").exists() and published.read("told") == "streams/0/\n")
    # A token's rotation is none of its business, nor is a restart.
    jotd("rotate", "a", "--socket", published.path("s"))
    daemon.stop()
    daemon = published.start().ready()
    published.key("streams", new_key("ES256"))
    eventually(lambda: published.read("told") == 2 * "streams/0/\n")
    sets = [json.loads(line) for line in published.read("found").splitlines()]
    assert [len(each["keys"]) for each in sets] == [1, 2]
    time.sleep(0.1)
    assert published.read("told").count("\n") == 2


def test_a_hook_may_be_there_without_a_file(published):
    published.publish(jwks=None, extra=f"on_publish: [ run: [ /usr/bin/env ] ]")
    daemon = published.start().ready()
    daemon.wait_for("run /usr/bin/env: JOTD_KEYS=streams")
    published.key("streams", new_key("ES256"))
    daemon.wait_for("run /usr/bin/env: JOTD_KEYS=streams", times=2)


def test_a_program_that_is_not_there_is_found_by_check(published):
    published.publish(extra="on_publish: [ run: [ /nowhere/program ] ]")
    error = jotd("check", "--config", published.config, expect=78).stderr
    assert "jotd.yaml:7:" in error and "/nowhere/program" in error


@pytest.mark.parametrize("jwks,extra,message", [
    ("[ { file: a.json } ]", "", ':6:21: keys.streams.jwks[0].file must be an absolute path'),
    ("{ file: @/a.json }", "", "keys.streams.jwks must be a list"),
    ("[ { socket: @/a } ]", "", 'unknown key "socket" in keys.streams.jwks[0]'),
    ("[ { file: @/a.json, format: json } ]", "", 'unknown key "format" in keys.streams.jwks[0]'),
    ("[ { mode: 0600 } ]", "", 'keys.streams.jwks[0] lacks the key "file"'),
    ("[ { file: @/a.jwt } ]", "", "a.jwt is already delivered to in "),
    ("[ { file: @/a.json }, { file: @/a.json } ]", "", "a.json is already delivered to in "),
    ("[ %s ]" % ", ".join("{ file: @/%d }" % n for n in range(65)), "", "has 65 files: at most"),
    (None, "on_publish: [ { signal: { pid_file: x } } ]", "keys.streams.on_publish[0]"),
], ids=["relative", "map", "socket", "format", "no file", "a token's", "twice", "many", "hook"])
def test_what_is_wrong_is_said_where_it_stands(published, jwks, extra, message):
    published.publish(jwks=jwks, extra=extra)
    error = jotd("check", "--config", published.config, expect=78).stderr
    assert message in error, error


def test_a_secret_has_no_set(home):
    home.configure("  a: { user_id: u, role: viewer }\n", signing="  jwks: [ { file: /a.json } ]\n"
                   "  on_publish: []\n")
    error = jotd("check", "--config", home.config, expect=78).stderr
    for key in ("jwks", "on_publish"):
        assert f"signing.{key} goes with the algorithms ES256, ES384" in error


def test_who_may_write_the_set_chooses_what_is_believed(published):
    published.publish(jwks="[ { file: @/streams.json, mode: 0664 } ]")
    done = jotd("check", "--config", published.config)
    assert "whoever may write the file chooses which tokens are believed" in done.stderr


@needs_root
def test_a_set_is_given_to_whom_the_configuration_names(published):
    published.publish(jwks="[ { file: @/streams.json, owner: daemon, group: 65534, mode: 0440 } ]")
    published.start().ready()
    status = published.set.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1, 65534, 0o440)
