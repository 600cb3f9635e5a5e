"""The user's own OpenSSH: how it is called, by which name it reaches a host, and which key it would show there."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pliant.errors import UserError
from pliant.machine.process import CommandFailed, run

_SECONDS = 20.0
_KEY = ("ssh-", "ecdsa-", "sk-")
ALIVE_S, ALIVE_COUNT = 10, 3
"""A host that says nothing at all for so many seconds, so many times, is lost (ssh_config(5), ServerAliveInterval)."""
_AS_ROOT = (
    'if [ "$(id -u)" = 0 ]; then exec "$@"; '
    'elif command -v sudo-g5k >/dev/null; then exec sudo-g5k "$@"; else exec sudo -n "$@"; fi'
)
"""How a program becomes root: by itself, by what Grid'5000 has for it, or by sudo."""


def asking_nobody(
    config: Path | None,
    options: Sequence[str],
    *,
    connect_s: float,
    alive_s: int = ALIVE_S,
    more: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The beginning of a command, before `-- HOST WORDS`, that has a host do something with nobody at a terminal: ssh
    asks nothing, says little, forwards nothing, and ends when the host is lost. `more` are further options."""
    own = {
        "BatchMode": "yes",
        "ConnectTimeout": f"{connect_s:.0f}",
        "LogLevel": "ERROR",
        "ServerAliveInterval": str(alive_s),
        "ServerAliveCountMax": str(ALIVE_COUNT),
        "ClearAllForwardings": "yes",
        "RemoteCommand": "none",
        **more,
    }
    return ["ssh", "-T", *given_to_ssh(config, [*options, *(f"{name}={value}" for name, value in own.items())])]


def given_to_ssh(config: Path | None, options: Sequence[str]) -> list[str]:
    """What every ssh to the same hosts is called with: `config` for -F, `options` for -o."""
    return [*(["-F", str(config)] if config else []), *(word for option in options for word in ("-o", option))]


def new_hosts(known_hosts: Path) -> tuple[str, ...]:
    """The options for hosts that were just installed: root is who lets in, and host keys are new, so that the first
    that is seen is taken, and no other one from then on, as long as the file `known_hosts` is kept."""
    place = str(known_hosts).replace("%", "%%")
    return (
        "User=root",
        f'UserKnownHostsFile="{place}"',
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=accept-new",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
    )


def as_root(words: str) -> str:
    """What a shell of another machine is given to run a command, in words for a shell, as root."""
    return f"sh -c {shlex.quote(f'set -- {words}; {_AS_ROOT}')}"


def settings(host: str, config: Path | None, options: Sequence[str] = ()) -> dict[str, list[str]]:
    """What ssh would go by for a host, key -> values, by `ssh -G` (ssh(1)); UserError."""
    try:
        argv = ["ssh", *given_to_ssh(config, options), "-G", "--", host]
        done = run(argv, timeout_s=_SECONDS, env=dict(os.environ)).check()
    except CommandFailed as error:
        raise UserError(f"ssh does not say how it would reach {host}: {error}") from error
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key.lower(), []).append(value)
    return found


def names(hosts: Sequence[str], config: Path | None, suffix: str, alias: str) -> tuple[str, ...]:
    """The names by which ssh reaches hosts: their own, or with `alias` in place of `suffix`, if the user's
    configuration takes the second on its way through another machine and not the first."""
    own = hosts[0]
    if not own.endswith(suffix) or _goes_through(own, config):
        return tuple(hosts)
    others = tuple(f"{host.removesuffix(suffix)}{alias}" for host in hosts)
    return others if _goes_through(others[0], config) else tuple(hosts)


def public_key(host: str, config: Path | None) -> str:
    """The public key that a host has to know so that ssh gets in: of the files that ssh would use the first that its
    agent has as well, else the first one of the agent's, else of the files. UserError, with a remedy, without any."""
    known = settings(host, config)
    files = [text for file in known.get("identityfile", ()) if (text := _public(Path(f"{file}.pub").expanduser()))]
    only = "yes" in known.get("identitiesonly", ())
    held = _held()
    both = [key for key in files if key.split()[1] in {each.split()[1] for each in held}]
    found: list[str] = [*both, *([] if only else held), *files]
    if not found:
        raise UserError(
            "no public key of yours was found to be let in with: there is none in ~/.ssh/id_*.pub, nor in your ssh "
            "agent (`ssh-add -L`); make one with `ssh-keygen -t ed25519`, or load one with `ssh-add`"
        )
    return found[0]


def _held() -> list[str]:
    """The keys of the user's ssh agent; none if there is no agent."""
    try:
        done = run(["ssh-add", "-L"], timeout_s=_SECONDS, env=dict(os.environ))
    except CommandFailed:
        return []
    return [line for line in done.stdout.splitlines() if _is_key(line)] if done.exit_status == 0 else []


def _public(file: Path) -> str:
    """The key in a file; "" if it has none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return text if _is_key(text) else ""


def _is_key(line: str) -> bool:
    return "\n" not in line and line.startswith(_KEY) and len(line.split()) >= 2


def door(host: str, config: Path | None, options: Sequence[str] = ()) -> str:
    """The sshd that has to let in who wants to reach a host: that of the machine on the way, or its own. UserError."""
    known = settings(host, config, options)
    return (known.get("proxyjump") or known.get("proxycommand") or [f"{known['hostname'][0]} {known['port'][0]}"])[0]


def _goes_through(host: str, config: Path | None) -> bool:
    return bool({"proxycommand", "proxyjump"} & settings(host, config).keys())
