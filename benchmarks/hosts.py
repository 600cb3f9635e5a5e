"""How long it takes to reach many hosts by ssh, deploy a node on each, and remove it: on hosts of `box`.

All of them are on this machine, whose CPUs they share; a rack's have their own. So it is measured twice: as it is, and
with each host, its sshd and agent and all that they start, kept to the same small part of a CPU, as slow as if it were
alone. Then what many take longer than one is what pliant on this side, and the network, cannot do for all at once.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from box.hosts import Box

from pliant.machine.cgroups import probe
from pliant.machine.journal import STATE
from pliant.machine.parts import HostFigures
from pliant.platforms.fleet import Fleet
from pliant.platforms.ssh import Ssh

from .figures import Figure, Rule
from .machine import FAILURES, Bench, request, short

HOW = """Hosts of `python -m box`: namespaces of this machine with an sshd each, on one bridge. From `ssh` to all of
them to a node on each, on one network that was tried from each host to each, and its removal. `each with 0.05 of a
CPU`: each host's sshd, agent and all that they start are in a control group of that quota, and know nothing of it."""
_SHARE = 0.05
_GROUP = "pliantboxes"


def run(bench: Bench) -> None:
    """Figures for a growing number of hosts."""
    with bench.part("hosts", HOW):
        for counts, share in (((1, 16), _SHARE), ((1, 16) if bench.quick else (1, 16, 64), None)):
            known: dict[int, list[float]] = {}
            failed = ""
            for count in counts:
                for _ in range(bench.repeats):
                    bench.quiet()
                    try:
                        known.setdefault(count, []).append(once(count, share))
                    except FAILURES as error:
                        failed = short(error)
                        break
            words = f", each with {share} of a CPU" if share else ", all on these CPUs"
            for count, values in known.items():
                target = 60.0 if count == 64 else None
                rule: Rule = "at most" if target else ""
                bench.add(Figure("hosts", f"{count} hosts{words}: up", "s", tuple(values), rule, target, failed=failed))
            if share and known.get(1) and known.get(16):
                times = tuple(each / min(known[1]) for each in known[16])
                bench.add(Figure("hosts", f"16 hosts{words}: times one", "", times, "at most", 2.0))


def once(count: int, share: float | None = None) -> float:
    """Seconds from the first ssh to the last node, on so many hosts, each kept to a `share` of a CPU."""
    with tempfile.TemporaryDirectory() as directory, _hosts(Path(directory), count, share) as box:
        began = time.monotonic()
        with Fleet(box.names, config=box.config) as fleet:
            fleet.connect()
            platform = Ssh(fleet, limited=True)
            platform.look()
            figures = HostFigures(0.01, 100e6, 50e6, 64 << 20)
            deployment = platform.new(figures, title="bench")
            requests = [request(number) for number in range(1, count + 1)]
            try:
                deployment.up(requests, {each.name: n for n, each in enumerate(requests, 1)}, count, ())
                return time.monotonic() - began
            finally:
                deployment.remove()


@contextlib.contextmanager
def _hosts(directory: Path, count: int, share: float | None) -> Iterator[Box]:
    """A box of so many hosts, each of which sees a control group of its own as the machine's."""
    made = Box(directory, [f"node{number}" for number in range(1, count + 1)])
    groups = probe()
    own = {name: f"{_GROUP}/{name}" for name in made.names}
    for name in made.names:
        (directory / f"state-{name}").mkdir()
        made.bound[name] = [(directory / f"state-{name}", str(STATE))]
    if share:
        STATE.mkdir(exist_ok=True)
        groups.make(_GROUP)
        for name, group in own.items():
            groups.make(group)
            groups.limit_cpu(group, share)
            trees = {Path(file).parent for file in groups.join_files(group)}
            made.bound[name] += [(tree, str(tree.parents[1])) for tree in sorted(trees)]
    try:
        made.up()
        for name, group in own.items() if share else ():
            for file in groups.join_files(group):
                Path(file).write_text(str(made.daemons[name][0].pid))
        yield made
    finally:
        made.down()
        if share:
            groups.remove(_GROUP)
