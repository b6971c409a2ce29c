"""What comes from outside is shown bounded, on one line, escaped and masked, wherever it is shown:
in errors of the command line, in errors of the configuration, in the journal, in the output of
hooks."""

import base64
import random
import unicodedata

import pytest

from conftest import jotd

MASK = "(a token, not shown)"
RANDOM = random.Random(7)


def encoded(count):
    return base64.urlsafe_b64encode(RANDOM.randbytes(count)).rstrip(b"=").decode()


# A token as jotd makes them, always the same.
HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"

CLAIMS = base64.urlsafe_b64encode(
    b'{"user_id":"alice","role":"admin","iat":1795512978,"exp":1795599378}').rstrip(b"=").decode()

SIGNATURE = encoded(32)
TOKEN = f"{HEADER}.{CLAIMS}.{SIGNATURE}"
JWE_HEADER = base64.urlsafe_b64encode(b'{"alg":"dir","enc":"A128GCM"}').rstrip(b"=").decode()
SPACED = base64.urlsafe_b64encode(b'{ "alg": "HS256", "typ": "JWT" }').rstrip(b"=").decode()


def said(text):
    """What the command line's error says of an argument that it cannot use."""
    done = jotd("verify", "--no-such-option" + text, expect=64)
    assert done.stdout == ""
    error = done.stderr.split("\nUsage:")[0]
    return error.removeprefix("Error: Unknown option '").removesuffix("'")


def shares(text, secret, count=9):
    """Whether `count` characters of the secret in a row are in the text."""
    return any(secret[i:i + count] in text for i in range(len(secret) - count + 1))


@pytest.mark.parametrize("text,of", [
    (TOKEN, TOKEN),
    ("-token:" + TOKEN, TOKEN),
    ("/v1/identities/" + TOKEN + "/rotate", TOKEN),
    (TOKEN[:20], TOKEN),
    (TOKEN[20:], TOKEN),
    (TOKEN[len(HEADER) + 5:], TOKEN),
    (TOKEN[len(HEADER) + 40:len(HEADER) + 80], CLAIMS),
    (SIGNATURE, TOKEN),
    (SIGNATURE[3:33], TOKEN),
    (f"{JWE_HEADER}.{encoded(32)}.{encoded(12)}.{encoded(60)}.{encoded(16)}", JWE_HEADER),
    (f"{JWE_HEADER}..{encoded(12)}.{encoded(60)}.{encoded(16)}", JWE_HEADER),
    (f"{SPACED}.{CLAIMS}.{SIGNATURE}", SPACED),
    (f"%7{TOKEN}", TOKEN),
    ("%7eyJhbGciOiJub25lIn0.e30.x", "eyJhbGciOiJub25lIn0"),
    (f'"{HEADER}"."{CLAIMS}"."{SIGNATURE}"', TOKEN),
    (f"{HEADER}'.'{CLAIMS}'.'{SIGNATURE}", TOKEN),
    (TOKEN.replace("e", "%65").replace(".", "%2E"), TOKEN),
    ("".join(f"%{ord(c):02x}" for c in TOKEN), "".join(f"%{ord(c):02x}" for c in TOKEN)),
    (TOKEN.replace("y", "\\u0079"), TOKEN),
    (TOKEN[:9] + "\u200b" + TOKEN[9:], TOKEN),
    ("\u202e" + "\x1b".join(TOKEN), "\x1b".join(TOKEN)),
    ("\n".join(TOKEN[i:i + 20] for i in range(0, len(TOKEN), 20)), TOKEN),
    ("\r\n".join(TOKEN[i:i + 20] for i in range(0, len(TOKEN), 20)), TOKEN),
    ("\r".join(TOKEN[i:i + 2] for i in range(0, len(TOKEN), 2)), TOKEN),
], ids=[
    "whole", "named", "in-a-path", "start", "end", "cut-header", "claims", "signature", "piece",
    "jwe", "jwe-direct", "spaced-json", "after-an-escape", "short-after-an-escape", "quoted-parts",
    "quoted-periods", "some-percent", "all-percent", "json-escapes", "zero-width", "controls",
    "folded", "folded-as-in-mail", "returns"])
def test_tokens_are_masked(text, of):
    shown = said(text)
    assert MASK in shown and "eyJ" not in shown and not shares(shown, of), shown


def test_hardly_a_signature_escapes_however_short_the_rest_is():
    signatures = [encoded(32) for _ in range(100)]
    masked = said("-- " + " ".join(signatures)).count(MASK)
    assert masked >= 99


@pytest.mark.parametrize("text", [
    "-é.ü", " /run/jotd/front-door.jwt: Permission denied", "-camera-client-for-the-front.service",
    "-0123456789abcdef0123456789abcdef", " CAMERA_SERVICE_JWT_SECRET_OF_THE_YARD",
    "-https://example.org/.well-known/openid-configuration", " 'quoted' \"words\" 100%",
    "-2026-11-24T09:16:43Z", " CameraClientFrontDoorViewer", "-日本語のテキスト",
])
def test_what_is_no_token_is_shown(text):
    assert text in said(text)


EVIL = [
    chr(c) for c in [
        0x01, 0x07, 0x08, 0x0b, 0x0c, 0x1b, 0x7f, 0x85, 0x9b, 0xad, 0x61c, 0x200b, 0x200e, 0x200f,
        0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2060, 0x2066, 0x2067, 0x2068,
        0x2069, 0xfeff, 0xfff9, 0xe000, 0xe0041, 0xffff, 0x10ffff]]


def test_what_steers_a_terminal_is_escaped():
    shown = said("-" + "x".join(EVIL))
    for character in EVIL:
        assert f"\\u{{{ord(character):x}}}" in shown
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")]


@pytest.mark.parametrize(
    "piece", ["x", "é", "\x1b", "\u202e", TOKEN, TOKEN + " ", "\n", "'", "a.b "],
    ids=["letters", "wide", "escapes", "turns", "token", "tokens", "lines", "quotes", "words"])
def test_it_is_bounded_and_says_when_it_was_cut(piece):
    shown = said("-" + piece * (60_000 // len(piece.encode())))
    assert len(shown.encode()) < 8_300
    assert "cut here" in shown or MASK in shown or piece == "\n"
    assert "eyJ" not in shown and not shares(shown, TOKEN)


def test_errors_of_the_configuration_are_on_one_line_each(home):
    home.one(extra='    "a\\n\\u202e\\ud7ff\\e[2J": 1\n')
    done = jotd("check", "--config", home.config, expect=78)
    assert done.stderr.count("\n") == 1 and done.stderr.isprintable() is False
    assert not [c for c in done.stderr[:-1] if unicodedata.category(c)[0] == "C"]


def test_hooks_output_is_masked_in_lines_as_well(home):
    script = home.path("hook")
    folded = "\n".join(TOKEN[i:i + 30] for i in range(0, len(TOKEN), 30))
    script.write_text(
        f"#!/bin/sh\nprintf 'one\\n\\ntwo %s three\\n' {TOKEN}\nprintf '{folded}\\n'\n"
        "printf ' bell\\007 \\342\\200\\256 turned\\n'\nprintf 'last'\n")
    script.chmod(0o755)
    home.one(life="1h", before="1s", extra=f"    on_rotate: [ {{ run: [{script}] }} ]\n")
    daemon = home.start().ready()
    daemon.wait_for("last")
    output = [line.split(f"run {script}: ", 1)[1] for line in daemon.lines
              if f"run {script}: " in line]
    assert output == ["one", f"two {MASK} three", MASK, " bell\\u{7} \\u{202e} turned", "last"]
    assert not any(shares(line, TOKEN) for line in daemon.lines)


def test_lines_are_joined_without_doubled_marks(home):
    """What a program says in sentences is put into one."""
    home.one(life="1h", extra="    on_rotate: [ { reload: no-such-unit-of-this-test.service } ]\n")
    daemon = home.start().ready()
    daemon.wait_for("failed: ")
    line = next(line for line in daemon.lines if "failed: " in line)
    assert "It runs again at the next rotation" in line
    marks = ("..", ".;", ". .", ";;", "; .", ";.", ":.", ": .")
    assert not [mark for mark in marks if mark in line], line


def test_bars_and_line_breaks_are_found_beside_other_characters(home):
    """What a hook prints with CR LF is lines; health has one bar, after which numbers follow."""
    home.path("|\u0301").write_text("#!/bin/sh\nprintf 'one\\r\\ntwo\\r\\n'; exit 3\n")
    home.path("|\u0301").chmod(0o700)
    home.one(extra='    on_rotate: [ { run: [ "@/|\u0301" ] } ]\n')
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    daemon = home.start().ready()
    daemon.wait_for("failed: exit status 3")
    assert any(line.endswith(": one") for line in daemon.lines)
    assert any(line.endswith(": two") for line in daemon.lines)
    assert jotd("health", "--config", home.config, expect=1).stdout.encode().count(b"|") == 1
