"""What callers who misbehave, alone or in crowds, can cost the daemon and others."""

import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import claims_of, eventually, needs_descriptors, needs_root

CROWD = pathlib.Path(__file__).with_name("crowd.py")
GET = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
MEBIBYTE = 1 << 20


def serve(home, count=2, life="1d", before="1h", more="", socket=""):
    """A daemon with `count` identities, i0 and so on, whose query socket is s."""
    home.configure("".join(
        f"  i{n}:\n    user_id: u{n}\n    role: viewer\n    lifetime: {life}\n"
        f"    refresh_before: {before}\n{more}" for n in range(count)))
    home.config.write_text(home.config.read_text().replace(
        "identities:",
        f"socket: {{ path: {home.path('s')}, mode: '0666'{socket} }}\nidentities:", 1))
    return home


def connect(home, name="s", timeout=20):
    one = socket.socket(socket.AF_UNIX)
    # Without Python's timeout: with it, who has to wait in line is turned away.
    one.connect(str(home.path(name)))
    one.settimeout(timeout)
    return one


def read_all(one):
    answer = b""
    while part := one.recv(1 << 20):
        answer += part
    one.close()
    return answer


def ask(home, target="/health"):
    """One request on a connection of its own: how long it took, and the body."""
    begin = time.monotonic()
    one = connect(home)
    one.sendall(GET.format(target).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
    head, _, body = read_all(one).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return time.monotonic() - begin, body


def memory(daemon, field="VmRSS"):
    """Bytes of the daemon's resident memory."""
    for line in pathlib.Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024


def send_what_fits(home, data):
    one = connect(home)
    one.setblocking(False)
    try:
        one.send(data)
    except BlockingIOError:
        pass
    return one


def pipelining(target, connections):
    request = GET.format(target).encode()
    return lambda home: [
        send_what_fits(home, request * (200_000 // len(request))) for _ in range(connections)]


def half_closed(home):
    crowd = pipelining("/metrics", 30)(home)
    for one in crowd:
        one.shutdown(socket.SHUT_WR)
    return crowd


ATTACKS = {
    "metrics asked for 30 x 5000 times and not read": pipelining("/metrics", 30),
    "tokens asked for 30 x 4000 times and not read": pipelining("/v1/identities/i0/token", 30),
    "lists asked for by 300 and not read": pipelining("/v1/identities", 300),
    "asked for 30 x 5000 times, ended, and not read": half_closed,
    "1500 silent connections": lambda home: [connect(home) for _ in range(1500)],
    "1500 that ask for health once": lambda home: [
        send_what_fits(home, GET.format("/health").encode()) for _ in range(1500)],
    "500 endless targets": lambda home: [
        send_what_fits(home, b"GET /" + b"a" * 150_000) for _ in range(500)],
    "500 endless heads": lambda home: [
        send_what_fits(home, b"GET / HTTP/1.1\r\nX: " + b"a" * 150_000) for _ in range(500)],
    "500 bodies that do not end": lambda home: [
        send_what_fits(home, b"POST /introspect HTTP/1.1\r\nHost: x\r\n"
                       b"Content-Length: 99000\r\n\r\n" + b"a" * 90_000) for _ in range(500)],
    "500 in chunks of a byte": lambda home: [
        send_what_fits(home, b"POST /introspect HTTP/1.1\r\nHost: x\r\n"
                       b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000)
        for _ in range(500)],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_memory_is_bounded_and_given_back_whatever_was_done(home, attack):
    needs_descriptors(1600)
    serve(home, 200)
    daemon = home.start().ready()
    for _ in range(20):
        ask(home), ask(home, "/metrics"), ask(home, "/v1/identities")
    before = memory(daemon)
    crowd = ATTACKS[attack](home)
    # Whoever behaves is served all the while.
    for _ in range(10):
        ask(home)
    assert memory(daemon, "VmHWM") - before < 64 * MEBIBYTE
    for one in crowd:
        one.close()
    eventually(lambda: memory(daemon) - before < 8 * MEBIBYTE)


def test_pipelined_requests_are_all_answered_in_their_order(home):
    serve(home, 3)
    home.start().ready()
    form = "Content-Type: application/x-www-form-urlencoded\r\n"
    asked, requests = [], ""
    for n in range(300):
        kind = n % 4
        asked.append(("i1", "i2", "active", "status")[kind])
        if kind < 2:
            requests += GET.format(f"/v1/identities/i{kind + 1}")
        elif kind == 2 and n % 8 == 2:
            requests += (f"POST /introspect HTTP/1.1\r\nHost: x\r\n{form}"
                         "Content-Length: 7\r\n\r\ntoken=x")
        elif kind == 2:
            requests += (f"POST /introspect HTTP/1.1\r\nHost: x\r\n{form}"
                         "Transfer-Encoding: chunked\r\n\r\n3\r\ntok\r\n4\r\nen=x\r\n0\r\n\r\n")
        else:
            requests += GET.format("/health")
    one = connect(home)
    threading.Thread(target=one.sendall, args=(requests.encode(),)).start()
    answers = one.makefile("rb")
    for wanted in asked:
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        length = 0
        while (line := answers.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = json.loads(answers.read(length))
        assert body.get("identity") == wanted or wanted in body, (wanted, body)
    one.close()


def test_a_refused_body_is_read_so_that_its_client_reads_the_answer(home):
    serve(home)
    home.start().ready()
    head = b"POST /introspect HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"
    for _ in range(20):
        one = connect(home)
        one.sendall(head + b"x" * 5_000_000)
        assert read_all(one).startswith(b"HTTP/1.1 413 ")
    chunked = b"POST /introspect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    one = connect(home)
    one.sendall(chunked + b"10000\r\n" + b"x" * 65_536 + b"\r\n10000\r\n" + b"x" * 65_536
                + b"\r\n0\r\n\r\n")
    assert read_all(one).startswith(b"HTTP/1.1 413 ")
    # Not for ever: somebody who sends on and on is cut off.
    one = connect(home)
    one.sendall(head)
    begin = time.monotonic()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while time.monotonic() - begin < 15:
            one.sendall(b"x" * 65_536)
    one.close()


def test_long_bodies_of_one_user_take_bounded_memory(home):
    needs_descriptors(400)
    serve(home)
    daemon = home.start().ready()
    before = memory(daemon)
    head = (b"POST /introspect HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ")
    crowd = [connect(home) for _ in range(300)]
    for one in crowd:
        one.sendall(head + b"99000\r\n\r\n" + b"token=" + b"a" * 90_000)
    refused = read_all(crowd.pop())
    assert refused.startswith(b"HTTP/1.1 429 ") and b"Retry-After" in refused
    assert memory(daemon, "VmHWM") - before < 32 * MEBIBYTE
    # A body as honest clients send it is taken all the while.
    one = connect(home)
    one.sendall(head + b"1006\r\n\r\ntoken=" + b"a" * 1_000)
    assert b'{"active":false}' in read_all(one)
    for one in crowd:
        one.close()

    def long_one_is_taken():
        one = connect(home)
        one.sendall(head + b"90006\r\n\r\ntoken=" + b"a" * 90_000)
        return b'{"active":false}' in read_all(one)
    eventually(long_one_is_taken)


def test_what_is_wrong_with_a_head_is_said(home):
    serve(home)
    home.start().ready()

    def status(data):
        one = connect(home)
        one.sendall(data)
        answer = read_all(one)
        assert b"application/problem+json" in answer
        return int(answer.split()[1])
    assert status(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n") == 431
    assert status(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n") == 431
    assert status(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n") == 431
    assert status(b"\x00\xff garbage \r\n\r\n") == 400
    assert status(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n") == 400


def test_a_body_is_welcome_where_its_client_asks_first(home):
    serve(home)
    home.start().ready()
    one = connect(home)
    head = (b"POST /introspect HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ")
    one.sendall(head + b"7\r\n\r\n")
    assert one.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    one.sendall(b"token=x")
    assert b'{"active":false}' in read_all(one)
    one = connect(home)
    one.sendall(head + b"1000000\r\n\r\n")
    assert read_all(one).startswith(b"HTTP/1.1 413 ")


def test_an_upgrade_is_not_offered(home):
    serve(home)
    home.start().ready()
    one = connect(home)
    upgrade = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    one.sendall(upgrade + GET.format("/health").encode())
    answer = read_all(one)
    assert answer.count(b"HTTP/1.1 200 OK") == 1 and b"Connection: close" in answer


# Crowds of other users

class Crowd:
    """Tests/binary/crowd.py, in a process of its own and as another user if one is named."""

    def __init__(self, home, kind, count, user=None):
        # The crowd's own work must not be what others wait for.
        command = ["nice", sys.executable, CROWD, home.path("s"), kind, str(count)]
        if user:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "there\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Ends the crowd; `answers` is how many it got."""
        self.process.stdin.close()
        self.answers = int(self.process.stdout.readline() or 0)
        self.process.stdout.close()
        assert self.process.wait(20) == 0


def open_the_way(path):
    while path != path.parent:
        path.chmod(path.stat().st_mode | 0o011)
        path = path.parent


def serves_within_a_second(measure):
    """A machine that is busy with other things may be late now and then, and not five times."""
    measured = []
    while len(measured) < 5 and min(measured, default=9) > 1:
        measured.append(measure())
    assert min(measured) < 1, measured


def test_a_new_caller_does_not_wait_for_all_that_busy_ones_of_its_user_ask(home):
    serve(home, 200)
    home.start().ready()
    with Crowd(home, "busy", 300) as crowd:
        serves_within_a_second(lambda: max(ask(home)[0] for _ in range(10)))
    # They were served meanwhile, too.
    assert crowd.answers > 10


@needs_root
@pytest.mark.parametrize("kind", ["busy", "lists", "pipelining", "silent", "storm"])
def test_a_crowd_of_one_user_costs_others_less_than_a_second(home, kind):
    serve(home, 1000)
    home.start().ready()
    open_the_way(home.folder)

    def stranger():
        done = subprocess.run(
            ["setpriv", "--reuid=5003", "--regid=5003", "--clear-groups", sys.executable, CROWD,
             home.path("s"), "ask", "10"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)
    with Crowd(home, kind, 1000, user=5001), Crowd(home, kind, 1000, user=5002):
        serves_within_a_second(lambda: max(ask(home)[0] for _ in range(10)))
        serves_within_a_second(stranger)


# What callers can make the daemon do

def test_a_rotation_that_would_gain_nothing_is_not_made(home):
    hook = home.path("hook.sh")
    hook.write_text(f"#!/bin/sh\necho >> {home.path('runs')}\n")
    hook.chmod(0o700)
    serve(home, 1, "10s", "1s", "    deliver: [ { file: @/i0.jwt } ]\n"
          f"    on_rotate: [ {{ run: [{hook}] }} ]\n")
    daemon = home.start().ready()
    begin, end = time.time(), time.monotonic() + 3
    tokens, faults = set(), []

    def reader():
        one = http.client.HTTPConnection("jotd")
        one.sock = connect(home)
        while time.monotonic() < end:
            one.request("GET", "/v1/identities/i0/token?min_validity=9999ms")
            answer = one.getresponse()
            token = answer.read().decode()
            if answer.status != 200:
                return faults.append((answer.status, token))
            tokens.add(token)
        one.sock.close()
    readers = [threading.Thread(target=reader) for _ in range(25)]
    for one in readers:
        one.start()
    for one in readers:
        one.join()
    assert not faults
    # One a second: exp is a whole second, and a second token in the same one ends when the first
    # does.
    took = time.time() - begin
    assert len(tokens) <= took + 2
    assert daemon.count("new token") <= took + 2
    assert len({claims_of(token)["exp"] for token in tokens}) == len(tokens) >= 2


# Places

def credential(home, count):
    """A connection as systemd makes it for a unit that is allowed."""
    one = socket.socket(socket.AF_UNIX)
    one.bind(f"\0{os.getpid():x}{count:x}/unit/ok.service/i0")
    one.connect(str(home.path("c")))
    one.settimeout(20)
    return one


@needs_root
def test_two_users_who_take_all_places_keep_out_nobody(home):
    needs_descriptors(200)
    serve(home, 1, more="    allow: [ { unit: ok.service } ]\n    deliver: [ { socket: @/t } ]\n",
          socket=f", credentials: {home.path('c')}")
    home.start().ready()
    open_the_way(home.folder)
    with Crowd(home, "silent", 1700, user=5001), Crowd(home, "silent", 1700, user=5002):
        for number in range(5):
            ask(home)
            assert read_all(connect(home, "t")).count(b".") == 2
            assert read_all(credential(home, number)).count(b".") == 2
            stranger = subprocess.run(
                ["setpriv", "--reuid=5003", "--regid=5003", "--clear-groups", sys.executable, CROWD,
                 home.path("s"), "ask", "3"], capture_output=True, text=True, timeout=60)
            assert stranger.returncode == 0, stranger.stderr


def test_who_fills_the_query_socket_keeps_nobody_from_a_token_socket(home):
    needs_descriptors(2400)
    serve(home, 1, more="    deliver: [ { socket: @/t } ]\n")
    home.start().ready()
    crowd = [connect(home) for _ in range(1700)]
    assert read_all(connect(home, "t")).count(b".") == 2
    ask(home)
    silent = [connect(home, "t") for _ in range(600)]
    assert read_all(connect(home, "t")).count(b".") == 2
    for one in crowd + silent:
        one.close()


@needs_root
def test_credentials_that_there_is_no_room_for_are_refused_at_length(home):
    """systemd takes an empty answer for an empty credential, and one of more than 1 MiB for an
    error."""
    needs_descriptors(400)
    serve(home, 1, more="    allow: [ { unit: other.service } ]\n",
          socket=f", credentials: {home.path('c')}")
    home.start().ready()
    crowd = [credential(home, number) for number in range(300)]
    for one in [*crowd, credential(home, 300)]:
        answer = read_all(one)
        assert len(answer) > MEBIBYTE and set(answer) == {0x0a}


def test_rotations_go_on_where_descriptors_are_few(home):
    needs_descriptors(500)
    serve(home, 3, "3s", "1s", "    deliver: [ { file: @/{}.jwt } ]\n")
    home.config.write_text(home.config.read_text().replace("{}.jwt", "FILE"))
    text = home.config.read_text()
    for number in range(3):
        text = text.replace("FILE", f"i{number}.jwt", 1)
    home.config.write_text(text)
    daemon = home.start(prefix=["prlimit", "--nofile=256:256"]).ready()
    crowd = [connect(home) for _ in range(400)]
    seen = daemon.count("new token")
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for number in range(3):
            assert claims_of(home.read(f"i{number}.jwt"))["exp"] - time.time() > 1
        time.sleep(0.02)
    # The log goes on, too, and a newcomer is served.
    daemon.wait_for("new token", times=seen + 3)
    ask(home)
    # Of a process that is not dumpable, only root sees them.
    if os.geteuid() == 0:
        assert len(os.listdir(f"/proc/{daemon.pid}/fd")) < 256 - 128
    for one in crowd:
        one.close()
