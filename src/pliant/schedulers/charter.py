"""What Grid'5000's usage policy says of a job: how much of a cluster by day, and when all of it may be had. Pure.

From 9 to 19 h on working days (Monday to Friday, no public holiday of France) one user may use, each day, as much of a
cluster as two hours on all of its cores: https://www.grid5000.fr/w/Grid5000:UsagePolicy. The nodes of a cluster have as
many cores each, so that hours of nodes say the same.
Only this rule is here; the policy has others, of which this module knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pliant.errors import UserError

DAY_BEGINS, DAY_ENDS = 9, 19
"""The hours, in France, between which a working day's rule is in force."""

DAY_SHARE_H = 2.0
"""Hours of a whole cluster that one user may use in a working day's daytime."""

EXEMPT_QUEUES = ("besteffort",)
"""Queues whose jobs make room for others', so that the rule is not for them."""

_ZONE = "Europe/Paris"
_LOOK_AHEAD_DAYS = 21


@dataclass(frozen=True)
class Window:
    """From when to when, in seconds since the epoch, something may run."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.begin_s

    def __str__(self) -> str:
        return f"from {told(self.begin_s)} to {told(self.end_s)}"


def local(moment_s: float) -> datetime:
    """A moment as the testbed's clocks show it: all of its sites have the time of Paris."""
    return datetime.fromtimestamp(moment_s, _zone())


def told(moment_s: float) -> str:
    """A moment in words."""
    return local(moment_s).strftime("%A %Y-%m-%d %H:%M")


def holidays(year: int) -> frozenset[date]:
    """The public holidays of France (Code du travail, article L3133-1); not the two more of Alsace and Moselle."""
    easter = easter_sunday(year)
    fixed = ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25))
    movable = (easter + timedelta(days=after) for after in (1, 39, 50))
    return frozenset((*(date(year, month, day) for month, day in fixed), *movable))


def easter_sunday(year: int) -> date:
    """Easter of the Gregorian calendar (the anonymous algorithm: Meeus, Astronomical Algorithms, 1991, chapter 8)."""
    golden = year % 19
    century, in_century = divmod(year, 100)
    leaps, odd = divmod(century, 4)
    shift = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leaps - shift + 15) % 30
    quarter, rest = divmod(in_century, 4)
    weekday = (32 + 2 * odd + 2 * quarter - epact - rest) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def is_working(day: date) -> bool:
    """Whether the rule is in force on a day: Monday to Friday and no public holiday."""
    return day.weekday() < 5 and day not in holidays(day.year)


def daytimes(begin_s: float, end_s: float) -> Iterator[Window]:
    """The parts of a span that are daytime of a working day, in order, one for each day."""
    day = local(begin_s).date()
    while _at(day, 0) < end_s:
        begin, end = max(begin_s, _at(day, DAY_BEGINS)), min(end_s, _at(day, DAY_ENDS))
        if is_working(day) and begin < end:
            yield Window(begin, end)
        day += timedelta(days=1)


def problems(
    begin_s: float | None, walltime_s: float, nodes: int, cluster_nodes: int, now_s: float, queue: str = ""
) -> list[str]:
    """What the policy has against a job of so many nodes of a cluster's, in sentences; none if nothing.

    Without `begin_s` the job begins now. Other jobs of the same user on the same day are not known here.
    """
    if queue in EXEMPT_QUEUES:
        return []
    begin = now_s if begin_s is None else begin_s
    allowed = DAY_SHARE_H * cluster_nodes
    found = [
        f"on {local(part.begin_s):%A %Y-%m-%d} the job would use {used:g} hours of a node between {DAY_BEGINS} and "
        f"{DAY_ENDS} h ({nodes} nodes for {part.seconds / 3600:.3g} h): the usage policy allows {allowed:g}, "
        f"{DAY_SHARE_H:g} hours of the whole cluster"
        for part in daytimes(begin, begin + walltime_s)
        if (used := round(nodes * part.seconds / 3600, 1)) > allowed
    ]
    return [*found, _when(begin, walltime_s, nodes, cluster_nodes)] if found else []


def _when(begin_s: float, walltime_s: float, nodes: int, cluster_nodes: int) -> str:
    """When a job that is too much by day may run, and how long one may be that runs by day."""
    by_day_s = DAY_SHARE_H * cluster_nodes / nodes * 3600
    shorter = f"by day, {nodes} nodes may be had for {_duration(by_day_s)} a day"
    window = free_window(begin_s, walltime_s)
    if window is None:
        return f"it is longer than any night or week-end of the next {_LOOK_AHEAD_DAYS} days: split it; {shorter}"
    latest = window.end_s - walltime_s
    until = f", if it begins until {told(latest)}" if latest > window.begin_s else ""
    return f"it may run {window}{until}; {shorter}"


def free_window(begin_s: float, walltime_s: float) -> Window | None:
    """The first night, week-end or holiday from then on that a job of that length fits into; None if none does soon."""
    free_from = begin_s
    for part in daytimes(begin_s, begin_s + _LOOK_AHEAD_DAYS * 86400):
        if part.begin_s - free_from >= walltime_s:
            return Window(free_from, part.begin_s)
        free_from = part.end_s
    return None


def _duration(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours}:{minutes:02} h"


def _at(day: date, hour: int) -> float:
    """That hour of a day in France; 24 is the next day's begin."""
    return datetime.combine(day, time(hour), _zone()).timestamp()


def _zone() -> ZoneInfo:
    try:
        return ZoneInfo(_ZONE)
    except ZoneInfoNotFoundError as error:
        raise UserError(f"this machine does not know the time in {_ZONE}: install the package tzdata") from error
