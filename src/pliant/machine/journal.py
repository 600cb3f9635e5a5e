"""Where deployments are written down, so that any of them can be removed later, by anyone, from that alone.

`STATE/ID/` holds a deployment: `owner.json` (whose it is), `journal.jsonl` (what was about to be made, one JSON object
a line, written before it is made), and what its nodes write. Everything made carries the id: the control group
`pliant-ID`, images under STATE/ID/disks, the variable PLIANT_ID in the environment of its processes.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .cgroup import CgroupError
from .cgroups import probe
from .process import alive, start_time

THERE = Path(os.environ.get("PLIANT_STATE") or "/var/lib/pliant")
"""Where all that deployments write is, and what they were promised: those with another one know nothing of these."""
STATE = THERE
if os.geteuid() != 0 and not os.environ.get("PLIANT_STATE"):
    STATE = Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")) / "pliant"
"""... here. Who is not root has deployments on other machines only, and keeps account of them at home."""


def unusable(state: Path = STATE) -> str:
    """Why a directory cannot be the one for state, by its name; "" if it can. The name is a part of mounts' options and
    of words for a shell."""
    if not state.is_absolute() or re.search(r"[^A-Za-z0-9/._-]", str(state)) or len(state.parts) < 2:
        return (
            f'PLIANT_STATE="{state}" cannot be used; name a directory by its whole path, of letters, digits and "._-", '
            "e.g. /scratch/pliant"
        )
    return ""


@dataclass(frozen=True)
class Owner:
    """Who made a deployment. `keep`: it was meant to outlive its maker (`pliant up`), so it is not stale without it.
    `run`: the directory of the run that it was made for; "" if for none."""

    id: str
    pid: int
    started: int
    created: float
    title: str
    keep: bool = False
    run: str = ""

    @property
    def alive(self) -> bool:
        """Whether the process that made the deployment still runs."""
        return alive(self.pid, self.started)


class Journal:
    """One deployment's journal; appending is the only thing ever done to it."""

    def __init__(self, deployment: str, state: Path | None = None) -> None:
        if not deployment.strip(".") or "/" in deployment:  # the directory of it would be another's, or all of them
            raise ValueError(f'"{deployment}" is not the id of a deployment')
        self.id = deployment
        self.directory = (state or STATE) / deployment

    @classmethod
    def create(cls, title: str, *, keep: bool = False, run: str = "", state: Path | None = None) -> Journal:
        """A new deployment with an id of its own (4 hexadecimal digits), owned by this process."""
        (state or STATE).mkdir(mode=0o700, parents=True, exist_ok=True)
        groups: list[str] = []
        with suppress(CgroupError):
            groups = probe().groups()
        while True:
            journal = cls(secrets.token_hex(2), state)
            if f"pliant-{journal.id}" in groups:
                continue  # one of another state has them
            try:
                journal.directory.mkdir(mode=0o700)
            except FileExistsError:
                continue
            journal.own(title, keep=keep, run=run)
            return journal

    @classmethod
    def create_as(cls, deployment: str, title: str) -> Journal:
        """A new deployment whose id was chosen elsewhere. FileExistsError if there is one."""
        STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        journal = cls(deployment)
        journal.directory.mkdir(mode=0o700)
        journal.own(title, keep=False)
        return journal

    @property
    def whose(self) -> str:
        """What tells the directory of state from any other, also where another stands at its path; "" without one."""
        with suppress(FileNotFoundError):
            there = self.directory.parent.stat()
            return f"{there.st_dev}:{there.st_ino}"
        return ""

    def own(self, title: str, *, keep: bool, run: str = "") -> None:
        """Write down this process as the owner."""
        owner = Owner(self.id, os.getpid(), start_time(os.getpid()) or 0, time.time(), title, keep, run)
        self.write("owner.json", asdict(owner))

    def owner(self) -> Owner | None:
        """Who made the deployment; None if its maker died before it could say so."""
        try:
            return Owner(**json.loads((self.directory / "owner.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, name: str, content: Any) -> None:
        """Replace one JSON file of the deployment, whole or not at all."""
        self.keep(name, json.dumps(content))

    def read(self, name: str) -> Any:
        """One JSON file of the deployment; None if it is not there."""
        text = self.kept(name)
        return None if text is None else json.loads(text)

    def keep(self, name: str, text: str) -> None:
        """Keep a text that only root may read, as it may hold secrets: whole or not at all, as others look at it."""
        temporary = self.directory / f".{name}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(self.directory / name)

    def kept(self, name: str) -> str | None:
        """A text that was kept; None if there is none."""
        try:
            return (self.directory / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def note(self, **entry: Any) -> None:
        """Write down what is about to be made: `note(make="loop", file=...)`."""
        with (self.directory / "journal.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """What was written down, in order; a last line that a crash cut short is left out."""
        entries = []
        try:
            lines = (self.directory / "journal.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except ValueError:
                break
        return entries

    @contextmanager
    def locked(self, name: str = "lock") -> Iterator[None]:
        """Hold the deployment for removal, or for what `name` stands for: a second one waits for the first."""
        with (self.directory / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def deployments(state: Path | None = None) -> list[Journal]:
    """The deployments that this machine knows of, oldest first."""
    root = state or STATE
    try:
        journals = [Journal(path.name, state) for path in root.iterdir() if path.is_dir()]
    except (FileNotFoundError, PermissionError):
        return []
    return sorted(journals, key=_created)


def _created(journal: Journal) -> float:
    """When a deployment was made. Its directory's own times say only when something in it was last replaced."""
    if (owner := journal.owner()) is not None:
        return owner.created
    try:
        return journal.directory.stat().st_ctime
    except FileNotFoundError:  # removed meanwhile
        return 0.0
