"""File systems that do not answer, and files that take long to read: at the start, in a reload, in
a stop, and between. They cost the identities on them, and nobody else."""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import time

import pytest

from conftest import (
    Answer, BUSY, Calls, Connection, JOTD, PATIENCE, SECRET, accepted, claims_of, eventually,
    needs_root, with_socket)
from test_rotation import Reader

LIFE = "lifetime: 3s, refresh_before: 1s"


def one(name, *paths, more=""):
    places = ", ".join(f"{{ file: @/{path} }}" for path in paths)
    return f"  {name}: {{ user_id: u, role: viewer, {LIFE}, deliver: [ {places} ]{more} }}\n"


class Disk:
    """A folder of the home on which nothing answers between `hang` and `answer`."""

    def __init__(self, home):
        self.path = home.path("slow")
        self.path.mkdir(0o700)
        self.mark = home.path("hold-all")
        self.env = Calls(home.folder, hold=self.path).env

    def hang(self):
        self.mark.touch()

    def answer(self):
        self.mark.unlink()


@pytest.fixture
def disk(home):
    return Disk(home)


def rotates(daemon, name, times=2):
    daemon.wait_for(f"{name}: new token", daemon.count(f"{name}: new token") + times)


def test_a_start_beside_a_disk_that_hangs(home, disk):
    home.configure(one("good", "good.jwt") + one("bad", "slow/bad.jwt"))
    disk.hang()
    daemon = home.start(disk.env).ready()
    assert home.read("good.jwt").count(".") == 2
    daemon.wait_for("does not answer")
    daemon.wait_for("writing hangs")
    rotates(daemon, "good")
    assert not daemon.count("bad: new token")
    disk.answer()
    daemon.wait_for("bad: new token")


def test_of_an_identity_with_a_place_that_hangs_the_other_places_are_served(home, disk):
    home.configure(one("both", "slow/a.jwt", "b.jwt"))
    disk.hang()
    home.start(disk.env).ready()
    eventually(lambda: home.path("b.jwt").exists())
    reader = Reader(home.path("b.jwt"), 1 - BUSY)
    eventually(lambda: len(reader.seen) > 1)
    reader.finish()
    disk.answer()
    eventually(lambda: home.path("slow/a.jwt").exists())


@pytest.fixture
def mounted(home, disk):
    """The disk is a file system of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "none", disk.path], check=True)
    yield disk
    for daemon in home.daemons:
        daemon.stop(signal.SIGKILL)
    subprocess.run(["umount", disk.path], check=True)


@needs_root
def test_a_disk_full_of_folders_that_hang_uses_up_nothing(home, mounted):
    count, disk = 100, mounted
    for number in range(count):
        (disk.path / f"f{number}").mkdir(0o700)
    home.configure(
        "".join(one(f"bad{n}", f"slow/f{n}/x.jwt", f"slow/f{n}/y.jwt") for n in range(count))
        + one("good", "good.jwt"))
    daemon = home.start(disk.env).ready()
    rotates(daemon, "good", 1)
    disk.hang()
    # Those at work when the last folder was taken to hang are found out two seconds after the rest.
    daemon.wait_for("writing hangs", 2 * count, within=2 * PATIENCE)
    rotates(daemon, "good", 3)
    # A few have found out that it hangs; the others wait without a thread.
    threads = len(os.listdir(f"/proc/{daemon.pid}/task"))
    assert threads < 40, threads
    disk.answer()
    daemon.wait_for("works again", 2 * count, within=2 * PATIENCE)


def test_a_reload_beside_a_disk_that_hangs(home, disk):
    home.configure(one("good", "good.jwt") + one("bad", "slow/bad.jwt"))
    daemon = home.start(disk.env).ready()
    disk.hang()
    home.configure(one("good", "good.jwt") + one("bad", "slow/bad.jwt") + one("new", "new.jwt"))
    before = daemon.count("good: new token")
    daemon.reload()
    assert daemon.count("2 unchanged, 1 added")
    daemon.wait_for("new: new token")
    daemon.wait_for("good: new token", before + 1)
    home.configure(one("good", "good.jwt"))
    daemon.reload()
    rotates(daemon, "good")
    disk.answer()
    # What was removed while its disk hung is gone when that is back.
    eventually(lambda: not home.path("slow/bad.jwt").exists())


def test_a_stop_beside_a_disk_that_hangs(home, disk):
    home.configure(
        one("good", "good.jwt")
        + f"  bad: {{ user_id: u, role: viewer, {LIFE},\n"
        "    deliver: [ { file: @/slow/bad.jwt }, { socket: @/slow/bad.sock } ] }\n")
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('slow/s')} }}\nidentities:", 1))
    daemon = home.start(disk.env).ready()
    disk.hang()
    daemon.wait_for("writing hangs")
    assert daemon.stop() == 0
    assert home.read("good.jwt").count(".") == 2


def test_a_query_socket_whose_disk_hangs_comes_when_it_answers(home, disk):
    home.configure(one("good", "good.jwt"))
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('slow/s')} }}\nidentities:", 1))
    disk.hang()
    daemon = home.start(disk.env).ready()
    daemon.wait_for("the sockets of the configuration hang")
    rotates(daemon, "good")
    disk.answer()
    eventually(lambda: home.path("slow/s").exists())
    health = [JOTD, "health", "--config", home.config]
    eventually(lambda: subprocess.run(health, capture_output=True).returncode == 0)


def test_a_secret_whose_disk_hangs_stops_no_rotation(home, disk):
    home.configure(one("good", "good.jwt"))
    moved = disk.path / "secret"
    home.secret.rename(moved)
    home.config.write_text(home.config.read_text().replace(str(home.secret), str(moved)))
    daemon = home.start(disk.env).ready()
    disk.hang()
    rotates(daemon, "good", 3)
    disk.answer()


def test_a_secret_whose_disk_hangs_keeps_no_other(home, disk):
    home.configure(one("good", "good.jwt"))
    moved = disk.path / "secret"
    moved.write_text(SECRET + "!")
    moved.chmod(0o600)
    home.config.write_text(home.config.read_text().replace(
        "signing:\n", "keys:\n  default:\n  ").replace(
        "identities:", f"  gate: {{ secret: {{ file: {moved} }} }}\nidentities:", 1))
    daemon = home.start(disk.env).ready()
    disk.hang()
    rotates(daemon, "good", 2)
    home.write_secret(SECRET * 2)
    eventually(lambda: accepted(home.read("good.jwt"), SECRET * 2))
    rotates(daemon, "good", 2)
    disk.answer()


def test_rotations_go_on_while_a_large_file_is_read(home):
    """A file of 14 MiB with a fault at its end."""
    home.configure(one("good", "good.jwt"))
    daemon = home.start().ready()
    reader = Reader(home.path("good.jwt"), 1 - BUSY)
    text = home.config.read_text()
    names = (f"  n{n}: {{ user_id: u, role: viewer, claims: {{ x: {'y' * 90} }} }}\n"
             for n in range(100_000))
    home.config.write_text(text + "".join(names) + "  bad: { user_id: u, role: nobody }\n")
    assert home.config.stat().st_size > 13 << 20
    before = daemon.count("good: new token")
    began = time.monotonic()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("is refused", within=4 * PATIENCE)
    # A rotation is due every second or two.
    assert daemon.count("good: new token") - before >= int((time.monotonic() - began) / 2)
    reader.finish()


def test_reloads_that_come_together_are_answered_each(home):
    home.configure(one("a", "a.jwt"))
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    daemon = home.start().ready()
    all_of_them = [
        subprocess.Popen(
            [JOTD, "reload", "--config", home.config],
            stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for _ in range(8):
        daemon.process.send_signal(signal.SIGHUP)
    for process in all_of_them:
        text, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0 and text.startswith("reloaded: 1 unchanged"), text
    assert daemon.stop() == 0


def test_a_token_that_a_reload_is_about_to_make_is_waited_for(home, disk):
    """The places of a changed identity are looked at before its next token is made, which takes
    long on this disk: whoever asks meanwhile is not told that there is no token, nor is who
    waits."""
    before = f"socket: {{ path: {home.path('s')} }}\n"
    home.configure(one("a", "a.jwt"))
    home.config.write_text(before + home.config.read_text())
    daemon = home.start(disk.env).ready()
    first = home.read("a.jwt")
    home.configure(one("a", "a.jwt", "slow/a.jwt"))
    home.config.write_text(before + home.config.read_text())
    etag = ask(home, "/v1/identities/a/token").getheader("ETag")
    waiting = concurrent.futures.ThreadPoolExecutor().submit(
        ask, home, "/v1/identities/a/token?wait=1min", {"If-None-Match": etag})
    disk.hang()
    daemon.reload()
    answers = [ask(home, "/v1/identities/a/token"), waiting.result(PATIENCE)]
    assert [answer.status for answer in answers] == [200, 200], [a.body for a in answers]
    assert first not in [answer.body for answer in answers]
    daemon.wait_for("writing hangs")
    disk.answer()


def ask(home, target, headers={}):
    connection = Connection(home.path("s"))
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    answer.body = answer.read().decode()
    return answer


def test_a_delivery_that_hangs_is_reported_and_holds_up_nobody(home, elsewhere):
    """A file system that does not answer."""
    home.configure(
        "  a:\n    user_id: a\n    role: admin\n    lifetime: 3s\n    refresh_before: 1s\n"
        "    deliver: [ { file: @/a.jwt } ]\n"
        "  b:\n    user_id: b\n    role: admin\n    lifetime: 3s\n    refresh_before: 1s\n"
        f"    deliver: [ {{ file: {elsewhere}/slow/b.jwt }} ]\n")
    (elsewhere / "slow").mkdir()
    daemon = home.start(Calls(home.folder, hold=elsewhere / "slow").env).ready()
    (elsewhere / "hold").touch()
    daemon.wait_for("writing hangs")
    count = daemon.count("b: new token")
    daemon.wait_for("a: new token", daemon.count("a: new token") + 2)
    assert daemon.count("b: new token") == count
    (elsewhere / "hold").unlink()
    daemon.wait_for("b: new token", count + 1)


def test_who_waits_for_a_longer_life_is_told_that_jotd_stops(home, disk):
    home.configure(one("a", "slow/a.jwt").replace(LIFE, "lifetime: 1d"))
    with_socket(home)
    daemon = home.start(disk.env).ready()
    # In the second of its token, nobody gains by another.
    issued = claims_of(home.read("slow/a.jwt"))["iat"]
    eventually(lambda: time.time() > issued + 1)
    home.path("hold").touch()
    with contextlib.closing(Connection(home.path("s"))) as caller:
        caller.request("GET", "/v1/identities/a/token?min_validity=86399s")
        eventually(lambda: list(home.path("slow").glob(".*.jotd")))
        daemon.process.send_signal(signal.SIGTERM)
        answer = Answer(caller.getresponse())
    assert answer.status == 503 and answer.headers["Retry-After"] == "1"
    assert "jotd stops" in answer.json["detail"]
    home.path("hold").unlink()
