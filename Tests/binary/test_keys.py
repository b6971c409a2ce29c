"""Several keys: each signs the tokens of its identities, is watched by itself, and is believed
until its last token has ended."""

import subprocess
import time
import urllib.parse

import jwt
import pytest

from conftest import SECRET, accepted, claims_of, eventually, jotd
from test_tokens import HEADER, good, sign

OTHER = "another secret, as long as one has to be"
YARD = "the secret of the yard, as long as one has to be"
GATE = "the secret of the gate, as long as one has to be"


@pytest.fixture
def keyed(home):
    """A home with the keys `default`, `yard`, which is named in its tokens, and whatever is added;
    and an identity of each of the two."""
    def write(name, secret):
        path = home.path(f"{name}.key")
        new = home.path(f"{name}.new")
        new.write_text(secret)
        new.chmod(0o600)
        new.rename(path)
        return path

    def configure(default="", yard="kid: yard-1, ", extra="", life="1d", before="1h", of="yard"):
        home.config.write_text(f"""
keys:
  default: {{ {default}secret: {{ file: {home.secret} }} }}
  yard: {{ {yard}secret: {{ file: {home.path("yard.key")} }} }}
{extra}
socket: {{ path: {home.path("s")} }}
defaults: {{ lifetime: {life}, refresh_before: {before} }}
identities:
  a: {{ user_id: alice, role: viewer, deliver: [ {{ file: {home.path("a.jwt")} }} ] }}
  b: {{ user_id: bob, role: admin, key: {of}, deliver: [ {{ file: {home.path("b.jwt")} }} ] }}
""")
        return home

    def active(token, **fields):
        form = urllib.parse.urlencode({"token": token, **fields})
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", home.path("s"), "-d", form,
             "http://jotd/introspect"], capture_output=True, text=True)
        return done.stdout.strip()
    write("yard", YARD)
    home.key, home.keyed, home.active = write, configure, active
    return configure()


def is_active(answer):
    return answer.startswith('{"active":true')


def test_each_identity_has_tokens_of_its_key(keyed):
    keyed.start().ready()
    a, b = keyed.read("a.jwt"), keyed.read("b.jwt")
    assert accepted(a, SECRET) and not accepted(a, YARD)
    assert accepted(b, YARD) and not accepted(b, SECRET)
    assert jwt.get_unverified_header(a) == {"alg": "HS256", "typ": "JWT"}
    assert jwt.get_unverified_header(b) == {"alg": "HS256", "typ": "JWT", "kid": "yard-1"}


def test_without_a_default_the_only_key_signs(home):
    home.one(life="1d", before="1h")
    text = home.config.read_text()
    home.config.write_text(text.replace("signing:\n", "keys:\n  yard:\n  "))
    home.start().ready()
    assert accepted(home.read("a.jwt"), SECRET)


def test_a_changed_secret_replaces_the_tokens_of_its_key_alone(keyed):
    daemon = keyed.start().ready()
    a, b = keyed.read("a.jwt"), keyed.read("b.jwt")
    keyed.key("yard", OTHER)
    eventually(lambda: accepted(keyed.read("b.jwt"), OTHER))
    daemon.wait_for("the key yard changed: its tokens are replaced (key yard-1/")
    assert keyed.read("a.jwt") == a and daemon.count(" changed: ") == 1
    keyed.write_secret(OTHER)
    eventually(lambda: accepted(keyed.read("a.jwt"), OTHER))
    daemon.wait_for("the key default changed: its tokens are replaced")
    assert keyed.read("b.jwt") != b and daemon.count(" changed: ") == 2


def test_introspection_says_whose_key_it_is(keyed):
    keyed.start().ready()
    a, b = keyed.read("a.jwt"), keyed.read("b.jwt")
    for token, key in ((a, "default"), (b, "yard")):
        assert keyed.active(token).startswith(f'{{"active":true,"key":"{key}",')
        assert keyed.active(token, key=key) == keyed.active(token)
    for token, key in ((a, "yard"), (b, "default")):
        assert keyed.active(token, key=key) == '{"active":false}'
    assert "there is no such key" in keyed.active(a, key="gate")
    # A claim of that name does not speak for the service.
    claims = keyed.active(sign(HEADER, good(key="yard", active=False)))
    assert claims.startswith('{"active":true,"key":"default",') and claims.count('"key"') == 1


def test_a_previous_secret_is_believed_and_signs_nothing(keyed):
    keyed.key("gate", GATE)
    keyed.keyed(yard=f"previous: {{ file: {keyed.path('gate.key')} }}, ")
    daemon = keyed.start().ready()
    old, mine = sign(HEADER, good(), GATE), ["--config", keyed.config]
    assert accepted(keyed.read("b.jwt"), YARD)
    assert is_active(keyed.active(old)) and is_active(keyed.active(old, key="yard"))
    assert not is_active(keyed.active(old, key="default"))
    assert jotd("verify", *mine, old).stdout.startswith("valid: ")
    keyed.keyed()
    daemon.reload()
    assert not is_active(keyed.active(old))
    assert "signature" in jotd("verify", *mine, old, expect=65).stderr


@pytest.mark.parametrize("way", ["file", "reload"])
def test_what_was_replaced_is_believed_until_its_last_token_ends(keyed, way):
    keyed.keyed(life="10s", before="1s")
    daemon = keyed.start().ready()
    if way == "file":
        keyed.key("yard", OTHER)
        eventually(lambda: accepted(keyed.read("b.jwt"), OTHER))
    else:
        keyed.key("gate", OTHER)
        keyed.config.write_text(keyed.config.read_text().replace("yard.key", "gate.key"))
        daemon.reload()
        eventually(lambda: accepted(keyed.read("b.jwt"), OTHER))
    # Who has the old secret can go on making tokens.
    forged = sign(HEADER, good(exp=int(time.time()) + 3600), YARD)
    assert is_active(keyed.active(forged)) and not is_active(keyed.active(forged, key="default"))
    eventually(lambda: not is_active(keyed.active(forged)), 20)
    assert is_active(keyed.active(keyed.read("b.jwt")))


def test_another_key_replaces_the_token_and_is_no_change_of_it(keyed):
    daemon = keyed.keyed(yard="").start().ready()
    b = keyed.read("b.jwt")
    keyed.keyed(yard="", of="default")
    daemon.reload()
    eventually(lambda: accepted(keyed.read("b.jwt"), SECRET))
    assert daemon.count(" changed: ") == 0 and is_active(keyed.active(b))
    daemon.stop()
    daemon = keyed.keyed(yard="").start().ready()
    assert accepted(keyed.read("b.jwt"), YARD) and daemon.count(" changed: ") == 0
    # Also where the other key goes.
    text = keyed.config.read_text().replace("  yard:", "  gate:").replace("yard.key", "secret")
    keyed.config.write_text(text.replace("key: yard", "key: gate"))
    daemon.reload()
    eventually(lambda: accepted(keyed.read("b.jwt"), SECRET))
    assert daemon.count(" changed: ") == 0


def test_tokens_are_kept_over_a_restart(keyed):
    keyed.start().ready().stop()
    a, b = keyed.read("a.jwt"), keyed.read("b.jwt")
    keyed.start().ready().stop()
    assert (keyed.read("a.jwt"), keyed.read("b.jwt")) == (a, b)
    # What a new token would not say, an old one may not.
    keyed.keyed(yard="kid: yard-2, ")
    daemon = keyed.start().ready()
    assert keyed.read("a.jwt") == a
    assert jwt.get_unverified_header(keyed.read("b.jwt"))["kid"] == "yard-2"
    keyed.keyed(yard="")
    daemon.reload()
    eventually(lambda: "kid" not in jwt.get_unverified_header(keyed.read("b.jwt")))
    assert keyed.read("a.jwt") == a
    # That it was changed meanwhile is said.
    daemon.stop()
    keyed.key("yard", OTHER)
    daemon = keyed.start().ready()
    assert daemon.count("the key yard changed") == 1
    assert keyed.read("a.jwt") == a and accepted(keyed.read("b.jwt"), OTHER)


def test_a_secret_that_cannot_be_read_stops_nobody_else(keyed):
    keyed.keyed(life="4s", before="1s")
    daemon = keyed.start().ready()
    keyed.path("yard.key").unlink()
    daemon.wait_for("yard.key cannot be read")
    a, b = keyed.read("a.jwt"), keyed.read("b.jwt")
    eventually(lambda: keyed.read("a.jwt") != a and keyed.read("b.jwt") != b)
    health = subprocess.run(
        ["curl", "-sS", "--unix-socket", keyed.path("s"), "http://jotd/health"],
        capture_output=True, text=True).stdout
    assert health.count("cannot be read") == 1 and '"status":"warn"' in health
    keyed.key("yard", OTHER)
    eventually(lambda: accepted(keyed.read("b.jwt"), OTHER))
    daemon.wait_for("the secret of the key yard can be read again")


def test_a_start_names_each_secret_that_is_wrong(keyed):
    keyed.path("yard.key").unlink()
    keyed.write_secret("weak")
    text = jotd("check", "--config", keyed.config, expect=78).stderr
    assert "the secret has 4 bytes" in text and "keys.default.allow_weak_secret" in text
    assert "yard.key cannot be read" in text
    assert [f"{keyed.config}:{line}:" in text for line in (3, 4)] == [True, True]


def test_nothing_is_delivered_over_a_secret(keyed):
    keyed.key("gate", GATE)
    for name in ("yard", "gate"):
        keyed.keyed(yard=f"previous: {{ file: {keyed.path('gate.key')} }}, ")
        keyed.config.write_text(keyed.config.read_text().replace("b.jwt", f"{name}.key"))
        assert "the secret" in jotd("check", "--config", keyed.config, expect=78).stderr


def test_commands_know_the_keys(keyed):
    mine = ["--config", keyed.config]
    whom = ["--user-id", "u", "--role", "viewer"]
    made = {name: jotd("mint", *mine, *whom, *key).stdout.strip() for name, key in {
        "default": [], "yard": ["--key", "yard"]}.items()}
    assert accepted(made["default"], SECRET) and accepted(made["yard"], YARD)
    assert jwt.get_unverified_header(made["yard"])["kid"] == "yard-1"
    for name, token in made.items():
        assert jotd("verify", *mine, token).stdout.startswith("valid: ")
        assert f'"key":"{name}"' in jotd("verify", *mine, "--json", token).stdout
        jotd("verify", *mine, "--key", name, token)
        other = {"default": "yard", "yard": "default"}[name]
        jotd("verify", *mine, "--key", other, token, expect=65)
    old = sign({**HEADER, "kid": "yard-1"}, good(exp=int(time.time()) + 60), YARD)
    new = jotd("refresh", *mine, old).stdout.strip()
    assert accepted(new, YARD) and claims_of(new)["exp"] > claims_of(old)["exp"]
    for wrong in (["--key", "gate"], ["--key", ""], ["--key", "yard", "--secret-env", "S"]):
        assert jotd("mint", *[] if "--secret-env" in wrong else mine, *whom, *wrong,
                    env={"S": SECRET}, expect=64).stdout == ""
    keyed.config.write_text(keyed.config.read_text().replace("  default:", "  gate:").replace(
        "a: { user_id", "a: { key: gate, user_id"))
    assert "choose one of gate, yard" in jotd("mint", *mine, *whom, expect=64).stderr


@pytest.mark.parametrize("header, is_so", [
    ({"kid": "yard-1"}, True), ({"kid": "other"}, True), ({}, True), ({"kid": 5}, True),
    ({"kid": "../../yard.key"}, True), ({"alg": "HS384"}, False), ({"alg": "none"}, False)])
def test_not_the_kid_decides_but_the_signature(keyed, header, is_so):
    token = sign({**HEADER, **header}, good(), YARD)
    jotd("verify", "--config", keyed.config, token, expect=0 if is_so else 65)
    jotd("verify", "--config", keyed.config, "--key", "default", token, expect=65)


def test_keys_of_several_algorithms_are_told_apart(keyed):
    secret = YARD + YARD
    keyed.key("yard", secret)
    keyed.keyed(yard="algorithm: HS512, ")
    keyed.start().ready()
    token = keyed.read("b.jwt")
    assert jwt.decode(token, secret, algorithms=["HS512"])["user_id"] == "bob"
    assert is_active(keyed.active(token)) and is_active(keyed.active(keyed.read("a.jwt")))
    # Neither secret is used with the other's algorithm.
    for alg, key in (("HS256", secret), ("HS512", SECRET)):
        forged = jwt.encode(good(), key, algorithm=alg)
        assert keyed.active(forged) == '{"active":false}'
    # Nor is the header believed that names the other's.
    assert is_active(keyed.active(sign(HEADER, good())))
    assert not is_active(keyed.active(sign({**HEADER, "alg": "HS512"}, good())))
    said = jotd("verify", "--config", keyed.config, jwt.encode(good(), "x" * 48, algorithm="HS384"),
                expect=65).stderr
    assert "HS256 or HS512 is required, the header says HS384" in said


def test_added_files_name_keys_of_the_main_one(keyed):
    keyed.config.with_suffix(".d").mkdir()
    (keyed.config.with_suffix(".d") / "c.yaml").write_text(
        f"identities: {{ c: {{ user_id: c, role: viewer, key: yard, "
        f"deliver: [ {{ file: {keyed.path('c.jwt')} }} ] }} }}")
    keyed.start().ready()
    assert accepted(keyed.read("c.jwt"), YARD)


def test_a_former_secret_may_be_of_another_kid_and_algorithm(keyed):
    """What it signed names the key as it was called then."""
    keyed.key("gate", GATE)
    secret = YARD + YARD
    keyed.key("yard", secret)
    before = f"previous: {{ file: {keyed.path('gate.key')}, algorithm: HS256 }}, "
    keyed.keyed(yard="algorithm: HS512, kid: k1, " + before)
    daemon = keyed.start().ready()
    old = [sign({**HEADER, **kid}, good(), GATE) for kid in ({}, {"kid": "k0"}, {"kid": "k1"})]
    mine = keyed.read("b.jwt")
    for kid in ("k1", "k2"):
        keyed.keyed(yard=f"algorithm: HS512, kid: {kid}, {before}")
        daemon.reload()
        eventually(lambda: jwt.get_unverified_header(keyed.read("b.jwt"))["kid"] == kid)
        for token in (*old, mine):
            assert is_active(keyed.active(token, key="yard"))
            jotd("verify", "--config", keyed.config, "--key", "yard", token)


def test_a_weak_former_secret_is_a_warning(keyed):
    keyed.key("gate", "weak")
    keyed.keyed(yard=f"previous: {{ file: {keyed.path('gate.key')} }}, ")
    said = jotd("check", "--config", keyed.config).stderr
    assert "the secret has 4 bytes" in said and "believed all the same (previous)" in said
    keyed.keyed(yard="previous: { env: JOTD_NO_SUCH }, ")
    assert "in keys.yard.previous" in jotd("check", "--config", keyed.config, expect=78).stderr


def test_what_signs_is_asked_before_what_signed(keyed):
    """The names of two keys change places."""
    daemon = keyed.keyed(yard="").start().ready()
    b = keyed.read("b.jwt")
    text = keyed.config.read_text().replace(str(keyed.secret), "@").replace(
        str(keyed.path("yard.key")), str(keyed.secret)).replace("@", str(keyed.path("yard.key")))
    keyed.config.write_text(text)
    daemon.reload()
    eventually(lambda: accepted(keyed.read("b.jwt"), SECRET))
    assert keyed.active(b).startswith('{"active":true,"key":"default",')
    assert is_active(keyed.active(b, key="yard"))


def test_one_key_with_a_name_is_named(keyed):
    keyed.config.write_text(keyed.config.read_text().replace(
        f"  default: {{ secret: {{ file: {keyed.secret} }} }}\n", "").replace(
        "a: { user_id: alice", "a: { claims: { key: gate }, user_id: alice"))
    keyed.start().ready()
    answer = keyed.active(keyed.read("a.jwt"))
    assert answer.startswith('{"active":true,"key":"yard",') and answer.count('"key"') == 1


def test_mint_reads_the_secret_of_its_key_alone(keyed):
    keyed.keyed(yard="previous: { credential: old }, ")
    mine, whom = ["--config", keyed.config], ["--user-id", "u", "--role", "viewer"]
    for key in ([], ["--key", "yard"]):
        jotd("mint", *mine, *whom, *key)
    token = sign(HEADER, good())
    said = jotd("verify", *mine, token, expect=78).stderr
    assert "with --key, only the secrets of that key are read" in said
    jotd("verify", *mine, "--key", "default", token)


def test_as_many_keys_as_there_may_be(keyed):
    """Each with secrets of the greatest length, which change again and again."""
    def write(turn):
        for number in range(8):
            keyed.key(f"k{number}", f"{turn}.{number:02}." + "x" * 4090)
    write(0)
    keys = "".join(
        f"  k{n}: {{ algorithm: HS512, kid: k{n}, secret: {{ file: {keyed.path(f'k{n}.key')} }}, "
        f"previous: {{ file: {keyed.path(f'k{n}.key')} }} }}\n" for n in range(8))
    identities = "".join(f"  i{n}: {{ user_id: u, role: viewer, key: k{n} }}\n" for n in range(8))
    keyed.config.write_text(
        f"keys:\n{keys}identities:\n{identities}socket: {{ path: {keyed.path('s')} }}\n")
    jotd("check", "--config", keyed.config)
    daemon = keyed.start().ready()
    for turn in range(1, 7):
        write(turn)
        eventually(lambda: daemon.count("its tokens are replaced") == 8 * turn, 20)
        daemon.reload()
    assert daemon.count("refused") == 0
    keyed.config.write_text(keyed.config.read_text().replace(
        "identities:", f"  k8: {{ secret: {{ file: {keyed.secret} }} }}\nidentities:"))
    assert "keys has 9 keys: 1 to 8 are allowed" in jotd(
        "check", "--config", keyed.config, expect=78).stderr
