"""Command lines that start MPI jobs in nodes."""

from __future__ import annotations

import pytest

from pliant.workloads.mpi import Wiring, flavour_of, launch_argv

WIRING = Wiring(head_interface="br0", node_interface="eth0", network="10.1.0.0/16")
PROGRAM = ("/opt/ior", "-o", "/mnt/x/a b")


@pytest.mark.parametrize(
    ("version", "flavour"),
    [
        ("HYDRA build details:\n    Version:                                 5.0.2\n", "mpich"),
        ("mpirun.openmpi (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n", "openmpi"),
        ("mpirun (Open MPI) 5.0.5\n", "openmpi"),
    ],
)
def test_the_flavour_is_told_from_the_version(version, flavour):
    assert flavour_of(version) == flavour


def test_another_mpiexec_is_refused_with_what_it_says_of_itself():
    with pytest.raises(ValueError, match=r"its version is 'srun 22.05'"):
        flavour_of("srun 22.05\nmore")


@pytest.mark.parametrize(
    ("flavour", "expected"),
    [
        (
            "mpich",
            "/bin/mpiexec -launcher ssh -launcher-exec /x/enter -iface br0 -hosts c1:2,c2:2,c3:2 -wdir /"
            " -genv FI_PROVIDER tcp -genv FI_TCP_IFACE eth0 -genv UCX_TLS tcp,self -genv UCX_NET_DEVICES eth0"
            " -n 6 /opt/ior -o",
        ),
        (
            "openmpi",
            "/bin/mpiexec --allow-run-as-root --bind-to none --map-by slot --mca plm_rsh_agent /x/enter"
            " --mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_if_include 10.1.0.0/16"
            " --mca btl_tcp_if_include 10.1.0.0/16 --mca pml ob1 --mca btl tcp,vader,self"
            " --mca mpi_yield_when_idle 1 --host c1:2,c2:2,c3:2 --wdir / -np 6 /opt/ior -o",
        ),
    ],
)
def test_the_whole_command_line(flavour, expected):
    argv = launch_argv(flavour, "/bin/mpiexec", "/x/enter", {"c1": 2, "c2": 2, "c3": 2}, WIRING, PROGRAM)
    assert argv == [*expected.split(), "/mnt/x/a b"]


@pytest.mark.parametrize("flavour", ["mpich", "openmpi"])
@pytest.mark.parametrize("ranks", [{}, {"c1": 0}, {"c1": 2, "c2": 0}])
def test_jobs_that_cannot_be_are_refused(flavour, ranks):
    with pytest.raises(ValueError, match="an MPI job needs"):
        launch_argv(flavour, "/bin/mpiexec", "/x/enter", ranks, WIRING, PROGRAM)


@pytest.mark.parametrize("flavour", ["mpich", "openmpi"])
def test_nodes_may_have_different_numbers_of_ranks(flavour):
    argv = launch_argv(flavour, "/bin/mpiexec", "/x/enter", {"c1": 3, "c3": 1}, WIRING, PROGRAM)
    assert "c1:3,c3:1" in argv and "4" in argv


def test_the_working_directory_is_the_callers_choice():
    for flavour in ("mpich", "openmpi"):
        argv = launch_argv(flavour, "m", "l", {"c1": 1}, WIRING, ["true"], directory="/srv")
        assert "/srv" in argv and "/" not in argv
