"""What becomes of claims on their way through configurations, `mint` and tokens: at the limits, and
with random ones, against PyJWT.

Everything random is derandomized: each run has the same examples, and keeps none of them on disk.
"""

import itertools
import json
import math
import os
import re
import time

import jwt
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from conformance import (
    BIG, OURS, assert_shown, configure, exact, introspect, key, key_of, padding_to,
    pyjwt, quotes, run, serving, verify)
from conftest import SECRET
from test_tokens import HEADER, b64, sign

set_hypothesis_home_dir(os.devnull)  # its tables of Unicode would go into the tree

# MARK: Limits and names, on the way in


@pytest.mark.parametrize("depth", [31, 32, 33])
def test_what_mint_makes_of_deep_json_can_be_verified(key, depth):
    """jotd(8): a value is read as JSON if it is JSON; a token is nested at most 32 deep."""
    text = "[" * depth + "]" * depth
    done = run("mint", *key, "--user-id", "u", "--role", "admin", "--claim", f"n={text}")
    assert done.returncode == 64 or verify(done.stdout, key)["n"] == json.loads(text)


NEARLY_JSON = {
    "{": "a member name must be a string", "{}x": "something follows the JSON value",
    " \t\r\n[1": "an array must end with ]", '{"a":1,"\\u0061":2}': "twice in one object",
    '"': "must end with a quotation mark", '"\1"': "control character",
    r'["\ud800"]': "lone surrogate", "[" * 32 + "]" * 32: "more than 31 deep"}


@pytest.mark.parametrize("text", NEARLY_JSON)
def test_what_begins_like_json_becomes_no_string_by_mistake(key, text):
    done = run("mint", *key, "--user-id", "u", "--role", "admin", "--claim", f"n={text}")
    assert (done.returncode, done.stdout) == (64, b"")
    assert 'the value of "n" begins like JSON' in done.stderr.decode()
    assert NEARLY_JSON[text] in done.stderr.decode()
    claim = f"n={json.dumps(text)}"
    done = run("mint", *key, "--user-id", "u", "--role", "admin", "--claim", claim)
    assert verify(done.stdout, key)["n"] == text


@pytest.mark.parametrize("size,codes", [(BIG - 1, (0, 0)), (BIG, (65, 78))])
def test_tokens_of_32_kib_can_be_made_and_no_longer_ones(tmp_path, key, size, codes):
    x = padding_to(size)
    done = run("mint", *key, "--user-id", "u", "--role", "admin", "--claim", f"x={x}")
    home = configure(tmp_path, f"{{ a: {{ user_id: u, role: admin, claims: {{ x: {x} }} }} }}")
    assert (done.returncode, run("check", "--config", home.config).returncode) == codes


@pytest.mark.parametrize("algorithm,signature", [("HS256", 43), ("HS384", 64), ("HS512", 86)])
def test_what_check_accepts_at_the_limits_verify_accepts(tmp_path, algorithm, signature):
    """Tokens of 32 KiB, and claims as deep as a document has room for, behind an alias too."""
    x, deep = padding_to(BIG - 1, signature), "[" * 28 + "]" * 28
    for x, deep, code in [(x + "x", deep, 78), (x, f"[{deep}]", 78), (x, deep, 0)]:
        home = configure(
            tmp_path, f"\n  big: {{ user_id: u, role: admin, claims: {{ x: {x} }} }}\n"
            f"  deep: {{ user_id: u, role: admin, claims: {{ x: &x {deep}, y: *x }} }}", algorithm)
        home.write_secret(SECRET * 2)
        assert run("check", "--config", home.config).returncode == code
    with serving(home) as ask:
        big, deep = (ask("GET", f"/v1/identities/{name}/token").body for name in ("big", "deep"))
    assert len(big) == BIG - 1 and verify(big, ["--config", home.config])["x"] == x
    assert verify(deep, ["--config", home.config]) == pyjwt(deep, SECRET * 2, algorithm)


@pytest.mark.parametrize("names", [["\u00e9", "e\u0301"], ["\u212b", "\u00c5"], ["<<"]], ids=ascii)
def test_names_are_told_apart_by_code_points(tmp_path, key, names):
    """RFC 8259 section 8.3; YAML 1.2.2 section 3.2.1.3. In quotes, << is a name like others."""
    claims = ", ".join(f'"{name}": 1' for name in names)
    home = configure(tmp_path, f"{{ a: {{ user_id: u, role: admin, claims: {{ {claims} }} }} }}")
    done = run("check", "--config", home.config)
    assert done.returncode == 0, done.stderr.decode()
    options = itertools.chain(*(("--claim", f"{name}=1") for name in names))
    assert run("mint", *key, "--user-id", "u", "--role", "admin", *options).returncode == 0


def test_claims_that_no_token_may_have_are_found_however_they_are_written(tmp_path):
    claims = [
        '"role": x', "'iat': 1", r'"\x65xp": 9', "!!str user_id: x", "? exp", "&a nbf: '1'",
        "x: 1e309", "x: [-1e999]", "x: +.Inf", "x: 0o7777777777777777777777", "x: " + "9" * 400]
    home = configure(tmp_path, "".join(
        f"\n  i{n}: {{ user_id: u, role: admin, claims: {{ {claim} }} }}"
        for n, claim in enumerate(claims)))
    done = run("check", "--config", home.config)
    lines = [int(line.split(b":")[1]) for line in done.stderr.splitlines()]
    assert done.returncode == 78 and lines == list(range(4, 4 + len(claims))), done


# MARK: Random claims

# What YAML, JSON, HTTP forms, terminals or Swift's strings could take for something else.
TRICKY = [
    "", " ", "~", "null", "True", "yes", "0o17", "0x1F", "1e3", ".5", "-0", "007", "1_000", ".inf",
    ".NaN", "=", "---", "...", "- x", "a: b", "#", "? ", "!!int 1", "&a", "*a", "%TAG", "@", "`",
    "|", ">", "{}", "[", ",", "'", '"', "\\", "\\u0041", "a\nb", "\r\n", "\n\n x \n", "\t", "\1",
    "\x1b[31m", "\x7f", "\x85", "\u00e9", "\u0301", "\u0338=", "\u0600", "\u200d", "\u202e",
    "\u2028", "\ufeff", "\ufffe", "\U0001f600\u200d\U0001f525", "\U0010ffff", "constructor", "iat "]
REGISTERED = {*OURS, "iss", "sub", "aud", "nbf", "jti", "active", "<<"}
NAMES = st.sampled_from(TRICKY) | st.text(max_size=6)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.sampled_from(TRICKY), st.text(max_size=12),
        st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(
            [0, -0.0, 2**53 + 1, 2**63, -2**63 - 1, 2**64, 10**300, 5e-324, 1e23, 1e308])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8)
CLAIMS = st.dictionaries(
    NAMES.filter(lambda name: name not in REGISTERED), VALUES, min_size=2, max_size=12)
USERS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=64)


def examples(count, *strategies):
    """Random values, the same on each run: many for one daemon, which a test for each is not."""
    found = []

    @settings(max_examples=count, derandomize=True, database=None, deadline=None,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.tuples(*strategies))
    def collect(values):
        found.append(values)
    collect()
    return found


@pytest.fixture(scope="module")
def random_claims():
    """Pairs of a user_id and further claims."""
    return examples(240, USERS, CLAIMS)


# The core schema: YAML 1.2.2, the table of section 10.3.2.
CORE = [
    ("null", r"null|Null|NULL|~|", lambda text: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9]+", int), ("int", r"0o[0-7]+", lambda text: int(text[2:], 8)),
    ("int", r"0x[0-9a-fA-F]+", lambda text: int(text[2:], 16)),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: math.inf)]


def core(text):
    return next((read(text) for _, pattern, read in CORE if re.fullmatch(pattern, text)), text)


class CoreDumper(yaml.SafeDumper):
    """Puts into quotes what the core schema would not read as a string."""

    yaml_implicit_resolvers = {}


for tag, regexp, _ in CORE:
    CoreDumper.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(rf"({regexp})\Z"), None)

STYLES = [
    {"default_flow_style": False}, {"default_flow_style": True, "width": 40}, {"canonical": True},
    {"default_style": '"', "width": 30}, {"default_style": "|", "indent": 5},
    {"default_style": ">"}, {"default_style": "'", "allow_unicode": True}, {"allow_unicode": True}]


@pytest.fixture(scope="module")
def plain_scalars():
    """Texts with their values: numbers and what is nearly one, but none that JSON cannot hold."""
    shapes = [st.from_regex(rf"({pattern})\Z", fullmatch=True) for _, pattern, _ in CORE]
    nearly = st.text("0123456789+-.eExoXOabcfinINFAulTtrsy~_", max_size=7)
    values = {text: core(text) for text, in examples(900, st.one_of(*shapes, nearly))}
    return {text: value for text, value in values.items() if text != "-" and not (
        value in (math.inf, -math.inf) or text[:2] in ("0o", "0x") and len(f"{value}") > 19)}


@pytest.fixture(scope="module")
def minted(tmp_path_factory, random_claims, plain_scalars):
    """The claims that PyJWT finds in the token of an identity, by its name."""
    home = configure(tmp_path_factory.mktemp("minted"))
    home.path("jotd.d").mkdir(0o755)
    styled = [{} for _ in STYLES]
    for n, (user, claims) in enumerate(random_claims):
        # U+0085, unescaped, is a line break to scanners of YAML 1.1, and libyaml is one.
        style = n % (6 if r"\x85" in repr(claims) else 8)
        styled[style][f"i{n}"] = {"user_id": user, "role": "viewer", "claims": claims}
    for n, (style, identities) in enumerate(zip(STYLES, styled)):
        home.path(f"jotd.d/{n}.yaml").write_text(yaml.dump(
            {"identities": identities}, Dumper=CoreDumper, sort_keys=False, **style))
    home.path("jotd.d/scalars.yaml").write_text(
        "identities:\n  scalars:\n    user_id: u\n    role: admin\n    claims:\n      block:\n"
        + "".join(f"      - {text}\n" for text in plain_scalars)
        + f"      flow: [ {', '.join(text or '~' for text in plain_scalars)} ]\n")
    with serving(home) as ask:
        yield lambda name: pyjwt(ask("GET", f"/v1/identities/{name}/token").body)


def test_random_claims_of_a_configuration(minted, random_claims):
    """Each is what it was before it went through YAML, jotd and JSON, in the same order."""
    for n, (user, claims) in enumerate(random_claims):
        got = minted(f"i{n}")
        assert list(got) == OURS + list(claims)
        ours = {"user_id": user, "role": "viewer", "iat": got["iat"], "exp": got["iat"] + 86400}
        assert exact(got) == exact({**claims, **ours})


def test_random_plain_scalars_are_what_the_core_schema_says(minted, plain_scalars):
    got = minted("scalars")
    for (text, value), *both in zip(plain_scalars.items(), got["block"], got["flow"], strict=True):
        assert exact(both) == exact([value] * 2), text


def test_random_claims_of_other_libraries_are_kept(key, introspect, random_claims):
    """verify gives them, decode shows them, and refresh keeps them."""
    for n, (user, claims) in enumerate(random_claims):
        exp = int(time.time()) + 600  # below the threshold of refresh
        claims = {**claims, "role": "operator", "exp": exp, "user_id": f"{user}\0", "iat": 0.5}
        text = json.dumps(claims, ensure_ascii=False)
        token = jwt.encode(claims, SECRET) if n % 2 else sign(HEADER, text)
        assert exact(introspect(token)) == exact(claims)
        if n % 4 < 2:
            assert exact(verify(token, key)) == exact(claims)
            assert_shown(token, claims)
            new = pyjwt(run("refresh", *key, stdin=token).stdout.decode().strip())
            assert new["exp"] == new["iat"] + 86400 > exp
            assert exact({**new, "iat": 0.5, "exp": exp}) == exact(claims)


def test_random_claims_and_keys_of_mint(tmp_path):
    """A value is JSON if it is JSON; names and values unlike JSON are taken as they are."""
    words = st.sampled_from(TRICKY) | st.text(
        st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=9)
    names = words.filter(lambda name: name not in REGISTERED and re.fullmatch("[^-=][^=]*", name))
    values = VALUES.map(lambda value: (value, json.dumps(value, ensure_ascii=False)))
    texts = words.filter(lambda word: not re.match(r'[ \t\r\n]*[{\["]', word)).map(
        lambda word: (word + "x", word + "x"))
    for claims, secret, algorithm in examples(
            80, st.dictionaries(names, values | texts),
            st.binary(min_size=64, max_size=200), st.sampled_from(["HS256", "HS384", "HS512"])):
        key = key_of(
            tmp_path, secret.hex().encode(), "--secret-encoding", "hex", "--algorithm", algorithm)
        options = itertools.chain(*(("--claim", f"{n}={text}") for n, (_, text) in claims.items()))
        done = run("mint", *key, "--user-id", "u", "--role", "admin", *options)
        assert done.returncode == 0, done
        got = pyjwt(done.stdout.decode().strip(), secret, algorithm)
        assert exact(verify(done.stdout, key)) == exact(got)
        assert exact({name: value for name, value in got.items() if name not in OURS}) == exact(
            {name: value for name, (value, _) in claims.items()})


# MARK: Random texts

SNIPPETS = [
    b"", b'"', b"\\", b"\\u0000", b"\\ud800", b"\\udc00", b"\\u0065", b"\\x", b"\xff", b"\xc2\xa0",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0", b" ", b"\t", b"\x0c", b"\x1f", b"\x7f", b"{", b"}",
    b"[", b"]", b",", b":", b"-", b"+", b"0", b"1", b".", b"e9", b"1e999", b"null", b"true", b"NaN",
    b"/**/", b'"exp":9e9,', b'"alg"', b'"HS256"', b'"iat":0,', b'"nbf":', b'"role":"viewer",']
EDITS = st.lists(
    st.tuples(st.integers(0, 120), st.sampled_from([0, 0, 0, 1, 2]), st.sampled_from(SNIPPETS)),
    min_size=1, max_size=2)


def strictly(text):
    """An object of RFC 8259 in UTF-8, whose names occur once, as jotd(8) asks; None for others."""
    def members(pairs):
        return dict(pairs) if len(dict(pairs)) == len(pairs) else json.loads("twice")
    try:
        value = json.loads(text.decode(), object_pairs_hook=members, parse_constant=json.loads)
        return value if json.dumps(value, ensure_ascii=False).encode()[:1] == b"{" else None
    except (ValueError, RecursionError):
        return None


def test_random_edits_are_believed_when_pyjwt_and_the_documentation_agree(introspect):
    """Signed texts that are nearly JSON: no reader may find a sense in them that others do not."""
    believed = 0
    for is_header, edits in examples(1200, st.booleans(), EDITS):
        texts = [b'{"alg":"HS256","typ":"JWT","x":[1]}', (
            b'{"user_id":"u","role":"admin","iat":1,"exp":9999999999,"nbf":-1.5e3,'
            b'"x":[{"a":"b\\n\\u00e9"},true,null]}')]
        text = texts[not is_header]
        for at, size, snippet in edits:
            text = text[:at] + snippet + text[at + size:]
        texts[not is_header] = text
        token = sign(*texts)
        head, claims = map(strictly, texts)
        is_due = (
            pyjwt(token) is not None and head is not None and claims is not None
            and not {"crit", "b64"} & set(head) and isinstance(claims["user_id"], str)
            and claims["role"] in ("viewer", "operator", "admin")
            and all(type(claims.get(name, 0)) in (int, float) for name in ("iat", "exp", "nbf")))
        got = introspect(token)
        assert exact(got) == exact(claims if is_due else None), texts
        believed += is_due
    assert believed > 50, "edits that break every text say little"


def test_random_bytes_crash_nothing_and_are_not_quoted(key, introspect):
    part = st.binary(max_size=60).map(lambda data: b64(data).encode()) | st.binary(max_size=9)
    for token, in examples(
            100, st.binary(max_size=300) | st.lists(part, min_size=2, max_size=5).map(b".".join)
            | st.binary(max_size=80).map(lambda data: sign(HEADER, data).encode())):
        reason = verify(token, key)
        assert isinstance(reason, str) and introspect(token) is None
        for done in (run("refresh", *key, stdin=token), run("decode", stdin=token)):
            assert done.returncode == 65 and not done.stdout and not quotes(done.stderr, token)
        argument = os.fsdecode(token.replace(b"\0", b""))
        assert isinstance(verify(b"", key, "--", argument), str)
