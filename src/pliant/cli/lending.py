"""What `check` says of a study whose hosts a scheduler is to lend: nothing is asked for yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pliant.study.model import Study

_ENDING_S = 300.0
"""What a reservation takes beside its trials: to reach hosts, to deploy, to give back."""


def document(study: Study) -> dict[str, Any]:
    """What would be reserved, as plain values: hosts, seconds, machine-hours, watt-hours at most."""
    from pliant.campaign.charges import charges
    from pliant.campaign.places import needed

    platform = study.platform
    nodes, walltime_s = platform.nodes or needed(study), platform.walltime or 0.0
    power = study.power_model
    return {
        "kind": platform.kind,
        "front": platform.front or "",
        "job": platform.job or "",
        "nodes": nodes,
        "walltime_s": walltime_s,
        "machine_hours": round(nodes * walltime_s / 3600, 4),
        "energy_wh": round(nodes * walltime_s / 3600 * power.busy_w, 2),
        "queue": platform.queue or "",
        "properties": platform.properties or "",
        "programs": sorted({p for each in study.filesystems for p in each.composition.programs}),
        "packages": sorted({p for each in study.filesystems for p in each.composition.packages}),
        "notes": [*charges(study, nodes), *notes(study)],
    }


def notes(study: Study) -> Iterator[str]:
    """What of the walltime should be known before it is asked for."""
    about, walltime_s = study.about, study.platform.walltime
    if walltime_s is None:
        return
    if about.budget_s is not None and about.budget_s + _ENDING_S > walltime_s:
        yield "the walltime leaves no room beside the budget: deployments come before it, and giving back after it"
    most_s = study.total_trials * about.trial_timeout
    if about.budget_s is None and most_s + _ENDING_S > walltime_s:
        yield (
            f"at the worst {study.total_trials} trials of {about.trial_timeout:.0f} s take longer than the walltime: "
            "the scheduler is asked for more if that shows, and what is measured by its end is kept"
        )


def show(study: Study) -> None:
    """Say it."""
    from pliant.trial import UNFOLDED
    from pliant.units import format_duration

    about = document(study)
    print(f"{study.file}: {study.name} is a good study")
    where = f"{about['kind']}, by {about['front'] or study.platform.site or 'this machine'}"
    if about["job"]:
        _row("hosts", f"those of job {about['job']} of {where}")
    else:
        wish = [f"{about['nodes']} for {format_duration(about['walltime_s'])}"]
        wish += [f"{name} {about[name]}" for name in ("queue", "properties") if about[name]]
        _row("hosts", f"{', '.join(wish)}, of {where}; nothing is asked for yet")
        energy = f"{about['energy_wh'] / 1000:.3g} kWh if all are busy (modelled)"
        _row("costs", f"at most {about['machine_hours']:g} machine-hours, {energy}")
    _row(
        "each has",
        f"{', '.join(about['programs']) or 'nothing of its own'} (apt-get install "
        f"{' '.join(about['packages'])}), Python 3.9, and root by itself or by sudo",
    )
    for each in study.filesystems:
        for ratio, placement in each.placements.items():
            count = len(placement.hosts)
            _row(f"ratio {ratio:g}", f"{count} host{'' if count == 1 else 's'}  {placement.describe()}")
    if study.baseline != UNFOLDED:
        _row("tolerated", study.fold.tolerated)
    _row("trials", f"at most {study.total_trials}")
    for note in about["notes"]:
        _row("note", note)


def _row(name: str, text: str) -> None:
    print(f"  {name:<12} {text}")
