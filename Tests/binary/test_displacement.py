"""What others do to delivered files while jotd runs is noticed, put back at once, and said once."""

import os
import pathlib
import shutil
import subprocess
import time

import jwt
import pytest

from conftest import JOTD, blind, eventually, needs_root

CLAIMS = {"user_id": "alice", "role": "operator"}


def remove(path):
    path.unlink()


def move(path):
    path.rename(path.with_suffix(".away"))


def empty(path):
    path.write_text("")


def cut(path):
    os.truncate(path, 0)


def overwrite(path):
    path.write_text("junk")


def replace(path):
    new = path.with_suffix(".new")
    new.write_text("something else")
    new.rename(path)


def forge(path):
    now = int(time.time())
    path.write_text(jwt.encode({**CLAIMS, "iat": now, "exp": now + 99999}, "x" * 40))


def link(path):
    path.unlink()
    path.symlink_to("/etc/hostname")


def loosen(path):
    path.chmod(0o666)


DEEDS = [
    (remove, "was removed or moved away"), (move, "was removed or moved away"),
    (empty, "was emptied"), (cut, "was emptied"), (overwrite, "held something other than a token"),
    (replace, "held something other than a token"), (forge, "held another token"),
    (link, "was removed or moved away"), (loosen, "was given another owner, group or mode"),
]


@pytest.mark.parametrize("deed,words", DEEDS, ids=[deed.__name__ for deed, _ in DEEDS])
def test_what_is_taken_away_is_put_back_and_said_once(home, deed, words):
    """The same token: nobody who has read it is locked out."""
    home.one(life="1d", before="1h")
    daemon = home.start().ready()
    path = home.path("a.jwt")
    before = path.read_text()
    deed(path)
    daemon.wait_for(f"a: {path} {words}")
    eventually(lambda: path.is_file() and not path.is_symlink() and path.read_text() == before
               and path.stat().st_mode & 0o7777 == 0o600)
    # What is put back is no change by others: it is looked at, and nothing more is said.
    time.sleep(0.1)
    assert daemon.count("put back") == 1 and daemon.count("new token") == 1, daemon.lines
    assert not daemon.count("failed") and not daemon.count("works again")


def test_a_token_socket_that_is_removed_is_made_again(home):
    home.one(deliver="[ { socket: @/a.sock }, { file: @/a.jwt } ]", life="1d", before="1h")
    daemon = home.start().ready()
    home.path("a.sock").unlink()
    daemon.wait_for("a.sock was removed or moved away")

    def given():
        try:
            client = home.connect(home.path("a.sock"))
        except OSError:
            return None
        return b"".join(iter(lambda: client.recv(4096), b"")).decode()
    eventually(lambda: given() == home.read("a.jwt"))


def test_what_is_taken_away_again_is_put_back_again(home):
    home.one(life="1d", before="1h")
    daemon = home.start().ready()
    for times in range(1, 4):
        home.path("a.jwt").unlink()
        daemon.wait_for("was removed", times)
        eventually(home.path("a.jwt").exists)


def test_a_folder_that_comes_back_is_delivered_to_and_watched(home):
    out = home.path("out")
    out.mkdir()
    home.one(deliver="[ { file: @/out/a.jwt } ]", life="1d", before="1h")
    daemon = home.start().ready()
    shutil.rmtree(out)
    daemon.wait_for("create the folder")
    out.mkdir()
    eventually((out / "a.jwt").exists)
    daemon.wait_for("works again")
    (out / "a.jwt").unlink()
    daemon.wait_for("a.jwt was removed", 2)
    eventually((out / "a.jwt").exists)


def test_a_folder_that_is_replaced_is_delivered_to(home):
    """A client's reinstallation, say, that swaps the whole folder."""
    out = home.path("out")
    out.mkdir()
    home.path("other").mkdir()
    home.one(deliver="[ { file: @/out/a.jwt } ]", life="1d", before="1h")
    home.start().ready()
    out.rename(home.path("old"))
    home.path("other").rename(out)
    eventually((out / "a.jwt").exists)


def test_all_of_many_are_put_back(home_in_memory):
    home = home_in_memory
    count = 3_000
    home.configure("".join(
        f"  i{n}: {{ user_id: u, role: viewer, deliver: [ {{ file: @/out/{n}.jwt }} ] }}\n"
        for n in range(count)))
    home.path("out").mkdir()
    daemon = home.start().ready()
    for path in home.path("out").iterdir():
        path.unlink()
    eventually(lambda: len(os.listdir(home.path("out"))) >= count)
    daemon.wait_for("was removed", times=count)
    assert daemon.count("was removed") == count


def test_more_changes_than_the_kernel_keeps(home_in_memory):
    """The queue of inotify(7) overflows while the daemon stands still; what was lost is found."""
    home = home_in_memory
    home.one(life="1d", before="1h")
    daemon = home.start().ready()
    os.kill(daemon.pid, 19)
    try:
        most = int(pathlib.Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        other = home.path("other")
        for _ in range(most // 2 + 1):
            other.touch()
            other.unlink()
        home.path("a.jwt").unlink()
    finally:
        os.kill(daemon.pid, 18)
    eventually(home.path("a.jwt").exists)


@needs_root
def test_a_rotation_of_its_own_is_no_change_by_others(home):
    """It looks at nothing anew, as far as it has come when it puts back what was emptied after."""
    home.configure("".join(
        f"  {name}: {{ user_id: {name}, role: viewer, "
        f"deliver: [ {{ file: {home.path(name)}.jwt }} ] }}\n"
        for name in "ab"))
    home.config.write_text(f"socket: {{ path: {home.path('s')} }}\n" + home.config.read_text())
    daemon = home.start().ready()
    trace = subprocess.Popen(
        ["strace", "-f", "-p", str(daemon.pid), "-e", "trace=openat,renameat", "-o",
         str(home.path("trace"))], stderr=subprocess.PIPE, text=True)
    try:
        assert "attached" in trace.stderr.readline()
        client = home.connect(home.path("s"), b"POST /v1/identities/a/rotate HTTP/1.1\r\n"
                              b"Host: j\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert b" 200 " in b"".join(iter(lambda: client.recv(4096), b""))
        home.path("b.jwt").write_text("")
        eventually(lambda: home.read("b.jwt"))
    finally:
        trace.terminate()
        trace.wait()
    calls = home.read("trace")
    renamed = [line for line in calls.splitlines() if "renameat(" in line and '"a.jwt"' in line]
    assert len(renamed) == 1, calls
    assert '"a.jwt", O_RDONLY' not in calls and '"b.jwt", O_RDONLY' in calls, calls


def test_two_who_want_one_place_keep_nobody_busy(home):
    """At most one delivery in a second is put back, however often it is replaced."""
    home.one(life="1d", before="1h")
    daemon = home.start().ready()
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        home.path("b").write_text("junk")
        home.path("b").rename(home.path("a.jwt"))
        time.sleep(0.002)
    eventually(lambda: home.read("a.jwt").count(".") == 2)
    took = time.monotonic() - began
    assert 1 < daemon.count("put back") <= took + 1, daemon.lines


def test_a_busy_folder_wakes_nobody_for_each_change(home):
    """What others do beside the deliveries is gathered: some fifty wake-ups a second, not one for
    each change."""
    home.one(life="1d", before="1h")
    daemon = home.start().ready()

    def switches():
        return sum(int(line.split()[1]) for task in pathlib.Path(
            f"/proc/{daemon.process.pid}/task").iterdir()
            for line in (task / "status").read_text().splitlines()
            if line.startswith("voluntary_ctxt_switches:"))
    before, began = switches(), time.monotonic()
    for number in range(4_000):
        home.path(f"other-{number % 100}").write_text("x")
    took = time.monotonic() - began
    # A gathering wakes a few threads, for the folder and for the secret that is in it, too: fifty
    # times a second, some fifteen of them.
    assert switches() - before < 1_500 * took + 400


def test_what_was_never_delivered_to_stays(home):
    """Somebody's file at the place of a delivery is not touched until it is moved away."""
    home.path("a.jwt").write_text("precious")
    home.one(life="1d", before="1h")
    daemon = home.start()
    daemon.wait_for("holds something other than a token")
    home.path("a.jwt").write_text("still precious")
    time.sleep(0.1)
    assert home.read("a.jwt") == "still precious" and not daemon.count("put back")
    home.path("a.jwt").rename(home.path("notes"))
    daemon.wait_for("a: new token")
    assert home.read("notes") == "still precious" and not daemon.count("put back")


def test_all_of_a_folder_whose_parent_was_replaced_comes_back_with_one_token(home):
    """What happens above the folder is not seen; that it is another one is, by the next
    delivery."""
    above = home.path("above")
    (above / "in").mkdir(parents=True)
    above.chmod(0o700)
    (above / "in").chmod(0o700)
    home.configure(
        "  often: { user_id: u, role: viewer, lifetime: 4s, refresh_before: 1s,\n"
        "    deliver: [ { file: @/above/in/often.jwt } ] }\n"
        "  daily: { user_id: u, role: viewer, deliver: [ { file: @/above/in/daily.jwt } ] }\n")
    daemon = home.start().ready()
    token = home.read("above/in/daily.jwt")
    for turn in range(3):
        above.rename(home.path(f"above.{turn}"))
        above.mkdir(0o700)
        (above / "in").mkdir(0o700)
        eventually(home.path("above/in/daily.jwt").exists)
        assert home.read("above/in/daily.jwt") == token
    daemon.wait_for("daily.jwt was removed or moved away")


def test_a_folder_that_is_replaced_amid_rotations_lacks_nothing(home):
    """Whichever folder each of the deliveries under way goes to."""
    names = [f"i{n}" for n in range(5)]
    home.path("f").mkdir(0o700)
    home.configure("".join(
        f"  {n}: {{ user_id: u, role: viewer, deliver: [ {{ file: @/f/{n}.jwt }} ] }}\n"
        for n in names))
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    home.start().ready()
    for turn in range(12):
        rotating = subprocess.Popen(
            [JOTD, "rotate", "--all", "--config", home.config], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        # When it begins: the first temporary file.
        eventually(lambda: rotating.poll() is not None
                   or any(name.startswith(".") for name in os.listdir(home.path("f"))), every=0)
        time.sleep(turn * 0.0004)
        home.path("f").rename(home.path(f"f.{turn}"))
        home.path("f").mkdir(0o700)
        rotating.wait()
        eventually(lambda: all(home.path(f"f/{n}.jwt").exists() for n in names))


def test_a_removed_identity_is_watched_no_more(home):
    two = "".join(f"  {n}: {{ user_id: u, role: viewer, deliver: [ {{ file: @/{n}.jwt }} ] }}\n"
                  for n in "ab")
    home.configure(two)
    daemon = home.start().ready()
    home.configure(two.splitlines(keepends=True)[0])
    daemon.reload()
    daemon.wait_for("b.jwt: removed")
    home.path("b.jwt").write_text("mine now")
    home.path("a.jwt").unlink()
    eventually(home.path("a.jwt").exists)
    daemon.wait_for("put back")
    assert home.read("b.jwt") == "mine now" and daemon.count("put back") == 1


def test_without_inotify_a_rotation_finds_it(home):
    """As with `fs.inotify.max_user_watches` used up: said once, and all else works."""
    home.one(life="3s", before="1s")
    daemon = home.start(blind()).ready()
    daemon.wait_for("cannot be watched")
    home.path("a.jwt").unlink()
    eventually(home.path("a.jwt").exists)
    daemon.wait_for("new token", 3)
    assert daemon.count("cannot be watched") == 1
