#!/usr/bin/python3
"""House rules that no compiler and no formatter knows. Prints what breaks them, and exits with 1."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SWIFT = sorted((ROOT / "Sources").rglob("*.swift"))
LONGEST_FILE = 420

# The rooms where unsafe code may be, each with the C module that it is there for.
C_IMPORTS = {
    "COpenSSL": {"Keys/Secret.swift", "Keys/HMACSigner.swift", "Keys/Digest.swift"},
    "CKeyMemory": {"Keys/Secret.swift", "Keys/HMACSigner.swift"},
    "CYAML": {"Configuration/YAMLDocument.swift"},
    "CSystemd": {"System/SocketActivation.swift", "Daemon/Journal.swift", "Daemon/SystemdNotifier.swift"},
    "CLinux": {
        "Commands/Exchange.swift", "System/FileSystem.swift", "Daemon/WallClock.swift", "System/Hardening.swift",
        "Daemon/SystemdNotifier.swift", "System/Output.swift", "Daemon/Signals.swift",
        "Sockets/Peer.swift",
        "Sockets/Listener.swift", "Query/CredentialSocket.swift", "Configuration/AccessReader.swift",
        "System/SocketActivation.swift", "Hooks/HookActions.swift", "Delivery/MountTable.swift",
        "System/ProcessRunner.swift"},
}
# The rooms of Sources/jotd: each may use those below it, and nothing else.
ROOMS = ["Commands", "Daemon", "Preflight", "Hooks", "Query", "Delivery", "Sockets", "Configuration",
         "Keys", "System"]
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
        lines = text.splitlines()
        if len(lines) > LONGEST_FILE:
            faults.append(f"{name}: {len(lines)} lines, more than {LONGEST_FILE}")
        for module in re.findall(r"^import (\w+)", text, re.M):
            if module in C_IMPORTS and inner not in C_IMPORTS[module]:
                faults.append(f"{name}: imports {module}, which is for {sorted(C_IMPORTS[module])}")
            if name.startswith("Rotation/") and module != "HeapModule":
                faults.append(f"{name}: the core imports {module}")
        for number, line in enumerate(lines, 1):
            for pattern, reason in FORBIDDEN:
                if re.search(pattern, line) and (inner, pattern) not in ALLOWED:
                    faults.append(f"{name}:{number}: {line.strip()}: {reason}")
        if "@unchecked Sendable" in text and "`@unchecked`:" not in text:
            faults.append(f"{name}: @unchecked Sendable without its reason")
    faults += catalogue() + arrows_up()
    print("\n".join(faults) or f"{len(SWIFT)} files keep the house rules")
    return 1 if faults else 0


def code(path):
    """The text of a file without comments and literals; what is interpolated stays."""
    text = re.sub(r"//.*", "", path.read_text())
    return re.sub(r'"(?:\\.|[^"\\])*"', lambda m: " ".join(re.findall(r"\\\(([^()]*)\)", m[0])), text)


def arrows_up():
    """Uses of what a room above declares, by name: a room knows those below it."""
    files = {path: code(path) for path in SWIFT if "jotd" in path.parts[-3:]}
    homes = {}
    for path, text in files.items():
        # What is declared at the beginning of a line is for the whole program, unless it is private.
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
                    faults.append(f"{path.parent.name}/{path.name} uses {name} of {home.parent.name} above")
    return faults


def catalogue():
    """Every MESSAGE_ID is explained, and nothing else is."""
    code = (ROOT / "Sources/jotd/Daemon/JournalEntry.swift").read_text()
    known = set(re.findall(r'"([0-9a-f]{32})"', code))
    text = (ROOT / "systemd/jotd.catalog").read_text()
    explained = set(re.findall(r"^-- ([0-9a-f]{32})$", text, re.M))
    return [f"MESSAGE_ID {one} is not in both journal and catalogue" for one in known ^ explained]


sys.exit(main())
