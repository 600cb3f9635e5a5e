"""A study for a box whose file system takes no time: what is tried with it is everything else."""

from __future__ import annotations

from collections.abc import Sequence

STUDY = """\
[study]
name = "{name}"
search = "grid"
repetitions = {repetitions}
seed = 3
trial_timeout = "1 min"

[platform]
{platform}

[filesystem]
kind = "custom"
name = "none"
[filesystem.roles]
server = {servers}
client = 1
[filesystem.options.role.server]
{disk}
[filesystem.options.role.client]
client = true
[[filesystem.options.step]]
name = "serve"
on = "server"
daemon = "exec sleep infinity"
[[filesystem.options.step]]
name = "mount"
on = "client"
requires = ["serve"]
run = ["mkdir -p {{{{ mount }}}}"]

[fold]
ratios = {ratios}
max_loss = "90 %"

{workload}"""
SLEEP = """\
[[workload]]
kind = "command"
name = "work"
[[workload.phase]]
name = "wait"
shell = "sleep {seconds:g}; echo rate 100"
[[workload.metric]]
name = "rate"
unit = "op/s"
better = "higher"
regex = "rate ([0-9.]+)"
"""
"""Each client sleeps."""
MPI = """\
[[workload]]
kind = "mdtest"
files_per_rank = {files}
"""
"""The built-in kernel, by MPI, from the first host on."""


def study(
    platform: str,
    *,
    name: str = "nothing",
    servers: int = 1,
    ratios: Sequence[float] = (1, 2),
    repetitions: int = 1,
    seconds: float = 0.5,
    files: int = 0,
    disk: bool = False,
) -> str:
    """The text of a study with a client that has a directory of its own in place of a file system, and servers that
    sleep, with a disk each if they are to have one; a trial takes so many seconds, or makes so many files by MPI."""
    workload = MPI.format(files=files) if files else SLEEP.format(seconds=seconds)
    return STUDY.format(
        platform=platform,
        name=name,
        servers=servers,
        ratios=list(ratios),
        repetitions=repetitions,
        workload=workload,
        disk='disk = "/srv/data"' if disk else "",
    )
