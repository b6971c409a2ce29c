"""A client whose credential is renewed by restarts of its unit, as the shipped example has it, and
what lets jotd's user restart it."""

import contextlib
import pathlib
import re
import threading
import time

import jwt
import pytest

from conftest import ROOT, eventually

RULE = "/etc/polkit-1/rules.d/50-jotd-hooks.rules"
CONFIG = """
signing: { secret: { credential: jwt-secret } }
socket: { path: /run/jotd/jotd.sock, credentials: /run/jotd/credentials.sock }
identities:
  front-door:
    user_id: example
    role: operator
    lifetime: LIFE
    refresh_before: BEFORE
    deliver: [ { file: /run/jotd/front-door.jwt } ]
    allow: [ { unit: camera-client.service } ]
    on_rotate: [ { restart: camera-client.service } ]
"""
# A client as most are: it takes its token once, and stays.
CLIENT = '#!/bin/sh\n[ -s "$2" ] && exec sleep infinity\n'


def config(life, before="0"):
    return CONFIG.replace("LIFE", life).replace("BEFORE", before)


@pytest.fixture
def client(configured):
    """Starts jotd with a configuration, and the shipped example of a client, which may be
    stopped."""
    containers = []

    def start(text):
        container = configured(text)
        containers.append(container)
        container.write("/usr/bin/camera-client", CLIENT, 0o755)
        container.write("/etc/systemd/system/camera-client.service",
                        (ROOT / "systemd/camera-client.service").read_text())
        container.sh("systemctl daemon-reload; systemctl start camera-client")
        eventually(lambda: credential(container))
        return container

    yield start
    for container in containers:
        container.sh("systemctl stop camera-client; systemctl reset-failed; "
                     "rm /etc/systemd/system/camera-client.service /usr/bin/camera-client; "
                     "systemctl daemon-reload")


def starts(container):
    """How often the client was started since the last boot."""
    text = container.sh("journalctl --sync; journalctl -b -o cat --no-pager "
                        "UNIT=camera-client.service").stdout
    return text.count("Started camera-client.service")


def credential(container):
    return container.sh("cat /run/credentials/camera-client.service/front-door", check=False).stdout


def token(container):
    return container.sh("cat /run/jotd/front-door.jwt").stdout


def rotate(container):
    """Until there is another token: within one second the same comes out again."""
    before = token(container)
    eventually(lambda: container.sh("jotd rotate front-door") and token(container) != before)


class Verifier(threading.Thread):
    """A camera service that asks the client for its token again and again, and counts those that
    have expired or have another secret's signature. While the client restarts there is none."""

    def __init__(self, container, secrets):
        super().__init__(daemon=True)
        # As the container sees it: its first process has its mounts.
        self.path = pathlib.Path(f"/proc/{container.leader}/root/run/credentials"
                                 "/camera-client.service/front-door")
        self.secrets = secrets
        self.admitted, self.refusals, self.seen = 0, [], set()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            try:
                text = self.path.read_text()
            except OSError:
                continue
            if text:
                self.judge(text)

    def judge(self, text):
        for secret in self.secrets:
            try:
                claims = jwt.decode(text, secret, algorithms=["HS256"])
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                self.refusals.append((time.time(), repr(error)))
                return
            self.admitted += 1
            self.seen.add((self.secrets.index(secret), claims["exp"]))
            return
        self.refusals.append((time.time(), "signature"))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(10)


def test_the_example_of_a_client_is_never_dark_over_ten_lifetimes(client, request):
    """Nor over a restart of jotd and a change of the secret in their midst."""
    container = client(config("6s", "4s"))
    old = container.sh("cat /etc/jotd/secret").stdout
    new = container.sh("jotd secret").stdout.strip()
    request.addfinalizer(lambda: container.write("/etc/jotd/secret", old, 0o600))
    with Verifier(container, [old, new]) as verifier:
        begin = time.monotonic()

        def lived(lifetimes):
            eventually(lambda: time.monotonic() - begin > 6 * lifetimes or verifier.refusals, 90)

        lived(4)
        container.sh("systemctl restart jotd")
        lived(7)
        container.write("/etc/jotd/secret", new, 0o600)
        container.sh("systemctl restart jotd")
        # The camera service has the new secret, too.
        eventually(lambda: any(number == 1 for number, _ in verifier.seen))
        verifier.secrets = [new]
        lived(10.5)
    assert verifier.refusals == []
    assert verifier.admitted > 100
    assert len({expiry for _, expiry in verifier.seen}) >= 20
    assert container.show("ActiveState", "camera-client") == "active"
    assert "failed" not in container.sh("jotd health").stdout


def expiry(text):
    return jwt.decode(text, options={"verify_signature": False})["exp"]


def test_a_client_comes_back_by_itself_after_an_outage(client):
    """One that ends meanwhile, and cannot start: however often systemd tries, that is not the
    end."""
    container = client(config("3s", "1s"))
    soon = "/run/systemd/system/camera-client.service.d"
    container.write(f"{soon}/soon.conf", "[Service]\nRestartSec=100ms\n")
    # Masked, because the client's unit would start it again.
    container.sh("systemctl daemon-reload; systemctl mask --runtime --now jotd")
    try:
        container.sh("systemctl kill camera-client", check=False)
        eventually(lambda: int(container.show("NRestarts", "camera-client")) > 6)
        eventually(lambda: expiry(token(container)) < time.time())
        assert credential(container) == ""
    finally:
        container.sh("systemctl unmask --runtime jotd; systemctl start jotd")
    secret = container.sh("cat /etc/jotd/secret").stdout
    given = eventually(lambda: credential(container))
    assert jwt.decode(given, secret, algorithms=["HS256"])["user_id"] == "example"
    container.sh(f"rm -r {soon}; systemctl daemon-reload")


def test_a_client_that_stays_through_an_outage_is_restarted(client):
    container = client(config("3s", "1s"))

    def stay():
        # It may be about to start anew just then.
        container.sh("systemctl start jotd")
        eventually(lambda: credential(container) == token(container))
        container.sh("systemctl stop jotd")
        return credential(container)

    stale = eventually(stay)
    eventually(lambda: expiry(stale) < time.time())
    assert credential(container) == stale
    container.sh("systemctl start jotd")
    eventually(lambda: credential(container) not in ("", stale))


def test_a_unit_that_starts_with_a_new_token_is_not_restarted_for_it(client):
    """The token of one that starts in the second half of its life is replaced first."""
    container = client(config("8s"))
    container.sh("systemctl stop camera-client")
    before = eventually(lambda: (
        lambda text: text if expiry(text) - time.time() < 4 else None)(token(container)))
    count = starts(container)
    asked = int(time.time())
    container.sh("systemctl start camera-client")
    given = eventually(lambda: credential(container))
    assert given != before
    assert expiry(given) >= asked + 8
    assert given == token(container)
    # It is restarted for the next one, and was not for this.
    container.sh("sleep 1")
    rotate(container)
    eventually(lambda: credential(container) not in ("", given))
    assert starts(container) == count + 2
    assert credential(container) == token(container)


def test_a_unit_that_was_stopped_stays_stopped(client):
    container = client(config("1h"))
    container.sh("systemctl stop camera-client")
    rotate(container)
    container.sh("sleep 1")
    assert container.show("ActiveState", "camera-client") == "inactive"
    assert container.sh("jotd health").stdout.startswith("JOTD OK")


def test_a_token_is_kept_over_a_restart_of_jotd_and_so_is_its_client(client):
    container = client(config("1h"))
    count, before = starts(container), credential(container)
    container.sh("systemctl restart jotd; sleep 1")
    assert credential(container) == before == token(container) and starts(container) == count
    # What another run handed out is not known: it is restarted once too often, and never too
    # rarely.
    rotate(container)
    eventually(lambda: credential(container) == token(container) != before)


def test_the_credential_of_the_readme_is_renewed(client):
    """With the configuration and the unit that stand there, and with those in the shipped
    example."""
    text = (ROOT / "README.md").read_text().split("A **systemd unit** can have")[1]
    [configuration] = re.findall(r"^```yaml\n(.*?)^```", text.split("### ")[0], re.M | re.S)
    [unit] = re.findall(r"^```ini\n(.*?)^```", text.split("### ")[0], re.M | re.S)
    shipped = (ROOT / "systemd/camera-client.service").read_text()
    for line in unit.splitlines():
        assert line in shipped.splitlines(), "the README and the example say the same"
    for key in ("allow", "on_rotate", "credentials"):
        [value] = re.findall(rf"^ *{key}: (.*)", configuration, re.M)
        assert f"{key}: {value}" in shipped
    container = client("signing: { secret: { credential: jwt-secret } }\n" + configuration)
    container.write("/etc/systemd/system/camera-client.service", unit)
    container.sh("systemctl daemon-reload; systemctl restart camera-client")
    before = eventually(lambda: credential(container))
    rotate(container)
    eventually(lambda: credential(container) == token(container) != before)


def may(container, verb, unit):
    return container.sh(
        f"runuser -u jotd -- systemctl --no-ask-password {verb} {unit}", check=False)


def test_the_rule_allows_what_the_hooks_need_and_nothing_else(client):
    container = client(config("1h"))
    assert container.sh(f"stat -c '%U %a' {RULE}").stdout.strip() == "root 644"
    assert container.sh("jotd polkit").stdout == container.sh(f"cat {RULE}").stdout
    assert may(container, "try-restart", "camera-client").returncode == 0
    for verb, unit in [("restart", "camera-client"), ("stop", "camera-client"),
                       ("start", "camera-client"), ("reload", "camera-client"),
                       ("kill", "camera-client"), ("try-restart", "dbus"),
                       ("try-restart", "camera-client.service.service"),
                       ("enable", "camera-client"), ("daemon-reload", "")]:
        done = may(container, verb, unit)
        assert done.returncode != 0, (verb, unit)
    done = container.sh(
        "runuser -u camera -- systemctl --no-ask-password try-restart camera-client", check=False)
    assert done.returncode != 0
    assert container.show("ActiveState", "camera-client") == "active"


def test_the_rule_follows_the_configuration(client):
    container = client(config("1h"))
    text = config("1h")
    inode = container.sh(f"stat -c %i {RULE}").stdout
    container.sh("systemctl reload jotd; systemctl restart jotd")
    assert container.sh(f"stat -c %i {RULE}").stdout == inode, "what did not change stays"
    odd = r"a\x2fb-@x.service"
    container.write(r"/run/systemd/system/a\x2fb-@.service", "[Service]\nExecStart=/bin/true\n")
    container.write("/etc/jotd/jotd.yaml", text.replace(
        "restart: camera-client.service }",
        f"reload: camera-client.service }}, {{ restart: '{odd}' }}"))
    container.sh("systemctl daemon-reload; systemctl reload jotd")
    eventually(lambda: may(container, "try-restart", "camera-client").returncode)
    # This client cannot be reloaded; but it may be asked to.
    assert "not applicable" in may(container, "reload", "camera-client").stderr
    assert may(container, "try-restart", f"'{odd}'").returncode == 0
    # A wrong configuration leaves the rule as it is, and so does one that others can write.
    before = container.sh(f"cat {RULE}").stdout
    for words in ("echo nonsense: true >> /etc/jotd/jotd.yaml", "chown jotd /etc/jotd/jotd.yaml"):
        container.write(
            "/etc/jotd/jotd.yaml", text.replace("camera-client.service }", "dbus.service }"))
        container.sh(f"{words}; systemctl reload jotd", check=False)
        assert container.sh(f"cat {RULE}").stdout == before
    container.sh("chown root /etc/jotd/jotd.yaml")
    container.write("/etc/jotd/jotd.yaml", re.sub(r"on_rotate:.*", "on_rotate: []", text))
    container.sh("systemctl reload jotd")
    assert container.sh(f"ls {RULE}", check=False).returncode != 0


def test_the_rule_is_written_through_no_link(client):
    container = client(config("1h"))
    container.sh(f"systemctl stop jotd; echo mine > /etc/precious; rm {RULE}; "
                 f"cd /etc/polkit-1/rules.d; ln -s /etc/precious {RULE}; "
                 "ln -s /etc/precious .50-jotd-hooks.new")
    container.sh("systemctl start jotd")
    assert container.sh("cat /etc/precious; rm /etc/precious").stdout == "mine\n"
    assert container.sh(f"stat -c %F {RULE}").stdout == "regular file\n"
    assert container.sh("ls -A /etc/polkit-1/rules.d").stdout.split() == [pathlib.Path(RULE).name]


@contextlib.contextmanager
def without_polkitd(container):
    service = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service"
    read_anew = "busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig"
    container.sh(f"mv {service} /root/; systemctl mask --runtime --now polkit; {read_anew}")
    try:
        yield
    finally:
        container.sh(f"mv /root/{service.rpartition('/')[2]} {service}; "
                     f"systemctl unmask --runtime polkit; {read_anew}")


def test_without_polkitd_the_hook_says_what_to_do_and_is_tried_again(client):
    container = client(config("1h"))
    with without_polkitd(container):
        rotate(container)
        eventually(lambda: "the hook restart camera-client.service failed" in container.said())
        assert "apt install polkitd, and then systemctl reload jotd" in container.said()
        assert "Trying again until it works" in container.said()
        assert credential(container) not in ("", token(container))
    container.sh("systemctl reload jotd")
    eventually(lambda: "restart camera-client.service works again" in container.said(), 90)
    eventually(lambda: credential(container) == token(container))
    assert container.said().count("the hook restart camera-client.service failed") == 1


def test_a_unit_that_an_earlier_run_could_not_restart_is_restarted_at_the_next_start(client):
    container = client(config("1h"))
    # It began in an earlier second than that of the token that it is to have.
    container.sh("sleep 1")
    with without_polkitd(container):
        rotate(container)
        eventually(lambda: "the hook restart camera-client.service failed" in container.said())
        container.sh("systemctl stop jotd")
    stale = credential(container)
    container.sh("systemctl start jotd")
    eventually(lambda: credential(container) == token(container) != stale)
    assert "the token found is kept" in container.said()
    count = starts(container)
    container.sh("systemctl restart jotd; sleep 1")
    assert starts(container) == count, "that is done once"
