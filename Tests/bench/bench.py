"""Times jotd and its peers beside one another on this machine: A B A B, several rounds, medians
with the least and the most of each. Ratios hold on other machines; times do not.

    bench.py [--rounds N] [--most N] [--save FILE] [--compare FILE] [--page FILE]

JOTD is the program, BENCH a folder with `minting` (jotd's own minting, alone) and the peers and
clients: mint-c, mint-go, deliver-c, ask-c, watch-c, nginx, bao. --most is the largest number of
identities (1,000,000); --save keeps the figures, --compare says how they differ from those of an
earlier run, --page writes them between the two marks of that file, and plots (SVG) beside it."""

import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import plots  # noqa: E402
import shares  # noqa: E402
from clients import ask  # noqa: E402
from programs import (  # noqa: E402
    BENCH, JOTD, Jotd, Nginx, OpenBao, folder, memory, system_calls)

PEERS = pathlib.Path(__file__).parent / "peers"
COUNTS = pathlib.Path(__file__).parent / "counts.json"
ONE_CORE = ["taskset", "-c", "0"]
TOKEN_BYTES = 180
IN_MEMORY, ON_DISK = "/dev/shm", "/var/tmp"
BEGIN, END = "<!-- figures of make bench -->\n", "<!-- end of figures -->\n"
# What the lines of the plots are called.
FILES, NONE, AGENT = "jotd, files in memory", "jotd, no deliveries", "OpenBao Agent"
# Files in memory take a page and an inode each; the agent takes a page of memory and a role each.
LIMITS = {FILES: 100_000, NONE: 1_000_000, AGENT: 1_000}


def printed(*words):
    """The first number that a program prints."""
    return float(subprocess.run([str(w) for w in words], check=True, capture_output=True,
                                text=True).stdout.split()[0])


def interleaved(rounds, programs):
    """The samples of each program, taken in turn."""
    samples = {name: [] for name in programs}
    for _ in range(rounds):
        for name, sample in programs.items():
            samples[name].append(sample())
    return samples


def minting(rounds, most):
    count = 100_000

    def rate(*words):
        return lambda: count / printed(*ONE_CORE, *words, count)
    return "Tokens a second, minted on one core", interleaved(rounds, {
        "jotd": rate(BENCH / "minting"), "C, libcrypto": rate(BENCH / "mint-c"),
        "golang-jwt": rate(BENCH / "mint-go"),
        "PyJWT": rate("/usr/bin/python3", PEERS / "mint.py")})


def signing(name):
    """By a private key: its signatures take most of the time."""
    count = 20_000

    def rate(program):
        return lambda: count / printed(*ONE_CORE, program, count, name)

    def compare(rounds, most):
        return f"{name} tokens a second, minted on one core", interleaved(rounds, {
            "jotd": rate(BENCH / "minting"), "C, libcrypto": rate(BENCH / "mint-c")})
    return compare


def replaced(parent, count, prefix=()):
    """How long it takes from a new secret to the last of `count` tokens that are replaced."""
    with folder() as at, folder(parent) as out:
        with Jotd(pathlib.Path(at), count, out, prefix) as daemon:
            tokens, began = daemon.tokens, time.monotonic()
            daemon.secret(1)
            daemon.wait(lambda: daemon.tokens == tokens + count)
            return daemon.moment("token") - began


def written(parent, count, durable, prefix=()):
    with folder(parent) as out:
        words = [*prefix, BENCH / "deliver-c", out, count, TOKEN_BYTES, durable]
        printed(*words)  # As with jotd, a file is there already.
        return printed(*words)


def delivering(rounds, most):
    count = min(10_000, most)
    return f"Seconds for {count:,} tokens into files in memory", interleaved(rounds, {
        "jotd": lambda: replaced(IN_MEMORY, count),
        "jotd, one core": lambda: replaced(IN_MEMORY, count, ONE_CORE),
        "C, the same calls, one core": lambda: written(IN_MEMORY, count, "none", ONE_CORE)})


def durable(rounds, most):
    count = min(2_000, most)
    return f"Seconds for {count:,} tokens onto a disk", interleaved(rounds, {
        "jotd": lambda: replaced(ON_DISK, count),
        "C, each synced": lambda: written(ON_DISK, count, "each"),
        "C, one sync for all": lambda: written(ON_DISK, count, "all")})


def load(socket, path, count=100_000):
    """Requests a second on eight connections that stay open."""
    done = subprocess.run(
        ["h2load", "--h1", "-n", str(count), "-c", "8", "-t", "1", "-B", f"unix:{socket}",
         f"http://jotd{path}"], check=True, capture_output=True, text=True).stdout
    assert f"{count} succeeded" in done, done
    return float(re.search(r"finished in .*?, ([\d.]+) req/s", done)[1])


def asking(rounds, most):
    with folder() as own, folder() as others, Jotd(pathlib.Path(own), 10), \
            Nginx(pathlib.Path(others), TOKEN_BYTES):
        return "Requests a second, eight connections on a Unix socket", interleaved(rounds, {
            "jotd": lambda: load(f"{own}/s", "/v1/identities/identity-000003/token"),
            "nginx, a static file": lambda: load(f"{others}/n", "/token")})


def quantiles(values):
    values = sorted(values)
    return [values[len(values) // 2], values[len(values) * 99 // 100], values[-1]]


def answers():
    """Milliseconds to an answer, while all tokens are replaced again and again, and without."""
    def asked(at, seconds):
        return subprocess.Popen([BENCH / "ask-c", f"{at}/s", "/v1/identities/identity-000003/token",
                                 str(seconds)], stdout=subprocess.PIPE, text=True)

    def numbers(client):
        text, _ = client.communicate()
        assert client.returncode == 0
        return [float(word) for word in text.split()]
    count, seconds = 1_000, 3
    with folder() as at, folder(IN_MEMORY) as out, Jotd(pathlib.Path(at), count, out) as daemon:
        alone, beside, secret = numbers(asked(at, seconds)), asked(at, seconds), 0
        while beside.poll() is None:
            tokens, secret = daemon.tokens, 1 - secret
            daemon.secret(secret)
            daemon.wait(lambda: daemon.tokens >= tokens + count)
        return {"an answer, eight connections that ask at once": alone,
                f"the same, while {count:,} tokens are replaced again and again": numbers(beside)}


def lateness(most):
    """Milliseconds from when a token was due to be replaced, as the metrics said before, to when a
    watch on the folder hears of the new one's rename."""
    count = min(10_000, most)
    # Tokens are due up to 2 % of this early, as chance has it: all within a second.
    life, before = 51, 1
    with folder() as at, folder(IN_MEMORY) as out, Jotd(
            pathlib.Path(at), count, out, life=f"lifetime: {life}s, refresh_before: {before}s"
            ), subprocess.Popen([BENCH / "watch-c", out, str(count)], text=True,
                                stdout=subprocess.PIPE) as watch:
        assert watch.stdout.readline() == "watching\n"
        due = re.findall(r'^jotd_token_refresh_timestamp_seconds{identity="identity-(\d+)"} (\S+)',
                         ask(pathlib.Path(at) / "s", "/metrics")[2], re.M)
        there = dict(line.split() for line in watch.stdout)
        late = [(float(there[name]) - float(moment)) * 1e3 for name, moment in due]
        assert len(late) == count and min(late) >= 0, min(late)
        return {f"a token in its file, {count:,} due within a second": quantiles(late)}


def reloading(rounds, most):
    """The processor's time for a reload that changes two of many: one as it was, one anew."""
    count = min(100_000, most)
    with folder() as name, Jotd(pathlib.Path(name), count) as daemon:
        changed = iter(range(count))

        def reload():
            daemon.configure(changed=next(changed))
            before = daemon.cpu()
            daemon.moments.pop("reload", None)
            daemon.process.send_signal(signal.SIGHUP)
            daemon.moment("reload")
            return daemon.cpu() - before

        def check():
            before = os.times()
            subprocess.run([JOTD, "check", "--config", f"{name}/jotd.yaml"], check=True,
                           stdout=subprocess.DEVNULL)
            after = os.times()
            return (after.children_user - before.children_user
                    + after.children_system - before.children_system)
        return f"Seconds of CPU for a reload of {count:,} with one change", interleaved(
            rounds, {"jotd": reload, "jotd check of the same": check})


def started(count, has_files):
    with folder() as at, folder(IN_MEMORY) as out, \
            Jotd(pathlib.Path(at), count, out if has_files else None) as daemon:
        # What the start took is given back within a moment.
        time.sleep(1)
        return {"seconds": daemon.ready_after, **memory(daemon.pid)}


def started_agent(bao, count):
    with folder(IN_MEMORY) as out, bao.agent(count, out) as (pid, seconds):
        return {"seconds": seconds, **memory(pid)}


def growing(rounds, most):
    """Seconds to READY and memory, by the number of identities."""
    found = {name: {} for name in LIMITS}
    with folder() as at, OpenBao(pathlib.Path(at), min(most, LIMITS[AGENT])) as bao:
        for exponent in range(1, 7):
            count = 10 ** exponent
            samples = interleaved(rounds, {
                name: sample for name, sample in {
                    FILES: lambda: started(count, True), NONE: lambda: started(count, False),
                    AGENT: lambda: started_agent(bao, count)}.items()
                if count <= min(most, LIMITS[name])})
            for name, values in samples.items():
                found[name][count] = {key: statistics.median(value[key] for value in values)
                                      for key in values[0]}
    return found


def resting(seconds):
    """System calls of programs that keep ten files and have nothing to do."""
    # The threads of jotd's start end after five seconds of rest.
    with folder() as at, folder() as other, folder(IN_MEMORY) as out, folder(IN_MEMORY) as outs, \
            Jotd(pathlib.Path(at), 10, out) as daemon, \
            OpenBao(pathlib.Path(other), 10) as bao, bao.agent(10, outs) as (pid, _):
        time.sleep(10)
        return {"jotd": system_calls(daemon.pid, seconds), AGENT: system_calls(pid, seconds)}


def figure(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(title, own, other):
    """How many times as good jotd is: more than 1 is better, whether little or much is good.
    Nothing where too little was measured to say so."""
    better, worse = (own, other) if " a second" in title else (other, own)
    return f"{better / worse:.2f}" if worse else ""


def table(heads, rows):
    """A table of Markdown, which reads well on a terminal, too."""
    rows = [heads, ["-" * len(head) for head in heads], *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths))
                   + " |\n" for row in rows)


def comparison(title, samples, before):
    """The median of each with its spread, how jotd compares, and how an earlier run does."""
    own = statistics.median(samples["jotd"])
    heads = ["", "median", "least to most", "jotd is at"] + (["before"] if before else [])
    rows = []
    for name, values in samples.items():
        median = statistics.median(values)
        row = [name, figure(median), f"{figure(min(values))} to {figure(max(values))}",
               "" if name == "jotd" else ratio(title, own, median)]
        if before:
            old = before.get(title, {}).get(name)
            known = statistics.median(old) if old else 0
            row.append(f"{median / known - 1:+.0%}" if known else "new")
        rows.append(row)
    return f"\n### {title}\n\n" + table(heads, rows)


def growth_table(growth):
    heads = ["identities", "", "seconds to READY", "RssAnon, MiB", "Pss, MiB", "resident, MiB",
             "bytes of RssAnon for each beyond 10"]
    rows = []
    for name, counts in growth.items():
        least = counts["10"]["RssAnon"]
        for count, found in counts.items():
            each = (found["RssAnon"] - least) * 1024 / max(1, int(count) - 10)
            rows.append([f"{int(count):,}", name, f"{found['seconds']:.3f}",
                         *(f"{found[key] / 1024:.1f}" for key in ("RssAnon", "Pss", "VmRSS")),
                         f"{each:,.0f}" if int(count) >= 1_000 else ""])
    return "\n### From the start to READY, and memory\n\n" + table(heads, rows)


def draw(growth, folder):
    for column, name, title, unit, scale in (
            ("seconds", "start", "From the start to READY", "seconds", 1),
            ("RssAnon", "memory", "Memory of its own (RssAnon)", "MiB", 1 / 1024)):
        lines = {line: [(int(count), found[column] * scale) for count, found in counts.items()]
                 for line, counts in growth.items()}
        (folder / f"performance-{name}.svg").write_text(plots.plot(title, unit, lines))


def write_page(page, text):
    """Replaces what stands between the marks."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + text + "\n" + END + rest.split(END)[1])


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--most", type=int, default=1_000_000)
    options.add_argument("--save", type=pathlib.Path)
    options.add_argument("--compare", type=pathlib.Path)
    options.add_argument("--page", type=pathlib.Path)
    chosen = options.parse_args()
    before = json.loads(chosen.compare.read_text()) if chosen.compare else {}
    found, text = {}, ""

    def say(more):
        nonlocal text
        text += more
        print(more, end="", flush=True)
    for compare in (minting, signing("ES256"), signing("EdDSA"), delivering, durable, asking,
                    reloading):
        title, samples = compare(chosen.rounds, chosen.most)
        found[title] = samples
        say(comparison(title, samples, before))
    found["growth"] = json.loads(json.dumps(growing(chosen.rounds, chosen.most)))
    say(growth_table(found["growth"]))
    found["waits"] = {**answers(), **lateness(chosen.most)}
    say("\n### Milliseconds until, in one run\n\n" + table(
        ["", "median", "99 of 100 within", "most"],
        [[name, *map(figure, values)] for name, values in found["waits"].items()]))
    seconds = 20
    found["resting"] = resting(seconds)
    say(f"\n### System calls in {seconds} s without work, ten identities\n\n" + table(
        ["", "calls"], [[name, f"{calls:,}"] for name, calls in found["resting"].items()]))
    counts = json.loads(COUNTS.read_text())["counts"]
    say("\n### Instructions, by callgrind\n\n" + table(
        ["", "instructions"], [[name, f"{value:,}"] for name, value in counts.items()]))
    heads, *rows = shares.table()
    say("\n### Whose code these are\n\n" + table(heads, rows))
    if chosen.save:
        chosen.save.write_text(json.dumps(found, indent=1) + "\n")
    if chosen.page:
        write_page(chosen.page, text)
        draw(found["growth"], chosen.page.parent)


if __name__ == "__main__":
    main()
