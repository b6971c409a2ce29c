"""A real systemd in a container of its own: a throw-away overlay of this host's root, booted by
systemd-nspawn without a network. Needs root, and changes nothing outside."""

import os
import pathlib
import shutil
import signal
import subprocess
import time
import uuid

import pytest

ROOT = pathlib.Path(__file__).parents[2]
JOTD = pathlib.Path(os.environ.get("JOTD") or ROOT / ".build/release/jotd")
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
        return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
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
cd "$1"; name=$2; jotd=$3
mount -t tmpfs -o size=1g,mode=755 tmpfs fs
mkdir fs/up fs/work fs/root
mount -t overlay overlay -o lowerdir=/,upperdir=fs/up,workdir=fs/work fs/root
rm -rf fs/root/etc/systemd/system fs/root/var/log/journal fs/root/etc/machine-id
cp -a etc/. fs/root/etc/
cp "$jotd" fs/root/usr/bin/jotd
if [ ! -d /run/systemd/system ]; then
  # This host's first process is no systemd: the container gets a control group of its own.
  for base in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    if [ -e $base/cgroup.procs ]; then mkdir -p $base/$name; echo $$ > $base/$name/cgroup.procs; fi
  done
  keep=--keep-unit
fi
export SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn --boot --register=no $keep -D fs/root -M "$name" --private-network \
  --capability=CAP_IPC_LOCK --link-journal=no --resolv-conf=off --timezone=off --console=pipe
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
             self.folder, self.name, JOTD],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=subprocess.STDOUT)
        self.leader = eventually(self._leader)
        eventually(lambda: self.sh("systemctl is-system-running --wait", check=False).stdout.strip()
                   in ("running", "degraded"))

    def _leader(self):
        assert self.process.poll() is None, (self.folder / "console").read_text()
        for child in children(self.process.pid):
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
            self.process.send_signal(signal.SIGTERM)
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
        import json
        lines = self.sh("journalctl -o json --no-pager " + " ".join(matches)).stdout.splitlines()
        return [json.loads(line) for line in lines]


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
    """jotd as `make install` leaves it, with the example configuration and a secret."""
    for source, target in [
        ("systemd/jotd.service", "/usr/lib/systemd/system/jotd.service"),
        ("systemd/jotd.sysusers", "/usr/lib/sysusers.d/jotd.conf"),
        ("systemd/jotd.tmpfiles", "/usr/lib/tmpfiles.d/jotd.conf"),
        ("systemd/jotd.catalog", "/usr/lib/systemd/catalog/jotd.catalog"),
    ]:
        container.write(target, (ROOT / source).read_text())
    container.sh("systemd-sysusers; systemd-tmpfiles --create; journalctl --update-catalog; "
                 "useradd -r camera; systemctl daemon-reload")
    container.write("/etc/jotd/secret", container.sh("jotd secret").stdout.strip(), 0o600)
    text = (ROOT / "Config/jotd.yaml").read_text()
    for key in ("owner", "group", "mode"):
        text = text.replace(f"# {key}", key)
    container.write("/etc/jotd/jotd.yaml", text)
    return container
