"""The daemon over time: freshness seen by readers, restarts, failures."""

import calendar
import json
import os
import signal
import stat
import subprocess
import threading
import time

import jwt
import pytest

from conftest import BUSY, SECRET, blind, claims_of, eventually, many, needs_root


class Reader(threading.Thread):
    """Opens a file as fast as it can and checks all that a client may rely on."""

    def __init__(self, path, before, mode=0o600, owner=None):
        super().__init__(daemon=True)
        self.path, self.before, self.mode = path, before, mode
        self.owner = owner or (os.geteuid(), os.getegid())
        self.faults, self.seen, self.reads, self.go = [], set(), 0, True
        self.start()

    def run(self):
        last = None
        while self.go and not self.faults:
            # Taken before, because this thread may be kept waiting after it has read.
            now = time.time()
            try:
                with open(self.path) as file:
                    status = os.fstat(file.fileno())
                    text = file.read()
            except OSError as error:
                self.faults.append(repr(error))
                return
            self.reads += 1
            if text != last:
                last = text
                try:
                    claims = jwt.decode(text, SECRET, algorithms=["HS256"])
                except jwt.InvalidTokenError as error:
                    self.faults.append(f"{error!r} after {self.reads} reads of {len(text)} bytes")
                    return
                self.seen.add(claims["iat"])
                exp = claims["exp"]
            if exp - now <= self.before:
                self.faults.append(f"stale: {exp - now:.3f} s left")
            if (stat.S_IMODE(status.st_mode) != self.mode
                    or (status.st_uid, status.st_gid) != self.owner):
                self.faults.append(f"mode or owner: {status}")

    def finish(self):
        self.go = False
        self.join()
        assert not self.faults, self.faults
        return self


def test_readers_never_see_anything_but_a_fresh_whole_token(home_in_memory):
    """A thousand rotations and more, a reload, and three times kill -9."""
    home = home_in_memory
    home.configure(many(500, "12s", "2s"))
    daemon = home.start().ready()
    names = [f"i{n}.jwt" for n in range(4)]
    readers = [Reader(home.path(name), 2) for name in names]
    rotations = 0

    def may_be_away():
        """That a restart takes less than the 200 ms of such a spread, no busy machine promises:
        it comes when no token is due in the next two seconds."""
        return all(claims_of(home.read(name))["exp"] - time.time() > 2 + 1 + 2 for name in names)
    for moment in range(4):
        time.sleep(6.5)
        eventually(may_be_away)
        rotations += daemon.count("new token")
        if moment == 1:
            daemon.reload()
        if moment < 3:
            daemon.stop(signal.SIGKILL)
            daemon = home.start().ready()
    assert rotations >= 1000
    assert sum(len(reader.finish().seen) for reader in readers) >= 8


def test_a_restart_keeps_tokens_and_does_not_churn(home):
    home.configure(
        "  a:\n    user_id: u\n    role: admin\n    deliver:\n"
        "      - file: @/a.jwt\n      - { file: @/a.json, format: json }\n"
        "      - { file: @/a.env, format: env, variable: T }\n"
        "      - { file: @/a.txt, format: header, mode: '644' }\n")
    home.start().ready().stop()
    names = ["a.jwt", "a.json", "a.env", "a.txt"]
    before = {name: (home.read(name), home.path(name).stat().st_ino) for name in names}
    for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        daemon = home.start().ready()
        assert daemon.count("is kept") == 1 and daemon.count("new token") == 0
        daemon.stop(how)
    assert before == {name: (home.read(name), home.path(name).stat().st_ino) for name in names}


@pytest.mark.parametrize("spoil", [
    lambda home: home.path("a.jwt").write_text(""),
    lambda home: home.path("a.jwt").write_text(home.read("a.jwt")[:-1]),
    lambda home: home.path("a.jwt").write_text(home.read("a.jwt") + "\n"),
    lambda home: home.path("a.jwt").unlink(),
    lambda home: home.path("a.jwt").chmod(0o644),
    lambda home: home.path("b.json").unlink(),
    lambda home: home.path("b.json").write_text(home.read("b.json").replace("2", "3", 1)),
    lambda home: (home.path("a.jwt").unlink(), home.path("a.jwt").symlink_to("/etc/passwd")),
    lambda home: home.path("a.jwt").write_text(jwt.encode(
        {**claims_of(home.read("a.jwt")), "role": "admin"}, SECRET)),
    lambda home: home.path("a.jwt").write_text(jwt.encode(
        {**claims_of(home.read("a.jwt")), "iat": 1_799_999_961_799_999_940}, SECRET)),
    lambda home: home.path("a.jwt").write_text(jwt.encode(
        {**claims_of(home.read("a.jwt")), "iat": -9_223_372_036_854_775_808}, SECRET)),
    lambda home: home.path("a.jwt").write_text(jwt.encode(
        claims_of(home.read("a.jwt")), "another secret that is long enough 000")),
    lambda home: home.write_secret("another secret that is long enough 000"),
    lambda home: home.config.write_text(
        home.config.read_text().replace("role: operator", "role: viewer")),
    lambda home: home.config.write_text(
        home.config.read_text().replace("lifetime: 1d", "lifetime: 2d")),
])
def test_what_no_longer_matches_is_replaced_at_start(home, spoil):
    home.one(deliver="[ { file: @/a.jwt }, { file: @/b.json, format: json } ]", life="1d",
             before="1h")
    home.start().ready().stop()
    spoil(home)
    daemon = home.start().ready()
    assert daemon.count("is kept") == 0 and daemon.count("new token") == 1
    token = home.read("a.jwt")
    jwt.decode(token, home.secret.read_text(), algorithms=["HS256"])
    assert json.loads(home.read("b.json"))["token"] == token
    assert not home.path("a.jwt").is_symlink()


def test_formats(home):
    home.configure(
        "  front-door:\n    user_id: 'J\u00fcrgen'\n    role: viewer\n    deliver:\n"
        "      - file: @/a.jwt\n      - { file: @/a.json, format: json }\n"
        "      - { file: @/a.env, format: env, variable: CAMERA_TOKEN }\n"
        "      - { file: @/a.txt, format: header }\n")
    home.start().ready()
    token = home.read("a.jwt")
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert home.read("a.env") == f"CAMERA_TOKEN={token}\n"
    assert home.read("a.txt") == f"Authorization: Bearer {token}\n"
    sourced = subprocess.run(
        ["sh", "-c", f". {home.path('a.env')}; printf %s \"$CAMERA_TOKEN\""], capture_output=True,
        text=True).stdout
    assert sourced == token
    known = json.loads(home.read("a.json"))
    assert list(known) == [
        "identity", "token", "user_id", "role", "issued_at", "expires_at", "refresh_at"]
    assert known["identity"] == "front-door" and known["token"] == token
    assert known["user_id"] == "J\u00fcrgen" and known["role"] == "viewer"

    def seconds(text):
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    assert seconds(known["issued_at"]) == claims["iat"]
    assert seconds(known["expires_at"]) == claims["exp"]
    early = claims["exp"] - 3600 - seconds(known["refresh_at"])
    assert 180 <= early <= 901
    modes = [stat.S_IMODE(home.path(n).stat().st_mode)
             for n in ("a.jwt", "a.json", "a.env", "a.txt")]
    assert modes == [0o600] * 4


@needs_root
def test_owner_group_and_mode_are_right_on_every_rotation(home):
    home.configure(many(1, extra=", owner: nobody, group: daemon, mode: '0440'"))
    before = os.umask(0o077)
    try:
        daemon = home.start().ready()
    finally:
        os.umask(before)
    reader = Reader(home.path("i0.jwt"), 1 - BUSY, 0o440, (65534, 1))
    daemon.wait_for("new token", 4)
    assert len(reader.finish().seen) >= 3
    home.configure(many(1, extra=", group: daemon"))
    daemon.reload()
    daemon.wait_for("new token", 5)
    status = home.path("i0.jwt").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o640, 1)


def test_rotations_part(home):
    """Identities minted together do not come due together; the spread is that of the contract."""
    home.configure(many(50, "1d", "1h", ", format: json"))
    home.start().ready()
    due = [json.loads(home.read(f"i{n}.jwt"))["refresh_at"] for n in range(50)]
    assert len(set(due)) > 40


def test_a_failing_delivery_keeps_the_old_token_and_delays_nobody(home):
    out = home.path("out")
    out.mkdir()
    home.configure(
        many(1, "3s") + "  b:\n    user_id: u\n    role: admin\n    lifetime: 3s\n"
        "    refresh_before: 1s\n    deliver: [ { file: @/out/b.jwt } ]\n")
    daemon = home.start(blind()).ready()
    reader = Reader(home.path("i0.jwt"), 1 - BUSY)
    gone = home.path("gone")
    out.rename(gone)
    old = (gone / "b.jwt").read_text()
    daemon.wait_for("out: No such file or directory: create the folder")
    daemon.wait_for("is stale and could not be replaced")
    daemon.wait_for("expired")
    assert (gone / "b.jwt").read_text() == old
    gone.rename(out)
    daemon.wait_for("works again", within=70)
    jwt.decode((out / "b.jwt").read_text(), SECRET, algorithms=["HS256"])
    # Said once, not once a try.
    assert daemon.count("create the folder") == 1
    assert daemon.count("is stale and could") == 1 and daemon.count("locked out") == 1
    reader.finish()


# Found by trying the program.

def test_a_delivery_that_never_worked_does_not_make_the_other_look_expired(home):
    home.one(deliver="[ { file: @/a.jwt }, { file: @/none/b.jwt } ]", life="1d", before="1h")
    daemon = home.start().ready()
    daemon.wait_for("create the folder")
    time.sleep(1.5)
    assert daemon.count("expired") == 0 and daemon.count("locked out") == 0
