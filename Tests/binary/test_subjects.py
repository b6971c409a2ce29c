"""Identities without user_id and role, whose tokens speak for a subject: for verifiers that know
no camera service."""

import json
import subprocess
import time

import pytest

from conftest import SECRET, claims_of, eventually, jotd
from test_tokens import HEADER, good, sign

SUBJECT = ("  gate:\n    claims: { sub: gate-7, aud: doors }\n    lifetime: 1h\n"
           "    refresh_before: 20%\n    allow: [ { user: root } ]\n    deliver:\n"
           "      - { file: @/gate.jwt }\n      - { file: @/gate.json, format: json }\n")
KEY = ["--secret-env", "S"]
ENV = {"S": SECRET}


def token_of(**claims):
    return sign(HEADER, good(user_id=None, role=None, **claims))


def introspect(home, token, *more):
    done = subprocess.run(
        ["curl", "-sS", "--unix-socket", home.path("s"), "--data-urlencode", f"token={token}",
         *more, "http://jotd/introspect"], capture_output=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def gate(home):
    """A daemon with one identity of each kind."""
    home.configure(SUBJECT + "  cam: { user_id: cam, role: viewer, claims: { sub: other } }\n")
    home.config.write_text(f"socket: {{ path: {home.path('s')} }}\n" + home.config.read_text())
    home.daemon = home.start().ready()
    return home


def test_its_claims_are_the_times_and_those_that_are_configured(gate):
    claims = claims_of(gate.read("gate.jwt"))
    assert list(claims) == ["iat", "exp", "sub", "aud"]
    assert (claims["sub"], claims["aud"]) == ("gate-7", "doors")
    assert claims["exp"] - claims["iat"] == 3600
    whole = json.loads(gate.read("gate.json"))
    assert list(whole) == ["identity", "token", "sub", "issued_at", "expires_at", "refresh_at"]
    assert (whole["sub"], whole["token"]) == ("gate-7", gate.read("gate.jwt"))


def test_who_it_is_is_told_by_its_subject(gate):
    gate.daemon.wait_for("gate: new token for gate-7, expires ")
    gate.daemon.wait_for("cam: new token for cam (viewer), expires ")
    done = subprocess.run(
        ["curl", "-sS", "--unix-socket", gate.path("s"), "http://jotd/v1/identities"],
        capture_output=True, check=True)
    cam, other = json.loads(done.stdout)["identities"]
    assert list(cam)[:3] == ["identity", "user_id", "role"] and "sub" not in cam
    assert list(other)[:3] == ["identity", "sub", "state"] and other["sub"] == "gate-7"


def test_its_token_is_kept_over_a_restart_until_the_subject_changes(gate):
    old = gate.read("gate.jwt")
    gate.daemon.stop()
    daemon = gate.start().ready()
    daemon.wait_for("gate: the token found is kept")
    assert gate.read("gate.jwt") == old
    gate.config.write_text(gate.config.read_text().replace("gate-7", "gate-8"))
    daemon.reload()
    eventually(lambda: claims_of(gate.read("gate.jwt"))["sub"] == "gate-8")
    # From a user to a subject, and back.
    for end, names in [("user_id: u\n    role: admin\n    claims: { ", ["user_id", "role"]),
                       ("claims: { ", ["iat", "exp"])]:
        text = gate.config.read_text()
        begin = text[text.index("  gate:\n    ") + len("  gate:\n    "):text.index("sub: gate-8")]
        gate.config.write_text(text.replace(begin + "sub: gate-8", end + "sub: gate-8"))
        daemon.reload()
        eventually(lambda: list(claims_of(gate.read("gate.jwt")))[:2] == names)


def test_a_token_of_a_subject_is_good_wherever_no_role_is_asked_for(gate):
    token = gate.read("gate.jwt")
    answer = introspect(gate, token)
    assert answer == {"active": True, **claims_of(token)}
    assert introspect(gate, token, "--data-urlencode", "required_role=viewer") == {"active": False}
    assert jotd("verify", *KEY, token, env=ENV).stdout.startswith('valid: "gate-7", expires ')
    done = jotd("verify", *KEY, "--required-role", "viewer", token, env=ENV, expect=65)
    assert "role: it has no role, viewer is required" in done.stderr
    shown = json.loads(jotd("verify", *KEY, "--json", token, env=ENV).stdout)
    assert shown == {"valid": True, "claims": claims_of(token)}


@pytest.mark.parametrize("reason,claims", [
    ("missing_claim", {"sub": "s", "role": "admin"}),
    ("missing_claim", {"sub": "s", "user_id": "u"}), ("missing_claim", {}),
    ("malformed", {"sub": 5}), ("malformed", {"sub": ["s"]}),
    ("missing_claim", {"sub": "s", "exp": None}), ("missing_claim", {"sub": "s", "iat": None}),
    ("expired", {"sub": "s", "exp": 1}), ("role", {"sub": "s", "user_id": "u", "role": "x"})])
def test_half_a_user_and_half_a_subject_are_nobody(reason, claims):
    base = {"user_id": None, "role": None}
    token = sign(HEADER, good(**{**base, **claims}))
    done = jotd("verify", *KEY, token, env=ENV, expect=65)
    assert done.stderr.startswith(f"jotd: not valid: {reason}: "), done.stderr


def test_mint_and_refresh_make_such_tokens(tmp_path):
    minted = jotd("mint", *KEY, "--claim", "sub=x", "--claim", "aud=y", env=ENV).stdout.strip()
    assert list(claims_of(minted)) == ["iat", "exp", "sub", "aud"]
    now = int(time.time())
    old = token_of(sub="x", more=[1], exp=now + 60)
    new = claims_of(jotd("refresh", *KEY, old, env=ENV).stdout.strip())
    assert list(new) == ["iat", "exp", "sub", "more"] and new["exp"] >= now + 86_400
    for words in [[], ["--user-id", "u"], ["--role", "viewer"], ["--claim", "aud=y"],
                  ["--user-id", "u", "--claim", "sub=x"], ["--role", "admin", "--claim", "sub=x"],
                  ["--claim", "sub=5"], ["--claim", "sub="]]:
        done = jotd("mint", *KEY, *words, env=ENV, expect=64)
        assert done.stdout == "" and "sub" in done.stderr, words
