"""`jotd secret`, and the first configuration of the README, as somebody follows it."""

import base64
import os
import pathlib
import re
import subprocess

import pytest

from conftest import JOTD, jotd
from test_status import on_terminal

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_what_is_written_into_a_file_is_the_secret_and_nothing_more(tmp_path):
    path = tmp_path / "secret"
    with path.open("wb") as file:
        path.chmod(0o600)
        subprocess.run([JOTD, "secret"], stdout=file, check=True)
    text = path.read_bytes()
    assert len(text) == 44 and len(base64.b64decode(text, validate=True)) == 32
    # As it is, it is what a service has that was given the text by hand.
    token = jotd("mint", "--secret-file", path, "--user-id", "u", "--role", "admin").stdout
    jotd("verify", "--secret-env", "S", token.strip(), env={"S": text.decode()})
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=\n", on_terminal(80, 24, "secret"))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_output_makes_a_file_that_only_its_owner_may_read(tmp_path, umask):
    path = tmp_path / "secret"
    done = subprocess.run([JOTD, "secret", "--output", path], umask=umask, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert path.stat().st_mode & 0o7777 == 0o600 and len(path.read_bytes()) == 44
    before = path.read_bytes()
    done = jotd("secret", "--output", path, expect=73)
    assert "is there already" in done.stderr and before.decode() not in done.stderr
    assert path.read_bytes() == before
    # The folder may be named in every way.
    jotd("secret", "--output", "here", cwd=tmp_path)
    jotd("secret", "--output", "../other", cwd=tmp_path / ".")
    assert (tmp_path / "here").exists() and (tmp_path.parent / "other").exists()
    (tmp_path.parent / "other").unlink()


@pytest.mark.parametrize("make", ["link", "loose link", "folder", "pipe"])
def test_output_overwrites_nothing(tmp_path, make):
    path, victim = tmp_path / "secret", tmp_path / "victim"
    {"link": lambda: (victim.write_text("mine"), path.symlink_to(victim)),
     "loose link": lambda: path.symlink_to(victim), "folder": path.mkdir,
     "pipe": lambda: os.mkfifo(path)}[make]()
    assert "is there already" in jotd("secret", "--output", path, expect=73).stderr
    assert not victim.exists() or victim.read_text() == "mine"


@pytest.mark.parametrize("path", ["", "none/secret", "/dev/null/x", "x" * 300, "d/"])
def test_output_that_cannot_be_made(tmp_path, path):
    (tmp_path / "d").mkdir()
    done = jotd("secret", "--output", path, cwd=tmp_path, expect=73)
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "cannot be written" in done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "d"]


def test_a_disk_that_is_full_leaves_no_half_of_a_secret(tmp_path):
    path = tmp_path / "secret"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; trap '' XFSZ; exec {JOTD} secret --output {path}"],
        capture_output=True, text=True)
    assert done.returncode == 73 and "File too large" in done.stderr and not path.exists()


def test_the_ten_lines_of_the_readme_are_enough_for_its_first_commands(home):
    """The configuration under "Ten lines of configuration", and the commands that ask the daemon
    under "When something is wrong"."""
    text = README.read_text()
    lines = re.search(r"## Ten lines of configuration\n\n```yaml\n(.*?)```", text, re.S)[1]
    assert len(lines.splitlines()) == 10
    home.config.write_text(
        lines.replace("/etc/jotd/secret", str(home.secret)).replace("/run/jotd", str(home.folder))
        .replace("owner: camera", f"owner: '{os.geteuid()}'"))
    home.start().ready()
    assert len(home.read("front-door.jwt").split(".")) == 3
    commands = re.findall(
        r"^    (?:sudo )?jotd (status|health) ", text.split("## When something")[1], re.M)
    assert commands == ["status", "health"]
    assert "front-door  fresh" in jotd("status", "--config", home.config).stdout
    assert jotd("health", "--config", home.config).stdout.startswith("JOTD OK - 1 of 1")
