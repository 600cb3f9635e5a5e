"""The twelve scored phases of IO500, as a stand-alone MPI program: `python -I io500.py -d DIR -D 300 ...`.

They run in the order of the list, with the options that it prescribes, by the kernels of ior, mdtest and find beside
this one, each phase after a barrier. What they do and what their values are is that of the real io500: bandwidth in
GiB/s, rates in kIOPS; of the files and the data that the phases before them left. Below DIR, `data` holds what is
measured and `results` the file by whose time find knows what is new.
Source: https://github.com/IO500/io500, of July 2026: src/main.c and src/phase_*.c.

Lines tell of each phase as soon as it is known (`begin`, `window`, `result`, as of the other kernels), and at the end
of the whole as `window io500`. Then the results are printed as io500 has them in result.txt.

Options: `-d` directory, `-D` stonewall in seconds, `-t` and `-b` transfer and block of ior-easy, `-s` segments of
ior-hard, `-n` and `-m` files of each rank in mdtest-easy and mdtest-hard, `-f` how many of the ranks
find has; `--drop-caches` before each phase.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import monotonic

TYPE_CHECKING = False  # that of `typing`, whose import is not worth its time here
if TYPE_CHECKING or __package__:
    from pliant.workloads.kernels import common, find, ior, mdtest
else:  # run as a script
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is slow to import
    import common
    import find
    import ior
    import mdtest

GIB = 1 << 30
KILO = 1000.0
HARD_BYTES = 3901
"""Of each file of mdtest-hard, by which find knows it."""
HARD_TRANSFER = 47008
FOUND = b"01"
"""What the names that find looks for have in them."""
SEED = "1"


class Settings:
    """What the command line asks for."""

    def __init__(self, argv: list[str]) -> None:
        options = common.parse_options(argv, "", "dDtbsnmf", ("--drop-caches",))
        self.directory = options.get("d", "./io500")
        self.stonewall_s = common.number(options.get("D", "300"))
        self.transfer = options.get("t", "2m")
        self.block = options.get("b", "9920000m")
        self.segments = options.get("s", "10000000")
        self.easy_files = options.get("n", "1000000")
        self.hard_files = options.get("m", "1000000")
        self.find_ranks = common.number(options.get("f", "0"))
        self.drop_caches = "--drop-caches" in options
        if not self.stonewall_s:
            raise common.UsageError("-D must be above zero: every phase that writes has a stonewall")
        # Refused now, if at all, and not after half an hour.
        for test in ("easy", "hard"):
            self.ior(test, "-w")
            self.mdtest(test)

    def ior(self, test: str, *operation: str) -> ior.Settings:
        """Those of ior-easy or ior-hard, of an operation."""
        every = ("-a", "POSIX", "-C", "-Q", "1", "-g", "-G", SEED, "-k", "-e")
        own = {
            "easy": (
                *("-o", f"{self.directory}/data/ior-easy/ior_file_easy", "-t", self.transfer, "-b", self.block),
                "-F",
            ),
            "hard": (
                *("-o", f"{self.directory}/data/ior-hard/file", "-t", str(HARD_TRANSFER), "-b", str(HARD_TRANSFER)),
                *("-s", self.segments),
            ),
        }
        return ior.Settings([*every, *own[test], *operation])

    def mdtest(self, test: str) -> mdtest.Settings:
        """Those of mdtest-easy or mdtest-hard."""
        every = ("-F", "-N", "1", "-Y", "-W", str(self.stonewall_s), "-d", f"{self.directory}/data/mdtest-{test}")
        size = str(HARD_BYTES)
        own = {"easy": ("-u", "-n", self.easy_files), "hard": ("-w", size, "-e", size, "-X", "-n", self.hard_files)}
        return mdtest.Settings([*every, *own[test]])


class Score:
    """What a phase came to: its value, how long it took, what more is told, and why it is not valid, if it is not."""

    def __init__(self, value: float, lasted_s: float) -> None:
        self.value = value
        self.lasted_s = lasted_s
        self.more: dict[str, int] = {}
        self.invalid = ""


class Io500:
    """The state of one rank."""

    def __init__(self, job: common.Job, settings: Settings) -> None:
        self.job = job
        self.settings = settings
        self.data = f"{settings.directory}/data"
        self.timestamp = f"{settings.directory}/results/timestampfile"
        self.scores: dict[str, Score] = {}
        self.limits: dict[str, int] = {}
        self.mdtests = {
            test: mdtest.Mdtest(
                job,
                settings.mdtest(test),
                {
                    phase: f"mdtest-{test}-{name}"
                    for phase, name in (("C", "write"), ("T", "stat"), ("E", "read"), ("r", "delete"))
                },
                KILO,
            )
            for test in ("easy", "hard")
        }

    def run(self) -> None:
        """All phases, in the order of the list."""
        self.prepare()
        phases: tuple[tuple[str, Callable[[], Score]], ...] = (
            ("ior-easy-write", lambda: self.ior_write("easy")),
            ("mdtest-easy-write", lambda: self.mdtest_write("easy")),
            ("ior-hard-write", lambda: self.ior_write("hard")),
            ("mdtest-hard-write", lambda: self.mdtest_write("hard")),
            ("find", self.find),
            ("ior-easy-read", lambda: self.ior_read("easy")),
            ("mdtest-easy-stat", lambda: self.mdtest("easy", "T")),
            ("ior-hard-read", lambda: self.ior_read("hard")),
            ("mdtest-hard-stat", lambda: self.mdtest("hard", "T")),
            ("mdtest-easy-delete", lambda: self.mdtest("easy", "r")),
            ("mdtest-hard-read", lambda: self.mdtest("hard", "E")),
            ("mdtest-hard-delete", lambda: self.mdtest("hard", "r")),
        )
        for name, phase in phases:
            if self.settings.drop_caches:
                self.job.drop_caches()
            if name == "ior-hard-write":
                self.stamp()
            self.scores[name] = phase()

    def prepare(self) -> None:
        """Make the directories."""
        if self.job.rank == 0:
            for name in ("", "/results", "/data", "/data/ior-easy", "/data/ior-hard"):
                os.makedirs(f"{self.settings.directory}{name}", exist_ok=True)  # noqa: PTH103 - pathlib is slow to import
        self.job.barrier()

    def stamp(self) -> None:
        """Leave the file than which what find looks for is not older."""
        if self.job.rank == 0:
            os.close(os.open(self.timestamp, os.O_WRONLY | os.O_CREAT, 0o664))
        self.job.barrier()

    def ior_write(self, test: str) -> Score:
        """Write until the stonewall, and then as much as the fastest rank."""
        deadline = ("-w", "-D", str(self.settings.stonewall_s), "-O", "stoneWallingWearOut=1")
        own = ior.Ior(self.job, self.settings.ior(test, *deadline), f"ior-{test}-", GIB)
        phase = own.write()
        self.limits[test] = own.limit
        return self.walled(Score(phase.moved_bytes / GIB / phase.total_s, phase.total_s))

    def ior_read(self, test: str) -> Score:
        """Read and compare all that was written."""
        own = ior.Ior(self.job, self.settings.ior(test, "-r", "-R"), f"ior-{test}-", GIB)
        own.limit = self.limits[test]
        phase = own.read()
        own.fail_on_errors()
        return Score(phase.moved_bytes / GIB / phase.total_s, phase.total_s)

    def mdtest_write(self, test: str) -> Score:
        """Create files until the stonewall, and then as many as the fastest rank."""
        return self.walled(self.mdtest(test, "C"))

    def mdtest(self, test: str, phase: str) -> Score:
        """One of mdtest's phases."""
        own = self.mdtests[test]
        own.iteration([phase])
        rate = own.rates[mdtest.ROWS["file"][phase]]
        return Score(rate / KILO, own.count * self.job.size / rate)

    def walled(self, score: Score) -> Score:
        """The same, with why it is not valid: the list wants all that is written to be more than the stonewall lets."""
        if score.lasted_s < self.settings.stonewall_s:
            score.invalid = "ended before its stonewall"
        return score

    def find(self) -> Score:
        """Look through all that was written. KernelError if that is not what is there."""
        job, since_s = self.job, 0
        if job.rank == 0:
            since_s = int(os.stat(self.timestamp).st_ctime)  # noqa: PTH116
        search = find.Find(job, self.data, FOUND, HARD_BYTES, job.first(since_s), self.settings.find_ranks)
        job.begins("find")
        job.barrier()
        start = monotonic()
        search.run()
        job.barrier()
        stop = monotonic()
        lasted_s = job.maxima([stop - start])[0]
        files, found = job.total(search.files), job.total(search.found)
        made = job.size + 1 + job.size * sum(own.count for own in self.mdtests.values())
        if files != made:
            raise common.KernelError(f"find saw {files} files in {self.data}, where {made} were made")
        score = Score(files / lasted_s / KILO, lasted_s)
        score.more = {"found": found, "total-files": files}
        job.ended("find", (start, stop), f"{score.value:.9f}")
        if found != self.expected():
            score.invalid = "did not find all that it should have"
        elif not found:
            score.invalid = "found nothing, as no name has 01 in it"
        return score

    def expected(self) -> int:
        """How many files find should find."""
        return self.job.total(sum(FOUND in os.path.basename(path) for path in self.mdtests["hard"].items("C", "file")))  # noqa: PTH119


def summary(scores: dict[str, Score], ranks: int) -> str:
    """The results as io500 lays them out in result.txt, reduced to what says something of this run."""
    lines = ["[run]", f"procs           = {ranks}", "version         = pliant"]
    for name, score in scores.items():
        lines += ["", f"[{name}]"]
        lines += [f"; ERROR INVALID {score.invalid}"] if score.invalid else []
        lines += [f"{key:<15} = {value}" for key, value in score.more.items()]
        lines += [f"score           = {score.value:.9f}", f"t_delta         = {score.lasted_s:.4f}"]
    return "\n".join(lines)


def main(job: common.Job, settings: Settings) -> None:
    """Run the phases; rank 0 prints what they came to. Wrong data ends the job."""
    test = Io500(job, settings)
    job.ready()
    job.barrier()
    begin_s = monotonic()
    test.run()
    end_s = monotonic()
    if job.rank == 0:
        common.say(common.window_lines({"io500": (begin_s, end_s)}))
    job.over()
    if job.rank == 0:
        sys.stdout.write(f"{summary(test.scores, job.size)}\n")


if __name__ == "__main__":
    common.run(Settings, main)
