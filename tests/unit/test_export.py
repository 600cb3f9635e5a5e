"""Projects of NixOS Compose, read and evaluated by Nix itself, with stubs and without a network."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from study_files import GOOD

from pliant.cli import cli
from pliant.composition.model import Command, Composition, File, Identity, Node, Role, Step
from pliant.errors import UserError
from pliant.export import nix
from pliant.export.images import images, placed
from pliant.export.nixos_compose import FLAVOURS, project
from pliant.export.units import script, shell
from pliant.study.problems import StudyError
from pliant.study.reading import parse

OPTIONS = json.loads((Path(__file__).parent / "data/nixos-options.json").read_text())
PACKAGES = {
    "glusterfs", "moosefs", "ceph", "nfs-utils", "orangefs", "beegfs", "gfarm", "seaweedfs",  # file systems
    "postgresql",  # of Gfarm
    "attr", "curl", "e2fsprogs", "getent", "iproute2", "procps", "util-linux",
    "fio", "ior", "openmpi",
}  # fmt: skip
"""Attributes of nixpkgs that a project may use; beegfs and gfarm are those of an input."""
STANDARD = {"network-online.target", "network.target"}

HEAD = """
[study]
name = "export"
[platform]
kind = "emulated"
[platform.host]
cores = 0.1
nic = "200 Mbit/s"
disk = "60 MB/s"
memory = "1 GiB"
disk_size = "4 GiB"
[fold]
ratios = [1, 2, {most}]
strategy = "pack"
[nixos_compose]
filesystem = "github:someone/beegfs-nix"
[[workload]]
kind = "ior"
[filesystem]
kind = "{kind}"
[filesystem.roles]
{roles}
[filesystem.options]
{options}
"""
STUDIES = {
    "glusterfs-small": ("glusterfs", {"server": 1, "client": 1}, ""),
    "glusterfs": ("glusterfs", {"server": 6, "client": 3}, 'volume = "replicate 3"'),
    "moosefs-small": ("moosefs", {"master": 1, "chunkserver": 2, "client": 1}, ""),
    "moosefs": ("moosefs", {"master": 1, "chunkserver": 5, "client": 4}, 'goal = 3\ntrash_time = "1 h"'),
    "cephfs-small": ("cephfs", {"monitor": 1, "osd": 3, "client": 1}, ""),
    "cephfs": (
        "cephfs",
        {"monitor": 3, "manager": 2, "metadata": 2, "osd": 4, "client": 3},
        'pool = "erasure 2+1"\nactive_metadata = 2',
    ),
    "nfs-small": ("nfs", {"server": 1, "client": 1}, ""),
    "nfs": ("nfs", {"server": 1, "client": 5}, 'export = "async"'),
    "orangefs-small": ("orangefs", {"server": 1, "client": 1}, ""),
    "orangefs": ("orangefs", {"server": 3, "client": 2}, "sync_data = true"),
    "beegfs-small": ("beegfs", {"management": 1, "metadata": 1, "storage": 1, "client": 1}, ""),
    "beegfs": ("beegfs", {"management": 1, "metadata": 2, "storage": 3, "client": 2}, ""),
    "gfarm-small": ("gfarm", {"metadata": 1, "storage": 1, "client": 1}, ""),
    "gfarm": ("gfarm", {"metadata": 1, "storage": 5, "client": 3}, "replicas = 2"),
    "seaweedfs-small": ("seaweedfs", {"master": 1, "volume": 1, "filer": 1, "client": 1}, ""),
    "seaweedfs": ("seaweedfs", {"master": 3, "volume": 4, "filer": 1, "client": 2}, 'replication = "010"'),
}
KERNELS = ("nfs", "orangefs", "beegfs")
"""What containers cannot be."""
CASES = [
    (name, ratio)
    for name, (kind, counts, _) in STUDIES.items()
    for ratio in (None, *(() if kind in KERNELS else (2.0, float(sum(counts.values())))))
]


def study(name: str):
    kind, counts, options = STUDIES[name]
    roles = "\n".join(f"{role} = {count}" for role, count in counts.items())
    most = max(3, sum(counts.values()))
    text = HEAD.format(kind=kind, roles=roles, options=options, most=most).replace("[1, 2, 2]", "[1, 2]")
    return parse(text if sum(counts.values()) > 2 else text.replace("[1, 2, 3]", "[1, 2]"), "study.toml")


EVALUATE = """
let
  lib = rec {
    attrNames = builtins.attrNames;
    concatMapStrings = f: list: builtins.concatStringsSep "" (map f list);
    escapeShellArg = text: "'${text}'";
    filterAttrs = p: set: builtins.listToAttrs (
      map (name: nameValuePair name set.${name}) (builtins.filter (name: p name set.${name}) (attrNames set))
    );
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    mapAttrs = builtins.mapAttrs;
    mapAttrs' = f: set: builtins.listToAttrs (map (name: f name set.${name}) (builtins.attrNames set));
    nameValuePair = name: value: { inherit name value; };
    optional = is: value: if is then [ value ] else [ ];
    optionalAttrs = is: set: if is then set else { };
  };
  pkgs = builtins.listToAttrs (map (name: { inherit name; value = "pkgs.${name}"; }) PACKAGES);
  one = flavour:
    let
      composition = import ./composition.nix {
        inherit lib pkgs;
        flavour.name = flavour;
        setup.params = (builtins.fromTOML (builtins.readFile ./setup.toml)).params;
      };
      module = given:
        let each = if builtins.isPath given then import given else given;
        in if builtins.isFunction each then each { inherit pkgs lib; config = { }; } else each;
      whole = given: let top = module given; in [ (removeAttrs top [ "imports" "containers" ]) ]
        ++ builtins.concatLists (map whole (top.imports or [ ]));
      containers = given: builtins.mapAttrs (name: each: {
        about = removeAttrs each [ "config" ];
        parts = whole each.config;
      }) ((module given).containers or { });
    in
    composition // {
      roles = builtins.mapAttrs (name: given: {
        parts = whole given;
        containers = containers given;
      }) composition.roles;
    };
in
builtins.listToAttrs (map (name: { inherit name; value = one name; }) FLAVOURS)
"""


def flavours(ratio: float | None) -> list[str]:
    """Those that can be it: containers in containers cannot."""
    return [name for name in FLAVOURS if ratio is None or name not in ("docker", "nspawn")]


def nix_list(names) -> str:
    return "[ " + " ".join(f'"{name}"' for name in sorted(names)) + " ]"


def write(directory: Path, files: dict[str, str]) -> None:
    for file, text in files.items():
        (directory / file).parent.mkdir(exist_ok=True)
        (directory / file).write_text(text)


@pytest.mark.parametrize(("name", "ratio"), CASES, ids=lambda each: str(each))
def test_it_is_read_and_evaluated(name, ratio, tmp_path, nix_instantiate):
    """Each file system, two role distributions, ratios and all flavours, which differ in few files only."""
    all_files = {flavour: project(study(name), flavour, ratio) for flavour in flavours(ratio)}
    differing = {"flake.nix", "nxc.json", "README.md", ".gitlab-ci.yml"}
    first = all_files["vm"]
    for flavour, files in all_files.items():
        assert {file for file in first if files[file] != first[file]} <= differing
        assert f'"composition::{flavour}"' in files["flake.nix"]
        (tmp_path / f"{flavour}.nix").write_text(files["flake.nix"])
        assert json.loads(files["nxc.json"])["default_flavour"] == flavour
    write(tmp_path, first)
    parsed = sorted(map(str, tmp_path.rglob("*.nix")))
    nix_instantiate("--parse", *parsed)
    for file in parsed:
        assert_well_laid_out(Path(file).read_text())
    expression = EVALUATE.replace("PACKAGES", nix_list(PACKAGES)).replace("FLAVOURS", nix_list(flavours(ratio)))
    (tmp_path / "evaluate.nix").write_text(expression)
    values = json.loads(nix_instantiate("--eval", "--strict", "--json", "evaluate.nix", cwd=tmp_path))
    nodes = {node.name for node in study(name).nodes}
    for value in values.values():
        check(value, first, nodes, ratio)


def check(value, files, nodes, ratio) -> None:
    """A composition as Nix has it: options, units, scripts, hosts."""
    counts = {
        role: int(n) for role, n in (line.split(": ") for line in files["nodes.yaml"].splitlines() if ":" in line)
    }
    assert value["rolesDistribution"] == counts
    assert set(counts) <= set(value["roles"])
    # A role that has no count is a host by its own name.
    hosts = {f"{role}{number}" for role, count in counts.items() for number in range(1, count + 1)}
    hosts |= set(value["roles"]) - set(counts)
    if ratio is None:
        assert hosts == nodes
    for role in value["roles"].values():
        check_modules(role["parts"], hosts, {f"container@{each}" for each in role["containers"]})
        assert not role["containers"] or set(role["containers"]) == nodes
        for each in role["containers"].values():
            for option, given_ in leaves(each["about"], "containers.<name>"):
                assert option in OPTIONS, option
                assert right_kind(OPTIONS[option]["type"], given_), (option, given_)
            check_modules(each["parts"], nodes)
    script = ast.parse(value["testScript"])
    used = {n.id for n in ast.walk(script) if isinstance(n, ast.Name) and re.fullmatch(r"[a-z]+\d+", n.id)}
    assert used and used <= hosts


def check_modules(parts, hosts, made=frozenset()) -> None:
    """The modules of one machine; `made` are services that NixOS makes of other options."""
    units = {}
    for part in parts:
        for option, given_ in leaves(part):
            assert option in OPTIONS, option
            assert "removed" not in OPTIONS[option].get("note", "")
            assert "absent in 23.05" not in OPTIONS[option].get("note", "")
            assert right_kind(OPTIONS[option]["type"], given_), (option, given_)
        for name, unit in part.get("systemd", {}).get("services", {}).items():
            assert name not in units
            units[name] = unit
    names = {f"{name}.service" for name in units} | STANDARD
    for name, unit in units.items():
        ordered = {*unit.get("after", []), *unit.get("before", []), *unit.get("requires", []), *unit.get("wants", [])}
        assert ordered <= names
        assert set(unit.get("requires", [])) <= set(unit.get("after", []))
        condition = unit.get("unitConfig", {}).get("ConditionHost", [])
        asked = [condition] if isinstance(condition, str) else condition
        assert {host.removeprefix("|") for host in asked} <= hosts
        if "script" not in unit:  # NixOS makes it, and pliant adds to it
            assert name in made or name in MADE
        for kind in ("script", "postStart", "preStop", "postStop"):
            if kind in unit:
                assert_good_script(unit[kind])


MADE = {"glusterd", "mfs-master", "mfs-chunkserver", "nfs-server", "orangefs-server", "orangefs-client"}
"""Services that NixOS makes of options that are set."""


NAMED = {
    "systemd.services",
    "environment.etc",
    "containers.<name>.bindMounts",
    "services.orangefs.server.fileSystems",
}
"""Options whose attributes are names that somebody gave."""


def leaves(value, at=""):
    """(Option, value) of a module, down to what nixos-options.json has as one option."""
    free = at.endswith(("serviceConfig", "unitConfig"))
    type_ = OPTIONS.get(at, {}).get("type", "")
    one = at in OPTIONS and ("submodule" not in type_ or "open" in type_)
    if isinstance(value, dict) and not free and not one:
        for key, each in value.items():
            part = "<name>" if at in NAMED else key
            yield from leaves(each, f"{at}.{part}" if at else part)
    else:
        yield at, value


KINDS = {
    "boolean": bool,
    "strings concatenated": str,
    "string": str,
    "list of": list,
    "attribute set of": dict,
    "signed integer": int,
    "absolute path": str,
    "open submodule": dict,
}


def right_kind(type_: str, value: object) -> bool:
    if "list of string) convertible" in type_:
        return isinstance(value, list)
    if type_.startswith("null or "):
        return value is None or right_kind(type_.removeprefix("null or "), value)
    kind = next(kind for start, kind in KINDS.items() if type_.startswith(start))
    if re.fullmatch("(list|attribute set) of string", type_):
        assert isinstance(value, kind)
        inside = value.values() if isinstance(value, dict) else value
        return all(isinstance(each, str) for each in inside)
    return isinstance(value, kind)


@functools.cache
def assert_good_script(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    done = subprocess.run(["shellcheck", "--shell=bash", "-"], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + script


def assert_well_laid_out(text: str) -> None:
    """As nixfmt would have it, as far as that can be seen without it: there is none in Debian."""
    assert text.endswith("}\n")
    assert "\t" not in text
    inside = False
    for line in text.splitlines():
        assert line == line.rstrip()
        if not inside:
            assert not (len(line) - len(line.lstrip())) % 2, line
        inside = inside ^ (line.count("''") - line.count("'''") - line.count("''$")) % 2 == 1


@pytest.mark.parametrize(("flavour", "grid"), [(name, name.startswith("g5k")) for name in FLAVOURS])
def test_only_grid5000_has_a_partition(flavour, grid, tmp_path, nix_instantiate):
    disk = project(parse(GOOD, "study.toml"), flavour)["data-disk.nix"]
    (tmp_path / "data-disk.nix").write_text(disk)
    (tmp_path / "evaluate.nix").write_text(
        "let lib = { hasPrefix = p: t: builtins.substring 0 (builtins.stringLength p) t == p; escapeShellArg = t: t; };"
        f' in ((import ./data-disk.nix {{ inherit lib; flavour.name = "{flavour}";'
        ' setup.params.disk_mib = 64; }) "/srv")'
        ' { pkgs = { e2fsprogs = ""; util-linux = ""; }; }'
    )
    value = json.loads(nix_instantiate("--eval", "--strict", "--json", "evaluate.nix", cwd=tmp_path))
    script = value["systemd"]["services"]["data-disk"]["script"]
    assert ("KDPL_TMP_disk0" in script, "losetup" in script) == (grid, not grid)
    assert_good_script(script)


def test_a_directory_is_never_formatted(tmp_path, nix_instantiate):
    text = GOOD + '[nixos_compose]\ndisk = "directory"\n'
    disk = project(parse(text, "study.toml"), "vm")["data-disk.nix"]
    (tmp_path / "data-disk.nix").write_text(disk)
    lib = "{ hasPrefix = p: t: false; escapeShellArg = t: t; }"
    call = '(import ./data-disk.nix { lib = LIB; flavour.name = "vm"; setup = { }; }) "/srv"'.replace("LIB", lib)
    value = nix_instantiate(
        "--eval", "--json", "-E", f"({call} {{ pkgs = {{ }}; }}).systemd.services.data-disk.script", cwd=tmp_path
    )
    assert json.loads(value) == "mkdir --parents /srv"


def test_grep_finds_what_python_finds():
    pool = "UUID Hostname State\n1 server2 Connected \n2 localhost Connected \n"
    expect = parse(GOOD, "study.toml").composition.step("pool").ready["server1"].expect
    for printed in (pool, pool * 2, pool + pool.replace("2 localhost Connected", "2 localhost Disconnected"), ""):
        command = shell(Command(("printf", "%s", printed), expect=expect))
        done = subprocess.run(["bash", "-c", command], check=False)
        assert (done.returncode == 0) == (re.search(expect, printed) is not None)


# Images


def composed(role: Role, runs, identities=None, files=None) -> Composition:
    nodes = tuple(Node(name, role.name, number, "") for number, name in enumerate(runs, 1))
    steps = (Step("s", {name: (command,) for name, command in runs.items()}),)
    return Composition(
        "x", (role,), placed(nodes), steps, "/mnt", (), (), identities=identities or {}, files=files or {}
    )


CLIENT = Role("a", client=True)


def test_nodes_of_one_image_must_do_the_same():
    with pytest.raises(ValueError, match='step "s" is not the same on all a nodes'):
        images(composed(CLIENT, {"a1": Command(("echo", "x")), "a2": Command(("echo", "y"))}))


def test_a_name_and_an_address_of_its_own_are_found_out_when_it_runs():
    runs = {name: Command(("serve", f"mgr.{name}", f"{name}:7000", "a3")) for name in ("a1", "a2")}
    (image,) = images(composed(CLIENT, runs))
    assert not image.parameters
    (command,) = image.parts["s"].runs
    assert shell(command) == 'serve mgr."$HOSTNAME" "$HOSTNAME":7000 a3'
    (node, _) = composed(CLIENT, runs).nodes
    (command,) = images(composed(CLIENT, {"a1": Command(("join", node.address))}))[0].parts["s"].runs
    assert shell(command) == 'join "$(address a1)"'


def test_what_cannot_be_found_out_is_a_parameter_of_the_module():
    runs = {f"a{number}": Command(("osd", "--id", str(number - 1), "10")) for number in (1, 2)}
    identities = {f"a{number}": {"id": Identity(str(number - 1))} for number in (1, 2)}
    keys = {name: (File("/etc/x.key", f"secret of {name}", secret=True),) for name in runs}
    (image,) = images(composed(CLIENT, runs, identities, keys))
    assert image.parameters == {
        "a1": {"id": "0", "x_key": "secret of a1"},
        "a2": {"id": "1", "x_key": "secret of a2"},
    }
    (command,) = image.parts["s"].runs
    assert nix.expression(script(shell(command) + "\n")) == "''\n  osd --id ${id} 10\n''"


def test_addresses_in_files_are_not_known():
    node = placed((Node("a1", "a", 1, ""),))[0]
    files = {"a1": (File("/etc/x", f"listen {node.address}"),)}
    with pytest.raises(ValueError, match="/etc/x has addresses in it"):
        images(composed(CLIENT, {"a1": Command(("x",))}, files=files))


def test_marks_in_a_text_do_nothing_of_themselves():
    hostile = "\ue000a1\ue003 \ue002x\ue003 ${y}\n"
    assert nix.expression(nix.Lines(hostile)) == nix.string(hostile)


# The command


def export(*argv: str):
    return CliRunner().invoke(cli, ["export", "nixos-compose", *argv])


def test_a_directory_that_is_not_ours_is_refused_and_ours_is_the_same_again(tmp_path):
    study = tmp_path / "s.toml"
    study.write_text(GOOD)
    target = tmp_path / "out"
    assert export(str(study), "-o", str(target)).exit_code == 0
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert (target / "study.toml").read_text() == GOOD
    assert export(str(study), "-o", str(target)).exit_code == 0
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("")
    assert isinstance(export(str(study), "-o", str(other)).exception, UserError)
    assert sorted(path.name for path in other.iterdir()) == ["mine"]


@pytest.mark.parametrize(
    ("argv", "text", "said"),
    [
        (["--flavour", "vmm"], GOOD, '"vmm" is not a flavour; did you mean "vm"'),
        ([], (Path(__file__).parents[2] / "studies/sshfs.toml").read_text(), "custom cannot be exported"),
        (["--ratio", "3"], GOOD, "--ratio 3 is not one of the study's: 1, 2, 4"),
        (["--ratio", "2", "--flavour", "docker"], GOOD, "containers, which cannot carry others"),
        (
            ["--ratio", "2"],
            HEAD.format(kind="nfs", roles="server = 1\nclient = 2", options="", most=3),
            "nfs is the kernel's own (nfsd, nfs4)",
        ),
        (
            [],
            HEAD.format(
                kind="beegfs", roles="management = 1\nmetadata = 1\nstorage = 1\nclient = 1", options="", most=4
            ).replace('filesystem = "github', 'nxc = "github'),
            "nixpkgs has no beegfs: name a flake that has it",
        ),
    ],
)
def test_what_cannot_be_exported(tmp_path, argv, text, said):
    (tmp_path / "s.toml").write_text(text)
    result = export(str(tmp_path / "s.toml"), "-o", str(tmp_path / "out"), *argv)
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_who_exports_for_docker_is_warned(tmp_path):
    (tmp_path / "s.toml").write_text(GOOD)
    result = export(str(tmp_path / "s.toml"), "-o", str(tmp_path / "new" / "out"), "--flavour", "docker")
    assert result.exit_code == 0
    assert "no client can mount" in result.stderr
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["out"]


def test_what_others_left_in_a_project_is_kept(tmp_path):
    (tmp_path / "s.toml").write_text(GOOD)
    target = tmp_path / "out"
    assert export(str(tmp_path / "s.toml"), "-o", str(target)).exit_code == 0
    (target / "flake.lock").write_text("{}")
    (target / "roles/old.nix").write_text("{}")
    assert export(str(tmp_path / "s.toml"), "-o", str(target), "--ratio", "2").exit_code == 0
    assert (target / "flake.lock").read_text() == "{}"
    assert not (target / "roles/old.nix").exists()
    assert (target / "nodes.yaml").read_text() == "host: 4\n"


def test_the_study_names_what_it_is_built_with():
    text = GOOD + '[nixos_compose]\nnixpkgs = "github:NixOS/nixpkgs/23.11"\n'
    assert 'nixpkgs.url = "github:NixOS/nixpkgs/23.11";' in project(parse(text, "s.toml"), "vm")["flake.nix"]
    with pytest.raises(StudyError, match=r"nixos_compose\.nxc"):
        parse(GOOD + '[nixos_compose]\nnxc = "https://x/${y}"\n', "s.toml")


def test_a_place_that_cannot_be_is_told_in_a_sentence(tmp_path):
    (tmp_path / "s.toml").write_text(GOOD)
    result = export(str(tmp_path / "s.toml"), "-o", str(tmp_path / "s.toml" / "sub"))
    assert isinstance(result.exception, UserError)
    assert "cannot write the project" in str(result.exception)
    assert (tmp_path / "s.toml").read_text() == GOOD


# The project's own


OWN = """
let
  stubs = names: builtins.listToAttrs (map (name: { inherit name; value = name; }) names);
  python3Packages = stubs PYTHON // { buildPythonApplication = given: given // { outPath = "/p"; }; };
  pkgs = stubs NAMES // {
    inherit python3Packages;
    mkShell = given: given;
    python3.withPackages = choose: choose python3Packages;
    stdenv.hostPlatform.system = "x86_64-linux";
  };
  nixpkgs = {
    legacyPackages = { x86_64-linux = pkgs; aarch64-linux = pkgs; };
    lib.genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
  };
  flake = (import ROOT/flake.nix).outputs { self = flake // { outPath = "/source"; }; inherit nixpkgs; };
in
{
  shell = import ROOT/shell.nix { inherit pkgs; };
  program = flake.apps.x86_64-linux.pliant.program;
  package = removeAttrs flake.packages.x86_64-linux.default [ "outPath" ];
}
"""


def test_the_development_shell_and_the_flake(nix_instantiate):
    """Parsed, and evaluated with stubs: never built here."""
    root = Path(__file__).parents[2]
    nix_instantiate("--parse", str(root / "flake.nix"), str(root / "shell.nix"))
    names = PACKAGES | {"mpich", "ruff", "shellcheck", "tmux"}
    python = set(re.findall(r"packages\.([a-z0-9-]+)", (root / "shell.nix").read_text()))
    stub = OWN.replace("ROOT", str(root)).replace("PYTHON", nix_list(python)).replace("NAMES", nix_list(names))
    value = json.loads(nix_instantiate("--eval", "--strict", "--json", "-E", stub))
    assert_good_script(value["shell"]["shellHook"])
    about = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    package = value["package"]
    assert value["program"] == "/p/bin/pliant"
    assert package["version"] == about["version"]
    needed = {re.split("[<>=]", each)[0] for each in about["dependencies"]} - set(package["pythonRemoveDeps"])
    assert set(package["dependencies"]) == needed
    assert needed <= python
