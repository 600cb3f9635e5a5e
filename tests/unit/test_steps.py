"""Carrying out steps: order, parallelism, readiness and failure, on nodes that are none."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pliant.cluster.steps import Runner, StepFailed, as_text, last_lines, waves
from pliant.composition.model import Command, Composition, Node, Role, Step
from pliant.machine.process import CommandFailed, Completed


class FakeNodes:
    """Nodes whose commands are functions: `does["up"]` is what `up ...` does, given the node; else it succeeds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.does: dict[str, Callable[[str], object]] = {}
        self.calls: list[tuple[str, str]] = []
        self.timeouts: list[float] = []
        self.daemons: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def execute(self, node, argv, *, timeout_s, stdin=""):
        with self._lock:
            self.calls.append((node, " ".join(argv) + (f" <{stdin}" if stdin else "")))
            self.timeouts.append(timeout_s)
        result = self.does.get(argv[0], lambda node: "")(node)
        if isinstance(result, Completed):
            return result
        return Completed(tuple(argv), 0, str(result), "", node)

    def popen(self, node, argv, log):
        with self._lock:
            self.calls.append((node, " ".join(argv) + " &"))
        with log.open("ab") as file:
            process = subprocess.Popen(argv, stdout=file, stderr=file, start_new_session=True)
        self.daemons.append(process)
        return process

    def log(self, node, name):
        return self.directory / f"{node}-{name}.log"


@pytest.fixture
def nodes(tmp_path):
    fake = FakeNodes(tmp_path)
    yield fake
    for process in fake.daemons:
        process.kill()
        process.wait()


def step(name: str, *on: str, after: tuple[str, ...] = (), **options) -> Step:
    return Step(name, {node: (Command((name,)),) for node in on or ("n1",)}, after=after, **options)


def carry_out(nodes: FakeNodes, *steps: Step, tail: Callable[[str], str] = lambda node: "") -> list[str]:
    said: list[str] = []
    Runner(nodes, tail).carry_out(steps, said.append)
    return said


# Order


def test_waves():
    steps = [step("c", after=("a", "b")), step("a"), step("b", after=("a",)), step("d"), step("e", after=("d",))]
    assert waves(steps) == [("a", "d"), ("b", "e"), ("c",)]
    assert waves([]) == []


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([step("a", after=("b",)), step("b", after=("a",))], "steps wait for each other: a, b"),
        ([step("a", after=("a",))], "steps wait for each other: a"),
        (
            [step("z"), step("b", after=("c", "z")), step("c", after=("d",)), step("d", after=("b",))],
            "steps wait for each other: b, c, d",
        ),
        ([step("a", after=("nothing",))], 'step "a" comes after "nothing", which is not a step'),
    ],
)
def test_an_order_that_cannot_be_is_refused_before_anything_runs(nodes, steps, sentence):
    with pytest.raises(ValueError) as refused:
        waves(steps)
    assert str(refused.value) == sentence
    with pytest.raises(ValueError):
        carry_out(nodes, *steps)
    assert nodes.calls == []


def test_a_step_comes_after_the_others_it_names(nodes):
    nodes.does["slow"] = lambda node: time.sleep(0.2 if node == "n2" else 0.0)
    ended = []
    nodes.does["next"] = lambda node: ended.append(time.monotonic() - began)
    began = time.monotonic()
    steps = [
        step("last", after=("slow", "quick")),
        step("slow", "n1", "n2"),
        step("quick"),
        step("next", after=("slow",)),
    ]
    said = carry_out(nodes, *steps)
    assert ended[0] >= 0.2  # not when the first of its nodes is done
    assert [name for _, name in nodes.calls].index("last") >= 3
    assert max(nodes.calls.index(("n1", "slow")), nodes.calls.index(("n2", "slow"))) < nodes.calls.index(("n1", "next"))
    assert sorted(said) == ["last", "next", "quick", "slow"]
    assert said[:2] == ["slow", "quick"]


def test_a_step_that_is_not_ready_keeps_those_after_it_waiting(nodes):
    asked = []

    def ready(node: str) -> str:
        asked.append(node)
        return "yes" if len(asked) >= 3 else "no"

    nodes.does["ready"] = ready
    carry_out(nodes, step("a", ready={"n1": Command(("ready",), expect="yes")}), step("b", after=("a",)))
    assert [name for _, name in nodes.calls] == ["a", "ready", "ready", "ready", "b"]


def test_nodes_of_a_step_and_independent_steps_run_at_once(nodes):
    together = threading.Barrier(4, timeout=5)
    nodes.does["x"] = nodes.does["y"] = lambda node: together.wait()
    carry_out(nodes, step("x", "n1", "n2", "n3"), step("y", "n1"))
    assert len(nodes.calls) == 4


def test_commands_of_one_node_run_one_after_the_other_until_one_fails(nodes):
    nodes.does["bad"] = lambda node: Completed(("bad",), 3, "", "no\n", node)
    commands = (Command(("first",)), Command(("bad",)), Command(("never",)))
    with pytest.raises(StepFailed):
        carry_out(nodes, Step("s", {"n1": commands}))
    assert [name for _, name in nodes.calls] == ["first", "bad"]


def test_steps_without_nodes_are_done_at_once(nodes):
    said = carry_out(nodes, Step("nothing", {}), step("a", after=("nothing",)), Step("end", {}, after=("a",)))
    assert said == ["nothing", "a", "end"]
    assert carry_out(nodes) == []


def test_a_step_may_only_wait(nodes):
    carry_out(nodes, Step("wait", {}, ready={"n2": Command(("ready",))}))
    assert nodes.calls == [("n2", "ready")]


# Failure


def test_a_command_that_fails_says_which_step_node_and_why(nodes):
    nodes.does["mount"] = lambda node: Completed(("mount",), 32 if node == "n2" else 0, "", "no route\n", node)
    with pytest.raises(StepFailed) as failed:
        carry_out(nodes, step("mount", "n1", "n2"), tail=lambda node: f"--- {node}:glusterd.log\nE: cannot")
    error = failed.value
    assert (error.step, error.node) == ("mount", "n2")
    assert str(error) == 'step "mount" failed on n2: n2: `mount` ended with status 32: no route'
    assert error.log == "--- n2:glusterd.log\nE: cannot"


def test_output_that_is_not_what_was_expected_is_a_failure(nodes):
    nodes.does["create"] = lambda node: "volume create: pliant: failed"
    with pytest.raises(StepFailed, match=r"no /success/ in: volume create: pliant: failed"):
        carry_out(nodes, Step("s", {"n1": (Command(("create",), expect="success"),)}))


def test_a_daemon_that_dies_before_it_is_ready_is_told_with_the_end_of_its_log(nodes):
    nodes.does["ready"] = lambda node: Completed(("ready",), 1, "", "not yet", node)
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; done; exit 7"
    daemon = Step(
        "glusterd",
        {"n1": (Command(("sh", "-c", script)),)},
        daemon=True,
        ready={"n1": Command(("ready",))},
        timeout_s=20,
    )
    began = time.monotonic()
    with pytest.raises(StepFailed) as failed:
        carry_out(nodes, daemon, tail=lambda node: "tail of " + node)
    assert time.monotonic() - began < 5
    error = failed.value
    assert (error.step, error.node) == ("glusterd", "n1")
    assert "ended with status 7: the daemon ended" in error.reason
    assert error.log.splitlines() == [*(f"line {n}" for n in range(3, 13)), "tail of n1"]


def test_a_command_reads_what_it_is_given(nodes):
    carry_out(nodes, Step("s", {"n1": (Command(("tee", "f"), stdin="text"),)}))
    assert nodes.calls == [("n1", "tee f <text")]


def test_a_daemon_that_runs_is_left_running(nodes):
    daemon = Step("d", {"n1": (Command(("sleep", "60")),)}, daemon=True, ready={"n1": Command(("ready",))})
    carry_out(nodes, daemon)
    assert nodes.daemons[0].poll() is None
    assert nodes.calls == [("n1", "sleep 60 &"), ("n1", "ready")]


def test_a_step_that_is_not_ready_by_its_deadline(nodes):
    nodes.does["ready"] = lambda node: "waiting for n2"
    began = time.monotonic()
    with pytest.raises(StepFailed) as failed:
        carry_out(nodes, step("pool", ready={"n1": Command(("ready",), expect="all")}, timeout_s=0.4))
    assert 0.3 < time.monotonic() - began < 2
    assert "did not end in time: not ready in time; last: " in failed.value.reason
    assert "no /all/ in: waiting for n2" in failed.value.reason
    assert len(nodes.calls) > 2


def test_commands_get_what_is_left_of_the_deadline(nodes):
    nodes.does["s"] = lambda node: time.sleep(0.1)
    carry_out(nodes, Step("s", {"n1": (Command(("s",)), Command(("s",)))}, timeout_s=30))
    first, second = nodes.timeouts
    assert 29 < second < first - 0.09 < 30
    nodes.timeouts.clear()
    carry_out(nodes, Step("s", {"n1": (Command(("s",)), Command(("s",)))}, timeout_s=0.05))
    assert nodes.timeouts[1] == 1.0  # what was started may end


def test_a_command_that_does_not_end_is_a_failed_step(nodes):
    def late(node: str) -> None:
        raise CommandFailed(["s"], None, "", "", node)

    nodes.does["s"] = late
    with pytest.raises(StepFailed, match=r'step "s" failed on n1: n1: `s` did not end in time'):
        carry_out(nodes, step("s"))


def test_the_first_failure_ends_it_and_nothing_new_is_started(nodes):
    nodes.does["bad"] = lambda node: Completed(("bad",), 1, "", "", node)
    nodes.does["never-ready"] = lambda node: Completed(("never-ready",), 1, "", "", node)
    waiting = step("good", "n2", "n3", ready={n: Command(("never-ready",)) for n in ("n2", "n3")}, timeout_s=60)
    began = time.monotonic()
    with pytest.raises(StepFailed) as failed:
        carry_out(nodes, waiting, step("bad"), step("later", after=("bad",)))
    assert failed.value.step == "bad"
    assert time.monotonic() - began < 2
    time.sleep(0.3)
    asked = len(nodes.calls)
    time.sleep(0.3)
    assert len(nodes.calls) == asked  # the others have stopped asking
    assert ("n1", "later") not in nodes.calls


def test_an_interrupt_ends_it_too(nodes):
    nodes.does["never-ready"] = lambda node: Completed(("never-ready",), 1, "", "", node)

    def interrupt(name: str) -> None:
        if name == "second":
            raise KeyboardInterrupt

    steps = [step("first"), step("waits", ready={"n1": Command(("never-ready",))}), step("second", after=("first",))]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Runner(nodes, lambda node: "").carry_out(steps, interrupt)
    assert time.monotonic() - began < 2
    assert ("n1", "second") not in nodes.calls


# Starting again


def started(nodes: FakeNodes, node: str, *steps: Step) -> list[str]:
    """Start one of the nodes n1 to n3 again, and return the steps that it said."""
    known = tuple(Node(f"n{i}", "client", i, f"10.0.0.{i}") for i in (1, 2, 3))
    composition = Composition("x", (Role("client", client=True),), known, steps, "/mnt", (), ())
    said: list[str] = []
    Runner(nodes, lambda node: "").start(composition, node, said.append)
    return said


def test_a_node_that_starts_again_runs_its_own_part_alone(nodes):
    make = Step("make", {"n1": (Command(("mkfs",)),)}, once=True)
    serve = Step("serve", {n: (Command(("d", n)),) for n in ("n1", "n2")}, requires=("make",))
    assert started(nodes, "n1", step("last", after=("serve",)), serve, make) == ["serve", "last"]
    assert nodes.calls == [("n1", "d n1"), ("n1", "last")]


def test_a_node_that_starts_again_waits_for_what_it_requires_of_others(nodes):
    answers = iter(["no", "no", "yes"])
    nodes.does["ask"] = lambda node: next(answers) if node == "n2" else Completed(("ask",), 1, "", "dead", node)
    serve = Step("serve", {}, ready={n: Command(("ask",), expect="yes") for n in ("n3", "n2")})
    started(nodes, "n1", serve, step("mount", requires=("serve",)))
    assert nodes.calls == [("n3", "ask"), ("n2", "ask")] * 3 + [("n1", "mount")]


def test_a_node_that_starts_again_does_not_wait_for_what_only_came_before(nodes):
    serve = Step("serve", {}, ready={"n2": Command(("ask",), expect="yes")})
    started(nodes, "n1", serve, step("mount", after=("serve",)))
    assert nodes.calls == [("n1", "mount")]


def test_a_node_that_starts_again_fails_without_what_it_requires(nodes):
    serve = Step("serve", {}, ready={"n2": Command(("ask",), expect="yes")})
    with pytest.raises(StepFailed) as failed:
        started(nodes, "n1", serve, step("mount", requires=("serve",), timeout_s=0.3))
    assert 'step "mount" failed on n1: it requires "serve", which is ready on no node: n2: `ask`' in str(failed.value)
    assert ("n1", "mount") not in nodes.calls


# In words


def test_a_step_as_text():
    daemon = Step(
        "d",
        {"n1": (Command(("glusterd", "--no-daemon")),)},
        daemon=True,
        ready={"n1": Command(("gluster", "peer status"), expect="Peers: 0"), "n2": Command(("true",))},
    )
    assert as_text(daemon) == [
        "n1: glusterd --no-daemon &",
        "n1: wait until gluster 'peer status' shows /Peers: 0/",
        "n2: wait until true succeeds",
    ]
    assert as_text(Step("s", {"n1": (Command(("mkdir", "a b")), Command(("ls",)))})) == ["n1: mkdir 'a b'", "n1: ls"]


def test_last_lines():
    assert last_lines("1\n2\n3\n", 2) == "2\n3"
    assert last_lines("1", 5) == "1"
    assert last_lines("", 5) == ""
