"""Which block device of a Grid'5000 host a study's data may go to. Pure; what is not on the list is refused by name.

The list, from the testbed's pages Disk_reservation and Advanced_Kadeploy and its reference API:

- a disk that this user's job has reserved ("disk1"), by the name that the reference API has for it;
- another disk of the host that cannot be reserved, and so comes with it, if the user names it; never the first, disk0,
  which has the system;
- the partition for users' data, labelled TMP, if nothing but /tmp is mounted on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pliant.errors import UserError

TMP_LABEL = "TMP"
SYSTEM_DISK = "disk0"
LSBLK = ("lsblk", "--json", "--bytes", "--output", "PATH,TYPE,SIZE,LABEL,PARTLABEL,MOUNTPOINT")
"""What prints the block devices of a host as `tmp_partition`, `in_use` and `mounted_on` read them."""

_DEVICE = re.compile(r"/dev/disk/by-(?:id|path)/[A-Za-z0-9_.:+-]+")
_FREE_MOUNTS = ("/tmp",)


@dataclass(frozen=True)
class DataDisk:
    """A device for data on one host, and what it is: `disk1, a reserved Micron MTFDDAK960TDN` or the partition TMP."""

    host: str
    device: str
    what: str


def data_disk(
    host: str,
    node: Mapping[str, Any],
    reserved: Sequence[str],
    blocks: Mapping[str, Any] | None = None,
    wanted: str = "",
) -> DataDisk:
    """Where the data of a host may go. `node` is the reference API's description, `blocks` the output of LSBLK.

    `wanted` is "diskN" or "tmp"; "" takes the host's reserved disk, and without one the partition TMP. UserError names
    what is refused.
    """
    if re.fullmatch(r"disk\d+", wanted):
        return _disk(host, node, reserved, wanted)
    if wanted not in ("", "tmp"):
        raise UserError(f'{host}: "{wanted}" is not for data; write {_choices(node, reserved)}')
    if wanted == "" and len(reserved) > 1:
        raise UserError(f"{host}: {', '.join(reserved)} are reserved; write which one is for data")
    if wanted == "" and reserved:
        return _disk(host, node, reserved, reserved[0])
    if blocks is None:
        raise UserError(f"{host}: no disk is reserved, and its partitions were not looked at")
    return DataDisk(host, tmp_partition(host, blocks), f"the partition {TMP_LABEL}")


def tmp_partition(host: str, blocks: Mapping[str, Any]) -> str:
    """The partition for users' data, by its label. UserError unless there is just one, with nothing else mounted."""
    labelled = [
        each
        for each in _devices(blocks)
        if each.get("type") == "part" and TMP_LABEL in (_upper(each, "label"), _upper(each, "partlabel"))
    ]
    if len(labelled) != 1:
        paths = ", ".join(str(each.get("path")) for each in labelled)
        which = f"{paths} are" if labelled else "no partition is"
        raise UserError(
            f"{host}: {which} labelled {TMP_LABEL}, the one for users' data; reserve a disk, or name one that the host "
            'has, e.g. "disk1"'
        )
    (found,) = labelled
    if mounted := _mounted_below(found):
        raise UserError(f"{host}: {found.get('path')} is labelled {TMP_LABEL}, and mounted on {', '.join(mounted)}")
    return str(found["path"])


def in_use(blocks: Mapping[str, Any], device: str) -> str:
    """Why a device, by the kernel's own name ("/dev/sdb"), must not be written to; "" if nothing speaks against it.

    To be asked of every disk before it is formatted: a name of the reference API can be out of date.
    """
    found = _device(blocks, device)
    if found is None:
        return f"there is no {device}"
    if mounted := _mounted_below(found):
        return f"{device} is in use: mounted on {', '.join(mounted)}"
    parts = list(_devices({"blockdevices": [found]}))
    labels = {_upper(each, key) for each in parts for key in ("label", "partlabel")} & {"PROD", "DEPLOY", "SWAP", "EFI"}
    return f"{device} has the testbed's own partitions {', '.join(sorted(labels))}" if labels else ""


def mounted_on(blocks: Mapping[str, Any], device: str) -> str:
    """Where a device, by the kernel's own name, is mounted; "" if it is not."""
    return next(iter(_mounts(_device(blocks, device) or {})), "")


def _disk(host: str, node: Mapping[str, Any], reserved: Sequence[str], wanted: str) -> DataDisk:
    """A whole disk, by its name in the reference API."""
    device = next((each for each in _described(node) if each.get("id") == wanted), None)
    if device is None:
        raise UserError(f'{host}: has no "{wanted}"; write {_choices(node, reserved)}')
    if wanted == SYSTEM_DISK:
        raise UserError(f'{host}: "{wanted}" has the system; write {_choices(node, reserved)}')
    if device.get("reservation") and wanted not in reserved:
        raise UserError(f'{host}: "{wanted}" is not reserved by a running job of yours; reserve it, or write "tmp"')
    path = next((path for key in ("by_id", "by_path") if _DEVICE.fullmatch(path := str(device.get(key) or ""))), None)
    if path is None:
        raise UserError(f'{host}: the testbed does not say which device "{wanted}" is; write another or "tmp"')
    model = " ".join(str(device[key]) for key in ("vendor", "model") if device.get(key))
    return DataDisk(host, path, f"{wanted}, {'a reserved' if device.get('reservation') else 'a'} {model}")


def _choices(node: Mapping[str, Any], reserved: Sequence[str]) -> str:
    """What may be written for a host, in words."""
    own = [
        str(each.get("id"))
        for each in _described(node)
        if each.get("id") != SYSTEM_DISK and (not each.get("reservation") or each.get("id") in reserved)
    ]
    return " or ".join(f'"{each}"' for each in (*own, "tmp"))


def _described(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    disks = node.get("storage_devices")
    return [each for each in disks if isinstance(each, Mapping)] if isinstance(disks, list) else []


def _devices(blocks: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every device that lsblk lists, disks and what is on them."""
    for each in blocks.get("blockdevices") or ():
        yield each
        yield from _devices({"blockdevices": each.get("children")})


def _device(blocks: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    return next((each for each in _devices(blocks) if each.get("path") == path), None)


def _mounted_below(device: Mapping[str, Any]) -> list[str]:
    """Where a device or something on it is mounted, but for what data may take the place of."""
    parts = _devices({"blockdevices": [device]})
    return sorted(place for each in parts for place in _mounts(each) if place not in _FREE_MOUNTS)


def _upper(device: Mapping[str, Any], key: str) -> str:
    return str(device.get(key) or "").upper()


def _mounts(device: Mapping[str, Any]) -> list[str]:
    """Where a device is mounted; newer releases of lsblk say so in a list."""
    many = device.get("mountpoints")
    return [str(each) for each in (many if isinstance(many, list) else [device.get("mountpoint")]) if each]
