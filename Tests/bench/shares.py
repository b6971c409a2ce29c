"""Where the instructions of each hot path go: by callgrind, as counts.py counts them, and by whose
code they are executed in."""

import collections
import re
import shutil
import subprocess

import counts

# Whose a function is: by the library that it stands in, or by how its name begins.
LIBRARIES = {"libyaml": "libyaml", "libcrypto": "libcrypto", "libc.so": "C library",
             "libsystemd": "libsystemd"}
MODULES = [
    (r"\$s(4jotd|8Rotation)", "jotd"),
    (r"\$s\d+_?NIO|\$s7NIO|c_nio_", "SwiftNIO"),
    (r"\$s\d+(Deque|Heap|ArgumentParser|Internal)", "other packages"),
    (r"_?dispatch_|_dispatch", "libdispatch"),
    (r".*swift|\$s|(outlined|initialize|destroy|specialized) ", "Swift"),
]
OTHER = "other"


def owner(function, library):
    for part, name in LIBRARIES.items():
        if part in library:
            return name
    # `initializeWithCopy for ...` and the like are named by the annotator alone.
    return next((name for pattern, name in MODULES if re.match(pattern, function)), OTHER)


def shares(profile):
    """Instructions by whose code they are executed in."""
    text = subprocess.run(["callgrind_annotate", "--threshold=100", "--show-percs=no", profile],
                          capture_output=True, text=True, check=True).stdout
    found = collections.Counter()
    for line in text.splitlines():
        if match := re.match(r"\s*([\d,]+)\s+\S*?:(.+?)(?: \[(.*)\])?$", line):
            function = re.sub(r"'\d+$", "", match[2])
            found[owner(function, match[3] or "")] += int(match[1].replace(",", ""))
    return found


def table():
    """Rows of names and numbers, the heads first."""
    rows = {}
    with counts.house() as house:
        for name, (run, few, many) in counts.paths(house).items():
            each = []
            for number in (few, many):
                run(number)
                kept = house.folder / f"profile.{number}"
                shutil.move(house.folder / "profile", kept)
                each.append(shares(kept))
            rows[name] = {key: (each[1][key] - each[0][key]) / (many - few) for key in each[1]}
    sums = collections.Counter()
    for row in rows.values():
        sums.update(row)
    owners = [name for name, _ in sums.most_common()]
    return [["", *owners]] + [
        [name, *(f"{max(0, row.get(key, 0)):,.0f}" for key in owners)]
        for name, row in rows.items()]
