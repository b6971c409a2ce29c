"""Commands that ask the daemon need only its socket: a configuration that is half edited, or that
they may not read, keeps nobody from asking."""

import json
import os
import subprocess

import pytest

from conftest import JOTD, eventually, jotd, needs_root

# What an operator has in the file at some moment of an edit, and what stands before it is kept.
EDITS = {
    "typo": lambda text: text + "sokcet: {}\n",
    "wrong type": lambda text: text.replace("lifetime: 1d", "lifetime: [ 1d ]"),
    "no user": lambda text: text.replace("signing:", "defaults: { lifetime: x }\nsigning:", 1),
    "unclosed": lambda text: text + "  c: { user_id: [ 'x\n",
    "tab": lambda text: text + "\t- x\n",
    "no text": lambda text: text + "  c: \x01\n",
    "cut": lambda text: text[:text.index("identities:") + 20],
    "alias": lambda text: text + "  c: *nothing\n",
    "twice": lambda text: text + "socket: { path: /run/elsewhere }\n",
    "in its own section": lambda text: text.replace("mode: '0666'", "mode: everybody, gruop: x"),
    "secret gone": lambda text: text.replace("secret: {", "secrte: {"),
}


def commands(*options):
    """Each command that asks, with what it says when all is well."""
    return [(["status", *options], "IDENTITY"), (["status", "--json", *options], '{"status"'),
            (["health", *options], "JOTD OK"), (["token", "a", *options], "eyJ"),
            (["rotate", "a", *options], "a: rotated")]


@pytest.mark.parametrize("edit", EDITS)
def test_a_half_edited_configuration_blinds_nobody(query, edit):
    query.serve()
    query.start().ready()
    good = query.config.read_text()
    query.config.write_text(EDITS[edit](good))
    assert query.config.read_text() != good
    for arguments, words in commands("--config", query.config):
        done = jotd(*arguments)
        assert done.stdout.startswith(words) and done.stderr == "", (arguments, done)
    # The daemon's own refusal is the only thing that exits with 78.
    done = jotd("reload", "--config", query.config, expect=78)
    assert "jotd.yaml" in done.stderr and "the running configuration stays" in done.stderr


def test_the_socket_alone_will_do(query, tmp_path):
    query.serve()
    query.start().ready()
    for config in ([], ["--config", tmp_path / "none.yaml"], ["--config", tmp_path]):
        for arguments, words in commands("--socket", query.path("s"), *config):
            assert jotd(*arguments).stdout.startswith(words)
        assert "2 unchanged" in jotd("reload", "--socket", query.path("s"), *config).stdout
    # By a path that is not absolute, too, and before what the configuration says.
    assert jotd("health", "--socket", "s", cwd=query.folder).stdout.startswith("JOTD OK")
    query.config.write_text(query.config.read_text().replace("/s,", "/other,"))
    assert jotd("health", "--socket", query.path("s"), "--config", query.config).returncode == 0


@pytest.mark.parametrize("socket", ["", "none", "x" * 300, "\n/evil", "."])
def test_a_socket_that_is_none_is_told_of(tmp_path, socket):
    for arguments in (["status"], ["token", "a"], ["rotate", "a"], ["reload"]):
        done = jotd(*arguments, "--socket", socket, cwd=tmp_path, expect=69)
        assert done.stdout == "" and done.stderr.count("\n") == 1
    done = jotd("health", "--socket", socket, cwd=tmp_path, expect=3)
    assert done.stdout.startswith("JOTD UNKNOWN - ") and done.stderr == ""
    assert done.stdout.count("\n") == 1


def test_what_keeps_the_path_from_being_known_is_said(home):
    home.configure("  a: { user_id: u, role: viewer }\n")
    good = home.config.read_text()
    for text, words in [
            ("signing: [\n" + good, "cannot be read as far as socket.path"),
            ("socket: { path: here }\n" + good, "without a path that can be used"),
            ("socket: /run/jotd.sock\n" + good, "without a path that can be used"),
            ("\ufeff".encode("utf-16").decode("latin-1") + good, "as far as socket.path"),
            (None, "No such")]:
        home.config.unlink()
        if text:
            home.config.write_text(text, encoding="latin-1")
        for arguments in (["token", "a"], ["status"]):
            done = jotd(*arguments, "--config", home.config, expect=69)
            assert words in done.stderr and "--socket" in done.stderr, done.stderr
        done = jotd("health", "--config", home.config, expect=3)
        assert done.stdout.startswith("JOTD UNKNOWN - ") and words in done.stdout
        if not home.config.exists():
            home.config.touch()


@pytest.mark.skipif(os.path.exists("/run/jotd/jotd.sock"), reason="a jotd runs here")
def test_without_a_socket_section_the_error_says_what_to_add(home):
    home.configure("  a: { user_id: u, role: viewer }\n")
    for arguments in (["status"], ["token", "a"], ["rotate", "a"], ["reload"]):
        done = jotd(*arguments, "--config", home.config, expect=69)
        assert "has no socket: section" in done.stderr
        advice = done.stderr.splitlines()[-3:]
    done = jotd("health", "--config", home.config, expect=3)
    assert "has no socket: section" in done.stdout and done.stdout.count("\n") == 1
    # What it says to add is what makes them work, but for the group and the path of this test.
    assert [line.split(":")[0].strip() for line in advice] == ["socket", "path", "group"]
    added = "\n".join(advice[:2]).replace("/run/jotd/jotd.sock", str(home.path("s"))) + "\n"
    home.config.write_text(added + home.config.read_text())
    home.start().ready()
    assert jotd("health", "--config", home.config).stdout.startswith("JOTD OK")


@needs_root
def test_the_standard_path_is_asked(query):
    """In a /run of its own: with a configuration that names no socket, and with one that the caller
    may not read."""
    query.serve()
    text = query.config.read_text().replace(f"{query.path('s')},", "/run/jotd/jotd.sock,")
    query.config.write_text(text)
    bare = query.path("bare.yaml")
    bare.write_text(text.replace("socket:", "scoket:"))
    closed = query.path("closed")
    closed.mkdir(mode=0o700)
    script = f"""
        mount -t tmpfs -o mode=0755 tmpfs /run && mkdir /run/jotd
        {JOTD} run --config {query.config} 2>/dev/null & daemon=$!
        trap 'kill $daemon' EXIT
        while kill -0 $daemon && ! [ -S /run/jotd/jotd.sock ]; do sleep 0.01; done
        {JOTD} health --config {bare} &&
        setpriv --reuid=5001 --regid=5001 --clear-groups {JOTD} health --config {closed}/jotd.yaml
    """
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True,
                          timeout=60)
    assert done.stdout.count("JOTD OK") == 2, done


# The file on disk and what runs


def status(home, *options):
    """The notes below the table, and what the JSON tells of the file on disk."""
    table = jotd("status", "--config", home.config, *options).stdout
    told = json.loads(jotd("status", "--json", "--config", home.config, *options).stdout)
    notes = [line for line in table.splitlines() if line.startswith("! ")]
    return notes, told.get("configuration_on_disk")


def test_status_tells_that_the_file_is_not_what_runs(query):
    query.serve()
    daemon = query.start().ready()
    assert status(query) == ([], None)
    good = query.config.read_text()
    query.config.write_text(good + "sokcet: {}\n" + "nonsense: 1\n")
    notes, told = status(query)
    assert notes == [f'! {query.config} has 2 errors and is not what runs: see "jotd check"']
    assert told["errors"] == 2 and told["file"] == str(query.config)
    query.config.write_text(good.replace("alice", "other"))
    notes, told = status(query)
    assert len(notes) == 1 and "systemctl reload jotd" in notes[0] and told["errors"] == 0
    daemon.reload()
    assert status(query) == ([], None)
    # The added files count, by name too.
    folder = query.path("jotd.d")
    folder.mkdir()
    (folder / "more.yaml").write_text("identities: {}\n")
    assert len(status(query)[0]) == 1
    daemon.reload()
    assert status(query) == ([], None)
    (folder / "more.yaml").rename(folder / "less.yaml")
    assert len(status(query)[0]) == 1
    # A refused reload is one thing, what stands in the file another.
    query.config.write_text("nonsense")
    daemon.reload()
    notes, told = status(query, "--socket", query.path("s"))
    assert len(notes) == 2 and "refused" in notes[0] and told["errors"] > 0
    # Rewritten as it is in force, it is no other file.
    (folder / "less.yaml").rename(folder / "more.yaml")
    query.config.write_text(good.replace("alice", "other"))
    assert len(status(query)[0]) == 1 and status(query)[1] is None


def test_health_has_the_fingerprint_and_nothing_of_the_secret(query):
    query.serve()
    daemon = query.start().ready()
    first = query.ask("/health").json["configuration"]
    assert first["file"] == str(query.config.resolve())
    assert len(bytes.fromhex(first["fingerprint"])) == 8
    query.write_secret("another-secret-of-more-than-32-bytes-9876543210")
    eventually(lambda: daemon.count("the secret changed"))
    daemon.reload()
    assert query.ask("/health").json["configuration"] == first


def test_another_configuration_than_the_daemons_is_not_judged(query):
    query.serve()
    query.start().ready()
    other = query.path("other.yaml")
    other.write_text(query.config.read_text() + "nonsense: 1\n")
    query.config, mine = other, query.config
    assert status(query) == ([], None)
    # By another path, the daemon's own is.
    link = query.path("link.yaml")
    link.symlink_to(mine)
    query.config = link
    assert status(query) == ([], None)
    mine.write_text(mine.read_text().replace("alice", "bob2"))
    assert len(status(query)[0]) == 1
    mine.unlink()
    assert status(query, "--socket", str(query.path("s"))) == ([], None)


@needs_root
def test_who_may_not_read_the_configuration_is_told_nothing_of_it(query):
    query.serve()
    query.start().ready()
    for folder in query.folder, *query.folder.parents[:-1]:
        folder.chmod(folder.stat().st_mode | 0o011)
    query.config.chmod(0o600)
    query.config.write_text(query.config.read_text() + "nonsense: 1\n")
    done = subprocess.run(
        ["setpriv", "--reuid=5001", "--regid=5001", "--clear-groups", JOTD, "status", "--socket",
         query.path("s"), "--config", query.config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "IDENTITY" in done.stdout, done
    assert "!" not in done.stdout and done.stderr == ""
