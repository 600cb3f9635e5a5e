"""The `emulated` platform: hosts are slices of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pliant.machine import caches, cgroup, cgroups, facts, needing, power, remains
from pliant.machine import deployment as machine
from pliant.machine.journal import Journal
from pliant.machine.network import NETWORK, SWITCH
from pliant.machine.process import marked
from pliant.platforms.interface import Gone, HostFigures, NodeRequest, RemoteShell


@dataclass(frozen=True)
class Traces:
    """See `interface.Traces`."""

    found: remains.Traces

    @property
    def id(self) -> str:
        """See `interface.Traces`."""
        return self.found.id

    @property
    def sentence(self) -> str:
        """See `interface.Traces`."""
        return self.found.sentence

    def left(self) -> list[str]:
        """See `interface.Traces`."""
        return remains.left(self.found, cgroups.probe())


class EmulatedDeployment(machine.Deployment):
    """The machine layer's deployment, with what a cluster asks of it beside."""

    refolds_live, stands = True, False

    def up(
        self, requests: Sequence[NodeRequest], placement: Mapping[str, int], hosts: int, programs: Sequence[str]
    ) -> None:
        """See `interface.Deployment`."""
        super().up(requests, placement, hosts, needing.visible(programs))

    def renew(self, requests: Sequence[NodeRequest], programs: Sequence[str]) -> Gone:
        """See `interface.Deployment`."""
        return super().renew(requests, needing.visible(programs))

    def traces(self) -> Traces:
        """See `interface.Deployment`."""
        return Traces(remains.Traces.of(self))

    def own(self, node: str, module: str) -> list[str]:
        """See `interface.Deployment`."""
        return needing.own(module)

    def ahead_s(self, node: str) -> tuple[float, float]:
        """See `interface.Deployment`."""
        return 0.0, self.monotonic_ahead_s(node)

    def crash(self, node: str) -> None:
        """See `interface.Deployment`."""
        power.crash(self, node)

    def shut_down(self, node: str) -> None:
        """See `interface.Deployment`."""
        power.shut_down(self, node)

    def switch_on(self, node: str) -> None:
        """See `interface.Deployment`."""
        power.switch_on(self, node)

    def block(self, node: str) -> None:
        """See `interface.Deployment`."""
        power.block(self, node)

    def unblock(self, node: str) -> None:
        """See `interface.Deployment`."""
        power.unblock(self, node)

    @property
    def remote_shell(self) -> RemoteShell:
        """See `interface.Deployment`."""
        return RemoteShell(self.enter, SWITCH, NETWORK)

    def end_marked(self, variable: str, value: str) -> None:
        """See `interface.Deployment`."""
        cgroup.kill(marked(variable, value))

    @property
    def period_s(self) -> float:
        """See `interface.Deployment`."""
        return cgroup.period_and_quota_us(self.figures.cores)[0] / 1e6

    def log(self, node: str, name: str) -> Path:
        """See `interface.Deployment`."""
        return Path(self.nodes[node].logs, f"{name}.log")

    def drop_caches(self, timeout_s: float = 600.0) -> None:
        """See `interface.Deployment`."""
        self.ask_doors(dict.fromkeys(self.instances, ("caches",)))
        caches.drop(timeout_s)

    def undisturbed(self, timeout_s: float = 600.0) -> AbstractContextManager[None]:
        """See `interface.Deployment`."""
        return caches.undisturbed(timeout_s)

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


class Emulated:
    """This machine, cut into hosts."""

    refolds_live = True
    losses = 0

    def new(
        self, figures: HostFigures, *, title: str, modules: Sequence[str] = (), keep: bool = False, run: str = ""
    ) -> EmulatedDeployment:
        """See `interface.Platform`."""
        groups = cgroups.probe()
        facts.load_filesystems(tuple(modules))  # nodes have no way to the machine's modules
        return EmulatedDeployment(Journal.create(title, keep=keep, run=run), groups, figures)


def opened(journal: Journal) -> EmulatedDeployment | None:
    """A deployment that another process made; None if it was never completely up."""
    return EmulatedDeployment.load(journal, cgroups.probe())
