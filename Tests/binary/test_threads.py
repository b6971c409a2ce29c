"""A host that gives no thread for a moment (pthread_create(3), EAGAIN): it is asked again, and
nobody is told of disks that hang."""

import os
import signal
import subprocess

import pytest

from conftest import JOTD, PATIENCE, eventually, jotd, needs_root

# strace finds descriptors in /proc, which an undumpable process keeps to root.
pytestmark = needs_root


def refusing(calls, trace, *more):
    """strace that refuses these threads of each that asks for some. With -D, what it runs is the
    process that was started, and not a child of that."""
    return ["strace", *(more or ["-D"]), "-f", "-qq", "-o", trace, "-e", "trace=clone3",
            "-e", f"inject=clone3:error=EAGAIN:when={calls}"]


def refused(trace):
    return trace.read_text().count("(INJECTED)")


@pytest.mark.parametrize("calls", ["1", "1..9"])
def test_a_command_finds_nothing_wrong(home, calls):
    home.one()
    trace = home.path("trace")
    done = subprocess.run([*refusing(calls, trace), JOTD, "check", "--config", home.config],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and "does not answer" not in done.stdout + done.stderr, done
    eventually(lambda: refused(trace))


@pytest.mark.parametrize("calls", ["1", "1..9"])
def test_a_start_finds_nothing_wrong(home, calls):
    home.one(life="1d", before="1h")
    trace = home.path("trace")
    daemon = home.start(prefix=refusing(calls, trace)).ready()
    assert refused(trace)
    assert not daemon.count(" hang") and not daemon.count("does not answer"), daemon.lines
    assert "another jotd runs" in jotd("run", "--config", home.config, expect=73).stderr


def test_a_stop_removes_what_it_has_to(query):
    query.serve()
    daemon = query.start().ready()
    # Those that rest would do what is left to do.
    eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/task")) <= 3)
    trace = query.path("trace")
    # The first thread alone, which is the main queue's: libdispatch asks for its own once a second.
    words = refusing("1..12", trace, "-p", str(daemon.pid))
    tracer = subprocess.Popen([word for word in words if word != "-f"])
    eventually(lambda: "TracerPid:\t0" not in open(f"/proc/{daemon.pid}/status").read())
    assert daemon.stop(signal.SIGTERM) == 0
    tracer.wait(PATIENCE)
    assert refused(trace) >= 12
    assert daemon.count("stopping on SIGTERM") == 1
    assert not query.path("s").exists()
