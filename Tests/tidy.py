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
    "COpenSSL": {"Signing/Secret.swift", "Signing/HMACSigner.swift", "Signing/Digest.swift"},
    "CKeyMemory": {"Signing/Secret.swift", "Signing/HMACSigner.swift"},
    "CYAML": {"Configuration/YAMLDocument.swift"},
    "CSystemd": {"Host/HandedOver.swift", "Host/Journal.swift", "Host/ServiceManager.swift"},
    "CLinux": {
        "Commands/Exchange.swift", "Host/FileSystem.swift", "Host/WallClock.swift", "Host/Hardening.swift",
        "Host/ServiceManager.swift", "Host/Output.swift", "Host/Signals.swift",
        "Query/Peer.swift",
        "Query/Listener.swift", "Query/CredentialSocket.swift", "Configuration/AccessReader.swift",
        "Host/HandedOver.swift", "Host/HookActions.swift", "Host/MountTable.swift",
        "Host/ProcessRunner.swift"},
}
FORBIDDEN = [
    (r"DispatchQueue\.global", "starts libdispatch's permanent 1 Hz timer"),
    (r"\bTask\s*[.{(]", "starts libdispatch's permanent 1 Hz timer"),
    (r"^\s*(internal |package |public )?import Foundation\b", "full Foundation costs 40 MB"),
    (r"\b(fatalError|try!|as!)", "ends the daemon"),
    (r"\b(TODO|FIXME|XXX)\b", "not done"),
]
ALLOWED = {("Signing/Secret.swift", r"\b(fatalError|try!|as!)")}


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
    faults += catalogue()
    print("\n".join(faults) or f"{len(SWIFT)} files keep the house rules")
    return 1 if faults else 0


def catalogue():
    """Every MESSAGE_ID is explained, and nothing else is."""
    code = (ROOT / "Sources/jotd/Host/JournalEntry.swift").read_text()
    known = set(re.findall(r'"([0-9a-f]{32})"', code))
    text = (ROOT / "systemd/jotd.catalog").read_text()
    explained = set(re.findall(r"^-- ([0-9a-f]{32})$", text, re.M))
    return [f"MESSAGE_ID {one} is not in both journal and catalogue" for one in known ^ explained]


sys.exit(main())
