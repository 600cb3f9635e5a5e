"""What a file system is made of, as data: roles, nodes, steps, their order and their readiness.

A driver under `filesystems/` turns a role distribution and its options into a `Composition`; nothing here, nor in a
driver, touches a machine. `cluster` executes a composition, `pliant check` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel


@dataclass(frozen=True)
class Role:
    """One kind of node. `minimum`/`maximum` bound its count; `disk` is where its own disk is mounted, if it has one."""

    name: str
    minimum: int = 1
    maximum: int | None = None
    client: bool = False
    disk: str | None = None
    private: tuple[str, ...] = ()
    """Directories that each node must have for itself and empty, whatever the machine has there."""
    logs: tuple[str, ...] = ()
    """Directories or files whose contents are kept with a trial."""


@dataclass(frozen=True)
class Node:
    """One virtual node: an instance of `role`, numbered from 1, with its IPv4 address in the cluster's network."""

    name: str
    role: str
    index: int
    address: str


@dataclass(frozen=True)
class Command:
    """A program and its arguments, run in a node as root, never through a shell.

    `expect` is a regular expression that must be found in its standard output for it to count as done.
    """

    argv: tuple[str, ...]
    expect: str | None = None


@dataclass(frozen=True)
class Step:
    """One step of a deployment, run on several nodes in parallel once the steps in `after` are done.

    `runs` maps a node to the commands it runs, one after the other. A `daemon` step starts its (single) command and
    leaves it running. The step is done when `ready`, polled on each node, succeeds; it fails after `timeout_s`.
    """

    name: str
    runs: Mapping[str, tuple[Command, ...]]
    after: tuple[str, ...] = ()
    daemon: bool = False
    ready: Mapping[str, Command] = field(default_factory=dict)
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Composition:
    """A file system ready to be deployed on named nodes. `mount` is where the clients see it."""

    filesystem: str
    roles: tuple[Role, ...]
    nodes: tuple[Node, ...]
    steps: tuple[Step, ...]
    mount: str
    programs: tuple[str, ...]
    """Programs that must be on the machine's PATH."""
    packages: tuple[str, ...]
    """Debian packages that provide them."""
    version: tuple[str, ...] = ()
    """Command that prints the file system's version on its first line."""
    warnings: tuple[str, ...] = ()
    """What a user should know about this choice of options and counts."""

    def role(self, name: str) -> Role:
        """The role of that name; KeyError if the composition has none."""
        return next(r for r in self.roles if r.name == name)

    @property
    def clients(self) -> tuple[Node, ...]:
        """The nodes that mount the file system, in order."""
        return tuple(n for n in self.nodes if self.role(n.role).client)


class Filesystem(Protocol):
    """What a driver under `filesystems/` (or in the entry point group `pliant.filesystems`) offers."""

    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    """The driver's own options, `[filesystem.options]` in a study: frozen, unknown keys refused."""

    @staticmethod
    def roles(options: Any) -> tuple[Role, ...]:
        """The roles this file system has with these options."""

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: Any) -> Composition:
        """The composition for these nodes; raises ValueError (one sentence) for counts that cannot work."""
