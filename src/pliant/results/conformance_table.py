"""What a file system kept of POSIX at each ratio, as a run holds it: the document that `pliant conform` adds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pliant.results.store import Store

DOCUMENT = "conformance"
BAD = ("fails", "hangs")


@dataclass(frozen=True)
class Row:
    """A check: what is promised, and ratio -> what came of it and what was found ("late", "after 2.0 s")."""

    name: str
    promise: str
    outcomes: Mapping[float, tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        outcomes = {f"{ratio:g}": {"outcome": what, "said": said} for ratio, (what, said) in self.outcomes.items()}
        return {"name": self.name, "promise": self.promise, "ratios": outcomes}

    @property
    def same(self) -> bool:
        """Whether it is kept, broken or not offered at all ratios alike; how late it is kept may differ."""
        return len({"holds" if outcome == "late" else outcome for outcome, _ in self.outcomes.values()}) == 1


def keep(store: Store, filesystem: str, ratio: float, results: Sequence[Mapping[str, Any]]) -> None:
    """Add what came of checks on a file system at a ratio, in place of what there was of the same ones."""
    known = json.loads(store.document(DOCUMENT) or "{}")
    at = known.setdefault(filesystem, {})
    by_name = {each["name"]: each for each in (*at.get(f"{ratio:g}", ()), *results)}
    at[f"{ratio:g}"] = list(by_name.values())
    store.set_documents({DOCUMENT: json.dumps(known)})


def rows(store: Store, filesystem: str) -> tuple[Row, ...]:
    """What a run holds of a file system; empty if nothing."""
    known = json.loads(store.document(DOCUMENT) or "{}")
    return table({float(ratio): results for ratio, results in known.get(filesystem, {}).items()})


def table(by_ratio: Mapping[float, Sequence[Mapping[str, Any]]]) -> tuple[Row, ...]:
    """A row for each check, with what came of it at each ratio."""
    found: dict[str, tuple[str, dict[float, tuple[str, str]]]] = {}
    for ratio in sorted(by_ratio):
        for each in by_ratio[ratio]:
            _, outcomes = found.setdefault(each["name"], (each["promise"], {}))
            outcomes[ratio] = each["outcome"], each["said"]
    return tuple(Row(name, promise, outcomes) for name, (promise, outcomes) in found.items())


def ratios_of(many: Sequence[Row]) -> list[float]:
    """The ratios at which any of the checks was tried, ascending; not all of them need to have been at each."""
    return sorted({ratio for row in many for ratio in row.outcomes})


def sentence(many: Sequence[Row]) -> str:
    """What the checks say together."""
    if not many:
        return ""
    ratios = ratios_of(many)
    first = ratios[0]
    bad = [row.name for row in many if row.outcomes.get(first, ("",))[0] in BAD]
    count = "1 promise of POSIX was" if len(many) == 1 else f"{len(many)} promises of POSIX were"
    text = f"{count} looked at from two clients, at {_ratios(ratios)}"
    text += f": at ratio {first:g} {len(many) - len(bad)} are kept or not offered"
    text += f", and {len(bad)} broken ({_few(bad)})" if bad else ""
    differing = [row.name for row in many if not row.same]
    if len(ratios) > 1:
        text += "; folded it is the same"
    if differing:
        text += f" but for {len(differing)} ({_few(differing)})"
    return f"{text}."


def _ratios(ratios: Sequence[float]) -> str:
    return f"ratio{'s' if ratios[1:] else ''} {', '.join(f'{ratio:g}' for ratio in ratios)}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
