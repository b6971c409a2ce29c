"""What people found who tried to break jotd; each test is one of their findings."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import Calls, JOTD, PATIENCE, SECRET, claims_of, eventually, jotd, needs_root


def test_a_pipe_among_the_configuration_files_does_not_hang(home):
    home.one()
    daemon = home.start().ready()
    folder = home.path("jotd.d")
    folder.mkdir()
    os.mkfifo(folder / "x.yaml")
    assert "x.yaml:1:1: is not a regular file" in jotd(
        "check", "--config", home.config, expect=78).stderr
    daemon.reload()
    assert daemon.count("is refused") == 1
    daemon.wait_for("new token", 2)
    assert daemon.stop() == 0


def test_a_file_in_place_of_the_folder_does_not_drop_identities(home):
    home.one()
    home.path("jotd.d").write_text("")
    assert "jotd.d: cannot be read: Not a directory" in jotd(
        "check", "--config", home.config, expect=78).stderr


def test_a_service_manager_that_does_not_read_stops_nothing(home):
    home.one(life="3s", before="1s")
    path = str(home.path("notify"))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    daemon = home.start(env={"NOTIFY_SOCKET": path}).ready()
    # Each reload has three things to say: more than fits the socket and those that wait for it.
    for _ in range(30):
        daemon.reload()
    daemon.wait_for("new token", daemon.count("new token") + 2)
    assert daemon.stop() == 0
    assert b"READY=1" in b"".join(listener.recv(4096) for _ in range(3))


def test_notifications(home):
    home.one(life="1d", before="1h")
    path = str(home.path("notify"))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.settimeout(1)
    listener.bind(path)
    daemon = home.start(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
    messages = []

    def heard(text):
        end = time.monotonic() + PATIENCE
        while not any(text in message for message in messages):
            assert time.monotonic() < end, (text, messages[-9:])
            with contextlib.suppress(TimeoutError):
                messages.append(listener.recv(4096).decode())
        return next(message for message in messages if text in message)
    heard("READY=1")
    assert home.path("a.jwt").exists()
    assert "1 identity, all delivered; next rotation 20" in heard("all delivered")
    heard("WATCHDOG=1")
    messages.clear()
    daemon.reload()
    assert "MONOTONIC_USEC=" in heard("RELOADING=1")
    heard("READY=1")
    daemon.stop()
    heard("STOPPING=1")


@pytest.mark.parametrize("target", ["secret", "jotd.yaml", "jotd.d/x.yaml", "alias/secret"])
def test_jotd_does_not_overwrite_what_it_reads(home, target):
    home.path("jotd.d").mkdir()
    home.path("jotd.d/x.yaml").write_text("identities: {}\n")
    home.path("alias").symlink_to(".")
    home.one(deliver=f"[ {{ file: @/{target} }} ]")
    for command in ("check", "run"):
        assert "itself: deliver elsewhere" in jotd(
            command, "--config", home.config, expect=78).stderr
    assert home.secret.read_text() == SECRET


def test_two_names_of_one_file_are_one_file(home):
    home.path("d").mkdir()
    home.path("dl").symlink_to("d")
    home.configure(
        "  a: { user_id: u, role: viewer, deliver: [ { file: @/d/same } ] }\n"
        "  b: { user_id: u, role: admin, deliver: [ { file: @/dl/same } ] }\n")
    for command in ("check", "run"):
        assert "is the same file as the one delivered to in" in jotd(
            command, "--config", home.config, expect=78).stderr


@pytest.mark.parametrize("command", [
    ["secret"], ["mint", "--user-id", "u", "--role", "admin", "--secret-env", "S"],
    ["decode", "eyJhbGciOiJIUzI1NiJ9.e30."], ["--version"]])
def test_output_that_cannot_be_written_is_an_error(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run([JOTD, *command], stdout=full, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "S": SECRET})
    assert done.returncode == 74 and "No space left" in done.stderr


SLIPS = [
    "secret: { file: SECRET }", "secret: { env: SECRET }", "secret: { credential: SECRET/x }",
    "secret: { env: A, encoding: SECRET }", "secret: SECRET", "secret: { SECRET: x }",
    "algorithm: SECRET", "SECRET: x", "secret: { file: [ SECRET ] }", "secret: { env: 1SECRET }",
]


@pytest.mark.parametrize("slip", SLIPS)
def test_a_secret_in_the_wrong_place_is_not_repeated(home, slip):
    secret = "Q9zzTOPxSECRETxq0123456789"
    home.config.write_text(
        "signing: { " + slip.replace("SECRET", secret) + " }\nidentities: {}\n")
    done = jotd("check", "--config", home.config, expect=78)
    assert secret not in done.stderr and done.stderr
    done = subprocess.run(
        [JOTD, "mint", "--secret-env", secret, "--user-id", "u", "--role", "admin"],
        capture_output=True, text=True)
    assert done.returncode == 78 and secret not in done.stderr


@pytest.mark.parametrize("arguments", [
    ["verify", "x", "TOKEN"], ["TOKEN"], ["verify", "--required-role", "TOKEN", "x"],
    ["decode", "--TOKEN"], ["mint", "--user-id", "u", "--role", "TOKEN"]])
def test_a_token_in_the_wrong_place_is_not_repeated(arguments):
    token = "eyJhbGciOiJIUzI1NiJ9.eyJ1IjoxfQ.c2lnbmF0dXJl"
    done = jotd(*[a.replace("TOKEN", token) for a in arguments], expect=64)
    assert "c2ln" not in done.stderr and "eyJ" not in done.stderr


def test_a_foreign_tag_hides_nothing_else(home):
    home.config.write_text(
        f"signing: {{ secret: {{ file: {home.secret} }}, foo: 1 }}\nidentities:\n"
        "  a: { user_id: !int u, role: vewer }\n")
    text = jotd("check", "--config", home.config, expect=78).stderr
    assert len(text.splitlines()) == 3 and "viewer" in text and "!int" in text


def test_a_tab_is_called_a_tab(home):
    home.config.write_text("signing:\n\tsecret: x\n")
    assert "it is a tab" in jotd("check", "--config", home.config, expect=78).stderr


def test_configurations_that_everybody_can_write_are_refused(home):
    home.one()
    home.config.chmod(0o666)
    assert "can be written by everybody" in jotd("check", "--config", home.config, expect=78).stderr
    home.config.chmod(0o644)
    home.path("jotd.d").mkdir()
    home.path("jotd.d").chmod(0o777)
    assert "can be written by everybody" in jotd("check", "--config", home.config, expect=78).stderr


@needs_root
def test_configurations_and_secrets_of_other_users(home):
    home.one()
    os.chown(home.config, 65534, 65534)
    done = jotd("check", "--config", home.config)
    assert "belongs to nobody (uid 65534), who can have any token made" in done.stderr
    os.chown(home.secret, 65534, 65534)
    assert "somebody else knows it" in jotd("check", "--config", home.config, expect=78).stderr


@needs_root
def test_devices_pipes_and_sockets_are_not_replaced(home):
    for name, make in [
        ("null", lambda p: os.mknod(p, 0o20666, os.makedev(1, 3))), ("pipe", os.mkfifo),
        ("sock", lambda p: socket.socket(socket.AF_UNIX).bind(str(p)))]:
        make(home.path(name))
        before = home.path(name).lstat().st_mode
        home.one(deliver=f"[ {{ file: @/{name} }} ]")
        assert "other than a file" in jotd("check", "--config", home.config, expect=78).stderr
        daemon = home.start().ready()
        daemon.wait_for("something other than a file")
        daemon.stop()
        assert home.path(name).lstat().st_mode == before


def test_refresh_makes_no_token_that_is_due_at_once(tmp_path):
    token = jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "admin", "--lifetime",
                 "100s", env={"S": SECRET}).stdout.strip()
    for more in (["--lifetime", "2s"], ["--lifetime", "1h"], ["--refresh-before", "25h"]):
        done = jotd("refresh", "--secret-env", "S", *more, token, env={"S": SECRET}, expect=64)
        assert done.stdout == "" and "below the lifetime" in done.stderr


def test_numbers_that_no_reader_can_hold_are_refused():
    for claim in ("a=1e400", 'a={"b":[1e999]}'):
        jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "admin", "--claim", claim,
             env={"S": SECRET}, expect=64)


def test_verify_answers_in_json_whatever_comes(tmp_path):
    for stdin in ("a" * 5_000_000, "", "\n" * 100_000):
        done = jotd("verify", "--json", "--secret-env", "S", stdin=stdin, env={"S": SECRET}, expect=65)
        assert '"reason":"malformed"' in done.stdout


def test_sighup_at_once_does_not_kill(home):
    home.one()
    for delay in (0.02, 0.03, 0.05):
        daemon = home.start()
        time.sleep(delay)
        daemon.process.send_signal(1)
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


def test_a_delivery_that_hangs_is_reported_and_holds_up_nobody(home, elsewhere):
    """A file system that does not answer."""
    home.configure(
        "  a:\n    user_id: a\n    role: admin\n    lifetime: 3s\n    refresh_before: 1s\n"
        "    deliver: [ { file: @/a.jwt } ]\n"
        "  b:\n    user_id: b\n    role: admin\n    lifetime: 3s\n    refresh_before: 1s\n"
        f"    deliver: [ {{ file: {elsewhere}/slow/b.jwt }} ]\n")
    (elsewhere / "slow").mkdir()
    daemon = home.start(Calls(home.folder, hold=elsewhere / "slow").env).ready()
    (elsewhere / "hold").touch()
    daemon.wait_for("writing hangs")
    count = daemon.count("b: new token")
    daemon.wait_for("a: new token", daemon.count("a: new token") + 2)
    assert daemon.count("b: new token") == count
    (elsewhere / "hold").unlink()
    daemon.wait_for("b: new token", count + 1)


def test_marks_beside_slashes_periods_and_suffixes_hide_nothing(home):
    """For Swift, U+0301 after a slash or U+0600 before it makes another character of the slash."""
    for folder in ("x\u0600", "jotd.d"):
        home.path(folder).mkdir(0o755)
    home.path("link").symlink_to(f"{home.folder}/x\u0600/../x\u0600")
    added = "identities: { NAME: { user_id: u, role: admin, deliver: [ { file: FILE } ] } }\n"
    for number, (name, file) in enumerate([
            ("a\u0600.yaml", "\u0301a.jwt"), ("b.yaml", "x\u0600/b.jwt"),
            ("c.yaml", "link/\u0301c.jwt"), (".\u0301hidden.yaml", "none")]):
        home.path(f"jotd.d/{name}").write_text(
            added.replace("NAME", f"i{number}").replace("FILE", str(home.path(file))))
    home.one()
    left = home.path(".\u0301a.jwt.0123456789abcdef.jotd")
    left.touch()
    assert "all is well, 4 identities and 4" in jotd("check", "--config", home.config).stdout
    home.start().ready()
    for file in ("\u0301a.jwt", "x\u0600/b.jwt", "x\u0600/\u0301c.jwt"):
        assert home.read(file).count(".") == 2, ascii(file)
    assert not left.exists()
    for file in ("@/x\u0600/../b.jwt", "@/x\u0600/./b.jwt", "@/x\u0600//b.jwt"):
        home.one(deliver=f"[ {{ file: {file} }} ]")
        done = jotd("check", "--config", home.config, expect=78)
        assert "must be an absolute path" in done.stderr
    home.config.write_text(
        "signing: { secret: { credential: x/\u0301y } }\n"
        "identities:\n  a: { user_id: u, role: admin,\n    allow: [ { unit: a/\u0301.service } ],\n"
        "    on_rotate: [ { reload: \u0301.service } ] }\n")
    lines = jotd("check", "--config", home.config, expect=78).stderr.splitlines()
    assert [line.split(":")[1] for line in lines if "must be the " in line] == ["1", "4", "5"]


def test_bars_and_line_breaks_are_found_beside_other_characters(home):
    """What a hook prints with CR LF is lines; health has one bar, after which numbers follow."""
    home.path("|\u0301").write_text("#!/bin/sh\nprintf 'one\\r\\ntwo\\r\\n'; exit 3\n")
    home.path("|\u0301").chmod(0o700)
    home.one(extra='    on_rotate: [ { run: [ "@/|\u0301" ] } ]\n')
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    daemon = home.start().ready()
    daemon.wait_for("failed: exit status 3")
    assert any(line.endswith(": one") for line in daemon.lines)
    assert any(line.endswith(": two") for line in daemon.lines)
    assert jotd("health", "--config", home.config, expect=1).stdout.encode().count(b"|") == 1


def test_hooks_are_the_same_when_their_bytes_are(home):
    """A name in two forms of Unicode is two files."""
    home.configure("".join(
        f"  {name}: {{ user_id: u, role: admin, on_rotate: [ {{ run: [ /bin/touch, "
        f"\"@/{file}\" ] }} ], deliver: [ {{ file: @/{name}.jwt }} ] }}\n"
        for name, file in [("a", "\u00e9"), ("b", "e\u0301")]))
    home.start().ready()
    eventually(lambda: home.path("\u00e9").exists() and home.path("e\u0301").exists())
