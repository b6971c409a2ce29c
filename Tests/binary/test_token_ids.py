"""What each token has of its own: an id of its own, and another type."""

import json
import re

import jwt
import pytest

from conftest import SECRET, claims_of, eventually, jotd
from test_tokens import HEADER, good, sign

KEY = ["--secret-env", "S"]
ENV = {"S": SECRET}
BOTH = "    type: at+jwt\n    token_id: true\n"


def header_of(token):
    return jwt.get_unverified_header(token)


def test_each_token_has_an_id_of_its_own(home):
    home.one(life="3s", before="1s", extra=BOTH, deliver="[ { file: @/a.jwt }, { file: @/b.jwt } ]")
    daemon = home.start().ready()
    found = {}
    for _ in range(3):
        token = home.read("a.jwt")
        claims = claims_of(token)
        assert list(claims) == ["user_id", "role", "iat", "exp", "jti"]
        assert re.fullmatch("[0-9a-f]{32}", claims["jti"]) and claims["jti"] not in found
        found[claims["jti"]] = token
        assert header_of(token) == {"alg": "HS256", "typ": "at+jwt"}
        eventually(lambda: home.read("a.jwt") != token)
        eventually(lambda: home.read("a.jwt") == home.read("b.jwt"))
    assert not any(id in line for line in daemon.lines for id in found)


def test_they_are_kept_over_a_restart(home):
    home.one(life="1d", before="1h", extra=BOTH)
    home.start().ready().stop()
    old = home.read("a.jwt")
    daemon = home.start().ready()
    daemon.wait_for("a: the token found is kept")
    assert home.read("a.jwt") == old
    # What a new token would not say, or another has written, is not kept.
    for extra, typ, has_id in [
            ("    type: at+jwt\n", "at+jwt", False), ("    token_id: true\n", "JWT", True),
            (BOTH, "at+jwt", True), ("    type: JWT\n", "JWT", False), ("", "JWT", False)]:
        daemon.stop()
        home.one(life="1d", before="1h", extra=extra)
        before = home.read("a.jwt")
        daemon = home.start().ready()
        token = home.read("a.jwt")
        assert (header_of(token)["typ"], "jti" in claims_of(token)) == (typ, has_id)
        # A type of JWT is what there is without one.
        assert (token == before) == (extra == "")


@pytest.mark.parametrize("change", ["type", "id", "short id", "long words", "id of others", "more"])
def test_what_somebody_else_wrote_is_not_kept(home, change):
    """Also where it is signed with the secret."""
    home.one(life="1d", before="1h", extra=BOTH)
    home.start().ready().stop()
    old = home.read("a.jwt")
    claims, header = claims_of(old), {"alg": "HS256", "typ": "at+jwt"}
    assert sign(header, claims) == old
    match change:
        case "type": header["typ"] = "JWT"
        case "id": del claims["jti"]
        case "short id": claims["jti"] = claims["jti"][:21]
        case "long words": claims["jti"] = "x" * 32
        case "id of others": claims["jti"] = "c0ffee00-0000-4000-8000-000000000000"
        case "more": header["kid"] = "x"
    home.path("a.jwt").write_text(sign(header, claims))
    home.start().ready().wait_for("a: new token")
    assert header_of(home.read("a.jwt"))["typ"] == "at+jwt"
    assert claims_of(home.read("a.jwt"))["jti"] not in (claims.get("jti"), None)


def test_a_reload_that_changes_either_replaces_the_token(home):
    home.one(life="1d", before="1h")
    daemon = home.start().ready()
    for extra, is_so in [
            ("    type: at+jwt\n", lambda token: header_of(token)["typ"] == "at+jwt"),
            (BOTH, lambda token: "jti" in claims_of(token)),
            ("", lambda token: header_of(token)["typ"] == "JWT" and "jti" not in claims_of(token))]:
        home.one(life="1d", before="1h", extra=extra)
        daemon.reload()
        eventually(lambda: is_so(home.read("a.jwt")))


def test_mint_and_refresh_know_both(tmp_path):
    words = [*KEY, "--user-id", "u", "--role", "viewer"]
    tokens = [jotd("mint", *words, "--type", "at+jwt", "--token-id", env=ENV).stdout.strip()
              for _ in range(2)]
    assert len({claims_of(token)["jti"] for token in tokens}) == 2
    assert header_of(tokens[0]) == {"alg": "HS256", "typ": "at+jwt"}
    assert header_of(jotd("mint", *words, env=ENV).stdout.strip())["typ"] == "JWT"
    for wrong in (["--type", ""], ["--type", "a/b"], ["--type", "x" * 65], ["--type", 'a"'],
                  ["--token-id", "--claim", "jti=x"]):
        assert jotd("mint", *words, *wrong, env=ENV, expect=64).stdout == ""
    old = sign({**HEADER, "typ": "at+jwt"}, good(exp=good()["iat"] + 60))
    assert header_of(jotd("refresh", *KEY, old, env=ENV).stdout.strip())["typ"] == "at+jwt"
    # No two tokens have one id.
    for id in ("x", tokens[0]):
        old = sign(HEADER, good(exp=good()["iat"] + 60, jti=id, more=5))
        claims = claims_of(jotd("refresh", *KEY, old, env=ENV).stdout.strip())
        assert re.fullmatch("[0-9a-f]{32}", claims["jti"]) and claims["more"] == 5
    # What jotd would not write becomes what it writes.
    for typ in ({"typ": "a/b"}, {"typ": 5}, {}):
        old = sign({"alg": "HS256", **typ}, good(exp=good()["iat"] + 60))
        assert header_of(jotd("refresh", *KEY, old, env=ENV).stdout.strip())["typ"] == "JWT"


def test_others_believe_them(home):
    home.one(life="1d", before="1h", extra=BOTH, deliver="[ { file: @/a.json, format: json } ]")
    home.start().ready()
    token = json.loads(home.read("a.json"))["token"]
    assert jwt.decode(token, SECRET, algorithms=["HS256"])["jti"] == claims_of(token)["jti"]
    assert jotd("verify", *KEY, token, env=ENV).stdout.startswith("valid: ")
