"""From the start to the stop: one at a time, signals at any moment, and nothing at all in
between."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from conftest import (
    JOTD, PATIENCE, claims_of, eventually, jotd, many, needs_root, with_socket)


def test_a_second_jotd_refuses_to_start_without_a_socket(home):
    home.one(life="1d", before="1h")
    first = home.start().ready()
    second = home.start()
    second.wait_for("another jotd runs with this configuration")
    assert second.process.wait(PATIENCE) == 73
    first.stop(signal.SIGKILL)
    home.start().ready()


def test_a_second_instance_refuses_to_start(query):
    query.serve()
    daemon = query.start().ready()
    done = jotd("run", "--config", query.config, expect=73)
    assert "another jotd runs with this configuration" in done.stderr
    assert query.ask("/health").status == 200
    daemon.stop(9)
    assert query.path("s").exists()
    query.start().ready()
    assert query.ask("/health").status == 200


def test_a_start_that_fails_leaves_no_lock(query):
    query.serve()
    runtime = query.path("runtime")
    runtime.mkdir(mode=0o700)
    env = {"RUNTIME_DIRECTORY": str(runtime)}
    query.start(env).ready()
    held = os.listdir(runtime)
    assert len(held) == 1
    # Another configuration, for the same socket.
    other = query.path("other.yaml")
    other.write_text(query.config.read_text())
    other.chmod(0o600)
    jotd("run", "--config", other, expect=73, env=env)
    assert os.listdir(runtime) == held


def test_a_query_socket_from_systemd_is_known_by_its_name(home):
    """Wherever it is; and its path stays when jotd ends, because systemd has it."""
    with_socket(home.one(life="1d", before="1h"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home.path("handed")))
    listener.listen()
    home.sockets.append(listener)
    script = 'exec 3<&$0; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=query exec "$@"'
    listener.set_inheritable(True)
    process = subprocess.Popen(
        ["bash", "-c", script, str(listener.fileno()), JOTD, "run", "--config", home.config],
        pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)
    try:
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "20", "--unix-socket", home.path("handed"),
             "http://jotd/health"], capture_output=True, text=True)
        assert '"status":"pass"' in done.stdout, done
        assert not home.path("s").exists()
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert home.path("handed").exists()


def test_sighup_at_once_does_not_kill(home):
    """Not from the first thing on that the program does."""
    def is_armed(pid):
        with open(f"/proc/{pid}/status") as status:
            sets = [line.split()[1] for line in status if line.startswith(("SigIgn:", "SigCgt:"))]
        return any(int(signals, 16) & 1 for signals in sets)
    home.one()
    for delay in (0, 0, 0.005, 0.02):
        daemon = home.start()
        eventually(lambda: is_armed(daemon.pid), every=0.0005)
        time.sleep(delay)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.ready()
        assert daemon.stop() == 0


@needs_root  # strace finds a descriptor's path in /proc, which an undumpable process keeps to root
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_ready_is_not_lost(home, how):
    """A signal that came before its Dispatch source had been set up was once thrown away."""
    home.one(life="1h", before="1min")
    for _ in range(25):
        daemon = home.start().ready()
        began = time.monotonic()
        assert daemon.stop(how) == 0 and time.monotonic() - began < 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stops_within_a_second_and_leaves_the_files(home, how):
    home.configure(many(100))
    took = []
    # One of three: a machine that is busy with other things may keep it waiting.
    while not took or took[-1] >= 1 and len(took) < 3:
        daemon = home.start().ready()
        begin = time.monotonic()
        assert daemon.stop(how) == 0
        took.append(time.monotonic() - begin)
    assert took[-1] < 1, took
    assert daemon.count(f"stopping on {how.name}") == 1
    assert len(list(home.folder.glob("i*.jwt"))) == 100


def test_time_zone_and_locale_change_nothing(home):
    home.configure(many(1, "1d", "1h", ", format: json"))
    begin = time.time()
    home.start(env={"TZ": "Pacific/Kiritimati", "LC_ALL": "de_DE.UTF-8"}).ready().stop()
    known = json.loads(home.read("i0.jwt"))
    claims = claims_of(known["token"])
    assert int(begin) <= claims["iat"] <= time.time()
    assert known["issued_at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(claims["iat"]))
    daemon = home.start(env={"TZ": "America/St_Johns"}).ready()
    assert daemon.count("is kept") == 1


@needs_root
def test_idle_means_no_system_call_at_all(home, tmp_path_factory):
    home.configure(many(10, "1d", "1h"))
    daemon = home.start().ready()
    # The first, which steers, and libdispatch's; there are no connections. Those of the work before
    # end by themselves after five seconds.
    eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/task")) == 2)
    trace = tmp_path_factory.mktemp("trace") / "trace"
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", trace, "-p", str(daemon.pid)])
    time.sleep(10)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    calls = [line for line in trace.read_text().splitlines()
             if "unfinished" not in line and "= ? ERESTART" not in line and "strace" not in line
             and "<detached" not in line]
    assert calls == []
