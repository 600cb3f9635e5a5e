"""Options of commands that work on other machines too, and their agents."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pliant.platforms.agents import Agent, HostError

hosts_option = click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOSTS",
    help="Of these machines, by ssh, instead of this one: node[1-8], user@node1, or @FILE with one on each line.",
)
config_option = click.option(
    "--ssh-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What ssh reads instead of ~/.ssh/config.",
)


@contextmanager
def agents(specs: Sequence[str], config: Path | None) -> Iterator[dict[str, Agent | HostError]]:
    """Host -> its agent, or why there is none; they end with the block."""
    from pliant.platforms.agents import close, connect, hosts_of

    hosts = hosts_of(specs)
    shown = sys.stderr.isatty()
    reached = 0

    def told(host: str) -> None:
        nonlocal reached
        reached += 1
        if shown:
            print(f"\r\x1b[K{reached} of {len(hosts)} hosts asked", end="", file=sys.stderr, flush=True)

    found = connect(hosts, config=config, told=told)
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    try:
        yield found
    finally:
        close(found.values())


def complain(found: Mapping[str, object]) -> bool:
    """Say which hosts could not be reached, or could not do it, and why; whether there are any."""
    from pliant.platforms.agents import HostError

    errors = [each for each in found.values() if isinstance(each, HostError)]
    for each in errors:
        print(each, file=sys.stderr)
    return bool(errors)
