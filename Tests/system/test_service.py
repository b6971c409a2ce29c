"""The service as an operator has it: installed, started, reloaded, hung, stopped, by systemd."""

import json
import re
import subprocess
import time

import pytest

from conftest import ROOT, eventually

CONFIG = "/etc/jotd/jotd.yaml"
TOKEN_AND_INODE = "cat /run/jotd/front-door.jwt; stat -c %i /run/jotd/front-door.jwt"


def test_ready_means_delivered(installed):
    installed.sh("systemctl stop jotd; rm -rf /run/jotd")
    begin = time.monotonic()
    found = installed.sh("systemctl start jotd && cat /run/jotd/front-door.jwt").stdout
    assert time.monotonic() - begin < 10
    secret = installed.sh("cat /etc/jotd/secret").stdout
    import jwt
    assert jwt.decode(found, secret, algorithms=["HS256"])["user_id"] == "front-door-client"
    status = installed.sh("stat -c '%U %G %a' /run/jotd/front-door.jwt").stdout.strip()
    assert status == "camera camera 640"
    assert installed.sh("runuser -u camera -- cat /run/jotd/front-door.jwt").stdout == found
    assert installed.sh("runuser -u nobody -- cat /run/jotd/front-door.jwt", check=False).returncode
    assert re.fullmatch(
        r"1 identity, all delivered; next rotation \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        installed.show("StatusText"))


def test_entries_have_their_fields_and_explanations(installed):
    installed.restart()
    entry = next(e for e in installed.journal("MESSAGE_ID=8d654dd63a64492a86d8675068808164")
                 if e["JOTD_IDENTITY"] == "front-door")
    assert entry["JOTD_IDENTITY"] == "front-door" and entry["JOTD_USER_ID"] == "front-door-client"
    assert entry["JOTD_ROLE"] == "operator" and entry["PRIORITY"] == "6"
    assert re.fullmatch(r"[0-9a-f]{8}", entry["JOTD_KEY_ID"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["JOTD_EXPIRES_AT"])
    assert entry["SYSLOG_IDENTIFIER"] == "jotd" and entry["_SYSTEMD_UNIT"] == "jotd.service"
    text = installed.sh("journalctl -x --no-pager -u jotd").stdout
    assert text.count("Subject: ") >= 3 and not re.search("@[A-Z_]+@", text)
    everything = installed.sh("journalctl -u jotd --no-pager -o export").stdout
    assert "eyJ" not in everything
    assert installed.sh("cat /etc/jotd/secret").stdout not in everything
    assert "dispatch" not in text.lower()


def test_a_restart_keeps_the_token_of_another_user(installed):
    installed.restart()
    before = installed.sh(TOKEN_AND_INODE).stdout
    for how in ("systemctl restart jotd", "systemctl kill -s KILL jotd"):
        installed.sh(how)
        eventually(lambda: installed.show("ActiveState") == "active"
                   and installed.show("SubState") == "running")
        assert installed.sh(TOKEN_AND_INODE).stdout == before
    assert "is kept" in installed.sh("journalctl -u jotd --no-pager").stdout


def test_reload_by_systemctl(installed):
    installed.restart()
    good = installed.sh(f"cat {CONFIG}").stdout
    before, pid = installed.sh(TOKEN_AND_INODE).stdout, installed.show("MainPID")

    def refused_because_of(reason):
        text = installed.sh("systemctl status jotd --no-pager -l").stdout
        return re.search(f'Status: ".*; the last reload was refused: .*{re.escape(reason)}', text)

    installed.write("/etc/jotd/jotd.d/more.yaml", (
        "identities:\n  more:\n    user_id: m\n    role: viewer\n"
        "    deliver: [ { file: /run/jotd/more.jwt } ]\n"))
    installed.sh("systemctl reload jotd")
    eventually(lambda: installed.sh("test -s /run/jotd/more.jwt", check=False).returncode == 0)
    installed.write(CONFIG, good + "nonsense: true\n")
    done = installed.sh("systemctl reload jotd", check=False)
    assert done.returncode != 0 and "failed" in done.stderr
    assert installed.show("ActiveState") == "active" and installed.show("MainPID") == pid
    text = installed.said()
    assert 'unknown key "nonsense"' in text and "the running one stays" in text
    # Once by the daemon, which goes on, and once by what let the command fail.
    assert len(re.findall(r"^/etc/jotd/jotd.yaml:\d+:1: unknown key \"nonsense\"", text, re.M)) == 1
    eventually(lambda: refused_because_of('unknown key "nonsense"'))
    installed.write(CONFIG, good)
    assert "the last reload was refused" in installed.sh("jotd health", check=False).stdout
    assert refused_because_of('unknown key "nonsense"')
    installed.sh("rm /etc/jotd/jotd.d/more.yaml; systemctl reload jotd")
    assert not refused_because_of("")
    assert len(installed.said().split("reloaded: ")) == 3, "nothing is said of what is well"
    eventually(lambda: installed.sh("test -e /run/jotd/more.jwt", check=False).returncode == 1)
    assert installed.sh("jotd health").stdout.startswith("JOTD OK")
    assert installed.sh(TOKEN_AND_INODE).stdout == before


def test_a_hung_daemon_is_killed_and_comes_back(installed):
    installed.write("/etc/systemd/system/jotd.service.d/quick.conf", "[Service]\nWatchdogSec=1s\n")
    installed.sh("systemctl daemon-reload")
    try:
        installed.restart()
        before = installed.sh(TOKEN_AND_INODE).stdout
        pid = installed.show("MainPID")
        time.sleep(2.5)
        assert installed.show("MainPID") == pid, "a healthy daemon must not be killed"
        installed.sh(f"kill -STOP {pid}")
        eventually(lambda: installed.show("MainPID") not in (pid, "0")
                   and installed.show("ActiveState") == "active")
        assert "Watchdog timeout" in installed.sh("journalctl -u jotd --no-pager").stdout
        assert "is kept" in installed.said()
        assert installed.sh(TOKEN_AND_INODE).stdout == before
    finally:
        installed.sh("rm -r /etc/systemd/system/jotd.service.d; systemctl daemon-reload")


def test_stopping_is_quick_and_leaves_the_files(installed):
    installed.restart()
    begin = time.monotonic()
    installed.sh("systemctl stop jotd")
    assert time.monotonic() - begin < 2
    assert installed.sh("cat /run/jotd/front-door.jwt").stdout.count(".") == 2
    assert installed.show("Result") == "success"


def test_a_signal_reloads_as_before(installed):
    installed.restart()
    good, pid = installed.sh(f"cat {CONFIG}").stdout, installed.show("MainPID")
    installed.write(CONFIG, good + "nonsense: true\n")
    installed.sh("systemctl kill -s HUP jotd")
    eventually(lambda: "the last reload was refused: /etc/jotd" in installed.show("StatusText"))
    installed.write(CONFIG, good)
    installed.sh("systemctl kill -s HUP jotd")
    eventually(lambda: "refused" not in installed.show("StatusText"))
    assert installed.show("MainPID") == pid


@pytest.mark.parametrize("source", ["credential: jwt-secret", "file: /etc/jotd/secret"])
def test_a_reload_reads_the_secret_as_the_service_does(configured, source):
    text = (f"signing: {{ secret: {{ {source} }} }}\n"
            "socket: { path: /run/jotd/jotd.sock, credentials: /run/jotd/c.sock }\n"
            "identities: { a: { user_id: a, role: viewer, deliver: [ { file: /run/jotd/a.jwt },\n"
            "  { socket: /run/jotd/a.sock } ] } }\n")
    container = configured(text)
    before = container.sh("cat /run/jotd/a.jwt").stdout
    # With all its sockets and its lock there: they are its own.
    container.sh("systemctl reload jotd")
    assert container.said().count("configuration reloaded: 1 unchanged") == 1
    assert container.sh("cat /run/jotd/a.jwt").stdout == before
    container.write("/etc/jotd/jotd.yaml", text.replace("jwt-secret", "no-such").replace(
        "/etc/jotd/secret", "/etc/jotd/no-such"))
    assert container.sh("systemctl reload jotd", check=False).returncode != 0
    assert "no-such" in container.show("StatusText") and "no-such" in container.said()


def test_a_reload_lets_systemd_have_its_socket_where_the_service_cannot_write(installed):
    good = installed.sh(f"cat {CONFIG}").stdout
    drop_in = "/etc/systemd/system/jotd.socket.d/elsewhere.conf"
    installed.write(drop_in, "[Socket]\nListenStream=\nListenStream=/run/query.sock\n")
    installed.write(CONFIG, good.replace("/run/jotd/jotd.sock", "/run/query.sock"))
    try:
        installed.sh("systemctl stop jotd; systemctl daemon-reload; "
                     "systemctl start jotd.socket jotd; systemctl reload jotd")
        assert "configuration reloaded: 1 unchanged" in installed.said()
    finally:
        installed.write(CONFIG, good)
        installed.sh(f"systemctl stop jotd.socket jotd; rm -r {drop_in.rpartition('/')[0]}; "
                     "systemctl daemon-reload")
        installed.restart()


def test_public_keys_are_served_by_tcp_also_while_jotd_restarts(installed):
    """From a service without any network of its own, on the socket that systemd keeps."""
    good = installed.sh(f"cat {CONFIG}").stdout
    fetch = "curl -sS --max-time 60 http://127.0.0.1:9180/.well-known/jwks.json"
    installed.sh("jotd key generate --algorithm ES256 --output /etc/jotd/streams.pem")
    keys = ("keys:\n  default: { secret: { file: /etc/jotd/secret } }\n"
            "  streams: { algorithm: ES256, private_key: { file: /etc/jotd/streams.pem } }\n")
    installed.write(CONFIG, re.sub(r"^signing:\n(?:[ #].*\n|\n)+", keys, good, flags=re.M))
    try:
        installed.sh("systemctl stop jotd; systemctl start jotd-jwks.socket")
        # Whoever asks starts it.
        (key,) = json.loads(installed.sh(fetch).stdout)["keys"]
        assert key["alg"] == "ES256" and "d" not in key
        assert installed.show("ActiveState") == "active"
        asked = installed.sh(
            f"for n in 1 2 3 4 5; do systemctl restart jotd & {fetch}; {fetch}; wait; done").stdout
        assert asked.count(f'"kid":"{key["kid"]}"') == 10
        printed = installed.sh("jotd key jwks").stdout
        assert json.loads(printed)["keys"] == [key]
    finally:
        installed.write(CONFIG, good)
        installed.sh("systemctl stop jotd-jwks.socket jotd; rm /etc/jotd/streams.pem")
        installed.restart()


def test_the_service_makes_its_keys_and_has_them_follow_each_other(installed):
    """In the folder that systemd makes for it, with its own user; and root's commands see them."""
    good = installed.sh(f"cat {CONFIG}").stdout
    keys = ("keys:\n  default: { secret: { file: /etc/jotd/secret } }\n"
            "  streams: { algorithm: ES256, generate: { folder: /var/lib/jotd/streams },\n"
            "             jwks: [ { file: /run/jotd/streams.json } ] }\n")
    installed.write(CONFIG, re.sub(r"^signing:\n(?:[ #].*\n|\n)+", keys, good, flags=re.M))
    try:
        assert "/var/lib/jotd" not in installed.sh("jotd check").stderr
        installed.restart()
        assert installed.sh("stat -c '%U %a' /var/lib/jotd/streams").stdout == "jotd 700\n"
        first = json.loads(installed.sh("cat /run/jotd/streams.json").stdout)["keys"]
        installed.sh("jotd key add streams; jotd key activate --now streams 2")
        assert "retiring" in installed.sh("jotd key list").stdout
        installed.sh("systemctl reload jotd; systemctl restart jotd")
        both = json.loads(installed.sh("cat /run/jotd/streams.json").stdout)["keys"]
        assert len(both) == 2 and first[0] in both
        assert json.loads(installed.sh("jotd key jwks").stdout)["keys"] == both
        installed.sh("jotd check")
        explained = installed.sh(
            "journalctl --sync; journalctl -u jotd -x --no-pager "
            "MESSAGE_ID=c61d3f7e90b24a5f8d1e2b6c7a9f0348").stdout
        assert "A key of streams is retiring" in explained
    finally:
        installed.write(CONFIG, good)
        installed.sh("systemctl stop jotd; rm -r /var/lib/jotd/streams")
        installed.restart()


def errors(container):
    """What an operator sees of the last start: messages and explanations of priority err."""
    run = container.show("InvocationID")
    return container.sh("journalctl --sync; journalctl -p err -x --no-pager "
                        f"_SYSTEMD_INVOCATION_ID={run}").stdout


def test_a_refused_start_is_an_error_in_the_journal_with_what_to_do(installed):
    good = installed.sh(f"cat {CONFIG}").stdout
    installed.sh("systemctl stop jotd")
    try:
        for text, reasons in {
            good.replace("operator", "boss"): ["jotd does not start: /etc/jotd/jotd.yaml:"],
            good + "one: 1\ntwo: 2\n": ['unknown key "one"', 'unknown key "two"',
                                        "jotd does not start: 2 errors"],
        }.items():
            installed.write(CONFIG, text)
            assert installed.sh("systemctl start jotd", check=False).returncode != 0
            assert installed.show("ExecMainStatus") == "78"
            said = errors(installed)
            for reason in reasons:
                assert said.count(reason) == 1, said
            assert said.count("Subject: jotd does not start") == 1 and "jotd check" in said
        # Another one, by hand, with the same configuration.
        installed.write(CONFIG, good)
        installed.sh("systemctl reset-failed jotd; systemd-run -q --unit=other -p User=jotd "
                     "-p LoadCredential=jwt-secret:/etc/jotd/secret "
                     "-p AmbientCapabilities='CAP_CHOWN CAP_DAC_READ_SEARCH' /usr/bin/jotd run")
        eventually(lambda: installed.sh("jotd health", check=False).returncode == 0)
        assert installed.sh("systemctl start jotd", check=False).returncode != 0
        eventually(lambda: "another jotd runs" in errors(installed))
        assert "Subject: jotd does not start" in errors(installed)
    finally:
        installed.sh("systemctl stop other jotd", check=False)
        installed.write(CONFIG, good)


def test_a_wrong_configuration_does_not_loop(installed):
    good = installed.sh(f"cat {CONFIG}").stdout
    installed.write(CONFIG, good.replace("operator", "boss"))
    assert installed.sh("systemctl start jotd", check=False).returncode != 0
    assert installed.show("ExecMainStatus") == "78" and installed.show("NRestarts") == "0"
    installed.write(CONFIG, good)
    installed.restart()


def test_hardening(installed):
    done = installed.sh("systemd-analyze verify --man=no jotd.service")
    assert done.stdout + done.stderr == ""
    text = installed.sh("systemd-analyze security --no-pager jotd.service").stdout
    score = float(re.search(r"Overall exposure level for jotd.service: ([0-9.]+)", text)[1])
    assert score <= 1.1, text
    installed.restart()
    pid = installed.show("MainPID")
    status = installed.sh(f"cat /proc/{pid}/status").stdout
    assert re.search(r"NoNewPrivs:\s1", status) and not re.search(r"VmSwap:\s+[1-9]", status)
    # Undumpable: its files in /proc belong to root.
    assert installed.sh(f"stat -c %U /proc/{pid}/mem").stdout.strip() == "root"


def test_manual_pages_are_well_formed():
    for page in ("jotd.8", "jotd.yaml.5"):
        done = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", ROOT / "doc" / page],
            capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "MANROFFSEQ": ""})
        assert done.returncode == 0 and done.stderr == "", done.stderr
