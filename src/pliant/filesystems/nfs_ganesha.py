"""NFS-Ganesha: an NFS server in user space, which serves a directory of its node (FSAL_VFS).

Sources: ganesha-config(8), ganesha-core-config(8), ganesha-export-config(8), ganesha-vfs-config(8) of NFS-Ganesha 4.3.
It needs rpcbind also for version 4 alone, and open-by-handle: the directory is on a disk, and no overlay.
"""

from __future__ import annotations

from pliant.composition.model import Command

CONFIG = "/etc/ganesha/ganesha.conf"
LOG = "/var/log/ganesha"
STATE = "/var/lib/pliant-ganesha"
"""Who its clients were, for when it starts again."""
_LEASE_S, _GRACE_S = 10, 15
"""A client has so long to say that it is there, and so long to claim what it had from a server that started again."""

COMMAND = Command(
    ("ganesha.nfsd", "-F", "-p", "/run/ganesha.pid", "-f", CONFIG, "-L", f"{LOG}/ganesha.log", "-N", "EVENT")
)
HEALTH = Command(("rpcinfo", "-T", "tcp", "127.0.0.1", "nfs"))


def configuration(directory: str, version: str, threads: int, transfer_bytes: int) -> str:
    """What it is told: one directory, for everybody, as the root of version 4, or by its path in version 3."""
    major, _, minor = version.partition(".")
    return f"""\
NFS_CORE_PARAM {{
    Protocols = {major};
    NFS_Port = 2049;
    MNT_Port = 20048;
    Nb_Worker = {threads};
    Enable_NLM = {str(major == "3").lower()};
    Enable_RQUOTA = false;
    allow_set_io_flusher_fail = true;
}}
NFSv4 {{
    RecoveryBackend = fs;
    RecoveryRoot = {STATE};
    Lease_Lifetime = {_LEASE_S};
    Grace_Period = {_GRACE_S};
    Minor_Versions = {minor or 2};
}}
EXPORT {{
    Export_Id = 1;
    Path = {directory};
    Pseudo = /;
    Protocols = {major};
    Transports = TCP;
    Access_Type = RW;
    Squash = None;
    SecType = sys;
    MaxRead = {transfer_bytes};
    MaxWrite = {transfer_bytes};
    PrefRead = {transfer_bytes};
    PrefWrite = {transfer_bytes};
    FSAL {{
        Name = VFS;
    }}
}}
"""
