"""What an agent answers of its machine, without a deployment."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
import time
from collections.abc import Mapping
from typing import Any, Callable

from . import datadisk, facts, promised, trying, uml, vm
from .journal import STATE


def _hello() -> dict[str, Any]:
    """Who answers, and what time it is here: seconds since the epoch, and of CLOCK_MONOTONIC."""
    return {
        "pid": os.getpid(),
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "time_s": time.time(),
        "monotonic_s": time.monotonic(),
        "state": str(STATE),
    }


ANSWERS: Mapping[str, Callable[..., Any]] = {
    "hello": _hello,
    "look": lambda: dataclasses.asdict(facts.look()),
    "which": lambda programs: {program: facts.which(program) for program in programs},
    "located": lambda programs, directory: facts.located(programs, directory),
    "module": lambda path: uml.module(path),
    "missing_filesystems": lambda names: facts.missing_filesystems(tuple(names)),
    "own_kernel_lacks": lambda names: uml.lacking(names),
    "boot": lambda: [{"boots": each.boots, "sentence": each.sentence} for each in vm.look()],
    "having": lambda modules: facts.having(*modules),
    "kernel_limit": lambda name: facts.kernel_limit(name),
    "package_versions": lambda packages: facts.package_versions(tuple(packages)),
    "version": lambda argv: facts.version(tuple(argv)),
    "said": lambda argv: facts.said(tuple(argv)),
    "digests": lambda programs: {program: facts.digest(program) for program in programs},
    "try": lambda visible=(): dataclasses.asdict(trying.try_a_node(visible)),
    "deployments": promised.listed,
    "take_disk": datadisk.take,
    "taken_disk": datadisk.taken,
    "give_back_disk": datadisk.give_back,
}
"""What is asked for -> what answers it, and is given by keyword."""
