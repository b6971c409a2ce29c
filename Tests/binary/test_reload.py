"""A reload is whole or not at all, repairs what was lost, and says what it did; and `check`, `run`
and a reload refuse the same sockets."""

import grp
import json
import os
import re
import signal
import socket
import stat
import subprocess

import pytest

from conftest import (
    JOTD, PATIENCE, blind, claims_of, eventually, jotd, many, needs_root, with_socket)
from test_status import health

ONE = "  a: { user_id: u, role: viewer, deliver: [ { file: @/a.jwt } ]EXTRA }\n"


class Served:
    """A home with a query socket."""

    def __init__(self, home):
        self.home = home

    def write(self, socket_keys, extra=""):
        self.home.configure(ONE.replace("EXTRA", extra))
        text = self.home.config.read_text()
        self.home.config.write_text(text.replace(
            "identities:", f"socket: {{ {socket_keys.replace('@', str(self.home.folder))} }}\n"
            "identities:", 1))

    def health(self, name):
        """What is asked at the socket of that name; nothing when nobody answers."""
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(PATIENCE)
            try:
                one.connect(str(self.home.path(name)))
            except OSError:
                return None
            one.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: one.recv(65536), b""))
        return json.loads(text.partition(b"\r\n\r\n")[2])["status"]


@pytest.fixture
def served(home):
    return Served(home)


WRONG = [
    ("path: @/gone/s", "3:17: @/gone: No such file or directory: create the folder"),
    ("path: @/open/s", "3:17: @/open can be written by everybody"),
    ("path: @/secret", "3:17: @/secret: there is something other than a socket: remove it"),
    ("path: @/a.jwt", "is already delivered to in"),
    ("path: @/s, credentials: @/gone/c", "credentials"),
    ("path: @/s, credentials: @/open/c", "can be written by everybody"),
    ("path: @/s, credentials: @/secret", "there is something other than a socket: remove it"),
    ("path: @/s, mode: '0999'", "three or four octal digits"),
]


@pytest.mark.parametrize("keys,words", WRONG)
def test_sockets_are_refused_alike_and_located(home, served, keys, words):
    home.path("open").mkdir()
    home.path("open").chmod(0o777)
    served.write("path: @/s")
    daemon = home.start().ready()
    served.write(keys)
    words = words.replace("@", str(home.folder)) if "credentials" != words else "gone"
    for command in ("check", "run"):
        said = jotd(command, "--config", home.config, expect=78).stderr
        assert words in said and re.search(r"jotd\.yaml:\d+:\d+: ", said), said
    daemon.reload()
    assert daemon.count("is refused") == 1
    # What was served is served, and the good file brings health back.
    assert served.health("s") == "warn"
    assert not home.path("gone").exists()
    served.write("path: @/s")
    daemon.reload()
    assert daemon.count("configuration reloaded") == 1
    assert served.health("s") == "pass"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may give and write everything")
def test_what_the_user_may_not_do_is_refused(home, served):
    home.path("mine").mkdir(0o500)
    own = (*os.getgroups(), os.getegid())
    foreign = next(g.gr_gid for g in grp.getgrall() if g.gr_gid not in own)
    for keys, words in [("path: @/mine/s", "cannot write there"),
                        (f"path: @/s, group: {foreign}", "it needs CAP_CHOWN")]:
        served.write(keys)
        for command in ("check", "run"):
            said = jotd(command, "--config", home.config, expect=78).stderr
            assert words in said and re.search(r"jotd\.yaml:\d+:\d+: ", said), said


def test_a_socket_that_somebody_else_serves_is_not_taken(home, served):
    served.write("path: @/s")
    daemon = home.start().ready()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(home.path("t")))
        other.listen()
        served.write("path: @/t")
        daemon.reload()
        assert daemon.count("somebody answers there") and daemon.count("is refused")
        assert served.health("s") == "warn"
        # Nor is half of it done: the second of two cannot be made.
        served.write("path: @/u, credentials: @/t")
        daemon.reload()
        assert daemon.count("is refused") == 2
        assert not home.path("u").exists() and served.health("s") == "warn"


def test_a_removed_socket_is_made_anew_by_a_reload(home, served):
    served.write("path: @/s, credentials: @/c")
    daemon = home.start().ready()
    for name in ("s", "c"):
        home.path(name).unlink()
    daemon.reload()
    assert served.health("s") == "pass"
    assert home.path("c").is_socket()
    # One that took its place, and that nobody serves, is no obstacle.
    home.path("s").unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home.path("s")))
    daemon.reload()
    assert served.health("s") == "pass"


def test_the_mode_of_a_socket_changes_without_a_moment_without_it(home, served):
    served.write("path: @/s, mode: '0600'")
    daemon = home.start().ready()
    inode = home.path("s").stat().st_ino
    served.write("path: @/s, mode: '0666', credentials: @/gone/c")
    daemon.reload()
    assert stat.S_IMODE(home.path("s").stat().st_mode) == 0o600, "refused, and half done"
    served.write("path: @/s, mode: '0666'")
    daemon.reload()
    found = home.path("s").stat()
    assert (found.st_ino, stat.S_IMODE(found.st_mode)) == (inode, 0o666)
    assert served.health("s") == "pass"


@needs_root
def test_the_group_of_a_socket_changes_and_goes(home, served):
    served.write("path: @/s, group: daemon")
    daemon = home.start().ready()
    assert home.path("s").stat().st_gid == grp.getgrnam("daemon").gr_gid
    served.write("path: @/s")
    daemon.reload()
    assert home.path("s").stat().st_gid == os.getegid()


def test_what_changed_beside_the_token_counts_as_changed(home, served):
    served.write("path: @/s")
    daemon = home.start().ready()
    before = home.read("a.jwt")
    for number, extra in enumerate([
            f", allow: [ {{ user: {os.geteuid()} }} ]",
            ", on_rotate: [ { run: [ /bin/true ] } ]", ""], 1):
        served.write("path: @/s", extra)
        daemon.reload()
        assert daemon.count("0 unchanged, 0 added, 1 changed, 0 removed") == number
        daemon.reload()
        assert daemon.count("1 unchanged, 0 added, 0 changed, 0 removed") == number
    assert home.read("a.jwt") == before, "the token was replaced for it"


@needs_root
def test_an_owner_that_goes_from_the_configuration_goes_from_the_file(home):
    def deliver(keys):
        home.one(deliver=f"[ {{ file: @/a.jwt, mode: '0640'{keys} }} ]", life="1d", before="1h")

    def owner():
        found = home.path("a.jwt").stat()
        return found.st_uid, found.st_gid
    daemon_group = grp.getgrnam("daemon").gr_gid
    deliver(", owner: nobody, group: daemon")
    daemon = home.start().ready()
    assert owner() == (65534, daemon_group)
    deliver(", group: daemon")
    daemon.reload()
    eventually(lambda: owner() == (0, daemon_group))
    deliver("")
    daemon.reload()
    eventually(lambda: owner() == (0, 0))
    # What was given away while jotd was down is not taken for its own.
    daemon.stop()
    for uid, gid in ((65534, 0), (0, daemon_group)):
        os.chown(home.path("a.jwt"), uid, gid)
        daemon = home.start().ready()
        assert daemon.count("is kept") == 0 and owner() == (0, 0)
        daemon.stop()
    assert home.start().ready().count("is kept") == 1


@needs_root
def test_in_a_folder_that_gives_its_group_the_file_has_that(home):
    folder = home.path("shared")
    folder.mkdir()
    os.chown(folder, 0, grp.getgrnam("daemon").gr_gid)
    folder.chmod(0o2755)
    home.one(deliver="[ { file: @/shared/a.jwt, mode: '0640' } ]", life="1d", before="1h")
    home.start().ready().stop()
    assert (folder / "a.jwt").stat().st_gid == grp.getgrnam("daemon").gr_gid
    assert home.start().ready().count("is kept") == 1


def test_of_two_that_start_together_one_runs(home):
    """With a query socket, and without one."""
    home.one(life="1d", before="1h")
    plain = home.config.read_text()
    for text in (plain, plain.replace("identities:", f"socket: {{ path: {home.path('s')} }}\n"
                                      "identities:", 1)):
        home.config.write_text(text)
        for _ in range(6):
            pair = [home.start() for _ in range(3)]
            eventually(lambda: sum(d.process.poll() is not None for d in pair) == 2)
            for one in pair:
                if one.process.poll() is not None:
                    assert one.process.returncode == 73, one.lines
                    one.reader.join(PATIENCE)
                    assert one.count("another jotd runs with this configuration"), one.lines
                else:
                    one.ready()
            for one in pair:
                one.stop()
    # One that was killed is no obstacle.
    home.start().ready().stop(signal.SIGKILL)
    home.start().ready()


def handed_over(home, given, name):
    """The arguments for a daemon that is given a socket as systemd does."""
    return {
        "args": ["sh", "-c", 'LISTEN_PID=$$ exec "$0" run --config "$1"', JOTD, home.config],
        "pass_fds": [3], "preexec_fn": lambda: os.dup2(given.fileno(), 3),
        "env": {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": name},
        "stderr": subprocess.PIPE, "text": True}


def test_a_socket_of_systemd_named_after_an_identity_serves_it(home):
    home.configure("  a: { user_id: u, role: viewer, deliver: [ { socket: @/configured } ] }\n")
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(home.path("given")))
        given.listen()
        process = subprocess.Popen(**handed_over(home, given, "a"))
        try:
            def token():
                with socket.socket(socket.AF_UNIX) as one:
                    one.settimeout(PATIENCE)
                    one.connect(str(home.path("given")))
                    return b"".join(iter(lambda: one.recv(65536), b""))
            assert token().count(b".") == 2
            assert not home.path("configured").exists()
            # Given back by one configuration, it is there for the next.
            with_it = home.config.read_text()
            counts = []

            def descriptors():
                # Of a process that is not dumpable, only root sees them.
                return len(os.listdir(f"/proc/{process.pid}/fd")) if os.geteuid() == 0 else 0
            for _ in range(3):
                home.config.write_text(
                    with_it.replace("socket: ", "file: ").replace("configured", "other"))
                process.send_signal(signal.SIGHUP)
                eventually(home.path("other").exists)
                home.config.write_text(with_it)
                process.send_signal(signal.SIGHUP)
                eventually(lambda: not home.path("other").exists())
                assert token().count(b".") == 2
                counts.append(descriptors())
            eventually(lambda: descriptors() <= counts[1])
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)
        assert process.returncode == 0 and home.path("given").exists()


def test_what_systemd_hands_over_and_is_no_listening_unix_stream_is_not_used(home, served):
    served.write("path: @/s")
    with socket.socket(socket.AF_INET) as given:
        given.bind(("127.0.0.1", 0))
        given.listen()
        process = subprocess.Popen(**handed_over(home, given, "query"))
        try:
            assert any("is no Unix stream socket" in line for line in process.stderr)
            eventually(lambda: home.path("s").exists())
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def test_a_limit_on_files_that_is_too_low_is_said(home):
    home.one()
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 16; exec "$0" run --config "$1"', JOTD, home.config],
        capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 71 and "ulimit -n" in done.stderr, done


def test_check_says_beforehand_what_a_reload_refuses_and_nothing_else(home):
    """A folder that is not there is none of that: deliveries are tried again."""
    home.one(deliver="[ { file: @/later/a.jwt } ]")
    done = jotd("check", "--reload", "--config", home.config)
    assert done.stdout + done.stderr == ""
    jotd("check", "--config", home.config, expect=78)
    home.path("open").mkdir()
    home.path("open").chmod(0o777)
    for text in (home.config.read_text().replace("later", "open"),
                 home.config.read_text().replace("secret }", "no-secret }"),
                 home.config.read_text() + "nonsense: 1\n"):
        home.config.write_text(text)
        done = jotd("check", "--reload", "--config", home.config, expect=78)
        assert f"{home.config}:" in done.stderr and done.stdout == ""


def test_reload_applies_all_or_nothing(home):
    home.configure(many(3, "1d", "1h"))
    daemon = home.start().ready()
    before = [home.read(f"i{n}.jwt") for n in range(3)]
    good = home.config.read_text()
    home.config.write_text(good + "    role: nonsense\n")
    daemon.reload()
    assert daemon.count("the new configuration is refused, the running one stays") == 1
    assert daemon.count("occurs twice") == 1
    home.secret.chmod(0o644)
    home.config.write_text(good.replace("i2", "i9"))
    daemon.reload()
    assert daemon.count("is refused") == 2 and not home.path("i9.jwt").exists()
    home.secret.chmod(0o600)
    assert [home.read(f"i{n}.jwt") for n in range(3)] == before
    # i0 stays, i1 changes, i2 goes, i3 comes.
    text = good.replace("user-1", "someone-else").replace("i2", "i3")
    home.config.write_text(text)
    daemon.reload()
    assert daemon.count("1 unchanged, 1 added, 1 changed, 1 removed") == 1
    daemon.wait_for("i2.jwt: removed")
    eventually(lambda: home.path("i3.jwt").exists())
    assert home.read("i0.jwt") == before[0]
    eventually(lambda: claims_of(home.read("i1.jwt"))["user_id"] == "someone-else")
    assert not home.path("i2.jwt").exists()
    home.configure("  none: { user_id: u, role: viewer }\n")
    daemon.reload()
    daemon.wait_for("removed, because", 4)
    assert [p.name for p in home.folder.glob("*.jwt")] == []


def test_a_path_may_move_from_one_identity_to_another(home):
    home.configure(many(2, "1d", "1h"))
    daemon = home.start().ready()
    home.config.write_text(
        home.config.read_text().replace("i0.jwt", "#.jwt").replace("i1.jwt", "i0.jwt")
        .replace("#.jwt", "i1.jwt"))
    daemon.reload()
    eventually(lambda: claims_of(home.read("i0.jwt"))["user_id"] == "user-1"
               and claims_of(home.read("i1.jwt"))["user_id"] == "user-0")
    assert daemon.count("removed, because") == 0


def test_reload_repairs_what_was_lost(home):
    home.configure(many(2, "1d", "1h"))
    daemon = home.start(blind()).ready()
    before = home.read("i0.jwt")
    home.path("i0.jwt").unlink()
    home.path("i1.jwt").chmod(0o644)
    daemon.reload()
    eventually(lambda: home.path("i0.jwt").exists() and home.read("i0.jwt") == before)
    eventually(lambda: stat.S_IMODE(home.path("i1.jwt").stat().st_mode) == 0o600)


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


def test_identities_that_a_reload_took_away_are_not_known_any_more(home):
    with_socket(home.configure(many(2, "1d", "1h")))
    daemon = home.start().ready()
    with_socket(home.configure(many(1, "1d", "1h")))
    daemon.reload()
    jotd("token", "i1", "--config", home.config, expect=65)
    assert "1 of 1 identity fresh" in health(home)
