"""What is left of a deployment that was removed: looked for, so that a reset can be proved.

`Traces.of` notes while it is up what there is of it; `left` looks for each of these afterwards, wherever a process
could hold on to it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import disks, network
from .cgroup import Cgroups
from .deployment import Deployment
from .process import MARK, alive, living, marked, start_time, ticks
from .teardown import inside, namespaces_of


@dataclass(frozen=True)
class Traces:
    """What there was of a deployment at a moment (`process.ticks`): processes with their start, namespaces
    ("net:[4026532]"), how many mounts its nodes had, numbers of its disks' devices, and where it was written down."""

    id: str
    directory: str
    processes: Mapping[int, int]
    namespaces: frozenset[str]
    mounts: int
    disks: tuple[str, ...]
    noted: int

    @staticmethod
    def of(deployment: Deployment) -> Traces:
        """The traces of a deployment that is up."""
        pids = deployment.cgroups.pids(deployment.group)
        inits = [node.pid for node in deployment.nodes.values()]
        own = namespaces_of(os.getpid())
        found = {name for pid in (*inits, deployment.fabric_pid) for name in namespaces_of(pid)} - own
        devices = [disks.number(node.device) for node in deployment.nodes.values() if node.device]
        return Traces(
            deployment.id,
            str(deployment.journal.directory),
            {pid: started for pid in pids if (started := start_time(pid)) is not None},
            frozenset(found),
            sum(_text(f"/proc/{pid}/mountinfo").count("\n") for pid in inits),
            tuple(devices),
            ticks(),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "namespaces": sorted(self.namespaces)}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Traces:
        """What `to_json` made, which may have been through JSON."""
        processes = {int(pid): started for pid, started in content["processes"].items()}
        own = {"processes": processes, "namespaces": frozenset(content["namespaces"])}
        return Traces(**{**content, **own, "disks": tuple(content["disks"])})

    @property
    def sentence(self) -> str:
        """What was looked for and not found, in words."""
        counts = (len(self.processes), "processes"), (len(self.namespaces), "namespaces"), (self.mounts, "mounts")
        said = ", ".join(f"{count} {what}" for count, what in (*counts, (len(self.disks), "disks")))
        return f"nothing is left of {self.id}: its {said}, its control groups, links and files were looked for"


def left(traces: Traces, cgroups: Cgroups, patience_s: float = 5.0) -> list[str]:
    """What is still there, in words; the kernel is given some time to free what nobody holds any more."""
    until = time.monotonic() + patience_s
    while found := list(dict.fromkeys(_left(traces, cgroups))):
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return found


def _left(traces: Traces, cgroups: Cgroups) -> Iterator[str]:
    yield from (f"process {pid} ({_name(pid)})" for pid, begun in traces.processes.items() if alive(pid, begun))
    yield from (f"process {pid} ({_name(pid)})" for pid in marked(MARK, traces.id))
    yield from _in_processes(traces)
    yield from (f"loop device {device} on {image}" for device, image in _loops(traces))
    yield from (f"a limit on the disk {disk}" for disk in _limited(traces, cgroups))
    yield from (f"control group {group}" for group in cgroups.groups() if group == f"pliant-{traces.id}")
    yield from (f"link {name}" for name in _links())
    if os.path.lexists(traces.directory):
        yield f"files in {traces.directory}"


def _in_processes(traces: Traces) -> Iterator[str]:
    """Namespaces that a process is in or holds open, and mounts in any process's mount namespace."""
    for pid, name in inside(traces.namespaces, traces.noted):
        yield f"process {pid} ({_name(pid)}) in a node's {name}"
    seen: set[str] = set()
    for pid in living():
        yield from (f"{name}, held open by process {pid} ({_name(pid)})" for name in _open(pid) & traces.namespaces)
        mount = next((name for name in namespaces_of(pid) if name.startswith("mnt:")), "")
        if mount not in seen:
            seen.add(mount)
            yield from (f"mount {where}, seen by process {pid} ({_name(pid)})" for where in _mounts(pid, traces))


def _mounts(pid: int, traces: Traces) -> Iterator[str]:
    """Mounts of the deployment's directory, disks or namespaces in the mount namespace of a process (proc(5))."""
    for line in _text(f"/proc/{pid}/mountinfo").splitlines():
        words = line.split()
        named = any(name.partition(":")[2].strip("[]") in line for name in traces.namespaces if " nsfs " in line)
        if f"{traces.directory}/" in line or words[4] == traces.directory or words[2] in traces.disks or named:
            yield words[4]


def _loops(traces: Traces) -> list[tuple[str, str]]:
    return sorted(disks.attached(Path(traces.directory)).items())


def _limited(traces: Traces, cgroups: Cgroups) -> Iterator[str]:
    """Disks of the deployment whose bandwidth is still limited for everybody: those of v1's root group."""
    files = {limit.file for limit in cgroups.disk_limits("").values()}
    lines = [line.split() for file in files for line in _text(file).splitlines()]
    yield from (disk for disk in traces.disks if any(words and words[0] == disk for words in lines))


def _links() -> list[str]:
    """Links in this network namespace that are called as those of a fabric are: there is none unless one got out."""
    with contextlib.suppress(OSError):
        return sorted(name for name in os.listdir("/sys/class/net") if network.is_own(name))
    return []


def _open(pid: int) -> set[str]:
    """The namespaces that a process has open as files."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
                if target.startswith(("net:[", "mnt:[", "pid:[", "uts:[", "ipc:[")):
                    found.add(target)
    return found


def _name(pid: int) -> str:
    return _text(f"/proc/{pid}/comm").strip() or "?"


def _text(path: str) -> str:
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return file.read()
    return ""
