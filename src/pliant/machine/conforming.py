"""Does to files what it is told, one thing at a time, and says what came of it. A program of its own, in a client.

    python3 -I -S conforming.py DIRECTORY

Each line of its input is JSON, [OPERATION, ARGUMENTS...]; the answer is a line {"done": VALUE}, or {"error": "ENOENT"}.
Names are relative to DIRECTORY, files that are open go by numbers of its own, text is Latin-1.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import signal
import sys
import time
from typing import Any

LOCKS = {"exclusive": fcntl.LOCK_EX, "shared": fcntl.LOCK_SH, "none": fcntl.LOCK_UN}
_FLAGS = {"r": os.O_RDONLY, "w": os.O_RDWR, "c": os.O_CREAT, "x": os.O_EXCL, "a": os.O_APPEND, "t": os.O_TRUNC}
_BLOCK = 4096
_DEFAULT_MODE = 0o644


class Files:
    """The operations. OSError is an answer."""

    def open(self, name: str, how: str, mode: int = _DEFAULT_MODE) -> int:
        """`how` has letters of: r, w (and read), c create, x exclusively, a append, t truncate, d without cache."""
        flags = os.O_DIRECT if "d" in how else 0
        for letter in how.replace("d", ""):
            flags |= _FLAGS[letter]
        return os.open(name, flags, mode)

    def close(self, file: int) -> None:
        """Close a file."""
        os.close(file)

    def write(self, file: int, text: str, at: int | None = None) -> int:
        """Write, at an offset or where the file is; how many bytes."""
        data = text.encode("latin-1")
        return os.write(file, data) if at is None else os.pwrite(file, data, at)

    def read(self, file: int, size: int, at: int | None = None) -> str:
        """Read, from an offset or where the file is."""
        return (os.read(file, size) if at is None else os.pread(file, size, at)).decode("latin-1")

    def put(self, name: str, text: str) -> None:
        """Make a file of a content, from nothing, and close it."""
        file = self.open(name, "wct")
        try:
            self.write(file, text)
        finally:
            os.close(file)

    def get(self, name: str) -> str:
        """The content of a file."""
        with open(name, "rb") as file:
            return file.read().decode("latin-1")

    def fsync(self, name: str) -> None:
        """Have a file or directory on its disk."""
        file = os.open(name, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def stat(self, name: str) -> dict[str, int]:
        """What is known of a file, without following a link."""
        found = os.lstat(name)
        return {
            "size": found.st_size,
            "links": found.st_nlink,
            "mode": found.st_mode & 0o7777,
            "blocks": found.st_blocks,
            "uid": found.st_uid,
            "mtime_ns": found.st_mtime_ns,
        }

    def size(self, file: int) -> int:
        """That of a file that is open."""
        return os.fstat(file).st_size

    def exists(self, name: str) -> bool:
        """Whether there is something of that name."""
        return os.path.lexists(name)

    def listed(self, name: str) -> list[str]:
        """What is in a directory, as often as it is said."""
        with os.scandir(name) as entries:
            return sorted(entry.name for entry in entries)

    def rename(self, old: str, new: str) -> None:
        """rename(2)."""
        os.rename(old, new)

    def link(self, old: str, new: str) -> None:
        """link(2)."""
        os.link(old, new)

    def symlink(self, target: str, new: str) -> None:
        """symlink(2)."""
        os.symlink(target, new)

    def readlink(self, name: str) -> str:
        """readlink(2)."""
        return os.readlink(name)

    def unlink(self, name: str) -> None:
        """unlink(2)."""
        os.unlink(name)

    def mkdir(self, name: str) -> None:
        """mkdir(2)."""
        os.mkdir(name)

    def rmdir(self, name: str) -> None:
        """rmdir(2)."""
        os.rmdir(name)

    def truncate(self, name: str, size: int) -> None:
        """truncate(2)."""
        os.truncate(name, size)

    def allocate(self, file: int, size: int) -> None:
        """posix_fallocate(3)."""
        os.posix_fallocate(file, 0, size)

    def chmod(self, name: str, mode: int) -> None:
        """chmod(2)."""
        os.chmod(name, mode)

    def chown(self, name: str, uid: int) -> None:
        """chown(2), of the owner."""
        os.chown(name, uid, -1)

    def utime(self, name: str, ns: int) -> None:
        """Set the time of the last change."""
        os.utime(name, ns=(ns, ns))

    def setxattr(self, name: str, key: str, value: str) -> None:
        """setxattr(2)."""
        os.setxattr(name, key, value.encode("latin-1"))

    def getxattr(self, name: str, key: str) -> str:
        """getxattr(2)."""
        return os.getxattr(name, key).decode("latin-1")

    def removexattr(self, name: str, key: str) -> None:
        """removexattr(2)."""
        os.removexattr(name, key)

    def lock(self, file: int, how: str, start: int = 0, length: int = 0) -> None:
        """Lock a range of a file as fcntl(2) does, without waiting."""
        fcntl.lockf(file, LOCKS[how] | (0 if how == "none" else fcntl.LOCK_NB), length, start)

    def flock(self, file: int, how: str) -> None:
        """Lock a file as flock(2) does, without waiting."""
        fcntl.flock(file, LOCKS[how] | (0 if how == "none" else fcntl.LOCK_NB))

    def map_write(self, name: str, text: str, at: int) -> None:
        """Write into a file through memory, and msync(2)."""
        with open(name, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[at : at + len(text)] = text.encode("latin-1")
            memory.flush()

    def map_read(self, name: str, size: int, at: int) -> str:
        """Read a file through memory."""
        with open(name, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            return bytes(memory[at : at + size]).decode("latin-1")

    def direct(self, name: str, text: str) -> str:
        """Write a block past the page cache and read it the same way: what is read."""
        file = self.open(name, "wcd")
        try:
            with mmap.mmap(-1, _BLOCK) as block:
                block[: len(text)] = text.encode("latin-1")
                os.pwrite(file, block, 0)
            with mmap.mmap(-1, _BLOCK) as block:
                os.preadv(file, [block], 0)
                return bytes(block[: len(text)]).decode("latin-1")
        finally:
            os.close(file)

    def as_user(self, uid: int, what: str, *given: Any) -> Any:
        """Do another operation as a user who is not root."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(write, json.dumps(answer(self, what, given)).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as told:
            said = json.loads(told.read())
        os.waitpid(child, 0)
        if "error" in said:
            raise OSError(getattr(errno, said["error"], errno.EIO), said["error"])
        return said["done"]

    # Many times, while somebody else does something as well

    def append(self, name: str, mark: str, count: int, length: int) -> None:
        """Append lines of `length` bytes, one at a time."""
        file = self.open(name, "wca")
        try:
            for number in range(count):
                self.write(file, f"{mark}{number:08d} ".ljust(length - 1, mark) + "\n")
        finally:
            os.close(file)

    def create(self, name: str, count: int) -> list[int]:
        """Create files NAME-0, ... exclusively: the numbers of those that it was first at."""
        won = []
        for number in range(count):
            try:
                os.close(self.open(f"{name}-{number}", "wcx"))
                won.append(number)
            except FileExistsError:
                continue
        return won

    def replace(self, name: str, seconds: float) -> None:
        """Put another file in place of one, by rename, again and again."""
        number, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            number += 1
            self.put(f"{name}.new", f"{number:08d}")
            os.rename(f"{name}.new", name)

    def look(self, name: str, seconds: float) -> list[str]:
        """Read a file again and again: what was odd of it, each once."""
        odd, until = set(), time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                text = self.get(name)
                if len(text) != 8:
                    odd.add(f"{len(text)} bytes of 8")
            except OSError as error:
                odd.add(errno.errorcode.get(error.errno or 0, str(error)))
        return sorted(odd)


def answer(files: Files, what: str, given: Any) -> dict[str, Any]:
    """What came of an operation."""
    try:
        return {"done": getattr(files, what)(*given)}
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno or 0, "EIO")}


def main(directory: str) -> int:
    """See the top of this file."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.umask(0)
    os.chdir(directory)
    files = Files()
    for line in sys.stdin:
        what, *given = json.loads(line)
        sys.stdout.write(json.dumps(answer(files, what, given)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
