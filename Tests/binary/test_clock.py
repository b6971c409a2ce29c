"""A clock that is set, forward or back, is noticed at once, and one that is slewed changes
nothing."""

import time

import pytest

from conftest import claims_of, library, many


@pytest.fixture(scope="session")
def clock():
    return library("clock")


@pytest.mark.parametrize("step", [-86_400, -3, 3 * 86_400, 82_900])
def test_a_clock_that_is_set_is_noticed_at_once(home, clock, step):
    home.configure(many(5, "1d", "1h"))
    offset = home.path("offset")
    offset.write_bytes((0).to_bytes(8, "little", signed=True))
    daemon = home.start(env={"LD_PRELOAD": str(clock), "CLOCK_OFFSET": str(offset)}).ready()
    time.sleep(0.2)
    assert daemon.count("new token") == 5
    begin = time.time()
    with open(offset, "r+b") as file:
        file.write((step * 1_000_000_000).to_bytes(8, "little", signed=True))
    daemon.wait_for("new token", 10)
    assert daemon.count("the clock was set " + ("back" if step < 0 else "forward")) == 1
    for n in range(5):
        claims = claims_of(home.read(f"i{n}.jwt"))
        assert int(begin) <= claims["iat"] - step <= time.time()
        assert claims["exp"] - (time.time() + step) > 3600


def test_a_small_step_forward_changes_nothing(home, clock):
    home.configure(many(5, "1d", "1h"))
    offset = home.path("offset")
    offset.write_bytes((0).to_bytes(8, "little", signed=True))
    daemon = home.start(env={"LD_PRELOAD": str(clock), "CLOCK_OFFSET": str(offset)}).ready()
    with open(offset, "r+b") as file:
        file.write((60 * 1_000_000_000).to_bytes(8, "little", signed=True))
    daemon.wait_for("the clock was set forward by 1min")
    time.sleep(0.3)
    assert daemon.count("new token") == 5
