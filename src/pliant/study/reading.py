"""Reading a study file: TOML, checked table by table and as a whole.

All that is wrong is found in one go, and raised as one `StudyError`. docs/study-file.md documents every key.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from pliant.composition.model import BadOptions, Composition, Filesystem, Node, Role
from pliant.composition.nodeset import select
from pliant.composition.placement import Placement, explicit, hosts_for, nodes_for, place
from pliant.errors import UserError
from pliant.power_model import PowerModel
from pliant.study import registry
from pliant.study.faults import FaultTable, grouped, idle, wrong
from pliant.study.matrix import Cell, cells, put
from pliant.study.model import LabelledFilesystem, LabelledWorkload, Study
from pliant.study.platform_table import PlatformTable
from pliant.study.problems import (
    KeyPath,
    Problem,
    StudyError,
    dotted,
    explain,
    near,
    read_toml,
    show,
    unknown_key,
    unknown_name,
)
from pliant.study.tables import (
    MOST_RATIOS,
    FilesystemTable,
    FoldTable,
    MpiTable,
    NixosComposeTable,
    PowerTable,
    StudyTable,
    checked_name,
)
from pliant.study.textfile import read_text
from pliant.trial import UNFOLDED
from pliant.workloads.model import Workload, asked_for

_KEYS = ("study", "platform", "filesystem", "fold", "workload", "fault", "power", "mpi", "nixos_compose")


_Model = TypeVar("_Model", bound=BaseModel)


def load(path: Path) -> Study:
    """Read and check a study file.

    Raises:
        StudyError: with every problem that was found in it.
    """
    return parse(_read(path), str(path))


def load_cells(path: Path) -> tuple[Cell, ...]:
    """The cells of a study file's matrix; none where it has no matrix. Raises StudyError."""
    return cells(_read(path), str(path))


def parse(text: str, file: str) -> Study:
    """Check the text of a study file; `file` is what it is called in problems. Raises StudyError."""
    raw = read_toml(text, file)
    if "matrix" in raw:
        raw = put(raw, file)
    found = _Findings(file)
    for key in raw:
        if key not in _KEYS:
            found.add((key,), unknown_key(key, _KEYS))
    about = _table(StudyTable, raw, "study", found)
    platform = _table(PlatformTable, raw, "platform", found)
    of_fold = _Findings(file)
    fold = _table(FoldTable, _with_ratios(raw, of_fold), "fold", of_fold)
    common = _Common(about.seed if about else 0, platform.disk_size if platform else 0, fold)
    filesystems = _filesystems(raw, common, found)
    found.problems += of_fold.problems
    workloads = _workloads(raw.get("workload"), set(raw) - set(_KEYS), found)
    workloads += _through_faults(raw.get("fault", []), workloads, filesystems, (about, fold), found)
    power = _table(PowerTable, {"power": {}} | raw, "power", found)
    found.add_all(_across(platform, power, fold))
    found.add_all(_asked(fold, workloads))
    mpi = _table(MpiTable, {"mpi": {}} | raw, "mpi", found)
    nxc = _table(NixosComposeTable, {"nixos_compose": {}} | raw, "nixos_compose", found)
    if found.problems or not (about and platform and filesystems and fold and power and mpi and nxc):
        raise StudyError(found.problems)
    left_out = [w for w in workloads if not w.faults and not any(_is_asked(fold, w))]
    return Study(
        file=file,
        text=text,
        about=about,
        platform=platform,
        filesystems=filesystems,
        fold=fold,
        power=power,
        mpi=mpi,
        nixos_compose=nxc,
        workloads=tuple(workload for workload in workloads if workload not in left_out),
        most_hosts=max(len(folded.hosts) for each in filesystems for folded in each.placements.values()),
        left_out=tuple(workload.label for workload in left_out),
    )


@dataclass
class _Findings:
    """The problems found so far in `file`."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self.file, dotted(path), message))

    def add_all(self, found: Iterable[tuple[KeyPath, str]]) -> None:
        for path, message in found:
            self.add(path, message)


def _read(path: Path) -> str:
    """The text of a study file; StudyError if there is none to be had."""
    try:
        return read_text(path, "study file")
    except FileNotFoundError:
        raise StudyError([Problem(str(path), "", f"there is no such file; {_neighbours(path)}")]) from None
    except ValueError as error:
        raise StudyError([Problem(str(path), "", str(error))]) from None


def _neighbours(path: Path) -> str:
    """A hint at the study files where one is missing."""
    try:
        names = sorted(each.name for each in path.parent.glob("*.toml"))
    except OSError:
        names = []
    close = get_close_matches(path.name, names, n=1) or names[:1]
    return f'did you mean "{path.parent / close[0]}"?' if close else "write one as docs/study-file.md shows"


def _table(model: type[_Model], raw: Mapping[str, Any], name: str, found: _Findings) -> _Model | None:
    """One table as its model, or None after its problems have been added."""
    if name not in raw:
        if not near(name, set(raw) - set(_KEYS)):
            found.add((name,), f"is missing; add a [{name}] table")
        return None
    if isinstance(raw[name], list):
        found.add((name,), f"is a list; write one table, [{name}] in single brackets")
        return None
    return _validated(model, raw[name], (name,), found)


def _validated(
    model: type[_Model], table: object, at: KeyPath, found: _Findings, allowed: Sequence[str] = ()
) -> _Model | None:
    """`table` as a `model`, or None after its problems have been added."""
    try:
        # As JSON, because only there pydantic can be strict ("3" and true are no numbers) and take a list for a tuple.
        return model.model_validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        found.add_all(explain(error, model, table, at, allowed))
        return None


def _across(
    platform: PlatformTable | None, power: PowerTable | None, fold: FoldTable | None
) -> Iterable[tuple[KeyPath, str]]:
    """What is wrong with keys that are right by themselves."""
    if fold and fold.zone_problem:
        yield ("fold", "indifference"), fold.zone_problem
    for key, sentence in platform.problems if platform else ():
        yield ("platform", key), sentence
    if platform and platform.host and platform.host.scale_problem:
        yield ("platform", "host", "scale"), platform.host.scale_problem
    try:
        if power:
            power.over(platform.host.power if platform and platform.host else PowerModel())
    except ValueError as error:
        yield ("power",), str(error)


def _is_asked(fold: FoldTable, workload: LabelledWorkload) -> Iterable[bool]:
    """Of each metric of a workload, whether it is asked for."""
    return (asked_for(fold.metrics, workload.label, m.name) for m in workload.driver.metrics(workload.options))


def _asked(fold: FoldTable | None, workloads: Sequence[LabelledWorkload]) -> Iterable[tuple[KeyPath, str]]:
    """What of the metrics that are asked for there is not."""
    plain = [workload for workload in workloads if not workload.faults]
    names = [(w.label, metric.name) for w in plain for metric in w.driver.metrics(w.options)]
    for index, pattern in enumerate(fold.metrics if fold and names else ()):
        if not any(asked_for([pattern], *name) for name in names):
            known = dict.fromkeys((*(label for label, _ in names), *(metric for _, metric in names)))
            close = get_close_matches(pattern, known, n=1)
            hint = f'did you mean "{close[0]}"? ' if close else ""
            told = f"there are {', '.join(f'{label}.{metric}' for label, metric in names)}"
            yield ("fold", "metrics", index), f"{show(pattern)} names no metric; {hint}{told}"


class _Common(NamedTuple):
    """What all file systems of a study share: its seed, the size of a node's disk, and [fold]."""

    seed: int
    disk_bytes: int
    fold: FoldTable | None


def _filesystems(raw: Mapping[str, Any], common: _Common, found: _Findings) -> tuple[LabelledFilesystem, ...]:
    """The file systems without problems, in order: of one [filesystem] table, or of a list of them."""
    written = raw.get("filesystem")
    if not isinstance(written, list) or not written:
        table = _table(FilesystemTable, raw, "filesystem", found) if written != [] else None
        if written == []:
            found.add(("filesystem",), "is an empty list; add a [filesystem] table")
        one = _filesystem(written, table, ("filesystem",), common, found)
        return (one,) if one is not None else ()
    filesystems: list[LabelledFilesystem] = []
    seen: dict[str, int] = {}
    for index, content in enumerate(written):
        at: KeyPath = ("filesystem", index)
        # What is wrong at a key of [fold] may be so for one file system and not for another.
        own = _Findings(found.file)
        one = _filesystem(content, _validated(FilesystemTable, content, at, own), at, common, own)
        for problem in own.problems:
            whose = content.get("name", content.get("kind")) if isinstance(content, dict) else None
            shared = problem.key.startswith("fold") and isinstance(whose, str)
            found.problems.append(replace(problem, message=f"{whose}: {problem.message}") if shared else problem)
        if one is None:
            continue
        if one.label in seen:
            example = f"{one.label}-{index + 1}"
            found.add(
                (*at, "name"),
                f'filesystem[{seen[one.label] + 1}] is called "{one.label}" too; add e.g. name = "{example}"',
            )
        seen.setdefault(one.label, index)
        filesystems.append(one)
    return tuple(filesystems)


def _filesystem(
    raw: object, table: FilesystemTable | None, at: KeyPath, common: _Common, found: _Findings
) -> LabelledFilesystem | None:
    """One file system with what follows from it, or None after its problems have been added."""
    driver, options = _driver(raw, at, found)
    composition = _composition(driver, options, table, at, common, found) if driver and options and table else None
    placements = _placements(common.fold, composition, found) if common.fold and composition else {}
    if not (driver and options and table and composition):
        return None
    return LabelledFilesystem(table.name or table.kind, table, driver, options, composition, placements)


def _driver(raw: object, at: KeyPath, found: _Findings) -> tuple[type[Filesystem] | None, BaseModel | None]:
    """The driver that a file system's table names, and its options; what is no text or table is left to its model."""
    kind = raw.get("kind") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(kind, str):
        return None, None
    try:
        driver = registry.filesystem(kind)
    except UserError as error:
        found.add((*at, "kind"), str(error))
        return None, None
    options = raw.get("options", {})
    if not isinstance(options, dict):
        return driver, None
    return driver, _validated(driver.Options, options, (*at, "options"), found)


def _composition(
    driver: type[Filesystem],
    options: BaseModel,
    table: FilesystemTable,
    at: KeyPath,
    common: _Common,
    found: _Findings,
) -> Composition | None:
    """The file system on the nodes of the role distribution, or None after its problems have been added."""
    try:
        roles = driver.roles(options)
    except ValueError as error:
        found.add((*at, "options"), str(error))
        return None
    before = len(found.problems)
    for path, message in _role_problems(roles, table):
        found.add((*at, "roles", *path), message)
    if len(found.problems) > before:
        return None
    try:
        # The driver's order of roles, so that the order of lines in the file changes no placement.
        nodes = nodes_for({role.name: table.roles.get(role.name, 0) for role in roles})
        own = {role.name for role in roles if role.disk}
        nodes = tuple(replace(node, disk_bytes=common.disk_bytes) if node.role in own else node for node in nodes)
        return driver.compose(nodes, options, common.seed)
    except ValueError as error:
        found.add((*at, "options" if isinstance(error, BadOptions) else "roles"), str(error))
        return None


def _role_problems(roles: Sequence[Role], table: FilesystemTable) -> Iterable[tuple[KeyPath, str]]:
    """What is wrong with the counts of a role distribution."""
    names = [role.name for role in roles]
    for name in table.roles:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f'did you mean "{close[0]}"? ' if close else ""
            yield (name,), f"is not a role of {table.kind}; {hint}its roles are {', '.join(names)}"
    for role in roles:
        count, why = table.roles.get(role.name), f": {role.because}" if role.because else ""
        if count is None:
            if role.minimum and not near(role.name, set(table.roles) - set(names)):
                yield (role.name,), f"is missing; {table.kind} needs it, add {role.name} = {role.minimum} or more{why}"
        elif count < role.minimum:
            yield (role.name,), f"{count} is too small; {table.kind} needs {role.minimum} or more{why}"
        elif role.maximum is not None and count > role.maximum:
            yield (role.name,), f"{count} is too large; {table.kind} can have {role.maximum} at most{why}"


def _placements(fold: FoldTable, composition: Composition, found: _Findings) -> Mapping[float, Placement]:
    """The placement at each ratio at which the strategy works."""
    folded = _folded(fold, composition, found)
    total = sum(node.role in folded for node in composition.nodes)
    too_large = [ratio for ratio in fold.ratios if ratio > total]
    if too_large:
        those = f"the {total} nodes to fold" if fold.roles else f"the study's {total} nodes"
        found.add(("fold", "ratios"), f"{too_large[0]:g} is more than {those}; write {total} at most")
        return {}
    if fold.baseline != UNFOLDED and hosts_for(total, fold.baseline) == total:
        same = f"{fold.baseline:g} puts each of the {total} nodes on a host of its own, as ratio 1 does"
        found.add(("fold", "baseline"), f"{same}; write 1 in its place, here and in the ratios, or fold further")
    ratio_for: dict[int, float] = {}
    for ratio in fold.ratios:
        hosts = hosts_for(total, ratio)
        if hosts in ratio_for:
            both = f"{ratio_for[hosts]:g} and {ratio:g} both put {total} nodes on {_hosts(hosts)}"
            found.add(("fold", "ratios"), f"{both}; leave one of them out")
        ratio_for.setdefault(hosts, ratio)
    placements: dict[float, Placement] = {}
    written = _written_placements(fold, found)
    clients = {role.name for role in composition.roles if role.client}
    for hosts, ratio in ratio_for.items():
        try:
            if ratio == UNFOLDED or fold.strategy != "explicit":
                strategy = "spread" if fold.strategy == "explicit" else fold.strategy
                placements[ratio] = place(composition.nodes, hosts, strategy, clients, folded)
            elif ratio in written:
                placements[ratio] = _explicit(composition.nodes, written[ratio], ratio)
        except ValueError as error:
            if fold.strategy == "explicit":
                found.add(("fold", "placement", f"{ratio:g}"), str(error))
            else:
                found.add(("fold", "strategy"), f"at ratio {ratio:g}: {error}")
        else:
            if ratio not in placements:
                found.add(
                    ("fold", "placement", f"{ratio:g}"),
                    f"is missing; write a list of nodes for each of its {_hosts(hosts)}",
                )
    return placements


def _folded(fold: FoldTable, composition: Composition, found: _Findings) -> Collection[str]:
    """The roles whose nodes are folded."""
    names = [role.name for role in composition.roles]
    for name in fold.roles:
        if name not in names:
            found.add(("fold", "roles"), unknown_name(name, f"a role of {composition.filesystem}", names))
    if fold.roles and fold.strategy == "explicit":
        found.add(("fold", "roles"), 'is told by the placements of strategy "explicit"; remove it')
    if fold.of == "ranks":
        clients = [role.name for role in composition.roles if role.client]
        write = f"roles = {json.dumps(clients)}"
        if not fold.roles:
            found.add(("fold", "of"), f'"ranks" are those of clients; say that these are folded, {write}')
        elif others := [name for name in fold.roles if name in names and name not in clients]:
            why = f'{show(others[0])} has no ranks, which of = "ranks" folds'
            found.add(("fold", "roles"), f'{why}; write {write}, or of = "nodes"')
    return [name for name in fold.roles if name in names] or names


def _with_ratios(raw: Mapping[str, Any], found: _Findings) -> Mapping[str, Any]:
    """A study file whose `ratios = "all"` are written out: of as many hosts as there are nodes to fold, down to one."""
    fold = raw.get("fold")
    if not isinstance(fold, dict) or fold.get("ratios") != "all":
        return raw
    counts = set(_counts(raw.get("filesystem"), fold.get("roles")))
    if len(counts) > 1 or any(not 1 <= count <= MOST_RATIOS for count in counts):
        those = "file systems with as many nodes each" if len(counts) > 1 else f"1 to {MOST_RATIOS} nodes to fold"
        found.add(("fold", "ratios"), f'"all" is for {those}; write the ratios, e.g. [1, 2, 4]')
        counts = set()
    least = fold.get("baseline", UNFOLDED)
    every = [count / hosts for count in counts for hosts in range(count, 0, -1)]
    if isinstance(least, int | float):
        every = [ratio for ratio in every if ratio >= least]
    return {**raw, "fold": {**fold, "ratios": every or [least]}}


def _counts(written: object, roles: object) -> Iterator[int]:
    """How many nodes of these roles, all if there are none, each file system has; of one that says so."""
    for table in written if isinstance(written, list) else [written]:
        counts = table.get("roles") if isinstance(table, dict) else None
        if isinstance(counts, dict):
            folded = roles if isinstance(roles, list) and roles else list(counts)
            yield sum(count for name, count in counts.items() if isinstance(count, int) and name in folded)


def _written_placements(fold: FoldTable, found: _Findings) -> Mapping[float, list[list[str]]]:
    """The placements of [fold.placement] by ratio; its keys are checked."""
    if fold.placement and fold.strategy != "explicit":
        found.add(
            ("fold", "placement"), f'{show(fold.strategy)} makes its own; write strategy = "explicit" or remove it'
        )
        return {}
    wanted = [f"{ratio:g}" for ratio in fold.ratios if ratio != UNFOLDED]
    written = {}
    for key, hosts in fold.placement.items():
        try:
            ratio = float(key)
        except ValueError:
            ratio = 0.0
        if ratio == UNFOLDED == fold.baseline:
            found.add(("fold", "placement", key), "the baseline has one node on each host; remove this placement")
        elif ratio not in fold.ratios:
            found.add(
                ("fold", "placement", key), f"is not one of fold.ratios; write one of {', '.join(wanted) or 'them'}"
            )
        else:
            written[ratio] = hosts
    return written


def _explicit(nodes: Sequence[Node], hosts: Sequence[Sequence[str]], ratio: float) -> Placement:
    """The placement written for `ratio`, its node sets expanded; ValueError if it is none."""
    wanted = hosts_for(len(nodes), ratio)
    if len(hosts) != wanted:
        raise ValueError(
            f"has {_hosts(len(hosts))}; ratio {ratio:g} puts {len(nodes)} nodes on {wanted}, write so many lists"
        )
    return explicit(nodes, [[node.name for part in names for node in select(part, nodes)] for names in hosts])


def _hosts(count: int) -> str:
    return f"{count} host{'' if count == 1 else 's'}"


def _workloads(raw: object, misspelt: Iterable[str], found: _Findings) -> tuple[LabelledWorkload, ...]:
    """The workloads without problems, in order."""
    if raw is None or raw == []:
        if not near("workload", misspelt):
            found.add(("workload",), 'is missing; add a [[workload]] table with e.g. kind = "ior"')
        return ()
    if not isinstance(raw, list):
        found.add(("workload",), "is not a list of tables; write [[workload]], in double brackets")
        return ()
    workloads: list[LabelledWorkload] = []
    seen: dict[str, int] = {}
    for index, table in enumerate(raw):
        at: KeyPath = ("workload", index)
        if not isinstance(table, dict):
            found.add(at, f"{show(table)} is not a table; write [[workload]] and its keys below")
            continue
        label = _label(table, at, found)
        if label in seen:
            found.add(
                (*at, "name"),
                f'workload[{seen[label] + 1}] is called "{label}" too; add e.g. name = "{label}-{index + 1}"',
            )
        elif label:
            seen[label] = index
        driver, options = _workload(table, at, found)
        if label and driver and options:
            workloads.append(LabelledWorkload(label, driver, options))
    return tuple(workloads)


def _through_faults(
    raw: object,
    workloads: Sequence[LabelledWorkload],
    filesystems: Sequence[LabelledFilesystem],
    tables: tuple[StudyTable | None, FoldTable | None],
    found: _Findings,
) -> tuple[LabelledWorkload, ...]:
    """The workloads through faults, after those without: each is one more workload."""
    about, fold = tables
    if not isinstance(raw, list):
        found.add(("fault",), "is not a list of tables; write [[fault]], in double brackets")
        return ()
    read = {index: _validated(FaultTable, table, ("fault", index), found) for index, table in enumerate(raw)}
    faults = {index: table for index, table in read.items() if table is not None}
    labels, compositions = [workload.label for workload in workloads], [fs.composition for fs in filesystems]
    if about:
        found.add_all(wrong(faults, compositions, labels, about.seed, about.trial_timeout))
    if fold and fold.of == "ranks":
        found.add_all(idle(faults, compositions))
    return tuple(
        workload._replace(label=f"{workload.label}+{name}", faults=together, plain=workload.label)
        for workload in workloads
        for name, together in grouped(faults.values(), workload.label).items()
    )


def _label(table: Mapping[str, Any], at: KeyPath, found: _Findings) -> str | None:
    """What a workload is called: its name, or else its kind."""
    if "name" not in table:
        kind = table.get("kind")
        return kind if isinstance(kind, str) else None
    name = table["name"]
    if not isinstance(name, str):
        found.add((*at, "name"), f'{show(name)} is not a text; write e.g. "small-files"')
        return None
    try:
        return checked_name(name)
    except ValueError as error:
        found.add((*at, "name"), str(error))
        return None


def _workload(
    table: Mapping[str, Any], at: KeyPath, found: _Findings
) -> tuple[type[Workload] | None, BaseModel | None]:
    """What runs a workload, and its options; None for what has problems."""
    kinds = registry.workload_names()
    if "kind" not in table:
        found.add((*at, "kind"), f"is missing; add kind = one of {', '.join(show(kind) for kind in kinds)}")
        return None, None
    if not isinstance(table["kind"], str):
        found.add((*at, "kind"), f"{show(table['kind'])} is not a text; write one of {', '.join(kinds)}")
        return None, None
    try:
        driver = registry.workload(table["kind"])
    except UserError as error:
        found.add((*at, "kind"), str(error))
        return None, None
    options = {key: value for key, value in table.items() if key not in ("kind", "name")}
    before = len(found.problems)
    for key, text_key in getattr(driver, "files", {}).items():
        if isinstance(options.get(key), str) and text_key not in options:
            try:
                options[text_key] = read_text(Path(found.file).parent / options[key], "file for this")
            except FileNotFoundError:
                found.add((*at, key), f"there is no file {show(options[key])} beside the study file; write its path")
            except ValueError as error:
                found.add((*at, key), f"{show(options[key])} {error}")
    if len(found.problems) > before:
        return driver, None
    return driver, _validated(driver.Options, options, at, found, ("kind", "name"))
