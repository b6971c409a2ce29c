"""The real binary, its files and its journal, as a user meets them."""

import base64
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest

JOTD = os.environ.get("JOTD") or str(
    pathlib.Path(__file__).parents[2] / ".build/release/jotd")
SECRET = "correct-horse-battery-staple-0123456789"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def eventually(condition, within=10.0, every=0.005):
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

    def wait_for(self, text, times=1, within=10.0):
        eventually(lambda: self.count(text) >= times or self.process.poll() is not None, within)
        assert self.count(text) >= times, self.lines[-20:]

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
        code = self.process.wait(timeout=10)
        self.reader.join(timeout=5)
        return code


class Home:
    """A folder with a configuration, a secret and deliveries."""

    def __init__(self, folder):
        self.folder = folder
        self.secret = folder / "secret"
        self.write_secret(SECRET)
        self.config = folder / "jotd.yaml"
        self.daemons = []

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

    def path(self, name):
        return self.folder / name

    def read(self, name):
        return self.path(name).read_text()


@pytest.fixture
def home(tmp_path):
    tmp_path.chmod(0o700)
    home = Home(tmp_path)
    yield home
    leaked = []
    for daemon in home.daemons:
        daemon.stop(signal.SIGKILL)
        leaked += [line for line in daemon.lines if SECRET in line or "eyJ" in line]
    assert not leaked, "secret or token bytes in the log"
    for path in home.folder.rglob("*"):
        assert not re.fullmatch(r"\..*\.[0-9a-f]{16}\.jotd", path.name) or home.daemons == [] or \
            any(d.process.returncode == -9 for d in home.daemons), f"left behind: {path}"
