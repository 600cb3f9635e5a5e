"""Runs the benchmarks as root, prints one table, and writes JSON: `python -m benchmarks.bench --help`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from pliant.machine.process import PATH

from . import disk, disturbed, fidelity, figures, hosts, kernels, large, mininet_side, scale, sharing, telemetry
from .machine import Bench, describe, others, stolen_s, version

PARTS: dict[str, tuple[Callable[[Bench], None], tuple[str, ...]]] = {
    "scale": (scale.run, ()),
    "mininet": (mininet_side.run, ("mnexec", "brctl")),
    "refold": (scale.run_refold, ()),
    "telemetry": (telemetry.run, ()),
    "cpu": (fidelity.run_cpu, ()),
    "sharing": (sharing.run, ("taskset",)),
    "disturbed": (disturbed.run, ("glusterd",)),
    "nic": (fidelity.run_nic, ("iperf3",)),
    "disk": (disk.run, ("dd", "fio")),
    "hosts": (hosts.run, ("sshd",)),
    "kernels": (kernels.run, ("linux.uml",)),
    "large": (large.run, ("mfsmaster", "mfschunkserver", "mfsmount")),
}
"""What there is to run, in this order, and the programs that each needs beside pliant's own."""


def _chosen(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()] or list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(PARTS)}", param_hint="--only")
    return [name for name in PARTS if name in names]


def _ready(names: list[str]) -> None:
    """Refuse to begin what could not be finished."""
    if os.geteuid() != 0:
        raise click.ClickException("the benchmarks make namespaces and loop devices: run them as root")
    wanted = [program for name in names for program in PARTS[name][1]]
    if lacking := [program for program in wanted if shutil.which(program, path=PATH) is None]:
        raise click.ClickException(f"{', '.join(lacking)} missing; run scripts/setup-bench")


def _show(results: figures.Results, file: Path) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name, value in results.machine.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    console.print(figures.table(results.figures))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(figures.to_json(results))
    console.print(f"JSON: {file}", highlight=False, markup=False)


def _interrupt(number: int, frame: object) -> None:
    """What asks us to end is to remove what is up, as Ctrl-C does."""
    raise KeyboardInterrupt


@click.command()
@click.option("--only", default="", metavar="PARTS", help=f"Some of: {','.join(PARTS)}.")
@click.option("--quick", is_flag=True, help="A small grid, about five minutes; not for conclusions.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="How often each is measured.")
@click.option("--json", "file", type=click.Path(path_type=Path), default=Path("build/bench.json"), show_default=True)
@click.option("--write-docs", type=click.Path(path_type=Path, exists=True), help="Put the table into this document.")
@click.option(
    "--from-json",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Measure nothing: show a former run, or several, of which each measured other parts.",
)
def main(
    only: str, quick: bool, repeats: int, file: Path, write_docs: Path | None, from_json: tuple[Path, ...]
) -> None:
    """Measure what the emulation promises and costs. Run it on an otherwise idle machine."""
    if from_json:
        results, status = figures.merged([figures.from_json(each.read_text()) for each in from_json]), 0
        Console().print(figures.table(results.figures))
    else:
        results, status = _measure(_chosen(only), only, quick, repeats, file)
    if write_docs is not None and status != 130:
        write_docs.write_text(figures.insert(write_docs.read_text(), results))
    sys.exit(status)


def _measure(names: list[str], only: str, quick: bool, repeats: int, file: Path) -> tuple[figures.Results, int]:
    """All figures, shown and written, and the exit status: 1 if something could not be measured, 130 if interrupted."""
    _ready(names)
    options = [f"--only {','.join(names)}"] * bool(only) + ["--quick"] * quick + [f"--repeats {repeats}"]
    bench = Bench(figures.Results(describe(" ".join(["python -m benchmarks.bench", *options]))), quick, repeats)
    machine = bench.results.machine
    tools = [version(program, "--version") for program in ("iperf3", "fio") if shutil.which(program, path=PATH)]
    machine["tools"] = ", ".join(" ".join(tool.split()[:2]) for tool in tools if tool)
    up = others()
    if up:
        bench.say(f"deployments of others are up ({up}): they take CPU, and pliant spares it for them")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    stolen, status = stolen_s(), 0
    try:
        for name in names:
            PARTS[name][0](bench)
    except KeyboardInterrupt:
        bench.say("interrupted: what was up is removed")
        status = 130
    passed = bench.passed_s()
    share = (stolen_s() - stolen) / passed / (os.cpu_count() or 1)
    machine["took"] = f"{passed / 60:.0f} min; the hypervisor took {share:.1%} of the CPU time".replace("%", " %")
    if up or bench.disturbed:
        waits = f"{bench.disturbed} times the machine did not become idle before a measurement"
        machine["disturbed"] = f"{waits}; deployments of others that were up at the beginning: {up}"
    _show(bench.results, file)
    return bench.results, status or int(any(figure.failed for figure in bench.results.figures))


if __name__ == "__main__":
    main()
