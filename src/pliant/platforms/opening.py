"""A deployment that another process made, opened or removed from what is written down of it, wherever its hosts are."""

from __future__ import annotations

import os

from pliant.machine import teardown
from pliant.machine.journal import Journal
from pliant.machine.promised import HOSTS
from pliant.platforms import emulated, here, ssh
from pliant.platforms.emulated import EmulatedDeployment
from pliant.platforms.ssh import Ssh, SshDeployment

_GRACE_S = 60.0
"""What the maker of a deployment, if it lives, is given to remove it by itself."""

AnyDeployment = EmulatedDeployment | SshDeployment


def opened(journal: Journal) -> AnyDeployment | None:
    """The deployment; None if it was never completely up. Raises HostError if its hosts cannot be reached."""
    if not here.is_elsewhere(journal):
        return emulated.opened(journal)
    fleet = ssh.fleet_of(journal)
    fleet.connect()
    platform = Ssh(fleet, limited=journal.read(HOSTS)["limited"])
    platform.look()
    return platform.opened(journal)


def remove(journal: Journal, *, forget: bool = False) -> None:
    """Remove everything of a deployment, from its journal and its id alone; with `forget`, of one on other machines,
    what is written down here. Raises TeardownError, CgroupError."""
    if here.is_elsewhere(journal):
        owner = journal.owner()
        if owner is not None and owner.alive and owner.pid != os.getpid():
            teardown.stop(owner.pid, owner.started, _GRACE_S)
        if journal.directory.exists() and forget:
            ssh.forget(journal)
        elif journal.directory.exists():
            ssh.remove(journal)
    else:
        here.remove(journal)
