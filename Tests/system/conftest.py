"""A real systemd in a container of its own: a throw-away overlay of this host's root, booted by
systemd-nspawn without a network. Needs root, and changes nothing outside."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import uuid

import pytest

ROOT = pathlib.Path(__file__).parents[2]
JOTD = pathlib.Path(os.environ.get("JOTD") or ROOT / ".build/release/jotd").resolve()
MASKED = [
    "getty.target", "dev-hugepages.mount", "console-getty.service",
    *(f"systemd-{name}.service" for name in (
        "logind", "timesyncd", "networkd", "resolved", "firstboot", "sysctl", "remount-fs",
        "journal-flush", "update-utmp", "update-utmp-runlevel"))]


def eventually(condition, within=20.0, every=0.05):
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "did not come true"
        time.sleep(every)


def children(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(c) for c in text.split()]
    except OSError:
        return []


class Container:
    def __init__(self, folder):
        self.name = f"jotd-test-{os.getpid()}"
        self.folder = folder
        self.root = folder / "fs/root"
        self.leader = None
        self.process = None

    # What runs in a mount namespace of its own, so that nothing has to be unmounted.
    BOOT = r"""
set -e
cd "$1"; name=$2; project=$3; jotd=$4
mount -t tmpfs -o size=1g,mode=755 tmpfs fs
mkdir fs/up fs/work fs/root
mount -t overlay overlay -o lowerdir=/,upperdir=fs/up,workdir=fs/work fs/root
rm -rf fs/root/etc/systemd/system fs/root/var/log/journal fs/root/etc/machine-id
cp -a etc/. fs/root/etc/
export SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
boot() {
  if [ ! -d /run/systemd/system ]; then
    # This host's first process is no systemd: the container gets a control group of its own.
    for base in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
      if [ -e $base/cgroup.procs ]; then
        mkdir -p $base/$name; echo $BASHPID > $base/$name/cgroup.procs; fi
    done
    keep=--keep-unit
  fi
  exec systemd-nspawn --boot --register=no $keep -D fs/root -M "$name" --private-network \
    --bind-ro="$project:/opt/jotd" --bind-ro="$jotd:/opt/built/jotd" --capability=CAP_IPC_LOCK \
    --link-journal=no --resolv-conf=off --timezone=off --console=pipe
}
while status=0; (boot) || status=$?; [ $status = 133 ]; do :; done  # 133: it asks for a reboot
"""

    def start(self):
        etc = self.folder / "etc"
        units = etc / "systemd/system"
        units.mkdir(parents=True)
        for unit in MASKED:
            (units / unit).symlink_to("/dev/null")
        (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
        for name, text in {
            "journald.conf.d/test.conf": "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n",
            "system.conf.d/test.conf": "[Manager]\nDefaultTimeoutStartSec=20s\nShowStatus=no\n",
        }.items():
            path = etc / "systemd" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (etc / "machine-id").write_text(uuid.uuid4().hex + "\n")
        (self.folder / "fs").mkdir()
        self.console = open(self.folder / "console", "w+")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", self.BOOT, "boot",
             self.folder, self.name, ROOT, JOTD],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=subprocess.STDOUT)
        self._await_boot()

    def _await_boot(self):
        self.leader = eventually(self._leader)
        eventually(lambda: self.sh("systemctl is-system-running --wait", check=False).stdout.strip()
                   in ("running", "degraded"))

    def reboot(self):
        """Stops all that runs, and boots again with the files as they are."""
        before = self.leader
        self.sh("systemctl reboot", check=False)
        eventually(lambda: self._leader() not in (before, None))
        self._await_boot()

    def _leader(self):
        assert self.process.poll() is None, (self.folder / "console").read_text()
        nspawns = children(self.process.pid)
        for child in (leader for nspawn in nspawns for leader in children(nspawn)):
            try:
                status = pathlib.Path(f"/proc/{child}/status").read_text()
            except OSError:
                continue
            if any(line.startswith("NSpid:") and line.split()[-1] == "1"
                   for line in status.splitlines()) and status.startswith("Name:\tsystemd"):
                return child
        return None

    def stop(self):
        if self.process and self.process.poll() is None:
            for nspawn in children(self.process.pid):
                os.kill(nspawn, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.kill(self.leader, signal.SIGKILL)
                self.process.wait(20)
        for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
            group = pathlib.Path(base) / self.name
            for folder, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass

    def sh(self, script, check=True):
        """Runs a shell script in the container."""
        done = subprocess.run(
            ["nsenter", "--all", "--target", str(self.leader), "--", "bash", "-c", script],
            capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C"})
        assert not check or done.returncode == 0, (script, done.stdout, done.stderr)
        return done

    def write(self, path, text, mode=0o644):
        subprocess.run(
            ["nsenter", "--all", "--target", str(self.leader), "--", "bash", "-c",
             'mkdir -p "$(dirname "$1")"; cat > "$1"; chmod "$2" "$1"', "write", path, f"{mode:o}"],
            input=text, text=True, check=True)

    def journal(self, *matches):
        """The entries of the journal that match, as dictionaries."""
        lines = self.sh("journalctl -o json --no-pager " + " ".join(matches)).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def show(self, name, unit="jotd"):
        """A property of a unit."""
        return self.sh(f"systemctl show -P {name} '{unit}'").stdout.strip()

    def restart(self):
        self.sh("systemctl reset-failed jotd; systemctl restart jotd")
        assert self.show("ActiveState") == "active"

    def said(self):
        """The messages of jotd since its last start."""
        run = self.show("InvocationID")
        return self.sh("journalctl --sync; journalctl -o cat --no-pager "
                       f"_SYSTEMD_INVOCATION_ID={run}").stdout


def commands(heading):
    """The commands that the README gives under a heading."""
    section = (ROOT / "README.md").read_text().split(f" {heading}\n")[1]
    return re.findall(r"^    (.+)", re.split(r"^#+ ", section, maxsplit=1, flags=re.M)[0], re.M)


# For the commands of the README: root needs no sudo, here the editor only takes comment signs away,
# and jotd is there already.
BY_HAND = """
sudo() { "$@"; }
sudoedit() { sed -Ei 's/# (owner|group|mode)/\\1/' "$1"; }
make() { [ "$1" = build ] || command make -C /opt/jotd JOTD=/opt/built/jotd "$@"; }
export CAMERA_SERVICE_JWT_SECRET=$(/opt/built/jotd secret)
"""


@pytest.fixture(scope="session")
def container(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    container = Container(tmp_path_factory.mktemp("container"))
    try:
        container.start()
        yield container
    finally:
        container.stop()


@pytest.fixture(scope="session")
def installed(container):
    """jotd as the README installs it, with the example configuration. What came of each command
    is in `steps`."""
    container.sh("useradd -r camera")
    container.steps = {
        line: container.sh(BY_HAND + line, check=False) for line in commands("Install it")}
    container.restart()
    return container


@pytest.fixture
def configured(installed):
    """Starts jotd with another configuration and no token, for one test."""
    before = installed.sh("cat /etc/jotd/jotd.yaml").stdout

    def configure(text):
        installed.sh("systemctl stop jotd; rm -rf /run/jotd")
        installed.write("/etc/jotd/jotd.yaml", text)
        installed.restart()
        return installed

    yield configure
    installed.write("/etc/jotd/jotd.yaml", before)
    installed.sh("systemctl stop jotd; rm -rf /run/jotd")
    installed.restart()
