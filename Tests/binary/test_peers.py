"""Who is asking, as the kernel says it, and what of their words reaches the log."""

import errno
import os
import socket

import pytest

from conftest import jotd, library
from test_crowds import connect, read_all, serve

STRANGER = 54_321


def start(home, **more):
    """The daemon, for which every caller is a stranger in the unit that is allowed."""
    home.path("cgroup").write_text("0::/system.slice/client.service\n")
    return home.start(env={
        "LD_PRELOAD": str(library("peer")), "PEER_UID": str(STRANGER),
        "PEER_CGROUP": str(home.path("cgroup")), **more})


def status(home, target, method="GET"):
    one = connect(home)
    one.sendall(
        f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
    return int(read_all(one).split()[1])


ALLOW = "    allow: [ { unit: client.service } ]\n"


def knows_peer_processes():
    one, other = socket.socketpair()
    with one, other:
        try:
            os.close(one.getsockopt(socket.SOL_SOCKET, 77))
        except OSError as error:
            return error.errno != errno.ENOPROTOOPT
    return True


@pytest.mark.skipif(not knows_peer_processes(), reason="needs SO_PEERPIDFD (Linux 6.5)")
def test_a_unit_is_known_by_its_process(home):
    serve(home, 1, more=ALLOW)
    daemon = start(home).ready()
    assert status(home, "/v1/identities/i0/token") == 200
    assert daemon.count("SO_PEERPIDFD") == 0
    home.path("cgroup").write_text("0::/system.slice/other.service\n")
    assert status(home, "/v1/identities/i0/token") == 403
    daemon.wait_for(f"uid {STRANGER}, unit other.service, may not read i0")


@pytest.mark.parametrize("error", ["EINVAL", "ESRCH", "ENODATA", "EMFILE", "ENOPROTOOPT"])
def test_without_its_process_a_caller_has_no_unit(home, error):
    """By its number alone, a process that has ended is any other that came to have that number."""
    serve(home, 1, more=ALLOW)
    daemon = start(home, PEER_PIDFD_ERRNO=str(getattr(errno, error))).ready()
    assert status(home, "/v1/identities/i0/token") == 403
    daemon.wait_for(f"uid {STRANGER} may not read i0")
    # Somebody who counts on units is told once that this kernel cannot tell them.
    assert daemon.count("SO_PEERPIDFD") == (error == "ENOPROTOOPT")


def test_a_kernel_without_peer_processes_is_no_matter_where_no_unit_is_named(home):
    serve(home, 1, more=f"    allow: [ {{ user: '{STRANGER}' }} ]\n")
    daemon = start(home, PEER_PIDFD_ERRNO=str(errno.ENOPROTOOPT)).ready()
    assert status(home, "/v1/identities/i0/token") == 200
    assert daemon.count("SO_PEERPIDFD") == 0


@pytest.mark.parametrize("more, socket", [
    (ALLOW, ""), ("", ", operators: [ { unit: client.service } ]")])
def test_check_warns_as_the_daemon_does(home, more, socket):
    serve(home, 1, more=more, socket=socket)
    kernel = {"LD_PRELOAD": str(library("peer")), "PEER_PIDFD_ERRNO": str(errno.ENOPROTOOPT)}
    lines = jotd("check", "--config", home.config, env=kernel).stderr.splitlines()
    warnings = [line for line in lines if "SO_PEERPIDFD" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{home.config}:3:")
    daemon = home.start(env=kernel).ready()
    assert daemon.count(warnings[0].removesuffix(" (warning)")) == 1


def test_what_a_stranger_writes_does_not_reach_the_log(home):
    serve(home, 1)
    daemon = start(home).ready()
    token = home.path("i0.jwt")
    marks = [
        "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoieCJ9.c2lnbmF0dXJl", "%0Aforged%20line", "%1B[31mred",
        "%E2%80%AEdesrever", "%C2%9B31m", "x" * 5_000]
    for mark in marks:
        for target, method in [("rotate", "POST"), ("token", "GET"), ("", "GET")]:
            assert status(home, f"/v1/identities/{mark}/{target}".rstrip("/"), method) == 403
    daemon.wait_for("no more are reported")
    said = [line for line in daemon.lines if str(STRANGER) in line]
    assert len(said) == 10
    refusals = ("rotate an identity of no valid name", "read an identity of no valid name")
    assert all(line.split(" may not ")[1].startswith(refusals) for line in said)
    assert not token.exists() and all(line.isprintable() for line in daemon.lines)
    for mark in ("eyJ", "forged", "mred", "desrever", "xxxx"):
        assert daemon.count(mark) == 0


def test_who_is_refused_is_called_by_name(home):
    serve(home, 1)
    daemon = start(home, PEER_NAME="camera").ready()
    assert status(home, "/v1/identities/i0/token") == 403
    daemon.wait_for(f"user camera (uid {STRANGER})")
    assert daemon.count(f"user camera (uid {STRANGER}) may not read i0") or daemon.count(
        f"user camera (uid {STRANGER}), unit client.service, may not read i0")


def test_a_name_service_that_hangs_keeps_nobody_waiting(home):
    """The refusal is told by number, other callers and rotations do not notice, and once the
    service is back, names are told."""
    serve(home, 1, life="3s", before="1s", more="    deliver: [ { file: @/i0.jwt } ]\n")
    hang = home.path("hang")
    hang.touch()
    daemon = start(home, PEER_NAME="eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoieCJ9.c2ln",
                   PEER_NAMES_HANG=str(hang)).ready()
    for _ in range(5):
        assert status(home, "/v1/identities/i0/token") == 403
        assert status(home, "/health") == 200
    daemon.wait_for(f"uid {STRANGER}", times=5)
    assert daemon.count("user ") == 0
    daemon.wait_for("i0: new token", times=3)
    hang.unlink()
    # A name is text from outside, and masked as such.
    daemon.wait_for("i0: new token", times=daemon.count("i0: new token") + 4)
    assert status(home, "/v1/identities/i0/token") == 403
    daemon.wait_for(f"user (a token, not shown) (uid {STRANGER})")
