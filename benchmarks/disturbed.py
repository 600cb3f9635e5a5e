"""What a verdict is worth on a machine whose neighbours take a share of its CPUs: the same study with a thief."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from pliant.machine.process import run as command

from .figures import Figure
from .machine import Bench
from .thief import thieves

HOW = """studies/quickstart.toml, without and with a program that takes a share of every CPU in bursts of 1 to 5 ms, at
real-time priority, from before the deployment to after its removal. Beside a thief of 20 % hosts have 0.15 core: eight
of 0.2 are promised four fifths of two CPUs, and calibration refuses what a thief leaves of them. *decided*: states of
folded ratios that are shown, or were passed over as nothing depends on them. *apart*: losses whose interval has nothing
in common with that of the run without a thief; *contradicted*: states that hold where they broke, or the other way
round."""

STUDY = Path(__file__).parents[1] / "studies/quickstart.toml"
SHARES = {0.2: (0.05, 0.10), 0.15: (0.20,)}
"""Cores of a host -> the shares that thieves take of each CPU."""
_DEADLINE_S = 900
_PLIANT = Path(sys.executable).with_name("pliant")

Rows = dict[tuple[str, str, float], dict[str, Any]]
"""(workload, metric, ratio) -> the row of a folded ratio, as verdict.json has it."""


def run(bench: Bench) -> None:
    """How much is decided, and whether it is the same."""
    with bench.part("disturbed", HOW):
        for cores, shares in [(0.2, (0.10,))] if bench.quick else SHARES.items():
            hosts = f"hosts of {cores:g} core"
            calm = _rows(bench, 0.0, cores)
            _add(bench, f"{hosts}, without a thief", calm, calm)
            for share in shares:
                thief = f"a thief of {share:.0%}".replace("%", " %")
                _add(bench, f"{hosts}, {thief}", _rows(bench, share, cores), calm)


def _add(bench: Bench, what: str, rows: Rows, calm: Rows) -> None:
    decided = sum(row["state"] != "undecided" or row["passed_over"] for row in rows.values())
    bench.add(Figure("disturbed", f"{what}: decided, of {len(rows)}", "states", (decided,), "at least", 12.0))
    if rows is not calm:
        both = [(row, calm[key]) for key, row in rows.items() if key in calm]
        bench.add(Figure("disturbed", f"{what}: contradicted", "states", (_contradicted(both),), "at most", 0.0))
        bench.add(Figure("disturbed", f"{what}: apart", "losses", (_apart(both),), "at most", 1.0))


def _contradicted(both: list[tuple[dict[str, Any], dict[str, Any]]]) -> int:
    return sum({one["state"], other["state"]} == {"holds", "breaks"} for one, other in both)


def _apart(both: list[tuple[dict[str, Any], dict[str, Any]]]) -> int:
    known = [(one, other) for one, other in both if one["loss_low"] is not None and other["loss_low"] is not None]
    return sum(
        one["loss_low"] > other["loss_high"] or other["loss_low"] > one["loss_high"]
        for one, other in known
        if one["loss_high"] is not None and other["loss_high"] is not None
    )


def _rows(bench: Bench, share: float, cores: float) -> Rows:
    """Run the study beside a thief; raises CommandFailed or OSError."""
    bench.quiet()
    bench.say(f"disturbed: {share:.0%}")
    with tempfile.TemporaryDirectory() as place, thieves(share):
        out, file = Path(place, "run"), Path(place, "study.toml")
        file.write_text(re.sub(r"^cores = \S+", f"cores = {cores:g}", STUDY.read_text(), count=1, flags=re.M))
        argv = [str(_PLIANT), "run", str(file), "--fresh", "--quiet", "--output", str(out)]
        command(argv, timeout_s=_DEADLINE_S).check()
        document = json.loads((out / "verdict.json").read_text())
    return {
        (verdict["workload"], verdict["metric"], row["ratio"]): row
        for verdict in document["verdicts"]
        for row in verdict["ratios"]
        if row["ratio"] != 1
    }
