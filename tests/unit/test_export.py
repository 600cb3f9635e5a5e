"""Projects of NixOS Compose, read and evaluated by Nix itself, with stubs and without a network."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from study_files import GOOD, edited

from pliant.cli import cli
from pliant.composition import Command, Composition, NixOS, Node, Role, Step
from pliant.errors import UserError
from pliant.export import nix
from pliant.export.nixos_compose import FLAVOURS, project
from pliant.export.units import services, shell
from pliant.study import parse

OPTIONS = json.loads((Path(__file__).parent / "data/nixos-options.json").read_text())
PACKAGES = ("glusterfs", "util-linux", "procps", "ior", "fio", "openmpi", "e2fsprogs")
"""Attributes of nixpkgs that a project may use."""
STUDIES = {
    "distribute": GOOD,
    "replicate": edited('volume = "distribute" => volume = "replicate 3"', "server = 4 => server = 3"),
    "one": edited("server = 4 => server = 1", "client = 4 => client = 1", "ratios = [1, 2, 4] => ratios = [1, 2]"),
}
EVALUATE = """
let
  lib = {
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    escapeShellArg = text: "'${text}'";
  };
  pkgs = builtins.listToAttrs (map (name: { inherit name; value = "pkgs.${name}"; }) PACKAGES);
  composition = import ./composition.nix {
    inherit lib pkgs;
    flavour.name = "FLAVOUR";
    setup.params = (builtins.fromTOML (builtins.readFile ./setup.toml)).params;
  };
  module = each: if builtins.isFunction each then each { inherit pkgs lib; config = { }; } else each;
  whole = role: let top = module role; in removeAttrs top [ "imports" ] // {
    imported = map module (top.imports or [ ]);
  };
in
composition // { roles = builtins.mapAttrs (name: whole) composition.roles; }
"""


@pytest.fixture(scope="module")
def nix_instantiate(tmp_path_factory):
    base = tmp_path_factory.mktemp("nix")
    own = {f"NIX_{name}_DIR": str(base / name.lower()) for name in ("STORE", "STATE", "LOG", "CONF")}

    def run(*argv: str, cwd: Path | None = None, text: str = "") -> str:
        done = subprocess.run(
            ["nix-instantiate", *argv],
            env=os.environ | own,
            cwd=cwd,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(params=[(name, flavour) for name in STUDIES for flavour in FLAVOURS], ids="-".join)
def written(request, tmp_path):
    name, flavour = request.param
    files = project(parse(STUDIES[name], "study.toml"), flavour)
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path, flavour


def leaves(value, at=""):
    """(Option, value) of a module, down to what nixos-options.json has as one option."""
    declared = re.sub(r"^(systemd\.services)\.[^.]+", r"\1.<name>", at)
    free = declared.endswith(("serviceConfig", "unitConfig"))
    if (
        isinstance(value, dict)
        and not free
        and not (declared in OPTIONS and "submodule" not in OPTIONS[declared]["type"])
    ):
        for key, each in value.items():
            yield from leaves(each, f"{at}.{key}" if at else key)
    else:
        yield declared, value


KINDS = {"boolean": bool, "strings concatenated": str, "string": str, "list of": list, "attribute set of": dict}


def right_kind(type_: str, value: object) -> bool:
    if "list of string) convertible" in type_:
        return isinstance(value, list)
    return isinstance(value, next(kind for start, kind in KINDS.items() if type_.startswith(start)))


def test_it_is_read_and_evaluated(written, nix_instantiate):
    directory, flavour = written
    for file in directory.rglob("*.nix"):
        nix_instantiate("--parse", str(file))
    packages = "[ " + " ".join(f'"{name}"' for name in PACKAGES) + " ]"
    expression = EVALUATE.replace("PACKAGES", packages).replace("FLAVOUR", flavour)
    (directory / "evaluate.nix").write_text(expression)
    value = json.loads(nix_instantiate("--eval", "--strict", "--json", "evaluate.nix", cwd=directory))
    counts = dict(line.split(": ") for line in (directory / "nodes.yaml").read_text().splitlines())
    assert value["rolesDistribution"] == {role: int(count) for role, count in counts.items()}
    assert set(value["roles"]) == set(counts)
    hosts = {f"{role}{number}" for role, count in counts.items() for number in range(1, int(count) + 1)}
    for role in value["roles"].values():
        parts = [*role.pop("imported"), role]
        for option, given_ in (leaf for part in parts for leaf in leaves(part)):
            assert option in OPTIONS, option
            assert "removed" not in OPTIONS[option].get("note", "")
            assert right_kind(OPTIONS[option]["type"], given_), (option, given_)
        units = {
            f"{name}.service": unit for part in parts for name, unit in part.get("systemd", {})["services"].items()
        }
        for unit in units.values():
            ordered = {*unit.get("after", []), *unit.get("requires", []), *unit.get("wants", [])}
            assert ordered <= {*units, "network-online.target"}
            assert set(unit.get("requires", [])) <= set(unit.get("after", []))
            assert {host.removeprefix("|") for host in unit.get("unitConfig", {}).get("ConditionHost", [])} <= hosts
            for script in ("script", "postStart", "preStop"):
                assert_good_script(unit.get(script, ""))
    script = ast.parse(value["testScript"])
    used = {n.id for n in ast.walk(script) if isinstance(n, ast.Name) and re.fullmatch(r"[a-z]+\d+", n.id)}
    assert used and used <= hosts


def assert_good_script(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    done = subprocess.run(["shellcheck", "--shell=bash", "-"], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


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


# Texts


PIECES = st.sampled_from(["$", "{", "${", "''", '"', "\\", "\n", " "])
TEXTS = st.lists(PIECES | st.characters(exclude_characters="\0", exclude_categories=("Cs",))).map("".join)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_nothing_ends_its_string(text):
    """Without Nix: no quote and no antiquotation but behind a backslash."""
    inside = nix.string(text)[1:-1]
    assert re.fullmatch(r'(?s)(?:\\.|(?!\$\{)[^"\\])*', inside)


HOSTILE = [
    '${builtins.abort "x"}',
    "''",
    "''${x}",
    "$${x}",
    "a'''b''",
    "\\${x}",
    '"; x = "',
    "a\n  b\n",
    "  a\nb\n",
    "a\n",
    "$\n{\n",
    "''\n",
    "a''${x}\n",
    "$${x}\n",
    "a'${x}\n",
    "a'\n",
    "''\\n\n",
    "a$''{x}\n",
    "\u00e9\t\r\n",
    "\n\n",
    "x\n \ny\n",
]


@given(st.lists(TEXTS, min_size=1, max_size=40))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nix_reads_any_text_as_it_was(nix_instantiate, texts):
    written = nix.expression([nix.Raw(nix.expression({"a": text, "b": nix.Lines(text + "\n")}, " ")) for text in texts])
    meant = [{"a": text, "b": text + "\n"} for text in texts]
    assert json.loads(nix_instantiate("--eval", "--strict", "--json", "-", text=written)) == meant


def test_nix_reads_what_was_meant(nix_instantiate):
    values = HOSTILE + ["".join(pair) for pair in itertools.pairwise(HOSTILE)]
    meant = [{"a": text, "b": text} for text in values]
    written = nix.expression([nix.Raw(nix.expression({"a": text, "b": nix.Lines(text)}, "  ")) for text in values])
    assert json.loads(nix_instantiate("--eval", "--strict", "--json", "-", text=written)) == meant
    names = {text.replace(".", ""): 1 for text in (*values, "or", "if", "a-b", "1a", "")}
    assert json.loads(nix_instantiate("--eval", "--strict", "--json", "-", text=nix.expression(names))) == names


def test_grep_finds_what_python_finds():
    pool = "UUID Hostname State\n1 server2 Connected \n2 localhost Connected \n"
    expect = parse(GOOD, "study.toml").composition.step("pool").ready["server1"].expect
    for printed in (pool, pool * 2, pool + pool.replace("2 localhost Connected", "2 localhost Disconnected"), ""):
        command = shell(Command(("printf", "%s", printed), expect=expect))
        done = subprocess.run(["bash", "-c", command], check=False)
        assert (done.returncode == 0) == (re.search(expect, printed) is not None)


# Services


def test_nodes_of_one_image_must_do_the_same():
    nodes = tuple(Node(f"a{number}", "a", number, "") for number in (1, 2))
    steps = (Step("s", {node.name: (Command(("echo", node.name)),) for node in nodes}),)
    composition = Composition("x", (Role("a", client=True),), nodes, steps, "/mnt", (), ())
    with pytest.raises(ValueError, match='step "s" is not the same on all a nodes'):
        services(composition, NixOS((), {}, {}), "a")


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
        ([], (Path(__file__).parents[2] / "studies/moosefs.toml").read_text(), "moosefs cannot be exported"),
    ],
)
def test_what_cannot_be_exported(tmp_path, argv, text, said):
    (tmp_path / "s.toml").write_text(text)
    result = export(str(tmp_path / "s.toml"), "-o", str(tmp_path / "out"), *argv)
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_is_told_in_a_sentence(tmp_path):
    (tmp_path / "s.toml").write_text(GOOD)
    result = export(str(tmp_path / "s.toml"), "-o", str(tmp_path / "s.toml" / "sub"))
    assert isinstance(result.exception, UserError)
    assert "cannot write the project" in str(result.exception)
    assert (tmp_path / "s.toml").read_text() == GOOD
