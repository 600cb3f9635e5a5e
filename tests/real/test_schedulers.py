"""Real schedulers on the hosts of a box: asked for hosts, waited for, and what they do that nobody asked for."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
import support
from box import oar as oar_box
from box import slurm as slurm_box
from box import user
from box.hosts import Box, box

from pliant.schedulers import oar, slurm
from pliant.schedulers.front import Front, NoAnswerError
from pliant.schedulers.interface import Scheduler, SchedulerError, Wish
from pliant.schedulers.oar import Oar
from pliant.schedulers.slurm import Slurm
from pliant.schedulers.waiting import Clock, wait

pytestmark = pytest.mark.real

FRONTS = {"slurm": "head", "oar": "front"}
NODES = tuple(f"node{n}" for n in range(1, 5))
BOTH = pytest.mark.parametrize("kind", ["slurm", "oar"])


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Slurm and OAR, each with a front end and all of the nodes, and with a job that has little time left."""

    hosts: Box
    by_kind: dict[str, Scheduler]
    operator: Slurm
    ends: dict[str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with box(tmp_path_factory.mktemp("box"), [*FRONTS.values(), *NODES]) as hosts:
        user.add(hosts, *FRONTS.values())
        managed = slurm_box.start(hosts, FRONTS["slurm"], NODES)
        lent = oar_box.start(hosts, FRONTS["oar"], NODES)
        by_kind: dict[str, Scheduler] = {"slurm": Slurm(managed.front), "oar": Oar(lent.front)}
        # Schedulers look now and then whose time is over, Slurm every half a minute: they have until the last test.
        ends = {kind: each.submit(Wish("pliant-ends", 1, 3)) for kind, each in by_kind.items()}
        wait(by_kind["slurm"], ends["slurm"], time.time() + 30)
        # Slurm counts in minutes, unless an operator says when.
        assert managed.operator.run(["scontrol", "update", f"JobId={ends['slurm']}", "EndTime=now"]).exit_status == 0
        yield Cluster(hosts, by_kind, Slurm(managed.operator), ends)


@pytest.fixture
def one(cluster, kind):
    return cluster.by_kind[kind]


@pytest.fixture
def running(one, request):
    """A job of two nodes that runs, and its name."""
    name = f"pliant-{request.node.originalname[-20:]}"
    job = one.submit(Wish(name, 2, 600))
    yield dataclasses.replace(wait(one, job, time.time() + 30)), name
    one.release(job)


def refused(one: Scheduler, **keys: object) -> str:
    with pytest.raises(SchedulerError) as caught:
        one.submit(dataclasses.replace(Wish("pliant-refused", 2, 600), **keys))
    assert one.find("pliant-refused") is None
    return str(caught.value)


@BOTH
def test_hosts_are_asked_for_found_again_and_given_back(cluster, one, kind):
    before_s = time.time()
    job = one.submit(Wish("pliant-round", 2, 600))
    assert one.find("pliant-round") == job and one.find("pliant-other") is None
    news: list[str] = []
    found = wait(one, job, time.time() + 30, news.append)
    assert (found.id, found.state, len(set(found.hosts))) == (job, "running", 2)
    assert set(found.hosts) <= set(NODES)
    assert before_s + 590 < found.ends_s < time.time() + 620
    for host in found.hosts:
        as_root = Front(f"root@{host}", cluster.hosts.config).run(["sh", "-c", "hostname; id -u"])
        assert as_root.stdout.split() == [host, "0"]
    one.release(job)
    assert one.look(job).state == "ended" and one.find("pliant-round") is None
    one.release(job)
    assert one.look("4711").state == "unknown"
    one.release("4711")


@BOTH
def test_who_waits_is_told_why_and_for_how_long(one, running):
    first, _ = running
    job = one.submit(Wish("pliant-second", 3, 300))
    try:
        news: list[str] = []
        with pytest.raises(SchedulerError) as caught:
            wait(one, job, time.time() + 2, news.append)
        expected = time.strftime("%H:%M", time.localtime(first.ends_s))
        assert f"expected to start at {expected}" in news[-1] or "expected to start at" in str(caught.value)
        assert f"{' '.join(one.release_command(job))}` ends it" in str(caught.value)
        one.release(first.id)
        assert len(wait(one, job, time.time() + 30).hosts) == 3
    finally:
        one.release(job)


def test_slurm_gives_more_time_to_its_operators_alone(cluster):
    one = cluster.by_kind["slurm"]
    job = one.submit(Wish("pliant-more", 1, 600))
    ends_s = wait(one, job, time.time() + 30).ends_s
    assert one.extend(job, 600) == f"Slurm does not give job {job} 10 min more: Access/permission denied for job {job}"
    assert cluster.operator.extend(job, 601) == ""
    assert one.look(job).ends_s == ends_s + 660, "in whole minutes"
    one.release(job)


@pytest.mark.parametrize("kind", ["oar"])
def test_oar_gives_more_time_where_no_other_job_is_in_the_way(one, running):
    job, _ = running
    assert one.extend(job.id, 600) == ""
    assert one.look(job.id).ends_s == job.ends_s + 600
    assert "cannot increase by more than 1:0:0" in one.extend(job.id, 7200)


@BOTH
def test_more_nodes_than_there_are(one, kind):
    said = {"slurm": "does not lend such nodes, so many of them", "oar": "not enough resources"}[kind]
    assert said in refused(one, nodes=30)


@BOTH
def test_a_queue_that_is_not_there(one, kind):
    assert {"slurm": "nvalid partition", "oar": "queue nonesuch does not exist"}[kind] in refused(one, queue="nonesuch")


@BOTH
def test_properties_that_no_node_has(one, kind):
    properties = {"slurm": "nonesuch", "oar": "host = 'nonesuch'"}[kind]
    said = {"slurm": "Invalid feature", "oar": "not enough resources"}[kind]
    assert said in refused(one, properties=properties)


def test_job_types_are_oar_s(cluster):
    assert "unknown job type: nonesuch" in refused(cluster.by_kind["oar"], types=("nonesuch",))
    assert "Slurm has no job types" in refused(cluster.by_kind["slurm"], types=("deploy",))


@BOTH
def test_all_that_can_be_wished_is_understood(one, kind):
    properties = {"slurm": "", "oar": "host in ('node2', 'node3')"}[kind]
    types = {"slurm": (), "oar": ("allow_classic_ssh",)}[kind]
    queue = {"slurm": "other", "oar": "default"}[kind]
    begin_s = time.time() + 3600
    job = one.submit(Wish("pliant-all", 2, 600, queue, properties, types, "theirs", begin_s))
    support.until(lambda: one.look(job).starts_s, "what is expected")
    found = one.look(job)
    assert found.state == "waiting" and abs(found.starts_s - begin_s) < 5
    one.release(job)


@BOTH
def test_a_job_that_somebody_deletes(one, running, kind):
    job, name = running
    delete = {"slurm": ["scancel", "--name", name], "oar": ["oardel", job.id]}[kind]
    assert one.front.run(delete).exit_status == 0
    support.until(lambda: one.look(job.id).state == "ended", "its end")
    assert {"slurm": "CANCELLED", "oar": "User someone requested to frag"}[kind] in one.look(job.id).said
    with pytest.raises(SchedulerError, match=f"job {job.id} ended before it ran"):
        wait(one, job.id, time.time() + 5)


@BOTH
def test_a_front_end_that_does_not_answer(cluster, one, running, kind):
    job, _ = running
    name = FRONTS[kind]
    sshd = cluster.hosts.daemons[name].pop(0)
    sshd.kill()
    sshd.wait()
    try:
        with pytest.raises(NoAnswerError, match=f"the front end {name} cannot be reached: .*Connection refused"):
            one.look(job.id)
        news: list[str] = []
        slept: list[float] = []

        def sleep(pause_s: float) -> None:
            slept.append(pause_s)
            if len(slept) == 3:
                cluster.hosts.start_sshd(name)
                cluster.hosts.daemons[name].insert(0, cluster.hosts.daemons[name].pop())
            time.sleep(pause_s)

        assert wait(one, job.id, time.time() + 30, news.append, Clock(time.time, sleep)).hosts == job.hosts
        assert len(news) == 1 and news[0].endswith("; it is asked again")
    finally:
        if cluster.hosts.daemons[name][0].poll() is not None:
            cluster.hosts.start_sshd(name)


@BOTH
def test_programs_that_are_not_there(one, kind):
    with pytest.raises(SchedulerError, match=f"{FRONTS[kind]}: nonesuch is not there: a command by ssh sees the PATH"):
        one.front.run(["nonesuch", "--version"])


@BOTH
def test_what_a_job_s_own_programs_see_tells_which_it_is(cluster, one, kind):
    """A script of the job's own, which is how a study is run by `sbatch study.sh` and `oarsub ./study.sh`."""
    seen = Path("/tmp") / f"pliant-env-{cluster.hosts.directory.name}"
    script = f"env > {seen}; cat $OAR_NODEFILE > {seen}.hosts; mv {seen}.hosts {seen}.done; exec sleep infinity"
    submit = {
        "slurm": ["sbatch", "--parsable", "--job-name", "own", "--nodes", "2", "--wrap", script],
        "oar": ["oarsub", "--name", "own", "--resource", "nodes=2", *("--stdout", "/dev/null"), script],
    }[kind]
    assert one.front.run(submit).exit_status == 0
    job = one.find("own")
    try:
        found = wait(one, job, time.time() + 30)
        done = Path(f"{seen}.done")
        support.until(done.exists, "the script")
        env = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
        assert {"slurm": slurm, "oar": oar}[kind].own_job(env) == job
        if kind == "oar":
            assert oar.own_hosts({**env, "OAR_NODEFILE": str(done)}) == found.hosts
    finally:
        one.release(job)
        for each in Path("/tmp").glob(f"{seen.name}*"):
            each.unlink()


@BOTH
def test_walltime_that_runs_out(cluster, one, kind):
    job = cluster.ends[kind]
    support.until(lambda: one.look(job).state == "ended", "its end", timeout_s=60)
    assert {"slurm": "TIMEOUT", "oar": "(its walltime is over)"}[kind] in one.look(job).said
    assert one.find("pliant-ends") is None
