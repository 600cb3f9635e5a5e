"""File systems that a study describes itself, and drivers that a package brings: templates, refusals, entry points."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
from study_files import GOOD

from pliant.composition.model import Composition
from pliant.composition.placement import nodes_for
from pliant.filesystems.custom import Custom, CustomOptions
from pliant.study.problems import StudyError
from pliant.study.reading import parse

ROOT = Path(__file__).parents[2]
SSHFS = (ROOT / "studies/sshfs.toml").read_text()
SECRET = {"kind": "token", "secret": True}


def options(**changes: Any) -> CustomOptions:
    """The smallest custom file system, with changes."""
    table: dict[str, Any] = {
        "role": {"server": {}, "client": {"client": True}},
        "step": [{"name": "serve", "on": "server", "daemon": "serve {{ node.address }}"}],
    }
    return CustomOptions.model_validate_json(json.dumps(table | changes), strict=True)


def compose(servers: int = 2, clients: int = 2, seed: int = 1, **changes: Any) -> Composition:
    return Custom.compose(nodes_for({"server": servers, "client": clients}), options(**changes), seed)


def scripts(composition: Composition, step: str, node: str) -> list[str]:
    commands = composition.step(step).runs[node]
    assert all(command.argv[:2] == ("sh", "-c") for command in commands)
    return [command.argv[2] for command in commands]


# What templates know


def test_a_template_knows_its_node_all_others_and_the_studys_parameters():
    text = (
        "{{ node.name }} {{ node.role }} {{ node.index }} {{ node.address }} {{ mount }} {{ parameters.size }} "
        "{{ peers.client | map(attribute='name') | join(',') }} {{ nodes | length }} {{ peers.server[0].address }}"
    )
    step = {"name": "s", "on": ["client", "server"], "run": [text], "once": True}
    composition = compose(step=[step], parameters={"size": 3}, mount="/mnt/x")
    assert scripts(composition, "s", "client2") == ["client2 client 2 10.77.1.4 /mnt/x 3 client1,client2 4 10.77.1.1"]
    assert list(composition.step("s").runs) == ["client1", "client2", "server1", "server2"]


def test_a_step_may_be_for_the_first_node_alone():
    step = {"name": "s", "on": "server", "first": True, "run": ["make"], "ready": "made", "expect": "^yes"}
    composition = compose(servers=3, step=[step])
    assert list(composition.step("s").runs) == list(composition.step("s").ready) == ["server1"]
    assert composition.step("s").ready["server1"].expect == "^yes"


def test_identities_are_each_nodes_own_or_shared():
    identity = {"id": {}, "cluster": {"shared": True}, "key": SECRET}
    composition = compose(identity=identity)
    known = {node: {name: i.value for name, i in named.items()} for node, named in composition.identities.items()}
    assert len({named["id"] for named in known.values()}) == 4
    assert len({named["cluster"] for named in known.values()}) == 1
    assert len({named["key"] for named in known.values()}) == 4
    assert compose(identity=identity) == composition
    assert compose(identity=identity, seed=2).identities != composition.identities


def test_secrets_are_known_in_secret_files_alone():
    files = [{"on": "client", "path": "/k", "secret": True, "content": "{{ peers.server[0].identities.key }}\n"}]
    composition = compose(identity={"key": SECRET}, file=files)
    [file] = composition.files["client1"]
    assert file.content == composition.identities["server1"]["key"].value + "\n"
    assert (file.mode, file.secret) == (0o600, True)
    assert composition.files["server1"] == ()
    for leak in (
        {"file": [{"on": "client", "path": "/k", "content": "{{ node.identities.key }}"}]},
        {"step": [{"name": "s", "on": "server", "run": ["login {{ node.identities.key }}"]}]},
        {"health": {"server": "login {{ node.identities.key }}"}},
    ):
        with pytest.raises(ValueError, match="a secret identity is known in files with secret = true only"):
            compose(identity={"key": SECRET}, **leak)


def test_results_do_not_have_what_secret_files_hold():
    file = {"on": "client", "path": "/k", "content": "hush"}
    assert "hush" in str(options(file=[file]).model_dump(mode="json"))
    assert "hush" not in str(options(file=[file | {"secret": True}]).model_dump(mode="json"))


def test_files_have_mode_and_owner():
    files = [{"on": ["server"], "path": "/etc/{{ node.name }}", "content": "x\n", "mode": "755", "owner": "daemon:sys"}]
    [file] = compose(file=files).files["server2"]
    assert (file.path, file.content, file.mode, file.owner) == ("/etc/server2", "x\n", 0o755, "daemon:sys")


def test_a_role_may_say_how_many_of_its_nodes_may_be_away():
    assert compose().spare == {}
    roles = {"server": {"spare": 1}, "client": {"client": True}}
    assert compose(role=roles).spare == {"server": 1}


def test_health_unmount_and_clean_are_for_every_node_of_a_role():
    composition = compose(
        health={"server": "ask {{ node.name }}", "client": "stat"},
        unmount={"client": "umount {{ mount }}"},
        clean={"server": "freed"},
    )
    assert composition.health["server2"].argv == ("sh", "-c", "ask server2")
    assert list(composition.health) == ["server1", "server2", "client1", "client2"]
    assert {node: [c.argv[2] for c in commands] for node, commands in composition.unmount.items()} == {
        "client1": ["umount /mnt/dfs"],
        "client2": ["umount /mnt/dfs"],
    }
    assert list(composition.clean) == ["server1", "server2"]


# Refusals


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"step": [{"name": "s", "on": "server", "run": ["{{ nothing }}"]}]},
            'step "s": its template cannot be filled',
        ),
        ({"step": [{"name": "s", "on": "server", "run": ["{{ node.nothing }}"]}]}, "has no attribute 'nothing'"),
        ({"step": [{"name": "s", "on": "server", "run": ["{{ peers.other }}"]}]}, "has no attribute 'other'"),
        ({"step": [{"name": "s", "on": "server", "run": ["{{ peers.server[9].name }}"]}]}, 'step "s"'),
        ({"step": [{"name": "s", "on": "server", "run": ["{% if %}"]}]}, 'step "s"'),
        ({"step": [{"name": "s", "on": "server", "run": ["{{ ''.__class__.mro() }}"]}]}, "unsafe"),
        ({"step": [{"name": "s", "on": "server", "run": ["{{ 1 / 0 }}"]}]}, "division by zero"),
        (
            {"step": [{"name": "s", "on": "server", "run": ["{% for i in range(999999999) %}x{% endfor %}"]}]},
            "Range too",
        ),
        (
            {"step": [{"name": "s", "on": "severs", "run": ["x"]}]},
            'step "s" is for the role "severs", which is none of',
        ),
        ({"file": [{"on": "x", "path": "/f", "content": ""}]}, 'file /f is for the role "x", which is none of'),
        ({"health": {"x": "y"}}, 'health is for the role "x"'),
        ({"step": [{"name": "s", "on": "server"}]}, 'step "s" has neither; write either run or daemon'),
        ({"step": [{"name": "s", "on": "server", "run": ["a"], "daemon": "b"}]}, 'step "s" has both; write either'),
        (
            {"step": [{"name": "s", "on": "server", "run": ["a"], "expect": "b"}]},
            'step "s" expects something of nothing',
        ),
        ({"step": [{"name": "s", "on": "server", "run": ["a"], "after": ["t"]}]}, 'step "s" comes after "t", which is'),
        ({"step": [{"name": "s", "on": "server", "run": ["a"]}] * 2}, "2 steps have 1 names"),
        ({"file": [{"on": "server", "path": "/../f", "content": ""}]}, '"/../f" is not an absolute path'),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes, sentence):
    with pytest.raises(ValueError) as refused:
        compose(**changes)
    assert sentence in str(refused.value)


CUSTOM = GOOD.replace('kind = "glusterfs"', 'kind = "custom"').replace(
    '[filesystem.options]\nvolume = "distribute"', "[filesystem.options]\n{}"
)
ROLES = "[filesystem.options.role.server]\n[filesystem.options.role.client]\nclient = true\n"
STEP = '[[filesystem.options.step]]\nname = "s"\non = "server"\nrun = ["true"]\n'


@pytest.mark.parametrize(
    ("tables", "lines"),
    [
        ("", ["filesystem.options.role: is missing", "filesystem.options.step: is missing"]),
        (ROLES.replace("client = true\n", "") + STEP, ["filesystem.options.role: no role mounts the file system"]),
        (ROLES + STEP.replace('on = "server"', "on = 3"), ["filesystem.options.step[1].on"]),
        (ROLES + STEP + 'tiemout = "3 s"\n', ["filesystem.options.step[1].tiemout: ", '"timeout"']),
        (ROLES + STEP + "timeout = 3\n", ["filesystem.options.step[1].timeout: 3 has no unit"]),
        (ROLES + STEP.replace('["true"]', '"true"'), ["filesystem.options.step[1].run: "]),
        (ROLES.replace(".server]", '.server]\ndisk = "data"') + STEP, ["filesystem.options.role.server.disk: "]),
        (ROLES.replace("role.server", "role.Server") + STEP, ["filesystem.options.role"]),
        (
            ROLES.replace("]\nclient = true", "]\nclient = true\nmaximum = 2") + STEP,
            ["filesystem.roles.client: 4 is too large"],
        ),
        (ROLES + STEP + 'after = ["t"]\n', ['filesystem.options: step "s" comes after "t", which is not a step']),
        (
            ROLES + STEP.replace("true", "{{ x }}"),
            ['filesystem.options: step "s": its template cannot be filled in for server1'],
        ),
    ],
)
def test_a_study_with_a_mistake_in_it_says_where(tables, lines):
    with pytest.raises(StudyError) as refused:
        parse(CUSTOM.format(tables), "a.toml")
    said = str(refused.value)
    assert all(line in said for line in lines), said


def test_the_worked_example_is_the_one_of_the_documentation():
    documented = (ROOT / "docs/file-systems.md").read_text()
    example = SSHFS[SSHFS.index("[filesystem]") : SSHFS.index("[fold]")].strip()
    assert example in documented
    [one] = parse(SSHFS, "sshfs.toml").filesystems
    assert (one.label, one.table.kind) == ("sshfs", "custom")


# A package's own


def blocks(page: str, language: str) -> list[str]:
    """The code of a page of the documentation."""
    return [each.split("```")[0] for each in page.split(f"```{language}\n")[1:]]


def test_a_package_brings_a_driver_as_the_documentation_says(tmp_path):
    page = (ROOT / "docs/file-systems.md").read_text()
    [driver] = [text for text in blocks(page, "python") if "class Exported" in text]
    [metadata] = [text for text in blocks(page, "toml") if '[project.entry-points."pliant.filesystems"]' in text]
    # What pip makes of the package: its module, and metadata beside it.
    project = tomllib.loads(metadata)["project"]
    here = tmp_path / "installed"
    info = here / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (here / "pliant_exported.py").write_text(driver)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]["pliant.filesystems"].items()
    lines = ["[pliant.filesystems]", *(f"{name} = {value}" for name, value in points), ""]
    (info / "entry_points.txt").write_text("\n".join(lines))
    study = GOOD.replace('kind = "glusterfs"', 'kind = "exported"').replace('volume = "distribute"', "port = 5555")
    (tmp_path / "a.toml").write_text(study.replace("server = 4\nclient = 4", "server = 1\nclient = 4"))
    code = """
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from pliant.study import registry
        from pliant.study.reading import load
        assert "exported" in registry.filesystem_names() and "glusterfs" in registry.filesystem_names()
        composition = load(Path(sys.argv[2])).composition
        print(composition.step("serve").runs["server1"][0].argv[1])
        print(composition.filesystem, *composition.step("mount").runs)
    """
    shown = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(code), str(here), str(tmp_path / "a.toml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "5555" in shown.stdout
    assert "exported client1 client2 client3 client4" in shown.stdout
