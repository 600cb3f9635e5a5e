"""A study's cluster as a NixOS Compose project: file name -> text. Pure.

Sources: NixOS Compose 0c994a9 (compose.nix, the flavours, nxc.json, setup.toml), NixOS 23.05.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources

from pliant.composition.model import Composition, NixOS
from pliant.composition.placement import Placement
from pliant.errors import UserError
from pliant.export.images import Image, images, placed
from pliant.export.nix import Key, Lines, Raw, Value, expression, string
from pliant.export.units import etc, services
from pliant.study.model import Study

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
_WHY = "it is not known how NixOS would run it"
_BENCHMARKS = ("ior", "fio", "openmpi")
"""IOR's package has mdtest as well."""


def project(study: Study, flavour: str, ratio: float | None = None) -> dict[str, str]:
    """The project of a study with one file system: a machine for each node, or folded to one of the study's ratios.

    UserError if it cannot be one.
    """
    fold = None if ratio is None else _placement(study, flavour, ratio)
    # What a node's address is it finds out when it runs: machines get theirs at boot, containers from their host.
    composition = study.driver.compose(placed(study.nodes), study.options, study.about.seed)
    nixos = composition.nixos
    if nixos is None:
        raise UserError(f"{study.file}: {study.filesystem.kind} cannot be exported to NixOS Compose: {_WHY}")
    _sources(study, nixos)
    try:
        found = images(composition, nixos.files)
        roles = {f"roles/{image.role.name}.nix": _role(composition, nixos, image) for image in found}
        if nixos.common:
            roles["roles/common.nix"] = f"# What nodes of all roles have.\n{{ ... }}:\n{expression(nixos.common)}\n"
    except ValueError as error:
        raise UserError(f"{study.file}: it cannot be exported: {error}") from error
    counts = {image.role.name: len(image.nodes) for image in found if not image.parameters}
    own = _folded(study, composition, found, fold) if fold else _unfolded(composition, found, counts)
    return {
        MARK: "pliant export nixos-compose replaces this directory.\n",
        "study.toml": study.text,
        "flake.nix": _flake(study, nixos, flavour),
        **({"data-disk.nix": _data_disk(study)} if any(image.role.disk for image in found) else {}),
        "setup.toml": _setup(study),
        "nxc.json": json.dumps({"composition": "composition.nix", "default_flavour": flavour, **FLAVOURS[flavour]})
        + "\n",
        ".gitlab-ci.yml": _template("gitlab-ci.yml").replace("FLAVOUR", flavour),
        "README.md": readme(study, composition, flavour, fold),
        **own,
        **roles,
    }


def _placement(study: Study, flavour: str, ratio: float) -> Placement:
    """Which node is on which host at a ratio; UserError if containers cannot be it."""
    study.need_ratio(ratio)
    if flavour in ("docker", "nspawn"):
        raise UserError(f"--ratio: the machines of the flavour {flavour} are containers, which cannot carry others")
    if set(study.composition.of_kernels) - {"fuse"}:
        raise UserError(
            f"--ratio: {study.filesystem.kind} is the kernel's own ({', '.join(study.composition.of_kernels)}), which "
            "containers share with their host; export it without --ratio"
        )
    return study.placements[ratio]


def _sources(study: Study, nixos: NixOS) -> None:
    """UserError if nixpkgs has not got the file system, and the study does not say who has."""
    if nixos.own and study.nixos_compose.filesystem is None:
        kind = study.filesystem.kind
        raise UserError(
            f"{study.file}: nixpkgs has no {kind}: name a flake that has it in the study, [nixos_compose] "
            f'filesystem = "github:...". Its overlays.default must have the package {nixos.packages[0]}, and its '
            f"nixosModules.default the kernel's part"
        )


def _unfolded(composition: Composition, found: Sequence[Image], counts: Mapping[str, int]) -> dict[str, str]:
    return {
        "composition.nix": _composition(found, counts),
        "nodes.yaml": "".join(f"{role}: {count}\n" for role, count in counts.items()) or "{}\n",
        "test.py": _test(composition),
    }


def _folded(study: Study, composition: Composition, found: Sequence[Image], fold: Placement) -> dict[str, str]:
    """Hosts of one role, each of which carries the nodes that are placed on it as containers."""
    by_node = {node: image for image in found for node in image.nodes}
    nodes: dict[Key, Value] = {}
    for node in study.nodes:
        image = by_node[node.name]
        nodes[node.name] = {
            "host": fold.host_names[fold.host_of(node.name)],
            "address": node.address,
            "disk": image.role.disk or Raw("null"),
            "module": Raw(_module(image, image.parameters.get(node.name, {}), "      ")),
        }
    disks = any(image.role.disk for image in found)
    let = "  dataDisk = import ./container-disk.nix;\n" if disks else ""
    body: dict[Key, Value] = {
        "roles.host": Raw("import ./host.nix {\n" + _inherit("lib", "flavour", "setup", "hosts", "nodes") + "  }"),
        "rolesDistribution.host": len(fold.hosts),
        "testScript": Raw("builtins.readFile ./test.py"),
    }
    return {
        "composition.nix": f"{{\n  lib,\n  flavour,\n  setup,\n  ...\n}}:\nlet\n{let}"
        f"  hosts = {expression(list(fold.host_names), '  ')};\n"
        f"  nodes = {expression(nodes, '  ')};\nin\n{expression(body)}\n",
        "host.nix": _template("host.nix"),
        **({"container-disk.nix": _template("container-disk.nix")} if disks else {}),
        "nodes.yaml": f"host: {len(fold.hosts)}\n",
        "test.py": _test(composition, fold),
    }


def _data_disk(study: Study) -> str:
    """The module of a node's disk, with what the study chooses where there is no partition for it."""
    return _template("data-disk.nix").replace("ELSEWHERE\n", _template(f"disk-{study.nixos_compose.disk}.txt"))


def _inherit(*names: str) -> str:
    return "    inherit\n" + "".join(f"      {name}\n" for name in names) + "      ;\n"


def _template(name: str) -> str:
    return resources.files("pliant.export").joinpath("templates", name).read_text(encoding="utf-8")


def _flake(study: Study, nixos: NixOS, flavour: str) -> str:
    table, own = study.nixos_compose, nixos.own
    inputs: dict[Key, Value] = {"nixpkgs.url": table.nixpkgs, "nxc.url": table.nxc}
    compose = ["inherit nixpkgs system;", "setup = ./setup.toml;", "composition = ./composition.nix;"]
    if own:
        inputs["filesystem.url"] = table.filesystem or ""
        compose += [
            "# The file system's packages, and its part of the kernel.",
            "overlays = [ filesystem.overlays.default ];",
            "extraConfigurations = [ filesystem.nixosModules.default ];",
        ]
    return (
        _template("flake.nix")
        .replace('"DESCRIPTION"', string(f"The cluster of the pliant study {study.name}"))
        .replace("INPUTS", expression(inputs, "  "))
        .replace("      filesystem,\n", "      filesystem,\n" if own else "")
        .replace("        COMPOSE", "\n".join(f"        {line}" for line in compose))
        .replace("FLAVOUR", flavour)
    )


def _setup(study: Study) -> str:
    whole = study.platform.disk_size // 2**20
    # What a file system was told of its disk at the study's size does not fit a smaller one.
    half = tuple(replace(node, disk_bytes=node.disk_bytes // 2) for node in study.nodes)
    told = study.driver.compose(half, study.options, study.about.seed).steps != study.composition.steps
    small = whole if told else min(whole, _DEV_DISK_MIB)
    tables = (
        ("[params]", "The size of a node's disk where it is a file, MiB; Grid'5000 has a partition.", whole),
        ("[dev.params]", "nxc build -s dev: quick to make.", small),
        ("[verified.params]", "nxc build -s verified: as the study has it.", whole),
    )
    parts = [f"{table}\n# {why}\ndisk_mib = {size}\n" for table, why, size in tables]
    return "\n".join(("[project]\n", *parts))


def _module(image: Image, values: Mapping[str, str], indent: str) -> str:
    """A role's module with what one node of it has for itself."""
    own = ["inherit dataDisk;"] if image.role.disk else []
    module = f"import ./roles/{image.role.name}.nix"
    if not values:
        return module + (f" {{ {' '.join(own)} }}" if own else "")
    inside = indent + "  "
    arguments = [*own, *(f"{name} = {expression(Lines(each), inside)};" for name, each in values.items())]
    return f"{module} {{\n" + "".join(f"{inside}{each}\n" for each in arguments) + f"{indent}}}"


def _composition(found: Sequence[Image], counts: Mapping[str, int]) -> str:
    disks = any(image.role.disk for image in found)
    roles: dict[Key, Value] = {}
    for image in found:
        if not image.parameters:
            roles[image.role.name] = Raw(_module(image, {}, "    "))
        for node, values in image.parameters.items():
            roles[node] = Raw(_module(image, values, "    "))
    let = "let\n  dataDisk = import ./data-disk.nix { inherit lib flavour setup; };\nin\n" if disks else ""
    body: dict[str, Value] = {
        "roles": roles,
        "rolesDistribution": dict(counts),
        "testScript": Raw("builtins.readFile ./test.py"),
    }
    arguments_ = ("lib", "flavour", "setup") if disks else ()
    head = "{\n" + "".join(f"  {name},\n" for name in arguments_) + "  ...\n}:\n" if arguments_ else "{ ... }:\n"
    return f"{head}{let}{expression(body)}\n"


def _role(composition: Composition, nixos: NixOS, image: Image) -> str:
    role = image.role
    packages = [*nixos.packages, *(_BENCHMARKS if role.client else ())]
    body: dict[Key, Value] = {}
    arguments = [*(["dataDisk"] if role.disk else []), *image.names]
    head = "{\n" + "".join(f"  {name},\n" for name in arguments) + "}:\n" if len(arguments) > 1 else ""
    head = head or (f"{{ {arguments[0]} }}:\n" if arguments else "")
    imports = [*(["./common.nix"] if nixos.common else []), *([f"(dataDisk {string(role.disk)})"] if role.disk else [])]
    if imports:
        body["imports"] = [Raw(each) for each in imports]
    if role.client and "fuse" in composition.kernel:
        body["boot.kernelModules"] = ["fuse"]
    body.update(nixos.settings.get(role.name, {}))
    # mount(8) looks for its helpers in the system's path, not in that of a service.
    body["environment.systemPackages"] = [Raw(f"pkgs.{package}") for package in packages]
    body |= etc(nixos, image)
    body["systemd.services"] = services(composition, nixos, image)
    return f"{head}{{ pkgs, ... }}:\n{expression(body)}\n"


def _test(composition: Composition, fold: Placement | None = None) -> str:
    """A test script that runs under `nxc driver -t` and under `pliant driver`."""
    clients = [node.name for node in composition.clients]
    machines = f"[{', '.join(clients)}]"
    before = ""
    if fold is not None:
        before = _template("containers.txt")
        places = ", ".join(f'Node("{name}", {fold.host_names[fold.host_of(name)]})' for name in clients)
        machines = f"[{places}]"
    return (
        _template("test.txt")
        .replace("CONTAINERS\n", before or "# Runs under `nxc driver -t` and under `pliant driver`.\n")
        .replace("CLIENTS", machines)
        .replace('"MOUNT"', json.dumps(composition.mount))
    )


def readme(study: Study, composition: Composition, flavour: str, fold: Placement | None) -> str:
    """What somebody who gets the project has to know."""
    parts = []
    if fold is not None:
        parts.append(
            f"Folded: {len(composition.nodes)} nodes on {len(fold.hosts)} hosts, each node a NixOS container of its "
            f"host (`host.nix`): {fold.describe()}."
        )
    else:
        parts.append("Each role is one module in `roles/`, and each node one machine.")
    if any(role.disk for role in composition.roles):
        elsewhere = "a file with its own file system" if study.nixos_compose.disk == "file" else "a directory"
        parts.append(
            f"A node's disk (`data-disk.nix`) is {elsewhere}; on Grid'5000 it is, or lies on, the partition "
            "KDPL_TMP_disk0, **which is formatted**."
        )
    if any(file.secret for files in composition.files.values() for file in files):
        parts.append(
            "Keys follow from the study's seed, and lie in the Nix store for everybody to read: they keep clusters "
            "apart, not people out."
        )
    if "fuse" in composition.kernel and fold is None:
        parts.append("With the docker flavour nothing can be mounted: its containers have no /dev/fuse.")
    text = "\n\n".join(textwrap.fill(part, 120, break_long_words=False, break_on_hyphens=False) for part in parts)
    build = f"nxc build -f {flavour}".ljust(27)
    return (
        _template("README.md")
        .replace("nxc build -f FLAVOUR       ", build)
        .replace("STUDY", study.name)
        .replace("ABOUT", text)
    )
