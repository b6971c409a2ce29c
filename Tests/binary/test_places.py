"""Where tokens go: file systems that are full or read-only, mounts, links, names of any kind,
sticky folders."""

import os
import socket
import stat
import subprocess
import time

import jwt
import pytest

from conftest import JOTD, Calls, SECRET, accepted, jotd, needs_root


@needs_root
@pytest.mark.parametrize("option,words", [
    ("size=16k,nr_inodes=100", "No space left on device: free some space"),
    ("ro", "Read-only file system: make it writable")])
def test_full_and_read_only_file_systems(home, option, words):
    disk = home.path("disk")
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "none", disk], check=True)
    try:
        home.configure(
            "  b:\n    user_id: u\n    role: admin\n    lifetime: 3s\n"
            "    refresh_before: 1s\n    deliver: [ { file: @/disk/b.jwt } ]\n")
        daemon = home.start().ready()
        old = home.read("disk/b.jwt")
        if option == "ro":
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        else:
            with pytest.raises(OSError):
                (disk / "filler").write_bytes(b"x" * 100_000)
        old = home.read("disk/b.jwt")
        daemon.wait_for(words)
        time.sleep(1.5)
        assert home.read("disk/b.jwt") == old
        assert [p.name for p in disk.iterdir() if p.name.startswith(".")] == []
        if option == "ro":
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        else:
            (disk / "filler").unlink()
        daemon.wait_for("works again", within=20)
        assert daemon.count(words) == 1
        assert home.read("disk/b.jwt") != old
    finally:
        for daemon in home.daemons:
            daemon.stop()
        subprocess.run(["umount", disk], check=True)


@needs_root
def test_in_place_writes_through_a_mounted_file(home):
    before = jwt.encode({"pad": "x" * 1500}, SECRET)
    home.path("a.jwt").write_text(before)
    home.path("other").write_text(before)
    home.one(deliver="[ { file: @/a.jwt, in_place: true, mode: '0640', group: daemon } ]")
    mounted = ["unshare", "--mount", "sh", "-c",
               f"mount --bind {home.path('other')} {home.path('a.jwt')} && exec \"$0\" \"$@\""]
    home.start(prefix=mounted).ready()
    jwt.decode(home.read("other"), SECRET, algorithms=["HS256"])
    status = home.path("other").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o640, 1)
    assert home.read("a.jwt") == before


@needs_root
def test_a_mount_point_without_in_place_fails_with_advice(home):
    home.path("a.jwt").write_text("")
    home.path("other").write_text("")
    home.one()
    mounted = ["unshare", "--mount", "sh", "-c",
               f"mount --bind {home.path('other')} {home.path('a.jwt')} && exec \"$0\" \"$@\""]
    daemon = home.start(prefix=mounted).ready()
    daemon.wait_for("mount its folder instead, or set in_place: true")
    assert home.read("other") == ""


def test_left_over_temporary_files_are_removed_and_others_are_not(home):
    home.one()
    ours = home.path(".a.jwt.0123456789abcdef.jotd")
    others = [home.path(name) for name in (
        ".b.jwt.0123456789abcdef.jotd", ".a.jwt.0123456789abcde.jotd", ".a.jwt.jotd", ".a.jwt")]
    for path in [ours, *others]:
        path.write_text("x")
    home.start().ready()
    assert not ours.exists()
    for path in others:
        assert path.exists()
        path.unlink()


def test_names_as_long_as_the_file_system_allows(home):
    name = "n" * 251 + ".jwt"
    home.one(deliver=f"[ {{ file: @/{name} }} ]")
    home.start().ready()
    jwt.decode(home.read(name), SECRET, algorithms=["HS256"])


def test_long_names_of_other_scripts(home):
    name = "\u00e9" * 125 + ".jwt"
    home.one(deliver=f"[ {{ file: '@/{name}' }} ]")
    home.start().ready()
    assert accepted(home.read(name), SECRET)


def test_temporary_files_are_new_private_and_no_links(home):
    """Whoever may write in the folder cannot have jotd write into a file of theirs."""
    home.one(deliver="[ { file: @/a.jwt, mode: '644' } ]", life="1d", before="1h")
    calls = Calls(home.folder)
    home.start(calls.env).ready().stop()
    [[_, path, flags, mode]] = [call for call in calls.of("openat") if str(home.folder) in call[1]]
    assert path.startswith(f"{home.folder}/.a.jwt.") and path.endswith(".jotd")
    safe = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    assert (int(flags, 16) & safe, mode) == (safe, "0600")


@needs_root
def test_files_that_could_not_be_replaced_again_are_refused(home):
    folder = home.path("sticky")
    folder.mkdir()
    folder.chmod(0o1777)
    home.one(deliver="[ { file: @/sticky/a.jwt, owner: nobody } ]")
    for command in ("check", "run"):
        assert "sticky" in jotd(command, "--config", home.config, expect=78).stderr
    home.one(deliver="[ { file: @/sticky/a.jwt } ]")
    home.start().ready()
    assert accepted(home.read("sticky/a.jwt"), SECRET)


@needs_root
def test_a_foreign_file_in_a_sticky_folder_is_left_alone(home):
    folder = home.path("sticky")
    folder.mkdir()
    folder.chmod(0o1777)
    (folder / "a.jwt").write_text("")
    os.chown(folder / "a.jwt", 65534, 65534)
    home.one(deliver="[ { file: @/sticky/a.jwt } ]")
    daemon = home.start().ready()
    daemon.wait_for("only a file of jotd's own user")
    assert (folder / "a.jwt").read_text() == ""


@needs_root
def test_devices_pipes_and_sockets_are_not_replaced(home):
    for name, make in [
        ("null", lambda p: os.mknod(p, 0o20666, os.makedev(1, 3))), ("pipe", os.mkfifo),
        ("sock", lambda p: socket.socket(socket.AF_UNIX).bind(str(p)))]:
        make(home.path(name))
        before = home.path(name).lstat().st_mode
        home.one(deliver=f"[ {{ file: @/{name} }} ]")
        assert "other than a file" in jotd("check", "--config", home.config, expect=78).stderr
        daemon = home.start().ready()
        daemon.wait_for("something other than a file")
        daemon.stop()
        assert home.path(name).lstat().st_mode == before


@pytest.mark.parametrize("target", ["secret", "jotd.yaml", "jotd.d/x.yaml", "alias/secret"])
def test_jotd_does_not_overwrite_what_it_reads(home, target):
    home.path("jotd.d").mkdir()
    home.path("jotd.d/x.yaml").write_text("identities: {}\n")
    home.path("alias").symlink_to(".")
    home.one(deliver=f"[ {{ file: @/{target} }} ]")
    for command in ("check", "run"):
        assert "itself: deliver elsewhere" in jotd(
            command, "--config", home.config, expect=78).stderr
    assert home.secret.read_text() == SECRET


@needs_root
@pytest.mark.parametrize("way", ["touch a.jwt; mount --bind @/secret a.jwt", "ln secret a.jwt"])
def test_jotd_does_not_overwrite_what_it_reads_in_memory_either(home, way):
    """By a mount from another file system, or where the secret is itself in memory."""
    home.path("memory").mkdir()
    home.one(deliver="[ { file: @/memory/a.jwt, in_place: true } ]")
    if way.startswith("ln"):
        home.config.write_text(home.config.read_text().replace(
            str(home.secret), str(home.path("memory/secret"))))
    way = way.replace("@", str(home.folder))
    script = (f"mount -t tmpfs -o mode=700 none {home.path('memory')}; cd {home.path('memory')}; "
              f"cp -p {home.secret} secret; {way}; exec \"$0\" \"$@\"")
    for command in ("check", "run"):
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", script, JOTD, command, "--config", home.config],
            capture_output=True, text=True, timeout=20)
        assert done.returncode == 78 and "itself: deliver elsewhere" in done.stderr, done
    assert home.secret.read_text() == SECRET


def test_two_names_of_one_file_are_one_file(home):
    home.path("d").mkdir()
    home.path("dl").symlink_to("d")
    home.configure(
        "  a: { user_id: u, role: viewer, deliver: [ { file: @/d/same } ] }\n"
        "  b: { user_id: u, role: admin, deliver: [ { file: @/dl/same } ] }\n")
    for command in ("check", "run"):
        assert "is the same file as the one delivered to in" in jotd(
            command, "--config", home.config, expect=78).stderr
