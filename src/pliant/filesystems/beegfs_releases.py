"""What of BeeGFS differs between its releases: the management service, the tools that ask it, and a few settings.

Sources: for 7.4 its documentation and `beegfs-ctl --help`; for 8 its documentation and what its programs read
(mgmtd/src/config.rs of beegfs-rust 8.3.1, ctl/internal/cmd of beegfs-go), as it was never deployed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pliant.composition.model import Command, File, Node

DISK = "/srv/beegfs"
CONFIG = "/etc/beegfs"
SECRET = f"{CONFIG}/conn.auth"
SERVERS = {"metadata": "meta", "storage": "storage"}
"""Role -> what programs and tools call it."""


def path_of(program: str) -> str:
    """The configuration of a service."""
    return f"{CONFIG}/beegfs-{program}.conf"


def in_lines(settings: Mapping[str, str]) -> str:
    """Settings as a configuration has them."""
    return "".join(f"{key} = {value}".rstrip() + "\n" for key, value in settings.items())


@dataclass(frozen=True)
class Layout:
    """How files are laid out: over so many targets, or pairs of them if mirrored, in chunks of so many KiB."""

    targets: int
    chunk_kib: int
    mirror: bool


class Release(Protocol):
    """What is different."""

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that nodes run."""

    @property
    def mirrors(self) -> bool:
        """Whether files can be mirrored without a licence."""

    @property
    def version(self) -> str:
        """What the management service says of its version matches this; the group is the version."""

    @property
    def logging(self) -> Mapping[str, str]:
        """Settings by which the servers log to where their daemon's output goes."""

    @property
    def client(self) -> Mapping[str, str]:
        """Settings of the client."""

    @property
    def management(self) -> File:
        """The configuration of the management service."""

    @property
    def first(self) -> tuple[Command, ...]:
        """What the management node runs once, before that starts."""

    @property
    def daemon(self) -> Command:
        """What starts it."""

    @property
    def end(self) -> Command | None:
        """What ends it in order, where it writes down who is there only then; None where it does so at once."""

    def answers(self, management: Node) -> Command:
        """Succeeds when it answers."""

    def known(self, management: Node, server: Node) -> Command:
        """Succeeds when it has heard of a server, and can reach it."""

    def online(self, management: Node, names: Mapping[str, Sequence[Node]]) -> Mapping[str, Command]:
        """A server of each role -> what succeeds when all of that role have said that they are there."""

    def layout(self, management: Node, layout: Layout) -> tuple[Command, ...]:
        """Say how the files of the whole file system are laid out."""


@dataclass(frozen=True)
class Seven:
    """7.4."""

    mirrors = True
    programs: tuple[str, ...] = ("beegfs-mgmtd", "beegfs-meta", "beegfs-storage", "beegfs-ctl")
    version: str = r"Management Node Version: (7\.4[^\s\]]*)"
    logging: Mapping[str, str] = field(
        default_factory=lambda: {"logType": "logfile", "logStdFile": "", "storeAllowFirstRunInit": "true"}
    )
    client: Mapping[str, str] = field(default_factory=lambda: {"logType": "syslog"})
    first: tuple[Command, ...] = ()

    @property
    def management(self) -> File:
        """See Release."""
        settings = {"connAuthFile": SECRET, **self.logging, "storeMgmtdDirectory": f"{DISK}/data"}
        return File(path_of("mgmtd"), in_lines(settings))

    @property
    def daemon(self) -> Command:
        """See Release."""
        return Command(("beegfs-mgmtd", f"cfgFile={path_of('mgmtd')}", "runDaemonized=false"))

    @property
    def end(self) -> Command | None:
        """See Release. It writes it down each 900 s, and at its end (HeartbeatManager.cpp of its mgmtd). Its threads
        have names of their own, so that it is known by its command line."""
        return Command(("pkill", "--full", "^beegfs-mgmtd cfgFile="))

    def answers(self, management: Node) -> Command:
        """See Release."""
        listed = self._ctl(management, "--listnodes", "--nodetype=management")
        return Command(listed, expect=rf"(?m)^{re.escape(management.name)} ")

    def known(self, management: Node, server: Node) -> Command:
        """See Release."""
        listed = self._ctl(management, "--listnodes", f"--nodetype={SERVERS[server.role]}", "--reachable")
        return Command(listed, expect=rf"(?m)^{re.escape(server.name)} .*\n +Reachable: +<?yes")

    def online(self, management: Node, names: Mapping[str, Sequence[Node]]) -> Mapping[str, Command]:
        """See Release."""
        found = {}
        for role, kind in SERVERS.items():
            listed = self._ctl(management, "--listtargets", "--state", f"--nodetype={kind}")
            found[names[role][0].name] = Command(listed, expect=r"(?is)\A(?!.*offline).* online ")
        return found

    def layout(self, management: Node, layout: Layout) -> tuple[Command, ...]:
        """See Release."""
        pairs = ("--addmirrorgroup", "--automatic", "--nodetype=storage")
        pattern = ("--setpattern", f"--numtargets={layout.targets}", f"--chunksize={layout.chunk_kib}k")
        kind = ("--pattern=buddymirror",) if layout.mirror else ("--pattern=raid0",)
        made = (Command(self._ctl(management, *pairs)),) if layout.mirror else ()
        return (*made, Command(self._ctl(management, *pattern, *kind, "--unmounted", "/")))

    def _ctl(self, management: Node, *words: str) -> tuple[str, ...]:
        mode, *rest = words
        return ("beegfs-ctl", mode, f"--sysMgmtdHost={management.name}", f"--connAuthFile={SECRET}", *rest)


@dataclass(frozen=True)
class Eight:
    """8. Its management makes pairs of targets with a licence only (grpc/create_buddy_group.rs)."""

    mirrors = False
    programs: tuple[str, ...] = ("beegfs-mgmtd", "beegfs-meta", "beegfs-storage", "beegfs")
    version: str = r"\bv?(8\.\d+[^\s\]]*)"
    logging: Mapping[str, str] = field(
        default_factory=lambda: {"logType": "logfile", "logStdFile": "", "storeAllowFirstRunInit": "true"}
    )
    client: Mapping[str, str] = field(default_factory=dict)
    end: Command | None = None

    @property
    def management(self) -> File:
        """See Release. What goes between tools and the service goes in the clear, as the nodes have no certificates."""
        settings = {"db-file": f"{DISK}/data/mgmtd.sqlite", "auth-file": SECRET, "log-target": "stderr"}
        text = "".join(f'{key} = "{value}"\n' for key, value in settings.items())
        return File(f"{CONFIG}/beegfs-mgmtd.toml", f"{text}tls-disable = true\n")

    @property
    def first(self) -> tuple[Command, ...]:
        """See Release."""
        return (Command((*self.daemon.argv, "--init")),)

    @property
    def daemon(self) -> Command:
        """See Release."""
        return Command(("beegfs-mgmtd", "--config-file", f"{CONFIG}/beegfs-mgmtd.toml"))

    def answers(self, management: Node) -> Command:
        """See Release."""
        return Command(self._tool(management, "node", "list"))

    def known(self, management: Node, server: Node) -> Command:
        """See Release. The alias of a node has its number, which is the one that it was given."""
        kind = SERVERS[server.role]
        listed = self._tool(management, "node", "list", "--node-type", kind, "--reachability-check")
        return Command(listed, expect=rf"(?m)\bnode_{kind}_{server.index}\b")

    def online(self, management: Node, names: Mapping[str, Sequence[Node]]) -> Mapping[str, Command]:
        """See Release. It is not started anew, so that who was seen to be known is there."""
        return {}

    def layout(self, management: Node, layout: Layout) -> tuple[Command, ...]:
        """See Release."""
        wanted = (f"--num-targets={layout.targets}", f"--chunk-size={layout.chunk_kib}Ki")
        return (Command(self._tool(management, "entry", "set", "--mount=none", *wanted, "--pattern=raid0", "/")),)

    def _tool(self, management: Node, *words: str) -> tuple[str, ...]:
        own = (f"--mgmtd-addr={management.name}:8010", "--tls-disable", f"--auth-file={SECRET}")
        return ("beegfs", *own, *words)


RELEASES: Mapping[str, Release] = {"7.4": Seven(), "8": Eight()}
