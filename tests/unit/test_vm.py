"""Virtual machines: what they boot, the command that boots one, and what is remembered of whether one does."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pliant.cli import findings
from pliant.machine import tapped, vm
from pliant.machine.process import Completed

MIB = 1 << 20


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """QEMU, a shell, and kernels of which only one has all that a node needs."""
    boot, modules, programs = tmp_path / "boot", tmp_path / "modules", tmp_path / "bin"
    for directory in (boot, modules, programs):
        directory.mkdir()
    for version in ("6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-11-cloud-amd64"):
        (boot / f"vmlinuz-{version}").write_text("kernel")
        own = modules / version / "kernel"
        own.mkdir(parents=True)
        names = [name for name in vm._NEEDED if not (name == "9p" and "cloud" in version)]
        lines = [f"kernel/{name}.ko:{' kernel/virtio.ko' if name.startswith('virtio') else ''}" for name in names]
        (own.parent / "modules.dep").write_text("\n".join([*lines, "kernel/virtio.ko:", "kernel/nfsd.ko:", ""]))
        (own.parent / "modules.builtin").write_text("kernel/fs/fuse/fuse.ko\n")
        (own.parent / "modules.alias").write_text("alias fs-nfsd nfsd\n")
        for name in (*names, "virtio"):
            (own / f"{name}.ko").write_bytes(name.encode())
    for name in (vm.PROGRAM, vm.SHELL):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(vm, "BOOT", boot)
    monkeypatch.setattr(vm, "MODULES", modules)
    monkeypatch.setattr(vm, "PATH", str(programs))
    monkeypatch.setattr(vm, "STATE", tmp_path / "state")
    return programs


def unpacked(data: bytes) -> dict[str, tuple[int, bytes]]:
    """What is in an archive: name -> mode, content (cpio(5), "new ASCII")."""
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + length - 1].decode()
        at += 110 + length + -(110 + length) % 4
        if name == "TRAILER!!!":
            return found
        found[name] = mode, data[at : at + size]
        at += size + -size % 4


def test_the_newest_kernel_is_taken_that_has_what_a_node_needs(installed):
    found = vm.kernel()
    assert found is not None
    assert (found.file.name, found.modules.name) == ("vmlinuz-6.1.0-10-amd64", "6.1.0-10-amd64")
    assert vm.lacking(["nfsd", "fuse", "beegfs"]) == ["beegfs"]
    (installed / vm.PROGRAM).unlink()
    assert vm.lacking(["nfsd"]) == ["nfsd"]


def test_a_node_begins_with_its_modules_in_order_and_goes_on_in_its_place(installed, tmp_path):
    vm.node_begins(tmp_path / "begins", ["/usr/bin/python3", "-I", "/opt/a b/program.py", "guest", "vm"])
    found = unpacked((tmp_path / "begins").read_bytes())
    mode, script = found["init"]
    assert stat.S_ISREG(mode) and mode & 0o111
    assert b"switch_root /new /usr/bin/python3 -I '/opt/a b/program.py' guest vm\n" in script
    order = found["modules/order"][1].decode().split()
    assert order[0] == "virtio.ko" and set(order) == {"virtio.ko", *(f"{name}.ko" for name in vm._NEEDED)}
    assert found["modules/9p.ko"][1] == b"9p"
    assert stat.S_ISDIR(found["new"][0])


def test_the_command_has_the_disks_the_link_and_the_line(installed):
    command = vm.command("02:00:0a:4d:01:01", 300 * MIB, "kvm", disk=True)
    text = " ".join(command)
    assert command[0] == vm.PROGRAM
    assert "-accel kvm -cpu host" in text and "-m 300M" in text and "-smp 1" in text
    assert "socket,id=line,fd={line}" in text and "tap,id=link,fd={tap}" in text and "-initrd {begins}" in text
    assert "virtio-net-pci,netdev=link,mac=02:00:0a:4d:01:01" in text
    drives = [word for word in command if word.startswith("file=")]
    assert [word.partition(",")[0] for word in drives] == ["file=/dev/.pliant-root", "file=/dev/.pliant-disk"]
    assert "readonly=on" in text
    without = vm.command("02:00:0a:4d:01:01", 300 * MIB, "tcg", disk=False)
    assert "-accel tcg" in " ".join(without)
    assert sum(word.startswith("file=") for word in without) == 1


def test_what_was_booted_is_remembered_until_something_changes(installed, monkeypatch):
    said = {"kvm": Completed((), 0, "error: no\n", ""), "tcg": Completed((), 0, f"{vm.BOOTED}\n", "")}
    monkeypatch.setattr(vm, "run", lambda argv, **_: said["kvm" if "kvm" in argv else "tcg"])
    assert vm.known() == [] and vm.acceleration() == ""
    kvm, tcg = vm.look()
    assert (kvm.boots, kvm.said) == (False, "error: no")
    assert kvm.sentence == "KVM: none boots: error: no"
    assert tcg.boots and tcg.sentence.startswith("without KVM: a kernel boots in 0.")
    assert vm.known() == [kvm, tcg] and vm.acceleration() == "tcg"
    (installed / vm.PROGRAM).write_text("#!/bin/sh\n# another\n")
    assert vm.known() == []
    Path(f"{vm.STATE}-booted.json").write_text("{")
    assert vm.known() == []


def test_the_fastest_that_boots_is_enough(installed, monkeypatch):
    asked = []
    monkeypatch.setattr(vm, "run", lambda argv, **_: asked.append(argv) or Completed((), 0, vm.BOOTED, ""))
    assert [each.acceleration for each in vm.look()] == ["kvm"]
    assert len(asked) == 1


def test_without_what_it_needs_nothing_is_booted(installed):
    (installed / vm.SHELL).unlink()
    assert vm.look() == []
    with pytest.raises(OSError, match="busybox is not installed"):
        vm.try_boot("tcg")


def test_the_place_gives_its_link_to_a_tap_and_keeps_no_address_of_the_nodes(monkeypatch):
    said = []
    monkeypatch.setattr(tapped, "run", lambda argv, **keys: said.append(keys["stdin"]) or Completed((), 0, "", ""))
    monkeypatch.setattr(tapped.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    tapped._bridge("02:00:0a:4d:01:01")
    assert "link set eth0 address 06:00:0a:4d:01:01\n" in said[0]
    monkeypatch.setattr(tapped.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (3, "pliant0")])
    tapped._bridge("02:00:0a:4d:01:01")
    assert said[1] == "link set pliant1 master pliant0 up\n"


@pytest.mark.parametrize(
    ("tried", "ok", "said"),
    [
        ([], False, "for nodes of that kind: apt-get install qemu-system-x86 linux-image-amd64 busybox-static"),
        ([(True, "KVM: a kernel boots in 1.2 s")], True, "KVM: a kernel boots in 1.2 s"),
        ([(False, "KVM: none boots: no"), (True, "without KVM: ...")], True, "KVM: none boots: no; without KVM: ..."),
        ([(False, "KVM: none boots: no"), (False, "without")], False, "KVM: none boots: no; without"),
    ],
)
def test_doctor_boots_one_and_says_what_came_of_it(tried, ok, said):
    found = findings.only_here(lambda what: [{"boots": boots, "sentence": text} for boots, text in tried])[-1]
    assert (found.what, found.ok, found.detail, found.needed) == ("a virtual machine", ok, said, False)
