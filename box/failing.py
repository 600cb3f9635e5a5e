"""What goes wrong with hosts, done to those of a box: connections cut, agents killed, power lost; and what is left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from pliant.machine import cgroup, cgroups, teardown
from pliant.machine.journal import STATE, deployments
from pliant.machine.process import alive
from pliant.machine.promised import HOSTS

from .hosts import Box

_MARK = b"PLIANT_ID="
_AGENT = b"pliant's agent"
_PATIENCE_S = 20.0


def agents(hosts: Box, name: str) -> list[int]:
    """The agents on a host."""
    return [pid for pid in _on(hosts, name) if any(_is_agent(word) for word in _words(pid)) and _words(pid)[0] != b"sh"]


def kill_agents(hosts: Box, name: str) -> int:
    """kill -9 all agents on a host; how many there were."""
    found = agents(hosts, name)
    _kill(found)
    return len(found)


def cut(hosts: Box, name: str) -> None:
    """End all connections to a host, and nothing else there: what is on the other side of them is not told."""
    said = {pid: b" ".join(_words(pid)) for pid in _on(hosts, name)}
    _kill([pid for pid, title in said.items() if title.startswith(b"sshd: ") and b"[listener]" not in title])


def stop_sshd(hosts: Box, name: str) -> None:
    """End a host's sshd and all connections; `Box.start_sshd` begins one again."""
    sshd = hosts.daemons[name].pop(0)
    sshd.kill()
    sshd.wait()
    cut(hosts, name)


def power_off(hosts: Box, name: str) -> None:
    """A host loses its power: its network, all that runs on it, and its part of every deployment. `Box.begin` switches
    it on again, with what was on its disk."""
    hosts.end(name)
    groups = [f"pliant-{each}" for each in parts(hosts, name)]
    there = cgroups.probe()
    cgroup.kill_all(lambda: [pid for group in groups for pid in there.pids(group)], time.monotonic() + _PATIENCE_S)


def parts(hosts: Box, name: str) -> list[str]:
    """The ids, on a host, of all deployments that have a part there."""
    found = []
    for journal in deployments():
        content = journal.read(HOSTS)
        if content and content["config"] == str(hosts.config) and name in content["hosts"]:
            found.append(f"{journal.id}-{content['hosts'].index(name) + 1}")
    return found


def left() -> list[str]:
    """What is there of deployments that are written down in this process's state directory, in words."""
    found = [f"files of {each.id}" for each in deployments()]
    with contextlib.suppress(cgroup.CgroupError):
        for group in (there := cgroups.probe()).groups():
            if _ours(group.removeprefix("pliant-"), there.pids(group)):
                found.append(f"control group {group}")
    for pid in _processes():
        words, mark = _words(pid), b""
        for each in _environment(pid):
            if each.startswith(_MARK):
                mark = each.removeprefix(_MARK)
        if mark and _ours(mark.decode(), [pid]):
            found.append(f"process {pid} of {mark.decode()}: {_shown(pid)}")
        elif b"lease" in words and f"PLIANT_STATE={STATE}".encode() in _environment(pid):
            found.append(f"the guard {pid}: {_shown(pid)}")
        elif any(map(_is_agent, words)) and str(STATE).encode() in words:
            found.append(f"the agent {pid}")
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True, timeout=20).stdout
    found += [line for line in loops.splitlines() if f"{STATE}/" in line]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{STATE}/" in line]
    return found


def clear() -> None:
    """Remove it all by hand: hosts of a box are on this machine."""
    there = cgroups.probe()
    _kill([pid for pid in _processes() if any(map(_is_agent, _words(pid))) and str(STATE).encode() in _words(pid)])
    for journal in deployments():
        if journal.read(HOSTS) is None:
            teardown.remove(journal, there, grace_s=1.0)
        else:
            shutil.rmtree(journal.directory)


def _ours(deployment: str, pids: Iterable[int]) -> bool:
    """Whether a deployment, of which there are these processes, is not one of somebody else: with a state directory
    beside this one, or anywhere, where its nodes have their roots."""
    places = {str(each) for each in STATE.parent.glob("pliant*") if (each / deployment).exists()}
    for pid in pids:
        with contextlib.suppress(OSError):
            mounts = Path(f"/proc/{pid}/mountinfo").read_text()
            places |= set(re.findall(rf"(/[A-Za-z0-9._/-]+)/{deployment}/", mounts))
    return not places or str(STATE) in places


def all_gone(patience_s: float = _PATIENCE_S) -> list[str]:
    """What is still there after a while; nothing, as soon as that is so."""
    until = time.monotonic() + patience_s
    while (found := left()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _is_agent(word: bytes) -> bool:
    return word.startswith(b"import base64;exec(") or _AGENT in word


def _on(hosts: Box, name: str) -> list[int]:
    """The processes on a host: those in its network namespace, which nodes have not."""
    own = Path(f"/proc/{hosts.holders[name].pid}/ns/net").readlink()
    return [pid for pid in _processes() if _namespace(pid) == own]


def _namespace(pid: int) -> Path | None:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/ns/net").readlink()
    return None


def _processes() -> Iterator[int]:
    return (pid for entry in Path("/proc").iterdir() if entry.name.isdigit() and alive(pid := int(entry.name)))


def _words(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def _environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _shown(pid: int) -> str:
    return b" ".join(_words(pid)).decode(errors="replace")[:100]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
