"""The way of the secret into the service: LoadCredential= and what it keeps from others."""

import jwt
import pytest

from conftest import eventually

SECRET = "/etc/jotd/secret"
TOKEN = "/run/jotd/front-door.jwt"


@pytest.fixture
def service(installed):
    """The service with a token, with its secret as a credential; all is restored."""
    before = installed.sh(f"cat {SECRET}").stdout
    installed.sh("sed -i.before 's|file: /etc/jotd/secret|credential: jwt-secret|' "
                 "/etc/jotd/jotd.yaml; grep -q jwt-secret /etc/jotd/jotd.yaml")
    installed.restart()
    yield installed
    installed.write(SECRET, before, 0o600)
    installed.sh("mv /etc/jotd/jotd.yaml.before /etc/jotd/jotd.yaml")
    installed.sh("rm -rf /etc/systemd/system/jotd.service.d /etc/jotd/secret.cred; "
                 "systemctl daemon-reload")
    installed.restart()


def is_signed(container, secret):
    try:
        jwt.decode(container.sh(f"cat {TOKEN}").stdout, secret, algorithms=["HS256"])
        return True
    except jwt.InvalidSignatureError:
        return False


def test_the_mode_of_a_credentials_source_is_no_matter(service):
    before = service.sh(f"cat {TOKEN}").stdout
    service.sh(f"chmod 0644 {SECRET}")
    service.restart()
    assert service.sh(f"cat {TOKEN}").stdout == before


def test_an_encrypted_credential(service):
    done = service.sh(f"systemd-creds encrypt --with-key=host --name=jwt-secret {SECRET} "
                      "/etc/jotd/secret.cred", check=False)
    if done.returncode != 0:
        pytest.skip(done.stderr.strip())
    before = service.sh(f"cat {TOKEN}; rm {SECRET}").stdout
    service.write("/etc/systemd/system/jotd.service.d/encrypted.conf", (
        "[Service]\nLoadCredential=\nLoadCredentialEncrypted=jwt-secret:/etc/jotd/secret.cred\n"))
    service.sh("systemctl daemon-reload")
    service.restart()
    assert service.sh(f"cat {TOKEN}").stdout == before, "the same key: no token is replaced"


def test_a_changed_secret_counts_from_the_next_start(service):
    old, token = (service.sh(f"cat {path}").stdout for path in (SECRET, TOKEN))
    new = service.sh("jotd secret").stdout.strip()
    service.write(SECRET, new, 0o600)
    service.sh("jotd reload")
    assert service.sh(f"cat {TOKEN}").stdout == token and is_signed(service, old)
    service.restart()
    assert is_signed(service, new) and not is_signed(service, old)
    assert old not in service.said() and new not in service.said()


def test_the_service_reads_a_file_that_only_root_may_and_notices_a_new_one(installed):
    """What the README recommends, in the configuration that it has copied."""
    old = installed.sh(f"cat {SECRET}").stdout
    assert f"file: {SECRET}" in installed.sh("cat /etc/jotd/jotd.yaml").stdout
    assert installed.sh(f"stat -c '%U %a' {SECRET}").stdout.strip() == "root 600"
    installed.restart()
    assert is_signed(installed, old) and installed.show("User") == "jotd"
    # A new file in its place, as "jotd secret --output" makes one, and the old content rewritten.
    installed.sh(f"jotd secret --output {SECRET}.new && mv {SECRET}.new {SECRET}")
    new = installed.sh(f"cat {SECRET}").stdout
    eventually(lambda: is_signed(installed, new))
    installed.sh(f"printf %s '{old}' > {SECRET}")
    eventually(lambda: is_signed(installed, old))
    assert old not in installed.said() and new not in installed.said()


def test_without_the_secret_there_is_no_start_and_the_old_tokens_stay(service):
    before = service.sh(f"cat {TOKEN}; systemctl stop jotd; rm {SECRET}").stdout
    assert service.sh("systemctl start jotd", check=False).returncode != 0
    assert service.show("ExecMainStatus") == "243"
    assert service.sh(f"cat {TOKEN}").stdout == before


def test_nobody_but_jotds_own_user_and_root_can_read_the_secret(service):
    credential = "/run/credentials/jotd.service/jwt-secret"
    assert service.sh(f"cat {credential}").stdout == service.sh(f"cat {SECRET}").stdout
    for user in ("camera", "nobody"):
        assert service.sh(f"runuser -u {user} -- cat {credential}", check=False).returncode
        assert service.sh(f"runuser -u {user} -- cat {SECRET}", check=False).returncode
    # Not even that user looks into the running process, or ends up with a core of it.
    pid = service.show("MainPID")
    for look in ("head -c 1 environ", "head -c 1 mem", "head -c 1 maps", "ls fd/", "ls root/"):
        done = service.sh(f"cd /proc/{pid}; runuser -u jotd -- {look}", check=False)
        assert "Permission denied" in done.stderr, (look, done)
    limits = service.sh(f"cat /proc/{pid}/limits").stdout
    of_core = [line.split()[4:6] for line in limits.splitlines() if "core file" in line]
    assert of_core == [["0", "0"]]
    service.sh("systemctl kill -s SEGV jotd")
    eventually(lambda: service.show("MainPID") not in (pid, "0")
               and service.show("SubState") == "running")
    text = service.sh("journalctl -u jotd --no-pager").stdout
    assert "code=killed, status=11/SEGV" in text and "code=dumped" not in text
