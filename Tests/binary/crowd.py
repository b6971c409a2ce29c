"""A crowd of callers: crowd.py SOCKET KIND COUNT. Says "there" once all are connected, goes on
until its standard input ends, and says how many answers it got. For KIND "ask" there is one caller,
who asks COUNT times for health, and how long the longest took is said."""

import resource
import select
import socket
import sys
import time

path, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
LONGEST = 60
TARGETS = {"busy": "/health", "lists": "/v1/identities", "pipelining": "/metrics", "ask": "/health"}


def connect():
    one = socket.socket(socket.AF_UNIX)
    # Without Python's timeout: with it, who has to wait in line is turned away.
    one.connect(path)
    one.settimeout(20)
    return one


def ask_and_measure():
    worst = 0
    for _ in range(count):
        begin = time.monotonic()
        one = connect()
        one.sendall(request.replace(b"Host", b"Connection: close\r\nHost"))
        answer = b""
        while part := one.recv(1 << 20):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200"), answer[:100]
        worst = max(worst, time.monotonic() - begin)
    print(worst)


def send(one, data):
    try:
        one.send(data)
    except OSError:
        pass


def storm(end):
    """Connects, asks and goes, again and again."""
    while time.monotonic() < end and not select.select([sys.stdin], [], [], 0)[0]:
        try:
            one = connect()
            send(one, request)
            one.close()
        except OSError:
            pass


def ask_on_and_on(crowd, end):
    """Each asks again as soon as it has a whole answer."""
    poll = select.epoll()
    poll.register(sys.stdin, select.EPOLLIN)
    by_number = {one.fileno(): one for one in crowd}
    for one in crowd:
        one.setblocking(False)
        poll.register(one, select.EPOLLIN)
    answers = 0
    while time.monotonic() < end:
        for number, _ in poll.poll(1):
            if number == sys.stdin.fileno():
                return answers
            try:
                part = by_number[number].recv(1 << 20)
            except OSError:
                part = b""
            if not part:
                poll.unregister(number)
            elif part.endswith(b"}\n"):
                answers += 1
                send(by_number[number], request)
    return answers


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
request = f"GET {TARGETS.get(kind, '/health')} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
end = time.monotonic() + LONGEST
answers = 0
if kind == "ask":
    ask_and_measure()
    sys.exit()
crowd = [] if kind == "storm" else [connect() for _ in range(count)]
for one in crowd:
    if kind != "silent":
        one.setblocking(False)
        send(one, request * (5_000 if kind == "pipelining" else 1))
print("there", flush=True)
if kind == "storm":
    storm(end)
elif kind in ("busy", "lists"):
    answers = ask_on_and_on(crowd, end)
else:
    select.select([sys.stdin], [], [], LONGEST)
print(answers, flush=True)
