"""A long life in a short time: hundreds of identities that rotate every few seconds, under all that
may happen to the daemon at once. What it takes from the machine must not grow, and no reader may
see anything but a whole, fresh token.

JOTD is the program, JOTD_SOAK_SECONDS how long it lives (60)."""

import json
import mmap
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from clients import ask, claims_of, read_socket, token_in  # noqa: E402

JOTD = os.environ.get("JOTD") or str(pathlib.Path(__file__).parents[2] / ".build/release/jotd")
SECONDS = int(os.environ.get("JOTD_SOAK_SECONDS", "60"))
SECRETS = [f"a secret of the soak that is long enough, number {n}" for n in range(2)]
COUNT = 300
BEFORE = 1
FORMATS = ["token", "env", "json", "header"]
# A token of a long spread: 2 % of the window before its threshold is more than a busy machine is
# late. Its rotations are few; those of the others are what the soak is made of.
STEADY, STEADY_LIFE, STEADY_BEFORE = 4, 30, 2
EARLY = 0.02 * (STEADY_LIFE - STEADY_BEFORE)
# At most: a worker for each delivery under way, one for each hook, and a dozen (Limits).
THREADS = 64 + 32 + 12
# What may be allocated more in a third than in the one before it, where some kilobytes are normal:
# libdispatch keeps up to 1,024 blocks of 72 bytes of a thread that gives back more of them than it
# takes. In a minute, 50 bytes that are lost at each rotation are more.
GROWTH = 96 * 1024
# All that is in memory, with what malloc(3) holds between the blocks: how much that is depends on
# what happened at once, and levels off after minutes.
RESIDENT = 12 << 20


class Soak:
    """The daemon, its folder, and everybody who deals with it, each in a thread of its own."""

    def __init__(self, folder):
        self.folder, self.faults, self.over = folder, [], threading.Event()
        self.requests = self.reads = self.reloads = self.rotations = 0
        self.lock = threading.Lock()
        self.write_secret(0)
        self.configure(0)
        self.heap = folder / "heap"
        self.heap.write_bytes(bytes(mmap.PAGESIZE))
        # Not beside the deliveries, where no program may be.
        self.tools = tempfile.TemporaryDirectory(prefix="jotd-soak-")
        counter = pathlib.Path(self.tools.name) / "heap.so"
        subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", counter,
                        pathlib.Path(__file__).with_name("heap.c")], check=True)
        self.daemon = subprocess.Popen(
            [JOTD, "run", "--config", folder / "jotd.yaml"], stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True,
            env={**os.environ, "LD_PRELOAD": str(counter), "HEAP_COUNTS": str(self.heap)})
        self.ready = threading.Event()
        self.lines = []
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self):
        """Reads the journal: counts, and keeps what is not said at every rotation."""
        for line in self.daemon.stderr:
            if any(key in line for key in SECRETS) or "eyJ" in line:
                self.faults.append("secret or token bytes in the log")
            if "new token" in line:
                self.rotations += 1
            else:
                self.lines = self.lines[-200:] + [line.rstrip()]
            self.reloads += "configuration reloaded" in line
            if "ready:" in line:
                self.ready.set()

    def replace(self, name, text):
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.chmod(0o600)
        new.rename(self.folder / name)

    def write_secret(self, number):
        self.replace("secret", SECRETS[number])

    def configure(self, version):
        """The odd version takes some identities away, adds others and changes a third kind."""
        at, out = self.folder, []
        for n in range(COUNT):
            if version and n % 50 == 49:
                continue
            role = "viewer" if version and n % 10 == 3 else "operator"
            format = FORMATS[n % 4]
            folder = "far" if n % 30 == 7 else "out"
            deliver = [f"file: {at}/{folder}/i{n}, format: {format}" +
                       (", variable: T" if format == "env" else "")]
            if n % 25 == 0:
                deliver.append(f"socket: {at}/out/i{n}.sock")
            out.append(
                f"  i{n}:\n    user_id: user-{n}\n    role: {role}\n    lifetime: {3 + n % 4}s\n"
                f"    refresh_before: {BEFORE}s\n    deliver: [ {{ {' }, { '.join(deliver)} }} ]\n"
                + ("    on_rotate: [ { run: [ /bin/true ] } ]\n" if n == 1 else ""))
        if version:
            out.append("  guest:\n    user_id: guest\n    role: viewer\n    lifetime: 3s\n"
                       f"    refresh_before: 1s\n    deliver: [ {{ file: {at}/out/guest }} ]\n")
        for n in range(STEADY):
            out.append(
                f"  s{n}:\n    user_id: steady-{n}\n    role: admin\n    lifetime: {STEADY_LIFE}s\n"
                f"    refresh_before: {STEADY_BEFORE}s\n    deliver: [ {{ file: {at}/out/s{n}, "
                f"format: {FORMATS[n]}{', variable: T' if FORMATS[n] == 'env' else ''} }}, "
                f"{{ socket: {at}/out/s{n}.sock }} ]\n")
        self.replace("jotd.yaml", f"signing: {{ secret: {{ file: {at}/secret }} }}\n"
                     f"socket: {{ path: {at}/s }}\nidentities:\n" + "".join(out))

    def start(self, work, pause):
        """Does `work` again and again until the end; what it raises is a fault of the daemon."""
        def run():
            state = random.Random(work.__name__)
            while not self.over.is_set() and len(self.faults) < 10:
                try:
                    work(state)
                except Exception as error:
                    self.faults.append(f"{work.__name__}: {error!r}")
                self.over.wait(pause)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    # Clients

    def judge(self, text, format, asked, owner=None, before=None):
        """`asked` is the time before the read: a reader that was kept waiting blames nobody."""
        claims = claims_of(token_in(text, format), SECRETS)
        assert owner is None or claims["user_id"] == owner, (claims, owner)
        if before is not None:
            assert claims["exp"] - asked > before, f"{owner}: {claims['exp'] - asked:.3f} s left"
        self.reads += 1

    def read_steady(self, state):
        for n in range(STEADY):
            asked = time.time()
            text = (self.folder / f"out/s{n}").read_text()
            self.judge(text, FORMATS[n], asked, f"steady-{n}", STEADY_BEFORE)

    def read_any(self, state):
        """The short lives: whole and signed always, and not expired while deliveries work."""
        n = state.choice([n for n in range(COUNT) if n % 50 != 49 and n % 30 != 7])
        asked = time.time()
        text = (self.folder / f"out/i{n}").read_text()
        self.judge(text, FORMATS[n % 4], asked, f"user-{n}", 0)

    def read_socket(self, state):
        n = state.randrange(STEADY)
        asked = time.time()
        text = read_socket(self.folder / f"out/s{n}.sock")
        self.judge(text, "token", asked, f"steady-{n}", STEADY_BEFORE)

    def ask(self, target, *more):
        answer = ask(self.folder / "s", target, *more)
        self.requests += 1
        return answer

    def query(self, state):
        n = state.randrange(STEADY)
        asked = time.time()
        status, _, token = self.ask(f"/v1/identities/s{n}/token")
        assert status == 200, (status, token)
        self.judge(token, "token", asked, f"steady-{n}", STEADY_BEFORE)
        assert self.ask("/health")[0] in (200, 503)
        assert "jotd_deliveries_total" in self.ask("/metrics")[2]
        status, _, answer = self.ask(
            "/introspect", "POST", urllib.parse.urlencode({"token": token}),
            {"Content-Type": "application/x-www-form-urlencoded"})
        assert status == 200 and json.loads(answer)["active"] in (True, False)

    def hold(self, state):
        """Waits for the next token as a client does that lives by held requests."""
        n = state.choice([n for n in range(COUNT) if n % 50 != 49 and n % 30 != 7])
        status, headers, _ = self.ask(f"/v1/identities/i{n}/token")
        assert status == 200, status
        status, _, _ = self.ask(
            f"/v1/identities/i{n}/token?wait=2s", "GET", None, {"If-None-Match": headers["ETag"]})
        assert status in (200, 304), status

    def misbehave(self, state):
        """Silent, half, broken and hasty clients: twenty at a time."""
        crowd = []
        for say in [b"", b"GET /heal", b"\0\xff garbage\r\n\r\n",
                    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"] * 5:
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(self.folder / state.choice(["s", "out/s0.sock"])))
            try:
                one.sendall(say)
            except OSError:
                pass
            crowd.append(one)
        self.over.wait(0.5)
        for one in crowd:
            one.close()

    # The administrator

    def administrate(self, state):
        """A reload, and at every other time a new secret or a folder that goes and comes back."""
        version = getattr(self, "version", 0) + 1
        self.version = version
        self.configure(version % 2)
        self.daemon.send_signal(signal.SIGHUP)
        if version % 3 == 1:
            self.write_secret(version // 3 % 2)
        if version % 4 == 2:
            (self.folder / "far").rename(self.folder / "gone")
            self.over.wait(1.5)
            (self.folder / "gone").rename(self.folder / "far")

    def measure(self, state):
        process = pathlib.Path(f"/proc/{self.daemon.pid}")
        known = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        allocated, = struct.unpack("q", self.heap.read_bytes()[:8])
        self.samples.append((
            time.monotonic(), allocated, int(known["RssAnon"].split()[0]) * 1024,
            len(os.listdir(process / "fd")), int(known["Threads"])))

    def run(self):
        assert self.ready.wait(20), self.lines
        self.samples = []
        self.began = time.monotonic()
        threads = [self.start(work, pause) for work, pause in [
            (self.read_steady, 0.02), (self.read_any, 0.01), (self.read_socket, 0.05),
            (self.query, 0.1), (self.hold, 0), (self.hold, 0), (self.hold, 0),
            (self.misbehave, 1), (self.administrate, 3), (self.measure, 0.25)]]
        while time.monotonic() < self.began + SECONDS and not self.faults:
            assert self.daemon.poll() is None, (self.daemon.returncode, self.lines[-20:])
            time.sleep(0.1)
        self.over.set()
        for thread in threads:
            thread.join(timeout=10)
            assert not thread.is_alive(), "a client hangs"

    def thirds(self, column, of=statistics.median):
        """What was measured in the first, the second and the last third of the time."""
        def third(number):
            from_, to = (self.began + SECONDS * n / 3 for n in (number, number + 1))
            measured = [s[column] for s in self.samples if from_ <= s[0] < to]
            assert measured, f"nothing was measured in {from_:.0f}..{to:.0f}: {self.samples}"
            return of(measured)
        return [third(number) for number in range(3)]

    def end(self):
        begin = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        code = self.daemon.wait(timeout=10)
        took = time.monotonic() - begin
        self.reader.join(timeout=5)
        return code, took


def test_an_hour_in_a_minute():
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix="jotd-soak-", dir=shm))
    for name in ("out", "far"):
        (folder / name).mkdir(mode=0o700)
    soak = Soak(folder)
    try:
        soak.run()
        assert not soak.faults, soak.faults
        # The least memory: what a burst takes depends on the machine, and is given back.
        grown = {"least allocated": soak.thirds(1, min), "least RssAnon": soak.thirds(2, min),
                 "descriptors": soak.thirds(3), "threads": soak.thirds(4)}
        code, took = soak.end()
        print(f"\n{soak.rotations} rotations, {soak.reads} reads, {soak.requests} requests, "
              f"{soak.reloads} reloads; stopped in {took:.2f} s")
        for kind, (first, second, last) in grown.items():
            print(f"{kind}: {first:,.0f}, {second:,.0f}, {last:,.0f} (in the three thirds)")
        assert not soak.faults, soak.faults
        assert code == 0 and took < 1, (code, took)
        assert soak.rotations >= 60 * SECONDS, soak.rotations
        assert soak.reloads >= SECONDS / 10, soak.reloads
        first, second, last = grown["least allocated"]
        assert first > 0, "nothing is counted: was heap.so loaded?"
        assert last <= second + GROWTH, grown
        assert max(grown["least RssAnon"]) <= RESIDENT, grown
        _, second, last = grown["descriptors"]
        assert abs(last - second) <= 3, grown
        # How many there are depends on how much happened at once; each of them is kept while there
        # is work for it now and then.
        assert max(grown["threads"]) <= THREADS, grown
        assert not list(folder.rglob(".*.jotd")), "temporary files are left"
    finally:
        soak.over.set()
        soak.daemon.kill()
        soak.daemon.wait()
        soak.tools.cleanup()
        shutil.rmtree(folder)
