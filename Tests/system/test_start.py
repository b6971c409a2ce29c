"""When the service is ready, what a crash leaves, and how it stops amid work."""

import re
import time

import pytest

from conftest import eventually

TOKEN_AND_INODE = "cat /run/jotd/front-door.jwt; stat -c %i /run/jotd/front-door.jwt"
MANY = 500

TWO = """
signing: { secret: { credential: jwt-secret } }
socket: { path: /run/jotd/jotd.sock }
identities:
  one: { user_id: u1, role: viewer, deliver: [ { file: /run/jotd/one.jwt } ] }
  two: { user_id: u2, role: viewer, deliver: [ { file: /run/jotd/not-there/two.jwt } ] }
"""


def come_back(container, before):
    """Waits until another process than `before` is at work."""
    eventually(lambda: container.show("MainPID") not in (before, "0")
               and container.show("SubState") == "running")


def test_ready_comes_after_the_last_of_many_tokens(configured):
    text = ("signing: { secret: { credential: jwt-secret } }\nidentities:\n" + "".join(
        f"  i{n}: {{ user_id: u{n}, role: viewer, deliver: [ {{ file: /run/jotd/i{n}.jwt }} ] }}\n"
        for n in range(MANY)))
    container = configured(text)
    container.sh("systemctl stop jotd; rm -rf /run/jotd")
    found = container.sh("systemctl start jotd; find /run/jotd -name 'i*.jwt' -printf '%C@\\n'")
    written = [float(moment) for moment in found.stdout.split()]
    assert len(written) == MANY
    ready = int(container.show("ActiveEnterTimestampMonotonic")) / 1e6
    offset = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
    assert max(written) <= ready + offset + 0.001
    lines = container.said().splitlines()
    kinds = [("new" if ": new token" in line else "ready") for line in lines
             if ": new token" in line or line.startswith("ready:")]
    assert kinds == MANY * ["new"] + ["ready"]


def test_ready_does_not_wait_for_ever_for_what_fails(configured):
    container = configured(TWO)
    assert container.show("StatusText").startswith("2 identities, 1 failing; next rotation ")
    lines = container.said().splitlines()
    failed, ready = (
        next(n for n, line in enumerate(lines) if words in line)
        for words in ("not-there: No such file or directory", "ready: 1 of 2 identities"))
    assert failed < ready
    assert container.sh("cat /run/jotd/one.jwt").stdout.count(".") == 2
    assert container.sh("jotd health", check=False).returncode == 2


def test_after_a_crash_all_is_as_before(installed):
    installed.restart()
    before, pid = installed.sh(TOKEN_AND_INODE).stdout, installed.show("MainPID")
    left = "/run/jotd/.front-door.jwt.0123456789abcdef.jotd"
    installed.sh(f"touch {left}; chown jotd: {left}")
    installed.sh("systemctl kill -s KILL jotd")
    come_back(installed, pid)
    assert installed.show("NRestarts") == "1"
    assert installed.sh(TOKEN_AND_INODE).stdout == before and "is kept" in installed.said()
    lock, *files = installed.sh("ls -A /run/jotd").stdout.split()
    assert re.fullmatch(r"\.jotd\.yaml\.[0-9a-f]+\.lock", lock)
    assert files == ["front-door.jwt", "jotd.sock"]
    assert installed.sh("jotd health").stdout.startswith("JOTD OK"), "the socket was replaced"


def test_no_number_of_crashes_is_the_end(installed):
    installed.restart()
    for _ in range(6):
        pid = installed.show("MainPID")
        installed.sh("systemctl kill -s KILL jotd")
        eventually(lambda: installed.show("MainPID") != pid
                   and installed.show("SubState") in ("running", "failed"))
        assert installed.show("SubState") == "running"


def test_a_stop_amid_work_takes_less_than_a_second(configured):
    """While a hook runs, a request is held, and a delivery fails."""
    container = configured(TWO.replace("role: viewer", (
        "role: viewer, on_rotate: [ { run: [ /bin/sleep, '25' ] } ]"), 1))
    container.sh("jotd rotate one")
    container.sh("""
ask() { curl -sS --unix-socket /run/jotd/jotd.sock "$@"; }
etag=$(ask -D - -o /dev/null http://jotd/v1/identities/one/token | sed -n 's/\\r//; s/^ETag: //Ip')
ask -H "If-None-Match: $etag" 'http://jotd/v1/identities/one/token?wait=1h' >/dev/null 2>&1 &
sleep 0.5; kill -0 $! && disown""")
    assert "/bin/sleep 25" in container.sh("systemctl status jotd --no-pager -l").stdout
    container.sh("systemctl stop jotd")
    begin, end = (int(container.show(f"{name}TimestampMonotonic")) / 1e6
                  for name in ("ActiveExit", "InactiveEnter"))
    assert 0 < end - begin < 1
    assert container.show("Result") == "success"
    assert container.sh("ls -A /run/jotd").stdout.split() == ["one.jwt"]
