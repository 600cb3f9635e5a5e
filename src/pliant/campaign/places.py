"""Where a study runs: its platform, and the machines that are asked beforehand whether they can carry it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from pliant.campaign import standing, testbed
from pliant.campaign.reservations import Loan, lent
from pliant.composition.nodeset import fold
from pliant.errors import UserError
from pliant.platforms import agents, own_ssh
from pliant.platforms.emulated import Emulated
from pliant.platforms.fleet import Fleet
from pliant.platforms.interface import Platform
from pliant.platforms.kit import Kit
from pliant.platforms.machines import Here, Machines, There
from pliant.platforms.ssh import Ssh
from pliant.platforms.standing import Standing
from pliant.study.model import Study

_KERNELS = Path(__file__).parents[1] / "workloads" / "kernels"


@dataclass(frozen=True)
class Place:
    """A platform, and its machines; `hosts` are their names, none where they are slices of this one."""

    platform: Platform = field(default_factory=Emulated)
    machines: Machines = field(default_factory=Here)
    hosts: tuple[str, ...] = ()
    loan: Loan | None = None
    """The job that lends the hosts; None if they are there for as long as one likes."""


def needed(study: Study) -> int:
    """How many hosts a study takes at the most."""
    return max(len(placement.hosts) for each in study.filesystems for placement in each.placements.values())


@contextmanager
def opened(study: Study, told: Callable[[str], None] = lambda text: None, *, keep: bool = False) -> Iterator[Place]:
    """The place of a study, while it is worked in: hosts are reserved for that time. Raises UserError, HostError,
    SchedulerError. With `keep` the hosts are not given back if all goes well."""
    if not study.platform.real:
        yield Place()
        return
    if study.deployment:
        known = own_ssh.new_hosts(standing.known_hosts(study, cache()))
        with reached(study, study.platform.hosts, told, options=known) as place:
            yield place
        return
    if study.platform.kind == "ssh":
        with reached(study, agents.hosts_of(beside(study, study.platform.hosts)), told) as place:
            yield place
        return
    count, config = needed(study), ssh_config(study)
    key = testbed.key(study, config)
    with lent(study, count, config, told, keep=keep) as loan:
        way = testbed.ready(study, loan, count, config, key, told, keep=keep)
        with reached(study, way.names, told, options=way.options, around=way.around) as place:
            yield replace(place, loan=loan)


def beside(study: Study, specs: Sequence[str]) -> list[str]:
    """The hosts as a study names them, files of them being beside it."""
    top = Path(study.file).absolute().parent
    return [f"@{top / spec[1:]}" if spec.startswith("@") else spec for spec in specs]


def ssh_config(study: Study) -> Path | None:
    """What ssh reads for a study, if it says so. UserError if that is not there."""
    if study.platform.ssh_config is None:
        return None
    path = Path(study.file).absolute().parent / Path(study.platform.ssh_config).expanduser()
    if not path.is_file():
        raise UserError(f"{study.file}: platform.ssh_config: {path} is not a file")
    return path


@contextmanager
def reached(
    study: Study,
    hosts: Sequence[str],
    told: Callable[[str], None],
    *,
    options: Sequence[str] = (),
    around: Callable[[Fleet], AbstractContextManager[None]] = lambda fleet: nullcontext(),
) -> Iterator[Place]:
    """The place of a study on hosts that ssh reaches, with `options`; `around` is what is done on them before that and
    after it. Raises UserError, HostError."""
    count = needed(study)
    if len(hosts) < count:
        raise UserError(
            f"{study.file}: the study takes {count} hosts at ratio {study.baseline:g}, and there {_are(len(hosts))}: "
            f"{fold(hosts)}; name more of them, or fold a smaller cluster"
        )
    hosts = tuple(hosts)[:count]
    fleet = Fleet(hosts, config=ssh_config(study), options=options)
    with fleet:
        told(f"reach {fold(hosts)}")
        fleet.connect()
        with around(fleet):
            limited, network = study.platform.host is not None, study.platform.network
            platform = (Standing if study.deployment else Ssh)(fleet, limited=limited, network=network)
            platform.look()
            machines = There(fleet, Kit(_KERNELS, cache()), platform.state)
            yield Place(platform, machines, hosts)


def cache() -> Path:
    """The user's directory for what can be found out, or made, again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pliant"


def _are(count: int) -> str:
    return f"is {count}" if count == 1 else f"are {count}"
