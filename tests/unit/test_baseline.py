"""A baseline that is itself folded: studies, verdicts, searches, what is deployed, reports, comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import runs
from click.testing import CliRunner
from doubles import Unmade
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_studies import prepare, study
from study_files import EXPLICIT, edited
from test_adaptive import EARLY, LATE, READ, WRITE, measured, question, run

from pliant.analysis.conclusions import analyse
from pliant.campaign import deploying, description, engine, places
from pliant.campaign.determinants import Determined, differences
from pliant.campaign.preparation import search_of
from pliant.cli import cli
from pliant.platforms import calibration
from pliant.report.across import Judged, across
from pliant.results.run_info import RunInfo
from pliant.results.store import Store
from pliant.statistics import comparison
from pliant.statistics.adaptive import Adaptive
from pliant.statistics.bandwidth_bound import expected_break
from pliant.statistics.estimate import Estimate
from pliant.statistics.search import Todo, schedule
from pliant.statistics.verdict import Series, judge
from pliant.study.problems import StudyError
from pliant.study.reading import parse
from pliant.trial import Trial
from pliant.workloads.model import Metric

FOLDED = "ratios = [1, 2, 4] => ratios = [2, 4] \n baseline = 2"
BANDWIDTH = Metric("write_bandwidth", "MiB/s", "higher")


# The study


def test_a_study_has_the_baseline_it_names_and_no_smaller_ratio():
    found = study("ratios = [1, 2, 4] => ratios = [8, 4, 2] \n baseline = 2")
    assert (found.baseline, found.ratios, list(found.placements)) == (2.0, (2.0, 4.0, 8.0), [2.0, 4.0, 8.0])
    assert places.needed(found) == 4
    assert found.most_hosts == 4


def test_without_one_it_is_the_unfolded_cluster():
    assert (study().baseline, study("max_loss => baseline = 1 \n max_loss").ratios) == (1.0, (1.0, 2.0, 4.0))


def test_one_that_is_placed_by_the_user_is_written_down():
    found = parse(edited(FOLDED, text=EXPLICIT), "a.toml")
    assert found.placements[2.0].hosts[0] == ("server1", "server2")


@pytest.mark.parametrize(
    ("edit", "key", "said"),
    [
        (
            "[1, 2, 4] => [4, 8] \n baseline = 2",
            "fold.ratios",
            "2 is missing, the baseline that losses are measured against; write [2, 4, 8]",
        ),
        (
            "[1, 2, 4] => [1, 2, 4] \n baseline = 2",
            "fold.ratios",
            "1 is smaller than the baseline, 2, which is the smallest ratio there is; leave it out, or write "
            "baseline = 1",
        ),
        (
            "[1, 2, 4] => [1, 4] \n baseline = 2",
            "fold.ratios",
            "2 is missing, the baseline that losses are measured against; write [2, 4]",
        ),
        ("[1, 2, 4] => [2, 4] \n baseline = 0.5", "fold.baseline", "0.5 is too small; write 1 or more"),
        ('[1, 2, 4] => [2, 4] \n baseline = "2"', "fold.baseline", '"2" is not a number; write e.g. 2'),
        ("[1, 2, 4] => [2, 4] \n baseline = inf", "fold.baseline", "inf is not a finite number"),
        (
            "[1, 2, 4] => [1.1, 4] \n baseline = 1.1",
            "fold.baseline",
            "1.1 puts each of the 8 nodes on a host of its own, as ratio 1 does; write 1 in its place",
        ),
        ("[1, 2, 4] => [16] \n baseline = 16", "fold.ratios", "16 is more than the study's 8 nodes; write 8 at most"),
        (
            "[1, 2, 4] => [2, 4]",
            "fold.ratios",
            "1 is missing, the baseline that losses are measured against; write [1, 2, 4]",
        ),
    ],
)
def test_what_is_no_baseline_is_refused(edit, key, said):
    with pytest.raises(StudyError) as refused:
        study(edit)
    [problem] = refused.value.problems
    assert problem.key == key and said in str(problem), str(problem)


@pytest.mark.parametrize(
    ("edit", "key", "said"),
    [
        ('2 = [["server[1-2]"] => 3 = [["server[1-2]"]', ["fold.placement.3", "fold.placement.2"], "is missing"),
        (
            "[fold.placement] => [fold.placement] \n 1 = []",
            ["fold.placement.1"],
            "is not one of fold.ratios; write one of 2, 4",
        ),
    ],
)
def test_a_folded_baseline_needs_its_placement_and_the_unfolded_cluster_none(edit, key, said):
    with pytest.raises(StudyError) as refused:
        parse(edited(FOLDED, edit, text=EXPLICIT), "a.toml")
    assert [problem.key for problem in refused.value.problems] == key
    assert said in str(refused.value.problems[-1])


# Verdicts, searches


def same_but_for(factor: float, values, searched: bool, metric: Metric):
    """The verdict on values by ratio, and that where all ratios, the baseline among them, are so much larger."""
    most = 25 if searched else None
    one, other = (
        judge(
            Series(
                "glusterfs",
                "ior",
                metric,
                0.1,
                {ratio * times: int(8 / ratio) for ratio in values},
                {ratio * times: many for ratio, many in values.items()},
                indifference=0.05,
                most=most,
                baseline=times,
            )
        )
        for times in (1.0, factor)
    )
    return one, other


many = st.lists(st.floats(0.5, 2000, allow_nan=False), min_size=0, max_size=6)
curves = st.fixed_dictionaries({1.0: many.filter(bool), 2.0: many, 4.0: many, 8.0: many})


@settings(deadline=None)
@given(curves, st.sampled_from([1.5, 2.0, 3.0]), st.booleans(), st.sampled_from(["higher", "lower"]))
def test_all_ratios_times_a_factor_have_the_same_states_and_losses(values, factor, searched, better):
    one, other = same_but_for(factor, values, searched, Metric("m", "1", better))
    assert [replace(row, ratio=row.ratio / factor) for row in other.ratios] == list(one.ratios)
    assert other.breaks_at == (None if one.breaks_at is None else one.breaks_at * factor)
    assert other.holds_up_to == (None if one.holds_up_to is None else one.holds_up_to * factor)
    assert (other.base, other.folded) == (other.ratios[0], other.ratios[1:])


def test_a_verdict_says_what_it_is_against():
    curve = {1.0: [100, 101, 99], 2.0: [98, 99, 97.5], 4.0: [70, 71, 69]}
    before, now = same_but_for(2.0, curve, False, BANDWIDTH)
    assert now.sentence.startswith(
        "GlusterFS holds write bandwidth (ior) within 10 ± 5 % of ratio 2 up to ratio 4 (4 hosts) "
        "and breaks at ratio 8 (2 hosts): loss 30 % ["
    )
    assert "baseline" not in before.to_json() and now.to_json()["baseline"] == 2.0
    broken = same_but_for(2.0, {1.0: [100, 101, 99], 2.0: [50, 51, 49]}, False, BANDWIDTH)[1]
    assert broken.sentence.endswith(", where at most 10 % against ratio 2 is tolerated.")
    open_ = same_but_for(2.0, {1.0: [100, 101, 99], 2.0: [50]}, False, BANDWIDTH)[1]
    assert "within 10 ± 5 % of ratio 2 when folded further, nor to break it; ratio 4 is undecided" in open_.sentence


def test_no_ratio_is_below_the_baseline():
    with pytest.raises(ValueError, match="ratio 1 is smaller than the baseline, 2"):
        Series("x", "w", BANDWIDTH, 0.1, {1.0: 8, 2.0: 4}, {}, baseline=2.0)


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("losses", [EARLY, LATE], ids=["early", "late"])
def test_a_search_of_ratios_twice_as_large_asks_for_the_same(losses, stays):
    asked = question({"ior": (WRITE, READ)}, start={"": 4.0}, stays=stays)
    shifted = replace(asked, ratios=tuple(2 * r for r in asked.ratios), start={"": 8.0}, baseline=2.0)
    truth = {"ior": {WRITE: losses, READ: losses}}

    def half(todo, number, curves, noise):
        trial = measured(todo._replace(ratio=todo.ratio / 2), number, curves, noise)
        return replace(trial, ratio=todo.ratio)

    one, other = run(Adaptive(asked), truth), run(Adaptive(shifted), truth, trial=half)
    assert [trial.ratio / 2 for trial in other] == [trial.ratio for trial in one]
    assert other[0].ratio == 2.0


def test_a_grid_begins_with_the_baseline():
    for stays in (False, True):
        todo = schedule(["a", "b"], [8, 4, 2], 3, 7, stays=stays)
        assert {each.ratio for each in todo[:2]} == {2}


def test_where_it_breaks_is_expected_against_the_baseline():
    assert expected_break({2.0: 10.0, 4.0: 9.5, 8.0: 5.0}, 0.1) == 8.0


def test_only_what_is_folded_further_than_the_baseline_is_stopped():
    known = Estimate({"ior"}, 600.0, 0.1, 0.05, 2.0)
    known.took(("", "ior", 2.0), 10.0)
    assert known.most_s(("", "ior", 2.0)) == 600.0
    assert known.most_s(("", "ior", 4.0)) < 600.0


# What is deployed, measured and written down


def runner(tmp_path, monkeypatch, live: bool, *edits: str):
    """The engine on a study whose baseline is 2; what it deploys at which ratio is in its `log`."""
    place = SimpleNamespace(platform=SimpleNamespace(refolds_live=live, losses=0), loan=None, machines=None, hosts=())
    prepared = replace(prepare(study(FOLDED, *edits)), place=place)
    heard = SimpleNamespace(doing=lambda what: None, note=lambda text: made.log.append(text.partition(" as ")[0]))
    made = engine._Runner([prepared], None, tmp_path, heard, None)
    made.log = []

    def bring_up(prepared, ratio, **about):
        hosts = Unmade()
        hosts.placed = engine.numbers(prepared.study.placements[ratio])
        made.log.append(f"deploy {ratio:g}")
        return SimpleNamespace(id="ab12", deployment=hosts, keep_logs=lambda *of: None, close=lambda: None)

    monkeypatch.setattr(engine, "bring_up", bring_up)
    monkeypatch.setattr(engine._Runner, "calibrate", lambda self: self.log.append("calibrate"))
    monkeypatch.setattr(engine._Runner, "calibrate_folded", lambda self, todo: None)
    return made


def test_where_nodes_move_it_is_deployed_once_as_the_baseline_is(machine, tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch, True)
    for ratio in (2.0, 4.0):
        made.take_turns(Todo("ior", ratio, 1, "glusterfs"))
    assert made.log == ["deploy 2", "deployed 8 nodes", "calibrate"]


def test_where_they_do_not_it_is_deployed_and_calibrated_at_the_baseline(machine, tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch, False)
    for ratio in (2.0, 4.0):
        made.take_turns(Todo("ior", ratio, 1, "glusterfs"))
    said = ["deploy 2", "deployed 8 nodes on 4 hosts", "calibrate", "deploy 4", "deployed 8 nodes on 2 hosts"]
    assert made.log == said


def test_a_cluster_has_as_many_hosts_as_the_baseline_takes_and_no_more(machine, monkeypatch):
    asked = []
    monkeypatch.setattr(deploying.Cluster, "deploy", lambda *of, hosts, **more: asked.append((len(of[3].hosts), hosts)))
    monkeypatch.setattr(deploying.workplace, "write_down", lambda cluster, study: None)
    for ratio in (2.0, 4.0):
        deploying.bring_up(prepare(study(FOLDED)), ratio)
    assert asked == [(4, 4), (2, 4)]
    with pytest.raises(KeyError):
        deploying.bring_up(prepare(study(FOLDED)), 1.0)


def test_nodes_that_would_not_fit_unfolded_are_promised_what_the_baseline_takes(machine):
    many = ("server = 4 => server = 40", "client = 4 => client = 40")
    with pytest.raises(StudyError, match="80 hosts of"):
        prepare(study(*many))
    prepare(study("ratios = [1, 2, 4] => ratios = [20, 40] \n baseline = 20", *many))


def test_trials_are_held_against_those_of_the_baseline(machine, tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch, True)
    made.over = [Trial(1, "ior", 2.0, 4, 1, 1, "done", "", metrics={"write_bandwidth": 40.0}, filesystem="glusterfs")]
    of = lambda ratio: made.patience(replace(made.over[0], ratio=ratio, state="running"))  # noqa: E731
    assert of(4.0).baseline == {"write_bandwidth": 40.0}
    assert (of(2.0).folded, of(4.0).folded) == (False, True)


@pytest.mark.parametrize("edit", ["", 'name = "small" => name = "small" \n search = "grid"'])
def test_its_first_trial_is_one_of_the_baseline(machine, edit):
    search = search_of([prepare(study(FOLDED, *filter(None, [edit])))])
    assert search.next([]).ratio == 2.0


def test_what_is_written_down_says_so_and_of_others_as_before(machine):
    before, now = (description.info_of(prepare(study(*edits))) for edits in ((), (FOLDED,)))
    assert "baseline" not in before.to_json() and now.to_json()["baseline"] == 2.0
    assert before.unfolded and not now.unfolded
    for each in (before, now):
        assert RunInfo.from_json(json.loads(json.dumps(each.to_json()))) == each
    assert "baseline" not in description.document_of(study())["fold"]
    assert description.document_of(study(FOLDED))["fold"]["baseline"] == 2.0


def test_as_what_a_cluster_is_deployed_is_a_part_of_a_trials_key(machine):
    plain, folded = (
        Determined(prepare(study(*e)), "dev").document(Todo("ior", 4.0, 1, "glusterfs")) for e in ((), (FOLDED,))
    )
    assert list(differences(plain, folded)) == ["baseline was not there and is 2.0"]


PLACED = {"server1": 1, "client1": 1, "server2": 2, "client2": 2, "client3": 3}
DISKS = {"server1": "/d", "client1": "/d", "client2": "/d"}


def folded_hosts() -> Unmade:
    hosts = Unmade()
    hosts.nodes = dict.fromkeys(PLACED, SimpleNamespace(address="10.77.1.1"))
    hosts.placed, hosts.execute = PLACED, lambda node, argv, **more: hosts.calls.append(f"rm {node}")
    return hosts


def test_a_host_is_calibrated_by_one_of_its_nodes(monkeypatch):
    asked: dict[str, list[str]] = {}
    delivered = lambda what: calibration.Delivered(what, 1.0, {"host1": 1.0})  # noqa: E731
    take = lambda what, of: asked.setdefault(what, list(of)) and delivered(what)  # noqa: E731
    monkeypatch.setattr(calibration, "_cpu", lambda deployment, nodes: take("cpu", nodes))
    monkeypatch.setattr(calibration, "_nic", lambda deployment, nodes: take("nic", nodes))
    monkeypatch.setattr(calibration, "_disk", lambda deployment, disks, what: take(f"disk_{what}", disks))
    hosts = folded_hosts()
    calibration.calibrate_hosts(hosts, DISKS)
    one_each = ["server1", "server2", "client3"]
    assert asked == {
        "cpu": one_each,
        "nic": one_each,
        "disk_write": ["server1", "client2"],
        "disk_read": ["server1", "client2"],
    }
    assert hosts.calls[-2:] == ["rm server1", "rm client2"]


def test_so_are_hosts_that_are_what_they_are(monkeypatch):
    asked = []

    def together(deployment, programs, beside=None, length_s=1.0):
        asked.append((dict(programs), dict(beside or {})))
        return dict.fromkeys(programs, 7.0)

    monkeypatch.setattr(calibration, "_together", together)
    found = calibration.survey_hosts(folded_hosts(), DISKS)
    assert list(asked[0][0]) == ["server1", "server2", "client3"]
    assert [list(each[0]) for each in asked[-2:]] == [["server1", "client2"]] * 2
    assert [list(each.hosts) for each in found[:1]] == [["host1", "host2", "host3"]]
    assert set(found[1].hosts) == {"host1 to host2", "host2 to host3", "host3 to host1"}


@pytest.mark.parametrize("hosts", [2, 3, 4, 5, 8])
def test_every_host_sends_and_receives_once_and_never_both_at_a_time(hosts, monkeypatch):
    names = [f"n{number}" for number in range(hosts)]
    deployment = folded_hosts()
    deployment.nodes = {name: SimpleNamespace(address=name) for name in names}
    deployment.placed = {name: number for number, name in enumerate(names, 1)}
    rounds = []

    def together(deployment, programs, beside, length_s):
        assert len(programs) == len(beside) > 0 and not set(programs) & set(beside)
        assert {rest[0] for _, *rest in beside.values()} == set(programs)
        rounds.append((list(programs), list(beside)))
        return dict.fromkeys(programs, 7.0)

    monkeypatch.setattr(calibration, "_together", together)
    assert len(calibration._streams(deployment, names, 1.0)) == hosts
    assert len(rounds) == 2 + hosts % 2
    for way in (0, 1):
        assert sorted(name for each in rounds for name in each[way]) == names


def test_check_says_what_a_loss_is_against(machine, tmp_path):
    (tmp_path / "a.toml").write_text(edited(FOLDED.replace("\n", "\\n").replace("\\n", " \n ")))
    said = CliRunner().invoke(cli, ["check", str(tmp_path / "a.toml")], catch_exceptions=False).output
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "tolerated a loss of 10 %, give or take 5 %, against ratio 2, which is itself folded" in lines
    assert any(line.startswith("ratio 2 4 hosts (spread, baseline) host1: ") for line in lines)
    assert any(line.startswith("ratio 4 2 hosts (spread) host1: ") for line in lines)
    plan = json.loads(CliRunner().invoke(cli, ["check", "--json", str(tmp_path / "a.toml")]).output)
    assert (plan["baseline"], list(plan["placements"])) == (2.0, ["2", "4"])


# Reports


def made(directory, baseline: float = 2.0, many=None, **changes):
    """A run with the ratios of the synthetic one from the baseline on."""
    keep = lambda of: {ratio: value for ratio, value in of.items() if ratio >= baseline}  # noqa: E731
    about = {"hosts": keep(runs.HOSTS), "placements": keep(runs.info().placements), "baseline": baseline}
    trials_ = runs.with_usage(runs.trials(6)) if many is None else many
    return runs.make_run(directory, [t for t in trials_ if t.ratio >= baseline], **(about | changes))


def written(directory, kind: str) -> str:
    return CliRunner().invoke(cli, ["report", str(directory), "--format", kind], catch_exceptions=False).output


HEADLINE = (
    "GlusterFS folds to ratio 8: on 1 host instead of 4, its metric asked for is shown to stay within 10 % of the "
    "baseline, ratio 2 (4 hosts), which is itself folded."
)
AGAINST = (
    "Losses and savings are against ratio 2 (4 hosts), and say nothing of what is lost against the unfolded cluster "
    "(8 hosts): to fold to a ratio means here to lose no more than is tolerated against ratio 2."
)


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    return made(tmp_path_factory.mktemp("folded") / "run", asked=("write_bandwidth",))


def plain(text: str) -> str:
    """Without what formats add, on one line."""
    for mark in ("\N{NO-BREAK SPACE}", "~"):
        text = text.replace(mark, " ")
    return " ".join(text.replace("\\", "").split())


@pytest.mark.parametrize("kind", ["markdown", "latex", "html", "json"])
def test_a_report_says_once_and_first_what_losses_are_against(folded, kind):
    text = plain(written(folded, kind))
    assert HEADLINE in text and text.count(AGAINST) == 1
    assert text.index(HEADLINE) < text.index(AGAINST)
    assert "ratio 1 " not in text and "ratio 1:" not in text and "ratio 1," not in text
    if kind == "html":
        assert "Loss against the baseline (ratio 2 (4 hosts), which is itself folded)" in text
        assert "one pass over the workloads at ratio 2" in text and ">folded baseline</li>" in text.replace(
            "</svg>", ">"
        )
        assert "hosts saved of those at ratio 2" in text
    if kind == "json":
        document = json.loads(written(folded, kind))
        assert document["baseline"] == {"ratio": 2.0, "hosts": 4, "sentence": AGAINST}
        assert document["run"]["baseline"] == 2.0 and document["savings"]["hosts_full"] == 4


def test_so_does_the_terminal(folded):
    text = plain(CliRunner().invoke(cli, ["report", str(folded)], catch_exceptions=False).output)
    assert f"{HEADLINE} {AGAINST}" in text
    assert "holds (loss within 10 %, against ratio 2)" in text
    assert "Savings at ratio 8 against ratio 2, one pass over the workloads: hosts 4 → 1" in text


def test_one_that_does_not_fold_further_says_that(tmp_path):
    text = plain(written(made(tmp_path / "run"), "markdown"))
    assert "GlusterFS is not shown to fold further: at no other ratio are all of its 9 metrics shown to stay" in text
    assert "| one pass at ratio 2 | 4 |" in text
    nothing = plain(written(made(tmp_path / "none", many=[]), "markdown"))
    assert "yet: the baseline, ratio 2 (4 hosts), which is itself folded, has no done trial." in nothing


def test_its_losses_are_those_of_the_same_trials_against_that_ratio(folded):
    with Store.look(folded) as store:
        [part] = analyse(store).parts
    verdict = part.verdicts[0]
    assert verdict.base is not None and verdict.base.ratio == 2.0 and verdict.base.loss == 0.0
    left = runs.TRUTH["write_bandwidth"][1]
    assert verdict.at(4.0).loss == pytest.approx(1 - left[1] / left[0], abs=0.02)
    assert part.savings.full is not None and part.savings.full.hosts == 4


def test_a_run_from_before_reads_as_one_whose_baseline_is_the_unfolded_cluster(tmp_path):
    directory = made(tmp_path / "run", 1.0)
    document = json.loads(written(directory, "json"))
    assert "baseline" not in document and "baseline" not in document["run"]
    assert all("baseline" not in each for each in document["verdicts"])
    assert "itself folded" not in written(directory, "html") and "unfolded" not in written(directory, "html")


# Comparing


def test_file_systems_of_a_study_are_compared_against_their_baseline():
    hosts = {2.0: 4, 4.0: 2}
    values = {"a": (100.0, 99.0), "b": (100.0, 50.0)}
    verdicts = {
        label: [judge(Series(label, "w", BANDWIDTH, 0.1, hosts, {r: [v, v * 1.002, v * 0.998] for r, v in
                zip(hosts, many_, strict=True)}, baseline=2.0))]
        for label, many_ in values.items()
    }  # fmt: skip
    found = comparison.compare(verdicts, 0.1)
    assert found.furthest.sentence == (
        "a folds furthest, to ratio 4 (2 hosts); b is not shown to fold, and breaks at 4. "
        "All of it is against ratio 2, which is itself folded."
    )
    none = comparison.compare({"b": verdicts["b"], "c": verdicts["b"]}, 0.1)
    assert none.furthest.sentence.startswith("None of b and c is shown to fold further. All of it is against ratio 2,")


def judged(directory, label: str, baseline: float, **changes) -> Judged:
    with Store.look(made(directory / label, baseline, **changes)) as store:
        return Judged(label, analyse(store).parts[0], {})


def test_losses_against_different_baselines_are_not_compared(tmp_path):
    one, other = judged(tmp_path, "one", 1.0), judged(tmp_path, "other", 2.0)
    found = across([one, other])
    assert (found.comparison, found.losses, found.medians) == (None, frozenset(), {"ior", "mdtest"})
    said = "Losses are against different baselines (ratio 1 / 2), so that neither they nor how far each folds can"
    assert any(each.startswith(said) for each in found.cannot)
    assert found.headline == "Losses cannot be compared, as they are against different baselines; medians can."
    assert ("baseline", ("ratio 1", "ratio 2")) in [(each.what, each.values) for each in found.differences]


def test_neither_are_medians_on_other_hosts(tmp_path):
    one, other = judged(tmp_path, "one", 1.0), judged(tmp_path, "other", 2.0, host_figures="1 core", max_loss=0.2)
    found = across([one, other])
    assert (found.comparison, found.losses, found.medians) == (None, frozenset(), frozenset())
    assert found.headline == (
        "Losses cannot be compared, as they are against different baselines, and nor can medians."
    )
    assert found.cannot[1:] == ("Hosts are not the same: medians cannot be compared.",)


def test_those_against_the_same_are(tmp_path):
    found = across([judged(tmp_path, "one", 2.0), judged(tmp_path, "other", 2.0)])
    assert found.comparison is not None and found.cannot == () and found.losses == {"ior", "mdtest"}
    assert found.headline.endswith("All of it is against ratio 2, which is itself folded.")


@pytest.mark.parametrize("kind", ["text", "html", "markdown", "latex", "json"])
def test_a_comparison_across_baselines_is_written_in_every_format(tmp_path, kind):
    names = [str(made(tmp_path / f"run{baseline:g}", baseline)) for baseline in (1.0, 2.0)]
    done = CliRunner().invoke(cli, ["compare", *names, "--format", kind], catch_exceptions=False)
    assert done.exit_code == 0 and "different baselines" in done.output
