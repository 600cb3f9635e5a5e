"""A deployment: emulated hosts and their nodes on this machine, from nothing to running, refolded, and gone.

Made in the order: journal, control groups, fabric, disks, nodes. `teardown.remove` undoes all of it from the journal.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from . import cgroup, cpus, disks, diskshare, launch, metronome, network, sampler, sampling, teardown, view
from .journal import Journal
from .parts import HostFigures, LiveNode, NodeFile, NodeRequest
from .process import CommandFailed, Completed, Watch, alive, environment, run
from .promised import PROMISE, promised, promised_cpus
from .together import Job, Together, run_together

DISK_RATE = 0.985
"""What the kernel is told of a disk's rate: when a disk has been idle, it lets a tenth of a second's worth pass at once
(a slice, block/blk-throttle.c). So what takes 1.5 s is 5 % too fast, 7 s exact, and longer 1.5 % too slow at the
most."""

__all__ = ["Deployment", "HostFigures", "LiveNode", "NodeFile", "NodeRequest"]

_OUTLIVING: list[subprocess.Popen[bytes]] = []
"""Daemons that were started in a deployment of another process, and go on after this one: Python warns of a process
that is forgotten while it runs."""

LIMITS = ("cpu", "nic", "disk")
"""What is limited on a host while a trial is measured. Its memory is limited always."""


class Deployment:
    """Hosts and nodes on this machine. What is done to it once it is up may be done by several threads and processes
    at the same time; what changes it waits for what else does."""

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
        self._children: list[subprocess.Popen[bytes]] = []
        self._own = True
        self._mine = threading.RLock()
        self._changes = 0

    # Making it

    def up(
        self, requests: Sequence[NodeRequest], placement: Mapping[str, int], hosts: int, visible: Sequence[str]
    ) -> None:
        """Make everything: `placement` maps each node to its host, 1 to `hosts`. Limits on CPU, NIC and disk are off.

        `visible` are files and directories that nodes must see at the same path. Raises CommandFailed, OSError.
        """
        self.hosts = hosts
        self._deal()
        promise = {
            "cores": self.figures.cores * hosts,
            "memory_bytes": self.figures.memory_bytes * hosts,
            "disk_bytes": sum(request.disk_bytes for request in requests),
            "cpus": cpus.loaded(self.kept_on, self.figures.cores, {}),
        }
        self.journal.write(PROMISE, promise)
        self.journal.note(make="cgroup", group=self.group)
        self.cgroups.make(self.group)
        self._spare_others()
        for group in ("/base", *(f"/host-{host}" for host in range(1, hosts + 1))):
            self.cgroups.make(self.group + group)
        for host in range(1, hosts + 1):
            self.cgroups.limit_memory(f"{self.group}/host-{host}", self.figures.memory_bytes)
        for request in requests:
            self.cgroups.make(self._node_group(request.name, placement[request.name]))
        self._write_enter()
        self._make_fabric()
        self._make_nodes(requests, placement, visible)
        self.placed = dict(placement)
        self._start_diskshare()
        self._start_metronome()
        self._save()

    def _make_nodes(
        self, requests: Sequence[NodeRequest], placement: Mapping[str, int], visible: Sequence[str]
    ) -> None:
        """Make nodes and their disks, in control groups that are there."""
        sizes = {r.name: r.disk_bytes for r in requests if r.disk}
        devices = disks.make(self.journal, sizes, self.figures.memory_bytes)
        self._launch(self._specs(requests, placement, devices, visible))

    def renew(self, requests: Sequence[NodeRequest], visible: Sequence[str]) -> teardown.Gone:
        """Remove the nodes with all that runs in them and that they wrote, and make them anew, where they are now.

        Hosts, their limits and their network stay. Raises TeardownError, CommandFailed.
        """
        with self.changing():
            # Nothing divides the bandwidth of disks that are going.
            nodes, self.nodes = self.nodes, {}
            self._write_diskshare()
            hosts = [f"{self.group}/host-{host}" for host in range(1, self.hosts + 1)]
            try:
                gone = teardown.remove_nodes(self.journal, self.cgroups, hosts, [node.pid for node in nodes.values()])
            except BaseException:  # who looks at it finds dead nodes, whose disks are nobody's any more
                self.nodes = {name: replace(node, device=None, disk=None) for name, node in nodes.items()}
                raise
            self.down = self.cut = frozenset()
            self._make_nodes(requests, self.placed, visible)
            self._write_diskshare()
        return gone

    def _deal(self) -> None:
        """Choose the CPUs of each host. They stay the same, whoever comes and goes beside."""
        self.kept_on = cpus.dealt(self.hosts, self.figures.cores, promised_cpus(apart_from=self.id))
        self._dealt = self.figures.cores

    def _spare_others(self) -> None:
        """While other deployments are up, this one gets what the machine has beside what those were promised.

        Its hosts have no limits while it deploys or cleans up; without any, others' trials would not get their CPU.
        """
        taken = [content["cores"] for content in promised(apart_from=self.id)]
        own = self.figures.cores * self.hosts
        left = max(own, len(os.sched_getaffinity(0)) - sum(taken))
        self.cgroups.limit_cpu(self.group, left if taken else None)

    def _write_enter(self) -> None:
        """The program that runs a command inside a node; MPI's launchers call it as they would call ssh."""
        script = self.journal.directory / "enter"
        script.write_text(
            "#!/bin/sh\n"
            "# enter [-x] NODE COMMAND...: join the node's control groups and namespaces, and run the command there.\n"
            "# With -x the command is words for a shell, as ssh takes it: that is how MPI's launchers call it.\n"
            "# A refold at the same moment removes the groups that it is about to join: then there are new ones.\n"
            "# A node that loses its power meanwhile is seen only after joining: who is in by then is killed. One\n"
            "# that is down has no groups to join: who waited until it is on would be in it, and in none of them.\n"
            'words=""; [ "$1" = -x ] && { words=y; shift; }\n'
            f'name=$1 node="{self.journal.directory}/enter.d/$1"; shift\n'
            '[ -n "$words" ] && set -- /bin/sh -c "exec $*"\n'
            'refuse() { echo "$name is down" >&2; exit 255; }\n'
            'join() { read -r pid && [ "$pid" != down ] && '
            'while read -r file; do echo $$ > "$file" || return 1; done; }\n'
            "pid= tries=0\n"
            'until join < "$node" 2> /dev/null\n'
            'do [ "$pid" != down ] || refuse; tries=$((tries+1)); '
            '[ "$tries" -lt 200 ] || { join < "$node"; exit 255; }; done\n'
            'read -r pid < "$node" && [ "$pid" != down ] || refuse\n'
            'exec nsenter --target "$pid" --mount --uts --ipc --net --pid --root --wd -- "$@"\n'
        )
        script.chmod(0o700)

    def _make_fabric(self) -> None:
        """A process that holds the fabric's network namespace, and the switch and the bridges in it.

        The namespace has no name on purpose: it cannot outlive the process, whatever happens.
        """
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        holder = self._start(
            [*join, "unshare", "--net", "--", "/bin/sleep", "infinity"], Path("/dev/null"), environment(self.id)
        )
        self.fabric_pid = holder.pid
        own = Path("/proc/self/ns/net").readlink()
        until = time.monotonic() + 10
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == own:
            if time.monotonic() > until or holder.poll() is not None:
                raise CommandFailed(["unshare", "--net"], holder.poll(), "", "cannot make a network namespace")
            time.sleep(0.001)
        inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]
        for file, value in network.SETTINGS.items():
            if Path(file).exists():  # a kernel without IPv6 has no need for it
                run([*inside, "tee", file], timeout_s=10, stdin=value, env=environment(self.id)).check()
        self._ip(network.fabric(self.hosts))

    def _joining(self, files: Sequence[str]) -> list[str]:
        """The beginning of a command line that enters control groups before the command runs."""
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 255; shift; n=$((n-1)); done; exec "$@"'
        return ["/bin/sh", "-c", script, "join", str(len(files)), *files]

    def _batch(self, program: str, lines: Sequence[str]) -> None:
        """Run lines of `ip` or `tc` in the fabric, in one process."""
        argv = ["nsenter", f"--net=/proc/{self.fabric_pid}/ns/net", "--", program, "-batch", "-"]
        run(argv, timeout_s=120, stdin="\n".join(lines) + "\n", env=environment(self.id)).check()

    def _ip(self, lines: Sequence[str]) -> None:
        self._batch("ip", lines)

    def _specs(
        self,
        requests: Sequence[NodeRequest],
        placement: Mapping[str, int],
        devices: Mapping[str, str],
        visible: Sequence[str],
    ) -> dict[str, launch.NodeSpec]:
        """What the launcher has to know of each node."""
        mountinfo = Path("/proc/self/mountinfo").read_text()
        shown = view.to_show(visible, mountinfo)
        # In a container single files are mounts as well: /etc/resolv.conf.
        layers = tuple(layer for layer in view.layers(mountinfo) if Path(layer).is_dir())
        specs = {}
        for number, request in enumerate(requests, 1):
            device = devices.get(request.name)
            specs[request.name] = launch.NodeSpec(
                name=request.name,
                number=number,
                address=request.address,
                prefix=network.PREFIX,
                link=network.link(number),
                bridge=network.bridge(placement[request.name]),
                directory=f"{self.journal.directory}/nodes/{request.name}",
                cgroups=tuple(self.cgroups.join_files(self._node_group(request.name, placement[request.name]))),
                layers=layers,
                hidden=view.HIDDEN,
                private=request.private,
                visible=shown,
                files=tuple(asdict(file) for file in request.files),
                disk={"device": device, "target": request.disk, "kind": disks.KIND}
                if device and request.disk
                else None,
            )
        return specs

    def _launch(self, specs: Mapping[str, launch.NodeSpec]) -> None:
        """Make the nodes, all in one run of the launcher, and remember them."""
        base = self.journal.directory
        self.journal.note(make="nodes", names=list(specs))
        for name in ("nodes", "logs", "enter.d", "scratch"):
            (base / name).mkdir()
        hosts = "".join(f"{spec.address} {spec.name}\n" for spec in specs.values())
        work = {
            "fabric_pid": self.fabric_pid,
            "scratch": f"{base}/scratch",
            "files": {"/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{hosts}"},
            "links": {"/etc/hostname": "/proc/sys/kernel/hostname"},
            "nodes": [asdict(spec) for spec in specs.values()],
        }
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        argv = [*join, sys.executable, "-I", "-S", launch.__file__]
        env = environment(self.id)
        done = run(argv, timeout_s=60 + len(specs), stdin=json.dumps(work), env=env, shown=["launch.py"]).check()
        for line in map(json.loads, done.stdout.splitlines()):
            if "error" in line:
                raise CommandFailed(["launch.py"], 1, "", line["error"], line["node"])
            spec = specs[line["node"]]
            logs = f"{base}/logs/{spec.name}"
            device, disk = (spec.disk["device"], spec.disk["target"]) if spec.disk else (None, None)
            self.nodes[spec.name] = LiveNode(spec.name, spec.number, spec.address, line["pid"], device, logs, disk)
            self._write_join(spec.name, spec.cgroups)
        if missing := set(specs) - set(self.nodes):
            raise CommandFailed(
                ["launch.py"], 1, done.stdout, done.stderr or f"no word of {', '.join(sorted(missing))}"
            )
        self.nodes = {name: self.nodes[name] for name in specs}

    def _node_group(self, node: str, host: int) -> str:
        """The control group of a node on a host. There is one only where the node is."""
        return f"{self.group}/host-{host}/{node}"

    def _write_join(self, node: str, files: Sequence[str]) -> None:
        """What `enter` has to know of a node: the PID of its init, and the files by which its groups are joined."""
        lines = ["down"] if node in self.down else [str(self.nodes[node].pid), *files]
        target = self.journal.directory / "enter.d" / node
        temporary = target.with_name(f".{node}")
        temporary.write_text("\n".join([*lines, ""]))
        temporary.replace(target)

    def _start_diskshare(self) -> None:
        """Start the program that divides each host's disk bandwidth; see `diskshare`."""
        self._write_diskshare()
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        program = [sys.executable, "-I", "-S", diskshare.__file__]
        argv = [*join, *program, str(self.journal.directory / "diskshare.json")]
        self._start(argv, self.journal.directory / "diskshare.log", environment(self.id))

    def _start_metronome(self) -> None:
        """Start the program that makes the turns of processes short while CPU is limited; see `metronome`."""
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        program = [sys.executable, "-I", "-S", metronome.__file__, self.cgroups.realtime_file(), str(self._beat)]
        own = sorted({cpu for each in self.kept_on for cpu in each})
        log = self.journal.directory / "metronome.log"
        self._start([*join, *program, *map(str, own)], log, environment(self.id))

    @property
    def _beat(self) -> Path:
        """The file that is there while the metronome is to beat."""
        return self.journal.directory / "beat"

    def withheld_s(self) -> dict[int, float]:
        """For how long each CPU that hosts are kept on was withheld from them while it was limited, as far as the
        metronome tells; empty where there is none."""
        own = {cpu: Path(f"{self._beat}-{cpu}") for kept in self.kept_on for cpu in kept}
        return {cpu: int(file.read_text() or 0) / 1e9 for cpu, file in sorted(own.items()) if file.exists()}

    def _write_diskshare(self) -> None:
        rate = self.figures.disk_byte_s * DISK_RATE if "disk" in self.limits else None
        hosts: dict[int, list[str]] = {}
        for node in self.nodes.values():
            if node.device:
                hosts.setdefault(self.placed.get(node.name, 1), []).append(disks.number(node.device))
        content = []
        for host, found in hosts.items():
            limits = {kind: asdict(how) for kind, how in self.cgroups.disk_limits(f"{self.group}/host-{host}").items()}
            content.append({"rate": rate, "disks": found, "limits": limits})
        self.journal.write("diskshare.json", {"hosts": content})

    # Changing it

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """A time in which nobody else changes the deployment; what others did before is known in it, and what was
        done in it is written down at its end."""
        with self._mine, contextlib.ExitStack() as held:
            if not self._changes:
                held.enter_context(self.journal.locked("change"))
                self._restore(self.journal.read("deployment.json"))
            self._changes += 1
            try:
                yield
            finally:
                self._changes -= 1
                if not self._changes:
                    self._save()

    def refresh(self) -> None:
        """Take notice of what others changed."""
        with self._mine:
            content = None if self._changes else self.journal.read("deployment.json")
            if content is not None:
                self._restore(content)

    def refold(self, placement: Mapping[str, int]) -> None:
        """Put each node on the host that `placement` names (1 to the number of hosts), live: nothing in it restarts.

        Links move to the host's bridge, processes to its control group, the disk to its share of the host's bandwidth.
        Memory that was charged to the former host stays charged there (cgroup v1 does not move it).
        """
        with self.changing():
            moved = {name: host for name, host in placement.items() if host != self.placed[name]}
            if moved:
                links = {self._link(name): host for name, host in moved.items()}
                off = {self._link(name) for name in self.cut | self.down}
                # At the same time: the one is a program that waits for the kernel, the other are files of the kernel.
                with ThreadPoolExecutor(1) as pool:
                    linked = pool.submit(self._ip, network.attach(links, self.hosts, off))
                    for name, host in moved.items():
                        self._move(name, host)
                    linked.result()
            self.placed = dict(placement)
            self._write_diskshare()

    def _link(self, node: str) -> str:
        """The fabric's end of a node's link."""
        return network.link(self.nodes[node].number)

    def switch(self, node: str, *, cut: bool | None = None, down: bool | None = None) -> None:
        """Say whether a node's link is cut and whether the node is down, and switch its link off or on accordingly."""
        with self.changing():
            for which, value in (("cut", cut), ("down", down)):
                if value is not None:
                    known = getattr(self, which)
                    setattr(self, which, known | {node} if value else known - {node})
            self._write_join(node, self.join_files(node))
            self._ip([f"link set {self._link(node)} {'down' if node in self.cut | self.down else 'up'}"])

    def join_files(self, node: str) -> list[str]:
        """The files into which a process writes its PID to enter a node's control groups, where it is now."""
        return self.cgroups.join_files(self.group_of(node))

    def out_of_memory(self) -> dict[str, int]:
        """How many processes of each node the kernel has killed as its host's memory ran out, since it is there."""
        return {node: self.cgroups.out_of_memory(self.group_of(node)) for node in self.nodes}

    def group_of(self, node: str) -> str:
        """A node's control group where it is now."""
        return self._node_group(node, self.placed[node])

    def _move(self, name: str, host: int) -> None:
        """Move a node's processes to its host's group. What it forks meanwhile is found in the next round."""
        old, new = self._node_group(name, self.placed[name]), self._node_group(name, host)
        self.cgroups.make(new)
        target = self.cgroups.join_files(new)
        self._write_join(name, target)
        until = time.monotonic() + 20
        while True:
            for pid in self.cgroups.pids(old):
                for file in target:
                    try:
                        Path(file).write_text(str(pid))
                    except OSError:
                        if alive(pid):
                            raise
            # Only an empty group can be removed; who was just entering it keeps it for another round.
            if self.cgroups.remove_now(old):
                return
            if time.monotonic() > until:
                raise CommandFailed(["refold"], 1, "", f"its processes do not leave host-{self.placed[name]}", name)

    @property
    def limited(self) -> bool:
        """Whether hosts are limited in any way but memory."""
        return bool(self.limits)

    def limit(self, on: bool | Collection[str]) -> None:
        """Switch all LIMITS on or off, or on those that are named and off the others. Memory is limited always.

        While CPU is limited each host stays on its CPUs; see `cpus`.
        """
        with self.changing():
            self.limits = frozenset((LIMITS if on else ()) if isinstance(on, bool) else on)
            self._spare_others()
            if self._dealt != self.figures.cores:
                self._deal()
            self._batch(
                "tc",
                network.limits(
                    range(1, self.hosts + 1),
                    self.figures.nic_bit_s if "nic" in self.limits else None,
                    self.figures.latency_s,
                ),
            )
            cores = self.figures.cores if "cpu" in self.limits else None
            self._beat.touch() if cores is not None else self._beat.unlink(missing_ok=True)
            # What runs beside takes the CPU that a host is kept on as well; the quotas leave enough for it.
            self.cgroups.go_first(self.group, cores is not None)
            everywhere = os.sched_getaffinity(0)
            for host, own in enumerate(self.kept_on, 1):
                self.cgroups.limit_cpu(f"{self.group}/host-{host}", cores)
                self.cgroups.confine(f"{self.group}/host-{host}", everywhere if cores is None else own)
            self._write_diskshare()

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
            "nodes": [asdict(node) for node in self.nodes.values()],
        }
        self.journal.write("deployment.json", content)

    @classmethod
    def load(cls, journal: Journal, cgroups: cgroup.Cgroups) -> Deployment | None:
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
        # What an older pliant deployed is kept nowhere.
        self.kept_on = [tuple(own) for own in content.get("kept_on") or [tuple(os.sched_getaffinity(0))] * self.hosts]
        self.nodes = {node["name"]: LiveNode(**node) for node in content["nodes"]}

    def remove(self) -> None:
        """Remove everything of it from the machine; raises TeardownError. Leaves no zombie in the calling process."""
        teardown.remove(self.journal, self.cgroups)
        for child in self._children:
            child.wait()
        self._children.clear()

    # Using it

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
        """The same command, run on the switch: outside every node and host, on an address of their network."""
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        return [*join, "nsenter", f"--net=/proc/{self.fabric_pid}/ns/net", "--", *argv]

    @contextlib.contextmanager
    def telemetry(self, out: Path) -> Iterator[None]:
        """Sample what hosts and nodes use until the end of the block, into a file for `pliant.telemetry`."""
        plan = sampling.plan(
            self.cgroups,
            self.group,
            hosts=self.hosts,
            placement=self.placed,
            links={node.name: node.number for node in self.nodes.values()},
            disks={node.name: disks.number(node.device) if node.device else None for node in self.nodes.values()},
            beats={host: {cpu: f"{self._beat}-{cpu}" for cpu in kept} for host, kept in enumerate(self.kept_on, 1)},
            out=str(out),
        )
        self.journal.write("sampler.json", plan)
        program = [sys.executable, "-I", "-S", sampler.__file__, str(self.journal.directory / "sampler.json")]
        log = self.journal.directory / "sampler.log"
        child = self._start(self.in_fabric(program), log, environment(self.id))
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

    def host_cpu_s(self) -> dict[str, float]:
        """CPU seconds that each host has used so far."""
        return {f"host{h}": self.cgroups.cpu_s(f"{self.group}/host-{h}") for h in range(1, self.hosts + 1)}

    def root(self, node: str) -> Path:
        """A node's root directory as the machine sees it, while the node is up."""
        return Path(f"/proc/{self.nodes[node].pid}/root")
