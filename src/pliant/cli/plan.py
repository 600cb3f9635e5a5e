"""A composition as `pliant check --plan` shows it: for people, and as JSON. Nothing secret is in either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pliant.cluster.steps import as_text, in_words
from pliant.composition.model import Command, Composition, File, waves
from pliant.composition.nodeset import fold


def document(composition: Composition) -> dict[str, Any]:
    """Everything that is declared of a file system, as JSON has it."""
    return {
        "nodes": [{"name": n.name, "role": n.role, "address": n.address} for n in composition.nodes],
        "roles": [
            {"name": r.name, "minimum": r.minimum, "maximum": r.maximum, "client": r.client, "disk": r.disk}
            for r in composition.roles
        ],
        "mount": composition.mount,
        "programs": list(composition.programs),
        "packages": list(composition.packages),
        "kernel": list(composition.of_kernels),
        "files": {node: [_file(file) for file in files] for node, files in composition.files.items()},
        "identities": {
            node: {name: identity.shown for name, identity in named.items()}
            for node, named in composition.identities.items()
        },
        "order": [list(wave) for wave in waves(composition.steps)],
        "steps": [
            {
                "name": step.name,
                "after": list(step.after),
                "requires": list(step.requires),
                "daemon": step.daemon,
                "once": step.once,
                "timeout_s": step.timeout_s,
                "runs": {node: [_command(each) for each in commands] for node, commands in step.runs.items()},
                "ready": {node: _command(each) for node, each in step.ready.items()},
            }
            for step in composition.steps
        ],
        "health": {node: _command(each) for node, each in composition.health.items()},
        "unmount": {node: [_command(each) for each in commands] for node, commands in composition.unmount.items()},
        "clean": {node: [_command(each) for each in commands] for node, commands in composition.clean.items()},
    }


def _command(command: Command) -> dict[str, Any]:
    found: dict[str, Any] = {"argv": list(command.argv)}
    if command.expect is not None:
        found["expect"] = command.expect
    if command.stdin:
        found["stdin"] = command.stdin
    return found


def _file(file: File) -> dict[str, Any]:
    shown: dict[str, Any] = {"path": file.path, "mode": f"{file.mode:04o}", "owner": file.owner}
    return {**shown, "secret": True} if file.secret else {**shown, "content": file.content}


def lines(composition: Composition) -> Iterator[str]:
    """Everything that is declared of a file system, for people: what is done first comes first."""
    yield f"\nneeds {', '.join(composition.programs)}"
    if composition.of_kernels:
        yield f"  of the kernel: {', '.join(composition.of_kernels)}"
    yield from _identities(composition)
    yield from _files(composition)
    by_name = {step.name: step for step in composition.steps}
    for step in (by_name[name] for wave in waves(composition.steps) for name in wave):
        order = f" after {', '.join(step.after)}" if step.after else ""
        order += f" requires {', '.join(step.requires)}" if step.requires else ""
        yield f"\nstep {step.name}{', once' if step.once else ''}{order}, within {step.timeout_s:g} s"
        yield from (f"  {line}" for line in as_text(step))
    yield from _commands("after emptying a workload's directory, until it succeeds", composition.clean)
    yield from _commands("unmount", composition.unmount)
    yield from _commands("health", {node: (command,) for node, command in composition.health.items()})


def _identities(composition: Composition) -> Iterator[str]:
    if composition.identities:
        yield "\nidentities"
    for node, named in composition.identities.items():
        yield from (f"  {node}: {name} = {identity.shown}" for name, identity in named.items())


def _files(composition: Composition) -> Iterator[str]:
    """Each different file once, with the nodes that have it."""
    nodes: dict[File, list[str]] = {}
    for node, files in composition.files.items():
        for file in files:
            nodes.setdefault(file, []).append(node)
    for file, on in nodes.items():
        owner = "" if file.owner == "root" else f", of {file.owner}"
        yield f"\nfile {file.path} on {fold(on)}, mode {file.mode:04o}{owner}{' (secret)' if file.secret else ''}"
        if not file.secret:
            yield from (f"  | {line}" for line in file.content.splitlines())


def _commands(title: str, commands: Any) -> Iterator[str]:
    if commands:
        yield f"\n{title}"
    for node, each in commands.items():
        yield from (f"  {node}: {in_words(command)}" for command in each)
