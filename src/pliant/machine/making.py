"""From nothing to running nodes: control groups, fabric, disks, nodes, and the programs that serve hosts."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import cpus, disks, launch, needing, network, view, window
from .instances import ROOT_BYTES, Instances
from .parts import MACHINE, SHARED, LiveNode, NodeRequest
from .process import CommandFailed, environment, run
from .promised import PROMISE, promised, promised_cpus
from .running import HOSTS

DISK_RATE = 0.985
"""What the kernel is told of a disk's rate: when a disk has been idle, it lets a tenth of a second's worth pass at once
(a slice, block/blk-throttle.c). So what takes 1.5 s is 5 % too fast, 7 s exact, and longer 1.5 % too slow at the
most."""


class Making(Instances):
    """A deployment while it is made, in the order: control groups, fabric, disks, nodes."""

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
        self.cgroups.sign(self.group, self.journal.whose)
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
        own = {r.name: r.disk_options for r in requests if r.disk}
        devices = disks.make(self.journal, sizes, self.figures.memory_bytes, own)
        specs = self._specs(requests, placement, devices, visible)
        own_kernel = {each.name: each for each in requests if each.kind != SHARED}
        self._launch(specs, own_kernel)
        if own_kernel:
            self.boot(own_kernel, {name: self._node_group(name, placement[name]) for name in own_kernel})

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
        far = shlex.join(needing.own("far"))
        doors = self._doors()
        script.write_text(
            "#!/bin/sh\n"
            "# enter [-x] NODE COMMAND...: join the node's control groups and namespaces, and run the command there.\n"
            "# With -x the command is words for a shell, as ssh takes it: that is how MPI's launchers call it.\n"
            "# A node of another host is entered by who started this, if that can be asked; one with a kernel of its\n"
            "# own by its door, and a machine that is itself the node is not entered at all.\n"
            "# A refold at the same moment removes the groups that it is about to join: then there are new ones.\n"
            "# A node that loses its power meanwhile is seen only after joining: who is in by then is killed. One\n"
            "# that is down has no groups to join: who waited until it is on would be in it, and in none of them.\n"
            'words=""; [ "$1" = -x ] && { words=y; shift; }\n'
            f'name=$1 node="{self.journal.directory}/enter.d/$1"; shift\n'
            '[ -n "$words" ] && set -- /bin/sh -c "$*"\n'
            f'[ -e "$node" ] || [ -z "$PLIANT_FAR" ] || exec {far} "$PLIANT_FAR" "$name" "$@"\n'
            'refuse() { echo "$name is down" >&2; exit 255; }\n'
            'join() { read -r pid && [ "$pid" != down ] && '
            'while read -r file; do echo $$ > "$file" || return 1; done; }\n'
            "pid= tries=0\n"
            'until join < "$node" 2> /dev/null\n'
            'do [ "$pid" != down ] || refuse; tries=$((tries+1)); '
            '[ "$tries" -lt 200 ] || { join < "$node"; exit 255; }; done\n'
            'read -r pid < "$node" && [ "$pid" != down ] || refuse\n'
            '[ "$pid" != here ] || exec "$@"\n'
            f'[ "$pid" != door ] || exec {far} "{doors}/$name.socket" "$name" "$@"\n'
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
        until = time.monotonic() + 60  # one waits for others that are made or go on the machine
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == own:
            if time.monotonic() > until or holder.poll() is not None:
                raise CommandFailed(["unshare", "--net"], holder.poll(), "", "cannot make a network namespace")
            time.sleep(0.001)
        inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]
        for file, value in network.SETTINGS.items():
            if Path(file).exists():  # a kernel without IPv6 has no need for it
                run([*inside, "tee", file], timeout_s=10, stdin=value, env=environment(self.id)).check()
        if self.overlay is None:
            self._ip(network.fabric(self.hosts))
            return
        self._ip(network.fabric(self.hosts, self.overlay.switch, self.overlay.mtu))
        lines = network.tunnel(self.overlay, self.fabric_pid)
        run(["ip", "-batch", "-"], timeout_s=60, stdin="\n".join(lines) + "\n", env=environment(self.id)).check()
        plugged, flooded = network.tunnelled(self.overlay)
        self._ip(plugged)
        if flooded:
            self._batch("bridge", flooded)

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
            own_kernel = request.kind != SHARED
            specs[request.name] = launch.NodeSpec(
                name=request.name,
                number=number,
                address=request.address,
                prefix=network.PREFIX,
                mtu=self.overlay.mtu if self.overlay else 0,
                mac=network.mac_of(request.address) if self.overlay or own_kernel else "",
                link=network.link(number),
                bridge=network.bridge(placement[request.name]),
                directory=f"{self.journal.directory}/nodes/{request.name}",
                cgroups=tuple(self.cgroups.join_files(self._node_group(request.name, placement[request.name]))),
                layers=layers,
                hidden=view.HIDDEN,
                private=request.private,
                visible=shown,
                files=tuple(asdict(file) for file in request.files),
                links=request.links,
                disk={"device": device, "target": request.disk, "kind": disks.KIND}
                if device and request.disk
                else None,
                root_image=disks.root_image(self.journal, request.name, ROOT_BYTES) if own_kernel else "",
            )
        return specs

    def _launch(self, specs: Mapping[str, launch.NodeSpec], own_kernel: Mapping[str, NodeRequest]) -> None:
        """Make the nodes, all in one run of the launcher, and remember them; some are places of instances."""
        base = self.journal.directory
        self.journal.note(make="nodes", names=list(specs))
        for name in ("nodes", "logs", "enter.d", "scratch"):
            (base / name).mkdir()
        self._write_doors(own_kernel, specs)
        own = {spec.address: spec.name for spec in specs.values()}
        names = {network.GATEWAY: self.group} | (dict(self.overlay.names) if self.overlay else own)
        hosts = "".join(f"{address} {name}\n" for address, name in names.items())
        hosts = f"127.0.0.1 localhost\n::1 localhost\n{hosts}"
        (base / HOSTS).write_text(hosts)
        work = {
            "fabric_pid": self.fabric_pid,
            "scratch": f"{base}/scratch",
            "files": {"/etc/hosts": hosts},
            "links": {"/etc/hostname": "/proc/sys/kernel/hostname"},
            "nodes": [asdict(spec) for spec in specs.values()],
        }
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        env = environment(self.id)
        argv = [*join, *needing.program("launch")]
        done = run(argv, timeout_s=60 + len(specs), stdin=json.dumps(work), env=env, shown=["launch.py"]).check()
        for line in map(json.loads, done.stdout.splitlines()):
            if "error" in line:
                raise CommandFailed(["launch.py"], 1, "", line["error"], line["node"])
            spec = specs[line["node"]]
            logs = f"{base}/logs/{spec.name}"
            device, disk = (spec.disk["device"], spec.disk["target"]) if spec.disk else (None, None)
            kind = own_kernel[spec.name].kind if spec.name in own_kernel else SHARED
            self.nodes[spec.name] = LiveNode(
                spec.name, spec.number, spec.address, line["pid"], device, logs, disk, kind
            )
            self._write_join(spec.name, spec.cgroups)
        if missing := set(specs) - set(self.nodes):
            raise CommandFailed(
                ["launch.py"], 1, done.stdout, done.stderr or f"no word of {', '.join(sorted(missing))}"
            )
        self.nodes = {name: self.nodes[name] for name in specs}

    def _write_join(self, node: str, files: Sequence[str]) -> None:
        """What `enter` has to know of a node: the PID of its init, and the files by which its groups are joined."""
        lines = ["here" if self.nodes[node].kind == MACHINE else str(self.nodes[node].pid), *files]
        if self.is_instance(node):
            lines = ["door", *self.cgroups.join_files(f"{self.group}/base")]
        if node in self.down:
            lines = ["down"]
        target = self.journal.directory / "enter.d" / node
        temporary = target.with_name(f".{node}")
        temporary.write_text("\n".join([*lines, ""]))
        temporary.replace(target)

    def _start_diskshare(self) -> None:
        """Start the program that divides each host's disk bandwidth; see `diskshare`."""
        self.share_disks()
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        argv = [*join, *needing.own("diskshare"), str(self.journal.directory / "diskshare.json")]
        self._start(argv, self.journal.directory / "diskshare.log", environment(self.id))

    def _start_metronome(self) -> None:
        """Start the program that makes the turns of processes short while CPU is limited; see `metronome`."""
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        program = [*needing.own("metronome"), self.cgroups.realtime_file(), str(self._beat)]
        own = sorted({cpu for each in self.kept_on for cpu in each})
        log = self.journal.directory / "metronome.log"
        self._start([*join, *program, *map(str, own)], log, environment(self.id))

    @property
    def _disk_rate(self) -> float | None:
        """What a host's disk may pass, in bytes/s; None if that is not limited."""
        return self.figures.disk_byte_s * DISK_RATE if "disk" in self.limits else None

    def share_disks(self) -> None:
        """Have the hosts' disks shared among the nodes that are on them now; see `diskshare`."""
        hosts: dict[int, list[LiveNode]] = {}
        for node in self.nodes.values():
            if node.device and not (self.is_instance(node.name) and node.name in self.down):
                hosts.setdefault(self.placed.get(node.name, 1), []).append(node)
        content = [
            {"rate": self._disk_rate, "disks": [self._disk(node, host, len(own) > 1) for node in own]}
            for host, own in hosts.items()
        ]
        self.journal.write("diskshare.json", {"hosts": content})

    def _disk(self, node: LiveNode, host: int, shared: bool) -> dict[str, Any]:
        """A node's disk as `diskshare` has it: its own kernel limits it, or the machine's."""
        assert node.device is not None
        number = disks.number(node.device)
        stat, how = f"/sys/dev/block/{number}/stat", self.cgroups.disk_limits(f"{self.group}/host-{host}")
        if self.is_instance(node.name):
            limited = shared and "disk" in self.limits
            stat = str(self._doors(node.name, "disk"))
            how = window.limits(str(self._doors(node.name, "asked")), limited)
        found = {"name": number, "stat": stat, "limits": {kind: asdict(each) for kind, each in how.items()}}
        return {**found, "at": window.AT} if self.is_instance(node.name) else found
