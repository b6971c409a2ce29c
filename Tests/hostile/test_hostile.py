"""jotd among hostile callers: each way to misbehave in turn, then crowds of several users, then all
of it at the start, in a reload and in a stop. Readers find whole, fresh tokens at every moment; a
crowd of one user costs another at most a second; what the attack took is given back; little is
logged.

As root, everybody is a user of their own. As an ordinary user, all are that user: then the promises
of one user to another cannot be seen, and are not looked at. JOTD is the program."""

import contextlib
import pathlib
import sys
import time

import jwt
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from attacks import WAYS  # noqa: E402
from clients import ask  # noqa: E402
from honest import waited  # noqa: E402
from house import HOSTILE, IS_ROOT, MIB, Attack, Callers, House, eventually, listening  # noqa: E402

# How long each way is tried, in seconds.
TIME = 2
# What one user's crowd may cost another, in seconds: the contract's figure, on a machine as fast as
# that of doc/performance.md, where PyJWT mints so many tokens a second.
COST, MINTED = 1, 131_097
# How much memory may stay taken after an attack (the contract's figure), and be taken in it.
STAYS, TAKEN = 8 * MIB, 128 * MIB
# How long it may take to be given back: a connection that is not read from is closed in less.
GIVEN_BACK = 15
# Refusals are logged 10 in ten seconds for each user (Limits.refusalsLogged); the rest is room for
# what is said once. One user more is root, whose units are refused, too.
LINES = 25
# Bytes of a line: one text from outside (Limits.shownBytes), and what is said of it.
LINE = 9 << 10
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")
EVERYBODY = ["reader", "listener", "caller", "operator", "unit"] if IS_ROOT else ["reader"]


def slowness():
    """How many times longer this machine takes for the same work; 1 for a faster one, too."""
    def minting(count=1_000):
        began = time.monotonic()
        for number in range(count):
            jwt.encode({"user_id": f"user-{number}", "role": "operator", "iat": number,
                        "exp": number + 86_400}, "k" * 32, algorithm="HS256")
        return (time.monotonic() - began) / count
    return max(1, MINTED * min(minting() for _ in range(10)))


class Quiet:
    """What a daemon is and does that nobody attacks: the measure for the rest."""

    def __init__(self, house):
        self.start = house.start().ready()
        callers = Callers(house, EVERYBODY)
        time.sleep(1)
        seen = callers.end()
        faults = [fault for one in seen.values() for fault in one["faults"]]
        assert not faults, faults[:5]
        self.slowest = max(took for one in seen.values() for took in one["slowest"].values())
        self.cost = COST * slowness()
        self.resident = house.resident()
        self.descriptors = house.open_descriptors()


@pytest.fixture(scope="module")
def shared():
    house = House()
    yield house
    house.remove()


@pytest.fixture
def house(shared):
    """The daemon that all ways are tried on in turn; a new one after it failed."""
    if shared.process is None or shared.failed or shared.process.poll() is not None:
        shared.clear()
        shared.configure()
        if shared.process:
            shared.end(9)
        shared.quiet = Quiet(shared)
        shared.before = shared.quiet.resident
    shared.failed = True
    return shared


def check_callers(seen, house):
    """Nothing was wrong, and nobody was late."""
    for role, one in seen.items():
        assert not one["faults"], (role, one["faults"][:5])
        assert one["calls"] > 0, role
        assert one["late"] == 0, (role, one["late"], one["slowest"], house.quiet.slowest)


def check_recovery(house):
    """What the attack took is given back."""
    took = max(house.samples) - house.quiet.resident
    assert took <= TAKEN, f"{took // MIB} MiB taken"
    # Of this attack; and of all some forty that the daemon has lived through, what the pages hold
    # that no attack leaves wholly free.
    stays = min(house.before + STAYS, house.quiet.resident + 3 * STAYS)
    assert eventually(lambda: house.resident() <= stays, GIVEN_BACK), (
        f"{(house.resident() - house.before) / MIB:.1f} MiB stay taken, "
        f"{(house.resident() - house.quiet.resident) / MIB:.1f} MiB in all")
    house.before = house.resident()
    assert eventually(lambda: house.open_descriptors() <= house.quiet.descriptors, GIVEN_BACK), (
        house.open_descriptors(), house.quiet.descriptors)


def check_log(house, since, users):
    """A bounded number of lines, none of which steers a terminal, holds a token or goes on for
    ever."""
    for line in house.lines[since:]:
        assert line.isprintable(), f"a line steers the terminal: {line!r:.300}"
        assert "eyJ" not in line and "c2lnbmF0dXJl" not in line, "a line holds a token"
        assert len(line.encode()) <= LINE, f"a line has {len(line)} characters"
    said = house.said(since)
    assert len(said) <= LINES * (users + 1), (len(said), said[:10])


def attack(house, ways, users, seconds=TIME, processes=2, may_refuse=False):
    """Lets all callers loose, and looks at what became of it. `may_refuse` a unit its
    credential?"""
    house.samples.clear()
    since, runs, began = house.mark(), house.hook_runs(), time.monotonic()
    callers = Callers(house, EVERYBODY, house.quiet.cost + house.quiet.slowest)
    crowds = [Attack(house, way, users, seconds, processes) for way in ways]
    for crowd in crowds:
        crowd.end()
    seen = callers.end()
    took = time.monotonic() - began
    if may_refuse:
        unit = seen["unit"]
        unit["faults"] = [one for one in unit["faults"] if "refused" not in one]
    check_callers(seen, house)
    check_recovery(house)
    check_log(house, since, len(users))
    if "rotating" not in ways:
        # Tokens are issued at whole seconds: another one in the same second would live no longer.
        assert house.rotations("shared", since) <= took + 3, (
            house.rotations("shared", since), took)
    # Each run gathers for a tenth of a second.
    assert house.hook_runs() - runs <= 10 * took + 3, (house.hook_runs() - runs, took)
    house.failed = False


OF_ROOT = {name for name in WAYS if name.startswith("credential")} | {"rotating"}
# An ordinary user is the daemon's own, and is refused nothing.
OF_USERS = [name for name in WAYS
            if name not in OF_ROOT and (IS_ROOT or name != "flooding_refusals")]


@pytest.mark.parametrize("name", OF_USERS)
def test_one_user(house, name):
    attack(house, [name], HOSTILE[:1])


@needs_root
@pytest.mark.parametrize("name", [name for name in WAYS if name in OF_ROOT])
def test_root(house, name):
    """Who may connect to the credential socket, and rotate: root's own mistakes. A unit can be
    refused where root leaves no room, and is never given an empty credential."""
    attack(house, [name], [0], may_refuse=True)


@pytest.mark.parametrize("count", [2, 10] if IS_ROOT else [1])
def test_crowds_of_several_users(house, count):
    """Every connection that there is room for, by users who help each other: silent, in the middle
    of a request, held, and never content."""
    ways = ["half_a_body", "flooding_health"] if count == 2 else ["silent", "held"]
    attack(house, ways, HOSTILE[:count], 2 * TIME, processes=1)


def test_all_at_once(house):
    """Each way once, by users in turn. What ten crowds may cost is not what one may."""
    house.samples.clear()
    since = house.mark()
    callers = Callers(house, EVERYBODY, 3 * house.quiet.cost + house.quiet.slowest)
    crowds = [Attack(house, way, [HOSTILE[n % len(HOSTILE)]], 3 * TIME, 1)
              for n, way in enumerate(OF_USERS)]
    for crowd in crowds:
        crowd.end()
    check_callers(callers.end(), house)
    check_recovery(house)
    check_log(house, since, len(HOSTILE))
    house.failed = False


@needs_root
def test_somebody_who_cannot_connect(house):
    """Costs nothing: no connection, no line."""
    since = house.mark()
    house.configure(mode="0600")
    assert ask(house.folder / "s", "/v1/reload", "POST")[0] == 200
    assert eventually(lambda: any("reloaded" in line for line in house.said(since)), 5)
    since, before = house.mark(), house.open_descriptors()
    crowd = Attack(house, "silent", HOSTILE[:1], TIME)
    time.sleep(TIME / 2)
    assert house.open_descriptors() <= before
    crowd.end(deeds=False)
    assert house.said(since) == []
    house.configure()
    assert ask(house.folder / "s", "/v1/reload", "POST")[0] == 200
    house.failed = False


# Those that leave no peace while the daemon comes, changes or goes.
RESTLESS = ["hasty", "half_a_body", "pipelining", "flooding_health", "token_hasty"]


def start_attack(house, seconds):
    return [Attack(house, way, HOSTILE[n: n + 1] or HOSTILE[:1], seconds, 1)
            for n, way in enumerate(RESTLESS)]


@pytest.mark.parametrize("is_handed_over", [False, True])
def test_at_the_start(house, is_handed_over):
    """A crowd waits before the daemon is there: for a path, or in line on a socket of systemd's."""
    house.end()
    own = listening(house.folder / "s") if is_handed_over else contextlib.nullcontext()
    with own as socket:
        crowds = start_attack(house, 2 * TIME)
        time.sleep(TIME / 2)
        took = house.start(socket).ready()
        house.before = house.quiet.resident
        callers = Callers(house, EVERYBODY, house.quiet.cost + house.quiet.slowest, is_patient=True)
        assert took <= house.quiet.cost + house.quiet.start, (took, house.quiet.start)
        for crowd in crowds:
            crowd.end()
        check_callers(callers.end(), house)
        check_recovery(house)
        check_log(house, 0, len(HOSTILE))
    # What was systemd's went with it: the others of these tests have a daemon of their own.
    house.failed = is_handed_over


@needs_root
def test_during_reloads(house):
    """Reloads without a pause, every other one refused: by a key, by a socket that cannot be made.
    Each is answered, and after each the socket answers where the last good one says."""
    missing = {"path": "none/s"}
    changes = [({"mode": "0777"}, 200), ({"more": "nonsense: 1\n"}, 422), ({"path": "s2"}, 200),
               (missing, 422), ({"path": "s"}, 200), (missing, 422), ({"path": "s2"}, 200),
               ({"more": "  bad: [\n"}, 422)]
    house.configure()
    crowds = start_attack(house, 3 * TIME)
    callers = Callers(house, EVERYBODY, house.quiet.cost + house.quiet.slowest, is_patient=True)
    since, at, end = house.mark(), "s", time.monotonic() + 3 * TIME
    reloads, slowest = 0, 0
    try:
        while time.monotonic() < end:
            for change, expected in changes:
                house.configure(**{"path": at, **change})
                began, before = time.monotonic(), waited(house.process.pid)
                status, _, answer = ask(house.folder / at, "/v1/reload", "POST")
                slowest = max(
                    slowest, time.monotonic() - began - waited(house.process.pid) + before)
                assert status == expected, (change, status, answer[:300])
                at = change.get("path", at) if expected == 200 else at
                assert ask(house.folder / at, "/health")[0] == 200
                reloads += 1
    finally:
        house.configure(at)
        seen = callers.end()
        for crowd in crowds:
            crowd.end()
    assert slowest <= house.quiet.cost + house.quiet.slowest, (slowest, house.quiet.slowest)
    assert reloads >= len(changes)
    house.configure("s")
    assert ask(house.folder / at, "/v1/reload", "POST")[0] == 200
    # An operator that monitors reads the configuration, and finds it refused at every other time.
    seen.get("operator", {"faults": []})["faults"] = [
        fault for fault in seen.get("operator", {"faults": []})["faults"]
        if "jotd health" not in fault]
    check_callers(seen, house)
    check_recovery(house)
    # A refused reload says why on a line, or on several.
    check_log(house, since, len(HOSTILE) + reloads)
    house.failed = False


def test_in_a_stop_and_a_restart(house):
    """It ends within a second, what it delivered stays, and the next start keeps it."""
    crowds = start_attack(house, 5 * TIME)
    for _ in range(3):
        time.sleep(TIME / 2)
        readers = Callers(house, EVERYBODY[:2], is_patient=True)
        code, took = house.end()
        assert code == 0 and took < 1, (code, took)
        time.sleep(0.2)
        began = house.start().ready()
        house.before = house.quiet.resident
        check_callers(readers.end(), house)
        assert began <= house.quiet.cost + house.quiet.start, (began, house.quiet.start)
        kept = sum("is kept" in line for line in house.lines)
        assert kept > 30, house.lines[:60]
    for crowd in crowds:
        crowd.end()
    check_recovery(house)
    check_log(house, 0, len(HOSTILE))
    house.failed = False
