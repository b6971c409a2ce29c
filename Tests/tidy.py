#!/usr/bin/python3
"""House rules that no compiler and no formatter knows. Prints what breaks them, and exits with
1."""

import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SWIFT = sorted((ROOT / "Sources").rglob("*.swift"))
LONGEST_FILE = 420
LONGEST_FUNCTION = 60
COLUMNS = 100
# Lines that fit on a screen with all that is between the types.
PAGE = 100
# A switch over all events, which the compiler keeps whole, is a table and no function.
TABLES = {"jotd/Daemon/JournalEntry.swift"}
# Types that are not understood one without the other.
TOGETHER = {"MountTable.swift", "YAMLDocument.swift"}
BYTES_MATTER = ("Tests/fixtures/", "Tests/Fuzzing/corpus/", "LICENSE")
# What SwiftNIO and the C runtime call by name.
CALLED_BY_OTHERS = {
    "Program", "InboundOut", "handlerAdded", "handlerRemoved", "channelReadComplete"}

# The rooms where unsafe code may be, each with the C module that it is there for.
C_IMPORTS = {
    "COpenSSL": {
        "Keys/DeviceKey.swift", "Keys/Digest.swift", "Keys/HMACSigner.swift",
        "Keys/OpenSSLKey.swift", "Keys/PassphraseQuestion.swift", "Keys/Secret.swift",
        "Keys/SignatureContext.swift"},
    "CKeyMemory": {
        "Keys/HMACSigner.swift", "Keys/OpenSSLKey.swift", "Keys/Secret.swift",
        "Keys/SignatureContext.swift"},
    "CYAML": {"Configuration/YAMLDocument.swift"},
    "CSystemd": {
        "System/SocketActivation.swift", "Daemon/Journal.swift", "Daemon/SystemdNotifier.swift"},
    "CLinux": {
        "Commands/Exchange.swift", "System/FileSystem.swift", "System/Descriptor.swift",
        "System/FileStatus.swift", "Daemon/WallClock.swift", "System/Hardening.swift",
        "System/MainQueue.swift", "System/Threads.swift",
        "Daemon/SystemdNotifier.swift", "System/Output.swift", "Daemon/Signals.swift",
        "Sockets/Peer.swift", "Sockets/Listener.swift", "Query/CredentialAddress.swift",
        "Configuration/AccessReader.swift", "System/SocketActivation.swift",
        "Hooks/HookActions.swift", "Delivery/MountTable.swift", "System/ProcessRunner.swift"},
}
# The rooms of Sources/jotd: each may use those below it, and nothing else.
ROOMS = ["Commands", "Daemon", "Preflight", "Rings", "Hooks", "Query", "Delivery",
         "Sockets", "Configuration", "Keys", "System"]
DECLARED = r"\b(?:class|struct|enum|protocol|actor|typealias|func|let|var) `?(\w+)"

FORBIDDEN = [
    (r"DispatchQueue\.global", "starts libdispatch's permanent 1 Hz timer"),
    (r"\bTask\s*[.{(]", "starts libdispatch's permanent 1 Hz timer"),
    (r"^\s*(internal |package |public )?import Foundation\b", "full Foundation costs 40 MB"),
    (r"\b(fatalError|try!|as!)", "ends the daemon"),
    (r"\b(TODO|FIXME|XXX)\b", "not done"),
]
ALLOWED = {("Keys/Secret.swift", r"\b(fatalError|try!|as!)")}


def main():
    faults = []
    for path in SWIFT:
        name = str(path.relative_to(ROOT / "Sources"))
        inner = name.removeprefix("jotd/")
        text = path.read_text()
        for module in re.findall(r"^import (\w+)", text, re.M):
            if module in C_IMPORTS and inner not in C_IMPORTS[module]:
                faults.append(f"{name}: imports {module}, which is for {sorted(C_IMPORTS[module])}")
            if name.startswith("Rotation/") and module not in {"DequeModule", "HeapModule"}:
                faults.append(f"{name}: the core imports {module}")
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, reason in FORBIDDEN:
                if re.search(pattern, line) and (inner, pattern) not in ALLOWED:
                    faults.append(f"{name}:{number}: {line.strip()}: {reason}")
        if "@unchecked Sendable" in text and "`@unchecked`:" not in text:
            faults.append(f"{name}: @unchecked Sendable without its reason")
        faults += sizes(name, text.splitlines()) + two_things(path, text)
    faults += columns() + catalogue() + arrows_up() + dead()
    print("\n".join(faults) or f"{len(SWIFT)} files keep the house rules")
    return 1 if faults else 0


def columns():
    """Lines that are too long, of what is written by hand; a table of Markdown has long ones."""
    faults = []
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name.startswith(BYTES_MATTER) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            if len(line) > COLUMNS and not (name.endswith(".md") and line.startswith("|")):
                faults.append(f"{name}:{number}: {len(line)} columns, more than {COLUMNS}")
    return faults


def sizes(name, lines):
    """A file, and functions in it, that are too long to be read at once."""
    faults = []
    if len(lines) > LONGEST_FILE:
        faults.append(f"{name}: {len(lines)} lines, more than {LONGEST_FILE}")
    for start, line in enumerate(lines):
        if not (found := re.match(r"( *)(?:[\w@()]+ )*(?:func \S+|init[?(<])", line)):
            continue
        end = next((i for i in range(start, len(lines)) if lines[i] == found[1] + "}"), start)
        # Without a body, the next brace at its depth is another's.
        between = [other for other in lines[start + 1:end] if re.match(found[1] + r"\S", other)]
        if any(not other.strip().startswith((")", "where ", "{")) for other in between):
            continue
        if end - start >= LONGEST_FUNCTION and name not in TABLES:
            faults.append(f"{name}:{start + 1}: a function of {end - start + 1} lines")
    return faults


def two_things(path, text):
    """A file beyond a page is about the one type whose name it has."""
    types = re.findall(
        r"^(?!private|fileprivate)(?:\w+ )*?(?:class|struct|enum|protocol) (\w+)", text, re.M)
    if text.count("\n") <= PAGE or len(types) < 2 or path.name in TOGETHER:
        return []
    return [f"{path.name}: is about {', '.join(types)}: each has a file of its own"]


def dead():
    """Declarations that nothing else mentions, tests included."""
    texts = {path: code(path) for path in SWIFT}
    everything = "\n".join(texts.values())
    counts = collections.Counter(re.findall(r"\w+", everything))
    faults = []
    for path, text in texts.items():
        for line in text.splitlines():
            if "override " in line or not (found := re.search(DECLARED, line)):
                continue
            if counts[found[1]] == 1 and found[1] not in CALLED_BY_OTHERS:
                faults.append(f"{path.name}: nothing uses {found[1]}")
    return faults


def code(path):
    """The text of a file without comments and literals; what is interpolated stays."""
    found, _ = scan(path.read_text(), 0, None)
    return found


def scan(text, start, end):
    """The code from `start` to the parenthesis `end` that closes it, and where that is."""
    kept, depth, at = [], 0, start
    while at < len(text):
        if text.startswith("//", at):
            at = (text + "\n").index("\n", at)
            continue
        if found := re.compile(r'(#*)("""|")').match(text, at):
            inside, at = skip_literal(text, found.end(), found[2] + found[1], "\\" + found[1])
            kept.append(f" {inside} ")
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if end and depth < 0:
            return "".join(kept), at + 1
        kept.append(text[at])
        at += 1
    return "".join(kept), at


def skip_literal(text, at, closing, escape):
    """The code that is interpolated into a literal, and where the literal ends."""
    kept = []
    while not text.startswith(closing, at):
        if text.startswith(escape + "(", at):
            inside, at = scan(text, at + len(escape) + 1, ")")
            kept.append(inside)
        else:
            at += len(escape) + 1 if text.startswith(escape, at) else 1
    return " ".join(kept), at + len(closing)


def arrows_up():
    """Uses of what a room above declares, by name: a room knows those below it."""
    files = {path: code(path) for path in SWIFT if "jotd" in path.parts[-3:]}
    homes = {}
    for path, text in files.items():
        # What is declared at the beginning of a line is for the whole program, unless it is
        # private.
        for line in re.findall(r"^(?!private|fileprivate|extension|import|[ }@/#]).*", text, re.M):
            if found := re.match(r"(?:\w+ )*?" + DECLARED, line):
                homes.setdefault(found[1], set()).add(path)
    faults = []
    for path, text in files.items():
        if path.parent.name not in ROOMS:
            faults.append(f"{path.parent.name} is no room of Sources/jotd: {path.name}")
            continue
        # Names of its own, and of its generic parameters.
        own = set(re.findall(DECLARED, text)) | set(re.findall(r"[<,] ?(\w+):", text))
        for name in sorted(set(re.findall(r"(?<![\w.])\w+", text)) & homes.keys() - own):
            for home in homes[name]:
                if ROOMS.index(home.parent.name) < ROOMS.index(path.parent.name):
                    faults.append(
                        f"{path.parent.name}/{path.name} uses {name} of {home.parent.name} above")
    return faults


def catalogue():
    """Every MESSAGE_ID is explained, and nothing else is."""
    code = (ROOT / "Sources/jotd/Daemon/JournalEntry.swift").read_text()
    known = set(re.findall(r'"([0-9a-f]{32})"', code))
    text = (ROOT / "systemd/jotd.catalog").read_text()
    explained = set(re.findall(r"^-- ([0-9a-f]{32})$", text, re.M))
    return [f"MESSAGE_ID {one} is not in both journal and catalogue" for one in known ^ explained]


sys.exit(main())
