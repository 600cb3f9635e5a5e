"""Faults carried out on time, healed, and followed until all is well: with a cluster that only remembers."""

from __future__ import annotations

import time

import pytest
from doubles import Unmade

from pliant.cluster import injection
from pliant.cluster.cluster import Health
from pliant.cluster.injection import Injection
from pliant.composition.faults import Fault
from pliant.composition.model import Composition, Role
from pliant.composition.placement import nodes_for
from pliant.errors import TrialError
from pliant.machine.process import CommandFailed, Completed

ROLES = (Role("server"), Role("client", client=True))


class Remembers:
    """A cluster of two servers and clients. `wrong` are what each check of the files finds, the last for ever."""

    def __init__(self, clients=2) -> None:
        nodes = nodes_for({"server": 2, "client": clients})
        self.composition = Composition("x", ROLES, nodes, (), "/mnt/dfs", (), ())
        self.deployment = Unmade()
        self.done: list[tuple[str, str]] = []
        self.at: list[float] = []
        self.ran: list[tuple[str, str]] = []
        self.wrong = [""]
        self.ill: list[dict[str, str]] = [{}]

    def __getattr__(self, name):
        if name not in ("crash", "start", "block", "unblock"):
            raise AttributeError(name)

        def act(node):
            self.done.append((name, node))
            self.at.append(time.monotonic())

        return act

    def empty(self, directory) -> None: ...

    def drop_caches(self) -> None: ...

    def execute(self, node, argv, *, timeout_s, stdin=""):
        self.ran.append((node, argv[2]))
        if argv[2] == "write":
            return Completed(tuple(argv), 0, "witness-1 aa\nwitness-2 bb\n", "")
        assert stdin == "witness-1 aa\nwitness-2 bb\n"
        wrong = self.wrong.pop(0) if len(self.wrong) > 1 else self.wrong[0]
        if wrong == "hangs":
            raise CommandFailed(argv, None, "", "", node)
        return Completed(tuple(argv), 0, wrong, "")

    def health(self):
        ill = self.ill.pop(0) if len(self.ill) > 1 else self.ill[0]
        return {n.name: Health(n.name, n.name not in ill, ill.get(n.name, "")) for n in self.composition.nodes}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(injection, "_POLL_S", 0.01)


def through(cluster, *faults, lasts_s=0.3, recovery_s=5.0):
    made = Injection(cluster, faults, recovery_s, lambda text: None)
    made.prepare()
    made.begin()
    time.sleep(lasts_s)
    made.workload_ended()
    made.end()
    return made


def test_faults_take_place_and_are_healed_in_time():
    cluster = Remembers()
    made = through(cluster, Fault("crash", "server1", 0.05, 0.15), Fault("cut", "server2", 0.1, 0.2))
    assert cluster.done == [("crash", "server1"), ("block", "server2"), ("start", "server1"), ("unblock", "server2")]
    for at, wanted in zip(cluster.at, (0.05, 0.1, 0.15, 0.2), strict=True):
        assert wanted <= at - made.began_s < wanted + 0.1
    found = made.outcome()
    assert [(fault.what, fault.node) for fault in found.happened] == [("crash", "server1"), ("cut", "server2")]
    assert found.happened[0].at_s == pytest.approx(0.05, abs=0.1)
    assert (found.intact, found.unwell) == (True, {})
    assert found.recovered_s is not None
    assert found.recovered_s < 1


def test_what_is_not_healed_when_the_workload_ends_is_healed_then_or_at_its_time():
    cluster = Remembers()
    began = time.monotonic()
    through(cluster, Fault("crash", "server1", 0.05, None), Fault("cut", "server2", 0.05, 0.5), lasts_s=0.2)
    assert cluster.done[2:] == [("start", "server1"), ("unblock", "server2")]
    assert 0.5 <= time.monotonic() - began < 0.8


def test_a_workload_that_is_over_before_the_fault_is_no_trial():
    with pytest.raises(TrialError, match=r"had ended before server1 had its fault at 9 s; make the workload longer"):
        through(Remembers(), Fault("crash", "server1", 9.0, 20.0), lasts_s=0.05)


def test_a_fault_that_cannot_be_carried_out_is_told():
    cluster = Remembers()
    cluster.crash = lambda node: (_ for _ in ()).throw(OSError("no such thing"))
    with pytest.raises(TrialError, match="a fault could not be carried out: no such thing"):
        through(cluster, Fault("crash", "server1", 0.05, 0.1))


def test_another_client_reads_than_wrote_and_one_that_no_fault_happens_to():
    cluster = Remembers(clients=3)
    through(cluster, Fault("cut", "client1", 0.05, 0.1)).outcome()
    (writer, what), (reader, other) = cluster.ran
    assert (what, other) == ("write", "check")
    assert writer != reader
    assert reader != "client1"
    alone = Remembers(clients=1)
    through(alone, Fault("crash", "server1", 0.05, 0.1)).outcome()
    assert {node for node, _ in alone.ran} == {"client1"}


def test_data_that_comes_back_in_time_is_intact():
    cluster = Remembers()
    cluster.wrong = ["hangs", "witness-2 is not there\n", ""]
    cluster.ill = [{"server1": "starting"}, {}]
    found = through(cluster, Fault("crash", "server1", 0.05, 0.1)).outcome()
    assert (found.intact, found.unwell) == (True, {})
    assert found.recovered_s is not None


def test_data_and_nodes_that_do_not_come_back_are_told():
    cluster = Remembers()
    cluster.wrong, cluster.ill = ["witness-2 has another content\n"], [{"server1": "no quorum"}]
    found = through(cluster, Fault("crash", "server1", 0.05, 0.1), recovery_s=0.3).outcome()
    assert found.wrong == {"witness-2": "has another content"}
    assert found.unwell == {"server1": "no quorum"}
    assert found.recovered_s is None
    assert not found.intact
