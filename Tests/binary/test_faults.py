"""Every system call of a rotation fails once, in every way that its manual page knows, and is the
last one once: what was delivered stays whole, and comes fresh again."""

import contextlib
import http.client
import json
import os
import pathlib
import resource
import signal
import socket
import statistics
import subprocess
import threading
import time

import pytest

from conftest import JOTD, blind, eventually, needs_root
from faults import (
    ACCESS, BEGINNINGS, DISK, FATAL, FILE, KNOWN, LOOP, MEMORY, THREADS, UNFAILING, Case, Watch,
    asked, calm, cases, each_second, house, side_by_side)

pytestmark = needs_root


@pytest.fixture(scope="module")
def recorded():
    """The calls of one delivery on disk and in memory, without the names that are new each run."""
    def record(parent):
        with house(parent) as home:
            daemon, paths, rotate = asked(home)
            trace = home.trace(daemon, paths)
            rotate()
            eventually(lambda: trace.has("renameat(")
                       and trace.calls[-1][:2] == (str(home.out), "close"))
            return [("temporary" if about.endswith(".jotd") else
                     about.replace(str(home.out), "@").replace(home.out.name, "@"), *call)
                    for about, *call in trace.end().calls]
    return {parent: record(parent) for parent in (DISK, MEMORY)}


def test_a_delivery_makes_these_calls(recorded):
    """Other calls are other moments at which a fault or a power cut can come."""
    for parent, calls in recorded.items():
        here, walk = "/", ["openat /", "newfstatat /"]
        for name in (*parent.split("/")[1:], "@"):
            path = "@" if name == "@" else f"{here.rstrip('/')}/{name}"
            walk += [f"openat {name}", f"newfstatat {path}", f"close {here}"]
            here = path
        writing = [
            "newfstatat @", "openat .", "fstatfs @", "close @", "newfstatat a.jwt",
            "openat temporary", "write temporary", "fchown temporary", "fchmod temporary",
            "fchown temporary", "fsync temporary", "close temporary", "renameat temporary",
            "fsync @", "close @"]
        if parent == MEMORY:
            writing = [call for call in writing if not call.startswith("fsync")]
        assert [f"{name} {about}" for about, name, _ in calls] == walk + writing


def test_a_rotation_makes_no_call_of_another_name():
    with house(DISK) as home:
        daemon, _, _ = each_second(home, "-")
        trace = home.trace(daemon)
        trace.wait_for("renameat(")
        calm()
        assert {name for _, name, _ in trace.end().calls} <= KNOWN


def test_every_call_of_a_delivery_fails(recorded):
    """The old token stays until a second try brings the new one; nobody else waits for that."""
    def check(case):
        with house(DISK) as home:
            daemon, paths, rotate = asked(home)
            watch = Watch(home.out / "a.jwt")
            trace = home.trace(daemon, paths, case.injection)
            begin, known = time.time(), rotate()
            kept = watch.path.read_text() == watch.seen[0]
            assert bool(known["last_error"]) == case.fails
            # It is renamed, if not on the disk for sure, when syncing the folder fails.
            assert kept == (case.fails and case[:3] != ("@", "fsync", 2))
            trace.wait_for("(INJECTED)")
            trace.end()
            moment = time.monotonic()
            assert home.rotate("b")["last_error"] is None
            delay = time.monotonic() - moment
            if case.fails:
                daemon.wait_for("works again")
                assert time.time() - begin > 0.85, "tried again too soon"
            home.well()
            assert len(watch.end()) == 2 and watch.issued >= int(begin)
            said = [daemon.count("The token delivered before stays"), daemon.count("works again")]
            assert said == [case.fails, case.fails], daemon.lines
            return delay
    # Whoever waited for the second try would wait for a second, less a tenth.
    assert statistics.median(side_by_side(check, cases(recorded[DISK]))) < 0.85


def test_a_temporary_file_that_cannot_be_removed_goes_at_the_next_start():
    def check(error):
        with house(DISK) as home:
            daemon, paths, rotate = asked(home)
            trace = home.trace(
                daemon, paths, "fchmod:error=EIO:when=1", f"unlinkat:error={error}:when=1")
            assert "Input/output error" in rotate()["last_error"]
            trace.end()
            daemon.wait_for("works again")
            assert len(home.temporaries) == (error != "EINTR")
            daemon.stop(signal.SIGKILL)
            home.revives()
    side_by_side(check, "EACCES EBUSY EINTR EIO EPERM EROFS".split())


def test_a_write_ends_early():
    """At every byte: with an error, which keeps the old token; and, at some, with the rest."""
    with house(DISK) as home:
        daemon, _, rotate = asked(home)
        watch = Watch(home.out / "a.jwt")
        length = len(watch.seen[0])

        def limit(count):
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))
        for count in range(length):
            limit(count)
            assert "File too large" in rotate()["last_error"]
            eventually(lambda: home.failures() > count)
            assert len(watch.seen) == 1 and not home.temporaries
        limit(resource.RLIM_INFINITY)
        rotate()
        daemon.wait_for("works again")
        for count in (1, length // 2, length - 1):
            paths = home.trail(daemon)
            limit(count)
            trace = home.trace(daemon, paths, "write:signal=STOP:when=1")
            caller = threading.Thread(target=rotate)
            caller.start()
            trace.wait_for("stopped by SIGSTOP")
            limit(resource.RLIM_INFINITY)
            os.kill(daemon.pid, signal.SIGCONT)
            caller.join()
            ends = [line.split(" = ")[1] for line in trace.end().lines
                    if "write" in line and " = " in line]
            assert [int(end) for end in ends] == [count, length - count]
        watch.end()
        home.well()
        assert daemon.count("The token delivered before stays") == 1


def test_no_more_memory():
    """It goes on with what it has, or ends and is started again."""
    with house(DISK) as home:
        daemon, _, rotate = asked(home)
        watch = Watch(home.out / "a.jwt")
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))
        with contextlib.suppress(OSError, http.client.HTTPException):
            for _ in range(20):
                rotate()
        watch.end()
        daemon.stop(signal.SIGKILL)
        home.revives()


def test_every_call_of_the_loop_and_of_new_threads_fails():
    """It does not sleep on, whatever the timer and its like answer: tokens keep coming. Or the
    process has ended, the old token is still there, and a start brings the next one."""
    def check(begin, case):
        """Whether it was the call that is meant."""
        with house(DISK) as home:
            daemon, paths, _ = BEGINNINGS[begin](home, case.about)
            watch = Watch(home.out / "a.jwt")
            trace = home.trace(daemon, paths, case.injection)
            trace.wait_for("(INJECTED)")

            def comes(tokens):
                count = len(watch.seen) + tokens
                eventually(lambda: watch.fault or len(watch.seen) >= count or trace.is_over,
                           within=20)
            # Whoever is let go in the middle of such a call gets ENOSYS from it.
            comes(1)
            if not trace.is_over:
                calm()
            calls = [line for line in trace.end().lines if f"{case.call}(" in line]
            # What is watched already is changed and taken off, which cannot fail, before it is
            # watched again; a trace may begin between them.
            if case.about == "inotify" and "EPOLL_CTL_ADD" not in calls[int(case.number) - 1]:
                return False
            if begin == "each second":
                comes(2)
            watch.end()
            if trace.is_over:
                assert case in FATAL, daemon.lines
                daemon.process.wait(timeout=10)
                home.revives()
                return True
            home.well()
            # While the host gives no thread, writing may begin too late.
            hung = daemon.count("writing hangs") if case.call == "clone3" else 0
            assert daemon.count("delivered before stays") == hung
            assert not daemon.count("the secret changed")
            return True

    def check_at_last(situation):
        # Each try in a house of its own, so that no daemon stays up while the next is tried: the
        # kernel gives all daemons of a user 128 instances of inotify(7).
        assert any(check(*situation) for _ in range(9))
    side_by_side(check_at_last, [("each second", case) for case in cases(LOOP) + FATAL[:2]]
                 + [("after idling", case) for case in cases(THREADS)])


def test_every_call_is_the_last(recorded):
    """kill -9 at every call, before it is carried out: nothing is torn, and nothing is left."""
    def check(situation):
        parent, begin, case = situation
        with house(parent) as home:
            daemon, paths, rotate = BEGINNINGS[begin](home, case.about)
            watch = Watch(home.out / "a.jwt")
            trace = home.trace(daemon, paths, case.injection)
            with contextlib.suppress(OSError, http.client.HTTPException):
                rotate()
            trace.wait_for("killed by SIGKILL")
            trace.end()
            assert daemon.process.wait(timeout=10) == -signal.SIGKILL
            watch.end()
            home.revives()
    side_by_side(check, [
        (parent, begin, Case(about, call, number, "signal=KILL"))
        for parent in (DISK, MEMORY)
        for begin, calls in [("asked", recorded[parent]), ("each second", LOOP + UNFAILING),
                             ("after idling", THREADS)]
        for about, call, number in calls if str(number).isdigit()])


PLACES = {
    "": FILE, "one": f"{{ file: @/one/a.json, format: json, {ACCESS} }}",
    "two": f"{{ file: @/two/a.env, format: env, variable: T, {ACCESS} }}",
    "three": f"{{ file: @/three/a.jwt, in_place: true, {ACCESS} }}",
    "four": "{ socket: @/four/a.sock }"}
UNPACK = {"a.jwt": str, "one/a.json": lambda text: json.loads(text)["token"],
          "two/a.env": lambda text: text[2:-1], "three/a.jwt": str}


def several(home):
    """A daemon with a delivery of each kind, in the second after its first token. It watches
    nothing, so that what is taken away stays so until the next rotation."""
    for name in filter(None, PLACES):
        (home.out / name).mkdir(mode=0o700)
    (home.out / "three/a.jwt").touch()
    home.deliver(*PLACES.values())
    daemon, begin = home.start(blind()).ready(), time.time()
    eventually(lambda: int(time.time()) > begin)
    return daemon


def tokens(home):
    """The token that each delivery gives; nothing for a socket that is not there."""
    given = [unpack((home.out / name).read_text()) for name, unpack in UNPACK.items()]
    data = b""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(10)
        client.connect(str(home.out / "four/a.sock"))
        data = b"".join(iter(lambda: client.recv(4096), b""))
    return dict(zip(PLACES, [*given, data.decode()]))


def test_one_of_several_deliveries_fails_or_is_the_last():
    """The others do not wait for it. What is written in place may be torn until it is mended."""
    def places(home, name):
        return [home.out / name, *(home.out / name).iterdir()]

    with house(DISK) as home:
        daemon, calls = several(home), []
        for name, mark in [("two", "fsync("), ("three", "fsync("), ("four", '"a.sock"')]:
            trace = home.trace(daemon, places(home, name))
            home.rotate("a")
            # At the end, the worker closes the folder.
            eventually(lambda: trace.has(mark) and trace.calls[-1][1] == "close")
            calls += [(name, *call) for _, *call in trace.end().calls]
    # A token socket that somebody removed is made anew.
    anew = [("four", call, 1) for call in ("socket", "bind", "fchmodat", "fcntl", "listen")]

    def check(case):
        with house(DISK) as home:
            daemon = several(home)
            [old] = set(tokens(home).values())
            watches = [Watch(home.out / name, unpack) for name, unpack in UNPACK.items()
                       if "three" not in name]
            paths = places(home, case.about)
            if case[:3] in anew:
                paths.pop().rename(home.out / "away")
                paths.clear()
            trace = home.trace(daemon, paths, case.injection)
            begin = time.monotonic()
            with contextlib.suppress(OSError, http.client.HTTPException):
                home.rotate("a")
            if case.fault == "signal=KILL":
                trace.wait_for("killed by SIGKILL")
                trace.end()
                daemon.process.wait(timeout=10)
                delay = 0
                home.revives()
            else:
                eventually(lambda: {old, ""}.isdisjoint(
                    token for name, token in tokens(home).items() if name != case.about))
                delay = time.monotonic() - begin
                trace.wait_for("(INJECTED)")
                trace.end()
                home.well()
                assert old not in tokens(home).values()
            for watch in watches:
                watch.end()
            assert len(set(tokens(home).values())) == 1
            return delay
    faults = ("error=EIO", "error=EINTR", "signal=KILL")
    delays = side_by_side(
        check, [Case(*call, fault) for call in calls + anew for fault in faults])
    assert statistics.median(delays) < 0.85


def test_every_call_of_a_start_fails():
    """It ends and says what it cannot read, or is ready and delivers as soon as it can."""
    def begin(home):
        """Stopped before its first call."""
        home.deliver(FILE, other=False)
        daemon = home.start(prefix=["sh", "-c", 'kill -STOP $$; exec "$@"', "-"])
        status = pathlib.Path(f"/proc/{daemon.pid}/status")
        eventually(lambda: "(stopped)" in status.read_text())
        path = home.out / "a.jwt"
        return daemon, [
            path, *path.parents, home.config, home.folder / "jotd.d", home.secret, home.socket,
            *home.socket.parents, "/etc/nsswitch.conf", "/etc/passwd", "/etc/group"]

    with house(DISK) as home:
        daemon, paths = begin(home)
        trace = home.trace(daemon, paths)
        daemon.process.send_signal(signal.SIGCONT)
        daemon.ready()
        calls = sorted({call[1:] for call in trace.end().calls})

    def check(case):
        with house(DISK) as home:
            daemon, paths = begin(home)
            trace = home.trace(daemon, paths, case.injection)
            daemon.process.send_signal(signal.SIGCONT)
            # Calls are numbered in each thread, and which worker does what is not always the same.
            eventually(lambda: daemon.process.poll() is not None or daemon.count("ready:"))
            is_injected = trace.has("(INJECTED)")
            trace.end()
            if daemon.process.poll() is None:
                home.well()
                Watch(home.out / "a.jwt").end()
                return is_injected
            assert list(home.out.iterdir()) == []
            # Not 78, after which systemd would not try again: the configuration is right. But to
            # the C library, what /etc/nsswitch.conf cannot lead it to is not there.
            if daemon.stop() == 78:
                assert daemon.count("there is no") == 1
            else:
                assert daemon.process.returncode in (71, 73)
                # One line for each worker that met it.
                assert daemon.count("Input/output error") >= 1
            home.revives()
            return True
    done = side_by_side(check, [Case("-", *call, "error=EIO") for call in calls])
    assert sum(done) > 0.8 * len(done)


# Found by this.

def test_a_token_socket_that_was_away_is_served_again():
    """What was in its way while it was made anew has gone, and the old one is back."""
    with house(DISK) as home:
        daemon = several(home)
        path = home.out / "four/a.sock"
        away = path.rename(path.with_name("away"))
        path.mkdir()
        assert "something other than a socket" in home.rotate("a")["last_error"]
        path.rmdir()
        away.rename(path)
        daemon.wait_for("works again")
        assert len(set(tokens(home).values())) == 1


def test_a_rotation_that_failed_is_not_called_done():
    with house(DISK) as home:
        asked(home)
        away = home.out.rename(home.out.with_suffix(".away"))
        done = subprocess.run([JOTD, "rotate", "a", "--config", home.config],
                              capture_output=True, text=True)
        away.rename(home.out)
        assert done.returncode != 0 and "rotated" not in done.stdout and done.stderr


def test_the_answer_to_a_rotation_is_that_of_its_own_try():
    with house(DISK) as home:
        asked(home)
        away = home.out.rename(home.out.with_suffix(".away"))
        assert home.rotate("a")["last_error"]
        away.rename(home.out)
        assert home.rotate("a")["last_error"] is None
