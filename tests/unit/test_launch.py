"""What a node sees of its machine: layers, hidden and shown paths, and where what it writes is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pliant.machine import launch, view
from pliant.machine.journal import STATE
from pliant.machine.netlink import Netlink

SERVER = """\
22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
23 28 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
24 28 0:5 / /dev rw,nosuid,relatime shared:2 - devtmpfs udev rw,size=8123456k
26 28 0:24 / /run rw,nosuid,nodev,noexec,relatime shared:5 - tmpfs tmpfs rw,mode=755
28 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw
90 28 8:1 / /boot rw,relatime shared:40 - ext4 /dev/sda1 rw
91 90 8:2 / /boot/efi rw,relatime shared:41 - vfat /dev/sda2 rw
92 28 253:2 / /var rw,relatime shared:42 - xfs /dev/mapper/vg-var rw
93 92 253:3 / /var/log rw,relatime shared:43 - xfs /dev/mapper/vg-log rw
94 92 253:4 / /var/tmp rw,relatime shared:44 - xfs /dev/mapper/vg-tmp rw
95 28 253:5 / /home rw,relatime shared:45 - btrfs /dev/mapper/vg-home rw,subvol=/@home
96 28 0:50 / /nfs rw,relatime shared:46 - nfs4 filer:/export rw,vers=4.2
97 28 7:0 / /snap/core20/1974 ro,nodev,relatime shared:47 - squashfs /dev/loop0 ro
98 26 0:51 / /run/user/0 rw,nosuid,nodev,relatime shared:48 - tmpfs tmpfs rw
99 92 253:6 / /var/lib/pliant rw,relatime shared:49 - ext4 /dev/mapper/vg-pliant rw
"""
DOCKER = """\
200 92 253:2 /lib/docker/overlay2 /var/lib/docker/overlay2 rw,relatime - ext4 /dev/sda1 rw
201 92 0:60 / /var/lib/docker/overlay2/0a1b2c/merged rw,relatime shared:90 - overlay overlay rw,lowerdir=/a,upperdir=/b
202 92 0:61 / /var/lib/containers/storage/overlay/ff/merged rw,relatime - overlay overlay rw,lowerdir=/a
203 92 8:3 / /var/lib/kubelet/pods/1/volumes/data rw,relatime - ext4 /dev/sdb rw
204 92 0:62 / /var/lib/containerd/io.containerd.runtime/x rw,relatime - overlay overlay rw
"""
CONTAINER = """\
700 600 0:70 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
701 700 0:71 / /proc rw,nosuid - proc proc rw
710 700 8:1 /data /data rw,relatime - ext4 /dev/sda1 rw
"""


@pytest.mark.parametrize(
    ("mountinfo", "layers"),
    [
        ("28 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n", ("/",)),
        (SERVER, ("/", "/home", "/var", "/var/log")),
        (SERVER + DOCKER, ("/", "/home", "/var", "/var/log")),
        (CONTAINER, ("/", "/data")),
        (SERVER + "300 28 8:9 / /media/usb rw - ext4 /dev/sdc rw\n", ("/", "/home", "/var", "/var/log")),
        (SERVER + "300 28 8:9 / /srv/a\\040b rw - ext4 /dev/sdc rw\n", ("/", "/home", "/var", "/var/log")),
        (SERVER + "300 28 8:9 / /srv/a:b rw - ext4 /dev/sdc rw\n", ("/", "/home", "/var", "/var/log")),
        (SERVER + "300 28 8:9 / /srv/a,b rw - ext4 /dev/sdc rw\n", ("/", "/home", "/var", "/var/log")),
        (SERVER + "300 28 8:9 / /homes rw master:3 - f2fs /dev/sdc rw\n", ("/", "/home", "/homes", "/var", "/var/log")),
        (SERVER + "300 28 8:9 / /var/library rw - zfs pool rw\n", ("/", "/home", "/var", "/var/library", "/var/log")),
    ],
)
def test_layers_are_the_machines_disks_and_nothing_of_containers(mountinfo, layers):
    assert view.layers(mountinfo) == layers


def test_this_machine_has_layers_that_can_be_mounted_in_order():
    layers = view.layers(Path("/proc/self/mountinfo").read_text())
    assert layers[0] == "/"
    for index, layer in enumerate(layers):
        assert all(not earlier.startswith(layer + "/") for earlier in layers[:index])  # a parent before what is in it


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/usr/bin/python3", False),
        ("/home/me/venv", False),
        ("/var/log", False),
        ("/tmp", True),
        ("/tmp/clone/.venv", True),
        ("/tmpfile", False),
        ("/var/tmp/x", True),
        ("/run/user/0/venv", True),
        ("/nfs/home/me/venv", True),
        ("/nfs", True),
        ("/nfsd", False),
        ("/boot/x", True),
        (f"{STATE}/x", True),
    ],
)
def test_paths_that_a_node_would_not_see_are_shown_again(path, shown):
    """Of a file system that is no layer, all of it: what lies there needs what else does."""
    mount = next((each for each in ("/nfs", "/boot") if path.startswith(f"{each}/")), path)
    assert view.to_show([path], SERVER) == ((path if mount == "/boot" else mount,) if shown else ())


def test_paths_are_shown_in_order_and_once():
    shown = view.to_show(["/tmp/b", "/usr", "/nfs/a", "/nfs/b/bin", "/tmp/b/c"], SERVER)
    assert shown == ("/tmp/b", "/nfs")


# Where it is kept


@pytest.mark.parametrize(
    ("layer", "upper"),
    [("/", "/s/upper"), ("/home", "/s/upper_home"), ("/var/log", "/s/upper_var_log")],
)
def test_upper_directories(layer, upper):
    assert launch.upper("/s", layer) == upper


paths = st.lists(st.text("ab_%5f2", min_size=1, max_size=4), min_size=0, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(paths, paths)
@example("/a_b", "/a/b")
@example("/a__b", "/a_/b")
@example("/a%5fb", "/a_b")
def test_no_two_layers_share_an_upper_directory(first, second):
    assert (launch.upper("/s", first) == launch.upper("/s", second)) == (first == second)


@given(paths)
def test_an_upper_directory_is_one_name_beside_its_work_directory(layer):
    upper = launch.upper("/state/upper/nodes/n", layer)
    assert upper.startswith("/state/upper/nodes/n/upper")
    assert upper.count("/") == 5
    assert launch._work(upper) == upper.replace("/n/upper", "/n/work")


def test_a_node_gets_an_upper_and_a_work_directory_for_each_layer(tmp_path):
    lower = tmp_path / "lower"
    lower.mkdir(mode=0o750)
    lower.chmod(0o751)
    spec = launch.NodeSpec(
        name="n1",
        number=1,
        address="10.77.1.1",
        prefix=16,
        link="node-1",
        bridge="host-1",
        directory=str(tmp_path / "n1"),
        cgroups=(),
        layers=("/", str(lower)),
    )
    launch._populate(spec)
    assert (tmp_path / "n1/upper").stat().st_mode == Path("/").stat().st_mode
    made = Path(launch.upper(str(tmp_path / "n1"), str(lower)))
    assert made.stat().st_mode == lower.stat().st_mode
    assert Path(launch._work(str(made))).is_dir()
    assert len(list((tmp_path / "n1").iterdir())) == 4  # nothing else: see the top of launch.py


def test_what_nodes_share_is_a_layer_like_the_machines_own(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "mount", lambda *arguments: None)
    launch._share(str(tmp_path), {"/etc/hosts": "x\n"}, {"/etc/hostname": "/proc/sys/kernel/hostname"})
    assert (tmp_path / "common/etc/hosts").read_text() == "x\n"
    assert (tmp_path / "common/etc/hostname").readlink() == Path("/proc/sys/kernel/hostname")
    for directory in ("", "etc"):
        assert (tmp_path / "common" / directory).stat().st_mode == Path("/", directory).stat().st_mode


@pytest.mark.parametrize(
    ("content", "encoded"),
    [
        (7, b"\x08\x00\x05\x00\x07\x00\x00\x00"),
        ("abc", b"\x08\x00\x05\x00abc\x00"),
        ("abcd", b"\x09\x00\x05\x00abcd\x00\x00\x00\x00"),
        (b"", b"\x04\x00\x05\x00"),
    ],
)
def test_attributes_of_netlink_are_padded_and_say_how_long_they_are(content, encoded):
    assert Netlink.attribute(5, content) == encoded
