"""Hosts that are reached by ssh, all at the same time, one connection each, which is made again where it was lost."""

from __future__ import annotations

import atexit
import base64
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from pliant.composition.nodeset import fold
from pliant.machine.conversation import Call
from pliant.platforms.agents import CONNECT_S, CONNECTING_AT_ONCE, Agent, HostError, HostLost, close, connect

_AGAIN_S = 10.0
"""A host that could not be reached is not tried again so soon: each of many that ask for it would wait for itself."""
_PART_BYTES = 1 << 20
"""What is sent at once of an archive."""
BEAT_S = 20.0
"""How often hosts are told that somebody still has to do with what is on them: a lease is many times as long."""

Result = TypeVar("Result")


class Fleet:
    """Some hosts and their agents. `serve` does what agents ask for; it is set by who works with them.

    `config` is for ssh -F, `options` are more of ssh's own, for -o: "User=root".
    """

    def __init__(self, hosts: Sequence[str], *, config: Path | None = None, options: Sequence[str] = ()) -> None:
        self.hosts, self.config, self.options = tuple(hosts), config, tuple(options)
        self.serve: Callable[[Call], Any] = lambda call: None
        self.leased: dict[str, set[str]] = {host: set() for host in hosts}
        """Host -> the deployments there that are to stay."""
        self._agents: dict[str, Agent] = {}
        self._again = {host: threading.Lock() for host in hosts}
        self._failed: dict[str, tuple[float, HostError]] = {}
        self._losses = 0
        self._over = threading.Event()
        self._clocks = dict.fromkeys(hosts, (0.0, 0.0))

    def connect(self, told: Callable[[str], None] = lambda host: None) -> None:
        """Reach all of them; `told` of each as it is known. HostError names those that cannot be reached, and why."""
        found = connect(
            self.hosts, config=self.config, options=self.options, told=told, serve=lambda call: self.serve(call)
        )
        self._agents = {host: each for host, each in found.items() if isinstance(each, Agent)}
        errors = [each for each in found.values() if isinstance(each, HostError)]
        if errors:
            self.close()
            raise HostError(_together(errors))
        atexit.register(self._leave)
        threading.Thread(target=self._beat, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        self._over.set()
        atexit.unregister(self._leave)
        close(self._agents.values())
        self._agents.clear()

    def _leave(self) -> None:
        """End all connections as the interpreter ends, when no thread can begin any more."""
        self._over.set()
        for agent in self._agents.values():
            agent.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def agent(self, host: str) -> Agent:
        """A host's agent; HostError if it cannot be reached any more."""
        with self._again[host]:
            agent = self._agents.get(host)
            if agent is None or agent.lost:
                agent = self._anew(host)
            return agent

    def _anew(self, host: str) -> Agent:
        """Connect to a host for the first time, or again. HostError."""
        if self._over.is_set():
            raise HostLost(f"{host}: the connection was ended")
        if (lost := self._agents.pop(host, None)) is not None:
            self._losses += 1
            lost.close()
        failed_s, error = self._failed.get(host, (-_AGAIN_S, None))
        if error is not None and time.monotonic() - failed_s < _AGAIN_S:
            raise type(error)(str(error))
        agent = Agent(
            host,
            config=self.config,
            options=self.options,
            timeout_s=CONNECT_S,
            serve=lambda call: self.serve(call),
        )
        try:
            agent.begin()
        except HostError as error:
            self._failed[host] = time.monotonic(), error
            raise
        self._agents[host] = agent
        return agent

    def try_again(self) -> None:
        """Try hosts again that could not be reached just now."""
        self._failed.clear()

    @property
    def losses(self) -> int:
        """How often the connection to a host was lost so far."""
        return self._losses + sum(agent.lost for agent in list(self._agents.values()))

    def ask(self, host: str, what: str, **given: Any) -> Any:
        """Have a host's agent do something that does no harm if it is done twice: once more after a lost connection.
        HostError."""
        try:
            return self.agent(host).ask(what, **given)
        except HostLost:
            return self.agent(host).ask(what, **given)

    def each(self, do: Callable[[str], Result], hosts: Sequence[str] | None = None) -> dict[str, Result]:
        """Do something for all hosts, or for some, at the same time: host -> what came of it. HostError names those
        that could not; whatever else is raised comes from the first of them."""
        which = self.hosts if hosts is None else tuple(hosts)
        with ThreadPoolExecutor(max(1, len(which))) as pool:
            running = {host: pool.submit(do, host) for host in which}
            errors = [error for each in running.values() if isinstance(error := each.exception(), HostError)]
            if errors:
                raise type(errors[0])(_together(errors))
            return {host: each.result() for host, each in running.items()}

    def ahead_s(self, host: str) -> tuple[float, float]:
        """How far a host's clocks are ahead of this machine's, when that was compared last: of the day, and
        CLOCK_MONOTONIC."""
        agent = self._agents.get(host)
        if agent is not None:
            self._clocks[host] = (agent.clock_s, agent.monotonic_s)
        return self._clocks[host]

    def provide(self, name: str, packed: bytes) -> None:
        """Give all hosts an archive of programs, those that have not got it. HostError, OSError."""

        def one(host: str) -> None:
            if self.ask(host, "unpack", name=name, data="", last=False):
                return
            agent = self.agent(host)
            for begin in range(0, len(packed), _PART_BYTES):
                part = packed[begin : begin + _PART_BYTES]
                last = begin + _PART_BYTES >= len(packed)
                agent.ask("unpack", name=name, data=base64.b64encode(part).decode(), last=last)

        with ThreadPoolExecutor(CONNECTING_AT_ONCE) as pool:
            list(pool.map(one, self.hosts))

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            for host, deployments in self.leased.items():
                if deployments:
                    with suppress(HostError):  # who works with it is told
                        self.ask(host, "alive", deployments=sorted(deployments))


def _together(errors: Sequence[HostError]) -> str:
    """What is wrong with hosts, the same of several said once."""
    said: dict[str, list[str]] = {}
    for error in errors:
        host, _, why = str(error).partition(": ")
        said.setdefault(why.replace(f"`ssh {host}`", "`ssh HOST`"), []).append(host)
    return "; ".join(f"{fold(hosts)}: {why}" for why, hosts in said.items())
