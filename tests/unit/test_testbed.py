"""Hosts of Grid'5000 made ready: what is installed, by which names and keys ssh reaches them, their disk for data."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from grid5000_double import Testbed, ended, serving
from study_files import GOOD

from pliant.campaign import reservations, testbed, wattmetres
from pliant.campaign.charges import charges
from pliant.campaign.reservations import Loan, Reservation
from pliant.errors import UserError
from pliant.machine.process import CommandFailed, Completed
from pliant.platforms import own_ssh
from pliant.schedulers.grid5000 import Grid5000
from pliant.schedulers.grid5000_api import BASE, Api
from pliant.schedulers.grid5000_credentials import Credentials
from pliant.schedulers.grid5000_power import METRIC
from pliant.schedulers.interface import Job, SchedulerError
from pliant.study.problems import StudyError
from pliant.study.reading import parse
from pliant.trial import Trial

HOSTS = tuple(f"gros-{number}.nancy.grid5000.fr" for number in (1, 2, 3))
KEY = "ssh-ed25519 AAAA ada@laptop"


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(reservations, "STATE", tmp_path / "state")
    for name in [name for name in os.environ if "proxy" in name.lower()]:
        monkeypatch.delenv(name)
    return tmp_path / "state"


def reservation(**more):
    written = Reservation("pliant-x-1", "x", "grid5000", "nancy", "", "", "1000", os.getpid(), 1)
    return dataclasses.replace(written, api=BASE, **more)


# What is written down


def test_what_is_written_down_finds_the_job_again(state):
    kept = reservation(cluster="gros", disk="disk1", environment="debian12-nfs", installed=HOSTS[:1])
    kept.write()
    (found,) = reservations.known()
    assert dataclasses.asdict(found) == json.loads(json.dumps(dataclasses.asdict(kept)))
    kept.known_hosts.write_text("a key")
    kept.forget()
    assert list(state.iterdir()) == []


def test_the_scheduler_is_that_of_the_base_written_down(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = dataclasses.replace(reservation(cluster="gros", disk="disk1"), api="http://127.0.0.1:1").scheduler
    assert isinstance(found, Grid5000) and found.disks and found.api.base == "http://127.0.0.1:1"
    assert not reservation(disk="tmp").scheduler.disks


@pytest.mark.parametrize("base", ["https://ada:secret@api.example.org", "https://:secret@api.example.org"])
def test_a_base_with_a_password_is_refused_without_it(base):
    with pytest.raises(UserError, match="has a user in it") as caught:
        Api(base)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("base", ["api.example.org", "file:///etc/passwd", ""])
def test_a_base_that_is_no_address_is_refused(base):
    with pytest.raises(UserError, match="PLIANT_GRID5000_API is no address"):
        Api(base)


# Installing


@pytest.fixture
def lent():
    played = Testbed()
    with serving(played) as base:
        scheduler = Grid5000(Api(base, Credentials("ada", "x")), "nancy")
        job = Job("1000", "running", "running", HOSTS, ends_s=time.time() + 3600)
        yield played, Loan(scheduler, job, reservation())


def install(loan, count, environment="debian12-nfs"):
    said: list[str] = []
    return testbed.installed(loan, loan.scheduler, environment, KEY, count, said.append), said


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(testbed, "deploy", lambda *args, **more: own_deploy(*args, **{**more, "poll_s": 0.02}))


own_deploy = testbed.deploy


def test_a_host_that_fails_now_and_then_is_tried_again_and_one_to_spare_left_out(lent):
    played, loan = lent
    states = iter([{"gros_2": "KO", "gros_3": "KO"}, {"gros_3": "KO"}, {"gros_3": "KO"}])
    played.deployed = lambda body: [ended(body, "terminated", **next(states))]
    hosts, said = install(loan, 2)
    assert hosts == HOSTS[:2] and tuple(loan.reservation.installed) == HOSTS[:2]
    assert said[-1] == f"goes on without {HOSTS[2]}, where debian12-nfs could not be installed"
    (kept,) = reservations.known()
    assert (kept.environment, tuple(kept.installed)) == ("debian12-nfs", HOSTS[:2])


def test_too_few_are_one_sentence(lent):
    played, loan = lent
    played.deployed = lambda body: [ended(body, "terminated", gros_2="KO", gros_3="KO")]
    with pytest.raises(SchedulerError) as caught:
        install(loan, 3)
    assert str(caught.value) == (
        "debian12-nfs is on 1 of 3 hosts, and the study takes 3 at ratio 1: gros-2.nancy.grid5000.fr,"
        "gros-3.nancy.grid5000.fr: Kadeploy says KO; write a larger platform.nodes, which leaves some to spare"
    )


def test_what_is_installed_is_not_installed_again_and_another_environment_is(lent):
    played, loan = lent
    install(loan, 3)
    assert install(loan, 3) == (HOSTS, []) and len(played.deployments) == 1
    loan.reservation.known_hosts.write_text("keys of before")
    install(loan, 3, "ubuntu2404-min")
    assert len(played.deployments) == 2 and not loan.reservation.known_hosts.exists()


def test_what_an_earlier_process_has_begun_is_waited_for(lent):
    played, loan = lent
    body = {"nodes": list(HOSTS), "environment": "debian12-nfs", "key": KEY}
    base = {"uid": "D-old", "user_uid": "ada", "nodes": list(HOSTS), "environment": "debian12-nfs"}
    processing = base | {"status": "processing", "result": {}}
    played.deployments["D-old"] = [processing, processing, base | ended(body, "terminated")]
    loan.note(environment="debian12-nfs")
    assert install(loan, 3)[0] == HOSTS and list(played.deployments) == ["D-old"]


# Reaching


def ssh(monkeypatch, said, held=""):
    def run(argv, **more):
        if argv[0] == "ssh-add":
            return Completed(tuple(argv), 0 if held else 1, held, "")
        return Completed(tuple(argv), 0, next(text for end, text in said.items() if argv[-1].endswith(end)), "")

    monkeypatch.setattr(own_ssh, "run", run)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"": "user ada\n"}, HOSTS),
        ({".g5k": "proxycommand ssh g5k -W x\n", "": "user ada\n"}, tuple(f"gros-{n}.nancy.g5k" for n in (1, 2, 3))),
        ({"": "proxyjump g5k\n"}, HOSTS),
    ],
)
def test_hosts_are_called_as_the_users_settings_call_them(monkeypatch, said, names):
    ssh(monkeypatch, said)
    assert own_ssh.names(HOSTS, None, testbed.SUFFIX, testbed.ALIAS) == names


def test_hosts_of_elsewhere_keep_their_names(monkeypatch):
    assert own_ssh.names(("node1",), None, testbed.SUFFIX, testbed.ALIAS) == ("node1",)


@pytest.mark.parametrize(
    ("files", "held", "only", "found"),
    [
        ({"id_rsa": "ssh-rsa AAA1 a"}, "", "no", "ssh-rsa AAA1 a"),
        (
            {"id_rsa": "ssh-rsa AAA1 a", "id_x": "ssh-ed25519 AAA2 b"},
            "ssh-ed25519 AAA2 c\n",
            "no",
            "ssh-ed25519 AAA2 b",
        ),
        ({"id_rsa": "ssh-rsa AAA1 a"}, "ssh-ed25519 AAA3 c\n", "no", "ssh-ed25519 AAA3 c"),
        ({"id_rsa": "ssh-rsa AAA1 a"}, "ssh-ed25519 AAA3 c\n", "yes", "ssh-rsa AAA1 a"),
        ({"id_rsa": "-----BEGIN OPENSSH PRIVATE KEY-----\nx"}, "ssh-ed25519 AAA3 c\n", "no", "ssh-ed25519 AAA3 c"),
    ],
)
def test_the_key_is_one_by_which_ssh_gets_in(monkeypatch, tmp_path, files, held, only, found):
    for name, text in files.items():
        (tmp_path / f"{name}.pub").write_text(f"{text}\n")
    lines = [f"identityfile {tmp_path / name}" for name in (*files, "none")]
    ssh(monkeypatch, {"": "\n".join([*lines, f"identitiesonly {only}"])}, held)
    assert own_ssh.public_key("gros-1.nancy.g5k", None) == found


def test_without_a_key_nothing_is_reserved(monkeypatch):
    ssh(monkeypatch, {"": "identityfile /nonesuch/id_rsa\n"})
    platform = SimpleNamespace(kind="grid5000", environment="debian12-nfs", cluster=None, site="nancy")
    with pytest.raises(UserError, match=r"make one with `ssh-keygen -t ed25519`, or load one with `ssh-add`"):
        testbed.key(SimpleNamespace(platform=platform), None)
    platform.environment = None
    assert testbed.key(SimpleNamespace(platform=platform), None) == ""


def test_new_hosts_are_known_by_the_job_alone():
    options = own_ssh.new_hosts(reservation().known_hosts)
    assert "User=root" in options and "StrictHostKeyChecking=accept-new" in options
    assert any(each.startswith("UserKnownHostsFile=") and "known-hosts-pliant-x-1" in each for each in options)


# Disks


NODE = {
    "storage_devices": [
        {"id": "disk0", "by_id": "/dev/disk/by-id/a", "model": "system"},
        {"id": "disk1", "by_id": "/dev/disk/by-id/b", "model": "MTFDDAK960TDN", "reservation": True},
    ]
}


class Host:
    """What a host says of its disks."""

    def __init__(self, real="/dev/sdb", mounted=None, tmp="/tmp", taken=None):
        parts = [{"path": "/dev/sda5", "type": "part", "label": None, "partlabel": "TMP", "mountpoint": tmp}]
        self.blocks = [
            {"path": "/dev/sda", "type": "disk", "mountpoint": None, "children": parts},
            {"path": "/dev/sdb", "type": "disk", "mountpoint": mounted},
        ]
        self.real, self.taken = real, taken or {}

    def agent(self, host):
        return self

    def ask(self, host, what, **given):
        assert what == "taken_disk"
        return self.taken

    def run(self, argv, *, timeout_s):
        if argv[0] == "lsblk":
            return Completed(tuple(argv), 0, json.dumps({"blockdevices": self.blocks}), "")
        if self.real is None:
            raise CommandFailed(argv, 1, "", "no such file")
        return Completed(tuple(argv), 0, f"{self.real if 'by-id' in argv[-1] else argv[-1]}\n", "")


def choose(host, wanted="disk1", reserved=("disk1",)):
    found = testbed.choose(host, "gros-1", NODE, reserved, wanted)
    return found.device, found.directory


def test_the_disk_that_is_reserved_or_the_partition_for_data():
    assert choose(Host()) == ("/dev/disk/by-id/b", "")
    assert choose(Host(), "tmp") == ("/dev/sda5", "/tmp/pliant-data")
    assert choose(Host(tmp=None), "tmp") == ("/dev/sda5", "")
    mine = {"device": "/dev/disk/by-id/b", "directory": ""}
    assert choose(Host(mounted="/var/lib/pliant", taken=mine)) == ("/dev/disk/by-id/b", ""), "taken before a crash"


@pytest.mark.parametrize(
    ("host", "wanted", "reserved", "said"),
    [
        (Host(mounted="/home"), "disk1", ("disk1",), "gros-1: disk1, a reserved MTFDDAK960TDN is not taken for data: "),
        (Host(), "disk1", (), '"disk1" is not reserved by a running job of yours'),
        (Host(), "disk0", ("disk1",), '"disk0" has the system'),
        (Host(), "/dev/sda", ("disk1",), '"/dev/sda" is not for data'),
        (Host(real=None), "disk1", ("disk1",), "there is no /dev/disk/by-id/b, which is to be disk1"),
        (Host(real="/dev/sdz"), "disk1", ("disk1",), "there is no /dev/sdz"),
        (Host(tmp="/home"), "tmp", (), "is labelled TMP, and mounted on /home"),
    ],
)
def test_what_is_refused(host, wanted, reserved, said):
    with pytest.raises(UserError) as caught:
        choose(host, wanted, reserved)
    assert said in str(caught.value)


def test_a_host_that_does_not_say_what_it_has():
    host = Host()
    host.blocks = None
    host.run = lambda argv, timeout_s: Completed(tuple(argv), 0, "[]", "")
    with pytest.raises(UserError, match="does not say which disks it has"):
        choose(host)


# What a study says, and what is said of it

STUDY = (
    GOOD[: GOOD.index("[platform]")]
    + '[platform]\nkind = "grid5000"\nsite = "nancy"\nwalltime = "2 h"\n{more}\n'
    + GOOD[GOOD.index("[filesystem]") :]
)


def study(*lines):
    return parse(STUDY.format(more="\n".join(lines)), "s.toml")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (('disk = "disk1"',), "platform.cluster: is missing: disks are reserved on nodes of one cluster"),
        (('disk = "disk0"',), 'platform.disk: "disk0" has the system; write e.g. "disk1", or "tmp"'),
        (('disk = "/dev/sda"',), 'platform.disk: "/dev/sda" is no disk for data; write e.g. "disk1"'),
    ],
)
def test_disks_that_a_study_cannot_name(lines, said):
    with pytest.raises(StudyError, match=re.escape(said)):
        study(*lines)


MONDAY_S = 1795420800.0
"""2026-11-23 09:00 in France."""


@pytest.fixture
def asked(monkeypatch, tmp_path):
    played = Testbed()
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(played) as base:
        monkeypatch.setenv("PLIANT_GRID5000_API", base)
        played.fixed["/sites/nancy/clusters/gros/nodes"] = {"total": 10, "items": []}
        yield played


@pytest.mark.parametrize(
    ("lines", "nodes", "said"),
    [
        ((), 4, ["without platform.cluster it cannot be told what the usage policy says"]),
        (('cluster = "gros"',), 11, ["gros has 10 nodes, fewer than the 11 that are to be reserved"]),
        (('cluster = "gros"',), 8, ["8 of the 10 nodes of gros at nancy", "the usage policy allows it"]),
        (('cluster = "gros"', 'walltime = "4 h"'), 8, ["8 of the 10", "the usage policy allows 20", "it may run from"]),
        (
            ('cluster = "gros"', 'walltime = "4 h"', 'queue = "besteffort"'),
            8,
            ["8 of the 10", "the usage policy allow"],
        ),
        (('cluster = "gros"', 'job = "12"'), 8, []),
        (('cluster = "other"',), 8, ["does not tell how large other is, so the usage policy was not looked at"]),
    ],
)
def test_what_check_says_of_the_usage_policy(asked, lines, nodes, said):
    text = STUDY if not any("walltime" in line for line in lines) else STUDY.replace('walltime = "2 h"\n', "")
    found = list(charges(parse(text.format(more="\n".join(lines)), "s.toml"), nodes, MONDAY_S))
    assert len(found) == len(said) and all(part in sentence for part, sentence in zip(said, found, strict=True)), found


# What was drawn


def test_what_hosts_drew_is_a_fact_by_ratio(lent):
    played, loan = lent
    played.fixed["/sites/nancy/clusters/gros"] = {"metrics": [{"name": METRIC, "only_for": ["gros-1", "gros-2"]}]}
    played.fixed["/sites/nancy/metrics"] = lambda query: [
        {"device_id": name, "metric_id": METRIC, "timestamp": float(at), "value": watts}
        for name, watts in (("gros-1", 140), ("gros-2", 150))
        for at in range(int(query["start_time"]), int(query["end_time"]) + 1)
    ]
    one = Trial(1, "ior", 1.0, 3, 1, 1, "done", "2026-11-23T09:00:00+00:00", duration_s=30.0)
    trials = [
        one,
        dataclasses.replace(one, number=2, started_at="2026-11-23T09:01:00+00:00"),
        dataclasses.replace(one, number=3, ratio=3.0, hosts=1, started_at="2026-11-23T09:02:00+00:00"),
        dataclasses.replace(one, number=4, started_at="2026-11-23T07:00:00+00:00"),
        dataclasses.replace(one, number=5, reused="another run"),
    ]
    since_s = datetime(2026, 11, 23, 8, 59, tzinfo=UTC).timestamp()
    found = wattmetres.read(loan, HOSTS, trials, since_s)
    assert found.watts == {1.0: 145.0, 3.0: 140.0}
    assert found.facts == {
        "power at ratio 1": "gros-1 140 W, gros-2 150 W: measured by wattmetres for 2 of 3 hosts, "
        "on average over 2 trials",
        "power at ratio 3": "gros-1 140 W: measured by wattmetres for 1 of 1 hosts, on average over 1 trial",
    }
    assert played.counted("GET", "/sites/nancy/metrics") == 3
    played.fixed["/sites/nancy/metrics"] = {}
    (said,) = wattmetres.read(loan, HOSTS, trials, since_s).facts.values()
    assert said.startswith("the wattmetres were not read: ")
    played.fixed["/sites/nancy/clusters/gros"] = {}
    nothing = wattmetres.Read()
    assert wattmetres.read(loan, HOSTS, trials, since_s) == wattmetres.read(None, HOSTS, trials, since_s) == nothing
