"""What the kernel is told of a disk's dirty pages, in a recorded directory of /sys/class/bdi."""

from __future__ import annotations

from pathlib import Path

import pytest

from pliant.machine import disks

MIB = 2**20


@pytest.fixture
def bdi(tmp_path, monkeypatch):
    """The directory of device 7:3 as the kernel shows it when as much as the machine allows may be dirty."""
    for name, text in {"strict_limit": "0\n", "max_ratio": "100\n", "max_bytes": f"{400 * MIB}\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(disks, "number", lambda device: "7:3")
    monkeypatch.setattr(disks, "Path", lambda *parts: tmp_path if parts == ("/sys/class/bdi", "7:3") else Path(*parts))
    return tmp_path


def read(bdi: Path) -> list[str]:
    return [(bdi / name).read_text().strip() for name in ("strict_limit", "max_ratio", "max_bytes")]


def test_a_disk_holds_back_who_writes_more_than_its_host_would_cache(bdi):
    disks.limit_dirty("/dev/loop3", 100 * MIB)
    assert read(bdi) == ["1", "100", str(100 * MIB)]


def test_what_the_machine_allows_is_not_exceeded(bdi):
    disks.limit_dirty("/dev/loop3", 500 * MIB)  # the kernel refuses more than that
    assert read(bdi) == ["1", "100", str(400 * MIB)]


def test_what_was_set_before_does_not_stay(bdi):
    (bdi / "max_ratio").write_text("3\n")
    disks.limit_dirty("/dev/loop3", 100 * MIB)
    assert read(bdi)[1] == "100"
    disks.limit_dirty("/dev/loop3", None)
    assert read(bdi)[:2] == ["0", "100"]


def test_a_kernel_without_such_limits(bdi):
    for name in ("strict_limit", "max_bytes"):
        (bdi / name).unlink()
    disks.limit_dirty("/dev/loop3", 100 * MIB)
    disks.limit_dirty("/dev/loop3", None)
    assert [file.name for file in bdi.iterdir()] == ["max_ratio"]
