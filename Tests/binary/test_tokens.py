"""What jotd mints, verifies, decodes and refreshes, against other people's libraries."""

import base64
import hashlib
import hmac
import json
import re
import subprocess
import time

import jwt
import pytest

from conftest import SECRET, claims_of, jotd

HEADER = {"alg": "HS256", "typ": "JWT"}


def b64(data):
    if not isinstance(data, (bytes, str)):
        data = json.dumps(data, separators=(",", ":"))
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header, claims, secret=SECRET, hash_name="sha256"):
    text = f"{b64(header)}.{b64(claims)}"
    key = secret if isinstance(secret, bytes) else secret.encode()
    return text + "." + b64(hmac.new(key, text.encode(), hash_name).digest())


def good(**changes):
    now = int(time.time())
    claims = {"user_id": "u", "role": "operator", "iat": now - 5, "exp": now + 3600}
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET)
    path.chmod(0o600)
    return ["--secret-file", str(path)]


def verdict(token, key, *more):
    done = subprocess.run(
        [jotd.__globals__["JOTD"], "verify", "--json", *key, *more, "--", token]
        if token else [jotd.__globals__["JOTD"], "verify", "--json", *key, *more],
        input="", text=True, capture_output=True, timeout=60)
    result = json.loads(done.stdout)
    assert (done.returncode == 0) == result["valid"], done
    assert done.returncode in (0, 65)
    return result


def test_bytes_are_those_of_the_contract(key):
    token = jotd("mint", *key, "--user-id", "user123", "--role", "admin").stdout.strip()
    head, _, tail = token.partition(".")
    assert head == "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    now = claims_of(token)["iat"]
    exact = f'{{"user_id":"user123","role":"admin","iat":{now},"exp":{now + 86400}}}'
    assert tail.split(".")[0] == b64(exact)
    assert abs(now - time.time()) < 5


@pytest.mark.parametrize("algorithm,size", [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_pyjwt_and_golang_jwt_accept_what_jotd_mints(tmp_path, algorithm, size):
    secret = "k" * (size - 3) + "\u00e9!"
    path = tmp_path / "secret"
    path.write_text(secret)
    path.chmod(0o600)
    key = ["--secret-file", path, "--algorithm", algorithm]
    token = jotd(
        "mint", *key, "--user-id", "caf\u00e9 \U0001f600 \"x\\", "--role", "viewer",
        "--lifetime", "1h 30min", "--claim", "aud=cameras", "--claim", 'n={"a":[1,null,true]}',
    ).stdout.strip()
    claims = jwt.decode(token, secret, algorithms=[algorithm], audience="cameras")
    assert claims["user_id"] == "caf\u00e9 \U0001f600 \"x\\"
    assert claims["n"] == {"a": [1, None, True]}
    assert claims["exp"] - claims["iat"] == 5400
    assert list(claims) == ["user_id", "role", "iat", "exp", "aud", "n"]
    shown = subprocess.run(
        ["jwt", "-alg", algorithm, "-key", path, "-verify", "-"], input=token, text=True,
        capture_output=True, check=True).stdout
    assert json.loads(shown) == claims


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_jotd_accepts_what_pyjwt_and_golang_jwt_mint(tmp_path, algorithm):
    secret = "s" * 64
    path = tmp_path / "secret"
    path.write_text(secret)
    path.chmod(0o600)
    key = ["--secret-file", str(path), "--algorithm", algorithm]
    claims = good(user_id="z\u00fc\u0301 \U0001f600", extra={"deep": [1.5e300, -0.0, "\u2028"]})
    tokens = [jwt.encode(claims, secret, algorithm=algorithm)]
    tokens.append(subprocess.run(
        ["jwt", "-alg", algorithm, "-key", path, "-sign", "-"], input=json.dumps(claims), text=True,
        capture_output=True, check=True).stdout.strip())
    for token in tokens:
        result = verdict(token, key)
        assert result["valid"], result
        assert result["claims"] == claims


def test_rfc7515_appendix_a1(tmp_path):
    path = tmp_path / "key"
    path.write_text(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"
        "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
    path.chmod(0o600)
    key = ["--secret-file", str(path), "--secret-encoding", "base64"]
    token = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
        ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290"
        "Ijp0cnVlfQ"
        ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    # The signature holds; what is missing are the camera service's claims.
    assert verdict(token, key)["reason"] == "missing_claim"
    assert verdict(token[:-1] + "l", key)["reason"] == "malformed"
    assert verdict(token[:-2] + "Wk", key)["reason"] == "signature"


REFUSED = {
    "expired": [
        lambda: sign(HEADER, good(exp=int(time.time()) - 1)),
        lambda: sign(HEADER, good(exp=int(time.time()))),
        lambda: sign(HEADER, good(exp=-1)),
        lambda: sign(HEADER, good(exp=0.5)),
    ],
    "not_yet_valid": [
        lambda: sign(HEADER, good(iat=int(time.time()) + 60)),
        lambda: sign(HEADER, good(nbf=int(time.time()) + 60)),
        lambda: sign(HEADER, good(iat=1e300)),
    ],
    "signature": [
        lambda: sign(HEADER, good(), "another secret"),
        lambda: sign(HEADER, good())[:-4] + "AAAA",
        lambda: sign(HEADER, good()).rsplit(".", 1)[0] + ".",
        lambda: sign(HEADER, good()).rsplit(".", 1)[0] + "." + b64(b"x" * 31),
        lambda: sign(HEADER, good(), hash_name="sha512"),
    ],
    "algorithm": [
        lambda: sign({"alg": "none"}, good()),
        lambda: f"{b64({'alg': 'none'})}.{b64(good())}.",
        lambda: sign({"alg": "HS512"}, good(), hash_name="sha512"),
        lambda: sign({"alg": "hs256"}, good()),
        lambda: sign({"typ": "JWT"}, good()),
        lambda: sign({"alg": ["HS256"]}, good()),
        lambda: sign({"alg": "RS256"}, good()),
        lambda: sign({"alg": "HS256\u0000"}, good()),
    ],
    "missing_claim": [
        lambda: sign(HEADER, good(user_id=None)),
        lambda: sign(HEADER, good(role=None)),
        lambda: sign(HEADER, good(iat=None)),
        lambda: sign(HEADER, good(exp=None)),
        lambda: sign(HEADER, {}),
    ],
    "role": [
        lambda: sign(HEADER, good(role="superuser")),
        lambda: sign(HEADER, good(role="Admin")),
        lambda: sign(HEADER, good(role="")),
        lambda: sign(HEADER, good(role=3)),
    ],
    "malformed": [
        lambda: "a.b", lambda: "..", lambda: ".", lambda: "a.b.c.d.e",
        lambda: "\u00e9.\u00e9.\u00e9",
        lambda: sign(HEADER, good()) + "=",
        lambda: sign(HEADER, good()) + ".",
        lambda: " ." + sign(HEADER, good()),
        lambda: sign(HEADER, '{"user_id":"u","user_id":"v","role":"admin","iat":1,"exp":9e9}'),
        lambda: sign(
            HEADER, '{"user_id":"u","role":"admin","iat":1,"exp":9e9,"x":{"a":1,"\\u0061":2}}'),
        lambda: sign('{"alg":"HS256","alg":"HS256"}', good()),
        lambda: sign(HEADER, "[1]"), lambda: sign(HEADER, "null"), lambda: sign("3", good()),
        lambda: sign(HEADER, b'{"user_id":"\xff"}'),
        lambda: sign(HEADER, '{"user_id":"\\ud800","role":"admin","iat":1,"exp":9e9}'),
        lambda: sign(HEADER, "[" * 10_000),
        lambda: sign(HEADER, '{"a":' * 100 + "1" + "}" * 100),
        lambda: sign(HEADER, good(iat="1")),
        lambda: sign(HEADER, good(exp=None, user_id=None))[:40],
        lambda: sign(HEADER, '{"user_id":"u","role":"admin","iat":01,"exp":9e9}'),
        lambda: sign(HEADER, '{"user_id":"u","role":"admin","iat":1,"exp":NaN}'),
        lambda: sign(HEADER, '{"user_id":"u","role":"admin","iat":1,"exp":1e999}'),
        lambda: sign(HEADER, '{"user_id":"u","role":"admin","iat":1,"exp":9e9} x'),
        lambda: sign(HEADER, good(user_id=7)), lambda: sign(HEADER, good(nbf="soon")),
        lambda: sign({"alg": "HS256", "crit": ["b64"], "b64": False}, good()),
        lambda: sign(HEADER, good(pad="x" * 40_000)),
        lambda: sign(HEADER, good()).replace(".", "\n."),
    ],
}


@pytest.mark.parametrize(
    "reason,make", [(reason, make) for reason, makes in REFUSED.items() for make in makes])
def test_what_is_refused_and_why(key, reason, make):
    result = verdict(make(), key)
    assert not result["valid"] and result["reason"] == reason, result
    assert result["detail"]


def test_a_token_of_the_next_seconds_is_not_yet_valid(key):
    """No leeway, beyond the second that two clocks may differ by."""
    while True:
        issued = int(time.time()) + 3
        result = verdict(sign(HEADER, good(iat=issued)), key)
        # A verdict that took so long that the token has become valid says nothing.
        if time.time() < issued - 1:
            break
    assert result["reason"] == "not_yet_valid", result


def test_stray_bits_and_padding_in_the_signature_are_refused(key):
    token = sign(HEADER, good())
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 32 bytes end in a digit with two bits that mean nothing: they must be zero.
    last = digits.index(token[-1])
    assert last % 4 == 0
    for stray in (1, 2, 3):
        assert verdict(token[:-1] + digits[last + stray], key)["reason"] == "malformed"
    assert verdict(token.replace("-", "+").replace("_", "/") + "=", key)["reason"] == "malformed"


def test_roles_include_those_below(key):
    order = ["viewer", "operator", "admin"]
    for have in order:
        for need in order:
            result = verdict(sign(HEADER, good(role=have)), key, "--required-role", need)
            assert result["valid"] == (order.index(have) >= order.index(need))
            assert result["valid"] or result["reason"] == "role"


def test_verify_reads_standard_input_and_an_argument(key):
    token = sign(HEADER, good())
    assert jotd("verify", *key, stdin=token + "\n").stdout.startswith('valid: "u", operator')
    assert jotd("verify", *key, token).stdout.startswith("valid:")
    assert "expired" in jotd(
        "verify", *key, sign(HEADER, good(exp=5)), expect=65).stderr
    assert "malformed" in jotd("verify", *key, expect=65).stderr


def test_refresh_verifies_first_and_keeps_claims(key):
    fresh = sign(HEADER, good(exp=int(time.time()) + 7200))
    done = jotd("refresh", *key, fresh)
    assert done.stdout.strip() == fresh and "left" in done.stderr
    old = sign(HEADER, good(exp=int(time.time()) + 60, aud=["a", "b"], n={"x": 1.50}))
    new = jotd("refresh", *key, "--lifetime", "2h", old).stdout.strip()
    claims = jwt.decode(new, SECRET, algorithms=["HS256"], audience="a")
    assert claims["exp"] - claims["iat"] == 7200 and claims["n"] == {"x": 1.5}
    assert claims["user_id"] == "u" and claims["role"] == "operator"
    for forged in (sign(HEADER, good(exp=int(time.time()) - 60)),
                   sign(HEADER, good(exp=int(time.time()) + 60), "other"), "x.y.z"):
        done = jotd("refresh", *key, forged, expect=65)
        assert done.stdout == "" and "not refreshed" in done.stderr


def test_decode_verifies_nothing_and_says_so(key):
    done = jotd("decode", stdin=sign(HEADER, good(user_id="a\x1b[31m\u202e")))
    assert "Nothing was verified" in done.stdout
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert "in 59min" in done.stdout
    assert jotd("decode", "nonsense", expect=65).stdout == ""


def test_time_zone_and_locale_change_nothing(key):
    token = sign(HEADER, good(iat=1640995200, exp=1641081600))
    zones = [{"TZ": "UTC", "LC_ALL": "C"}, {"TZ": "Pacific/Kiritimati", "LC_ALL": "de_DE.UTF-8"}]
    shown = {re.sub(r"\S+ \S+ ago", "", jotd("decode", token, env=zone).stdout) for zone in zones}
    assert len(shown) == 1 and "2022-01-01T00:00:00Z" in shown.pop()
    minted = jotd("mint", *key, "--user-id", "u", "--role", "viewer",
                  env={"TZ": "Pacific/Kiritimati"}).stdout.strip()
    assert abs(claims_of(minted)["iat"] - time.time()) < 5


def test_secrets_come_from_variables_files_pipes_and_encodings(tmp_path):
    raw = hashlib.sha256(b"x").digest()
    for encoding, text in [
        ("hex", raw.hex()), ("hex", raw.hex().upper() + "\n"),
        ("base64", base64.b64encode(raw).decode() + "\n"), ("base64", b64(raw)),
    ]:
        token = jotd(
            "mint", "--secret-env", "S", "--secret-encoding", encoding, "--user-id", "u", "--role",
            "admin", env={"S": text}).stdout.strip()
        jwt.decode(token, raw, algorithms=["HS256"])
    for wrong in ("zz", "abd", "=", "A===", "AA=A", "A", "A?==", "ab c"):
        jotd("mint", "--secret-env", "S", "--secret-encoding", "base64", "--allow-weak-secret",
             "--user-id", "u", "--role", "admin", env={"S": wrong}, expect=78)
    pipe = subprocess.run(
        ["bash", "-c",
         f'{jotd.__globals__["JOTD"]} mint --user-id u --role admin '
         f'--secret-file <(printf %s "{SECRET}")'],
        capture_output=True, text=True, check=True).stdout.strip()
    jwt.decode(pipe, SECRET, algorithms=["HS256"])


@pytest.mark.parametrize("secret", [
    "short", "dev-secret-change-me", "your-secret-key",
    "edge-device-secret-key-change-in-production",
    "EDGE-device-secret-key-change-in-production\n", "x" * 31, ""])
def test_weak_secrets_are_refused(secret):
    done = jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "admin",
                env={"S": secret}, expect=78)
    assert done.stdout == ""
    assert len(secret) < 8 or secret not in done.stderr


def test_new_secrets_are_32_random_bytes():
    first, second = (jotd("secret").stdout.strip() for _ in range(2))
    assert first != second
    assert len(base64.b64decode(first, validate=True)) == 32


@pytest.mark.parametrize("arguments", [
    ["mint", "--user-id", "u", "--role", "root"],
    ["mint", "--user-id", "", "--role", "admin"],
    ["mint", "--role", "admin"],
    ["mint", "--user-id", "u", "--role", "admin", "--lifetime", "1s"],
    ["mint", "--user-id", "u", "--role", "admin", "--lifetime", "11y"],
    ["mint", "--user-id", "u", "--role", "admin", "--lifetime", "soon"],
    ["mint", "--user-id", "u", "--role", "admin", "--expiry-hours", "0"],
    ["mint", "--user-id", "u", "--role", "admin", "--claim", "exp=5"],
    ["mint", "--user-id", "u", "--role", "admin", "--claim", "x"],
    ["mint", "--user-id", "u", "--role", "admin", "--claim", "a=1", "--claim", "a=2"],
    ["verify", "--required-role", "boss", "x"],
    ["nonsense"], ["run", "--nonsense"],
])
def test_wrong_usage_exits_with_64(arguments):
    assert jotd(*arguments, env={"S": SECRET}, expect=64).stderr


def test_expiry_hours_is_hours(key):
    token = jotd("mint", *key, "--user-id", "u", "--role", "viewer", "--expiry-hours", "3").stdout
    claims = claims_of(token.strip())
    assert claims["exp"] - claims["iat"] == 3 * 3600
