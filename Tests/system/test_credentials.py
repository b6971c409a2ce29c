"""Credentials for units by LoadCredential=, and sockets that systemd hands over."""

import re
import time

import pytest

from conftest import eventually

CONFIG = """
signing: { secret: { credential: jwt-secret } }
socket:
  path: /run/jotd/jotd.sock
  credentials: /run/jotd/credentials.sock
  mode: "0666"
identities:
  one: { user_id: u1, role: viewer, allow: [ { unit: client-one.service }, ESCAPED ] }
  two: { user_id: u2, role: viewer, allow: [ { unit: client-two.service } ] }
""".replace("ESCAPED", r"{ unit: 'esc@a-b\x2fc.service' }")
CLIENT = """
[Service]
Type=oneshot
RemainAfterExit=yes
DynamicUser=yes
LoadCredential={credential}:/run/jotd/credentials.sock
ExecStart=/bin/sh -c 'printf "got:%%s" "$(cat $CREDENTIALS_DIRECTORY/{credential})"'
"""


@pytest.fixture
def credentials(installed):
    before = installed.sh("cat /etc/jotd/jotd.yaml").stdout
    installed.write("/etc/jotd/jotd.yaml", CONFIG)
    installed.sh("systemctl reset-failed; systemctl restart jotd")
    for unit, credential in [
        ("client-one", "one"), ("client-two", "two"), ("thief", "one"), ("esc@", "one")]:
        installed.write(
            f"/etc/systemd/system/{unit}.service", CLIENT.format(credential=credential))
    installed.sh("systemctl daemon-reload")
    yield installed
    installed.write("/etc/jotd/jotd.yaml", before)


def output(container, unit):
    text = container.sh(f"journalctl -u '{unit}' -o cat --no-pager").stdout
    return re.findall(r"^got:(.*)$", text, re.M)


def user_of(token):
    import base64
    import json
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["user_id"]


def test_units_get_their_token_and_none_gets_anothers(credentials):
    credentials.sh("systemctl start client-one client-two")
    assert user_of(output(credentials, "client-one")[-1]) == "u1"
    assert user_of(output(credentials, "client-two")[-1]) == "u2"
    escaped = r"esc@a-b\x2fc.service"
    credentials.sh(f"systemctl start '{escaped}'")
    assert user_of(output(credentials, escaped)[-1]) == "u1"
    done = credentials.sh("systemctl start thief", check=False)
    assert done.returncode != 0, "a unit that is not named must not start with an empty credential"
    assert output(credentials, "thief") == []
    journal = credentials.sh("journalctl -u jotd --no-pager -o cat").stdout
    assert "unit thief.service, may not load the credential one" in journal
    credentials.sh("systemctl stop client-one client-two; systemctl reset-failed thief")


def test_a_unit_that_starts_first_waits_for_its_token(credentials):
    # Without its secret's key no token can be minted: here, without a daemon nobody answers, and
    # with socket activation the connection waits for the daemon.
    credentials.write("/etc/systemd/system/jotd-credentials.socket", (
        "[Socket]\nListenStream=/run/jotd/credentials.sock\nFileDescriptorName=credentials\n"
        "Service=jotd.service\nSocketMode=0600\n"))
    credentials.sh("systemctl stop jotd; rm -rf /run/jotd; systemctl daemon-reload; "
                   "systemctl start jotd-credentials.socket")
    try:
        credentials.sh("systemctl start client-two")
        assert user_of(output(credentials, "client-two")[-1]) == "u2"
        assert credentials.sh("systemctl is-active jotd").stdout.strip() == "active"
    finally:
        credentials.sh("systemctl stop client-two jotd jotd-credentials.socket; "
                       "rm /etc/systemd/system/jotd-credentials.socket; systemctl daemon-reload")


def test_the_query_socket_may_be_handed_over(credentials):
    from conftest import ROOT
    credentials.write(
        "/etc/systemd/system/jotd.socket", (ROOT / "systemd/jotd.socket").read_text())
    credentials.sh("systemctl stop jotd; systemctl daemon-reload; systemctl start jotd.socket")
    try:
        done = credentials.sh("jotd health")
        assert done.stdout.startswith("JOTD OK - 2 of 2 identities fresh")
        inode = credentials.sh("stat -c %i /run/jotd/jotd.sock").stdout
        credentials.sh("systemctl restart jotd")
        assert credentials.sh("stat -c %i /run/jotd/jotd.sock").stdout == inode
        credentials.sh("sed -i 's/0666/0660/' /etc/jotd/jotd.yaml && jotd reload")
        assert credentials.sh("jotd health").stdout.startswith("JOTD OK")
    finally:
        credentials.sh("systemctl stop jotd.socket jotd; rm /etc/systemd/system/jotd.socket; "
                       "systemctl daemon-reload")


# As many connections as one user may have, each with a request whose body does not come.
CROWD = """
import contextlib, socket, time
crowd = [socket.socket(socket.AF_UNIX) for _ in range(1536)]
for one in crowd:
    one.connect("/run/jotd/jotd.sock")
    with contextlib.suppress(BrokenPipeError):
        one.sendall(b"POST /introspect HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 9\\r\\n\\r\\n")
print("there", flush=True)
time.sleep(30)
"""


def test_a_crowd_on_the_query_socket_makes_no_credential_empty(credentials):
    credentials.write("/run/crowd.py", CROWD)
    crowds = ["crowd-camera", "crowd-nobody"]
    for unit in crowds:
        credentials.sh(f"systemd-run -q --unit={unit} --uid={unit[6:]} -p LimitNOFILE=4096 "
                       "/usr/bin/python3 /run/crowd.py")
    try:
        for unit in crowds:
            eventually(lambda: "there" in credentials.sh(f"journalctl -u {unit} -o cat").stdout)
        # Nearly all that there are places for.
        files = f"ls /proc/{credentials.show('MainPID')}/fd | wc -l"
        eventually(lambda: int(credentials.sh(files).stdout) > 3_000)
        before = len(output(credentials, "client-one"))
        credentials.sh("systemctl start client-one")
        given = output(credentials, "client-one")[before:]
        assert [user_of(token) for token in given] == ["u1"]
        assert credentials.sh("jotd health").stdout.startswith("JOTD OK")
    finally:
        credentials.sh(f"systemctl stop client-one {' '.join(crowds)}; rm /run/crowd.py")


def test_units_are_known_on_the_query_socket(credentials):
    for unit, code in [("client-one", "200"), ("thief", "403")]:
        credentials.write(f"/etc/systemd/system/{unit}.service", (
            "[Service]\nType=oneshot\nDynamicUser=yes\nExecStart=/usr/bin/curl -s -o /dev/null "
            "-w code:%%{http_code}\\\\n --unix-socket /run/jotd/jotd.sock "
            "http://jotd/v1/identities/one/token\n"))
        credentials.sh(f"systemctl daemon-reload; systemctl start {unit}")
        text = credentials.sh(f"journalctl -u {unit} -o cat --no-pager").stdout
        assert f"code:{code}" in text, text
    journal = credentials.sh("journalctl -u jotd --no-pager -o json").stdout
    assert '"JOTD_PEER_UNIT":"thief.service"' in journal


def test_hooks_have_none_of_the_daemons_capabilities(credentials):
    credentials.write("/etc/jotd/jotd.yaml", CONFIG + (
        "  three: { user_id: u3, role: viewer, on_rotate: "
        "[ { run: [ /bin/grep, Cap, /proc/self/status ] } ] }\n"))
    credentials.sh("systemctl restart jotd")
    text = eventually(lambda: (
        lambda text: text if "CapAmb:" in text else None)(
            credentials.sh("journalctl -u jotd -o cat --no-pager").stdout))
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert re.search(kind + r":\s*0000000000000000", text), text


def test_hooks_have_none_of_the_daemons_descriptors(credentials):
    credentials.write("/etc/jotd/jotd.yaml", CONFIG + (
        "  three: { user_id: u3, role: viewer, on_rotate: "
        "[ { run: [ /bin/ls, /proc/self/fd ] }, { run: [ /usr/bin/env ] } ] }\n"))
    credentials.sh("systemctl restart jotd")
    text = eventually(lambda: (
        lambda text: text if "run /bin/ls: 3" in text and "LANG=" in text else None)(
            credentials.sh("journalctl -u jotd -o cat --no-pager").stdout))
    # The fourth is what ls itself reads.
    assert re.findall(r"run /bin/ls: (\d+)", text) == ["0", "1", "2", "3"]
    names = re.findall(r"run /usr/bin/env: (\w+)=", text)
    assert sorted(names) == ["JOTD_IDENTITIES", "JOTD_IDENTITIES_COUNT", "LANG", "PATH"]


def test_hooks_reload_units(credentials):
    credentials.write("/etc/systemd/system/reloads.service", (
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        "ExecReload=/bin/sh -c 'echo reloaded'\n"))
    credentials.write("/etc/jotd/jotd.yaml", CONFIG + (
        "  three: { user_id: u3, role: viewer, on_rotate: [ { reload: reloads.service } ] }\n"))
    credentials.sh("systemctl daemon-reload; systemctl start reloads; systemctl restart jotd")
    eventually(lambda: "reloaded" in credentials.sh(
        "journalctl -u reloads -o cat --no-pager").stdout)
