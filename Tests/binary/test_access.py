"""Who may have a token, by each kind of rule, seen from processes that the kernel knows as
others."""

import os
import pathlib
import subprocess

import pytest

from conftest import eventually, needs_root
from test_query import open_the_way

TOKEN = "/v1/identities/a/token"
CURL = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"]
TREES = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"]


class Caller:
    """Asks as a user with a group and supplementary ones, in a control group."""

    def __init__(self, home):
        self.home, self.made = home, []
        self.trees = [pathlib.Path(tree) for tree in TREES
                      if os.access(f"{tree}/cgroup.procs", os.W_OK)]

    def enter(self, group):
        """Shell words that put the shell into this control group of systemd's hierarchies."""
        words = ""
        for tree in self.trees:
            path = tree
            for name in group.split("/"):
                path /= name
                if not path.exists():
                    path.mkdir()
                    self.made.append(path)
            words += f"echo $$ > {path}/cgroup.procs; "
        return words

    def __call__(self, uid, target=TOKEN, gid=None, groups=(), group=None, method="GET"):
        who = [f"--reuid={uid}", f"--regid={gid or uid}",
               f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"]
        done = subprocess.run(
            ["sh", "-c", (self.enter(group) if group else "") + 'exec "$@"', "-", "setpriv", *who,
             *CURL, "-X", method, "--unix-socket", self.home.path("s"), "http://jotd" + target],
            capture_output=True, text=True, timeout=60)
        return int(done.stdout or 0) or done.stderr

    def leave(self):
        for path in reversed(self.made):
            eventually(lambda: not (path / "cgroup.procs").read_text())
            path.rmdir()


@pytest.fixture
def caller(query):
    caller = Caller(query)
    yield caller
    caller.leave()


def serve(query, allow="[]", operators="[]"):
    query.serve(allow=allow, operators=operators)
    open_the_way(query.folder)
    return query.start().ready()


@needs_root
def test_a_user_is_that_user_and_nobody_else(query, caller):
    serve(query, "[ { user: '5001' } ]")
    assert caller(5001) == 200
    others = [(5002, 5002), (5002, 5001), (65534, 1)]
    assert [caller(uid, gid=gid) for uid, gid in others] == [403] * 3
    assert caller(5002, groups=[5001]) == 403
    assert [caller(uid, "/v1/identities/b/token") for uid in (5001, 0)] == [403, 200]
    assert [caller(uid, "/v1/identities/a") for uid in (5001, 5002)] == [200, 403]


@needs_root
def test_a_group_is_the_primary_one_or_any_other(query, caller):
    serve(query, "[ { group: '6001' } ]")
    assert caller(5002, gid=6001) == 200
    assert caller(5002, groups=[7000, 6001]) == 200
    # As many as credentials of a network file system bring.
    assert caller(5002, groups=[*range(10_000, 10_400), 6001]) == 200
    assert caller(6001, gid=7000) == caller(5002, groups=[6002, 7000]) == 403


@needs_root
def test_a_unit_is_the_one_whose_process_asks(query, caller):
    name = f"jotd-test-{os.getpid()}.service"
    if not caller.trees:
        pytest.skip("no control groups can be made here")
    serve(query, f"[ {{ unit: {name} }} ]")
    slice_ = f"jotdtest{os.getpid()}.slice"
    for group, status in [
            (name, 200), (f"{name}/payload", 200), (f"{slice_}/{name}", 200),
            (f"x-{name}", 403), (f"{name}.d", 403), (slice_, 403),
            (f"other-{os.getpid()}.service/{name}", 403), (f"{slice_}/_{name}", 200)]:
        assert caller(5002, group=group) == status, group
    assert caller(5002) == 403
    assert caller(5002, "/v1/identities/b/token", group=name) == 403
    assert caller(5002, "/v1/identities/a/rotate", group=name, method="POST") == 403


@needs_root
def test_operators_may_all_and_readers_only_read(query, caller):
    serve(query, "[ { user: '5001' } ]", "[ { user: '5009' }, { group: '6009' } ]")
    rotate, reload = "/v1/identities/b/rotate", "/v1/reload"
    for who in ({"uid": 5009}, {"uid": 5008, "groups": [6009]}, {"uid": 0}):
        assert caller(**who) == caller(target="/v1/identities/b/token", **who) == 200
        assert caller(target=rotate, method="POST", **who) == 200
        assert caller(target=reload, method="POST", **who) == 200
    for target in (rotate, rotate.replace("b", "a"), reload):
        assert caller(5001, target, method="POST") == 403
    for target in ("/health", "/metrics"):
        assert caller(5002, target) == 200


@needs_root
def test_what_a_reload_forbids_is_forbidden_at_once(query, caller):
    daemon = serve(query, "[ { user: '5001' } ]", "[ { user: '5009' } ]")
    assert caller(5001) == caller(5009) == 200
    query.serve(allow="[ { user: '5002' } ]")
    daemon.reload()
    assert [caller(uid) for uid in (5001, 5009, 5002)] == [403, 403, 200]


@needs_root
def test_lists_show_what_the_caller_may_read(query, caller):
    serve(query, "[ { user: '5001' } ]")

    def names(uid):
        done = subprocess.run(
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "curl", "-sS",
             "--unix-socket", query.path("s"), "http://jotd/v1/identities"],
            capture_output=True, text=True)
        return [word for word in ("alice", "bob") if word in done.stdout]
    assert [names(uid) for uid in (0, 5001, 5002)] == [["alice", "bob"], ["alice"], []]


def test_without_any_rule_the_daemon_s_own_user_may(query):
    query.serve()
    query.start().ready()
    assert query.ask(TOKEN).status == 200
    assert query.ask("/v1/identities/a/rotate", "POST").status == 200
    assert query.ask("/v1/reload", "POST").status == 200


def test_the_credential_socket_is_for_root_alone_and_says_so_at_length(home):
    """As an ordinary user: a refusal is longer than a credential may be, and never an empty one."""
    home.one(life="1d", before="1h", extra="    allow: [ { unit: ok.service } ]\n")
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')}, credentials: {home.path('c')} }}\n"
        "identities:", 1))
    daemon = home.start().ready()
    assert oct(home.path("c").stat().st_mode & 0o777) == "0o600"
    one = home.connect(home.path("c"))
    answer = b"".join(iter(lambda: one.recv(1 << 16), b""))
    assert len(answer) > 1 << 20 and b"." not in answer
    daemon.wait_for("may not use the credential socket")
