"""Machines unlike most: state elsewhere, programs on a file system that is no layer, containers without loops."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import support

from pliant.machine.journal import STATE
from pliant.machine.needing import elsewhere, visible
from pliant.machine.trying import try_a_node
from pliant.platforms.tryout import lacking

pytestmark = pytest.mark.real


@pytest.fixture
def tree(tmp_path):
    """A program of its own prefix, with a library of its own, on a file system that nodes have no copy of."""
    mount = Path("/opt/pliant-modules")
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(mount)], check=True)
    try:
        for directory in ("app/bin", "app/lib", "other/lib"):
            (mount / directory).mkdir(parents=True)
        (mount / "app/lib/x.c").write_text("int answer(void) { return 42; }\n")
        main = '#include <stdio.h>\nint answer(void);\nint main(void) { printf("%d\\n", answer()); return 0; }\n'
        (mount / "app/bin/main.c").write_text(main)
        build(mount, "cc", "-shared", "-fPIC", "-o", "other/lib/libanswer.so", "app/lib/x.c")
        build(
            mount,
            "cc",
            "-o",
            "app/bin/ask",
            "app/bin/main.c",
            f"-L{mount}/other/lib",
            "-lanswer",
            f"-Wl,-rpath,{mount}/other/lib",
        )
        script = mount / "app/bin/script"
        script.write_text(f"#!{mount}/app/bin/sh\necho said\n")
        script.chmod(0o755)
        shutil.copy("/bin/sh", mount / "app/bin/sh")
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)
        mount.rmdir()


def build(where: Path, *argv: str) -> None:
    subprocess.run(argv, cwd=where, check=True)


def test_a_program_on_such_a_file_system_runs_in_a_node_with_all_that_it_needs(tree):
    programs = [str(tree / "app/bin/ask"), str(tree / "app/bin/script")]
    assert elsewhere([*programs, "/bin/sh"]) == tuple(programs)
    assert lacking(programs, {}) == {}
    with support.deployed([support.request("n1", 1)], {"n1": 1}, extra_visible=visible(programs)) as nodes:
        assert support.out(nodes, "n1", programs[0]) == "42\n"
        assert support.out(nodes, "n1", programs[1]) == "said\n"
        written = nodes.execute("n1", ["touch", str(tree / "app/x")], timeout_s=10)
        assert "Read-only file system" in written.stderr, "what is the machine's own is not for nodes to change"


def test_a_library_that_is_not_there_is_named_before_anything_runs(tree):
    (tree / "other/lib/libanswer.so").unlink()
    program = str(tree / "app/bin/ask")
    assert lacking([program], {}) == {program: "its libraries libanswer.so are not there"}


def test_a_node_is_tried():
    tried = try_a_node()
    assert (tried.failed, tried.said) == ("", "")


def doctor(*before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [*before, support.PLIANT, "doctor"]
    env = {**os.environ, **environment}
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)


def test_state_can_be_elsewhere(tmp_path):
    state = Path("/srv/pliant-state")
    try:
        done = doctor(PLIANT_STATE=str(state))
        assert done.returncode == 0, done.stdout
        assert state.is_dir() and list(state.iterdir()) == []
    finally:
        shutil.rmtree(state, ignore_errors=True)


def test_state_on_an_overlay_is_found_by_trying(tmp_path):
    place = Path("/srv/pliant-overlay")
    for name in ("lower", "upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(place / "merged")], check=True)
    try:
        done = doctor(PLIANT_STATE=f"{place}/merged/state")
        assert done.returncode == 1
        (line,) = [line for line in done.stdout.splitlines() if "a node, tried" in line]
        assert (
            line.startswith("MISSING")
            and f"If {place}/merged/state lies on a file system that cannot carry one" in line
        )
        assert "PLIANT_STATE" in line
        assert list(Path(place, "merged/state").iterdir()) == []
    finally:
        subprocess.run(["umount", str(place / "merged")], check=True)
        shutil.rmtree(place)


def test_a_container_without_loop_devices_is_told_how_to_make_them():
    """A /dev of its own, as a container has: the kernel knows loops, and there are no nodes for them."""
    own = (
        "mount -t tmpfs none /mnt && for f in null zero full random urandom tty fuse loop-control; do "
        "cp -a /dev/$f /mnt/; done; ln -s /proc/self/fd /mnt/fd; mkdir /mnt/pts /mnt/shm; mount --move /mnt /dev && "
        'exec "$@"'
    )
    done = doctor("unshare", "--mount", "sh", "-c", own, "container")
    (line,) = [line for line in done.stdout.splitlines() if "a node, tried" in line]
    assert done.returncode == 1 and line.startswith("MISSING") and "mknod -m 660 /dev/loop$n b 7 $n" in line
    assert list(STATE.iterdir()) == []


@pytest.mark.together
@pytest.mark.parametrize("within", [[], ["unshare", "--pid", "--fork", "--mount-proc"]], ids=["here", "unseen"])
def test_with_another_state_what_is_up_is_neither_shown_nor_removed(tmp_path, within):
    """There are control groups of it and, where one looks, no journal: but it is nobody's remains. Neither is it where
    none of its processes is seen, as from a container beside it."""
    with support.deployed([support.request("node1", 1)], {"node1": 1}) as deployment:
        environment = {**os.environ, "PLIANT_STATE": str(tmp_path / "state")}
        for command in (["ps"], ["down", "--all"]):
            argv = [*within, support.PLIANT, *command]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment)
            assert (done.returncode, done.stdout) == (0, "nothing is up\n"), done.stderr
        assert support.out(deployment, "node1", "hostname") == "node1\n"
