"""A folder that others can replace, or one of their names in it, stops only the delivery that it
concerns: at a start as while jotd runs. `check` and a reload refuse it."""

import os

import pytest

from conftest import SECRET, accepted, jotd, needs_root

TWO = ("  a: { user_id: a, role: viewer, deliver: [ { file: @/out/a.jwt }, { file: @/c.jwt } ] }\n"
       "  b: { user_id: b, role: viewer, deliver: [ { file: @/b.jwt } ] }\n")


def with_socket(home):
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    return home


SPOILS = {
    "everybody": (lambda out: out.chmod(0o777), "can be written by everybody"),
    "group": (lambda out: out.chmod(0o770), "can be written by its group"),
    "file": (lambda out: (out.rmdir(), out.write_text("")), "is not a folder"),
    "loop": (lambda out: (out.rmdir(), out.symlink_to(out)), "symbolic links in its path"),
}


@pytest.mark.parametrize("spoil,words", SPOILS.values(), ids=SPOILS)
def test_it_fails_its_own_delivery_at_a_start(home, spoil, words):
    home.path("out").mkdir(0o755)
    with_socket(home.configure(TWO))
    spoil(home.path("out"))
    daemon = home.start().ready()
    daemon.wait_for(words)
    assert accepted(home.read("b.jwt"), SECRET) and accepted(home.read("c.jwt"), SECRET)
    said = jotd("health", "--config", home.config, expect=2).stdout
    assert "a:" in said and words in said, said
    # Found by check, and refused by a reload, which changes nothing.
    assert words in jotd("check", "--config", home.config, expect=78).stderr
    daemon.reload()
    assert daemon.count("is refused") == 1
    # Mended, it is delivered to at the next try.
    if not home.path("out").is_dir():
        home.path("out").unlink()
        home.path("out").mkdir()
    home.path("out").chmod(0o755)
    daemon.wait_for("works again")
    assert accepted(home.read("out/a.jwt"), SECRET)
    assert daemon.stop() == 0


@needs_root
@pytest.mark.parametrize("above", [False, True])
def test_a_chown_stops_nobody_else(home, above):
    out = home.path("out")
    (out / "in").mkdir(parents=True)
    home.configure(TWO.replace("/out/", "/out/in/"))
    home.start().ready().stop()
    token = home.read("b.jwt")
    os.chown(out if above else out / "in", 65534, 65534)
    daemon = home.start().ready()
    daemon.wait_for("belongs to nobody (uid 65534), who could replace")
    assert home.read("b.jwt") == token and accepted(home.read("c.jwt"), SECRET)


@needs_root
def test_a_link_of_another_user_in_the_path(home):
    home.path("theirs").mkdir()
    home.path("out").symlink_to("theirs")
    os.chown(home.path("out"), 65534, 65534, follow_symlinks=False)
    home.configure(TWO)
    home.start().ready().wait_for("belongs to nobody")
    assert accepted(home.read("b.jwt"), SECRET) and not list(home.path("theirs").iterdir())


def test_a_name_that_others_can_make_in_a_sticky_folder(home):
    """A second name of the configuration there stops nobody, and is not written through."""
    home.path("out").mkdir()
    home.path("out").chmod(0o1777)
    home.configure(TWO)
    os.link(home.config, home.path("out/a.jwt"))
    text = home.config.read_text()
    assert "itself: deliver elsewhere" in jotd("check", "--config", home.config, expect=78).stderr
    daemon = home.start().ready()
    daemon.wait_for("a.jwt holds something other than a token")
    assert accepted(home.read("b.jwt"), SECRET) and home.config.read_text() == text


@pytest.mark.parametrize("key", ["path", "credentials"])
def test_a_socket_that_others_can_replace_is_no_socket(home, key):
    """Whoever asks there could be answered by somebody else: so there is no start."""
    home.path("out").mkdir()
    home.path("out").chmod(0o777)
    home.configure(TWO.replace("out/", ""))
    other = "" if key == "path" else f"path: {home.path('s')}, "
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ {other}{key}: {home.path('out/s')} }}\nidentities:", 1))
    for command in ("check", "run"):
        assert "can be written by everybody" in jotd(
            command, "--config", home.config, expect=78).stderr
    # In a sticky folder nobody can replace it, and anybody can be there first.
    home.path("out").chmod(0o1777)
    said = jotd("check", "--config", home.config).stderr
    assert "others can make something of that name first" in said and "(warning)" in said
    home.start().ready().wait_for("others can make something of that name first")
