"""What file systems keep of POSIX, folded and unfolded: `pliant conform`."""

from __future__ import annotations

import json

import pytest
from support import IOR, listed, pliant, study

from pliant.cluster.conformance import CRASH
from pliant.cluster.posix_checks import CHECKS

pytestmark = pytest.mark.real

KEPT = (
    *("directories", "hard links", "symbolic links", "long names", "only empty directories go", "O_EXCL"),
    *("locks (fcntl)", "shared locks", "locks of the dead", "sparse files", "large offsets", CRASH),
)
"""What GlusterFS keeps; what its clients' caches, and appends of several, come to is chance."""


@pytest.mark.paired
def test_a_run_has_what_its_file_system_keeps_at_every_ratio(tmp_path):
    file = study(tmp_path, servers=2, clients=2, ratios=[1, 4], workloads=IOR)
    out = tmp_path / "out"
    done = pliant("run", file, "--output", out)
    assert done.returncode == 0, done.stderr
    done = pliant("conform", file, "--output", out)
    assert done.returncode == 0, done.stderr
    assert "27 promises of POSIX were looked at from two clients, at ratios 1, 4" in " ".join(done.stdout.split())
    found = json.loads((out / "verdict.json").read_text())["conformance"]
    assert [row["name"] for row in found] == [*CHECKS, CRASH]
    by_name = {row["name"]: row["ratios"] for row in found}
    for name in KEPT:
        assert {each["outcome"] for each in by_name[name].values()} <= {"holds", "late"}, (name, by_name[name])
    # A file that another client removed is none any more for who has it open: the same at every ratio.
    assert {each["outcome"] for each in by_name["removed while open"].values()} == {"fails"}
    assert "What it keeps of POSIX" in (out / "report.html").read_text()
    assert listed() == []


@pytest.mark.together
def test_nfs_from_nodes_with_kernels_of_their_own(tmp_path):
    text = study(tmp_path, servers=1, clients=2, ratios=[1], workloads=IOR).read_text()
    table = text[text.index("[filesystem]") : text.index("[fold]")]
    nfs = '[filesystem]\nkind = "nfs"\n[filesystem.roles]\nserver = 1\nclient = 2\n'
    file = tmp_path / "nfs.toml"
    file.write_text(text.replace(table, nfs).replace('memory = "512 MiB"', 'memory = "1 GiB"'))
    # Of all of them NFS takes three minutes, as what its clients know is up to a minute old.
    kept = ("data after close", "removed while open", "locks (fcntl)", "locks of the dead", "O_EXCL", CRASH)
    done = pliant("conform", file, "--json", *(word for name in (*kept, "O_APPEND") for word in ("--only", name)))
    assert done.returncode == 0, done.stderr
    (results,) = json.loads(done.stdout).values()
    outcomes = {each["name"]: each["outcome"] for each in results}
    assert set(outcomes) == {*kept, "O_APPEND"}
    assert {outcomes[name] for name in kept} <= {"holds", "late"}, results
    assert listed() == []


def test_what_is_asked_wrongly_is_refused(tmp_path):
    file = study(tmp_path)
    for arguments, said in (
        (["--ratio", "3"], "--ratio 3 is not one of the study's: 1, 2"),
        (["--output", tmp_path / "none"], "holds no run"),
        (["--only", "telepathy"], '--only "telepathy" is no promise; there are data after close, '),
    ):
        done = pliant("conform", file, *arguments)
        assert done.returncode == 2 and said in done.stderr
