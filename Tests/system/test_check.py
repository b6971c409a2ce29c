"""`jotd check`, called by root, finds what the service cannot do: it runs as the service runs."""

import pytest

CONFIG = "/etc/jotd/jotd.yaml"
SECRET = "/etc/jotd/secret"
DROP_IN = "/etc/systemd/system/jotd.service.d/test.conf"
AS_THE_SERVICE = "judged with the rights of jotd.service, as jotd (uid "


class Host:
    """The installed service, some part of which a test spoils."""

    def __init__(self, container):
        self.container = container

    def configure(self, text):
        self.container.write(CONFIG, text)

    def one(self, deliver="", extra="", socket="{ path: /run/jotd/jotd.sock, group: camera }"):
        """A configuration of one identity: what it delivers to, and what else it says."""
        self.configure(
            f"signing: {{ secret: {{ credential: jwt-secret }} }}\nsocket: {socket}\nidentities:\n"
            f"  a:\n    user_id: a\n    role: viewer\n"
            f"    deliver: [ {deliver or '{ file: /run/jotd/a.jwt, group: camera }'} ]\n{extra}")

    def drop_in(self, text):
        self.container.write(DROP_IN, f"[Service]\n{text}\n")
        self.container.sh("systemctl daemon-reload")

    def check(self, code=0, prefix=""):
        done = self.container.sh(f"{prefix} jotd check", check=False)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr


@pytest.fixture
def host(installed):
    before = {path: installed.sh(f"cat {path}").stdout for path in (CONFIG, SECRET)}
    yield Host(installed)
    installed.sh("rm -rf /etc/systemd/system/jotd.service.d; systemctl daemon-reload")
    installed.write(CONFIG, before[CONFIG])
    installed.write(SECRET, before[SECRET], 0o600)
    units = installed.sh("systemctl list-units --all --plain --no-legend 'jotd-check-*'").stdout
    assert units == ""


def test_nothing_is_wrong_with_what_the_readme_installs(host):
    said = host.check()
    assert "all is well, 1 identity and 1 delivery" in said and "(warning)" not in said, said
    assert AS_THE_SERVICE in said and len(said.splitlines()) == 1


def test_it_disturbs_the_running_service_in_nothing(host):
    container = host.container
    container.restart()
    look = ("systemctl show -P MainPID -P ActiveEnterTimestamp jotd; "
            "find /run/jotd /run/credentials/jotd.service -printf '%p %i %m %u %g\\n' | sort")
    before = container.sh(look).stdout
    host.check()
    host.configure("nonsense")
    host.check(78)
    assert container.sh(look).stdout == before


@pytest.mark.parametrize("secret,words", [
    ("", "the secret is empty"), ("short", "has 5 bytes: HS256 asks for 32"),
    ("your-256-bit-secret", "well-known example")])
def test_the_secret_behind_a_credential(host, secret, words):
    host.container.write(SECRET, secret, 0o600)
    said = host.check(78)
    assert words in said and f"{CONFIG}:" in said and AS_THE_SERVICE in said, said


def test_a_secret_in_the_environment_of_the_unit(host):
    host.one()
    text = host.container.sh(f"cat {CONFIG}").stdout
    host.configure(text.replace("credential: jwt-secret", "env: JOTD_TEST"))
    assert "JOTD_TEST is not set" in host.check(78)
    host.container.write("/etc/jotd/environment", "JOTD_TEST=short-one\n", 0o600)
    host.drop_in("EnvironmentFile=/etc/jotd/environment")
    assert "has 9 bytes: HS256 asks for 32" in host.check(78)
    good = "correct-horse-battery-staple-0123456789"
    host.drop_in(f"Environment=JOTD_TEST={good}")
    assert "all is well" in host.check()
    # Even where it is put wrongly, what could be it is not shown.
    host.drop_in(f'Environment=JOTD_TEST="{good}')
    said = host.check(78)
    assert "could not be checked as jotd.service runs" in said and good not in said, said
    host.container.sh("rm /etc/jotd/environment")


def test_a_secret_that_is_not_there(host):
    host.container.sh(f"rm {SECRET}")
    said = host.check(78)
    assert "systemd cannot start jotd.service" in said and f"{SECRET} (LoadCredential=)" in said


def test_a_folder_for_which_readwritepaths_is_missing_and_one_of_root(host):
    """What the advice says is needed, and is enough: the service can do it then."""
    container = host.container
    container.sh("rm -rf /var/lib/camera; install -d /var/lib/camera")
    host.one("{ file: /var/lib/camera/a.jwt, owner: camera }")
    named = "systemctl edit jotd: below [Service], ReadWritePaths=/var/lib/camera"
    given = "chown jotd /var/lib/camera"
    said = host.check(78)
    assert "jotd (uid " in said and "cannot write there: Permission denied" in said, said
    assert named in said and given in said, said
    container.sh(given)
    said = host.check(78)
    assert "Read-only file system" in said and named in said and given not in said, said
    container.sh("chown root /var/lib/camera")
    host.drop_in("ReadWritePaths=/var/lib/camera")
    said = host.check(78)
    assert named not in said and given in said, said
    container.sh(given)
    assert "all is well" in host.check()
    container.restart()
    assert container.sh("cat /var/lib/camera/a.jwt").stdout.count(".") == 2
    assert container.sh("stat -c %U /var/lib/camera/a.jwt").stdout == "camera\n"


def test_a_folder_that_the_unit_names_and_that_is_not_there(host):
    host.drop_in("ReadWritePaths=/var/lib/nowhere")
    said = host.check(78)
    assert "systemd cannot start jotd.service" in said
    assert "/var/lib/nowhere (ReadWritePaths=)" in said


@pytest.mark.parametrize("deliver", [
    "{ file: /tmp/a.jwt }", "{ file: /var/tmp/out/a.jwt }", "{ socket: /tmp/a.sock }",
    "{ file: /home/camera/a.jwt }", "{ file: /root/a.jwt }", "{ file: /run/user/5/a.jwt }"])
def test_what_only_the_service_could_see(host, deliver):
    container = host.container
    container.sh("mkdir -p /home/camera /run/user/5 /var/tmp/out; chown jotd /home/camera")
    host.one(deliver)
    said = host.check(78)
    setting = "PrivateTmp=" if "tmp" in deliver else "ProtectHome="
    assert setting in said and "below /run/jotd" in said, said
    # The daemon starts all the same, and says so.
    container.restart()
    assert setting in container.said()
    # What the setting hides is there without it.
    if "/tmp/a.jwt" in deliver:
        host.drop_in("PrivateTmp=no\nReadWritePaths=/tmp")
        assert "PrivateTmp=" not in host.check()


def test_the_query_socket_below_tmp(host):
    host.one(socket="{ path: /tmp/jotd.sock }")
    assert "PrivateTmp=" in host.check(78)


def test_a_user_who_may_ask_and_cannot_connect(host):
    container = host.container
    container.sh("id visitor || useradd -r -G users visitor")
    host.one(extra="    allow: [ { user: visitor }, { user: camera } ]\n")
    said = host.check(78)
    assert "visitor (uid " in said and "camera (uid " not in said, said
    assert "usermod -aG camera visitor" in said and f"{CONFIG}:8:" in said, said
    # A unit that gives the group to that user's processes is enough, too.
    container.write("/etc/systemd/system/visitor.service", (
        "[Service]\nUser=visitor\nSupplementaryGroups=camera\nExecStart=/bin/sleep infinity\n"))
    container.sh("systemctl daemon-reload; systemctl start visitor")
    try:
        assert "all is well" in host.check()
    finally:
        container.sh("systemctl stop visitor; rm /etc/systemd/system/visitor.service; "
                     "systemctl daemon-reload")
    container.sh("usermod -aG camera visitor")
    assert "all is well" in host.check()
    container.sh("gpasswd -d visitor camera")


def test_hooks_that_cannot_work(host):
    host.one(extra="    on_rotate: [ { run: [ /usr/bin/not-there, x ] }, "
                   "{ run: [ /etc/passwd ] },\n"
                   "      { signal: { pid_file: /run/nowhere/pid, signal: HUP } },\n"
                   "      { reload: not-there.service } ]\n")
    lines = host.check(78).splitlines()
    found = {word: [line for line in lines if word in line] for word in (
        "/usr/bin/not-there: No such file", "/etc/passwd: Permission denied",
        "/run/nowhere/pid", "not-there.service")}
    assert all(len(lines) == 1 for lines in found.values()), lines
    assert "(warning)" in found["/run/nowhere/pid"][0]
    assert "(warning)" in found["not-there.service"][0]


def test_modes_for_everybody(host):
    host.one("{ file: /run/jotd/a.jwt, mode: '0666' }",
             socket="{ path: /run/jotd/jotd.sock, mode: '0666' }")
    said = host.check()
    assert "usable, with 2 warnings: 1 identity and 1 delivery" in said
    assert "all is well" not in said
    assert said.count("everybody on this host") == 2, said


def test_a_drop_in_is_followed_and_does_not_make_it_go_round_in_circles(host):
    container = host.container
    # The folders of the service would go to root, with all that is in them: not for a check.
    host.drop_in("User=root")
    assert "/var/lib/jotd belongs to jotd" in host.check()
    host.drop_in("User=root\nStateDirectory=")
    said = host.check()
    assert "could not be checked as jotd.service runs: /run/jotd belongs to jotd" in said, said
    assert "judged with the rights of root (uid 0)" in said
    # And with the unit's capabilities, root may not write to a folder of another's.
    host.drop_in("User=root\nRuntimeDirectory=\nStateDirectory=\nReadWritePaths=/run/jotd")
    assert "/run/jotd: root (uid 0) cannot write there: Permission denied" in host.check(78)
    host.drop_in("User=root\nRuntimeDirectory=\nStateDirectory=\nReadWritePaths=/run/jotd\n"
                 "CapabilityBoundingSet=CAP_DAC_OVERRIDE")
    assert "judged with the rights of jotd.service, as root (uid 0)" in host.check()
    # A specifier, continued lines, and what is taken back.
    host.drop_in("ReadWritePaths=/nowhere\nReadWritePaths=\n"
                 "ReadWritePaths=%t/jotd \\\n# no\n  -/a\nEnvironment=A=%%")
    assert AS_THE_SERVICE in host.check()
    # What systemd does not know, it passes over; and so does this, and says so.
    host.drop_in("ReadWritePath=/var/lib/camera\nNoSuchThing=1")
    said = host.check()
    assert "ReadWritePath= in jotd.service" in said and "NoSuchThing= in jotd.service" in said
    assert "usable, with 2 warnings" in said and AS_THE_SERVICE in said, said
    host.drop_in("User=nosuch")
    assert "there is no user nosuch on this host" in host.check(78)
    container.write(DROP_IN, "[Service]\nNice=1\n")
    assert "systemctl daemon-reload" in host.check()


def test_whose_rights_they_are_otherwise(host):
    container = host.container
    host.one()
    container.sh(f"cp {CONFIG} /etc/jotd/other.yaml")
    done = container.sh("jotd check --config /etc/jotd/other.yaml")
    assert "judged with the rights of root (uid 0)" in done.stdout
    assert "only inside the service" in done.stderr and "usable, with 1 warning" in done.stdout
    done = container.sh("runuser -u camera -- jotd check", check=False)
    assert "judged with the rights of camera (uid " in done.stderr and done.returncode == 78
    # Named in the unit, it is the service's.
    host.drop_in("ExecStart=\nExecStart=/usr/bin/jotd run --config /etc/jotd/other.yaml")
    done = container.sh("jotd check --config /etc/jotd/other.yaml")
    assert AS_THE_SERVICE in done.stdout
    assert "judged with the rights of root" in container.sh("jotd check").stdout
    container.sh("rm /etc/jotd/other.yaml; mv /usr/bin/systemd-run /usr/bin/systemd-run.away")
    try:
        host.drop_in("")
        said = host.check()
        assert "could not be checked as jotd.service runs" in said and "root (uid 0)" in said
    finally:
        container.sh("mv /usr/bin/systemd-run.away /usr/bin/systemd-run")


def test_a_socket_that_systemd_makes(host):
    """It may be where the service cannot write; its group is that of its unit."""
    container = host.container
    drop_in = "/etc/systemd/system/jotd.socket.d/test.conf"
    host.one(socket="{ path: /run/jotd-query.sock, group: camera }",
             extra="    allow: [ { user: camera } ]\n")
    said = host.check(78)
    assert "/run: jotd (uid " in said and "cannot write there" in said, said
    container.sh("systemctl stop jotd")

    def listen(group):
        container.write(drop_in, "[Socket]\nListenStream=\nListenStream=/run/jotd-query.sock\n"
                                 f"SocketGroup={group}\n")
        container.sh("systemctl daemon-reload; systemctl restart jotd.socket")
    try:
        listen("camera")
        assert "all is well" in host.check()
        container.restart()
        assert container.sh("runuser -u camera -- curl -sf --unix-socket /run/jotd-query.sock "
                            "http://jotd/v1/identities/a/token").stdout.count(".") == 2
        container.sh("systemctl stop jotd")
        listen("root")
        assert "or in SocketGroup= where systemd makes the socket" in host.check(78)
    finally:
        container.sh("systemctl stop jotd.socket jotd; rm -r /etc/systemd/system/jotd.socket.d; "
                     "systemctl daemon-reload; systemctl reset-failed jotd")
