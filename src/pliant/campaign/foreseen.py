"""Where a model of earlier runs expects a study's file systems to break, for its search to begin there.

A search looks at every ratio and judges by trials alone, wherever it begins: a wrong prediction costs trials, and
changes no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pliant.analysis.modelled import Target
from pliant.analysis.observed import Record, capacity_of, records
from pliant.analysis.predicting import predict
from pliant.campaign.preparation import Prepared
from pliant.errors import UserError
from pliant.results.store import Store
from pliant.trial import UNFOLDED
from pliant.workloads.model import asked_for


def foreseen(prepared: Sequence[Prepared], runs: Sequence[Path]) -> dict[str, float]:
    """File system -> the smallest ratio of the study at which a metric that decides is predicted to break; the largest
    of all where none is.

    Raises:
        UserError: a run says too little, or none is of a file system that the study has, set up the same.
    """
    known: list[Record] = []
    for run in runs:
        with Store.open(run) as store:
            known += records(store, str(run))
    found = {}
    for each in prepared:
        mine = [record for record in known if _of(record, each)]
        if mine:
            found[each.filesystem] = _break(each, mine)
    if not found:
        names = ", ".join(each.filesystem for each in prepared)
        raise UserError(
            f"{', '.join(str(run) for run in runs)}: no run of {names} with the options and roles of the study, whose "
            "search begins at ratio 1, and which folds nodes of the same roles"
        )
    return found


def _of(record: Record, prepared: Prepared) -> bool:
    """Whether a run is of the study's file system, with the same options and roles, and the study folds the same, from
    ratio 1."""
    study, info = prepared.study, record.info
    return (
        info.filesystem == study.filesystem.kind
        and dict(info.filesystem_options) == study.options.model_dump(mode="json")
        and set(info.roles) == set(study.filesystem.roles)
        and study.baseline == UNFOLDED
        and set(info.folded) == set(study.fold.roles)
        and study.fold.of == "nodes"
    )


def _break(prepared: Prepared, known: Sequence[Record]) -> float:
    study, figures = prepared.study, prepared.figures
    capacity = capacity_of(figures.cores, figures.nic_bit_s, figures.disk_byte_s)
    strategy, ratios = study.fold.strategy, tuple(sorted(study.ratios))
    roles, folded = dict(study.filesystem.roles), tuple(study.fold.roles)
    target = Target(roles, strategy, capacity, ratios, study.fold.max_loss, folded=folded)
    decide = [
        curve.breaks_at
        for curve in predict(known, target).curves
        if curve.breaks_at is not None and asked_for(study.fold.metrics, curve.workload, curve.metric.name)
    ]
    return min(decide, default=ratios[-1])
