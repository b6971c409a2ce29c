"""`check` finds those who are allowed something and cannot come to it, hooks that cannot work, and
modes that let everybody in; a start and a reload do without these errors."""

import os
import struct
import subprocess

import pytest

from conftest import JOTD, eventually, jotd, needs_root


@pytest.fixture
def home(home_in_memory):
    """A folder that nobody but its user can pass, in one that everybody can."""
    return home_in_memory


def open_the_way(home):
    home.folder.chmod(0o711)


@pytest.fixture
def asked(home):
    """Writes a configuration with a query socket, and checks it."""

    def check(allow="[]", socket="", code=0, hooks=""):
        home.one(life="1d", before="1h", extra=f"    allow: {allow}\n{hooks}")
        home.config.write_text(home.config.read_text().replace(
            "identities:", f"socket: {{ path: {home.path('s')}{socket} }}\nidentities:", 1))
        return jotd("check", "--config", home.config, expect=code).stderr

    return check


def test_folders_that_do_not_let_them_pass(home, asked):
    """Root passes everywhere, and of a user without an account nothing is known."""
    said = asked("[ { user: root }, { user: '54321' }, { user: nobody } ]", code=78)
    fault = f"nobody (uid 65534) is allowed here, and cannot connect to {home.path('s')}"
    assert fault in said, said
    assert "may not pass through" in said and "chmod o+x" in said
    assert said.count("is allowed here") == 1 and f"{home.config}:10:" in said, said
    # An operator is told of as well.
    said = asked(socket=", operators: [ { user: nobody } ]", code=78)
    assert f"{home.config}:3:" in said and said.count("is allowed here") == 1
    # And nobody is stopped by that.
    home.start().ready()


@needs_root
def test_a_delivery_that_its_owner_cannot_come_to(home):
    home.path("out").mkdir()
    home.path("out").chmod(0o755)
    for keys, code in (
            ("owner: nobody", 78), ("group: daemon", 78), ("owner: root", 0), ("mode: '0600'", 0)):
        home.one(deliver=f"[ {{ file: @/out/a.jwt, {keys} }} ]", life="1d", before="1h")
        said = jotd("check", "--config", home.config, expect=code).stderr
        assert (f"for whom it is, may not pass through {home.folder}" in said) == (code == 78), said
    open_the_way(home)
    home.one(deliver="[ { file: @/out/a.jwt, owner: nobody } ]", life="1d", before="1h")
    jotd("check", "--config", home.config)
    # The group of a folder passes where others do not.
    home.folder.chmod(0o710)
    os.chown(home.folder, 0, 1)
    home.one(deliver="[ { file: @/out/a.jwt, group: daemon } ]", life="1d", before="1h")
    jotd("check", "--config", home.config)
    home.one(deliver="[ { file: @/out/a.jwt, owner: nobody } ]", life="1d", before="1h")
    jotd("check", "--config", home.config, expect=78)


@needs_root
def test_the_group_and_the_mode_of_the_socket(home, asked):
    open_the_way(home)
    nobody = "[ { user: nobody } ]"
    said = asked(nobody, code=78)
    assert "the socket has no group but root's: name a group of its in socket.group" in said, said
    assert "usermod" not in said
    said = asked(nobody, ", group: daemon", code=78)
    assert "it is not in the socket's group, daemon: usermod -aG daemon nobody" in said, said
    said = asked(nobody, ", mode: '0600'", code=78)
    assert "the mode of the socket (600) does not let it" in said, said
    assert asked(nobody, ", group: nogroup") == ""
    assert "is allowed here" not in asked(nobody, ", mode: '0666'")
    # Somebody of a group, for whose sake it is named, has to be able to.
    assert asked("[ { group: nogroup } ]", ", group: nogroup") == ""
    said = asked("[ { group: nogroup } ]", ", group: daemon")
    assert said == "", "no account is known to be in it"
    said = asked("[ { group: daemon } ]", code=78)
    assert "daemon (uid 1) is allowed here" in said, said
    assert asked("[ { group: daemon } ]", ", group: daemon") == ""
    # A unit's processes are whoever's.
    assert "is allowed here" not in asked("[ { unit: a.service } ]")


@needs_root
def test_what_an_access_list_allows_is_not_called_forbidden(home, asked):
    home.folder.chmod(0o700)
    assert "may not pass" in asked("[ { user: nobody } ]", ", group: nogroup", code=78)
    # acl(5): the owner, nobody, the owner's group, the mask, others.
    entries = [(1, 7, -1), (2, 1, 65534), (4, 0, -1), (16, 1, -1), (32, 0, -1)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(home.folder, "system.posix_acl_access", packed)
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")
    assert asked("[ { user: nobody } ]", ", group: nogroup") == ""


@needs_root
def test_a_socket_of_systemds_is_judged_as_it_is(home, asked):
    """Its owner, group and mode are those of its unit, whatever the configuration says."""
    open_the_way(home)
    listener = home.path("s")
    script = f"import socket; socket.socket(socket.AF_UNIX).bind('{listener}')"
    subprocess.run(["python3", "-c", script], check=True)
    listener.chmod(0o666)
    os.chown(listener, 1, 1)
    assert asked("[ { user: nobody } ]") == ""
    listener.chmod(0o660)
    assert "it is not in the socket's group, daemon" in asked("[ { user: nobody } ]", code=78)


def test_hooks_that_cannot_work(home, asked):
    home.path("plain").write_text("")
    home.path("folder").mkdir()
    home.path("good").write_text("#!/bin/sh\n")
    home.path("good").chmod(0o700)

    def hooks(*entries):
        return f"    on_rotate: [ {', '.join(entries).replace('@', str(home.folder))} ]\n"
    said = asked(code=78, hooks=hooks(
        "{ run: [ @/gone ] }", "{ run: [ @/plain ] }", "{ run: [ @/folder ] }",
        "{ run: [ @/good ] }", "{ signal: { pid_file: @/run/pid, signal: HUP } }"))
    for words in ("gone: No such file", "plain: Permission denied", "folder: is not a file"):
        assert words in said, said
    assert said.count("the hook's program") == 3 and f"{home.config}:11:" in said
    assert "run, the folder of the pid file" in said and "(warning)" in said
    # A start and a reload look at none of it.
    daemon = home.start().ready()
    daemon.reload()
    assert daemon.count("configuration reloaded") == 1
    # What may come, such as the pid file of a client that does not run, is a warning.
    home.path("run").mkdir()
    assert asked(hooks=hooks("{ run: [ @/good ] }",
                             "{ signal: { pid_file: @/run/pid, signal: HUP } }")) == ""
    eventually(lambda: daemon.count("new token"))


@pytest.mark.parametrize("mode,words", [
    ("0660", "whoever is in the group may overwrite the token"),
    ("0620", "may overwrite the token"), ("0666", "everybody on this host may read the token"),
    ("0602", "may overwrite the token"), ("0640", "")])
def test_modes_of_a_token(home, mode, words):
    home.one(deliver=f"[ {{ file: @/a.jwt, mode: '{mode}' }} ]", life="1d", before="1h")
    done = jotd("check", "--config", home.config)
    assert (words in done.stderr) if words else done.stderr == ""
    verdict = "usable, with 1 warning: 1 identity and 1 delivery" if words else (
        "all is well, 1 identity and 1 delivery")
    said = f"{home.config}: {verdict}; judged with the rights of "
    assert done.stdout.startswith(said), done.stdout


def test_a_query_socket_for_everybody(home, asked):
    assert "everybody on this host may connect" in asked(socket=", mode: '0666'")
    assert asked(socket=", mode: '0660'") == ""


def test_rules_without_a_socket_are_pointed_out(home):
    home.one(life="1d", before="1h", extra="    allow: [ { user: nobody } ]\n")
    assert "allow is without effect" in jotd("check", "--config", home.config).stderr


def mounted(home, script):
    """Runs check in a mount namespace of its own, after `script`, and gives what it says."""
    command = f"{script.replace('@', str(home.folder))} && exec {JOTD} check --config {home.config}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True)
    return done.stdout + done.stderr


@needs_root
def test_what_nobody_else_sees_is_found_by_its_mount(home):
    """As systemd mounts it: PrivateTmp= and ProtectHome=, and what it leaves alone."""
    for name in ("systemd-private-1-jotd/tmp", "systemd/inaccessible/dir", "out", "plain", "link"):
        home.path(name).mkdir(parents=True)
    home.path("link").rmdir()
    home.path("link").symlink_to("out")
    home.one(deliver="[ { file: @/link/a.jwt } ]", life="1d", before="1h")
    assert "(PrivateTmp=)" in mounted(home, "mount --bind @/systemd-private-1-jotd/tmp @/out")
    assert "(ProtectHome= or " in mounted(home, "mount --bind @/systemd/inaccessible/dir @/out")
    assert "all is well" in mounted(home, "mount --bind @/plain @/out")
    # The last of several mounts at one place counts.
    assert "all is well" in mounted(
        home, "mount --bind @/systemd-private-1-jotd/tmp @/out && mount --bind @/plain @/out")


@needs_root
def test_what_is_read_only_for_the_service_alone(home):
    home.path("out").mkdir()
    home.one(deliver="[ { file: @/out/a.jwt } ]", life="1d", before="1h")
    words = f"ReadWritePaths={home.path('out')}"
    assert words in mounted(home, "mount --bind -o ro @/out @/out")
    said = mounted(home, "mount -t tmpfs -o ro,mode=755 none @/out")
    assert "make it writable" in said and words not in said, said
