"""What the journal and systemd are told, and that nobody waits for them to listen."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from conftest import Calls, JOTD, PATIENCE, accepted, blind, eventually, many
from test_secret import OTHER


class Mute:
    """A daemon whose log goes into a small pipe that nobody reads."""

    def __init__(self, home):
        self.read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        self.process = subprocess.Popen(
            [JOTD, "run", "--config", home.config], stdout=subprocess.DEVNULL, stderr=write)
        os.close(write)

    def end(self):
        """Stops it, and gives what the log says now."""
        self.process.send_signal(signal.SIGTERM)
        with open(self.read, errors="replace") as log:
            text = log.read()
        assert self.process.wait(PATIENCE) == 0
        return text


@pytest.fixture
def mute(home):
    started = []

    def start():
        started.append(Mute(home))
        return started[-1]
    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
            os.close(one.read)


def test_a_log_that_nobody_reads_stops_nothing_and_what_is_lost_is_counted(home, mute):
    home.configure(many(600, "1d", "1h"))
    daemon = mute()
    eventually(lambda: home.path("i599.jwt").exists())
    # More than may wait, and for longer than a journal may take for one entry (`stallTimeout`).
    number, end = 0, time.monotonic() + 3
    while number < 9 or time.monotonic() < end:
        number += 1
        secret = f"{OTHER}, number {number}"
        home.write_secret(secret)
        eventually(lambda: all(accepted(home.read(f"i{n}.jwt"), secret) for n in (0, 300, 599)))
    # Some wait for a journal that does not read; the rest is counted.
    log = bytearray()
    os.set_blocking(daemon.read, False)

    def dropped():
        with contextlib.suppress(BlockingIOError):
            log.extend(os.read(daemon.read, 1 << 16))
        return re.search(rb"[1-9][0-9]* journal entries were dropped", log)
    eventually(dropped)
    os.set_blocking(daemon.read, True)
    daemon.end()


def test_a_start_of_many_loses_no_entry(home):
    home.configure("".join(
        f"  i{n}: {{ user_id: u, role: viewer }}\n" for n in range(30_000)))
    daemon = home.start()
    daemon.wait_for("ready: 30000 identities delivered")
    assert daemon.count("new token") == 30_000 and not daemon.count("dropped")


def test_a_log_that_is_read_slowly_loses_no_entry(home, mute):
    """Whoever takes one page after the other is no journal that does not read, however long all of
    it takes; and a page is written whole, so that no line of another writer stands within one."""
    home.configure("".join(
        f"  i{n}: {{ user_id: {'u' * 250}, role: viewer }}\n" for n in range(6_000)))
    daemon = mute()
    # Longer than a journal may take for one entry (`stallTimeout`), with two pages in that time.
    log, end = b"", time.monotonic() + 6
    while time.monotonic() < end:
        log += os.read(daemon.read, 4096)
        # Something more to be said, while so much waits.
        daemon.process.send_signal(signal.SIGHUP)
        time.sleep(1)
    os.set_blocking(daemon.read, False)

    def has_ended():
        nonlocal log
        with contextlib.suppress(BlockingIOError):
            log += os.read(daemon.read, 1 << 16)
        return log.count(b"reloaded") >= 5 or b"dropped" in log
    eventually(has_ended)
    os.set_blocking(daemon.read, True)
    assert log.count(b"new token") == 6_000 and b"dropped" not in log
    daemon.end()


def test_several_lines_are_written_at_once_and_no_more_than_a_pipe_takes_whole(home):
    home.configure("".join(
        f"  i{n}: {{ user_id: {'u' * 200}, role: viewer }}\n" for n in range(500)))
    trace = home.path("trace")
    daemon = home.start(
        prefix=("strace", "-D", "-f", "-qq", "-o", trace, "-e", "trace=write"))
    daemon.wait_for("ready: 500 identities delivered")
    # An undumpable process shows what it writes to root alone; how much, to whoever traces it.
    sizes = [int(size) for size in re.findall(r"write\(2, .*, (\d+)", home.read("trace"))]
    assert sum(sizes) > 500 * 250 and len(sizes) < 100 and max(sizes) <= 4096


def test_a_stop_amid_a_burst_writes_what_was_last(home, mute):
    # Twice what may wait, and so little that the start is over before the journal counts as stuck.
    home.configure("".join(
        f"  i{n}: {{ user_id: u, role: viewer }}\n" for n in range(8_000))
        + "  last: { user_id: u, role: viewer, deliver: [ { file: @/last.jwt } ] }\n")
    daemon = mute()
    eventually(lambda: home.path("last.jwt").exists())
    text = daemon.end()
    assert "stopping on SIGTERM" in text
    assert re.search("[1-9][0-9]* journal entries were dropped", text)


def test_only_the_journal_itself_is_taken_for_it(home):
    home.one(life="1d", before="1h")
    daemon = home.start(env={"JOURNAL_STREAM": "1:1"})
    daemon.ready()
    assert daemon.count("a: new token for alice (operator)") == 1


def test_a_service_manager_that_does_not_read_stops_nothing(home):
    home.one(life="3s", before="1s")
    path = str(home.path("notify"))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    daemon = home.start(env={"NOTIFY_SOCKET": path}).ready()
    # Each reload has three things to say: more than fits the socket and those that wait for it.
    for _ in range(30):
        daemon.reload()
    daemon.wait_for("new token", daemon.count("new token") + 2)
    assert daemon.stop() == 0
    assert b"READY=1" in b"".join(listener.recv(4096) for _ in range(3))


def test_notifications(home):
    home.one(life="1d", before="1h")
    path = str(home.path("notify"))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.settimeout(1)
    listener.bind(path)
    daemon = home.start(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
    messages = []

    def heard(text):
        end = time.monotonic() + PATIENCE
        while not any(text in message for message in messages):
            assert time.monotonic() < end, (text, messages[-9:])
            with contextlib.suppress(TimeoutError):
                messages.append(listener.recv(4096).decode())
        return next(message for message in messages if text in message)
    heard("READY=1")
    assert home.path("a.jwt").exists()
    assert "1 identity, all delivered; next rotation 20" in heard("all delivered")
    heard("WATCHDOG=1")
    messages.clear()
    daemon.reload()
    assert "MONOTONIC_USEC=" in heard("RELOADING=1")
    heard("READY=1")
    daemon.stop()
    heard("STOPPING=1")


def test_ready_after_a_reload_waits_for_what_was_lost(home):
    home.one(life="1d", before="1h")
    listener, path = notified(home)

    def ready():
        while b"READY=1" not in listener.recv(4096):
            pass
    # Without a watch, so that nothing but the reload brings the file back.
    daemon = home.start(env={**blind(), "NOTIFY_SOCKET": path})
    ready()
    for _ in range(20):
        home.path("a.jwt").unlink()
        daemon.reload()
        ready()
        assert home.path("a.jwt").exists()


def test_the_watchdog_is_silent_while_the_loop_hangs(home):
    """It is fed from where rotations are decided: systemd sees when that hangs."""
    home.path("slow").mkdir()
    home.one(life="3s", before="1s")
    path = str(home.path("notify"))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    home.sockets.append(listener)

    def fed(within):
        listener.settimeout(within)
        try:
            while b"WATCHDOG=1" not in listener.recv(4096):
                pass
            return True
        except TimeoutError:
            return False
    calls = Calls(home.folder, hold=home.path("slow"))
    home.start({**calls.env, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}).ready()
    assert fed(PATIENCE) and fed(PATIENCE)
    home.path("hold-timer").touch()
    end = time.monotonic() + PATIENCE
    while fed(1.0):
        assert time.monotonic() < end, "it is fed though the loop hangs"
    home.path("hold-timer").unlink()
    assert fed(PATIENCE)


def notified(home):
    """What stands for the service manager, and the path of its socket."""
    path = str(home.path("notify"))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.settimeout(PATIENCE)
    listener.bind(path)
    home.sockets.append(listener)
    return listener, path


def test_the_watchdog_is_fed_twice_in_its_time(home):
    home.one(life="1d", before="1h")
    listener, path = notified(home)
    home.start(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}).ready()
    came = []
    while len(came) < 9:
        if listener.recv(4096) == b"WATCHDOG=1":
            came.append(time.monotonic())
    assert sorted(b - a for a, b in zip(came, came[1:]))[4] < 0.3


def test_the_status_says_why_the_last_reload_was_refused_until_one_is_accepted(home):
    home.one(life="1d", before="1h")
    listener, path = notified(home)

    def status(holds):
        text = ""
        while not (text.startswith("STATUS=") and holds(text)):
            text = listener.recv(4096).decode()
        return text
    daemon = home.start(env={"NOTIFY_SOCKET": path}).ready()
    status(lambda text: "all delivered" in text and "refused" not in text)
    good = home.config.read_text()
    # The first of many reasons, and no more of it than there is room for.
    home.config.write_text(good + "".join(f"{'a' * 16}{n}: 1\n" for n in range(100)))
    daemon.reload()
    text = status(lambda text: "the last reload was refused: " in text)
    assert text.count("is unknown") == 1 and f"{home.config}:" in text and len(text) < 600
    home.config.write_text(good)
    daemon.reload()
    assert "all delivered" in status(lambda text: "refused" not in text)


def test_ready_says_who_fails(home):
    home.configure(many(2) + "".join(
        f"  f{n:02}: {{ user_id: u, role: viewer, deliver: [ {{ file: @/no/{n} }} ] }}\n"
        for n in range(12)))
    daemon = home.start().ready()
    assert daemon.count(
        "ready: 2 of 14 identities delivered, failing: f00, f01, f02, f03, f04, f05, f06, f07, "
        "f08, f09 and 2 more") == 1, daemon.lines
    home.configure(many(2))
    daemon.stop()
    home.start().wait_for("ready: 2 identities delivered")
