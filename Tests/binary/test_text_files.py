"""`format: text`: a token in any text of a client's; and `max_bytes`, which its clients take."""

import datetime
import json
import re

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from conftest import SECRET, accepted, claims_of, eventually, jotd
from test_private_keys import KEYS, OPEN, PEM, PKCS8, jwk, new_key, written

URL = "rtsp://cam:8554/front?jwt={token}"


@pytest.fixture
def text(home):
    """Delivers `template` to t, with other keys behind it; every quote of it is YAML's own."""
    def write(template, keys="", life="1d", before="1h", **others):
        quoted = template.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return home.one(
            f'[ {{ file: @/t, format: text, template: "{quoted}"{keys} }} ]', life, before,
            **others)
    home.text = write
    return home


@pytest.mark.parametrize("template", [
    URL, "{token}", "{token}\n", "{\"token\":\"{token}\",\"ends\":\"{expires_at}\"}",
    "# {identity} until {expires_at}\nmain = cam?jwt={token}\nsub = cam?jwt={token}&x\n",
    " {{token}} {} { token } {to-ken} }{", "ключ={token}", "{token}" * 16, "x" * 4089 + "{token}",
])
def test_the_text_is_the_template_with_the_token_in_it(text, template):
    text.text(template)
    jotd("check", "--config", text.config)
    daemon = text.start().ready()
    content = text.read("t")
    token = re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]{43}", content)[0]
    end = claims_of(token)["exp"]
    assert accepted(token, SECRET)
    shown = template.replace("{token}", token).replace("{identity}", "a")
    ends = re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", content)
    if ends:
        shown = shown.replace("{expires_at}", ends[0])
        assert datetime.datetime.fromisoformat(ends[0][:-1] + "+00:00").timestamp() == end
    assert content == shown
    # A restart keeps it, byte for byte, and the file with it.
    inode = text.path("t").stat().st_ino
    daemon.stop()
    text.start().ready()
    assert text.read("t") == content and text.path("t").stat().st_ino == inode


def test_it_is_replaced_as_a_token_is(text):
    text.text(URL, life="4s", before="2s")
    daemon = text.start().ready()
    first = text.read("t")
    eventually(lambda: text.read("t") != first)
    text.path("t").unlink()
    eventually(lambda: text.path("t").exists())
    text.path("t").write_text("rtsp://cam/?jwt=" + jwt.encode({}, SECRET))
    eventually(lambda: text.read("t").startswith("rtsp://cam:8554/front?jwt="))
    daemon.wait_for("was removed")
    assert daemon.count("was removed") == 1


@pytest.mark.parametrize("keys", ["", ", in_place: true"])
@pytest.mark.parametrize("content,isReplaced", [
    ("", True), ("\n", True), ("{0}", True), ("TOKEN={0}\n", True),
    ("rtsp://cam:8554/front?jwt={0}", True),
    # Another template was there before.
    ("rtsps://else:8322/back?token={0}&x=1\n", True),
    ("rtsp://cam:8554/front", False), ("my notes on {0}\nand more\n", False),
    ('{{"identitytoken":"{0}","more":"precious"}}', False), ("{0} " + "x" * 40_000, False),
    ("paths:\n  all:\n    source: rtsp://cam?jwt={0}\n", False),
    ("rtsp://cam:8554/front?jwt=none", False),
])
def test_what_is_no_such_text_is_not_replaced(text, content, isReplaced, keys):
    content = content.format(jwt.encode({"x": 1}, "somebody else's secret that is long"))
    text.path("t").write_text(content)
    text.text(URL, keys)
    jotd("check", "--config", text.config, expect=0 if isReplaced else 78)
    text.start().ready()
    if isReplaced:
        assert accepted(text.read("t").removeprefix("rtsp://cam:8554/front?jwt="), SECRET)
    else:
        assert text.read("t") == content


TEMPLATE = "# until {expires_at}\nurl=x?jwt={token}\nend\n"


@pytest.mark.parametrize("start", range(0, 260, 13))
def test_in_place_what_a_cut_write_leaves_is_replaced(text, start):
    """A new text up to any byte, and an older one from there on."""
    old = TEMPLATE.format(
        expires_at="2026-11-27T10:00:00Z", token=jwt.encode({"x": "y" * 40}, "s" * 32))
    new = TEMPLATE.format(expires_at="2026-11-28T10:00:00Z", token=jwt.encode({}, "t" * 32))
    text.path("t").write_text(new[:start] + old[start:])
    text.text(TEMPLATE, ", in_place: true")
    jotd("check", "--config", text.config)
    text.start().ready()
    assert accepted(re.search("jwt=(.*)", text.read("t"))[1], SECRET)


@pytest.mark.parametrize("template,content", [
    ("A={token}", "A={0}\nB=precious\n"),
    ("machine cam password {token}\n", "machine cam password {0}\nmachine bank password mine\n"),
    ("[main]\npassword={token}\n", "[main]\n"), ("{token}\nx", "eyJ anything\nmy notes\n"),
    ("{expires_at} {token}", "12345"), ("A={token}\n", "A={0}\nA=precious\n"),
    ("A={token}B\n", "A={0}\nA=eyJB\n"),
])
def test_in_place_what_no_cut_write_leaves_stays(text, template, content):
    content = content.replace("{0}", jwt.encode({}, SECRET))
    text.path("t").write_text(content)
    text.text(template, ", in_place: true")
    jotd("check", "--config", text.config, expect=78)
    text.start().ready()
    assert text.read("t") == content


def test_another_template_comes_with_a_reload_and_with_a_restart(text):
    text.text(URL)
    daemon = text.start().ready()
    text.text("two lines\n{token}\n")
    daemon.reload()
    eventually(lambda: text.read("t").startswith("two lines\neyJ"))
    text.text("{token} on one line\n")
    daemon.reload()
    eventually(lambda: text.read("t").endswith(" on one line\n"))
    daemon.stop()
    text.text(URL)
    daemon = text.start().ready()
    assert text.read("t").startswith("rtsp://cam:8554/front?jwt=eyJ")
    # A text of several lines could be anybody's: only who wrote it replaces it.
    text.text("two lines\n{token}\n")
    daemon.reload()
    eventually(lambda: text.read("t").startswith("two lines\neyJ"))
    text.text("three\nlines\n{token}\n")
    said = jotd("check", "--config", text.config, expect=78).stderr
    assert "only a running jotd replaces that wrote it: reload that" in said
    daemon.reload()
    eventually(lambda: text.read("t").startswith("three"))
    daemon.stop()
    text.text("two lines\n{token}\n")
    daemon = text.start().ready()
    daemon.wait_for("holds another text with a token in it")
    text.path("t").unlink()
    eventually(lambda: text.read("t").startswith("two") if text.path("t").exists() else False)


# The budget


def size(home, budget, template=URL, key=""):
    """How large the file is, by what `check` says of a budget that is too small."""
    home.text(template, f", max_bytes: {budget}", extra=key)
    said = jotd("check", "--config", home.config, expect=78).stderr
    location, count = re.match(
        r".*jotd\.yaml:(\d+:\d+): .*/t would have (\d+) bytes with a token of a, and max_bytes is "
        rf"{budget}: leave claims out, or shorten the template\n", said).groups()
    line, column = map(int, location.split(":"))
    # It is the budget that it points at.
    assert home.config.read_text().splitlines()[line - 1][column - 1:].startswith(str(budget))
    return int(count)


def test_check_refuses_what_is_over_the_budget_and_says_by_how_much(text):
    count = size(text, 100)
    text.text(URL, f", max_bytes: {count}")
    jotd("check", "--config", text.config)
    daemon = text.start().ready()
    assert len(text.read("t")) == count
    # A reload refuses it, too, and the client keeps what it has.
    text.text(URL, f", max_bytes: {count - 1}")
    daemon.reload()
    daemon.wait_for(f"max_bytes is {count - 1}")
    assert daemon.count("is refused") and len(text.read("t")) == count


def test_a_start_goes_on_without_what_is_over_the_budget(text):
    """Which nobody may cut off: its client has no token then, and the others have theirs."""
    text.one(
        f'[ {{ file: @/t, max_bytes: 100 }}, {{ file: @/a.jwt }} ]', life="1d", before="1h")
    daemon = text.start().ready()
    daemon.wait_for("and max_bytes is 100: nothing is written")
    assert accepted(text.read("a.jwt"), SECRET) and not text.path("t").exists()


def test_what_an_earlier_run_left_is_held_to_the_budget_too(text):
    text.text(URL)
    text.start().ready().stop()
    before = text.read("t")
    text.text(URL, ", max_bytes: 100")
    text.start().ready().wait_for("and max_bytes is 100: nothing is written")
    assert text.read("t") == before


@pytest.mark.parametrize("name,bits", [("ES256", 0), ("RS256", 3072), ("EdDSA", 0)])
def test_the_budget_is_of_the_key_that_signs(text, name, bits):
    key = rsa.generate_private_key(65537, bits) if bits else KEYS[name]
    written(text.path("key.pem"), key.private_bytes(PEM, PKCS8, OPEN))
    text.text(URL, ", max_bytes: 100")
    own = text.config.read_text().replace(
        f"signing:\n  secret: {{ file: {text.secret} }}",
        f"keys:\n  k: {{ algorithm: {name}, private_key: {{ file: {text.path('key.pem')} }} }}")
    text.config.write_text(own)
    said = jotd("check", "--config", text.config, expect=78).stderr
    count = int(re.search(r"would have (\d+) bytes", said)[1])
    text.config.write_text(own.replace("max_bytes: 100", f"max_bytes: {count}"))
    jotd("check", "--config", text.config)
    text.start().ready()
    assert len(text.read("t")) == count


def test_a_key_whose_tokens_grow_over_the_budget_leaves_the_old_ones(text):
    """The configuration was right; the key is another one now."""
    key = KEYS["RS256"]
    written(text.path("key.pem"), key.private_bytes(PEM, PKCS8, OPEN))
    text.config.write_text(f"""
signing: {{ algorithm: RS256, private_key: {{ file: {text.path('key.pem')} }} }}
identities:
  a: {{ claims: {{ sub: a }}, deliver: [ {{ file: {text.path('t')}, max_bytes: 600 }},
    {{ file: {text.path('a.jwt')} }} ] }}
""")
    daemon = text.start().ready()
    before = text.read("t")
    larger = rsa.generate_private_key(65537, 4096)
    written(text.path("new.pem"), larger.private_bytes(PEM, PKCS8, OPEN))
    text.path("new.pem").rename(text.path("key.pem"))
    daemon.wait_for("and max_bytes is 600: nothing is written")
    eventually(lambda: text.read("a.jwt") != before)
    assert text.read("t") == before
    # The former key again, and all is well.
    written(text.path("new.pem"), key.private_bytes(PEM, PKCS8, OPEN))
    text.path("new.pem").rename(text.path("key.pem"))
    daemon.wait_for("works again")
    eventually(lambda: text.read("t") == text.read("a.jwt"))


@pytest.mark.parametrize("beside", [
    "generate: { folder: @/ring }", "private_key: { credential: nobody-has-it }"])
def test_a_key_that_check_cannot_read_hides_no_other(home, beside):
    written(home.path("key.pem"), rsa.generate_private_key(65537, 4096).private_bytes(
        PEM, PKCS8, OPEN))
    written(home.path("jwk"), json.dumps(jwk(KEYS["EdDSA"]) | {"kid": "k"}))
    def check(budget, own, expect):
        home.config.write_text(f"""
keys:
  r: {{ algorithm: RS256, private_key: {{ file: @/key.pem }} }}
  k: {{ algorithm: EdDSA, private_key: {{ file: @/jwk }} }}
  e: {{ algorithm: ES256, {beside} }}
identities:
  a: {{ claims: {{ sub: a }}, key: r, deliver: [ {{ file: @/a, max_bytes: {budget} }} ] }}
  b: {{ claims: {{ sub: b }}, key: k, deliver: [ {{ file: @/b, max_bytes: {own} }} ] }}
  c: {{ claims: {{ sub: c }}, key: e, deliver: [ {{ file: @/c }} ] }}
""".replace("@", str(home.folder)))
        said = jotd("check", "--config", home.config, expect=expect).stderr
        return [int(count) for count in re.findall(r"would have (\d+) bytes", said)]
    large, small = check(600, 100, 78)
    assert large > 800 and small < 200
    check(large, small, 0)
    assert check(large - 1, small - 1, 78) == [large, small]


def test_what_is_not_known_of_a_key_is_a_warning(home):
    """Of one that only the service sees. How long its name is only itself says."""
    home.config.write_text(f"""
keys: {{ k: {{ algorithm: ES256, private_key: {{ credential: nobody-has-it }} }} }}
identities:
  a: {{ claims: {{ sub: a }}, deliver: [ {{ file: {home.path('t')}, max_bytes: 100 }} ] }}
""")
    said = jotd("check", "--config", home.config).stderr
    assert "was not checked" in said
    count = int(re.search(r"would have about (\d+) bytes", said)[1])
    key = written(home.path("key.pem"), new_key("ES256").private_bytes(PEM, PKCS8, OPEN))
    printed = jotd("mint", "--private-key-file", key, "--algorithm", "ES256", "--claim", "sub=a")
    assert len(printed.stdout.strip()) == count


def test_a_ring_of_keys_is_known_before_it_is_made(home):
    home.config.write_text(f"""
keys: {{ k: {{ algorithm: ES256, generate: {{ folder: {home.path('ring')} }} }} }}
identities:
  a: {{ claims: {{ sub: a }}, deliver: [ {{ file: {home.path('t')}, max_bytes: 100 }} ] }}
""")
    said = jotd("check", "--config", home.config, expect=78).stderr
    count = int(re.search(r"would have (\d+) bytes", said)[1])
    home.config.write_text(home.config.read_text().replace("100", str(count)))
    jotd("check", "--config", home.config)
    home.start().ready()
    assert len(home.read("t")) == count
