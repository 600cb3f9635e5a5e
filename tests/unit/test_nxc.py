"""What nxc deployed, and whether it is a study's cluster."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from study_files import GOOD

from pliant.cli import cli
from pliant.composition.placement import nodes_for
from pliant.errors import UserError
from pliant.platforms.nxc import DeployedNode, read

NODES = nodes_for({"server": 2, "client": 1})
FILE = {
    "10.0.0.1": {"role": "client", "host": "client1", "ssh_key": "x"},
    "10.0.0.2": {"role": "server", "host": "server1"},
    "10.0.0.3": {"role": "server2", "host": "server2"},
}


def text(table) -> str:
    return json.dumps({"deployment": table, "all": "store"})


def test_nodes_are_found_in_the_studys_order():
    assert read(text(FILE), "d.json", NODES) == (
        DeployedNode("server1", "server", "10.0.0.2"),
        DeployedNode("server2", "server2", "10.0.0.3"),
        DeployedNode("client1", "client", "10.0.0.1"),
    )
    docker = {about["host"]: {"role": about["role"]} for about in FILE.values()}
    assert [node.address for node in read(text(docker), "d.json", NODES)] == [None] * 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "d.json is not JSON"),
        ("[]", 'd.json has no table "deployment"'),
        (text({}), 'd.json has no table "deployment"'),
        (text({"10.0.0.1": 3}), 'deployment."10.0.0.1" has no "role"'),
        (text({"10.0.0.1": {"role": 3}}), 'deployment."10.0.0.1" has no "role"'),
        (text({"x y": {"role": "client", "host": "client1"}}), 'deployment."x y" is not an address'),
        (text({"10.0.0.1": FILE["10.0.0.1"], "10.0.0.9": FILE["10.0.0.1"]}), "d.json has client1 twice"),
        (text({"10.0.0.1": FILE["10.0.0.1"]}), "d.json has no server[1-2]: it is no deployment of this study"),
        (text({"10.0.0.1": {"role": "host", "host": "host1"}}), "has no client1,server[1-2], but host1"),
        (text(FILE | {"10.0.0.4": {"role": "server", "host": "server3"}}), "has server3, which the study has not"),
        (text(FILE | {"10.0.0.1": {"role": "server", "host": "client1"}}), 'client1 has the role "server", and in'),
    ],
)
def test_what_is_no_deployment_of_the_study_is_refused(content, said):
    with pytest.raises(UserError) as refused:
        read(content, "d.json", NODES)
    assert said in str(refused.value)


def test_check_holds_a_deployment_against_the_study(tmp_path):
    (tmp_path / "s.toml").write_text(GOOD)
    table = {
        f"10.1.0.{n}": {"role": r, "host": f"{r}{n % 4 + 1}"} for n in range(8) for r in [("server", "client")[n // 4]]
    }
    (tmp_path / "d.json").write_text(text(table))
    argv = ["check", str(tmp_path / "s.toml"), "--deployment", str(tmp_path / "d.json")]
    done = CliRunner().invoke(cli, argv)
    assert (done.exit_code, done.output) == (0, f"{tmp_path}/d.json: 8 nodes of nxc are those of the study\n")
    (tmp_path / "d.json").write_text("{}")
    assert isinstance(CliRunner().invoke(cli, argv).exception, UserError)
    argv[-1] = str(tmp_path / "none.json")
    assert isinstance(CliRunner().invoke(cli, argv).exception, UserError)
