"""Carries out the faults of a trial, and finds out what became of the data and of the file system."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pliant.cluster.cluster import Cluster
from pliant.cluster.survival import Witness
from pliant.composition.faults import Fault, Outcome
from pliant.errors import TrialError

FILES = 32
"""So many files that each node of a file system has a part of some of them, and so few that they take no time."""
_POLL_S = 0.5


class Injection:
    """The faults of one trial: `prepare`, `begin` when operations may, `workload_ended`, `end`, then `outcome`."""

    def __init__(
        self, cluster: Cluster, faults: Sequence[Fault], recovery_s: float, said: Callable[[str], None]
    ) -> None:
        self._cluster, self._faults, self._recovery_s, self._said = cluster, tuple(faults), recovery_s, said
        hit = {fault.node for fault in faults}
        clients = [node.name for node in cluster.composition.clients]
        # Who reads is another than who wrote, and no fault happens to it, as far as there are enough.
        ranked = sorted(clients, key=lambda name: name in hit)
        reader, writer = ranked[0], ([name for name in clients if name != ranked[0]] or ranked)[0]
        self._witness = Witness(cluster, f"{cluster.composition.mount}/.pliant-witness", writer, reader, FILES)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._happen, name="faults", daemon=True)
        self.began_s = self.ended_s = self._healed = 0.0
        """When the workload's operations began and the workload ended, on the monotonic clock."""
        self._happened: dict[int, Fault] = {}
        self._open: dict[int, Fault] = {}
        self._failed: Exception | None = None

    def prepare(self) -> None:
        """Write the files that are to survive. Raises CommandFailed."""
        self._cluster.empty(self._witness.directory)
        self._witness.write()

    def begin(self) -> None:
        """Let the faults take place from now on; only the first time counts."""
        if not self.began_s:
            self.began_s = time.monotonic()
            self._thread.start()

    def workload_ended(self) -> None:
        """Let no more faults take place, nor be healed, until `end`."""
        self.ended_s = time.monotonic()
        self._over.set()
        if self.began_s:
            self._thread.join()

    def abandon(self) -> None:
        """Stop waiting for anything: what was begun is left as it is."""
        self._over.set()

    def end(self) -> None:
        """Heal what is not healed yet, each at its time; faults that have not happened do not any more.

        Raises TrialError if the workload was over before a fault, and whatever a fault itself failed with.
        """
        for index, fault in list(self._open.items()):
            if fault.heal_s is not None:
                time.sleep(max(0.0, self.began_s + fault.heal_s - time.monotonic()))
            self._heal(index, fault)
        if self._failed is not None:
            raise TrialError(f"a fault could not be carried out: {self._failed}") from self._failed
        missed = [fault for index, fault in enumerate(self._faults) if index not in self._happened]
        if missed:
            late = f"the workload had ended before {missed[0].node} had its fault at {missed[0].at_s:g} s"
            raise TrialError(f"{late}; make the workload longer, or `at` less")

    @property
    def first_s(self) -> float:
        """When the first fault happened, on the monotonic clock."""
        return self.began_s + min(fault.at_s for fault in self._happened.values())

    def outcome(self) -> Outcome:
        """Wait until the data is there and all nodes are well, for `recovery_s` at most, and say how it is then."""
        until = self._healed + self._recovery_s
        happened = tuple(self._happened[index] for index in sorted(self._happened))
        while True:
            began = time.monotonic()
            self._said("recover: data and health")
            self._cluster.drop_caches()
            wrong = self._witness.wrong()
            unwell = {node: each.said for node, each in self._cluster.health().items() if not each.good}
            known = Outcome(happened, FILES, wrong, recovery_s=self._recovery_s, unwell=unwell)
            if not wrong and not unwell:
                return replace(known, recovered_s=round(max(0.0, began - self._healed), 3))
            if time.monotonic() > until:
                return known
            time.sleep(_POLL_S)

    def _happen(self) -> None:
        """The thread in which faults happen and are healed in time, until the workload is over."""
        events = [(fault.at_s, index, fault, True) for index, fault in enumerate(self._faults)]
        events += [(f.heal_s, index, f, False) for index, f in enumerate(self._faults) if f.heal_s is not None]
        try:
            for at_s, index, fault, begins in sorted(events, key=lambda event: event[:2]):
                if self._over.wait(max(0.0, self.began_s + at_s - time.monotonic())):
                    return
                if begins:
                    self._break(index, fault)
                else:
                    self._heal(index, fault)
        except Exception as error:  # told by `end`, in the thread that waits for it
            self._failed = error

    def _break(self, index: int, fault: Fault) -> None:
        act = self._cluster.crash if fault.what == "crash" else self._cluster.block
        act(fault.node)
        self._happened[index] = replace(fault, at_s=round(time.monotonic() - self.began_s, 3), heal_s=None)
        self._open[index] = fault

    def _heal(self, index: int, fault: Fault) -> None:
        at_s = round(time.monotonic() - self.began_s, 3)
        self._open.pop(index, None)
        self._healed = time.monotonic()
        self._happened[index] = replace(self._happened[index], heal_s=at_s)
        if fault.what == "crash":
            self._cluster.start(fault.node)
        else:
            self._cluster.unblock(fault.node)
