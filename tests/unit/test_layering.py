"""The design's rules on who may know whom, and on size, read from the source."""

from __future__ import annotations

import ast
import re
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
ROOMS = {
    # room: what it may import, of pliant; `root` are the words that all share, `facts` is `machine.facts`
    "root": "",
    "machine": "",
    "composition": "root",
    "workloads": "root",
    "filesystems": "root composition",
    "study": "root composition workloads",
    "telemetry": "root composition workloads",
    "statistics": "root composition workloads telemetry",
    "model": "root",
    "results": "root workloads",
    "analysis": "root composition workloads telemetry statistics model results",
    "export": "root composition study",
    "report": "root workloads telemetry statistics results analysis",
    "platforms": "root composition machine facts",
    "schedulers": "root platforms",
    "cluster": "root composition workloads platforms",
    "campaign": "root composition workloads study telemetry statistics results analysis platforms schedulers cluster"
    " facts",
    "notebook": "root telemetry statistics results analysis report",
    "driver": "root composition study platforms cluster campaign",
    "cli": "root composition workloads study telemetry statistics results analysis export report platforms cluster"
    " campaign driver facts",
}
"""Room -> the rooms that it may import. An arrow that is not here is a mistake, and so is an entry that nothing uses:
whoever adds one asks first whether what is wanted lies in the wrong room."""
PURE = ("composition", "filesystems", "study", "telemetry", "statistics", "model", "analysis", "export", "report")
TOUCHES = ("subprocess", "socket", "ctypes", "fcntl", "signal")
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


def room(name: str) -> str:
    """The room that a full name lies in; "" for what is not pliant's."""
    if name == "pliant.machine.facts" or name.startswith("pliant.machine.facts."):
        return "facts"
    first, *rest = name.split(".")
    if first != "pliant":
        return ""
    return rest[0] if rest and (PACKAGE / rest[0]).is_dir() else "root"


@cache
def arrows() -> dict[tuple[str, str], list[str]]:
    """(room, room that it imports) -> the modules that do so."""
    found: dict[tuple[str, str], list[str]] = {}
    for module in MODULES:
        own = "machine" if module == "pliant.machine.facts" else room(module)
        for name in imports(module):
            if (other := room(name)) not in ("", own) and (own, other) != ("machine", "facts"):
                found.setdefault((own, other), []).append(module)
    return found


def test_every_arrow_between_rooms_is_in_the_table():
    allowed = {(own, other) for own, others in ROOMS.items() for other in others.split()}
    assert {arrow: modules for arrow, modules in arrows().items() if arrow not in allowed} == {}


def test_every_entry_of_the_table_is_used():
    assert [
        (own, other) for own, others in ROOMS.items() for other in others.split() if (own, other) not in arrows()
    ] == []


def test_the_documentation_has_the_same_table():
    page = (PACKAGE.parents[1] / "docs/architecture.md").read_text()
    table = page.partition("<!-- rooms -->\n")[2].partition("<!-- /rooms -->")[0]
    rows = "".join(f"| {own} | {', '.join(others.split()) or '-'} |\n" for own, others in ROOMS.items())
    assert table == f"| room | may import |\n| --- | --- |\n{rows}"


def test_the_documentation_names_what_there_is():
    root = PACKAGE.parents[1]
    page = (root / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)`", page))
    assert len(named) > 20
    assert {name for name in named if not ((PACKAGE / name).is_file() or (root / name).is_file())} == set()


def test_every_room_is_in_the_table_and_has_a_door():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms | {"root"} == set(ROOMS)
    for name in rooms:
        said = ast.get_docstring(tree(f"pliant.{name}"))
        assert said and len(said.splitlines()) <= 8, name


def test_rooms_are_in_an_order_in_which_nothing_looks_back():
    before: set[str] = {"facts"}
    for own, others in ROOMS.items():
        assert set(others.split()) <= before, own
        before.add(own)


def test_no_modules_import_each_other_in_a_circle():
    known = {
        module: {n for name in imports(module) for n in (name, name.rpartition(".")[0]) if n in MODULES}
        for module in MODULES
    }
    seen: dict[str, bool] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in seen:
            for other in sorted(known[module] - {module}):
                if MODULES[other].name != "__init__.py":  # a door names what is behind it
                    visit(other, (*path, module))
            seen[module] = True

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", modules_of(*PURE))
def test_what_is_pure_touches_no_machine(module):
    assert [name for name in sorted(imports(module)) if within(name, *TOUCHES)] == []


@pytest.mark.parametrize("module", modules_of("machine"))
def test_the_machine_layer_can_travel_alone(module):
    for name in imports(module):
        assert within(name, "pliant.machine") or name.split(".")[0] in sys.stdlib_module_names, name
    absolute = [node for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom) and not node.level]
    assert [node.module for node in absolute if within(node.module or "", "pliant")] == []


@pytest.mark.parametrize(
    "module",
    [
        "pliant.machine.program",
        "pliant.machine.far",
        "pliant.machine.diskshare",
        "pliant.machine.metronome",
        "pliant.machine.sampler",
        "pliant.machine.calibrate",
        "pliant.machine.conforming",
        "pliant.machine.witness",
    ],
)
def test_programs_that_are_run_by_their_path_import_nothing_of_pliant(module):
    assert [name for name in imports(module) if within(name, "pliant")] == []


@pytest.mark.parametrize("module", modules_of("workloads.kernels"))
def test_kernels_know_nothing_of_the_rest(module):
    others = [name for name in imports(module) if within(name, "pliant")]
    assert [name for name in others if not within(name, "pliant.workloads")] == []


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
        "pliant.machine.program",
        "pliant.machine.diskshare",
        "pliant.machine.metronome",
        "pliant.machine.sampler",
        "pliant.machine.calibrate",
        "pliant.machine.conforming",
        "pliant.machine.far",
        "pliant.machine.witness",
        *modules_of("workloads.kernels"),
    }
    assert ending - programs == {"pliant.cli"}
