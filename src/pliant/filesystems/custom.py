"""A file system that the study itself describes: roles, files, steps and commands, with templates. No Python needed.

docs/file-systems.md shows how to write one. Texts are Jinja templates, in its sandbox; commands are the user's own
shell commands, so they are run by `sh -c`, in the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_serializer, field_validator

from pliant.composition.identity import token, uuid
from pliant.composition.model import BadOptions, Command, Composition, File, Identity, Node, Role, Step
from pliant.templates import render
from pliant.units import Duration

_RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z](?:[a-z-]{0,22}[a-z])?$")]
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,47}$")]
_StepName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$")]
_Program = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/][A-Za-z0-9./_+-]*$", max_length=200)]
_Owner = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]*(?::[a-z_][a-z0-9_-]*)?$")]
_Path = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]*$", max_length=1000)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RoleTable(_Table):
    """[filesystem.options.role.NAME]: one kind of node."""

    minimum: int = Field(1, ge=0, examples=[1])
    maximum: int | None = Field(None, ge=1, examples=[1])
    client: bool = False
    disk: _Path | None = Field(None, examples=["/srv/data"])
    private: tuple[_Path, ...] = Field((), examples=[["/var/lib/my"]])
    logs: tuple[_Path, ...] = Field((), examples=[["/var/log/my"]])
    spare: int | None = Field(None, ge=0, examples=[1])


class IdentityTable(_Table):
    """[filesystem.options.identity.NAME]: something that follows from the study's seed; each node's own, or shared."""

    kind: Literal["uuid", "token"] = Field("uuid", examples=["uuid"])
    shared: bool = False
    secret: bool = False


class FileTable(_Table):
    """[[filesystem.options.file]]: a file that the nodes of some roles have before the first step."""

    on: _RoleName | tuple[_RoleName, ...] = Field(examples=["server"])
    path: _Path = Field(examples=["/etc/my.conf"])
    content: str = Field(max_length=1_000_000, examples=["key = value\n"])
    mode: str = Field("0644", pattern=r"^0?[0-7]{3}$", examples=["0644"])
    owner: _Owner = "root"
    secret: bool = False

    @field_serializer("content")
    def _shown(self, content: str) -> str:
        """What results say of it."""
        return "(secret)" if self.secret else content


class StepTable(_Table):
    """[[filesystem.options.step]]: commands, or a daemon, on the nodes of some roles."""

    name: _StepName = Field(examples=["serve"])
    on: _RoleName | tuple[_RoleName, ...] = Field(examples=["server"])
    first: bool = False
    run: tuple[_Text, ...] = Field((), examples=[["mkdir -p /srv/data"]])
    daemon: _Text | None = Field(None, examples=["my-server --foreground"])
    ready: _Text | None = Field(None, examples=["mountpoint -q /mnt/dfs"])
    expect: _Text | None = Field(None, examples=["^ready"])
    after: tuple[_StepName, ...] = Field((), examples=[["serve"]])
    requires: tuple[_StepName, ...] = Field((), examples=[["serve"]])
    once: bool = False
    timeout: Duration = Field(60.0, gt=0, le=3600, examples=["60 s"])


class CustomOptions(_Table):
    """`[filesystem.options]` of a study with a file system of its own."""

    mount: _Path = Field("/mnt/dfs", examples=["/mnt/dfs"])
    programs: tuple[_Program, ...] = Field((), examples=[["my-server"]])
    packages: tuple[_Program, ...] = Field((), examples=[["my-package"]])
    sources: dict[_Program, _Text] = Field(default_factory=dict, examples=[{"my-server": "pip install my-server"}])
    version: _Text | None = Field(None, examples=["my-server --version"])
    kernel: tuple[_Word, ...] = Field((), examples=[["fuse"]])
    parameters: dict[_Word, str | bool | int | float] = Field(default_factory=dict)
    role: dict[_RoleName, RoleTable] = Field(min_length=1)
    identity: dict[_Word, IdentityTable] = Field(default_factory=dict)
    file: tuple[FileTable, ...] = ()
    step: tuple[StepTable, ...] = Field(min_length=1)
    health: dict[_RoleName, _Text] = Field(default_factory=dict)
    unmount: dict[_RoleName, _Text] = Field(default_factory=dict)
    clean: dict[_RoleName, _Text] = Field(default_factory=dict)

    @field_validator("role")
    @classmethod
    def _clients(cls, roles: dict[str, RoleTable]) -> dict[str, RoleTable]:
        if not any(role.client for role in roles.values()):
            raise ValueError("no role mounts the file system, so nothing can be measured; write client = true in one")
        return roles


class Custom:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "custom"
    Options: ClassVar[type[BaseModel]] = CustomOptions

    @staticmethod
    def roles(options: CustomOptions) -> tuple[Role, ...]:
        """The roles as the study has them, in its order."""
        return tuple(
            Role(name, role.minimum, role.maximum, role.client, role.disk, role.private, role.logs)
            for name, role in options.role.items()
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: CustomOptions, seed: int) -> Composition:
        """Every template filled in, for every node that it is for."""
        for what, role in _roles_named(options):
            if role not in options.role:
                raise BadOptions(f'{what} is for the role "{role}", which is none of {", ".join(options.role)}')
        written = _Written(nodes, options, seed)
        try:
            return Custom._composition(nodes, options, written)
        except ValueError as error:
            raise BadOptions(str(error)) from error

    @staticmethod
    def _composition(nodes: tuple[Node, ...], options: CustomOptions, written: _Written) -> Composition:
        return Composition(
            filesystem="custom",
            roles=Custom.roles(options),
            nodes=nodes,
            steps=tuple(written.step(table) for table in options.step),
            mount=options.mount,
            programs=options.programs,
            packages=options.packages,
            sources=options.sources,
            version=("sh", "-c", written.fill(options.version, nodes[0], "version")) if options.version else (),
            files={node.name: written.files(node) for node in nodes},
            identities={node.name: written.identities[node.name] for node in nodes},
            health={node.name: command for node, command in written.commands("health", options.health)},
            unmount={node.name: (command,) for node, command in written.commands("unmount", options.unmount)},
            clean={node.name: (command,) for node, command in written.commands("clean", options.clean)},
            kernel=options.kernel,
            spare={name: role.spare for name, role in options.role.items() if role.spare is not None},
        )


def _roles_named(options: CustomOptions) -> Iterable[tuple[str, str]]:
    """(What names a role, the role), wherever one is named."""
    for file in options.file:
        yield from ((f"file {file.path}", role) for role in _listed(file.on))
    for step in options.step:
        yield from ((f'step "{step.name}"', role) for role in _listed(step.on))
    for name in ("health", "unmount", "clean"):
        yield from ((name, role) for role in getattr(options, name))


def _listed(roles: str | tuple[str, ...]) -> tuple[str, ...]:
    return (roles,) if isinstance(roles, str) else roles


class _Written:
    """A custom file system's templates, filled in for its nodes."""

    def __init__(self, nodes: tuple[Node, ...], options: CustomOptions, seed: int) -> None:
        self.nodes, self.options = nodes, options
        self.identities = {node.name: dict(self._identities(node, seed)) for node in nodes}

    def _identities(self, node: Node, seed: int) -> Iterable[tuple[str, Identity]]:
        for name, table in self.options.identity.items():
            purpose = ("custom", name) if table.shared else ("custom", name, node.name)
            make = uuid if table.kind == "uuid" else token
            yield name, Identity(make(seed, *purpose), table.secret)

    def fill(self, text: str, node: Node, what: str, secret: bool = False) -> str:
        """A template as it is for a node. Secrets are known only where nobody sees the result."""
        values = {name: self._values(each, secret) for name, each in ((each.name, each) for each in self.nodes)}
        context = {
            "node": values[node.name],
            "nodes": list(values.values()),
            "peers": {role: [values[n.name] for n in self.nodes if n.role == role] for role in self.options.role},
            "parameters": self.options.parameters,
            "mount": self.options.mount,
        }
        try:
            return render(text, **context)
        except ValueError as error:
            said = str(error)
            hint = "; a secret identity is known in files with secret = true only" if "identities" in text else ""
            raise BadOptions(f"{what}: its template cannot be filled in for {node.name}: {said}{hint}") from error

    def _values(self, node: Node, secret: bool) -> dict[str, Any]:
        known = self.identities[node.name].items()
        return {
            "name": node.name,
            "role": node.role,
            "index": node.index,
            "address": node.address,
            "disk_bytes": node.disk_bytes,
            "identities": {name: identity.value for name, identity in known if secret or not identity.secret},
        }

    def command(self, text: str, node: Node, what: str, expect: str | None = None) -> Command:
        """A shell command of the study, for a node."""
        return Command(("sh", "-c", self.fill(text, node, what)), expect=expect)

    def commands(self, what: str, by_role: Mapping[str, str]) -> Iterable[tuple[Node, Command]]:
        """A command for each node of some roles."""
        for node in self.nodes:
            if node.role in by_role:
                yield node, self.command(by_role[node.role], node, what)

    def files(self, node: Node) -> tuple[File, ...]:
        """What a node has before its first step."""
        return tuple(
            File(
                self.fill(table.path, node, f"file {table.path}"),
                self.fill(table.content, node, f"file {table.path}", secret=table.secret),
                int(table.mode, 8),
                table.owner,
                table.secret,
            )
            for table in self.options.file
            if node.role in _listed(table.on)
        )

    def step(self, table: StepTable) -> Step:
        """One step, on the nodes of its roles, or on the first of them."""
        what = f'step "{table.name}"'
        if (table.daemon is None) == (not table.run) and not (table.ready and table.daemon is None):
            raise BadOptions(f"{what} has {'both' if table.run else 'neither'}; write either run or daemon")
        if table.expect is not None and table.ready is None:
            raise BadOptions(f"{what} expects something of nothing; write ready, whose output expect is about")
        on = [node for role in _listed(table.on) for node in self.nodes if node.role == role]
        on = on[:1] if table.first else on
        texts = table.run if table.daemon is None else (table.daemon,)
        ready = {node.name: self.command(table.ready, node, what, table.expect) for node in on} if table.ready else {}
        return Step(
            table.name,
            {node.name: tuple(self.command(text, node, what) for text in texts) for node in on if texts},
            after=table.after,
            requires=table.requires,
            daemon=table.daemon is not None,
            once=table.once,
            ready=ready,
            timeout_s=table.timeout,
        )
