"""What shells need: `jotd token --wait`, completion, and a help that says what holds without
options."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import JOTD, PATIENCE, claims_of, eventually, jotd
from test_false_daemons import answer, daemon, sends


class Waiting:
    """A command that waits."""

    def __init__(self, home, *arguments, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen(
            [JOTD, "token", "a", "--wait", "--socket", home.path("s"), *map(str, arguments)],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def is_connected(self):
        """Whether it has a socket, as it has while it asks."""
        folder = f"/proc/{self.process.pid}/fd"
        for name in os.listdir(folder):
            # One that was closed meanwhile is none.
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"{folder}/{name}").startswith("socket:"):
                    return True
        return False

    def end(self):
        output, error = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, error


def rotate(home):
    """A token other than the one before, which `iat` tells from the next second on."""
    before = home.read("a.jwt")
    eventually(lambda: int(time.time()) > claims_of(before)["iat"])
    jotd("rotate", "a", "--socket", home.path("s"))
    assert home.read("a.jwt") != before
    return home.read("a.jwt")


def rotated(home, waiting):
    """Rotates until the command ends, because nobody sees from outside when it began to wait."""
    tokens = []
    eventually(lambda: tokens.append(rotate(home)) or waiting.process.poll() is not None, every=0.5)
    return tokens


def test_wait_prints_the_next_token(query):
    query.serve()
    query.start().ready()
    before = query.read("a.jwt")
    one = Waiting(query)
    tokens = rotated(query, one)
    code, output, error = one.end()
    assert (code, error) == (0, "") and output.strip() in tokens and output.strip() != before


def test_wait_with_the_known_token_misses_none(query):
    query.serve()
    query.start().ready()
    known = query.path("known")
    known.write_text(query.read("a.jwt") + "\n")
    new = rotate(query)
    # What came between two calls is not waited for.
    assert Waiting(query, "--known", known).end() == (0, new + "\n", "")
    with known.open() as file:
        assert Waiting(query, "--known", "-", stdin=file).end()[1] == new + "\n"
    # The one that is known is, and with an empty file any other will do.
    known.write_text(new)
    one = Waiting(query, "--known", known)
    newer = rotate(query)
    assert one.end() == (0, newer + "\n", "")
    known.write_text("")
    assert Waiting(query, "--known", known).end()[1] == newer + "\n"
    assert Waiting(query, "--known", query.path("none")).end()[0] == 65


def test_who_has_a_token_waits_for_a_daemon_that_is_not_there_yet(query):
    query.serve()
    known = query.path("known")
    known.write_text("another")
    one = Waiting(query, "--known", known)
    query.start().ready()
    assert one.end() == (0, query.read("a.jwt") + "\n", "")


def test_wait_outlives_the_daemon(query):
    """A restart, which keeps the token, an end for longer, and a kill: the token that comes
    after."""
    query.serve()
    first = query.start().ready()
    known = query.path("known")
    known.write_text(query.read("a.jwt"))
    one = Waiting(query, "--known", known)
    eventually(lambda: one.is_connected())
    first.stop()
    query.start().ready().stop(signal.SIGKILL)
    query.start().ready()
    assert query.read("a.jwt") == known.read_text()
    assert one.process.poll() is None
    new = rotate(query)
    assert one.end() == (0, new + "\n", "")


def test_wait_ends_as_the_other_commands_do(query):
    query.serve()
    assert Waiting(query).end()[0] == 69
    daemon = query.start().ready()
    jotd("token", "none", "--wait", "--socket", query.path("s"), expect=65)
    one = Waiting(query)
    # The identity goes while somebody waits for it.
    query.config.write_text(query.config.read_text().replace("  a:", "  c:"))
    daemon.reload()
    code, output, error = one.end()
    assert (code, output) == (65, "") and "there is no identity a" in error
    for wrong in (["--known", "x"], ["--wait", "--min-validity", "1h"]):
        jotd("token", "a", *wrong, expect=64)


@pytest.mark.parametrize("broken", [
    answer('{"detail": "no"}', "503 Service Unavailable"), answer("", "304 Not Modified"), b""])
def test_wait_asks_seldom_while_the_daemon_is_broken(home, broken):
    """Pauses grow: a daemon that fails, or does not hold, is not asked in a circle."""
    asked, times = [], []
    token = jotd("mint", "--secret-file", home.secret, "--user-id", "u", "--role", "viewer"
                 ).stdout.strip()

    def behave(connection):
        request = connection.recv(4096)
        asked.append(request)
        times.append(time.monotonic())
        if len(asked) == 1:
            return connection.sendall(answer(token, more='ETag: "1-a"\r\n'))
        return connection.sendall(broken)

    with daemon(home.path("s"), behave):
        one = Waiting(home)
        eventually(lambda: len(asked) > 5)
        one.process.kill()
        one.end()
    pauses = [after - before for before, after in zip(times[1:], times[2:])]
    assert all(pause > 0.9 * least for pause, least in zip(pauses, (0.2, 0.4, 0.8, 1.6))), pauses
    assert all(b'If-None-Match: "1-a"\r\n' in request for request in asked[1:])


def test_the_shell_of_the_readme_logs_in_with_each_token(query, tmp_path):
    """Its loop, over rotations, a restart, and one rotation while it is busy with the last."""
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    loop = re.search(r"```sh\n(umask.*?)```", readme, re.S)[1].replace("front-door", "a")
    query.serve()
    first = query.start().ready()
    place = tmp_path / "client"
    place.mkdir()
    seen = place / "seen"
    (place / "busy").touch()
    script = f"""
        jotd() {{ {JOTD} "$@" --socket {query.path("s")}; }}
        log_in_again_with() {{
            cat "$1" >> seen
            while [ $(wc -l < seen) = 3 ] && [ -e busy ]; do sleep 0.02; done
            [ $(wc -l < seen) -lt 5 ]
        }}
        {loop}
    """
    shell = subprocess.Popen(["bash", "-c", script], cwd=place, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)

    def has(token):
        return seen.exists() and token in seen.read_text().split()
    tokens = [query.read("a.jwt")]
    eventually(lambda: has(tokens[-1]))
    first.stop()
    query.start().ready()
    tokens.append(rotate(query))
    eventually(lambda: has(tokens[-1]))
    tokens.append(rotate(query))
    eventually(lambda: has(tokens[-1]))
    tokens.append(rotate(query))
    (place / "busy").unlink()
    eventually(lambda: has(tokens[-1]))
    tokens.append(rotate(query))
    assert shell.communicate(timeout=PATIENCE)[1] == ""
    assert seen.read_text().split() == tokens
    assert (place / "token").stat().st_mode & 0o777 == 0o600


# Completion


def complete(*words):
    """What the shell is offered for the last word."""
    done = subprocess.run(
        [JOTD, "---completion", words[0], "--", "positional@0", str(len(words)), "0", "jotd",
         *map(str, words)], capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "SAP_SHELL": "bash"})
    assert done.stderr == "", done
    return done.stdout.split()


@pytest.mark.parametrize("command", ["token", "rotate"])
def test_names_of_identities_are_completed(query, command):
    query.serve()
    daemon = query.start().ready()
    assert complete(command, "--socket", query.path("s"), "") == ["a", "b"]
    assert complete(command, f"--socket={query.path('s')}", "") == ["a", "b"]
    assert complete(command, "--config", query.config, "") == ["a", "b"]
    daemon.stop()
    # Without a daemon, nothing, and quietly.
    assert complete(command, "--config", query.config, "") == []
    assert complete(command, "--config", query.path("none"), "") == []


def test_completion_believes_nobody_and_waits_for_nobody(home):
    evil = {"status": "pass", "identities": {
        "$(reboot)": {}, "good": {}, "a b": {}, "\x1b[2J": {}, "-x": {}}}
    with daemon(home.path("s"), sends(answer(json.dumps(evil)))):
        assert complete("token", "--socket", home.path("s"), "") == ["good"]
    end = threading.Event()
    with daemon(home.path("s"), lambda connection: end.wait(PATIENCE)):
        assert complete("token", "--socket", home.path("s"), "") == []
        end.set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_scripts_know_files_and_names(shell):
    script = jotd("--generate-completion-script", shell).stdout
    assert "---completion" in script
    for option in ("--config", "--secret-file", "--socket", "--output", "--known"):
        assert option.removeprefix("--") in script


def test_bash_completes_for_real(query, tmp_path):
    """In a bash that has the script: names after a command, files after an option that takes
    one."""
    query.serve()
    query.start().ready()
    script = tmp_path / "completion"
    script.write_text(jotd("--generate-completion-script", "bash").stdout)
    (tmp_path / "some-file.yaml").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/jotd").symlink_to(JOTD)

    def offered(line):
        words = line.split(" ")
        code = f"""
            cd {tmp_path}; PATH={tmp_path}/bin:$PATH; source {script}
            COMP_WORDS=({" ".join(repr(word) if word else "''" for word in words)})
            COMP_CWORD={len(words) - 1}; COMP_LINE={line!r}; COMP_POINT={len(line)}; COMP_TYPE=9
            $(complete -p jotd | sed 's/.*-F \\([^ ]*\\).*/\\1/') jotd {words[-1]!r} {words[-2]!r}
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(
            ["bash", "-c", code], capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout.split(), done.stderr
    words, error = offered(f"jotd token --socket {query.path('s')} ")
    assert {"a", "b"} <= set(words), (words, error)
    for option in ("--config", "--socket"):
        words, error = offered(f"jotd status {option} some")
        assert words == ["some-file.yaml"], (option, words, error)
    words, error = offered("jotd mint --secret-file some")
    assert words == ["some-file.yaml"], (words, error)


@pytest.mark.parametrize("command, defaults", [
    ("run", ["/etc/jotd/jotd.yaml"]), ("status", ["/run/jotd/jotd.sock", "/etc/jotd/jotd.yaml"]),
    ("mint", ["24h", "HS256", "utf8"]), ("refresh", ["24h", "1h"]), ("verify", ["any token"])])
def test_help_says_what_holds_without_an_option(command, defaults):
    text = " ".join(jotd(command, "--help").stdout.split())
    for default in defaults:
        assert any(default in part.split(")")[0] for part in text.split("default: ")[1:]), default
