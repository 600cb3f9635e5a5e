"""Runs a command in a node of another machine with this process's terminal: `python -m ... DIRECTORY NODE COMMAND...`.

DIRECTORY is the deployment's own. By an ssh of its own, whose -t gives the command a terminal there.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from pliant.machine.journal import Journal
from pliant.machine.promised import HOSTS
from pliant.platforms.own_ssh import as_root, given_to_ssh
from pliant.platforms.ssh import fleet_of


def main() -> None:
    """Become that ssh."""
    directory, node, *argv = sys.argv[1:]
    journal = Journal(Path(directory).name, Path(directory).parent)
    fleet, where = fleet_of(journal), journal.read(HOSTS)["state"]
    number = journal.read("deployment.json")["placed"][node]
    terminal = f"TERM={os.environ.get('TERM', 'dumb')}"
    inside = ["env", terminal, f"{where}/{journal.id}-{number}/enter", node, *argv]
    given = given_to_ssh(fleet.config, fleet.options)
    command = ["ssh", "-t", *given, "-o", "LogLevel=ERROR", "--", fleet.hosts[number - 1], as_root(shlex.join(inside))]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
