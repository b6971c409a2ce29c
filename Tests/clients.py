"""What clients of jotd do, for the tests that run it for long: read what was delivered, connect to
its sockets, ask by HTTP; and what makes a token whole."""

import base64
import hashlib
import hmac
import http.client
import json
import socket
import struct


def decode(part):
    """The bytes of unpadded base64url."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims_of(token, secrets):
    """The claims of a token that one of the secrets signed; fails for any other bytes."""
    head, body, mac = token.split(".")
    signed = f"{head}.{body}".encode()
    good = [hmac.new(key.encode(), signed, hashlib.sha256).digest() for key in secrets]
    assert decode(mac) in good, "not signed with a secret of ours"
    return json.loads(decode(body))


def token_in(text, format):
    """The token in a delivered file, which must be whole."""
    match format:
        case "token": return text
        case "json": return json.loads(text)["token"]
        case "env":
            assert text.startswith("T=") and text.endswith("\n")
            return text[2:-1]
        case "header":
            assert text.startswith("Authorization: Bearer ") and text.endswith("\n")
            return text[22:-1]


def connect(path, seconds=20, address=None):
    """A connected socket that waits for `seconds` at most: in line, too, where a socket with
    Python's own timeout is turned away (connect(2), EAGAIN)."""
    one = socket.socket(socket.AF_UNIX)
    try:
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        if address:
            one.bind(address)
        one.connect(str(path))
    except OSError:
        one.close()
        raise
    return one


def read_socket(path, seconds=20, address=None):
    """All that a token socket or the credential socket gives."""
    with connect(path, seconds, address) as one:
        return b"".join(iter(lambda: one.recv(65536), b"")).decode()


class Connection(http.client.HTTPConnection):
    """To a query socket."""

    def __init__(self, path, seconds=20):
        super().__init__("jotd")
        self.path, self.seconds = path, seconds

    def connect(self):
        self.sock = connect(self.path, self.seconds)


def ask(path, target, method="GET", body=None, headers={}, seconds=20):
    """One request on a connection of its own: status, header fields, and the body as text."""
    connection = Connection(path, seconds)
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()
