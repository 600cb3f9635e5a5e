"""Hosts that a scheduler lends a study: asked for, waited for, found again after a crash, and given back.

A reservation is written down before it is asked for, by the name that its job will have. So whatever happens to who
asked, it can be found: by the next run of the same study, which goes on with it, or by `pliant down`, which ends it.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pliant.cluster.cluster import uninterrupted
from pliant.errors import UserError
from pliant.platforms.here import STATE, alive, start_time
from pliant.schedulers import oar, slurm
from pliant.schedulers.front import Front
from pliant.schedulers.interface import Job, Scheduler, SchedulerError, Wish
from pliant.schedulers.oar import Oar
from pliant.schedulers.slurm import Slurm
from pliant.schedulers.waiting import wait
from pliant.units import format_duration

if TYPE_CHECKING:
    from pliant.study.model import Study
    from pliant.study.platform_table import PlatformTable

_PREFIX = "reservation-"
RESERVATION = "reservation"
"""What is kept with a deployment that stays: the name of the reservation of its hosts, which goes with it."""
PATIENCE_S = 7 * 86400.0
"""How long a job is waited for: queues are longer than any deadline that could be chosen for somebody."""
_STEP_S = 300
"""A walltime is extended by whole multiples of this."""
LOOK_S = 15.0
"""How often it is looked whether a job still runs: somebody may delete it, or one of its hosts may fail."""
ENDING_S = 90.0
"""What is left of a reservation for removing what is on its hosts, and for giving it back."""


@dataclass(frozen=True)
class Reservation:
    """A reservation as it is written down: of which study, with which scheduler, and the process that works with it.

    `job` is "" until that is known. `keep` says that it is not to be ended with the run; `borrowed` that it was there
    before, and is not to be ended at all. `api`, `cluster` and `disk` are Grid'5000's; `environment` is what was to be
    installed on its hosts, `installed` those that have it, and `on_disks` those whose disk for data may be in use.
    """

    name: str
    study: str
    kind: str
    site: str
    front: str
    config: str
    job: str
    pid: int
    started: int
    keep: bool = False
    borrowed: bool = False
    api: str = ""
    cluster: str = ""
    disk: str = ""
    environment: str = ""
    installed: Sequence[str] = ()
    on_disks: Sequence[str] = ()

    @property
    def known_hosts(self) -> Path:
        """The host keys of hosts that were installed for it, which nobody else knows."""
        return STATE / f"known-hosts-{self.name}"

    @property
    def file(self) -> Path:
        """Where it is written down."""
        return STATE / f"{_PREFIX}{self.name}.json"

    @property
    def alive(self) -> bool:
        """Whether somebody works with it."""
        return alive(self.pid, self.started)

    @property
    def scheduler(self) -> Scheduler:
        """Who lends it."""
        front = Front(self.front, Path(self.config) if self.config else None)
        if self.kind == "slurm":
            return Slurm(front)
        if self.kind == "oar":
            return Oar(front)
        from pliant.schedulers import grid5000

        return grid5000.of_user(self.api, self.site, self.cluster, self.disk)

    def write(self) -> None:
        """Write it down, whole or not at all."""
        STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(asdict(self)))
        part.replace(self.file)

    def forget(self) -> None:
        """It is over."""
        self.file.unlink(missing_ok=True)
        self.known_hosts.unlink(missing_ok=True)

    def release(self) -> None:
        """End it, whoever made it, and forget it. SchedulerError, with the command for it."""
        scheduler, job = self.scheduler, self.job or None
        try:
            job = job or scheduler.find(self.name)
            if job and not self.borrowed:
                scheduler.release(job)
        except SchedulerError as error:
            if job is None:
                raise
            command = shlex.join(scheduler.release_command(job))
            raise SchedulerError(f"{error}; the reservation is ended by: {command}") from error
        self.forget()


class Loan:
    """A job that runs, and when its hosts have to be given back. While it is `watched`, `over` says why its hosts are
    lent no longer, as it was seen last; "" as long as they are. What is done with them is written down with it."""

    def __init__(self, scheduler: Scheduler, job: Job, reservation: Reservation) -> None:
        self.scheduler, self.job, self.reservation, self.over = scheduler, job, reservation, ""

    @property
    def name(self) -> str:
        """What its reservation is called."""
        return self.reservation.name

    def note(self, **changes: Any) -> None:
        """Write down more of it."""
        self.reservation = replace(self.reservation, **changes)
        self.reservation.write()

    def look(self) -> str:
        """Why its hosts are lent no longer, "" if they are, or if nobody answers: they may be."""
        with suppress(SchedulerError):
            found = self.scheduler.look(self.job.id)
            if found.state in ("ended", "unknown"):
                self.over = found.said
        return self.over

    @contextmanager
    def watched(self) -> Iterator[Loan]:
        """A time in which it is looked at now and then."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(LOOK_S) and not self.look():
                pass

        threading.Thread(target=look, daemon=True).start()
        try:
            yield self
        finally:
            done.set()

    @property
    def ends_s(self) -> float | None:
        """When work on its hosts has to be over, in seconds since the epoch; None if nobody says so."""
        return None if self.job.ends_s is None else self.job.ends_s - ENDING_S

    def extend(self, by_s: float) -> str:
        """Ask for so much more time; why it was not granted, "" if it was."""
        try:
            refused = self.scheduler.extend(self.job.id, math.ceil(by_s / _STEP_S) * _STEP_S)
            if not refused:
                self.job = self.scheduler.look(self.job.id)
        except SchedulerError as error:
            return str(error)
        return refused


def known() -> list[Reservation]:
    """The reservations that are written down, those of crashed runs too."""
    found = []
    for file in sorted(STATE.glob(f"{_PREFIX}*.json")):
        try:
            found.append(Reservation(**json.loads(file.read_text())))
        except (OSError, ValueError, TypeError):
            continue
    return found


@contextmanager
def lent(
    study: Study, hosts: int, config: Path | None, told: Callable[[str], None], *, keep: bool = False
) -> Iterator[Loan]:
    """The job whose hosts a study works on; it is given back at the end, unless it is to be kept, or was there before.
    With `keep` it is kept also where the study does not say so, if all goes well.

    Raises UserError, SchedulerError.
    """
    reservation = _begun(study, hosts, config, told)
    loan = None
    try:
        scheduler = reservation.scheduler
        job = wait(scheduler, reservation.job, time.time() + PATIENCE_S, told)
        told(f"job {job.id} has {len(job.hosts)} hosts{_until(job)}")
        loan = Loan(scheduler, job, reservation)
        with loan.watched():
            yield loan
    except BaseException as error:
        try:
            _give_back(loan.reservation if loan else reservation, told)
        except SchedulerError as left:  # it must not hide why it came to this
            error.add_note(str(left))
        raise
    _give_back(replace(loan.reservation, keep=loan.reservation.keep or keep), told)


def _give_back(reservation: Reservation, told: Callable[[str], None]) -> None:
    """End a reservation, unless it is to stay. SchedulerError, naming the command that ends it."""
    if reservation.borrowed:
        reservation.forget()
    elif reservation.keep:
        reservation.write()
        told(f"job {reservation.job} is kept; `pliant down {reservation.name}` ends it")
    else:
        told(f"release job {reservation.job}")
        with uninterrupted():
            reservation.release()


def _begun(study: Study, hosts: int, config: Path | None, told: Callable[[str], None]) -> Reservation:
    """The reservation of a study: one that is there, one that a crash left, or a new one."""
    platform = study.platform
    new = Reservation(
        name=f"pliant-{study.name[:30]}-{secrets.token_hex(3)}",
        study=study.name,
        kind=platform.kind,
        site=platform.site or "",
        front=platform.front or "",
        config=str(config) if config else "",
        job=platform.job or _inside(platform.kind, os.environ, platform.front) or "",
        pid=os.getpid(),
        started=start_time(os.getpid()) or 0,
        keep=platform.keep,
        api=_base() if platform.kind == "grid5000" else "",
        cluster=platform.cluster or "",
        disk=platform.disk or "",
    )
    if new.job:
        new = replace(new, borrowed=True)
        new.write()
        return new
    if (left := _left(new, told)) is not None:
        return left
    assert platform.walltime is not None  # a study without one is refused
    wish = Wish(
        name=new.name,
        nodes=platform.nodes or hosts,
        walltime_s=round(platform.walltime),
        queue=platform.queue or "",
        properties=platform.properties or "",
        types=_types(platform),
        project=platform.project or "",
        begin_s=platform.begin_s,
    )
    if wish.nodes < hosts:
        raise UserError(
            f"{study.file}: platform.nodes: {wish.nodes} hosts are fewer than the {hosts} of ratio {study.baseline:g}"
        )
    told(f"ask for {wish.nodes} hosts for {format_duration(wish.walltime_s)}")
    new.write()
    try:
        with uninterrupted():  # nobody would know the number of a job whose submission is broken off
            new = replace(new, job=new.scheduler.submit(wish))
            new.write()
    except BaseException as error:
        _after_failure(new, error)
        raise
    return new


def _after_failure(reservation: Reservation, error: BaseException) -> None:
    """End what may have been asked for all the same, or leave it written down: the answer may have been lost."""
    try:
        with uninterrupted():
            reservation.release()
    except SchedulerError:
        error.add_note(f"it is not known whether job {reservation.name} was submitted: `pliant down` looks again")


def _left(new: Reservation, told: Callable[[str], None]) -> Reservation | None:
    """The reservation that a crashed run of the same study left, if its job has not ended."""
    for each in known():
        same = (each.study, each.kind, each.site, each.front) == (new.study, new.kind, new.site, new.front)
        if not same or each.alive:
            continue
        job = each.scheduler.find(each.name)
        if job is None:
            each.forget()
            continue
        found = replace(each, job=job, pid=new.pid, started=new.started, keep=new.keep)
        found.write()
        told(f"go on with job {job}, which an earlier run of this study has reserved")
        return found
    return None


def _inside(kind: str, env: Mapping[str, str], front: str | None) -> str | None:
    """The job inside which this process runs, if it is one of that scheduler."""
    if front is not None:
        return None
    own = {"slurm": slurm.own_job, "oar": oar.own_job, "grid5000": oar.own_job}.get(kind)
    return own(env) if own else None


def _until(job: Job) -> str:
    return "" if job.ends_s is None else f" until {time.strftime('%H:%M', time.localtime(job.ends_s))}"


def _base() -> str:
    """Where Grid'5000's API is."""
    from pliant.schedulers.grid5000_api import base_of

    return base_of(os.environ)


def _types(platform: PlatformTable) -> tuple[str, ...]:
    """The types of the job: what is to be installed has to be allowed."""
    more = () if platform.environment is None or "deploy" in platform.types else ("deploy",)
    return (*platform.types, *more)
