"""jotd, MediaMTX and ffmpeg, as doc/mediamtx.md sets them up, with the lives of tokens, of keys and
of what MediaMTX fetched in seconds. In its place stands standin.go, which does with a login what it
does, over golang-jwt."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "Tests/binary"))
from conftest import JOTD, PATIENCE, claims_of, eventually, jotd  # noqa: E402

STANDIN = os.environ["STANDIN"]


class Lines:
    """A process, and what it prints, a JSON object on each line."""

    def __init__(self, *command):
        self.lines = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.first = json.loads(self.process.stdout.readline())
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


class Host:
    """A camera host: jotd with its socket for public keys, MediaMTX, and a client or two."""

    def __init__(self, folder):
        self.folder = folder
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://%s:%d/.well-known/jwks.json" % self.listener.getsockname()
        self.daemon = None
        self.servers = []
        self.clients = []

    def mediamtx(self, period="1s"):
        """`period` is an hour of MediaMTX."""
        self.servers.append(Lines(STANDIN, self.url, period))
        return self.servers[-1]

    def configure(self, server, life="20s", before="10s", rotate="10s", ahead="4s"):
        text = (ROOT / "Config/mediamtx.yaml").read_text()
        for folder in ("/var/lib/jotd", "/run/jotd"):
            text = text.replace(folder, str(self.folder))
        text = text.replace("90d", rotate).replace("2h", ahead).replace(", group: jotd", "")
        text = text.replace("127.0.0.1:8554", server.first["rtsp"])
        tell = ("[ { run: [/usr/bin/curl, -sS, -f, -X, POST, -H,"
                f" '@{self.folder}/mediamtx-api.header',"
                f" 'http://{server.first['api']}/v3/auth/jwks/refresh'] }} ]")
        text = text.replace("[ { reload: mediamtx-keys.service } ]", tell)
        text = text.replace(
            "    # on_rotate: [ { restart: recorder.service } ]",
            "    on_rotate: [ { signal: "
            f"{{ pid_file: {self.folder}/ffmpeg.pid, signal: INT }} }} ]")
        assert text.count("ffmpeg.pid") == 1
        (self.folder / "jotd.yaml").write_text(
            f"{text}\ndefaults: {{ lifetime: {life}, refresh_before: {before} }}\n")
        return self

    def start(self):
        # As systemd does it: the socket is there before jotd, and stays when it ends.
        before = self.read("log").count("ready:")
        script = 'exec 3<&"$1"; shift; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=jwks exec "$@"'
        with open(self.folder / "log", "a") as log:
            self.daemon = subprocess.Popen(
                ["bash", "-c", script, "bash", str(self.listener.fileno()), JOTD, "run",
                 "--config", self.folder / "jotd.yaml"],
                pass_fds=[self.listener.fileno()], stderr=log)
        eventually(lambda: self.read("log").count("ready:") > before)
        return self

    def read(self, name):
        return (self.folder / name).read_text()

    def token(self, name):
        return re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", self.read(name))[0]

    def ffmpeg(self, *arguments):
        """A service with Restart=always, and the process id that its manager knows."""
        script = (
            f'trap \'kill "$child"; exit\' TERM; cd {self.folder}; '
            'while :; do ffmpeg -nostdin -v error "$@" & child=$!; '
            'echo $child > pid.new; mv pid.new ffmpeg.pid; wait "$child"; done')
        with open(self.folder / "ffmpeg.log", "a") as log:
            self.clients.append(subprocess.Popen(
                ["bash", "-c", script, "bash", *arguments], stderr=log, stdout=log))
        return self.clients[-1]

    def end(self):
        for each in self.clients:
            each.terminate()
            each.wait(PATIENCE)
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
        for each in self.servers:
            each.stop()
        self.listener.close()
        assert "eyJ" not in self.read("log")


@pytest.fixture
def host(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "log").touch()
    host = Host(tmp_path)
    yield host
    host.end()


RECORDER = ["-f", "concat", "-safe", "0", "-protocol_whitelist", "file,rtsp,rtp,tcp,udp",
            "-i", "recorder.ffconcat", "-f", "null", "-"]


def test_nobody_is_refused_while_tokens_and_keys_follow_each_other(host):
    server = host.mediamtx(period="4s")
    host.configure(server).start()
    host.ffmpeg(*RECORDER)
    logins = lambda: [each for each in server.lines if each.get("action") == "read"]
    kids, kills, ends = set(), 0, time.monotonic() + 6 * PATIENCE
    while len(kids) < 4 or len(logins()) < 6:
        kids.add(jwt.get_unverified_header(host.token("recorder.ffconcat"))["kid"])
        assert time.monotonic() < ends, (kids, server.lines[-5:])
        if kills + 1 < len(kids):
            host.daemon.kill()
            host.daemon.wait()
            host.start()
            kills += 1
        time.sleep(0.05)
    errors = [each for each in server.lines if "error" in each]
    assert not errors
    assert sum("refreshed" in each for each in server.lines) >= 3
    # ffmpeg logged in with each new token, and as itself.
    assert {each["user"] for each in logins()} == {"recorder"}
    assert {each["path"] for each in logins()} == {"front"}
    assert "401" not in host.read("ffmpeg.log")


def test_what_it_is_told_is_enough_without_waiting_for_its_hour(host):
    """The hook alone brings the new key to it: what it fetched is good for an hour here."""
    server = host.mediamtx(period="1h")
    host.configure(server, rotate="14s", ahead="10s").start()
    kids, ends = set(), time.monotonic() + 6 * PATIENCE
    while len(kids) < 3:
        token = host.token("recorder.ffconcat")
        kids.add(jwt.get_unverified_header(token)["kid"])
        assert describe(server, "front", token) == 200
        assert time.monotonic() < ends, kids
        time.sleep(0.05)
    assert sum("refreshed" in each for each in server.lines) >= 2


def describe(server, path, token):
    """What a client of RTSP is answered that shows that token."""
    name, port = server.first["rtsp"].split(":")
    with socket.create_connection((name, int(port)), PATIENCE) as client:
        url = f"rtsp://{name}:{port}/{path}?jwt={token}"
        client.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        answer = b""
        while b"\r\n" not in answer:
            answer += client.recv(1000)
    return int(answer.split()[1])


def test_it_lets_in_whom_the_claims_name_and_nobody_else(host):
    server = host.mediamtx()
    host.configure(server, life="1h", before="10min", rotate="1d", ahead="1h")
    more = f"""identities:
  listed:
    claims:
      sub: l
      mediamtx_permissions:
        - {{ action: read, path: yard }}
        - {{ action: read, path: '~^gate/[0-9]$' }}
    deliver: [ {{ file: {host.folder}/listed }} ]
  quoted:
    claims: {{ sub: q, mediamtx_permissions: '[{{"action":"read","path":"yard"}}]' }}
    deliver: [ {{ file: {host.folder}/quoted }} ]
  none:
    claims: {{ sub: n }}
    deliver: [ {{ file: {host.folder}/none }} ]
"""
    config = host.folder / "jotd.yaml"
    config.write_text(config.read_text().replace("identities:\n", more))
    host.start()
    for name, path, status in [
            ("listed", "yard", 200), ("listed", "gate/7", 200), ("listed", "gate/77", 401),
            ("listed", "front", 401), ("quoted", "yard", 200), ("quoted", "front", 401),
            ("none", "yard", 401), ("front-camera.url", "front", 401)]:
        assert describe(server, path, host.token(name)) == status, (name, path)
    token = host.token("listed")
    # Whoever signs with a key of their own is nobody, whatever they say that it is.
    header = jwt.get_unverified_header(token)
    forged = jwt.encode(claims_of(token), ec.generate_private_key(ec.SECP256R1()), "ES256", header)
    assert describe(server, "yard", forged) == 401
    # A user's URL is as jotd says it, and within what clients take.
    url = host.read("front-camera.url")
    assert re.fullmatch(r"rtsp://127\.0\.0\.1:\d+/front\?jwt=[\w.-]+", url) and len(url) < 512
    assert jwt.get_unverified_header(url.split("=")[1]).keys() == {"alg", "typ", "kid"}
    with urllib.request.urlopen(host.url, timeout=PATIENCE) as answer:
        keys = json.load(answer)["keys"]
    assert [each["alg"] for each in keys] == ["ES256"] and all(each["kid"] for each in keys)


def test_a_login_while_jotd_is_down_waits_for_it(host):
    """MediaMTX refuses whoever comes while it cannot fetch the keys: systemd holds the socket, so
    it can. Here its hour is over with each login."""
    server = host.mediamtx(period="0s")
    host.configure(server, life="1h", before="10min", rotate="1d", ahead="1h").start()
    token = host.token("recorder.ffconcat")
    assert describe(server, "front", token) == 200
    host.daemon.kill()
    host.daemon.wait()
    statuses = []
    client = threading.Thread(target=lambda: statuses.append(describe(server, "front", token)))
    client.start()
    eventually(lambda: waiting(host.listener))
    host.start()
    client.join(PATIENCE)
    assert statuses == [200]


def waiting(listener):
    """Whether somebody waits to be accepted (tcp(7): of a listening socket, tcpi_unacked)."""
    return listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)[24] > 0


def test_the_urls_that_jotd_delivers_are_those_that_ffmpeg_reads(host):
    """Also as its argument; and what it heard was sound."""
    server = host.mediamtx()
    host.configure(server, life="1h", before="10min", rotate="1d", ahead="1h").start()
    url = re.search("'(.*)'", host.read("recorder.ffconcat"))[1]
    for arguments in (["-rtsp_transport", "tcp", "-i", url], RECORDER[:-3]):
        done = subprocess.run(
            ["ffmpeg", "-nostdin", "-v", "error", *arguments, "-t", "1", "-f", "wav", "out.wav",
             "-y"], cwd=host.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        # A second of 8,000 samples of 16 bits.
        assert (host.folder / "out.wav").stat().st_size >= 15_000
    assert len([each for each in server.lines if each.get("user") == "recorder"]) == 2


def test_a_key_that_somebody_has_goes_at_once(host):
    """As doc/mediamtx.md says: the next one is there before it goes. MediaMTX's hour is an hour."""
    server = host.mediamtx(period="1h")
    host.configure(server, life="1h", before="10min", rotate="1d", ahead="1h").start()
    old = host.token("recorder.ffconcat")
    assert describe(server, "front", old) == 200
    told = lambda: sum("refreshed" in each for each in server.lines)
    socket_ = ["--socket", host.folder / "jotd.sock"]
    before = told()
    jotd("key", "add", "streams", *socket_)
    eventually(lambda: told() > before)
    assert describe(server, "front", old) == 200
    before = told()
    jotd("key", "revoke", "streams", "1", *socket_)
    eventually(lambda: told() > before and host.token("recorder.ffconcat") != old)
    assert describe(server, "front", host.token("recorder.ffconcat")) == 200
    assert describe(server, "front", old) == 401
    assert not [each for each in server.lines if each.get("action") == "api" and "error" in each]
