"""An environment on the nodes of a Grid'5000 job of type "deploy", by the testbed's Kadeploy behind its API.

Newly deployed hosts have new host keys, and let root in with the key that was given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pliant.schedulers.grid5000_api import Api, Unanswered
from pliant.schedulers.interface import SchedulerError

TRIES = 3
"""How often a host is tried: a reboot now and then fails, and the testbed's own clients do the same."""

_ENDED = ("terminated", "canceled", "error")
_LOOKS = 3
_MORE_OFTEN = 16


@dataclass(frozen=True)
class Deployed:
    """What came of it: the hosts that have the environment, and of each other one why not, in its last try's words."""

    environment: str
    hosts: tuple[str, ...]
    failed: Mapping[str, str]
    tries: int


def deploy(
    api: Api,
    site: str,
    hosts: Sequence[str],
    environment: str,
    key: str,
    *,
    deadline_s: float = 2400.0,
    poll_s: float = 15.0,
    tries: int = TRIES,
    again: bool = False,
    told: Callable[[str], None] = lambda sentence: None,
) -> Deployed:
    """Install an environment on hosts of a running job of type "deploy"; those that fail are tried again.

    `key` is the text of a public SSH key. `told` hears how it goes. With `again` one that an earlier process has begun
    on these hosts, and did not see to its end, is waited for in place of a first one. When the deadline is over what is
    under way is cancelled. SchedulerError is for what concerns all hosts: a refusal, a cancellation by somebody else.
    """
    _check(hosts, key)
    until = time.monotonic() + deadline_s
    path = f"sites/{site}/deployments"
    done: set[str] = set()
    failed: dict[str, str] = {}
    number = 0
    while (left := [host for host in hosts if host not in done]) and number < tries and time.monotonic() < until:
        number += 1
        told(f"{environment} on {len(left)} of {len(hosts)} hosts, try {number} of {tries}")
        body = {"nodes": left, "environment": environment, "key": key}
        uid = (_under_way(api, path, body, 0.0, looks=1) if again and number == 1 else None) or _launch(
            api, path, body, poll_s
        )
        ended = _await(api, f"{path}/{uid}", until, poll_s)
        if ended is None:
            failed |= dict.fromkeys(left, f"not deployed within {deadline_s:.0f} s")
            break
        outcome = results(ended, left)
        done |= {host for host, problem in outcome.items() if not problem}
        failed = {host: problem for host, problem in outcome.items() if problem}
    return Deployed(environment, tuple(host for host in hosts if host in done), failed, number)


def results(deployment: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, str]:
    """Host -> "" if an ended deployment reached it, else why not. SchedulerError if somebody cancelled it. Pure."""
    status = deployment.get("status")
    if status == "canceled":
        raise SchedulerError(f"the deployment {deployment.get('uid')} was cancelled by somebody else")
    result = deployment.get("result")
    found = result if isinstance(result, Mapping) else {}
    return {host: _problem(found.get(host), status) for host in hosts}


def _problem(of_host: object, status: object) -> str:
    """Why a host is not deployed; "" if it is."""
    if not isinstance(of_host, Mapping):
        return "Kadeploy gave up the whole deployment" if status == "error" else "Kadeploy says nothing of it"
    if of_host.get("state") == "OK":
        return ""
    step = " ".join(str(of_host[key]) for key in ("macro", "micro") if of_host.get(key))
    return f"Kadeploy says {of_host.get('state')}" + (f" in {step}" if step else "")


def _check(hosts: Sequence[str], key: str) -> None:
    if not hosts:
        raise SchedulerError("no hosts to deploy on")
    if "PRIVATE KEY" in key:
        raise SchedulerError("the key to install on deployed hosts is a private one: give the text of its .pub file")
    if not key.strip():
        raise SchedulerError("no public key to install on deployed hosts: nobody could log in")


def _launch(api: Api, path: str, body: Mapping[str, object], pause_s: float) -> str:
    """Start a deployment, once; if its answer is lost, it is the one that is under way on these nodes."""
    try:
        answer = api.post(path, body)
    except Unanswered as lost:
        if lost.perhaps_done and (uid := _under_way(api, path, body, pause_s)):
            return uid
        raise
    uid = answer.get("uid") if isinstance(answer, Mapping) else None
    uid = str(uid) if uid else _under_way(api, path, body, pause_s)
    if not uid:
        raise SchedulerError("Grid'5000 took the deployment and does not say as which")
    return uid


def _under_way(api: Api, path: str, body: Mapping[str, Any], pause_s: float, looks: int = _LOOKS) -> str | None:
    """This user's deployment of that environment that is under way on just these nodes: a node is in one at a time."""
    for look in range(looks):
        if look:
            time.sleep(pause_s)
        for each in api.items(path, user=api.user, status="processing"):
            same = set(each.get("nodes") or ()) == set(body["nodes"])
            if same and each.get("environment") == body["environment"] and each.get("uid"):
                return str(each["uid"])
    return None


def _await(api: Api, path: str, until: float, poll_s: float) -> Mapping[str, Any] | None:
    """A deployment once it has ended; None, and it is cancelled, if it does not before `until`.

    The API may show a state of a minute ago. At first it is asked more often: what fails does so soon.
    """
    pause_s = poll_s / _MORE_OFTEN
    while True:
        try:
            found = api.get(path)
        except Unanswered:
            found = {}
        if isinstance(found, Mapping) and found.get("status") in _ENDED:
            return found
        if time.monotonic() + pause_s >= until:
            _cancel(api, path)
            return None
        time.sleep(pause_s)
        pause_s = min(poll_s, 2 * pause_s)


def _cancel(api: Api, path: str) -> None:
    try:
        api.delete(path)
    except SchedulerError:
        # It ends by itself, and the job that owns the nodes ends it at the latest.
        return
