"""What the query socket makes of requests: their parts, their limits, and what it answers."""

import email.utils
import re
import socket

import jwt
import pytest

from conftest import Connection, SECRET, claims_of, jotd

TOKEN = "/v1/identities/a/token"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def served(query):
    query.serve()
    query.start().ready()
    return query


def exchange(home, request, ending=True):
    """The bytes that come for these; a connection that is closed early says so."""
    one = home.connect(home.path("s"))
    answer = b""
    try:
        one.sendall(request)
        if ending:
            one.shutdown(socket.SHUT_WR)
        while part := one.recv(1 << 16):
            answer += part
    except (BrokenPipeError, ConnectionResetError):
        answer += b"(reset)"
    return answer


def status_of(answer):
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else answer[:40]


@pytest.mark.parametrize("target,status", [
    ("/v1/identities/%61/token", 200), ("/v1/identities/a/%74oken", 200),
    ("http://jotd/health", 200), ("http://jotd/v1/identities/a/token?wait=1s", 200),
    ("/health?", 200), ("/health?a=b&a=b", 200), ("/v1/identities/a+/token", 404),
    (f"{TOKEN}?wait=1s&wait=2s", 400), (f"{TOKEN}?min_validity=1s&min_validity=1s", 400),
    (f"{TOKEN}?min_validity=%3", 400), (f"{TOKEN}?min_validity=%zz", 400),
    (f"{TOKEN}?min_validity=1+h", 200), (f"{TOKEN}?min_validity=1%20h", 200),
    (f"{TOKEN}?min_validity=%31h", 200), (f"{TOKEN}?min_validity", 400),
    (f"{TOKEN}?%6din_validity=nonsense", 400), (f"{TOKEN}?wait=1%ffs", 400),
    (f"{TOKEN}?min_validity=1d", 400), ("/v1/identities/%ff/token", 400),
    ("*", 400), ("/v1/identities/a/token/more", 404), ("/v1", 404),
])
def test_targets(served, target, status):
    answer = exchange(served, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status_of(answer) == status, answer
    if status >= 400:
        assert b"application/problem+json" in answer


def test_entity_tags(served):
    """RFC 9110 section 13.1.2."""
    known = served.ask(TOKEN)
    tag = known.headers["ETag"]
    assert re.fullmatch(r'"[^"]+"', tag)
    for same in (tag, f"W/{tag}", "*"):
        answer = served.ask(TOKEN, headers={"If-None-Match": same})
        assert (answer.status, answer.body) == (304, b"") and answer.headers["ETag"] == tag
    for other in ('"x"', tag[:-2] + '"', tag.strip('"')):
        answer = served.ask(TOKEN, headers={"If-None-Match": other})
        assert answer.status == 200 and answer.body == known.body
    answer = served.ask(TOKEN, headers={"If-None-Match": f'"x", {tag}'})
    assert answer.status == 304


def test_headers_of_a_token(served):
    answer = served.ask(TOKEN)
    end = claims_of(answer.body.decode())["exp"]
    assert answer.headers["Expires"] == email.utils.formatdate(end, usegmt=True)
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    for target in ("/health", "/v1/identities", "/v1/identities/a"):
        assert served.ask(target).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("fields,accepted", [(100, True), (101, False), (300, False)])
def test_as_many_header_fields_as_there_may_be(served, fields, accepted):
    head = b"".join(b"X%d: y\r\n" % number for number in range(fields - 1))
    answer = exchange(served, b"GET /health HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
    assert (status_of(answer) == 200) == accepted, answer[:100]


@pytest.mark.parametrize("size,accepted", [(15 << 10, True), (17 << 10, False), (1 << 20, False)])
def test_header_fields_as_long_as_they_may_be(served, size, accepted):
    for head in (b"X: " + b"y" * size, b"\r\n".join(
            b"X%d: " % n + b"y" * (size // 8) for n in range(8))):
        answer = exchange(served, b"GET /health HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        assert (status_of(answer) == 200) == accepted, answer[:100]


def introspect(home, body, headers=FORM):
    answer = home.ask("/introspect", "POST", body, headers)
    return answer.json if answer.status == 200 else answer.status


@pytest.mark.parametrize("body,expected", [
    ("token=TOKEN", True), ("token=TOKEN&token_type_hint=access_token", True),
    ("%74oken=TOKEN", True), ("token=TOKEN&required_role=operator", True),
    ("token=TOKEN&required_role=admin", False), ("token=TOKEN&required_role=", 400),
    ("token=TOKEN&token=TOKEN", 400),
    ("token=TOKEN&required_role=viewer&required_role=viewer", 400),
    ("", 400), ("token", False), ("token=+TOKEN", False), ("token=TOKEN%", 400),
    ("token=%ffTOKEN", 400), ("Token=TOKEN", 400), ("&&token=TOKEN&&", True),
])
def test_forms(served, body, expected):
    token = served.read("a.jwt")
    answer = introspect(served, body.replace("TOKEN", token))
    assert (answer if isinstance(answer, int) else answer["active"]) == expected
    if expected is True:
        assert answer == {"active": True, **claims_of(token)}


def test_introspection_speaks_for_itself(served):
    """A claim of that name does not, and an expired or foreign token is as good as none."""
    claims = claims_of(served.read("a.jwt"))
    token = jwt.encode({**claims, "active": False, "x": [1]}, SECRET)
    assert introspect(served, f"token={token}") == {**claims, "active": True, "x": [1]}
    for wrong in (jwt.encode({**claims, "exp": claims["iat"]}, SECRET),
                  jwt.encode(claims, "another secret that is long enough for HS256")):
        assert introspect(served, f"token={wrong}") == {"active": False}
    for kind, status in [("application/x-www-form-urlencoded; charset=utf-8", 200),
                         ("Application/X-WWW-Form-URLEncoded", 200), ("text/plain", 415)]:
        answer = served.ask("/introspect", "POST", f"token={token}", {"Content-Type": kind})
        assert answer.status == status


@pytest.mark.parametrize("size,expected", [(90_000, 200), (99_000, 200), (120_000, 413)])
def test_bodies_as_long_as_they_may_be_however_they_come(served, size, expected):
    body = "token=" + "x" * size
    assert served.ask("/introspect", "POST", body, FORM).status == expected

    def parts():
        for at in range(0, len(body), 5000):
            yield body[at:at + 5000].encode()
    connection = Connection(served.path("s"))
    try:
        connection.request("POST", "/introspect", parts(), FORM, encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413 if expected == 413 else "reset"
    finally:
        connection.close()
    assert status == expected


def test_a_connection_serves_one_request_after_another(served):
    one = Connection(served.path("s"))
    for _ in range(20):
        for method, target, status in [("GET", "/health", 200), ("HEAD", TOKEN, 200),
                                       ("GET", "/nothing", 404), ("POST", "/health", 405)]:
            one.request(method, target)
            answer = one.getresponse()
            assert answer.status == status
            answer.read()
    one.close()
    answer = exchange(
        served, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False)
    assert b"\r\nConnection: close\r\n" in answer or b"\r\nconnection: close\r\n" in answer


def test_metrics_count_what_happened(served):
    def value(name):
        text = served.ask("/metrics").body.decode()
        return float(next(line for line in text.splitlines() if line.startswith(name + " "))
                     .split()[-1])
    issued = 'jotd_tokens_issued_total{identity="a",result="success"}'
    delivered = 'jotd_deliveries_total{identity="a",result="success"}'
    failed = 'jotd_deliveries_total{identity="a",result="failure"}'
    assert (value(issued), value(delivered), value(failed)) == (1, 1, 0)
    assert value("jotd_identities") == 2
    assert value('jotd_reloads_total{result="success"}') == 0
    jotd("rotate", "a", "--config", served.config)
    assert (value(issued), value(delivered)) == (2, 2)
    jotd("reload", "--config", served.config)
    assert value('jotd_reloads_total{result="success"}') == 1
    served.config.write_text(served.config.read_text() + "x: y\n")
    assert served.ask("/v1/reload", "POST").status == 422
    assert value('jotd_reloads_total{result="failure"}') == 1
    refresh = value('jotd_token_refresh_timestamp_seconds{identity="a"}')
    end = value('jotd_token_expiry_timestamp_seconds{identity="a"}')
    assert 3600 + 170 < end - refresh < 3600 + 910
    assert value('jotd_identity_state{identity="a",state="stale"}') == 0
