"""The query socket as strangers use it: curl, http.client, plain sockets, promtool, other users."""

import calendar
import contextlib
import json
import socket
import statistics
import subprocess
import threading
import time
import urllib.parse

import jwt
import pytest

from conftest import (
    JOTD, PATIENCE, SECRET, claims_of, eventually, jotd, many, needs_descriptors, needs_root)


def test_health_follows_the_tokens(query):
    query.serve("4s", "1s")
    daemon = query.start().ready()
    answer = query.ask("/health")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/health+json"
    assert answer.json["status"] == "pass"
    assert answer.json["identities"]["a"]["state"] == "fresh"
    assert answer.json["identities"]["a"]["last_error"] is None
    query.config.write_text(query.config.read_text() + "nonsense: 1\n")
    daemon.reload()
    answer = query.ask("/health")
    assert answer.status == 200 and answer.json["status"] == "warn"
    assert "nonsense" in answer.json["notes"][0]
    query.serve("4s", "1s", extra="")
    daemon.reload()
    assert query.ask("/health").json["status"] == "pass"
    query.config.write_text(query.config.read_text().replace("a.jwt", "none/a.jwt"))
    daemon.reload()
    eventually(lambda: query.ask("/health").json["identities"]["a"]["last_error"])
    answer = query.ask("/health")
    assert answer.json["status"] == "fail"
    assert answer.status == 503 and answer.json["identities"]["a"]["state"] == "missing"
    assert "create the folder" in answer.json["identities"]["a"]["last_error"]
    assert b"eyJ" not in answer.body


def test_tokens_by_http(query):
    query.serve()
    query.start().ready()
    answer = query.ask("/v1/identities/a/token")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/jwt"
    assert answer.body.decode() == query.read("a.jwt")
    claims = jwt.decode(answer.body.decode(), SECRET, algorithms=["HS256"])
    age = int(answer.headers["Cache-Control"].removeprefix("private, max-age="))
    assert 24 * 3600 - 3600 - 900 - PATIENCE < age <= 24 * 3600 - 3600 - 175
    expires = time.strptime(answer.headers["Expires"], "%a, %d %b %Y %H:%M:%S GMT")
    assert calendar.timegm(expires) == claims["exp"]
    assert "eyJ" not in answer.headers["ETag"]
    etag = {"If-None-Match": answer.headers["ETag"]}
    assert query.ask("/v1/identities/a/token", headers=etag).status == 304
    head = query.ask("/v1/identities/a/token", method="HEAD")
    assert head.status == 200 and head.body == b""
    assert int(head.headers["Content-Length"]) == len(answer.body)
    # b has no delivery: it is served here alone.
    assert claims_of(query.ask("/v1/identities/b/token").body.decode())["user_id"] == "bob"
    known = query.ask("/v1/identities/a").json
    assert known["user_id"] == "alice" and known["deliveries"] == [str(query.path("a.jwt"))]
    assert [i["identity"] for i in query.ask("/v1/identities").json["identities"]] == ["a", "b"]
    assert b"eyJ" not in query.ask("/v1/identities").body


def test_min_validity_rotates_first_if_needed(query):
    query.serve("1h", "1min")
    query.start().ready()
    first = query.ask("/v1/identities/a/token").body
    assert query.ask("/v1/identities/a/token?min_validity=30min").body == first
    # A token has its whole life, less the part of a second in which it was made.
    eventually(lambda: claims_of(first.decode())["exp"] - time.time() < 3599)
    new = query.ask("/v1/identities/a/token?min_validity=3599s").body
    assert new != first and query.read("a.jwt") == new.decode()
    assert query.ask("/v1/identities/a/token?min_validity=3601s").status == 400
    assert query.ask("/v1/identities/a/token?min_validity=soon").status == 400


def test_a_held_request_comes_with_the_next_token(query):
    query.serve("5s", "1s")
    query.start().ready()
    answer = query.ask("/v1/identities/a/token")
    etag = {"If-None-Match": answer.headers["ETag"]}
    # At the end of the wait it would come, too.
    wait, begin = PATIENCE * 0.7, time.monotonic()
    new = query.ask(f"/v1/identities/a/token?wait={int(wait * 1000)}ms", headers=etag)
    assert new.status == 200 and new.body != answer.body
    assert time.monotonic() - begin < 0.95 * wait
    other = {"If-None-Match": '"x"'}
    assert query.ask("/v1/identities/b/token?wait=20s", headers=other).status == 200
    b = {"If-None-Match": query.ask("/v1/identities/b/token").headers["ETag"]}
    begin = time.monotonic()
    assert query.ask("/v1/identities/b/token?wait=300ms", headers=b).status == 304
    assert time.monotonic() - begin > 0.25
    assert query.ask("/v1/identities/b/token?wait=2h", headers=b).status == 400


def test_a_held_request_comes_with_the_token_of_a_new_key(query):
    query.serve()
    daemon = query.start().ready()
    etag = {"If-None-Match": query.ask("/v1/identities/a/token").headers["ETag"]}
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(
        query.ask("/v1/identities/a/token?wait=15s", headers=etag)))
    waiter.start()
    time.sleep(0.2)
    new = "another secret that is long enough for HS256"
    query.write_secret(new)
    waiter.join()
    jwt.decode(answers[0].body.decode(), new, algorithms=["HS256"])
    daemon.wait_for("the secret changed")


def test_a_thousand_held_requests_wake_on_one_rotation(query):
    needs_descriptors(1000)
    query.serve()
    query.start().ready()
    etag = query.ask("/v1/identities/a/token").headers["ETag"]
    time.sleep(1.05)
    request = (f"GET /v1/identities/a/token?wait=30s HTTP/1.1\r\nHost: x\r\n"
               f"If-None-Match: {etag}\r\n\r\n").encode()
    held = [query.connect(query.path("s"), request) for _ in range(1000)]
    time.sleep(0.3)
    # One more than allowed is told so; health is answered all the same.
    assert query.ask("/health").status == 200
    new = query.ask("/v1/identities/a/rotate", method="POST")
    assert new.status == 200
    token = query.ask("/v1/identities/a/token").body
    for one in held:
        answer = b""
        while token not in answer:
            part = one.recv(8192)
            assert part, answer
            answer += part
        assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(token)
        assert answer.count(token) == 1
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.recv(1)


def test_held_requests_are_bounded_for_each_user(query):
    needs_descriptors(1024)
    query.serve()
    query.start().ready()

    def ask(span):
        return query.ask(
            f"/v1/identities/a/token?wait={span}", headers={"If-None-Match": etag}).status

    def tag():
        return query.ask("/v1/identities/a/token").headers["ETag"]

    def renew():
        # In the second of the last one it would be the same token.
        eventually(lambda: query.ask("/v1/identities/a/rotate", "POST") and tag() != etag)
    # However the holds end, their places are free again.
    for end in query.disconnect, renew:
        etag = tag()
        request = (f"GET /v1/identities/a/token?wait=30min HTTP/1.1\r\nHost: x\r\n"
                   f"If-None-Match: {etag}\r\n\r\n").encode()
        for _ in range(1024):
            query.connect(query.path("s"), request)
        eventually(lambda: ask("300ms") == 429)
        end()
        etag = tag()
        eventually(lambda: ask("10ms") == 304)


def test_introspection(query):
    query.serve()
    query.start().ready()
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def ask(**fields):
        return query.ask("/introspect", "POST", urllib.parse.urlencode(fields), form)
    token = query.read("a.jwt")
    answer = ask(token=token)
    assert answer.status == 200 and answer.json == {"active": True, **claims_of(token)}
    assert answer.headers["Cache-Control"] == "no-store"
    assert ask(token=token, required_role="operator").json["active"] is True
    assert ask(token=token, required_role="admin").json == {"active": False}
    assert ask(token=token[:-2] + "AA").json == {"active": False}
    assert ask(token="").json == {"active": False}
    assert ask(token=jwt.encode(
        {"user_id": "u", "role": "admin", "iat": 1, "exp": 2}, SECRET)).json == {"active": False}
    assert ask(nothing="x").status == 400
    assert ask(token=token, required_role="boss").status == 400
    assert query.ask("/introspect", "POST", json.dumps({"token": token}),
                     {"Content-Type": "application/json"}).status == 415
    assert query.ask("/introspect", "POST", "token=" + "x" * 200_000, form).status == 413
    assert query.ask("/introspect").status == 405


def test_metrics_are_those_of_prometheus(query):
    query.serve()
    query.start().ready()
    text = query.ask("/metrics").body.decode()
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    assert done.returncode == 0 and done.stdout + done.stderr == "", done
    assert 'jotd_tokens_issued_total{identity="a",result="success"} 1' in text
    assert 'jotd_identity_state{identity="a",state="fresh"} 1' in text
    exp = claims_of(query.read("a.jwt"))["exp"]
    assert f'jotd_token_expiry_timestamp_seconds{{identity="a"}} {exp}' in text
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                 "jotd_rotation_lateness_seconds_bucket", "jotd_deliveries_total"):
        assert name in text
    assert "eyJ" not in text


def test_proper_statuses(query):
    query.serve()
    query.start().ready()
    for method, target, status in [
        ("GET", "/", 404), ("GET", "/nothing", 404), ("GET", "/v1/identities/zz", 404),
        ("GET", "/v1/identities/zz/token", 404), ("DELETE", "/health", 405),
        ("POST", "/v1/identities/a/token", 405), ("GET", "/v1/reload", 405),
        ("PUT", "/v1/identities/a/rotate", 405), ("GET", "/v1/identities/%zz/token", 400),
        ("GET", "/v1/identities/..%2f/token", 404), ("GET", "/health?x=%ff", 200),
        ("OPTIONS", "/metrics", 405), ("BREW", "/health", 400), ("HEAD", "/health", 200),
    ]:
        answer = query.ask(target, method)
        assert answer.status == status, (method, target, answer.status)
        if status >= 400 and method != "BREW":
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json["status"] == status and answer.json["detail"]
        if status == 405:
            assert answer.headers["Allow"]


JWT, OBJECT = "application/jwt", "application/json"


@pytest.mark.parametrize("accept, wanted", [
    (None, JWT), ("*/*", JWT), ("application/*", JWT), (JWT, JWT), (OBJECT, OBJECT),
    ("Application/JSON", OBJECT), ("application/json; charset=utf-8", OBJECT),
    ("application/json;q=0.5, application/jwt;q=0.4", OBJECT),
    ("application/json;q=0.5,application/jwt;q=0.501", JWT),
    ("application/json, application/jwt", JWT), ("application/jwt;q=0, */*", OBJECT),
    ("application/json;q=0, */*;q=0.1", JWT), ("application/json;q=0", JWT),
    # axios and the like: what is named exactly is meant.
    ("application/json, text/plain, */*", OBJECT), ("*/*, application/json;q=0.9", JWT),
    ("text/html", JWT), ("text/html, application/json;q=0.001", OBJECT),
    # What is no media range, or no quality, is passed over.
    ("", JWT), (";;,,", JWT), ("json", JWT), ("application/json;q=2", JWT), ("*/json", JWT),
    ("application/json;q=1.001, application/json;q=x, application/", JWT),
    ("application/json;q=1.000", OBJECT),
    ("application/json ; q = 0.3 , application/jwt;q=0.2", OBJECT),
])
def test_a_token_as_the_client_asks_for_it(query, accept, wanted):
    query.serve()
    query.start().ready()
    headers = {} if accept is None else {"Accept": accept}
    answer = query.ask("/v1/identities/a/token", headers=headers)
    assert answer.status == 200 and answer.headers["Content-Type"] == wanted
    assert answer.headers["Vary"] == "Accept"
    token = query.read("a.jwt")
    if wanted == JWT:
        assert answer.body.decode() == token
    else:
        claims = claims_of(token)
        known = answer.json
        assert list(known) == ["identity", "token", "user_id", "role", "issued_at", "expires_at",
                               "refresh_at"]
        assert (known["identity"], known["token"], known["user_id"], known["role"]) == (
            "a", token, "alice", "operator")
        end = time.strptime(known["expires_at"], "%Y-%m-%dT%H:%M:%SZ")
        assert calendar.timegm(end) == claims["exp"]
    # The tag is that of this representation.
    same = query.ask("/v1/identities/a/token",
                     headers={**headers, "If-None-Match": answer.headers["ETag"]})
    assert same.status == 304 and same.headers["Vary"] == "Accept" and same.body == b""
    other = query.ask("/v1/identities/a/token", headers={
        "Accept": OBJECT if wanted == JWT else JWT, "If-None-Match": answer.headers["ETag"]})
    assert other.status == 200


def test_what_a_client_may_not_read_is_not_told_as_json_either(query):
    query.serve()
    query.start().ready()
    answer = query.ask("/v1/identities/zz/token", headers={"Accept": OBJECT})
    assert answer.status == 404 and answer.headers["Content-Type"] == "application/problem+json"


def test_rotate_and_reload_by_commands(query):
    query.serve()
    daemon = query.start().ready()
    config = ["--config", query.config]
    before = query.read("a.jwt")
    time.sleep(1.05)
    assert "a: rotated" in jotd("rotate", "a", *config).stdout
    after = query.read("a.jwt")
    assert after != before
    assert jotd("token", "a", *config).stdout.strip() == after
    assert jotd("token", "a", "--min-validity", "2h", *config).stdout.strip() == after
    assert jotd("rotate", "--all", *config).stdout.count("rotated") == 2
    assert "2 unchanged" in jotd("reload", *config).stdout
    query.config.write_text(query.config.read_text() + "x: y\n")
    assert jotd("token", "a", *config).stdout.strip() == query.read("a.jwt")
    done = jotd("reload", *config, expect=78)
    assert 'unknown key "x"' in done.stderr
    jotd("token", "none", *config, expect=65)
    jotd("rotate", *config, expect=64)
    daemon.stop()
    done = jotd("token", "a", *config, expect=69)
    assert "does the daemon run?" in done.stderr


def test_health_command_is_a_monitoring_plugin(query):
    query.serve()
    daemon = query.start().ready()
    done = jotd("health", "--config", query.config)
    assert done.stdout == (
        "JOTD OK - 2 of 2 identities fresh | fresh=2 stale=0 expired=0 missing=0\n")
    query.config.write_text(query.config.read_text().replace("a.jwt", "none/a.jwt"))
    daemon.reload()
    daemon.wait_for("create the folder")
    done = jotd("health", "--config", query.config, expect=2)
    assert done.stdout.startswith("JOTD CRITICAL - 1 of 2 identities fresh; missing: a; a: ")
    assert done.stdout.count("\n") == 1
    daemon.stop()
    assert jotd("health", "--config", query.config, expect=3).stdout.startswith("JOTD UNKNOWN - ")


def test_status_is_a_table(query):
    query.serve()
    query.start().ready()
    lines = jotd("status", "--config", query.config).stdout.splitlines()
    assert lines[0].split() == [
        "IDENTITY", "STATE", "REMAINING", "NEXT", "ROTATION", "LAST", "ERROR"]
    assert lines[1].split()[:4] == ["a", "fresh", "23h", "59min"]
    assert "\x1b" not in "\n".join(lines)
    assert json.loads(jotd("status", "--json", "--config", query.config).stdout)["status"] == "pass"
    shown = subprocess.run(
        ["script", "-qec",
         f"stty cols 120; {JOTD} status --config {query.config}", "/dev/null"],
        capture_output=True, text=True).stdout
    assert "\u2588" in shown and "\x1b[1m" in shown


def as_user(uid, gid, groups, *arguments):
    groups = ["--clear-groups"] if not groups else ["--groups", ",".join(map(str, groups))]
    return subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={gid}", *groups, *arguments], capture_output=True,
        text=True, timeout=30)


CURL = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"]


def open_the_way(path):
    while path != path.parent:
        path.chmod(path.stat().st_mode | 0o011)
        path = path.parent


@needs_root
def test_a_held_request_does_not_outlive_its_permission(query):
    query.serve(allow="[ { user: '5001' } ]")
    daemon = query.start().ready()
    open_the_way(query.folder)
    etag = query.ask("/v1/identities/a/token").headers["ETag"]
    held = subprocess.Popen(
        ["setpriv", "--reuid=5001", "--regid=5001", "--clear-groups", "curl", "-sS", "-i",
         "--unix-socket", str(query.path("s")), "-H", f"If-None-Match: {etag}",
         "http://jotd/v1/identities/a/token?wait=20s"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    query.serve(allow="[]")
    daemon.reload()
    answer = held.communicate(timeout=15)[0]
    assert "403 Forbidden" in answer.splitlines()[0] and "eyJ" not in answer


@needs_root
def test_nothing_is_allowed_that_is_not_named(query):
    query.serve(allow="[ { user: '5001' }, { group: '6001' } ]", operators="[ { user: '5009' } ]")
    daemon = query.start().ready()
    open_the_way(query.folder)

    def code(uid, gid, groups, target, *more):
        return as_user(uid, gid, groups, *CURL, *more, "--unix-socket", str(query.path("s")),
                       "http://jotd" + target).stdout
    token, rotate = "/v1/identities/a/token", "/v1/identities/a/rotate"
    assert code(5001, 5001, [], token) == "200"
    assert code(5002, 6001, [], token) == "200"
    assert code(5002, 5002, [6001], token) == "200"
    assert code(5009, 5009, [], token) == "200"
    assert code(5002, 5002, [6002], token) == "403"
    # Neither existence nor details are told to strangers.
    assert code(5002, 5002, [], "/v1/identities/a") == "403"
    assert code(5002, 5002, [], "/v1/identities/nobody-has-this") == "403"
    assert code(5001, 5001, [], "/v1/identities/b/token") == "403"
    for who in (5001, 5002):
        assert code(who, who, [], rotate, "-X", "POST") == "403"
        assert code(who, who, [], "/v1/reload", "-X", "POST") == "403"
    assert code(5009, 5009, [], rotate, "-X", "POST") == "200"
    for target in ("/health", "/metrics"):
        assert code(5002, 5002, [], target) == "200"
    done = as_user(5002, 5002, [], "curl", "-sS", "--unix-socket", str(query.path("s")),
                   "http://jotd/v1/identities")
    assert json.loads(done.stdout) == {"identities": []}
    done = as_user(5002, 5002, [], JOTD, "token", "a", "--config", str(query.config))
    assert done.returncode == 77
    daemon.wait_for("uid 5002 may not read a")
    as_user(5002, 5002, [], "curl", "-s", "--unix-socket", str(query.path("s")),
            *[f"http://jotd{token}"] * 40)
    daemon.stop()
    # Ten in ten seconds, of which these may be the end of some and the beginning of others.
    assert daemon.count("uid 5002 may not") <= 20


def test_another_token_of_the_same_second_has_another_tag(query):
    """As after a reload that corrects what a token says, at once after the start."""
    query.serve()
    daemon = query.start().ready()
    text, tags, seconds = query.config.read_text(), {}, []

    def answered(user):
        answer = query.ask("/v1/identities/a/token")
        return answer if claims_of(answer.body.decode())["user_id"] == user else None

    while len(seconds) == len(set(seconds)):
        user = f"alice{len(seconds)}"
        query.config.write_text(text.replace("user_id: alice", f"user_id: {user}"))
        daemon.reload()
        answer = eventually(lambda: answered(user))
        token = answer.body.decode()
        seconds.append(claims_of(token)["iat"])
        tags.setdefault(answer.headers["ETag"], set()).add(token)
    assert all(len(tokens) == 1 for tokens in tags.values()), tags.keys()


def test_another_moment_of_the_rotation_changes_the_tag_of_the_object_alone(query):
    def tags():
        return [query.ask("/v1/identities/a/token", headers={"Accept": kind}).headers["ETag"]
                for kind in (JWT, OBJECT)]
    query.serve()
    daemon = query.start().ready()
    before = tags()
    query.config.write_text(
        query.config.read_text().replace("refresh_before: 1h", "refresh_before: 12h"))
    daemon.reload()
    assert tags()[0] == before[0] and tags()[1] != before[1]


def test_socket_paths(query):
    query.serve()
    text = query.config.read_text()
    query.config.write_text(text.replace(f"{query.path('s')},", "/run/" + "x" * 110 + ","))
    done = jotd("check", "--config", query.config, expect=78)
    assert "the path of a socket has at most 107" in done.stderr
    query.config.write_text(text)
    query.path("s").write_text("not a socket")
    done = jotd("run", "--config", query.config, expect=78)
    assert "something other than a socket" in done.stderr
    query.path("s").unlink()
    daemon = query.start().ready()
    assert oct(query.path("s").stat().st_mode & 0o777) == "0o666"
    query.config.write_text(text.replace(f"{query.path('s')},", f"{query.path('t')},"))
    daemon.reload()
    assert query.path("t").exists()
    # A disk that hangs keeps no reload: what is left there goes after it.
    eventually(lambda: not query.path("s").exists())
    daemon.stop()
    assert not query.path("t").exists()


def raw(path, data, shut=False, limit=1 << 20, timeout=PATIENCE):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(timeout)
    one.connect(str(path))
    try:
        one.sendall(data)
        if shut:
            one.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < limit:
            part = one.recv(65536)
            if not part:
                break
            answer += part
        return answer
    except (ConnectionResetError, BrokenPipeError):
        return b"reset"
    finally:
        one.close()


def test_broken_clients_are_their_own_affair(query):
    query.serve()
    daemon = query.start().ready()
    path = query.path("s")
    get = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(path, get, shut=True).startswith(b"HTTP/1.1 200")
    assert raw(path, get * 3, shut=True).count(b"HTTP/1.1 200") == 3
    assert raw(path, b"\x00\xff garbage \r\n\r\n").startswith((b"HTTP/1.1 400", b"reset"))
    assert raw(path, get + b"\x00\xff\r\n\r\n").startswith(b"HTTP/1.1 200")
    huge = b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n"
    assert raw(path, huge).startswith((b"HTTP/1.1 4", b"reset"))
    many = b"GET /health HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(5000)) + b"\r\n"
    assert raw(path, many).startswith((b"HTTP/1.1 4", b"reset"))
    assert raw(path, b"", shut=True) == b""
    assert raw(path, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.")
    injected = raw(
        path, b"GET /v1/identities/%0a%1b[31m/token HTTP/1.1\r\nHost: x\r\n\r\n", shut=True)
    assert b"404" in injected.split(b"\r\n")[0]
    assert query.ask("/health").status == 200
    assert not any("\x1b" in line or "garbage" in line for line in daemon.lines)


def test_silent_connections_leave_room_for_honest_callers(query):
    needs_descriptors(2000)
    query.serve("3s", "1s")
    daemon = query.start().ready()
    for n in range(2000):
        with contextlib.suppress(BrokenPipeError):
            query.connect(query.path("s"), b"GET /heal" if n % 3 == 0 else b"")
    delays = []
    for _ in range(20):
        begin = time.monotonic()
        assert query.ask("/health").status == 200
        delays.append(time.monotonic() - begin)
    assert statistics.median(delays) < 1, delays
    daemon.wait_for("a: new token", daemon.count("a: new token") + 1)
    eventually(lambda: query.ask("/health").json["status"] == "pass")


def test_slow_writers_are_closed(query):
    query.serve()
    query.start().ready()
    begin = time.monotonic()
    one = query.connect(query.path("s"), b"GET /health HTTP/1.1\r\n", timeout=10 + PATIENCE)
    assert one.recv(100) == b""
    # Not before its ten seconds, and not as late as a connection that is only silent.
    assert 8 < time.monotonic() - begin < 55
