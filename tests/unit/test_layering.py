"""The design's rules on who may know whom, and on size, read from the source."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import pliant

PACKAGE = Path(pliant.__file__).parent
MODULES = {
    ".".join(("pliant", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
PURE = (
    "units",
    "study",
    "tables",
    "problems",
    "placement",
    "nodeset",
    "verdict",
    "savings",
    "comparison",
    "telemetry",
    "search",
    "composition",
    "identity",
    "filesystems",
    "workloads",
    "trial",
    "catalogue",
    "templates",
    "proportions",
    "faults",
    "export",
    "stalls",
    "levels",
    "boundary",
    "sequential",
    "adaptive",
    "bound",
    "saved",
    "censoring",
    "patience",
    "estimate",
)
TOUCHES = (
    "subprocess",
    "socket",
    "ctypes",
    "fcntl",
    "signal",
    "pliant.machine",
    "pliant.cluster.cluster",
    "pliant.campaign.engine",
)
TOUCHES += ("pliant.platforms", "pliant.cluster.steps", "pliant.cluster.mpi", "pliant.results.store")
MOST_LINES = 600
MOST_LINES_OF_A_FUNCTION = 60


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(), str(MODULES[module]))


def imports(module: str) -> set[str]:
    """Full names of all that a module imports, wherever in it, types included."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (above, node.module)))
            found.update(f"{source}.{alias.name}" for alias in node.names)
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def modules_of(*packages: str) -> list[str]:
    return [module for module in MODULES if within(module, *(f"pliant.{package}" for package in packages))]


def test_imports_are_read_right(monkeypatch, tmp_path):
    source = (
        "import a.b\nfrom . import c\nfrom .d import e\nfrom .. import f\nfrom ..g.h import i\ndef x():\n  import j\n"
    )
    for name in ("m", "__init__"):
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setitem(MODULES, "p.q.m", tmp_path / "m.py")
    monkeypatch.setitem(MODULES, "p.q", tmp_path / "__init__.py")
    assert imports("p.q.m") == imports("p.q") == {"a.b", "p.q.c", "p.q.d.e", "p.f", "p.g.h.i", "j"}


@pytest.mark.parametrize("module", [m for m in modules_of(*PURE) if not within(m, "pliant.workloads.kernels")])
def test_what_is_pure_touches_no_machine(module):
    assert [name for name in sorted(imports(module)) if within(name, *TOUCHES)] == []


def test_there_is_something_to_look_at():
    assert len(modules_of(*PURE)) > 15
    assert all(modules_of(name) for name in PURE)
    assert len(modules_of("machine")) > 8


@pytest.mark.parametrize("module", modules_of("machine"))
def test_the_machine_layer_can_travel_alone(module):
    for name in imports(module):
        assert within(name, "pliant.machine") or name.split(".")[0] in sys.stdlib_module_names, name
    absolute = [node for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom) and not node.level]
    assert [node.module for node in absolute if within(node.module or "", "pliant")] == []


@pytest.mark.parametrize(
    "module",
    [
        "pliant.machine.launch",
        "pliant.machine.diskshare",
        "pliant.machine.metronome",
        "pliant.machine.sampler",
        "pliant.machine.calibrate",
        "pliant.machine.witness",
    ],
)
def test_programs_that_are_run_by_their_path_import_nothing_of_pliant(module):
    assert [name for name in imports(module) if within(name, "pliant")] == []


@pytest.mark.parametrize("module", modules_of("workloads.kernels"))
def test_kernels_know_nothing_of_the_rest(module):
    others = [name for name in imports(module) if within(name, "pliant")]
    assert [name for name in others if not within(name, "pliant.workloads")] == []


@pytest.mark.parametrize("module", modules_of("report", "model", "export", "store"))
def test_what_comes_after_the_trials_touches_no_machine(module):
    touches = (
        "subprocess",
        "pliant.machine",
        "pliant.cluster.cluster",
        "pliant.campaign.engine",
        "pliant.platforms",
        "pliant.cluster.steps",
    )
    assert [name for name in sorted(imports(module)) if within(name, *touches)] == []


@pytest.mark.parametrize("module", MODULES)
def test_nothing_goes_through_a_shell(module):
    found = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.keyword) and node.arg == "shell":
            found.append(f"line {node.value.lineno}: shell=")
        elif isinstance(node, ast.Attribute) and node.attr in ("system", "popen", "getoutput", "getstatusoutput"):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            found += [f"line {node.lineno}: {owner}.{node.attr}"] if owner in ("os", "subprocess", "commands") else []
    assert found == []


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_stay_small(module):
    lines = MODULES[module].read_text().count("\n")
    found = [f"{module}: {lines} lines"] if lines > MOST_LINES else []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_LINES_OF_A_FUNCTION:
                found.append(f"{module}.{node.name}: {length} lines")
    assert found == []


@pytest.mark.parametrize("module", MODULES)
def test_no_error_is_swallowed(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ExceptHandler):
            bare = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            silent = all(isinstance(each, ast.Pass | ast.Continue) for each in node.body)
            assert not (bare and silent), f"line {node.lineno}"


def test_only_the_command_line_ends_the_process():
    ending = {
        module
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr == "exit" and getattr(node.value, "id", "") == "sys"
    }
    programs = {
        "pliant.machine.launch",
        "pliant.machine.diskshare",
        "pliant.machine.metronome",
        "pliant.machine.sampler",
        "pliant.machine.calibrate",
        "pliant.machine.witness",
        *modules_of("workloads.kernels"),
    }
    assert ending - programs == {"pliant.cli"}
