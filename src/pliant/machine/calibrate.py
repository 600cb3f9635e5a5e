"""Asks a host for all that it has of one thing, from inside a node, and prints how much it got. A program of its own.

    python3 -I -S calibrate.py cpu AT LENGTH             cores
    python3 -I -S calibrate.py work AT LENGTH            rounds of a loop in a second, the same everywhere
    python3 -I -S calibrate.py wake AT LENGTH            seconds that one waits for a CPU: median, 90 %, longest
    python3 -I -S calibrate.py receive AT LENGTH         bit/s of payload from one `send`
    python3 -I -S calibrate.py send AT LENGTH ADDRESS
    python3 -I -S calibrate.py write AT LENGTH FILE RATE bytes/s, past the page cache
    python3 -I -S calibrate.py read AT LENGTH FILE RATE  bytes/s, of what `write` wrote

All hosts are asked at the same moment, AT (seconds since the epoch). What counts are LENGTH seconds after WARM_UP_S,
when what limits let pass at their beginning has passed: a token bucket is full, blk-throttle gives a slice at once.
Who starts after AT measures nothing, and prints LATE instead.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import sys
import time

PORT = 5201
LATE = "late"
WARM_UP_S = 0.4
_FILE_BYTES = 64 << 20
_WORK = 2000
WAKE_SLEEP_S = 0.005
WAKE_WORK_S = 0.0001
_REQUEST_S = 0.02
"""Requests are of what passes in this time, so that a few more or less do not matter; of 4 KiB to 1 MiB."""


def _wait(at: float) -> None:
    time.sleep(max(0.0, at - time.time()))


def cpu(at: float, length: float) -> float:
    """CPU seconds per second of a process that never waits."""
    _wait(at)
    end = at + WARM_UP_S
    while time.time() < end:
        pass
    begin, used = time.perf_counter(), time.process_time()
    end = at + WARM_UP_S + length
    while time.time() < end:
        pass
    return (time.process_time() - used) / (time.perf_counter() - begin)


def work(at: float, length: float) -> float:
    """Rounds of fixed work that a process does in a second."""
    _wait(at)
    time.sleep(WARM_UP_S)
    rounds, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + length:
        for _ in range(_WORK):
            pass
        rounds += 1
    return rounds / (time.perf_counter() - begin)


def wake(at: float, length: float) -> str:
    """How long a process that mostly sleeps waits for a CPU when it wakes; each time it has a little work to do."""
    _wait(at)
    waits: list[float] = []
    end = at + WARM_UP_S + length
    while (now := time.time()) < end or not waits:
        due = time.monotonic() + WAKE_SLEEP_S
        time.sleep(WAKE_SLEEP_S)
        waited = max(0.0, time.monotonic() - due)
        until = time.process_time() + WAKE_WORK_S
        while time.process_time() < until:
            pass
        if now >= at + WARM_UP_S or not waits:
            waits.append(waited)
    waits.sort()
    return f"{waits[len(waits) // 2]} {waits[len(waits) * 9 // 10]} {waits[-1]}"


def receive(at: float, length: float) -> float:
    """Payload that arrives, in bit/s."""
    server = socket.create_server(("", PORT))
    patience = max(0.0, at - time.time()) + length + 5
    server.settimeout(patience)
    connection, _ = server.accept()
    connection.settimeout(patience)
    begin, end = at + WARM_UP_S, at + WARM_UP_S + length
    buffer, count = bytearray(1 << 18), 0
    while (now := time.time()) < end:
        got = connection.recv_into(buffer)
        if now >= begin:
            count += got
        if not got:
            break
    return count * 8 / length


def send(at: float, length: float, address: str) -> float:
    """Send until the other end has had enough."""
    until = at + WARM_UP_S + length
    while True:
        try:
            connection = socket.create_connection((address, PORT), timeout=5)
            break
        except OSError:
            if time.time() > until:
                raise
            time.sleep(0.02)
    _wait(at)
    data = bytes(1 << 18)
    with contextlib.suppress(ConnectionError):
        while time.time() < until + 1:
            connection.sendall(data)
    return 0.0


def disk(at: float, length: float, path: str, rate: float, writing: bool) -> float:
    """Bytes per second of O_DIRECT requests in a file, from its beginning again when its end is reached."""
    size = min(1 << 20, max(4096, int(rate * _REQUEST_S) // 4096 * 4096))
    buffer = mmap.mmap(-1, size)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    end_of_file = _FILE_BYTES if writing else max(size, os.fstat(file).st_size)
    _wait(at)
    begin, end, counted, position = at + WARM_UP_S, at + WARM_UP_S + length, 0, 0
    first = last = 0.0
    while last < end:
        if position + size > end_of_file:
            position = 0
        done = os.pwrite(file, buffer, position) if writing else os.preadv(file, [buffer], position)
        position += done
        last = time.time()
        if not first:
            first = last if last >= begin else 0.0  # counted from the end of one request to the end of another
        else:
            counted += done
        if not done:
            break
    return counted / (last - first) if last > first else 0.0


def main(what: str, at: str, length: str, *rest: str) -> int:
    """Measure one thing and print it."""
    moment, seconds = float(at), float(length)
    if time.time() > moment:
        print(LATE)
        return 0
    got: float | str
    if what == "cpu":
        got = cpu(moment, seconds)
    elif what == "work":
        got = work(moment, seconds)
    elif what == "wake":
        got = wake(moment, seconds)
    elif what == "receive":
        got = receive(moment, seconds)
    elif what == "send":
        got = send(moment, seconds, rest[0])
    else:
        got = disk(moment, seconds, rest[0], float(rest[1]), what == "write")
    print(got)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
