"""The kernels as MPI jobs in a local directory: what they leave there, and how they fail.

Those marked `real` need root: to give ranks host names of their own, to drop caches.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pliant.workloads.io500 import PHASES
from pliant.workloads.kernels import common

MIB = 1 << 20
BIN = Path(sys.executable).parent
KERNELS = Path(common.__file__).parent
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def mpi(program, line, ranks=2, wrap=()):
    """Run a kernel on local ranks; `wrap` is a prefix for each rank's command, by rank."""
    command = [sys.executable, "-I", str(KERNELS / f"{program}.py"), *line.split()]
    wraps = wrap or [[]]
    per_context = ranks // len(wraps)
    contexts = [[*(":" if i else "").split(), "-n", str(per_context), *w, *command] for i, w in enumerate(wraps)]
    argv = [str(BIN / "mpiexec"), *(word for context in contexts for word in context)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def ok(program, line, **keys):
    done = mpi(program, line, **keys)
    assert done.returncode == 0, done.stderr
    return done.stdout


def summary_of(output):
    """The summary in the ior kernel's JSON, which is all that follows its windows."""
    return json.loads(output[output.index("{") :])["summary"]


def nodes(*names):
    """Prefixes that give each rank a host name of its own, as if it were in a node of that name."""
    return [["unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh"] for name in names]


def data(rank, seed, length):
    """What IOR writes, computed the slow way."""
    return b"".join(((rank << 32) | (seed + word)).to_bytes(8, "little") for word in range(length // 8))


def listing(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# IOR


def test_file_per_process_has_exactly_the_data_asked_for(tmp_path):
    ok("ior", f"-w -k -e -C -F -t 4k -b 16k -s 2 -G 7 -o {tmp_path}/testFile", ranks=3)
    assert listing(tmp_path) == [f"testFile.0000000{rank}" for rank in range(3)]
    for rank in range(3):
        assert (tmp_path / f"testFile.0000000{rank}").read_bytes() == data(rank, 7, 4096) * 8


def test_a_shared_file_has_the_ranks_blocks_in_turn(tmp_path):
    ok("ior", f"-w -k -t 4k -b 8k -s 2 -G 7 -o {tmp_path}/shared")
    assert (tmp_path / "shared").read_bytes() == (data(0, 7, 4096) * 2 + data(1, 7, 4096) * 2) * 2


def test_without_keep_nothing_is_left(tmp_path):
    ok("ior", f"-w -r -F -t 4k -b 8k -o {tmp_path}/testFile")
    ok("ior", f"-w -r -t 4k -b 8k -o {tmp_path}/testFile")
    assert listing(tmp_path) == []


def test_the_summary_is_json_whose_numbers_agree(tmp_path):
    started = time.monotonic()
    summary = summary_of(ok("ior", f"-w -r -F -t 1m -b 8m -s 2 -o {tmp_path}/testFile"))
    elapsed = time.monotonic() - started
    assert [entry["operation"] for entry in summary] == ["write", "read"]
    for entry in summary:
        assert entry["xsizeMiB"] == 2 * 2 * 8
        assert 0 < entry["MeanTime"] < elapsed
        assert entry["bwMaxMIB"] == pytest.approx(32 / entry["MeanTime"], rel=1e-4)


def test_a_stonewall_ends_the_write_and_all_ranks_have_the_same_amount(tmp_path):
    directives = f"-O stoneWallingWearOut=1,stoneWallingStatusFile={tmp_path}/status"
    slow = f"-w -k -F -t 8 -b 64m -o {tmp_path}/testFile"
    (written,) = summary_of(ok("ior", f"{slow} -D 1 {directives}"))
    sizes = {(tmp_path / f"testFile.0000000{rank}").stat().st_size for rank in range(2)}
    assert sizes == {8 * int((tmp_path / "status").read_text())}
    assert sizes.pop() < 64 * MIB
    assert 1.0 <= written["MeanTime"] < 5
    (read,) = summary_of(ok("ior", f"-r {slow[5:]} -O stoneWallingStatusFile={tmp_path}/status"))
    assert read["xsizeMiB"] == written["xsizeMiB"]


def test_a_flipped_byte_is_found_and_fails_the_job(tmp_path):
    common_line = f"-F -t 4k -b 16k -G 7 -k -o {tmp_path}/testFile"
    ok("ior", f"-w -W {common_line}")
    ok("ior", f"-R {common_line}")
    with (tmp_path / "testFile.00000001").open("r+b") as file:
        file.seek(10_000)
        file.write(b"\xff")
    done = mpi("ior", f"-R {common_line}")
    assert done.returncode != 0
    assert f"Incorrect data on read (1 errors found) in {tmp_path}/testFile" in done.stderr
    assert "bwMaxMIB" not in done.stdout


@pytest.mark.real
@ROOT
def test_reordering_reads_what_another_node_wrote(tmp_path):
    two = nodes("pa", "pb")
    ok("ior", f"-w -k -C -F -t 4k -b 16k -o {tmp_path}/testFile", wrap=two)
    (tmp_path / "testFile.00000001").unlink()
    done = mpi("ior", f"-r -k -C -F -t 4k -b 16k -o {tmp_path}/testFile", wrap=two)
    assert f"rank 0 on pa: {tmp_path}/testFile.00000001: No such file or directory (ENOENT)" in done.stderr
    done = mpi("ior", f"-r -k -F -t 4k -b 16k -o {tmp_path}/testFile", wrap=two)
    assert f"rank 1 on pb: {tmp_path}/testFile.00000001: No such file" in done.stderr


@pytest.mark.real
@ROOT
def test_write_and_read_in_one_job_with_dropped_caches(tmp_path):
    done = ok("ior", f"-w -W -r -R -C -F -G 1 -t 1m -b 4m -o {tmp_path}/f --drop-caches", wrap=nodes("pa", "pb"))
    assert [entry["operation"] for entry in summary_of(done)] == ["write", "read"]


# Failing


@pytest.mark.parametrize(
    ("program", "line"), [("ior", "-w -Z"), ("ior", "-t 3 -b 4"), ("mdtest", "-n 1 -q"), ("mdtest", "-n 0")]
)
def test_a_wrong_command_line_is_refused_once_with_status_2(program, line):
    done = mpi(program, line)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1


def failing(line, ranks=3):
    """Standard error of a job that must fail, and fast, although some ranks could wait for ever."""
    started = time.monotonic()
    done = mpi("ior", line, ranks=ranks)
    assert time.monotonic() - started < 10
    assert done.returncode != 0
    return done.stderr


def test_a_rank_that_cannot_open_its_file_ends_the_job(tmp_path):
    (tmp_path / "testFile.00000001").mkdir()
    stderr = failing(f"-w -E -F -t 4k -b 16k -o {tmp_path}/testFile")
    host = os.uname().nodename
    assert f"error: rank 1 on {host}: {tmp_path}/testFile.00000001: Is a directory (EISDIR)" in stderr
    assert "rank 0 on" not in stderr


def test_a_rank_that_fails_while_writing_ends_the_job_and_names_its_file(tmp_path):
    (tmp_path / "testFile.00000001").symlink_to("/dev/full")
    stderr = failing(f"-w -E -k -F -t 4k -b 1m -o {tmp_path}/testFile")
    assert re.search(rf"rank 1 on .*: {tmp_path}/testFile\.00000001: No space left on device \(ENOSPC\)", stderr)


def test_a_file_that_ends_too_early_is_an_error(tmp_path):
    line = f"-F -k -t 4k -b 16k -o {tmp_path}/testFile"
    ok("ior", f"-w {line}")
    os.truncate(tmp_path / "testFile.00000001", 9000)
    assert f"{tmp_path}/testFile.00000001: end of file at byte 9000" in failing(f"-r {line}", ranks=2)


def test_a_rank_that_waits_leaves_the_cpu_to_others(tmp_path):
    script = tmp_path / "wait.py"
    script.write_text(
        f"import sys, time, resource; sys.path.insert(0, {str(KERNELS)!r}); import common\n"
        "job = common.Job(); job.barrier()\n"
        "before = time.process_time()\n"
        "if job.rank == 0: time.sleep(1.5)\n"
        "job.barrier()\n"
        "print(job.rank, time.process_time() - before, flush=True)\n"
    )
    argv = [str(BIN / "mpiexec"), "-n", "2", sys.executable, "-I", str(script)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    used = dict(line.split() for line in done.stdout.splitlines())
    assert float(used["1"]) < 0.5


@pytest.mark.parametrize(("program", "line"), [("ior", "-w -r -F -t 4k -b 8k -o {}/f"), ("mdtest", "-n 3 -d {}")])
def test_a_job_that_waits_does_nothing_before_its_line_and_says_when_it_is_over(tmp_path, program, line):
    script = str(KERNELS / f"{program}.py")
    argv = [str(BIN / "mpiexec"), "-n", "2", sys.executable, "-I", script, "--wait", *line.format(tmp_path).split()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "ready\n"
        time.sleep(0.3)
        assert listing(tmp_path) == []
        let_go_s = time.monotonic()
        output, _ = job.communicate("\n", timeout=60)
    assert job.returncode == 0
    begun = re.findall(r"^begin \S+ ([0-9.]+)$", output, re.MULTILINE)
    assert begun
    assert let_go_s < float(begun[0])
    assert output.count("\nover\n") == 1
    assert output.rindex("\nresult ") < output.index("\nover\n")


# mdtest


def counts(directory):
    """How many directories and files are named as mdtest names its items."""
    names = [path.name for path in directory.rglob("*")]
    return tuple(sum(bool(re.fullmatch(rf"{kind}\.mdtest\.\d+\.\d+", n)) for n in names) for kind in ("dir", "file"))


def test_every_phase_leaves_the_items_that_it_should(tmp_path):
    line = f"-n 10 -u -N 1 -w 100 -e 50 -d {tmp_path}/md"
    created = ok("mdtest", f"-C {line}", ranks=3)
    assert counts(tmp_path) == (30, 30)
    assert {path.stat().st_size for path in tmp_path.rglob("file.*")} == {100}
    before = listing(tmp_path)
    for phase in ("-T", "-E"):
        ok("mdtest", f"{phase} {line}", ranks=3)
        assert listing(tmp_path) == before
    ok("mdtest", f"-r {line}", ranks=3)
    assert listing(tmp_path) == ["md"]
    assert re.search(r"^   File creation +[1-9][\d.]+ ", created, re.MULTILINE)
    assert re.search(r"^   File stat +0\.000 ", created, re.MULTILINE)


def test_with_a_stride_items_are_made_in_the_directory_of_another_rank(tmp_path):
    ok("mdtest", f"-C -F -n 1 -u -N 1 -d {tmp_path}")
    top = "test-dir.0-0/mdtest_tree"
    assert listing(tmp_path)[1:] == [
        f"{top}.0.0",
        f"{top}.0.0/file.mdtest.1.0",
        f"{top}.1.0",
        f"{top}.1.0/file.mdtest.0.0",
    ]


def test_a_tree_has_its_share_of_items_in_every_directory(tmp_path):
    line = f"-n 29 -z 2 -b 2 -d {tmp_path}/md"
    ok("mdtest", f"-C {line}")
    assert counts(tmp_path) == (56, 56)  # 4 in each of 7 directories, on 2 ranks
    trees = [path for path in tmp_path.rglob("mdtest_tree.*") if path.is_dir()]
    assert [len(list(tree.glob("file.*"))) for tree in trees] == [8] * 7
    assert (tmp_path / "md/test-dir.0-0/mdtest_tree.0/mdtest_tree.2/mdtest_tree.6/file.mdtest.1.27").is_file()
    ok("mdtest", f"-T -E {line}")
    ok("mdtest", f"-r {line}")
    assert listing(tmp_path) == ["md"]


@pytest.mark.parametrize("phase", ["-T", "-E", "-r"])
def test_every_phase_touches_every_item(tmp_path, phase):
    line = f"-n 5 -F -u -N 1 -d {tmp_path}"
    ok("mdtest", f"-C {line}")
    (missing,) = tmp_path.rglob("file.mdtest.1.4")
    missing.unlink()
    done = mpi("mdtest", f"{phase} {line}")
    assert done.returncode != 0
    assert f"{missing}: No such file or directory (ENOENT)" in done.stderr


def test_all_phases_without_flags_leave_nothing_of_what_they_made(tmp_path):
    table = ok("mdtest", f"-n 5 -u -d {tmp_path}/md")
    assert listing(tmp_path) == []
    rates = [float(rate) for rate in re.findall(r"^   \w+ \w+ +([\d.]+) ", table, re.MULTILINE)]
    assert len(rates) == 9 and min(rates) > 0


@pytest.mark.real
@ROOT
def test_all_phases_in_one_job_with_dropped_caches(tmp_path):
    table = ok("mdtest", f"-n 5 -u -N 1 -C -T -E -r --drop-caches -d {tmp_path}/md", wrap=nodes("pa", "pb"))
    assert len(re.findall(r"^   \w+ \w+ +[1-9][\d.]+ ", table, re.MULTILINE)) == 9
    assert listing(tmp_path) == []


# IO500

IO500 = "-d {} -D 1 -b 4m -s 20 -n 400 -m 300"


def result(output):
    """Phase -> what the kernel says of it."""
    sections = re.split(r"^\[(.+)\]$", output, flags=re.MULTILINE)
    return {
        name: dict(re.findall(r"^(\S+) += (\S+)$", body, re.MULTILINE))
        for name, body in zip(sections[1::2], sections[2::2], strict=True)
    }


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_all_of_io500_and_what_it_leaves(tmp_path, ranks):
    fewer = " -f 2" if ranks == 3 else ""
    found = result(ok("io500", IO500.format(tmp_path) + fewer, ranks=ranks))
    assert list(found) == ["run", *PHASES]
    assert all(float(found[name]["score"]) > 0 for name in PHASES)
    assert int(found["find"]["total-files"]) == ranks * (1 + 400 + 300) + 1
    names = [f"{rank}.{item}" for rank in range(ranks) for item in range(300)]
    assert int(found["find"]["found"]) == sum("01" in name for name in names)
    easy = [f"data/ior-easy/ior_file_easy.0000000{rank}" for rank in range(ranks)]
    left = [path for path in listing(tmp_path) if (tmp_path / path).is_file()]
    assert left == [*easy, "data/ior-hard/file", "results/timestampfile"]
    assert {(tmp_path / path).stat().st_size for path in easy} == {4 * MIB}
    assert (tmp_path / "data/ior-hard/file").stat().st_size == ranks * 20 * 47008


def test_a_stonewall_of_mdtest_leaves_every_rank_as_many_files(tmp_path):
    """Read, examined and removed is what was made: nothing is left, and nothing was missed."""
    line = f"-F -u -N 1 -W 1 -n 10000000 -d {tmp_path}/md"
    ok("mdtest", f"-C {line}", ranks=3)
    made = {len(list(each.iterdir())) for each in tmp_path.glob("md/test-dir.0-0/*")}
    assert len(made) == 1 and 1000 < made.pop() < 10_000_000


@pytest.mark.real
@ROOT
def test_io500_reads_what_other_nodes_wrote_and_notices_other_data(tmp_path):
    two = nodes("pa", "pb")
    done = ok("io500", f"{IO500.format(tmp_path)} --drop-caches", wrap=two)
    assert all(float(each["score"]) > 0 for name, each in result(done).items() if name != "run")


def end_of_patched_io500(directory: Path, patch: str) -> str:
    """What io500 said on standard error, in which a part is replaced, and of which two ranks failed."""
    program = (
        f"import os, sys; sys.argv = ['io500', *sys.argv[2:]]; sys.path.insert(0, {str(KERNELS)!r});"
        f"import common, io500, find; {patch}; common.run(io500.Settings, io500.main)"
    )
    argv = [str(BIN / "mpiexec"), "-n", "2", sys.executable, "-c", program, "x", *IO500.format(directory).split()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    return done.stderr


def test_wrong_data_end_io500(tmp_path):
    """One byte of what a phase wrote is changed before it is read, by a find that is not one."""
    said = end_of_patched_io500(
        tmp_path,
        "run = find.Find.run;"
        "path = sys.argv[2] + '/data/mdtest-hard/test-dir.0-0/mdtest_tree.0/file.mdtest.1.17';"
        "find.Find.run = lambda self: (run(self), open(path, 'r+b').write(b'?') if self.job.rank == 0 else 0)",
    )
    assert "file.mdtest.1.17: incorrect data on read" in said


def test_a_find_that_misses_a_file_ends_io500(tmp_path):
    """As one would whose listing of a directory is old."""
    said = end_of_patched_io500(
        tmp_path,
        "listed = find.Find.listed;"
        "find.Find.listed = lambda self, path: (os.path.exists(gone := path + b'/file.mdtest.0.3')"
        " and os.unlink(gone), listed(self, path))[1]",
    )
    assert re.search(r"find saw 14\d\d files in .*/data, where 1403 were made", said)
