"""Deploying the cluster of a prepared study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pliant.campaign import workplace
from pliant.campaign.preparation import Prepared
from pliant.cluster.cluster import Cluster


def bring_up(
    prepared: Prepared,
    ratio: float,
    *,
    keep: bool = False,
    run: Path | None = None,
    logs: Path | None = None,
    said: Callable[[str], None] = lambda step: None,
) -> Cluster:
    """Deploy the study's cluster at one of its ratios, without limits, and write down what it was promised.

    `run` is the directory of the run that it is for, by which it is found if the run is killed.
    """
    study = prepared.study
    cluster = Cluster.deploy(
        prepared.place.platform,
        study.composition,
        prepared.figures,
        study.placements[ratio],
        hosts=study.most_hosts,
        disk_bytes=study.platform.disk_size,
        title=study.name,
        programs=sorted(prepared.programs),
        kernels=prepared.kernels.own,
        brought=prepared.brought,
        keep=keep,
        run="" if run is None else str(run.resolve()),
        logs=logs,
        said=said,
    )
    try:
        workplace.write_down(cluster, study)
    except BaseException:
        cluster.close()
        raise
    return cluster
