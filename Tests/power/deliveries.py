"""What jotd delivers in these tests, and what may be found of it after a power cut."""

import json
import re
import stat
from datetime import datetime, timezone

import jwt

SECRET = "correct-horse-battery-staple-0123456789"
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.jotd")

# file: (identity, format, mode, owner, group)
DELIVERIES = {
    "door.jwt": ("door", "token", 0o640, 1001, 1002),
    "garage.env": ("garage", "env", 0o600, 1003, 0),
    "gate.header": ("gate", "header", 0o444, 0, 1002),
    "hall.json": ("hall", "json", 0o640, 1001, 1001),
    "hall.jwt": ("hall", "token", 0o400, 1004, 1005),
}
IDENTITIES = sorted({identity for identity, *_ in DELIVERIES.values()})
FORMATS = {
    "token": r"(\S+)",
    "env": r"CAMERA_TOKEN=(\S+)\n",
    "header": r"Authorization: Bearer (\S+)\n",
    "json": r"(\{.*\})\n",
}


def configuration(secret, folder):
    """The text of a configuration that delivers everything into `folder`, again and again."""
    text = f"signing:\n  secret: {{ file: {secret} }}\nidentities:\n"
    for identity in IDENTITIES:
        text += (f"  {identity}:\n    user_id: user-{identity}\n    role: operator\n"
                 "    lifetime: 3s\n    refresh_before: 1s\n    deliver:\n")
        for file, (whose, format, mode, owner, group) in DELIVERIES.items():
            if whose == identity:
                variable = ", variable: CAMERA_TOKEN" if format == "env" else ""
                text += (f"      - {{ file: {folder}/{file}, format: {format}{variable}, "
                         f"mode: '{mode:o}', owner: {owner}, group: {group} }}\n")
    return text


def faults(folder, acknowledged):
    """What is wrong in `folder` when `acknowledged` has what was the last expiry of each identity
    that all its files were said to have."""
    found = {path.name: path for path in folder.iterdir()}
    for file, (identity, format, *access) in DELIVERIES.items():
        path = found.pop(file, None)
        if path:
            status = path.stat()
            if [stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid] != access:
                yield f"{file}: {status}"
            content = path.read_bytes()
            expiry = expiry_in(content, identity, format)
            if not expiry:
                yield f"{file}: is not whole: {content}"
            elif expiry < acknowledged.get(identity, ""):
                yield f"{file}: is of {expiry}, not {acknowledged[identity]} as acknowledged"
        elif identity in acknowledged:
            yield f"{file}: is gone"
    yield from (f"{name}: unknown" for name in found if not left_over(name))


def left_over(name):
    """Whether it is a file that jotd had not renamed yet."""
    match = TEMPORARY.fullmatch(name)
    return match and match[1] in DELIVERIES


def expiry_in(content, identity, format):
    """When the token in a file expires, as jotd writes it; None unless the file is whole."""
    try:
        token = re.fullmatch(FORMATS[format], content.decode())[1]
        if format == "json":
            members = json.loads(token)
            token = members["token"]
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False})
    except (UnicodeDecodeError, TypeError, ValueError, KeyError, jwt.InvalidTokenError):
        return None
    expiry = f"{datetime.fromtimestamp(claims['exp'], timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    if claims["user_id"] != f"user-{identity}":
        return None
    if format == "json" and (members["identity"], members["expires_at"]) != (identity, expiry):
        return None
    return expiry
