"""A real OAR on the hosts of a box: its server and a PostgreSQL of its own on the front end, OAR's sshd on all hosts.

All of it lies in the box's directory, which hosts show as /etc/oar, /var/lib/oar and /var/lib/postgresql. Control
groups are left alone: the jobs' hosts are to be used by ssh, as root, as with testbeds' job type allow_classic_ssh.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pliant.schedulers.front import Front

from . import user
from .hosts import Box, needs, until

MOST_MORE_S = 3600
"""How much longer a user may have a job made (oarwalltime(1))."""
_SETTINGS = {
    "SERVER_HOSTNAME": "{front}",
    "DEPLOY_HOSTNAME": "{front}",
    "COSYSTEM_HOSTNAME": "{front}",
    "DB_BASE_PASSWD": "oar",
    "DB_BASE_PASSWD_RO": "oar",
    "LOG_FILE": "/var/lib/oar/oar.log",
    "FINAUD_FREQUENCY": "0",
    "SCHEDULER_MIN_TIME_BETWEEN_2_CALLS": "0",
    "SCHEDULER_JOB_SECURITY_TIME": "1",
    "WALLTIME_CHANGE_ENABLED": "yes",
    "WALLTIME_MAX_INCREASE": str(MOST_MORE_S),
    # Without these it makes control groups, and deletes what the jobs' user has in /tmp.
    "JOB_RESOURCE_MANAGER_PROPERTY_DB_FIELD": None,
    "CPUSET_PATH": None,
}
"""What is set in oar.conf; None: not at all."""
_POSTGRES = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    # In files of its own: nothing is left in /dev/shm, however it ends.
    "dynamic_shared_memory_type": "mmap",
}
_DATABASE = "/var/lib/postgresql"
_TYPES = "UPDATE admission_rules SET rule = replace(rule, 'qr/^besteffort$/,', 'qr/^(besteffort|allow_classic_ssh)$/,')"
"""The job type that testbeds have for hosts that are used by ssh is none of OAR's own."""


@dataclass(frozen=True)
class OarBox:
    """An OAR that is up: `front` is where it is called, as an ordinary user."""

    hosts: Box
    front: Front
    nodes: tuple[str, ...]


@contextlib.contextmanager
def oar(directory: Path, nodes: int) -> Iterator[OarBox]:
    """A box of so many hosts and a front end, with an OAR, during the block."""
    with user.with_front(directory, nodes) as hosts:
        yield start(hosts)


def start(hosts: Box, front: str = user.FRONT, nodes: Sequence[str] = ()) -> OarBox:
    """Start OAR on hosts that are up and know the user; it ends with them.

    `nodes` are those that it lends: all but the front end unless they are named.
    """
    needs("Almighty", "oarsub", "oarnodesetting", "psql")
    nodes = tuple(nodes or (name for name in hosts.names if name != front))
    _configure(hosts, front)
    for name in hosts.names:
        hosts.start(name, ["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/oar/sshd_config"], "oar-sshd")
    _begin_database(hosts, front)
    hosts.start(front, ["/usr/sbin/Almighty"], "oar-server")
    hosts.run(front, ["oarproperty", "--add", "host", "--varchar"])
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(_add, hosts, front, name) for name in nodes]:
            done.result()
    return OarBox(hosts, Front(front, hosts.config), nodes)


def _configure(hosts: Box, front: str) -> None:
    directory = hosts.directory / "oar"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    own = pwd.getpwnam("oar")
    for name in hosts.names:  # each has its own: OAR keeps in there what runs on a host
        etc, home = directory / f"etc-{name}", directory / f"home-{name}"
        shutil.copytree("/etc/oar", etc)
        conf = _edited((etc / "oar.conf").read_text(), front)
        (etc / "oar.conf").write_text(conf)
        os.chown(etc / "oar.conf", own.pw_uid, own.pw_gid)
        shutil.copytree("/var/lib/oar", home)
        for path in (home, *home.rglob("*")):
            os.chown(path, own.pw_uid, own.pw_gid)
        user.bind(hosts, name, etc, "/etc/oar")
        user.bind(hosts, name, home, "/var/lib/oar")


def _edited(conf: str, front: str) -> str:
    """oar.conf with our settings."""
    kept = [line for line in conf.splitlines() if re.split(r"\s*=", line)[0] not in _SETTINGS]
    ours = [f'{key}="{value.format(front=front)}"' for key, value in _SETTINGS.items() if value is not None]
    return "\n".join([*kept, *ours, ""])


def _begin_database(hosts: Box, front: str) -> None:
    directory = hosts.directory / "oar/database"
    directory.mkdir()
    own = pwd.getpwnam("postgres")
    os.chown(directory, own.pw_uid, own.pw_gid)
    user.bind(hosts, front, directory, _DATABASE)
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    as_it = ["setpriv", f"--reuid={own.pw_uid}", f"--regid={own.pw_gid}", "--clear-groups", "--"]
    data = f"{_DATABASE}/data"
    hosts.run(
        front, [*as_it, f"{programs}/initdb", "--no-sync", "--auth=trust", "--username=postgres", f"--pgdata={data}"]
    )
    settings = [word for name, value in _POSTGRES.items() for word in ("-c", f"{name}={value}")]
    # Its shared memory goes with an IPC namespace.
    command = ["unshare", "--ipc", "--", *as_it, f"{programs}/postgres", "-D", data, *settings]
    hosts.start(front, command, "postgresql")
    until(partial(_answers, hosts, front, f"{programs}/pg_isready"), "PostgreSQL")
    hosts.run(
        front, ["oar-database", "--create", "--db-host=127.0.0.1", "--db-admin-user=postgres", "--db-admin-pass=none"]
    )
    hosts.run(front, ["psql", "--host=127.0.0.1", "--username=postgres", "--command", _TYPES, "oar"])


def _answers(hosts: Box, front: str, pg_isready: str) -> bool:
    with contextlib.suppress(subprocess.CalledProcessError):
        hosts.run(front, [pg_isready, "--host=127.0.0.1"])
        return True
    return False


def _add(hosts: Box, front: str, name: str) -> None:
    """Give OAR a host to lend."""
    properties: Mapping[str, str] = {"host": name, "cpuset": "0", "deploy": "YES"}
    given = [word for key, value in properties.items() for word in ("-p", f"{key}={value}")]
    hosts.run(front, ["oarnodesetting", "-a", "-h", name, *given])
