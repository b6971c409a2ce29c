#!/usr/bin/python3
"""A disk that remembers in which order it was written and flushed.

`disk.py IMAGE LOG FOLDER NAMESPACE` serves IMAGE as FOLDER/disk by FUSE, and appends every write
and every flush to LOG. A file system is mounted from a loop device over FOLDER/disk.

Who waits for that file system cannot serve its disk. So this is a process of its own, and it moves
to the mount namespace that the descriptor NAMESPACE is of: the last process of a mount namespace
unmounts, when it ends, what is mounted there."""

import ctypes
import errno
import os
import signal
import stat
import struct
import sys

import fusepy

# A record is its kind, its offset on the disk, the length of its data, and the data.
HEADER = struct.Struct("<cQI")
WRITE, FLUSH, MARK = b"W", b"F", b"M"

# After which the disk ends, and with it, in errors, whatever waits for it.
LIFE_SECONDS = 120

# From sched.h: mount namespaces.
CLONE_NEWNS = 0x20000


def append(log, kind, offset=0, data=b""):
    """Adds a record to the descriptor `log`: in one write, because the test adds marks to it."""
    record = HEADER.pack(kind, offset, len(data)) + data
    assert os.write(log, record) == len(record)


def records(path):
    """The records of a log as (kind, offset, data), in order."""
    with open(path, "rb") as log:
        while header := log.read(HEADER.size):
            kind, offset, length = HEADER.unpack(header)
            yield kind, offset, log.read(length)


class Disk(fusepy.Operations):
    def __init__(self, image, log, namespace):
        self.image = os.open(image, os.O_RDWR)
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND)
        self.namespace = int(namespace)

    def init(self, path):
        if ctypes.CDLL(None).setns(self.namespace, CLONE_NEWNS) != 0:
            os._exit(1)

    def getattr(self, path, fh=None):
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        if path != "/disk":
            raise fusepy.FuseOSError(errno.ENOENT)
        size = os.fstat(self.image).st_size
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

    def read(self, path, size, offset, fh):
        return os.pread(self.image, size, offset)

    def write(self, path, data, offset, fh):
        append(self.log, WRITE, offset, data)
        return os.pwrite(self.image, data, offset)

    def fsync(self, path, datasync, fh):
        append(self.log, FLUSH)
        return 0


if __name__ == "__main__":
    signal.alarm(LIFE_SECONDS)
    # One thread, so that the log has the order of the answers; direct_io, so that no cache above
    # the log answers in its place.
    image, log, folder, namespace = sys.argv[1:]
    fusepy.FUSE(Disk(image, log, namespace), folder,
                foreground=True, nothreads=True, direct_io=True, big_writes=True)
