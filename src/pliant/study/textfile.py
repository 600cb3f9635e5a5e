"""Text files that a user names: read whole, with a sentence for whatever can be wrong with one."""

from __future__ import annotations

import stat
from pathlib import Path

MAX_FILE_BYTES = 2**20
"""Size above which a file is not taken for one that a person wrote."""


def read_text(path: Path, what: str) -> str:
    """The text of a file; `what` says what it should be ("study file").

    Raises FileNotFoundError, and ValueError with a sentence about the file, without its name, for all else.
    """
    if "\0" in str(path):
        raise ValueError(f"is not a path; name a {what}")
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ValueError(f"is a directory; name the {what} in it")
        if not stat.S_ISREG(mode):
            raise ValueError(f"is not a file; name a {what}")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except PermissionError:
        raise ValueError('permission denied; make it readable with "chmod a+r"') from None
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"cannot be read: {error.strerror}; name a {what}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than 1 MiB, so it is no {what}; name one")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not UTF-8; save the file in that encoding") from None
