"""A testbed's description of a node, in its published shape, becomes the catalogue's figures."""

from __future__ import annotations

import copy

import pytest

from pliant.study.catalogue import cluster
from pliant.study.reference import cluster_of, figures

GROS = {
    "uid": "gros-41",
    "architecture": {"nb_cores": 18, "nb_procs": 1, "nb_threads": 36, "platform_type": "x86_64"},
    "main_memory": {"ram_size": 103079215104},
    "processor": {
        "model": "Intel Xeon",
        "version": "Gold 5220",
        "other_description": "Intel(R) Xeon(R) Gold 5220 CPU @ 2.20GHz",
    },
    "network_adapters": [
        {"device": "bmc", "interface": "Ethernet", "management": True, "mounted": False},
        {"device": "ib0", "interface": "InfiniBand", "management": False, "mounted": True, "rate": 100000000000},
        {"device": "eth1", "interface": "Ethernet", "management": False, "mounted": False, "rate": 10000000000},
        {"device": "eth0", "interface": "Ethernet", "management": False, "mounted": True, "rate": 25000000000},
    ],
    "storage_devices": [
        {"id": "disk0", "interface": "SATA", "model": "MTFDDAK480TDN", "size": 480103981056, "storage": "SSD"}
        | {"vendor": "Micron"},
        {"id": "disk1", "interface": "SATA", "model": "MTFDDAK960TDN", "size": 960197124096, "storage": "SSD"}
        | {"vendor": "Micron", "reservation": True},
    ],
}


def with_disk(**more):
    node = copy.deepcopy(GROS)
    node["storage_devices"] = [node["storage_devices"][0] | more]
    return figures(node)


def test_a_node_becomes_the_record_of_its_cluster():
    made = cluster_of("grid5000/gros", 124, GROS, "here")
    kept = cluster("grid5000/gros")
    for name in ("nodes", "cpu", "cores", "nic_bit_s", "memory_bytes", "disks"):
        assert getattr(made, name) == getattr(kept, name)
    assert made.source == "here" and made.disk_byte_s is None and made.idle_w is None


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ({"interface": "NVME", "vendor": "Samsung", "model": "SAMSUNG MZ1LB1T9HALS-00007", "size": 1920383410176},
         ("NVMe", "1.92 TB", "Samsung MZ1LB1T9HALS-00007")),
        ({"storage": "HDD", "vendor": "Western Digital", "model": "WDC WD2502ABYS", "size": 250000000000},
         ("HDD", "250 GB", "Western Digital WD2502ABYS")),
        ({"storage": "HDD", "interface": "RAID-0 (2 disks)", "vendor": "Dell", "model": "PERC H330 Mini",
          "size": 598879502336}, ("HDD", "599 GB", "RAID 0 of two disks on a Dell PERC H330 Mini")),
        ({"vendor": None, "model": "Nameless", "size": 2000398934016}, ("SSD", "2 TB", "Nameless")),
    ],
)  # fmt: skip
def test_disks_are_called_as_their_vendors_do(device, expected):
    (disk,) = with_disk(**device)["disks"]
    assert (disk["kind"], disk["size"], disk["model"]) == expected
    assert with_disk(**device)["data_disk"] == 0


def test_processors_without_a_version_are_called_by_their_design():
    node = GROS | {"processor": {"model": "Unknown", "version": "Unknown", "other_description": "Neoverse-N1"}}
    assert figures(node)["cpu"] == "Neoverse-N1"
    assert figures(GROS | {"architecture": {"nb_cores": 32, "nb_procs": 2}})["cpu"] == "2 x Intel Xeon Gold 5220"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({}, "a node is not described as a node is: KeyError"),
        ([], "a node is not described as a node is: TypeError"),
        ({k: v for k, v in GROS.items() if k != "main_memory"}, "gros-41 is not described as a node is"),
        (GROS | {"network_adapters": []}, "no Ethernet interface of it is in use"),
        (GROS | {"storage_devices": None}, "is not described as a node is"),
        (GROS | {"main_memory": {"ram_size": None}}, "is not described as a node is"),
    ],
)
def test_what_describes_no_node_is_refused(node, said):
    with pytest.raises(ValueError, match=said):
        figures(node)
