"""Disks with a log of their writes, and jotd at work on them. Needs root, and changes nothing
outside: all is mounted in a mount namespace of its own, and loop devices end with their mounts."""

import contextlib
import ctypes
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from cuts import START, copy
from deliveries import IDENTITIES, SECRET, configuration
from disk import CLONE_NEWNS, MARK, append

HERE = pathlib.Path(__file__).parent
JOTD = os.environ.get("JOTD") or str(HERE.parents[1] / ".build/release/jotd")
# Of each identity, with a second or more between them.
ROTATIONS = 5
# The mount namespace that the tests leave.
OUTSIDE = os.open("/proc/self/ns/mnt", os.O_RDONLY)
# What is started ends with the tests, however these end: otherwise it would keep the mounts.
WITH_US = ["setpriv", "--pdeathsig", "KILL"]

# The size of the disk, how it is made, and how it is mounted while jotd works: where that can be
# set, it commits every second of its own accord, and so also between the syncs of jotd.
FILE_SYSTEMS = {
    "ext4": ("48M", ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
             "commit=1"),
    "xfs": ("300M", ["mkfs.xfs", "-q", "-K"], "defaults"),
    "btrfs": ("120M", ["mkfs.btrfs", "-q", "-K"], "commit=1"),
}


def run(*command):
    subprocess.run([*map(str, command)], check=True, timeout=60)


def eventually(condition, within=20.0, every=0.005):
    """The first true result of `condition`, asked again and again; fails after `within` s."""
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "did not come true"
        time.sleep(every)


@contextlib.contextmanager
def mounted(disk, folder, options="defaults"):
    run("mount", "-o", f"loop,nodiscard,{options}", disk, folder)
    try:
        yield folder
    finally:
        run("umount", folder)


class Daemon:
    """A running `jotd run` with deliveries into `folder`; `tell` gets each line of its journal at
    once."""

    def __init__(self, home, folder, tell=lambda line: None, env=None):
        secret, config = home / "secret", home / "jotd.yaml"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        config.write_text(configuration(secret, folder))
        self.lines = []
        self.process = subprocess.Popen(
            [*WITH_US, JOTD, "run", "--config", config], stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self._read, args=[tell], daemon=True)
        self.reader.start()

    def _read(self, tell):
        for line in self.process.stderr:
            tell(line)
            self.lines.append(line.decode())

    def wait_for(self, text, times=1):
        def count():
            return sum(text in line for line in list(self.lines))
        eventually(lambda: count() >= times or self.process.poll() is not None)
        assert count() >= times, self.lines

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        self.reader.join(10)


@contextlib.contextmanager
def at_work(home, file_system, env):
    """jotd at work on a new disk: `home` has its `base`, which is what was on it before, and its
    `log`, which is what has been written since."""
    size, make, options = FILE_SYSTEMS[file_system]
    image, log, fuse, mount = (home / name for name in ("image", "log", "fuse", "mount"))
    fuse.mkdir(parents=True)
    mount.mkdir()
    run("truncate", "--size", size, image)
    run(*make, image)
    copy(image, home / "base")
    log.touch()
    with contextlib.ExitStack() as stack:
        disk = subprocess.Popen(
            [*WITH_US, sys.executable, HERE / "disk.py", image, log, fuse, str(OUTSIDE)],
            pass_fds=[OUTSIDE])
        stack.callback(disk.wait, 10)
        stack.callback(run, "umount", fuse)
        eventually((fuse / "disk").exists)
        stack.enter_context(mounted(fuse / "disk", mount, options))
        folder = mount / "jotd"
        folder.mkdir()
        run("sync", "--file-system", folder)
        marks = os.open(log, os.O_WRONLY | os.O_APPEND)
        stack.callback(os.close, marks)
        append(marks, MARK, data=START)
        daemon = Daemon(home, folder, lambda line: append(marks, MARK, data=line), env)
        stack.callback(daemon.stop)
        yield daemon


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """A folder in memory that nobody else sees."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = tmp_path_factory.mktemp("room")
    assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    run("gcc", "-shared", "-fPIC", "-o", folder / "skip_sync.so", HERE / "skip_sync.c")
    return folder


@pytest.fixture(scope="session")
def recorded(room):
    """The homes of four disks for each file system: jotd was at work on one, "", with all its
    syncs, and on the others without some, by the letters of skip_sync.c."""
    homes = {(file_system, skipped): room / f"{file_system}-{skipped}"
             for file_system in FILE_SYSTEMS for skipped in ("", "fd", "f", "d")}
    with contextlib.ExitStack() as stack:
        daemons = []
        for (file_system, skipped), home in homes.items():
            shim = {"LD_PRELOAD": str(room / "skip_sync.so"), "SKIP_SYNC": skipped}
            daemons.append(stack.enter_context(
                at_work(home, file_system, shim if skipped else None)))
        for daemon in daemons:
            for identity in IDENTITIES:
                daemon.wait_for(f" {identity}: new token", ROTATIONS)
    return homes
