"""Runs a program elsewhere, with this process's own input, output and environment. A program of its own, as MPI's
launchers and others start it where they would start ssh:

    python3 -I -S far.py SOCKET PLACE COMMAND...

Whoever listens at SOCKET (see `relay`) is given the request and this process's input and output; what comes back is how
it ended. Signals are sent on, and when this process ends so does the program.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Have it done; the exit status of the program, 128 and the signal's number if one ended it."""
    path, place, *argv = sys.argv[1:]
    request = json.dumps({"place": place, "argv": argv, "env": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            socket.send_fds(connection, [struct.pack("=I", len(request))], [0, 1, 2])
            connection.sendall(request)
        except OSError as error:
            print(f"{place}: cannot be reached: {error}", file=sys.stderr)
            return 255
        for each in SIGNALS:
            signal.signal(each, lambda number, frame: connection.send(bytes([number])))
        answer = b""
        while len(answer) < 4 and (more := connection.recv(4 - len(answer))):
            answer += more
    if len(answer) < 4:
        return 255
    (status,) = struct.unpack("=i", answer)
    return int(status) if status >= 0 else 128 - int(status)


if __name__ == "__main__":
    sys.exit(main())
