"""What `jotd check` and `jotd run` say of configurations: Tests/fixtures holds them, each invalid
one beside the exact text that it must give."""

import os
import pathlib
import subprocess

import pytest

from conftest import JOTD, SECRET, claims_of, jotd, needs_root

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
INVALID = sorted((FIXTURES / "invalid").glob("*.yaml"))
VALID = sorted((FIXTURES / "valid").glob("*.yaml"))
KEY = {"JOTD_TEST_SECRET": "0123456789" * 5}
SIGNING = "signing: { secret: { env: JOTD_TEST_SECRET } }\n"


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid(path, command):
    done = jotd(command, "--config", path.name, env=KEY, cwd=path.parent, expect=78)
    assert done.stderr == path.with_suffix(".txt").read_text()
    assert done.stdout == ""


def test_there_are_enough_invalid_fixtures():
    assert len(INVALID) >= 24


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
@needs_root
def test_valid(path):
    done = jotd("check", "--config", path.name, env=KEY, cwd=path.parent)
    assert "all is well" in done.stdout and done.stderr == ""


def test_claims_become_json_as_the_core_schema_reads_them(home):
    edges = (FIXTURES / "valid/edges.yaml").read_text()
    edges = edges[edges.index("      a: ["):edges.index("    deliver:")]
    home.one(extra="    claims:\n" + edges)
    home.start().ready()
    claims = claims_of(home.read("a.jwt"))
    assert claims["a"] == [
        31, 15, 12, 0, 7, 0.5, 1.0, 1000.0, -0.0015, None, None, True, "true", "yes", "no", "1_000",
        ""]
    assert claims["b c"] == {"deep": [{"er": []}]}
    assert claims["long key"] == "block\n"


def check(tmp_path, text, expect=78, env=None):
    path = tmp_path / "j.yaml"
    path.write_text(text)
    return jotd("check", "--config", path, env={**KEY, **(env or {})}, expect=expect).stderr


def test_all_errors_are_shown_at_once_the_secret_too(tmp_path):
    text = check(
        tmp_path, "signing: { secret: { env: JOTD_TEST_WEAK } }\nidentities:\n"
        "  a: { user_id: u, role: x }\n  b: { usr_id: u, role: admin }\n",
        env={"JOTD_TEST_WEAK": "short"})
    assert [line.split(": ")[0].removeprefix(str(tmp_path)) for line in text.splitlines()] == [
        "/j.yaml:1:20", "/j.yaml:3:26", "/j.yaml:4:6", "/j.yaml:4:8"]


def test_of_many_keys_none_occurs_twice(tmp_path):
    claims = "".join(f"      c{number}: {number}\n" for number in [*range(40), 30])
    text = check(tmp_path, SIGNING + "identities:\n  a:\n    user_id: u\n    role: admin\n"
                 "    claims:\n" + claims)
    assert ":47:7: the key \"c30\" occurs twice in identities.a.claims: first in line 37" in text


def test_a_missing_file_is_named(tmp_path):
    done = jotd("check", "--config", tmp_path / "none.yaml", expect=78)
    assert done.stderr == f"{tmp_path}/none.yaml: cannot be read: No such file or directory\n"


def test_a_file_over_16_mib_is_refused(tmp_path):
    text = check(tmp_path, "# " + "x" * (16 << 20))
    assert "j.yaml:1:1: is longer than 16 MiB" in text
    check(tmp_path, SIGNING + "identities: {}\n# " + "x" * ((16 << 20) - 200), expect=0)


@pytest.mark.parametrize("encoding,words", [
    ("utf-16", "is written in UTF-16"), ("utf-16-be", "not YAML: control characters"),
    ("utf-16-le", "not YAML: control characters"), ("utf-32", "is written in UTF-32"),
    ("utf-32-be", "not YAML: control characters")])
def test_only_utf8_is_read(tmp_path, encoding, words):
    path = tmp_path / "j.yaml"
    path.write_bytes((SIGNING + "identities: {}\n").encode(encoding))
    for command in ("check", "run"):
        text = jotd(command, "--config", path, env=KEY, expect=78).stderr
        assert text.startswith(f"{path}:1:") and words in text
    path.write_bytes(b"\xfe\xff" + (SIGNING + "identities: {}\n").encode("utf-16-be"))
    assert "UTF-16" in jotd("check", "--config", path, env=KEY, expect=78).stderr
    path.write_text(SIGNING + "identities: {}\n", "utf-8-sig")
    jotd("check", "--config", path, env=KEY)


def test_added_files_may_only_add_identities(tmp_path):
    folder = tmp_path / "j.d"
    folder.mkdir()
    (folder / "b.yaml").write_text("identities:\n  b: { user_id: u, role: admin }\n")
    (folder / "a.yaml").write_text("identities:\n  c: { user_id: u, role: admin }\n")
    (folder / "ignored.yml").write_text("nonsense")
    (folder / "empty.yaml").write_text("")
    main = SIGNING + "identities:\n  a: { user_id: u, role: admin }\n"
    assert check(tmp_path, main, expect=0) == ""
    (folder / "c.yaml").write_text("defaults: {}\nidentities:\n  a: { user_id: u, role: admin }\n")
    text = check(tmp_path, main)
    assert f'{folder}/c.yaml:1:1: unknown key "defaults"' in text
    assert f"{folder}/c.yaml:3:3: the identity \"a\" is already in {tmp_path}/j.yaml:3:3" in text


def test_whatever_else_is_wrong_is_shown_beside(tmp_path):
    """One fault of an identity hides no other: not its span, not those of one with its name."""
    text = check(
        tmp_path, SIGNING + 'identities:\n  a: { user_id: "a\\tb", role: viewer, lifetime: 1s }\n')
    assert "user_id must not contain control characters" in text
    assert "lifetime must be from 2s to 10 years" in text
    (tmp_path / "j.d").mkdir()
    (tmp_path / "j.d/a.yaml").write_text("identities:\n  a: { user_id: u, role: vewer }\n")
    text = check(tmp_path, SIGNING + "identities:\n  a: { user_id: u, role: viewer }\n")
    assert "is already in" in text and 'did you mean "viewer"?' in text


def test_what_occurs_three_times_is_twice_too_much(tmp_path):
    text = check(tmp_path, SIGNING + "identities:\n" + 3 * "  a: { user_id: u, role: viewer }\n")
    assert text.count("occurs twice in identities: first in line 3") == 2


@pytest.mark.parametrize("secret,words", [
    ("short", "has 5 bytes: HS256 asks for 32"), ("dev-secret-change-me", "well-known example"),
    ("edge-device-secret-key-change-in-production", "well-known example")])
def test_weak_secrets_are_refused_or_warned_of(home, secret, words):
    home.write_secret(secret)
    home.one()
    done = jotd("check", "--config", home.config, expect=78)
    assert words in done.stderr and "jotd secret" in done.stderr
    assert f"{home.config}:2:11: " in done.stderr
    jotd("run", "--config", home.config, expect=78)
    text = home.config.read_text()
    home.config.write_text(text.replace("identities:", "  allow_weak_secret: true\nidentities:"))
    done = jotd("check", "--config", home.config)
    assert words in done.stderr and "(warning)" in done.stderr
    daemon = home.start().ready()
    assert daemon.count(words) == 1
    assert secret == "short" or not any(secret in line for line in daemon.lines)


def test_a_secret_that_others_can_read_is_refused(home):
    home.one()
    for mode in (0o604, 0o606, 0o602):
        home.secret.chmod(mode)
        assert "chmod o=" in jotd("check", "--config", home.config, expect=78).stderr
    home.secret.chmod(0o640)
    jotd("check", "--config", home.config)


def test_missing_secrets_are_named(home):
    home.one()
    home.secret.unlink()
    for command in ("check", "run"):
        assert "No such file" in jotd(command, "--config", home.config, expect=78).stderr
    home.config.write_text("signing: { secret: { env: JOTD_NO_SUCH } }\nidentities: {}\n")
    assert "JOTD_NO_SUCH is not set" in jotd("check", "--config", home.config, expect=78).stderr
    home.config.write_text("signing: { secret: { credential: x } }\nidentities: {}\n")
    assert "only inside the service" in jotd("check", "--config", home.config).stderr
    jotd("run", "--config", home.config, expect=78)


def test_a_trailing_newline_in_a_secret_is_pointed_out(home):
    home.write_secret(SECRET + "\n")
    home.one()
    assert "ends with a newline" in jotd("check", "--config", home.config).stderr


def test_a_credential_is_read_from_its_folder(home, tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "key").write_text(SECRET)  # systemd guards the folder, not the file's mode
    home.one()
    text = home.config.read_text().replace(f"file: {home.secret}", "credential: key")
    home.config.write_text(text)
    jotd("check", "--config", home.config, env={"CREDENTIALS_DIRECTORY": str(folder)})


@pytest.mark.parametrize("spoil,words", [
    (lambda folder: folder.chmod(0o777), "can be written by everybody"),
    (lambda folder: folder.chmod(0o703), "can be written by everybody"),
    (lambda folder: folder.chmod(0o770), "can be written by its group"),
    (lambda folder: folder.rmdir(), "create the folder"),
    (lambda folder: (folder.rmdir(), folder.write_text("")), "is not a folder"),
])
def test_folders_that_will_not_do(home, spoil, words):
    folder = home.path("out")
    folder.mkdir(mode=0o755)
    home.one(deliver="[ { file: @/out/a.jwt } ]")
    jotd("check", "--config", home.config)
    spoil(folder)
    assert words in jotd("check", "--config", home.config, expect=78).stderr


@needs_root
def test_folders_of_other_users_are_refused_wherever_they_stand(home):
    folder = home.path("theirs/ours")
    folder.mkdir(parents=True)
    home.one(deliver="[ { file: @/theirs/ours/a.jwt } ]")
    os.chown(home.path("theirs"), 65534, 65534)
    done = jotd("check", "--config", home.config, expect=78)
    assert "belongs to nobody (uid 65534), who could replace" in done.stderr
    os.chown(home.path("theirs"), 0, 0)
    home.path("link").symlink_to(folder)
    home.one(deliver="[ { file: @/link/a.jwt } ]")
    jotd("check", "--config", home.config)
    os.chown(home.path("link"), 65534, 65534, follow_symlinks=False)
    assert "belongs to nobody" in jotd("check", "--config", home.config, expect=78).stderr


def test_loops_of_links_and_folders_in_the_way_are_found(home):
    home.path("loop").symlink_to(home.path("loop"))
    home.path("dir").mkdir()
    home.configure(
        "  a:\n    user_id: u\n    role: admin\n    deliver:\n"
        "      - file: @/loop/a.jwt\n      - file: @/dir\n")
    text = jotd("check", "--config", home.config, expect=78).stderr
    assert "symbolic links" in text and "there is a folder of that name" in text


@needs_root
def test_mount_points_are_pointed_out(home):
    home.path("a.jwt").write_text("")
    home.path("other").write_text("")
    home.one()
    script = (f"mount --bind {home.path('other')} {home.path('a.jwt')} "
              f"&& {JOTD} check --config {home.config}")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 78 and "in_place: true" in done.stderr


@needs_root
def test_unprivileged_users_are_told_what_they_may_not_give_away(home):
    home.one(deliver="[ { file: @/a.jwt, owner: root, group: root } ]")
    for path in [home.folder, *home.folder.iterdir()]:
        os.chown(path, 65534, 65534)
    # The folders above belong to root and let nobody pass.
    folder = home.folder.parent
    while folder != folder.parent:
        folder.chmod(folder.stat().st_mode | 0o011)
        folder = folder.parent
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", JOTD, "check", "--config",
         str(home.config)], capture_output=True, text=True)
    assert done.returncode == 78, done
    assert "needs CAP_CHOWN" in done.stderr and "or to be in that group" in done.stderr


@pytest.mark.parametrize("size,code", [(255, 0), (256, 78)])
def test_a_name_in_a_path_has_255_bytes(home, size, code):
    home.one(deliver=f"[ {{ file: @/{'n' * size} }} ]")
    done = jotd("check", "--config", home.config, expect=code)
    assert code == 0 or "is too long" in done.stderr and "a name in it 255" in done.stderr


def test_a_pipe_among_the_configuration_files_does_not_hang(home):
    home.one()
    daemon = home.start().ready()
    folder = home.path("jotd.d")
    folder.mkdir()
    os.mkfifo(folder / "x.yaml")
    assert "x.yaml:1:1: is not a regular file" in jotd(
        "check", "--config", home.config, expect=78).stderr
    daemon.reload()
    assert daemon.count("is refused") == 1
    daemon.wait_for("new token", 2)
    assert daemon.stop() == 0


def test_a_file_in_place_of_the_folder_does_not_drop_identities(home):
    home.one()
    home.path("jotd.d").write_text("")
    assert "jotd.d: cannot be read: Not a directory" in jotd(
        "check", "--config", home.config, expect=78).stderr


def test_a_tab_is_called_a_tab(home):
    home.config.write_text("signing:\n\tsecret: x\n")
    assert "it is a tab" in jotd("check", "--config", home.config, expect=78).stderr


def test_configurations_that_everybody_can_write_are_refused(home):
    home.one()
    home.config.chmod(0o666)
    assert "can be written by everybody" in jotd("check", "--config", home.config, expect=78).stderr
    home.config.chmod(0o644)
    home.path("jotd.d").mkdir()
    home.path("jotd.d").chmod(0o777)
    assert "can be written by everybody" in jotd("check", "--config", home.config, expect=78).stderr


@needs_root
def test_configurations_and_secrets_of_other_users(home):
    home.one()
    os.chown(home.config, 65534, 65534)
    done = jotd("check", "--config", home.config)
    assert "belongs to nobody (uid 65534), who can have any token made" in done.stderr
    os.chown(home.secret, 65534, 65534)
    assert "somebody else knows it" in jotd("check", "--config", home.config, expect=78).stderr


def test_marks_beside_slashes_periods_and_suffixes_hide_nothing(home):
    """For Swift, U+0301 after a slash or U+0600 before it makes another character of the slash."""
    for folder in ("x\u0600", "jotd.d"):
        home.path(folder).mkdir(0o755)
    home.path("link").symlink_to(f"{home.folder}/x\u0600/../x\u0600")
    added = "identities: { NAME: { user_id: u, role: admin, deliver: [ { file: FILE } ] } }\n"
    for number, (name, file) in enumerate([
            ("a\u0600.yaml", "\u0301a.jwt"), ("b.yaml", "x\u0600/b.jwt"),
            ("c.yaml", "link/\u0301c.jwt"), (".\u0301hidden.yaml", "none")]):
        home.path(f"jotd.d/{name}").write_text(
            added.replace("NAME", f"i{number}").replace("FILE", str(home.path(file))))
    home.one()
    left = home.path(".\u0301a.jwt.0123456789abcdef.jotd")
    left.touch()
    assert "all is well, 4 identities and 4" in jotd("check", "--config", home.config).stdout
    home.start().ready()
    for file in ("\u0301a.jwt", "x\u0600/b.jwt", "x\u0600/\u0301c.jwt"):
        assert home.read(file).count(".") == 2, ascii(file)
    assert not left.exists()
    for file in ("@/x\u0600/../b.jwt", "@/x\u0600/./b.jwt", "@/x\u0600//b.jwt"):
        home.one(deliver=f"[ {{ file: {file} }} ]")
        done = jotd("check", "--config", home.config, expect=78)
        assert "must be an absolute path" in done.stderr
    home.config.write_text(
        "signing: { secret: { credential: x/\u0301y } }\n"
        "identities:\n  a: { user_id: u, role: admin,\n    allow: [ { unit: a/\u0301.service } ],\n"
        "    on_rotate: [ { reload: \u0301.service } ] }\n")
    lines = jotd("check", "--config", home.config, expect=78).stderr.splitlines()
    assert [line.split(":")[1] for line in lines if "must be the " in line] == ["1", "4", "5"]


def test_aliases_do_not_get_around_the_depth(home):
    chain = "".join(f"      c{n}: &c{n} {{ x: *c{n - 1} }}\n" for n in range(1, 60))
    home.one(extra="    claims:\n      c0: &c0 { x: 1 }\n" + chain)
    assert "nested more than 32 deep" in jotd("check", "--config", home.config, expect=78).stderr


@needs_root
def test_a_folder_that_cannot_be_read_to_its_end_is_no_shorter_one(home):
    """What is missing in a configuration is removed."""
    home.one()
    folder = home.config.with_suffix(".d")
    folder.mkdir(mode=0o700)
    done = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-e", "trace=getdents64",
         "-P", folder, "-e", "inject=getdents64:error=EIO:when=1+",
         JOTD, "check", "--config", home.config], capture_output=True, text=True)
    assert done.returncode == 78 and f"{folder}: cannot be read: " in done.stderr, done
