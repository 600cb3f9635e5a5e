"""What the real tests share: deployments of bare nodes, small studies, the command, and what a machine looks like."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.machine import stolen_s

from pliant.machine import cgroup, cgroups
from pliant.machine.deployment import Deployment, HostFigures, NodeRequest
from pliant.machine.journal import STATE, Journal, deployments
from pliant.machine.needing import visible
from pliant.machine.process import MARK
from pliant.platforms.emulated import EmulatedDeployment

MIB = 1 << 20
MBIT = 1_000_000
PLIANT = str(Path(sys.executable).parent / "pliant")
FIGURES = HostFigures(cores=0.2, nic_bit_s=100 * MBIT, disk_byte_s=50e6, memory_bytes=256 * MIB)


# Bare nodes


def request(name: str, number: int, **keys: Any) -> NodeRequest:
    return NodeRequest(name, f"10.77.1.{number}", **keys)


@contextlib.contextmanager
def deployed(
    requests: Sequence[NodeRequest],
    placement: Mapping[str, int],
    figures: HostFigures = FIGURES,
    extra_visible: Sequence[str] = (),
) -> Iterator[EmulatedDeployment]:
    """Bare nodes on hosts, without a file system."""
    deployment = EmulatedDeployment(Journal.create("tests"), cgroups.probe(), figures)
    try:
        shown = (*visible(), *extra_visible)
        Deployment.up(deployment, requests, placement, max(placement.values()), shown)
        yield deployment
    finally:
        deployment.remove()


def out(deployment: Deployment, node: str, *argv: str, timeout_s: float = 30.0) -> str:
    """What a command in a node prints; it must succeed."""
    return deployment.execute(node, argv, timeout_s=timeout_s).check().stdout


def python(code: str, *arguments: object) -> list[str]:
    """The command line of a Python program that works inside a node."""
    return [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]


@contextlib.contextmanager
def background(deployment: Deployment, node: str, argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs in a node meanwhile, and is killed at the end unless it has ended."""
    process = deployment.popen(node, argv, log)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


PATIENCE = float(os.environ.get("PLIANT_TESTS_PATIENCE", "1"))
"""How many times as long as usual is waited for what has to come: on an emulated CPU all takes longer."""


def until(condition: Callable[[], Any], what: str, timeout_s: float = 10.0) -> Any:
    """What a condition gives as soon as it is true."""
    deadline = time.monotonic() + timeout_s * PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.01)
    return found


STOLEN = 0.005
"""A measurement in which the hypervisor took more than this part of a CPU says nothing of what it falls short of ..."""
AGAIN = 20
"""... and is done again, so often at most."""


def attempts(measure: Callable[[], float], low: float, high: float, times: int = 3) -> float:
    """The best of some measurements. Others on the machine only make things slower: so one of them has to reach
    `low`, while none may ever be above `high`, which is what was promised. One that the machine failed in does not
    count as an attempt."""
    best, tried = 0.0, 0
    for _ in range(AGAIN):
        began, before = time.monotonic(), stolen_s()
        value = measure()
        assert value <= high, f"{value:.4g} is more than what was promised, {high:.4g}"
        best = max(best, value)
        tried += stolen_s() - before <= STOLEN * (time.monotonic() - began)
        if best >= low:
            return best
        if tried == times:
            break
    raise AssertionError(f"{best:.4g} is less than what was promised, {low:.4g}; {tried} times the machine was there")


def cores_used(deployment: Deployment, node: str, host: str, after_s: float, for_s: float) -> float:
    """The CPUs that a host uses while a process in a node of it never waits, from some time on and for so long."""
    with background(deployment, node, ["sh", "-c", "while :; do :; done"], Path("/dev/null")):
        time.sleep(after_s)
        before, began = deployment.host_cpu_s()[host], time.monotonic()
        time.sleep(for_s)
        return (deployment.host_cpu_s()[host] - before) / (time.monotonic() - began)


# The machine


def _everything() -> set[str]:
    """Every deployment of which there is a journal or a control group."""
    with contextlib.suppress(cgroup.CgroupError):
        return {each.id for each in deployments()} | {each.removeprefix("pliant-") for each in cgroups.probe().groups()}
    return set()


BESIDE = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Which of several processes of pytest this is, that run side by side; "" if it is the one."""

BEFORE = _everything()
"""What was there before the tests, up or left by a crash: none of theirs."""


@dataclass(frozen=True)
class Snapshot:
    """What pliant could leave on a machine, each thing in words."""

    namespaces: frozenset[str]
    links: frozenset[str]
    mounts: frozenset[str]
    loops: frozenset[str]
    groups: frozenset[str]
    state: frozenset[str]
    processes: frozenset[str]
    limits: frozenset[str]

    @staticmethod
    def take() -> Snapshot:
        others = _others()
        processes, namespaces = _processes(others)
        run = lambda *argv: subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: E731
        loops = {line for line in run("losetup", "-a") if f"{STATE}/" in line and not _of(others, line)}
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return Snapshot(
            namespaces=frozenset(namespaces),
            links=frozenset(re.sub(r"(mtu|state|qlen) \S+|<.*?>", "", line) for line in run("ip", "-o", "link")),
            mounts=frozenset(
                mount for line in mounts if not _of(others, line) and not _named(mount := line.split()[4])
            ),
            loops=frozenset(line.partition(":")[0] for line in loops),
            groups=frozenset(g for g in _groups() if not _of(others, g)),
            state=frozenset(p.name for p in STATE.iterdir() if p.name not in others) if STATE.exists() else frozenset(),
            processes=frozenset(processes),
            limits=frozenset(_limits(others)),
        )

    def left(self, before: Snapshot) -> dict[str, list[str]]:
        """What is there and was not before."""
        found = {f.name: sorted(getattr(self, f.name) - getattr(before, f.name)) for f in fields(self)}
        return {name: more for name, more in found.items() if more}


def nothing_left(before: Snapshot, timeout_s: float = 10.0) -> None:
    """Assert that everything is as before. The kernel takes a moment to free what nobody uses any more; so does it
    take a moment until what others do on the machine is over."""
    deadline = time.monotonic() + timeout_s * PATIENCE
    left = Snapshot.take().left(before)
    while left:  # beside others, what is left of these tests is so at every look; what those do comes and goes
        assert time.monotonic() < deadline, f"left on the machine: {json.dumps(left, indent=1)}"
        time.sleep(0.1)
        now = Snapshot.take().left(before)
        if BESIDE:
            now = {name: still for name, those in left.items() if (still := sorted({*those} & {*now.get(name, ())}))}
        left = now


def _named(mount: str) -> bool:
    """Whether it is a network namespace with a name, of which pliant makes none: others may, at any time; or something
    that tests beside these have mounted for themselves."""
    beside = re.search(r"/popen-(gw\d+)/", mount)
    return mount.startswith("/run/netns") or (beside is not None and beside[1] != BESIDE)


def _others() -> set[str]:
    """Deployments of somebody else on this machine: they are of another state, as those of tests beside these; or their
    makers live and do not come from this process; or they were there before the tests were."""
    found = set(BEFORE)
    for state in STATE.parent.glob("pliant-tests*-gw*"):
        if state != STATE and state.is_dir():
            found.update(each.name for each in state.iterdir())
    with contextlib.suppress(cgroup.CgroupError):
        probe, own = cgroups.probe(), Journal("own").whose
        for group in probe.groups():
            if probe.whose(group) not in ("", own):
                found.add(group.removeprefix("pliant-"))
    for journal in deployments():
        owner = journal.owner()
        if owner is not None and owner.alive and os.getpid() not in _ancestors(owner.pid):
            found.add(journal.id)
    return found


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        while pid > 0 and pid not in found:
            found.add(pid)
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def _of(others: set[str], text: str) -> bool:
    return any(f"pliant-{other}" in text or f"{STATE}/{other}/" in text for other in others)


def _groups() -> set[str]:
    top = Path("/sys/fs/cgroup")
    return {str(path) for tree in (top, *top.iterdir()) if tree.is_dir() for path in tree.glob("pliant-*")}


def _processes(others: set[str]) -> tuple[set[str], set[str]]:
    """Processes with a deployment's mark, and namespaces of all processes, except those of other people's."""
    marked, namespaces = set(), set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            environment = dict(
                each.partition("=")[::2]
                for each in (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            )
            mark = environment.get(MARK)
            if mark in others or _of(others, (entry / "cgroup").read_text()):
                continue
            if f"{STATE.parent}/pliant-tests" in (state := environment.get("PLIANT_STATE", "")) and state != str(STATE):
                continue
            if mark is not None:
                name = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    marked.add(f"{entry.name} of {mark}: {name}")
            for kind in ("net", "mnt", "pid", "uts", "ipc"):
                namespaces.add(str((entry / "ns" / kind).readlink()))
    return marked, namespaces


def _foreign(others: set[str]) -> Iterator[Path]:
    """The loop devices (/sys/block/loopN) whose file is not of these tests' deployments."""
    for entry in Path("/sys/block").glob("loop*"):
        with contextlib.suppress(OSError):
            image = (entry / "loop/backing_file").read_text()
            if f"{STATE}/" not in image or _of(others, image):
                yield entry


def foreign_loops() -> set[str]:
    """The names of loop devices that somebody else uses."""
    return {entry.name for entry in _foreign(_others())}


def _limits(others: set[str]) -> set[str]:
    """Bandwidth limits of block devices, except those of disks that are somebody else's."""
    theirs = {(entry / "dev").read_text().strip() for entry in _foreign(others)}
    files = Path("/sys/fs/cgroup/blkio").glob("blkio.throttle.*_bps_device")  # v2 has them in the groups themselves
    return {
        f"{file.name} {line}"
        for file in files
        for line in file.read_text().splitlines()
        if line.split()[0] not in theirs
    }


def alone() -> bool:
    """Whether nobody else has something up on this machine, which `pliant down --all` would remove."""
    return not _others()


# The command

STUDY = """\
[study]
name = "small"
search = "grid"
repetitions = {repetitions}
seed = 3
trial_timeout = "{trial_timeout}"
workflow = "{workflow}"

[platform]
kind = "emulated"
[platform.host]
cores = {cores}
nic = "200 Mbit/s"
disk = "60 MB/s"
memory = "512 MiB"
disk_size = "1 GiB"

[filesystem]
kind = "glusterfs"
[filesystem.roles]
server = {servers}
client = {clients}
[filesystem.options]
volume = "{volume}"
{options}

[fold]
ratios = {ratios}
strategy = "{strategy}"
max_loss = "20 %"

{workloads}
"""
IOR = '[[workload]]\nkind = "ior"\nblock = "4 MiB"\ntransfer = "512 KiB"\n'
MDTEST = '[[workload]]\nkind = "mdtest"\nfiles_per_rank = 10\n'
DEFAULTS: dict[str, Any] = {
    "repetitions": 1,
    "trial_timeout": "1 min",
    "workflow": "dev",
    "cores": 0.3,
    "servers": 1,
    "clients": 1,
    "volume": "distribute",
    "options": "",
    "ratios": [1, 2],
    "strategy": "spread",
    "workloads": IOR,
}


def study(directory: Path, **keys: Any) -> Path:
    """A study file; by default the smallest there is."""
    file = directory / "study.toml"
    file.write_text(STUDY.format(**{**DEFAULTS, **keys}))
    return file


@contextlib.contextmanager
def agents_removed() -> Iterator[None]:
    """Remove what this machine got of agents meanwhile, as a host of others, unless it had some before."""
    kept = Path(f"{STATE}-agents")
    there = kept.exists()
    try:
        yield
    finally:
        if not there and kept.exists():
            shutil.rmtree(kept)


def pliant(*arguments: object, timeout_s: float = 300.0, **keys: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, away from any terminal."""
    argv = [PLIANT, *map(str, arguments)]
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=timeout_s * PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
        **keys,
    )


def listed() -> list[dict[str, Any]]:
    """What `pliant ps --json` shows, without what somebody else has up."""
    others = _others()
    done = pliant("ps", "--json")
    assert done.returncode == 0, done.stderr
    return [each for each in json.loads(done.stdout) if each["id"] not in others]


def remove(ids: Sequence[str], *, everything: bool = False) -> None:
    """`pliant down` of deployments: all at once if asked to and if nobody else has any, or one by one."""
    calls = [["--all"]] if everything and alone() else [[each] for each in ids]
    said = ""
    for arguments in calls:
        done = pliant("down", *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        said += done.stdout
    assert all(f"{each} removed\n" in said for each in ids)


class Running:
    """A `pliant run` that goes on; what it says is read as it comes."""

    def __init__(self, file: Path, output: Path, *more: object) -> None:
        self.output = output
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [PLIANT, "run", str(file), "--output", str(output), *map(str, more)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))  # extend takes lines one by one

    @property
    def said(self) -> str:
        return "".join(list(self.lines))

    def until(self, pattern: str, timeout_s: float = 60.0) -> None:
        """Wait until it has said something; not if it has ended."""
        until(lambda: re.search(pattern, self.said) or self.process.poll() is not None, pattern, timeout_s)
        assert re.search(pattern, self.said), f"ended with {self.process.returncode} without {pattern}:\n{self.said}"

    def wait(self, timeout_s: float = 120.0) -> int:
        status = self.process.wait(timeout_s * PATIENCE)
        self._reader.join(10)
        return status

    def kill(self, group: bool = False) -> None:
        """kill -9: of the command alone, or of its process group."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        if self.process.stderr is not None:
            self._reader.join(1)  # what it started may hold the pipe open

    def deployments(self) -> list[str]:
        """Those that it has up."""
        return [j.id for j in deployments() if (owner := j.owner()) and owner.pid == self.process.pid]

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(5)
        if self.process.stderr is not None:
            self.process.stderr.close()


def brick(running: Running) -> int | None:
    """A brick daemon of the run, once there is one."""
    found = running.deployments()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text() == "glusterfsd\n":
                marks = (entry / "environ").read_bytes().split(b"\0")
                if any(f"{MARK}={each}".encode() in marks for each in found):
                    return int(entry.name)
        except OSError:
            continue
    return None
