"""A boot of the container, with jotd, its query socket and clients of both enabled."""

import pytest

CONFIG = """
signing: { secret: { credential: jwt-secret } }
socket: { path: /run/jotd/jotd.sock, group: camera }
identities:
  here: { user_id: u1, role: viewer, deliver: [
    { file: /run/jotd/here.env, format: env, variable: CAMERA_TOKEN, owner: camera } ] }
  kept: { user_id: u2, role: viewer, deliver: [ { file: /var/lib/jotd/kept.jwt, group: camera } ] }
"""
# The first has nothing but the socket and asks at once; the second has to have its file.
ASKER = """
[Unit]
After=jotd.socket
Requires=jotd.socket
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/curl -sSf --unix-socket /run/jotd/jotd.sock http://jotd/health
"""
READER = """
[Unit]
Wants=jotd.service
After=jotd.service
[Service]
Type=oneshot
RemainAfterExit=yes
User=camera
EnvironmentFile=/run/jotd/here.env
ExecStart=/bin/sh -c 'echo "$${#CAMERA_TOKEN} bytes"'
"""
INSTALL = "[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def booted(installed):
    before = installed.sh("cat /etc/jotd/jotd.yaml; systemctl stop jotd").stdout
    installed.write("/etc/jotd/jotd.yaml", CONFIG)
    for path, text in {
        "jotd.service.d/test.conf": "[Service]\nReadWritePaths=/var/lib/jotd\n",
        "jotd.socket.d/test.conf": "[Socket]\nSocketGroup=camera\n",
        "asker.service": ASKER + INSTALL,
        "reader.service": READER + INSTALL,
    }.items():
        installed.write(f"/etc/systemd/system/{path}", text)
    installed.sh("install -d -o jotd /var/lib/jotd; systemctl daemon-reload; systemctl start jotd; "
                 "systemctl enable jotd jotd.socket asker reader")
    installed.kept = installed.sh("cat /var/lib/jotd/kept.jwt").stdout
    installed.reboot()
    yield installed
    installed.write("/etc/jotd/jotd.yaml", before)
    installed.sh("systemctl disable --now jotd.socket asker reader; cd /etc/systemd/system; "
                 "rm -r jotd.*.d asker.service reader.service /var/lib/jotd; "
                 "systemctl daemon-reload")
    installed.restart()


def moment(container, name, unit):
    return int(container.show(f"{name}TimestampMonotonic", unit))


def test_a_boot_brings_up_all_in_order(booted):
    assert booted.sh("systemctl is-system-running", check=False).stdout.strip() == "running", (
        booted.sh("systemctl --failed; journalctl -b -p warning --no-pager").stdout)
    text = booted.sh("journalctl -b --no-pager").stdout
    assert "ordering cycle" not in text
    ready = moment(booted, "ActiveEnter", "jotd")
    assert moment(booted, "ActiveEnter", "jotd.socket") < moment(booted, "ExecMainStart", "jotd")
    assert ready <= moment(booted, "ExecMainStart", "reader")
    assert " bytes" in booted.sh("journalctl -b -u reader -o cat --no-pager").stdout
    assert '"status":"pass"' in booted.sh("journalctl -b -u asker -o cat --no-pager").stdout


def test_a_boot_keeps_what_is_on_a_disk_and_makes_the_rest_anew(booted):
    assert booted.sh("cat /var/lib/jotd/kept.jwt").stdout == booted.kept
    said = booted.said()
    assert "kept: the token found is kept" in said and "here: new token" in said
    assert booted.sh("stat -c '%U %G %a' /run/jotd/here.env /var/lib/jotd/kept.jwt").stdout == (
        "camera jotd 600\njotd camera 640\n")


def test_after_a_boot_the_group_of_the_socket_may_ask(booted):
    assert booted.sh("stat -c %G /run/jotd/jotd.sock").stdout.strip() == "camera"
    booted.sh("runuser -u camera -- jotd health")
