"""Hooks: what they are given, what they can cost, and that nobody waits for them."""

import contextlib
import http.client
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import pytest

from conftest import PATIENCE, eventually, jotd, needs_root


def identity(home, name, hooks, life="1d", before="1h"):
    return (f"  {name}:\n    user_id: u\n    role: viewer\n    lifetime: {life}\n"
            f"    refresh_before: {before}\n    on_rotate: {hooks}\n"
            ).replace("@", str(home.folder))


def hooked(home, hooks, count=1, life="3s", before="1s"):
    """Identities i0, i1 and so on with these hooks, and a query socket."""
    home.configure("".join(identity(home, f"i{n}", hooks, life, before) for n in range(count)))
    return served(home)


def served(home):
    home.config.write_text(home.config.read_text().replace(
        "identities:", f"socket: {{ path: {home.path('s')} }}\nidentities:", 1))
    return home


def script(home, text, name="hook.sh"):
    path = home.path(name)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o700)
    return path


def rotate(home, name):
    connection = http.client.HTTPConnection("jotd", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect(str(home.path("s")))
    with contextlib.closing(connection):
        connection.request("POST", f"/v1/identities/{name}/rotate")
        assert connection.getresponse().status == 200


def children(pid):
    """The processes that this one started, each with its name."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, name, rest = re.fullmatch(
                r"(\d+) \((.*)\) (.*)", stat.read_text().strip(), re.DOTALL).groups()
            if int(rest.split()[1]) == pid:
                found[int(number)] = name
    return found


def printed(daemon, program):
    """What a program printed, line by line."""
    mark = f"run {program}: "
    return [line.split(mark, 1)[1] for line in list(daemon.lines) if mark in line]


# What a hook is given

def test_a_command_runs_after_the_deliveries_of_a_rotation(home):
    path = script(home, 'cat "$1" >> "$2"; echo >> "$2"; echo "for $JOTD_IDENTITIES"')
    hooked(home, f"[ {{ run: [ {path}, @/i0.jwt, @/out ] }} ]\n"
           "    deliver: [ { file: @/i0.jwt } ]")
    daemon = home.start().ready()
    eventually(lambda: home.path("out").exists() and len(home.read("out").split()) >= 3)
    assert set(printed(daemon, path)) == {"for i0"}
    tokens = home.read("out").split()
    assert len(set(tokens)) == len(tokens), "once for each token"


def test_a_command_inherits_nothing_but_its_environment_and_three_descriptors(home):
    hooked(home, "[ { run: [ /usr/bin/env ] }, { run: [ /bin/ls, -l, /proc/self/fd ] }, "
                 f"{{ run: [ {script(home, 'ulimit -Sn; ulimit -Hn')} ] }}, "
                 "{ run: [ /bin/cat, /proc/self/status ] } ]", life="1d")
    # As a careless parent would start it: with descriptors, signals and limits of its own.
    parent = home.path("parent.py")
    parent.write_text(
        "import os, resource, signal, socket, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGCHLD])\n"
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 700))\n"
        "kept = socket.socketpair()\n"
        "for one in kept: os.set_inheritable(one.fileno(), True)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n")
    daemon = home.start({"LISTEN_FDS": "1", "LISTEN_PID": "1", "NOTIFY_SOCKET": "/no/such/socket",
                         "LEAK": "me"}, prefix=[sys.executable, str(parent)]).ready()
    daemon.wait_for("voluntary_ctxt_switches:", 2)
    eventually(lambda: len(printed(daemon, home.path("hook.sh"))) == 2
               and len(printed(daemon, "/usr/bin/env")) == 4
               and len(printed(daemon, "/bin/ls")) == 5)
    assert sorted(printed(daemon, "/usr/bin/env")) == [
        "JOTD_IDENTITIES=i0", "JOTD_IDENTITIES_COUNT=1", "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    open_files = [line.split(" -> ") for line in printed(daemon, "/bin/ls")[1:]]
    assert [left.split()[-1] for left, _ in open_files] == ["0", "1", "2", "3"], open_files
    assert open_files[1][1] == open_files[2][1] and open_files[1][1].startswith("pipe:")
    assert "/fd" in open_files[3][1], "what ls itself opened"
    assert printed(daemon, home.path("hook.sh")) == ["300", "700"]
    status = dict(line.split(": ", 1) for line in printed(daemon, "/bin/cat") if ": " in line)
    assert {status[name] for name in ("SigBlk", "SigIgn", "CapInh", "CapAmb")} == {"0" * 16}


@needs_root
def test_a_command_inherits_no_capabilities(home):
    hooked(home, "[ { run: [ /bin/cat, /proc/self/status ] } ]", life="1d")
    home.start(prefix=["setpriv", "--inh-caps", "+chown", "--ambient-caps", "+chown"]).ready()
    daemon = home.daemons[-1]
    daemon.wait_for("CapAmb:")
    text = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    assert "CapInh:\t0000000000000001" in text and "CapAmb:\t0000000000000001" in text
    lines = printed(daemon, "/bin/cat")
    assert "CapInh: 0000000000000000" in lines and "CapAmb: 0000000000000000" in lines


def test_a_command_is_the_first_of_its_own_process_group(home):
    path = script(home, 'echo $$; cut -d" " -f5 /proc/$$/stat')
    hooked(home, f"[ {{ run: [ {path} ] }} ]", life="1d")
    daemon = home.start().ready()
    pid, group = eventually(lambda: len(printed(daemon, path)) == 2 and printed(daemon, path))
    assert pid == group and int(group) != os.getpgid(daemon.pid)


def test_the_names_are_on_the_standard_input_however_many(home):
    names = [f"identity-with-a-name-of-some-length-{n:028}" for n in range(3000)]
    path = script(home, 'cat >> "$1"; echo "$JOTD_IDENTITIES_COUNT ${JOTD_IDENTITIES-none}"')
    hooks = f"[ {{ run: [ {path}, @/out ] }}, {{ run: [ /bin/true ] }} ]"
    home.configure("".join(
        f"  {name}: {{ user_id: u, role: viewer, on_rotate: {hooks} }}\n" for name in names))
    daemon = served(home).start().ready()
    eventually(lambda: home.path("out").exists() and home.read("out").count("\n") == 3000)
    assert sorted(home.read("out").split("\n")[:-1]) == names
    eventually(lambda: sum(int(line.split()[0]) for line in printed(daemon, path)) == 3000)
    assert all("none" in line for line in printed(daemon, path)), "too long for a variable"
    rotate(home, names[7])
    eventually(lambda: f"1 {names[7]}" in printed(daemon, path))
    assert home.read("out").endswith(f"\n{names[7]}\n")
    assert daemon.count("failed") == 0, "whoever does not read it need not"


def test_a_command_that_no_host_would_start_is_refused(home):
    word = "x" * 40_000
    home.configure(identity(home, "a", f"[ {{ run: [ /bin/true, {word}, {word} ] }} ]"))
    error = jotd("check", "--config", home.config, expect=78).stderr
    assert f"{home.config}:9:25: the words of identities.a.on_rotate[0].run have 80009 bytes: " \
        "at most 65536 are allowed" in error
    home.configure(identity(home, "a", f"[ {{ run: [ /bin/true, {word} ] }} ]"))
    jotd("check", "--config", home.config)


# When it runs

def test_rotations_that_come_together_run_a_hook_once(home):
    path = script(home, 'echo "$JOTD_IDENTITIES" >> "$1"')
    hooked(home, f"[ {{ run: [ {path}, @/out ] }} ]", 20, "1d", "1h")
    home.start().ready()
    eventually(lambda: home.path("out").exists())
    time.sleep(0.5)
    lines = home.read("out").splitlines()
    assert sorted(" ".join(lines).split()) == sorted(f"i{n}" for n in range(20))
    # All of them at once, unless the machine is too busy to deliver them within the time for that.
    assert len(lines) < 5


def test_a_hook_gathers_before_every_run(home):
    """Also when rotations come while it runs, or when it has just run."""
    path = script(home, 'date +%s.%N >> "$1"; echo "$JOTD_IDENTITIES"')
    hooked(home, f"[ {{ run: [ {path}, @/out ] }} ]", 2, "1d", "1h")
    daemon = home.start().ready()
    begin = time.monotonic()
    while time.monotonic() < begin + 1:
        rotate(home, "i0")
    rotate(home, "i1")
    eventually(lambda: "i1" in printed(daemon, path)[-1])
    moments = [float(line) for line in home.read("out").split()]
    assert len(moments) > 1 and daemon.count("new token") > len(moments)
    assert min(after - before for before, after in zip(moments, moments[1:])) >= 0.1


def test_strangers_do_not_wait_for_sixteen_hanging_hooks(home):
    home.configure("".join(
        identity(home, f"slow{n}", f"[ {{ run: [ /bin/sleep, '40.{n}' ] }} ]") for n in range(16))
        + "".join(identity(home, f"quick{n}", f"[ {{ run: [ /bin/echo, quick{n} ] }} ]")
                  for n in range(4)))
    daemon = served(home).start().ready()
    eventually(lambda: len(set(printed(daemon, "/bin/echo"))) == 4)
    rotate(home, "quick1")
    eventually(lambda: printed(daemon, "/bin/echo").count("quick1") == 2)
    assert list(children(daemon.pid).values()).count("sleep") == 16, "before any was ended"


def test_eight_run_side_by_side_and_others_in_turn(home):
    path = script(home, 'echo + >> "$1"; sleep 0.2; echo - >> "$1"')
    home.configure("".join(
        identity(home, f"i{n}", f"[ {{ run: [ {path}, @/out, '{n}' ] }} ]") for n in range(24)))
    home.start().ready()
    eventually(lambda: home.path("out").exists() and home.read("out").count("-") == 24)
    at_work, most = 0, 0
    for sign in home.read("out").split():
        at_work += 1 if sign == "+" else -1
        most = max(most, at_work)
    assert most == 8


def test_a_hook_runs_from_the_reload_on_that_brings_it(home):
    hooked(home, "[ { run: [ /bin/echo, old ] } ]", life="1d", before="1h")
    daemon = home.start().ready()
    eventually(lambda: printed(daemon, "/bin/echo") == ["old"])
    home.config.write_text(
        home.config.read_text().replace("[ /bin/echo, old ]", "[ /bin/echo, new ]"))
    daemon.reload()
    rotate(home, "i0")
    eventually(lambda: printed(daemon, "/bin/echo") == ["old", "new"])


def test_nobody_waits_again_for_hanging_hooks_that_had_to_be_ended(home):
    home.configure("".join(
        identity(home, f"slow{n}", f"[ {{ run: [ /bin/sleep, '3600.{n}' ] }} ]") for n in range(32))
        + identity(home, "quick", "[ { run: [ /bin/echo, quick ] } ]"))
    daemon = served(home).start().ready()
    daemon.wait_for("ended after 30s", 32, within=40 + PATIENCE)
    eventually(lambda: printed(daemon, "/bin/echo") and not children(daemon.pid))
    for n in range(32):
        rotate(home, f"slow{n}")

    def sleeping():
        return list(children(daemon.pid).values()).count("sleep")
    eventually(lambda: sleeping() == 32)
    rotate(home, "quick")
    eventually(lambda: len(printed(daemon, "/bin/echo")) == 2)
    assert sleeping() == 32, "none had to end for it"


# What it can cost

def test_a_failing_hook_is_said_once_and_delays_nothing(home):
    path = script(home, 'test -e "$1" || { echo "no such thing"; exit 3; }')
    hooked(home, f"[ {{ run: [ {path}, @/flag ] }}, {{ run: [ /no/such/program ] }}, "
                 "{ run: [ @/jotd.yaml ] } ]")
    daemon = home.start().ready()
    daemon.wait_for("new token", 3)
    assert daemon.count("failed: exit status 3") == 1
    assert daemon.count("/no/such/program: No such file or directory") == 1
    assert daemon.count("jotd.yaml: Permission denied") == 1
    health = jotd("health", "--config", home.config, expect=1).stdout
    assert "exit status 3" in health and health.startswith("JOTD WARNING")
    home.path("flag").touch()
    daemon.wait_for(f"the hook run {path} works again")


def test_the_fault_of_a_hook_goes_with_it(home):
    path = script(home, 'touch "$1.runs"; while [ ! -e "$1" ]; do sleep 0.02; done; exit 4')
    hooked(home, f"[ {{ run: [ /bin/false ] }}, {{ run: [ {path}, @/go ] }} ]", life="1d")
    daemon = home.start().ready()
    daemon.wait_for("run /bin/false failed")
    assert "exit status 1" in jotd("health", "--config", home.config, expect=1).stdout
    eventually(home.path("go.runs").exists)
    home.config.write_text(re.sub(r"    on_rotate: .*\n", "", home.config.read_text()))
    daemon.reload()
    assert "OK" in jotd("health", "--config", home.config).stdout
    home.path("go").touch()
    daemon.wait_for("failed: exit status 4")
    assert "OK" in jotd("health", "--config", home.config).stdout, "it would never recover"


def test_a_command_that_prints_more_than_is_kept_goes_on(home):
    path = script(home, 'yes 0123456789 | head -c 300000; touch "$1"')
    hooked(home, f"[ {{ run: [ {path}, @/done ] }} ]", life="1d")
    daemon = home.start().ready()
    eventually(home.path("done").exists)
    daemon.wait_for("further lines")
    lines = printed(daemon, path)
    assert lines[:100] == ["0123456789"] * 100 and len(lines) == 101
    assert daemon.count("failed") == 0


def test_a_command_that_never_stops_printing_waits_for_jotd(home):
    """And not jotd for it: what it could print says how often jotd read."""
    hooked(home, "[ { run: [ /usr/bin/yes ] } ]", life="1d")
    begin = time.monotonic()
    daemon = home.start().ready()
    pid = eventually(lambda: next(
        (pid for pid, name in children(daemon.pid).items() if name == "yes"), None))

    def written():
        text = pathlib.Path(f"/proc/{pid}/io").read_text()
        return int(re.search(r"^wchar: (\d+)", text, re.MULTILINE)[1])
    eventually(lambda: written() > 300_000)
    time.sleep(0.3)
    count = written()
    fills = (time.monotonic() - begin) / 0.1 + 4
    assert count <= fills * (64 << 10)


def name_of(pid):
    """The name of a process; none when it has gone, which can be between two looks at it."""
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def test_what_left_the_group_of_a_command_holds_up_nothing(home):
    path = script(home, 'setsid yes & echo $! >> "$1"; echo ran >> "$2"')
    hooked(home, f"[ {{ run: [ {path}, @/pids, @/out ] }} ]")
    daemon = home.start().ready()
    eventually(lambda: home.path("out").exists() and home.read("out").count("ran") >= 2)
    assert daemon.count("failed") == 0
    for pid in home.read("pids").split():
        eventually(lambda: "yes" not in name_of(pid))


def test_hanging_hooks_are_ended_with_all_that_they_started(home):
    """One that waits, one that prints for ever; what they started in their groups goes with
    them."""
    path = script(home, 'sleep 3600 & echo $! >> "$1"; [ -e "$2" ] && exit 0; touch "$2"; '
                  'exec sleep 3600')
    home.configure(
        identity(home, "a", f"[ {{ run: [ {path}, @/pids, @/second ] }} ]", "5s", "1s")
        + identity(home, "b", "[ { run: [ /usr/bin/yes ] } ]"))
    daemon = home.start().ready()
    yes = eventually(lambda: [p for p, name in children(daemon.pid).items() if name == "yes"])
    daemon.wait_for("new token", 3)
    daemon.wait_for("ended after 30s", 2, within=30 + PATIENCE)
    for pid in home.read("pids").split() + yes:
        eventually(lambda: not os.path.exists(f"/proc/{pid}"))


@needs_root
def test_what_cannot_be_killed_holds_up_its_own_hook_alone(home):
    path = script(home, 'echo ran >> "$1"; [ -e "$2" ] && exit 0; touch "$2"\n'
                        "exec setpriv --reuid 65534 --clear-groups sleep 33")
    home.configure(
        identity(home, "a", f"[ {{ run: [ {path}, @/runs, @/second ] }} ]", "4s", "1s")
        + identity(home, "b", "[ { run: [ /bin/echo, hello ] } ]", "4s", "1s"))
    # A root that may not kill processes of other users.
    daemon = home.start(prefix=["setpriv", "--bounding-set", "-kill"]).ready()
    [pid] = eventually(lambda: [p for p, name in children(daemon.pid).items() if name == "sleep"])
    daemon.wait_for(f"process {pid} took longer than 30s", within=30 + PATIENCE)
    assert os.path.exists(f"/proc/{pid}") and home.read("runs") == "ran\n"
    assert len(printed(daemon, "/bin/echo")) > 5
    daemon.wait_for(f"the hook run {path} works again")
    assert not os.path.exists(f"/proc/{pid}") and daemon.count("and cannot be killed") == 1


def test_a_stop_ends_what_runs(home):
    path = script(home, "trap '' TERM HUP INT; sleep 3600 & echo $! > \"$1\"; sleep 3600")
    hooked(home, f"[ {{ run: [ {path}, @/pid ] }} ]", life="1d")
    daemon = home.start().ready()
    pid = eventually(lambda: home.path("pid").exists() and home.read("pid").strip())
    [leader] = children(daemon.pid)
    assert daemon.stop() == 0
    for one in (pid, leader):
        eventually(lambda: not os.path.exists(f"/proc/{one}"))


# Pid files

@contextlib.contextmanager
def client():
    """A process that tells of each SIGUSR1."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal, sys, time\n"
         "signal.signal(signal.SIGUSR1, lambda *_: print('told', flush=True))\n"
         "print('up', flush=True)\nwhile True: time.sleep(0.05)"],
        stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_process_of_a_pid_file_is_signalled_unless_the_file_is_stale(home):
    with client() as process:
        home.path("pid").write_text(f"{process.pid}\n")
        hooked(home, "[ { signal: { pid_file: @/pid, signal: USR1 } } ]")
        daemon = home.start().ready()
        assert process.stdout.readline() == "told\n"
        old = time.time() - 3600
        os.utime(home.path("pid"), (old, old))
        daemon.wait_for("is stale: process")
        home.path("pid").write_text("4194305\n")
        daemon.wait_for("No such process")
        home.path("pid").write_text("1\n")
        daemon.wait_for("holds no process number")
        home.path("pid").write_text(f"{process.pid}")
        daemon.wait_for("works again")


def test_a_pid_file_that_is_none_is_named_and_harms_nobody(home):
    numbers = ["0", "1", "-1", "-4", "+7", "1.5", "2147483648", "99999999999999999999999", "x", "",
               "\0", "\n"]
    for n, text in enumerate(numbers):
        home.path(f"n{n}").write_text(text)
    home.path("huge").write_text("7" * 1_000_000)
    os.mkfifo(home.path("fifo"))
    home.path("folder").mkdir()
    home.path("link").symlink_to(home.path("n0"))
    home.path("open").touch()
    home.path("open").chmod(0o666)
    said = {**{f"n{n}": "holds no process number" for n in range(len(numbers))},
            "huge": "File too large", "fifo": "is not a regular file",
            "folder": "is not a regular file", "link": "is not a regular file",
            "open": "may be written by everybody (mode 666)", "own": "the number of jotd itself",
            "none": "No such file", "device": ""}
    home.path("own").write_text("0")
    home.configure("".join(
        identity(home, f"i-{name}", f"[ {{ signal: {{ pid_file: @/{name}, signal: TERM }} }} ]",
                 "3s", "1s") for name in said if name != "device")
        + identity(home, "i-device", "[ { signal: { pid_file: /dev/zero, signal: TERM } } ]"))
    with client() as process:
        home.path("open").write_text(f"{process.pid}")
        daemon = home.start().ready()
        home.path("own").write_text(f"{daemon.pid}\n")
        for name, words in said.items():
            path = home.path(name) if name != "device" else "/dev/zero"
            eventually(lambda: any(
                f"the process of {path} failed: {path}" in line and words in line
                for line in list(daemon.lines)))
        assert daemon.process.poll() is None and process.poll() is None


def test_a_pid_file_is_not_believed_by_a_stranger_of_the_process(home):
    with client() as process:
        if os.geteuid() == 0:
            home.path("pid").write_text(f"{process.pid}\n")
            os.chown(home.path("pid"), 65534, 65534)
        else:
            numbers = (int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*"))
            strangers = [n for n in numbers if n > 1 and owner(n) not in (None, os.geteuid())]
            if not strangers:
                pytest.skip("needs a process of another user")
            home.path("pid").write_text(f"{strangers[0]}\n")
        hooked(home, "[ { signal: { pid_file: @/pid, signal: USR1 } } ]", life="1d")
        home.start().ready().wait_for("does not belong to root or to the user of process")


@needs_root
def test_a_pid_file_of_roots_that_a_group_may_write_is_not_believed(home):
    with client() as process:
        home.path("pid").write_text(f"{process.pid}\n")
        os.chown(home.path("pid"), 0, 12345)
        home.path("pid").chmod(0o664)
        hooked(home, "[ { signal: { pid_file: @/pid, signal: USR1 } } ]")
        daemon = home.start().ready()
        daemon.wait_for("belongs to root and may be written by a group (mode 664)")
        home.path("pid").chmod(0o644)
        assert process.stdout.readline() == "told\n"
        daemon.wait_for("works again")


@needs_root
def test_a_unit_is_no_option_of_systemctl(home):
    told = home.path("told")
    home.path("systemctl").write_text(f"#!/bin/sh\necho \"$@\" >> {told}\n")
    home.path("systemctl").chmod(0o755)
    hooked(home, "[ { restart: -h.service }, { reload: -H.service } ]", life="1d")
    home.start(prefix=[
        "unshare", "--mount", "--propagation", "private", "sh", "-ec",
        f"mount --bind {home.path('systemctl')} /usr/bin/systemctl; exec \"$@\"", "sh"]).ready()
    eventually(lambda: told.exists() and told.read_text().count("\n") >= 2)
    for words in told.read_text().splitlines():
        before, _, unit = words.partition(" -- ")
        assert unit in ("-h.service", "-H.service") and ".service" not in before, words


def owner(pid):
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid


def test_hooks_are_the_same_when_their_bytes_are(home):
    """A name in two forms of Unicode is two files."""
    home.configure("".join(
        f"  {name}: {{ user_id: u, role: admin, on_rotate: [ {{ run: [ /bin/touch, "
        f"\"@/{file}\" ] }} ], deliver: [ {{ file: @/{name}.jwt }} ] }}\n"
        for name, file in [("a", "\u00e9"), ("b", "e\u0301")]))
    home.start().ready()
    eventually(lambda: home.path("\u00e9").exists() and home.path("e\u0301").exists())
