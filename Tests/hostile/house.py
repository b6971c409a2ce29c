"""A jotd under attack, with what it takes from the machine and what it says."""

import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from honest import BEFORE, FORMATS, JOTD, SECRET, STEADY, ask, life, waited

HERE = pathlib.Path(__file__).parent
IS_ROOT = os.geteuid() == 0
# As root, everybody is somebody else; an ordinary user is all of them.
OWN = 5_100 if IS_ROOT else os.geteuid()
HONEST = 5_200 if IS_ROOT else os.geteuid()
HOSTILE = list(range(5_301, 5_311)) if IS_ROOT else [os.geteuid()]
MIB = 1 << 20
# What the kernel gives a daemon in a control group before it ends it: socket buffers included.
HARD_BOUND = 512 * MIB


def eventually(condition, within, every=0.02):
    """Whether `condition` comes true in time."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


class House:
    """A folder with a configuration and its daemon, which is started and stopped at will."""

    def __init__(self):
        shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="jotd-hostile-", dir=shm))
        self.folder.chmod(0o755)
        (self.folder / "out").mkdir(mode=0o755)
        (self.folder / "secret").write_text(SECRET)
        (self.folder / "secret").chmod(0o600)
        # Each line is one run of the hook.
        (self.folder / "hook").write_text(f"#!/bin/sh\necho >> {self.folder}/hooks\n")
        (self.folder / "hook").chmod(0o755)
        (self.folder / "hooks").touch()
        self.configure()
        if IS_ROOT:
            for path in [self.folder, *self.folder.iterdir()]:
                os.chown(path, OWN, OWN)
        self.group = ControlGroup()
        self.process = None
        # Everybody who was let loose, to be ended when a test breaks off.
        self.callers = []

    def configure(self, path="s", mode="0666", more=""):
        """`more` is text at the end, for a configuration that is wrong."""
        at = self.folder
        # An ordinary user is an operator anyway, and cannot be told from the others.
        allow = ", ".join(f"{{ user: '{user}' }}" for user in sorted({HONEST, *HOSTILE}))
        out = [f"  s{n}:\n    user_id: steady-{n}\n    role: operator\n    lifetime: {life(n)}s\n"
               f"    refresh_before: {BEFORE}s\n    deliver:\n      - {{ file: {at}/out/s{n}, "
               f"format: {FORMATS[n % 4]}{', variable: T' if n % 4 == 1 else ''} }}\n"
               + (f"      - {{ socket: {at}/out/s{n}.sock }}\n" if n < 4 else "")
               for n in range(STEADY)]
        out.append(
            f"  shared:\n    user_id: sharer\n    role: viewer\n    lifetime: 30s\n"
            f"    refresh_before: {BEFORE}s\n    allow: [ {allow}, {{ unit: honest.service }} ]\n"
            f"    on_rotate: [ {{ run: [ {at}/hook ] }} ]\n"
            f"    deliver: [ {{ file: {at}/out/shared }}, {{ socket: {at}/t, mode: '0666' }} ]\n"
            f"  own:\n    user_id: owner\n    role: viewer\n    lifetime: 30s\n"
            f"    refresh_before: {BEFORE}s\n"
            f"    allow: [ {{ user: '{HONEST}' }}, {{ unit: honest.service }} ]\n"
            f"    deliver: [ {{ file: {at}/out/own }} ]\n")
        new = at / "jotd.yaml.new"
        new.write_text(
            f"signing: {{ secret: {{ file: {at}/secret }} }}\n"
            f"socket: {{ path: {at}/{path}, credentials: {at}/c, mode: '{mode}' }}\n"
            "identities:\n" + "".join(out) + more)
        new.rename(at / "jotd.yaml")

    # The daemon

    def start(self, listening=None):
        """Starts it, with the socket `listening` as systemd would hand it over."""
        self.lines, self.samples, self.is_ready = [], [], threading.Event()
        command = [JOTD, "run", "--config", str(self.folder / "jotd.yaml")]
        if listening is not None:
            command = ["sh", "-c", "LISTEN_PID=$$ exec \"$@\" 3<&0 </dev/null", "sh", *command]
        user = {"user": OWN, "group": OWN, "extra_groups": []} if IS_ROOT else {}
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        began = time.monotonic()
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL if listening is None else listening,
            env={**os.environ,
                 **({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "query"} if listening else {})},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard)), **user)
        self.group.take(self.process.pid)
        (self.folder / "pid").write_text(str(self.process.pid))
        threading.Thread(target=self.listen, args=[self.process, began], daemon=True).start()
        threading.Thread(target=self.sample, args=[self.process], daemon=True).start()
        return self

    def ready(self, within=30):
        """Waits for READY; returns how long it took from the start, in seconds."""
        assert self.is_ready.wait(within) and self.process.poll() is None, self.lines[-20:]
        return self.took

    def listen(self, process, began):
        """Reads the journal, and when READY came."""
        for line in process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))
            if b" ready:" in line:
                # Less what it waited for a core.
                self.took = time.monotonic() - began - waited(process.pid)
                self.is_ready.set()
        self.is_ready.set()

    def sample(self, process):
        while process.poll() is None:
            self.samples.append(self.resident())
            time.sleep(0.02)

    def resident(self):
        """Bytes of memory, the program's own pages included; 0 when it has ended."""
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
            if found := re.search(r"VmRSS:\s+(\d+)", text):
                return int(found[1]) << 10
        return 0

    def open_descriptors(self):
        text = ask(self.folder / "s", "/metrics", seconds=10)[2]
        return int(re.search(r"^process_open_fds (\d+)", text, re.M)[1])

    def check_life(self):
        """Fails when it has ended: by -9, it took more than the kernel gives it (HARD_BOUND)."""
        assert self.process.poll() is None, (self.process.returncode, self.lines[-10:])

    def end(self, how=signal.SIGTERM):
        """Ends it; returns its exit code, and how long it took in seconds."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=20)
        return code, time.monotonic() - began

    def clear(self):
        """Ends all callers."""
        for one in self.callers:
            if one.poll() is None:
                one.kill()
                one.wait()
        self.callers.clear()

    def remove(self):
        self.clear()
        if self.process:
            self.end(signal.SIGKILL)
        self.group.remove()
        shutil.rmtree(self.folder)

    # What it said

    def mark(self):
        """A place in the journal."""
        return len(self.lines)

    def said(self, since=0):
        """What was said since a mark, but for the rotations."""
        return [line for line in self.lines[since:] if "new token" not in line]

    def rotations(self, name, since=0):
        return sum(f" {name}: new token" in line for line in self.lines[since:])

    def hook_runs(self):
        return (self.folder / "hooks").stat().st_size


class ControlGroup:
    """The hard bound of memory, where this user may set one (cgroups(7), either version)."""

    def __init__(self):
        self.path = None
        name = f"jotd-hostile-{os.getpid()}"
        for root, file in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                           ("/sys/fs/cgroup", "memory.max")]:
            path = pathlib.Path(root) / name
            try:
                path.mkdir()
            except OSError:
                continue
            try:
                (path / file).write_text(str(HARD_BOUND))
                self.path = path
                return
            except OSError:
                path.rmdir()

    def take(self, process):
        if self.path:
            (self.path / "cgroup.procs").write_text(str(process))

    def remove(self):
        if self.path:
            eventually(lambda: not (self.path / "cgroup.procs").read_text(), 5)
            self.path.rmdir()


class Attack:
    """Hostile callers, each a process of its own, for a bounded time."""

    def __init__(self, house, way, users, seconds, processes=2):
        self.way, self.house = way, house
        self.all = [
            subprocess.Popen(
                [sys.executable, HERE / "attacks.py", way, house.folder, str(seconds), str(user)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for user in users for _ in range(processes)]
        house.callers += self.all

    def end(self, deeds=True):
        """Waits for their end; fails when one broke off, or the daemon ended, or when they did
        something although `deeds` says that they cannot, or nothing although they can."""
        said = [one.communicate(timeout=60) for one in self.all]
        self.house.check_life()
        for one, (out, error) in zip(self.all, said):
            assert one.returncode == 0, error
            assert (int(out) > 0) == deeds, f"{self.way} did {int(out)} things"


class Callers:
    """Honest callers, each a process of its own, from the first call until `end`."""

    def __init__(self, house, roles, longest=float("inf"), is_patient=False):
        self.longest = longest
        self.all = {
            role: subprocess.Popen(
                [sys.executable, HERE / "honest.py", role, house.folder,
                 str(HONEST if role == "caller" else os.geteuid()), str(longest),
                 "patient" if is_patient else "once"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for role in roles}
        house.callers += self.all.values()
        for one in self.all.values():
            assert one.stdout.readline() == "begun\n", one.stderr.read()

    def end(self):
        """What each saw: its calls, late ones, the slowest of each kind, and faults."""
        for one in self.all.values():
            one.stdin.close()
        seen = {}
        for role, one in self.all.items():
            one.stdin = None
            out, error = one.communicate(timeout=60)
            assert one.returncode == 0, error
            seen[role] = json.loads(out)
        return seen


@contextlib.contextmanager
def listening(path):
    """A socket that listens at `path`, as systemd makes it and keeps it."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        os.chmod(path, 0o666)
        one.listen(4096)
        try:
            yield one
        finally:
            path.unlink()
