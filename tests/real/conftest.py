"""What the real tests need, and that they leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Each of those that run side by side has a state of its own: none lists or removes what another has up.
    os.environ["PLIANT_STATE"] = f"/var/lib/pliant-tests{os.getppid()}-{worker}"

import support

from pliant.machine import cgroup, cgroups
from pliant.machine.journal import STATE

# Who starts the tests in a script's background has them ignore SIGINT, and with them every pliant that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _lacking() -> str:
    """What this machine lacks for the real tests, in a sentence; empty if nothing."""
    if os.geteuid() != 0:
        return "the real tests need root; run them with sudo"
    if shutil.which("glusterd") is None:
        return "the real tests need GlusterFS; apt-get install glusterfs-server glusterfs-client"
    try:
        cgroups.probe()
    except cgroup.CgroupError as error:
        return f"the real tests need control groups: {error}"
    return ""


def pytest_sessionfinish():
    """Remove what is kept beside deployments in a state that was for these tests alone; none of those is left."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        for kept in STATE.parent.glob(f"{STATE.name}-*"):
            kept.unlink()
        with contextlib.suppress(FileNotFoundError):
            STATE.rmdir()


@pytest.fixture(scope="module", autouse=True)
def module_store(tmp_path_factory):
    """A store of its own for what a module of tests measures in common; nothing of what a user has is seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLIANT_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(autouse=True)
def store(module_store, tmp_path, monkeypatch):
    """A store of its own for each test: none finds done what it is to measure."""
    monkeypatch.setenv("PLIANT_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="module", autouse=True)
def machine(request):
    """The machine before a module of tests, which has to be as it was after it. A lack fails, it never skips."""
    marks = getattr(request.module, "pytestmark", [])
    if pytest.mark.real not in (marks if isinstance(marks, list) else [marks]):
        yield None
        return
    if lacking := _lacking():
        pytest.fail(lacking, pytrace=False)
    before = support.Snapshot.take()
    yield before
    support.nothing_left(before)
