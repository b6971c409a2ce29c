"""The real binary, its files and its journal, as a user meets them."""

import atexit
import base64
import contextlib
import functools
import http.client
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import threading
import time

import jwt
import pytest

JOTD = os.environ.get("JOTD") or str(
    pathlib.Path(__file__).parents[2] / ".build/release/jotd")

SECRET = "correct-horse-battery-staple-0123456789"

# How long to wait for what comes at once: much longer than a machine that is busy with other things
# takes, because what is late is no fault here. What never comes fails the sooner the less this is.
PATIENCE = float(os.environ.get("JOTD_PATIENCE", "60"))

# A life of seconds has a spread of hundredths: so late may a rotation be on a machine that is busy
# with other tests. What is promised is measured with longer lives.
BUSY = 0.5

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def pytest_addoption(parser):
    parser.addoption("--only-root", action="store_true", help="only the tests that need root")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--only-root"):
        items[:] = [item for item in items if needs_root.mark in item.iter_markers("skipif")]


def needs_descriptors(count):
    """For a test that opens many sockets: raises the soft limit of this process, and of the
    daemon that it starts, and skips the test where the hard limit is too low for both."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Beside the sockets, some of pytest's own and of the daemon's.
    wanted = count + 100
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} descriptors: the hard limit (ulimit -Hn) is {hard}")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def eventually(condition, within=PATIENCE, every=0.005):
    """The first true result of `condition`, asked again and again; fails after `within` s."""
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "did not come true"
        time.sleep(every)


def jotd(*arguments, stdin="", env=None, expect=0, cwd=None):
    """Runs one command of jotd to its end; checks its exit code."""
    done = subprocess.run(
        [JOTD, *map(str, arguments)], input=stdin, text=True, capture_output=True, timeout=60,
        env={**os.environ, **(env or {})}, cwd=cwd)
    assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
    return done


def claims_of(token):
    """The claims of a compact token, unverified."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def in_memory(pid, wanted):
    """The names of what is found in the memory of a process, each with whether that is locked and
    in no core file; `wanted` has the bytes by their names. Needs root."""
    found, regions = set(), []
    with open(f"/proc/{pid}/smaps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                start, end = (int(x, 16) for x in words[0].split("-"))
                regions.append([start, end, words[1], ""])
            elif words[0] == "VmFlags:":
                regions[-1][3] = words[1:]
        for start, end, access, flags in regions:
            if not access.startswith("rw"):
                continue
            memory.seek(start)
            content = memory.read(end - start)
            found |= {(name, "dd" in flags and "lo" in flags)
                      for name, text in wanted.items() if text in content}
    return found


@functools.cache
def library(name):
    """A source file of this folder as a library to preload, built once."""
    source = pathlib.Path(__file__).with_name(f"{name}.c")
    built = pathlib.Path(tempfile.mkdtemp(prefix="jotd-")) / f"{name}.so"
    atexit.register(shutil.rmtree, built.parent, ignore_errors=True)
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", built, source, "-ldl",
         "-lpthread"], check=True)
    return built


def blind():
    """The environment of a daemon that cannot watch folders."""
    return {"LD_PRELOAD": str(library("blind"))}


class Calls:
    """What jotd does to files, as Tests/binary/calls.c writes it down; `env` is for `start`."""

    def __init__(self, folder, hold=None):
        self.log = folder / "calls"
        self.env = {"LD_PRELOAD": str(library("calls")), "CALLS_LOG": str(self.log)}
        if hold:
            self.env["CALLS_HOLD"] = str(hold)

    def of(self, *names):
        """The calls of these names, each as a list of words."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [words for words in lines if words[0] in names]


class Daemon:
    """A running `jotd run`, with its log lines."""

    def __init__(self, config, env=None, prefix=()):
        self.config = config
        self.lines = []
        self.process = subprocess.Popen(
            [*prefix, JOTD, "run", "--config", str(config)], stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True, env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self.process.pid

    def count(self, text):
        return sum(text in line for line in list(self.lines))

    def wait_for(self, text, times=1, within=PATIENCE):
        end = time.monotonic() + within
        while self.count(text) < times and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        if self.process.poll() is not None:
            # What it said at its end may not have been read yet.
            self.reader.join(PATIENCE)
        assert self.count(text) >= times, (text, self.lines[-20:])

    def ready(self):
        self.wait_for("ready:")
        return self

    def reload(self):
        before = self.count("configuration reloaded") + self.count("is refused")
        self.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: self.count("configuration reloaded") + self.count("is refused") > before)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=PATIENCE)
        self.reader.join(timeout=5)
        # What a hook left running may hold the other end: then this one stays with its reader.
        if not self.reader.is_alive():
            self.process.stderr.close()
        return code


class Home:
    """A folder with a configuration, a secret and deliveries."""

    def __init__(self, folder):
        self.folder = folder
        self.secret = folder / "secret"
        self.write_secret(SECRET)
        self.config = folder / "jotd.yaml"
        self.daemons = []
        self.sockets = []

    def write_secret(self, text):
        new = self.folder / "secret.new"
        new.write_text(text)
        new.chmod(0o600)
        new.rename(self.secret)

    def configure(self, identities, signing="", defaults=None):
        """Writes the configuration; `identities` is YAML text, @ stands for the folder."""
        text = f"signing:\n  secret: {{ file: {self.secret} }}\n{signing}"
        if defaults:
            text += f"defaults: {defaults}\n"
        text += "identities:\n" + identities.replace("@", str(self.folder))
        self.config.write_text(text)
        return self

    def one(self, deliver="[ { file: @/a.jwt } ]", life="4s", before="1s", extra=""):
        return self.configure(
            f"  a:\n    user_id: alice\n    role: operator\n    lifetime: {life}\n"
            f"    refresh_before: {before}\n{extra}    deliver: {deliver}\n")

    def start(self, env=None, prefix=()):
        daemon = Daemon(self.config, env, prefix)
        self.daemons.append(daemon)
        return daemon

    def connect(self, path, say=b"", timeout=PATIENCE):
        """A client of a Unix socket, which is closed when the test is over, however it ends."""
        client = socket.socket(socket.AF_UNIX)
        self.sockets.append(client)
        client.settimeout(timeout)
        client.connect(str(path))
        client.sendall(say)
        return client

    def disconnect(self):
        """Closes all clients."""
        while self.sockets:
            self.sockets.pop().close()

    def path(self, name):
        return self.folder / name

    def read(self, name):
        return self.path(name).read_text()


@pytest.fixture
def home(tmp_path):
    tmp_path.chmod(0o700)
    yield from lived_in(Home(tmp_path))


@pytest.fixture
def home_in_memory():
    """As below /run, where clients have their tokens: no disk makes a rotation wait."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
    with folder_in(parent) as folder:
        yield from lived_in(Home(folder))


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than the home's, which may hang without it."""
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs another file system: /dev/shm")
    with folder_in("/dev/shm") as folder:
        yield folder


@contextlib.contextmanager
def folder_in(parent):
    """A folder for a while. Of letters alone: a name that changes between letters and digits as a
    secret does is not repeated in jotd's error texts."""
    letters = "".join(random.choices(string.ascii_lowercase, k=12))
    folder = pathlib.Path(parent) / f"jotd-test-{letters}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        # What a test left at work there may still make files.
        shutil.rmtree(folder, ignore_errors=True)


def lived_in(home):
    """What holds for every home: no secret in a log, nothing left behind."""
    yield home
    home.disconnect()
    leaked = []
    for daemon in home.daemons:
        daemon.stop(signal.SIGKILL)
        leaked += [line for line in daemon.lines if SECRET in line or "eyJ" in line]
    assert not leaked, "secret or token bytes in the log"
    for path in home.folder.rglob("*"):
        assert not re.fullmatch(r"\..*\.[0-9a-f]{16}\.jotd", path.name) or home.daemons == [] or \
            any(d.process.returncode == -9 for d in home.daemons), f"left behind: {path}"


def accepted(token, secret):
    try:
        return jwt.decode(token, secret, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        return None


def many(count, life="3s", before="1s", extra=""):
    return "".join(
        f"  i{n}:\n    user_id: user-{n}\n    role: operator\n    lifetime: {life}\n"
        f"    refresh_before: {before}\n    deliver: [ {{ file: @/i{n}.jwt{extra} }} ]\n"
        for n in range(count))


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=PATIENCE):
        super().__init__("jotd", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


@pytest.fixture
def query(home):
    """Two identities and a socket; `ask` sends one request."""
    def configure(life="1d", before="1h", extra="", allow="[]", operators="[]"):
        home.configure(
            f"  a:\n    user_id: alice\n    role: operator\n    lifetime: {life}\n"
            f"    refresh_before: {before}\n    allow: {allow}\n{extra}"
            "    deliver: [ { file: @/a.jwt } ]\n"
            "  b:\n    user_id: bob\n    role: viewer\n")
        text = home.config.read_text().replace(
            "identities:", f"socket: {{ path: {home.path('s')}, mode: '0666', "
            f"operators: {operators} }}\nidentities:", 1)
        home.config.write_text(text)
        return home
    home.serve = configure

    def ask(target, method="GET", body=None, headers={}):
        with contextlib.closing(Connection(home.path("s"))) as connection:
            connection.request(method, target, body, headers)
            return Answer(connection.getresponse())
    home.ask = ask
    return home


def with_socket(home):
    """Adds the query socket `s` to the configuration."""
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    return home
