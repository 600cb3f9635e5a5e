"""What Grid'5000 says of a reservation before it is asked for: the cluster's size, and the testbed's usage policy."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from pliant.errors import PliantError
from pliant.schedulers import charter, grid5000, grid5000_api
from pliant.study.model import Study


def charges(study: Study, nodes: int, now_s: float | None = None) -> Iterator[str]:
    """What should be known of so many hosts for the study's walltime, in sentences; the API is asked how many nodes
    the cluster has, and nothing else. Nothing is said of other platforms."""
    platform = study.platform
    if platform.kind != "grid5000" or platform.job is not None or platform.walltime is None:
        return
    if platform.cluster is None:
        yield "without platform.cluster it cannot be told what the usage policy says: it goes by clusters"
        return
    try:
        scheduler = grid5000.of_user(grid5000_api.base_of(os.environ), platform.site or "", platform.cluster)
        there = scheduler.cluster_nodes()
    except PliantError as error:
        yield f"Grid'5000 does not tell how large {platform.cluster} is, so the usage policy was not looked at: {error}"
        return
    if nodes > there:
        yield f"{platform.cluster} has {there} nodes, fewer than the {nodes} that are to be reserved"
        return
    yield f"{nodes} of the {there} nodes of {platform.cluster} at {platform.site}"
    now_s = time.time() if now_s is None else now_s
    against = charter.problems(platform.begin_s, platform.walltime, nodes, there, now_s, platform.queue or "")
    yield from against or ["the usage policy allows it, as far as other jobs of yours on the same day do not count"]
