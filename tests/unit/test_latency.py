"""Latency of links: how a study asks for it, whether the machine can, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prepared_studies import MACHINE, prepare, study

from pliant.errors import UserError
from pliant.machine import facts
from pliant.machine.process import CommandFailed, Completed
from pliant.platforms.budget import host_figures
from pliant.study.problems import StudyError

TRIED = ("dev", "lo", "root", "netem", "delay", "1ms")


def delayed(latency: str, *edits: str):
    return study(f'memory = "1 GiB" => memory = "1 GiB" \n latency = {latency}', *edits)


@pytest.mark.parametrize(
    ("written", "seconds"), [('"0.1 ms"', 1e-4), ('"0.001 ms"', 1e-6), ('"0.025 ms"', 25e-6), ('"10 s"', 10.0)]
)
def test_a_study_names_it_with_its_unit(written, seconds):
    assert delayed(written).platform.host.latency == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ('"0.0005 ms"', '"0.0005 ms" is no latency of a link; write "0.001 ms" to "10 s", e.g. "0.1 ms"'),
        ('"11 s"', '"11 s" is no latency of a link; write "0.001 ms" to "10 s", e.g. "0.1 ms"'),
        ('"0 ms"', '"0 ms" is not above zero; write e.g. "20 min"'),
        ("0.1", '0.1 has no unit; write e.g. "20 min"'),
    ],
)
def test_what_is_no_latency(written, sentence):
    with pytest.raises(StudyError) as refused:
        delayed(written)
    assert str(refused.value) == f"a.toml: platform.host.latency: {sentence}"


def test_left_out_there_is_none():
    host = study().platform.host
    assert host.latency is None
    assert host_figures(host, 8, MACHINE)[0].latency_s == 0.0


@pytest.mark.parametrize(
    "edit", ["", 'cores = 0.2 => cores = 5 \n scale = "auto"', "cores = 0.2 => cores = 5 \n scale = 50"]
)
def test_proportions_do_not_divide_it(edit):
    edits = [edit] if edit else []
    figures, scale = host_figures(delayed('"0.1 ms"', *edits).platform.host, 8, MACHINE)
    assert figures.latency_s == pytest.approx(1e-4)
    assert (scale > 1) == bool(edit)


# Whether the machine can


@pytest.fixture
def tried(monkeypatch):
    """What was run, and a kernel that answers with this status."""

    class Kernel:
        status: int | None = 0
        argv: tuple[str, ...] = ()

    kernel = Kernel()

    def run(argv, *, timeout_s):
        kernel.argv = tuple(argv)
        if kernel.status is None:
            raise CommandFailed(argv, 127, "", "no such file")
        return Completed(tuple(argv), kernel.status, "", "Error: Specified qdisc kind is unknown.\n", "")

    monkeypatch.setattr(facts, "run", run)
    return kernel


@pytest.mark.parametrize(("status", "can"), [(0, True), (2, False), (None, False)])
def test_the_kernel_is_asked(tried, status, can):
    tried.status = status
    assert facts._netem() is can


@pytest.mark.parametrize(("user", "options"), [(0, ["--net"]), (1000, ["--user", "--map-root-user", "--net"])])
def test_it_is_tried_in_a_namespace_of_its_own(tried, monkeypatch, user, options):
    monkeypatch.setattr(facts.os, "geteuid", lambda: user)
    facts._netem()
    assert tried.argv == ("unshare", *options, "--", "tc", "qdisc", "add", *TRIED)


def test_a_study_that_asks_for_it_where_the_kernel_cannot_is_refused(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(facts, "MODULES", tmp_path)
    machine.facts = replace(MACHINE, netem=False)
    with pytest.raises(StudyError) as refused:
        prepare(delayed('"0.1 ms"'))
    assert str(refused.value) == (
        "a.toml: platform.host.latency: this machine's kernel cannot delay packets (netem): use a kernel that has it; "
        "this one has no modules that could be loaded (CONFIG_NET_SCH_NETEM), or leave `latency` out"
    )
    assert prepare(study()).figures.latency_s == 0.0


def test_without_tc_it_is_tc_that_is_missing(machine):
    machine.facts = replace(MACHINE, netem=False)
    machine.absent = ("tc",)
    with pytest.raises(UserError, match="missing on this machine: tc"):
        prepare(delayed('"0.1 ms"'))


def test_where_the_kernel_can_hosts_have_it(machine):
    machine.facts = replace(MACHINE, netem=True)
    assert prepare(delayed('"0.1 ms"')).figures.latency_s == pytest.approx(1e-4)
