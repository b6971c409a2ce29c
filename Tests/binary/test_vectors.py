"""jotd's verdicts on the vectors of the RFCs and on attacks, against PyJWT's."""

import base64
import hmac
import itertools
import json
from fnmatch import fnmatchcase

import jwt
import pytest

from conformance import (
    BIG, OUR_CLAIMS, OURS, assert_shown, exact, introspect, key, key_of, padding_to, plain, pyjwt,
    quotes, raw, run, seal, verify)
from conftest import SECRET
from test_tokens import HEADER, b64, sign

# MARK: Vectors of the RFCs

JWS_KEY = plain("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"
                "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
JOE = ("eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
       "cnVlfQ")
JOE_SIGNED = (f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}"
              ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
FRODO_KEY = plain("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg")
FRODO_HEADER = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9"
FRODO = b64("It\u2019s a dangerous business, Frodo, going out your door. You step onto the road, "
            "and if you don't keep your feet, there\u2019s no knowing where you might be swept off "
            "to.")
FRODO_SIGNATURE = "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"
B64_CONTROL = "eyJhbGciOiJIUzI1NiJ9.JC4wMg.5mvfOroL-g7HyqJoozehmsaqmvTYGEq5jTI1gVvoEoQ"
B64_HEADER = "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19"
B64_SIGNATURE = "A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY"
UNKNOWN = {"crit": ["http://example.com/UNDEFINED"], "http://example.com/UNDEFINED": True}
VECTORS = {  # section: key, token, and what is due first in the order of jotd(8)
    "RFC 7519 3.1": (JWS_KEY, JOE_SIGNED, "missing_claim"),
    "RFC 7519 6.1, RFC 7515 A.5": (JWS_KEY, f"eyJhbGciOiJub25lIn0.{JOE}.", "algorithm"),
    "RFC 7515 A.2, header": (JWS_KEY, seal(f"eyJhbGciOiJSUzI1NiJ9.{JOE}", JWS_KEY), "algorithm"),
    "RFC 7515 A.3, header": (JWS_KEY, seal(f"eyJhbGciOiJFUzI1NiJ9.{JOE}", JWS_KEY), "algorithm"),
    "RFC 7515 E": (
        JWS_KEY, "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQog"
        "Imh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.", "malformed"),
    "RFC 7515 E, our claims": (
        JWS_KEY, sign({"alg": "HS256", **UNKNOWN}, OUR_CLAIMS, JWS_KEY), "malformed"),
    "RFC 7516 A.1, shape": (
        JWS_KEY, "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFg"
        ".48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TAL.XFBoMYUZodetZdvTiFvSkQ", "malformed"),
    "RFC 7520 4.4": (FRODO_KEY, f"{FRODO_HEADER}.{FRODO}.{FRODO_SIGNATURE}", "malformed"),
    "RFC 7520 4.4, our claims": (
        FRODO_KEY, seal(f"{FRODO_HEADER}.{b64(OUR_CLAIMS)}", FRODO_KEY), OUR_CLAIMS),
    "RFC 7520 4.5, detached": (FRODO_KEY, f"{FRODO_HEADER}..{FRODO_SIGNATURE}", "malformed"),
    "RFC 7797 4.1": (JWS_KEY, B64_CONTROL, "malformed"),
    "RFC 7797 4.2, detached": (JWS_KEY, f"{B64_HEADER}..{B64_SIGNATURE}", "malformed"),
    "RFC 7797 4.2, attached": (JWS_KEY, f"{B64_HEADER}.$.02.{B64_SIGNATURE}", "malformed"),
}


def test_vectors_were_copied_right():
    for section in ("RFC 7519 3.1", "RFC 7520 4.4", "RFC 7797 4.1", "RFC 7797 4.2, attached"):
        secret, token, _ = VECTORS[section]
        assert seal(token.rsplit(".", 1)[0], secret) == token


@pytest.mark.parametrize("section", VECTORS)
def test_vectors_of_the_rfcs(tmp_path, section):
    secret, token, due = VECTORS[section]
    key = key_of(tmp_path, b64(secret).encode(), "--secret-encoding", "base64")
    assert verify(token, key) == due
    if due in (OUR_CLAIMS, "missing_claim"):  # the signature was looked at and held: no other does
        rest, signature = token.rsplit(".", 1)
        for bit in range(0, 256, 17):
            other = (int.from_bytes(plain(signature), "big") ^ 1 << bit).to_bytes(32, "big")
            assert verify(f"{rest}.{b64(other)}", key) == "signature"


@pytest.mark.parametrize("text,secret", [
    ("A-z_4ME", bytes([3, 236, 255, 224, 193])),  # RFC 7515 appendix C
    ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("Zm9vYg", b"foob"),  # RFC 4648 section 10
    ("Zm9vYmE=", b"fooba"), ("Zm9vYmFy", b"foobar")])
def test_base64_vectors_as_secrets(tmp_path, text, secret):
    key = key_of(tmp_path, text.encode(), "--secret-encoding", "base64", "--allow-weak-secret")
    assert verify(sign(HEADER, OUR_CLAIMS, secret), key) == OUR_CLAIMS


@pytest.mark.parametrize("encoding", ["utf8", "hex", "base64"])
@pytest.mark.parametrize("algorithm,size", [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_key_sizes_of_rfc_7518_section_3_2(tmp_path, algorithm, size, encoding):
    """The size of the hash will do, and one byte less will not: of bytes, once decoded."""
    for secret in (b"\xc3\xa9" * (size // 2), b"\xc3\xa9" * (size // 2 - 1) + b"!"):
        text = {"utf8": secret, "hex": secret.hex().encode(), "base64": base64.b64encode(secret)}
        key = key_of(
            tmp_path, text[encoding], "--algorithm", algorithm, "--secret-encoding", encoding)
        token = jwt.encode(OUR_CLAIMS, secret, algorithm)
        for command in ("verify", "refresh"):
            code = run(command, *key, stdin=token).returncode
            assert code == (0 if len(secret) == size else 78)
        assert verify(token, key, "--allow-weak-secret") == OUR_CLAIMS


# MARK: Attacks


def header(**members):
    return sign({**HEADER, **members}, OUR_CLAIMS)


GOOD = raw('"\u00bf?~\u00be\u00bf>"')  # with - and _ in its claims
HEAD, BODY, TAIL = GOOD.split(".")
SPARE = b64('{"alg":"HS256"} ')  # 16 bytes: four bits of the last digit mean nothing
EVIL = b"the attacker's own key, 32 bytes"
NESTED = '{"a":' * 30 + "[]" + "}" * 30
REFUSED = {
    "form": {  # malformed, to decode too
        **{f"nothing: {text}": text for text in ("", ".", "..", "...", "null", "{}")},
        "no header": f".{BODY}.{TAIL}", "no claims": seal(f"{HEAD}."), "two": f"{HEAD}.{BODY}",
        "four": GOOD + ".", "five": f"{HEAD}.{TAIL}.{TAIL}.{BODY}.{TAIL}", "quoted": f'"{GOOD}"',
        "detached": f"{HEAD}..{TAIL}", "bearer": f"Bearer {GOOD}", "trailing": f"{GOOD}.{TAIL}",
        "nested token": seal(f"{HEAD}.{b64(GOOD)}"), "90,000 bytes": "x" * 90_000,
        "flattened": json.dumps({"protected": HEAD, "payload": BODY, "signature": TAIL}),
        "general": json.dumps(
            {"payload": BODY, "signatures": [{"protected": HEAD, "signature": TAIL}]}),
        "padding, header": seal(f"{SPARE}==.{BODY}"), "padding, signature": GOOD + "=",
        "padding, claims": seal(f"{HEAD}.{b64(json.dumps(OUR_CLAIMS).ljust(100))}=="),
        "line break, claims": seal(f"{HEAD}.{BODY[:40]}\n{BODY[40:]}"),
        "line break, signature": GOOD[:-9] + "\r\n" + GOOD[-9:],
        "space, header": seal(f" {HEAD} .{BODY}"), "NUL": GOOD[:-9] + "\0" + GOOD[-9:],
        "other alphabet": seal(f"{HEAD}." + BODY.replace("-", "+").replace("_", "/")),
        "stray bits, header": seal(f"{SPARE[:-1]}B.{BODY}"), "stray": f"{GOOD[:-3]}!{GOOD[-3:]}",
        "BOM": sign(HEADER, b"\xef\xbb\xbf" + plain(BODY)), "BOM, outside": "\ufeff" + GOOD,
        "UTF-16": sign(HEADER, plain(raw().split(".")[1]).decode().encode("utf-16-le")),
        "lone surrogate": raw(r'"\ud800"'), "reversed surrogates": raw(r'"\udc00\ud800"'),
        "surrogate, name": raw(more=r',"\udfff":1'), "surrogate, UTF-8": raw('"\ud800"'),
        "overlong UTF-8": sign(HEADER, plain(BODY).replace(b"admin", b"admi\xc1\xae")),
        "twice": raw(more=',"role":"viewer"'), "twice, escaped": raw(more=r',"r\u006fle":"admin"'),
        "twice, deep": raw(more=',"x":[{"a":1,"b":2,"a":1}]'),
        "twice, header": sign('{"alg":"none","alg":"HS256"}', OUR_CLAIMS),
        "twice, header, escaped": sign(r'{"alg":"HS256","\u0061lg":"HS256"}', OUR_CLAIMS),
        "33 deep": raw(more=f',"x":[{NESTED}]'), "deeper": raw(more=',"x":' + "[" * 9999),
        "33 deep, header": sign(f'{{"alg":"HS256","x":[{NESTED}]}}', OUR_CLAIMS),
        "32 KiB + 1": raw(iat="1" * 10, more=f',"x":"{padding_to(BIG)}"'),
        **{f"exp {text}": raw(exp=text) for text in (
            "NaN", "Infinity", "+9999999999", "09999999999", "9999999999.", ".9e99", "0x2540be3ff",
            "9e", "9999999999L", "9_999_999_999", "'9999999999'", "--1")},
        "elsewhere NaN": raw(more=',"x":NaN'), "elsewhere -Infinity": raw(more=',"x":[-Infinity]'),
        "control": raw('"\n"'), "comma": raw(more=","), "comment": raw(more="/**/"),
        "a list": sign('["HS256"]', OUR_CLAIMS), "NUL after": sign(HEADER, plain(BODY) + b"\0"),
    },
    "malformed": {
        **{f"crit {value}": header(crit=value) for value in (["exp"], [], None, "alg")},
        "b64 true": header(b64=True), "b64 false": header(b64=False),
        **{f"{name} {text[:30]}": raw(**{name: text}) for name in ("iat", "exp") for text in (
            '"1"', '"9999999999"', "true", "false", "null", "[9999999999]", "{}", "1e999",
            "-1e999", "9" * 400, '""')},
        **{f"nbf {x}": raw(more=f',"nbf":{x}') for x in ('"1"', "true", "null", "[]", "1e999")},
        **{f"user_id {text}": raw(text) for text in ("7", "true", "null", '["u"]', "{}")},
    },
    "algorithm": {
        **{f"alg {name!a}": f"{b64({'alg': name, 'typ': 'JWT'})}.{BODY}." for name in (
            "none", "None", "NONE", "nOnE", "none ", " none", "n\u00f6ne", "none\0", "", "HS256\0",
            "hs256", "HS256 ", "\uff28\uff33256", None, 0, False, [], ["none"], {"none": 1})},
        **{f"alg {name}, signed": header(alg=name) for name in (
            "none", "RS256", "ES256", "PS256", "EdDSA", "ES256K", "HS384", "dir", "A256KW")},
        **{f"{name}, truly": jwt.encode(OUR_CLAIMS, SECRET, name) for name in ("HS384", "HS512")},
        "ALG": sign({"ALG": "HS256"}, OUR_CLAIMS), "no members": sign({}, OUR_CLAIMS),
    },
    "signature": {
        "none": f"{HEAD}.{BODY}.", "31 bytes": f"{HEAD}.{BODY}.{b64(plain(TAIL)[:31])}",
        "33 bytes": f"{HEAD}.{BODY}.{b64(plain(TAIL) + bytes(1))}", "doubled": f"{GOOD}{TAIL}AA",
        "as hex": f"{HEAD}.{BODY}.{b64(plain(TAIL).hex())}", "zeros": f"{HEAD}.{BODY}.{'A' * 43}",
        **{f"key and {end!a}": sign(HEADER, OUR_CLAIMS, SECRET + end) for end in "\n x"},
        "empty key": sign(HEADER, OUR_CLAIMS, ""),
        "of what the parts mean": f"{HEAD}.{BODY}." + b64(hmac.new(
            SECRET.encode(), plain(HEAD) + b"." + plain(BODY), "sha256").digest()),
        "own jwk": sign({**HEADER, "jwk": {"kty": "oct", "k": b64(EVIL)}}, OUR_CLAIMS, EVIL),
        "own x5c": sign({**HEADER, "x5c": [base64.b64encode(EVIL).decode()]}, OUR_CLAIMS, EVIL),
        "own jku": sign({**HEADER, "jku": "http://127.0.0.1/k"}, OUR_CLAIMS, EVIL),
        "own kid": sign({**HEADER, "kid": "../../../dev/null"}, OUR_CLAIMS, b""),
    },
    "missing_claim": {
        **{f"{new!a} for {name}": sign(
            HEADER, {n.replace(name, new): value for n, value in OUR_CLAIMS.items()})
           for name in OURS for new in ("x", name.title(), name + "\0", "\ufeff" + name)},
        "in a map": sign(HEADER, {"claims": OUR_CLAIMS}), "none at all": sign(HEADER, {}),
    },
    "expired": {f"exp {text}": raw(exp=text) for text in (
        "1", "0", "-0", "-1", "-1e308", "1.5", "1e3", "0.9999999999", "1e-999", "1700000000")},
    "not_yet_valid": {
        **{f"iat {text}": raw(iat=text) for text in (
            "9999999998", "1e10", "1e308", "9007199254740993", "18446744073709551616")},
        **{f"nbf {text}": raw(more=f',"nbf":{text}') for text in ("9999999998", "1e10", "1e308")},
    },
    "role": {f"role {json.dumps(role)}": raw(role=json.dumps(role)) for role in (
        "Admin", "ADMIN", " admin", "admin ", "admin\0", "admin\n", "root", "", "*", "\u0430dmin",
        "\uff41\uff44\uff4d\uff49\uff4e", "admin\u0301", "admin\u200d", "v\u0131ewer",
        "operator,admin", ["admin"], {"admin": 1}, True, 3, None)},
}
# What PyJWT believes and jotd does not: why, and patterns of the names above.
STRICTER = {
    "base64url has no padding, no line breaks and one spelling (RFC 7515 section 2)": [
        "padding,*", "line break,*", "space, header", "other alphabet", "stray bits,*"],
    "JSON is UTF-8, without a byte order mark (RFC 8259 section 8.1)": [
        "BOM", "UTF-16", "*surrogate*"],
    "a name that occurs twice is an attack (RFC 7519 section 4)": ["twice*"],
    "JSON has no such numbers (RFC 8259 section 6)": ["elsewhere *"],
    "the limits of jotd(8), and of IEEE 754 doubles": [
        "33 deep*", "32 KiB + 1", "exp 99999999999*"],
    "no extension is understood (RFC 7797)": ["b64 true"],
    "times are JSON numbers (RFC 7519 section 2)": [
        "iat true", "iat false", 'exp "9999999999"', 'nbf "1"', "nbf true"],
    "user_id is a string, and role one of three (jotd(8))": ["user_id [!n]*", "role [!n]*"],
}
# What some versions of PyJWT believe and others do not: Debian's 2.6.0-1+deb12u1 looks at crit
# (RFC 7515 section 4.1.11) and at the type of kid (section 4.1.4), the versions before it do not.
# jotd understands no extension, and does not look at kid.
IN_SOME_VERSIONS = ["crit *", "a kid that is a number"]
ACCEPTED = {
    "plain": GOOD, "no typ": sign({"alg": "HS256"}, OUR_CLAIMS),
    "32 deep": raw(more=f',"x":{NESTED}'),
    "32 KiB": raw(iat="1" * 10, more=f',"x":"{padding_to(BIG - 1)}"'),
    "keys that are not looked at": header(
        kid="7", jku="http://[::1]/k", x5u="http://[::1]/x", jwk={"k": b64(EVIL)}, x5c=["MII"]),
    "a kid that is a number": header(kid=7),
    "other members": header(ALG="none", Alg="HS512", typ=None, cty="JWT", zip="DEF", enc="A128GCM"),
    "white space": sign(' \t{"alg" :\r"HS256"}\n', json.dumps(OUR_CLAIMS, indent=2)),
    "escapes": sign(r'{"\u0061lg":"\u0048S256"}', plain(BODY).replace(b"o", rb"\u006f")),
    "times that are none": raw(more=r',"Exp":1,"EXP":1,"exp ":1,"exp\u0000":1,"NBF":{}'),
    "other types": raw(more=',"active":false,"iss":7,"sub":null,"aud":[1],"jti":{},"":1e999'),
    "alike": raw(more=',"\u00e9":1,"e\u0301":2,"\u212b":3,"\u00c5":4,"A\u030a":5'),
    "marks at the ends of names": raw(more=',"\u0301exp":1,"role\u0600":"viewer"'),
    **{f"exp {text[:30]}": raw(exp=text) for text in (
        "9999999999.5", "1e10", "1.0E+10", "9007199254740993", "9223372036854775808",
        "18446744073709551616", "1e308", "9" * 300, "0.1e+11")},
    **{f"iat {text}": raw(iat=text) for text in (
        "0", "-0", "-0.0", "-1", "1.5", "1e-999", "-1e308", "-18446744073709551616", "1E3")},
    **{f"nbf {text}": raw(more=f',"nbf":{text}') for text in ("0", "-0", "1.5", "-1e308", "1e-9")},
    **{f"user_id {text!a}": raw(text) for text in (
        '""', r'"\u0000"', r'"\ud83d\ude00"', '"\U0010ffff\ufeff\uffff"', '"\u202e\u0301\x7f"')},
}


def is_one_of(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@pytest.mark.parametrize("reason,name", [(r, name) for r in REFUSED for name in REFUSED[r]])
def test_attacks(key, introspect, reason, name):
    token = REFUSED[reason][name]
    due = "malformed" if reason == "form" else reason
    assert verify(token, key) == due
    done = run("refresh", *key, stdin=token)
    assert (done.returncode, done.stdout) == (65, b"") and not quotes(done.stderr, token)
    assert done.stderr.startswith(f"jotd: not refreshed: {due}: ".encode())
    done = run("decode", stdin=token)
    assert done.returncode == (65 if reason == "form" else 0), done
    assert not quotes(done.stdout + done.stderr, token)
    assert introspect(token) is None
    if not is_one_of(name, IN_SOME_VERSIONS):
        is_intended = is_one_of(name, itertools.chain(*STRICTER.values()))
        assert (pyjwt(token) is not None) == is_intended


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_only_looks_like_an_attack(key, introspect, name):
    token = ACCEPTED[name]
    claims = pyjwt(token)
    if claims is None and is_one_of(name, IN_SOME_VERSIONS):
        claims = OUR_CLAIMS
    assert exact(verify(token, key)) == exact(claims)
    assert run("refresh", *key, "--refresh-before=1s", stdin=token).stdout.decode() == token + "\n"
    assert_shown(token, claims)
    claims.pop("active", None)  # the service's own word (RFC 7662 section 2.2)
    assert exact(introspect(token)) == exact(claims)


def test_decode_shows_no_character_that_turns_the_direction_of_writing():
    """Those with the property Bidi_Control of Unicode, in names and values."""
    turning = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    shown = run("decode", stdin=sign(HEADER, {turning: turning})).stdout.decode()
    assert not set(turning) & set(shown)


def mutations(token):
    """Every change of one bit, each byte left out, doubled, swapped or after another, and parts."""
    for at in range(len(token)):
        before, byte, after = token[:at], token[at:at + 1], token[at + 1:]
        yield from (before + bytes([byte[0] ^ 1 << bit]) + after for bit in range(8))
        yield from (before + after, before + byte + byte + after)
        yield before + after[:1] + byte + after[1:]
        yield from (before + new + byte + after for new in (b"A", b"=", b".", b"\0", b"%41"))
    yield from map(b".".join, itertools.product(token.split(b"."), repeat=3))


def test_no_single_change_is_believed(key, introspect):
    token = raw().encode()
    for number, other in enumerate(sorted(set(mutations(token)) - {token})):
        assert introspect(other) is None
        if number % 20 == 0:
            assert verify(other, key) in ("malformed", "algorithm", "signature")
    for blanks in (b" ", b"\n", b"\t\r\n "):  # jotd(8): commands ignore them, and only commands
        assert introspect(blanks + token) is introspect(token + blanks) is None
        assert verify(blanks + token + blanks, key) == introspect(token) == pyjwt(token)
