"""A cluster on hosts that are only written down: what it asks of them, and what it refuses."""

from __future__ import annotations

from typing import ClassVar

import pytest
from doubles import Unmade
from prepared_studies import study

from pliant.cluster.cluster import CannotRefold, Cluster, CutShort, numbers
from pliant.platforms.interface import RemoteShell


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


class Launched:
    """An MPI that runs a shell's words in place of a program."""

    environment: ClassVar[dict[str, str]] = {}

    def launch(self, shell: RemoteShell, ranks: dict[str, int], argv: list[str]) -> list[str]:
        return ["sh", "-c", *argv]


SAID = "echo begin write 112.5; echo window write 112.6 114.25; echo result write 3.5"
OURS = "begin write 12.500000\nwindow write 12.600000 14.250000\nresult write 3.5\n"


class Ahead(Unmade):
    def ahead_s(self, node: str) -> tuple[float, float]:
        return 5.0, {"client1": 100.0}[node]


def launched(words: str, **keys: object) -> str:
    cluster = Cluster(Ahead(), study().composition)
    return cluster.mpi(Launched(), [words], {"client1": 1}, mark="m", timeout_s=20, **keys).stdout


def test_times_that_mpi_s_first_rank_prints_are_on_this_machine_s_clock():
    assert launched(SAID) == OURS


def test_so_are_those_that_a_watch_sees_and_those_of_a_program_that_is_cut_short():
    seen: list[str] = []

    def enough(printed: str) -> str:
        seen.append(printed)
        return "seen" if "result" in printed else ""

    with pytest.raises(CutShort) as caught:
        launched(f"{SAID}; sleep 20", watch=enough)
    assert caught.value.printed == seen[-1] == OURS
