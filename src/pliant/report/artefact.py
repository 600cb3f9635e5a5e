"""What an artefact reviewer is told of an archived run: `ARTEFACT.md`, which `pliant archive` puts first.

What is asked for is that of the ACM's badges (Artifact Review and Badging, version 1.1) and of the appendices that
conferences want: what it is, what it claims, what it needs, how long each step takes, how it is checked, and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator

from pliant.analysis.conclusions import RunAnalysis
from pliant.analysis.words import plural
from pliant.report.markdown import escape
from pliant.trial import Trial
from pliant.units import format_duration

_MINUTES = 2
"""What somebody takes to unpack a run and read its report, and a computer less."""


def text(run: RunAnalysis) -> str:
    """The whole of it, in Markdown. The same run gives the same text."""
    return "\n\n".join(_parts(run)) + "\n"


def _parts(run: RunAnalysis) -> Iterator[str]:
    first = run.parts[0]
    trials = [trial for part in run.parts for trial in part.trials]
    facts = first.facts
    yield f"# Artefact: {escape(first.info.study)}"
    yield (
        f"One run of pliant {escape(facts.get('pliant', ''))}, which measures how far a distributed file system can be "
        f"folded onto fewer hosts: {plural(len(trials), 'trial')}, each with its raw output, logs and telemetry, "
        f"{_dates(trials)}."
    )
    yield "## What it claims"
    yield "\n".join(f"- {escape(claim)}" for claim in _claims(run))
    yield "## Check it"
    yield (
        f"{plural(_MINUTES, 'minute')} of yours, seconds of a computer's, with Python 3.11 or newer, without root. "
        "Every trial is held against the digest of what was written, and judged anew from its numbers: the verdicts "
        "have to be those above."
    )
    yield "    pliant unpack FILE.tar.gz checked\n    pliant verify checked\n    pliant report checked"
    yield "## Repeat it"
    yield (
        f"A minute of yours and {_machine_time(trials)} of a machine's, as root, on hardware like that below; other "
        "hardware gives other rates, and may fold otherwise. `check` says beforehand what is missing, and where to get "
        "it. `compare` says in which states two runs agree, which is what is to be reproduced, and how rates differ."
    )
    yield (
        f"    pliant check checked/study.toml\n    pliant run {_options(first.info.workflow)}checked/study.toml "
        "--output again\n    pliant compare checked again"
    )
    yield "## Hardware and versions"
    begun = facts.get("started", "")
    rows = [(key, value) for key, value in facts.items() if key != "started"]
    yield f"As the run found them{f' on {begun[:10]}' if begun else ''}."
    yield "\n".join(["| what | |", "| --- | --- |", *(f"| {escape(key)} | {escape(value)} |" for key, value in rows)])
    yield "## What is inside"
    yield (
        "`run.json` has the study file, facts, and every trial with its values; `trials/` what programs printed, "
        "daemons logged and the sampler saw of each. Emulated hosts are slices of one machine: what that shows, and "
        "what it cannot, is in pliant's docs/emulation.md and docs/fidelity.md."
    )


def _claims(run: RunAnalysis) -> Iterator[str]:
    for part in run.parts:
        if len(run.parts) > 1:
            yield f"{part.filesystem}: {part.headline}"
        else:
            yield part.headline
        yield from (verdict.sentence for verdict in part.verdicts)


def _dates(trials: list[Trial]) -> str:
    days = sorted({trial.started_at[:10] for trial in trials})
    if not days:
        return "none yet measured"
    return f"measured on {days[0]}" if len(days) == 1 else f"measured from {days[0]} to {days[-1]}"


def _machine_time(trials: list[Trial]) -> str:
    """Of the trials, and as much again for what is around them: deploying, folding, cleaning, waiting for calm."""
    return f"about {format_duration(max(60.0, 120.0 * round(sum(trial.duration_s for trial in trials) / 60)))}"


def _options(workflow: str) -> str:
    return "" if workflow == "dev" else f"--workflow {workflow} "
