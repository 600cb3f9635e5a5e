"""The command line: quick, one line for a mistake, exit statuses."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from study_files import GOOD, edited

from pliant import cli
from pliant.cli import COMMANDS
from pliant.cluster.steps import StepFailed
from pliant.errors import FatalError, TrialError, UserError
from pliant.machine.process import CommandFailed

ROOT = Path(__file__).parents[2]
PLIANT = Path(sys.executable).parent / "pliant"
QUICKSTART = str(ROOT / "studies/quickstart.toml")


def pliant(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PLIANT, *argv], capture_output=True, text=True, timeout=30, check=False, **options)


@pytest.fixture
def alone(monkeypatch):
    """No deployment of another test counts against the machine's budget."""
    monkeypatch.setattr("pliant.campaign.preparation.promises", lambda: [])


def invoke(*argv: str) -> str:
    result = CliRunner().invoke(cli.cli, list(argv), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


# Help


def test_help_lists_every_command():
    done = pliant("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = done.stdout.partition("Commands:")[2].splitlines()
    for name, line in COMMANDS.items():
        assert any(entry.split() == [name, *line.split()] for entry in listed), name
    assert done.stdout == pliant("-h").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell):
    done = pliant(env={**os.environ, "_PLIANT_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0 and "_PLIANT_COMPLETE" in done.stdout
    words = {"COMP_WORDS": "pliant re", "COMP_CWORD": "re" if shell == "fish" else "1"}
    done = pliant(env={**os.environ, "_PLIANT_COMPLETE": f"{shell}_complete", **words})
    assert all(name in done.stdout for name in ("report", "refold", "reset")) and "doctor" not in done.stdout


def test_a_state_that_cannot_be_used_is_said_before_anything():
    for state in ("relative", "/with space", "/a,b", "/"):
        done = pliant("ps", env={**os.environ, "PLIANT_STATE": state})
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f'PLIANT_STATE="{state}" cannot be used') and done.stderr.count("\n") == 1


def test_help_is_quick():
    """The goal is 0.2 s; the limit leaves room for a slow machine."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        pliant("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.4


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["run", "--help"], ["check", "--help"], ["nonsense"]])
def test_nothing_heavy_is_imported_to_say_what_there_is(argv):
    script = (
        "import sys\nfrom pliant.cli import cli\n"
        f"try:\n    cli({argv!r})\nexcept SystemExit:\n    pass\n"
        "heavy = 'pydantic numpy scipy matplotlib rich jinja2 mpi4py sqlite3'.split()\n"
        "print('HEAVY', sorted(set(heavy) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    said = invoke(name, "--help")
    assert said.startswith(f"Usage: cli {name} ")
    assert "-h, --help" in said
    assert len(said.splitlines()) > 5


def test_there_is_a_file_for_every_command_and_no_other():
    files = {path.stem[:-1] for path in Path(cli.__file__).parent.glob("*_.py") if not path.stem.startswith("__")}
    assert files == set(COMMANDS)


def test_version():
    assert pliant("--version").stdout.split()[0] == "pliant"


# Mistakes


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["check"], "Missing argument 'STUDY'"),
        (["check", "--nonsense", "x"], "--nonsense"),
        (["exec", "server1"], "Missing argument"),
        (["refold", "abcd", "--ratio", "two"], "'two' is not a valid float"),
    ],
)
def test_usage_errors(argv, words):
    done = pliant(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["check", "run", "up"])
def test_a_file_that_is_not_there_is_one_line(command, tmp_path):
    done = pliant(command, "nothing.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nothing.toml: there is no such file; write one as docs/study-file.md shows\n"


def test_a_bad_study_is_a_line_for_each_mistake(tmp_path):
    (tmp_path / "a.toml").write_text(edited('nic = "200 Mbit/s" => nic = "200 Mb"', "server = 4 => server = 0"))
    done = pliant("check", "a.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith('a.toml: platform.host.nic: "200 Mb" is not')
    assert lines[1].startswith("a.toml: filesystem.roles.server: 0 is too small")


def test_a_report_of_what_is_no_run(tmp_path):
    done = pliant("report", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "argv", [["run", QUICKSTART], ["up", QUICKSTART], ["exec", "all", "--", "true"], ["down", "--all"]]
)
def test_without_root_it_says_so_in_a_line(argv, monkeypatch):
    def touched(*args, **kwargs) -> None:
        raise AssertionError("the machine was touched")

    for place in ("pliant.campaign.preparation.prepare", "pliant.machine.cgroups.probe"):
        monkeypatch.setattr(place, touched)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(cli.cli, argv)
    assert isinstance(result.exception, UserError)
    assert "needs root, to make namespaces, mounts and control groups; run it with sudo" in str(result.exception)


def test_results_are_not_written_over(tmp_path, monkeypatch, alone):
    def run(*args, **options) -> None:
        raise AssertionError("it ran")

    monkeypatch.setattr("pliant.campaign.engine.run", run)  # should the refusal fail, nothing must be deployed
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "precious").touch()
    with pytest.raises(UserError, match="is not empty and holds no run; choose another directory with --output"):
        CliRunner().invoke(cli.cli, ["run", QUICKSTART, "--output", str(tmp_path)], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


# check


def test_check_shows_what_a_study_would_do(alone):
    said = invoke("check", QUICKSTART)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines[0].endswith("glusterfs-quickstart is a good study")
    assert "file system glusterfs: 4 servers, 4 clients" in lines
    grid = "2 workloads x 4 ratios x 25 repetitions at most"
    assert f"trials at most 200 and some more of the baseline, mostly far fewer: {grid}" in lines
    begins = "the search begins where the last run broke, or else NICs and disks alone would: at ratio 8"
    tolerated = "tolerated a loss of 10 %, give or take 5 %"
    assert {f"trials {begins}", "trials none begins after 5 min", tolerated} <= {*lines}
    ratios = [line for line in lines if line.startswith("ratio ")]
    assert [line.partition(")")[0] for line in ratios] == [
        "ratio 1 8 hosts (baseline",
        "ratio 2 4 hosts (spread",
        "ratio 4 2 hosts (spread",
        "ratio 8 1 host (spread",
    ]
    assert "host1: server1; host2: server2; " in ratios[0]
    assert "server[1-4]" in ratios[3]
    assert "client[1-4]" in ratios[3]


def test_check_shows_every_command(alone):
    said = invoke("check", "--plan", QUICKSTART)
    assert "step glusterd, within" in said
    assert "  server1: gluster --mode=script peer probe server4\n" in said
    assert "  client4: mkdir -p /mnt/dfs\n" in said
    assert "step volume, once requires pool, within" in said
    assert "\nhealth\n  client1: stat" in said
    assert "workload mdtest, " in said


def test_check_as_json(alone):
    plan = json.loads(invoke("check", "--json", QUICKSTART))
    assert plan["trials"] == 200
    assert list(plan["placements"]) == ["1", "2", "4", "8"]
    everyone = {node["name"] for node in plan["nodes"]}
    for placement in plan["placements"].values():
        assert {node for nodes in placement.values() for node in nodes} == everyone
    assert [step["name"] for step in plan["steps"]] == ["glusterd", "pool", "volume", "mount"]
    assert plan["order"] == [["glusterd"], ["pool"], ["volume"], ["mount"]]
    assert plan["steps"][0]["runs"]["server1"][0]["argv"][2] == "glusterd"
    assert plan["versions"]["glusterfs-server"]
    assert [workload["name"] for workload in plan["workloads"]] == ["ior", "mdtest"]


def test_check_shows_the_real_host_and_its_scale(tmp_path, alone):
    figures = 'cores = 0.2 \\n nic = "200 Mbit/s" \\n disk = "60 MB/s" \\n memory = "1 GiB"'
    scaled = 'like = "grid5000/chifflot" \\n disk = "4 GB/s" \\n scale = 2000 \\n memory = "64 MiB"'
    (tmp_path / "a.toml").write_text(edited(f"{figures} => {scaled}"))
    lines = [" ".join(line.split()) for line in invoke("check", str(tmp_path / "a.toml")).splitlines()]
    assert lines[2].startswith("real host grid5000/chifflot: 24 cores, 25 Gbit/s each way, 4 GB/s of disk")
    assert lines[3] == "scale 2000; CPU, NIC and disk are divided by it, memory is not"
    assert lines[4].startswith(
        "a host 0.012 cores, 12.5 Mbit/s each way, 2 MB/s of disk each for reads and writes, 64 MiB"
    )
    plan = json.loads(invoke("check", "--json", str(tmp_path / "a.toml")))
    assert (plan["scale"], plan["like"], plan["disk_caveat"]) == (2000, "grid5000/chifflot", "")
    assert (plan["host"]["cores"], plan["real_host"]["cores"]) == (0.012, 24)
    plain = json.loads(invoke("check", "--json", QUICKSTART))
    assert (plain["scale"], plain["like"], plain["real_host"]) == (1, "", None)


def test_check_says_of_a_disk_rate_that_it_is_a_bound(tmp_path, alone):
    figures = 'cores = 0.2 \\n nic = "200 Mbit/s" \\n disk = "60 MB/s" \\n memory = "1 GiB"'
    like = 'like = "grid5000/dahu" \\n scale = 500 \\n memory = "64 MiB"'
    (tmp_path / "a.toml").write_text(edited(f"{figures} => {like}"))
    lines = [" ".join(line.split()) for line in invoke("check", str(tmp_path / "a.toml")).splitlines()]
    assert lines[3].startswith(
        "its disk 600 MB/s is an upper bound, what its interface carries (SATA at 6 Gbit/s), and"
    )
    assert "overrides it" in json.loads(invoke("check", "--json", str(tmp_path / "a.toml")))["disk_caveat"]


def test_check_refuses_what_does_not_fit_and_names_what_does(tmp_path, alone):
    (tmp_path / "a.toml").write_text(edited("cores = 0.2 => cores = 1000"))
    with pytest.raises(UserError, match=r"a\.toml: platform\.host\.cores: .*; the largest value that fits is \d"):
        CliRunner().invoke(cli.cli, ["check", str(tmp_path / "a.toml")], catch_exceptions=False)


def test_check_touches_nothing(tmp_path, alone, monkeypatch):
    (tmp_path / "a.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    invoke("check", "a.toml", "--plan")
    assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]


# Exit statuses


@pytest.fixture
def main(monkeypatch):
    """Calls main() with a command that raises or returns; the handlers of signals are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def call(outcome: object) -> int | str | None:
        def command(**kwargs):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(cli, "cli", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (3, 3, ""),
        ("text", 0, ""),
        (UserError("a.toml: no"), 2, "a.toml: no\n"),
        (FatalError("disk full"), 1, "failed: disk full\n"),
        (TrialError("late"), 1, "failed: late\n"),
        (
            StepFailed("pool", "server1", "why", "log 1\nlog 2"),
            1,
            'failed: step "pool" failed on server1: why\nlog 1\nlog 2\n',
        ),
        (CommandFailed(["tc"], 2, "", "no"), 1, "failed: `tc` ended with status 2: no\n"),
        (OSError(28, "No space left on device"), 1, "failed: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (cli.Interrupted("SIGTERM"), 130, "interrupted\n"),
        (click.exceptions.Abort(), 130, "interrupted\n"),
        (click.UsageError("bad"), 2, "Error: bad\n"),
    ],
)
def test_exit_statuses(main, capsys, outcome, status, said):
    assert main(outcome) == status
    assert capsys.readouterr() == ("", said)


def test_a_fault_of_ours_is_not_hidden(main):
    with pytest.raises(ZeroDivisionError):
        main(ZeroDivisionError())


def test_sigterm_is_an_interruption(main):
    for number in (signal.SIGTERM, signal.SIGHUP):
        main(None)  # installs the handlers
        with pytest.raises(cli.Interrupted, match=signal.Signals(number).name):
            os.kill(os.getpid(), number)


def test_what_comes_after_the_first_interrupt_stops_no_removal(main):
    main(None)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
        # What is started meanwhile can still be ended by it.
        assert subprocess.run(["sh", "-c", f"kill -{number.value} $$"], timeout=10).returncode == -number
