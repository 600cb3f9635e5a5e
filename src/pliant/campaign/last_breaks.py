"""Where a file system broke when its study was last run, for the next search to begin there."""

from __future__ import annotations

from pathlib import Path

from pliant.analysis.conclusions import Analysis, analyse
from pliant.errors import UserError
from pliant.results.store import DATABASE, Store


def last_breaks(directory: Path, study: str, apart_from: Path | None = None) -> dict[str, float]:
    """File system -> the smallest ratio at which a metric broke in the newest run of `study` in `directory`.

    Runs that cannot be read are passed over, and so are those in which nothing is shown to break.
    """
    if not directory.is_dir():
        return {}
    runs = [path for path in directory.iterdir() if (path / DATABASE).is_file() and path != apart_from]
    for path in sorted(runs, key=lambda run: (run / DATABASE).stat().st_mtime, reverse=True):
        try:
            with Store.look(path) as store:
                if store.infos()[0].study == study and (found := _breaks(analyse(store).parts)):
                    return found
        except (UserError, KeyError, TypeError, ValueError):
            continue
    return {}


def _breaks(parts: tuple[Analysis, ...]) -> dict[str, float]:
    found = {}
    for part in parts:
        broken = [verdict.breaks_at for verdict in part.plain if verdict.breaks_at is not None]
        if broken:
            found[part.info.name] = min(broken)
    return found
