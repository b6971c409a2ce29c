"""What hostile callers are made of: a bounded time, connections that never block, and crowds of
them."""

import errno
import itertools
import os
import random
import resource
import socket
import time

WAYS = {}


class Place:
    """The sockets that are attacked, for how long, and what a caller with some rights may know."""

    def __init__(self, folder, seconds):
        self.query, self.token, self.credentials = (f"{folder}/{name}" for name in "stc")
        self.end = time.monotonic() + seconds
        self.random = random.Random(os.getpid())
        self.deeds = 0

    def is_on(self):
        return time.monotonic() < self.end

    def dial(self, path, address=None, small=False):
        """A connected socket that never blocks; None when there is no getting in now."""
        one = socket.socket(socket.AF_UNIX)
        try:
            if small:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            if address:
                one.bind(address)
            one.setblocking(False)
            one.connect(path)
            return one
        except OSError as error:
            one.close()
            # EACCES: a daemon that starts gives its socket a mode after it has made it.
            if error.errno not in (errno.EAGAIN, errno.ENOENT, errno.ECONNREFUSED, errno.EMFILE,
                                   errno.EADDRINUSE, errno.EACCES):
                raise
            time.sleep(0.002)
            return None

    def say(self, one, data):
        """What the kernel takes of `data` now; false when the connection is over."""
        try:
            self.deeds += one.send(data) > 0
            return True
        except BlockingIOError:
            return True
        except OSError:
            return False

    def crowd(self, path, count, first=b"", each=None, small=False, address=lambda: None):
        """Keeps `count` connections, says `first` on each, and does `each` (false ends it) with
        every one in turn, for ever. `first` may be a function."""
        count = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 40)
        all = []
        while self.is_on():
            while len(all) < count and self.is_on():
                one = self.dial(path, address(), small)
                if one is None:
                    break
                self.deeds += 1
                all.append(one)
                self.say(one, first() if callable(first) else first)
            for one in list(all):
                if not self.is_on():
                    break
                if not (each(one) if each else is_open(one)):
                    one.close()
                    all.remove(one)
            time.sleep(0.01)


def is_open(one):
    """Whether the peer has not gone; reads nothing."""
    try:
        return one.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def way(work):
    """Makes a function one of the ways to misbehave, under its name."""
    WAYS[work.__name__] = work
    return work


def read_some(one, count=65_536):
    """What there is; nothing (b"") when there is none, and None at the end."""
    try:
        return one.recv(count) or None
    except BlockingIOError:
        return b""
    except OSError:
        return None


def shut(one):
    try:
        one.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def repeated(at, all):
    """All of them again and again, while the time lasts."""
    for one in itertools.cycle(all):
        if not at.is_on():
            return
        yield one
