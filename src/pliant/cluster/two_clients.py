"""Two clients of a file system in which things are done to files, and what one of them sees of what the other did."""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from pliant.cluster.cluster import Cluster
from pliant.platforms.interface import CommandFailed

PATIENCE_S = 75.0
"""For how long something that is not so at once is waited for: NFS looks at a directory again after a minute (nfs(5),
acdirmax)."""
ANSWER_S = 60.0
"""An operation that has not come to its end by then hangs."""
_END_S = 5.0
_MARK = "PLIANT_CLIENT"
"""Environment variable by which the processes of one client are found."""
_LATE_S = 0.5
"""What is so within this is so at once."""


class Refused(Exception):
    """An operation that ended with an error, by its name ("ENOENT")."""


class Odd(Exception):
    """What is not as it should be, in words."""


class Hangs(Exception):
    """An operation that does not end."""


class Client:
    """A client in which things are done to files (`machine.conforming`)."""

    def __init__(self, cluster: Cluster, node: str, directory: str) -> None:
        self.node, self._deployment, self._mark = node, cluster.deployment, secrets.token_hex(8)
        argv = [*cluster.deployment.own(node, "conforming"), directory]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = cluster.deployment.start(node, argv, {_MARK: self._mark}, **pipes)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        assert self._process.stdout is not None
        self._listening = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listening.start()

    def _listen(self, answers: IO[bytes]) -> None:
        for line in iter(answers.readline, b""):
            self._lines.put(line)
        self._lines.put(b"")

    def begin(self, what: str, *given: Any) -> None:
        """Have something done, without waiting for it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([what, *given]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Hangs(f"{self.node} is not there any more") from error

    def answered(self, timeout_s: float = ANSWER_S) -> Any:
        """What came of it; raises Refused."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise Hangs(f"an operation on {self.node} did not end within {timeout_s:.0f} s") from None
        if not line:
            raise Hangs(f"{self.node} is not there any more")
        said = json.loads(line)
        if "error" in said:
            raise Refused(said["error"])
        return said["done"]

    def do(self, what: str, *given: Any) -> Any:
        """Have something done; raises Refused."""
        self.begin(what, *given)
        return self.answered()

    def refuses(self, error: str, what: str, *given: Any) -> None:
        """See that something is refused with this error."""
        try:
            self.do(what, *given)
        except Refused as refused:
            if str(refused) != error:
                raise Odd(f"{what} is refused with {refused}, not {error}") from None
            return
        raise Odd(f"{what} is not refused ({error})")

    def kill(self) -> None:
        """kill -9: it ends without letting go of anything."""
        self._deployment.end_marked(_MARK, self._mark)

    def end(self) -> None:
        """End it, at once if it does not hang."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(CommandFailed):
                self.kill()
            self._process.kill()
            self._process.wait()
        self._listening.join(_END_S)
        if not self._listening.is_alive():
            self._process.stdout.close()


@dataclass
class Pair:
    """Two clients, and the directory of a check, in which names are relative. `late_s` is the longest that was waited
    for something to be so."""

    cluster: Cluster
    directory: str
    a: Client
    b: Client
    late_s: float = 0.0

    def soon(self, so: Callable[[], bool], otherwise: str, patience_s: float | None = None) -> None:
        """See that something is so, now or in a while."""
        patience_s = PATIENCE_S if patience_s is None else patience_s
        began_s = time.monotonic()
        while not so():
            late_s = time.monotonic() - began_s
            if late_s > patience_s:
                raise Odd(f"{otherwise}, also after {late_s:.0f} s")
            time.sleep(0.02)
        late_s = time.monotonic() - began_s
        self.late_s = max(self.late_s, late_s if late_s > _LATE_S else 0.0)

    def is_soon(self, wanted: Any, what: str, *given: Any) -> None:
        """See that an operation of the second client gives what it should, now or in a while."""
        seen: list[Any] = []

        def so() -> bool:
            try:
                seen.append(self.b.do(what, *given))
            except Refused as error:
                seen.append(str(error))
            return bool(seen[-1] == wanted)

        try:
            self.soon(so, "")
        except Odd as odd:
            shown = repr(seen[-1])
            raise Odd(f"{what} gives {shown[:60]}, not {wanted!r:.60}{odd!s}") from None
