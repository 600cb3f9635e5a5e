"""What nxc deployed, and whether it is a study's cluster."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner
from runs import make_run, trials
from study_files import GOOD, edited

from pliant.analysis.conclusions import analyse
from pliant.campaign import standing
from pliant.campaign.description import document_of
from pliant.cli import cli
from pliant.composition.placement import nodes_for
from pliant.errors import UserError
from pliant.platforms.nxc import DeployedNode, read
from pliant.results.store import Store
from pliant.study.model import Study
from pliant.study.reading import parse

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


def deployed(tmp_path, text_of_study: str, table=FILE) -> Study:
    file = tmp_path / "deployment.json"
    file.write_text(text(table))
    return standing.on(parse(text_of_study, "study.toml"), file)


SMALL = edited("server = 4 => server = 2", "client = 4 => client = 1", "ratios = [1, 2, 4] => ratios = [1, 3]")


def test_a_study_on_what_nxc_deployed_is_unfolded_on_its_machines(tmp_path):
    study = deployed(tmp_path, SMALL)
    assert study.platform.hosts == ("10.0.0.2", "10.0.0.3", "10.0.0.1"), "in the order of the nodes"
    assert study.ratios == (1.0,)
    assert study.placements[1.0].hosts == (("server1",), ("server2",), ("client1",))
    assert study.platform.real and study.platform.host is None
    assert document_of(study)["platform"]["deployment"] == str(tmp_path / "deployment.json")


def test_what_was_deployed_anew_has_other_host_keys(tmp_path):
    study = deployed(tmp_path, SMALL)
    before = standing.known_hosts(study, tmp_path / "cache")
    assert standing.known_hosts(study, tmp_path / "cache") == before
    os.utime(study.deployment, (1, 1))
    assert standing.known_hosts(study, tmp_path / "cache") != before


FAULT = """
[[fault]]
what = "crash"
role = "server"
at = "1 s"
"""


def test_workloads_through_faults_are_left_out(tmp_path):
    plain = SMALL
    faulty = deployed(tmp_path, plain + FAULT)
    assert faulty.labels == deployed(tmp_path, plain).labels
    assert len(parse(plain + FAULT, "study.toml").workloads) == 2 * len(faulty.workloads)


def test_containers_of_docker_are_refused(tmp_path):
    docker = {about["host"]: {"role": about["role"]} for about in FILE.values()}
    with pytest.raises(UserError, match="server1 has no address: what nxc deployed as containers of docker"):
        deployed(tmp_path, SMALL, docker)


def test_a_folded_export_is_refused_with_what_to_do():
    with pytest.raises(UserError, match="whose containers are not looked into; export it without --ratio"):
        read(text({"10.0.0.1": {"role": "host", "host": "host1"}}), "d.json", NODES)


def test_a_study_of_several_file_systems_is_refused(tmp_path):
    second = '[[filesystem]]\nkind = "glusterfs"\nname = "other"\n[filesystem.roles]\nserver = 2\nclient = 2\n[fold]'
    both = edited("[filesystem] => [[filesystem]]").replace("[fold]", second, 1)
    with pytest.raises(UserError, match=r"has 2 file systems, and .* is of one"):
        deployed(tmp_path, both)


def test_a_run_at_one_ratio_says_that_it_says_nothing_of_folding(tmp_path):
    found = [each for each in trials() if each.ratio == 1]
    with Store.look(make_run(tmp_path / "run", found, hosts={1.0: 8})) as store:
        analysis = analyse(store).parts[0]
    assert analysis.headline == (
        "GlusterFS was measured at ratio 1 (8 hosts) alone, which says nothing of how far it folds."
    )
