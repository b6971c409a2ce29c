"""What jotd does to itself before it touches a secret: limits, memory, descriptors, its
environment."""

import os
import pathlib
import signal
import subprocess
import time

from conftest import JOTD, SECRET, eventually, in_memory, needs_root, with_socket


def limits(pid):
    text = pathlib.Path(f"/proc/{pid}/limits").read_text()
    return {line[:25].strip(): line[25:].split()[:2] for line in text.splitlines()[1:]}


def test_as_many_descriptors_as_the_host_allows_and_no_core_file(home):
    with_socket(home.one(life="1d", before="1h"))
    daemon = home.start(prefix=["prlimit", "--nofile=300:500", "--core=1000000:1000000"]).ready()
    known = limits(daemon.pid)
    assert known["Max open files"] == ["500", "500"]
    assert known["Max core file size"] == ["0", "0"]


def test_nobody_of_the_same_user_looks_into_its_memory(home):
    """Undumpable: its files in proc(5) belong to root, and ptrace(2) is refused."""
    home.one(life="1d", before="1h")
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for path in [home.folder, *home.folder.iterdir()]:
            os.chown(path, 65534, 65534)
        for path in home.folder.parents:
            if not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode | 0o011)
    daemon = home.start(prefix=prefix).ready()
    assert pathlib.Path(f"/proc/{daemon.pid}/mem").stat().st_uid == 0


@needs_root
def test_nothing_takes_the_place_of_closed_standard_descriptors(home):
    """Otherwise a log line is written into the file, or into the event queue, that has number 2."""
    home.one(life="1d", before="1h")
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", JOTD, "run", "--config", home.config])
    try:
        eventually(home.path("a.jwt").exists)
        for number in range(3):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        assert home.read("a.jwt").count(".") == 2
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_the_secret_leaves_the_environment(home):
    home.one()
    home.config.write_text(home.config.read_text().replace(f"file: {home.secret}", "env: MY_KEY"))
    daemon = home.start(env={"MY_KEY": SECRET}).ready()
    if os.geteuid() == 0:
        assert SECRET.encode() not in pathlib.Path(f"/proc/{daemon.pid}/environ").read_bytes()
    daemon.reload()
    assert daemon.count("configuration reloaded") == 1


@needs_root
def test_the_secret_is_in_no_core_and_in_locked_memory_only(home):
    """Reads what gcore(1) would write: all memory but what is marked as not to be dumped."""
    home.one(life="1d", before="1h")
    daemon = home.start().ready()
    found = in_memory(daemon.pid, {"secret": SECRET.encode()})
    assert found, "the secret must be somewhere"
    assert found == {("secret", True)}
    status = pathlib.Path(f"/proc/{daemon.pid}/limits").read_text()
    assert any(l.startswith("Max core file size") and l.split()[4] == "0"
               for l in status.splitlines())
