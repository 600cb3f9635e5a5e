"""Who speaks to Grid'5000's API: a name and a password that is shown nowhere, from the user's own file or keyring.

The file is that of python-grid5000 and EnOSlib, `~/.python-grid5000.yaml`, with a `key: value` on each line. On the
testbed's front ends none is needed.
"""

from __future__ import annotations

import base64
import importlib
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from pliant.errors import UserError

FILE = "~/.python-grid5000.yaml"
SERVICE = "grid5000"
"""The name of the service in the user's keyring."""

_LINE = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)\s*:(?:\s+(.*))?$")
_ANY_OTHER_YAML = tuple("&*!|>%@`{[,?-]}#")
"""What a value that is not in quotes cannot begin with: YAML means something else by it."""


class Credentials:
    """A user and a password. The password is in no text of this: not in `repr`, an error, a pickle or a copy."""

    __slots__ = ("_password", "username", "verify")

    def __init__(self, username: str, password: str, verify: bool | str = True) -> None:
        self.username = username
        self.verify = verify
        """Whether the server's certificate is checked; a text is the file of the authorities to check it against."""
        self._password = password

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, password hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("credentials are not stored")

    def sign(self, request: Any) -> Any:
        """Give a prepared request of `requests` its header."""
        pair = f"{self.username}:{self._password}".encode()
        request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return request

    def without(self, text: str) -> str:
        """A text of somebody else, without the password should it be in there."""
        return text.replace(self._password, "...") if self._password else text


def find(file: str = FILE) -> Credentials | None:
    """What the user has given: the file, else the keyring; None if neither is there, as on a front end.

    UserError if the file is not private, or says something else than expected.
    """
    path = Path(file).expanduser()
    return of_file(path) if path.exists() else _of_keyring()


def of_file(path: Path) -> Credentials:
    """The credentials in a file that only its user may read."""
    try:
        with path.open(encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise UserError(f"{path} has a password in it and others may read it: chmod 600 {path}")
            text = opened.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not a text in UTF-8") from None
    values = _values(text, path)
    lacking = [key for key in ("username", "password") if not values.get(key)]
    if lacking:
        raise UserError(f'{path}: {" and ".join(lacking)} missing; write e.g. "username: you" on a line of its own')
    return Credentials(values["username"], values["password"], _verify(values.get("verify_ssl", "true")))


def _values(text: str, path: Path) -> dict[str, str]:
    """The `key: value` lines of a file. What is not understood is refused by its number: it may be the password."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#") or line.strip() in ("---", "..."):
            continue
        match = _LINE.match(line)
        value = None if match is None else _value((match[2] or "").strip())
        if match is None or value is None:
            raise UserError(
                f'{path}:{number}: is not a line of the form "key: value"; put a value with special characters in '
                "single quotes"
            )
        found[match[1]] = value
    return found


def _value(text: str) -> str | None:
    """One value, with or without quotes; None if it is neither."""
    if single := re.fullmatch(r"'((?:[^']|'')*)'\s*(?:#.*)?", text):
        return single[1].replace("''", "'")
    if double := re.fullmatch(r'"((?:[^"\\]|\\["\\])*)"\s*(?:#.*)?', text):
        return re.sub(r"\\(.)", r"\1", double[1])
    if text.startswith(("'", '"', *_ANY_OTHER_YAML)) or ": " in text or text.endswith(":"):
        return None
    return re.split(r"\s#", text, maxsplit=1)[0].strip()


def _verify(text: str) -> bool | str:
    """`verify_ssl`: yes, no, or the file of the authorities."""
    if text.lower() in ("true", "yes", "on", ""):
        return True
    return False if text.lower() in ("false", "no", "off") else text


def _of_keyring() -> Credentials | None:
    """What the user's keyring has for the service, if the package `keyring` is installed and has a keyring."""
    try:
        keyring: Any = importlib.import_module("keyring")
        errors: Any = importlib.import_module("keyring.errors")
    except ImportError:
        return None
    try:
        found = keyring.get_credential(SERVICE, None)
    except errors.KeyringError:
        # A machine without a desktop has none: that is no mistake.
        return None
    return Credentials(found.username, found.password) if found and found.username and found.password else None
