"""A composition's steps as systemd services of one image. Pure.

A service knows its own machine only: what a step needs of other nodes it tries again until it is there.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pliant.composition.model import Command, Composition, File, NixOS, Step
from pliant.export.images import MARKS, Image, Part, shown
from pliant.export.nix import Key, Lines, Raw, Value

DISK_UNIT = "data-disk.service"
BOOT_S = 300
"""What is added to a step's deadline: nodes boot at different moments."""
_DONE = "/var/lib/pliant-steps"
_LOCAL = ("mkdir", "install")
"""Programs that wait for no other node."""
_COREUTILS = {"grep", "install", "mkdir", "stat", "test"}
_PACKAGES = {
    "mount": "util-linux",
    "mountpoint": "util-linux",
    "umount": "util-linux",
    "runuser": "util-linux",
    "setpriv": "util-linux",
    "curl": "curl",
    "pgrep": "procps",
    "setfattr": "attr",
}
"""Program -> the attribute of nixpkgs that has it."""
_ADDRESS = """\
address() {
  local ip
  read -r ip _ < <(getent ahostsv4 "$1")
  printf %s "$ip"
}
"""


def unit(composition: Composition, nixos: NixOS, step: str) -> str:
    """The service that carries out a step, without its suffix."""
    return nixos.units.get(step, f"{composition.filesystem}-{step}")


def word(text: str) -> str:
    """A word as bash reads it; what only the node knows is asked for when it runs.

    >>> print(word("a b"), word("a"))
    'a b' a
    """
    pieces = [_known(piece) if MARKS.fullmatch(piece) else shlex.quote(piece) for piece in MARKS.split(text) if piece]
    return "".join(pieces) or "''"


def _known(mark: str) -> str:
    kind, name = shown(mark)
    if kind == "own":
        return '"$HOSTNAME"'
    if kind == "parameter":
        return mark
    return f'"$(address {shlex.quote(name)})"' if name else '"$(address "$HOSTNAME")"'


def shell(command: Command) -> str:
    """A command as bash runs it; what it prints is held against `expect` by grep.

    >>> shell(Command(("a", "b c"), expect="^ok$"))
    "a 'b c' | grep --perl-regexp --null-data --quiet -e '^ok$'"
    """
    text = " ".join(map(word, command.argv))
    if command.stdin:
        text = f"printf %s {word(command.stdin)} | {text}"
    if command.expect is not None:
        # The whole output at once, and ^ and $ of each line only where the expression says so, as in Python.
        text += f" | grep --perl-regexp --null-data --quiet -e {word(command.expect)}"
    return text


def script(text: str) -> Lines:
    """A script, with what it needs to find addresses."""
    return marked((_ADDRESS if "$(address " in text else "") + text)


def marked(text: str) -> Lines:
    """A text that may have parameters in it."""
    return Lines(text, {mark: shown(mark)[1] for mark in MARKS.findall(text) if shown(mark)[0] == "parameter"})


def _until(command: Command, deadline_s: float) -> str:
    return f"until {shell(command)}; do\n  ((SECONDS < {deadline_s:.0f})) || exit 1\n  sleep 1\ndone\n"


def services(composition: Composition, nixos: NixOS, image: Image) -> dict[str, Value]:
    """Name -> service, of each step that nodes of an image have a part in."""
    made = _Services(composition, nixos, image)
    found: dict[str, Value] = {}
    if made.placed:
        found[made.files_unit] = made.files()
    for step in composition.steps:
        if step.name in image.parts and step.name not in nixos.provides:
            found[unit(composition, nixos, step.name)] = made.service(step, image.parts[step.name])
    return found


def in_etc(file: File) -> bool:
    """Whether NixOS can put a file where it belongs."""
    return file.path.startswith("/etc/")


def source(file: File) -> str:
    """Where a file is in /etc, below which NixOS puts it."""
    return file.path.removeprefix("/etc/") if in_etc(file) else f"pliant/{file.path.rpartition('/')[2]}"


def etc(nixos: NixOS, image: Image) -> dict[Key, Value]:
    """`environment.etc`: the files of an image that no option writes."""
    found: dict[Key, Value] = {}
    for file in image.files:
        option = ("environment", "etc", source(file))
        access = _access(nixos, file) if in_etc(file) else {}
        whole = MARKS.fullmatch(file.content)
        text: Value = Raw(shown(file.content)[1]) if whole else marked(file.content)
        if access:
            found[option] = {"text": text, **access}
        else:
            found[(*option, "text")] = text
    return found


def _access(nixos: NixOS, file: File) -> dict[str, Value]:
    """Mode and owner, where they are not what a file gets anyway. With a mode of its own it is a copy, not a link."""
    user, _, group = nixos.words.get(file.owner, file.owner).partition(":")
    access: dict[str, Value] = {} if file.mode == 0o644 else {"mode": f"{file.mode:04o}"}
    return access if user == "root" else {"mode": f"{file.mode:04o}", "user": user, "group": group or user}


class _Services:
    def __init__(self, composition: Composition, nixos: NixOS, image: Image) -> None:
        self.composition, self.nixos, self.image = composition, nixos, image
        self.placed = [file for file in image.files if not in_etc(file)]
        self.files_unit = f"{composition.filesystem}-files"

    def path(self, step: str, part: Part) -> list[Value]:
        """The packages that have what a service runs, beside what every service of NixOS has (coreutils, gnugrep)."""
        runs = () if step in self.nixos.units else part.runs
        commands = [self.there(step, command) for command in (*runs, *([part.ready] if part.ready else []))]
        programs = {command.argv[0] for command in commands}
        packages = [_PACKAGES[program] for program in sorted(programs & set(_PACKAGES))]
        asks = any(
            shown(mark)[0] == "address"
            for c in commands
            for w in (*c.argv, c.expect or "")
            for mark in MARKS.findall(w)
        )
        own = self.nixos.packages if programs - set(_PACKAGES) - _COREUTILS or "mount" in programs else ()
        return [Raw(f"pkgs.{package}") for package in dict.fromkeys((*own, *packages, *(["getent"] if asks else [])))]

    def files(self) -> dict[str, Value]:
        """A service that puts files where NixOS itself puts none, once: what a daemon makes of them is kept."""
        lines = []
        for file in self.placed:
            user, _, group = self.nixos.words.get(file.owner, file.owner).partition(":")
            access = f"--mode={file.mode:04o} --owner={user} --group={group or user}"
            path = shlex.quote(file.path)
            lines.append(f"[ -e {path} ] || install -D {access} {shlex.quote(f'/etc/{source(file)}')} {path}\n")
        disk = [DISK_UNIT] if self.image.role.disk else []
        return {
            "wantedBy": ["multi-user.target"],
            **({"after": disk, "requires": disk} if disk else {}),
            "script": Lines("".join(lines)),
            "serviceConfig.Type": "oneshot",
            "serviceConfig.RemainAfterExit": True,
        }

    def service(self, step: Step, part: Part) -> dict[str, Value]:
        deadline_s = step.timeout_s + BOOT_S
        ready = _until(part.ready, deadline_s) if part.ready is not None else ""
        service: dict[str, Value] = {} if step.name in self.nixos.units else {"wantedBy": ["multi-user.target"]}
        service |= self.order(step)
        if packages := self.path(step.name, part):
            service["path"] = packages
        if step.name in self.nixos.units:
            return service | ({"postStart": script(ready)} if ready else {}) | _timeout(deadline_s)
        concerned = [node for node in self.image.nodes if node in step.nodes]
        if len(concerned) < len(self.image.nodes):
            # A triggering condition each: one that holds is enough.
            service["unitConfig.ConditionHost"] = [f"|{name}" for name in concerned]
        if step.daemon:
            (command,) = part.runs
            service["script"] = script(f"exec {shell(self.there(step.name, command))}\n")
            service |= {"postStart": script(ready)} if ready else {}
            # What it needs of other nodes may be a while in coming: it starts again for as long as that takes.
            again: dict[str, Value] = {"serviceConfig.Restart": "on-failure", "serviceConfig.RestartSec": 2}
            again["unitConfig.StartLimitIntervalSec"] = 0
            return service | again | _timeout(deadline_s)
        return service | self.oneshot(step, part, concerned, ready, deadline_s)

    def oneshot(self, step: Step, part: Part, concerned: list[str], ready: str, deadline_s: float) -> dict[str, Value]:
        first = concerned[0]
        waits = any(set(self.composition.step(name).nodes) - {first} for name in step.follows)
        text = "".join(_run(self.there(step.name, command), waits, deadline_s) for command in part.runs) + ready
        service: dict[str, Value] = {}
        if step.once:
            service["unitConfig.ConditionPathExists"] = f"!{_DONE}/{step.name}"
            text += f"mkdir -p {_DONE}\ntouch {_DONE}/{step.name}\n"
        service["script"] = script(text)
        if step.name == "mount" and first in self.composition.unmount:
            service["preStop"] = Lines("".join(f"{shell(each)}\n" for each in self.composition.unmount[first]))
        return service | {"serviceConfig.Type": "oneshot", "serviceConfig.RemainAfterExit": True}

    def there(self, step: str, command: Command) -> Command:
        """A command with the words that NixOS has in the place of others, by whom it is there."""
        user = self.nixos.users.get(step)
        by = ("runuser", "-u", user, "--") if user else ()
        argv = tuple(self.nixos.words.get(each, each) for each in command.argv)
        return Command((*by, *argv), command.expect, command.stdin)

    def order(self, step: Step) -> dict[str, Value]:
        """What a service comes after on its own machine, and what it requires there."""

        def here(steps: Iterable[str]) -> list[str]:
            own = [name for name in steps if name in self.image.parts and name not in self.nixos.provides]
            return [f"{unit(self.composition, self.nixos, name)}.service" for name in own]

        after, requires = here(step.follows), here(step.requires)
        order: dict[str, Value] = {}
        if not after:
            first = [DISK_UNIT] if self.image.role.disk else []
            first += [f"{self.files_unit}.service"] if self.placed else []
            after, requires = ["network-online.target", *first], first
            order["wants"] = ["network-online.target"]
        order["after"] = after
        return order | ({"requires": requires} if requires else {})


def _timeout(deadline_s: float) -> dict[str, Value]:
    return {"serviceConfig.TimeoutStartSec": round(deadline_s) + 10}


def _run(command: Command, waits: bool, deadline_s: float) -> str:
    return _until(command, deadline_s) if waits and command.argv[0] not in _LOCAL else f"{shell(command)}\n"
