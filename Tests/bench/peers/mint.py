"""Mints as many tokens as its argument says, by PyJWT, and prints the seconds that took and the
last token's length."""

import os
import sys
import time

import jwt

count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
key = os.urandom(32)
token = ""
began = time.perf_counter()
for each in range(count):
    now = int(time.time())
    token = jwt.encode({"user_id": f"user-{each % 1000}", "role": "operator",
                        "iat": now, "exp": now + 86_400}, key, algorithm="HS256")
print(time.perf_counter() - began, len(token))
