"""What limits each ratio, in a report: from trials' telemetry to verdict.json, figures, page and terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import runs
from test_report import Page, render

from pliant.analysis.limits import HostUse, PhaseLimits, PhaseUse, phase_limits, phase_of
from pliant.report.svg import draw
from pliant.report.utilisation import utilised
from pliant.report.writing import write_report
from pliant.telemetry.limiting import Limit
from pliant.telemetry.usage import HostUsage, PhaseUsage, ResourceUse, Usage
from pliant.workloads.model import Metric

INFO = runs.info()
MDTEST = "create+stat+read+remove"


def ior(number, ratio, cpu, *, state="done", hosts=("host1", "host2"), phase="write", saturated=0.5, **changes):
    """A trial of ior whose hosts used that much of their CPU, and of nothing else that was promised."""
    uses = {"cpu": ResourceUse(cpu, saturated, {"server": 1.0})}
    usage = Usage({phase: PhaseUsage(6.0, 5.0, {host: HostUsage(uses, 0, 0.0, 0) for host in hosts})})
    return replace(runs.trial(number, "ior", ratio, 1, state), usage=usage.to_json(), **changes)


# From trials to limits


def test_values_are_means_over_the_done_trials_alone():
    many = [
        ior(1, 4.0, 0.5, saturated=0.2),
        ior(2, 4.0, 0.7, saturated=0.4),
        ior(3, 4.0, 99, state="invalid"),
        ior(4, 4.0, 99, state="failed"),
        replace(ior(5, 4.0, 99), usage={}),
        replace(ior(6, 4.0, 99), workload="another"),
        replace(ior(7, 4.0, 99), ratio=3.0),  # not a ratio of the run
    ]
    (limits,) = phase_limits(INFO, many)
    assert (limits.workload, limits.phase, limits.duration_s) == ("ior", "write", 6.0)
    assert list(limits.ratios) == [4.0] and limits.resources == ("cpu",)
    use = limits.ratios[4.0]
    assert set(use.hosts) == {"cpu"} and set(use.hosts["cpu"]) == {"host1", "host2"}
    for host in use.hosts["cpu"].values():
        assert host == HostUse(pytest.approx(0.6), pytest.approx(0.3))
    assert use.limit.resource == "cpu" and use.limit.share == pytest.approx(0.3)


def test_phases_keep_the_order_in_which_they_ran():
    found = phase_limits(INFO, runs.with_usage(runs.trials()))
    assert [(each.workload, each.phase) for each in found] == [("ior", "write"), ("ior", "read"), ("mdtest", MDTEST)]
    assert [list(each.ratios) for each in found] == [[1.0, 2.0, 4.0, 8.0]] * 3
    assert all(each.resources == runs.RESOURCES for each in found)


def test_without_telemetry_there_are_no_limits():
    assert phase_limits(INFO, runs.trials()) == ()
    assert phase_limits(INFO, [ior(1, 1.0, 0.5, hosts=())]) == ()  # a phase without two samples
    assert phase_limits(INFO, []) == ()


def test_a_host_that_one_trial_knows_nothing_of():
    (limits,) = phase_limits(INFO, [ior(1, 2.0, 0.4), ior(2, 2.0, 0.6, hosts=("host2",))])
    used = {host: use.used for host, use in limits.ratios[2.0].hosts["cpu"].items()}
    assert used == {"host1": pytest.approx(0.4), "host2": pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("of", "phases", "found"),
    [
        ("read", {"write": 9.0, "read": 1.0}, "read"),
        ("read", {"write+read": 9.0}, "write+read"),
        ("file-stat", {"file-stat": 1.0, "directory-stat": 9.0}, "file-stat"),
        ("file-stat", {"create": 9.0, "stat": 1.0}, "stat"),
        ("file-stat", {"create+stat+read+remove": 9.0}, "create+stat+read+remove"),
        ("file-stat", {"create+stat+read+remove": 9.0, "file-stat": 1.0}, "file-stat"),
        ("file-stat", {"file-create": 9.0}, None),  # its own was too short to be judged
        ("", {"only": 1.0}, "only"),
        ("", {"first": 1.0, "second": 9.0, "third": 2.0}, "second"),
        ("rea", {"write+read": 9.0}, None),
        ("stat", {}, None),
    ],
)
def test_the_phase_that_yields_a_metric(of, phases, found):
    use = PhaseUse({}, Limit("cpu", ("host1",), 1.0, 1.0, 1.0, {}))
    known = [PhaseLimits("ior", name, duration_s, {2.0: use}) for name, duration_s in phases.items()]
    metric = Metric("bandwidth", "MiB/s", "higher", of)
    phase = phase_of(metric, known, 2.0)
    assert (phase and phase.phase) == found
    assert phase_of(metric, known, 4.0) is None


# The report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_report(runs.make_run(tmp_path_factory.mktemp("run"), runs.with_usage(runs.trials())))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The same run without telemetry."""
    return write_report(runs.make_run(tmp_path_factory.mktemp("run")))


def limited_by(result):
    """Metric -> what limits it, ratio by ratio, in verdict.json."""
    document = json.loads((result.html.parent / "verdict.json").read_text())
    return {v["metric"]: [row["limited_by"] for row in v["ratios"]] for v in document["verdicts"]}


def test_verdict_json_says_what_limits_each_ratio_of_each_metric(run):
    found = limited_by(run)
    assert len(found) == 9 and all(len(rows) == 4 for rows in found.values())
    resources = {metric: [row["resource"] for row in rows] for metric, rows in found.items()}
    assert resources["write_bandwidth"] == ["disk_write"] * 4
    assert resources["read_bandwidth"] == ["nic_down", "nic_down", "cpu", "cpu"]
    assert resources["file_stat"] == resources["dir_remove"] == ["none", "none", "cpu", "cpu"]
    (at_4,) = [limit for limit in found["read_bandwidth"] if limit["hosts"] == ["host1"]][:1]
    assert at_4["roles"] == runs.SHARES and at_4["share"] == pytest.approx(0.933)
    assert at_4["sentence"] == "CPU of host1, by server (71 %) and client (29 %), saturated 93 % of the time"
    assert at_4["next"]["resource"] == "nic_down"


def test_a_ratio_without_telemetry_is_null(tmp_path):
    many = [t if t.ratio != 2.0 else replace(t, usage={}) for t in runs.with_usage(runs.trials())]
    result = write_report(runs.make_run(tmp_path, many))
    assert all([row is None for row in rows] == [False, True, False, False] for rows in limited_by(result).values())
    text = " ".join(Page(result.html.read_text()).text)
    assert "At ratio 4: " in text and "At ratio 2: " not in text


def test_without_telemetry_a_report_shows_nothing_of_it(run, bare):
    assert all(row is None for rows in limited_by(bare).values() for row in rows)
    assert not [path for path in bare.files if "utilisation" in path.name]
    html = bare.html.read_text()
    assert "What limits" not in html and "saturated" not in html and "telemetry" not in html
    assert "saturated" not in render(bare)
    verdicts = [[v.sentence for v in result.analysis.verdicts] for result in (run, bare)]
    assert verdicts[0] == verdicts[1]


def panels(analysis):
    """(workload, phase) -> its panel."""
    return {(w, chart.title): chart for w, figure in utilised(analysis).items() for chart in figure.charts}


@pytest.mark.parametrize(
    ("place", "ratio", "marked"),
    [(("ior", "write"), 1.0, "disk writes"), (("ior", "read"), 8.0, "CPU"), (("mdtest", MDTEST), 1.0, None)],
)
def test_what_limits_is_marked_by_more_than_colour(run, place, ratio, marked):
    chart = panels(run.analysis)[place]
    here = [mark for mark in chart.marks if f"at ratio {ratio:g} (" in mark.says]
    ringed = [mark for mark in here if mark.look.hollow]
    assert [mark.says.split(" at ")[0] for mark in ringed] == ([marked] if marked else [])
    assert all(mark.says.endswith("this limits the ratio") for mark in ringed)
    assert {mark.says.split(" at ")[0] for mark in here} == {"CPU", "NIC-up", "NIC-down", "disk reads", "disk writes"}
    assert len({mark.look.shape for mark in here if not mark.look.hollow}) == 5


def test_a_mark_says_what_was_used_and_on_how_many_hosts(run):
    says = [mark.says for mark in panels(run.analysis)["ior", "write"].marks]
    assert "CPU at ratio 4 (2 hosts): 66 % used (63 % to 70 % on 2 hosts), saturated 0 % of the time" in says


def test_the_page_has_a_figure_for_each_phase_and_a_sentence_for_each_ratio(run):
    html = run.html.read_text()
    text = " ".join(" ".join(Page(html).text).split()).replace("\N{NO-BREAK SPACE}%", " %")
    assert "What limits each ratio" in text and len(panels(run.analysis)) == 3
    for limits in run.analysis.limits:
        assert html.count(f"in {limits.phase} of {limits.workload}, against the folding ratio.") == 1
        for ratio, use in limits.ratios.items():
            assert use.limit.sentence in text and f"At ratio {ratio:.3g}: {use.limit.sentence}." in html


def test_what_is_not_promised_has_no_curve():
    limits = phase_limits(INFO, [ior(1, 1.0, 0.5), ior(2, 2.0, 1.3)])
    found = panels(SimpleNamespace(limits=limits, info=INFO))
    assert len(found) == 1
    for chart in found.values():
        assert len(chart.lines) == 1 and all(mark.says.startswith("CPU at") for mark in chart.marks)


def test_hundreds_of_hosts_do_not_make_a_figure_large():
    names = [f"host{number}" for number in range(1, 513)]
    usage = {
        host: HostUsage({r: ResourceUse(number / 512, 0.3, {}) for r in runs.RESOURCES}, 0, 0.0, 0)
        for number, host in enumerate(names)
    }
    many = [replace(ior(1, 1.0, 1.0), usage=Usage({"write": PhaseUsage(1.0, 1.0, usage)}).to_json())]
    limits = phase_limits(INFO, many)
    (chart,) = panels(SimpleNamespace(limits=limits, info=INFO)).values()
    assert len(draw(chart, "x")) < 20_000
    assert limits[0].ratios[1.0].limit.what == "CPU of host[1-512]"


def test_the_terminal_says_what_limits_where_a_workload_first_breaks(run):
    lines = render(run, width=400).splitlines()
    said = [line.strip() for line in lines if "where it breaks" in line]
    by = "by server (71 %) and client (29 %)"
    assert said == [
        f"ior at ratio 4, where it breaks: CPU of host1, {by}, saturated 93 % of the time.",
        f"mdtest at ratio 4, where it breaks: CPU of host1, {by}, saturated 90 % of the time.",
    ]
    assert max(map(len, render(run, width=80).splitlines())) <= 80


def test_a_workload_that_does_not_break_has_no_line(tmp_path):
    many = [t for t in runs.with_usage(runs.trials(failures=False)) if t.workload == "ior"]
    metrics = {"ior": runs.METRICS["ior"][:1]}
    result = write_report(runs.make_run(tmp_path, many, metrics=metrics))
    assert result.analysis.limits and "where it breaks" not in render(result)


def test_an_invalid_trial_is_told_with_its_reason_and_its_telemetry_is_not_used(tmp_path):
    reason = "the hypervisor took 5 % of the CPU time that the machine asked for"
    many = [t for t in runs.with_usage(runs.trials(failures=False)) if t.workload == "ior"]
    invalid = ior(len(many) + 1, 1.0, 50.0, state="invalid", reason=reason, metrics={"write_bandwidth": 1.0})
    metrics = {"ior": runs.METRICS["ior"]}
    result = write_report(runs.make_run(tmp_path, [*many, invalid], metrics=metrics))
    page = Page(result.html.read_text())
    text = " ".join(" ".join(page.text).split())
    _, _, after = text.partition("Trials that were not counted trial")
    assert reason in after and "invalid" in after
    assert result.analysis.verdicts[0].at(1.0).trials == 3
    used = [
        h.used for p in result.analysis.limits for u in p.ratios.values() for r in u.hosts.values() for h in r.values()
    ]
    assert max(used) < 2
