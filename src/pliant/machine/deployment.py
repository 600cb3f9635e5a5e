"""A deployment: emulated hosts and their nodes on this machine, refolded, limited, made anew, and gone.

`making` makes it, `running` is what it is. `teardown.remove` undoes all of it from the journal.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from . import network, teardown
from .making import Making
from .parts import HostFigures, LiveNode, NodeFile, NodeRequest
from .process import CommandFailed, alive

__all__ = ["Deployment", "HostFigures", "LiveNode", "NodeFile", "NodeRequest"]

LIMITS = ("cpu", "nic", "disk")
"""What is limited on a host while a trial is measured. Its memory is limited always."""


class Deployment(Making):
    """Hosts and nodes on this machine. What is done to it once it is up may be done by several threads and processes
    at the same time; what changes it waits for what else does."""

    def renew(self, requests: Sequence[NodeRequest], visible: Sequence[str]) -> teardown.Gone:
        """Remove the nodes with all that runs in them and that they wrote, and make them anew, where they are now.

        Hosts, their limits and their network stay. Raises TeardownError, CommandFailed.
        """
        with self.changing():
            # Nothing divides the bandwidth of disks that are going.
            nodes, self.nodes = self.nodes, {}
            self.share_disks()
            hosts = [f"{self.group}/host-{host}" for host in range(1, self.hosts + 1)]
            try:
                gone = teardown.remove_nodes(self.journal, self.cgroups, hosts, [node.pid for node in nodes.values()])
            except BaseException:  # who looks at it finds dead nodes, whose disks are nobody's any more
                self.nodes = {name: replace(node, device=None, disk=None) for name, node in nodes.items()}
                raise
            self.down = self.cut = frozenset()
            self._make_nodes(requests, self.placed, visible)
            self.share_disks()
        return gone

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
            self.share_disks()

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

    def _move(self, name: str, host: int) -> None:
        """Move a node's processes to its host's group. What it forks meanwhile is found in the next round."""
        old, new = self._node_group(name, self.placed[name]), self._node_group(name, host)
        self.cgroups.make(new)
        target = self.cgroups.join_files(new)
        self._write_join(name, target)
        until = time.monotonic() + 20
        # Each file is opened once: for hundreds of processes that is a third of the time.
        files = [os.open(file, os.O_WRONLY) for file in target]
        try:
            while True:
                for pid in self.cgroups.pids(old):
                    for file in files:
                        try:
                            os.write(file, b"%d" % pid)
                        except OSError:
                            if alive(pid):
                                raise
                # Only an empty group can be removed; who was just entering it keeps it for another round.
                if self.cgroups.remove_now(old):
                    return
                if time.monotonic() > until:
                    where = f"host-{self.placed[name]}"
                    raise CommandFailed(["refold"], 1, "", f"its processes do not leave {where}", name)
        finally:
            for file in files:
                os.close(file)

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
            self.share_disks()

    def remove(self) -> None:
        """Remove everything of it from the machine; raises TeardownError. Leaves no zombie in the calling process."""
        teardown.remove(self.journal, self.cgroups)
        for child in self._children:
            child.wait()
        self._children.clear()
