"""The secret's source while jotd runs: what it is changed to counts at once, and what cannot be
read is said."""

import os
import pathlib
import subprocess
import time

import jwt
import pytest

from conftest import BUSY, SECRET, accepted, eventually, many, with_socket
from test_rotation import Reader

OTHER = "another secret that is long enough for HS256"


def test_a_secret_that_a_reload_names_is_watched(home):
    home.configure(many(2, "1d", "1h"))
    daemon = home.start().ready()
    second = home.path("second")
    second.write_text(SECRET + "2")
    second.chmod(0o600)
    home.config.write_text(home.config.read_text().replace(str(home.secret), str(second)))
    daemon.reload()
    eventually(lambda: accepted(home.read("i1.jwt"), SECRET + "2"))
    changes = daemon.count("the secret changed")
    second.write_text(OTHER)
    daemon.wait_for("the secret changed", changes + 1)
    eventually(lambda: accepted(home.read("i0.jwt"), OTHER)
               and accepted(home.read("i1.jwt"), OTHER))
    home.write_secret("the first one does not count any more, whatever it is")
    time.sleep(0.2)
    assert daemon.count("the secret changed") == changes + 1


@pytest.mark.parametrize("leaves", ["the token", "the secret"])
def test_a_folder_of_a_secret_and_of_tokens_is_watched_for_the_one_that_stays(home, leaves):
    """By one instance of inotify(7): the kernel gives the programs of a user 128."""
    for name in ("other", "tokens"):
        home.path(name).mkdir(mode=0o700)
    home.path("other/secret").write_text(SECRET)
    home.path("other/secret").chmod(0o600)
    home.configure(many(1, "1d", "1h"))
    daemon = home.start().ready()
    was, now = ((f"{home.path('i0.jwt')}", f"{home.path('tokens/i0.jwt')}")
                if leaves == "the token" else (f"{home.secret}", f"{home.path('other/secret')}"))
    home.config.write_text(home.config.read_text().replace(was, now))
    daemon.reload()
    token = home.path("tokens/i0.jwt" if leaves == "the token" else "i0.jwt")
    eventually(token.exists)
    time.sleep(0.3)
    if leaves == "the token":
        home.write_secret(OTHER)
        eventually(lambda: accepted(token.read_text(), OTHER))
    else:
        token.unlink()
        eventually(token.exists)
        home.path("other/secret").write_text(OTHER)
        eventually(lambda: accepted(token.read_text(), OTHER))
    if os.geteuid() == 0:
        opened = [os.readlink(path) for path in pathlib.Path(f"/proc/{daemon.pid}/fd").iterdir()]
        assert opened.count("anon_inode:inotify") == 1


@pytest.mark.parametrize("way", ["written over", "moved there"])
def test_a_secret_is_noticed_that_is(home, way):
    """By each event of its own, while nothing else wakes the daemon."""
    home.path("other").mkdir()
    home.path("other/secret").write_text(OTHER)
    home.path("other/secret").chmod(0o600)
    home.configure(many(1, "1d", "1h"))
    home.start().ready()
    time.sleep(0.3)
    if way == "moved there":
        home.path("other/secret").rename(home.secret)
    else:
        home.secret.write_text(OTHER)
    eventually(lambda: accepted(home.read("i0.jwt"), OTHER))


def test_a_secret_is_not_read_before_it_is_whole(home):
    """Also where deliveries are beside it, of which each write counts."""
    home.configure(many(1, "1d", "1h"))
    daemon = home.start().ready()
    time.sleep(0.3)
    with home.secret.open("w") as file:
        for start in range(0, len(OTHER), 8):
            file.write(OTHER[start:start + 8])
            file.flush()
            time.sleep(0.1)
        assert daemon.count("secret") == 0
    eventually(lambda: accepted(home.read("i0.jwt"), OTHER))
    assert daemon.count("the secret changed") == 1 and daemon.count("cannot be read") == 0


def test_a_secret_behind_links_is_watched_after_each_of_its_changes(home):
    for name in ("one", "two"):
        home.path(name).mkdir()
        home.path(name).joinpath("secret").write_text(f"{SECRET} {name}")
        home.path(name).joinpath("secret").chmod(0o600)
    home.secret.unlink()
    home.path("links").mkdir()
    home.path("links/secret").symlink_to("../one/secret")
    home.configure(many(1, "1d", "1h"))
    home.config.write_text(
        home.config.read_text().replace(str(home.secret), str(home.path("links/secret"))))
    daemon = home.start().ready()

    def signed_with(secret):
        eventually(lambda: accepted(home.read("i0.jwt"), secret))
        time.sleep(0.3)  # Each change is noticed by itself, while nothing else wakes the daemon.
    signed_with(f"{SECRET} one")
    home.path("one/secret").write_text(OTHER)  # where the link leads to
    signed_with(OTHER)
    home.path("links/new").symlink_to("../two/secret")
    home.path("links/new").rename(home.path("links/secret"))  # the link itself
    signed_with(f"{SECRET} two")
    home.path("two/secret").write_text(OTHER + "!")  # and where it leads to now
    signed_with(OTHER + "!")
    assert daemon.count("the secret changed") == 3


def test_introspection_knows_the_new_key_at_once_and_still_the_old(home):
    with_socket(home.configure(many(1, "1d", "1h")))
    daemon = home.start().ready()

    def is_active(token):
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", home.path("s"), "-d", f"token={token}",
             "http://jotd/introspect"], capture_output=True, text=True)
        return '"active":true' in done.stdout
    old = home.read("i0.jwt")
    assert is_active(old)
    home.write_secret(OTHER)
    daemon.wait_for("new token", 2)
    assert is_active(home.read("i0.jwt")) and is_active(old)


def test_a_changed_secret_replaces_every_token_at_once(home):
    home.configure(many(20, "1d", "1h"))
    daemon = home.start().ready()
    for number, write in enumerate([home.write_secret, lambda s: home.secret.write_text(s)]):
        secret = f"a new secret, number {number}, that is long enough"
        write(secret)
        daemon.wait_for("new token", 20 * (number + 2))
        for n in range(20):
            jwt.decode(home.read(f"i{n}.jwt"), secret, algorithms=["HS256"])
    assert daemon.count("the secret changed") == 2


@pytest.mark.parametrize("format", ["token", "env, variable: T", "json", "header"])
def test_a_secret_that_changed_while_jotd_did_not_run_is_said_once(home, format):
    """As a credential changes, which systemd hands over at the start."""
    home.configure(many(5, "1d", "1h", f", format: {format}"))
    home.start().ready().stop()
    home.write_secret("a secret of the time between, long enough")
    daemon = home.start().ready()
    assert daemon.count("the secret changed: every token is replaced") == 1, daemon.lines
    assert daemon.count("new token") == 5
    daemon.stop()
    # Neither the same secret nor another configuration is a change of the secret.
    home.configure(many(5, "1d", "1h", f", format: {format}").replace("operator", "viewer"))
    daemon = home.start().ready()
    assert daemon.count("new token") == 5 and not daemon.count("the secret changed")


def test_a_secret_that_goes_away_is_reported_once_and_its_key_stays_in_use(home):
    home.configure(many(3))
    daemon = home.start().ready()
    reader = Reader(home.path("i0.jwt"), 1 - BUSY)
    home.secret.rename(home.path("away"))
    daemon.wait_for("The secret read before stays in use")
    daemon.wait_for("new token", daemon.count("new token") + 6)
    assert daemon.count("stays in use") == 1
    home.path("away").rename(home.secret)
    daemon.wait_for("the secret can be read again")
    assert daemon.count("the secret changed") == 0
    reader.finish()
    home.write_secret("short")
    daemon.wait_for("has 5 bytes")
    new = "something new and long enough for HS256"
    home.write_secret(new)
    daemon.wait_for("the secret changed")
    eventually(lambda: accepted(home.read("i1.jwt"), new))


def test_secrets_behind_links_that_are_swapped_are_noticed(home):
    """As Kubernetes mounts them: the file is a link into a folder that is a link."""
    for name, secret in [("one", SECRET), ("two", "the second secret, long enough too")]:
        home.path(name).mkdir()
        home.path(name).joinpath("secret").write_text(secret)
        home.path(name).joinpath("secret").chmod(0o600)
    home.secret.unlink()
    home.path("data").symlink_to("one")
    home.secret.symlink_to("data/secret")
    home.configure(many(1, "1d", "1h"))
    daemon = home.start().ready()
    home.path("data2").symlink_to("two")
    home.path("data2").rename(home.path("data"))
    daemon.wait_for("new token", 2)
    jwt.decode(home.read("i0.jwt"), "the second secret, long enough too", algorithms=["HS256"])


def test_a_pipe_as_secret_does_not_hang_the_daemon(home):
    home.one()
    daemon = home.start().ready()
    home.secret.unlink()
    os.mkfifo(home.secret, 0o600)
    daemon.wait_for("is not a file")
    daemon.reload()
    assert daemon.count("is refused") == 1
    assert daemon.stop() == 0
