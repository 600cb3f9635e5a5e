"""The `emulated` platform: hosts are slices of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

from pliant.machine import caches, cgroup, cgroups, facts, power
from pliant.machine import deployment as machine
from pliant.machine.journal import Journal
from pliant.machine.launch import upper
from pliant.machine.network import NETWORK, SWITCH
from pliant.machine.process import marked
from pliant.machine.remains import Traces
from pliant.platforms.interface import HostFigures, RemoteShell


class EmulatedDeployment(machine.Deployment):
    """The machine layer's deployment, with what a cluster asks of it beside."""

    refolds_live = True

    def traces(self) -> Traces:
        """See `interface.Deployment`."""
        return Traces.of(self)

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

    def log_files(self, node: str, written: Sequence[str]) -> Iterator[Path]:
        """See `interface.Deployment`."""
        base = Path(self.journal.directory, "nodes", node)
        layers = [where for path in written for where in _in_layers(base, PurePosixPath(path))]
        for where in (Path(self.nodes[node].logs), *layers):
            for directory, _, names in os.walk(where):
                yield from (
                    path
                    for name in sorted(names)
                    if (path := Path(directory, name)).is_file() and not path.is_symlink()
                )

    def drop_caches(self, timeout_s: float = 600.0) -> None:
        """See `interface.Deployment`."""
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


def _in_layers(base: Path, path: PurePosixPath) -> list[Path]:
    """Where the machine may have what a node wrote to a path: in the layer of one of the directories above it."""
    return [Path(upper(str(base), str(layer)), path.relative_to(layer)) for layer in (path, *path.parents)]
