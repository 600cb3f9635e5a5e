"""What a file system is made of, as data: roles, nodes, files, steps, their order and their readiness.

A driver under `filesystems/` turns a role distribution and its options into a `Composition`; nothing here, nor in a
driver, touches a machine. `cluster` executes a composition, `pliant check` prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel


@dataclass(frozen=True)
class Role:
    """One kind of node. `minimum`/`maximum` bound its count; `disk` is where its own disk is mounted, if it has one."""

    name: str
    minimum: int = 1
    maximum: int | None = None
    client: bool = False
    disk: str | None = None
    disk_options: tuple[str, ...] = ()
    """Arguments of mkfs.ext4(8) for that disk, where it is to be another than such a disk is by itself."""
    private: tuple[str, ...] = ()
    """Directories that each node must have for itself and empty, whatever the machine has there."""
    logs: tuple[str, ...] = ()
    """Directories or files whose contents are kept with a trial."""
    kernel: tuple[str, ...] = ()
    """File systems that the kernel under its nodes must have: "nfsd". Where the machine's has not, they can have one of
    their own."""
    own_kernel: str = ""
    """Why no other kernel than one of each node's own will do; "" if one that all share does."""
    module: str = ""
    """File of a kernel module that has what is in `kernel`, where the user names one."""
    module_source: str = ""
    """Where such a file is to be had, as the rest of a sentence, of what no kernel's own modules have."""
    because: str = ""
    """Why its count is bounded, if options have a part in it: 'volume "replicate 3" is sets of 3 servers'."""


@dataclass(frozen=True)
class Node:
    """One virtual node: an instance of `role`, numbered from 1, with its IPv4 address in the cluster's network.

    `disk_bytes` is the size of its own disk, where its role has one and the platform says how large they are.
    """

    name: str
    role: str
    index: int
    address: str
    disk_bytes: int = 0


@dataclass(frozen=True)
class Command:
    """A program and its arguments, run in a node as root, never through a shell.

    `expect` is a regular expression that must be found in its standard output for it to count as done; `stdin` is what
    it reads. Both are shown to everybody, as are the arguments: what is secret belongs into a `File`.
    """

    argv: tuple[str, ...]
    expect: str | None = None
    stdin: str = ""


SECRET_MODE = 0o600


@dataclass(frozen=True)
class File:
    """A file that a node has before its first step; missing directories above it are made, as root's.

    `owner` is `user` or `user:group` by their names on the machine. A `secret` file has mode 0600, and its content is
    never shown.
    """

    path: str
    content: str = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    secret: bool = False

    def __post_init__(self) -> None:
        if self.secret:
            object.__setattr__(self, "mode", SECRET_MODE)


@dataclass(frozen=True)
class Identity:
    """Something that makes a node itself (an id, a uuid, a key), derived from the study's seed; see `identity`."""

    value: str = field(repr=False)
    secret: bool = False

    @property
    def shown(self) -> str:
        """What people may see of it."""
        return "(secret)" if self.secret else self.value


@dataclass(frozen=True)
class Step:
    """One step of a deployment, run on several nodes in parallel once the steps it follows are done.

    `runs` maps a node to the commands it runs, one after the other. A `daemon` step starts its (single) command and
    leaves it running. The step is done when `ready`, polled on each node, succeeds; it fails after `timeout_s`.
    """

    name: str
    runs: Mapping[str, tuple[Command, ...]]
    after: tuple[str, ...] = ()
    """Steps that come before it, where there are both."""
    requires: tuple[str, ...] = ()
    """Steps that come before it, and that it cannot do without: when a node starts again, it waits until each of them
    is ready on some node."""
    daemon: bool = False
    once: bool = False
    """Only when the cluster is deployed (it formats, or creates), not when a node starts again."""
    ready: Mapping[str, Command] = field(default_factory=dict)
    timeout_s: float = 60.0

    @property
    def follows(self) -> tuple[str, ...]:
        """The steps that come before it."""
        return tuple(dict.fromkeys((*self.after, *self.requires)))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that it concerns."""
        return tuple(dict.fromkeys((*self.runs, *self.ready)))


def waves(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """The steps by the earliest moment at which they can start; ValueError for a cycle or a step that is not there."""
    names = {step.name for step in steps}
    done: set[str] = set()
    order: list[tuple[str, ...]] = []
    if len(names) < len(steps):
        raise ValueError(f"{len(steps)} steps have {len(names)} names: {', '.join(sorted(names))}")
    for step in steps:
        if unknown := set(step.follows) - names:
            raise ValueError(f'step "{step.name}" comes after "{min(unknown)}", which is not a step')
    while len(done) < len(steps):
        ready = tuple(step.name for step in steps if step.name not in done and set(step.follows) <= done)
        if not ready:
            raise ValueError(f"steps wait for each other: {', '.join(sorted(names - done))}")
        order.append(ready)
        done.update(ready)
    return order


Setting = bool | int | str | Sequence["Setting"] | Mapping[str, "Setting"]
"""The value of an option."""


@dataclass(frozen=True)
class NixOS:
    """What NixOS has of a file system, for `export`: everything else is taken from the steps."""

    packages: tuple[str, ...]
    """Attributes of nixpkgs that have its programs."""
    settings: Mapping[str, Mapping[str, Setting]]
    """Role -> option -> value: {"server": {"services.glusterfs.enable": True}}."""
    units: Mapping[str, str]
    """Step -> the service, made by these options, that carries it out."""
    common: Mapping[str, Setting] = field(default_factory=dict)
    """Option -> value, on nodes of all roles."""
    provides: tuple[str, ...] = ()
    """Steps that these options take care of, with nothing left to do."""
    files: tuple[str, ...] = ()
    """Files that these options write."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Words of commands, and owners of files, that are others there."""
    users: Mapping[str, str] = field(default_factory=dict)
    """Step -> who carries it out there, where that is not root."""
    own: bool = False
    """Whether nixpkgs has not got it, so that the user names who has."""


@dataclass(frozen=True)
class Brought:
    """Where a user has the programs that no package brings, those of a composition's `sources`: in `directory`, or in
    bin or sbin below it, or on PATH if that is "".

    What the composition's `version` says must match `release`, a regular expression whose group is the version; `other`
    says what to do where it does not.
    """

    directory: str
    release: str = ""
    other: str = ""


class OwnKernel(NamedTuple):
    """A kernel that each node of a role has of its own: by User Mode Linux ("uml") or in a virtual machine ("vm"), with
    so much memory."""

    kind: str
    memory_bytes: int


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
    sources: Mapping[str, str] = field(default_factory=dict)
    """Program -> how to get it, of those that no Debian package has."""
    brought: Brought | None = None
    """Where these are, if the user says, and what of them is deployed."""
    version: tuple[str, ...] = ()
    """Command that prints the file system's version on its first line."""
    warnings: tuple[str, ...] = ()
    """What a user should know about this choice of options and counts."""
    files: Mapping[str, tuple[File, ...]] = field(default_factory=dict)
    """Node -> the files that it has before its first step."""
    identities: Mapping[str, Mapping[str, Identity]] = field(default_factory=dict)
    """Node -> name -> what makes it itself."""
    health: Mapping[str, Command] = field(default_factory=dict)
    """Node -> command that says whether its part of the file system works."""
    unmount: Mapping[str, tuple[Command, ...]] = field(default_factory=dict)
    """Client -> commands that let go of the file system."""
    clean: Mapping[str, tuple[Command, ...]] = field(default_factory=dict)
    """Node -> commands run after a workload's directory was emptied, each again and again until it succeeds: they wait
    until what was deleted is gone from the servers as well."""
    kernel: tuple[str, ...] = ()
    """File systems that the machine's kernel must have, beside those of roles: "fuse"."""
    one_per_kernel: tuple[str, ...] = ()
    """Roles of which one kernel can carry a single node."""
    kernel_limits: Mapping[str, int] = field(default_factory=dict)
    """What all nodes together take of something that a kernel has only so much of, by the sysctl that says how much."""
    nixos: NixOS | None = None
    """What NixOS has of it; None if it is not known how to run it there."""
    spare: Mapping[str, int] = field(default_factory=dict)
    """Role -> how many of its nodes may be away, whichever they are, and all data still be there to read and write. A
    role that is not in it: nothing is known."""

    def __post_init__(self) -> None:
        """ValueError for what cannot be carried out: a driver may be anybody's."""
        waves(self.steps)
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> Iterable[str]:
        names = {node.name for node in self.nodes}
        for step in self.steps:
            for node in step.nodes:
                if node not in names:
                    yield f'step "{step.name}" is for {node}, which is not a node'
            if step.daemon and any(len(commands) != 1 for commands in step.runs.values()):
                yield f'step "{step.name}" is a daemon, so each of its nodes has one command'
        for what in (self.files, self.identities, self.health, self.unmount, self.clean):
            for node in what:
                if node not in names:
                    yield f"{node} is not a node"
        for path in (self.mount, *(file.path for files in self.files.values() for file in files)):
            if not path.startswith("/") or ".." in PurePosixPath(path).parts:
                yield f'"{path}" is not an absolute path'

    def role(self, name: str) -> Role:
        """The role of that name; KeyError if the composition has none."""
        return next(r for r in self.roles if r.name == name)

    def again(self, node: str) -> tuple[Step, ...]:
        """What a node runs when it starts again: its part of each step that is not `once`, in this order."""
        found = []
        for step in (self.step(name) for wave in waves(self.steps) for name in wave):
            if node in step.nodes and not step.once:
                runs = {node: step.runs[node]} if node in step.runs else {}
                found.append(replace(step, runs=runs, ready={node: step.ready[node]} if node in step.ready else {}))
        return tuple(found)

    def step(self, name: str) -> Step:
        """The step of that name; KeyError if the composition has none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    @property
    def of_kernels(self) -> tuple[str, ...]:
        """The file systems that kernels must have, whichever nodes these are under."""
        return tuple(dict.fromkeys((*self.kernel, *(name for role in self.roles for name in role.kernel))))

    @property
    def clients(self) -> tuple[Node, ...]:
        """The nodes that mount the file system, in order."""
        return tuple(n for n in self.nodes if self.role(n.role).client)

    @property
    def disks(self) -> dict[str, str]:
        """Where the disks of the nodes that have one are mounted, by the nodes' names, in order."""
        disks = {node.name: self.role(node.role).disk for node in self.nodes}
        return {name: disk for name, disk in disks.items() if disk is not None}


class BadOptions(ValueError):
    """Options that cannot be, as `compose` finds out: a study's mistake is then in its options, not in its counts."""


class Filesystem(Protocol):
    """What a driver under `filesystems/` (or in the entry point group `pliant.filesystems`) offers.

    Besides these it may have `example`, a small role distribution to begin with: role -> how many nodes.
    """

    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    """The driver's own options, `[filesystem.options]` in a study: frozen, unknown keys refused."""

    @staticmethod
    def roles(options: Any) -> tuple[Role, ...]:
        """The roles this file system has with these options."""

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: Any, seed: int) -> Composition:
        """The composition for these nodes; raises ValueError (one sentence) for counts that cannot work, BadOptions
        for options that cannot.

        `seed` is the study's: identities are derived from it (see `identity`), so that a study is the same each time.
        """
