"""A composition's steps as systemd services of one role. Pure.

A service knows its own machine only: what a step needs of other nodes it tries again until it is there.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pliant.composition import Command, Composition, NixOS, Step
from pliant.export.nix import Lines, Raw, Value

DISK_UNIT = "data-disk.service"
BOOT_S = 300
"""What is added to a step's deadline: nodes boot at different moments."""
_DONE = "/var/lib/pliant-steps"
_LOCAL = ("mkdir",)
"""Programs that wait for no other node."""


def unit(composition: Composition, nixos: NixOS, step: str) -> str:
    """The service that carries out a step, without its suffix."""
    return nixos.units.get(step, f"{composition.filesystem}-{step}")


def shell(command: Command) -> str:
    """A command as bash runs it; what it prints is held against `expect` by grep.

    >>> shell(Command(("a", "b c"), expect="^ok$"))
    "a 'b c' | grep --perl-regexp --null-data --quiet -e '^ok$'"
    """
    text = shlex.join(command.argv)
    if command.stdin:
        text = f"printf %s {shlex.quote(command.stdin)} | {text}"
    if command.expect is not None:
        # The whole output at once, and ^ and $ of each line only where the expression says so, as in Python.
        text += f" | grep --perl-regexp --null-data --quiet -e {shlex.quote(command.expect)}"
    return text


def _until(command: Command, deadline_s: float) -> str:
    return f"until {shell(command)}; do\n  ((SECONDS < {deadline_s:.0f})) || exit 1\n  sleep 1\ndone\n"


def services(composition: Composition, nixos: NixOS, role: str) -> dict[str, Value]:
    """Name -> service, of each step that nodes of a role have a part in. ValueError if they have different parts."""
    names = [node.name for node in composition.nodes if node.role == role]
    found: dict[str, Value] = {}
    for step in composition.steps:
        concerned = [name for name in names if name in step.nodes]
        if concerned:
            found[unit(composition, nixos, step.name)] = _service(composition, nixos, step, role, concerned)
    return found


def _service(composition: Composition, nixos: NixOS, step: Step, role: str, nodes: list[str]) -> dict[str, Value]:
    if len({(step.runs.get(name), step.ready.get(name)) for name in nodes}) > 1:
        raise ValueError(f'step "{step.name}" is not the same on all {role} nodes, and they are one image')
    first, deadline_s = nodes[0], step.timeout_s + BOOT_S
    ready = _until(step.ready[first], deadline_s) if first in step.ready else ""
    service: dict[str, Value] = {} if step.name in nixos.units else {"wantedBy": ["multi-user.target"]}
    service |= _order(composition, nixos, step, role)
    service["path"] = [Raw(f"pkgs.{package}") for package in (*nixos.packages, "util-linux", "procps")]
    if step.daemon and step.name in nixos.units:
        return service | ({"postStart": Lines(ready)} if ready else {}) | _timeout(deadline_s)
    if len(nodes) < sum(node.role == role for node in composition.nodes):
        # A triggering condition each: one that holds is enough.
        service["unitConfig.ConditionHost"] = [f"|{name}" for name in nodes]
    if step.daemon:
        (command,) = step.runs[first]
        service["script"] = Lines(f"exec {shell(command)}\n")
        service |= {"postStart": Lines(ready)} if ready else {}
        return service | {"serviceConfig.Restart": "on-failure", "serviceConfig.RestartSec": 2} | _timeout(deadline_s)
    commands = step.runs.get(first, ())
    waits = any(set(composition.step(name).nodes) - {first} for name in step.follows)
    script = "".join(_run(command, waits, deadline_s) for command in commands) + ready
    if step.once:
        service["unitConfig.ConditionPathExists"] = f"!{_DONE}/{step.name}"
        script += f"mkdir -p {_DONE}\ntouch {_DONE}/{step.name}\n"
    service["script"] = Lines(script)
    if step.name == "mount" and first in composition.unmount:
        service["preStop"] = Lines("".join(f"{shell(each)}\n" for each in composition.unmount[first]))
    return service | {"serviceConfig.Type": "oneshot", "serviceConfig.RemainAfterExit": True}


def _timeout(deadline_s: float) -> dict[str, Value]:
    return {"serviceConfig.TimeoutStartSec": round(deadline_s) + 10}


def _run(command: Command, waits: bool, deadline_s: float) -> str:
    return _until(command, deadline_s) if waits and command.argv[0] not in _LOCAL else f"{shell(command)}\n"


def _order(composition: Composition, nixos: NixOS, step: Step, role: str) -> dict[str, Value]:
    """What a service comes after on its own machine, and what it requires there."""

    def here(steps: Iterable[str]) -> list[str]:
        own = {node.name for node in composition.nodes if node.role == role}
        with_part = [name for name in steps if own & set(composition.step(name).nodes)]
        return [f"{unit(composition, nixos, name)}.service" for name in with_part]

    after, requires = here(step.follows), here(step.requires)
    order: dict[str, Value] = {}
    if not after:
        disk = [DISK_UNIT] if composition.role(role).disk else []
        after, requires = ["network-online.target", *disk], disk
        order["wants"] = ["network-online.target"]
    order["after"] = after
    return order | ({"requires": requires} if requires else {})
