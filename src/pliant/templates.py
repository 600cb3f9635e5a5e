"""Texts in a study that have names to fill in: "{{ directory }}/{{ client }}". Pure.

Jinja's sandbox, because a study may come from somebody else: a template can read what it is given, and nothing else.
"""

from __future__ import annotations

from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)


def render(text: str, **names: Any) -> str:
    """`text` with its names filled in; ValueError, in a sentence, for one that is not known or not well-formed.

    >>> render("{{ directory }}/{{ client }}", directory="/mnt/dfs", client="client1")
    '/mnt/dfs/client1'
    """
    try:
        return _ENVIRONMENT.from_string(text).render(**names)
    except (TemplateError, TypeError, ArithmeticError, LookupError, ValueError) as error:
        known = ", ".join(f"{{{{ {name} }}}}" for name in names)
        raise ValueError(f"{' '.join(str(error).split())}; what can be filled in here is {known}") from None
