"""Private keys: every algorithm in every form, checked by other people's libraries, over changes,
restarts and reloads; and what must not be believed of a key whose public half everybody knows."""

import base64
import concurrent.futures
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from conftest import JOTD, SECRET, eventually, in_memory, jotd, needs_root
from test_status import on_terminal
from test_tokens import b64

NAMES = ["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"]
# RFC 9864's name is younger than the library.
jwt.register_algorithm("Ed25519", OKPAlgorithm())
CLAIMS = ["--user-id", "u", "--role", "viewer"]
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
OLD = serialization.PrivateFormat.TraditionalOpenSSL
OPEN = serialization.NoEncryption()


def new_key(name):
    if name.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1() if name == "ES256" else ec.SECP384R1())
    if name.startswith("Ed"):
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


KEYS = {name: new_key(name) for name in NAMES if name != "Ed25519"}
KEYS["Ed25519"] = KEYS["EdDSA"]


def jwk(key):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return json.loads(OKPAlgorithm.to_jwk(key))
    if isinstance(key, rsa.RSAPrivateKey):
        return json.loads(RSAAlgorithm.to_jwk(key))
    numbers, bytes_ = key.private_numbers(), (key.key_size + 7) // 8
    x, y, d = (b64(number.to_bytes(bytes_, "big")) for number in (
        numbers.public_numbers.x, numbers.public_numbers.y, numbers.private_value))
    return {"kty": "EC", "crv": f"P-{key.key_size}", "x": x, "y": y, "d": d}


def thumbprint(key):
    required = {"EC": "crv kty x y", "RSA": "e kty n", "OKP": "crv kty x"}
    whole = jwk(key)
    text = json.dumps({name: whole[name] for name in required[whole["kty"]].split()},
                      separators=(",", ":"))
    return b64(hashlib.sha256(text.encode()).digest())


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return path


def forms(key):
    """The same key, as people have it."""
    yield "pkcs8.pem", key.private_bytes(PEM, PKCS8, OPEN)
    yield "pkcs8.der", key.private_bytes(DER, PKCS8, OPEN)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        old = key.private_bytes(PEM, OLD, OPEN)
        yield "old.pem", old
        yield "old.der", key.private_bytes(DER, OLD, OPEN)
        yield "windows.pem", old.replace(b"\n", b"\r\n")
    yield "commented.pem", b"# of the yard\n" + key.private_bytes(PEM, PKCS8, OPEN) + b"\n\n"
    yield "jwk", json.dumps(jwk(key))
    yield "pretty.jwk", "\n " + json.dumps(jwk(key) | {"use": "sig", "key_ops": ["sign"]}, indent=2)


def options(path, name):
    return ["--private-key-file", path, "--algorithm", name]


@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_every_form_signs_what_others_accept(tmp_path, name):
    key = KEYS[name]
    for form, content in forms(key):
        path = written(tmp_path / form, content)
        token = jotd("mint", *CLAIMS, *options(path, name)).stdout.strip()
        header = jwt.get_unverified_header(token)
        assert header == {"alg": name, "typ": "JWT", "kid": thumbprint(key)}, form
        claims = jwt.decode(token, key.public_key(), algorithms=[name])
        assert claims["user_id"] == "u", form
        if name != "Ed25519":  # which golang-jwt does not know yet
            public = written(tmp_path / "public", key.public_key().public_bytes(
                PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
            shown = subprocess.run(
                ["jwt", "-alg", name, "-key", public, "-verify", "-"], input=token, text=True,
                capture_output=True, check=True).stdout
            assert json.loads(shown) == claims, form
        # And what others sign is accepted.
        theirs = jwt.encode(claims, key, algorithm=name)
        for each in (token, theirs):
            assert jotd("verify", *options(path, name), each).stdout.startswith("valid: "), form


def test_a_jwk_names_itself(tmp_path):
    path = written(tmp_path / "key", json.dumps(jwk(KEYS["ES256"]) | {"kid": "of-the-yard"}))
    token = jotd("mint", *CLAIMS, *options(path, "ES256")).stdout.strip()
    assert jwt.get_unverified_header(token)["kid"] == "of-the-yard"


def test_a_jwk_whose_name_will_not_do_is_named_otherwise(home):
    text = json.dumps(jwk(KEYS["ES256"]) | {"kid": "https://example.org/keys#1"})
    path = written(home.path("key"), text)
    keys = "keys: { k: { algorithm: ES256, %sprivate_key: { file: %s } } }\n"
    who = "identities: { a: { user_id: u, role: viewer } }\n"
    home.config.write_text(keys % ("", path) + who)
    assert "Say another with kid" in jotd("check", "--config", home.config, expect=78).stderr
    home.config.write_text(keys % ("kid: mine, ", path) + who)
    token = jotd("mint", *CLAIMS, "--config", home.config).stdout.strip()
    assert jwt.get_unverified_header(token)["kid"] == "mine"


def test_certificates_beside_a_key_are_passed_over(tmp_path):
    p256 = KEYS["ES256"].private_bytes(PEM, PKCS8, OPEN)
    for content in (certificate() * 16 + p256, p256 + certificate() * 16 + b"# the end\n"):
        path = written(tmp_path / "key", content)
        jotd("mint", *CLAIMS, *options(path, "ES256"))


@pytest.mark.parametrize("name", ["EdDSA", "RS256", "ES384"])
def test_a_jwk_has_the_public_half_that_it_names(tmp_path, name):
    public = {n: v for n, v in jwk(new_key(name)).items() if n in ("x", "y", "n", "e")}
    path = written(tmp_path / "key", json.dumps(jwk(KEYS[name]) | public))
    done = jotd("mint", *CLAIMS, *options(path, name), expect=78)
    assert "its parts do not belong together" in done.stderr


@pytest.mark.parametrize("form", [PKCS8, OLD])
@pytest.mark.parametrize("newline", ["", "\n"])
def test_a_passphrase_opens_an_encrypted_key(home, form, newline):
    encrypted = KEYS["ES256"].private_bytes(
        PEM, form, serialization.BestAvailableEncryption(b"open sesame"))
    path = written(home.path("key"), encrypted)
    written(home.path("word"), f"open sesame{newline}")

    def configure(passphrase):
        home.config.write_text(
            "keys: { k: { algorithm: ES256, private_key: { file: %s%s } } }\n"
            "identities: { a: { user_id: u, role: viewer, deliver: [ { file: %s } ] } }\n"
            % (path, passphrase, home.path("a.jwt")))
    configure(f", passphrase: {{ file: {home.path('word')} }}")
    home.start().ready()
    jwt.decode(home.read("a.jwt"), KEYS["ES256"].public_key(), algorithms=["ES256"])
    configure("")
    error = jotd("check", "--config", home.config, expect=78).stderr
    assert f"1:45: the private key file {path}: it is encrypted: name what opens it" in error
    configure(f", passphrase: {{ file: {home.path('word')} }}")
    written(home.path("word"), "another word, which is wrong")
    error = jotd("check", "--config", home.config, expect=78).stderr
    assert "the passphrase does not open it" in error and "another word" not in error
    home.path("word").chmod(0o644)
    error = jotd("check", "--config", home.config, expect=78).stderr
    assert f"the passphrase file {home.path('word')} can be read by others" in error
    assert "open sesame" not in error


@pytest.mark.parametrize("words", [
    ["-scrypt"], ["-v1", "PBE-SHA1-3DES"], ["-v2", "aes-256-cbc", "-iter", "100000"]])
def test_an_encrypted_key_is_opened_however_it_was_encrypted(home, words):
    path = written(home.path("open"), KEYS["ES256"].private_bytes(PEM, PKCS8, OPEN))
    locked = subprocess.run(
        ["openssl", "pkcs8", "-topk8", *words, "-in", path, "-passout", "pass:open sesame"],
        capture_output=True, check=True).stdout
    key, word = written(home.path("key"), locked), written(home.path("word"), "open sesame")
    home.config.write_text(
        "keys: { k: { algorithm: ES256, private_key: { file: %s, passphrase: { file: %s } } } }\n"
        "identities: { a: { user_id: u, role: viewer } }\n" % (key, word))
    jotd("check", "--config", home.config)


def test_a_passphrase_has_a_length_that_openssl_knows(home):
    encrypted = KEYS["ES256"].private_bytes(
        PEM, PKCS8, serialization.BestAvailableEncryption(b"x" * 1023))
    key = written(home.path("key"), encrypted)
    home.config.write_text(
        "keys: { k: { algorithm: ES256, private_key: { file: %s, passphrase: { file: %s } } } }\n"
        "identities: { a: { user_id: u, role: viewer } }\n" % (key, home.path("word")))
    written(home.path("word"), "x" * 1023)
    jotd("check", "--config", home.config)
    written(home.path("word"), "x" * 1024)
    error = jotd("check", "--config", home.config, expect=78).stderr
    assert "is longer than 1023 bytes: that is no passphrase" in error


def test_a_passphrase_that_only_the_service_sees_is_passed_over_by_check(home):
    key = written(home.path("key"), KEYS["ES256"].private_bytes(PEM, PKCS8, OPEN))
    home.config.write_text(
        "keys: { k: { algorithm: ES256, private_key: { file: %s, "
        "passphrase: { credential: word } } } }\n"
        "identities: { a: { user_id: u, role: viewer } }\n" % key)
    assert "it was not checked (warning)" in jotd("check", "--config", home.config).stderr


def certificate():
    """Of nobody."""
    with tempfile.NamedTemporaryFile() as key:
        key.write(KEYS["ES256"].private_bytes(PEM, PKCS8, OPEN))
        key.flush()
        return subprocess.run(
            ["openssl", "req", "-x509", "-new", "-key", key.name, "-subj", "/CN=nobody"],
            capture_output=True, check=True).stdout


def wrong_keys():
    pss = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA-PSS"], capture_output=True,
                         check=True).stdout
    locked = KEYS["ES256"].private_bytes(
        PEM, PKCS8, serialization.BestAvailableEncryption(b"open sesame"))
    p256 = KEYS["ES256"].private_bytes(PEM, PKCS8, OPEN)
    public = KEYS["ES256"].public_key().public_bytes(
        PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    small = rsa.generate_private_key(65537, 1024).private_bytes(PEM, PKCS8, OPEN)
    huge = KEYS["ES256"].private_bytes(PEM, PKCS8, OPEN) + b"\n" * 17000
    koblitz = ec.generate_private_key(ec.SECP256K1()).private_bytes(PEM, PKCS8, OPEN)
    sets = json.dumps({"keys": [jwk(KEYS["ES256"])]})
    half = json.dumps({k: v for k, v in jwk(KEYS["ES256"]).items() if k != "d"})
    other = json.dumps(jwk(KEYS["ES256"]) | {"d": jwk(new_key("ES256"))["d"]})
    off = json.dumps(jwk(KEYS["ES256"]) | {"y": jwk(new_key("ES256"))["y"]})
    return {
        "nothing": ("ES256", "", "it is no private key in PEM, DER or JWK"),
        "a brace": ("ES256", "{", "it begins like a JWK, and is not acceptable JSON"),
        "a secret": ("ES256", "a secret that is long enough to be one", "it is no private key"),
        "a part": ("ES256", p256[:150], "it is no private key"),
        "noise": ("ES256", b"\0" + os.urandom(3000), "it is no private key"),
        "public": ("ES256", public, "it is the public half alone"),
        "two": ("ES256", p256 + p256, "it holds 2 private keys: one is allowed"),
        "koblitz": ("ES256", koblitz, "it is an EC key on neither of P-256, P-384"),
        "curve": ("ES384", p256, "on P-256, which ES256 takes: ES384 takes an EC key on P-384"),
        "kind": ("RS256", p256, "an EC key on P-256, which ES256 takes: RS256 takes an RSA key"),
        "small": ("RS256", small, "has 1024 bits: 2048 (RFC 7518 section 3.3) to 4096 are allowed"),
        "huge": ("ES256", huge, "is longer than 16384 bytes: that is no private key"),
        "set": ("ES256", sets, "it is a JWK Set"),
        "half": ("ES256", half, "its d is missing"),
        "other d": ("ES256", other, "its parts do not belong together"),
        "off the curve": ("ES256", off, "its parts do not belong together"),
        "oct": ("ES256", '{"kty":"oct","k":"c2VjcmV0"}', "it is a secret (kty oct)"),
        "kty": ("ES256", '{"kty":"AKP"}', "its kty is none of EC, RSA, OKP"),
        "escaped": ("ES256", json.dumps(jwk(KEYS["ES256"])).replace('"d"', '"\\u0064"'),
                    "its d is missing"),
        "other d of RSA": ("RS256", json.dumps(jwk(KEYS["RS256"]) | {"d": jwk(KEYS["PS256"])["d"]}),
                           "its parts do not belong together"),
        "PSS": ("PS256", pss, "for RSASSA-PSS alone"),
        "certificates": ("ES256", certificate() * 17 + p256, "it holds too much beside the key"),
        "a locked one beside it": ("ES256", p256 + locked, "it is encrypted: name what opens it"),
    }


WRONG = wrong_keys()


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_key_for_that_is_refused(tmp_path, wrong):
    name, content, message = WRONG[wrong]
    path = written(tmp_path / "key", content)
    done = jotd("mint", *CLAIMS, *options(path, name), expect=78)
    assert message in done.stderr and done.stdout == ""
    text = content if isinstance(content, str) else content.decode("latin-1")
    for line in text.replace('"', "\n").splitlines():
        assert len(line) < 20 or line not in done.stderr
    if os.geteuid() == 0:
        path.chmod(0o644)
        done = jotd("mint", *CLAIMS, *options(path, name), expect=78)
        assert "can be read by others than its owner and group" in done.stderr


@pytest.mark.parametrize("key, message", [
    ("private_key: { file: /k }", 'lacks the key "algorithm": a private key takes one of ES256, '
     "ES384, RS256, PS256, EdDSA, Ed25519"),
    ("algorithm: ES256", 'lacks the key "private_key": one of env, file, credential'),
    ("algorithm: HS256, private_key: { file: /k }, secret: { file: /s }",
     "private_key goes with the algorithms ES256, ES384, RS256, PS256, EdDSA, Ed25519, and this "
     "key's is HS256"),
    ("algorithm: ES256, private_key: { file: /k }, secret: { file: /s }",
     "secret goes with the algorithms HS256, HS384, HS512, and this key's is ES256"),
    ("algorithm: ES256, private_key: { file: /k }, allow_weak_secret: true",
     "allow_weak_secret goes with the algorithms HS256, HS384, HS512"),
    ("algorithm: ES256, private_key: { file: /k }, previous: { file: /s }",
     "previous goes with the algorithms HS256, HS384, HS512"),
    ("algorithm: ES512, private_key: { file: /k }", "must be one of HS256,"),
    ("algorithm: ES256, private_key: { file: /k, encoding: hex }",
     "is unknown in keys.k.private_key. Allowed: env, file, credential, uri, passphrase"),
    ("algorithm: ES256, private_key: { file: /k, env: K }", "it names env and file"),
    ("algorithm: ES256, private_key: { file: /k, passphrase: word }", "must be a map"),
    ("algorithm: ES256, private_key: { file: /k, passphrase: { } }", "it names none"),
    ("secret: { file: /s }, previous: { file: /s, algorithm: ES256 }",
     "must be one of HS256, HS384, HS512"),
])
def test_what_does_not_go_together_in_the_configuration(home, key, message):
    home.config.write_text(
        f"keys: {{ k: {{ {key} }} }}\nidentities: {{ a: {{ user_id: u, role: viewer }} }}\n")
    error = jotd("check", "--config", home.config, expect=78).stderr
    assert message in error
    # Beside it, at most that the files are not there.
    others = [line for line in error.splitlines() if message not in line]
    assert all("cannot be read: No such file" in line for line in others), error


# MARK: In the daemon

@pytest.fixture
def keyed(home):
    """Identities of a secret, and of a key of ES256 and one of EdDSA."""
    def write(name, key):
        new = written(home.path(f"{name}.new"), key.private_bytes(PEM, PKCS8, OPEN))
        new.rename(home.path(f"{name}.pem"))

    def configure(extra="", life="1d", before="1h"):
        home.config.write_text(f"""
keys:
  default: {{ secret: {{ file: {home.secret} }} }}
  streams: {{ algorithm: ES256, private_key: {{ file: {home.path("streams.pem")} }} }}
  yard: {{ algorithm: EdDSA, kid: yard-1, private_key: {{ file: {home.path("yard.pem")} }} }}
{extra}
socket: {{ path: {home.path("s")} }}
defaults: {{ lifetime: {life}, refresh_before: {before} }}
identities:
  a: {{ user_id: alice, role: viewer, deliver: [ {{ file: {home.path("a.jwt")} }} ] }}
  b: {{ claims: {{ sub: bob }}, key: streams, deliver: [ {{ file: {home.path("b.jwt")} }} ] }}
  c: {{ claims: {{ sub: carol }}, key: yard, token_id: true,
       deliver: [ {{ file: {home.path("c.jwt")} }} ] }}
""")
        return home
    home.key, home.keyed = write, configure
    write("streams", KEYS["ES256"])
    write("yard", KEYS["EdDSA"])
    return configure()


def verified(token, key, name):
    try:
        return jwt.decode(token, key.public_key(), algorithms=[name])
    except jwt.InvalidSignatureError:
        return None


def fetched(home, *words):
    done = subprocess.run(
        ["curl", "-sS", "-i", "--unix-socket", home.path("s"), *words,
         "http://jotd/.well-known/jwks.json"], capture_output=True, check=True)
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    return head, body


def public_keys(home):
    return json.loads(fetched(home)[1])["keys"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_tokens_are_kept_over_a_restart_although_they_would_be_signed_otherwise(keyed, how):
    daemon = keyed.start().ready()
    before = [keyed.read(f"{name}.jwt") for name in "abc"]
    for _ in range(3):
        daemon.process.send_signal(how)
        daemon.process.wait()
        daemon = keyed.start().ready()
        assert [keyed.read(f"{name}.jwt") for name in "abc"] == before
        assert daemon.count(" changed: ") == 0


def test_a_changed_key_replaces_the_tokens_of_its_identities_alone(keyed):
    daemon = keyed.start().ready()
    a, b, c = (keyed.read(f"{name}.jwt") for name in "abc")
    new = new_key("ES256")
    keyed.key("streams", new)
    eventually(lambda: verified(keyed.read("b.jwt"), new, "ES256"))
    daemon.wait_for(f"the key streams changed: its tokens are replaced (key ")
    assert (keyed.read("a.jwt"), keyed.read("c.jwt")) == (a, c)
    # Both verify, as long as a token of the old one may be about.
    kids = [key["kid"] for key in public_keys(keyed)]
    assert kids == [thumbprint(new), "yard-1", thumbprint(KEYS["ES256"])]
    # Those that change while jotd does not run are noticed, too.
    daemon.stop()
    other = new_key("EdDSA")
    keyed.key("streams", KEYS["ES256"])
    keyed.key("yard", other)
    daemon = keyed.start().ready()
    eventually(lambda: verified(keyed.read("b.jwt"), KEYS["ES256"], "ES256"))
    eventually(lambda: verified(keyed.read("c.jwt"), other, "EdDSA"))
    daemon.wait_for("the key yard changed: its tokens are replaced (key yard-1/")
    assert keyed.read("a.jwt") == a


def test_what_is_no_key_any_more_leaves_the_old_one_in_use(keyed):
    daemon = keyed.start().ready()
    b = keyed.read("b.jwt")
    written(keyed.path("new"), "half a key").rename(keyed.path("streams.pem"))
    daemon.wait_for("it is no private key in PEM, DER or JWK")
    jotd("rotate", "--config", keyed.config, "b")
    assert keyed.read("b.jwt") != b and verified(keyed.read("b.jwt"), KEYS["ES256"], "ES256")
    keyed.key("streams", KEYS["ES256"])
    daemon.wait_for("can be read again")
    assert len(public_keys(keyed)) == 2


def test_whose_token_it_is_is_said_by_introspection_and_verify(keyed):
    keyed.start().ready()
    for name, key in (("a", "default"), ("b", "streams"), ("c", "yard")):
        token = keyed.read(f"{name}.jwt")
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", keyed.path("s"), "-d", f"token={token}",
             "http://jotd/introspect"], capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        assert answer["active"] and answer["key"] == key
        said = json.loads(jotd("verify", "--json", "--config", keyed.config, token).stdout)
        assert said["valid"] and said["key"] == key
        assert jotd("refresh", "--config", keyed.config, "--key", key, token).stdout != token


# MARK: JWKS

def test_the_set_has_every_public_key_and_nothing_else(keyed):
    keyed.start().ready()
    head, body = fetched(keyed)
    assert "HTTP/1.1 200 OK" in head and "content-type: application/jwk-set+json" in head.lower()
    assert "cache-control: public, max-age=300" in head.lower()
    keys = json.loads(body)["keys"]
    assert [sorted(key) for key in keys] == [
        ["alg", "crv", "kid", "kty", "use", "x", "y"], ["alg", "crv", "kid", "kty", "use", "x"]]
    assert [(key["kid"], key["alg"], key["use"]) for key in keys] == [
        (thumbprint(KEYS["ES256"]), "ES256", "sig"), ("yard-1", "EdDSA", "sig")]
    assert SECRET not in body
    # As a verifier takes it.
    known = {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(json.loads(body)).keys}
    for name, algorithm in (("b", "ES256"), ("c", "EdDSA")):
        token = keyed.read(f"{name}.jwt")
        jwt.decode(token, known[jwt.get_unverified_header(token)["kid"]], algorithms=[algorithm])
    printed = jotd("key", "jwks", "--config", keyed.config).stdout
    assert printed == body
    alone = json.loads(jotd("key", "jwks", "--config", keyed.config, "--key", "yard").stdout)
    assert [key["kid"] for key in alone["keys"]] == ["yard-1"]


@pytest.mark.parametrize("name", NAMES)
def test_the_public_half_is_that_of_the_library(tmp_path, name):
    path = written(tmp_path / "key", KEYS[name].private_bytes(PEM, PKCS8, OPEN))
    (key,) = json.loads(jotd("key", "jwks", *options(path, name)).stdout)["keys"]
    theirs = {n: v for n, v in jwk(KEYS[name]).items() if n in ("kty", "crv", "x", "y", "n", "e")}
    assert key == theirs | {"use": "sig", "alg": name, "kid": thumbprint(KEYS[name])}


def test_who_has_the_set_is_told_that_it_is_the_same(keyed):
    daemon = keyed.start().ready()
    head, body = fetched(keyed)
    tag = next(line.split(": ", 1)[1] for line in head.splitlines() if line[:5].lower() == "etag:")
    again, nothing = fetched(keyed, "-H", f"If-None-Match: {tag}")
    assert " 304 " in again and nothing == ""
    head, nothing = fetched(keyed, "-I")
    assert " 200 " in head and nothing == "" and f"content-length: {len(body)}" in head.lower()
    assert " 405 " in fetched(keyed, "-X", "POST")[0]
    keyed.key("yard", new_key("EdDSA"))
    daemon.wait_for("the key yard changed")
    eventually(lambda: " 200 " in fetched(keyed, "-H", f"If-None-Match: {tag}")[0])


def test_without_a_public_key_the_set_is_empty(query):
    query.serve().start().ready()
    answer = query.ask("/.well-known/jwks.json")
    assert (answer.status, answer.json) == (200, {"keys": []})


def test_the_largest_set_is_below_what_mediamtx_reads(home):
    key = rsa.generate_private_key(65537, 4096).private_bytes(PEM, PKCS8, OPEN)
    written(home.path("key"), key)
    each = "".join(
        f"  k{n}: {{ algorithm: RS256, kid: {'k' * 63}{n}, private_key: {{ file: "
        f"{home.path('key')} }} }}\n" for n in range(8))
    home.config.write_text(
        f"keys:\n{each}identities: {{ a: {{ user_id: u, role: viewer, key: k0 }} }}\n")
    body = jotd("key", "jwks", "--config", home.config).stdout
    assert len(json.loads(body)["keys"]) == 8
    # Beside each, the four that it replaced at most.
    assert 5 * len(body) < 128 << 10


def test_two_keys_do_not_share_a_kid(keyed):
    keyed.keyed(extra="  gate: { algorithm: ES256, kid: yard-1, private_key: { file: %s } }"
                % keyed.path("streams.pem"))
    error = jotd("check", "--config", keyed.config, expect=78).stderr
    assert "the keys yard and gate are two, and have the same kid" in error
    # One key for two names is one.
    keyed.keyed(extra="  gate: { algorithm: ES256, private_key: { file: %s } }"
                % keyed.path("streams.pem"))
    keyed.start().ready()
    assert len(public_keys(keyed)) == 2


def test_two_published_keys_never_have_one_name(keyed):
    daemon = keyed.start().ready()
    # A key of a fixed name: the new one takes the place of the old at once.
    new = new_key("EdDSA")
    keyed.key("yard", new)
    daemon.wait_for("the key yard changed")
    published = {key["kid"]: key for key in public_keys(keyed)}
    assert len(published) == len(public_keys(keyed)) == 2
    assert published["yard-1"]["x"] == jwk(new)["x"]
    # Another key that calls itself so signs, and is not published: that is said, here and by check.
    claimed = new_key("ES256")
    text = json.dumps(jwk(claimed) | {"kid": "yard-1"})
    written(keyed.path("new"), text).rename(keyed.path("streams.pem"))
    daemon.wait_for("are two, and have the same kid")
    eventually(lambda: verified(keyed.read("b.jwt"), claimed, "ES256"))
    assert [key["kid"] for key in public_keys(keyed)] == ["yard-1", thumbprint(KEYS["ES256"])]
    assert "same kid" in jotd("check", "--config", keyed.config, expect=78).stderr


def test_a_key_for_another_algorithm_takes_the_place_of_itself(keyed):
    """The thumbprint is the same, and so are the names: a verifier is to find what signs now."""
    keyed.config.write_text(keyed.config.read_text().replace("kid: yard-1, ", ""))
    daemon = keyed.start().ready()
    keyed.config.write_text(keyed.config.read_text().replace("EdDSA", "Ed25519"))
    daemon.reload()
    eventually(lambda: jwt.get_unverified_header(keyed.read("c.jwt"))["alg"] == "Ed25519")
    assert verified(keyed.read("c.jwt"), KEYS["EdDSA"], "Ed25519")
    assert [key["alg"] for key in public_keys(keyed)] == ["ES256", "Ed25519"]


def test_two_keys_that_change_places_are_both_taken(keyed):
    """For a moment, both are the same; EdDSA and Ed25519 take one key under two names."""
    keyed.config.write_text(keyed.config.read_text().replace("kid: yard-1, ", "").replace(
        "algorithm: ES256", "algorithm: Ed25519"))
    first, second = KEYS["EdDSA"], new_key("EdDSA")
    keyed.key("streams", second)
    daemon = keyed.start().ready()
    keyed.key("streams", first)
    daemon.wait_for("are two, and have the same kid")
    keyed.key("yard", second)
    eventually(lambda: verified(keyed.read("b.jwt"), first, "Ed25519"))
    eventually(lambda: verified(keyed.read("c.jwt"), second, "EdDSA"))
    assert {key["kid"] for key in public_keys(keyed)} == {thumbprint(first), thumbprint(second)}


def test_as_many_keys_as_there_may_be_change_at_once(home):
    """RSA keys take most room, and are read on threads of their own."""
    pairs = [[rsa.generate_private_key(65537, 2048).private_bytes(PEM, PKCS8, OPEN)
              for _ in range(2)] for _ in range(8)]
    paths = [home.path(f"k{n}.pem") for n in range(8)]

    def write(turn):
        new = [written(home.path(f"k{n}.new"), pairs[n][turn % 2]) for n in range(8)]
        for source, path in zip(new, paths):
            source.rename(path)
    write(0)
    keys = "".join(f"  k{n}: {{ algorithm: RS256, private_key: {{ file: {path} }} }}\n"
                   for n, path in enumerate(paths))
    who = "".join(f"  i{n}: {{ user_id: u, role: viewer, key: k{n}, deliver: [ {{ file: "
                  f"{home.path(f'{n}.jwt')} }} ] }}\n" for n in range(8))
    home.config.write_text(
        f"keys:\n{keys}socket: {{ path: {home.path('s')} }}\nidentities:\n{who}")
    daemon = home.start().ready()
    for turn in range(1, 9):
        write(turn)
        public = [serialization.load_pem_private_key(pair[turn % 2], None) for pair in pairs]
        for n, key in enumerate(public):
            eventually(lambda: verified(home.read(f"{n}.jwt"), key, "RS256"))
    assert daemon.count("is full") == daemon.count("it is no") == daemon.count("its parts") == 0


# MARK: The socket for public keys, from systemd

@pytest.fixture
def handed(keyed):
    """Starts the daemon with a TCP socket of that name; gives the address and the process."""
    processes = []

    def start(listeners, name="jwks"):
        script = f'exec {" ".join(f"{n + 3}<&{each.fileno()}" for n, each in enumerate(listeners))}'
        process = subprocess.Popen(
            ["bash", "-c", f'{script}; LISTEN_PID=$$ LISTEN_FDS={len(listeners)} LISTEN_FDNAMES='
             f'{":".join([name] * len(listeners))} exec "$@"', "bash", JOTD, "run", "--config",
             keyed.config], pass_fds=[each.fileno() for each in listeners],
            stderr=open(keyed.path("log"), "w"))
        processes.append(process)
        return process
    yield start
    for process in processes:
        process.terminate()
        assert process.wait(60) == 0


def listening(home, family=socket.AF_INET):
    listener = socket.socket(family)
    home.sockets.append(listener)
    listener.bind({socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0),
                   socket.AF_UNIX: str(home.path("handed"))}[family])
    listener.listen(128)
    return listener


def asked(address, text, timeout=60):
    family = socket.AF_UNIX if isinstance(address, str) else (
        socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    with socket.socket(family) as client:
        client.settimeout(timeout)
        client.connect(address)
        client.sendall(text.encode())
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer.decode()


GET = "GET /.well-known/jwks.json HTTP/1.1\r\nHost: a\r\n\r\n"


def test_the_set_is_served_over_tcp_and_nothing_else_is(keyed, handed):
    listener = listening(keyed)
    handed([listener])
    address = listener.getsockname()
    answer = asked(address, GET)
    assert answer.startswith("HTTP/1.1 200 OK\r\n")
    assert [key["kid"] for key in json.loads(answer.partition("\r\n\r\n")[2])["keys"]] == [
        thumbprint(KEYS["ES256"]), "yard-1"]
    assert answer.partition("\r\n\r\n")[2] == fetched(keyed)[1]
    for target in ("/", "/health", "/metrics", "/v1/identities", "/v1/identities/b/token",
                   "/introspect", "/.well-known/jwks.json/", "/.well-known/../v1/identities"):
        for method in ("GET", "POST"):
            answer = asked(address, f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.startswith("HTTP/1.1 404 "), (target, answer)
            assert "eyJ" not in answer
    assert asked(address, GET.replace("GET", "PUT")).startswith("HTTP/1.1 405 ")
    assert asked(address, GET.replace("GET", "HEAD")).endswith("\r\n\r\n")
    assert asked(address, "no HTTP\r\n\r\n").startswith("HTTP/1.1 400 ")


def test_all_addresses_are_served(keyed, handed):
    families = [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]
    listeners = [listening(keyed, family) for family in families]
    handed(listeners)
    for each in listeners:
        assert " 200 " in asked(each.getsockname(), GET)
        other = GET.replace("/.well-known/jwks.json", "/health")
        assert " 404 " in asked(each.getsockname(), other)


def test_a_tcp_socket_of_another_name_is_not_used(keyed, handed):
    listener = listening(keyed)
    handed([listener], name="query")
    eventually(lambda: " ready:" in keyed.read("log"))
    assert "which is no Unix stream socket that listens: it is not used" in keyed.read("log")
    with pytest.raises(TimeoutError):
        asked(listener.getsockname(), GET, timeout=0.3)
    assert " 200 " in fetched(keyed)[0]


def test_a_crowd_on_the_public_socket_keeps_nobody_from_it_for_long(keyed, handed):
    listener = listening(keyed)
    handed([listener])
    address = listener.getsockname()
    asked(address, GET)
    silent = [socket.create_connection(address) for _ in range(300)]
    try:
        for _ in range(20):
            assert " 200 " in asked(address, GET)
        # What the query socket serves is not touched by it.
        assert " 200 " in fetched(keyed)[0]
    finally:
        for each in silent:
            each.close()


@pytest.mark.parametrize("name, family", [("jwks", socket.AF_INET), ("query", socket.AF_UNIX)])
def test_nobody_who_asks_while_jotd_restarts_is_refused(keyed, handed, name, family):
    """Neither who comes while there is none, nor who was taken in a moment before its end."""
    listener = listening(keyed, family)
    address = listener.getsockname()
    answers, done = [], threading.Event()

    def ask():
        while not done.is_set():
            head, _, body = asked(address, GET).partition("\r\n\r\n")
            assert f"content-length: {len(body)}" in head.lower()
            answers.append(head[:15])
    process = handed([listener], name)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        clients = [threads.submit(ask) for _ in range(4)]
        try:
            for _ in range(12):
                count = len(answers)
                eventually(lambda: len(answers) > count + 20)
                process.terminate()
                assert process.wait(60) == 0
                process = handed([listener], name)
        finally:
            done.set()
        for client in clients:
            client.result()
    assert set(answers) == {"HTTP/1.1 200 OK"}


def test_an_answer_under_way_is_not_cut_by_a_stop(keyed, handed):
    """More than the kernel takes at once, to somebody who reads it slowly; but for one who is so
    slow that a stop would take too long: here, where this machine has other things to do."""
    who = "".join(f"  more-{n:04}: {{ user_id: {'u' * 200}, role: viewer }}\n" for n in range(1500))
    keyed.config.write_text(keyed.config.read_text() + who)
    listener = listening(keyed, socket.AF_UNIX)
    for _ in range(8):
        process = handed([listener], "query")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(listener.getsockname())
            client.sendall(b"GET /v1/identities HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.recv(1000)
            begin = time.monotonic()
            process.terminate()
            # Where the machine is busy, its end may come before its last line.
            eventually(lambda: "stopping on SIGTERM" in keyed.read("log")
                       or process.poll() is not None)
            while part := client.recv(65536):
                answer += part
        took = time.monotonic() - begin
        head, _, body = answer.partition(b"\r\n\r\n")
        if f"content-length: {len(body)}".encode() in head.lower():
            assert len(json.loads(body)["identities"]) == 1503
            return
        assert took > 0.2, "cut before the daemon had waited for it"
        process.wait(60)
    pytest.fail("never whole")


# MARK: Algorithm confusion (RFC 8725 sections 2.1 and 3.1)

def compact(header, claims, sign):
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{b64(sign(text.encode()))}"


def signed(name, header, key):
    """With a header that the library would not write."""
    method = jwt.algorithms.get_default_algorithms()[name]
    return compact({"alg": name, **header}, good(), lambda text: method.sign(text, key))


def mac(secret):
    return lambda text: hmac.new(secret, text, hashlib.sha256).digest()


def good(**more):
    now = int(time.time())
    return {"user_id": "mallory", "role": "admin", "iat": now - 5, "exp": now + 600, **more}


def public_forms(key):
    """The public half in every form that somebody might take for a secret."""
    public = key.public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    for encoding in (PEM, DER):
        yield public.public_bytes(encoding, info)
    yield public.public_bytes(PEM, info).strip()
    whole = jwk(key)
    for name in ("x", "y", "n"):
        if name in whole:
            yield whole[name].encode()
            yield base64.urlsafe_b64decode(whole[name] + "==")
    open_half = {n: whole[n] for n in whole if n in ("kty", "crv", "x", "y", "n", "e")}
    yield json.dumps(open_half, separators=(",", ":")).encode()
    yield b""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beside", [False, True])
def test_a_public_key_is_no_secret(home, name, beside):
    """Also where a secret is known, beside it."""
    key = KEYS[name]
    path = written(home.path("key"), key.private_bytes(PEM, PKCS8, OPEN))
    secret = f"  s: {{ secret: {{ file: {home.secret} }} }}\n" if beside else ""
    home.config.write_text(
        f"keys:\n  k: {{ algorithm: {name}, private_key: {{ file: {path} }} }}\n{secret}"
        "identities: { a: { user_id: u, role: viewer, key: k } }\n")
    jotd("check", "--config", home.config)

    def refused(token):
        done = jotd("verify", "--config", home.config, "--json", token, expect=65)
        return json.loads(done.stdout)["reason"]
    kid = thumbprint(key)
    for secret in public_forms(key):
        for header in ({"alg": "HS256", "typ": "JWT"}, {"alg": "HS256", "kid": kid}):
            reason = refused(compact(header, good(), mac(secret)))
            assert reason == ("signature" if beside else "algorithm")
    for algorithm in ("none", "None", "", "HS512", "ES512", "ES256K", "RS1", "ed25519"):
        unsigned = compact({"alg": algorithm, "kid": kid}, good(), lambda _: b"")
        assert refused(unsigned) == "algorithm"
    own = jwt.encode(good(), key, algorithm=name)
    assert jotd("verify", "--config", home.config, own).stdout.startswith("valid: ")
    text, signature = own.rsplit(".", 1)
    for other in NAMES:
        # The same signature under another name.
        header = {"alg": other, "typ": "JWT"}
        moved = f"{b64(json.dumps(header).encode())}.{own.split('.')[1]}.{signature}"
        assert refused(moved) == ("signature" if other == name else "algorithm")
    raw = base64.urlsafe_b64decode(signature + "==")
    for wrong in (b"", raw[:-1], raw + b"\0", b"\0" + raw, bytes(len(raw)), b"\xff" * len(raw),
                  raw[::-1], raw + raw, raw[: len(raw) // 2], raw[:-1] + bytes([raw[-1] ^ 1])):
        assert refused(f"{text}.{b64(wrong)}") == "signature"


@pytest.mark.parametrize("name", ["ES256", "EdDSA", "RS256"])
def test_a_key_that_comes_with_the_token_is_not_believed(tmp_path, name):
    path = written(tmp_path / "key", KEYS[name].private_bytes(PEM, PKCS8, OPEN))
    mallory = new_key(name)
    theirs = {n: v for n, v in jwk(mallory).items() if n in ("kty", "crv", "x", "y", "n", "e")}
    kid = thumbprint(KEYS[name])
    for header in (
            {"jwk": theirs}, {"jwk": theirs, "kid": kid}, {"jku": "http://127.0.0.1:1/jwks.json"},
            {"x5u": "http://127.0.0.1:1/cert.pem"}, {"x5c": ["MIIB"]}, {"kid": kid},
            {"kid": "../../../../dev/null"}, {"kid": "' OR 1=1 --"}, {"kid": [kid]}, {"kid": None}):
        token = signed(name, header, mallory)
        done = jotd("verify", *options(path, name), "--json", token, expect=65)
        assert json.loads(done.stdout)["reason"] == "signature", header
        # What they name changes nothing for a token that is ours.
        own = signed(name, header, KEYS[name])
        assert jotd("verify", *options(path, name), own).stdout.startswith("valid: "), header
    for header in ({"crit": ["exp"], "exp": 1}, {"b64": False}, {"crit": ["b64"], "b64": False}):
        token = signed(name, header, KEYS[name])
        done = jotd("verify", *options(path, name), "--json", token, expect=65)
        assert json.loads(done.stdout)["reason"] == "malformed", header


# MARK: `jotd verify --jwks`

def public_jwk(key, **more):
    whole = jwk(key)
    return {n: whole[n] for n in whole if n in ("kty", "crv", "x", "y", "n", "e")} | more


def verdict(tmp_path, token, *keys):
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"keys": list(keys)}))
    done = subprocess.run([JOTD, "verify", "--json", "--jwks", path, token], capture_output=True,
                          text=True)
    return json.loads(done.stdout) if done.returncode != 78 else done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_set_of_public_keys_verifies(tmp_path, name):
    """Of anybody, also without alg and kid, beside what is not known here."""
    token = jwt.encode(good(), KEYS[name], algorithm=name)
    unknown = [{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}, {"kty": "EC", "crv": "P-521"},
               public_jwk(new_key("ES256"), use="enc"), {"kty": "oct", "k": "AAAA"}, "text", 7]
    said = verdict(tmp_path, token, *unknown, public_jwk(KEYS[name], alg=name, kid="k1"))
    assert said["valid"] and said["key"] == "k1" and said["claims"]["user_id"] == "mallory"
    said = verdict(tmp_path, token, public_jwk(KEYS[name]))
    assert said["valid"] and "key" not in said
    other = public_jwk(new_key(name), alg=name)
    assert verdict(tmp_path, token, other, public_jwk(KEYS[name], alg=name))["valid"]
    assert verdict(tmp_path, token, other)["reason"] == "signature"
    text, signature = token.rsplit(".", 1)
    raw = base64.urlsafe_b64decode(signature + "==")
    for wrong in (b"", raw[:-1], raw + b"\0", bytes(len(raw)), raw[:-1] + bytes([raw[-1] ^ 1])):
        said = verdict(tmp_path, f"{text}.{b64(wrong)}", public_jwk(KEYS[name], alg=name))
        assert said["reason"] == "signature"
    for secret in public_forms(KEYS[name]):
        confused = compact({"alg": "HS256"}, good(), mac(secret))
        said = verdict(tmp_path, confused, public_jwk(KEYS[name], alg=name))
        assert said["reason"] == "algorithm"


def test_a_set_may_come_from_a_pipe(tmp_path):
    token = jwt.encode(good(), KEYS["ES256"], algorithm="ES256")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = json.dumps({"keys": [public_jwk(KEYS["ES256"])]})
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        threads.submit(pipe.write_text, text)
        jotd("verify", "--jwks", pipe, token)


def test_what_the_daemon_publishes_verifies_what_it_mints(keyed):
    keyed.start().ready()
    path = keyed.path("set.json")
    path.write_text(fetched(keyed)[1])
    for name in "bc":
        assert jotd("verify", "--jwks", path, keyed.read(f"{name}.jwt")).stdout.startswith("valid")
    done = jotd("verify", "--jwks", path, "--json", keyed.read("a.jwt"), expect=65)
    assert json.loads(done.stdout)["reason"] == "algorithm"


@pytest.mark.parametrize("wrong, message", [
    (lambda key: public_jwk(key, alg="ES384"), "which ES256 takes"),
    (lambda key: public_jwk(key, alg="HS256"), "HS256"),
    (lambda key: public_jwk(key, alg="none"), "its alg is none that is known here"),
    (lambda key: public_jwk(key, use="enc"), "its use is not sig"),
    (lambda key: public_jwk(key, key_ops=["sign"]), "its key_ops are without verify"),
    (lambda key: public_jwk(key, y=public_jwk(new_key("ES256"))["y"]), "make no public key"),
    (lambda key: public_jwk(key, x=b64(bytes(32)), y=b64(bytes(32))), "make no public key"),
    (lambda key: public_jwk(key, x=b64(b"\xff" * 32)), "make no public key"),
    (lambda key: public_jwk(key, x=public_jwk(key)["x"][:-2]), "its x"),
    (lambda key: {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(32))}, "of small order"),
    (lambda key: {"kty": "OKP", "crv": "Ed25519", "x": b64(b"\1" + bytes(30) + b"\x80")},
     "of small order"),
    (lambda key: {"kty": "OKP", "crv": "Ed25519", "x": b64(b"\xed" + b"\xff" * 30 + b"\x7f")},
     "of small order"),
    (lambda key: public_jwk(key, crv="P-384"), "its x has 32 bytes, 48 are required"),
    (lambda key: public_jwk(key, crv="secp256k1"), "its crv is not P-256 or P-384"),
])
def test_what_is_no_public_key_is_passed_over(
        tmp_path, wrong, message):
    key = KEYS["ES256"]
    token = jwt.encode(good(), key, algorithm="ES256")
    said = verdict(tmp_path, token, wrong(key))
    assert "it has no key that verifies tokens" in said and message in said
    assert verdict(tmp_path, token, wrong(key), public_jwk(key))["valid"]


@pytest.mark.parametrize("text, message", [
    ("", "it is no acceptable JSON"), ("[]", "it is no JWK Set"), ('{"keys":{}}', "no JWK Set"),
    ('{"keys":[]}', "it has no key that verifies tokens"), ('{"keys":[],"keys":[]}', "JSON"),
    ('{"keys":[' + ",".join(["{}"] * 101) + "]}", "it has 101 keys: 100 are allowed"),
    pytest.param(" " * (128 << 10) + '{"keys":[]}', "too large", id="too large"),
])
def test_what_is_no_set_is_refused(tmp_path, text, message):
    path = tmp_path / "set.json"
    path.write_text(text)
    assert message in jotd("verify", "--jwks", path, "a.b.c", expect=78).stderr
    assert "leave the other key options out" in jotd(
        "verify", "--jwks", path, "--secret-file", path, "a.b.c", expect=64).stderr


# MARK: `jotd key generate`

@pytest.mark.parametrize("name", NAMES)
def test_a_generated_key_is_for_its_owner_and_for_what_it_was_made(tmp_path, name):
    path = tmp_path / "key.pem"
    done = subprocess.run(
        [JOTD, "key", "generate", "--algorithm", name,
         "--output", path], umask=0, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert path.stat().st_mode & 0o7777 == 0o600
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    token = jotd("mint", *CLAIMS, *options(path, name)).stdout.strip()
    jwt.decode(token, key.public_key(), algorithms=[name])
    before = path.read_bytes()
    done = jotd("key", "generate", "--algorithm", name, "--output", path, expect=73)
    assert "is there already" in done.stderr and path.read_bytes() == before
    printed = jotd("key", "generate", "--algorithm", name).stdout.encode()
    assert printed != before and serialization.load_pem_private_key(printed, None)


def test_a_secret_is_made_by_another_command():
    done = jotd("key", "generate", "--algorithm", "HS256", expect=64)
    assert "make one with jotd secret" in done.stderr
    assert "-----BEGIN PRIVATE KEY-----" in on_terminal(80, 24, "key", "generate", "--algorithm",
                                                        "ES256")


@pytest.mark.parametrize("words, message", [
    (["--private-key-file", "/k"], "Say by --algorithm what the private key is for: ES256, ES384"),
    (["--private-key-file", "/k", "--algorithm", "HS256"], "Say by --algorithm"),
    (["--secret-file", "/k", "--algorithm", "ES256"], "ES256 takes a private key"),
    (["--secret-file", "/k", "--private-key-file", "/k", "--algorithm", "ES256"], "exclude"),
    (["--private-key-file", "/k", "--algorithm", "ES256", "--allow-weak-secret"], "do not go with"),
    (["--private-key-file", "/k", "--algorithm", "ES256", "--key", "k"], "--key names one"),
])
def test_options_that_do_not_go_together(words, message):
    assert message in jotd("mint", *CLAIMS, *words, expect=64).stderr


# MARK: Where it is in memory

def parts_of(key, form):
    """What makes the key: its number, its primes or its seed, in the file's own digits, and in the
    bytes and words that computing takes."""
    wanted = {}
    for part in {"EC": "d", "OKP": "d", "RSA": "d p q dp dq qi"}[jwk(key)["kty"]].split():
        number = base64.urlsafe_b64decode(jwk(key)[part] + "==")
        wanted[f"{part} big"], wanted[f"{part} little"] = number, number[::-1]
        wanted[f"{part} text"] = jwk(key)[part].encode()
    content = json.dumps(jwk(key)) if form == "jwk" else key.private_bytes(PEM, PKCS8, OPEN)
    if form == "pem":
        wanted["line"] = content.splitlines()[1]
    return content, wanted


@needs_root
@pytest.mark.parametrize("name", ["ES256", "RS256", "EdDSA"])
@pytest.mark.parametrize("form", ["pem", "jwk"])
def test_the_private_half_is_in_locked_memory_only(home, name, form):
    content, wanted = parts_of(KEYS[name], form)
    path = written(home.path("key"), content)
    home.config.write_text(
        f"keys: {{ k: {{ algorithm: {name}, private_key: {{ file: {path} }} }} }}\n"
        f"socket: {{ path: {home.path('s')} }}\n"
        "identities: { a: { user_id: u, role: viewer, deliver: [ { file: %s } ] } }\n"
        % home.path("a.jwt"))
    daemon = home.start().ready()
    for _ in range(20):
        jotd("rotate", "--config", home.config, "a")
    found = in_memory(daemon.pid, wanted)
    assert [each for each in found if each[1]], "it must be somewhere"
    assert [each for each in found if not each[1]] == []


@needs_root
@pytest.mark.parametrize("name", ["ES256", "RS256", "EdDSA"])
@pytest.mark.parametrize("form", ["pem", "jwk"])
def test_nothing_of_a_private_key_is_left_where_it_was_read(tmp_path, name, form):
    """In a command that has read its key, and waits for the token."""
    content, wanted = parts_of(KEYS[name], form)
    path = written(tmp_path / "key", content)
    process = subprocess.Popen(
        [JOTD, "verify", *map(str, options(path, name))], stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    try:
        # Asleep in read(2) of its standard input.
        eventually(lambda: "pipe" in open(f"/proc/{process.pid}/wchan").read())
        found = in_memory(process.pid, wanted)
        assert [each for each in found if each[1]], "it must be somewhere"
        assert [each for each in found if not each[1]] == []
    finally:
        process.stdin.close()
        assert process.wait(60) == 65
