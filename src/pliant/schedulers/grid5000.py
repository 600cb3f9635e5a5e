"""Hosts of Grid'5000: one site's OAR behind the testbed's REST API. Nodes are reserved here, not prepared.

What is done with them: `grid5000_deploy` installs an environment, `grid5000_storage` says which disk is for data,
`grid5000_power` reads the wattmetres, `charter` is the usage policy.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pliant.schedulers import grid5000_credentials
from pliant.schedulers.charter import local
from pliant.schedulers.grid5000_api import Api, Refused, Unanswered
from pliant.schedulers.interface import Job, SchedulerError, State, Wish
from pliant.schedulers.oar import hours

STATES: Mapping[str, State] = {
    "waiting": "waiting",
    "hold": "waiting",
    "tolaunch": "waiting",
    "toackreservation": "waiting",
    "launching": "waiting",
    "resuming": "waiting",
    "suspended": "waiting",
    "running": "running",
    "finishing": "ended",
    "toerror": "ended",
    "error": "ended",
    "terminated": "ended",
}
"""OAR's words, as the API gives them (in small letters), and what they are to pliant."""

# OAR kills it when the walltime is over, or the extended one.
_COMMAND = "sleep infinity"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DISK = re.compile(r"disk\d+")
_PLACE = re.compile(r"[a-z][a-z0-9-]*")


def of_user(base: str, site: str, cluster: str = "", disk: str = "") -> Grid5000:
    """A site's scheduler as this user reaches it by the API at `base`; with a disk by name ("disk1"), disks are wanted
    too. Raises UserError, SchedulerError."""
    return Grid5000(Api(base, grid5000_credentials.find()), site, cluster, disks=bool(_DISK.fullmatch(disk)))


class Grid5000:
    """The scheduler of one site; implements `interface.Scheduler`.

    `cluster` is where the nodes are to be ("gros"), `disks` whether their reservable disks are wanted too. An answer
    that does not come is looked for, every `pause_s`, for `patience_s`.
    """

    def __init__(
        self,
        api: Api,
        site: str,
        cluster: str = "",
        disks: bool = False,
        *,
        patience_s: float = 15.0,
        pause_s: float = 2.0,
    ) -> None:
        for what, name in (("site", site), ("cluster", cluster)):
            if name and not _PLACE.fullmatch(name):
                raise SchedulerError(f'"{name}" is no {what} of Grid\'5000; write e.g. site "nancy", cluster "gros"')
        if disks and not cluster:
            raise SchedulerError("disks are reserved on nodes of one cluster: name the cluster")
        self.api = api
        self.site = site
        self.cluster = cluster
        self.disks = disks
        self._patience_s = patience_s
        self._pause_s = pause_s

    def submit(self, wish: Wish) -> str:
        """Ask for hosts; the job's id. A job of that name that is there already is taken for this one.

        The request is sent once. If its answer is lost, the job is looked for by its name.
        """
        if not _NAME.fullmatch(wish.name):
            raise SchedulerError(f'"{wish.name}" is no name of a job: letters, digits, "_", "." and "-", 100 at most')
        if wish.nodes < 1 or wish.walltime_s < 1:
            raise SchedulerError(f"{wish.nodes} nodes for {wish.walltime_s} s are nothing to reserve")
        if already := self.find(wish.name):
            return already
        try:
            answer = self.api.post(self._jobs, self._body(wish))
        except Unanswered as lost:
            if lost.perhaps_done and (found := self._found_later(wish.name)):
                return found
            raise SchedulerError(f"{lost}; no job named {wish.name} is there: nothing was reserved so far") from lost
        if isinstance(answer, Mapping) and isinstance(answer.get("uid"), int):
            return str(answer["uid"])
        if found := self._found_later(wish.name):
            return found
        raise SchedulerError(f"Grid'5000 took {wish.name} and does not say as which job: look for it at {self.site}")

    def find(self, name: str) -> str | None:
        """The id of this user's job of that name that has not ended; the last one, should there be several."""
        # Not by state: the API spells what is asked for in its own way, and would miss "toLaunch".
        jobs = self.api.items(self._jobs, name=name, user=self.api.user)
        ids = [
            each["uid"]
            for each in jobs
            if each.get("name") == name and isinstance(each.get("uid"), int) and _state(each) != "ended"
        ]
        return str(max(ids)) if ids else None

    def look(self, job: str) -> Job:
        """How a job is now."""
        try:
            answer = self.api.get(self._job(job))
        except Refused as refused:
            if refused.status == 404:
                return Job(job, "unknown", refused.said or "not found")
            raise
        return _told(job, answer)

    def extend(self, job: str, by_s: int) -> str:
        """Ask for more walltime. OAR grants it if nobody has reserved the hosts next; "" only once it has."""
        path = f"{self._job(job)}/walltime"
        try:
            self.api.post(path, {"walltime": f"+{hours(by_s)}"})
        except Refused as refused:
            if refused.status in (400, 403, 404):
                return str(refused)
            raise
        until = time.monotonic() + self._patience_s
        while pending := _pending(self.api.get(path)):
            if time.monotonic() >= until:
                return f"Grid'5000 has not granted {pending} more to job {job} so far: OAR keeps the request"
            time.sleep(self._pause_s)
        return ""

    def release(self, job: str) -> None:
        """End a job. The API takes note of it; the job ends within a minute. What is not answered is asked again."""
        until = time.monotonic() + self._patience_s
        while True:
            try:
                return self.api.delete(self._job(job))
            except Refused as refused:
                if refused.status == 404 or "already" in refused.said.lower() or self._over(job):
                    return None
                raise
            except Unanswered:
                if self._over(job):
                    return None
                if time.monotonic() >= until:
                    raise
            time.sleep(self._pause_s)

    def release_command(self, job: str) -> Sequence[str]:
        """What ends a job without pliant; curl asks for the password itself."""
        user = ("--user", self.api.user) if self.api.credentials else ()
        return ("curl", *user, "--request", "DELETE", self.api.url(self._job(job)))

    def reserved_disks(self) -> dict[str, tuple[str, ...]]:
        """Host -> the disks of it ("disk1") that this user's running jobs have reserved, here or in longer jobs."""
        jobs = self.api.items(self._jobs, user=self.api.user, state="running", resources="yes")
        found: dict[str, set[str]] = {}
        for each in jobs:
            for name in _disks(each):
                disk, _, host = name.partition(".")
                found.setdefault(host, set()).add(disk)
        return {host: tuple(sorted(disks)) for host, disks in sorted(found.items())}

    def node(self, host: str) -> Mapping[str, Any]:
        """The testbed's description of a node, by its full or short name."""
        short = host.partition(".")[0]
        found = self.api.get(f"sites/{self.site}/clusters/{short.rpartition('-')[0]}/nodes/{short}")
        return _mapping(found, short)

    def cluster_nodes(self) -> int:
        """How many nodes the cluster has, for the usage policy."""
        found = _mapping(self.api.get(f"sites/{self.site}/clusters/{self.cluster}/nodes"), self.cluster)
        total = found.get("total")
        if not isinstance(total, int) or total < 1:
            raise SchedulerError(f"Grid'5000 does not say how many nodes {self.cluster} has")
        return total

    @property
    def _jobs(self) -> str:
        return f"sites/{self.site}/jobs"

    def _job(self, job: str) -> str:
        if not job.isdecimal():
            raise SchedulerError(f'"{job}" is no id of a job of Grid\'5000: it is a number')
        return f"{self._jobs}/{job}"

    def _body(self, wish: Wish) -> dict[str, object]:
        """What is posted for a wish. What is empty is left to OAR."""
        body: dict[str, object] = {"command": _COMMAND, "name": wish.name, "resources": self._resources(wish)}
        body |= {key: getattr(wish, key) for key in ("queue", "project", "properties") if getattr(wish, key)}
        if wish.types:
            body["types"] = list(wish.types)
        if wish.begin_s is not None:
            body["reservation"] = local(wish.begin_s).strftime("%Y-%m-%d %H:%M:%S")
        return body

    def _resources(self, wish: Wish) -> str:
        where = f"cluster='{self.cluster}'"
        if self.disks:
            where = f"(type='default' or type='disk') AND {where}"
        place = f"{{{where}}}/" if self.cluster else ""
        return f"{place}nodes={wish.nodes},walltime={hours(wish.walltime_s)}"

    def _found_later(self, name: str) -> str | None:
        """The job of that name, which may take a moment to be there."""
        until = time.monotonic() + self._patience_s
        while True:
            try:
                found = self.find(name)
            except Unanswered:
                found = None
            if found or time.monotonic() >= until:
                return found
            time.sleep(self._pause_s)

    def _over(self, job: str) -> bool:
        try:
            return self.look(job).state in ("ended", "unknown")
        except SchedulerError:
            return False


def _told(job: str, answer: object) -> Job:
    """A job as the API tells it."""
    found = _mapping(answer, f"job {job}")
    state, word = _state(found), str(found.get("state"))
    started, walltime, planned = (_seconds(found.get(key)) for key in ("started_at", "walltime", "scheduled_at"))
    nodes = found.get("assigned_nodes")
    return Job(
        id=job,
        state=state,
        said=f"{word}: {found['message']}" if found.get("message") else word,
        # While it waits these are the nodes that OAR means to give.
        hosts=tuple(map(str, nodes)) if state == "running" and isinstance(nodes, list) else (),
        starts_s=planned if state == "waiting" else None,
        ends_s=started + walltime if started and walltime and state == "running" else None,
    )


def _state(job: Mapping[str, Any]) -> State:
    return STATES.get(str(job.get("state")).lower(), "unknown")


def _seconds(value: object) -> float | None:
    """A number of seconds; the API says 0 of what has not happened."""
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _disks(job: Mapping[str, Any]) -> list[str]:
    """The reserved disks of a job: "disk1.gros-41.nancy.grid5000.fr"."""
    resources = job.get("resources_by_type")
    disks = resources.get("disks") if isinstance(resources, Mapping) else None
    return [str(each) for each in disks] if isinstance(disks, list) else []


def _pending(answer: object) -> str:
    """What of a change of walltime is still open; "" if nothing is."""
    pending = str(_mapping(answer, "the job's walltime").get("pending") or "")
    return pending.lstrip("+") if re.search(r"[1-9]", pending) else ""


def _mapping(answer: object, what: str) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise SchedulerError(f"what Grid'5000 says of {what} is no description")
    return answer
