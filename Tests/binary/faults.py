"""Faults of the kernel for a running jotd: strace(1) makes chosen system calls fail, or ends the
daemon at them, while somebody looks at what is delivered."""

import collections
import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import stat
import subprocess
import tempfile
import threading
import time

import jwt

from conftest import Answer, Connection, Home, JOTD, SECRET, eventually

TEMPORARY = re.compile(r"\..+\.([0-9a-f]{16})\.jotd")
OWNER, GROUP, MODE = 65534, 1, 0o640
ACCESS = "owner: nobody, group: daemon, mode: '0640'"
FILE = f"{{ file: @/a.jwt, {ACCESS} }}"
DISK, MEMORY = "/var/tmp", "/dev/shm"


class Case(collections.namedtuple("Case", "about call number fault")):
    """What happens to the call of this number among those about the same; see Trace."""

    def __repr__(self):
        return f"{self.call} {self.number} ({self.about}) {self.fault}"

    @property
    def injection(self):
        return f"{self.call}:{self.fault}:when={self.number}"

    @property
    def fails(self):
        """Whether a delivery fails of it: not when a signal interrupts, not when all is done and
        is closed, and not when nothing is found at the place."""
        return not self.fault.endswith("EINTR") and self.call != "close" \
            and (self.about, self.call, self.fault) != ("a.jwt", "newfstatat", "error=ENOENT")


def listed(text):
    """Calls as (about, name, number), from lines of these with many numbers; - is anything."""
    return [(about, name, number) for about, name, *numbers in map(str.split, text.splitlines())
            for number in numbers]


# What the manual pages list, less what only a wrong argument brings (EBADF, EFAULT and such).
ERRORS = {
    "openat": "EACCES EINTR EIO ELOOP EMFILE ENFILE ENOENT ENOMEM ENOTDIR EPERM",
    ("temporary", "openat"): "EDQUOT EEXIST EISDIR ENOSPC EROFS",
    "newfstatat": "EACCES EINTR EIO ELOOP ENOENT ENOMEM ENOTDIR",
    "fstatfs": "EINTR EIO ENOMEM ENOSYS",
    "write": "EAGAIN EDQUOT EFBIG EINTR EIO ENOSPC EPERM",
    "fchmod": "EINTR EIO EPERM EROFS",
    "fchown": "EDQUOT EINTR EIO EPERM EROFS",
    "fsync": "EDQUOT EINTR EIO ENOSPC EROFS",
    "renameat": "EACCES EBUSY EDQUOT EEXIST EINTR EINVAL EIO EISDIR ELOOP EMLINK ENOENT ENOMEM "
                "ENOSPC ENOTDIR ENOTEMPTY EPERM EROFS EXDEV",
    "close": "EDQUOT EINTR EIO ENOSPC",
    ("timerfd", "read"): "EAGAIN ECANCELED EINTR EIO", ("eventfd", "read"): "EAGAIN EINTR",
    "timerfd_settime": "ECANCELED EINVAL", "epoll_wait": "EINTR", "epoll_ctl": "ENOMEM ENOSPC",
    "poll": "EINTR ENOMEM",
    ("log", "write"): "EPIPE",
    "clone3": "EAGAIN ENOMEM EPERM", "rt_sigprocmask": "EINVAL",
    "set_robust_list": "EINVAL", "rseq": "EINVAL",
}
# What the loop calls beside the delivery, as often as in one rotation or more.
LOOP = listed("""timerfd read 1
- timerfd_settime 1 2 1..9
eventfd read 1 2 3
eventpoll epoll_wait 1 2 3 4 5 6
inotify epoll_ctl 3
- poll 1 2
secret newfstatat 1 2
log write 1""")
# The kernel does not fail to write to an eventfd that is not full, to change what epoll watches
# already, or to wake a thread.
UNFAILING = listed("""eventfd write 1 2 3
- epoll_ctl 1 2 3 4
- futex 1 2 3""")
# After five idle seconds the threads are gone, and the next rotation makes new ones.
THREADS = listed("""- clone3 1 1..2
- rt_sigprocmask 1 2
- set_robust_list 1
- rseq 1""")
# The last are for memory, of threads that wait or end, and of the watches on folders and their
# threads, without which a delivery is made all the same: a host that has given all its watches to
# others gives none (fs.inotify.max_user_instances). The secret's watch follows its path again
# (readlink) after each change beside it, as the query socket's coming is one at the start.
KNOWN = {*(name if isinstance(name, str) else name[1] for name in ERRORS),
         *(name for _, name, _ in UNFAILING), "ioctl", "gettid", "brk", "mmap", "munmap",
         "mprotect", "madvise", "exit", "restart_syscall", "sched_yield",
         "clock_nanosleep", "inotify_add_watch", "readlink", "prctl", "setpriority"}
# What may end the process, to be started again. The C library and libdispatch give up when a futex
# does not wake, a descriptor of theirs is none, or a thread cannot be set up; and a daemon
# without its timer had better end than sleep on.
FATAL = [
    Case("-", "futex", "1", "error=EAGAIN"), Case("eventpoll", "epoll_wait", "1", "error=EBADF"),
    Case("-", "rseq", "1", "error=EINVAL"),
    *(Case("-", "timerfd_settime", number, "error=EINVAL") for number in ("1", "2", "1..9"))]


def cases(calls):
    """Each of these calls with each error that is known of it."""
    return [Case(about, name, number, f"error={error}") for about, name, number in calls
            for error in f"{ERRORS.get(name, '')} {ERRORS.get((about, name), '')}".split()]


class Trace:
    """strace on every thread of a process, those that begin later included; all are traced once
    this is made.

    strace numbers each call by its name, in each thread, among the calls that touch one of `paths`.
    A delivery is carried out in one thread, so a name, a number and its paths choose one call.
    """

    CALL = re.compile(r"(?:\[pid +(\d+)\] )?(\w+)\((.*)")

    def __init__(self, pid, paths, injections):
        chosen = [word for path in paths for word in ("-P", str(path))]
        self.process = subprocess.Popen(
            ["strace", "-f", "-y", "-p", str(pid), *chosen,
             *(f"--inject={injection}" for injection in injections)],
            stderr=subprocess.PIPE, text=True)
        self.pid, self.lines = pid, []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.wait_for(" attached")

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def has(self, text):
        return any(text in line for line in list(self.lines))

    def wait_for(self, text):
        """Waits until the process did, or suffered, what strace shows in these words."""
        eventually(lambda: self.has(text) or not self.reader.is_alive())
        assert self.has(text), f"not reached: {text}"

    @property
    def is_over(self):
        """Whether the process has ended; it can be waited for after `end`."""
        return self.has("+++ killed by") or self.has("exit_group(")

    def end(self):
        """Lets the process run on its own again. A strace whose process has ended may wait for one
        of its threads for ever."""
        self.process.send_signal(signal.SIGKILL if self.is_over else signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=3)
        self.process.kill()
        self.process.wait()
        self.reader.join(timeout=10)
        return self

    @property
    def calls(self):
        """The calls in order: the file name or descriptor that each is about, its name, and its
        number in its thread. Without a thread's number, there is only the process's own."""
        calls, count = [], collections.Counter()
        for line in list(self.lines):
            if call := self.CALL.match(line):
                thread, name, words = call.groups()
                about = (name.endswith("at") and re.search(r'"([^"]+)"', words)
                         or re.search(r"<(.+?)>", words))
                count[thread or str(self.pid), name] += 1
                calls.append(
                    (about[1] if about else "", name, count[thread or str(self.pid), name]))
        return calls


class House(Home):
    """A home whose deliveries are in a folder of their own, on the file system asked for."""

    def __init__(self, folder, out):
        super().__init__(folder)
        self.out, self.socket, self.traces = out, folder / "s", []

    def deliver(self, *places, life="1h", before="10m", other=True):
        """Identity `a` with these deliveries, and `b` beside it; @ stands for the out folder."""
        timing = f"role: admin, lifetime: {life}, refresh_before: {before}"
        text = f"  a: {{ user_id: alice, {timing}, deliver: [ {', '.join(places)} ] }}\n"
        if other:
            text += f"  b: {{ user_id: bob, {timing}, deliver: [ {{ file: @/b.jwt }} ] }}\n"
        self.configure(text.replace("@", str(self.out)))
        self.config.write_text(f"socket: {{ path: {self.socket} }}\n" + self.config.read_text())

    def seed(self):
        """A token of an earlier run, which a start keeps: the first rotation replaces it."""
        issued = int(time.time()) - 60
        path = self.out / "a.jwt"
        path.write_text(jwt.encode(
            {"user_id": "alice", "role": "admin", "iat": issued, "exp": issued + 3600}, SECRET))
        path.chmod(MODE)
        os.chown(path, OWNER, GROUP)

    def trace(self, daemon, paths=(), *injections):
        self.traces.append(Trace(daemon.pid, paths, injections))
        return self.traces[-1]

    def ask(self, target, method="GET"):
        connection = Connection(self.socket)
        connection.request(method, target)
        return Answer(connection.getresponse())

    def rotate(self, name):
        """Asks for a new token; what is known of the identity then."""
        return self.ask(f"/v1/identities/{name}/rotate", "POST").json

    def failures(self):
        """How many deliveries of `a` failed so far."""
        counter = 'jotd_deliveries_total{identity="a",result="failure"} '
        return int(self.ask("/metrics").body.decode().split(counter)[1].split()[0])

    def trail(self, daemon):
        """All paths that the next delivery to a.jwt touches. Temporary files are numbered on, of
        whatever identity."""
        trace = self.trace(daemon, [self.out])
        self.rotate("b")
        number = int(TEMPORARY.search("".join(trace.end().lines))[1], 16) + 1 & (1 << 64) - 1
        path = self.out / "a.jwt"
        return [path, *path.parents, self.out / f".a.jwt.{number:016x}.jotd"]

    def near(self, daemon, about):
        """The paths that stand for what a call of the loop is about."""
        return {"-": [], "secret": [self.secret], "log": [os.readlink(f"/proc/{daemon.pid}/fd/2")],
                "inotify": ["anon_inode:inotify"],
                }.get(about, [f"anon_inode:[{about}]"])

    @property
    def temporaries(self):
        return [path.name for path in self.out.rglob("*") if TEMPORARY.fullmatch(path.name)]

    def well(self):
        """Waits until health has nothing to say, and no temporary file is left."""
        eventually(lambda: self.ask("/health").json["status"] == "pass" and not self.temporaries)
        # Where a token is fresh for a second, it may be stale again by now.
        eventually(lambda: subprocess.run(
            [JOTD, "health", "--config", self.config], capture_output=True).returncode == 0)

    def revives(self):
        """A start as systemd would do it: all is well again, and what the last run left is gone."""
        self.start().ready()
        self.well()
        Watch(self.out / "a.jwt").end()


@contextlib.contextmanager
def house(parent):
    """A house that is gone afterwards, with its daemons; `parent` says on which file system."""
    with tempfile.TemporaryDirectory(prefix="jotd-") as folder, \
            tempfile.TemporaryDirectory(prefix="jotd-", dir=parent) as out:
        home = House(pathlib.Path(folder), pathlib.Path(out))
        try:
            yield home
        finally:
            for trace in home.traces:
                trace.process.kill()
                trace.process.wait()
            for daemon in home.daemons:
                daemon.stop(signal.SIGKILL)
        lines = [line for daemon in home.daemons for line in daemon.lines]
        assert not [line for line in lines if SECRET in line or "eyJ" in line]


# How a rotation comes about: each returns the daemon, the paths to trace, and what makes it rotate.

def asked(home, about=None):
    """By a request; the calls of the delivery follow one another in one thread."""
    home.deliver(FILE)
    home.seed()
    daemon = home.start().ready()
    return daemon, home.trail(daemon), lambda: home.rotate("a")


def each_second(home, about):
    """By the timer, at each whole second; begins between two of them."""
    home.deliver(FILE, life="3s", before="2s", other=False)
    daemon = home.start().ready()
    calm()
    return daemon, home.near(daemon, about), lambda: None


def after_idling(home, about):
    """By the timer, when the threads of the start have gone."""
    home.deliver(FILE, life="15s", before="7s", other=False)
    daemon = home.start().ready()
    eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/task")) <= 3)
    return daemon, [], lambda: None


BEGINNINGS = {"asked": asked, "each second": each_second, "after idling": after_idling}


def calm():
    eventually(lambda: 0.3 < time.time() % 1 < 0.6)


class Watch(threading.Thread):
    """Looks at a delivered file again and again, as its client does: it is whole, valid, and its
    owner's. `seen` are the contents, in order."""

    def __init__(self, path, unpack=str):
        super().__init__(daemon=True)
        self.path, self.unpack, self.seen, self.fault = path, unpack, [], None
        self.ended = threading.Event()
        self.look()
        self.start()

    def look(self):
        now = time.time()
        with open(self.path) as file:
            found, text = os.fstat(file.fileno()), file.read()
        right = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
        assert right == (OWNER, GROUP, MODE), right
        if [text] != self.seen[-1:]:
            claims = jwt.decode(self.unpack(text), SECRET, algorithms=["HS256"])
            self.issued, self.expiry = claims["iat"], claims["exp"]
            self.seen.append(text)
        assert now < self.expiry, "expired"

    def run(self):
        try:
            while not self.ended.wait(0.003):
                self.look()
        except Exception as error:
            self.fault = repr(error)

    def end(self):
        self.ended.set()
        self.join()
        assert self.fault is None, self.fault
        self.look()
        return self.seen


# Cases that are checked at a time: each mostly waits, and has a daemon, which takes one of the 128
# instances of inotify(7) that all tests beside one another have.
AT_ONCE = 20


def side_by_side(check, cases):
    """Checks every case, some at a time. Fails with all that is wrong, by case; returns what the
    checks returned."""
    wrong = []

    def attempt(case):
        try:
            return check(case)
        except Exception as error:
            wrong.append(f"{case}: {type(error).__name__}: {error}")
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(attempt, cases))
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cases)} cases:", *wrong])
    return results
