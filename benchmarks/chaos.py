"""Faults at random moments of a study on the hosts of a box: `python -m benchmarks.chaos --moments 30 --kind slurm`.

At each moment one thing goes wrong: agents are killed, connections cut, a host loses its power and comes back, the job
is deleted, pliant is killed or interrupted. Then the same command goes on, until the study is complete; the next moment
begins another. After each it is looked for what is left on hosts, and for trials that were counted twice.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from box import failing, studies
from box.hosts import Box, box
from box.oar import oar
from box.slurm import slurm

from pliant.machine.journal import STATE, deployments
from pliant.results.store import DATABASE, Store
from pliant.trial import Trial

_NODES = ("node1", "node2")
_LONGEST_S = 240.0
IMPATIENT = """
from pliant.campaign import reservations
from pliant.platforms import agents, fleet
agents.ALIVE_S, fleet.CONNECT_S, reservations.LOOK_S = 1, 5.0, 2.0
from pliant.cli import main
main()
"""
"""pliant, which finds out in seconds what usually takes it a minute."""


class Failure(Exception):
    """Something that must not be, in words."""


class Chaos:
    """A study that is run again and again on the hosts of a box."""

    def __init__(self, hosts: Box, kind: str, directory: Path, chance: random.Random, seconds: float) -> None:
        self.hosts, self.kind, self.directory, self.chance = hosts, kind, directory, chance
        self.file = directory / "study.toml"
        where = {"ssh": f'hosts = ["{_NODES[0]}", "{_NODES[1]}"]'}.get(kind, 'front = "front"\nwalltime = "1 h"')
        platform = f'kind = "{kind}"\n{where}\nssh_config = "{hosts.config}"'
        self.file.write_text(studies.study(platform, repetitions=2, seconds=seconds))
        self.run = 0
        self.faults: dict[str, Callable[[], None]] = {
            "agents killed": lambda: _ignore(failing.kill_agents(hosts, self.one)),
            "connections cut": lambda: failing.cut(hosts, self.one),
            "all connections cut": self.cut,
            "a host dies and comes back": self.power,
            "a link is down for a while": self.unplug,
            "pliant killed": lambda: self.process.kill(),
            "pliant interrupted": lambda: self.process.send_signal(signal.SIGTERM),
        }
        if kind != "ssh":
            self.faults["job deleted"] = self.delete
        self.process = subprocess.Popen(["true"])

    @property
    def one(self) -> str:
        """One of the hosts."""
        return self.chance.choice(_NODES)

    @property
    def output(self) -> Path:
        """The directory of the run."""
        return self.directory / f"run{self.run}"

    def cut(self) -> None:
        """All connections are cut."""
        for name in _NODES:
            failing.cut(self.hosts, name)

    def power(self) -> None:
        """A host loses its power and comes back."""
        name = self.one
        failing.power_off(self.hosts, name)
        time.sleep(self.chance.uniform(0, 8))
        self.hosts.begin(name)
        if self.kind == "slurm":
            self.hosts.start(name, ["slurmd", "-D", "-N", name], "slurmd")
        elif self.kind == "oar":
            self.hosts.start(name, ["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/oar/sshd_config"], "oar-sshd")
        self.hosts.answers(name)

    def unplug(self) -> None:
        """A host's link is down for some seconds."""
        name = self.one
        self.hosts.link(name, "down")
        time.sleep(self.chance.uniform(0.5, 6))
        self.hosts.link(name, "up")

    def delete(self) -> None:
        """All jobs are deleted by their user."""
        words = {
            "slurm": "scancel --me",
            "oar": "oardel $(oarstat -u someone -J | grep -o '\"[0-9]*\" *:' | tr -d '\": ')",
        }
        command = ["ssh", "-F", str(self.hosts.config), "front", words[self.kind]]
        subprocess.run(command, capture_output=True, timeout=60, check=False)

    def start(self) -> None:
        """Begin the study, or go on with it."""
        with (self.directory / "said.txt").open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", IMPATIENT, "run", str(self.file), "--fresh", "--output", str(self.output)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def end(self) -> int:
        """Wait until it ends; how it did."""
        try:
            status = self.process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"it goes on for longer than {_LONGEST_S:.0f} s") from None
        if "Traceback" in (self.directory / "said.txt").read_text():
            raise Failure("a traceback")
        return status

    def moment(self, longest_s: float) -> str:
        """One fault at some moment of the study, and what came of it."""
        what = self.chance.choice(sorted(self.faults))
        self.start()
        began, after_s = time.monotonic(), self.chance.uniform(0, longest_s)
        while self.process.poll() is None and time.monotonic() - began < after_s:
            time.sleep(0.02)
        after_s = time.monotonic() - began
        self.faults[what]()
        told, goes_on = [], 0
        while (status := self.end()) != 0:
            told.append(str(status))
            if goes_on == 3:
                raise Failure(f"{what} after {after_s:.1f} s: it does not go on: {', '.join(told)}")
            if status == 1:  # hosts that were not there: as its message says
                subprocess.run([sys.executable, "-c", IMPATIENT, "down", "--all"], capture_output=True, timeout=200)
            if status >= 0 and (left := failing.all_gone()):
                raise Failure(f"{what} after {after_s:.1f} s: left: {left[:5]}")
            goes_on += 1
            self.start()
        if (left := failing.all_gone()) or (left := [path.name for path in STATE.glob("reservation-*")]):
            raise Failure(f"{what} after {after_s:.1f} s: left: {left[:5]}")
        self.counted()
        self.run += 1
        return f"{what} after {after_s:.1f} s: {', '.join([*told, '0'])}"

    def counted(self) -> None:
        """Each trial is there once. Failure."""
        if not (self.output / DATABASE).exists():
            raise Failure("there is no run")
        with Store.look(self.output) as store:
            trials: list[Trial] = [trial for trial in store.trials() if trial.counted]
        many = Counter((trial.ratio, trial.repetition) for trial in trials)
        if sorted(many.items()) != [((r, n), 1) for r in (1.0, 2.0) for n in (1, 2)]:
            raise Failure(f"counted: {dict(many)}")


def _ignore(_: object) -> None:
    pass


def main() -> int:
    """Have it happen, and tell of each moment."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--kind", choices=["ssh", "slurm", "oar"], default="slurm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a trial")
    parser.add_argument("--longest", type=float, default=20.0, help="up to which moment of a run")
    given = parser.parse_args()
    if deployments():
        parser.error("something is up: `pliant down --all`, or another PLIANT_STATE")
    failures = 0
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pliant-chaos-")))
        if given.kind == "ssh":
            hosts = stack.enter_context(box(directory / "box", _NODES))
        elif given.kind == "slurm":
            hosts = stack.enter_context(slurm(directory / "box", len(_NODES))).hosts
        else:
            hosts = stack.enter_context(oar(directory / "box", len(_NODES))).hosts
        chaos = Chaos(hosts, given.kind, directory, random.Random(given.seed), given.seconds)
        for number in range(1, given.moments + 1):
            try:
                said = chaos.moment(given.longest)
            except Failure as failure:
                failures += 1
                last = (directory / "said.txt").read_text().splitlines()[-30:]
                said = f"FAILED: {failure}\n    " + "\n    ".join(last)
                chaos.process.kill()
                chaos.process.wait()
                failing.clear()
                for path in STATE.glob("reservation-*"):
                    path.unlink()
                chaos.run += 1
            print(f"{number}: {said}", flush=True)
            (directory / "said.txt").unlink(missing_ok=True)
    print(f"{given.moments} moments, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
