"""The `ssh` platform: hosts are machines that OpenSSH reaches, each with the machine layer's agent.

A deployment is one of the machine layer's on each host, of that host alone, with the same nodes, bridges and limits as
on the emulated platform; their fabrics are made one by VXLAN between the hosts' own addresses. Its id on host N is
ID-N. It is written down here before anything is made there, so that whoever can reach the hosts can remove it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from pliant.machine import cgroup, far
from pliant.machine.carrying import connect
from pliant.machine.conversation import Call, Failed, Lost
from pliant.machine.cpus import width
from pliant.machine.deployment import LIMITS
from pliant.machine.journal import Journal
from pliant.machine.network import GATEWAY, NETWORK, SWITCH
from pliant.machine.parts import Overlay
from pliant.machine.relay import Relay, Wanted
from pliant.machine.together import Job, run_together
from pliant.platforms.agents import HostError, HostLost
from pliant.platforms.fleet import Fleet
from pliant.platforms.interface import (
    CommandFailed,
    Completed,
    Gone,
    HostFigures,
    LiveNode,
    NodeRequest,
    PowerError,
    RemoteShell,
    TeardownError,
    Together,
    Watch,
    environment,
)
from pliant.platforms.merging import Sampled, merged
from pliant.platforms.mirror import Mirror

LEASE_S = 900.0
"""How long what is on a host stays there when nobody reaches it any more ..."""
KEPT_LEASE_S = 86400.0
"""... and what was meant to stay (`pliant up`)."""
PORT = 4789
"""VXLAN's own (RFC 7348)."""
HEADERS = 50
"""Bytes that VXLAN adds to a packet, on IPv4."""
MOST_HOSTS = 250
_HOSTS = "hosts.json"
_FABRIC = "@fabric"
_UP_S, _REMOVE_S = 300.0, 180.0
_SMALL_BYTES = 500

Result = TypeVar("Result")


def is_remote(journal: Journal) -> bool:
    """Whether a deployment is on other machines."""
    return journal.read(_HOSTS) is not None


def hosts_of(journal: Journal) -> tuple[tuple[str, ...], Path | None]:
    """The hosts of a deployment on other machines, and what ssh reads to reach them."""
    content = journal.read(_HOSTS)
    return tuple(content["hosts"]), Path(content["config"]) if content["config"] else None


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


class SshDeployment:
    """Nodes on other machines; see `interface.Deployment`. Numbers of hosts are those of their order in the fleet."""

    refolds_live = False

    def __init__(self, journal: Journal, fleet: Fleet, figures: HostFigures, platform: Ssh) -> None:
        self.journal, self.fleet, self.figures, self.platform = journal, fleet, figures, platform
        self.id = journal.id
        self.nodes: dict[str, LiveNode] = {}
        self.hosts = 0
        self.placed: dict[str, int] = {}
        self.kept_on: list[tuple[int, ...]] = []
        self.limits: frozenset[str] = frozenset()
        self.down: frozenset[str] = frozenset()
        self._title, self._modules = "", tuple[str, ...]()
        self._lease_s = LEASE_S
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
            return self.fleet.ask(host, what, deployment=f"{self.id}-{self._numbers()[host]}", **given)
        except HostError as error:
            raise _failed(what, error) from error

    def _each(self, do: Callable[[str], Result]) -> dict[str, Result]:
        """Do something for all hosts that it is on, at the same time. CommandFailed."""
        try:
            return self.fleet.each(do, list(self._numbers()))
        except HostError as error:
            raise _failed("", error) from error

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
            "limited": self.platform.limited,
            "state": self.platform.state,
        }
        self.journal.write(_HOSTS, content)
        overlays = self._overlays({request.address: request.name for request in requests})
        for host, number in own.items():
            self.fleet.leased[host].add(self._there(number))
        figures = asdict(self.figures) if self.platform.limited else None

        def make(host: str) -> list[dict[str, Any]]:
            mine = [request for request in requests if placement[request.name] == own[host]]
            about: dict[str, Any] = {"title": self._title, "figures": figures, "modules": self._modules}
            about |= {"lease_s": self._lease_s, "overlaid": asdict(overlays[host])}
            there = self._there(own[host])
            agent = self.fleet.agent(host)
            agent.ask("create", deployment=there, **about)
            records = [asdict(request) for request in mine]
            nodes: list[dict[str, Any]] = agent.ask(
                "up", deployment=there, requests=records, programs=list(programs), timeout_s=_UP_S
            )
            return nodes

        self._take(requests, self._each(make))
        self.kept_on = [tuple(range(width(self.figures.cores)))] * self.hosts
        self._check_ways(overlays)
        self._save()

    def _take(self, requests: Sequence[NodeRequest], told: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Take over the nodes that hosts have made, in the order in which they were asked for."""
        live = {node["name"]: LiveNode(**node) for nodes in told.values() for node in nodes}
        self.nodes = {request.name: live[request.name] for request in requests}

    def _overlays(self, names: Mapping[str, str]) -> dict[str, Overlay]:
        """How each host reaches the others. CommandFailed."""
        own = self._numbers()
        told = self._each(lambda host: self.fleet.ask(host, "hello_more")["addresses"])
        chosen = {host: self._address(host, addresses) for host, addresses in told.items()}
        mtu = min(mtu for _, mtu in chosen.values()) - HEADERS
        switches = {host: _switch(number) for host, number in own.items()}
        everybody = {**names, **{switches[host]: f"pliant-{self._there(own[host])}" for host in own}}
        number = int(self.id, 16) << 8 | secrets.randbelow(1 << 8)
        return {
            host: Overlay(
                number,
                PORT,
                address,
                tuple(other for name, (other, _) in chosen.items() if name != host),
                mtu,
                switches[host],
                everybody,
            )
            for host, (address, _) in chosen.items()
        }

    def _address(self, host: str, addresses: Sequence[Sequence[Any]]) -> tuple[str, int]:
        """The address of a host by which others reach it, and its MTU. CommandFailed."""
        network = self.platform.network
        for address, _, mtu, _ in addresses:
            if network is None or ip_address(address) in ip_network(network):
                return address, mtu
        said = f"{host} has no address in {network}" if network else f"{host} has no IPv4 address"
        raise CommandFailed(["up"], 1, "", f"{said}; write platform.network", host)

    def _check_ways(self, overlays: Mapping[str, Overlay]) -> None:
        """See that packets of all sizes pass from every host to every other one. CommandFailed names two where not."""
        if len(overlays) < 2:
            return
        ports = self._each(lambda host: self._ask(host, "hear"))
        by_address = {overlays[host].switch: port for host, port in ports.items()}
        mtu = next(iter(overlays.values())).mtu
        sizes = [min(_SMALL_BYTES, mtu), mtu]

        def call_out(host: str) -> None:
            others = {address: port for address, port in by_address.items() if address != overlays[host].switch}
            self._ask(host, "call_out", to=others, sizes=sizes)

        self._each(call_out)
        heard = self._each(lambda host: {(address, size) for address, size in self._ask(host, "heard")})
        for host, known in heard.items():
            for other in overlays:
                if other != host:
                    lacking = [size for size in sizes if (overlays[other].switch, size) not in known]
                    if lacking:
                        raise CommandFailed(["up"], 1, "", _no_way(host, other, overlays, lacking, sizes), host)

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
        errors: list[str] = []

        def one(host: str) -> None:
            there = self._there(self._numbers()[host])
            try:
                self.fleet.ask(host, "remove", deployment=there, timeout_s=_REMOVE_S)
                self.fleet.leased[host].discard(there)
            except HostError as error:
                errors.append(str(error))

        self.fleet.each(one, list(self._numbers()))
        if errors:
            lease = f"what is there goes within {self._lease_s / 60:.0f} minutes, or by `pliant down {self.id}`"
            raise TeardownError(f"deployment {self.id}: {'; '.join(errors)}; {lease}")
        subprocess.run(
            ["rm", "-rf", "--one-file-system", "--", str(self.directory)],
            check=True,
            timeout=60,
            start_new_session=True,
        )

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
            raise _failed(what, error) from error
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
            raise _failed(argv[0], error) from error
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
        return [sys.executable, "-I", "-S", far.__file__, self._relay.path, place]

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
            return 255
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
        interpreter, place = self.platform.own(self._of(node)[0])
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
            script.write_text(f'#!/bin/sh\nexec {" ".join(module)} "$@"\n')
            script.chmod(0o700)
        return str(script)

    @property
    def remote_shell(self) -> RemoteShell:
        """See `interface.Deployment`. mpiexec runs on the first host."""
        return RemoteShell(f"{self.platform.state}/{self._there(1)}/enter", SWITCH, NETWORK)

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


class Ssh:
    """Hosts that ssh reaches. Without limits each is what it is. `network` (CIDR) is that of the hosts by which they
    reach each other, if it is not that by which they were reached; `kit` is where programs that were brought along
    are, on all of them."""

    refolds_live = False

    def __init__(self, fleet: Fleet, *, limited: bool, network: str | None = None, kit: str = "") -> None:
        self.fleet, self.limited, self.network, self.kit = fleet, limited, network, kit
        self._own: dict[str, tuple[str, str]] = {}
        self.state = ""

    def look(self) -> None:
        """Find out where programs of the machine layer are on each host. HostError."""

        def one(host: str) -> tuple[str, str]:
            hello = self.fleet.ask(host, "hello")
            self.state = hello["state"]
            return hello["interpreter"], self.fleet.ask(host, "hello_more")["place"]

        self._own = self.fleet.each(one)

    def own(self, host: str) -> tuple[str, str]:
        """A host's Python, and where the machine layer is there."""
        return self._own[host]

    def new(
        self, figures: HostFigures, *, title: str, modules: Sequence[str] = (), keep: bool = False, run: str = ""
    ) -> SshDeployment:
        """See `interface.Platform`."""
        made = SshDeployment(Journal.create(title, keep=keep, run=run), self.fleet, figures, self)
        made._title, made._modules = title, tuple(modules)
        made._lease_s = KEPT_LEASE_S if keep else LEASE_S
        return made

    def opened(self, journal: Journal) -> SshDeployment | None:
        """A deployment that another process made, and whose hosts this fleet is; None if it was never completely up."""
        content = journal.read("deployment.json")
        if content is None:
            return None
        found = SshDeployment(journal, self.fleet, HostFigures(**content["figures"]), self)
        found.hosts, found.placed = content["hosts"], content["placed"]
        found.kept_on = [tuple(each) for each in content["kept_on"]]
        found.limits, found.down = frozenset(content["limits"]), frozenset(content["down"])
        found.nodes = {node["name"]: LiveNode(**node) for node in content["nodes"]}
        return found


def remove(journal: Journal, told: Callable[[str], None] = lambda host: None) -> None:
    """Remove a deployment from its hosts, from what is written down here alone. TeardownError, HostError."""
    hosts, config = hosts_of(journal)
    fleet = Fleet(hosts, config=config)
    found = SshDeployment(journal, fleet, HostFigures(0.0, 0.0, 0.0, 0), Ssh(fleet, limited=False))
    found.hosts = len(hosts)
    with fleet:
        found.remove()


def _send_on(call: Call, asked: Any) -> None:
    """Send on what is added to a request of one host to that of another."""
    while "over" not in (message := call.inputs.get()):
        if "cancel" in message:
            asked.add(cancel=asked.number)
        elif "signal" in message:
            asked.add(signal=message["signal"], to=asked.number)
        else:
            asked.add(input=asked.number, **({"data": message["data"]} if message.get("data") is not None else {}))


def _switch(number: int) -> str:
    """The address of the switch of host NUMBER: mpiexec runs on the first."""
    if number > MOST_HOSTS:
        raise CommandFailed(["up"], 1, "", f"{number} hosts are more than {MOST_HOSTS}")
    return GATEWAY if number == 1 else re.sub(r"\.\d+$", f".{number}", GATEWAY)


def _failed(what: str, error: HostError) -> CommandFailed:
    host, _, said = str(error).partition(": ")
    return CommandFailed(list(filter(None, ("pliant", what))), 1, "", said, host)


def _no_way(
    host: str, other: str, overlays: Mapping[str, Overlay], lacking: Sequence[int], sizes: Sequence[int]
) -> str:
    """That packets of some sizes do not come from one host to another, and what to do about it."""
    way = f"from {other} ({overlays[other].local}) to {host} ({overlays[host].local})"
    if list(lacking) == list(sizes):
        return f"no packet comes {way}: a firewall between them has to let UDP port {PORT} pass"
    size = max(sizes) + HEADERS
    return f"packets of {size} bytes do not come {way}, and smaller ones do: something between has a smaller MTU"
