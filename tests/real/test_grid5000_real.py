"""A study on Grid'5000, whole, through a server that is played here and lends the real hosts of a box.

The hosts, their sshds, what is deployed on them and their disks are real; the testbed is not: nobody asked it.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import support
from box.hosts import Box, box
from box.user import bind

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from grid5000_double import Testbed, closed, done_and_closed, ended, says, serving, torn

from pliant.machine.journal import STATE
from pliant.platforms.agents import Agent, HostError
from pliant.results.store import Store
from pliant.schedulers.grid5000_power import METRIC

pytestmark = pytest.mark.real

SECRET = "s3cret-of-ada"
HOSTS = tuple(f"gros-{number}.nancy.grid5000.fr" for number in range(1, 6))
BY_ID = Path("/dev/disk/by-id")
STUDY = """\
[study]
name = "lent"
search = "grid"
repetitions = 1
seed = 3
trial_timeout = "1 min"

[platform]
kind = "grid5000"
site = "nancy"
cluster = "gros"
environment = "debian12-nfs"
disk = "disk1"
nodes = 5
walltime = "1 h"
ssh_config = "ssh_config"
[platform.host]
cores = 0.2
nic = "200 Mbit/s"
disk = "60 MB/s"
memory = "1 GiB"
disk_size = "1 GiB"

[filesystem]
kind = "glusterfs"
[filesystem.roles]
server = 2
client = 2

[fold]
ratios = [1, 2]
strategy = "spread"
max_loss = "20 %"

"""


class Lending(Testbed):
    """A testbed whose hosts are those of a box: they take a moment, one needs a second try, and one is broken."""

    def __init__(self, hosts: Box) -> None:
        super().__init__()
        self.hosts = hosts
        self.looks = 0
        self.installed: list[dict] = []
        self.deployed = self.install
        self.password = ("ada", SECRET)
        self.fixed["/sites/nancy/clusters/gros/nodes"] = {"total": 124, "items": []}
        self.fixed["/sites/nancy/clusters/gros"] = {"metrics": [{"name": METRIC, "only_for": ["gros-1", "gros-2"]}]}
        self.fixed["/sites/nancy/metrics"] = drawn
        for host in HOSTS:
            short = host.partition(".")[0]
            disks = [
                {"id": "disk0", "by_id": "/dev/disk/by-id/system", "model": "MTFDDAK480TDN"},
                {"id": "disk1", "by_id": f"{BY_ID}/pliant-test-{short}", "model": "MTFDDAK960TDN", "reservation": True},
            ]
            self.fixed[f"/sites/nancy/clusters/gros/nodes/{short}"] = {"uid": short, "storage_devices": disks}

    def tick(self) -> None:
        for job in self.jobs:
            self.looks += job["state"] == "waiting"
            if job["state"] == "waiting" and self.looks > 4:
                disks = {"disks": [f"disk1.{host}" for host in HOSTS]}
                job |= {"state": "running", "started_at": int(time.time()), "assigned_nodes": list(HOSTS)}
                job |= {"resources_by_type": disks}

    def install(self, body: dict) -> list[dict]:
        """What Kadeploy does, as far as it is seen from outside: the user's key lets root in."""
        self.installed.append(body)
        (self.hosts.directory / "authorized_keys").write_text(body["key"] + "\n")
        broken = {"gros_2": "KO", "gros_5": "KO"} if len(self.installed) == 1 else {"gros_5": "KO"}
        return [ended(body, "terminated", **broken)]


def drawn(query: dict) -> list[dict]:
    """What wattmetres say: 143 W, each second."""
    seconds = range(int(query["start_time"]), int(query["end_time"]) + 1)
    sample = {"metric_id": METRIC, "value": 143.0}
    return [sample | {"device_id": name, "timestamp": at} for name in query["nodes"].split(",") for at in seconds]


class Watch(threading.Thread):
    """Looks at the arguments of all processes, and keeps those with a secret in them."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__(daemon=True)
        self.secrets = [each.encode() for each in secrets]
        self.seen: set[str] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            for entry in Path("/proc").iterdir():
                with suppress(OSError):
                    argv = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                    if any(each in argv for each in self.secrets):
                        self.seen.add(argv.decode(errors="replace"))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from pliant.cli import main; main()", *map(str, arguments)]


@pytest.fixture(scope="module")
def lending(tmp_path_factory):
    """Hosts that let nobody in, and whose keys nobody knows; each has a disk."""
    top = tmp_path_factory.mktemp("grid5000")
    with ExitStack() as stack:
        stack.callback(removed, top)
        hosts = stack.enter_context(box(top / "box", HOSTS))
        (hosts.directory / "authorized_keys").write_text("")
        (hosts.directory / "known_hosts").write_text("")
        # A namespace has the files of the machine, and so the keys of its user.
        (hosts.directory / "sshd_config").write_text(
            (hosts.directory / "sshd_config").read_text().replace(" .ssh/authorized_keys", "")
        )
        restart(hosts)
        agents = Path(f"{STATE}-agents")
        agents.mkdir(mode=0o700, parents=True, exist_ok=True)
        for host in HOSTS:  # what a host writes down beside its state is its own
            own = top / f"agents-{host}"
            own.mkdir(mode=0o700)
            bind(hosts, host, own, str(agents))
        testbed = Lending(hosts)
        base = stack.enter_context(serving(testbed))
        BY_ID.mkdir(parents=True, exist_ok=True)
        for number, host in enumerate(HOSTS, 1):
            image = top / f"disk{number}"
            with image.open("wb") as file:
                file.truncate(6 << 30)
            loop = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
            (BY_ID / f"pliant-test-{host.partition('.')[0]}").symlink_to(loop.stdout.strip())
        home = top / "home"
        home.mkdir()
        (home / ".python-grid5000.yaml").write_text(f"username: ada\npassword: {SECRET}\n")
        (home / ".python-grid5000.yaml").chmod(0o600)
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        env |= {"HOME": str(home), "PLIANT_GRID5000_API": base, "PLIANT_STORE": str(top / "store")}
        env.pop("SSH_AUTH_SOCK", None)
        (top / "ssh_config").write_text(hosts.config.read_text())
        (top / "study.toml").write_text(STUDY + support.IOR)
        yield SimpleNamespace(top=top, hosts=hosts, testbed=testbed, env=env, file=top / "study.toml")


def restart(hosts: Box) -> None:
    for name in HOSTS:
        for process in hosts.daemons[name]:
            process.kill()
            process.wait()
        hosts.daemons[name] = []
        hosts.start_sshd(name)
    for name in HOSTS:
        support.until(
            lambda name=name: (
                subprocess.run(
                    ["ssh-keyscan", "-T", "1", hosts.addresses[name]], capture_output=True, check=False
                ).stdout
            ),
            f"the sshd of {name}",
        )


def removed(top: Path) -> None:
    """The disks go."""
    for link in BY_ID.glob("pliant-test-*"):
        subprocess.run(["losetup", "--detach", link.readlink()], check=False)
        link.unlink()
    for place in (BY_ID, BY_ID.parent):
        with suppress(OSError):
            place.rmdir()


def begun(lending, *arguments: object, log: str) -> subprocess.Popen[bytes]:
    with (lending.top / log).open("wb") as out:
        return subprocess.Popen(
            command(*arguments), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=lending.env,
            cwd=lending.top, start_new_session=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def run(lending):
    """A run that is killed as soon as its cluster is up, and goes on; answers fail now and then."""
    testbed, output = lending.testbed, lending.top / "run"
    pair = base64.b64encode(f"ada:{SECRET}".encode()).decode()
    watch = Watch([SECRET, pair])
    watch.start()
    testbed.faults = [says(503), None, done_and_closed, torn, None, slow, closed]
    first = begun(lending, "run", lending.file, "--output", output, log="first.log")
    try:
        support.until(lambda: "deployed 4" in said(lending, "first.log") or first.poll() is not None, "a cluster", 90)
        assert first.poll() is None, said(lending, "first.log")
        written = {path.name: path.read_text() for path in STATE.glob("reservation-*.json")}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    crashed = [dict(job) for job in testbed.jobs]
    asked = len(testbed.seen)
    testbed.faults = [None, says(502), None, torn]
    second = begun(lending, "run", lending.file, "--output", output, log="second.log")
    try:
        assert second.wait(120) == 0, said(lending, "second.log")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
        second.wait()
        watch.over.set()
        watch.join()
    return SimpleNamespace(output=output, watch=watch, pair=pair, crashed=crashed, asked=asked, written=written)


def known_by(directory: Path) -> tuple[str, ...]:
    """Options of ssh's by which hosts are known as those of a job are."""
    return (f'UserKnownHostsFile="{directory}/known"', "StrictHostKeyChecking=accept-new", "UpdateHostKeys=no")


def slow(handler, body: str) -> bool:
    """An answer that takes its time."""
    time.sleep(2)
    return False


def mounted(lending, host: str) -> bool:
    """Whether a disk for data is where a host writes deployments down."""
    return f" {STATE} " in lending.hosts.run(host, ["cat", "/proc/self/mountinfo"])


def said(lending, log: str) -> str:
    with suppress(OSError):
        return (lending.top / log).read_text()
    return ""


def test_it_ends_with_a_verdict_and_a_released_job(lending, run):
    verdict = json.loads((run.output / "verdict.json").read_text())
    assert {each["metric"] for each in verdict["verdicts"]} == {"write_bandwidth", "read_bandwidth"}
    with Store.look(run.output) as store:
        assert {trial.ratio for trial in store.trials() if trial.counted} == {1, 2}
    assert [job["state"] for job in lending.testbed.jobs] == ["error"], "one job, and it was ended"
    assert list(STATE.glob("reservation-*")) == list(STATE.glob("known-hosts-*")) == []


def test_the_job_was_found_by_its_name_and_nothing_installed_twice(lending, run):
    assert [job["state"] for job in run.crashed] == ["running"]
    testbed = lending.testbed
    assert testbed.counted("POST", "/sites/nancy/jobs") == 1
    wanted = testbed.bodies[0]
    assert wanted["types"] == ["deploy"] and wanted["name"].startswith("pliant-lent-")
    assert wanted["resources"] == "{(type='default' or type='disk') AND cluster='gros'}/nodes=5,walltime=1:00:00"
    after = testbed.seen[run.asked :]
    assert ("GET", "/sites/nancy/jobs") in {seen[:2] for seen in after}
    assert not any(path.endswith("deployments") for _, path, _ in after)
    assert [len(body["nodes"]) for body in testbed.installed] == [5, 2, 1]
    assert "go on with job 1000, which an earlier run of this study has reserved" in said(lending, "second.log")


def test_what_happens_is_told(lending, run):
    text = said(lending, "first.log")
    for line in (
        "ask for 5 hosts for 1 h",
        "job 1000 has 5 hosts until",
        "install debian12-nfs on 5 of 5 hosts, try 1 of 3",
        "install debian12-nfs on 2 of 5 hosts, try 2 of 3",
        "goes on without gros-5.nancy.grid5000.fr, where debian12-nfs could not be installed",
        "mount disk1, a reserved MTFDDAK960TDN on 4 hosts for data",
    ):
        assert line in text, text


def test_what_was_drawn_is_told_with_the_run(run):
    with Store.look(run.output) as store:
        told = store.facts()["power at ratio 1"]
    assert told == "gros-1 143 W, gros-2 143 W: measured by wattmetres for 2 of 4 hosts, on average over 1 trial"
    assert told in (run.output / "report.html").read_text()


def test_nothing_stays_mounted_on_hosts(lending, run):
    for host in HOSTS:
        assert not mounted(lending, host)
    assert list(lending.top.glob("agents-*/disk.json")) == []
    for link in BY_ID.glob("pliant-test-gros-[1-4]"):
        kind = subprocess.run(["blkid", "-p", "-s", "LABEL", "-o", "value", link], capture_output=True, text=True)
        assert kind.stdout.strip() == "pliant"


def test_no_secret_is_anywhere(lending, run):
    assert run.watch.seen == set()
    archive = lending.top / "run.tar"
    done = subprocess.run(command("archive", run.output, archive), env=lending.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    looked = 0
    for top in (run.output, lending.top / "store", lending.top / "first.log", lending.top / "second.log", STATE):
        for path in [top, *top.rglob("*")] if top.is_dir() else [top]:
            if path.is_file() and path.stat().st_size < 64 << 20:
                looked += 1
                text = path.read_bytes()
                assert SECRET.encode() not in text and run.pair.encode() not in text, path
    assert looked > 20
    assert not any(SECRET in text for text in run.written.values()) and len(run.written) == 1


def test_what_is_left_up_is_reached_in_the_same_way_and_gives_everything_back(lending, run):
    def pliant(*arguments: object) -> str:
        done = subprocess.run(command(*arguments), env=lending.env, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return done.stdout

    deployment = pliant("up", lending.file, "--ratio", "2").strip()
    assert pliant("exec", "--id", deployment, "server1", "--", "hostname").split()[-1] == "server1"
    found = json.loads(pliant("ps", "--json", "--no-health"))
    assert [each["state"] for each in found if each["id"] == deployment] == ["up"], found
    assert lending.testbed.jobs[-1]["state"] == "running" and mounted(lending, HOSTS[0])
    text = pliant("down", deployment)
    assert f"{deployment} removed" in text and "released" in text
    assert lending.testbed.jobs[-1]["state"] == "error" and not mounted(lending, HOSTS[0])
    assert list(STATE.glob("reservation-*")) == list(STATE.glob("known-hosts-*")) == []


def test_a_disk_is_taken_once_and_nothing_that_is_in_use(lending, run, tmp_path):
    hosts, host = lending.hosts, HOSTS[4]
    options = known_by(tmp_path)
    disk = f"{BY_ID}/pliant-test-gros-5"
    with Agent(host, config=hosts.config, options=options) as agent:

        def refused(**given: str) -> str:
            with pytest.raises(HostError) as caught:
                agent.ask("take_disk", **given)
            assert not mounted(lending, host) and agent.ask("taken_disk") == {}
            return str(caught.value)

        assert "is no block device" in refused(device="/dev/null")
        assert "No such file" in refused(device="/dev/nonesuch")
        hosts.run(host, ["mkfs.ext4", "-q", "-F", disk])
        hosts.run(host, ["mkdir", "-p", f"{lending.top}/tmp"])
        hosts.run(host, ["mount", disk, f"{lending.top}/tmp"])
        assert f"{disk} is not taken for data: /dev/loop" in (why := refused(device=disk)) and "is in use" in why
        # What is mounted for everybody's use is used where it is.
        agent.ask("take_disk", device=disk, directory=f"{lending.top}/tmp/pliant-data")
        hosts.run(host, ["touch", f"{STATE}/here"])
        assert hosts.run(host, ["ls", f"{lending.top}/tmp/pliant-data"]).split() == ["here"]
        hosts.run(host, ["rm", f"{STATE}/here"])
        assert agent.ask("give_back_disk") == disk and not mounted(lending, host)
        hosts.run(host, ["umount", f"{lending.top}/tmp"])
        assert agent.ask("take_disk", device=disk) == agent.ask("take_disk", device=disk)
        assert hosts.run(host, ["ls", "-A", str(STATE)]) == "" and mounted(lending, host)
        with pytest.raises(HostError, match="was taken for what deployments write, not /dev/sdz: give it back first"):
            agent.ask("take_disk", device="/dev/sdz")
        hosts.run(host, ["mkdir", f"{STATE}/abcd"])
        with pytest.raises(HostError, match=f"abcd is on {disk}: remove that first"):
            agent.ask("give_back_disk")
        hosts.run(host, ["rmdir", f"{STATE}/abcd"])
    with Agent(host, config=hosts.config, options=options) as another:
        assert another.ask("give_back_disk") == disk and another.ask("give_back_disk") == ""


def test_a_host_whose_key_changes_is_refused(lending, run, tmp_path):
    hosts, options = lending.hosts, known_by(tmp_path)
    with Agent(HOSTS[0], config=hosts.config, options=options) as agent:
        assert agent.ask("hello")["pid"]
    for name in ("host_key", "host_key.pub"):
        (hosts.directory / name).unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hosts.directory / "host_key"], check=True)
    restart(hosts)
    with (
        pytest.raises(HostError, match="Host key verification failed"),
        Agent(HOSTS[0], config=hosts.config, options=options),
    ):
        pass
