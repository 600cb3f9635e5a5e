"""Finding the mpiexec that fits a program: real files that print what real ones print; ldd is faked."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pliant.cluster import mpi
from pliant.errors import UserError
from pliant.machine.process import CommandFailed, Completed
from pliant.platforms import machines

HYDRA = """\
HYDRA build details:
    Version:                                 4.2.1
    Release Date:                            Wed Apr 17 15:30:02 CDT 2024
    CC:                              gcc
"""
OPEN_MPI_4 = """\
mpiexec (OpenRTE) 4.1.4

Report bugs to http://www.open-mpi.org/community/help/
"""
OPEN_MPI_5 = """\
mpirun (Open MPI) 5.0.5

Report bugs to https://www.open-mpi.org/community/help/
"""
SRUN = "slurm 22.05.8\n"
LDD = {
    "mpich": "\tlinux-vdso.so.1\n\tlibmpi.so.12 => /opt/mpich/lib/libmpi.so.12 (0x00007f)\n",
    "debian": "\tlibmpich.so.12 => /lib/x86_64-linux-gnu/libmpich.so.12 (0x00007f)\n",
    "openmpi": "\tlibmpi.so.40 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n",
    "script": "\tnot a dynamic executable\n",
}


def find(asked, program):
    return mpi.find(asked, program, machines.Here())


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes programs: `machine.mpiexec(directory, text)`, `machine.program(directory, linked)`."""

    class Machine:
        def __init__(self) -> None:
            self.linked: dict[str, str] = {}

        def mpiexec(self, directory: str, says: str, name: str = "mpiexec", status: int = 0) -> str:
            path = tmp_path / directory / name
            path.parent.mkdir(exist_ok=True)
            text = tmp_path / f"{directory.replace('/', '-')}-{name}.txt"
            text.write_text(says)
            path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && cat {text}\nexit {status}\n')
            path.chmod(0o755)
            return str(path)

        def program(self, directory: str, linked: str) -> str:
            path = tmp_path / directory / "ior"
            path.parent.mkdir(exist_ok=True)
            path.write_text("")
            path.chmod(0o755)
            self.linked[str(path)] = linked
            return str(path)

        def path(self, *directories: str) -> None:
            monkeypatch.setenv("PATH", ":".join(str(tmp_path / each) for each in directories))

    made = Machine()
    real = machines.run

    def run(argv, **kwargs):
        if argv[0] != "ldd":
            return real(argv, **kwargs)
        if made.linked[argv[1]] == "none":
            raise CommandFailed(argv, 127, "", "no ldd")
        return Completed(tuple(argv), 0, LDD[made.linked[argv[1]]], "")

    monkeypatch.setattr(machines, "run", run)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    made.path("nowhere")
    return made


@pytest.mark.parametrize(
    ("says", "flavour", "version"),
    [
        (HYDRA, "mpich", "MPICH 4.2.1"),
        (OPEN_MPI_4, "openmpi", "Open MPI 4.1.4"),
        (OPEN_MPI_5, "openmpi", "Open MPI 5.0.5"),
        ("HYDRA build details:\n", "mpich", "MPICH"),
    ],
)
def test_what_an_mpiexec_says_of_itself(machine, says, flavour, version):
    asked = machine.mpiexec("a", says)
    found = find(asked, machine.program("a", "mpich" if flavour == "mpich" else "openmpi"))
    forks = {"HYDRA_LAUNCHER_AUTOFORK": "0"} if flavour == "mpich" else {}
    assert (found.flavour, found.version, found.mpiexec, found.environment) == (flavour, version, asked, forks)


def test_kernels_are_started_by_the_mpiexec_that_pliant_comes_with(machine, tmp_path):
    machine.mpiexec("a", OPEN_MPI_5)
    machine.path("a")
    found = find(None, None)
    assert found.mpiexec == str(Path(sys.executable).parent / "mpiexec")
    assert find(str(tmp_path / "a/bin/mpiexec"), None) == found  # another's would start lone ranks
    assert found.flavour == "mpich"
    assert re.fullmatch(r"MPICH \d+\.\d+.*", found.version)


@pytest.mark.parametrize(("linked", "flavour"), [("mpich", "mpich"), ("debian", "mpich"), ("openmpi", "openmpi")])
def test_a_program_gets_the_mpiexec_of_its_mpi_wherever_it_stands(machine, linked, flavour):
    texts = {"mpich": HYDRA, "openmpi": OPEN_MPI_4}
    program = machine.program("opt", linked)
    others = machine.mpiexec("wrong", texts["openmpi" if flavour == "mpich" else "mpich"])
    right = machine.mpiexec("right", texts[flavour], name="mpirun")
    machine.path("wrong", "right")
    assert find(None, program).mpiexec == right
    beside = machine.mpiexec("opt", texts[flavour])
    assert find(None, program).mpiexec == beside != others


def test_the_mpiexec_beside_the_real_file_counts_not_beside_a_link_to_it(machine, tmp_path):
    program = machine.program("opt", "mpich")
    beside = machine.mpiexec("opt", HYDRA)
    machine.mpiexec("bin", OPEN_MPI_5)
    link = tmp_path / "bin/ior"
    link.symlink_to(program)
    machine.linked[str(link)] = "mpich"
    assert find(None, str(link)).mpiexec == beside


def test_an_mpiexec_of_no_known_mpi_does_not_hide_the_right_one(machine):
    program = machine.program("opt", "openmpi")
    machine.mpiexec("opt", SRUN)
    machine.mpiexec("site", "", status=1)
    right = machine.mpiexec("site", OPEN_MPI_5, name="mpirun")
    machine.path("site")
    assert find(None, program).mpiexec == right


def test_the_study_may_name_one_for_a_program_that_does_not_say(machine):
    asked = machine.mpiexec("a", OPEN_MPI_4)
    for linked in ("script", "none", "openmpi"):
        assert find(asked, machine.program("opt", linked)).mpiexec == asked


def test_libraries_of_a_site_are_passed_on(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/site/lib")
    asked = tmp_path / "mpiexec"
    asked.write_text('#!/bin/sh\n[ "$LD_LIBRARY_PATH" = /site/lib ] || exit 127\necho HYDRA Version: 4.0\n')
    asked.chmod(0o755)
    assert find(str(asked), machine.program("opt", "mpich")).environment == {
        "LD_LIBRARY_PATH": "/site/lib",
        "HYDRA_LAUNCHER_AUTOFORK": "0",
    }


REMEDY = 'name its mpiexec in the study: [mpi] mpiexec = "/path/mpiexec"'


def refusal(asked: str | None, program: str | None) -> str:
    with pytest.raises(UserError) as refused:
        find(asked, program)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(("linked", "says"), [("mpich", OPEN_MPI_5), ("openmpi", HYDRA)])
def test_another_mpis_mpiexec_is_refused_even_if_the_study_names_it(machine, linked, says):
    program = machine.program("opt", linked)
    sentence = f"{program} was built with {linked}, and no mpiexec of it was found; {REMEDY}"
    assert refusal(machine.mpiexec("a", says), program) == sentence
    machine.path("a")
    assert refusal(None, program) == sentence


@pytest.mark.parametrize("linked", ["script", "none"])
def test_a_program_that_does_not_say_its_mpi_is_not_guessed_at(machine, linked):
    program = machine.program("opt", linked)
    machine.mpiexec("opt", HYDRA)
    machine.path("opt")
    assert refusal(None, program) == f"cannot tell which MPI {program} was built with; {REMEDY}"


def test_the_mpiexec_that_was_installed_with_the_library_comes_before_the_path(machine, tmp_path, monkeypatch):
    monkeypatch.setitem(LDD, "mpich", f"\tlibmpi.so.12 => {tmp_path}/own/lib/libmpi.so.12 (0x00007f)\n")
    (tmp_path / "own").mkdir()
    right = machine.mpiexec("own/bin", HYDRA)
    machine.mpiexec("site", HYDRA)
    machine.path("site")
    assert find(None, machine.program("opt", "mpich")).mpiexec == right


def test_no_mpiexec_at_all(machine):
    program = machine.program("opt", "mpich")
    assert "no mpiexec of it was found" in refusal(None, program)


def test_an_mpiexec_that_is_none(machine, tmp_path):
    program = machine.program("opt", "mpich")
    said = refusal(machine.mpiexec("a", SRUN), program)
    assert said.endswith("mpiexec is neither MPICH's nor Open MPI's: its version is 'slurm 22.05.8'")
    said = refusal(machine.mpiexec("b", HYDRA, status=3), program)
    assert "b/mpiexec --version` ended with status 3" in said
    assert "is not a program" in refusal(str(tmp_path / "none"), program)
    assert REMEDY in refusal(str(tmp_path / "none"), program)
