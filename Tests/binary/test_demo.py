"""What `make run` shows: Config/demo.sh, once the program is built."""

import os
import pathlib
import signal
import subprocess

import pytest

from conftest import JOTD, PATIENCE, claims_of, eventually

DEMO = pathlib.Path(__file__).parents[2] / "Config/demo.sh"


class Demo:
    """A running demonstration, below a folder; what it printed first names its files."""

    def __init__(self, parent):
        self.process = subprocess.Popen(
            [DEMO, JOTD], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "TMPDIR": str(parent)}, start_new_session=True)
        lines = iter(self.process.stdout.readline, "")
        shown = next(line for line in lines if "viewer.jwt" in line)
        self.folder = pathlib.Path(shown.split()[1]).parent
        next(line for line in lines if "ready: 3 identities" in line)

    def end(self, how):
        os.killpg(self.process.pid, how)
        self.process.stdout.read()
        self.process.stdout.close()
        return self.process.wait(PATIENCE)


@pytest.fixture
def demos(tmp_path):
    """Two demonstrations of one user at once."""
    both = [Demo(tmp_path) for _ in range(2)]
    yield both
    for demo in both:
        if demo.process.poll() is None:
            demo.end(signal.SIGKILL)


def test_two_demonstrations_at_once_and_what_is_left(demos):
    one, other = demos
    assert one.folder != other.folder
    for demo in demos:
        assert oct(demo.folder.stat().st_mode & 0o777) == "0o700"
        token = (demo.folder / "viewer.jwt").read_text()
        assert claims_of(token)["user_id"] == "demo-viewer"
        told = subprocess.run([
            "curl", "-sS", "--unix-socket", demo.folder / "jotd.sock", "http://jotd/health"],
            capture_output=True, text=True).stdout
        assert '"status":"pass"' in told, told
    eventually(lambda: (other.folder / "viewer.jwt").read_text() != token)
    assert one.end(signal.SIGINT) == 0 and not one.folder.exists()
    assert other.end(signal.SIGTERM) == 0 and not other.folder.exists()


def test_a_demonstration_that_was_killed_is_not_in_the_way(demos, tmp_path):
    for demo in demos:
        assert demo.end(signal.SIGKILL) == -signal.SIGKILL and demo.folder.exists()
    again = Demo(tmp_path)
    assert again.end(signal.SIGINT) == 0
