"""What systemd is given on the credential socket, asked for in its place, and the rule for
polkit."""

import os
import re
import socket
import subprocess
import time

import pytest

from conftest import JOTD, PATIENCE, claims_of, eventually, jotd, needs_root

CLIENT = "client.service"


def ask(home, unit=CLIENT):
    """Asks as systemd does for a unit; the answer, and when it was asked for."""
    ask.count += 1
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(PATIENCE)
        one.bind(f"\0{os.getpid():x}{ask.count:x}/unit/{unit}/a")
        asked = time.time()
        one.connect(str(home.path("c")))
        return b"".join(iter(lambda: one.recv(1 << 16), b"")).decode(), asked


ask.count = 0


def serve(home, credentials, life, before="0", hooks="[]"):
    home.one(life=life, before=before, extra=(
        f"    allow: [ {{ unit: {CLIENT} }} ]\n    on_rotate: {hooks}\n"))
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')}, credentials: {credentials} }}\n"
        "identities:").replace("@", str(home.folder)))
    return home.start().ready()


def await_life(home, below):
    """Until the token has less than that to live, and its rotation is not due yet."""
    return eventually(lambda: (
        lambda text: text if claims_of(text)["exp"] - time.time() < below else None)(
            home.read("a.jwt")))


@needs_root
@pytest.mark.parametrize("credentials, life, least", [
    ("@/c", "6s", 3),
    ("{ path: @/c, min_validity: 2s }", "6s", 2),
    # More than a token can have for any time: three quarters.
    ("{ path: @/c, min_validity: 1d }", "4s", 3)])
def test_a_credential_with_little_life_left_is_replaced_first(home, credentials, life, least):
    serve(home, credentials, life)
    before = await_life(home, least)
    given, asked = ask(home)
    assert claims_of(given)["exp"] - asked >= int(life[:-1]) - 1
    assert given != before and given == home.read("a.jwt")


@needs_root
def test_a_credential_with_enough_life_left_is_given_as_it_is(home):
    daemon = serve(home, "{ path: @/c, min_validity: 1s }", "6s")
    before = await_life(home, 4)
    assert [ask(home)[0] for _ in range(20)] == [before] * 20
    assert daemon.count("new token") == 1


@needs_root
def test_units_that_start_together_cost_one_rotation(home):
    daemon = serve(home, "@/c", "8s")
    await_life(home, 4)
    given = {ask(home)[0] for _ in range(50)}
    assert len(given) == 1 and daemon.count("new token") == 2


@needs_root
def test_a_delivery_that_fails_keeps_no_unit_from_starting(home):
    home.path("d").mkdir()
    home.one(deliver="[ { file: @/d/a.jwt } ]", life="4s", before="0",
             extra=f"    allow: [ {{ unit: {CLIENT} }} ]\n")
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')}, credentials: {home.path('c')} }}\n"
        "identities:"))
    daemon = home.start().ready()
    home.path("d/a.jwt").unlink()
    home.path("d").rmdir()
    daemon.wait_for("again until it works")
    for _ in range(3):
        given, asked = ask(home)
        assert claims_of(given)["exp"] - asked > 1
        eventually(lambda: claims_of(given)["exp"] - time.time() < 2)


@needs_root
@pytest.mark.parametrize("hooks, count", [
    ("[]", 1), ("[ { restart: other.service } ]", 1), ("[ { reload: client.service } ]", 0),
    ("[ { signal: { pid_file: /run/x.pid, signal: HUP } }, { restart: client.service } ]", 0),
    ("[ { run: [ /bin/true ] } ]", 0)])
def test_it_is_said_once_when_nothing_renews_a_credential(home, hooks, count):
    daemon = serve(home, "@/c", "1d", "1h", hooks)
    for _ in range(3):
        assert ask(home)[0] == home.read("a.jwt")
    # After all that was said before.
    assert len(ask(home, "stranger.service")[0]) > 1 << 20
    daemon.wait_for("may not load the credential")
    assert daemon.count("client.service has the token as its credential") == count


def test_the_rule_for_polkit_names_what_the_hooks_name(home):
    hooks = r"[ { reload: b.service }, { restart: 'cx\x2dy.service' }, { run: [ /bin/true ] } ]"
    home.one(extra=f"    on_rotate: {hooks}\n")
    text = jotd("polkit", "--config", home.config).stdout
    assert '"reload b.service"' in text and r'"try-restart cx\\x2dy.service"' in text
    assert 'subject.user == "jotd"' in text and "/bin/true" not in text
    home.one(extra="    on_rotate: [ { run: [ /bin/true ] } ]\n")
    done = jotd("polkit", "--config", home.config)
    assert done.stdout == "" and "no rule is needed" in done.stderr


def test_a_name_that_is_no_units_gets_into_no_rule(home):
    home.one(extra="    on_rotate: [ { restart: 'a\"];evil().service' } ]\n")
    done = jotd("polkit", "--config", home.config, expect=78)
    assert done.stdout == "" and "must be the name of a unit" in done.stderr


@needs_root
def test_who_can_replace_a_link_to_the_configuration_gets_no_rule(home):
    """In a tree of root's own; /etc is empty, so that this host gets no rule."""
    home.one(extra="    on_rotate: [ { restart: b.service } ]\n")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-euc", """
         mount -t tmpfs -o mode=755 none /mnt; mount -t tmpfs none /etc
         mkdir /mnt/root /mnt/user
         cp "$2" /mnt/root/jotd.yaml
         ln -s ../root/jotd.yaml /mnt/user/jotd.yaml
         ln -s root/jotd.yaml /mnt/jotd.yaml
         ln -s user/jotd.yaml /mnt/by-user.yaml
         "$1" polkit --install --config /mnt/root/jotd.yaml
         "$1" polkit --install --config /mnt/jotd.yaml
         cd /mnt; "$1" polkit --install --config jotd.yaml
         chown 12345 /mnt/user
         for file in /mnt/user/jotd.yaml /mnt/by-user.yaml by-user.yaml user/jotd.yaml; do
           ! "$1" polkit --install --config $file || exit 9
         done""", "sh", JOTD, home.config], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done
    assert done.stderr.count("/mnt/user can be written by others than root") == 4, done.stderr


def test_only_root_installs_the_rule(home):
    command = [JOTD, "polkit", "--install", "--config", home.config]
    if os.geteuid() == 0:
        # Whoever else can write the configuration could manage units by it. Whatever comes of it,
        # this host gets no rule: the command sees an empty /etc.
        home.one(extra="    on_rotate: [ { restart: b.service } ]\n")
        os.chown(home.config, 12345, -1)
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                   'mount -t tmpfs none /etc && exec "$@"', "sh", *command]
    else:
        home.one()
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 77, done
    assert re.search("only root may install|can be written by others than root", done.stderr)
