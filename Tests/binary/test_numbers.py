"""Numbers from outside, however large, small or odd: they are understood or refused, and end
nothing."""

import base64
import fcntl
import fractions
import hashlib
import hmac
import http.client
import json
import os
import pty
import re
import socket
import struct
import subprocess
import termios

import pytest

from conftest import JOTD, SECRET, claims_of, eventually, jotd

UNITS = {
    "": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60,
    "minutes": 60, "h": 3600, "hr": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400,
    "days": 86400, "w": 604800, "week": 604800, "weeks": 604800, "M": 2629800, "month": 2629800,
    "months": 2629800, "y": 31557600, "year": 31557600, "years": 31557600,
    "ms": fractions.Fraction(1, 1000), "msec": fractions.Fraction(1, 1000),
    "us": fractions.Fraction(1, 10**6), "usec": fractions.Fraction(1, 10**6),
    "µs": fractions.Fraction(1, 10**6), "μs": fractions.Fraction(1, 10**6)}

NUMBERS = [
    "0", "1", "5", "0.5", "0.999999", "0.000001", "1.", ".5", ".", "1.999999", "9.999999",
    "999999.999999", "999999999", "1000000000", "1000000001", "31557600", "999999999999999",
    "1000000000000000", "9223372036854775807", "9223372036854775808", "18446744073709551616",
    "99999999999999999999999999", "0.9999999", "1.0000000", "00000000000000001", "-1", "+1", "1e9",
    "0x10", "١", "1..5", "1.5.5", "inf", "nan", ""]

SPANS = [number + unit for number in NUMBERS for unit in
         ("", "s", "ms", "us", "µs", "m", "h", "d", "w", "M", "y", "years", "x", "Y")]
SPANS += [
    "0.999999y 0.999999y", "1y 1y 1y 1y 1y 1y 1y 1y 1y 1y", " ".join(["0.999999y"] * 40),
    "1h30min", "1h 30min", " 5s ", "5 s", "\t5s", "1.5d 1us", "s", "5s5", "5ss", "5 5", "5s 5"]


def microseconds(text):
    """What systemd.time(7) makes of a span, in whole microseconds; None for what is none, and
    above a billion seconds."""
    rest, total = text.strip(" \t"), 0
    if not rest:
        return None
    while rest:
        found = re.match(r"([0-9.]*)[ \t]*([A-Za-zµμ]*)[ \t]*", rest)
        whole, _, fraction = found[1].partition(".")
        unit = found[2]
        if ("." in fraction or not whole + fraction or unit not in UNITS or len(whole) > 15
                or len(fraction) > 6):
            return None
        part = fractions.Fraction(f"{whole or 0}.{fraction or 0}") * UNITS[unit] * 10**6
        total += int(part)
        if total > 10**15:
            return None
        rest = rest[found.end():]
    return total


def expected(text):
    """What is to be said of a lifetime."""
    span = microseconds(text)
    if span is None:
        return "must be a time span as in systemd.time(7)"
    if not 2 * 10**6 <= span <= 10 * 31557600 * 10**6:
        return "must be from 2s to 10 years"
    return "must be a whole number of seconds" if span % 10**6 else None


def test_spans_in_a_configuration(home):
    """Each as a lifetime, a hundred in a file."""
    for start in range(0, len(SPANS), 90):
        spans = SPANS[start:start + 90]
        home.configure("".join(
            f"  a{n}: {{ user_id: u, role: admin, refresh_before: 1us, "
            f"lifetime: {json.dumps(s)} }}\n" for n, s in enumerate(spans)))
        done = subprocess.run(
            [JOTD, "check", "--config", home.config], capture_output=True, text=True)
        assert done.returncode in (0, 78), done
        for number, span in enumerate(spans):
            told = [line for line in done.stderr.splitlines()
                    if f"identities.a{number}." in line and "(warning)" not in line]
            words = expected(span)
            assert (words is None) == (not told), (span, told)
            assert words is None or words in told[0], (span, told)


def test_spans_on_the_command_line():
    for span in SPANS[::4] + SPANS[-15:] + ["0.999999y", "999999.999999y"]:
        command = [JOTD, "mint", "--user-id", "u", "--role", "admin", "--secret-env", "S",
                   f"--lifetime={span}"]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "S": SECRET})
        words = expected(span)
        assert done.returncode == (0 if words is None else 64), (span, done)
        assert words is None or not span or words in done.stderr, (span, done)


def test_spans_on_the_query_socket(home):
    home.one(deliver="[]", life="10y", before="1h")
    home.config.write_text(home.config.read_text() + f"socket: {{ path: {home.path('s')} }}\n")
    daemon = home.start().ready()
    for span in SPANS + ["0.999999y", "292471y", "%FF"]:
        text = span.replace("%", "%25").replace("+", "%2B").replace(" ", "%20")
        text = "".join(c if ord(c) < 128 and c != "\t" else "".join(
            f"%{b:02X}" for b in c.encode()) for c in text)
        for field in ("wait", "min_validity"):
            length = microseconds(span)
            if field == "wait" and length is not None and length <= 3600 * 10**6:
                continue  # it is held for as long
            good = length is not None and field == "min_validity" and length < 31557600 * 10**7
            status = status_of(home.path("s"), f"/v1/identities/a/token?{field}={text}", field)
            assert status == (200 if good else 400), (field, span, status)
    assert daemon.process.poll() is None


def status_of(path, target, field):
    """The status of a request; one that waits has every token already."""
    connection = http.client.HTTPConnection("jotd", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    connection.sock.connect(str(path))
    connection.request("GET", target, headers={"If-None-Match": "*"} if field == "wait" else {})
    status = connection.getresponse().status
    connection.close()
    return status


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims):
    text = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(claims.encode())
    return text + "." + part(hmac.digest(SECRET.encode(), text.encode(), hashlib.sha256))


DATES = [
    "0", "-0", "1", "-1", "1e300", "-1e300", "1e15", "-1e15", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "18446744073709551616", "253402300799",
    "253402300800", "-62167219200", "-62167219201", "8e12", "-8e12", "9.3e12", "1e18", "0.5",
    "1.7e9", "1e-300", "9223372036854.775807", "1" + "0" * 300]


@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
def test_dates_of_tokens(name):
    for date in DATES:
        claims = {"iat": "1", "exp": "9999999999", "nbf": "1", name: date}
        body = ",".join(f'"{key}":{value}' for key, value in claims.items())
        token = signed('{"user_id":"u","role":"admin",' + body + "}")
        shown = jotd("decode", token).stdout
        line = next(line for line in shown.splitlines() if line.startswith(f"  {name}:"))
        value = float(date)
        if -62167219200 <= value < 253402300800:
            assert re.search(r"\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, (in )?[\da-z ]+( ago)?\)$", line)
        else:
            assert line.endswith("(before the year 0)" if value < 0 else "(after the year 9999)")
        for command in ("verify", "refresh"):
            done = subprocess.run(
                [JOTD, command, "--secret-env", "S", token], capture_output=True, text=True,
                env={**os.environ, "S": SECRET})
            assert done.returncode in (0, 65), (date, done)


def test_files_from_the_far_future(home):
    """Times that 64 bits of nanoseconds do not hold, of all that jotd looks at."""
    home.one(life="1h", extra="    on_rotate: [ { signal: { pid_file: @/p, signal: CONT } } ]\n"
             .replace("@", str(home.folder)))
    child = subprocess.Popen(["sleep", "60"])
    try:
        home.path("p").write_text(f"{child.pid}\n")
        for path in (home.secret, home.path("p"), home.folder):
            os.utime(path, (1 << 35, 1 << 35))
        jotd("check", "--config", home.config)
        daemon = home.start().ready()
        os.utime(home.path("a.jwt"), (1 << 34, 1 << 34))
        os.utime(home.secret, (-(1 << 31), -(1 << 31)))
        daemon.reload()
        assert daemon.process.poll() is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("usec", ["0", "1", "2", "18446744073709551615", "9223372036854775808",
                                  "-1", "x", "99999999999999999999999"])
def test_intervals_of_the_watchdog(home, usec):
    home.one(life="1h")
    daemon = home.start(env={
        "WATCHDOG_USEC": usec, "LISTEN_FDS": usec, "LISTEN_PID": "1",
        "JOURNAL_STREAM": usec}).ready()
    assert daemon.stop() == 0


def test_narrow_terminals_show_all(home):
    """At 60 columns and below, what went wrong is below the row, in words that can be read."""
    home.one(deliver="[ { file: @/none/a.jwt } ]")
    home.config.write_text(home.config.read_text() + f"socket: {{ path: {home.path('s')} }}\n")
    home.start().ready()
    error = eventually(lambda: json.loads(jotd(
        "status", "--json", "--config", home.config).stdout)["identities"]["a"]["last_error"])
    for columns in (1, 20, 40, 60, 80, 200):
        text = re.sub(r"\x1b\[\d*m", "", in_terminal(columns, ["status", "--config", home.config]))
        lines = text.replace("\r\n", "\n").splitlines()
        if columns >= 60:
            assert all(len(line) <= columns for line in lines), (columns, lines)
            assert "NEXT ROTATION" in lines[0]
            assert re.search(r"retry (in \d+s|now)|being tried", text)
        said = "".join(line.strip() + " " for line in lines[1:])
        assert error.replace(" ", "") in said.replace(" ", ""), (columns, lines)


def in_terminal(columns, arguments):
    """What a command prints on a terminal of this width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen([JOTD, *map(str, arguments)], stdout=follower, stdin=follower)
    os.close(follower)
    text = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.close(leader)
    assert child.wait(timeout=10) == 0
    return text.decode()


@pytest.mark.parametrize("text,seconds", [
    ("90", 90), ("90s", 90), ("90 sec", 90), ("2min", 120), ("3m", 180), ("1h 30min", 5400),
    ("1h30min", 5400), ("2d", 172_800), ("1w", 604_800), ("1M", 2_629_800), ("1y", 31_557_600),
    ("1.5h", 5400), ("0.5min", 30), ("1.25min", 75), ("2000ms 1s", 3), ("5 seconds", 5),
    ("1 hour 1 minute 1 second", 3661), ("1month", 2_629_800)])
def test_time_spans(text, seconds):
    """systemd.time(7)."""
    token = jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "viewer",
                 "--lifetime", text, env={"S": SECRET}).stdout.strip()
    claims = claims_of(token)
    assert claims["exp"] - claims["iat"] == seconds


@pytest.mark.parametrize("text", [
    "", " ", "x", "1x", "1.5.5h", "-1h", "1h -5min", ".", "h", "1e3", "+5"])
def test_what_is_no_time_span(text):
    jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "viewer", f"--lifetime={text}",
         env={"S": SECRET}, expect=64)


def test_numbers_that_no_reader_can_hold_are_refused():
    for claim in ("a=1e400", 'a={"b":[1e999]}'):
        jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "admin", "--claim", claim,
             env={"S": SECRET}, expect=64)


def test_tokens_too_long_to_verify_are_refused(home):
    home.one(extra=f"    claims: {{ x: {'y' * 40_000} }}\n")
    assert "longer than 32768 bytes" in jotd("check", "--config", home.config, expect=78).stderr
