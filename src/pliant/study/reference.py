"""A testbed's own description of a node -> the figures that the catalogue has of a cluster. Pure.

The descriptions are those of Grid'5000's reference API (sites/SITE/clusters/CLUSTER/nodes/NODE), whose files are
published as https://github.com/grid5000/reference-repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pliant.study.catalogue import Cluster, from_table

_UNSAID = ("", "unknown")
_COUNTS = {"1": "one disk", "2": "two disks"}


def cluster_of(name: str, nodes: int, node: Mapping[str, Any], source: str) -> Cluster:
    """The catalogue's record of a cluster of so many nodes like `node`. ValueError if that describes no node."""
    return from_table(name, {"nodes": nodes, "source": source, **figures(node)})


def figures(node: Mapping[str, Any]) -> dict[str, Any]:
    """What a description says of one node, in the keys and units of a table of the catalogue.

    ValueError says what is missing: nothing is guessed.
    """
    try:
        disks = [_disk(each) for each in node["storage_devices"]]
        return {
            "cpu": _cpu(node["processor"], int(node["architecture"]["nb_procs"])),
            "cores": int(node["architecture"]["nb_cores"]),
            "nic": f"{_ethernet_bit_s(node['network_adapters']) / 1e9:g} Gbit/s",
            "memory": f"{int(node['main_memory']['ram_size']) / 2**30:g} GiB",
            "disks": disks,
            # The first is the system's, as long as there is another.
            "data_disk": min(1, len(disks) - 1),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{node_name(node)} is not described as a node is: {error!r}") from error


def node_name(node: object) -> str:
    """How a description calls its node."""
    return str(node.get("uid", "a node")) if isinstance(node, Mapping) else "a node"


def _cpu(processor: Mapping[str, Any], sockets: int) -> str:
    """The processors as their vendor calls them; by their design where the description has no version of them."""
    version = str(processor.get("version") or "")
    known = version.lower() not in _UNSAID
    one = f"{processor['model']} {version}" if known else str(processor["other_description"])
    return " ".join((f"{sockets} x {one}" if sockets > 1 else one).split())


def _ethernet_bit_s(adapters: Sequence[Mapping[str, Any]]) -> float:
    """Rate of the Ethernet interface that the node's system uses."""
    used = [
        each
        for each in adapters
        if each["interface"] == "Ethernet" and each.get("mounted") and not each.get("management")
    ]
    if not used:
        raise ValueError("no Ethernet interface of it is in use")
    return float(used[0]["rate"])


def _disk(device: Mapping[str, Any]) -> dict[str, str]:
    """One disk; behind a RAID controller the model is the controller's."""
    interface, vendor, model = str(device["interface"]), str(device.get("vendor") or ""), str(device["model"])
    first, _, rest = model.partition(" ")
    if rest and first.lower() in (vendor.lower(), "wdc"):
        model = rest
    whole = f"{vendor} {model}".strip()
    return {
        "kind": "NVMe" if interface.upper() == "NVME" else str(device["storage"]),
        "size": _size(int(device["size"])),
        "model": f"{_array(interface)} on a {whole}" if interface.upper().startswith("RAID") else whole,
    }


def _array(interface: str) -> str:
    """What a controller shows as one disk: "RAID-0 (2 disks)" in words."""
    found = re.fullmatch(r"RAID-(\d+) \((\d+) disks?\)", interface)
    return f"RAID {found[1]} of {_COUNTS.get(found[2], f'{found[2]} disks')}" if found else interface


def _size(size_bytes: int) -> str:
    """As its vendor counts."""
    return f"{round(size_bytes / 1e9)} GB" if size_bytes < 999.5e9 else f"{round(size_bytes / 1e12, 2):g} TB"
