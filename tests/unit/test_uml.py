"""Nodes with a kernel of their own: the command that boots one, its control line, and which nodes have one."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest
from test_module_file import elf

from pliant.campaign import kernels
from pliant.composition.placement import Placement, nodes_for
from pliant.errors import UserError
from pliant.filesystems.nfs import NFS, NfsOptions
from pliant.machine import guest, line, module_file, module_tree, uml, vm

MIB = 1 << 20


def test_the_command_has_the_disks_the_link_and_the_line():
    command = uml.command("client1", 300 * MIB, "02:00:0a:4d:01:01", ["/usr/bin/python3", "-I", "guest"], disk=True)
    assert command[:2] == ["linux.uml", "mem=300M"]
    assert {"ubd0=/dev/.pliant-root", "ubd1=/dev/.pliant-disk", "ssl0=fd:{line}", "con0=null,fd:1"} < set(command)
    assert "vec0:transport=raw,ifname=eth0,gro=1,depth=128,mac=02:00:0a:4d:01:01" in command
    assert command[-4:] == ["init=/usr/bin/python3", "--", "-I", "guest"]
    without = uml.command("client1", 300 * MIB, "02:00:0a:4d:01:01", ["/usr/bin/python3"], disk=False)
    assert [word for word in without if word.startswith("ubd")] == ["ubd0=/dev/.pliant-root"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A kernel with some modules, installed."""
    own = tmp_path / "6.1.9"
    own.mkdir()
    (own / "modules.dep").write_text(
        "fs/nfsd/nfsd.ko: net/a-b.ko net/sunrpc.ko\nnet/a-b.ko: net/sunrpc.ko\nnet/sunrpc.ko:\n"
    )
    (own / "modules.alias").write_text("# aliases\nalias fs-nfsd nfsd\nalias fs-nfs4 nfs\n")
    (own / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    monkeypatch.setattr(uml, "MODULES", tmp_path)
    monkeypatch.setattr(uml, "program", lambda: "/usr/bin/linux.uml")
    return own


def test_modules_are_found_by_the_file_systems_that_they_have(package):
    assert uml.modules() == package
    assert module_tree.of(uml.modules(), ["nfsd", "nfs4"]) == ("nfsd", "nfs", "nfsv4")
    assert uml.lacking(["nfsd", "ext4", "beegfs"]) == ["beegfs"]


def test_a_module_is_found_that_is_not_called_as_its_file_system(package):
    assert uml.lacking(["pvfs2"]) == ["pvfs2"]
    (package / "kernel/fs/orangefs").mkdir(parents=True)
    (package / "kernel/fs/orangefs/orangefs.ko").touch()
    assert uml.lacking(["pvfs2"]) == []
    assert module_tree.of(uml.modules(), ["pvfs2"]) == ("orangefs",)


def test_what_a_module_is_to_be_built_for_is_read_in_those_of_the_package(package):
    assert uml.vermagic() == ""
    (package / "kernel/fs/overlayfs").mkdir(parents=True)
    (package / "kernel/fs/overlayfs/overlay.ko").write_bytes(elf(b"name=overlay\0vermagic=6.1.9 mod_unload \0"))
    assert uml.vermagic() == "6.1.9 mod_unload"
    own = package / "own.ko"
    own.write_bytes(elf())
    assert module_file.needed_by(str(own)) == ("sunrpc", "lockd")
    assert module_file.needed_by("") == ()
    assert uml.module(str(own))["filesystems"] == ("beegfs",)
    assert uml.module(str(package)) is None


def test_a_module_of_the_users_is_loaded_before_there_is_a_new_root(monkeypatch):
    done = []
    about = {"modules": "/m", "load": ["nfs4"], "module": "/tmp/own.ko", "visible": ["/tmp/own.ko"]}
    about |= {"name": "client1", "address": "10.77.1.1", "prefix": 16, "disk": []}
    monkeypatch.setattr(guest, "load", lambda directory, names: done.append(names))
    monkeypatch.setattr(guest, "_insert", done.append)
    monkeypatch.setattr(guest, "_make_root", done.append)
    monkeypatch.setattr(guest, "_furnish", lambda modules, visible: done.append(visible))
    monkeypatch.setattr(guest, "_wire", lambda link, address, prefix: done.append((link, address)))
    monkeypatch.setattr(guest.mounting.libc, "sethostname", lambda name, length: 0)
    guest.become(about, guest._OF_UML)
    assert done == [("overlay", "nfs4"), "/tmp/own.ko", "/dev/ubda", ["/tmp/own.ko"], ("vec0", "10.77.1.1")]


def test_without_the_package_all_is_lacking(package, monkeypatch):
    monkeypatch.setattr(uml, "program", lambda: None)
    assert uml.lacking(["nfsd"]) == ["nfsd"]


def test_modules_are_loaded_after_those_that_they_need(package, monkeypatch):
    loaded = []
    monkeypatch.setattr(guest, "_insert", loaded.append)
    guest.load(str(package), ("nfsd", "unknown"))
    assert [path.rpartition("/")[2] for path in loaded] == ["sunrpc.ko", "a-b.ko", "nfsd.ko"]


# The line


@pytest.fixture
def ends():
    pair = socket.socketpair()
    yield pair
    for end in pair:
        end.close()


def test_never_more_is_under_way_than_a_terminal_holds(ends):
    near_end, far_end = ends
    near = line.Near(near_end)
    listening = threading.Thread(target=lambda: list(near.lines()), daemon=True)
    listening.start()
    text = b"".join(b"%06d\n" % number for number in range(3000))
    writing = threading.Thread(target=near.write, args=(text,))
    writing.start()
    got = b""
    while len(got.replace(b"\n\n", b"\n")) < len(text):
        data = far_end.recv(1 << 16)
        got += data
        assert len(data) <= line.WINDOW_BYTES + 50  # empty lines are beyond it
        far_end.sendall(b"+%d\n" % len(data))
    writing.join(10)
    assert b"\n".join(filter(None, got.split(b"\n"))) == text.rstrip()
    far_end.close()
    listening.join(10)
    with pytest.raises(OSError):
        near.write(b"x" * 10 * line.WINDOW_BYTES)


def test_the_far_end_tells_what_it_has_read_and_skips_empty_lines(ends):
    near_end, far_end = ends
    lines = line.Far(far_end.fileno()).lines()
    near_end.sendall(b"\none\n\ntwo\nthr")
    assert [next(lines), next(lines)] == [b"one", b"two"]
    near_end.sendall(b"ee\n")
    assert next(lines) == b"three"
    assert near_end.recv(100) == b"+13\n+3\n"
    near_end.close()


# Which nodes have one


class Machines(SimpleNamespace):
    remote = False

    def missing_filesystems(self, names):
        return [name for name in names if name not in self.machine]

    def own_kernel_lacks(self, names, kind="uml"):
        return [name for name in names if name not in (self.own if kind == "uml" else getattr(self, "vm", ()))]

    def booted(self):
        return getattr(self, "boots", [])

    def having(self, *modules):
        return f"load {' '.join(modules)}"


NODES = nodes_for({"server": 1, "client": 3})
COMPOSITION = NFS.compose(NODES, NfsOptions(), 0)
TOGETHER = (Placement((("server1", "client1"), ("client2", "client3"))), Placement((tuple(n.name for n in NODES),)))
BOTH = ("nfsd", "nfs4")


@pytest.mark.parametrize(
    ("machine", "own", "wish", "memory", "expected"),
    [
        (BOTH, BOTH, None, 1024, {}),
        ((), BOTH, None, 1024, {"server": 204 * MIB, "client": 204 * MIB}),
        (("nfs4",), BOTH, None, 1024, {"server": 512 * MIB}),
        (BOTH, BOTH, "uml", 4096, {"server": 512 * MIB, "client": 512 * MIB}),
        (BOTH, (), "shared", 64, {}),
    ],
)
def test_a_kernel_of_its_own_is_for_what_the_machines_has_not(machine, own, wish, memory, expected):
    found = kernels.choose(COMPOSITION, TOGETHER, memory * MIB, wish, Machines(machine=machine, own=own))
    assert {role: own.memory_bytes for role, own in found.own.items()} == expected
    assert {own.kind for own in found.own.values()} <= {"uml"}


@pytest.mark.parametrize(
    ("own", "wish", "memory", "said"),
    [
        ((), None, 1024, "apt-get install user-mode-linux"),
        (BOTH, "shared", 1024, "nfs requires nfsd and nfs4 of the kernel, which this machine's has not: load fs-nfsd"),
        (BOTH, None, 512, "give hosts `memory` of 800 MiB or more"),
    ],
)
def test_what_cannot_be_is_said(own, wish, memory, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        kernels.choose(COMPOSITION, TOGETHER, memory * MIB, wish, Machines(machine=(), own=own))


SWIFT, SLOW = vm.Booted("kvm", 1.2, ""), vm.Booted("tcg", 8.0, "")
HANGS = vm.Booted("kvm", None, "nothing came of it in 15 s")


@pytest.mark.parametrize(
    ("own", "boots", "wish", "kinds", "emulated"),
    [
        (BOTH, [SWIFT], None, {"uml"}, False),
        (("nfs4",), [SWIFT], None, {"uml", "vm"}, False),
        (BOTH, [SWIFT], "vm", {"vm"}, False),
        (BOTH, [HANGS, SLOW], "vm", {"vm"}, True),
    ],
)
def test_a_virtual_machine_is_for_what_user_mode_linux_has_not_or_by_name(own, boots, wish, kinds, emulated):
    machines = Machines(machine=(), own=own, vm=BOTH, boots=boots)
    found = kernels.choose(COMPOSITION, TOGETHER, 4096 * MIB, wish, machines)
    assert {each.kind for each in found.own.values()} == kinds
    assert found.emulated is emulated
    said = " ".join([found.sentence, *found.warnings(COMPOSITION)])
    assert ("without KVM" in said) is emulated
    assert ("a virtual machine" in said) is ("vm" in kinds)


@pytest.mark.parametrize(
    ("having", "boots", "wish", "said"),
    [
        ((), [], "vm", "apt-get install qemu-system-x86 linux-image-amd64 busybox-static"),
        (BOTH, [], "vm", "run `pliant doctor` first"),
        (
            BOTH,
            [HANGS, vm.Booted("tcg", None, "no room")],
            "vm",
            "KVM: none boots: nothing came of it in 15 s; without",
        ),
        (BOTH, [HANGS, SLOW], None, "apt-get install user-mode-linux"),
    ],
)
def test_why_there_is_no_virtual_machine_is_said(having, boots, wish, said):
    machines = Machines(machine=(), own=(), vm=having, boots=boots)
    with pytest.raises(UserError, match=said):
        kernels.choose(COMPOSITION, TOGETHER, 4096 * MIB, wish, machines)
