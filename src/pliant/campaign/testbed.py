"""Hosts of Grid'5000 made ready for a study: what is installed on them, how ssh reaches them, their disk for data.

What is done is written down with the reservation before it is done, so that a later process goes on with it, or undoes
it. A job's end undoes it as well: hosts of the testbed are given back as they were.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.campaign.reservations import Loan, Reservation
from pliant.composition.nodeset import fold
from pliant.errors import UserError
from pliant.platforms import own_ssh
from pliant.platforms.agents import HostError
from pliant.platforms.fleet import Fleet
from pliant.platforms.interface import CommandFailed
from pliant.schedulers.grid5000 import Grid5000
from pliant.schedulers.grid5000_deploy import deploy
from pliant.schedulers.grid5000_storage import LSBLK, data_disk, in_use, mounted_on
from pliant.schedulers.interface import SchedulerError
from pliant.study.model import Study
from pliant.trial import UNFOLDED

SUFFIX, ALIAS = ".grid5000.fr", ".g5k"
"""How the testbed calls its hosts, and how its published settings for OpenSSH call them from outside."""
DEPLOY_S = 2400.0
"""How long hosts are given to be installed, all tries together."""
_LOOK_S, _DISK_S = 30.0, 700.0
_BELOW = "pliant-data"
"""The directory for data where the partition for it is mounted already."""


@dataclass(frozen=True)
class Way:
    """How the hosts of a job are reached: their names and options of ssh's; `around` is what surrounds work on them."""

    names: tuple[str, ...]
    options: tuple[str, ...] = ()
    around: Callable[[Fleet], AbstractContextManager[None]] = lambda fleet: nullcontext()


def key(study: Study, config: Path | None) -> str:
    """The public key to be let in with by hosts that are to be installed; "" if none are. UserError, before anything
    is reserved, if the user has none."""
    platform = study.platform
    if platform.kind != "grid5000" or platform.environment is None:
        return ""
    return own_ssh.public_key(f"{platform.cluster or 'node'}-1.{platform.site}{ALIAS}", config)


def ready(
    study: Study,
    loan: Loan,
    count: int,
    config: Path | None,
    public_key: str,
    told: Callable[[str], None],
    *,
    keep: bool = False,
) -> Way:
    """Have the hosts of a job ready to be reached, `count` of them at least; with `keep` they stay so if all goes well.
    UserError, SchedulerError."""
    if not isinstance(loan.scheduler, Grid5000):
        return Way(loan.job.hosts)
    platform, hosts, options = study.platform, loan.job.hosts, tuple[str, ...]()
    if platform.environment is not None:
        hosts = installed(loan, loan.scheduler, platform.environment, public_key, count, told, ratio=study.baseline)
        options = own_ssh.new_hosts(loan.reservation.known_hosts)
    names = own_ssh.names(hosts, config, SUFFIX, ALIAS)
    if platform.disk is None:
        return Way(names, options)
    called = dict(zip(names, hosts, strict=True))
    return Way(names, options, lambda fleet: on_disks(loan, fleet, called, told, keep=keep or platform.keep))


def installed(
    loan: Loan,
    scheduler: Grid5000,
    environment: str,
    public_key: str,
    count: int,
    told: Callable[[str], None],
    *,
    ratio: float = UNFOLDED,
) -> tuple[str, ...]:
    """The hosts of a job on which an environment is, once it is; those that have it already are left alone.

    SchedulerError if that are fewer than `count`, which the study takes at `ratio`.
    """
    hosts, kept = loan.job.hosts, loan.reservation
    same = kept.environment == environment
    done = [host for host in hosts if same and host in kept.installed]
    left, failed = [host for host in hosts if host not in done], dict[str, str]()
    if left and len(done) < count:
        if not done:
            kept.known_hosts.unlink(missing_ok=True)
        loan.note(environment=environment, installed=done)
        lasts_s = DEPLOY_S if loan.ends_s is None else min(DEPLOY_S, loan.ends_s - time.time())
        found = deploy(
            scheduler.api,
            scheduler.site,
            left,
            environment,
            public_key,
            deadline_s=max(0.0, lasts_s),
            again=same,
            told=lambda text: told(f"install {text}"),
        )
        done += found.hosts
        failed.update(found.failed)
        loan.note(installed=done)
    if len(done) < count:
        why = "; ".join(f"{fold(which)}: {text}" for text, which in _by_reason(failed).items())
        raise SchedulerError(
            f"{environment} is on {len(done)} of {len(hosts)} hosts, and the study takes {count} at ratio {ratio:g}: "
            f"{why}; write a larger platform.nodes, which leaves some to spare"
        )
    if failed:
        told(f"goes on without {fold(list(failed))}, where {environment} could not be installed")
    return tuple(host for host in hosts if host in done)


def _by_reason(failed: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for host, why in failed.items():
        found.setdefault(why, []).append(host)
    return found


# Disks for data


@dataclass(frozen=True)
class Chosen:
    """The device for data of one host; `directory` is where, if it is mounted already."""

    device: str
    what: str
    directory: str = ""


@contextmanager
def on_disks(
    loan: Loan, fleet: Fleet, called: Mapping[str, str], told: Callable[[str], None], *, keep: bool
) -> Iterator[None]:
    """Have what deployments write on hosts go to their disks for data. `called` has the testbed's name of each host.

    Raises UserError for a disk that is not for data, HostError.
    """
    scheduler, wanted = loan.scheduler, loan.reservation.disk
    assert isinstance(scheduler, Grid5000)
    reserved = scheduler.reserved_disks()

    def look(host: str) -> Chosen:
        name = called[host]
        node = scheduler.node(name) if wanted != "tmp" else {}
        return choose(fleet, host, node, reserved.get(name, ()), wanted)

    chosen = fleet.each(look)
    what = sorted({each.what for each in chosen.values()})
    told(f"mount {'; '.join(what)} on {len(chosen)} hosts for data")
    loan.note(on_disks=list(fleet.hosts))

    def take(host: str) -> str:
        each = chosen[host]
        return str(fleet.ask(host, "take_disk", device=each.device, directory=each.directory, timeout_s=_DISK_S))

    failed = True
    try:
        fleet.each(take)
        yield
        failed = False
    finally:
        if (failed or not keep) and _given_back(fleet, told):
            loan.note(on_disks=())


def undo(reservation: Reservation, told: Callable[[str], None]) -> None:
    """Unmount the disks for data of a reservation that somebody else made, as far as its hosts can be reached."""
    if not reservation.on_disks:
        return
    config = Path(reservation.config) if reservation.config else None
    options = own_ssh.new_hosts(reservation.known_hosts) if reservation.environment else ()
    fleet = Fleet(reservation.on_disks, config=config, options=options)
    try:
        fleet.connect()
    except HostError as error:
        told(_stays(error))
        return
    with fleet:
        _given_back(fleet, told)


def _given_back(fleet: Fleet, told: Callable[[str], None]) -> bool:
    """Unmount the disks of hosts, and say whether all are; what cannot be goes with the job."""
    try:
        fleet.each(lambda host: fleet.ask(host, "give_back_disk"))
    except HostError as error:
        told(_stays(error))
        return False
    return True


def _stays(error: HostError) -> str:
    return f"a disk for data stays mounted until its host is given back: {error}"


def choose(fleet: Fleet, host: str, node: Mapping[str, Any], reserved: Sequence[str], wanted: str) -> Chosen:
    """The device of a host that is for data, and may be written to. UserError names what speaks against it."""
    blocks = _blocks(fleet, host)
    found = data_disk(host, node, reserved, blocks, wanted)
    try:
        argv = ["readlink", "--canonicalize-existing", "--", found.device]
        real = fleet.agent(host).run(argv, timeout_s=_LOOK_S).check().stdout.strip()
    except CommandFailed as error:
        raise UserError(f"{host}: there is no {found.device}, which is to be {found.what}") from error
    taken = fleet.ask(host, "taken_disk")
    if taken and taken["device"] == found.device:  # by an earlier process, for the same study
        return Chosen(found.device, found.what, taken["directory"])
    place = mounted_on(blocks, real) if wanted == "tmp" else ""
    if not place and (why := in_use(blocks, real)):
        raise UserError(f"{host}: {found.what} is not taken for data: {why}")
    return Chosen(found.device, found.what, f"{place}/{_BELOW}" if place else "")


def _blocks(fleet: Fleet, host: str) -> Mapping[str, Any]:
    """What block devices a host says that it has."""
    try:
        found = json.loads(fleet.agent(host).run(LSBLK, timeout_s=_LOOK_S).check().stdout)
    except (CommandFailed, ValueError) as error:
        raise UserError(f"{host}: does not say which disks it has: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{host}: does not say which disks it has")
    return found
