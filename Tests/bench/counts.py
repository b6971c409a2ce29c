"""Instructions that jotd executes for an identity, a token, a delivery, a request: counted by
callgrind, so they are the same within 1.5 % whatever else the machine does. Each is the difference
of two runs that differ in how many of them there are, so that a start costs nothing.

    counts.py           prints them
    counts.py --gate    fails when one is more than 5 % above counts.json, three times
    counts.py --update  writes the least of three to counts.json

JOTD is the program. What stands in counts.json was counted with the compiler and the libraries of
`versions` there; others may count otherwise, and then it is written anew with the reason."""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from clients import Connection  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
JOTD = os.environ.get("JOTD") or str(ROOT / ".build/release/jotd")
COUNTS = pathlib.Path(__file__).parent / "counts.json"
ROOM = 1.05
TIMES = 3
# For one run: callgrind takes some fifty times the program's own time.
PATIENCE = 120
# A set of strings is in the same order in every run, and libcrypto takes the same way on every
# processor.
SAME = {"SWIFT_DETERMINISTIC_HASHING": "1", "OPENSSL_ia32cap": "0:0", "PATH": os.environ["PATH"]}


class House:
    """A folder with a secret and configurations, for a program that callgrind can read."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        self.secret = folder / "secret"
        self.secret.write_text("a secret of the benchmark that is long enough")
        self.secret.chmod(0o600)

    def configure(self, count, delivered):
        """Identities of three keys, and perhaps a file."""
        self.out = self.folder / "out"
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(mode=0o700)
        place = f", deliver: [ {{ file: {self.out}/%06d }} ]" if delivered else ""
        lines = [f"  identity-{n:06}: {{ user_id: user-{n:06}, role: viewer, lifetime: 12h"
                 + (place % n if place else "") + " }\n" for n in range(count)]
        config = self.folder / "jotd.yaml"
        config.write_text(f"signing: {{ secret: {{ file: {self.secret} }} }}\n"
                          f"socket: {{ path: {self.folder}/s }}\nidentities:\n" + "".join(lines))
        config.chmod(0o600)
        return config

    def callgrind(self, *words):
        # Threads take turns, so that they meet in the same way in each run: a start with files
        # varies by 6 % else, and by 0.2 % so.
        return ["valgrind", "--tool=callgrind", "--fair-sched=yes",
                f"--callgrind-out-file={self.folder}/profile", str(self.program), *map(str, words)]

    def check(self, count):
        config = self.configure(count, delivered=False)
        done = subprocess.run(self.callgrind("check", "--config", config), env=SAME,
                              capture_output=True, text=True, check=True, timeout=PATIENCE)
        return collected(done.stderr)

    def run(self, count, delivered=False, work=None):
        """From the start to the end, with `work` in between once it is ready."""
        config = self.configure(count, delivered)
        log = self.folder / "log"
        with open(log, "w") as lines:
            daemon = subprocess.Popen(self.callgrind("run", "--config", config), env=SAME,
                                      stderr=lines)
        try:
            end = time.monotonic() + PATIENCE
            while " ready:" not in log.read_text():
                assert daemon.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(0.05)
            if work:
                work(self)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(PATIENCE) == 0, log.read_text()[-2000:]
        finally:
            daemon.kill()
            daemon.wait()
        return collected(log.read_text())

    def requests(self, method, target, count):
        """Answered one after the other on one connection."""
        connection = Connection(self.folder / "s", PATIENCE)
        for _ in range(count):
            connection.request(method, target)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        connection.close()


def collected(text):
    return int(re.search(r"Collected : (\d+)", text)[1])


def paths(house):
    """The hot paths: a run with so many of them, and two numbers that are far enough apart."""
    def asked(method, target):
        return lambda n: house.run(
            10, delivered=True, work=lambda house: house.requests(method, target, n))
    return {
        "an identity read and checked": (house.check, 1_000, 6_000),
        "an identity started, without deliveries": (house.run, 1_000, 6_000),
        "an identity started, with a file on tmpfs": (
            lambda n: house.run(n, delivered=True), 500, 3_000),
        "a rotation on demand, with a file on tmpfs": (
            asked("POST", "/v1/identities/identity-000003/rotate"), 50, 550),
        "a request for a token": (
            asked("GET", "/v1/identities/identity-000003/token"), 100, 2_100),
        "a request for health, of ten identities": (asked("GET", "/health"), 20, 220),
    }


def count(house, name):
    run, few, many = paths(house)[name]
    return round((run(many) - run(few)) / (many - few))


@contextlib.contextmanager
def house():
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    # Nothing may be executed on some hosts' /dev/shm.
    with tempfile.TemporaryDirectory(prefix="jotd-counts-", dir=shm) as folder, \
            tempfile.TemporaryDirectory(prefix="jotd-counts-") as programs:
        program = pathlib.Path(programs) / "jotd"
        # valgrind cannot read the debugging sections of this compiler.
        subprocess.run(["objcopy", "--strip-debug", JOTD, program], check=True)
        yield House(pathlib.Path(folder), program)


def versions():
    """What the counts depend on beside the program's text."""
    def first(*words):
        return subprocess.run(words, capture_output=True, text=True).stdout.splitlines()[0]
    return {"swift": first("swift", "--version"), "openssl": first("openssl", "version"),
            "valgrind": first("valgrind", "--version"),
            "c library": first("ldd", "--version").split()[-1]}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--gate", action="store_true")
    options.add_argument("--update", action="store_true")
    chosen = options.parse_args()
    known = json.loads(COUNTS.read_text())["counts"] if COUNTS.exists() else {}
    found, more = {}, []
    with house() as counted:
        for name in paths(counted):
            bound = known.get(name, 0) * ROOM
            value = count(counted, name)
            # What meets otherwise in threads costs more or less; what the program costs stays.
            for _ in range(TIMES - 1):
                if chosen.update or chosen.gate and value > bound:
                    value = min(value, count(counted, name))
            found[name] = value
            change = f"{value / known[name] - 1:+.1%}" if name in known else "new"
            print(f"{value:>9,}  {change:>7}  {name}", flush=True)
            if value > bound:
                more.append(name)
    if chosen.update:
        COUNTS.write_text(json.dumps({"versions": versions(), "counts": found}, indent=2) + "\n")
    elif chosen.gate and more:
        print(f"\nMore than {ROOM - 1:.0%} above {COUNTS.relative_to(ROOT)}: {'; '.join(more)}.\n"
              f"If that is meant, or the compiler or a library changed (counted with "
              f"{json.loads(COUNTS.read_text())['versions']}): counts.py --update, and why.")
        sys.exit(1)


if __name__ == "__main__":
    main()
