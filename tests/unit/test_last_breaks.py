"""Where the next search begins: where the last run of the study broke."""

from __future__ import annotations

import os

from runs import make_run

from pliant.campaign.last_breaks import last_breaks
from pliant.results.store import DATABASE


def test_the_newest_run_of_the_study_counts(tmp_path):
    for age, (name, study) in enumerate([("new", "other"), ("old", "synthetic"), ("older", "synthetic")]):
        make_run(tmp_path / name, study=study)
        os.utime(tmp_path / name / DATABASE, (10**9 - age, 10**9 - age))
    make_run(tmp_path / "empty", many=[])
    (tmp_path / "file").write_text("")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / DATABASE).write_text("no database")
    assert last_breaks(tmp_path, "synthetic") == {"glusterfs": 4.0}
    assert last_breaks(tmp_path, "synthetic", apart_from=tmp_path / "old") == {"glusterfs": 4.0}
    assert last_breaks(tmp_path, "never") == last_breaks(tmp_path / "none", "synthetic") == {}
