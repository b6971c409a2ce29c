"""A plugin of pytest: ends with SIGTERM the daemons that a test leaves running, so that their
memory is checked for leaks. The fixture's own SIGKILL would leave no time for it."""

import pytest


@pytest.fixture(autouse=True)
def ended(request):
    if "home" not in request.fixturenames:
        yield
        return
    home = request.getfixturevalue("home")
    yield
    for daemon in home.daemons:
        daemon.stop()
