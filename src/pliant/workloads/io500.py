"""IO500: the twelve scored phases of the list, by the real io500 or by the built-in kernels of ior, mdtest and find.

Both run the same phases in the same order with the options that the list prescribes; the values are in its units.
Source: https://github.com/IO500/io500 and the rules of submission, https://io500.org/rules/submission.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pliant.units import Duration, Size, format_size
from pliant.workloads._parsing import absolute_path, positive, went_wrong
from pliant.workloads.kernels.common import WAIT
from pliant.workloads.model import CACHES, Caches, Metric, Phase, Running, SoFar, Toolbox, results, under_way, windows

BANDWIDTHS = ("ior-easy-write", "ior-hard-write", "ior-easy-read", "ior-hard-read")
PHASES = (
    "ior-easy-write",
    "mdtest-easy-write",
    "ior-hard-write",
    "mdtest-hard-write",
    "find",
    "ior-easy-read",
    "mdtest-easy-stat",
    "ior-hard-read",
    "mdtest-hard-stat",
    "mdtest-easy-delete",
    "mdtest-hard-read",
    "mdtest-hard-delete",
)
"""Those that are scored, in the order of the list."""
WHOLE = "io500"
"""What the benchmark as a whole is called among its phases."""
VALID_S = 300.0
"""The stonewall that the list wants; with less nothing is valid for it."""

_WORD_BYTES = 8
_GIB = 1 << 30
_KILO = 1000.0
_HARD_BYTES = 47008


class Io500Options(BaseModel):
    """The keys of a `[[workload]]` table with `kind = "io500"`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stonewall: Duration = Field(
        VALID_S, description="each phase that writes stops after this time, once all ranks did as much as the fastest"
    )
    easy_block: Size = Field(9_920_000 << 20, description="bytes that each rank writes in ior-easy at most")
    easy_transfer: Size = Field(2 << 20, description="bytes moved by one write or read of ior-easy; divides easy_block")
    easy_files: int = Field(1_000_000, ge=1, description="files that each rank makes in mdtest-easy at most")
    hard_segments: int = Field(
        10_000_000, ge=1, description="pieces of 47008 bytes that each rank writes in ior-hard at most"
    )
    hard_files: int = Field(1_000_000, ge=1, description="files that each rank makes in mdtest-hard at most")
    ranks_per_client: int = Field(1, ge=1, description="MPI ranks in each client")
    find_ranks: int | None = Field(None, ge=1, description="how many of all ranks find has, if not all ([find] nproc)")
    caches: Caches = CACHES
    program: Annotated[str | None, AfterValidator(absolute_path)] = Field(
        None, description="absolute path of a real io500 to run; the same in every node"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        block, transfer = format_size(self.easy_block), format_size(self.easy_transfer)
        if self.easy_block % self.easy_transfer:
            raise ValueError(f'easy_block "{block}" is not a multiple of easy_transfer "{transfer}"')
        if self.easy_transfer % _WORD_BYTES:
            raise ValueError(f'easy_transfer "{transfer}" is not a multiple of 8 bytes, which IOR wants')
        if self.stonewall < 1 or self.stonewall % 1:
            raise ValueError(f"stonewall {self.stonewall:g} s is not a whole number of seconds, which IO500 wants")
        return self


class Io500:
    """The workload `io500`."""

    name: ClassVar[str] = "io500"
    Options: ClassVar[type[BaseModel]] = Io500Options
    program: ClassVar[str] = "io500"

    @staticmethod
    def metrics(options: Io500Options) -> tuple[Metric, ...]:
        """Each phase, in the order of the list; then the two parts of the score, and the score, which has no unit."""
        moved = {"easy": options.easy_transfer, "hard": _HARD_BYTES}
        phases = [
            Metric(_metric(phase), "GiB/s", "higher", phase, moved[phase.split("-")[1]])
            if phase in BANDWIDTHS
            else Metric(_metric(phase), "kIOPS", "higher", phase)
            for phase in PHASES
        ]
        parts = (("bandwidth_score", "GiB/s"), ("metadata_score", "kIOPS"), ("score", "IO500"))
        return (*phases, *(Metric(name, unit, "higher", WHOLE) for name, unit in parts))

    @staticmethod
    def phases(options: Io500Options, directory: str, tools: Toolbox) -> tuple[Phase, ...]:
        """One job of all phases. The real io500 finds its configuration in a file, and leaves its results in one."""
        program, ranks = options.program or tools.program, options.ranks_per_client
        if not program:
            return (Phase(WHOLE, (*tools.kernel("io500"), WAIT, *_arguments(options, directory)), ranks, waits=True),)
        first, config = tools.clients[:1], f"{directory}/io500.ini"
        read = (*tools.kernel("io500_result"), f"{directory}/results/result.txt")
        return (
            Phase("config", each=dict.fromkeys(first, ("tee", config)), stdin=configuration(options, directory)),
            Phase(WHOLE, (program, config), ranks),
            Phase("results", each=dict.fromkeys(first, read)),
        )

    @staticmethod
    def unfit(options: Io500Options, tools: Toolbox) -> str:
        """Why a real io500 cannot do this; "" if it can: it ends where it has fewer ranks than its find wants."""
        ranks = len(tools.clients) * options.ranks_per_client
        if options.find_ranks and options.find_ranks > ranks:
            return f"find_ranks = {options.find_ranks} is more than the {ranks} ranks that there are; leave it out"
        return ""

    @staticmethod
    def notes(options: Io500Options) -> tuple[str, ...]:
        """That nothing of this is for the list, where that is so."""
        if options.stonewall >= VALID_S:
            return ()
        return (f"{_NOT_VALID}: a stonewall of {options.stonewall:g} s is less than {VALID_S:g} s",)

    @staticmethod
    def parse(options: Io500Options, outputs: Mapping[str, str]) -> dict[str, float]:
        """The phases' values, and the score with its parts; ValueError if a phase gave nothing, as there is no score
        then, or if data read were wrong, or an operation failed."""
        output = "\n".join(outputs.values())
        _right(output)
        found = {name: body.get("score") for name, body in _sections(output).items()}
        values = {phase: positive("io500", phase, found.get(phase), output) for phase in PHASES}
        bandwidth = _mean([values[phase] for phase in PHASES if phase in BANDWIDTHS])
        metadata = _mean([values[phase] for phase in PHASES if phase not in BANDWIDTHS])
        scores = {
            "bandwidth_score": bandwidth,
            "metadata_score": metadata,
            "score": math.sqrt(bandwidth * metadata),
        }
        return {_metric(phase): value for phase, value in values.items()} | scores

    @staticmethod
    def remarks(options: Io500Options, outputs: Mapping[str, str]) -> tuple[str, ...]:
        """Why a trial is not valid for the list: its stonewall, and what phases say of themselves."""
        sections = _sections("\n".join(outputs.values()))
        said = {name: sections[name]["invalid"] for name in PHASES if sections.get(name, {}).get("invalid")}
        own = [f"{_NOT_VALID}: {name} {why}" for name, why in said.items()]
        return (*Io500.notes(options), *own)

    @staticmethod
    def so_far(options: Io500Options, outputs: Mapping[str, str], running: Running, tools: Toolbox) -> SoFar:
        """The values of the phases that ended, and of the one under way what it would be if all was done by now.

        What is read, examined and removed is what was written, which a stonewall bounds. The score needs all phases. A
        real io500 says nothing of the phase that is under way.
        """
        output = outputs.get(running.phase, "")
        _right(output)
        if options.program or tools.program:
            printed = dict(_PRINTED.findall(output))
            return SoFar({_metric(each): float(printed[each]) for each in PHASES if float(printed.get(each, 0)) > 0})
        ended = results(output)
        metrics = {_metric(phase): ended[phase] for phase in PHASES if phase in ended}
        operation, lasted_s = under_way(output, running)
        ranks = len(tools.clients) * options.ranks_per_client
        most = _most(options, ranks, ended, windows(output)).get(operation, 0.0)
        bounds = {_metric(operation): most / lasted_s} if most and lasted_s else {}
        return SoFar(metrics, bounds, operation, lasted_s)


_NOT_VALID = "not valid for the list of IO500"
_SECTION = re.compile(r"^\[(\S+)\]\s*$", re.MULTILINE)
_VALUE = re.compile(r"^([a-z_-]+)\s*=\s*(\S+)", re.MULTILINE)
_INVALID = re.compile(r"^; ERROR INVALID (.*)$", re.MULTILINE)
_PRINTED = re.compile(r"^\[RESULT\]\s+(\S+)\s+(\d+\.\d+) ", re.MULTILINE)
_TOO_SHORT = ("Runtime is smaller than expected", "below stonewall time", "instead of stonewall")


def configuration(options: Io500Options, directory: str) -> str:
    """What a real io500 is told: its data and results are below the directory. It drops caches itself."""
    sections: dict[str, dict[str, object]] = {
        "global": {
            "datadir": f"{directory}/data",
            "timestamp-datadir": "FALSE",
            "resultdir": f"{directory}/results",
            "timestamp-resultdir": "FALSE",
            "verbosity": 1,
            "drop-caches": "TRUE" if options.caches == "dropped" else "FALSE",
            "drop-caches-cmd": "sync && echo 3 > /proc/sys/vm/drop_caches",
        },
        "debug": {"stonewall-time": f"{options.stonewall:.0f}"},
        "ior-easy": {"transferSize": options.easy_transfer, "blockSize": options.easy_block},
        "mdtest-easy": {"n": options.easy_files},
        "ior-hard": {"segmentCount": options.hard_segments},
        "mdtest-hard": {"n": options.hard_files},
        **({"find": {"nproc": options.find_ranks}} if options.find_ranks else {}),
    }
    return "\n".join(
        "\n".join((f"[{name}]", *(f"{key} = {value}" for key, value in keys.items()), ""))
        for name, keys in sections.items()
    )


def _arguments(options: Io500Options, directory: str) -> tuple[str, ...]:
    """What the kernel is told."""
    values = {
        "-d": directory,
        "-D": f"{options.stonewall:.0f}",
        "-t": str(options.easy_transfer),
        "-b": str(options.easy_block),
        "-s": str(options.hard_segments),
        "-n": str(options.easy_files),
        "-m": str(options.hard_files),
        **({"-f": str(options.find_ranks)} if options.find_ranks else {}),
    }
    valued = (word for pair in values.items() for word in pair)
    return (*valued, *(("--drop-caches",) if options.caches == "dropped" else ()))


def _metric(phase: str) -> str:
    return phase.replace("-", "_")


def _sections(output: str) -> dict[str, dict[str, str]]:
    """Each section of result.txt: its values, and as "invalid" why it is not valid, if it is not.

    That a run is shorter than the list wants, io500 says of each phase that writes; here `notes` says it once.
    """
    found: dict[str, dict[str, str]] = {}
    names = list(_SECTION.finditer(output))
    for number, match in enumerate(names):
        end = names[number + 1].start() if number + 1 < len(names) else len(output)
        body = output[match.end() : end]
        said = _INVALID.findall(body)
        early = any(any(words in each for words in _TOO_SHORT[1:]) for each in said)
        other = [each.strip() for each in said if not any(words in each for words in _TOO_SHORT)]
        invalid = "; ".join(["ended before its stonewall"] * early + other)
        found[match[1]] = {**dict(_VALUE.findall(body)), "invalid": invalid}
    return found


def _right(output: str) -> None:
    """ValueError if data read were wrong, or an operation failed."""
    said = went_wrong(output, cut_short=True)
    wrong = re.search(r"^; ERROR INVALID (Errors .*|PFind returned .*)$", output, re.MULTILINE)
    if said or wrong:
        raise ValueError(f"io500 failed: {said or (wrong and wrong[1])}")


def _mean(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _most(
    options: Io500Options, ranks: int, ended: Mapping[str, float], took: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Phase -> all of its work, at most: GiB, or thousands of operations. What was written is the rate of what wrote
    it, times the time from barrier to barrier, which is no less than the one that the rate is over."""
    most = {
        "ior-easy": ranks * options.easy_block / _GIB,
        "ior-hard": ranks * options.hard_segments * _HARD_BYTES / _GIB,
        "mdtest-easy": ranks * options.easy_files / _KILO,
        "mdtest-hard": ranks * options.hard_files / _KILO,
    }
    for test in most:
        phase = f"{test}-write"
        if phase in ended and phase in took:
            begin_s, end_s = took[phase]
            most[test] = min(most[test], ended[phase] * (end_s - begin_s))
    files = most["mdtest-easy"] + most["mdtest-hard"] + (ranks + 1) / _KILO
    return {phase: files if phase == "find" else most[phase.rpartition("-")[0]] for phase in PHASES}
