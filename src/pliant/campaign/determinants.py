"""What determines a trial, as a document, and the key that is the digest of it: same key, same experiment.

Everything is in it that a number could depend on and that can be known: the study's parts, the composition down to the
content of its files, the placement, versions and digests of programs, kernel and CPU. What happened before on the same
machine is not, and no document can hold it.
"""

from __future__ import annotations

import inspect
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pliant.campaign.brought import version_of
from pliant.campaign.preparation import Prepared, programs_of
from pliant.digest import canonical, key, sha256
from pliant.machine.facts import Facts
from pliant.platforms.machines import Machines
from pliant.results.artefacts import file_digest
from pliant.statistics.search import Todo
from pliant.study.model import LabelledWorkload
from pliant.trial import UNFOLDED

MEASURING = 9
"""Raised whenever the same trial could give other numbers than before because pliant itself measures otherwise: then
nothing that was measured before is taken for it. tests/unit/test_determinants.py watches over the sources."""

_OF_COMPOSITION = ("filesystem", "roles", "nodes", "steps", "mount", "files", "identities", "unmount", "clean")


class Determined:
    """What determines the trials of one file system of a study. `fresh` is "", or names the run that is to share no
    trial with others."""

    def __init__(self, prepared: Prepared, workflow: str, fresh: str = "") -> None:
        study, machines = prepared.study, prepared.place.machines
        self._prepared = prepared
        self.common: Mapping[str, Any] = {
            "measuring": MEASURING,
            "workflow": workflow,
            "fresh": fresh,
            "machine": _machine(prepared.machine),
            "host": asdict(prepared.figures),
            "disk size": study.platform.disk_size,
            "file system": {
                "kind": study.filesystem.kind,
                "roles": dict(study.filesystem.roles),
                "options": study.options.model_dump(mode="json"),
                # Only its digest: files may hold secrets.
                "composition": sha256(canonical([plain(getattr(study.composition, n)) for n in _OF_COMPOSITION])),
                "version": version_of(study.composition, prepared.brought, machines),
                "packages": dict(prepared.versions),
                "programs": _programs(study.composition.programs, machines, prepared.brought),
            },
            **({"kernels of nodes": prepared.kernels.document(machines)} if prepared.kernels.own else {}),
            # A scheduler lends one time these and another time others that are like them.
            **({"hosts": list(prepared.place.hosts)} if prepared.place.hosts and not prepared.place.loan else {}),
            # It is deployed as that is folded, and refolded from there.
            **({} if study.baseline == UNFOLDED else {"baseline": study.baseline}),
            "seed": study.about.seed,
            "trial timeout": study.about.trial_timeout,
        }

    def document(self, todo: Todo) -> dict[str, Any]:
        """All that determines a trial."""
        study = self._prepared.study
        placement, ranks = study.placements[todo.ratio], study.ranks(todo.ratio, 1)
        return {
            **self.common,
            "placement": dict(zip(placement.host_names, map(list, placement.hosts), strict=True)),
            # Where each client has its own, it is as if nodes were folded.
            **({"ranks": ranks} if max(ranks.values()) > 1 else {}),
            "workload": self._workload(self._prepared.study.workload(todo.workload)),
            "repetition": todo.repetition,
        }

    def key(self, todo: Todo) -> str:
        """The key of a trial."""
        return key(self.document(todo))

    def _workload(self, workload: LabelledWorkload) -> dict[str, Any]:
        label, mpi = workload.label, self._prepared.mpi.get(workload.label)
        program = self._prepared.tools[label].program
        programs = [*programs_of(workload), *([program] if program else []), *([mpi.mpiexec] if mpi else [])]
        return {
            "name": workload.plain or label,  # its directory has it, and a file system may place files by their path
            "kind": workload.driver.name,
            "driver": _source(workload.driver),
            "options": workload.options.model_dump(mode="json"),
            "faults": [asdict(fault) for fault in self._prepared.faults(label)],
            "recovery": [table.recovery for table in workload.faults],
            "programs": _programs(programs, self._prepared.place.machines),
            "mpi": mpi.version if mpi else "",
        }


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Where two documents differ: "machine.kernel was "6.1" and is "6.18"", one for each value."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted({*before, *now}, key=str):
            yield from differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    elif before != now:
        yield f"{path} was {_shown(before)} and is {_shown(now)}"


def plain(value: Any) -> Any:
    """What is made of dataclasses, mappings and sequences, as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(content) for name, content in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(each) for each in value]
    return value


def _shown(value: Any) -> str:
    text = "not there" if value is None else canonical(value).decode()
    return text if len(text) <= 100 else f"{text[:97]}..."


def _machine(machine: Facts) -> dict[str, Any]:
    return {
        "kernel": machine.kernel,
        "system": machine.system,
        "CPU": machine.cpu,
        "cores": machine.cores,
        "control groups": machine.cgroups,
        "Python": platform.python_version(),
    }


def _programs(
    names: Sequence[str], machines: Machines, brought: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Program -> digest of its file, wherever it was `brought` from; "" for what is not there."""
    where = {name: brought.get(name, name) for name in names}
    found = machines.digests(list(dict.fromkeys(where.values()))) if names else {}
    return {name: found[path] for name, path in where.items()}


@cache
def _digest(path: str) -> str:
    try:
        return file_digest(Path(path).resolve())
    except OSError:
        return ""


def _source(driver: type[Any]) -> str:
    """The digest of the module of a driver that is not pliant's own: of those, MEASURING tells."""
    source = None if driver.__module__.startswith("pliant.") else inspect.getsourcefile(driver)
    return _digest(source) if source else ""
