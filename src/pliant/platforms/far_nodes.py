"""What runs in the nodes of a deployment on other machines, and what is seen of them: by the agents of its hosts.

What is started here for a node elsewhere is a process of this machine, `far`, which has this one's input and output and
asks for the program there. So whatever works with processes works with them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pliant.machine import cgroup, needing
from pliant.machine.carrying import LOST, connect
from pliant.machine.conversation import Asked, Call, Failed, Lost
from pliant.machine.journal import Journal
from pliant.machine.network import NETWORK, SWITCH
from pliant.machine.relay import Relay, Wanted
from pliant.machine.together import Job, run_together
from pliant.platforms.agents import HostError
from pliant.platforms.fleet import Fleet
from pliant.platforms.interface import (
    CommandFailed,
    Completed,
    HostFigures,
    LiveNode,
    RemoteShell,
    Together,
    Watch,
    environment,
)
from pliant.platforms.mirror import Mirror

_FABRIC = "@fabric"

Result = TypeVar("Result")


class Layers(Protocol):
    """Where the machine layer is on hosts."""

    state: str
    """Where deployments are written down there."""

    def own(self, host: str) -> tuple[str, str]:
        """A host's Python, and where the machine layer is there."""


@dataclass(frozen=True)
class Daemon:
    """A program that runs in a node of another host; see `interface.Daemon`."""

    ended: list[int | None]

    @property
    def returncode(self) -> int | None:
        """See `interface.Daemon`."""
        return self.ended[0] if self.ended else None

    def poll(self) -> int | None:
        """See `interface.Daemon`."""
        return self.returncode


class FarNodes:
    """Nodes of other machines as they are. Numbers of hosts are those of their order in the fleet."""

    def __init__(self, journal: Journal, fleet: Fleet, figures: HostFigures, layers: Layers) -> None:
        self.journal, self.fleet, self.figures, self._layers = journal, fleet, figures, layers
        self.id = journal.id
        self.nodes: dict[str, LiveNode] = {}
        self.hosts = 0
        self.placed: dict[str, int] = {}
        self.kept_on: list[tuple[int, ...]] = []
        self.limits: frozenset[str] = frozenset()
        self.down: frozenset[str] = frozenset()
        self._mirror = Mirror(self.directory / "logs")
        self._relay = Relay(str(self.directory / f"far-{os.getpid()}"), self._carry)
        fleet.serve = self._serve

    # Which host

    def _name(self, host: int) -> str:
        """What a host is called, by its number."""
        return self.fleet.hosts[host - 1]

    def _there(self, host: int) -> str:
        """The deployment's id on a host."""
        return f"{self.id}-{host}"

    def _of(self, node: str) -> tuple[str, str]:
        """A node's host, and the deployment's id there."""
        host = self.placed[node]
        return self._name(host), self._there(host)

    def _numbers(self) -> dict[str, int]:
        return {self._name(host): host for host in range(1, self.hosts + 1)}

    def _ask(self, host: str, what: str, **given: Any) -> Any:
        """Have a host do something that does no harm if it is done twice. CommandFailed with what it says."""
        try:
            return self.fleet.ask(host, what, deployment=self._there(self._numbers()[host]), **given)
        except HostError as error:
            raise failed(what, error) from error

    def _each(self, do: Callable[[str], Result]) -> dict[str, Result]:
        """Do something for all hosts that it is on, at the same time. CommandFailed."""
        try:
            return self.fleet.each(do, list(self._numbers()))
        except HostError as error:
            raise failed("", error) from error

    # Running programs

    def execute(self, node: str, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        """See `interface.Deployment`."""
        host, there = self._of(node)
        try:
            agent = self.fleet.agent(host)
            return agent.run(argv, timeout_s=timeout_s, stdin=stdin, where=node, deployment=there, node=node)
        except HostError as error:
            raise CommandFailed(argv, 1, "", str(error), node) from error

    def together(
        self,
        runs: Mapping[str, Sequence[str]],
        *,
        timeout_s: float,
        stdin: str = "",
        extra: Mapping[str, str],
        watch: Watch | None = None,
    ) -> Together:
        """See `interface.Deployment`."""
        jobs = {node: Job((*self._far(node),), tuple(argv)) for node, argv in runs.items()}
        return run_together(jobs, timeout_s=timeout_s, env=environment(self.id, extra), stdin=stdin, watch=watch)

    def popen(self, node: str, argv: Sequence[str], log: Path) -> Daemon:
        """See `interface.Deployment`."""
        host, there = self._of(node)
        given = {"deployment": there, "node": node, "argv": list(argv), "log": log.stem}
        try:
            asked = self.fleet.agent(host).begin_asking("daemon", given)
        except HostError as error:
            raise failed(argv[0], error) from error
        ended: list[int | None] = []

        def listen() -> None:
            with contextlib.suppress(Lost, Failed):  # it goes on, whoever listens
                while "done" not in (message := asked.next()):
                    pass
                ended.append(message["done"])

        threading.Thread(target=listen, daemon=True).start()
        return Daemon(ended)

    def start(
        self, node: str, argv: Sequence[str], extra: Mapping[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[bytes]:
        """See `interface.Deployment`."""
        env = environment(self.id, {"PLIANT_NODE": node, **(extra or {})})
        return subprocess.Popen([*self._far(node), *argv], env=env, start_new_session=True, **streams)

    def _far(self, place: str) -> list[str]:
        """The beginning of a command of this machine that has the rest run in a node, or on the switch."""
        return [*needing.own("far"), self._relay.path, place]

    def _carry(self, wanted: Wanted) -> int:
        """Have a program of this machine run elsewhere; how it ended."""
        fabric = wanted.place == _FABRIC
        host, there = (self._name(1), self._there(1)) if fabric else self._of(wanted.place)
        where = {"deployment": there, "node": "" if fabric else wanted.place, "fabric": fabric}
        given = {**where, "argv": wanted.argv, "env": wanted.env, "stdin": None}
        try:
            asked = self.fleet.agent(host).begin_asking("run", given)
        except HostError as error:
            os.write(wanted.descriptors[2], f"{error}\n".encode())
            return LOST
        return connect(asked, *wanted.descriptors, wanted.inputs)

    def _serve(self, call: Call) -> Any:
        """Have a program of one host run in a node of another: MPI's launchers ask for that."""
        if call.what != "elsewhere" or call.given["node"] not in self.placed:
            raise ValueError(f"there is no way to {call.given.get('node', call.what)}")
        node = call.given["node"]
        host, there = self._of(node)
        given = {"deployment": there, "node": node, "argv": call.given["argv"], "env": call.given["env"]}
        asked = self.fleet.agent(host).begin_asking("run", {**given, "stdin": None})
        threading.Thread(target=_send_on, args=(call, asked), daemon=True).start()
        cancel = True
        try:
            while "done" not in (message := asked.next()):
                call.say(**{key: value for key, value in message.items() if key != "id"})
            cancel = False
            return message["done"]
        except Lost:
            raise ValueError(f"{host}: the connection was lost") from None
        finally:
            asked.end(cancel=cancel)
            call.add({"over": True})

    def own(self, node: str, module: str) -> list[str]:
        """See `interface.Deployment`."""
        interpreter, place = self._layers.own(self._of(node)[0])
        return [interpreter, "-I", "-S", f"{place}/machine/{module}.py"]

    def ahead_s(self, node: str) -> tuple[float, float]:
        """See `interface.Deployment`."""
        return self.fleet.ahead_s(self._of(node)[0])

    @property
    def enter(self) -> str:
        """Path of a program that runs a command in a node, with this terminal: `enter NODE COMMAND...`."""
        script = self.directory / "enter"
        if not script.exists():
            module = [sys.executable, "-I", "-m", "pliant.platforms.entering", str(self.directory)]
            script.write_text(f'#!/bin/sh\nexec {shlex.join(module)} "$@"\n')
            script.chmod(0o700)
        return str(script)

    @property
    def remote_shell(self) -> RemoteShell:
        """See `interface.Deployment`. mpiexec runs on the first host."""
        return RemoteShell(f"{self._layers.state}/{self._there(1)}/enter", SWITCH, NETWORK)

    def in_fabric(self, argv: Sequence[str]) -> list[str]:
        """See `interface.Deployment`."""
        return [*self._far(_FABRIC), *argv]

    def end_marked(self, variable: str, value: str) -> None:
        """See `interface.Deployment`."""
        self._each(lambda host: self.fleet.ask(host, "end_marked", variable=variable, value=value))

    # Looking at it

    @contextlib.contextmanager
    def telemetry(self, out: Path) -> Iterator[None]:
        """See `interface.Deployment`."""
        from pliant.platforms.merging import Sampled, merged  # numpy takes an eighth of a second

        name = secrets.token_hex(4)
        self._each(lambda host: self._ask(host, "telemetry", name=name))
        texts: dict[str, str] = {}
        try:
            yield
        finally:
            with contextlib.suppress(HostError):
                self.fleet.each(lambda host: self.fleet.agent(host).compare_clocks(), list(self._numbers()))
            texts = self._each(lambda host: self._ask(host, "telemetry_end", name=name))
        own = self._numbers()
        out.write_text(merged({own[h]: Sampled(text, self.fleet.ahead_s(h)[1]) for h, text in texts.items()}))

    def _counts(self) -> dict[int, dict[str, Any]]:
        own = self._numbers()
        return {own[host]: told for host, told in self._each(lambda host: self._ask(host, "counts")).items()}

    def host_cpu_s(self) -> dict[str, float]:
        """See `interface.Deployment`."""
        return {f"host{number}": told["cpu_s"] for number, told in sorted(self._counts().items())}

    def node_cpu_s(self) -> dict[str, float]:
        """See `interface.Deployment`."""
        return {node: cpu_s for told in self._counts().values() for node, cpu_s in told["node_cpu_s"].items()}

    def host_cpu_at(self) -> dict[str, tuple[float, float]]:
        """See `interface.Deployment`."""
        return {f"host{number}": (told["at_s"], told["cpu_s"]) for number, told in sorted(self._counts().items())}

    def withheld_s(self) -> dict[int, float]:
        """See `interface.Deployment`. CPU C of host N has the number 10,000 N + C."""
        return {
            10_000 * number + int(cpu): withheld_s
            for number, told in self._counts().items()
            for cpu, withheld_s in told["withheld_s"].items()
        }

    @property
    def period_s(self) -> float:
        """See `interface.Deployment`."""
        return cgroup.period_and_quota_us(self.figures.cores)[0] / 1e6

    def call_s(self) -> float:
        """See `interface.Deployment`. No node of another machine has a kernel of its own."""
        return 0.0

    def out_of_memory(self) -> dict[str, int]:
        """See `interface.Deployment`."""
        return {node: count for told in self._counts().values() for node, count in told["out_of_memory"].items()}

    def log(self, node: str, name: str) -> Path:
        """See `interface.Deployment`."""
        return self._mirror.directory / node / f"{name}.log"

    def log_files(self, node: str, written: Sequence[str]) -> Iterator[Path]:
        """See `interface.Deployment`. They are brought here, what they gained since the last time."""
        host, _ = self._of(node)
        with self._mirror.of(node) as known:
            told = self._ask(host, "logs", nodes={node: list(written)}, known=known)
            self._mirror.take(node, self.nodes[node].logs, told)
        yield from self._mirror.files(node)

    # The page caches of hosts

    def drop_caches(self, timeout_s: float = 600.0) -> None:
        """See `interface.Deployment`."""
        self._each(lambda host: self.fleet.ask(host, "drop_caches", patience_s=timeout_s, timeout_s=timeout_s))

    @contextlib.contextmanager
    def undisturbed(self, timeout_s: float = 600.0) -> Iterator[None]:
        """See `interface.Deployment`."""
        name = secrets.token_hex(4)
        self._each(
            lambda host: self.fleet.ask(host, "undisturbed", name=name, patience_s=timeout_s, timeout_s=timeout_s)
        )
        try:
            yield
        finally:
            self._each(lambda host: self.fleet.ask(host, "let_go", name=name))

    # What is kept with it

    @property
    def directory(self) -> Path:
        """See `interface.Deployment`."""
        return self.journal.directory

    def keep(self, name: str, text: str) -> None:
        """See `interface.Deployment`."""
        self.journal.keep(name, text)

    def kept(self, name: str) -> str | None:
        """See `interface.Deployment`."""
        return self.journal.kept(name)


def _send_on(call: Call, asked: Asked) -> None:
    """Send on what is added to a request of one host to that of another."""
    while "over" not in (message := call.inputs.get()):
        if "cancel" in message:
            asked.add(cancel=asked.number)
        elif "signal" in message:
            asked.add(signal=message["signal"], to=asked.number)
        else:
            asked.add(input=asked.number, **({"data": message["data"]} if message.get("data") is not None else {}))


def failed(what: str, error: HostError) -> CommandFailed:
    """What a host could not do, as a command that failed there."""
    host, _, said = str(error).partition(": ")
    return CommandFailed(list(filter(None, ("pliant", what))), 1, "", said, host)
