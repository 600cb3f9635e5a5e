"""pliant: how far does a distributed file system fold before its performance breaks?

`open_run(DIRECTORY)` opens the results of a run for a notebook or a script; see `pliant.notebook.run`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`open_run`, which is imported when it is asked for: the command line has no need of it."""
    if name == "open_run":
        return import_module("pliant.notebook.run").open_run
    raise AttributeError(f"module 'pliant' has no attribute {name!r}")
