"""Token sockets, the credential socket as far as it can be seen without systemd, and hooks."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import jwt
import pytest

from conftest import SECRET, claims_of, eventually, jotd, needs_root


def read_socket(path, say=b""):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(10)
    one.connect(str(path))
    if say:
        one.sendall(say)
    token = b""
    while part := one.recv(4096):
        token += part
    one.close()
    return token.decode()


def test_a_token_socket_gives_the_token_to_whoever_reads(home):
    home.one(deliver="[ { socket: @/a.sock }, { file: @/a.jwt } ]")
    daemon = home.start().ready()
    token = read_socket(home.path("a.sock"))
    assert token == home.read("a.jwt")
    jwt.decode(token, SECRET, algorithms=["HS256"])
    assert oct(home.path("a.sock").stat().st_mode & 0o777) == "0o600"
    assert read_socket(home.path("a.sock"), b"anything at all\n" * 100).count(".") == 2
    daemon.wait_for("new token", 2)
    assert read_socket(home.path("a.sock")) != token
    path = str(home.path("a.sock"))
    for command in (["nc", "-U", "-N", path], ["nc", "-U", path],
                    ["socat", "-u", f"UNIX-CONNECT:{path}", "-"]):
        if shutil.which(command[0]):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15)
            assert done.stdout.count(".") == 2, command


def test_token_sockets_are_as_fresh_as_files(home):
    home.one(deliver="[ { socket: @/a.sock } ]", life="3s", before="1s")
    daemon = home.start().ready()
    end = time.monotonic() + 7
    seen = set()
    while time.monotonic() < end:
        claims = claims_of(read_socket(home.path("a.sock")))
        assert claims["exp"] - time.time() > 1 and claims["iat"] <= time.time()
        seen.add(claims["iat"])
    assert len(seen) >= 3
    daemon.stop(signal.SIGKILL)
    assert home.path("a.sock").exists()
    home.start().ready()
    assert claims_of(read_socket(home.path("a.sock")))["exp"] - time.time() > 1


def test_a_restart_keeps_the_token_beside_a_socket(home):
    home.one(deliver="[ { socket: @/a.sock }, { file: @/a.jwt } ]", life="1d", before="1h")
    home.start().ready().stop()
    before = home.read("a.jwt")
    daemon = home.start().ready()
    assert daemon.count("is kept") == 1
    assert read_socket(home.path("a.sock")) == before == home.read("a.jwt")


def test_sockets_that_go_and_come_with_the_configuration(home):
    home.one(deliver="[ { socket: @/a.sock } ]", life="1d", before="1h")
    daemon = home.start().ready()
    home.one(deliver="[ { socket: @/b.sock, mode: '0666' } ]", life="1d", before="1h")
    daemon.reload()
    eventually(lambda: home.path("b.sock").exists() and not home.path("a.sock").exists())
    assert oct(home.path("b.sock").stat().st_mode & 0o777) == "0o666"
    eventually(lambda: read_socket(home.path("b.sock")).count(".") == 2)
    daemon.stop()
    assert not home.path("b.sock").exists()


@needs_root
def test_who_may_connect_is_a_matter_of_owner_group_and_mode(home):
    home.one(deliver="[ { socket: @/a.sock, owner: nobody, group: daemon, mode: '0620' } ]")
    home.start().ready()
    status = home.path("a.sock").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (65534, 1, 0o620)


def test_what_is_in_the_way_of_a_socket_is_reported(home):
    home.path("a.sock").write_text("mine")
    home.one(deliver="[ { socket: @/a.sock } ]")
    assert "other than a socket" in jotd("check", "--config", home.config, expect=78).stderr
    daemon = home.start().ready()
    daemon.wait_for("something other than a socket: remove it")
    assert home.path("a.sock").read_text() == "mine"
    home.path("a.sock").unlink()
    daemon.wait_for("works again")
    assert read_socket(home.path("a.sock")).count(".") == 2


@needs_root
def test_the_credential_socket_says_no_with_more_than_a_credential_may_have(home):
    home.one()
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')}, credentials: {home.path('c')} }}\n"
        "identities:", 1).replace("    deliver:", "    allow: [ { unit: ok.service } ]\n    deliver:"))
    daemon = home.start().ready()

    def ask(name):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(10)
        if name is not None:
            one.bind(name)
        one.connect(str(home.path("c")))
        one.shutdown(socket.SHUT_WR)
        answer = b""
        while part := one.recv(1 << 16):
            answer += part
        one.close()
        return answer
    tag = os.urandom(4).hex()
    assert ask(f"\0{tag}1/unit/ok.service/a").decode() == home.read("a.jwt")
    for number, bad in enumerate([
        None, f"\0{tag}/unit/other.service/a", f"\0{tag}/unit/ok.service/b",
        f"\0{tag}/unit/ok.service/a/x", f"\0{tag}/user/ok.service/a", f"\0xyz{tag}/unit/ok.service/a",
        f"\0/unit/ok.service/a", f"\0{tag}/unit//a", f"\0{tag}/unit/ok.service/",
        f"\0{tag}/unit/ok.service/a\0", f"\0{tag}/unit/\xff/a".encode("latin-1"),
    ]):
        answer = ask(bad)
        assert len(answer) > 1 << 20 and b"." not in answer, number
    assert daemon.count("may not load the credential") == 2
    assert not any("\x00" in line for line in daemon.lines)


def hooked(home, hooks, count=1, life="3s"):
    return home.configure("".join(
        f"  i{n}:\n    user_id: u\n    role: viewer\n    lifetime: {life}\n    refresh_before: 1s\n"
        f"    deliver: [ {{ file: @/i{n}.jwt }} ]\n    on_rotate: {hooks}\n" for n in range(count)))


def script(home, text):
    path = home.path("hook.sh")
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o700)
    return path


def test_a_command_runs_after_the_deliveries_of_a_rotation(home):
    path = script(home, 'cat "$1" >> "$2"; echo >> "$2"; echo "for $JOTD_IDENTITIES"; env >> "$2.env"')
    hooked(home, f"[ {{ run: [ {path}, @/i0.jwt, @/out ] }} ]")
    daemon = home.start(env={"LEAK": "me"}).ready()
    eventually(lambda: home.path("out").exists() and len(home.read("out").split()) >= 3)
    assert daemon.count("run " + str(path) + ": for i0") >= 2
    tokens = home.read("out").split()
    assert len(set(tokens)) == len(tokens), "once for each token"
    names = {line.split("=")[0] for line in home.read("out.env").splitlines()}
    assert "LEAK" not in names and "JOTD_IDENTITIES" in names


def test_rotations_that_come_together_run_a_hook_once(home):
    path = script(home, 'echo "$JOTD_IDENTITIES" >> "$1"')
    hooked(home, f"[ {{ run: [ {path}, @/out ] }} ]", 20, "1d")
    home.config.write_text(home.config.read_text().replace("refresh_before: 1s", "refresh_before: 1h"))
    home.start().ready()
    eventually(lambda: home.path("out").exists())
    time.sleep(0.5)
    lines = home.read("out").splitlines()
    assert sorted(lines[0].split()) == sorted(f"i{n}" for n in range(20)) and len(lines) == 1


def test_a_failing_hook_is_said_once_and_delays_nothing(home):
    path = script(home, 'test -e "$1" || { echo "no such thing"; exit 3; }')
    hooked(home, f"[ {{ run: [ {path}, @/flag ] }}, {{ run: [ /no/such/program ] }} ]")
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    daemon = home.start().ready()
    daemon.wait_for("new token", 3)
    assert daemon.count("failed: exit status 3") == 1
    assert daemon.count("/no/such/program: No such file or directory") == 1
    health = jotd("health", "--config", home.config, expect=1).stdout
    assert "exit status 3" in health and health.startswith("JOTD WARNING")
    home.path("flag").touch()
    daemon.wait_for(f"the hook run {path} works again")


def test_a_hanging_hook_is_ended_with_all_that_it_started(home):
    path = script(home, 'sleep 3600 & echo $! >> "$1"; [ -e "$2" ] && exit 0; touch "$2"; exec sleep 3600')
    hooked(home, f"[ {{ run: [ {path}, @/pids, @/second ] }} ]", life="5s")
    daemon = home.start().ready()
    daemon.wait_for("new token", 3)
    daemon.wait_for("ended after 30s", within=40)
    for pid in home.read("pids").split():
        eventually(lambda: not os.path.exists(f"/proc/{pid}"))


def test_the_process_of_a_pid_file_is_signalled_unless_the_file_is_stale(home):
    client = subprocess.Popen(
        [sys.executable, "-c", "import signal, sys, time\n"
         "signal.signal(signal.SIGUSR1, lambda *_: print('told', flush=True))\n"
         "print('up', flush=True)\nwhile True: time.sleep(0.05)"], stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout.readline() == "up\n"
        home.path("pid").write_text(f"{client.pid}\n")
        hooked(home, "[ { signal: { pid_file: @/pid, signal: USR1 } } ]")
        daemon = home.start().ready()
        assert client.stdout.readline() == "told\n"
        old = time.time() - 3600
        os.utime(home.path("pid"), (old, old))
        daemon.wait_for("is stale: process")
        home.path("pid").write_text("4194305\n")
        daemon.wait_for("No such process")
        home.path("pid").write_text("1\n")
        daemon.wait_for("holds no process number")
        home.path("pid").write_text(f"{client.pid}")
        daemon.wait_for("works again")
    finally:
        client.kill()
        client.wait()
