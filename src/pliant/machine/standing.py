"""A deployment whose one node is the machine itself, as somebody else has set it up: NixOS Compose, say.

What runs there is used and measured, and otherwise left alone. All that is made is a control group for what is started
here, the program that starts it there, and its journal.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import sampling
from .cgroup import Cgroups
from .deployment import Deployment
from .journal import Journal
from .parts import MACHINE, HostFigures, LiveNode, NodeRequest
from .promised import PROMISE
from .running import HOSTS
from .view import files_below

_INIT = 1
_ALL = ""
"""The control group of all that runs on the machine."""


class Standing(Deployment):
    """This machine as it stands. `interface` is the link by which it is reached, `names` what the nodes of the whole
    deployment are called (address -> name)."""

    interface = ""
    names: Mapping[str, str] = {}

    def up(
        self, requests: Sequence[NodeRequest], placement: Mapping[str, int], hosts: int, visible: Sequence[str]
    ) -> None:
        """Get ready to run programs here; nothing of the one node that is asked for is made."""
        (request,) = requests
        self.hosts, self.placed = hosts, dict(placement)
        self.journal.note(make="cgroup", group=self.group)
        own = self._node_group(request.name, self.placed[request.name])
        for group in (self.group, f"{self.group}/base", os.path.dirname(own), own):
            self.cgroups.make(group)
        self.cgroups.sign(self.group, self.journal.whose)
        for name in ("enter.d", "logs"):
            (self.journal.directory / name).mkdir()
        hosts_file = "".join(f"{address} {name}\n" for address, name in self.names.items())
        (self.journal.directory / HOSTS).write_text(f"127.0.0.1 localhost\n::1 localhost\n{hosts_file}")
        self._write_enter()
        logs = f"{self.journal.directory}/logs/{request.name}"
        self.nodes = {
            request.name: LiveNode(request.name, 1, request.address, _INIT, None, logs, request.disk, MACHINE)
        }
        self._write_join(request.name, self.join_files(request.name))
        promise = self.journal.read(PROMISE)
        self.journal.write(PROMISE, {**promise, "interface": self.interface})
        self._save()

    def _restore(self, content: Mapping[str, Any]) -> None:
        super()._restore(content)
        self.interface = self.journal.read(PROMISE)["interface"]

    def _on_switch(self) -> list[str]:
        return self._joining(self.cgroups.join_files(f"{self.group}/base"))

    def limit(self, on: bool | Collection[str]) -> None:
        """Nothing is limited on a machine that is somebody else's."""

    def _plan(self, out: Path) -> dict[str, Any]:
        """The machine's CPU and memory are those of all that runs on it, its NIC is the link by which it is reached."""
        ((name, node),) = self.nodes.items()
        sent = {"up": "tx", "down": "rx"}
        links = [
            {"name": f"{of}_{unit}", "factor": 1.0, "link": self.interface, "field": f"{sent[way]}_{unit}"}
            for way, word in (("up", "sent"), ("down", "received"))
            for unit in ("bytes", "packets")
            for of in (f"host/host1/{way}", f"node/{name}/{word}")
        ]
        files = [*sampling.of_machine(), *sampling.of_group(self.cgroups, _ALL, f"node/{name}")]
        if disk := _disk_of(node.disk):
            files += sampling.of_disk(disk, f"node/{name}")
        hosts = sampling.of_group(self.cgroups, _ALL, "host/host1")
        return {
            **{"every_s": sampling.EVERY_S, "out": str(out), "hosts": hosts, "files": files, "links": links},
            **{"starving": [], "queues": [], "inside": []},
        }

    def log_files(self, node: str, written: Sequence[str]) -> Iterator[Path]:
        """See Running. What is written here is written by the machine's own daemons."""
        return files_below([Path(self.nodes[node].logs), *map(Path, written)])

    def _host_group(self, host: int) -> str:
        return _ALL

    def out_of_memory(self) -> dict[str, int]:
        """How many processes of the machine the kernel has killed as memory ran out (vmstat's oom_kill)."""
        words = Path("/proc/vmstat").read_text().split()
        killed = int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
        return dict.fromkeys(self.nodes, killed)


def new(journal: Journal, cgroups: Cgroups, figures: HostFigures, interface: str, names: Mapping[str, str]) -> Standing:
    """One of which nothing is made yet; see `Standing`'s attributes."""
    made = Standing(journal, cgroups, figures)
    made.interface, made.names = interface, names
    return made


def load(journal: Journal, cgroups: Cgroups) -> Deployment | None:
    """A deployment on this machine that another process made, of whichever kind; None if it was never up."""
    content = journal.read("deployment.json")
    stands = content is not None and any(node.get("kind") == MACHINE for node in content["nodes"])
    return (Standing if stands else Deployment).load(journal, cgroups)


def _disk_of(directory: str | None) -> str | None:
    """The disk ("MAJOR:MINOR") of what is mounted at a directory; None if that is no block device's."""
    with suppress(OSError):
        number = os.stat(directory or "").st_dev
        disk = f"{os.major(number)}:{os.minor(number)}"
        return disk if Path(f"/sys/dev/block/{disk}").exists() else None
    return None
