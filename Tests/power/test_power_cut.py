"""After a power cut at any moment, every file is whole, right, and as new as jotd had said.

JOTD_SEED=7 tries other parts of what the disk had not written out."""

import contextlib
import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest

import cuts
from conftest import FILE_SYSTEMS, Daemon, eventually, mounted
from deliveries import IDENTITIES, faults, left_over

SEED = os.environ.get("JOTD_SEED", "1")
# After so many images, jotd starts again on the next that has a temporary file.
RESTART_EVERY = 40


def images(home):
    """The images that a power cut can leave, with where to mount them: (cut, image, folder,
    acknowledged)."""
    image, folder = home / "cut", home / "remains"
    folder.mkdir()
    for cut, acknowledged in cuts.cuts(home / "base", home / "log", SEED, image):
        yield cut, image, folder, acknowledged


@contextlib.contextmanager
def kept_on_failure(home, cut, folder):
    """Keeps base and log when the test of a cut fails, and says how to have the cut again."""
    try:
        yield
    except Exception as error:
        for name in ("base", "log"):
            cuts.copy(home / name, folder / name)
        again = ["python3", cuts.__file__, folder / "base", folder / "log", SEED, cut, "IMAGE"]
        raise AssertionError(f"{error}; {shlex.join(map(str, again))} makes it again") from error


def start_again(home, folder):
    """jotd on what is left: it puts fresh tokens everywhere, and takes away what it had begun."""
    now = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    daemon = Daemon(home, folder)
    try:
        daemon.wait_for("ready:")
        eventually(lambda: not any(left_over(path.name) for path in folder.iterdir()))
        assert not list(faults(folder, dict.fromkeys(IDENTITIES, now)))
    finally:
        daemon.stop()


def judge(home, kept):
    """Looks for faults after every cut, and lets jotd start again after some."""
    restarts, since, rotations = 0, 0, set()
    for cut, image, remains, acknowledged in images(home):
        with kept_on_failure(home, cut, kept), mounted(image, remains):
            folder = remains / "jotd"
            assert not list(faults(folder, acknowledged))
            since += 1
            if since > RESTART_EVERY and any(left_over(path.name) for path in folder.iterdir()):
                start_again(home, folder)
                restarts, since = restarts + 1, 0
        rotations |= set(acknowledged.items())
    assert restarts >= 2 and len(rotations) >= 2 * len(IDENTITIES), (restarts, rotations)


@pytest.fixture(scope="session")
def judged(recorded, tmp_path_factory):
    """The file systems side by side, because most of the time is spent waiting for mounts."""
    with ThreadPoolExecutor() as pool:
        return {name: pool.submit(judge, recorded[name, ""], tmp_path_factory.mktemp(name))
                for name in FILE_SYSTEMS}


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
def test_nothing_that_was_acknowledged_is_lost(judged, file_system):
    judged[file_system].result()


@pytest.mark.parametrize("skipped", ["fd", "f", "d"])
@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
def test_without_a_sync_something_is(recorded, file_system, skipped):
    """The test above would see it: without any sync, without those of the files, and without those
    of the folder."""
    for _, image, remains, acknowledged in images(recorded[file_system, skipped]):
        with mounted(image, remains):
            if list(faults(remains / "jotd", acknowledged)):
                return
    pytest.fail("nothing was lost")
