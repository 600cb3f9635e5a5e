"""Any program as a workload: its phases filled in, and its metrics picked from what it prints."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from pliant.workloads.command import CommandOptions, CommandWorkload
from pliant.workloads.jsonpath import pick, steps
from pliant.workloads.model import Metric, Toolbox, Workload, output_name

TOOLS = Toolbox(python="/venv/bin/python", clients=("client1", "client2", "client3"))
PHASE = {"name": "measure", "argv": ["dd", "of={{ directory }}/{{ client }}"]}
METRIC = {"name": "rate", "unit": "MB/s", "better": "higher", "regex": r"([0-9.]+) MB/s"}


def options(phase: list[object] | None = None, metric: list[object] | None = None) -> CommandOptions:
    return CommandOptions.model_validate({"phase": phase or [PHASE], "metric": metric or [METRIC]})


def parse(outputs: dict[str, str], phase: list[object] | None = None, **metric: object) -> float:
    kept = {key: value for key, value in METRIC.items() if key != "regex" or not {"json", "regex"} & set(metric)}
    values = CommandWorkload.parse(options(phase, [kept | metric]), outputs)
    assert list(values) == ["rate"]
    return values["rate"]


def each(*texts: str) -> dict[str, str]:
    return {output_name("measure", f"client{i}"): text for i, text in enumerate(texts, 1)}


def test_it_is_a_workload():
    workload: type[Workload] = CommandWorkload
    assert (workload.name, workload.program) == ("command", "")


def test_each_client_has_its_own_words():
    argv = ["x", "{{ client }}", "{{ index }} of {{ clients }}", "{{ directory }}"]
    (phase,) = CommandWorkload.phases(options([{"name": "measure", "argv": argv}]), "/mnt/x", TOOLS)
    assert phase.each == {f"client{i}": ("x", f"client{i}", f"{i} of 3", "/mnt/x") for i in (1, 2, 3)}


def test_a_shell_text_stays_one_word():
    shell = {"name": "measure", "shell": "ls {{ directory }} | wc -l", "on": "first", "drop_caches": True}
    (phase,) = CommandWorkload.phases(options([shell]), "/mnt/x", TOOLS)
    assert phase.each == {"client1": ("sh", "-c", "ls /mnt/x | wc -l")}
    assert phase.drop_caches


def test_an_mpi_job_knows_no_client():
    job = {
        "name": "measure",
        "argv": ["{{ python }}", "{{ directory }}/{{ clients }}"],
        "on": "mpi",
        "ranks_per_client": 2,
    }
    (phase,) = CommandWorkload.phases(options([job]), "/mnt/x", TOOLS)
    assert (phase.argv, phase.ranks_per_client, dict(phase.each)) == (("/venv/bin/python", "/mnt/x/3"), 2, {})
    with pytest.raises(ValidationError, match="'client' is undefined; what can be filled in here is"):
        options([job | {"argv": ["{{ client }}"]}])


def test_metrics_are_of_the_last_phase_unless_they_say_another():
    found = CommandWorkload.metrics(
        options([{"name": "prepare", "shell": "true"}, PHASE], [METRIC, METRIC | {"name": "b", "phase": "prepare"}])
    )
    assert found == (Metric("rate", "MB/s", "higher", "measure"), Metric("b", "MB/s", "higher", "prepare"))


def test_programs_are_those_that_can_be_known():
    phases = [
        PHASE,
        {"name": "b", "shell": "x"},
        {"name": "c", "argv": ["{{ python }}"]},
        {"name": "d", "argv": ["dd"]},
    ]
    assert CommandWorkload.programs(options(phases)) == ("dd", "sh")


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("1,234 MB/s", 1234.0),
        ("1,234,567.5 MB/s", 1234567.5),
        ("12.5 MB/s", 12.5),
        ("1e3 MB/s", 1000.0),
        ("rate 5 MB/s\nrate 7 MB/s", 7.0),
    ],
)
def test_numbers_with_separators_of_thousands(printed, value):
    assert parse(each(printed), regex=r"([0-9.,e]+) MB/s") == value


@pytest.mark.parametrize("number", ["12,5", "0,85", "1,2,3", "0,850", "1234,567", "1.234,5"])
@pytest.mark.parametrize("regex", [r"([0-9.,]+) MB/s", r"([0-9.]+) MB/s", r"(?P<value>\d+)"])
def test_a_decimal_comma_is_never_taken_for_another_number(number, regex):
    with pytest.raises(ValueError, match=re.escape(number)):
        parse(each(f"{number} MB/s"), regex=regex)


def test_a_piece_of_a_number_is_none():
    for regex in (r"bw=(\d+)", r"(\d+)MB"):
        with pytest.raises(ValueError, match="a piece of a number"):
            parse(each("bw=12.5MB"), regex=regex)
    assert parse(each("5,12,30"), regex=r"^\d+,(\d+),") == 12.0


def test_of_several_documents_the_last_counts_as_of_several_lines():
    assert parse(each('{"a": 1}\nnoise\n{"a": 2}\n{"b": 3}\n'), json="a") == 2.0
    assert parse(each('{"a": {\n"b": 1},\n"c": 7}\n'), json="c") == 7.0


@pytest.mark.parametrize(("combine", "value"), [("sum", 60.0), ("mean", 20.0), ("max", 30.0), ("min", 10.0)])
def test_values_of_clients_are_combined(combine, value):
    assert parse(each("10 MB/s", "20 MB/s", "30 MB/s"), combine=combine) == value


@pytest.mark.parametrize(
    ("metric", "text", "value"),
    [
        ({}, "1 MB/s\n2 MB/s\n3.5 MB/s\n", 3.5),  # the last
        ({"regex": r"^rate=(\S+)$"}, "x rate=1\nrate=1,234.5\n", 1234.5),
        ({"regex": r"(?P<what>\w+): (?P<value>\S+)"}, "read: 2e3", 2000.0),
        ({"regex": r"(\d+) s", "factor": 0.001}, "1500 s", 1.5),
        ({"json": "a.b[1]"}, 'starting\n{"a": {"b": [1, 2.5]}}\ndone\n', 2.5),
        ({"json": "$.a"}, '[1]\n{"a": "7"}\n', 7.0),
        ({"json": "[-1].x"}, '  [{"x": 1}, {"x": 2}]', 2.0),
        ({"json": '["a b"]'}, '{not json}\n{"a b": 4}', 4.0),
    ],
)
def test_a_number_is_picked(metric, text, value):
    assert parse(each(text), **metric) == value


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({}, "nothing here"),
        ({"regex": r"rate: (\S+)"}, "rate: fast"),
        ({}, "0.0 MB/s"),
        ({"json": "a.b"}, '{"a": 1}'),
        ({"json": "a"}, '{"a": null}'),
        ({"json": "a"}, '{"a": {"b": 1}}'),
        ({"json": "a"}, '{"a": true}'),
    ],
)
def test_a_metric_that_is_not_there_is_named_with_its_client_and_the_end_of_the_output(metric, text):
    with pytest.raises(ValueError) as refused:
        parse(each(text), **metric)
    assert "the program on client1 gave" in str(refused.value)
    assert "for rate; its output ends with" in str(refused.value)
    assert repr(text)[1:-1] in str(refused.value)


def test_an_mpi_jobs_output_is_its_own():
    job = [{"name": "measure", "argv": ["x"], "on": "mpi"}]
    assert parse({"measure": "4 MB/s", "measure@client1": "9 MB/s"}, job) == 4.0


@pytest.mark.parametrize(
    ("phase", "metric", "sentence"),
    [
        ({"name": "a"}, METRIC, "wants either argv"),
        ({"name": "a", "argv": ["x"], "shell": "x"}, METRIC, "wants either argv"),
        ({"name": "a", "argv": []}, METRIC, "at least 1"),
        ({"name": "a/b", "argv": ["x"]}, METRIC, "should match pattern"),
        ({"name": "a", "argv": ["x"], "ranks_per_client": 2}, METRIC, 'add on = "mpi"'),
        ({"name": "a", "argv": ["{{ nobody }}"]}, METRIC, "'nobody' is undefined"),
        ({"name": "a", "argv": ["{{ directory"]}, METRIC, "unexpected end of template"),
        ({"name": "a", "argv": ["{{ ''.__class__.__mro__ }}"]}, METRIC, "unsafe"),
        (PHASE, METRIC | {"regex": "("}, "is not a regular expression"),
        (PHASE, METRIC | {"regex": "abc"}, "has 0 groups"),
        (PHASE, METRIC | {"json": "a"}, "wants either regex"),
        (PHASE, {k: v for k, v in METRIC.items() if k != "regex"} | {"json": "a..b"}, "is not a path in JSON"),
        (PHASE, METRIC | {"phase": "other"}, 'is of phase "other"'),
        (PHASE, METRIC | {"unit": ""}, "should match pattern"),
        (PHASE, METRIC | {"factor": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(phase, metric, sentence):
    with pytest.raises(ValidationError) as refused:
        options([phase], [metric])
    assert sentence in str(refused.value)


def test_names_are_told_apart():
    with pytest.raises(ValidationError, match='two phases are called "measure"'):
        options([PHASE, PHASE])
    with pytest.raises(ValidationError, match='two metrics are called "rate"'):
        options(None, [METRIC, METRIC])


def test_paths():
    assert steps("a[0][-1].b_c-d") == ("a", 0, -1, "b_c-d")
    assert pick({"a": [[1, {"b_c-d": 5}]]}, "a[0][-1].b_c-d") == 5
    assert pick({"a": [1]}, "a[1]") is None
    assert pick([], "a") is None
    for wrong in ("", "$", "a.", "a[x]", "a[*]", ".", "[0"):
        with pytest.raises(ValueError, match="is not a path in JSON"):
            steps(wrong)
