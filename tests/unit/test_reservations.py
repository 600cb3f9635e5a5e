"""Hosts that a scheduler lends a study: written down before they are asked for, found again, and given back."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import pytest
from study_files import GOOD

from pliant.campaign import reservations
from pliant.campaign.reservations import Reservation, known, lent
from pliant.campaign.timing import Timing
from pliant.cli import lending
from pliant.errors import UserError
from pliant.schedulers.interface import Job, SchedulerError
from pliant.study.problems import StudyError
from pliant.study.reading import parse


class Lends:
    """A scheduler that lends at once, and remembers what it was asked. What a test sets, it fails at."""

    def __init__(self, state) -> None:
        self.jobs: dict[str, str] = {}
        self.log: list[str] = []
        self.fails = ""
        self.state = state
        self.refuses = ""

    def _say(self, what: str) -> None:
        self.log.append(what)
        if self.fails and what.startswith(self.fails):
            raise SchedulerError(f"cannot {what}")

    def submit(self, wish) -> str:
        assert wish.name in [json.loads(file.read_text())["name"] for file in self.state.glob("reservation-*")]
        self.jobs[wish.name] = str(len(self.jobs) + 1)
        self._say(f"submit {wish.nodes} for {wish.walltime_s}")
        return self.jobs[wish.name]

    def find(self, name: str) -> str | None:
        return self.jobs.get(name)

    def look(self, job: str) -> Job:
        return Job(job, "running", "R", ("node1", "node2"), ends_s=time.time() + 600)

    def extend(self, job: str, by_s: int) -> str:
        self._say(f"extend {job} by {by_s}")
        return self.refuses

    def release(self, job: str) -> None:
        self._say(f"release {job}")
        self.jobs = {name: each for name, each in self.jobs.items() if each != job}

    def release_command(self, job: str) -> list[str]:
        return ["end", job]


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    state = tmp_path / "state"
    monkeypatch.setattr(reservations, "STATE", state)
    made = Lends(state)
    monkeypatch.setattr(Reservation, "scheduler", property(lambda self: made))
    for name in ("SLURM_JOB_ID", "OAR_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    return made


def study(*lines: str, kind: str = "slurm"):
    text = GOOD.replace('kind = "emulated"', "\n".join([f'kind = "{kind}"', *lines]))
    return parse(text, "a.toml")


def borrow(asked, **keys):
    return lent(asked, 8, None, lambda text: None, **keys)


def test_hosts_are_asked_for_and_given_back(scheduler):
    with borrow(study('walltime = "1 h"')) as loan:
        assert loan.job.hosts == ("node1", "node2")
        (there,) = known()
        assert there.job == "1" and there.alive
    assert scheduler.log == ["submit 8 for 3600", "release 1"]
    assert known() == []


def test_whatever_happens_they_are_given_back(scheduler):
    with pytest.raises(KeyboardInterrupt), borrow(study('walltime = "1 h"')):
        raise KeyboardInterrupt
    assert scheduler.log[-1] == "release 1" and known() == []


def test_what_was_asked_for_and_not_answered_is_found_and_ended(scheduler):
    scheduler.fails = "submit"
    with pytest.raises(SchedulerError, match="cannot submit"), borrow(study('walltime = "1 h"')):
        pass
    assert scheduler.log[-1] == "release 1" and known() == []


def test_a_release_that_fails_names_the_command_and_stays_written_down(scheduler):
    with pytest.raises(SchedulerError, match="the reservation is ended by: end 1"), borrow(study('walltime = "1 h"')):
        scheduler.fails = "release"
    (there,) = known()
    scheduler.fails = ""
    there.release()
    assert known() == [] and scheduler.jobs == {}


def test_a_crashed_run_s_job_is_gone_on_with(scheduler):
    asked = study('walltime = "1 h"')
    with borrow(asked, keep=True):
        (there,) = known()
    replace(there, pid=2**22 + 1, keep=False).write()  # whose process is dead
    with borrow(asked) as loan:
        assert loan.job.id == "1"
    assert scheduler.log == ["submit 8 for 3600", "release 1"]
    replace(there, pid=2**22 + 1).write()  # its job has ended meanwhile
    with borrow(asked):
        pass
    assert scheduler.log[2:] == ["submit 8 for 3600", "release 1"]
    assert known() == []


def test_another_study_s_job_is_left_alone(scheduler):
    with borrow(study('walltime = "1 h"'), keep=True):
        (there,) = known()
    replace(there, pid=2**22 + 1, study="other").write()
    with borrow(study('walltime = "1 h"')):
        assert len(known()) == 2
    assert [each.study for each in known()] == ["other"]


def test_a_job_that_is_named_or_inside_which_one_is_is_never_ended(scheduler, monkeypatch):
    with borrow(study("job = 77")) as loan:
        assert loan.job.id == "77"
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")
    with borrow(study('walltime = "1 h"')) as loan:
        assert loan.job.id == "78"
    with borrow(study('walltime = "1 h"', 'front = "front"')) as loan:
        assert loan.job.id == "1"  # of another machine's scheduler nothing is known here
    assert scheduler.log == ["submit 8 for 3600", "release 1"] and known() == []


def test_what_is_to_be_kept_is_kept(scheduler):
    with borrow(study('walltime = "1 h"', "keep = true")):
        pass
    (there,) = known()
    assert scheduler.log == ["submit 8 for 3600"] and there.keep
    with pytest.raises(ValueError, match="no"), borrow(study('walltime = "1 h"'), keep=True):
        raise ValueError("no")  # `up` that failed
    assert scheduler.log[-1] == "release 2"


def test_fewer_hosts_than_the_baseline_takes_are_not_asked_for(scheduler):
    with pytest.raises(UserError, match=r"platform.nodes: 3 hosts are fewer than the 8 of ratio 1"):
        borrow(study('walltime = "1 h"', "nodes = 3")).__enter__()
    assert scheduler.log == [] and known() == []


def test_more_time_is_asked_for_in_whole_steps(scheduler):
    with borrow(study('walltime = "1 h"')) as loan:
        assert loan.extend(301) == ""
        scheduler.refuses = "no more for you"
        assert loan.extend(1) == "no more for you"
        scheduler.fails = "extend"
        assert loan.extend(1).startswith("cannot extend")
    assert [line for line in scheduler.log if "extend" in line][:2] == ["extend 1 by 600", "extend 1 by 300"]


def test_a_trial_is_over_before_the_hosts_have_to_be_given_back():
    ends = [time.time() + 100]
    timing = Timing(study('walltime = "1 h"'), lambda: ends[0])
    assert not timing.late and timing.lent_s == pytest.approx(100, abs=1)
    ends[0] -= 101
    assert timing.late
    assert Timing(study('walltime = "1 h"')).lent_s == math.inf


# What `check` says


def test_what_would_be_asked_for():
    about = lending.document(study('walltime = "2 h"', 'queue = "batch"'))
    assert (about["nodes"], about["machine_hours"], about["queue"]) == (8, 16.0, "batch")
    assert "glusterd" in about["programs"] and about["packages"] == [
        "glusterfs-client",
        "glusterfs-server",
        "procps",
    ]


def test_a_walltime_that_is_short_is_told():
    text = GOOD.replace('kind = "emulated"', 'kind = "oar"\nwalltime = "10 min"')
    (note,) = lending.notes(parse(text.replace('name = "small"', 'name = "small"\nbudget = "9 min"'), "a.toml"))
    assert "no room beside the budget" in note
    (note,) = lending.notes(parse(text, "a.toml"))
    assert "longer than the walltime" in note


# The table


@pytest.mark.parametrize(
    ("kind", "lines", "sentence"),
    [
        ("ssh", (), 'platform.hosts: is missing; add e.g. hosts = ["node[1-8]"]'),
        ("slurm", (), 'platform.walltime: is missing; add e.g. walltime = "2 h"'),
        ("emulated", ('hosts = ["a"]',), 'platform.hosts: says nothing with kind = "emulated", whose keys are host'),
        ("slurm", ('walltime = "1 h"', 'types = ["x"]'), "platform.types: says nothing with"),
        ("oar", ('walltime = "1 h"', 'network = "10.0.0.1/8"'), 'platform.network: "10.0.0.1/8" is no network'),
        ("oar", ('walltime = "1 h"', 'begin = "soon"'), 'platform.begin: "soon" is no moment; write e.g.'),
        ("oar", ('walltime = "1 h"', 'queue = "-x"'), "platform.queue"),
        ("grid5000", ('walltime = "1 h"',), "platform.site: is missing"),
        ("vm", (), 'platform.kind: "vm" is not available yet'),
        ("shh", (), 'platform.kind: "shh" is not a platform; did you mean "ssh"?'),
    ],
)
def test_what_does_not_go_together_is_refused(kind, lines, sentence):
    with pytest.raises(StudyError) as refused:
        study(*lines, kind=kind)
    assert sentence in str(refused.value)


def test_without_limits_a_host_is_what_it_is():
    text = GOOD.partition("[platform.host]")[0] + "[filesystem]" + GOOD.partition("[filesystem]")[2]
    found = parse(text.replace('kind = "emulated"', 'kind = "ssh"\nhosts = ["node[1-8]"]'), "a.toml")
    assert found.platform.host is None and found.platform.disk_size == 4 << 30
    with pytest.raises(StudyError, match=r"platform.host: is missing; add a \[platform.host\] table"):
        parse(text, "a.toml")
