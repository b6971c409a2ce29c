"""Installing and uninstalling, as the README and the Makefile do it."""

import os
import re
import subprocess

import pytest

from conftest import BY_HAND, JOTD, ROOT, commands

# What a folder that others use, too, has beside jotd's files.
NEIGHBOURS = [
    "usr/bin/jotd2", "usr/lib/systemd/system/jotd-credentials.socket", "usr/share/man/man8/other.8",
    "etc/jotd/jotd.yaml", "run/jotd/front-door.jwt", "etc/polkit-1/rules.d/50-jotd.rules"]


def make(target, destination, prefix="/usr", umask=0o022):
    """Runs make without Swift on its path."""
    subprocess.run(
        ["make", "-s", "-C", ROOT, target, f"JOTD={JOTD}", f"DESTDIR={destination}",
         f"PREFIX={prefix}"],
        check=True, umask=umask, timeout=60, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def files(folder):
    return {path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*") if not path.is_dir()}


def modes(folder):
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777
            for path in folder.rglob("*")}


def test_the_commands_of_the_readme_install_jotd(installed):
    assert len(installed.steps) >= 7
    for line, done in installed.steps.items():
        if line != "sudo jotd check":
            assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert installed.sh("systemctl is-enabled jotd").stdout.strip() == "enabled"
    assert installed.sh("stat -c '%U %a' /etc/jotd/secret").stdout.strip() == "root 600"
    assert installed.sh("man -w jotd jotd.yaml").stdout.count("/usr/share/man/") == 2
    assert "complete" in installed.sh(
        "source /usr/share/bash-completion/completions/jotd; complete -p jotd").stdout


def test_check_finds_nothing_before_the_first_start(installed):
    done = installed.steps["sudo jotd check"]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_can_read_what_is_installed(tmp_path, umask):
    make("install", tmp_path, umask=umask)
    for name, mode in modes(tmp_path).items():
        folder = (tmp_path / name).is_dir()
        assert mode == (0o755 if folder or name == "usr/bin/jotd" else 0o644), (name, oct(mode))


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local"])
def test_uninstall_removes_what_install_put_there_and_nothing_else(tmp_path, prefix):
    for name in NEIGHBOURS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("another's")
    before = files(tmp_path)
    make("install", tmp_path, prefix)
    assert len(files(tmp_path)) >= len(before) + 12
    # The service's own doing.
    (tmp_path / "etc/polkit-1/rules.d/50-jotd-hooks.rules").write_text("a rule")
    make("uninstall", tmp_path, prefix)
    assert files(tmp_path) == before
    documents = tmp_path / prefix[1:] / "share/doc/jotd"
    assert not documents.exists()
    # Once more, and with a file of the administrator's among jotd's own.
    make("uninstall", tmp_path, prefix)
    make("install", tmp_path, prefix)
    (documents / "notes").write_text("mine")
    make("uninstall", tmp_path, prefix)
    assert os.listdir(documents) == ["notes"]


def test_every_kind_of_entry_is_explained(installed):
    code = (ROOT / "Sources/jotd/Daemon/JournalEntry.swift").read_text()
    known = set(re.findall(r'"([0-9a-f]{32})"', code))
    assert len(known) >= 20
    listed = installed.sh("journalctl --list-catalog --no-pager").stdout
    assert set(re.findall(r"^([0-9a-f]{32}) jotd: \S", listed, re.M)) == known
    entries = installed.sh("journalctl --dump-catalog --no-pager " + " ".join(known)).stdout
    for entry in re.split(r"^-- [0-9a-f]{32}$", entries, flags=re.M)[1:]:
        assert re.match(r"\nSubject: .+\nDefined-By: jotd\nDocumentation: man:jotd", entry), entry
        assert "\n\n" in entry.strip(), "an explanation must say more than its subject"
    manual = (ROOT / "doc/jotd.8").read_text()
    assert set(re.findall(r"\b[0-9a-f]{32}\b", manual)) == known


def test_systemd_finds_no_fault_in_the_units(installed):
    installed.write("/usr/bin/camera-client", "#!/bin/sh\n", 0o755)
    done = installed.sh("systemd-analyze verify jotd.service jotd.socket jotd-jwks.socket "
                        "/usr/share/doc/jotd/camera-client.service; rm /usr/bin/camera-client")
    assert done.stdout + done.stderr == ""


def test_the_commands_of_the_readme_uninstall_jotd(installed):
    """Runs them, installs in another place, and leaves the container as it was."""
    installed.restart()
    token, pid = (installed.sh("cat /run/jotd/front-door.jwt").stdout, installed.show("MainPID"))
    configuration = "find /etc/jotd -type f | sort | xargs sha256sum"
    before = installed.sh(configuration).stdout
    try:
        installed.sh(BY_HAND + "make uninstall; systemctl daemon-reload")
        assert installed.show("MainPID") == pid and installed.show("ActiveState") == "active", (
            "uninstall stops nothing")
        installed.sh(BY_HAND + "make install; systemctl daemon-reload; "
                     "systemctl enable jotd.socket")
        for line in commands("Uninstall it"):
            installed.sh(BY_HAND + line)
        for question in ("list-units --all", "list-unit-files"):
            done = installed.sh(f"systemctl {question} --no-legend 'jotd*'", check=False)
            assert done.stdout == ""
        assert installed.show("LoadState") == "not-found"
        assert "jotd" not in installed.sh("journalctl --list-catalog --no-pager").stdout
        assert installed.sh("find /etc/systemd -name 'jotd*'").stdout == ""
        assert installed.sh(configuration).stdout == before
        assert installed.sh("cat /run/jotd/front-door.jwt").stdout == token
        assert installed.sh("id -un jotd").stdout.strip() == "jotd"

        installed.sh(BY_HAND + "make install PREFIX=/usr/local; journalctl --update-catalog; "
                     "systemctl daemon-reload; systemctl start jotd")
        assert installed.sh(f"readlink /proc/{installed.show('MainPID')}/exe").stdout.strip() == (
            "/usr/local/bin/jotd")
        assert installed.sh("cat /run/jotd/front-door.jwt").stdout == token
        assert "jotd: jotd is ready" in installed.sh("journalctl --list-catalog --no-pager").stdout
        installed.sh("systemctl stop jotd")
        installed.sh(BY_HAND + "make uninstall PREFIX=/usr/local")
    finally:
        installed.sh(BY_HAND + "make install; journalctl --update-catalog; "
                     "systemctl daemon-reload; systemctl enable jotd")
        installed.restart()
