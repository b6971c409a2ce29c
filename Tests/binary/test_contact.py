"""What a delivery finds at its place: what is no token stays, nobody else can open what is written,
and what is reported is so."""

import os
import subprocess

import jwt
import pytest

from conftest import Calls, SECRET, accepted, blind, eventually, jotd, needs_root

FOREIGN = [
    b"root:x:0:0:root:/root:/bin/bash\n", b"KEY=value\nOTHER=1\n", b"{\"a\": 1}", b"\0\1" * 40,
    b"x" * 100_000, b"#!/bin/sh\n", b"-----BEGIN PRIVATE KEY-----\n",
    # Somebody's configuration, which ends with a token.
    b"paths:\n  all:\n    source: rtsp://cam?jwt=eyJhbGciOiJIUzI1NiJ9.e30.AAAA\n",
]


@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
@pytest.mark.parametrize("keys", ["", ", in_place: true", ", format: json"])
def test_what_is_no_token_is_not_replaced(home, content, keys):
    home.path("a.jwt").write_bytes(content)
    home.one(deliver=f"[ {{ file: @/a.jwt, mode: '0644'{keys} }}, {{ file: @/b.jwt }} ]",
             life="1d", before="1h")
    words = "a.jwt holds something other than a token"
    said = jotd("check", "--config", home.config, expect=78).stderr
    assert words in said and "move it away, or deliver elsewhere" in said
    daemon = home.start().ready()
    daemon.wait_for(words)
    # The other delivery has its token all the same.
    assert accepted(home.read("b.jwt"), SECRET)
    # A reload takes nothing away, with the identity in it or without.
    daemon.reload()
    home.configure("  other: { user_id: u, role: viewer, deliver: [ { file: @/c.jwt } ] }\n")
    daemon.reload()
    eventually(lambda: home.path("c.jwt").exists() and not home.path("b.jwt").exists())
    assert home.path("a.jwt").read_bytes() == content
    assert daemon.count(words) <= 2, "it is said once"
    daemon.stop()
    assert home.path("a.jwt").read_bytes() == content


def test_a_place_that_is_refused_is_no_reason_for_another_token(home):
    """The other places keep theirs over a restart; and the refused one gets that, once it can."""
    home.one(deliver="[ { file: @/a.jwt }, { file: @/b.jwt } ]", life="1d", before="1h")
    home.start().ready().stop()
    home.path("b.jwt").write_text("somebody's notes\n")
    before, inode = home.read("a.jwt"), home.path("a.jwt").stat().st_ino
    daemon = home.start().ready()
    daemon.wait_for("holds something other than a token")
    assert home.read("a.jwt") == before and home.path("a.jwt").stat().st_ino == inode
    home.path("b.jwt").rename(home.path("elsewhere"))
    eventually(lambda: home.path("b.jwt").exists() and home.read("b.jwt") == before)
    daemon.wait_for("works again")
    assert daemon.count("new token") == 0


def test_a_reload_says_it_too_and_moving_it_away_is_enough(home):
    home.one(life="1d", before="1h")
    daemon = home.start().ready()
    home.path("b.jwt").write_text("somebody's notes\n")
    home.one(deliver="[ { file: @/a.jwt }, { file: @/b.jwt } ]", life="1d", before="1h")
    daemon.reload()
    daemon.wait_for("b.jwt holds something other than a token")
    assert home.read("b.jwt") == "somebody's notes\n"
    home.path("b.jwt").rename(home.path("notes"))
    daemon.wait_for("works again")
    assert accepted(home.read("b.jwt"), SECRET)


def test_tokens_in_any_format_and_nothing_are_replaced(home):
    token = jwt.encode({"pad": "x"}, "somebody else's secret that is long")
    for content in ("", "\n", token, token + "\n", f"OTHER={token}\n", token[:-10],
                    f"Authorization: Bearer {token}\n", f'{{"token": "{token}"}}'):
        home.path("a.jwt").write_text(content)
        home.one(life="1d", before="1h")
        assert jotd("check", "--config", home.config).returncode == 0
        daemon = home.start().ready()
        assert accepted(home.read("a.jwt"), SECRET), content
        daemon.stop()


TORN = [
    ("A={0}\nB=precious\n", False), ("{0}\n{0}\n", False), ("eyJ0 is how it begins", False),
    ('{{"identity":"x","password":"y"}}', False), ("{0}\n", True), ("{0}more.of.the.old-one", True),
    ('{{"identity":"a","token":"{0}', True), ("\0" * 500, True), ("{0}" + "\0" * 50, True),
]


@pytest.mark.parametrize("text,isTorn", TORN, ids=range(len(TORN)))
def test_in_place_what_a_cut_write_leaves_is_replaced_and_nothing_else(home, text, isTorn):
    text = text.format(jwt.encode({"x": 1}, SECRET))
    home.path("a.jwt").write_text(text)
    home.one(deliver="[ { file: @/a.jwt, in_place: true } ]", life="1d", before="1h")
    jotd("check", "--config", home.config, expect=0 if isTorn else 78)
    home.start().ready()
    if isTorn:
        assert accepted(home.read("a.jwt"), SECRET)
    else:
        assert home.read("a.jwt") == text


@needs_root
def test_names_that_others_make_in_a_sticky_folder_are_none_of_jotds(home):
    folder = home.path("sticky")
    folder.mkdir()
    folder.chmod(0o1777)
    theirs = folder / ".a.jwt.0123456789abcdef.jotd"
    theirs.touch()
    os.chown(theirs, 65534, 65534)
    own = folder / ".a.jwt.0123456789abcde0.jotd"
    own.touch()
    home.one(deliver="[ { file: @/sticky/a.jwt } ]")
    home.start().ready()
    assert theirs.exists() and not own.exists()
    theirs.unlink()


@needs_root
def test_that_inodes_ran_out_is_said(home):
    disk = home.path("disk")
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=4,mode=700", "none", disk], check=True)
    try:
        home.one(deliver="[ { file: @/disk/a.jwt } ]")
        daemon = home.start().ready()
        for number in range(8):
            try:
                (disk / str(number)).touch()
            except OSError:
                break
        daemon.wait_for("no inode left")
        daemon.stop()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_takes_the_place_of_a_delivered_file_is_replaced(home):
    home.one(life="3s", before="1s")
    daemon = home.start().ready()
    home.path("a.jwt").write_text("junk")
    daemon.reload()
    eventually(lambda: accepted(home.read("a.jwt"), SECRET))
    words = "held something other than a token, which somebody put in its place"
    daemon.wait_for(words)
    assert daemon.count(words) == 1


def test_the_group_comes_before_the_mode(home):
    """With the mode first, whoever is in the group of a folder could open the file for a moment."""
    calls = Calls(home.folder)
    home.one(deliver=f"[ {{ file: @/a.jwt, group: {os.getegid()}, mode: '0640' }} ]")
    home.start(calls.env).ready()
    order = [(words[0], words[2]) for words in calls.of("fchown", "fchmod", "openat", "renameat")
             if ".a.jwt." in words[1]]
    kinds = [kind for kind, _ in order[:4]]
    assert kinds == ["openat", "fchown", "fchmod", "renameat"], order


def test_a_short_window_on_a_disk_is_warned_of(home):
    """Every file system passes for one with a disk."""
    env = Calls(home.folder).env
    many = ", ".join(f"{{ file: @/{n}.jwt }}" for n in range(20))
    home.one(deliver=f"[ {many} ]", life="2s", before="0.1s")
    said = jotd("check", "--config", home.config, env=env).stderr
    assert said.count("is on a disk") == 1 and "let the tokens live longer" in said, said
    home.one(deliver=f"[ {many} ]", life="1d", before="1h")
    assert "is on a disk" not in jotd("check", "--config", home.config, env=env).stderr


@pytest.mark.parametrize("mode,warns", [
    ("0644", True), ("666", True), ("0640", False), ("0602", True)])
def test_a_token_that_everybody_may_read_is_warned_of(home, mode, warns):
    home.one(deliver=f"[ {{ file: @/a.jwt, mode: '{mode}' }} ]", life="1d", before="1h")
    said = jotd("check", "--config", home.config).stderr
    assert ("everybody on this host" in said) == warns, said
    assert not warns or "jotd.yaml:9:" in said, said


def test_what_was_left_is_not_called_removed(home):
    names = ["left", "lost", "removed"]
    home.configure("".join(
        f"  {n}: {{ user_id: u, role: viewer, deliver: [ {{ file: @/{n}.jwt }} ] }}\n"
        for n in names))
    daemon = home.start(blind()).ready()
    home.path("left.jwt").unlink()
    home.path("left.jwt").symlink_to(home.path("secret"))
    home.path("lost.jwt").unlink()
    # One reload: an identity that stays is looked at again, and what was lost comes back.
    home.configure("  other: { user_id: u, role: viewer, deliver: [ { file: @/other.jwt } ] }\n")
    daemon.reload()
    daemon.wait_for("remove it by hand")
    daemon.wait_for("removed.jwt: removed")
    daemon.stop()
    assert not daemon.count("left.jwt: removed") and home.path("left.jwt").is_symlink()
    assert not daemon.count("lost.jwt: removed")


def test_in_place_writes_through_no_second_name_in_a_sticky_folder(home):
    folder = home.path("sticky")
    folder.mkdir()
    folder.chmod(0o1777)
    home.path("precious").write_text("")
    os.link(home.path("precious"), folder / "a.jwt")
    home.one(deliver="[ { file: @/sticky/a.jwt, in_place: true } ]")
    daemon = home.start().ready()
    daemon.wait_for("has no other name")
    assert home.read("precious") == ""


def test_what_was_delivered_is_not_said_to_stay_when_nothing_is_there(home):
    home.one(deliver="[ { file: @/gone/a.jwt } ]")
    daemon = home.start().ready()
    assert daemon.count("Its readers have no token there")
    assert not daemon.count("delivered before stays")


@needs_root
def test_what_a_crash_left_is_removed_even_when_it_was_given_away(home):
    home.one()
    left = home.path(".a.jwt.0123456789abcdef.jotd")
    left.touch()
    os.chown(left, 65534, 65534)
    home.start().ready()
    assert not left.exists()
