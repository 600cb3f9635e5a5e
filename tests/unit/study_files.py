"""A small study file and a file system driver for the tests of studies."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.model import Composition, Node, Role

GOOD = """\
[study]
name = "small"
repetitions = 2
seed = 7

[platform]
kind = "emulated"
[platform.host]
cores = 0.2
nic = "200 Mbit/s"
disk = "60 MB/s"
memory = "1 GiB"

[filesystem]
kind = "glusterfs"
[filesystem.roles]
server = 4
client = 4
[filesystem.options]
volume = "distribute"

[fold]
ratios = [1, 2, 4]
strategy = "spread"
max_loss = "10 %"

[[workload]]
kind = "ior"
block = "8 MiB"
transfer = "1 MiB"

[[workload]]
kind = "mdtest"
files_per_rank = 20
"""

EXPLICIT = GOOD.replace('strategy = "spread"', 'strategy = "explicit"').replace(
    '[[workload]]\nkind = "ior"',
    """\
[fold.placement]
2 = [["server[1-2]"], ["server[3-4]"], ["client[1-2]"], ["client[3-4]"]]
4 = [["server"], ["client"]]

[[workload]]
kind = "ior\"""",
)


def edited(*edits: str, text: str = GOOD) -> str:
    """`text` with each "old => new" applied once; " \\n " in an edit is a line break."""
    for edit in edits:
        old, new = (part.replace(" \\n ", "\n") for part in edit.split("=>"))
        assert old.strip() in text, old
        text = text.replace(old.strip(), new.strip(), 1)
    return text


class BrokerOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str = "plain"
    token: str = Field(description="a shared secret")


class Broker:
    """A file system with exactly one broker, optional caches, at most three stores and at least two clients."""

    name: ClassVar[str] = "broker"
    Options: ClassVar[type[BaseModel]] = BrokerOptions

    @staticmethod
    def roles(options: Any) -> tuple[Role, ...]:
        if options.mode == "broken":
            raise ValueError('mode "broken" has no roles; write mode = "plain"')
        return (
            Role("broker", maximum=1),
            Role("store", maximum=3, disk="/srv/store"),
            Role("cache", minimum=0),
            Role("client", minimum=2, client=True),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: Any, seed: int) -> Composition:
        if sum(node.role == "store" for node in nodes) == 2:
            raise ValueError("two stores cannot agree; write 1 or 3")
        return Composition("broker", Broker.roles(options), nodes, (), "/mnt/dfs", (), ())


BROKER = GOOD.replace(
    'kind = "glusterfs"\n[filesystem.roles]\nserver = 4\nclient = 4\n[filesystem.options]\nvolume = "distribute"',
    'kind = "broker"\n[filesystem.roles]\nbroker = 1\nstore = 3\nclient = 4\n[filesystem.options]\ntoken = "abc"',
)
