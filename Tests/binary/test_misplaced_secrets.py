"""A secret that stands in the wrong place of a configuration is repeated by no error, wherever it
stands, however it is written, and whoever shows the error."""

import base64
import hashlib
import json
import os
import socket
import subprocess

import pytest

from conftest import JOTD, SECRET, jotd

BYTES = hashlib.sha256(b"misplaced").digest()

TOKEN = jotd("mint", "--user-id", "alice", "--role", "admin", "--secret-env", "S",
             env={"S": SECRET}).stdout.strip()

SECRETS = {
    "hex": BYTES.hex(),
    "capitals": BYTES.hex().upper(),
    "base64": base64.b64encode(BYTES).decode(),
    "rooted": "/" + base64.b64encode(BYTES + b"\xff\xef\xbe").decode()[1:],
    "base64url": base64.urlsafe_b64encode(BYTES).decode().rstrip("="),
    "base32": base64.b32encode(BYTES).decode().rstrip("="),
    "digits": str(int.from_bytes(BYTES, "big"))[:48],
    "phrase": "Correct horse battery staple, 0123 and one more",
    "dashes": SECRET,
    "example": "dev-secret-change-me",
    "symbols": "p@ss:w0rd{with}[every]#sign&%and!more?\\ok",
    "token": TOKEN,
}

# @ is the secret. Each is the whole document, or what follows a good `signing`.
PLACES = {
    # Below signing.
    "secret": "signing: { secret: @ }",
    "secret-list": "signing: { secret: [ @ ] }",
    "signing": "signing: @",
    "env": "signing: { secret: { env: @ } }",
    "file": "signing: { secret: { file: @ } }",
    "file-in-folder": "signing: { secret: { file: /etc/@ } }",
    "credential": "signing: { secret: { credential: @ } }",
    "credential-number": "signing: { secret: { credential: !!int @ } }",
    "encoding": "signing: { secret: { env: A, encoding: @ } }",
    "source-key": "signing: { secret: { @: x } }",
    "source-doubled": "signing: { secret: { @: x, @: y } }",
    "signing-key": "signing: { @: x }",
    "signing-doubled": "signing:\n  @: x\n  @: y",
    "algorithm": "signing: { secret: { env: A }, algorithm: @ }",
    "allow": "signing: { secret: { env: A }, allow_weak_secret: @ }",
    "tag": "signing: { secret: !@ x }",
    "verbatim-tag": "signing: { secret: !<@> x }",
    "core-tag": "signing: { secret: !!@ x }",
    "alias": "signing: { secret: *@ }",
    "anchor": "signing: { secret: &@ [ *@ ] }",
    "two-sources": "signing: { secret: { env: @, file: @ } }",
    # Elsewhere.
    "root": "@",
    "top-key": "@: x",
    "top-doubled": "@: x\n@: y",
    "defaults": "defaults: @",
    "lifetime": "defaults: { lifetime: @ }",
    "threshold": "defaults: { refresh_before: @ }",
    "socket": "socket: { path: @ }",
    "socket-in-folder": "socket: { path: /run/@/s }",
    "group": "socket: { path: /run/x/s, group: @ }",
    "socket-mode": "socket: { path: /run/x/s, mode: @ }",
    "operator-user": "socket: { path: /run/x/s, operators: [ { user: @ } ] }",
    "operator-unit": "socket: { path: /run/x/s, operators: [ { unit: @ } ] }",
    "operator-kind": "socket: { path: /run/x/s, operators: [ { @: x } ] }",
    "credentials": "socket: { path: /run/x/s, credentials: @ }",
    "name": "identities: { @: { user_id: u } }",
    "name-twice": "identities:\n  @: { user_id: u, role: admin }\n  @: { user_id: u, role: admin }",
    "name-scalar": "identities: { @: 5 }",
    "identity": "identities: { a: @ }",
    "identity-key": "identities: { a: { @: x } }",
    "user-id": "identities: { a: { user_id: @ } }",
    "user-id-list": "identities: { a: { user_id: [ @ ] } }",
    "role": "identities: { a: { user_id: u, role: @ } }",
    "identity-lifetime": "identities: { a: { user_id: u, role: admin, lifetime: @ } }",
    "claims": "identities: { a: { user_id: u, role: admin, claims: @ } }",
    "claim": "identities: { a: { user_id: u, role: admin, claims: { iss: [ @ ] } } }",
    "claim-key": "identities: { a: { user_id: u, role: admin, claims: { @: .inf } } }",
    "claim-deep": "identities: { a: { user_id: u, role: admin, claims: { x: { @: [ .nan ] } } } }",
    "claim-twice": "identities: { a: { user_id: u, role: admin, claims: { @: 1, @: 2 } } }",
    "claim-number": "identities: { a: { user_id: u, role: admin, claims: { x: 0x@ } } }",
    "claim-tag": "identities: { a: { user_id: u, role: admin, claims: { x: !@ y } } }",
    "deliver": "identities: { a: { user_id: u, role: admin, deliver: @ } }",
    "delivery": "identities: { a: { user_id: u, role: admin, deliver: [ @ ] } }",
    "delivery-file": "identities: { a: { user_id: u, role: admin, deliver: [ { file: @ } ] } }",
    "delivery-folder":
        "identities: { a: { user_id: u, role: admin, deliver: [ { file: /@/x/y } ] } }",
    "delivery-twice":
        "identities: { a: { user_id: u, role: admin, deliver: [ { file: /run/@ }, "
        "{ file: /run/@ } ] } }",
    "delivery-key": "identities: { a: { user_id: u, role: admin, deliver: [ { @: /run/x } ] } }",
    "format":
        "identities: { a: { user_id: u, role: admin, deliver: [ { file: /x, format: @ } ] } }",
    "variable":
        "identities: { a: { user_id: u, role: admin, deliver: [ { file: /x, format: env, "
        "variable: @ } ] } }",
    "owner": "identities: { a: { user_id: u, role: admin, deliver: [ { file: /x, owner: @ } ] } }",
    "mode": "identities: { a: { user_id: u, role: admin, deliver: [ { file: /x, mode: @ } ] } }",
    "in-place":
        "identities: { a: { user_id: u, role: admin, deliver: [ { file: /x, in_place: @ } ] } }",
    "template":
        "identities: { a: { user_id: u, role: admin, deliver: [ { file: /x, format: text, "
        "template: @ } ] } }",
    "template-name":
        "identities: { a: { user_id: u, role: admin, deliver: [ { file: /x, format: text, "
        "template: '{@} {token}' } ] } }",
    "max-bytes":
        "identities: { a: { user_id: u, role: admin, deliver: [ { file: /x, max_bytes: @ } ] } }",
    "allow-unit": "identities: { a: { user_id: u, role: admin, allow: [ { unit: @ } ] } }",
    "allow-user": "identities: { a: { user_id: u, role: admin, allow: [ { user: @ } ] } }",
    "hook": "identities: { a: { user_id: u, role: admin, on_rotate: [ @ ] } }",
    "hook-key": "identities: { a: { user_id: u, role: admin, on_rotate: [ { @: x } ] } }",
    "hook-reload": "identities: { a: { user_id: u, role: admin, on_rotate: [ { reload: @ } ] } }",
    "hook-run": "identities: { a: { user_id: u, role: admin, on_rotate: [ { run: [ @ ] } ] } }",
    "hook-scalar": "identities: { a: { user_id: u, role: admin, on_rotate: [ { run: @ } ] } }",
    "hook-pid":
        "identities: { a: { user_id: u, role: admin, on_rotate: [ { signal: { "
        "pid_file: @ } } ] } }",
    "hook-signal":
        "identities: { a: { user_id: u, role: admin, on_rotate: [ { signal: { pid_file: /x, "
        "signal: @ } } ] } }",
    "unclosed": "identities: { a: @",
    "comment": "identities: {} #@",
    "directive": "%@ x\n---\nidentities: {}",
    "second-document": "identities: {}\n---\n@",
}

# A `signing` whose secret is refused, so that no daemon starts.
SHORT = "signing: { secret: { env: A } }\n"


def document(name, secret, good, is_quoted, is_wrong):
    """One place with the secret in it; `is_wrong`: with something wrong besides, so that it is
    refused in any case."""
    text = PLACES[name].replace("@", json.dumps(secret) if is_quoted else secret)
    if not text.startswith("signing") and name not in ("root", "directive"):
        text = good + text
    return text + ("\ncolour: red\n" if is_wrong else "\n")


def repeats(text, secret):
    return next((secret[i:i + 8] for i in range(len(secret) - 7) if secret[i:i + 8] in text), None)


def told(folder, text, command):
    path = folder / "j.yaml"
    path.write_text(text)
    done = subprocess.run(
        [JOTD, command, "--config", path], capture_output=True, text=True, timeout=20,
        env={**os.environ, "A": "short"})
    assert done.returncode in (0, 78), (done.returncode, text)
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", SECRETS)
def test_no_error_of_check_repeats_it(tmp_path, kind):
    wrong = []
    for index, name in enumerate(PLACES):
        # A name in a path may be repeated when it is shorter than any secret that is accepted.
        if kind == "example" and "/@" in PLACES[name]:
            continue
        # Both forms, and with a further error or without, in turn.
        turn = index + list(SECRETS).index(kind)
        text = document(name, SECRETS[kind], SHORT, turn & 1, turn & 2)
        if repeats(told(tmp_path, text, "check"), SECRETS[kind]):
            wrong.append(name)
    assert not wrong


def test_run_repeats_it_as_little(tmp_path):
    wrong = []
    kinds = ["hex", "dashes", "phrase"]
    for index, name in enumerate(PLACES):
        secret = SECRETS[kinds[index % len(kinds)]]
        text = document(name, secret, SHORT, index & 1, index & 2)
        if repeats(told(tmp_path, text, "run"), secret):
            wrong.append(name)
    assert not wrong


def test_a_refused_reload_repeats_it_as_little(home):
    signing = f"signing: {{ secret: {{ file: {home.secret} }} }}\n"
    socket = f"socket: {{ path: {home.path('s')} }}\n"
    home.config.write_text(signing + socket + "identities: {}\n")
    daemon = home.start().ready()
    kinds = ["hex", "base64", "phrase", "dashes"]
    for index, name in enumerate(PLACES):
        secret = SECRETS[kinds[index % len(kinds)]]
        home.config.write_text(document(name, secret, signing, index & 4, True))
        daemon.reload()
        assert not repeats(daemon.lines[-1], secret), name
    for kind in kinds:
        home.config.write_text(signing + socket + "colour: " + SECRETS[kind] + "\nidentities: {}\n")
        daemon.reload()
        health = subprocess.run(
            ["curl", "-s", "--unix-socket", home.path("s"), "http://jotd/health"],
            capture_output=True, text=True).stdout
        assert "refused" in health and not repeats(health, SECRETS[kind])
    assert daemon.count("is refused") >= len(PLACES)


def test_what_is_a_slip_and_no_secret_is_repeated(tmp_path):
    text = told(
        tmp_path,
        "signing: { secret: { env: A } }\nidentities:\n  a: { user_id: u, rule: admin }\n"
        "  b: { user_id: u, role: oprator, deliver: [ { file: run/a.jwt } ], lifetme: 5 }\n"
        "  c: { user_id: u, role: admin, deliver: [ { file: /run/../a, owner: nobdy } ] }\n",
        "check")
    for words in ('"rule" in identities.a; did you mean "role"?',
                  '"oprator"; did you mean "operator"?',
                  '"run/a.jwt"', '"lifetme"', '"/run/../a"', '"nobdy"'):
        assert words in text, words


def test_random_characters_are_no_word_however_few(home):
    """Sixteen of them could be half of a secret; a word of that length is repeated."""
    for text, isShown in (("qT7xK2mB9wZ4vR1c", False), ("viewer-of-camera", True)):
        home.configure(f"  a: {{ user_id: u, role: {text} }}\n")
        said = jotd("check", "--config", home.config, expect=78).stderr
        assert (text in said) == isShown and "viewer, operator, admin" in said, said


SLIPS = [
    "secret: { file: SECRET }", "secret: { env: SECRET }", "secret: { credential: SECRET/x }",
    "secret: { env: A, encoding: SECRET }", "secret: SECRET", "secret: { SECRET: x }",
    "algorithm: SECRET", "SECRET: x", "secret: { file: [ SECRET ] }", "secret: { env: 1SECRET }",
]


@pytest.mark.parametrize("slip", SLIPS)
def test_a_secret_in_the_wrong_place_is_not_repeated(home, slip):
    secret = "Q9zzTOPxSECRETxq0123456789"
    home.config.write_text(
        "signing: { " + slip.replace("SECRET", secret) + " }\nidentities: {}\n")
    done = jotd("check", "--config", home.config, expect=78)
    assert secret not in done.stderr and done.stderr
    done = subprocess.run(
        [JOTD, "mint", "--secret-env", secret, "--user-id", "u", "--role", "admin"],
        capture_output=True, text=True)
    assert done.returncode == 78 and secret not in done.stderr


@pytest.mark.parametrize("arguments", [
    ["verify", "x", "TOKEN"], ["TOKEN"], ["verify", "--required-role", "TOKEN", "x"],
    ["decode", "--TOKEN"], ["mint", "--user-id", "u", "--role", "TOKEN"]])
def test_a_token_in_the_wrong_place_is_not_repeated(arguments):
    token = "eyJhbGciOiJIUzI1NiJ9.eyJ1IjoxfQ.c2lnbmF0dXJl"
    done = jotd(*[a.replace("TOKEN", token) for a in arguments], expect=64)
    assert "c2ln" not in done.stderr and "eyJ" not in done.stderr


def test_a_foreign_tag_hides_nothing_else(home):
    home.config.write_text(
        f"signing: {{ secret: {{ file: {home.secret} }}, foo: 1 }}\nidentities:\n"
        "  a: { user_id: !int u, role: vewer }\n")
    text = jotd("check", "--config", home.config, expect=78).stderr
    assert len(text.splitlines()) == 3 and "viewer" in text and "!int" in text
