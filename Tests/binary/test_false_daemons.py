"""Commands that ask a daemon which misbehaves: each says what is wrong and exits with 69, health
with 3 and its line, none prints half a token, waits for ever, or dies of a signal."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time

import pytest

from conftest import JOTD, jotd

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoidSJ9.c2lnbmF0dXJl"
HEALTH = json.dumps({"status": "pass", "notes": [], "identities": {"a": {
    "state": "fresh", "expires_at": None, "refresh_at": None, "last_error": None}}})


def answer(body, status="200 OK", length=None, more=""):
    if isinstance(body, str):
        body = body.encode()
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n".encode() + body


def reset(connection):
    """Closes with unread input, which resets."""
    connection.close()


def trickle(connection):
    connection.recv(4096)
    with contextlib.suppress(OSError):
        while True:
            connection.send(b"H")
            time.sleep(0.05)


def flood(connection):
    connection.recv(4096)
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        for _ in range(80):
            connection.sendall(b" " * (1 << 20))


def sends(data):
    def behave(connection):
        connection.recv(4096)
        with contextlib.suppress(OSError):
            connection.sendall(data)
    return behave


FALSE = {
    "nothing": sends(b""),
    "reset": reset,
    "garbage": sends(b"\x00\xff\x1b[2J" * 100),
    "no-blank-line": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"),
    "half-status": sends(b"HTTP/1.1 2"),
    "no-status": sends(b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    "word-status": sends(b"HTTP/1.1 two OK\r\nContent-Length: 0\r\n\r\n"),
    "huge-status": sends(b"HTTP/1.1 99999999999999999999 OK\r\nContent-Length: 0\r\n\r\n"),
    "other-protocol": sends(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "no-length": sends(b"HTTP/1.1 200 OK\r\n\r\n"),
    "no-length-with-body": sends(b"HTTP/1.1 200 OK\r\n\r\n" + TOKEN.encode()),
    "short": sends(answer(TOKEN[:20], length=len(TOKEN))),
    "long": sends(answer(TOKEN, length=5)),
    "negative-length": sends(answer(TOKEN, length=-1)),
    "huge-length": sends(answer(TOKEN, length=2**64)),
    "largest-length": sends(answer(TOKEN, length=2**63 - 1)),
    "two-lengths": sends(answer(TOKEN, more=f"Content-Length: {len(TOKEN)}\r\n")),
    "empty": sends(answer("")),
    "words": sends(answer("welcome")),
    "control": sends(answer("\x1b[2J\r\n" + TOKEN)),
    "wrong-json": sends(answer('{"status": 5, "identities": 5, "detail": {}}')),
    "list": sends(answer("[]")),
    "deep": sends(answer("[" * 100_000)),
    "other-status": sends(answer("", status="302 Found")),
    "internal": sends(answer('{"detail": "broken \\u001b[2J ' + TOKEN + '"}', "500 Oops")),
    "many-headers": sends(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000),
    "flood": flood,
}
COMMANDS = {
    "token": ["token", "a"], "rotate": ["rotate", "a"], "rotate-all": ["rotate", "--all"],
    "reload": ["reload"], "status": ["status"], "status-json": ["status", "--json"],
    "health": ["health"]}


@contextlib.contextmanager
def daemon(path, behave):
    """A daemon that does `behave` with each connection."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            behave(connection)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=5)


@pytest.fixture
def asked(home):
    home.configure("  a: { user_id: u, role: admin }\n")
    home.config.write_text(home.config.read_text() + f"socket: {{ path: {home.path('s')} }}\n")

    def ask(arguments):
        return subprocess.run(
            [JOTD, *arguments, "--config", home.config], capture_output=True, text=True, timeout=40)
    ask.path = home.path("s")
    ask.config = home.config
    return ask


@pytest.mark.parametrize("name", FALSE)
def test_false_answers(asked, name):
    with daemon(asked.path, FALSE[name]):
        for command, arguments in COMMANDS.items():
            if name == "flood" and command not in ("token", "health"):
                continue
            done = asked(arguments)
            if command == "health":
                assert done.returncode == 3 and done.stderr == "", (command, done)
                assert done.stdout.startswith("JOTD UNKNOWN - ")
                assert done.stdout.count("\n") == 1
            else:
                assert (done.returncode, done.stdout) == (69, ""), (command, done)
                assert done.stderr.startswith("jotd: ") and done.stderr.count("\n") == 1
            said = done.stdout + done.stderr
            assert "eyJ" not in said and "\x1b" not in said


def test_a_daemon_that_trickles_keeps_nobody(asked):
    with daemon(asked.path, trickle):
        start = time.monotonic()
        done = asked(["health"])
        assert done.returncode == 3 and "does not answer" in done.stdout
        assert 4 < time.monotonic() - start < 12


def test_true_answers_are_taken(asked):
    for arguments, body, words in [
            (["token", "a"], TOKEN, TOKEN + "\n"), (["health"], HEALTH, "JOTD OK - "),
            (["status"], HEALTH, "IDENTITY"), (["status", "--json"], HEALTH, "{"),
            (["reload"], '{"unchanged": 1, "added": 0, "changed": 0, "removed": 0}',
             "reloaded: 1 unchanged, 0 added, 0 changed, 0 removed\n"),
            (["rotate", "a"], '{"last_error": null, "expires_at": "2027-01-01T00:00:00Z"}',
             "a: rotated, expires 2027-01-01T00:00:00Z\n")]:
        with daemon(asked.path, sends(answer(body))):
            done = asked(arguments)
            assert done.returncode == 0 and done.stdout.startswith(words), (arguments, done)


EVIL = "\x1b]0;x\x07\u202e" + TOKEN


@pytest.mark.parametrize("report", [
    {"state": EVIL, "expires_at": EVIL, "refresh_at": EVIL, "retry_at": EVIL, "last_error": EVIL},
    {"state": [], "expires_at": 5, "refresh_at": {}, "retry_at": None, "last_error": False},
    *({"state": "fresh", "issued_at": date, "expires_at": date, "refresh_at": date,
       "retry_at": date} for date in (
        "9999999999-1-1-1-1-1", "999999999999999-1-1T1", "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z", "-999-01-01T00:00:00Z", "+999-01-01T00:00:00Z",
        "2026-99-99T99:99:99Z", "2026-02-30T00:00:00Z", "٢٠٢٦-01-01T00")),
], ids=lambda report: str(report.get("expires_at"))[:12].encode("unicode_escape").decode())
def test_odd_reports_are_shown_safely(asked, report):
    names = {"a" * 5000: report, EVIL: report, "b": report}
    body = json.dumps({"status": "warn", "notes": [EVIL, 5], "identities": names})
    with daemon(asked.path, sends(answer(body))):
        for arguments, codes in ((["status"], [0]), (["health"], [1]), (["status", "--json"], [0])):
            done = asked(arguments)
            assert done.returncode in codes, (arguments, done)
            assert not [c for c in done.stdout if c != "\n" and not c.isprintable()]
            if "--json" not in arguments:
                assert "eyJ" not in done.stdout and len(done.stdout) < 60_000


@pytest.mark.parametrize("text", [
    "nonsense: [", "signing: { secret: { file: /none } }\nidentities: {}\n", "\xff\xfe"])
def test_health_has_its_line_whatever_is_wrong_with_the_configuration(tmp_path, text):
    path = tmp_path / "j.yaml"
    for make in (lambda: None, lambda: path.write_text(text)):
        make()
        done = jotd("health", "--config", path, expect=3)
        assert done.stdout.startswith("JOTD UNKNOWN - ") and done.stdout.count("\n") == 1
        assert done.stderr == ""


@pytest.mark.parametrize("arguments", [
    ["secret"], ["decode", TOKEN], ["--help"], ["check"], ["status"], ["health"], ["token", "a"]])
def test_output_into_a_closed_pipe(asked, arguments):
    body = TOKEN if arguments[0] == "token" else HEALTH
    with daemon(asked.path, sends(answer(body))):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [JOTD, *arguments, *([] if "--help" in arguments else ["--config", asked.config])],
            stdout=writing, stderr=subprocess.PIPE, text=True, timeout=20)
        os.close(writing)
    assert done.returncode == 74 and "Broken pipe" in done.stderr, done
