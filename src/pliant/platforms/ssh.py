"""The `ssh` platform: hosts are machines that OpenSSH reaches, each with the machine layer's agent.

A deployment is one of the machine layer's on each host, of that host alone, with the same nodes, bridges and limits as
on the emulated platform; their fabrics are made one by VXLAN between the hosts' own addresses. Its id on host N is
ID-N. It is written down here before anything is made there, so that whoever can reach the hosts can remove it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pliant.composition.nodeset import natural_key
from pliant.machine.cpus import width
from pliant.machine.deployment import LIMITS
from pliant.machine.journal import Journal
from pliant.machine.parts import Overlay
from pliant.machine.promised import HOSTS
from pliant.platforms.agents import HostError, HostLost
from pliant.platforms.far_nodes import FarNodes, failed
from pliant.platforms.fleet import Fleet
from pliant.platforms.interface import (
    CommandFailed,
    Gone,
    HostFigures,
    LiveNode,
    NodeRequest,
    PowerError,
    TeardownError,
)
from pliant.platforms.ways import no_way, ways

LEASE_S = 900.0
"""How long what is on a host stays there when nobody reaches it any more ..."""
KEPT_LEASE_S = 86400.0
"""... and what was meant to stay (`pliant up`)."""
_UP_S, _REMOVE_S = 300.0, 180.0
_SMALL_BYTES = 500
_ROUNDS = 3
"""How often it is tried whether packets pass where none did: of many hosts at once some lose a few."""

Addresses = Sequence[tuple[str, str, int, float | None]]
"""What a host says of its addresses (`machine.overlay.addresses`)."""


def fleet_of(journal: Journal) -> Fleet:
    """The hosts of a deployment on other machines, none of them reached yet."""
    content = journal.read(HOSTS)
    config = Path(content["config"]) if content["config"] else None
    return Fleet(content["hosts"], config=config, options=content.get("options", ()))


@dataclass(frozen=True)
class Traces:
    """What there was on each host; see `interface.Traces`."""

    id: str
    fleet: Fleet
    found: Mapping[str, Mapping[str, Any]]

    @property
    def sentence(self) -> str:
        """See `interface.Traces`."""
        many = {what: sum(len(each[what]) for each in self.found.values()) for what in ("processes", "disks")}
        told = f"{many['processes']} processes and {many['disks']} disks"
        hosts = f"{len(self.found)} host{'' if len(self.found) == 1 else 's'}"
        return f"nothing is left of {self.id} on {hosts}: its {told}, namespaces, links and files were looked for"

    def left(self) -> list[str]:
        """See `interface.Traces`."""
        told = self.fleet.each(lambda host: self.fleet.ask(host, "left", traces=self.found[host]), list(self.found))
        return [f"{host}: {what}" for host, found in told.items() for what in found]


class SshDeployment(FarNodes):
    """Nodes on other machines; see `interface.Deployment`. Numbers of hosts are those of their order in the fleet."""

    refolds_live = stands = False

    def __init__(self, journal: Journal, fleet: Fleet, figures: HostFigures, platform: Ssh) -> None:
        super().__init__(journal, fleet, figures, platform)
        self.platform = platform
        self.title, self.modules, self.lease_s = "", tuple[str, ...](), LEASE_S

    # Making it

    def up(
        self, requests: Sequence[NodeRequest], placement: Mapping[str, int], hosts: int, programs: Sequence[str]
    ) -> None:
        """See `interface.Deployment`."""
        self.hosts = max(placement.values())
        self.placed = dict(placement)
        if self.hosts > len(self.fleet.hosts):
            raise CommandFailed(["up"], 1, "", f"{self.hosts} hosts are needed, and there are {len(self.fleet.hosts)}")
        own = self._numbers()
        content = {
            "hosts": list(own),
            "config": str(self.fleet.config.absolute()) if self.fleet.config else None,
            "options": list(self.fleet.options),
            "limited": self.platform.limited,
            "state": self.platform.state,
        }
        self.journal.write(HOSTS, content)
        told = self._each(lambda host: self.fleet.ask(host, "whereabouts")["addresses"])
        self._make(requests, told, programs)
        self.kept_on = [tuple(range(width(self.figures.cores)))] * self.hosts
        self._save()

    def _make(self, requests: Sequence[NodeRequest], told: Mapping[str, Addresses], programs: Sequence[str]) -> None:
        """Make the nodes of each host, and see that they reach each other; hosts have `told` their addresses."""
        own = self._numbers()
        there = {host: {r.address: r.name for r in requests if self.placed[r.name] == own[host]} for host in own}
        overlays = ways(self.id, told, there, self.platform.network)
        figures = asdict(self.figures) if self.platform.limited else None
        about = {host: {"figures": figures, "overlaid": asdict(overlays[host])} for host in own}
        self._make_each(requests, about, programs)
        self._check_ways(overlays)

    def _make_each(
        self, requests: Sequence[NodeRequest], about: Mapping[str, Mapping[str, Any]], programs: Sequence[str]
    ) -> None:
        """Make the nodes of each host, of whose deployment there is more to tell."""
        own = self._numbers()
        for host, number in own.items():
            self.fleet.leased[host].add(self._there(number))

        def make(host: str) -> list[dict[str, Any]]:
            there, agent = self._there(own[host]), self.fleet.agent(host)
            given = {"title": self.title, "modules": self.modules, "lease_s": self.lease_s, **about[host]}
            agent.ask("create", deployment=there, **given)
            records = [asdict(request) for request in requests if self.placed[request.name] == own[host]]
            nodes: list[dict[str, Any]] = agent.ask(
                "up", deployment=there, requests=records, programs=list(programs), timeout_s=_UP_S
            )
            return nodes

        self._take(requests, self._each(make))

    def _take(self, requests: Sequence[NodeRequest], told: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Take over the nodes that hosts have made, in the order in which they were asked for."""
        live = {node["name"]: LiveNode(**node) for nodes in told.values() for node in nodes}
        self.nodes = {request.name: live[request.name] for request in requests}

    def _check_ways(self, overlays: Mapping[str, Overlay]) -> None:
        """See that packets of all sizes pass from every host to every other one. CommandFailed names two where not."""
        if len(overlays) < 2:
            return
        mtu = next(iter(overlays.values())).mtu
        sizes = [min(_SMALL_BYTES, mtu), mtu]
        lacking = {host: [other for other in overlays if other != host] for host in overlays}
        heard: dict[str, set[tuple[str, int]]] = {host: set() for host in overlays}
        for _ in range(_ROUNDS):
            for host, known in self._heard(overlays, lacking, sizes).items():
                heard[host] |= known
            for host, others in lacking.items():
                lacking[host] = [each for each in others if _unheard(heard[host], overlays[each].switch, sizes)]
            if not any(lacking.values()):
                return
        host, other = next((host, others[0]) for host, others in lacking.items() if others)
        missing = _unheard(heard[host], overlays[other].switch, sizes)
        raise CommandFailed(["up"], 1, "", no_way(host, other, overlays, missing, sizes), host)

    def _heard(
        self, overlays: Mapping[str, Overlay], lacking: Mapping[str, Sequence[str]], sizes: Sequence[int]
    ) -> dict[str, set[tuple[str, int]]]:
        """What each host hears, (switch, size), when those call out of which it lacks a packet. They begin with
        different ones: what all send to one at the same moment is lost on its way."""
        ports = self._each(lambda host: self._ask(host, "hear"))
        order = list(overlays)

        def call_out(host: str) -> None:
            turn = order.index(host)
            others = [each for each in (*order[turn:], *order[:turn]) if host in lacking[each]]
            to = {overlays[each].switch: ports[each] for each in others}
            self._ask(host, "call_out", to=to, sizes=list(sizes))

        self._each(call_out)
        return self._each(lambda host: {(address, size) for address, size in self._ask(host, "heard")})

    def renew(self, requests: Sequence[NodeRequest], programs: Sequence[str]) -> Gone:
        """See `interface.Deployment`."""
        own = self._numbers()

        def make(host: str) -> Any:
            mine = [asdict(request) for request in requests if self.placed[request.name] == own[host]]
            return self._ask(host, "renew", requests=mine, programs=list(programs), timeout_s=_UP_S)

        told = self._each(make)
        self._take(requests, {host: nodes for host, (nodes, _) in told.items()})
        self._mirror.forget()
        self.down = frozenset()
        self._save()
        gone = [Gone(**each) for _, each in told.values()]
        counts = ("nodes", "processes", "mounts", "disks")
        return Gone(*(sum(getattr(each, count) for each in gone) for count in counts))

    def remove(self) -> None:
        """See `interface.Deployment`. What is on a host that cannot be reached goes at the end of its lease."""
        self._relay.close()
        self.fleet.try_again()
        errors: dict[str, str] = {}

        def one(host: str) -> None:
            there = self._there(self._numbers()[host])
            try:
                self.fleet.ask(host, "remove", deployment=there, timeout_s=_REMOVE_S)
                self.fleet.leased[host].discard(there)
            except HostError as error:
                errors[host] = str(error)

        self.fleet.each(one, list(self._numbers()))
        if errors:
            lease = f"what is there goes within {self.lease_s / 60:.0f} minutes, or by `pliant down {self.id}`"
            raise TeardownError(
                f"deployment {self.id}: {'; '.join(errors[host] for host in sorted(errors, key=natural_key))}; {lease}"
            )
        forget(self.journal)

    def traces(self) -> Traces:
        """See `interface.Deployment`."""
        return Traces(self.id, self.fleet, self._each(lambda host: self._ask(host, "traces")))

    # Changing it

    def refold(self, placement: Mapping[str, int]) -> None:
        """Nodes stay where they are: nothing moves between machines while it runs."""
        if dict(placement) != self.placed:
            raise CommandFailed(["refold"], 1, "", "nodes cannot move between machines while they run")

    @property
    def limited(self) -> bool:
        """See `interface.Deployment`. Hosts that are taken as they are count as limited by what they are."""
        return bool(self.limits)

    def limit(self, on: bool | Collection[str]) -> None:
        """See `interface.Deployment`."""
        limits = frozenset((LIMITS if on else ()) if isinstance(on, bool) else on)
        if self.platform.limited and limits != self.limits:
            self._each(lambda host: self._ask(host, "limit", on=sorted(limits)))
        self.limits = limits
        self._save()

    def refresh(self) -> None:
        """See `interface.Deployment`."""
        told = self._each(lambda host: self._ask(host, "state"))
        self.down = frozenset(node for each in told.values() for node in each["down"])

    def states(self) -> dict[str, dict[str, Any]]:
        """Node -> whether its init lives ("alive"), and whether it is "down" or "cut"; CommandFailed."""
        told = self._each(lambda host: self._ask(host, "state"))
        return {
            node: {"alive": lives, "down": node in each["down"], "cut": node in each["cut"]}
            for each in told.values()
            for node, lives in each["alive"].items()
        }

    def _save(self) -> None:
        """Write down what is up, for other commands."""
        content = {
            "figures": asdict(self.figures),
            "hosts": self.hosts,
            "placed": self.placed,
            "kept_on": self.kept_on,
            "limits": sorted(self.limits),
            "down": sorted(self.down),
            "nodes": [asdict(node) for node in self.nodes.values()],
        }
        self.journal.write("deployment.json", content)

    # Nodes as machines

    def _power(self, node: str, what: str) -> None:
        host, there = self._of(node)
        try:
            self.fleet.agent(host).ask("power", deployment=there, node=node, how=what)
        except HostLost as error:
            raise failed(what, error) from error
        except HostError as error:
            raise PowerError(str(error).partition(": ")[2]) from error
        if what in ("crash", "shut_down"):
            self.down = self.down | {node}
        elif what == "switch_on":
            self.down = self.down - {node}
        self._save()

    def crash(self, node: str) -> None:
        """See `interface.Deployment`."""
        self._power(node, "crash")

    def shut_down(self, node: str) -> None:
        """See `interface.Deployment`."""
        self._power(node, "shut_down")

    def switch_on(self, node: str) -> None:
        """See `interface.Deployment`."""
        self._power(node, "switch_on")

    def block(self, node: str) -> None:
        """See `interface.Deployment`."""
        self._power(node, "block")

    def unblock(self, node: str) -> None:
        """See `interface.Deployment`."""
        self._power(node, "unblock")


def _unheard(heard: set[tuple[str, int]], switch: str, sizes: Sequence[int]) -> list[int]:
    """The sizes of which no packet of a switch has come."""
    return [size for size in sizes if (switch, size) not in heard]


class Ssh:
    """Hosts that ssh reaches. Without limits each is what it is. `network` (CIDR) is that of the hosts by which they
    reach each other, if it is not that by which they were reached."""

    refolds_live = False

    deployment = SshDeployment

    def __init__(self, fleet: Fleet, *, limited: bool, network: str | None = None) -> None:
        self.fleet, self.limited, self.network = fleet, limited, network
        self._own: dict[str, tuple[str, str]] = {}
        self.state = ""

    @property
    def losses(self) -> int:
        """See `interface.Platform`."""
        return self.fleet.losses

    def look(self) -> None:
        """Find out where programs of the machine layer are on each host. HostError."""

        def one(host: str) -> tuple[str, str]:
            hello = self.fleet.ask(host, "hello")
            self.state = hello["state"]
            return hello["interpreter"], self.fleet.ask(host, "whereabouts")["place"]

        self._own = self.fleet.each(one)

    def own(self, host: str) -> tuple[str, str]:
        """A host's Python, and where the machine layer is there."""
        return self._own[host]

    def new(
        self, figures: HostFigures, *, title: str, modules: Sequence[str] = (), keep: bool = False, run: str = ""
    ) -> SshDeployment:
        """See `interface.Platform`."""
        made = self.deployment(Journal.create(title, keep=keep, run=run), self.fleet, figures, self)
        made.title, made.modules = title, tuple(modules)
        made.lease_s = KEPT_LEASE_S if keep else LEASE_S
        return made

    def opened(self, journal: Journal) -> SshDeployment | None:
        """A deployment that another process made, and whose hosts this fleet is; None if it was never completely up."""
        content = journal.read("deployment.json")
        if content is None:
            return None
        found = self.deployment(journal, self.fleet, HostFigures(**content["figures"]), self)
        found.hosts, found.placed = content["hosts"], content["placed"]
        found.kept_on = [tuple(each) for each in content["kept_on"]]
        found.limits, found.down = frozenset(content["limits"]), frozenset(content["down"])
        found.nodes = {node["name"]: LiveNode(**node) for node in content["nodes"]}
        return found


def forget(journal: Journal) -> None:
    """Delete what is written down here of a deployment."""
    shutil.rmtree(journal.directory)


def remove(journal: Journal) -> None:
    """Remove a deployment from its hosts, from what is written down here alone. TeardownError, HostError."""
    fleet = fleet_of(journal)
    found = SshDeployment(journal, fleet, HostFigures(0.0, 0.0, 0.0, 0), Ssh(fleet, limited=False))
    found.hosts = len(fleet.hosts)
    with fleet:
        found.remove()
