#!/usr/bin/python3
"""A hostile caller: misbehaves on the sockets of a jotd in one of many ways, for a bounded time,
and prints how many times it did. `attacks.py WAY FOLDER SECONDS [UID]` plays it by hand, against
the sockets that test_hostile.py makes in a folder: s (queries), t (tokens) and c (credentials)."""

import array
import errno
import itertools
import os
import random
import resource
import select
import signal
import socket
import sys
import time
import urllib.parse

from crowds import WAYS, Place, read_some, repeated, shut, way

GET = "GET {} HTTP/1.1\r\nHost: jotd\r\n{}\r\n"
HEALTH = GET.format("/health", "").encode()
METRICS = GET.format("/metrics", "").encode()
# More than one user may have; refused ones are tried again.
MANY = 1_700


# Slow, silent and half

@way
def silent(at):
    at.crowd(at.query, MANY)


@way
def half_a_head(at):
    at.crowd(at.query, MANY, b"GET /heal")


@way
def half_a_body(at):
    """As much of a body as is taken, less its last byte: held in memory, and not idle."""
    body = b"token=" + b"%41" * 31_000
    at.crowd(at.query, MANY, form(body, len(body) + 1))


@way
def trickling(at):
    letters = {}

    def each(one):
        byte = next(letters.setdefault(one, itertools.cycle(HEALTH)))
        return at.say(one, bytes([byte])) and read_some(one) is not None
    at.crowd(at.query, 300, each=each)


@way
def half_closed(at):
    """Ends its output at once, in a head, after requests, in a body."""
    for data in repeated(at, [b"", b"GET /he", HEALTH, METRICS * 20, form(b"token=x", 4_000)]):
        one = at.dial(at.query)
        if one:
            at.say(one, data)
            shut(one)
            if at.random.random() < 0.5:
                select.select([one], [], [], 0.02)
            one.close()


@way
def dying(at):
    """Killed in a request, with answers unread."""
    while at.is_on():
        child = os.fork()
        if child == 0:
            for _ in range(50):
                one = at.dial(at.query)
                if one:
                    at.say(one, at.random.choice(
                        [METRICS * 50, HEALTH[:-3], form(b"token=", 90_000)]))
                    one.detach()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        at.deeds += 50


@way
def hasty(at):
    while at.is_on():
        one = at.dial(at.query)
        if one:
            at.deeds += 1
            one.close()


# Those who ask and do not read

@way
def pipelining(at):
    at.crowd(at.query, 30, each=lambda one: at.say(one, METRICS * 4_000))


@way
def pipelining_crowd(at):
    at.crowd(at.query, MANY, METRICS * 200, each=lambda one: at.say(one, METRICS * 200))


@way
def a_byte_a_second(at):
    """Has much to read, and reads a byte of it a second."""
    read = {}

    def each(one):
        if time.monotonic() < read.get(one, 0) + 1:
            return True
        read[one] = time.monotonic()
        return at.say(one, METRICS * 50) and read_some(one, 1) is not None
    at.crowd(at.query, 400, METRICS * 50, each)


@way
def tiny_buffers(at):
    at.crowd(at.query, 400, METRICS * 10,
             lambda one: at.say(one, METRICS) and read_some(one, 64) is not None, small=True)


# The huge and the odd

@way
def huge(at):
    """Heads, bodies and chunks without an end, each on a connection of its own."""
    line = b"X: " + b"y" * 4_000 + b"\r\n"
    beginnings = [
        (b"GET /health HTTP/1.1\r\n", line), (b"GET /" + b"a" * 60_000, b"a" * 60_000),
        (b"G" * 60_000, b"G" * 60_000), (form(b"", 1 << 40), b"a" * 60_000),
        (b"POST /introspect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
         b"3e8\r\n" + b"a" * 1_000 + b"\r\n"),
        (b"POST /introspect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;",
         b"extension=" * 5_000),
        (b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", line),
        (b"", b"\r\n" * 30_000),
    ]
    more = {}

    def each(one):
        if one not in more:
            first, more[one] = at.random.choice(beginnings)
            return at.say(one, first)
        return at.say(one, more[one])
    at.crowd(at.query, 40, each=each)


ODD = [
    b"GET /health HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
    b"POST /introspect HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    b"Content-Length: 90000\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    b"CONNECT jotd:80 HTTP/1.1\r\nHost: jotd\r\n\r\n" + HEALTH,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" * 100,
    b"GET /health\r\n", b"GET /health HTTP/0.9\r\n\r\n", b"GET /health HTTP/1.0\r\n\r\n",
    b"GET /health HTTP/9.9\r\n\r\n", b"get /health http/1.1\r\n\r\n",
    b"GET  /health  HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"TRACE /health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://user:word@jotd/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /../../health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%68ealth%00%0a%1b%5b31m HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/identities/%e2%80%ae%e2%81%a6%c2%9b31m%ff%fe/token HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/identities/../s0/token HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/identities/s0/token?wait=0.999999y&min_validity=0.999999y HTTP/1.1\r\n"
    b"Host: x\r\n\r\n",
    b"GET /v1/identities/shared/token?min_validity=0.999999y HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/identities/shared/token?wait=584542y HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
    b"GET /v1/identities/shared/token?wait=-1s HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
    b"GET /v1/identities/shared/token?wait=" + b"9" * 4_000
    + b"y HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\nHost: x\n\n", b"GET /health HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    b"GET /hea\0lth HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /health HTTP/1.1\r\nX\0: y\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nX: \0\x01\x7f\xff\r\n\r\n",
    b"GET /health HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(5_000)) + b"\r\n",
    b"GET /health HTTP/1.1\r\n" + b"a:\r\n" * 90 + b"\r\n",
    b"GET /health?" + b"&" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"/" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /introspect HTTP/1.1\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\ntoken=x",
    b"POST /introspect HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /introspect HTTP/1.1\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
    b"POST /introspect HTTP/1.1\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\n" + HEALTH,
    b"POST /introspect HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
    b"POST /introspect HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n",
    b"POST /introspect HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\0" * 9_000, b"\xff\xfe\xfd\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    b"\r\n\r\n\r\n" + HEALTH, b"SSH-2.0-OpenSSH_9.2\r\n",
]


@way
def odd(at):
    """What no client sends, once whole, once cut anywhere, once between good requests."""
    for data in repeated(at, ODD):
        for text in (data, data[: at.random.randrange(len(data))], HEALTH + data + HEALTH):
            one = at.dial(at.query)
            if one:
                at.say(one, text)
                select.select([one], [], [], 0.002)
                one.close()


@way
def descriptors(at):
    """Passes as many descriptors as a message may have, on every socket."""
    null = os.open("/dev/null", os.O_RDONLY)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 253))]

    def each(one):
        try:
            at.deeds += one.sendmsg([HEALTH], rights) > 0
        except BlockingIOError:
            pass
        except OSError as error:
            # There is a bound on what is on its way, for each user (unix(7)).
            return error.errno == errno.ETOOMANYREFS
        return read_some(one) is not None
    end = at.end
    at.end = time.monotonic() + (end - time.monotonic()) / 2
    at.crowd(at.query, 100, each=each)
    at.end = end
    at.crowd(at.token, 100, each=each)


# Those who ask without end, each on a thousand connections

def flood(name, request, count=1_000):
    def work(at):
        def each(one):
            part = read_some(one)
            return part is not None and (part == b"" or at.say(one, request()))
        at.crowd(at.query, count, request, each)
    work.__name__ = "flooding_" + name
    way(work)


def form(body, length=None):
    return (b"POST /introspect HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body)


# A token as it could be, in every way that could reach a terminal; and one as long as one may be.
SPELT = urllib.parse.quote(
    "\n\x1b[31m\u202e\u2066eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoieCJ9."
    "c2lnbmF0dXJlIHRoYXQgaXMgYXMgbG9uZyBhcyBvbmU")
LARGE = form(b"token=" + b"%41" * 32_000)

flood("health", lambda: HEALTH)
flood("metrics", lambda: METRICS)
flood("identities", lambda: GET.format("/v1/identities", "").encode())
flood("introspection", lambda: LARGE, 200)
flood("tokens", lambda: GET.format("/v1/identities/shared/token", "").encode())
flood("min_validity", lambda: GET.format(
    "/v1/identities/shared/token?min_validity=29999ms", "").encode())
flood("waits", lambda: GET.format(
    "/v1/identities/shared/token?wait=1ms", 'If-None-Match: *\r\n').encode())
flood("refusals", lambda: random.choice(
    [f"POST /v1/identities/{SPELT}/rotate", f"GET /v1/identities/{SPELT}/token", "POST /v1/reload",
     "GET /v1/identities/" + SPELT * 50, f"POST /v1/identities/s{random.randrange(10)}/rotate"]
).encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")


@way
def rotating(at):
    """An operator who is not content with any token."""
    request = b"POST /v1/identities/shared/rotate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    at.crowd(at.query, 50, request, lambda one: read_some(one) is not None and at.say(one, request))


@way
def held(at):
    """Requests that are held, as many as there may be, with others behind each."""
    request = GET.format("/v1/identities/shared/token?wait=1h", "If-None-Match: *\r\n").encode()
    at.crowd(at.query, MANY, request + METRICS * 20)


# The other sockets

@way
def token_deaf(at):
    """Connects to the token socket as often as it may, and does not read."""
    at.crowd(at.token, MANY)


@way
def token_chatty(at):
    at.crowd(at.token, 300, each=lambda one: at.say(one, b"give me more\n" * 5_000))


@way
def token_hasty(at):
    while at.is_on():
        one = at.dial(at.token)
        if one:
            at.deeds += 1
            if at.random.random() < 0.5:
                at.say(one, b"x")
            one.close()


def of_a_unit(unit, name):
    """The address that systemd binds for a unit's credential."""
    return lambda: f"\0{random.getrandbits(64):x}/unit/{unit}/{name}"


@way
def credential_deaf(at):
    """Units without a right, more than there is room for, none of which reads its refusal."""
    at.crowd(at.credentials, 300, address=of_a_unit("other.service", "shared"))


@way
def credential_silent(at):
    """No unit at all, and units that wait for nothing."""
    names = itertools.cycle([None, "\0x", "\0" + "f" * 80, *(
        of_a_unit(unit, name) for unit, name in [
            ("honest.service", "shared"), ("honest.service", "none"), ("\x1b[31m", "shared"),
            ("honest.service", "s0"), ("a" * 60, "shared"), ("honest.service/shared", "shared")])])

    def address():
        name = next(names)
        return name() if callable(name) else name + str(random.random()) if name else None
    at.crowd(at.credentials, 400, address=address)


@way
def credential_hasty(at):
    address = of_a_unit("honest.service", "shared")
    while at.is_on():
        one = at.dial(at.credentials, address())
        if one:
            at.deeds += 1
            one.close()


def main(name, folder, seconds, user=None):
    # The daemon is tried, and not how many programs two cores can run at once.
    os.nice(19)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if user is not None and int(user) != os.geteuid():
        os.setgroups([])
        os.setresgid(int(user), int(user), int(user))
        os.setresuid(int(user), int(user), int(user))
    at = Place(folder, float(seconds))
    WAYS[name](at)
    print(at.deeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
