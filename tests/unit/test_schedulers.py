"""What schedulers are asked, and what is made of what real ones have printed (Slurm 22.05, OAR 2.5.9)."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import pytest

from pliant.platforms.interface import Completed
from pliant.schedulers import oar, slurm
from pliant.schedulers.front import Front, LackingError, NoAnswerError
from pliant.schedulers.interface import Job, SchedulerError, Wish
from pliant.schedulers.oar import Oar
from pliant.schedulers.slurm import Slurm
from pliant.schedulers.waiting import BORNE_S, LONGEST_S, Clock, wait

NOW_S = 1_795_980_000.0
PLAIN = Wish("pliant-ab12", 4, 5400)
FULL = Wish("pliant-ab12", 2, 3601, "night", "intel", (), "theirs", NOW_S + 99.5)


@dataclasses.dataclass(frozen=True)
class Told(Front):
    """A front end on which commands print what they are told to: (exit status, output, errors) by their first word."""

    answers: dict[str, tuple[int, str, str]] = dataclasses.field(default_factory=dict)
    asked: list[tuple[str, ...]] = dataclasses.field(default_factory=list)

    def run(self, argv, *, timeout_s=0.0, env=None):
        self.asked.append(tuple(argv))
        return Completed(tuple(argv), *self.answers[argv[0]])


def told(scheduler, **answers):
    return scheduler(Told(answers=answers))


def words(*parts):
    return [word for part in parts for word in part.split()]


# Where commands are run


def test_commands_are_run_here_as_they_are():
    assert Front().command(["squeue", "--me"], {"A": "b c"}) == ["env", "A=b c", "squeue", "--me"]
    assert Front().run(["sh", "-c", "echo a; exit 3"]).exit_status == 3
    assert Front().typed(["scancel", "1"]) == ["scancel", "1"]


def test_commands_for_a_front_end_are_quoted_for_its_shell(tmp_path):
    front = Front("me@front", tmp_path / "config")
    *options, host, text = front.command(["oarsub", "sleep 'x'"])
    assert options[:4] == ["ssh", "-T", "-F", f"{tmp_path}/config"] and options[-1] == "--" and host == "me@front"
    assert {"BatchMode=yes", "ConnectTimeout=10", "ControlMaster=no"} <= set(options)
    assert text.startswith("sh -c 'echo ") and text.endswith("""' pliant oarsub 'sleep '"'"'x'"'"''""")
    assert front.typed(["oardel", "1"]) == ["ssh", "-F", f"{tmp_path}/config", "me@front", "oardel", "1"]


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """An ssh that does as it is told; it finds the remote command as $1."""

    def write(script):
        (tmp_path / "ssh").write_text(f"#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\n{script}\n")
        (tmp_path / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return Front("front")

    return write


def test_what_a_login_prints_is_none_of_the_output(ssh):
    done = ssh('echo Welcome; sh -c "$1"').run(["printf", "%s-", "a b", "c"], env={"X": "y"})
    assert (done.exit_status, done.stdout) == (0, "a b-c-")


def test_an_exit_status_is_the_command_s_once_it_has_begun(ssh):
    assert ssh('sh -c "$1"').run(["sh", "-c", "exit 255"]).exit_status == 255


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        ("echo ssh: no route >&2; exit 255", NoAnswerError, "the front end front cannot be reached: ssh: no route"),
        (
            "echo 'me@front: Permission denied (publickey).' >&2; exit 255",
            NoAnswerError,
            r"me@front: Permission denied \(publickey\).; `ssh front` has to work without a question",
        ),
        ("exit 1", NoAnswerError, "the front end front cannot be reached: ssh does not say why"),
        ('sh -c "$1"', LackingError, "front: nonesuch is not there: a command by ssh sees the PATH of `ssh front env`"),
    ],
)
def test_why_nothing_was_run(ssh, script, error, said):
    with pytest.raises(error, match=said):
        ssh(script).run(["nonesuch"])


def test_a_command_that_takes_too_long():
    with pytest.raises(NoAnswerError, match="sleep did not answer in 0 s"):
        Front().run(["sleep", "30"], timeout_s=0.2)


def test_programs_that_are_not_there(monkeypatch):
    with pytest.raises(LackingError, match="nonesuch is not there: call pliant on a front end of the cluster"):
        Front().run(["nonesuch"])
    with pytest.raises(LackingError, match="nonesuch is not there"):
        Front().run(["nonesuch"], env={"A": "b"})
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LackingError, match="ssh is not there: apt-get install openssh-client"):
        Front("front").run(["true"])


# Slurm


def test_what_slurm_is_asked_for(monkeypatch):
    end = ["--chdir", "/", "--output", "/dev/null", "--error", "/dev/null", "--wrap", "exec sleep infinity"]
    asked = told(Slurm, sbatch=(0, "12\n", ""), squeue=(0, "12|PENDING||N/A|N/A|None\n", ""))
    assert asked.submit(PLAIN) == "12"
    assert list(asked.front.asked[0]) == [
        *words("sbatch --parsable --job-name pliant-ab12 --nodes 4 --exclusive --no-requeue --time 90"),
        *end,
    ]
    monkeypatch.setattr(time, "time", lambda: NOW_S)
    asked.submit(FULL)
    assert list(asked.front.asked[2]) == [
        *words("sbatch --parsable --job-name pliant-ab12 --nodes 2 --exclusive --no-requeue --time 61"),
        *words("--partition night --constraint intel --account theirs --begin now+100"),
        *end,
    ]


def test_a_cluster_s_name_is_not_the_job_s(monkeypatch):
    assert told(Slurm, sbatch=(0, "12;east\n", ""), squeue=(0, "", "")).submit(PLAIN) == "12"


SLURM_JOBS = [
    ("7|PENDING||N/A|N/A|None", Job("7", "waiting", "PENDING")),
    ("7|PENDING||1795980845|1795981445|Resources", Job("7", "waiting", "PENDING (Resources)", starts_s=1795980845.0)),
    ("7|PENDING||N/A|N/A|ReqNodeNotAvail, UnavailableNodes:node1", None),
    ("7|CONFIGURING|node[1-2]|1795980245|1795980845|None", None),
    ("7|RUNNING|node[1-2]|1795980245|1795980845|None", Job("7", "running", "RUNNING", ("a", "b"), None, 1795980845.0)),
    ("7|RUNNING|node1|1795980245|Unknown|None", Job("7", "running", "RUNNING", ("a", "b"))),
    ("7|COMPLETING|node2|1795980245|1795980252|None", Job("7", "ended", "COMPLETING")),
    ("7|CANCELLED|node[1-2]|1795980245|1795980252|None", Job("7", "ended", "CANCELLED")),
    ("7|TIMEOUT|node[1-2]|1795980363|1795980444|TimeLimit", Job("7", "ended", "TIMEOUT (TimeLimit)")),
    ("7|FAILED|node1|1795980363|1795980363|JobLaunchFailure", Job("7", "ended", "FAILED (JobLaunchFailure)")),
    ("7|SUSPENDED|node1|1795980363|1795980363|None", Job("7", "waiting", "SUSPENDED", starts_s=1795980363.0)),
    ("7|PENDING||N/A|N/A|a | b", Job("7", "waiting", "PENDING (a | b)")),
    ("7|NOVEL|node1|1795980363|1795980363|None", Job("7", "unknown", "NOVEL")),
]


@pytest.mark.parametrize(("line", "job"), SLURM_JOBS)
def test_what_slurm_tells_of_a_job(line, job):
    found = told(Slurm, squeue=(0, f"{line}\n", ""), scontrol=(0, "a\nb\n", "")).look("7")
    assert found == job or (job is None and found.state == "waiting")


def test_slurm_s_lists_of_hosts_are_expanded_once():
    one = told(Slurm, squeue=(0, "7|RUNNING|node[1-2]|1|2|None\n", ""), scontrol=(0, "node1\nnode2\n", ""))
    assert one.look("7").hosts == one.look("7").hosts == ("node1", "node2")
    assert [argv for argv in one.front.asked if argv[0] == "scontrol"] == [
        ("scontrol", "show", "hostnames", "node[1-2]")
    ]


def test_a_job_that_slurm_does_not_know():
    unknown = told(Slurm, squeue=(1, "", "slurm_load_jobs error: Invalid job id specified\n"), scancel=(0, "", ""))
    assert unknown.look("9").state == "unknown"
    assert told(Slurm, squeue=(0, "\n", "")).look("9").state == "unknown"


def test_a_job_of_slurm_s_is_found_by_its_name():
    lines = "3|COMPLETING|node1|1|2|None\n5|RUNNING|node1|1|2|None\n"
    one = told(Slurm, squeue=(0, lines, ""))
    assert one.find("x") == "5"
    assert one.front.asked == [("squeue", "--noheader", "--me", "--name", "x", "--format", "%i|%T|%N|%S|%e|%r")]
    assert told(Slurm, squeue=(0, "", "")).find("x") is None


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (
            (
                1,
                "",
                "sbatch: error: invalid partition: x\nsbatch: error: Batch job submission failed: Invalid y\n",
            ),
            "Slurm refused a job of 4 nodes: Batch job submission failed: Invalid y",
        ),
        ((0, "", ""), "Slurm refused a job of 4 nodes: status 0"),
        ((0, "Welcome\n", ""), "Slurm refused a job of 4 nodes: Welcome"),
    ],
)
def test_what_slurm_refuses(done, said):
    with pytest.raises(SchedulerError) as caught:
        told(Slurm, sbatch=done).submit(PLAIN)
    assert str(caught.value) == said


def test_what_slurm_takes_and_will_never_start_is_taken_back():
    line = "12|PENDING||N/A|N/A|PartitionTimeLimit\n"
    one = told(Slurm, sbatch=(0, "12\n", ""), squeue=(0, line, ""), scancel=(0, "", ""))
    with pytest.raises(SchedulerError, match="for 90 min: the partition does not lend them for so long"):
        one.submit(PLAIN)
    assert one.front.asked[-1] == ("scancel", "12")


def test_slurm_has_no_job_types():
    with pytest.raises(SchedulerError, match="Slurm has no job types: deploy"):
        told(Slurm).submit(dataclasses.replace(PLAIN, types=("deploy",)))


@pytest.mark.parametrize(
    "stderr",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
        "slurm_load_jobs error: Socket timed out on send/recv operation\n",
    ],
)
def test_a_slurm_that_does_not_answer(stderr):
    one = told(Slurm, squeue=(1, "", stderr), sbatch=(0, "12\n", ""))
    with pytest.raises(NoAnswerError, match="Slurm does not answer: slurm_load_jobs error"):
        one.look("7")
    assert one.submit(PLAIN) == "12", "the job is there"


@pytest.mark.parametrize("printed", ["squeue: what\n", "7|RUNNING\n", "7|RUNNING|a|b|c\n"])
def test_what_squeue_should_not_print(printed):
    for ask in (Slurm.look, Slurm.find):
        with pytest.raises(SchedulerError, match="squeue printed what is no job"):
            ask(told(Slurm, squeue=(0, printed, "")), "7")


def test_slurm_fails_in_a_sentence():
    one = told(Slurm, squeue=(1, "", "squeue: error: no\n"), scancel=(1, "", "scancel: error: no\n"))
    for ask in (Slurm.look, Slurm.find, Slurm.release):
        with pytest.raises(SchedulerError, match=r"Slurm does not .*: no$"):
            ask(one, "7")
    running = (0, "7|RUNNING|node[1-2]|1|2|None\n", "")
    with pytest.raises(SchedulerError, match="does not say which hosts"):
        told(Slurm, squeue=running, scontrol=(0, "", "")).look("7")
    with pytest.raises(SchedulerError, match="does not end job 7"):
        told(Slurm, squeue=running, scontrol=(0, "a\n", ""), scancel=(1, "", "scancel: error: denied\n")).release("7")
    told(Slurm, squeue=(0, "7|CANCELLED||1|2|None\n", ""), scancel=(1, "", "already completed\n")).release("7")


def test_more_time_of_slurm_s():
    one = told(Slurm, scontrol=(1, "", "Access/permission denied for job 7\n"))
    assert one.extend("7", 61) == "Slurm does not give job 7 2 min more: Access/permission denied for job 7"
    assert one.front.asked == [("scontrol", "update", "JobId=7", "TimeLimit+=2")]
    assert told(Slurm, scontrol=(0, "", "")).extend("7", 60) == ""


def test_the_job_in_which_one_is():
    assert slurm.own_job({"SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "node[1-2]"}) == "12"
    assert slurm.own_job({"SLURM_JOB_ID": "12"}) is None and slurm.own_job({}) is None


# OAR

OAR_WAITING = {
    **{"state": "Waiting", "Job_Id": 2, "name": "pliant-b", "startTime": 0, "scheduledStart": 1795981281, "events": []},
    **{"assigned_network_address": [], "walltime": 600, "reservation": "None"},
    "message": "R=3,W=0:10:0,J=B,N=pliant-b (Karma=0.000,quota_ok)",
}
OAR_RUNNING = {
    **{"state": "Running", "Job_Id": 1, "name": "pliant-x", "startTime": 1795980679, "scheduledStart": 1795980679},
    **{"assigned_network_address": ["node1", "node2", "node1"], "walltime": 600, "stopTime": 0, "events": []},
    "message": "R=2,W=0:10:0,J=B,N=pliant-x (Karma=0.000,quota_ok)",
}
EXTENDED = {"type": "WALLTIME", "description": " walltime changed: 0:20:0 (granted: +0:10:0/pending: 0:0:0)"}
DELETED = {"type": "FRAG_JOB_REQUEST", "description": "User someone requested to frag the job 1"}
ELAPSED = {
    "type": "WALLTIME",
    "description": "[sarko] Job [6] from 1795980693 with 5; current time=1795980705 (Elapsed)",
}
OAR_JOBS = [
    (OAR_WAITING, Job("2", "waiting", "Waiting", starts_s=1795981281.0)),
    ({**OAR_WAITING, "scheduledStart": None}, Job("2", "waiting", "Waiting")),
    (
        {**OAR_WAITING, "scheduledStart": None, "startTime": 1795984290, "reservation": "Scheduled", "message": "R=2"},
        Job("2", "waiting", "Waiting", starts_s=1795984290.0),
    ),
    (
        {**OAR_WAITING, "message": "R=1 (Karma=0.1,no enough resources)"},
        Job("2", "waiting", "Waiting (no enough resources)", starts_s=1795981281.0),
    ),
    ({**OAR_WAITING, "state": "Hold", "message": None}, Job("2", "waiting", "Hold", starts_s=1795981281.0)),
    ({**OAR_RUNNING, "state": "toLaunch"}, Job("1", "waiting", "toLaunch", starts_s=1795980679.0)),
    (OAR_RUNNING, Job("1", "running", "Running", ("node1", "node2"), ends_s=1795981279.0)),
    (
        {**OAR_RUNNING, "walltime": 1200, "events": [EXTENDED]},
        Job("1", "running", "Running", ("node1", "node2"), ends_s=1795981879.0),
    ),
    (
        {**OAR_RUNNING, "events": [EXTENDED, DELETED]},
        Job("1", "ended", "Running (User someone requested to frag the job 1)"),
    ),
    (
        {**OAR_RUNNING, "state": "Error", "events": [DELETED, ELAPSED]},
        Job("1", "ended", "Error (its walltime is over)"),
    ),
    ({**OAR_RUNNING, "state": "Finishing"}, Job("1", "ended", "Finishing")),
    ({**OAR_RUNNING, "state": "Terminated"}, Job("1", "ended", "Terminated")),
    ({**OAR_RUNNING, "state": "Novel"}, Job("1", "unknown", "Novel")),
]


def stated(*jobs):
    return (0, json.dumps({str(job["Job_Id"]): job for job in jobs}), "")


@pytest.mark.parametrize(
    ("wish", "more"),
    [
        (PLAIN, "--name pliant-ab12 --resource nodes=4,walltime=1:30:00"),
        (
            dataclasses.replace(FULL, properties="", types=("deploy", "allow_classic_ssh"), begin_s=None),
            "--name pliant-ab12 --resource nodes=2,walltime=1:00:01 --queue night --project theirs --type deploy"
            " --type allow_classic_ssh",
        ),
    ],
)
def test_what_oar_is_asked_for(wish, more):
    asked = told(Oar, oarsub=(0, "[ADMISSION RULE] Modify resource description\nOAR_JOB_ID=12\n", ""))
    assert asked.submit(wish) == "12"
    last = [*words("--directory / --stdout /dev/null --stderr /dev/null"), "sleep infinity"]
    assert list(asked.front.asked[0]) == [*words("oarsub", more), *last]


def test_an_advance_reservation_of_oar_s_is_in_utc():
    asked = told(
        Oar, oarsub=(0, "OAR_JOB_ID=12\nReservation mode: waiting validation...\nReservation valid --> OK\n", "")
    )
    assert asked.submit(Wish("x", 2, 60, properties="host = 'node1'", begin_s=1_795_980_000.7)) == "12"
    assert asked.front.asked[0][5:9] == ("--property", "host = 'node1'", "--reservation", "2026-11-29 19:20:00")


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (
            (
                8,
                "[ADMISSION RULE] Modify\nOAR_JOB_ID=-5\n",
                "There are not enough resources for your request\n[ERROR] Oarsub\n",
            ),
            "There are not enough resources for your request",
        ),
        ((254, "", "[ADMISSION RULE] Error: unknown job type: x\n\n"), "unknown job type: x"),
        ((248, "[ADMISSION RULE] Modify\n", "ERROR : The queue x does not exist\n"), "The queue x does not exist"),
        (
            (
                10,
                "OAR_JOB_ID=5\nReservation mode: waiting\nReservation not valid --> KO (Reservation too old)\n",
                "",
            ),
            "Reservation not valid --> KO (Reservation too old)",
        ),
        ((0, "OAR_JOB_ID=-5\n", ""), "OAR_JOB_ID=-5"),
    ],
)
def test_what_oar_refuses(done, said):
    with pytest.raises(SchedulerError) as caught:
        told(Oar, oarsub=done).submit(PLAIN)
    assert str(caught.value) == f"OAR refused a job of 4 nodes: {said}"


@pytest.mark.parametrize(("said", "job"), OAR_JOBS)
def test_what_oar_tells_of_a_job(said, job):
    one = told(Oar, oarstat=stated(said))
    assert one.look(job.id) == job
    assert one.front.asked == [("oarstat", "--full", "--json", "--job", job.id)]


def test_a_job_that_oar_does_not_know():
    one = told(Oar, oarstat=(0, "", ""), oardel=(1, "Deleting the job = 9 ...ERROR.\n", "Cannot frag 9\n"))
    assert one.look("9").state == "unknown"
    one.release("9")


def test_a_job_of_oar_s_is_found_by_its_name():
    one = told(Oar, oarstat=stated(OAR_WAITING, OAR_RUNNING))
    assert one.find("pliant-x") == "1" and one.find("pliant-b") == "2" and one.find("pliant") is None
    assert one.front.asked[0] == ("oarstat", "--full", "--json", "--user")
    assert told(Oar, oarstat=stated({**OAR_RUNNING, "events": [DELETED]})).find("pliant-x") is None
    assert told(Oar, oarstat=(0, "", "")).find("pliant-x") is None


@pytest.mark.parametrize(
    "printed", ["no JSON", "[]", '{"1": 5}', '{"1": {"Job_Id": 1}}', '{"1": {"Job_Id": 1, "state": "Running"}}']
)
def test_what_oarstat_should_not_print(printed):
    with pytest.raises(SchedulerError, match=r"oarstat (printed|told)"):
        told(Oar, oarstat=(0, printed, "")).look("1")


def test_oar_fails_in_a_sentence():
    for ask in (Oar.look, Oar.find):
        with pytest.raises(SchedulerError, match="OAR does not say which jobs there are: no"):
            ask(told(Oar, oarstat=(1, "", "no\n")), "1")
    with pytest.raises(SchedulerError, match="OAR does not end job 1: Cannot frag 1 ; You are not the right user"):
        told(Oar, oarstat=stated(OAR_RUNNING), oardel=(1, "", "Cannot frag 1 ; You are not the right user.\n")).release(
            "1"
        )
    with pytest.raises(NoAnswerError, match="OAR does not answer: DB connection error, exiting"):
        told(Oar, oarstat=(25, "", "DB connection error, exiting.\n")).look("1")


WALLTIME = (
    "Accepted: walltime change request accepted for job 1, it will be handled shortly.\n"
    "Walltime change status for job 1 (job is running):\n  Current walltime:      0:20:0\n"
    "  Possible increase:     +1:0:0\n"
    "  Already granted:      +0:10:0\n  Pending/unsatisfied:    {pending}\n"
)


def test_more_walltime_of_oar_s(monkeypatch):
    granted = told(Oar, oarwalltime=(0, WALLTIME.format(pending="0:0:0"), ""))
    assert granted.extend("1", 600) == ""
    assert granted.front.asked == [("oarwalltime", "1", "+0:10:00"), ("oarwalltime", "1")]
    monkeypatch.setattr(oar, "_GRANTED_S", 0.0)
    pending = told(Oar, oarwalltime=(0, WALLTIME.format(pending="+0:10:0"), ""))
    assert pending.extend("1", 600).startswith("OAR has not given job 1 0:10:00 more yet")
    forbidden = told(Oar, oarwalltime=(3, "Forbidden: job 2 is not running.\n", ""))
    assert forbidden.extend("2", 600) == "OAR does not give job 2 0:10:00 more: Forbidden: job 2 is not running"


def test_an_oar_without_oarwalltime():
    class Old(Told):
        def run(self, argv, *, timeout_s=0.0, env=None):
            raise LackingError(f"{argv[0]} is not there")

    assert Oar(Old()).extend("1", 60) == "OAR does not give job 1 0:01:00 more: oarwalltime is not there"


def test_the_hosts_of_the_job_in_which_one_is(tmp_path):
    file = tmp_path / "nodes"
    file.write_text("node2\nnode2\nnode1\nnode1\n")
    for name in ("OAR_NODEFILE", "OAR_NODE_FILE", "OAR_FILE_NODES"):
        env = {"OAR_JOB_ID": "12", name: str(file)}
        assert oar.own_job(env) == "12" and oar.own_hosts(env) == ("node2", "node1")
    assert oar.own_job({"OAR_JOB_ID": "12"}) is None and oar.own_hosts({}) == ()
    with pytest.raises(SchedulerError, match="nonesuch, which names the hosts of this job, cannot be read"):
        oar.own_hosts({"OAR_NODEFILE": str(tmp_path / "nonesuch")})


# Waiting


class Slow:
    """A scheduler that answers with one thing after the other, the last for ever, and a time that passes by waiting."""

    def __init__(self, *answers):
        self.answers, self.slept, self.said, self.now_s = list(answers), [], [], NOW_S

    def look(self, job):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def release_command(self, job):
        return ["ssh", "front", "scancel", job]

    def sleep(self, pause_s):
        self.slept.append(pause_s)
        self.now_s += pause_s

    def wait(self, for_s=3600.0):
        return wait(self, "7", NOW_S + for_s, self.said.append, Clock(lambda: self.now_s, self.sleep))


WAITS = Job("7", "waiting", "PENDING (Priority)")
RUNS = Job("7", "running", "RUNNING", ("node1",))
LOST = NoAnswerError("the front end front cannot be reached: no route")


def test_a_job_that_runs_at_once_is_not_waited_for():
    one = Slow(RUNS)
    assert one.wait() == RUNS and one.slept == [] and one.said == []


def test_it_is_asked_more_and_more_seldom():
    one = Slow(*[WAITS] * 30, RUNS)
    assert one.wait() == RUNS
    assert one.slept[0] == 0.5 and one.slept == sorted(one.slept) and one.slept[-1] == LONGEST_S
    assert one.said == ["job 7 waits: PENDING (Priority)"]


def test_a_job_runs_when_its_hosts_are_known():
    one = Slow(dataclasses.replace(RUNS, hosts=()), RUNS)
    assert one.wait() == RUNS and len(one.slept) == 1


def test_news_are_told_once_each():
    soon, tomorrow = (dataclasses.replace(WAITS, starts_s=NOW_S + later) for later in (60, 86400))
    one = Slow(WAITS, WAITS, soon, soon, tomorrow, RUNS)
    one.wait()
    clock = time.strftime("%H:%M", time.localtime(NOW_S + 60))
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(NOW_S + 86400))
    assert one.said == [
        "job 7 waits: PENDING (Priority)",
        f"job 7 waits: PENDING (Priority); expected to start at {clock}",
        f"job 7 waits: PENDING (Priority); expected to start at {day}",
    ]


@pytest.mark.parametrize(
    "end", [Job("7", "ended", "Error (User root requested to frag)"), Job("7", "unknown", "not known")]
)
def test_a_job_that_ends_before_it_ran(end):
    with pytest.raises(SchedulerError) as caught:
        Slow(WAITS, end).wait()
    assert str(caught.value) == f"job 7 ended before it ran: {end.said}"


def test_nobody_waits_longer_than_asked():
    one = Slow(WAITS)
    with pytest.raises(SchedulerError) as caught:
        one.wait(for_s=42.0)
    assert one.now_s == NOW_S + 42
    assert str(caught.value) == (
        "job 7 waits: PENDING (Priority); nothing waits for it any longer, and `ssh front scancel 7` ends it"
    )


def test_a_front_end_that_comes_back():
    one = Slow(WAITS, LOST, LOST, WAITS, *[LOST] * 5, RUNS)
    assert one.wait() == RUNS
    assert one.said[1] == f"{LOST}; it is asked again" and one.said[2] == one.said[0]


def test_a_front_end_that_stays_away():
    one = Slow(WAITS, LOST)
    with pytest.raises(NoAnswerError):
        one.wait()
    assert BORNE_S <= one.now_s - NOW_S <= BORNE_S + 2 * LONGEST_S


def test_what_is_wrong_for_good_is_not_borne():
    one = Slow(WAITS, SchedulerError("squeue is not there"))
    with pytest.raises(SchedulerError, match="squeue is not there"):
        one.wait()
    assert len(one.slept) == 1
