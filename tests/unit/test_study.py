"""Good study files, what follows from them, and that their reference is complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from study_files import BROKER, EXPLICIT, GOOD, Broker, edited

from pliant.errors import UserError
from pliant.power_model import DEFAULT_BUSY_W, DEFAULT_IDLE_W
from pliant.study import registry
from pliant.study.model import Study
from pliant.study.platform_table import PlatformTable
from pliant.study.problems import StudyError
from pliant.study.reading import load, parse
from pliant.study.tables import FilesystemTable, FoldTable, HostTable, MpiTable, PowerTable, StudyTable

ROOT = Path(__file__).parents[2]


def study(*edits: str, text: str = GOOD) -> Study:
    return parse(edited(*edits, text=text), "a.toml")


def test_what_a_study_offers():
    small = study()
    assert small.name == "small"
    assert (small.about.repetitions, small.about.seed, small.about.trial_timeout) == (2, 7, 600.0)
    host = small.platform.host
    assert (host.cores, host.nic, host.disk, host.memory) == (0.2, 200e6, 60e6, 2**30)
    assert host.disk_size == 4 * 2**30
    assert small.ratios == (1.0, 2.0, 4.0)
    assert small.fold.max_loss == 0.1
    assert small.labels == ("ior", "mdtest")
    assert small.total_trials == 2 * 3 * 2
    assert [node.name for node in small.nodes][::4] == ["server1", "client1"]
    assert {ratio: len(placement.hosts) for ratio, placement in small.placements.items()} == {1: 8, 2: 4, 4: 2}
    assert small.composition.filesystem == "glusterfs"
    assert small.text == GOOD
    with pytest.raises(KeyError):
        small.workload("fio")
    label, driver, options, *_ = small.workload("ior")
    assert (label, driver.name) == ("ior", "ior")
    assert options.model_dump()["block"] == 8 * 2**20


def test_defaults():
    small = study("repetitions = 2 =>", "seed = 7 =>", 'strategy = "spread" =>', 'max_loss = "10 %" =>')
    about = small.about
    assert (about.search, about.repetitions, about.most, about.fixed, about.seed) == ("adaptive", None, 25, 3, 1)
    assert (about.budget, about.budget_s, about.budget_trials) == (None, None, None)
    assert (small.fold.strategy, small.fold.max_loss, small.fold.zone) == ("spread", 0.1, 0.05)
    assert (small.power.idle, small.power.busy, small.mpi.mpiexec) == (None, None, None)
    assert (small.power_model.idle_w, small.power_model.busy_w) == (DEFAULT_IDLE_W, DEFAULT_BUSY_W)


def test_roles_may_be_folded_alone_to_every_number_of_hosts():
    clients = study('[1, 2, 4] => "all" \\n roles = ["client"]')
    assert clients.ratios == (1, 4 / 3, 2, 4)
    assert [len(each.hosts) for each in clients.placements.values()] == [8, 7, 6, 5]
    assert clients.placements[4].hosts[4:] == (("client1", "client2", "client3", "client4"),)
    assert all(
        each.hosts[:4] == (("server1",), ("server2",), ("server3",), ("server4",))
        for each in (clients.placements[ratio] for ratio in clients.ratios)
    )
    assert [len(each.hosts) for each in study('[1, 2, 4] => "all"').placements.values()] == [8, 7, 6, 5, 4, 3, 2, 1]
    above = study('[1, 2, 4] => "all" \\n baseline = 2')
    assert above.ratios == (2, 8 / 3, 4, 8)


def test_ranks_of_folded_clients_run_on_the_first_of_each_host():
    ranks = study('[1, 2, 4] => "all" \\n roles = ["client"] \\n of = "ranks"')
    nodes = study('[1, 2, 4] => "all" \\n roles = ["client"]')
    assert ranks.placements == nodes.placements
    assert [ranks.ranks(ratio, 3) for ratio in ranks.ratios] == [
        {"client1": 3, "client2": 3, "client3": 3, "client4": 3},
        {"client1": 6, "client2": 3, "client3": 3},
        {"client1": 6, "client2": 6},
        {"client1": 12},
    ]
    assert {tuple(nodes.ranks(ratio, 3).values()) for ratio in nodes.ratios} == {(3, 3, 3, 3)}


def test_how_trials_are_chosen():
    grid = study("repetitions = 2 => search = 'grid'").about
    assert (grid.adaptive, grid.most, grid.fixed, grid.budget) == (False, 3, 3, None)
    grid = study("repetitions = 2 => search = 'grid' \\n repetitions = 7 \\n budget = 30").about
    assert (grid.most, grid.fixed, grid.budget_trials, grid.budget_s) == (7, 7, 30, None)
    searched = study("repetitions = 2 => budget = '1h30'").about
    assert (searched.adaptive, searched.budget_trials, searched.budget_s) == (True, None, 5400.0)
    assert study("repetitions = 2 => budget = '1h30'").total_trials == 2 * 3 * 25
    assert study("repetitions = 2 => budget = 9").total_trials == 9


def test_the_zone_around_the_tolerated_loss():
    assert study('max_loss = "10 %" => max_loss = "4 %"').fold.zone == 0.02
    assert study('max_loss = "10 %" => max_loss = "30 %"').fold.zone == 0.05
    assert study('max_loss = "10 %" => indifference = "0 %"').fold.zone == 0


def test_power_and_mpi():
    tables = '[power] \\n idle = "40 W" \\n [mpi] \\n mpiexec = "/opt/bin/mpiexec" \\n [fold]'
    small = study(f"[fold] => {tables}")
    assert (small.power_model.idle_w, small.power_model.busy_w) == (40.0, DEFAULT_BUSY_W)
    assert small.mpi.mpiexec == "/opt/bin/mpiexec"


LIKE = 'cores = 0.2 \\n nic = "200 Mbit/s" \\n disk = "60 MB/s" \\n memory = "1 GiB" => like = "grid5000/{}" {}'


def like(name: str, rest: str = "", *edits: str) -> Study:
    return study(LIKE.format(name, rest), *edits)


def test_a_host_like_that_of_a_real_cluster():
    host = like("chifflot").platform.host
    assert (host.cores, host.nic, host.memory, host.wanted_scale) == (24.0, 25e9, None, "auto")
    assert host.cluster and host.disk == host.cluster.disk_byte_s
    host = like("chifflot", '\\n nic = "10 Gbit/s" \\n scale = 240 \\n memory = "2 GiB"').platform.host
    assert (host.cores, host.nic, host.memory, host.wanted_scale) == (24.0, 10e9, 2**31, 240.0)
    assert study("cores = 0.2 => cores = 16 \\n scale = 50").platform.host.wanted_scale == 50.0
    assert study().platform.host.wanted_scale == 1.0


def test_the_watts_of_a_real_cluster():
    taurus = like("taurus", '\\n disk = "150 MB/s"')
    assert (taurus.power_model.idle_w, taurus.power_model.busy_w) == (95.0, 190.738)
    assert taurus.power_model.source.startswith("grid5000/taurus in the catalogue: Batsim")
    own = like("taurus", '\\n disk = "150 MB/s"', '[fold] => [power] \\n idle = "40 W" \\n [fold]')
    assert (own.power_model.idle_w, own.power_model.busy_w) == (40.0, 190.738)
    assert own.power_model.source == "the study file"
    unknown = like("econome", '\\n disk = "150 MB/s"').power_model
    assert (unknown.idle_w, unknown.busy_w) == (DEFAULT_IDLE_W, DEFAULT_BUSY_W)
    assert unknown.source.startswith("the default, a node of") and "has none of grid5000/econome" in unknown.source


def test_ratios_are_sorted_and_need_not_be_whole():
    assert study("[1, 2, 4] => [4, 1, 2.5]").ratios == (1.0, 2.5, 4.0)
    assert len(study("[1, 2, 4] => [1, 2.6666666666666665]").placements[8 / 3].hosts) == 3


def test_the_order_of_lines_changes_no_placement():
    assert study("server = 4 \\n client = 4 => client = 4 \\n server = 4").placements == study().placements


def test_an_explicit_placement_is_read_with_node_sets():
    explicit = parse(EXPLICIT, "a.toml")
    assert explicit.placements[1].hosts == study().placements[1].hosts
    assert explicit.placements[2].hosts[1] == ("server3", "server4")
    assert explicit.placements[4].hosts[1] == ("client1", "client2", "client3", "client4")


def test_workloads_of_one_kind_with_names():
    two = study('kind = "mdtest" \\n files_per_rank = 20 => kind = "ior" \\n name = "big"')
    assert two.labels == ("ior", "big")


def test_uneven_counts_and_segregation():
    uneven = study("server = 4 => server = 3", "client = 4 => client = 5", '"spread" => "segregate"', "4] => 3]")
    assert [len(uneven.placements[ratio].hosts) for ratio in (1, 2, 3)] == [8, 4, 3]
    for names in uneven.placements[3].hosts:
        assert len({name.rstrip("12345") for name in names}) == 1


def test_another_driver_with_an_optional_role(monkeypatch):
    monkeypatch.setattr(registry, "filesystem", lambda name: Broker)
    nodes = study(text=BROKER).nodes
    assert [node.role for node in nodes] == ["broker", "store", "store", "store", *["client"] * 4]


@pytest.mark.parametrize("volume", ["distribute", "replicate 2", "disperse 3+1"])
def test_glusterfs_volumes(volume):
    assert study(f'volume = "distribute" => volume = "{volume}"').options.model_dump()["volume"] == volume


@pytest.mark.parametrize("path", sorted(ROOT.glob("studies/**/*.toml")), ids=lambda path: path.stem)
def test_the_studies_that_come_with_pliant_are_good(path):
    assert load(path).total_trials > 0


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "a.toml").write_text(GOOD, encoding="utf-8-sig")
    assert load(tmp_path / "a.toml").name == "small"


def test_a_study_is_read_without_numpy():
    heavy = "('numpy', 'scipy', 'matplotlib', 'mpi4py')"
    code = f"import sys, pliant.study.reading; sys.exit(any(m in sys.modules for m in {heavy}))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_registry_names_what_there_is():
    assert "glusterfs" in registry.filesystem_names()
    assert {"ior", "mdtest"} <= set(registry.workload_names())
    assert registry.workload("ior").program == "ior"


class Point:
    """An entry point that ends in `result`, or fails with it."""

    name, value, dist = "odd", "odd:Odd", None

    def __init__(self, result):
        self.result = result

    def load(self):
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "no workload is registered; install pliant with pip"),
        (
            [Point(ImportError("no module\nnamed x"))],
            "(odd:Odd) cannot be loaded: ImportError: no module named x; ",
        ),
        ([Point(object)], '"odd" (odd:Odd) has no Options, metrics, phases, parse; repair or remove'),
    ],
)
def test_a_driver_that_cannot_be_used(points, message, monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.raises(UserError, match=re.escape(message)):
        registry.workload("odd")


REFERENCE = (ROOT / "docs/study-file.md").read_text()


def models():
    own = [
        ("[study]", StudyTable),
        ("[platform]", PlatformTable),
        ("[platform.host]", HostTable),
        ("[filesystem]", FilesystemTable),
        ("[fold]", FoldTable),
        ("[power]", PowerTable),
        ("[mpi]", MpiTable),
    ]
    drivers = [("glusterfs", registry.filesystem("glusterfs").Options)]
    drivers += [(name, registry.workload(name).Options) for name in ("ior", "mdtest")]
    return [pytest.param(heading, model, id=heading) for heading, model in own + drivers]


@pytest.mark.parametrize(("heading", "model"), models())
def test_the_reference_has_every_key_of_every_table_and_no_other(heading, model):
    section = re.split(r"(?m)^##+ ", REFERENCE)
    (text,) = [part for part in section if f"`{heading}`" in part.partition("\n")[0]]
    rows = re.findall(r"(?m)^\| ((?:`[a-z_]+`(?:, )?)+) \|", text)
    documented = [key for row in rows for key in re.findall("`([a-z_]+)`", row)]
    assert sorted(documented) == sorted(model.model_fields)


def test_the_example_in_the_reference_is_good():
    example = re.search(r"(?s)```toml\n(.*?)```", REFERENCE)
    assert example and parse(example[1], "docs/study-file.md")


# Files beside the study file


def test_a_job_files_text_becomes_part_of_the_study(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/a.fio").write_text("[a]\nrw=read\nsize=1m\n")
    (tmp_path / "a.toml").write_text(GOOD + '[[workload]]\nkind = "fio"\njob_file = "jobs/a.fio"\n')
    options = load(tmp_path / "a.toml").workload("fio").options
    assert options.model_dump()["jobs"] == "[a]\nrw=read\nsize=1m\n"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("none.fio", 'there is no file "none.fio" beside the study file'),
        ("jobs", '"jobs" is a directory'),
        ("latin.fio", "line 1 is not UTF-8"),
        ("empty.fio", ""),
    ],
)
def test_a_job_file_that_cannot_be_read(tmp_path, name, part):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "latin.fio").write_bytes(b"\xe9\n")
    (tmp_path / "empty.fio").write_text("")
    (tmp_path / "a.toml").write_text(GOOD + f'[[workload]]\nkind = "fio"\njob_file = "{name}"\n')
    with pytest.raises(StudyError) as refused:
        load(tmp_path / "a.toml")
    (problem,) = refused.value.problems
    assert problem.key.startswith("workload[3]")
    assert part in problem.message
