"""Every system call that serves a caller fails once, in every way that its manual page knows, on
each kind of socket; and every one that runs a hook. Whoever comes next is served, and tokens
rotate."""

import collections
import contextlib
import http.client
import os
import pathlib
import re
import signal
import socket
import time

import pytest

from conftest import PATIENCE, eventually, needs_root
from faults import DISK, FILE, Case, house, side_by_side
from test_hooks import children

pytestmark = needs_root

RECEIVE = "EAGAIN ECONNRESET EINTR ENOBUFS ENOMEM"
SEND = "EAGAIN ECONNRESET EINTR ENOBUFS ENOMEM EPIPE"
# What the manual pages list, and what a socket fails with by its nature (socket(7), unix(7)).
ERRORS = {
    "accept4": "EACCES EAGAIN ECONNABORTED EINTR EMFILE ENFILE ENOBUFS ENOMEM EPERM EPROTO",
    "getsockname": "ENOBUFS", "getpeername": "ENOBUFS ENOTCONN", "setsockopt": "ENOMEM",
    "getsockopt": "EINVAL EMFILE ENODATA ENOPROTOOPT ESRCH",
    "openat": "EACCES EINTR EMFILE ENFILE ENOENT ENOMEM", "newfstatat": "ENOMEM", "fcntl": "EINTR",
    "poll": "EINTR ENOMEM", "epoll_ctl": "ENOMEM ENOSPC", "epoll_wait": "EINTR",
    "read": RECEIVE, "readv": RECEIVE, "recvfrom": RECEIVE, "recvmsg": RECEIVE,
    "write": SEND, "writev": SEND, "sendto": SEND, "sendmsg": SEND, "shutdown": "ENOTCONN",
}
# These fail for a wrong argument only, or do not fail in any way that counts.
UNFAILING = {"close", "gettid", "futex", "timerfd_settime", "ioctl", "madvise", "mmap", "munmap",
             "mprotect", "brk", "restart_syscall", "sched_yield", "getuid"}
# What may end the process, to be started again: SwiftNIO reads once more where a caller has hung
# up, and gives up when there is neither an end nor an error, which the kernel never does.
FATAL = [("read", "error=EAGAIN")]
# And where its own timer cannot be read (timerfd_create(2)): nor does that happen. Which read of a
# thread is that of a timer is not the same each time.
TIMER = "unexpectedly raised an error: read(descriptor:"
KINDS = ("query", "token", "credential")


@contextlib.contextmanager
def serving():
    """A house with a socket of each kind; `a` has a file, a token socket and a credential."""
    with house(DISK) as home:
        home.deliver(FILE, "{ socket: @/a.sock }")
        home.config.write_text(
            home.config.read_text()
            .replace(f"path: {home.socket}", f"path: {home.socket}, credentials: {home.folder}/c")
            .replace("user_id: alice,", "user_id: alice, allow: [ { unit: ok.service } ],"))
        daemon = home.start().ready()
        eventually(lambda: exchange(home, "query"))
        # What the start left to do would be taken for calls of an exchange.
        eventually(lambda: rests(daemon.pid))
        yield home, daemon


def rests(process):
    """Whether all threads of a process sleep, and slept through a tenth of a second."""
    def states():
        stats = [(task / "status").read_text()
                 for task in pathlib.Path(f"/proc/{process}/task").iterdir()]
        return [re.findall(r"^State:\s+(\w)|^\w*voluntary_ctxt_switches:\s+(\d+)", text, re.M)
                for text in stats]
    try:
        before = states()
        time.sleep(0.1)
        return states() == before and all(state[0][0] == "S" for state in before)
    except (FileNotFoundError, ProcessLookupError):
        return False


def exchange(home, kind, credentials="c"):
    """What one caller is given; nothing when it is turned away."""
    if kind == "query":
        with contextlib.suppress(OSError, http.client.HTTPException):
            return home.ask("/v1/identities/a/token").body
        return b""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(5)
        if kind == "credential":
            client.bind(f"\0{os.urandom(6).hex()}/unit/ok.service/a")
        client.connect(str(home.out / "a.sock" if kind == "token" else home.folder / credentials))
        return b"".join(iter(lambda: client.recv(4096), b""))
    return b""


@pytest.fixture(scope="module")
def recorded():
    """The calls of one exchange on each kind of socket, each with its number in its thread: those
    of two daemons, because what the start of one left to do is no part of it."""
    def calls(kind):
        with serving() as (home, daemon):
            trace = home.trace(daemon)
            assert exchange(home, kind).count(b".") == 2
            eventually(lambda: trace.has("EPOLL_CTL_DEL"))
            return {(name, number) for _, name, number in trace.end().calls}
    return {kind: sorted(calls(kind) & calls(kind)) for kind in KINDS}


def test_a_caller_is_served_by_these_calls(recorded):
    """Others are other ways to fail."""
    names = {name for calls in recorded.values() for name, _ in calls}
    assert {"accept4", "epoll_ctl", "read"} <= names <= {*ERRORS, *UNFAILING}


def test_every_call_that_serves_a_caller_fails(recorded):
    def check(case):
        with serving() as (home, daemon):
            kind = case.about
            token = (home.out / "a.jwt").read_bytes()
            trace = home.trace(daemon, (), case.injection)
            given = exchange(home, kind)
            trace.wait_for("(INJECTED)")
            eventually(lambda: trace.is_over or exchange(home, "query") == token)
            trace.end()
            if trace.is_over:
                daemon.process.wait(timeout=PATIENCE)
                daemon.reader.join(PATIENCE)
                assert (case.call, case.fault) in FATAL or daemon.count(TIMER), daemon.lines
                return home.revives()
            assert given in (b"", token) or b"." not in given or b"error" in given, "a torn token"
            for other in KINDS:
                eventually(lambda: exchange(home, other) == token)
            assert home.rotate("a")["last_error"] is None
            eventually(lambda: {exchange(home, other) for other in KINDS}
                       == {(home.out / "a.jwt").read_bytes()})
            assert daemon.process.poll() is None
    side_by_side(check, [
        Case(kind, name, number, f"error={error}") for kind in KINDS
        for name, number in recorded[kind] for error in ERRORS.get(name, "").split()])


# In the daemon and, from its beginning on, in the child that becomes the program.
RUNNING = {
    "memfd_create": "EMFILE ENFILE ENOMEM EPERM", "pipe2": "EMFILE ENFILE",
    "socketpair": "EMFILE ENFILE ENOBUFS", "clone": "EAGAIN ENOMEM", "setpgid": "EPERM",
    "pidfd_open": "EMFILE ENFILE ENOMEM", "sendto": "EINTR ENOBUFS EPIPE", "poll": "EINTR ENOMEM",
    "recvfrom": "EINTR ENOMEM", "kill": "EPERM", "pidfd_send_signal": "EPERM", "wait4": "EINTR",
    "dup2": "EINTR EMFILE", "dup3": "EMFILE", "close_range": "ENOMEM ENOSYS", "capget": "EPERM",
    "prctl": "EPERM", "prlimit64": "EPERM",
    "execve": "EACCES EAGAIN EIO ELOOP EMFILE ENFILE ENOENT ENOEXEC ENOMEM EPERM ETXTBSY",
}


def test_every_call_that_runs_a_hook_fails():
    """It runs or is reported as failed, leaves no process and no descriptor, and runs the next
    time."""
    def check(case):
        with house(DISK) as home:
            home.deliver(FILE)
            home.config.write_text(home.config.read_text().replace(
                "user_id: alice,", "user_id: alice, on_rotate: [ { run: [ /bin/echo, hook ] } ],"))
            daemon = home.start().ready()
            daemon.wait_for("echo: hook")

            def descriptors():
                return len(list(pathlib.Path(f"/proc/{daemon.pid}/fd").iterdir()))
            before = descriptors()
            trace = home.trace(daemon, (), case.injection)
            assert home.rotate("a")["last_error"] is None
            trace.wait_for("(INJECTED)")
            eventually(lambda: daemon.count("echo: hook") + daemon.count("echo failed") >= 2)
            # Processes that end are hooks here: `trace.end` would take one for the daemon.
            trace.process.send_signal(signal.SIGINT)
            trace.process.wait(timeout=PATIENCE)
            ran = daemon.count("echo: hook")
            assert home.rotate("a")["last_error"] is None
            daemon.wait_for("echo: hook", ran + 1)
            home.well()
            eventually(lambda: not children(daemon.pid) and descriptors() <= before)
    side_by_side(check, [Case("hook", name, 1, f"error={error}")
                         for name, errors in RUNNING.items() for error in errors.split()])


# What makes a socket and puts another in its place. epoll_ctl is not among it: where a new listener
# cannot be watched, SwiftNIO ends the process, to be started again.
MAKING = {
    "socket": "EMFILE ENFILE ENOBUFS ENOMEM", "bind": "EACCES EIO ENOMEM ENOSPC EROFS",
    "listen": "EADDRINUSE", "fchmod": "EPERM", "fchmodat": "EIO EPERM EROFS",
    "fchownat": "EDQUOT EIO EPERM", "fchown": "EDQUOT EIO EPERM", "connect": "EACCES",
    "unlinkat": "EIO EROFS",
}


def test_every_call_of_a_reload_that_makes_sockets_fails():
    """The old sockets serve on or the new ones do, and the next reload mends what is missing."""
    def moved(home):
        new = home.config.read_text().replace(f"{home.socket},", f"{home.socket}2, group: daemon,")
        home.config.write_text(new.replace(f"{home.folder}/c ", f"{home.folder}/c2 "))

    def served(home):
        """Whether one of the query sockets serves."""
        for place in (home.socket, home.folder / "s2"):
            with contextlib.suppress(OSError, http.client.HTTPException):
                home.socket = place
                home.ask("/health")
                return True
        return False

    with serving() as (home, daemon):
        moved(home)
        trace = home.trace(daemon)
        daemon.reload()
        eventually(lambda: served(home) and home.socket.name == "s2")
        made = [(name, number) for _, name, number in trace.end().calls if name in MAKING]
    count = collections.Counter(name for name, _ in made)
    assert {"socket", "bind", "listen"} <= set(count)

    def check(case):
        with serving() as (home, daemon):
            moved(home)
            trace = home.trace(daemon, (), case.injection)
            daemon.reload()
            # Work may be shared out to threads otherwise than before: then none makes so many.
            eventually(lambda: trace.has("(INJECTED)") or count[case.call] <=
                       sum(name == case.call for _, name, _ in trace.calls))
            assert trace.has("(INJECTED)") or case.number > 1
            eventually(lambda: served(home))
            trace.end()
            assert daemon.process.poll() is None
            assert home.rotate("a")["last_error"] is None
            daemon.reload()
            home.socket, token = home.folder / "s2", (home.out / "a.jwt").read_bytes()
            eventually(lambda: exchange(home, "query") == token)
            eventually(lambda: exchange(home, "credential", "c2") == token)
            eventually(lambda: exchange(home, "token") == token)
    side_by_side(check, [Case("reload", name, number, f"error={error}")
                         for name, number in sorted(set(made)) for error in MAKING[name].split()])
