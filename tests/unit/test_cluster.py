"""A cluster on hosts that are only written down: what it asks of them, and what it refuses."""

from __future__ import annotations

import pytest
from doubles import Unmade
from prepared_studies import study

from pliant.cluster.cluster import CannotRefold, Cluster, numbers


@pytest.mark.parametrize("live", [True, False])
def test_another_placement_needs_nodes_that_can_move(live):
    checked, hosts = study(), Unmade()
    hosts.refolds_live = live
    cluster = Cluster(hosts, checked.composition)
    hosts.placed = numbers(checked.placements[1.0])
    cluster.refold(checked.placements[1.0])
    if live:
        cluster.refold(checked.placements[2.0])
        assert hosts.placed == numbers(checked.placements[2.0])
        return
    with pytest.raises(CannotRefold, match="deploy the cluster anew"):
        cluster.refold(checked.placements[2.0])
    assert hosts.placed == numbers(checked.placements[1.0])
