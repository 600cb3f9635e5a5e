"""The usage policy's hours, French holidays, and when a job that is too much by day may run."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pliant.errors import UserError
from pliant.schedulers import charter
from pliant.schedulers.charter import daytimes, easter_sunday, free_window, holidays, is_working, local, problems

H = 3600


def at(text):
    """A moment in France, in seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Paris")).timestamp()


@pytest.mark.parametrize(
    ("year", "easter"),
    [
        (1818, "1818-03-22"),
        (1943, "1943-04-25"),
        (2000, "2000-04-23"),
        (2008, "2008-03-23"),
        (2024, "2024-03-31"),
        (2025, "2025-04-20"),
        (2026, "2026-04-05"),
        (2027, "2027-03-28"),
        (2038, "2038-04-25"),
    ],
)
def test_easter(year, easter):
    assert easter_sunday(year) == date.fromisoformat(easter)


def test_easter_is_a_sunday_of_spring():
    for year in range(1600, 2300):
        day = easter_sunday(year)
        assert day.weekday() == 6 and date(year, 3, 22) <= day <= date(year, 4, 25)


def test_the_holidays_of_a_year():
    assert sorted(each.isoformat()[5:] for each in holidays(2026)) == [
        "01-01", "04-06", "05-01", "05-08", "05-14", "05-25", "07-14", "08-15", "11-01", "11-11", "12-25"
    ]  # fmt: skip
    assert holidays(2008) >= {date(2008, 5, 1)} and len(holidays(2008)) == 10  # Ascension was on the first of May


@pytest.mark.parametrize(
    ("day", "working"),
    [
        ("2026-03-02", True),
        ("2026-03-06", True),
        ("2026-03-07", False),
        ("2026-04-06", False),
        ("2026-07-14", False),
        ("2026-07-15", True),
    ],
)
def test_working_days(day, working):
    assert is_working(date.fromisoformat(day)) is working


def test_daytimes_are_the_days_parts_of_a_span():
    # From Friday noon, over a week-end and Easter Monday, to Tuesday ten o'clock.
    found = list(daytimes(at("2026-04-03 12:00"), at("2026-04-07 10:00")))
    assert [(each.begin_s, each.end_s) for each in found] == [
        (at("2026-04-03 12:00"), at("2026-04-03 19:00")),
        (at("2026-04-07 09:00"), at("2026-04-07 10:00")),
    ]
    assert list(daytimes(at("2026-03-02 19:00"), at("2026-03-03 09:00"))) == []


@pytest.mark.parametrize("day", ["2026-03-27", "2026-03-30", "2026-10-23", "2026-10-26"])
def test_a_day_has_ten_hours_before_and_after_clocks_change(day):
    (found,) = daytimes(at(f"{day} 00:00"), at(f"{day} 00:00") + 24 * H)
    assert found.seconds == 10 * H and local(found.begin_s).hour == 9


@pytest.mark.parametrize(
    ("begin", "hours", "nodes", "queue"),
    [
        ("2026-03-02 09:00", 10, 24, ""),  # 240 of the 248 that are allowed
        ("2026-03-02 19:00", 14, 124, ""),
        ("2026-03-06 19:00", 62, 124, ""),
        ("2026-03-02 17:00", 16, 124, ""),  # two hours of the whole cluster
        ("2026-05-01 09:00", 10, 124, ""),
        ("2026-03-02 09:00", 10, 124, "besteffort"),
    ],
)
def test_what_the_policy_allows(begin, hours, nodes, queue):
    assert problems(at(begin), hours * H, nodes, 124, 0, queue) == []


def test_a_large_job_by_day_is_told_when_it_may_run():
    assert problems(None, 4 * H, 124, 124, at("2026-03-02 10:00")) == [
        "on Monday 2026-03-02 the job would use 496 hours of a node between 9 and 19 h (124 nodes for 4 h): the usage "
        "policy allows 248, 2 hours of the whole cluster",
        "it may run from Monday 2026-03-02 19:00 to Tuesday 2026-03-03 09:00, if it begins until Tuesday 2026-03-03 "
        "05:00; by day, 124 nodes may be had for 2:00 h a day",
    ]


def test_each_day_that_is_too_much_is_told():
    found = problems(at("2026-03-02 19:00"), 48 * H, 100, 124, 0)
    assert [each[:20] for each in found[:2]] == ["on Tuesday 2026-03-0", "on Wednesday 2026-03"]
    assert found[2].startswith("it may run from Friday 2026-03-06 19:00 to Monday 2026-03-09 09:00, if it begins until")
    assert found[2].endswith("by day, 100 nodes may be had for 2:28 h a day")


def test_a_job_longer_than_any_week_end_is_to_be_split():
    (*_, last) = problems(at("2026-03-02 19:00"), 100 * H, 124, 124, 0)
    assert last.startswith("it is longer than any night or week-end of the next 21 days: split it; by day, 124 nodes")


def test_windows():
    night = free_window(at("2026-03-02 10:00"), 14 * H)
    assert night is not None and night.begin_s == at("2026-03-02 19:00") and night.seconds == 14 * H
    rest = free_window(at("2026-03-03 02:00"), 7 * H)
    assert rest is not None and rest.begin_s == at("2026-03-03 02:00")
    long = free_window(at("2026-03-31 10:00"), 70 * H)
    assert str(long) == "from Friday 2026-04-03 19:00 to Tuesday 2026-04-07 09:00"  # with Easter Monday


def test_a_machine_without_time_zones(monkeypatch):
    monkeypatch.setattr(charter, "_ZONE", "Europe/Nowhere")
    with pytest.raises(UserError, match="install the package tzdata"):
        local(0)


def test_no_window_ends_before_it_begins():
    begin = at("2026-01-01 00:00")
    for hour in range(0, 24 * 60, 5):
        window = free_window(begin + hour * H, 5 * H)
        assert window is not None and window.seconds >= 5 * H
        assert list(daytimes(window.begin_s, window.end_s)) == []
        assert local(window.end_s) - local(window.begin_s) <= timedelta(days=5)
