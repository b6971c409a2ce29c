"""`jotd status` on terminals of every size, and what health tells of tokens in JSON."""

import calendar
import datetime
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from conftest import JOTD, PATIENCE, claims_of, eventually, jotd, many, with_socket
from test_false_daemons import answer, asked, daemon, sends

LONG = ("/run/camera/tokens/front-door.jwt: writing hangs: is its file system, or the disk under "
        "it, in trouble? What is delivered elsewhere is not concerned, and every word of this has "
        "to be read")

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(columns, lines, *arguments, until=None):
    """What a command prints on a terminal of this size, to its end or until it printed `until`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [JOTD, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text, end = b"", time.monotonic() + PATIENCE
    while time.monotonic() < end and (until is None or until not in text):
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            text += os.read(ours, 65536)
        except OSError:
            break
    if until:
        # Whoever runs tests in the background has it ignore SIGINT, and all that it starts.
        process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    os.close(ours)
    return text.decode().replace("\r\n", "\n")


def at(seconds):
    now = datetime.datetime.now(datetime.timezone.utc)
    moment = now + datetime.timedelta(seconds=seconds + 0.9)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def identity(state="fresh", left=23 * 3600, error=None, retry=None, refresh=20 * 3600):
    return {"state": state, "expires_at": at(left), "refresh_at": at(refresh),
            "retry_at": None if retry is None else at(retry), "last_error": error,
            "in_use": {"expires_at": at(left)},
            "newest": {"issued_at": at(left - 86400), "expires_at": at(left)}}


def report():
    return {"status": "warn", "notes": ["the last reload was refused: " + LONG], "identities": {
        "front-door": identity(),
        "garage-and-a-name-that-is-much-longer-than-any-terminal-has-room": identity(),
        "hall": identity("stale", 1800, LONG, 42), "ice-house": identity("expired", -86399, LONG),
        "yard": identity("missing", 60, "mkdir: no", 1)}}


@pytest.mark.parametrize("columns,lines", [
    (60, 20), (40, 10), (80, 24), (99, 30), (100, 30), (200, 50)])
def test_nothing_is_lost_at_any_width(asked, columns, lines):
    with daemon(asked.path, sends(answer(json.dumps(report())))):
        text = on_terminal(columns, lines, "status", "--config", asked.config)
    assert ("\u2588" in text) == (columns >= 100)
    page = COLOURS.sub("", text).splitlines()
    if columns >= 60:
        assert max(map(len, page)) <= columns, page
    # Each error, and the note, is there word by word, below the row that it belongs to.
    flat = " ".join(" ".join(page).split())
    assert flat.count(LONG) == 3 and "mkdir: no" in flat
    for name in ("hall", "ice-hou"):
        assert flat.index(LONG, flat.index(name)) - flat.index(name) < 100
    for name in ("front-door", "hall", "yard"):
        assert any(line.startswith(name[:7]) for line in page)


def test_a_failing_identity_says_when_it_is_tried_again(asked):
    with daemon(asked.path, sends(answer(json.dumps(report())))):
        rows = {line.split()[0]: line for line in asked(["status"]).stdout.splitlines()}
    soon = re.compile("in (19h 59min|20h)")
    assert soon.search(rows["front-door"])
    assert re.search(r"retry in [0-9]+s", rows["hall"]), rows["hall"]
    # Without a time for it, the try is under way: not the rotation of tomorrow is next.
    assert "being tried" in rows["ice-house"] and not soon.search(rows["ice-house"])
    assert "23h 59min ago" in rows["ice-house"]


def test_watching_on_a_small_terminal_shows_what_is_wrong_first(asked):
    many = {f"camera-{n:02}": identity() for n in range(40)}
    many["zoo"] = identity("stale", 1800, LONG, 42)
    full = {"status": "warn", "notes": [LONG * 20], "identities": many}
    with daemon(asked.path, sends(answer(json.dumps(full)))):
        text = on_terminal(60, 20, "status", "--watch", "--config", asked.config, until=b"\x1b[J")
    page = re.sub(r"\x1b\[[0-9;]*[mHKJ]", "", text).splitlines()
    assert len(page) <= 20 and max(map(len, page)) <= 60, page
    flat = " ".join(" ".join(page).split())
    assert "zoo" in flat and LONG in flat and "all fresh" in flat and "jotd status" in flat
    shown = sum(line.startswith("camera-") for line in page)
    assert f"and {40 - shown} more, all fresh" in flat
    # Where it all fits, nothing is left out.
    with daemon(asked.path, sends(answer(json.dumps(report())))):
        text = on_terminal(120, 40, "status", "--watch", "--config", asked.config, until=b"\x1b[J")
    assert "more" not in text.replace("any more", "") and text.count("yard") == 1


def moment(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def test_the_token_in_use_and_the_newest_are_two(home_in_memory):
    """A folder that nothing can be written to keeps the old token while the other has the new
    one."""
    home = home_in_memory
    home.path("d").mkdir()
    home.one(deliver="[ { file: @/a.jwt }, { file: @/d/a.jwt } ]", life="1h 30min", before="2.5s")
    text = home.config.read_text()
    home.config.write_text(f"socket: {{ path: {home.path('s')} }}\n" + text)
    # Root may write everywhere, unless it has no capabilities.
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    home.start(prefix=powerless).ready()

    def told():
        done = jotd("status", "--json", "--config", home.config)
        return json.loads(done.stdout)["identities"]["a"]
    first = told()
    claims = claims_of(home.read("a.jwt"))
    assert moment(first["in_use"]["expires_at"]) == claims["exp"]
    assert moment(first["newest"]["expires_at"]) == claims["exp"]
    assert moment(first["newest"]["issued_at"]) == claims["iat"]
    assert first["newest"]["refresh_at"] == first["refresh_at"]
    assert first["expires_at"] == first["in_use"]["expires_at"]
    assert 5400 - PATIENCE < first["in_use"]["remaining_seconds"] <= 5400
    home.path("d").chmod(0o500)
    time.sleep(1.05)
    jotd("rotate", "a", "--config", home.config, expect=69)
    second = told()
    assert second["in_use"]["expires_at"] == first["in_use"]["expires_at"] == second["expires_at"]
    assert moment(second["newest"]["expires_at"]) == claims_of(home.read("a.jwt"))["exp"]
    assert second["newest"]["expires_at"] > second["in_use"]["expires_at"]
    # Of one identity, more is told: durations are seconds, as numbers.
    done = subprocess.run(
        ["curl", "-sS", "--unix-socket", home.path("s"), "http://jotd/v1/identities/a"],
        capture_output=True, text=True, check=True)
    one = json.loads(done.stdout)
    assert one["lifetime_seconds"] == 5400 and one["refresh_before_seconds"] == 2.5
    assert "lifetime" not in one and one["in_use"]["expires_at"] == second["in_use"]["expires_at"]


def test_a_threshold_can_be_a_share_of_each_lifetime(home):
    home.configure(
        "  a: { user_id: u, role: viewer }\n"
        "  b: { user_id: u, role: viewer, lifetime: 1h }\n"
        "  c: { user_id: u, role: viewer, refresh_before: 10min }\n"
        "  d: { user_id: u, role: viewer, lifetime: 1d, refresh_before: 0.5% }\n",
        defaults="{ lifetime: 2h, refresh_before: 12.5% }")
    with_socket(home).start().ready()
    for name, life, before in [("a", 7200, 900), ("b", 3600, 450), ("c", 7200, 600),
                               ("d", 86400, 432)]:
        one = json.loads(subprocess.run(
            ["curl", "-sS", "--unix-socket", home.path("s"), f"http://jotd/v1/identities/{name}"],
            capture_output=True, check=True).stdout)
        assert (one["lifetime_seconds"], one["refresh_before_seconds"]) == (life, before)
        newest = {key: moment(value) for key, value in one["newest"].items()}
        assert newest["expires_at"] - newest["issued_at"] == life
        lead = newest["expires_at"] - before - newest["refresh_at"]
        assert min(180, 0.02 * (life - before)) - 1 <= lead <= min(900, 0.1 * (life - before)) + 1


def test_what_was_never_delivered_has_no_token_in_use(query):
    query.serve()
    query.config.write_text(query.config.read_text().replace("a.jwt", "none/a.jwt"))
    query.start().ready()
    known = eventually(lambda: query.ask("/health").json["identities"]["a"])
    assert known["in_use"] is None and known["newest"] is not None and known["state"] == "missing"


def health(home, **status):
    answer = jotd("health", "--config", home.config, **status).stdout
    return answer


def test_what_ended_is_not_in_health_any_more(home):
    with_socket(home.configure(many(1, "1d", "1h")))
    daemon = home.start().ready()
    assert health(home).startswith("JOTD OK")
    home.secret.rename(home.path("away"))
    daemon.wait_for("stays in use")
    assert "secret" in health(home, expect=1)
    home.path("away").rename(home.secret)
    daemon.wait_for("can be read again")
    eventually(lambda: subprocess.run(
        [JOTD, "health", "--config", home.config], capture_output=True).returncode == 0)
    good = home.config.read_text()
    home.config.write_text(good + "nonsense: 1\n")
    daemon.reload()
    home.path("good.yaml").write_text(good)
    done = jotd("health", "--config", home.path("good.yaml"), expect=1).stdout
    assert "the last reload was refused" in done
    home.config.write_text(good)
    daemon.reload()
    assert health(home).startswith("JOTD OK")


def test_the_fault_of_a_hook_that_a_reload_took_away_is_not_in_health_any_more(home):
    with_socket(home.configure(many(1, "1d", "1h").replace(
        "    deliver", "    on_rotate: [ { run: [ /bin/false ] } ]\n    deliver")))
    daemon = home.start().ready()
    daemon.wait_for("the hook run /bin/false failed")
    assert "/bin/false" in health(home, expect=1)
    with_socket(home.configure(many(1, "1d", "1h")))
    daemon.reload()
    assert health(home).startswith("JOTD OK")
