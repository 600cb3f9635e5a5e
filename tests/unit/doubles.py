"""A deployment that makes nothing, for tests of what is above it: it follows the interface, as mypy sees to."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pliant.platforms.interface import (
    Completed,
    Deployment,
    Gone,
    HostFigures,
    LiveNode,
    NodeRequest,
    RemoteShell,
    Together,
    Traces,
    Watch,
)

FIGURES = HostFigures(cores=0.2, nic_bit_s=200e6, disk_byte_s=60e6, memory_bytes=2**30)


class Unmade:
    """Hosts without nodes; what is done to it is in `log`, and what a test does not expect raises AssertionError."""

    refolds_live, stands = True, False

    def __init__(self) -> None:
        self.id, self.figures, self.hosts = "ab12", FIGURES, 0
        self.nodes: dict[str, LiveNode] = {}
        self.placed: dict[str, int] = {}
        self.kept_on: list[tuple[int, ...]] = []
        self.limits: frozenset[str] = frozenset()
        self.down: frozenset[str] = frozenset()
        self.period_s = 0.01
        self.calls: list[str] = []

    def up(
        self, requests: Sequence[NodeRequest], placement: Mapping[str, int], hosts: int, visible: Sequence[str]
    ) -> None:
        self.calls.append("up")

    def renew(self, requests: Sequence[NodeRequest], visible: Sequence[str]) -> Gone:
        raise AssertionError("renew")

    def remove(self) -> None:
        self.calls.append("remove")

    def traces(self) -> Traces:
        raise AssertionError("traces")

    def refold(self, placement: Mapping[str, int]) -> None:
        self.placed = dict(placement)
        self.calls.append("refold")

    @property
    def limited(self) -> bool:
        return bool(self.limits)

    def limit(self, on: bool | Collection[str]) -> None:
        self.limits = frozenset((("cpu", "nic", "disk") if on else ()) if isinstance(on, bool) else on)
        self.calls.append(f"limit {on}")

    def refresh(self) -> None:
        self.calls.append("refresh")

    def crash(self, node: str) -> None:
        self.calls.append(f"crash {node}")

    def shut_down(self, node: str) -> None:
        self.calls.append(f"shut_down {node}")

    def switch_on(self, node: str) -> None:
        self.calls.append(f"switch_on {node}")

    def block(self, node: str) -> None:
        self.calls.append(f"block {node}")

    def unblock(self, node: str) -> None:
        self.calls.append(f"unblock {node}")

    def execute(self, node: str, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        raise AssertionError(f"execute {argv}")

    def together(
        self,
        runs: Mapping[str, Sequence[str]],
        *,
        timeout_s: float,
        stdin: str = "",
        extra: Mapping[str, str],
        watch: Watch | None = None,
    ) -> Together:
        raise AssertionError(f"together {runs}")

    def popen(self, node: str, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        raise AssertionError(f"popen {argv}")

    def start(
        self, node: str, argv: Sequence[str], extra: Mapping[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[bytes]:
        raise AssertionError(f"start {argv}")

    def own(self, node: str, module: str) -> list[str]:
        return ["own", module]

    def ahead_s(self, node: str) -> tuple[float, float]:
        return 0.0, 0.0

    @property
    def remote_shell(self) -> RemoteShell:
        return RemoteShell("/bin/false", "switch", "10.77.0.0/16")

    def in_fabric(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def end_marked(self, variable: str, value: str) -> None:
        self.calls.append(f"end {variable}={value}")

    @contextlib.contextmanager
    def telemetry(self, out: Path) -> Iterator[None]:
        out.write_text("")
        yield

    def host_cpu_s(self) -> dict[str, float]:
        return {}

    def node_cpu_s(self) -> dict[str, float]:
        return {}

    def host_cpu_at(self) -> dict[str, tuple[float, float]]:
        return {}

    def withheld_s(self) -> dict[int, float]:
        return {}

    def call_s(self) -> float:
        return 0.0

    def out_of_memory(self) -> dict[str, int]:
        return {}

    def log(self, node: str, name: str) -> Path:
        raise AssertionError(f"log of {node}")

    def log_files(self, node: str, written: Sequence[str]) -> Iterator[Path]:
        return iter(())

    def drop_caches(self, timeout_s: float = 600.0) -> None:
        self.calls.append("drop")

    def undisturbed(self, timeout_s: float = 600.0) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @property
    def directory(self) -> Path:
        raise AssertionError("directory")

    def keep(self, name: str, text: str) -> None:
        self.calls.append(f"keep {name}")

    def kept(self, name: str) -> str | None:
        return None


def _follows(deployment: Unmade) -> Deployment:
    return deployment
