"""What an agent does with deployments on its machine for somebody on another one: one host of theirs, with its nodes.

A deployment is known by its id, and found again by it: after a lost connection the next agent goes on with what the
last one made. What takes time until it is ended from the other side (telemetry, a time without emptied caches) goes by
a name that the other side gives it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

from . import (
    caches,
    carrying,
    cgroup,
    cgroups,
    facts,
    lease,
    needing,
    overlay,
    power,
    promised,
    remains,
    standing,
    teardown,
)
from .conversation import Call, Conversation, Lost
from .deployment import Deployment
from .journal import Journal
from .parts import HostFigures, NodeFile, NodeRequest, Overlay
from .process import alive, environment, marked
from .relay import Relay, Wanted

_HOST = 1
"""What this machine is called among the hosts of its own deployment: it has no other."""
_MOST_LOG_BYTES = 4 << 20
"""What is told of a log at once, at most."""


class Serving:
    """The deployments that this agent has to do with. `place` is where this package was unpacked."""

    def __init__(self, conversation: Conversation, place: str, reached: str) -> None:
        self._conversation, self._place, self._reached = conversation, place, reached
        self._known: dict[str, Deployment] = {}
        self._kept: dict[str, contextlib.ExitStack] = {}
        self._relays: dict[str, Relay] = {}
        self._ears: dict[str, overlay.Ear] = {}
        self._mine = threading.Lock()

    def close(self) -> None:
        """Let go of what was begun and not ended: who wanted it is gone."""
        for relay in self._relays.values():
            relay.close()
        for held in list(self._kept.values()):
            held.close()

    def do(self, call: Call) -> Any:
        """Do what a request asks for. Raises ValueError if that is nothing known, and what doing it does."""
        if call.what in _WITH_CALL:
            return getattr(self, f"do_{call.what}")(call, **call.given)
        method: Callable[..., Any] | None = getattr(self, f"do_{call.what}", None)
        if not call.what or method is None:
            raise ValueError(f"this agent does not know how to {call.what!r}")
        return method(**call.given)

    def _of(self, deployment: str) -> Deployment:
        """A deployment, as it is now; ValueError if it is not there (any more)."""
        journal = Journal(deployment)
        with self._mine:
            known = self._known.get(deployment)
            if known is None:
                known = standing.load(journal, cgroups.probe())
                if known is None:
                    raise ValueError(f"there is no deployment {deployment}")
                self._known[deployment] = known
        if not journal.directory.exists():
            raise ValueError(f"the deployment {deployment} is gone")
        lease.reached(journal)
        return known

    # The machine

    def do_whereabouts(self) -> dict[str, Any]:
        """Where the programs of this package are, and the addresses of this machine, that by which it was reached
        first: (address, interface, its MTU, its rate in bit/s or None)."""
        words = self._reached.split()
        return {"place": self._place, "addresses": overlay.addresses(words[2] if len(words) > 2 else "")}

    def do_alive(self, deployments: Sequence[str]) -> None:
        """Somebody still has to do with these."""
        for deployment in deployments:
            lease.reached(Journal(deployment))

    def do_unpack(self, name: str, data: str, last: bool) -> bool:
        """Take in a part of an archive of programs, named by its digest; whether all of it is there with the last one.
        Without data it is asked whether it is there."""
        return needing.unpack(name, base64.b64decode(data), last)

    def do_run(
        self,
        call: Call,
        argv: Sequence[str],
        deployment: str = "",
        node: str = "",
        env: Mapping[str, str] | None = None,
        stdin: str | None = "",
        fabric: bool = False,
    ) -> int | None:
        """Run a program: on this machine, in a node of a deployment, or on its switch; see `carrying`."""
        if call.timeout_s is None and not deployment:
            raise ValueError("a program needs a deadline, timeout_s")
        if not deployment:
            return carrying.carry_out(call, argv, env if env is not None else environment(), stdin)
        found = self._of(deployment)
        env = env if env is not None else environment(found.id, {"PLIANT_NODE": node})
        env = {**env, "PLIANT_ID": found.id, "PLIANT_FAR": self._relay(deployment)}
        wrapped = found.in_fabric(argv) if fabric else [found.enter, node, *argv]
        return carrying.carry_out(call, wrapped, env, stdin)

    def _relay(self, deployment: str) -> str:
        """Where programs of a deployment can have others run in nodes of other hosts."""
        with self._mine:
            if deployment not in self._relays:
                path = str(Journal(deployment).directory / f"far-{os.getpid()}")
                self._relays[deployment] = Relay(path, lambda wanted: self._elsewhere(deployment, wanted))
            return self._relays[deployment].path

    def _elsewhere(self, deployment: str, wanted: Wanted) -> int:
        """Have a program run in a node of another host, by who has to do with all of them."""
        given = {"deployment": deployment, "node": wanted.place, "argv": wanted.argv, "env": wanted.env}
        try:
            asked = self._conversation.ask("elsewhere", None, given)
        except Lost:
            return carrying.LOST
        return carrying.connect(asked, *wanted.descriptors, wanted.inputs)

    # A deployment

    def do_create(
        self,
        deployment: str,
        title: str,
        figures: Mapping[str, Any] | None,
        modules: Sequence[str],
        lease_s: float,
        overlaid: Mapping[str, Any] | None = None,
        stands: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down a deployment of which nothing is made yet. Without figures this machine is a host as it is; one
        that `stands` (`standing.Standing`'s attributes) is itself the node.

        Raises ValueError if others have been promised what it needs, FileExistsError if there is one of that id.
        """
        machine = facts.look()
        own = HostFigures(**figures) if figures else HostFigures(machine.cores, 0.0, 0.0, machine.memory_bytes)
        groups = cgroups.probe()
        facts.load_filesystems(tuple(modules))
        with _one_at_a_time():
            _need_room(deployment, own, machine)
            journal = Journal.create_as(deployment, title)
            promise = {"cores": own.cores, "memory_bytes": own.memory_bytes, "disk_bytes": 0}
            journal.write(promised.PROMISE, promise)
        try:
            lease.begin(journal, lease_s)
            made = Deployment(journal, groups, own) if stands is None else standing.new(journal, groups, own, **stands)
            made.overlay = None if overlaid is None else Overlay(**overlaid)
            self._known[deployment] = made
        except BaseException:
            self.do_remove(deployment)
            raise

    def do_up(self, deployment: str, requests: Sequence[Mapping[str, Any]], programs: Sequence[str]) -> list[Any]:
        """Make its host and nodes, which see these programs wherever they lie; see `making`. The nodes, as records."""
        found = self._known.get(deployment)
        if found is None:
            raise ValueError(f"the agent that began {deployment} is gone")
        nodes = [_request(each) for each in requests]
        found.up(nodes, {node.name: _HOST for node in nodes}, _HOST, needing.visible(programs))
        owner = found.journal.owner()
        found.journal.own(owner.title if owner else "?", keep=True)  # it outlives this agent
        return [asdict(node) for node in found.nodes.values()]

    def do_renew(self, deployment: str, requests: Sequence[Mapping[str, Any]], programs: Sequence[str]) -> Any:
        """Make its nodes anew: the nodes, and what is gone of those before."""
        found = self._of(deployment)
        gone = found.renew([_request(each) for each in requests], needing.visible(programs))
        return [[asdict(node) for node in found.nodes.values()], asdict(gone)]

    def do_remove(self, deployment: str) -> None:
        """Remove all of it; one that is not there is fine."""
        journal = Journal(deployment)
        guard = lease.guard_of(journal) if journal.directory.exists() else None
        with self._mine:
            found, relay = self._known.pop(deployment, None), self._relays.pop(deployment, None)
        if relay is not None:
            relay.close()
        if found is not None:
            found.remove()
        else:
            teardown.remove(journal, cgroups.probe())
        lease.end(guard)

    def do_traces(self, deployment: str) -> dict[str, Any]:
        """What there is of it now, to be looked for once it is removed."""
        return remains.Traces.of(self._of(deployment)).to_json()

    def do_left(self, traces: Mapping[str, Any]) -> list[str]:
        """What is left of a deployment that was removed, in words."""
        return remains.left(remains.Traces.from_json(traces), cgroups.probe())

    def do_hear(self, deployment: str) -> int:
        """Take in packets on its switch from now on, under a name; see `overlay`."""
        found = self._of(deployment)
        ear = overlay.Ear(found.fabric_pid, found.overlay.switch if found.overlay else "")
        self._keep(f"ear {deployment}").callback(ear.close)
        self._ears[deployment] = ear
        return ear.port

    def do_call_out(self, deployment: str, to: Mapping[str, int], sizes: Sequence[int]) -> None:
        """Send packets of these sizes from its switch to others', address -> port."""
        self._ear(deployment).send(to, sizes)

    def do_heard(self, deployment: str) -> list[Any]:
        """(address, size) of what has come, and take in no more."""
        heard = self._ear(deployment).heard()
        self.do_let_go(f"ear {deployment}")
        del self._ears[deployment]
        return sorted(heard)

    def _ear(self, deployment: str) -> overlay.Ear:
        if deployment not in self._ears:
            raise ValueError(f"the agent that listened on the switch of {deployment} is gone")
        return self._ears[deployment]

    def do_limit(self, deployment: str, on: Sequence[str]) -> None:
        """Switch the limits that are named on, and the others off."""
        self._of(deployment).limit(on)

    def do_state(self, deployment: str) -> dict[str, Any]:
        """Which of its nodes are down or cut off, as others may have changed it, and whether each lives."""
        found = self._of(deployment)
        found.refresh()
        lives = {name: alive(node.pid) for name, node in found.nodes.items()}
        return {"down": sorted(found.down), "cut": sorted(found.cut), "alive": lives}

    def do_power(self, deployment: str, node: str, how: str) -> None:
        """`crash`, `shut_down`, `switch_on`, `block` or `unblock` a node; see `power`."""
        found = self._of(deployment)
        if isinstance(found, standing.Standing):
            raise ValueError(f"{node} is this machine itself, and not switched")
        _POWER[how](found, node)

    def do_daemon(self, call: Call, deployment: str, node: str, argv: Sequence[str], log: str) -> int | None:
        """Start a program in a node that goes on whoever listens, and tell how it ended; None if nobody waits."""
        found = self._of(deployment)
        child = found.popen(node, argv, Path(found.nodes[node].logs, f"{log}.log"))
        call.say(pid=child.pid)
        while not call.cancelled.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(_POLL_S)
        return None

    def do_end_marked(self, variable: str, value: str) -> None:
        """Kill what runs with this variable of the environment set to that."""
        cgroup.kill(marked(variable, value))

    # Looking at it

    def do_telemetry(self, deployment: str, name: str) -> None:
        """Begin to sample, under a name."""
        found = self._of(deployment)
        out = found.journal.directory / f"telemetry-{name}"
        with contextlib.suppress(FileNotFoundError):  # of an agent that is gone; the sampler went with it
            out.unlink()
        self._keep(name).enter_context(found.telemetry(out))

    def do_telemetry_end(self, deployment: str, name: str) -> str:
        """End it, and tell what was sampled."""
        out = self._of(deployment).journal.directory / f"telemetry-{name}"
        self.do_let_go(name)
        try:
            return out.read_text()
        finally:
            out.unlink()

    def do_counts(self, deployment: str) -> dict[str, Any]:
        """CPU seconds that the host has used, and when that was; those of each node; for how long its CPUs were
        withheld; and how many processes of each node were killed as its memory ran out."""
        found = self._of(deployment)
        ((at_s, cpu_s),) = found.host_cpu_at().values()
        return {
            "at_s": at_s,
            "cpu_s": cpu_s,
            "node_cpu_s": found.node_cpu_s(),
            "withheld_s": found.withheld_s(),
            "out_of_memory": found.out_of_memory(),
        }

    def do_logs(
        self, deployment: str, nodes: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[int]]
    ) -> list[Any]:
        """What log files of nodes have gained: (node, path here, size, begin, BASE64 of it). `nodes` has the paths that
        they write to, `known` how much of each file is known, and its inode, by its path here."""
        found = self._of(deployment)
        said = []
        for node, written in nodes.items():
            for path in found.log_files(node, written):
                with contextlib.suppress(OSError), path.open("rb") as file:
                    about = os.fstat(file.fileno())
                    size, inode = known.get(str(path), (0, about.st_ino))
                    begin = size if inode == about.st_ino and size <= about.st_size else 0
                    begin = max(begin, about.st_size - _MOST_LOG_BYTES)
                    file.seek(begin)
                    data = file.read(about.st_size - begin)
                    if data or str(path) not in known:
                        text = base64.b64encode(data).decode()
                        said.append([node, str(path), about.st_ino, begin, about.st_mtime, text])
        return said

    # The page cache

    def do_drop_caches(self, patience_s: float) -> None:
        """Write back and empty it."""
        caches.drop(patience_s)

    def do_undisturbed(self, name: str, patience_s: float) -> None:
        """Let nobody empty it from now on, under a name."""
        self._keep(name).enter_context(caches.undisturbed(patience_s))

    def do_let_go(self, name: str) -> None:
        """End what goes by that name."""
        with self._mine:
            held = self._kept.pop(name, None)
        if held is not None:
            held.close()

    def _keep(self, name: str) -> contextlib.ExitStack:
        with self._mine:
            return self._kept.setdefault(name, contextlib.ExitStack())


_WITH_CALL = ("run", "daemon")
_POLL_S = 0.25
_POWER: Mapping[str, Callable[[Deployment, str], None]] = {
    "crash": power.crash,
    "shut_down": power.shut_down,
    "switch_on": power.switch_on,
    "block": power.block,
    "unblock": power.unblock,
}


def _request(record: Mapping[str, Any]) -> NodeRequest:
    """A request for a node that came as plain values."""
    files = tuple(NodeFile(**file) for file in record["files"])
    links = tuple((path, target) for path, target in record["links"])
    lists = {name: tuple(record[name]) for name in ("private", "modules", "disk_options")}
    return NodeRequest(**{**record, **lists, "files": files, "links": links})


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A time in which no other agent makes promises on this machine. The lock is that of agents' own directory: that of
    STATE is the page cache's, and held for as long as somebody measures."""
    os.makedirs(needing.kits(), mode=0o700, exist_ok=True)
    descriptor = os.open(needing.kits(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _need_room(deployment: str, own: HostFigures, machine: facts.Facts) -> None:
    """ValueError if deployments of others on this machine leave too little for one more host."""
    family = deployment.partition("-")[0]
    others = [each for each in promised.running() if each.id.partition("-")[0] != family]
    promises = [content for each in others if (content := each.read(promised.PROMISE))]
    cores = machine.cores - sum(each["cores"] for each in promises)
    memory = machine.memory_bytes - sum(each["memory_bytes"] for each in promises)
    if promises and (own.cores > cores + 1e-9 or own.memory_bytes > memory):
        families = list(dict.fromkeys(each.id.partition("-")[0] for each in others))
        names = ", ".join([*families[:3], *([f"{len(families) - 3} more"] if families[3:] else [])])
        raise ValueError(f"it carries {names} already, which leaves too little: `pliant ps --host` shows what that is")
