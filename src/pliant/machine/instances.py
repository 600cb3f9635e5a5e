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

from . import inside, module_file, module_tree, needing, relay, uml, vm
from .carrying import LOST
from .door import DOOR
from .launch import NodeSpec
from .parts import UML, VM, NodeRequest
from .process import CommandFailed, environment
from .running import Running

_BOOT_S = {UML: 3.0, VM: 20.0}
"""How long an instance may take until it is there, beside a minute for all: two or three seconds on a machine that is
not busy, a virtual machine without KVM ten to twenty."""
ROOT_BYTES = 4 << 30
"""Size of the disk for what an instance writes beside its role's disk; the file is sparse."""
_WINDOW = ("disk", "told", "asked")


class Instances(Running):
    """A deployment, with what it does with instances."""

    def _doors(self, node: str = "", kind: str = "") -> Path:
        """A file of a node's door: what it is told ("json"), what it says of it ("ready"), its socket
        ("socket"), what its kernel lost ("lost"), and those of `window`."""
        return self.journal.directory / "doors" / f"{node}{'.' if kind else ''}{kind}"

    def is_instance(self, node: str) -> bool:
        """Whether a node has a kernel of its own."""
        return self.nodes[node].kind in (UML, VM)

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
            directory = (uml if request.kind == UML else vm).modules()
            needed = (*module_tree.of(directory, request.modules), *module_file.needed_by(request.module))
            guest |= {"modules": str(directory), "load": needed, "module": request.module}
            guest |= {"visible": spec.visible}
            files = {what: str(self._doors(name, what)) for what in ("socket", "ready", "lost", *_WINDOW)}
            about = {"node": name, **files, "guest": guest, **self._how_to_boot(request, spec)}
            self._doors(name, "json").write_text(json.dumps(about))

    def _how_to_boot(self, request: NodeRequest, spec: NodeSpec) -> dict[str, Any]:
        """What a node's door is told of the command that boots it."""
        python = uml.python(str(needing.PACKAGE), sys.executable)
        if request.kind == UML:
            return {
                "boot": uml.command(spec.name, request.memory_bytes, spec.mac, python, bool(spec.disk)),
                "kind": UML,
            }
        begins = self._doors() / vm.BEGINS
        if not begins.exists():
            vm.node_begins(begins, [*python, VM])
        boot = vm.command(spec.mac, request.memory_bytes, vm.acceleration() or "tcg", bool(spec.disk))
        return {"boot": [*needing.program("tapped"), spec.mac, *boot], "kind": VM, "begins": str(begins)}

    def boot(self, nodes: Collection[str], groups: Mapping[str, str]) -> None:
        """Start instances in their places, in these control groups, all at the same time, until they are there. Raises
        CommandFailed."""
        running = {name: self._start_door(name, groups[name]) for name in nodes}
        most_s = max((_BOOT_S[self.nodes[name].kind] for name in running), default=0.0)
        until = time.monotonic() + 60 + most_s * len(running)
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
                raise CommandFailed([self._program(node)], door.poll(), "", said or "its kernel does not start", node)
            time.sleep(0.005)
        if failed := json.loads(ready.read_text())["failed"]:
            raise CommandFailed([self._program(node)], 1, "", failed, node)

    def _program(self, node: str) -> str:
        return uml.PROGRAM if self.nodes[node].kind == UML else vm.PROGRAM

    def monotonic_ahead_s(self, node: str) -> float:
        """How far a node's CLOCK_MONOTONIC is ahead of the machine's, which is where another kernel began. User Mode
        Linux reads the machine's clock; a virtual machine's is one of its own, and is looked at now."""
        if not self.is_instance(node):
            return 0.0
        if self.nodes[node].kind == VM:
            return float(self.ask_door(node, "ahead"))
        return float(json.loads(self._doors(node, "ready").read_text())["monotonic_s"])

    def ask_door(self, node: str, what: str, *given: str, timeout_s: float = 60.0) -> Any:
        """Ask a node's door for something; see `door`. Raises CommandFailed."""
        try:
            status, said = relay.ask(str(self._doors(node, "socket")), DOOR, [what, *given], timeout_s)
        except OSError as error:
            status, said = LOST, f"it cannot be reached: {error}"
        if status != 0:
            raise CommandFailed([what, *given], status, "", said, node)
        return json.loads(said)

    def ask_doors(self, given: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
        """Ask several doors at the same time: node -> what for."""
        with ThreadPoolExecutor(max(1, min(32, len(given)))) as pool:
            asked = {node: pool.submit(self.ask_door, node, *words) for node, words in given.items()}
            return {node: each.result() for node, each in asked.items()}

    def _lost_files(self) -> dict[str, str]:
        return {node: str(self._doors(node, "lost")) for node in self.instances if self.nodes[node].kind == UML}

    def _inside_files(self) -> dict[str, dict[str, Any]]:
        return {
            node: {
                **{what: str(self._doors(node, what)) for what in ("told", "asked")},
                "columns": inside.columns(bool(self.nodes[node].device)),
            }
            for node in self.instances
        }

    def call_s(self) -> float:
        """See Running."""
        return float(self.ask_door(self.instances[0], "call")) if self.instances else 0.0

    def drops(self) -> dict[str, int]:
        """Packets for each node that its kernel did not take in, since it is there."""
        return self.ask_doors({node: ("drops",) for node in self.instances if self.nodes[node].kind == UML})
