"""Keys in devices: a SoftHSM by PKCS#11 and a TPM 2.0, pulled away and given back, hanging and
crashing, while everybody else has fresh tokens."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from conftest import PATIENCE, SECRET, Connection, accepted, eventually, jotd
from test_private_keys import CLAIMS, KEYS, OPEN, PEM, PKCS8, new_key, thumbprint, verified
from test_published_files import kids

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "739251"
LABELS = {"ES256": "vault", "ES384": "long", "RS256": "rsa", "PS256": "rsa"}


def run(*words, env):
    subprocess.run([str(word) for word in words], env={**os.environ, **env}, check=True,
                   capture_output=True, timeout=60)


class Hardware:
    """A token of SoftHSM in a folder, and what the driver needs to find it."""

    def __init__(self, home):
        self.home = home
        self.tokens = home.path("tokens")
        self.tokens.mkdir()
        home.path("softhsm.conf").write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\n"
            "log.level = ERROR\n")
        self.env = {"SOFTHSM2_CONF": str(home.path("softhsm.conf")), "PKCS11_MODULE_PATH": MODULE}
        run("softhsm2-util", "--init-token", "--free", "--label", "jotd", "--pin", PIN,
            "--so-pin", "5555", env=self.env)
        self.write_pin(PIN)

    def write_pin(self, pin):
        new = self.home.path("pin.new")
        new.write_text(pin)
        new.chmod(0o600)
        new.rename(self.home.path("pin"))

    def keep(self, name, key, number="01"):
        """Puts `key` into the token, in place of one of this name."""
        file = self.home.path("key.pem")
        file.write_bytes(key.private_bytes(PEM, PKCS8, OPEN))
        run("softhsm2-util", "--import", file, "--token", "jotd", "--label", name, "--id", number,
            "--pin", PIN, env=self.env)
        file.unlink()

    def pull(self):
        self.tokens.rename(self.home.path("pulled"))

    def give_back(self):
        self.home.path("pulled").rename(self.tokens)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory):
    """The folder of a token with keys in it, to be copied."""
    folder = tmp_path_factory.mktemp("stock")

    class Place:
        def path(self, name):
            return folder / name
    token = Hardware(Place())
    for name, label, number in (("ES256", "vault", "01"), ("ES384", "long", "02"),
                                ("RS256", "rsa", "03")):
        token.keep(label, KEYS[name], number)
    return token.tokens


@pytest.fixture
def hardware(home, stocked):
    token = Hardware(home)
    shutil.rmtree(token.tokens)
    shutil.copytree(stocked, token.tokens)
    return token


def configure(home, uri="pkcs11:token=jotd;object=vault", algorithm="ES256", life="4s",
              before="2s", key="", passphrase=", passphrase: { file: @/pin }"):
    """`a` has its key in a device, and `b` beside it."""
    home.config.write_text(f"""
socket: {{ path: @/socket }}
defaults: {{ lifetime: {life}, refresh_before: {before} }}
keys:
  vault:
    algorithm: {algorithm}
    private_key: {{ uri: "{uri}"{passphrase} }}
    jwks: [ {{ file: @/vault.jwks }} ]
{key}
  plain: {{ secret: {{ file: @/secret }} }}
identities:
  a: {{ user_id: alice, role: viewer, key: vault, deliver: [ {{ file: @/a.jwt }} ] }}
  b: {{ user_id: bob, role: viewer, key: plain, deliver: [ {{ file: @/b.jwt }} ] }}
""".replace("@", str(home.folder)))
    return home


def helpers(daemon):
    """The processes that hold a device for this daemon."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == daemon.pid:
                found.append(int(folder.name))
    return found


def health(home):
    with contextlib.closing(Connection(home.path("socket"), timeout=2)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().read().decode()


def asked(home, method, path, body=None):
    form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    with contextlib.closing(Connection(home.path("socket"))) as connection:
        connection.request(method, path, body, form)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode().strip()


def checked(home, key, name="ES256"):
    found = verified(home.read("a.jwt"), key, name)
    return found is not None and found["user_id"] == "alice"


@contextlib.contextmanager
def others_go_on(home, daemon):
    """While it lasts, `b` has a token that is not stale, and the daemon answers."""
    end = time.monotonic()
    yield lambda seconds: watch(home, end + seconds)
    assert accepted(home.read("b.jwt"), SECRET)
    assert daemon.process.poll() is None


def watch(home, end):
    while time.monotonic() < end:
        assert accepted(home.read("b.jwt"), SECRET)["exp"] - time.time() > 1
        health(home)
        time.sleep(0.05)


# MARK: Signing

@pytest.mark.parametrize("algorithm", LABELS)
def test_it_signs_by_every_algorithm(home, hardware, algorithm):
    configure(home, f"pkcs11:token=jotd;object={LABELS[algorithm]}", algorithm)
    said = jotd("check", "--config", home.config, env=hardware.env)
    assert PIN not in said.stdout + said.stderr
    token = jotd("mint", "--config", home.config, "--key", "vault", *CLAIMS,
                 env=hardware.env).stdout.strip()
    key = KEYS["RS256" if algorithm == "PS256" else algorithm]
    assert verified(token, key, algorithm)["user_id"] == "u"
    assert jwt.get_unverified_header(token)["kid"] == thumbprint(key)
    printed = jotd("key", "jwks", "--config", home.config, "--key", "vault", env=hardware.env)
    assert thumbprint(key) in printed.stdout


def test_a_token_that_would_be_too_long_is_not_signed(home, hardware):
    configure(home)
    said = jotd("mint", "--config", home.config, "--key", "vault", *CLAIMS, "--claim",
                f"more={'x' * 40_000}", env=hardware.env, expect=71).stderr
    assert "not longer than 32768 bytes: leave claims out" in said and "wrong" not in said


@pytest.mark.parametrize("uri,warned", [
    (f"pkcs11:token=jotd;object=vault;type=private?pin-value={PIN}", True),
    (f"pkcs11:token=jotd;object=vault;pin-value={PIN}", True),
    (f"pkcs11:token=jotd;id=%01?module-path={MODULE}", False),
    ("org.openssl.engine:pkcs11:pkcs11:token=jotd;object=vault", False),
    ("PKCS11:token=jotd;object=vault", False),
], ids=["query", "path", "module", "engine", "capitals"])
def test_a_key_is_named_as_other_programs_name_it(home, hardware, uri, warned):
    passphrase = "" if warned else ", passphrase: { file: @/pin }"
    configure(home, uri, passphrase=passphrase)
    env = {**hardware.env}
    if "module-path" in uri:
        env["PKCS11_MODULE_PATH"] = "/nowhere.so"
    said = jotd("check", "--config", home.config, env=env)
    assert ("has the PIN in it" in said.stderr) == warned and PIN not in said.stderr
    token = jotd("mint", "--config", home.config, "--key", "vault", *CLAIMS, env=env).stdout
    assert verified(token.strip(), KEYS["ES256"], "ES256")


def test_the_pin_of_a_uri_is_not_shown(home, hardware):
    hardware.pull()
    configure(home, f"pkcs11:token=jotd;object=vault?pin-value={PIN},4(2)&x=1", passphrase="")
    said = jotd("check", "--config", home.config, env=hardware.env, expect=78).stderr
    assert "object=vault?pin-value=...&x=1: it cannot be opened" in said and PIN not in said
    daemon = home.start(hardware.env)
    daemon.wait_for("pin-value=...&x=1: it cannot be opened")
    assert PIN not in health(home) and not any(PIN in line for line in daemon.lines)


def test_a_daemon_signs_and_lets_the_device_go(home, hardware):
    daemon = configure(home, life="60s", before="20s").start(hardware.env).ready()
    assert checked(home, KEYS["ES256"]) and kids(home.path("vault.jwks")) == [
        thumbprint(KEYS["ES256"])]
    eventually(lambda: helpers(daemon) == [])
    first = home.read("a.jwt")
    jotd("rotate", "--socket", home.path("socket"), "a")
    assert home.read("a.jwt") != first and checked(home, KEYS["ES256"])
    eventually(lambda: helpers(daemon) == [])
    last = home.read("a.jwt")
    for how in (signal.SIGTERM, signal.SIGKILL):
        daemon.process.send_signal(how)
        daemon.process.wait()
        daemon = home.start(hardware.env).ready()
        assert home.read("a.jwt") == last and daemon.count("a: the token found is kept") == 1
        assert daemon.count("is kept") == 2
    assert not any(PIN in line for line in daemon.lines)


def test_many_are_signed_one_after_the_other(home, hardware):
    configure(home, life="1h", before="10min")
    home.config.write_text(home.config.read_text() + "".join(
        f"  i{n:03}: {{ user_id: u{n}, role: viewer, key: vault, "
        f"deliver: [ {{ file: {home.folder}/{n}.jwt }} ] }}\n" for n in range(300)))
    daemon = home.start(hardware.env).ready()
    for n in range(300):
        assert verified(home.read(f"{n}.jwt"), KEYS["ES256"], "ES256")["user_id"] == f"u{n}"
    assert daemon.count("error") == 0


def test_the_helper_has_no_secret_in_its_arguments_or_its_environment(home, hardware):
    configure(home, life="3s", before="1s", passphrase=", passphrase: { env: DEVICE_PIN }",
              key="  other: { secret: { env: OTHER } }")
    daemon = home.start({**hardware.env, "DEVICE_PIN": PIN, "OTHER": SECRET,
                         "NOTIFY_SOCKET": ""})
    seen = 0
    end = time.monotonic() + 4
    # From the first on, which is there before the others' secrets have been read.
    while time.monotonic() < end:
        for pid in helpers(daemon):
            with contextlib.suppress(OSError):
                folder = pathlib.Path(f"/proc/{pid}")
                text = (folder / "cmdline").read_bytes()
                if os.geteuid() == 0:
                    text += (folder / "environ").read_bytes()
                assert PIN.encode() not in text and SECRET.encode() not in text
                seen += 1
    assert seen and checked(home, KEYS["ES256"])


# MARK: Pulled away

def test_it_is_pulled_away_and_given_back(home, hardware):
    daemon = configure(home).start(hardware.env).ready()
    for turn in (1, 2):
        with others_go_on(home, daemon) as go_on:
            hardware.pull()
            daemon.wait_for("a: no token could be made", times=turn)
            daemon.wait_for("key at pkcs11:token=jotd;object=vault: it cannot be opened",
                            times=turn)
            assert "it cannot be opened" in health(home)
            go_on(3)
            hardware.give_back()
            daemon.wait_for("the device with the key vault answers again", times=turn)
            daemon.wait_for("a: new token", times=daemon.count("a: new token") + 1)
        assert checked(home, KEYS["ES256"])
        eventually(lambda: "cannot be opened" not in health(home))


def test_it_is_not_there_at_the_start(home, hardware):
    configure(home, life="60s", before="20s").start(hardware.env).ready().stop()
    token, keys = home.read("a.jwt"), home.read("vault.jwks")
    hardware.pull()
    said = jotd("check", "--config", home.config, env=hardware.env, expect=78).stderr
    assert re.search(r"jotd\.yaml:7:\d+: the private key at pkcs11", said), said
    daemon = home.start(hardware.env)
    daemon.wait_for("ready: 1 of 2 identities delivered, failing: a")
    assert accepted(home.read("b.jwt"), SECRET)
    # What it signed stays, and so does what verifies that; nobody calls it wrong.
    assert home.read("a.jwt") == token and home.read("vault.jwks") == keys
    status, header, _ = asked(home, "POST", "/introspect", f"token={token}")
    assert status == 503 and header["Retry-After"] == "1"
    assert asked(home, "POST", "/introspect", f"token={token}&key=plain")[2] == '{"active":false}'
    plain = home.read("b.jwt")
    assert '"active":true' in asked(home, "POST", "/introspect", f"token={plain}")[2]
    assert asked(home, "GET", "/.well-known/jwks.json")[1]["Cache-Control"] == "no-store"
    hardware.give_back()
    daemon.wait_for("the device with the key vault answers again", within=30)
    daemon.wait_for("a: the token found is kept")
    assert home.read("a.jwt") == token and home.read("vault.jwks") == keys
    assert daemon.count("a: new token") == 0 and "failing" not in health(home)
    assert '"active":true' in asked(home, "POST", "/introspect", f"token={token}")[2]
    assert "max-age=" in asked(home, "GET", "/.well-known/jwks.json")[1]["Cache-Control"]


def test_a_reload_does_not_wait_for_it(home, hardware):
    daemon = configure(home).start(hardware.env).ready()
    with others_go_on(home, daemon):
        hardware.pull()
        home.config.write_text(home.config.read_text() + (
            f"  c: {{ user_id: carol, role: viewer, key: plain, "
            f"deliver: [ {{ file: {home.folder}/c.jwt }} ] }}\n"))
        daemon.reload()
        assert daemon.count("is refused") == 0
        eventually(home.path("c.jwt").exists)
        assert accepted(home.read("c.jwt"), SECRET)
        # What was issued is believed while it lasts.
        hardware.give_back()
        daemon.wait_for("the device with the key vault answers again")
        eventually(lambda: checked(home, KEYS["ES256"]))
    # Elsewhere, it is another key, which nobody has seen yet.
    configure(home, "pkcs11:token=jotd;object=none")
    daemon.reload()
    daemon.wait_for("the private key at pkcs11:token=jotd;object=none: it cannot be opened")
    daemon.wait_for("a: no token could be made")


def test_another_key_in_its_place(home, hardware):
    daemon = configure(home, life="20s", before="10s").start(hardware.env).ready()
    old, new = thumbprint(KEYS["ES256"]), new_key("ES256")
    shutil.rmtree(hardware.tokens)
    hardware.tokens.mkdir()
    run("softhsm2-util", "--init-token", "--free", "--label", "jotd", "--pin", PIN, "--so-pin",
        "5555", env=hardware.env)
    hardware.keep("vault", new)
    daemon.wait_for("the key vault changed: its tokens are replaced", within=30)
    eventually(lambda: checked(home, new))
    eventually(lambda: kids(home.path("vault.jwks")) == [thumbprint(new), old])


# MARK: Wrong answers

SPY = """
// Passes calls on to SoftHSM, and notes each login.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
typedef unsigned long (*login)(unsigned long, unsigned long, char *, unsigned long);
static login real;
static void *copy[100];
static unsigned long noted(unsigned long session, unsigned long user, char *pin,
                           unsigned long length) {
  FILE *file = fopen(getenv("LOGINS"), "a");
  fprintf(file, "%.*s\\n", (int)length, pin);
  fclose(file);
  return real(session, user, pin, length);
}
unsigned long C_GetFunctionList(void **list) {
  void *module = dlopen("MODULE", RTLD_NOW);
  unsigned long (*get)(void **) = dlsym(module, "C_GetFunctionList");
  unsigned long status = get(list);
  // CK_FUNCTION_LIST: a version, then the functions in their order; C_Login is the nineteenth.
  for (int index = 0; index < 69; index++)
    copy[index] = ((void **)*list)[index];
  real = (login)copy[19];
  copy[19] = noted;
  *list = copy;
  return status;
}
"""


@pytest.fixture
def logins(hardware, tmp_path):
    """What PINs the token was asked with."""
    (tmp_path / "spy.c").write_text(SPY.replace("MODULE", MODULE))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "spy.so", tmp_path / "spy.c"],
                   check=True)
    file = tmp_path / "logins"
    file.touch()
    hardware.env |= {"PKCS11_MODULE_PATH": str(tmp_path / "spy.so"), "LOGINS": str(file)}
    return lambda: file.read_text().split("\n")[:-1]


@pytest.mark.parametrize("way", ["pkcs11:", "org.openssl.engine:pkcs11:pkcs11:"])
def test_a_token_is_asked_once_with_each_wrong_pin(home, hardware, logins, way):
    """However many keys it has, whoever asks, and in whatever order PINs come and go."""
    hardware.write_pin("000000")
    other = (f'  other: {{ algorithm: RS256, private_key: {{ uri: "{way}object=rsa;token=jotd", '
             "passphrase: { file: @/pin } } }")
    daemon = configure(home, key=other).start(hardware.env)
    daemon.wait_for("ready: 1 of 2 identities delivered, failing: a")
    daemon.wait_for("the device refuses the passphrase")
    for pin in ("000001", "000000", "000000\n"):
        hardware.write_pin(pin)
        time.sleep(2.5)
    assert sorted(logins()) == ["000000", "000001"]
    # Who only asks what a reload would do, asks no device.
    jotd("check", "--reload", "--config", home.config, env=hardware.env)
    assert len(logins()) == 2
    # A reload tries once more.
    daemon.reload()
    eventually(lambda: len(logins()) == 3)
    hardware.write_pin(PIN)
    daemon.wait_for("the device with the key vault answers again", within=30)
    eventually(lambda: home.path("a.jwt").exists() and checked(home, KEYS["ES256"]))
    assert sorted(set(logins())) == ["000000", "000001", PIN] and len(
        [pin for pin in logins() if pin != PIN]) == 3


def test_a_pin_that_is_changed_in_the_token_alone(home, hardware, logins):
    daemon = configure(home).start(hardware.env).ready()
    eventually(lambda: helpers(daemon) == [])
    run("softhsm2-util", "--init-token", "--token", "jotd", "--label", "jotd", "--pin", "888888",
        "--so-pin", "5555", env=hardware.env)
    hardware.write_pin("777777")
    daemon.wait_for("a: no token could be made")
    daemon.wait_for("the device refuses the passphrase")
    time.sleep(5)
    wrong = [pin for pin in logins() if pin == "777777"]
    assert len(wrong) == 1


@pytest.mark.parametrize("pin", ["", "\n"])
def test_an_empty_pin_is_told_before_anybody_is_asked(home, hardware, logins, pin):
    hardware.write_pin(pin)
    said = jotd("check", "--config", configure(home).config, env=hardware.env, expect=78).stderr
    assert f"the passphrase file {home.path('pin')} is empty" in said and logins() == []


def test_words_of_a_path_are_no_refused_passphrase(home, hardware):
    key = home.path("my_pin auth.pem".replace(" ", "_"))
    daemon = configure(home, f"file:{key}").start()
    daemon.wait_for("it cannot be opened, if it is there")
    assert daemon.count("refuses") == 0
    key.write_bytes(KEYS["ES256"].private_bytes(PEM, PKCS8, OPEN))
    key.chmod(0o600)
    daemon.wait_for("the device with the key vault answers again", within=30)
    eventually(lambda: home.path("a.jwt").exists() and checked(home, KEYS["ES256"]))


def test_a_refused_pin_is_not_tried_again(home, hardware):
    hardware.write_pin("000000")
    daemon = configure(home).start(hardware.env)
    daemon.wait_for("the device refuses the passphrase (failed loading private key; PIN incorrect)")
    daemon.wait_for("ready: 1 of 2 identities delivered, failing: a")
    # Each try would wait for a helper.
    end = time.monotonic() + 5
    while time.monotonic() < end:
        assert helpers(daemon) == []
    hardware.write_pin(PIN)
    daemon.wait_for("the device with the key vault answers again", within=30)
    eventually(lambda: home.path("a.jwt").exists() and checked(home, KEYS["ES256"]))
    assert not any("000000" in line for line in daemon.lines)


@pytest.mark.parametrize("uri,algorithm,words", [
    ("pkcs11:token=jotd;object=rsa", "ES256", "it is an RSA key"),
    ("pkcs11:token=jotd;object=vault", "ES384", "P-256"),
    ("pkcs11:token=jotd;object=vault", "EdDSA", "EC key"),
])
def test_a_key_of_another_kind_is_an_error_everywhere(home, hardware, uri, algorithm, words):
    configure(home, uri, algorithm)
    for command in ("check", "run"):
        said = jotd(command, "--config", home.config, env=hardware.env, expect=78).stderr
        assert words in said and f"the private key at {uri}: " in said
    configure(home)
    daemon = home.start(hardware.env).ready()
    configure(home, uri, algorithm)
    daemon.reload()
    assert daemon.count("is refused") == 1


@pytest.mark.parametrize("uri", [
    "vault", "", ":", "1x:y", "pkcs11:", "pkcs11:object=a b", "pkcs11:object=ü",
    "pkcs11:" + "x" * 2048,
])
def test_what_is_no_uri(home, uri):
    configure(home, uri)
    said = jotd("check", "--config", home.config, expect=78).stderr
    assert "keys.vault.private_key.uri must be a URI of at most 2048" in said
    assert "object=a b" not in said


@pytest.mark.parametrize("source,kind", [
    ("secret: { uri: \"pkcs11:object=a\" }", "secret"),
    ("private_key: { uri: \"pkcs11:object=a\", file: /k }, algorithm: ES256", "private_key"),
    ("private_key: { file: /k, passphrase: { uri: \"pkcs11:object=a\" } }, algorithm: ES256",
     "passphrase"),
])
def test_where_no_uri_goes(home, source, kind):
    configure(home, key=f"  other: {{ {source} }}")
    said = jotd("check", "--config", home.config, expect=78).stderr
    assert kind in said and "uri" in said


def test_a_driver_that_crashes_takes_nobody_with_it(home, hardware, tmp_path):
    source = tmp_path / "crash.c"
    source.write_text("#include <stdlib.h>\n"
                      "unsigned long C_GetFunctionList(void **list) { abort(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "crash.so", source], check=True)
    env = {**hardware.env, "PKCS11_MODULE_PATH": str(tmp_path / "crash.so")}
    daemon = configure(home).start(env)
    daemon.wait_for("its driver crashed (signal 6)")
    daemon.wait_for("ready: 1 of 2 identities delivered, failing: a")
    with others_go_on(home, daemon) as go_on:
        go_on(3)


def test_a_driver_that_cannot_be_interrupted_is_ended(home, hardware, tmp_path):
    source = tmp_path / "deaf.c"
    source.write_text("#include <signal.h>\n#include <unistd.h>\n"
                      "unsigned long C_GetFunctionList(void **list) {\n"
                      "  signal(SIGALRM, SIG_IGN);\n  for (;;) pause();\n}\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "deaf.so", source], check=True)
    begin = time.monotonic()
    daemon = configure(home).start(
        {**hardware.env, "PKCS11_MODULE_PATH": str(tmp_path / "deaf.so")})
    daemon.wait_for("ready: 1 of 2 identities delivered, failing: a")
    assert time.monotonic() - begin < 9, "nobody waits for it"
    daemon.wait_for("it has not answered within 3s")
    with others_go_on(home, daemon) as go_on:
        daemon.wait_for("it does not answer within 10s", within=60)
        go_on(15)
        assert len(helpers(daemon)) <= 2
    assert daemon.count("hangs in the kernel") == 0, "it was ended"
    left = helpers(daemon)
    daemon.stop()
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in left))


# MARK: A TPM

def two_ports():
    """Free now, and one after the other, as the driver expects them."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port, port + 1


class TPM:
    """swtpm(8) at a port of its own, with what it keeps in a folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.ports = two_ports()
        self.env = {name: f"swtpm:host=127.0.0.1,port={self.ports[0]}"
                    for name in ("TPM2OPENSSL_TCTI", "TPM2TOOLS_TCTI")}
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", "--server",
             f"type=tcp,port={self.ports[0]},bindaddr=127.0.0.1", "--ctrl",
             f"type=tcp,port={self.ports[1]},bindaddr=127.0.0.1", "--flags",
             "not-need-init,startup-clear"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for port in self.ports:
            eventually(lambda port=port: self.answers(port))

    def answers(self, port):
        # It serves one at a time: who only looks at the ports hangs up before the next comes.
        found = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True)
        return "LISTEN" in found.stdout

    def stop(self):
        self.process.kill()
        self.process.wait()

    def tool(self, *words):
        run(*words, env=self.env)

    def keep(self, kind, handle, *more):
        """Makes a key of this kind and keeps it at this handle."""
        at = [self.folder / name for name in ("parent", "public", "private", "key")]
        self.tool("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", at[0])
        self.tool("tpm2_create", "-C", at[0], "-G", kind, "-u", at[1], "-r", at[2], *more)
        self.tool("tpm2_flushcontext", "-t")
        self.tool("tpm2_load", "-C", at[0], "-u", at[1], "-r", at[2], "-c", at[3])
        self.tool("tpm2_evictcontrol", "-C", "o", "-c", at[3], handle)
        self.tool("tpm2_flushcontext", "-t")
        self.tool("tpm2_readpublic", "-c", handle, "-f", "pem", "-o", self.folder / "pem")
        return serialization.load_pem_public_key((self.folder / "pem").read_bytes())

    @property
    def guesses(self):
        """How many wrong passphrases it counts (TPM_PT_LOCKOUT_COUNTER)."""
        found = subprocess.run(
            ["tpm2_getcap", "properties-variable"], env={**os.environ, **self.env}, check=True,
            capture_output=True, text=True).stdout
        return int(re.search(r"TPM2_PT_LOCKOUT_COUNTER: (\w+)", found)[1], 0)


@pytest.fixture
def tpm(tmp_path):
    tpm = TPM(tmp_path / "tpm")
    yield tpm
    tpm.process.send_signal(signal.SIGCONT)
    tpm.stop()


def signed_by(token, public, name):
    try:
        return jwt.decode(token, public, algorithms=[name])
    except jwt.InvalidTokenError:
        return None


def test_a_tpm_signs(home, tpm):
    public = tpm.keep("ecc256:ecdsa", "0x81000001")
    configure(home, "handle:0x81000001", passphrase="")
    daemon = home.start(tpm.env).ready()
    first = home.read("a.jwt")
    assert signed_by(first, public, "ES256")["user_id"] == "alice"
    eventually(lambda: home.read("a.jwt") != first)
    assert signed_by(home.read("a.jwt"), public, "ES256")
    # Without a reset of the device, and again and again.
    daemon.stop()
    home.start(tpm.env).ready()


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_a_passphrase_opens_it_and_a_wrong_one_is_tried_once(home, tpm, algorithm):
    public = tpm.keep("rsa2048", "0x81000002", "-p", PIN)
    pin = home.path("pin")
    pin.write_text(PIN + "\n")
    pin.chmod(0o600)
    configure(home, "handle:0x81000002", algorithm)
    daemon = home.start(tpm.env).ready()
    assert signed_by(home.read("a.jwt"), public, algorithm)["user_id"] == "alice"
    daemon.stop()
    pin.write_text("wrong")
    home.path("a.jwt").unlink()
    daemon = home.start(tpm.env)
    daemon.wait_for("ready: 1 of 2 identities delivered, failing: a")
    daemon.wait_for("the device refuses the passphrase")
    time.sleep(4)
    assert tpm.guesses == 1
    pin.write_text(PIN)
    daemon.wait_for("the device with the key vault answers again", within=30)
    eventually(lambda: home.path("a.jwt").exists()
               and signed_by(home.read("a.jwt"), public, algorithm))


def test_it_hangs_and_others_do_not_wait(home, tpm):
    public = tpm.keep("ecc256:ecdsa", "0x81000001")
    configure(home, "handle:0x81000001", passphrase="")
    daemon = home.start(tpm.env).ready()
    with others_go_on(home, daemon) as go_on:
        tpm.process.send_signal(signal.SIGSTOP)
        daemon.wait_for("a: no token could be made: the key vault does not answer", within=30)
        go_on(5)
        daemon.wait_for("it does not answer within 10s", within=30)
        # It is asked for no longer than that.
        eventually(lambda: len(helpers(daemon)) <= 2, PATIENCE)
        tpm.process.send_signal(signal.SIGCONT)
        daemon.wait_for("a: new token", times=daemon.count("a: new token") + 2, within=90)
    assert signed_by(home.read("a.jwt"), public, "ES256")
    eventually(lambda: "does not answer" not in health(home), 30)


def test_it_hangs_at_the_start(home, tpm):
    public = tpm.keep("ecc256:ecdsa", "0x81000001")
    tpm.process.send_signal(signal.SIGSTOP)
    configure(home, "handle:0x81000001", passphrase="")
    daemon = home.start(tpm.env)
    daemon.wait_for("ready: 1 of 2 identities delivered, failing: a", within=60)
    daemon.wait_for("the private key at handle:0x81000001: it has not answered within 3s")
    assert accepted(home.read("b.jwt"), SECRET)
    tpm.process.send_signal(signal.SIGCONT)
    daemon.wait_for("the device with the key vault answers again", within=90)
    eventually(lambda: home.path("a.jwt").exists()
               and signed_by(home.read("a.jwt"), public, "ES256"), 30)


def test_what_openssl_is_told_to_load_is_not_loaded_where_the_keys_are(home, tpm):
    public = tpm.keep("ecc256:ecdsa", "0x81000001")
    home.path("openssl.cnf").write_text(
        "openssl_conf = all\n[all]\nproviders = them\n[them]\ndefault = on\ntpm2 = on\n"
        "[on]\nactivate = 1\n")
    env = {**tpm.env, "OPENSSL_CONF": str(home.path("openssl.cnf"))}
    tpm.process.send_signal(signal.SIGSTOP)
    daemon = configure(home, "handle:0x81000001", passphrase="").start(env)
    daemon.wait_for("ready: 1 of 2 identities delivered, failing: a", within=30)
    if os.geteuid() == 0:
        assert "tpm2.so" not in pathlib.Path(f"/proc/{daemon.pid}/maps").read_text()
    tpm.process.send_signal(signal.SIGCONT)
    daemon.wait_for("the device with the key vault answers again", within=90)
    eventually(lambda: home.path("a.jwt").exists()
               and signed_by(home.read("a.jwt"), public, "ES256"), 30)


def test_a_tpm_is_taken_out_and_put_back(home, tpm):
    public = tpm.keep("ecc256:ecdsa", "0x81000001")
    configure(home, "handle:0x81000001", passphrase="")
    daemon = home.start(tpm.env).ready()
    with others_go_on(home, daemon) as go_on:
        tpm.stop()
        daemon.wait_for("a: no token could be made", within=30)
        daemon.wait_for("Identities keep the tokens that they have", within=30)
        go_on(3)
        tpm.start()
        daemon.wait_for("the device with the key vault answers again", within=90)
    eventually(lambda: signed_by(home.read("a.jwt"), public, "ES256"), 30)
