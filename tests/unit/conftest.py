"""What tests ask for: a machine that has everything, and Nix, apart from the machine's own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from prepared_studies import Machine

# Who starts the tests in a script's background has them ignore SIGINT, and with them every program that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a machine that does other things beside.
settings.register_profile("pliant", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pliant")


@pytest.fixture
def machine(monkeypatch):
    """The machine that studies are prepared for, without programs of its own."""
    here = Machine()
    here.stand_in(monkeypatch.setattr)
    monkeypatch.setenv("PATH", "/nowhere")
    return here


@pytest.fixture(scope="module")
def nix_instantiate(tmp_path_factory):
    base = tmp_path_factory.mktemp("nix")
    own = {f"NIX_{name}_DIR": str(base / name.lower()) for name in ("STORE", "STATE", "LOG", "CONF")}

    def run(*argv: str, cwd: Path | None = None, text: str = "") -> str:
        done = subprocess.run(
            ["nix-instantiate", *argv],
            env=os.environ | own,
            cwd=cwd,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
