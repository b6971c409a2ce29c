"""What a power cut can leave on a disk with a volatile cache, from the log of its writes.

All that was written before the last completed flush is there. Of what was written since, any part
may be there: the cache is written out in any order, and a write may be torn between sectors.

`cuts.py BASE LOG SEED CUT IMAGE` makes the image of one cut, to look at."""

import os
import pathlib
import random
import re
import subprocess
import sys

from disk import FLUSH, MARK, WRITE, records

SECTOR = 4096
# Parts of the cache that are tried at each cut, besides all of it and nothing of it.
PARTS = 3
START = b"start"
ACKNOWLEDGED = re.compile(rb"\S+ ([a-z]+): new token for .*, expires (\S+), next rotation")


def cuts(base, log, seed, image):
    """Makes `image` what the disk can be after a cut, again and again; yields what to call it, and
    which expiry of each identity was last acknowledged before.

    Power is cut before every write and flush, from the mark START on. Who reads a mark did so after
    what it says had happened, so it promises no more than was said."""
    durable = image.with_suffix(".durable")
    copy(base, durable)
    cached, acknowledged, started, changed = [], {}, False, False
    for number, (kind, offset, data) in enumerate([*records(log), (FLUSH, 0, b"")]):
        if kind == MARK:
            started = started or data == START
            if line := ACKNOWLEDGED.match(data):
                acknowledged[line[1].decode()] = line[2].decode()
            changed = True
            continue
        if started and changed:
            chance = random.Random(f"{seed} {number}")
            for part, kept in parts(cached, chance, last=kind == FLUSH):
                copy(durable, image)
                write(image, kept)
                yield f"{number}.{part}", dict(acknowledged)
        changed = kind == WRITE
        if kind == WRITE:
            cached += sectors(offset, data)
        else:
            write(durable, cached)
            cached = []


def parts(cached, chance, last):
    """Different parts of the cache, numbered. Nothing of it is what the disk was at the flush: that
    is tried before the next one, when most has been acknowledged, and not at each cut between."""
    tried = []
    for odds in [1, *(chance.random() for _ in range(PARTS)), 0]:
        kept = [piece for piece in cached if chance.random() < odds]
        if kept not in tried and (kept or last or not cached):
            yield len(tried), kept
            tried.append(kept)


def sectors(offset, data):
    """A write in the pieces that a disk writes out whole or not at all."""
    while data:
        length = SECTOR - offset % SECTOR
        yield offset, data[:length]
        offset, data = offset + length, data[length:]


def copy(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True, timeout=60)


def write(image, pieces):
    disk = os.open(image, os.O_WRONLY)
    for offset, data in pieces:
        os.pwrite(disk, data, offset)
    os.close(disk)


if __name__ == "__main__":
    base, log, seed, wanted, image = sys.argv[1:]
    for name, acknowledged in cuts(base, log, seed, pathlib.Path(image)):
        if name == wanted:
            sys.exit(f"{image} is the disk, of which was acknowledged: {acknowledged}")
    sys.exit(f"there is no cut {wanted}")
