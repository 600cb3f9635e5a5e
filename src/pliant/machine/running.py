"""What there is of a deployment, written down and read again, and programs that run in its nodes and beside them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from . import cgroup, disks, needing, sampling, view
from .journal import Journal
from .parts import HostFigures, LiveNode, Overlay
from .process import CommandFailed, Completed, Watch, environment, run
from .together import Job, Together, run_together

Of = TypeVar("Of", bound="Running")

HOSTS = "hosts"
"""The file of a deployment that is /etc/hosts in its nodes and on its switch."""
_RENAME = (
    'echo "$1" > /proc/sys/kernel/hostname && if [ -e /etc/hosts ]; then mount --bind "$2" /etc/hosts; fi && '
    'shift 2 && exec "$@"'
)
_OUTLIVING: list[subprocess.Popen[bytes]] = []
"""Daemons that were started in a deployment of another process, and go on after this one: Python warns of a process
that is forgotten while it runs."""


class Running:
    """Hosts and nodes as they are, for whoever runs something in them or looks at them; `making` makes them."""

    def __init__(self, journal: Journal, cgroups: cgroup.Cgroups, figures: HostFigures) -> None:
        self.journal, self.cgroups, self.figures = journal, cgroups, figures
        self.id = journal.id
        self.group = f"pliant-{journal.id}"
        self.nodes: dict[str, LiveNode] = {}
        self.hosts = 0
        self.placed: dict[str, int] = {}
        self.kept_on: list[tuple[int, ...]] = []
        """The CPUs of each host, while CPU is limited."""
        self._dealt = figures.cores
        self.limits: frozenset[str] = frozenset()
        self.down: frozenset[str] = frozenset()
        """Nodes without power: nothing runs in them, and nothing can be run; see `power`."""
        self.cut: frozenset[str] = frozenset()
        """Nodes whose link is switched off although they run."""
        self.fabric_pid = 0
        self.overlay: Overlay | None = None
        """How its one host reaches others; None where all hosts are on this machine."""
        self._children: list[subprocess.Popen[bytes]] = []
        self._own = True
        self._mine = threading.RLock()
        self._changes = 0

    def _joining(self, files: Sequence[str]) -> list[str]:
        """The beginning of a command line that enters control groups before the command runs."""
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 255; shift; n=$((n-1)); done; exec "$@"'
        return ["/bin/sh", "-c", script, "join", str(len(files)), *files]

    def _host_group(self, host: int) -> str:
        """The control group of all that runs on a host."""
        return f"{self.group}/host-{host}"

    def _node_group(self, node: str, host: int) -> str:
        """The control group of a node on a host. There is one only where the node is."""
        return f"{self.group}/host-{host}/{node}"

    @property
    def _beat(self) -> Path:
        """The file that is there while the metronome is to beat."""
        return self.journal.directory / "beat"

    def withheld_s(self) -> dict[int, float]:
        """For how long each CPU that hosts are kept on was withheld from them while it was limited, as far as the
        metronome tells; empty where there is none."""
        own = {cpu: Path(f"{self._beat}-{cpu}") for kept in self.kept_on for cpu in kept}
        return {cpu: int(file.read_text() or 0) / 1e9 for cpu, file in sorted(own.items()) if file.exists()}

    def join_files(self, node: str) -> list[str]:
        """The files into which a process writes its PID to enter a node's control groups, where it is now."""
        return self.cgroups.join_files(self.group_of(node))

    def out_of_memory(self) -> dict[str, int]:
        """How many processes of each node the kernel has killed as its host's memory ran out, since it is there."""
        return {node: self.cgroups.out_of_memory(self.group_of(node)) for node in self.nodes}

    def group_of(self, node: str) -> str:
        """A node's control group where it is now."""
        return self._node_group(node, self.placed[node])

    @property
    def limited(self) -> bool:
        """Whether hosts are limited in any way but memory."""
        return bool(self.limits)

    def _save(self) -> None:
        """Write down what is up, for other commands (`ps`, `exec`)."""
        content = {
            "figures": asdict(self.figures),
            "hosts": self.hosts,
            "placed": self.placed,
            "kept_on": self.kept_on,
            "limits": sorted(self.limits),
            "down": sorted(self.down),
            "cut": sorted(self.cut),
            "fabric_pid": self.fabric_pid,
            "overlay": asdict(self.overlay) if self.overlay else None,
            "nodes": [asdict(node) for node in self.nodes.values()],
        }
        self.journal.write("deployment.json", content)

    @classmethod
    def load(cls: type[Of], journal: Journal, cgroups: cgroup.Cgroups) -> Of | None:
        """A deployment that another process made; None if it was never completely up."""
        content = journal.read("deployment.json")
        if content is None:
            return None
        deployment = cls(journal, cgroups, HostFigures(**content["figures"]))
        deployment._restore(content)
        deployment._own = False
        return deployment

    def _restore(self, content: Mapping[str, Any]) -> None:
        """Take over what is written down."""
        self.hosts, self.placed, self.fabric_pid = content["hosts"], content["placed"], content["fabric_pid"]
        self.limits, self.down, self.cut = (frozenset(content.get(name, ())) for name in ("limits", "down", "cut"))
        self.overlay = Overlay(**content["overlay"]) if content.get("overlay") else None
        # What an older pliant deployed is kept nowhere.
        self.kept_on = [tuple(own) for own in content.get("kept_on") or [tuple(os.sched_getaffinity(0))] * self.hosts]
        self.nodes = {node["name"]: LiveNode(**node) for node in content["nodes"]}

    @property
    def enter(self) -> str:
        """Path of the program that runs a command in a node: `enter NODE COMMAND...`."""
        return str(self.journal.directory / "enter")

    def execute(self, node: str, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        """Run a command in a node as root; raises CommandFailed at the deadline."""
        wrapped = [self.enter, node, *argv]
        return run(wrapped, timeout_s=timeout_s, stdin=stdin, env=self._environment(node), where=node, shown=argv)

    def together(
        self,
        runs: Mapping[str, Sequence[str]],
        *,
        timeout_s: float,
        stdin: str = "",
        extra: Mapping[str, str],
        watch: Watch | None = None,
    ) -> Together:
        """Run a command in each of several nodes, all from the same moment on; `extra` goes into their environment.

        Raises CommandFailed for the first that fails or does not end in time or before `watch` has enough.
        """
        jobs = {node: Job((self.enter, node), tuple(argv)) for node, argv in runs.items()}
        env = environment(self.id, extra)
        return run_together(jobs, timeout_s=timeout_s, env=env, stdin=stdin, watch=watch)

    def popen(self, node: str, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command in a node and leave it running, its output appended to a file of the machine."""
        return self._start([self.enter, node, *argv], log, self._environment(node))

    def _start(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program that runs until it is killed or ends, and remember it, so that `remove` can wait for it."""
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as file:
            child = subprocess.Popen(
                list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env, start_new_session=True
            )
        (self._children if self._own else _OUTLIVING).append(child)
        return child

    def _environment(self, node: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return environment(self.id, {"PLIANT_NODE": node, **(extra or {})})

    def start(
        self, node: str, argv: Sequence[str], extra: Mapping[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start a command in a node in a session of its own, its streams as in `subprocess.Popen`; the caller waits
        for it and ends it. `extra` is added to its environment."""
        env = self._environment(node, extra)
        return subprocess.Popen([self.enter, node, *argv], env=env, start_new_session=True, **streams)

    def in_fabric(self, argv: Sequence[str]) -> list[str]:
        """The same command, run on the switch: outside every node and host, on an address of their network.

        There it has a host name of its own and the nodes' /etc/hosts. Were the machine called as a node is, or its
        /etc/hosts gave it a node's name, MPI would take that node for the machine, and start its ranks right here.
        """
        own = ["unshare", "--uts", "--mount", "--propagation", "slave", "--", "/bin/sh", "-c", _RENAME, "fabric"]
        return [*self._on_switch(), *own, self.group, str(self.journal.directory / HOSTS), *argv]

    def _on_switch(self) -> list[str]:
        """The beginning of a command line that enters the fabric's group and network before the command runs."""
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        return [*join, "nsenter", f"--net=/proc/{self.fabric_pid}/ns/net", "--"]

    def _plan(self, out: Path) -> dict[str, Any]:
        """What is to be sampled, into a file."""
        inside = self._inside_files()
        return sampling.plan(
            self.cgroups,
            self.group,
            hosts=self.hosts,
            placement=self.placed,
            links={node.name: node.number for node in self.nodes.values()},
            disks={
                node.name: disks.number(node.device) if node.device and node.name not in inside else None
                for node in self.nodes.values()
            },
            beats={host: {cpu: f"{self._beat}-{cpu}" for cpu in kept} for host, kept in enumerate(self.kept_on, 1)},
            lost=self._lost_files(),
            inside=inside,
            out=str(out),
        )

    def _lost_files(self) -> dict[str, str]:
        """The files that say what nodes' own kernels lost; of nodes that share the machine's there is none."""
        return {}

    def _inside_files(self) -> dict[str, dict[str, Any]]:
        """Where nodes' own kernels tell what they count; see `window`."""
        return {}

    @contextlib.contextmanager
    def telemetry(self, out: Path) -> Iterator[None]:
        """Sample what hosts and nodes use until the end of the block, into a file for `pliant.telemetry`."""
        self.journal.write("sampler.json", self._plan(out))
        program = [*needing.own("sampler"), str(self.journal.directory / "sampler.json")]
        log = self.journal.directory / "sampler.log"
        child = self._start([*self._on_switch(), *program], log, environment(self.id))
        try:
            until = time.monotonic() + 20
            while not (out.exists() and out.stat().st_size):
                if time.monotonic() > until or child.poll() is not None:
                    said = log.read_text()
                    raise CommandFailed(["sampler.py"], child.poll(), "", said or "telemetry did not begin")
                time.sleep(0.005)
            yield
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            self._children.remove(child)

    def call_s(self) -> float:
        """The seconds that a system call takes in a node with a kernel of its own; 0 where there is none."""
        return 0.0

    def host_cpu_s(self) -> dict[str, float]:
        """CPU seconds that each host has used so far."""
        return {f"host{h}": self.cgroups.cpu_s(self._host_group(h)) for h in range(1, self.hosts + 1)}

    def node_cpu_s(self) -> dict[str, float]:
        """CPU seconds that each node has used since it is where it is: its programs, its own kernel if it has one."""
        return {node: self.cgroups.cpu_s(self.group_of(node)) for node in self.nodes}

    def host_cpu_at(self) -> dict[str, tuple[float, float]]:
        """The same, each with the moment of CLOCK_MONOTONIC at which it was so."""
        numbers = range(1, self.hosts + 1)
        return {f"host{h}": (time.monotonic(), self.cgroups.cpu_s(self._host_group(h))) for h in numbers}

    def log_files(self, node: str, written: Sequence[str]) -> Iterator[Path]:
        """A node's log files: what pliant keeps of its daemons, and what is in its own files and directories."""
        return view.log_files(self.journal.directory, node, self.nodes[node].logs, written)

    def root(self, node: str) -> Path:
        """A node's root directory as the machine sees it, while the node is up."""
        return Path(f"/proc/{self.nodes[node].pid}/root")
