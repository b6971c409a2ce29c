"""Token sockets, and the credential socket as far as it can be seen without systemd."""

import os
import shutil
import signal
import socket
import subprocess
import time

import jwt

from conftest import PATIENCE, SECRET, claims_of, eventually, jotd, needs_root


def read_socket(path, say=b""):
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(PATIENCE)
        one.connect(str(path))
        if say:
            one.sendall(say)
        return b"".join(iter(lambda: one.recv(4096), b"")).decode()


def read_if_served(path):
    """As above; nothing when nobody listens there yet."""
    try:
        return read_socket(path)
    except ConnectionRefusedError:
        return ""


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
    home.one(deliver="[ { socket: @/a.sock } ]", life="8s", before="1s")
    daemon = home.start().ready()
    seen = set()
    while len(seen) < 2:
        asked = time.time()
        claims = claims_of(read_socket(home.path("a.sock")))
        assert claims["exp"] - asked > 1 and claims["iat"] <= time.time()
        seen.add(claims["iat"])
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
    # A socket is there a moment before it is served, with its mode before that.
    eventually(lambda: read_if_served(home.path("b.sock")).count(".") == 2)
    assert oct(home.path("b.sock").stat().st_mode & 0o777) == "0o666"
    daemon.stop()
    assert not home.path("b.sock").exists()


@needs_root
def test_sockets_that_go_leave_no_descriptor(home):
    def configure(name):
        home.one(deliver=f"[ {{ socket: @/{name}.token }} ]", life="1d", before="1h")
        home.config.write_text(home.config.read_text().replace("identities:", (
            f"socket: {{ path: {home.path(name)}, credentials: {home.path(name)}.credentials }}\n"
            "identities:"), 1))
        return [home.path(name + end) for end in ("", ".token", ".credentials")]

    def descriptors():
        return len(os.listdir(f"/proc/{daemon.pid}/fd"))

    places = configure("s0")
    daemon = home.start().ready()
    for turn in range(1, 8):
        old, places = places, configure(f"s{turn}")
        daemon.reload()
        eventually(lambda: all(place.exists() for place in places)
                   and not any(place.exists() for place in old))
        if turn == 2:
            # By now, whatever is made at the first reload is there.
            enough = descriptors()
    eventually(lambda: descriptors() <= enough)


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
        "identities:", 1).replace(
        "    deliver:", "    allow: [ { unit: ok.service } ]\n    deliver:"))
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
        f"\0{tag}/unit/ok.service/a/x", f"\0{tag}/user/ok.service/a",
        f"\0xyz{tag}/unit/ok.service/a", f"\0/unit/ok.service/a", f"\0{tag}/unit//a",
        f"\0{tag}/unit/ok.service/",
        f"\0{tag}/unit/ok.service/a\0", f"\0{tag}/unit/\xff/a".encode("latin-1"),
    ]):
        answer = ask(bad)
        assert len(answer) > 1 << 20 and b"." not in answer, number
    assert daemon.count("may not load the credential") == 2
    assert not any("\x00" in line for line in daemon.lines)


def test_a_token_socket_that_was_removed_comes_back(home):
    home.one(deliver="[ { socket: @/a.sock } ]", life="3s", before="1s")
    home.start().ready()
    home.path("a.sock").unlink()
    eventually(lambda: home.path("a.sock").exists())
