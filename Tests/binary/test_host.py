"""How the daemon deals with what it lives among: the journal, the service manager, limits, the
secret's file, and what a reload changes."""

import contextlib
import fcntl
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import jwt
import pytest

from conftest import (
    Calls, JOTD, PATIENCE, SECRET, claims_of, eventually, jotd, needs_root)
from test_rotation import accepted, many

OTHER = "another secret that is long enough for HS256"


def with_socket(home):
    """Adds the query socket `s` to the configuration."""
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    return home


# MARK: The journal


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
    for number in range(9):
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


def test_only_the_journal_itself_is_taken_for_it(home):
    home.one(life="1d", before="1h")
    daemon = home.start(env={"JOURNAL_STREAM": "1:1"})
    daemon.ready()
    assert daemon.count("a: new token for alice (operator)") == 1


# MARK: The service manager


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


# MARK: Limits and hardening


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


# MARK: The secret


def test_a_secret_that_a_reload_names_is_watched(home):
    home.configure(many(2, "1d", "1h"))
    daemon = home.start().ready()
    second = home.path("second")
    second.write_text(SECRET + "2")
    second.chmod(0o600)
    home.config.write_text(home.config.read_text().replace(str(home.secret), str(second)))
    daemon.reload()
    eventually(lambda: accepted(home.read("i1.jwt"), SECRET + "2"))
    changes = daemon.count("the secret changed")
    second.write_text(OTHER)
    daemon.wait_for("the secret changed", changes + 1)
    eventually(lambda: accepted(home.read("i0.jwt"), OTHER) and accepted(home.read("i1.jwt"), OTHER))
    home.write_secret("the first one does not count any more, whatever it is")
    time.sleep(0.2)
    assert daemon.count("the secret changed") == changes + 1


@pytest.mark.parametrize("way", ["written over", "moved there"])
def test_a_secret_is_noticed_that_is(home, way):
    """By each event of its own, while nothing else wakes the daemon."""
    home.path("other").mkdir()
    home.path("other/secret").write_text(OTHER)
    home.path("other/secret").chmod(0o600)
    home.configure(many(1, "1d", "1h"))
    home.start().ready()
    time.sleep(0.3)
    if way == "moved there":
        home.path("other/secret").rename(home.secret)
    else:
        home.secret.write_text(OTHER)
    eventually(lambda: accepted(home.read("i0.jwt"), OTHER))


def test_a_secret_behind_links_is_watched_after_each_of_its_changes(home):
    for name in ("one", "two"):
        home.path(name).mkdir()
        home.path(name).joinpath("secret").write_text(f"{SECRET} {name}")
        home.path(name).joinpath("secret").chmod(0o600)
    home.secret.unlink()
    home.path("links").mkdir()
    home.path("links/secret").symlink_to("../one/secret")
    home.configure(many(1, "1d", "1h"))
    home.config.write_text(
        home.config.read_text().replace(str(home.secret), str(home.path("links/secret"))))
    daemon = home.start().ready()

    def signed_with(secret):
        eventually(lambda: accepted(home.read("i0.jwt"), secret))
    signed_with(f"{SECRET} one")
    home.path("one/secret").write_text(OTHER)  # where the link leads to
    signed_with(OTHER)
    home.path("links/new").symlink_to("../two/secret")
    home.path("links/new").rename(home.path("links/secret"))  # the link itself
    signed_with(f"{SECRET} two")
    home.path("two/secret").write_text(OTHER + "!")  # and where it leads to now
    signed_with(OTHER + "!")
    assert daemon.count("the secret changed") == 3


def health(home, **status):
    answer = jotd("health", "--config", home.config, **status).stdout
    return answer


def test_what_ended_is_not_in_health_any_more(home):
    with_socket(home.configure(many(1, "1d", "1h")))
    daemon = home.start().ready()
    assert health(home).startswith("JOTD OK")
    home.secret.rename(home.path("away"))
    daemon.wait_for("stays in use")
    assert "secret" in health(home, expect=1)
    home.path("away").rename(home.secret)
    daemon.wait_for("can be read again")
    eventually(lambda: subprocess.run(
        [JOTD, "health", "--config", home.config], capture_output=True).returncode == 0)
    good = home.config.read_text()
    home.config.write_text(good + "nonsense: 1\n")
    daemon.reload()
    home.path("good.yaml").write_text(good)
    done = jotd("health", "--config", home.path("good.yaml"), expect=1).stdout
    assert "the last reload was refused" in done
    home.config.write_text(good)
    daemon.reload()
    assert health(home).startswith("JOTD OK")


def test_the_fault_of_a_hook_that_a_reload_took_away_is_not_in_health_any_more(home):
    with_socket(home.configure(many(1, "1d", "1h").replace(
        "    deliver", "    on_rotate: [ { run: [ /bin/false ] } ]\n    deliver")))
    daemon = home.start().ready()
    daemon.wait_for("the hook run /bin/false failed")
    assert "/bin/false" in health(home, expect=1)
    with_socket(home.configure(many(1, "1d", "1h")))
    daemon.reload()
    assert health(home).startswith("JOTD OK")


# MARK: Reloads


def test_hooks_are_those_of_the_last_reload(home):
    def configure(hook):
        with_socket(home.configure(many(1, "1d", "1h").replace(
            "    deliver", f"    on_rotate: [ {{ run: [ /bin/touch, @/{hook} ] }} ]\n    deliver")))
    configure("first")
    daemon = home.start().ready()
    eventually(lambda: home.path("first").exists())
    configure("second")
    daemon.reload()
    home.path("first").unlink()
    jotd("rotate", "i0", "--config", home.config)
    eventually(lambda: home.path("second").exists())
    assert not home.path("first").exists()


def test_a_token_socket_is_as_the_last_reload_says(home):
    def mode():
        return oct(home.path("a.sock").stat().st_mode & 0o777)
    home.one(deliver="[ { socket: @/a.sock } ]", life="1d", before="1h")
    daemon = home.start().ready()
    assert mode() == "0o600"
    home.one(deliver="[ { socket: @/a.sock, mode: '0666' } ]", life="1d", before="1h")
    daemon.reload()
    eventually(lambda: mode() == "0o666")


def test_a_token_socket_that_was_removed_comes_back(home):
    home.one(deliver="[ { socket: @/a.sock } ]", life="3s", before="1s")
    home.start().ready()
    home.path("a.sock").unlink()
    eventually(lambda: home.path("a.sock").exists())


def test_identities_that_a_reload_took_away_are_not_known_any_more(home):
    with_socket(home.configure(many(2, "1d", "1h")))
    daemon = home.start().ready()
    with_socket(home.configure(many(1, "1d", "1h")))
    daemon.reload()
    jotd("token", "i1", "--config", home.config, expect=65)
    assert "1 of 1 identity fresh" in health(home)


def test_a_second_jotd_refuses_to_start_without_a_socket(home):
    home.one(life="1d", before="1h")
    first = home.start().ready()
    second = home.start()
    second.wait_for("another jotd runs with this configuration")
    assert second.process.wait(PATIENCE) == 73
    first.stop(signal.SIGKILL)
    home.start().ready()


# MARK: Sockets from systemd


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


# MARK: Standard descriptors


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


def test_a_closed_standard_output_is_an_error():
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", JOTD, "secret"], capture_output=True, text=True)
    assert done.returncode == 74 and "standard output cannot be written" in done.stderr


# MARK: What is read


@pytest.mark.parametrize("text,seconds", [
    ("90", 90), ("90s", 90), ("90 sec", 90), ("2min", 120), ("3m", 180), ("1h 30min", 5400),
    ("1h30min", 5400), ("2d", 172_800), ("1w", 604_800), ("1M", 2_629_800), ("1y", 31_557_600),
    ("1.5h", 5400), ("0.5min", 30), ("1.25min", 75), ("2000ms 1s", 3), ("5 seconds", 5),
    ("1 hour 1 minute 1 second", 3661), ("1month", 2_629_800)])
def test_time_spans(text, seconds):
    """systemd.time(7)."""
    token = jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "viewer", "--lifetime", text,
                 env={"S": SECRET}).stdout.strip()
    claims = claims_of(token)
    assert claims["exp"] - claims["iat"] == seconds


@pytest.mark.parametrize("text", ["", " ", "x", "1x", "1.5.5h", "-1h", "1h -5min", ".", "h", "1e3", "+5"])
def test_what_is_no_time_span(text):
    jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "viewer", f"--lifetime={text}",
         env={"S": SECRET}, expect=64)


def test_introspection_knows_the_new_key_at_once(home):
    with_socket(home.configure(many(1, "1d", "1h")))
    daemon = home.start().ready()

    def is_active(token):
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", home.path("s"), "-d", f"token={token}",
             "http://jotd/introspect"], capture_output=True, text=True)
        return '"active":true' in done.stdout
    old = home.read("i0.jwt")
    assert is_active(old)
    home.write_secret(OTHER)
    daemon.wait_for("new token", 2)
    assert is_active(home.read("i0.jwt")) and not is_active(old)
