"""Nodes with a kernel of their own, started in their places and asked through their doors; see `uml` and `door`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import needing, uml
from .door import DOOR
from .launch import NodeSpec
from .parts import NodeRequest
from .process import CommandFailed, environment, run
from .running import Running

BOOT_S = 60.0
"""How long an instance may take until it is there: two or three seconds on a machine that is not busy."""


class Instances(Running):
    """A deployment, with what it does with instances."""

    def _doors(self, node: str = "", kind: str = "") -> Path:
        """A file of a node's door: what it is told ("json"), what it says of it ("ready"), its socket
        ("socket"), what its kernel lost ("lost")."""
        return self.journal.directory / "doors" / f"{node}{'.' if kind else ''}{kind}"

    def is_instance(self, node: str) -> bool:
        """Whether a node has a kernel of its own."""
        return self.nodes[node].kind == uml.KIND

    @property
    def instances(self) -> list[str]:
        """The nodes with a kernel of their own that are on."""
        return [name for name in self.nodes if self.is_instance(name) and name not in self.down]

    def _write_doors(self, requests: Mapping[str, NodeRequest], specs: Mapping[str, NodeSpec]) -> None:
        """Write down what the doors of nodes that have one are told."""
        if requests:
            self._doors().mkdir()
        for name, request in requests.items():
            spec = specs[name]
            disk = [[spec.disk["target"], spec.disk["kind"]]] if spec.disk else []
            guest = {"name": name, "address": spec.address, "prefix": spec.prefix, "disk": disk}
            needed = (*uml.modules_of(request.modules), *uml.needed_by(request.module))
            guest |= {"modules": str(uml.modules()), "load": needed, "module": request.module}
            guest |= {"visible": spec.visible}
            python = uml.python(str(needing.PACKAGE), sys.executable)
            boot = uml.command(name, request.memory_bytes, spec.mac, python, bool(spec.disk))
            files = {what: str(self._doors(name, what)) for what in ("socket", "ready", "lost")}
            self._doors(name, "json").write_text(json.dumps({"node": name, **files, "guest": guest, "boot": boot}))

    def boot(self, nodes: Collection[str], groups: Mapping[str, str]) -> None:
        """Start instances in their places, in these control groups, all at the same time, until they are there. Raises
        CommandFailed."""
        running = {name: self._start_door(name, groups[name]) for name in nodes}
        until = time.monotonic() + BOOT_S + 3 * len(running)
        for name, door in running.items():
            self._await(name, door, until)

    def _start_door(self, node: str, group: str) -> subprocess.Popen[bytes]:
        file, ready = self._doors(node, "json"), self._doors(node, "ready")
        about = json.loads(file.read_text())
        place = ["nsenter", "--target", str(self.nodes[node].pid)]
        place += ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--"]
        about["start"] = [*self._joining(self.cgroups.join_files(group)), *place, *about["boot"]]
        file.write_text(json.dumps(about))
        with suppress(FileNotFoundError):
            ready.unlink()
        join = self._joining(self.cgroups.join_files(f"{self.group}/base"))
        return self._start([*join, *needing.program("door"), str(file)], self._console(node), environment(self.id))

    def _console(self, node: str) -> Path:
        """What a node's kernel says, as one of the node's logs."""
        return Path(self.nodes[node].logs, "kernel.log")

    def _await(self, node: str, door: subprocess.Popen[bytes], until: float) -> None:
        """Wait until an instance is there; CommandFailed, with the end of what its kernel said, if it does not come."""
        ready = self._doors(node, "ready")
        while not ready.exists():
            if door.poll() is not None or time.monotonic() > until:
                said = self._console(node).read_text(errors="replace")[-600:]
                raise CommandFailed([uml.PROGRAM], door.poll(), "", said or "its kernel does not start", node)
            time.sleep(0.005)
        if failed := json.loads(ready.read_text())["failed"]:
            raise CommandFailed([uml.PROGRAM], 1, "", failed, node)

    def monotonic_ahead_s(self, node: str) -> float:
        """How far a node's CLOCK_MONOTONIC is ahead of the machine's, which is where another kernel began."""
        return float(json.loads(self._doors(node, "ready").read_text())["monotonic_s"]) if self.is_instance(node) else 0

    def ask_door(self, node: str, what: str, *given: str, timeout_s: float = 60.0) -> Any:
        """Ask a node's door for something; see `door`. Raises CommandFailed."""
        argv = [*needing.own("far"), str(self._doors(node, "socket")), DOOR, what, *given]
        return json.loads(run(argv, timeout_s=timeout_s, env=environment(self.id), where=node).check().stdout)

    def ask_doors(self, given: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
        """Ask several doors at the same time: node -> what for."""
        with ThreadPoolExecutor(max(1, min(32, len(given)))) as pool:
            asked = {node: pool.submit(self.ask_door, node, *words) for node, words in given.items()}
            return {node: each.result() for node, each in asked.items()}

    def _lost_files(self) -> dict[str, str]:
        return {node: str(self._doors(node, "lost")) for node in self.instances}

    def call_s(self) -> float:
        """See Running."""
        return float(self.ask_door(self.instances[0], "call")) if self.instances else 0.0

    def drops(self) -> dict[str, int]:
        """Packets for each node that its kernel did not take in, since it is there."""
        return self.ask_doors(dict.fromkeys(self.instances, ("drops",)))

    def throttle(self, rate: float | None) -> None:
        """Divide each host's disk rate (bytes/s; None is no limit) equally among its nodes with a kernel of their own
        and a disk: only that kernel can hold back who writes."""
        hosts: dict[int, list[str]] = {}
        for node in self.instances:
            if self.nodes[node].device:
                hosts.setdefault(self.placed[node], []).append(node)
        each = {node: 0 if rate is None else round(rate / len(nodes)) for nodes in hosts.values() for node in nodes}
        self.ask_doors({node: ("throttle", str(limit)) for node, limit in each.items()})
