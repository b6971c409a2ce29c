#!/usr/bin/python3
"""Puts the faults of core.py and program.py into a copy of the sources, builds that once, switches
on one fault after another, and demands that the tests that are there for it fail: for the core the
simulated host, by the invariant that is named; for the rest the named tests of the binary.

Arguments: words of the faults to try; all else.
"""

import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import core
import program
from splice import SWIFT_SWITCH, Misplaced, spliced

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / ".build-mutations"
SWIFT = os.environ.get("SWIFT", "swift")
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
# Simulations keep a processor busy; tests of the binary mostly wait.
SIMULATIONS_AT_ONCE = 2
TESTS_AT_ONCE = 4
# Of processor time, for a simulation that takes 5 s; what is awake for ever takes more.
SIMULATION_SECONDS = 80
# So many lives; most faults are found in the first few.
SEEDS = ["40", "200"]
# For tests that take 40 s at most, waits for what never comes included.
TEST_SECONDS = 150
PATIENCE = "12"
MANIFEST = """// swift-tools-version: 6.2
import PackageDescription
let package = Package(
  name: "jotd",
  dependencies: [
COLLECTIONS
  ],
  targets: [
    .target(
      name: "Rotation",
      dependencies: [
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections")]),
    .testTarget(name: "RotationTests", dependencies: ["Rotation"]),
  ])
"""


def faults():
    """All faults by number: (number, what, file below Sources, old, new, how it is caught)."""
    found = [(what, f"Rotation/{name}.swift", old, new, words)
             for what, name, old, new, words in core.MUTATIONS]
    found += [(f"{what} ({promise})", name, old, new, tests)
              for promise, what, name, old, new, tests in program.MUTATIONS]
    return [(number, *fault) for number, fault in enumerate(found, 1)]


def mirror(tree, parts, replaced):
    """A copy of `parts` of the project, with other texts for some files. What is the same as in an
    earlier copy is not touched, so that it is not built again."""
    wanted = {path.relative_to(ROOT): None for part in parts
              for path in (ROOT / part).rglob("*") if path.is_file()}
    wanted |= replaced
    for path in [path for path in tree.rglob("*") if path.is_file()]:
        if ".build" not in path.parts and path.relative_to(tree) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        data = (ROOT / name).read_bytes() if text is None else text.encode()
        path = tree / name
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def splice_all(chosen):
    """The texts of the files that have faults, by path; and what does not fit, by name."""
    texts, wrong = {}, []
    for name in sorted({fault[2] for fault in chosen}):
        here = [fault for fault in chosen if fault[2] == name]
        path = pathlib.Path("Sources") / name
        for fault in here:
            try:
                spliced((ROOT / path).read_text(), [(fault[0], *fault[3:5])], name.endswith(".c"))
            except (Misplaced, OSError) as error:
                wrong.append(f"{name}: {fault[1]}: {error}")
        if not wrong:
            texts[path] = spliced(
                (ROOT / path).read_text(), [(f[0], *f[3:5]) for f in here], name.endswith(".c"))
    return texts, wrong


def build(tree, *options):
    began = time.monotonic()
    done = subprocess.run(
        [SWIFT, "build", *options], cwd=tree, text=True, capture_output=True)
    if done.returncode:
        errors = re.findall(r".*error:.*(?:\n.*){0,4}", done.stdout + done.stderr)
        sys.exit("does not build:\n" + "\n".join(errors[:20] or [done.stdout[-3000:]]))
    print(f"== Built in {time.monotonic() - began:.0f} s", flush=True)


def build_core(texts):
    tree = WORK / "core"
    versions = (ROOT / "Package.swift").read_text()
    manifest = MANIFEST.replace("COLLECTIONS", re.search(r".*/swift-collections.*", versions)[0])
    switch = SWIFT_SWITCH.format(access="")
    mirror(tree, ["Sources/Rotation", "Tests/RotationTests"], {
        pathlib.Path("Package.swift"): manifest,
        pathlib.Path("Sources/Rotation/Mutation.swift"): switch,
        **{path: text for path, text in texts.items() if "Rotation" in path.parts}})
    build(tree, "--build-tests", "-Xswiftc", "-O")
    return tree / ".build/debug/jotdPackageTests.xctest"


def build_program(texts):
    tree = WORK / "program"
    manifest = (ROOT / "Package.swift").read_text()
    # A faulty branch may leave a variable unused.
    manifest = manifest.replace("  .treatAllWarnings(as: .error),\n", "")
    manifest = re.sub(r"    \.testTarget\((?:[^()]|\([^()]*\))*\),\n", "", manifest)
    mirror(tree, ["Sources"], {
        pathlib.Path("Package.swift"): manifest,
        pathlib.Path("Sources/jotd/Mutation.swift"): SWIFT_SWITCH.format(access=""),
        pathlib.Path("Sources/Rotation/Mutation.swift"): SWIFT_SWITCH.format(access=""), **texts})
    build(tree, "-c", "release", "--static-swift-stdlib", "--product", "jotd")
    return tree / ".build/release/jotd"


def simulate(binary, number, name, words):
    """Whether the simulation finds the fault by its invariant, and what it says first."""
    for seeds in SEEDS:
        found, said = live(binary, number, name, words, seeds)
        if found:
            break
    return found, said


def live(binary, number, name, words, seeds):
    """The same for so many lives, of hosts or of rings of keys."""
    suite = "KeyRingTests" if "/KeyRing" in name else "SimulationTests"
    command = [binary, "--testing-library", "swift-testing", "--filter", suite]
    done = subprocess.run(
        ["prlimit", f"--cpu={SIMULATION_SECONDS}", *command], text=True, capture_output=True,
        env={**os.environ, "JOTD_SEEDS": seeds, "JOTD_MUTATION": str(number)})
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        said = "HANGS"
    else:
        text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        found = re.findall(
            r"^(?:↳|also:) (?!Testing|Target|//)(.*)|(Expectation failed.*)", text, re.M)
        said = "\n".join(map("".join, found)) or f"CRASHES: {text[-300:]}"
        if done.returncode == 0:
            said = ""
    right = re.search(f".*({words}).*", said)
    return bool(right), right[0] if right else said.partition("\n")[0] or "NOT FOUND"


def test(jotd, number, tests, seconds=TEST_SECONDS):
    """Runs tests of the binary with a fault: whether one failed, and how it says so."""
    # In a folder of their own: what pytest shares out to all runs of a user, each run closes to
    # the other users that the tests of another run have connect.
    with tempfile.TemporaryDirectory(prefix="jotd-", ignore_cleanup_errors=True) as folder:
        return test_in(folder, jotd, number, tests, seconds)


def test_in(folder, jotd, number, tests, seconds):
    """The same, with its files in `folder`."""
    process = subprocess.Popen(
        [PYTHON, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short", "-rsfE",
         f"--basetemp={folder}/t",
         *(f"Tests/binary/{one}" for one in tests)],
        cwd=ROOT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "JOTD": str(jotd), "JOTD_MUTATION": str(number),
             "JOTD_PATIENCE": PATIENCE})
    try:
        text, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        # With the daemons that it started.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False, f"the tests did not end in {seconds} s"
    said = re.findall(r"^E +(.*)", text, re.M)
    if process.returncode == 0:
        skipped = re.findall(r"^SKIPPED.*: (.*)", text, re.M)
        return False, "NOT FOUND" + (f", skipped: {skipped[0]}" if skipped else "")
    if process.returncode != 1 or not said:
        return False, f"pytest failed: {text[-300:]}"
    failed = re.findall(r"^(?:FAILED|ERROR) Tests/binary/(\S+)", text, re.M)
    return True, f"{''.join(failed[:1])}: {said[0][:150]}"


def baseline(jotd, chosen):
    """All named tests pass without a fault."""
    names = sorted({one for fault in chosen for one in fault[5]})
    with concurrent.futures.ThreadPoolExecutor(TESTS_AT_ONCE) as pool:
        for _, said in pool.map(lambda n: test(jotd, 0, names[n::TESTS_AT_ONCE], 600),
                                range(min(TESTS_AT_ONCE, len(names)))):
            if not said.startswith("NOT FOUND"):
                sys.exit(f"without any fault, a test fails: {said}")


def main():
    everything = faults()
    chosen = [f for f in everything if all(word in f[1] for word in sys.argv[1:])]
    # All of them in any case: what does not fit any more is noticed, and nothing is built anew.
    texts, wrong = splice_all(everything)
    if wrong:
        sys.exit("\n".join(["these faults do not fit the sources any more:", *wrong]))
    in_core = [f for f in chosen if f[2].startswith("Rotation/") and isinstance(f[5], str)]
    outside = [f for f in chosen if f not in in_core]
    tried = missed = 0

    def try_all(some, attempt, at_once):
        nonlocal tried, missed
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            for fault, (is_found, said) in zip(some, pool.map(attempt, some)):
                print(f"{'found ' if is_found else 'MISSED'}  {fault[1]}: {said}", flush=True)
                tried += 1
                missed += not is_found

    if in_core:
        binary = build_core(texts)
        found, said = simulate(binary, 0, "", ".")
        if found or said != "NOT FOUND":
            sys.exit(f"without any fault, the simulation says: {said}")
        try_all(in_core, lambda f: simulate(binary, f[0], f[2], f[5]), SIMULATIONS_AT_ONCE)
    if outside:
        jotd = build_program(texts)
        baseline(jotd, outside)
        try_all(outside, lambda f: test(jotd, f[0], f[5]), TESTS_AT_ONCE)
    print(f"{tried - missed} of {tried} faults were found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
