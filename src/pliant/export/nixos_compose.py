"""A study's cluster as a NixOS Compose project: file name -> text. Pure.

Sources: NixOS Compose 0c994a9 (compose.nix, the flavours, nxc.json, setup.toml), NixOS 23.05.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources

from pliant.composition import Composition, NixOS, Role
from pliant.errors import UserError
from pliant.export.nix import Raw, Value, expression, string
from pliant.export.units import services
from pliant.study import Study

FLAVOURS: Mapping[str, Mapping[str, str]] = {
    "vm": {},
    "vm-ramdisk": {},
    "nspawn": {},
    "docker": {},
    "g5k-image": {"platform": "Grid5000"},
    "g5k-ramdisk": {"platform": "Grid5000"},
    "g5k-nfs-store": {"platform": "Grid5000"},
}
"""Flavour -> what nxc.json says besides."""
MARK = "written-by-pliant"
"""The file by which a directory is known to be pliant's."""
_DEV_DISK_MIB = 2048
_BENCHMARKS = ("ior", "fio", "openmpi")
"""IOR's package has mdtest as well."""


def project(study: Study, flavour: str) -> dict[str, str]:
    """The project of a study with one file system. UserError if it cannot be one."""
    composition = study.composition
    nixos = composition.nixos
    if nixos is None:
        raise UserError(f"{study.file}: {study.filesystem.kind} cannot be exported to NixOS Compose yet; glusterfs can")
    counts = {role.name: sum(node.role == role.name for node in composition.nodes) for role in composition.roles}
    counts = {role: count for role, count in counts.items() if count}
    files = {
        MARK: "pliant export nixos-compose replaces this directory.\n",
        "study.toml": study.text,
        "flake.nix": _flake(study.name, flavour),
        "composition.nix": _composition(composition, counts),
        "data-disk.nix": _template("data-disk.nix"),
        "nodes.yaml": "".join(f"{role}: {count}\n" for role, count in counts.items()),
        "setup.toml": _setup(study),
        "nxc.json": json.dumps({"composition": "composition.nix", "default_flavour": flavour, **FLAVOURS[flavour]})
        + "\n",
        ".gitlab-ci.yml": _template("gitlab-ci.yml").replace("FLAVOUR", flavour),
        "README.md": _template("README.md").replace("FLAVOUR", flavour).replace("STUDY", study.name),
        "test.py": _test(composition),
    }
    roles = (composition.role(name) for name in counts)
    try:
        return files | {f"roles/{role.name}.nix": _role(composition, nixos, role) for role in roles}
    except ValueError as error:
        raise UserError(f"{study.file}: it cannot be exported: {error}") from error


def _template(name: str) -> str:
    return resources.files("pliant.export").joinpath("templates", name).read_text(encoding="utf-8")


def _flake(name: str, flavour: str) -> str:
    text = _template("flake.nix").replace("FLAVOUR", flavour)
    return text.replace('"DESCRIPTION"', string(f"The cluster of the pliant study {name}"))


def _setup(study: Study) -> str:
    whole = study.platform.host.disk_size // 2**20
    tables = (
        ("[params]", "The size of a node's disk where it is a file; Grid'5000 has a partition.", whole),
        ("[dev.params]", "nxc build -s dev: quick to make.", min(whole, _DEV_DISK_MIB)),
        ("[verified.params]", "nxc build -s verified: as the study has it.", whole),
    )
    parts = [f"{table}\n# {why}\ndisk_mib = {size}\n" for table, why, size in tables]
    return "\n".join(("[project]\n", *parts))


def _composition(composition: Composition, counts: Mapping[str, int]) -> str:
    disks = any(composition.role(name).disk for name in counts)
    roles: dict[str, Value] = {}
    for name in counts:
        argument = " { inherit dataDisk; }" if composition.role(name).disk else ""
        roles[name] = Raw(f"import ./roles/{name}.nix{argument}")
    let = "let\n  dataDisk = import ./data-disk.nix { inherit lib flavour setup; };\nin\n" if disks else ""
    body: dict[str, Value] = {
        "roles": roles,
        "rolesDistribution": dict(counts),
        "testScript": Raw("builtins.readFile ./test.py"),
    }
    arguments = ("lib", "flavour", "setup") if disks else ()
    head = "{\n" + "".join(f"  {name},\n" for name in arguments) + "  ...\n}:\n" if arguments else "{ ... }:\n"
    return f"{head}{let}{expression(body)}\n"


def _role(composition: Composition, nixos: NixOS, role: Role) -> str:
    packages = [*nixos.packages, *(_BENCHMARKS if role.client else ())]
    body: dict[str, Value] = {}
    head = "{ pkgs, ... }:\n"
    if role.disk:
        head = "{ dataDisk }:\n" + head
        body["imports"] = [Raw(f"(dataDisk {string(role.disk)})")]
    if role.client and composition.kernel:
        body["boot.kernelModules"] = list(composition.kernel)
    body |= dict(nixos.settings.get(role.name, {}))
    # mount(8) looks for its helpers in the system's path, not in that of a service.
    body["environment.systemPackages"] = [Raw(f"pkgs.{package}") for package in packages]
    body["systemd.services"] = services(composition, nixos, role.name)
    return f"{head}{expression(body)}\n"


def _test(composition: Composition) -> str:
    """A test script that runs under `nxc driver -t` and under `pliant driver`."""
    clients = [node.name for node in composition.clients]
    mount = composition.mount
    return (
        _template("test.txt")
        .replace("CLIENTS", f"[{', '.join(clients)}]")
        .replace("WRITER", clients[0])
        .replace("READER", clients[-1])
        .replace('"MOUNT"', json.dumps(mount))
    )
