"""Which nodes are one NixOS image, and what of it only a node itself can know. Pure.

An image is made once for all nodes of a role. So what differs between them has to be found out when a node runs (its
name, its own and others' addresses), or the role is one image for each node, made from one module with parameters
(an id, a uuid, a key).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pliant.composition.model import Command, Composition, File, Node, Role

# Marks within texts, of the characters that Unicode leaves to private use; what is in a study is never looked at for
# them but by name.
_ADDRESS, _OWN, _PARAMETER, _END = "\ue000", "\ue001", "\ue002", "\ue003"
MARKS = re.compile(f"({_ADDRESS}[^{_END}]+{_END}|{_OWN}|{_PARAMETER}[a-z_]+{_END})")
_PLAIN = re.compile(r"[A-Za-z0-9._:/=+-]+", re.ASCII)
"""What a parameter may be: it needs no quotes in any language."""


def placed(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes with marks for addresses, which are not known before they boot."""
    return tuple(replace(node, address=f"{_ADDRESS}{node.name}{_END}") for node in nodes)


def shown(mark: str) -> tuple[str, str]:
    """What a mark stands for: ("own", ""), ("address", node or "") and ("parameter", name)."""
    if mark == _OWN:
        return "own", ""
    kind = "address" if mark[0] == _ADDRESS else "parameter"
    return kind, mark[1:-1].replace(_OWN, "")


def parameter(name: str) -> str:
    """The mark of a parameter."""
    return f"{_PARAMETER}{name}{_END}"


@dataclass(frozen=True)
class Part:
    """What nodes of an image do in one step: commands, and how it is known to be done."""

    runs: tuple[Command, ...]
    ready: Command | None


@dataclass(frozen=True)
class Image:
    """Nodes that one module describes. `parameters` maps each node to its own, where each is an image of its own."""

    role: Role
    nodes: tuple[str, ...]
    parts: Mapping[str, Part]
    """Step -> what these nodes do in it."""
    files: tuple[File, ...]
    parameters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters."""
        return tuple(next(iter(self.parameters.values()), {}))


def images(composition: Composition, written: Collection[str] = ()) -> list[Image]:
    """An image for each role that has nodes; ValueError where its nodes differ in what nobody can tell apart.

    `written` are the paths of files that somebody else writes.
    """
    found = []
    for role in composition.roles:
        nodes = tuple(node.name for node in composition.nodes if node.role == role.name)
        if nodes:
            found.append(_image(composition, role, nodes, written))
    return found


def _image(composition: Composition, role: Role, nodes: tuple[str, ...], written: Collection[str]) -> Image:
    values: dict[str, dict[str, str]] = {node: {} for node in nodes}
    parts = {}
    for step in composition.steps:
        concerned = [node for node in nodes if node in step.nodes]
        if concerned:
            what = f'step "{step.name}" is not the same on all {role.name} nodes'
            all_runs = {node: step.runs.get(node, ()) for node in concerned}
            all_ready = {node: step.ready.get(node) for node in concerned}
            parts[step.name] = Part(*_part(composition, all_runs, all_ready, values, what))
    own = {node: [file for file in composition.files.get(node, ()) if file.path not in written] for node in nodes}
    files = _files(own, values)
    differ = any(values.values())
    if differ and not all(set(each) == set(values[nodes[0]]) for each in values.values()):
        raise ValueError(f"{role.name} nodes differ in what only some of them have")
    return Image(role, nodes, parts, files, values if differ else {})


def _part(
    composition: Composition,
    runs: Mapping[str, tuple[Command, ...]],
    ready: Mapping[str, Command | None],
    values: dict[str, dict[str, str]],
    what: str,
) -> tuple[tuple[Command, ...], Command | None]:
    first = next(iter(runs))
    if len({(runs[node], ready[node]) for node in runs}) == 1:
        return runs[first], ready[first]
    if len({tuple(len(command.argv) for command in each) for each in runs.values()}) > 1:
        raise ValueError(what)
    identities = {
        node: {name: each.value for name, each in composition.identities.get(node, {}).items() if not each.secret}
        for node in runs
    }
    common = [
        _command({node: runs[node][number] for node in runs}, identities, values, what)
        for number in range(len(runs[first]))
    ]
    asked = {node: command for node, command in ready.items() if command is not None}
    if len(asked) not in (0, len(runs)):
        raise ValueError(what)
    return tuple(common), _command(asked, identities, values, what) if asked else None


def _command(
    each: Mapping[str, Command],
    identities: Mapping[str, Mapping[str, str]],
    values: dict[str, dict[str, str]],
    what: str,
) -> Command:
    def word(get: Callable[[Command], str]) -> str:
        return _common({node: get(command) for node, command in each.items()}, identities, values, what)

    first = next(iter(each.values()))
    if len({(len(c.argv), c.expect is None) for c in each.values()}) > 1:
        raise ValueError(what)
    argv = tuple(word(lambda command, at=at: command.argv[at]) for at in range(len(first.argv)))  # type: ignore[misc]
    expect = None if first.expect is None else word(lambda command: command.expect or "")
    return Command(argv, expect, word(lambda command: command.stdin))


def _common(
    words: Mapping[str, str],
    identities: Mapping[str, Mapping[str, str]],
    values: dict[str, dict[str, str]],
    what: str,
) -> str:
    """One word for all nodes: the same, with a node's own name in it, or with one of its identities."""
    for make in (_same, _own, *_with_identity(identities)):
        made = {make(node, word) for node, word in words.items()}
        if len(made) == 1:
            (text,) = made
            for mark in MARKS.findall(text):
                kind, name = shown(mark)
                if kind == "parameter":
                    for node in words:
                        values[node][name] = identities[node][name]
            return text
    raise ValueError(what)


def _same(node: str, word: str) -> str:
    return word


def _own(node: str, word: str) -> str:
    return re.sub(rf"(?<![\w-]){re.escape(node)}(?![\w-])", _OWN, word)


def _with_identity(identities: Mapping[str, Mapping[str, str]]) -> Iterator[Callable[[str, str], str]]:
    for name in next(iter(identities.values())):
        if all(_PLAIN.fullmatch(each.get(name, "")) for each in identities.values()) and name.isidentifier():

            def make(node: str, word: str, name: str = name) -> str:
                value = re.escape(identities[node][name])
                return re.sub(rf"(?<![\w-]){value}(?![\w-])", parameter(name), word)

            yield make


def _files(each: Mapping[str, Sequence[File]], values: dict[str, dict[str, str]]) -> tuple[File, ...]:
    """The files of all nodes; one whose content differs has it as a parameter, named after the file."""
    first = next(iter(each.values()))
    if len({tuple(file.path for file in files) for files in each.values()}) > 1:
        raise ValueError("nodes of a role have different files")
    common = []
    for number, file in enumerate(first):
        contents = {node: files[number].content for node, files in each.items()}
        if any(_ADDRESS in content for content in contents.values()):
            raise ValueError(f"{file.path} has addresses in it, which are not known before nodes boot")
        if len(set(contents.values())) > 1:
            name = re.sub(r"\W", "_", file.path.rpartition("/")[2])
            for node, content in contents.items():
                values[node][name] = content
            file = replace(file, content=parameter(name))
        common.append(file)
    return tuple(common)
