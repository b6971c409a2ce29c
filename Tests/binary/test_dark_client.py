"""The pages for somebody whose client is dark, and the client that the README shows: followed to
the letter, on planted causes."""

import pathlib
import re
import subprocess
import sys
import tempfile
import time

import jwt
import pytest

from conftest import JOTD, PATIENCE, SECRET, eventually, needs_root

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "doc/dark-client.md").read_text()
STEPS = re.split(r"^## \d\. ", PAGE, flags=re.M)[1:]
IDENTITY = """  front-door:
    user_id: front-door-client
    role: {role}
    lifetime: {life}
    refresh_before: {before}
    deliver: [ {{ file: {folder}/{file}, owner: {owner}, mode: '0600' }} ]
    allow: [ {{ user: {allowed} }} ]
    on_rotate: [ {{ run: [ {hook} ] }} ]
"""
USUAL = {"role": "operator", "life": "1d", "before": "1h", "file": "front-door.jwt",
         "owner": "nobody", "allowed": "nobody", "hook": "/bin/true"}


class Host:
    """A daemon, and the commands of the page as its operator calls them."""

    def __init__(self, home):
        self.home, self.daemon = home, None
        home.folder.chmod(0o711)
        # Others reach it, too.
        for folder in home.folder.parents:
            if folder == pathlib.Path(tempfile.gettempdir()):
                break
            folder.chmod(0o711)

    def configure(self, **changes):
        words = {**USUAL, "folder": self.home.folder, **changes}
        self.home.config.write_text(
            f"signing: {{ secret: {{ file: {self.home.secret} }} }}\n"
            f"socket: {{ path: {self.home.path('s')}, mode: '0666' }}\n"
            "identities:\n" + IDENTITY.format(**words))

    def start(self):
        self.daemon = self.home.start()
        self.daemon.ready()

    def said(self, step, secret=None):
        """What the commands of a step say; the journal is what the daemon wrote."""
        command = re.search(r"^    (.*)$", STEPS[step - 1], re.M)[1]
        if command.startswith("journalctl"):
            return "\n".join(self.daemon.lines[-50:])
        command = (
            command.replace("sudo -u camera", "setpriv --reuid=nobody --clear-groups --")
            .replace("sudo ", "").replace("/run/jotd", str(self.home.folder))
            .replace("--secret-file FILE", f"--secret-file {secret}"))
        asks = re.sub(r"\bjotd (status|verify)(?! --secret-file)", rf"{JOTD} \1 --config "
                      f"{self.home.config}", command)
        command = re.sub(r"(\| )jotd verify", rf"\1{JOTD} verify", asks)
        if "verify --required-role" in command:
            command = command.replace(
                f"--config {self.home.config}", f"--secret-file {self.home.secret}")
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout + done.stderr

    def leads(self, *words, secret=None):
        """Goes through the steps as far as `words`, one for each; each but the last sends to the
        next."""
        for step, word in enumerate(words, 1):
            said = self.said(step, secret)
            assert word in said, (step, word, said)
            if word:
                assert word in STEPS[step - 1], f"the page does not know {word!r} in step {step}"


@pytest.fixture
def host(home):
    host = Host(home)
    host.configure()
    host.start()
    return host


def ask(host):
    """The client asks on the query socket, as nobody."""
    subprocess.run(
        ["setpriv", "--reuid=nobody", "--clear-groups", "--", "curl", "-s", "--unix-socket",
         host.home.path("s"), "http://jotd/v1/identities/front-door/token"], check=True,
        capture_output=True)


@needs_root
def test_all_is_well(host):
    host.leads("fresh", "valid", "", "valid", secret=host.home.secret)


@needs_root
def test_jotd_does_not_run(host):
    host.daemon.stop()
    host.leads("does the daemon run?")


@needs_root
def test_the_identity_was_added_and_not_applied(host):
    host.home.config.write_text(
        host.home.config.read_text().replace("front-door:", "back-door:"))
    host.leads("is not what runs")


@needs_root
def test_the_folder_is_gone(host):
    host.daemon.stop()
    host.configure(file="gone/front-door.jwt")
    host.start()
    host.leads("missing")
    assert "create the folder" in host.said(1)


@needs_root
def test_the_client_reads_another_file(host):
    host.daemon.stop()
    host.configure(file="elsewhere.jwt")
    host.home.path("front-door.jwt").unlink()
    host.start()
    host.leads("fresh", "No such file or directory")


@needs_root
def test_the_client_reads_what_a_script_left(host):
    host.daemon.stop()
    host.configure(file="elsewhere.jwt")
    now = int(time.time())
    for times, secret, word in [
            (-100, SECRET, "not valid: expired"), (100, "x" * 40, "not valid: signature")]:
        host.home.path("front-door.jwt").write_text(jwt.encode(
            {"user_id": "u", "role": "admin", "iat": now - 200, "exp": now + times}, secret))
        host.start()
        host.leads("fresh", word)
        host.daemon.stop()


@needs_root
def test_the_client_reads_another_form(host):
    host.daemon.stop()
    host.configure(file="front-door.jwt, format: env, variable: TOKEN")
    host.start()
    host.leads("fresh", "not valid: malformed")
    # As the page says to cut the token out.
    command = re.search(r"`sudo (grep .*?) FILE \| sudo jotd verify`", PAGE)[1]
    done = subprocess.run(
        f"{command} {host.home.path('front-door.jwt')} | {JOTD} verify --secret-file "
        f"{host.home.secret}", shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("valid"), done


@needs_root
def test_a_container_was_given_the_file_and_not_the_folder(host):
    """It still shows the first token, whatever is renamed over the file."""
    host.configure(life="3s", before="1s")
    host.daemon.reload()
    shown = host.home.path("shown")
    shown.touch()
    client = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c",
         f"mount --bind {host.home.path('front-door.jwt')} {shown}; echo mounted; exec sleep 60"],
        stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout.readline() == "mounted\n"
        command = re.search(r"`sudo (nsenter .*?) FILE \\\| sudo jotd verify`", PAGE)[1]

        def seen():
            return subprocess.run(
                f"{command.replace('PID', str(client.pid))} {shown} | {JOTD} verify --secret-file "
                f"{host.home.secret}", shell=True, capture_output=True, text=True).stderr
        eventually(lambda: "not valid: expired" in seen())
        assert "fresh" in host.said(1) and "not valid: expired" in STEPS[2]
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


@needs_root
def test_the_role_is_too_low(host):
    host.configure(role="viewer")
    host.daemon.reload()
    host.leads("fresh", "not valid: role")


@needs_root
def test_the_client_may_not_read_the_file(host):
    host.configure(owner="root")
    host.daemon.reload()
    eventually(lambda: host.home.path("front-door.jwt").stat().st_uid == 0)
    host.leads("fresh", "valid", "Permission denied")


@needs_root
def test_the_service_has_another_secret(host):
    other = host.home.path("other")
    other.write_text(SECRET + "\n")
    other.chmod(0o600)
    host.leads("fresh", "valid", "", "not valid: signature", secret=other)


@needs_root
def test_the_client_read_its_token_once(host):
    host.leads("fresh", "valid", "", "valid", "new token", secret=host.home.secret)


@needs_root
def test_the_client_is_not_told(host):
    host.configure(hook="/bin/false")
    host.daemon.reload()
    subprocess.run([JOTD, "rotate", "front-door", "--config", host.home.config], check=True,
                   capture_output=True)
    host.daemon.wait_for("failed")
    said = host.said(5)
    assert re.search("the hook .* failed", said) and "the hook ... failed" in STEPS[4]


@needs_root
def test_the_client_is_not_allowed(host):
    host.configure(allowed="daemon")
    host.daemon.reload()
    ask(host)
    host.daemon.wait_for("may not read front-door")
    host.leads("fresh", "valid", "", "valid", "may not read front-door", secret=host.home.secret)


@needs_root
def test_the_secret_changed(host):
    host.home.write_secret("another secret that is long enough, too")
    host.daemon.wait_for("the secret changed")
    host.leads("fresh", "valid", "", "valid", "the secret changed", secret=host.home.secret)


def test_the_client_of_the_readme_survives_a_restart_and_a_refusal(home):
    """It logs in with each new token, waits while it is refused, and does not spin."""
    code = re.search(r"```python\n(import http\.client, socket, time\n.*?)```",
                     (ROOT / "README.md").read_text(), re.S)[1]
    home.one(life="3s", before="1s")
    home.config.write_text(
        f"socket: {{ path: {home.path('jotd.sock')} }}\n" + home.config.read_text())
    allowed = home.config.read_text()
    code = code.replace("/run/jotd", str(home.folder)).replace("/front-door/", "/a/")
    program = home.path("client.py")
    program.write_text(f"def log_in_again_with(token): print('in', token, flush=True)\n{code}")
    client = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
    lines = []

    def wait_for(word, times=1):
        begin = len(lines)
        while sum(word in line for line in lines[begin:]) < times:
            line = client.stdout.readline()
            assert line, "the client has ended"
            lines.append(line)
    try:
        wait_for("jotd is away")
        daemon = home.start().ready()
        wait_for("in ey", 2)
        daemon.stop()
        wait_for("jotd is away")
        daemon = home.start().ready()
        wait_for("in ey", 2)
        # There is no such identity any more, and then there is one.
        home.config.write_text(allowed.replace("  a:", "  b:"))
        daemon.reload()
        wait_for("jotd says 404")
        home.config.write_text(allowed)
        daemon.reload()
        wait_for("in ey", 2)
        assert sum("jotd says" in line for line in lines) <= 3, lines
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
