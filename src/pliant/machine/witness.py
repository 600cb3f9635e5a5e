"""Files by which is told whether data survived: written in one node, read in another. A program of its own.

    python3 -I witness.py write DIRECTORY COUNT BYTES    writes files, each synced, and prints "NAME SHA256" for each
    python3 -I witness.py check DIRECTORY < those lines  prints "NAME WHAT IS WRONG" for each that is not as it was

Exit status 0 also where files are wrong: what is printed is the answer.
"""

from __future__ import annotations

import hashlib
import os
import sys


def write(directory: str, count: int, size_bytes: int) -> None:
    """Write files of random content, on their disks before this says so."""
    os.makedirs(directory, exist_ok=True)
    for number in range(1, count + 1):
        content = os.urandom(size_bytes)
        with open(f"{directory}/witness-{number}", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        print(f"witness-{number} {hashlib.sha256(content).hexdigest()}", flush=True)
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def check(directory: str, lines: list[str]) -> None:
    """Read files again, and say which are not what they were."""
    for name, digest in (line.split() for line in lines):
        try:
            with open(f"{directory}/{name}", "rb") as file:
                found = hashlib.sha256(file.read()).hexdigest()
        except FileNotFoundError:
            print(f"{name} is not there")
        except OSError as error:
            print(f"{name} cannot be read: {error.strerror}")
        else:
            if found != digest:
                print(f"{name} has another content")


def main(argv: list[str]) -> int:
    """See the top of this file."""
    what, directory, *numbers = argv
    if what == "write":
        write(directory, *map(int, numbers))
    else:
        check(directory, sys.stdin.read().splitlines())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
