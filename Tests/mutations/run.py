#!/usr/bin/python3
"""Puts each fault of mutations.py into a copy of the core, and demands that the simulated host
finds it, by the invariant that is there for it. Arguments: words of the faults to try; all else.
"""

import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys

from mutations import MUTATIONS

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / ".build-mutations"
SWIFT = os.environ.get("SWIFT", "swift")
CORES = 2
# For a simulation that takes 5 s; what is awake for ever takes longer.
SECONDS = 40
SEEDS = "200"
MANIFEST = """// swift-tools-version: 6.2
import PackageDescription
let package = Package(
  name: "jotd",
  dependencies: [.package(url: "https://github.com/apple/swift-collections", from: "1.6.0")],
  targets: [
    .target(
      name: "Rotation",
      dependencies: [.product(name: "HeapModule", package: "swift-collections")]),
    .testTarget(name: "RotationTests", dependencies: ["Rotation"]),
  ])
"""


def prepare(number):
    """A copy of the core and its tests, built once."""
    tree = WORK / str(number)
    for part in ("Sources/Rotation", "Tests/RotationTests"):
        shutil.rmtree(tree / part, ignore_errors=True)
        shutil.copytree(ROOT / part, tree / part)
    (tree / "Package.swift").write_text(MANIFEST)
    build(tree)
    return tree


def build(tree):
    done = subprocess.run(
        [SWIFT, "build", "--build-tests", "-Xswiftc", "-O"], cwd=tree, text=True,
        capture_output=True)
    if done.returncode:
        sys.exit(f"does not build:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def simulate(tree):
    """All violations that the simulation finds, one a line; HANGS when it does not end."""
    command = [
        tree / ".build/debug/jotdPackageTests.xctest", "--testing-library", "swift-testing",
        "--filter", "SimulationTests"]
    try:
        done = subprocess.run(
            command, cwd=tree, text=True, capture_output=True, timeout=SECONDS,
            env={**os.environ, "JOTD_SEEDS": SEEDS})
    except subprocess.TimeoutExpired:
        return "HANGS"
    if done.returncode == 0:
        return ""
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    found = re.findall(
        r"^(?:↳|also:) (?!Testing|Target|//)(.*)|(Expectation failed.*)", text, re.M)
    return "\n".join(map("".join, found)) or f"CRASHES: {text[-300:]}"


def attempt(mutation, trees):
    """A fault, and what was said of it; both the text and its place must be the ones meant."""
    what, name, old, new, words = mutation
    tree = trees.get()
    path = tree / f"Sources/Rotation/{name}.swift"
    text = path.read_text()
    try:
        if text.count(old) != 1:
            return what, False, f"the text to replace occurs {text.count(old)} times in {name}.swift"
        path.write_text(text.replace(old, new))
        build(tree)
        said = simulate(tree)
        right = re.search(f".*({words}).*", said)
        return what, bool(right), right[0] if right else said.partition("\n")[0] or "NOT FOUND"
    finally:
        path.write_text(text)
        trees.put(tree)


def main():
    chosen = [m for m in MUTATIONS if all(word in m[0] for word in sys.argv[1:])]
    trees = queue.Queue()
    with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
        for tree in pool.map(prepare, range(CORES)):
            said = simulate(tree)
            if said:
                sys.exit(f"without any fault, the simulation says: {said}")
            trees.put(tree)
        missed = 0
        for what, is_found, said in pool.map(lambda m: attempt(m, trees), chosen):
            print(f"{'found ' if is_found else 'MISSED'}  {what}: {said}", flush=True)
            missed += not is_found
    print(f"{len(chosen) - missed} of {len(chosen)} faults were found")
    return 1 if missed else 0


sys.exit(main())
