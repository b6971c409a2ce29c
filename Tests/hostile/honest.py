#!/usr/bin/python3
"""An honest caller beside hostile ones: calls again and again until its standard input ends, and
prints how often, how long the longest call took, how many took longer than they may, and all that
was wrong. `honest.py ROLE FOLDER USER LONGEST PATIENT`."""

import contextlib
import json
import os
import pathlib
import select
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from clients import ask, claims_of, connect, read_socket, token_in  # noqa: E402

SECRET = "a secret of those who are under attack, long enough"
FORMATS = ["token", "env", "json", "header"]
# The steady identities, s0 and so on: their lives differ, so that one rotates at any time.
STEADY, BEFORE = 40, 2
JOTD = os.environ.get("JOTD") or str(pathlib.Path(__file__).parents[2] / ".build/release/jotd")
# A caller that waits this long is not late, but lost.
LOST = 10
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def life(n):
    """The lifetime of a steady identity, in seconds: at 2 % of the window, the shortest has 0.44 s
    between its rotation and its threshold, which is more than a busy machine is late."""
    return 24 + n % 16


def judge(text, owner, asked, format="token"):
    """Fails unless `text` is a whole, fresh token of `owner`; a reader that was kept waiting since
    `asked` blames nobody."""
    claims = claims_of(token_in(text, format), [SECRET])
    assert claims["user_id"] == owner, (claims["user_id"], owner)
    left = claims["exp"] - asked
    assert left > BEFORE, f"{owner}: {left:.3f} s left"


def waited(process):
    """How long a process and this one have waited for a core, in seconds, all threads together
    (sched_info of proc(5)): what a busy machine costs, and not the daemon."""
    sum = 0
    for one in (process, os.getpid()):
        # A process ends, and so do threads, while they are looked at.
        with contextlib.suppress(OSError):
            for path in pathlib.Path(f"/proc/{one}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    sum += int(path.read_text().split()[1])
    return sum / 1e9


class Honest:
    """One caller. When it is patient, it connects again until it is answered, as a client does
    while the daemon is started anew."""

    def __init__(self, folder, longest, is_patient):
        self.folder, self.longest, self.is_patient = pathlib.Path(folder), longest, is_patient
        self.calls = self.late = 0
        self.slowest, self.faults = {}, []

    def time(self, kind, work):
        """Does `work`, with the time at which it asked for the last time."""
        process = (self.folder / "pid").read_text()
        begin, before = time.monotonic(), waited(process)
        while True:
            try:
                work(time.time())
                break
            except Exception as error:
                is_lost = time.monotonic() > begin + LOST
                if isinstance(error, AssertionError) or is_lost or not self.is_patient:
                    self.faults.append(f"{kind}: {error!r}")
                    break
            time.sleep(0.005)
        took = time.monotonic() - begin
        if took > self.longest:
            took -= max(0, waited(process) - before)
        self.calls += 1
        self.late += took > self.longest
        self.slowest[kind] = max(took, self.slowest.get(kind, 0))

    # What each role does, once

    def reader(self):
        """Reads the files of all steady identities."""
        for n in range(STEADY):
            asked = time.time()
            try:
                text = (self.folder / f"out/s{n}").read_text()
            except FileNotFoundError:
                self.faults.append(f"s{n}: the file is missing")
                continue
            self.time("file", lambda _: judge(text, f"steady-{n}", asked, FORMATS[n % 4]))
            time.sleep(0.002)

    def listener(self):
        """Reads the sockets of some."""
        for n in range(4):
            path = self.folder / f"out/s{n}.sock"
            self.time("socket", lambda asked: judge(read_socket(path, LOST), f"steady-{n}", asked))
            time.sleep(0.01)

    def query(self, *request):
        """Asks at the path of the query socket, or at the other one that it has in between."""
        for name in ("s", "s2"):
            try:
                return ask(self.folder / name, *request, seconds=LOST)
            except (FileNotFoundError, ConnectionRefusedError) as error:
                missing = error
        raise missing

    def health(self, _):
        status, _, body = self.query("/health")
        assert status == 200 and json.loads(body)["status"] in ("pass", "warn"), (
            status, body[:300])

    def caller(self):
        """Another user: health, its own token in every way, and a judgement on it."""
        def token(asked):
            status, _, self.token = self.query("/v1/identities/own/token")
            assert status == 200, (status, self.token[:300])
            judge(self.token, "owner", asked)

        def introspection(_):
            status, _, body = self.query("/introspect", "POST", urllib.parse.urlencode(
                {"token": self.token}), FORM)
            assert status == 200 and json.loads(body)["active"] is True, (status, body[:300])

        self.time("health", self.health)
        self.time("token", token)
        self.time("introspection", introspection)
        self.time("token socket", lambda asked: judge(
            read_socket(self.folder / "t", LOST), "sharer", asked))
        time.sleep(0.01)

    def operator(self):
        """Rotates by request and looks, and asks by the command that monitoring uses."""
        def rotate(_):
            status, _, body = self.query("/v1/identities/own/rotate", "POST")
            assert status == 200 and json.loads(body)["last_error"] is None, (status, body[:300])

        def command(_):
            done = subprocess.run(
                [JOTD, "health", "--config", self.folder / "jotd.yaml"], text=True,
                capture_output=True, timeout=LOST)
            assert done.returncode in (0, 1), (done.returncode, done.stdout, done.stderr)

        self.time("health", self.health)
        self.time("rotate", rotate)
        self.time("jotd health", command)
        time.sleep(0.05)

    def unit(self):
        """What systemd does for a unit that starts: never an empty credential, which it would
        take; and more than one may have (1 MiB) for the unit that has no right."""
        def ask(unit, name):
            address = f"\0{os.urandom(8).hex()}/unit/{unit}/{name}"
            with connect(self.folder / "c", LOST, address) as one:
                return b"".join(iter(lambda: one.recv(65536), b""))

        def refused(_):
            answer = ask("other.service", "own")
            assert len(answer) > 1 << 20, f"{len(answer)} bytes for a unit without a right"

        def given(asked):
            answer = ask("honest.service", "own")
            assert len(answer) <= 1 << 20, "refused"
            judge(answer.decode(), "owner", asked)

        self.time("credential", given)
        # Few of them, because each is logged.
        if self.calls % 20 == 1:
            self.time("refusal", refused)
        time.sleep(0.02)


def main(role, folder, user, longest, is_patient):
    if int(user) != os.geteuid():
        os.setgroups([])
        os.setresgid(int(user), int(user), int(user))
        os.setresuid(int(user), int(user), int(user))
    honest = Honest(folder, float(longest), is_patient == "patient")
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        getattr(honest, role)()
    print(json.dumps(honest.__dict__ | {"folder": None, "token": None}))


if __name__ == "__main__":
    main(*sys.argv[1:])
