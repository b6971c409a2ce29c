"""What jotd does to files, in order, so that a power cut or a failure leaves a whole token: seen by
Tests/binary/calls.c, and so by ordinary users, on any file system."""

import signal
import stat

import pytest

from conftest import Calls, claims_of, eventually, needs_root


@pytest.fixture
def calls(home):
    return Calls(home.folder)


def steps(calls, folder):
    """The names of the calls in a folder, with `temporary` for that file."""
    found = []
    for name, path, *_ in calls.of(
            "openat", "write", "fchmod", "fchown", "fsync", "ftruncate", "renameat", "unlinkat"):
        if path == str(folder) or path.startswith(f"{folder}/"):
            about = path.removeprefix(str(folder)).lstrip("/") or "folder"
            found.append(f"{name} {'temporary' if about.endswith('.jotd') else about}")
    return found


def test_a_token_is_on_the_disk_before_it_has_its_name_and_its_name_is_too(home, calls):
    home.path("out").mkdir()
    home.one(deliver="[ { file: @/out/a.jwt } ]", life="1d", before="1h")
    home.start(calls.env).ready().stop()
    done = steps(calls, home.path("out"))
    done = done[done.index("openat temporary"):]
    assert done.index("write temporary") < done.index("fsync temporary")
    assert done.index("fsync temporary") < done.index("renameat temporary")
    assert "fsync folder" in done[done.index("renameat temporary"):]
    assert not any(step.startswith("fch") for step in done[done.index("fsync temporary"):])
    assert not any(step.startswith("unlinkat") for step in done)


def test_a_file_that_is_written_in_place_is_on_the_disk_and_has_no_old_end(home, calls):
    home.path("a.jwt").touch(mode=0o600)
    inode = home.path("a.jwt").stat().st_ino
    deliver = "[ { file: @/a.jwt, in_place: true, mode: '0640' } ]"
    home.one(deliver, "1d", "1h", extra=f"    claims: {{ x: {'y' * 5000} }}\n")
    home.start().ready().stop()
    assert len(home.read("a.jwt")) > 5000
    home.one(deliver, "1d", "1h")
    home.start(calls.env).ready().stop()
    assert claims_of(home.read("a.jwt"))["user_id"] == "alice"
    assert len(home.read("a.jwt")) < 1000
    status = home.path("a.jwt").stat()
    assert (status.st_ino, stat.S_IMODE(status.st_mode)) == (inode, 0o640)
    done = [step for step in steps(calls, home.folder) if "a.jwt" in step]
    assert done.index("ftruncate a.jwt") < done.index("fsync a.jwt")
    assert done.index("write a.jwt") < done.index("fsync a.jwt")


def test_a_removal_is_on_the_disk(home, calls):
    home.path("out").mkdir()
    home.one(deliver="[ { file: @/out/a.jwt } ]", life="1d", before="1h")
    daemon = home.start(calls.env).ready()
    home.one(deliver="[]")
    daemon.reload()
    daemon.wait_for("a.jwt: removed")
    done = steps(calls, home.path("out"))
    assert "fsync folder" in done[done.index("unlinkat a.jwt"):]


@pytest.mark.parametrize("mode", ["0600", "0644", "0640", "0400", "0444"])
def test_modes(home, mode):
    home.one(deliver=f"[ {{ file: @/a.jwt, mode: '{mode}' }} ]", life="1d", before="1h")
    home.start().ready()
    assert stat.S_IMODE(home.path("a.jwt").stat().st_mode) == int(mode, 8)


def test_what_could_not_be_written_leaves_nothing_behind(home):
    """The token does not fit what a file may hold, and there is a second try."""
    home.one(deliver="[ { file: @/a.jwt } ]", life="1d", before="1h")
    daemon = home.start(prefix=["prlimit", "--fsize=20:"])
    daemon.wait_for("File too large")
    assert [path.name for path in home.folder.iterdir() if path.name.startswith(".")] == []
    assert not home.path("a.jwt").exists()


def test_workers_that_hang_are_replaced(home, elsewhere):
    """As many deliveries hang as run side by side; others go on, and so do these in the end."""
    (elsewhere / "slow").mkdir()
    home.configure("".join(
        f"  h{n}: {{ user_id: h, role: viewer, lifetime: 3s, refresh_before: 1s, "
        f"deliver: [ {{ file: {elsewhere}/slow/h{n}.jwt }} ] }}\n" for n in range(6))
        + "  good: { user_id: g, role: admin, lifetime: 3s, refresh_before: 1s, "
          "deliver: [ { file: @/good.jwt } ] }\n")
    daemon = home.start(Calls(home.folder, hold=elsewhere / "slow").env).ready()
    (elsewhere / "hold").touch()
    daemon.wait_for("writing hangs", 6)
    daemon.wait_for("good: new token", daemon.count("good: new token") + 2)
    (elsewhere / "hold").unlink()
    daemon.wait_for("works again", 6)


@pytest.mark.parametrize("content", ["mine\n", "# a.b.c\n", '{"token": 1}', "x" * 100_000])
def test_what_is_no_token_is_left_alone(home, content):
    home.path("a.jwt").write_text(content)
    home.one(life="1d", before="1h")
    daemon = home.start().ready()
    daemon.wait_for("holds something other than a token")
    assert home.read("a.jwt") == content
    home.path("a.jwt").unlink()
    daemon.reload()
    daemon.wait_for("a: new token")
    assert claims_of(home.read("a.jwt"))["user_id"] == "alice"


@needs_root
def test_a_file_has_its_group_before_its_mode_and_its_owner_last(home, calls):
    """So that at no instant anybody can open it who may not open it in the end."""
    home.one("[ { file: @/a.jwt, owner: nobody, group: daemon, mode: '0640' } ]", "1d", "1h")
    home.start(calls.env).ready().stop()
    changes = [(name, *more) for name, path, *more in calls.of("fchmod", "fchown")
               if path.endswith(".jotd")]
    assert changes == [("fchown", "-1", "1"), ("fchmod", "0640"), ("fchown", "65534", "-1")]


def test_a_kept_token_is_made_durable(home):
    """It may be one that was renamed, and not synced, just before a crash."""
    home.one(life="1d", before="1h")
    home.start().ready().stop(signal.SIGKILL)
    calls = Calls(home.folder)
    daemon = home.start(calls.env).ready()
    assert daemon.count("is kept") == 1
    eventually(lambda: ["fsync", str(home.folder)] in calls.of("fsync"))
