"""Which disk of a host data may go to: an allow-list, and refusals that name what is not on it."""

from __future__ import annotations

import pytest

from pliant.errors import UserError
from pliant.schedulers.grid5000_storage import data_disk, in_use, tmp_partition

HOST = "gros-41.nancy.grid5000.fr"
NODE = {
    "uid": "gros-41",
    "storage_devices": [
        {"id": "disk0", "by_id": "/dev/disk/by-id/wwn-0x50", "vendor": "Micron", "model": "MTFDDAK480TDN"},
        {"id": "disk1", "by_id": "/dev/disk/by-id/wwn-0x51", "vendor": "Micron", "model": "MTFDDAK960TDN"}
        | {"reservation": True},
        {"id": "disk2", "by_id": "", "by_path": "/dev/disk/by-path/pci-0000:17:00.0-nvme-1", "model": "PM1725"},
        {"id": "disk3", "by_id": "", "by_path": "", "model": "nameless"},
        {"id": "disk4", "by_id": "/dev/disk/by-id/x; rm -rf /", "model": "odd"},
    ],
}


def blocks(mount="/tmp", label="TMP"):
    parts = [
        {"path": "/dev/sda1", "type": "part", "label": None, "partlabel": "SWAP", "mountpoint": "[SWAP]"},
        {"path": "/dev/sda2", "type": "part", "label": None, "partlabel": "PROD", "mountpoint": "/"},
        {"path": "/dev/sda5", "type": "part", "label": None, "partlabel": label, "mountpoint": mount},
    ]
    return {
        "blockdevices": [
            {"path": "/dev/sda", "type": "disk", "mountpoint": None, "children": parts},
            {"path": "/dev/sdb", "type": "disk", "mountpoint": None},
            {"path": "/dev/sdc", "type": "disk", "mountpoints": [None], "children": [
                {"path": "/dev/sdc1", "type": "part", "label": "tmp", "children": [
                    {"path": "/dev/mapper/x", "type": "crypt", "mountpoints": ["/srv", None]}]}]},
        ]
    }  # fmt: skip


def chosen(reserved=(), wanted="", at=None):
    found = data_disk(HOST, NODE, reserved, at, wanted)
    assert found.host == HOST
    return found.device, found.what


def without_sdc(found):
    return found | {"blockdevices": found["blockdevices"][:2]}


def only_sdc(found):
    return found | {"blockdevices": found["blockdevices"][2:]}


@pytest.mark.parametrize(
    ("reserved", "wanted", "expected"),
    [
        (("disk1",), "", ("/dev/disk/by-id/wwn-0x51", "disk1, a reserved Micron MTFDDAK960TDN")),
        (("disk1",), "disk1", ("/dev/disk/by-id/wwn-0x51", "disk1, a reserved Micron MTFDDAK960TDN")),
        ((), "disk2", ("/dev/disk/by-path/pci-0000:17:00.0-nvme-1", "disk2, a PM1725")),
        ((), "", ("/dev/sda5", "the partition TMP")),
        (("disk1",), "tmp", ("/dev/sda5", "the partition TMP")),
    ],
)
def test_what_is_allowed(reserved, wanted, expected):
    assert chosen(reserved, wanted, without_sdc(blocks())) == expected


@pytest.mark.parametrize(
    ("reserved", "wanted", "said"),
    [
        ((), "disk0", '"disk0" has the system; write "disk2" or "disk3" or "disk4" or "tmp"'),
        (("disk0",), "", '"disk0" has the system'),
        ((), "disk1", '"disk1" is not reserved by a running job of yours'),
        ((), "disk9", 'has no "disk9"; write "disk2"'),
        ((), "disk3", 'does not say which device "disk3" is'),
        ((), "disk4", 'does not say which device "disk4" is'),
        (("disk1",), "/dev/sda", '"/dev/sda" is not for data; write "disk1" or "disk2"'),
        ((), "/dev/disk/by-label/PROD", '"/dev/disk/by-label/PROD" is not for data'),
        ((), "PROD", '"PROD" is not for data'),
        (("disk1", "disk2"), "", "disk1, disk2 are reserved; write which one"),
        ((), "", "its partitions were not looked at"),
    ],
)
def test_what_is_refused_is_named(reserved, wanted, said):
    with pytest.raises(UserError) as caught:
        chosen(reserved, wanted)
    assert said in str(caught.value) and str(caught.value).startswith(HOST)


def test_a_node_without_a_description_of_disks():
    with pytest.raises(UserError, match='write "tmp"'):
        data_disk(HOST, {"storage_devices": None}, (), None, "disk1")


@pytest.mark.parametrize(
    "change", [{}, {"label": "tmp", "partlabel": None}, {"mountpoints": [None], "mountpoint": None}]
)
def test_the_partition_is_known_by_its_label(change):
    found = without_sdc(blocks())
    found["blockdevices"][0]["children"][2] |= change
    assert tmp_partition(HOST, found) == "/dev/sda5"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (blocks(), "/dev/sda5, /dev/sdc1 are labelled TMP"),
        (without_sdc(blocks(label="DEPLOY")), "no partition is labelled TMP"),
        (without_sdc(blocks(mount="/home")), "/dev/sda5 is labelled TMP, and mounted on /home"),
        (only_sdc(blocks()), "/dev/sdc1 is labelled TMP, and mounted on /srv"),
        ({}, "no partition is labelled TMP"),
        ({"blockdevices": [{"path": "/dev/sda", "type": "disk", "label": "TMP"}]}, "no partition is labelled TMP"),
    ],
)
def test_a_partition_that_is_not_surely_that_one_is_refused(found, said):
    with pytest.raises(UserError, match=said):
        tmp_partition(HOST, found)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("/dev/sdb", ""),
        ("/dev/sda", "/dev/sda is in use: mounted on /, [SWAP]"),
        ("/dev/sda5", ""),
        ("/dev/sdc", "/dev/sdc is in use: mounted on /srv"),
        ("/dev/sdz", "there is no /dev/sdz"),
    ],
)
def test_a_disk_in_use(device, said):
    assert in_use(blocks(), device) == said


def test_the_testbeds_own_partitions_are_left_alone():
    found = {"blockdevices": [{"path": "/dev/sda", "type": "disk", "children": [{"partlabel": "Deploy"}]}]}
    assert in_use(found, "/dev/sda") == "/dev/sda has the testbed's own partitions DEPLOY"
