"""What the tests of tokens share: jotd's commands and its daemon, given bytes, and PyJWT."""

import base64
import hmac
import json
import re
import subprocess
import urllib.parse
from contextlib import contextmanager

import jwt
import pytest

from conftest import Answer, Connection, Home, JOTD, SECRET
from test_tokens import HEADER, b64, good, sign

OURS = ["user_id", "role", "iat", "exp"]
# Good for as long as tests may take.
OUR_CLAIMS = good(exp=9_999_999_999)
BIG = (32 << 10) + 1


def run(command, *arguments, stdin=b""):
    """One command of jotd, given bytes: it may refuse them, it must not crash."""
    stdin = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run(
        [JOTD, command, *map(str, arguments)], input=stdin, capture_output=True, timeout=60)
    assert done.returncode in (0, 64, 65, 78), done
    return done


def verify(token, key, *more):
    """The claims, or the reason for which they are not believed."""
    done = run("verify", "--json", *key, *more, stdin=token)
    result = json.loads(done.stdout)
    assert done.returncode == (0 if result["valid"] else 65), done
    assert result["valid"] or not quotes(done.stdout + done.stderr, token), done
    return result["claims"] if result["valid"] else result["reason"]


def pyjwt(token, key=SECRET, algorithm="HS256"):
    """The claims as PyJWT reads them; None for what it refuses or stumbles over."""
    try:
        return jwt.decode(token, key, [algorithm], options={"require": OURS, "verify_aud": False})
    except Exception:
        return None


def exact(value):
    """Text that tells 1 from 1.0 and from true, and 0.0 from -0.0, as == does not."""
    return json.dumps(value, sort_keys=True)


def seal(signing_input, secret=SECRET.encode()):
    """Any two parts, with the signature that is right for them."""
    return f"{signing_input}." + b64(hmac.new(secret, signing_input.encode(), "sha256").digest())


def plain(text):
    """The bytes of a base64url text (RFC 7515 appendix C)."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def quotes(output, token):
    """Whether eight bytes in a row of the token are in what was printed."""
    token = token if isinstance(token, bytes) else token.encode()
    return any(token[at:at + 8] in output for at in range(len(token) - 7))


def key_of(folder, secret, *options):
    """Key options for a secret, as it is written."""
    path = folder / "secret"
    path.write_bytes(secret)
    path.chmod(0o600)
    return ["--secret-file", path, *options]


def configure(folder, identities="{}", algorithm="HS256"):
    """A configuration with a query socket; `identities` is YAML text."""
    folder.chmod(0o700)
    home = Home(folder)
    home.config.write_text(
        f"signing: {{ algorithm: {algorithm}, secret: {{ file: {home.secret} }} }}\n"
        f"socket: {{ path: {folder}/s }}\nidentities: {identities}\n")
    return home


@contextmanager
def serving(home):
    """Starts a daemon; gives a function that asks it, over one connection that is kept alive."""
    daemon = home.start().ready()
    connection = Connection(home.path("s"))

    def ask(*request):
        connection.request(*request)
        return Answer(connection.getresponse())
    try:
        yield ask
    finally:
        connection.close()
        assert daemon.stop() == 0
    assert not any("eyJ" in line for line in daemon.lines), "a token in the log"


@pytest.fixture(scope="module")
def introspect(tmp_path_factory):
    """The claims of a token; None when it is not active, or not even the UTF-8 of a form."""
    with serving(configure(tmp_path_factory.mktemp("service"))) as ask:
        def claims(token):
            answer = ask("POST", "/introspect", urllib.parse.urlencode({"token": token}),
                         {"Content-Type": "application/x-www-form-urlencoded"})
            if answer.status == 200 and answer.json["active"]:
                return {name: value for name, value in answer.json.items() if name != "active"}
            assert answer.status == 400 or answer.json == {"active": False}
            return None
        yield claims


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return key_of(tmp_path_factory.mktemp("key"), SECRET.encode())


def raw(user_id='"u"', role='"admin"', iat="1", exp="9999999999", more=""):
    """A signed token whose claims set has these values, JSON or not."""
    text = f'{{"user_id":{user_id},"role":{role},"iat":{iat},"exp":{exp}{more}}}'
    return sign(HEADER, text.encode("utf-8", "surrogatepass"))


def padding_to(size, signature=43):
    """A string that makes a token with it, as the claim x, so many bytes long."""
    empty = plain(raw(iat="1" * 10, more=',"x":""').split(".")[1])
    return "x" * ((size - len(f"{b64(HEADER)}..") - signature) * 3 // 4 - len(empty))


def assert_shown(token, claims):
    """Decode shows these claims, in their order: each name, a colon, the value, and words."""
    lines = run("decode", stdin=token).stdout.decode().split("\n")
    lines = lines[lines.index("claims") + 1:-2]
    assert len(lines) == len(claims)
    for line, (name, value) in zip(lines, claims.items()):
        ends = [at for at in range(2, len(line))
                if line[at:at + 2] == ": " and unescaped(line[2:at]) == name]
        assert ends, f"the name {name!a} is shown in {line!a}"
        assert exact(json.JSONDecoder().raw_decode(line[ends[0] + 2:])[0]) == exact(value)


def unescaped(text):
    """The string that JSON writes so, between quotation marks; None when it is none."""
    return json.loads(f'"{text}"') if re.fullmatch(r'([^"\\]|\\.)*', text) else None
