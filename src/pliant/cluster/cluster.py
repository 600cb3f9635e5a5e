"""A cluster that runs: nodes on hosts, and a file system deployed on them, mounted and proved to work.

with Cluster.deploy(Emulated(), composition, figures, placement, disk_bytes=4 * 2**30) as cluster:
    cluster.execute("client1", ["df", "-h", "/mnt/dfs"], timeout_s=10)
    cluster.refold(other_placement)
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Self, TypeVar

from pliant.cluster.mpi import Mpi
from pliant.cluster.steps import Runner, StepFailed, execute, last_lines, poll
from pliant.composition.model import Composition, OwnKernel
from pliant.composition.nodeset import fold
from pliant.composition.placement import Placement
from pliant.errors import PliantError, TrialError
from pliant.platforms.interface import (
    CommandFailed,
    CommandStopped,
    Completed,
    Daemon,
    Deployment,
    Gone,
    HostFigures,
    NodeFile,
    NodeRequest,
    Platform,
    TeardownError,
    Together,
    Watch,
    environment,
    run,
)
from pliant.units import format_size
from pliant.workloads.model import OVER, READY, on_our_clock

_Result = TypeVar("_Result")

_BROUGHT = "/usr/local/sbin"
"""Where nodes have programs that the user brings, by links: the first directory on their PATH."""
TRIAL_MARK = "PLIANT_TRIAL"
"""Environment variable of the processes of a trial, by which what a failed one left can be found."""


class NotIntact(PliantError):
    """What one client wrote is not what another read."""


class CannotRefold(PliantError):
    """Another placement needs another deployment."""


class OutOfMemory(PliantError):
    """A host's memory ran out while a file system was deployed, so that the kernel killed processes there."""


@dataclass(frozen=True)
class Gate:
    """What is called when all ranks of an MPI program that waits are there, before it is let go on, and when nothing
    that it does any more is measured."""

    ready: Callable[[], None]
    over: Callable[[], None]


class CutShort(TrialError):
    """A workload's program that was ended before its end: at its deadline, or because what watched it had enough.

    `why` is what that said, "" at the deadline; `printed` is what an MPI job had printed, in whole lines.
    """

    def __init__(self, text: str, why: str, printed: str) -> None:
        super().__init__(text)
        self.why, self.printed = why, printed[: printed.rfind("\n") + 1]


@dataclass(frozen=True)
class Health:
    """Whether a node's part of the file system works, and if not what its health check said."""

    node: str
    good: bool
    said: str = ""


class Cluster:
    """Nodes on hosts with a file system. Made by `deploy`; `close` removes all of it."""

    def __init__(
        self,
        deployment: Deployment,
        composition: Composition,
        *,
        disk_bytes: int = 0,
        programs: Sequence[str] = (),
        kernels: Mapping[str, OwnKernel] = MappingProxyType({}),
        brought: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.deployment, self.composition, self.brought = deployment, composition, brought
        self.disk_bytes, self.programs, self.kernels = disk_bytes, tuple(programs), kernels
        self._worked_in: set[str] = set()

    @classmethod
    def deploy(
        cls,
        platform: Platform,
        composition: Composition,
        figures: HostFigures,
        placement: Placement,
        *,
        disk_bytes: int,
        hosts: int | None = None,
        title: str = "",
        programs: Sequence[str] = (),
        kernels: Mapping[str, OwnKernel] = MappingProxyType({}),
        brought: Mapping[str, str] = MappingProxyType({}),
        keep: bool = False,
        run: str = "",
        logs: Path | None = None,
        said: Callable[[str], None] = lambda text: None,
    ) -> Cluster:
        """Make the hosts, as many as any later placement needs (one per node unless told), and deploy the file system.

        `programs` are paths of programs that nodes must see, wherever they lie, with what is beside them. `kernels`
        are the roles whose nodes have kernels of their own. `brought` are the file
        system's programs that lie elsewhere than on PATH: name -> path. `run` is the directory of the run that it is
        for, if it is for one.
        CPU, NIC and disk are not limited yet; see `limit`. Nothing is left if this raises: StepFailed, NotIntact,
        OutOfMemory, CommandFailed, OSError, or whatever interrupts it, with a note of what could not be removed; the
        daemons' logs are kept in `logs` then.
        """
        shared = (name for role in composition.roles if role.name not in kernels for name in role.kernel)
        modules = tuple(dict.fromkeys((*composition.kernel, *shared)))
        deployment = platform.new(figures, title=title or composition.filesystem, modules=modules, keep=keep, run=run)
        cluster = cls(
            deployment, composition, disk_bytes=disk_bytes, programs=programs, kernels=kernels, brought=brought
        )
        try:
            said("hosts and nodes")
            deployment.up(cluster._requests(), numbers(placement), hosts or len(composition.nodes), cluster._visible)
            cluster._carry_out(said)
        except BaseException as error:
            if logs is not None:
                with contextlib.suppress(OSError, CommandFailed):  # what was wrong is more
                    cluster.keep_logs(logs, {})
            try:
                cluster.close()
            except TeardownError as left:
                error.add_note(str(left))
            raise
        return cluster

    @property
    def _visible(self) -> tuple[str, ...]:
        """The paths of all that nodes must see, wherever it lies."""
        modules = [role.module for role in self.composition.roles if role.name in self.kernels and role.module]
        return (*self.programs, *self.brought.values(), *modules)

    def _requests(self) -> list[NodeRequest]:
        """What the nodes are to be before the first step."""
        requests = []
        for node in self.composition.nodes:
            role = self.composition.role(node.role)
            size = self.disk_bytes if role.disk else 0
            files = tuple(
                NodeFile(file.path, file.content, file.mode, file.owner)
                for file in self.composition.files.get(node.name, ())
            )
            links = tuple((f"{_BROUGHT}/{name}", path) for name, path in self.brought.items())
            request = NodeRequest(
                *(node.name, node.address, role.disk, size, role.private, files),
                links=links,
                disk_options=role.disk_options if role.disk else (),
            )
            if own := self.kernels.get(role.name):
                request = replace(request, **own._asdict(), modules=role.kernel, module=role.module)
            requests.append(request)
        return requests

    def _carry_out(self, said: Callable[[str], None]) -> None:
        """Deploy the file system on nodes that are as they were made, and prove that it works; one that is there
        already has but to work."""
        try:
            if not self.deployment.stands:
                Runner(self, self.tail).carry_out(self.composition.steps, said)
            said("check that it works")
            if self.deployment.stands and (bad := [each for each in self.health().values() if not each.good]):
                raise CommandFailed(["health"], 1, "", bad[0].said, bad[0].node)
            self.verify()
        except (StepFailed, NotIntact, CommandFailed) as error:
            if why := self.ran_out():
                raise OutOfMemory(f"{why} ({error})") from error
            raise

    def killed(self, before: Mapping[str, int]) -> dict[str, int]:
        """How many processes of nodes were killed since then, of those that had any."""
        now = self.deployment.out_of_memory()
        return {node: more for node, count in now.items() if (more := count - before.get(node, 0)) > 0}

    def ran_out(self, before: Mapping[str, int] = MappingProxyType({})) -> str:
        """Which host's memory ran out, so that the kernel killed processes there, in a sentence; "" if none did.

        `before` is how many of each node had been killed until then (`Deployment.out_of_memory`).
        """
        killed = list(self.killed(before))
        if not killed:
            return ""
        host = self.deployment.placed[killed[0]]
        there = [node for node, other in self.deployment.placed.items() if other == host]
        size = format_size(self.deployment.figures.memory_bytes)
        return (
            f"the memory of host{host} ({size}), which carries {fold(there)}, ran out, and the kernel killed processes "
            f"of {fold(killed)}: give hosts more, `memory` in [platform.host]"
        )

    def reset(self, said: Callable[[str], None] = lambda text: None) -> Gone:
        """Make everything what it was after the deployment: new nodes, on the same hosts, the file system deployed.

        What was of the nodes is shown to be gone before. Limits are what they were before, also if this fails:
        TeardownError, StepFailed, NotIntact, OutOfMemory, CommandFailed.
        """
        limits = self.deployment.limits
        self.deployment.limit(False)
        try:
            said("remove the nodes")
            gone = self.deployment.renew(self._requests(), self._visible)
            self._carry_out(said)
        finally:
            self.deployment.limit(limits)
        return gone

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove every trace of the cluster from the machine; an interrupt from the keyboard has to wait for it."""
        with uninterrupted():
            if self.deployment.stands and self._worked_in:
                with contextlib.suppress(CommandFailed):  # who deployed it looks after it
                    self.discard(*sorted(self._worked_in))
            self.deployment.remove()

    @property
    def id(self) -> str:
        """The deployment's short id."""
        return self.deployment.id

    # Commands

    def execute(self, node: str, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        """Run a command in a node as root; raises CommandFailed at the deadline."""
        return self.deployment.execute(node, argv, timeout_s=timeout_s, stdin=stdin)

    def popen(self, node: str, argv: Sequence[str], log: Path) -> Daemon:
        """Start a command in a node and leave it running; see `Deployment.log`."""
        return self.deployment.popen(node, argv, log)

    def log(self, node: str, name: str) -> Path:
        """The machine's file for what a daemon of a node says."""
        return self.deployment.log(node, name)

    # The file system

    def start(self, node: str, timeout_s: float = 30.0, said: Callable[[str], None] = lambda text: None) -> None:
        """Switch a node on if it is down, and run those of its steps again that are not `once`. Raises StepFailed.

        A mount whose FUSE process is gone answers nothing but errors; it is let go of first, within `timeout_s`.
        """
        if node in self.deployment.down:
            self.deployment.switch_on(node)
        mount = self.composition.mount
        mounts = self.execute(node, ["cat", "/proc/self/mounts"], timeout_s=timeout_s).check().stdout
        for _ in [line for line in mounts.splitlines() if line.split()[1] == mount]:
            self.execute(node, ["umount", "--lazy", mount], timeout_s=timeout_s).check()
        Runner(self, self.tail).start(self.composition, node, said)

    def crash(self, node: str) -> None:
        """Let a node lose its power, and with it its processes and what its disk had not been given. Raises PowerError
        if it is down."""
        self.deployment.crash(node)

    def shut_down(self, node: str, timeout_s: float = 30.0) -> None:
        """Switch a node off in order; a client lets go of the file system first. Raises PowerError, CommandFailed."""
        for command in self.composition.unmount.get(node, ()):
            execute(self, node, command, timeout_s)
        self.deployment.shut_down(node)

    def block(self, node: str) -> None:
        """Cut a node off the network. Raises PowerError if it is down."""
        self.deployment.block(node)

    def unblock(self, node: str) -> None:
        """Plug a node in again. Raises PowerError if it is down."""
        self.deployment.unblock(node)

    def unmount(self, timeout_s: float = 60.0) -> None:
        """Let every client go of the file system; raises CommandFailed."""
        unmount = self.composition.unmount

        def one(client: str) -> None:
            for command in unmount[client]:
                execute(self, client, command, timeout_s)

        _everywhere(one, unmount)

    def health(self, timeout_s: float = 10.0) -> dict[str, Health]:
        """Ask every node that can say so, all at the same time, whether its part of the file system works."""
        asked = self.composition.health

        def one(node: str) -> Health:
            try:
                execute(self, node, asked[node], timeout_s)
            except CommandFailed as error:
                return Health(node, False, str(error))
            return Health(node, True)

        return {health.node: health for health in _everywhere(one, asked)}

    # Folding

    def refold(self, placement: Placement) -> None:
        """Move every node to its host in `placement`, live: no daemon restarts, mounts and connections stay.

        Raises CannotRefold where the platform's nodes cannot move; one that is folded so already is left as it is.
        """
        wanted = numbers(placement)
        if not self.deployment.refolds_live and wanted != self.deployment.placed:
            raise CannotRefold("the nodes of this platform cannot move while they run; deploy the cluster anew")
        self.deployment.refold(wanted)

    def limit(self, on: bool) -> None:
        """Switch the limits of the hosts' CPU, NIC and disk on or off."""
        self.deployment.limit(on)

    # Trials

    def verify(self, timeout_s: float = 60.0) -> None:
        """Write on the first client, read on the last, compare; raises NotIntact or CommandFailed."""
        clients = self.composition.clients
        path = str(PurePosixPath(self.composition.mount, f".pliant-{secrets.token_hex(4)}"))
        content = secrets.token_hex(64 * 1024)
        try:
            write = ["dd", f"of={path}", "bs=64k", "conv=fsync", "status=none"]
            self.execute(clients[0].name, write, stdin=content, timeout_s=timeout_s).check()
            read = self.execute(clients[-1].name, ["cat", path], timeout_s=timeout_s).check().stdout
            if read != content:
                differ = f"{len(read)} bytes that differ from the {len(content)}"
                raise NotIntact(f"{clients[-1].name} read {differ} that {clients[0].name} wrote")
        except (NotIntact, CommandFailed):
            if self.deployment.stands:
                with contextlib.suppress(CommandFailed):
                    self.execute(clients[0].name, ["rm", "-f", path], timeout_s=timeout_s)
            raise
        self.execute(clients[0].name, ["rm", path], timeout_s=timeout_s).check()

    def discard(self, *directories: str, timeout_s: float = 120.0) -> None:
        """Remove directories of the file system and everything in them, from the first client. Raises CommandFailed."""
        argv = ["rm", "-rf", "--one-file-system", "--", *directories]
        self.execute(self.composition.clients[0].name, argv, timeout_s=timeout_s).check()

    def empty(self, directory: str, timeout_s: float = 120.0) -> None:
        """Make a directory of the file system and everything in it new, from the first client, and wait until what was
        in it is gone from the servers as well. Raises CommandFailed."""
        first = self.composition.clients[0].name
        self._worked_in.add(directory)
        # A file system may hold the space of a removed file for minutes, in case somebody has it open still (MooseFS):
        # large files are cut before. There may be none.
        large = ["find", directory, "-xdev", "-type", "f", "-size", "+1M", "-exec", "truncate", "--size=0", "{}", "+"]
        self.execute(first, large, timeout_s=timeout_s)
        self.discard(directory, timeout_s=timeout_s)
        self.execute(first, ["mkdir", "-p", "--", directory], timeout_s=timeout_s).check()
        until, clean = time.monotonic() + timeout_s, self.composition.clean

        def one(node: str) -> None:
            for command in clean[node]:
                poll(self, {node: command}, until, threading.Event())

        _everywhere(one, clean)

    def drop_caches(self, timeout_s: float = 600.0) -> None:
        """Write back and empty the page cache: one serves every host, so what was written would be read from memory.

        It serves other studies on this machine as well: this waits until none of them is in a phase (`undisturbed`).
        Raises TrialError if one is for too long.
        """
        with _waited_for():
            self.deployment.drop_caches(timeout_s)

    @contextlib.contextmanager
    def undisturbed(self, timeout_s: float = 600.0) -> Iterator[None]:
        """A time in which no other study on this machine empties the page cache. TrialError if it is not to be had."""
        with contextlib.ExitStack() as held:
            with _waited_for():
                held.enter_context(self.deployment.undisturbed(timeout_s))
            yield

    def mpi(
        self,
        mpi: Mpi,
        argv: Sequence[str],
        ranks: Mapping[str, int],
        *,
        mark: str,
        timeout_s: float,
        watch: Watch | None = None,
        gate: Gate | None = None,
    ) -> Completed:
        """Run an MPI program on so many ranks in each of these clients; `mpiexec` itself runs outside of all hosts, on
        the switch.

        With a gate it is a program that waits; see `pliant.workloads.model.Phase`.

        What it prints of times, on the clock of the first client, is told on this machine's.

        Raises TrialError with the end of its output if it fails, CutShort if it does not end in time or before `watch`
        has enough.
        """
        first = next(iter(ranks))
        launch = mpi.launch(self.deployment.remote_shell, ranks, argv)
        env = environment(self.id, {TRIAL_MARK: mark, **mpi.environment})

        def ours(printed: str) -> str:
            return on_our_clock(printed, self.deployment.ahead_s(first)[1])

        try:
            job = self.deployment.in_fabric(launch)
            seen = None if watch is None else lambda printed: watch(ours(printed))
            with _held_back(gate, seen) as (stdin, look):
                done = run(job, timeout_s=timeout_s, stdin=stdin, env=env, shown=argv, watch=look).check()
            return replace(done, stdout=ours(done.stdout))
        except CommandFailed as error:
            failed = _of_trial(error, timeout_s)
            if isinstance(failed, CutShort):
                failed.printed = ours(failed.printed)
            raise failed from error
        finally:
            self.deployment.end_marked(TRIAL_MARK, mark)

    def each(
        self,
        runs: Mapping[str, Sequence[str]],
        *,
        mark: str,
        timeout_s: float,
        stdin: str = "",
        watch: Watch | None = None,
    ) -> Together:
        """Run a program in each of several clients, all from the same moment on; each finds `stdin` on its input.

        Raises TrialError with the node and the end of its output for the first that fails, CutShort for one that does
        not end in time or before `watch` has enough.
        """
        extra = {TRIAL_MARK: mark}
        try:
            return self.deployment.together(runs, timeout_s=timeout_s, stdin=stdin, extra=extra, watch=watch)
        except CommandFailed as error:
            raise _of_trial(error, timeout_s) from error
        finally:
            self.deployment.end_marked(TRIAL_MARK, mark)

    # Logs

    def tail(self, node: str, lines: int = 12) -> str:
        """The end of each log file of a node, newest first."""
        files = sorted(self.log_files(node), key=lambda path: path.stat().st_mtime, reverse=True)[:3]
        return "\n".join(f"--- {node}:{path.name}\n{last_lines(_text(path), lines)}" for path in files)

    def log_sizes(self) -> dict[Path, int]:
        """How long each log file of every node is now."""
        return {path: path.stat().st_size for node in self.deployment.nodes for path in self.log_files(node)}

    def keep_logs(self, directory: Path, since: dict[Path, int]) -> None:
        """Copy what the log files gained since `log_sizes` said `since`, as NODE-FILE."""
        for node in self.deployment.nodes:
            for path in self.log_files(node):
                with path.open("rb") as file:
                    file.seek(since.get(path, 0))
                    gained = file.read()
                if gained:
                    directory.mkdir(parents=True, exist_ok=True)
                    (directory / f"{node}-{path.name}").write_bytes(gained)

    def log_files(self, node: str) -> Iterator[Path]:
        """A node's log files where this machine has them."""
        role = next(n.role for n in self.composition.nodes if n.name == node)
        return self.deployment.log_files(node, self.composition.role(role).logs)


def _everywhere(do: Callable[[str], _Result], nodes: Collection[str]) -> list[_Result]:
    """What `do` gives for each of the nodes, asked at the same time; raises the first error."""
    with ThreadPoolExecutor(min(32, len(nodes) or 1)) as pool:
        return list(pool.map(do, nodes))


@contextlib.contextmanager
def _held_back(gate: Gate | None, watch: Watch | None) -> Iterator[tuple[str | int, Watch | None]]:
    """The input of a program that waits for a line on it, and what watches it and lets it go on."""
    if gate is None:
        yield "", watch
        return
    input_, lift = os.pipe()
    said: set[str] = set()

    def ready() -> None:
        gate.ready()
        os.write(lift, b"\n")

    def look(printed: str) -> str:
        for word, call in ((READY, ready), (OVER, gate.over)):
            if word not in said and f"\n{word}\n" in f"\n{printed}":
                said.add(word)
                call()
        return watch(printed) if watch is not None else ""

    try:
        yield input_, look
    finally:
        os.close(input_)
        os.close(lift)


def _of_trial(error: CommandFailed, timeout_s: float) -> TrialError:
    """A workload's program that failed, with where it was and the end of what it said."""
    where = f"{error.where}: " if error.where else ""
    if isinstance(error, CommandStopped):
        return CutShort(error.why, error.why, error.stdout)
    if error.exit_status is None:
        return CutShort(f"{where}did not end within {timeout_s:.0f} s", "", error.stdout)
    said = last_lines(error.stderr.strip() or error.stdout.strip(), 4)
    return TrialError(f"{where}ended with status {error.exit_status}: {' | '.join(said.split(chr(10)))}")


@contextlib.contextmanager
def _waited_for() -> Iterator[None]:
    """What another study is waited for in; that it took too long is a trial's failure."""
    try:
        yield
    except TimeoutError as error:
        raise TrialError(str(error)) from error


def numbers(placement: Placement) -> dict[str, int]:
    """Node -> host, from 1."""
    return {node: host for host, nodes in enumerate(placement.hosts, 1) for node in nodes}


def _text(path: Path) -> str:
    return path.read_bytes()[-65536:].decode(errors="replace")


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the end: a Ctrl-C must not stop a removal, nor be forgotten over it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
