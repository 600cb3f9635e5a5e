"""A run that was sent to somebody gives the same verdict there; an archive that is hostile gives nothing."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import kept_runs
import pytest
import runs

from pliant.analysis.conclusions import analyse
from pliant.errors import UserError
from pliant.report import artefact
from pliant.report.markdown import escape
from pliant.results import archive, verifying
from pliant.results.store import Store
from pliant.results.trial_table import trials_csv


def pack(run: Path, file: Path) -> int:
    return archive.pack(run, file, lambda store: artefact.text(analyse(store)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    top = tmp_path_factory.mktemp("archive")
    return kept_runs.make(top / "run", top / "store")


@pytest.fixture(scope="module")
def packed(run):
    pack(run, run.parent / "run.tar.gz")
    return run.parent / "run.tar.gz"


def judged(directory: Path) -> tuple[str, str]:
    """What verdict.json and trials.csv would hold."""
    with Store.open(directory) as store:
        return json.dumps(analyse(store).to_json()), trials_csv(store.trials(), store.infos())


def test_the_same_verdict_to_the_byte(run, packed, tmp_path):
    assert archive.unpack(packed, tmp_path / "there", analyse) == len(runs.trials())
    assert judged(tmp_path / "there") == judged(run)
    assert list(verifying.of_run(tmp_path / "there")) == []
    for name in ("0001/write.out", "0001/logs/server1-brick.log", "0001/trial.json"):
        assert (tmp_path / "there/trials" / name).read_bytes() == (run / "trials" / name).read_bytes()
    assert not any(path.is_symlink() for path in (tmp_path / "there").rglob("*"))


def test_the_same_run_gives_the_same_bytes_and_others_can_read_them(run, packed, tmp_path):
    pack(run, tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == packed.read_bytes()
    with tarfile.open(packed) as tar:
        names = tar.getnames()
        assert names[:3] == ["ARTEFACT.md", "study.toml", "run.json"]
        assert "trials/0001/write.out" in names
        assert {member.type for member in tar} == {tarfile.REGTYPE}
    archive.unpack(packed, tmp_path / "there", analyse)
    pack(tmp_path / "there", tmp_path / "third.tar.gz")
    assert (tmp_path / "third.tar.gz").read_bytes() == packed.read_bytes()


def test_whoever_reviews_it_is_told_what_it_claims_and_how_that_is_checked_and_repeated(run, packed, tmp_path):
    archive.unpack(packed, tmp_path / "there", analyse)
    told = (tmp_path / "there/ARTEFACT.md").read_text()
    with Store.open(run) as store:
        analysis, study, facts = analyse(store).parts[0], store.study_toml(), store.facts()
    for verdict in analysis.verdicts:
        assert escape(verdict.sentence) in told
    for name, value in facts.items():
        assert name == "started" or f"| {escape(name)} | {escape(value)} |" in told
    for command in ("unpack FILE.tar.gz checked", "verify checked", "report checked", "run checked/study.toml"):
        assert f"    pliant {command}" in told
    assert (tmp_path / "there/study.toml").read_text() == study


def test_a_run_of_an_older_version(tmp_path):
    runs.make_run(tmp_path / "run")
    (tmp_path / "run/trials/0001").mkdir(parents=True)
    (tmp_path / "run/trials/0001/write.out").write_text("x")
    with Store.open(tmp_path / "run") as store:
        store._connection.execute("DELETE FROM document WHERE name = 'digest'")
    pack(tmp_path / "run", tmp_path / "a")
    archive.unpack(tmp_path / "a", tmp_path / "there", analyse)
    assert (tmp_path / "there/trials/0001/write.out").read_text() == "x"


def test_what_is_not_as_it_was_written_is_not_packed(tmp_path):
    run = kept_runs.make(tmp_path / "run", tmp_path / "store", runs.trials()[:2])
    (run / "trials/0001/write.out").resolve().unlink()
    with pytest.raises(UserError, match=r"write.out is missing; `pliant verify .*` names everything"):
        pack(run, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_nothing_is_written_over(run, packed, tmp_path):
    with pytest.raises(UserError, match="exists; choose another name"):
        pack(run, packed)
    (tmp_path / "file").touch()
    for there in (run, tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="exists and is not empty"):
            archive.unpack(packed, there, analyse)


# Hostile ones


def member(name: str, content: bytes = b"", **keys) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in keys.items():
        setattr(info, key, value)
    return info, content


def built(path: Path, document: object, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT):
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    first = [] if document is None else [member("run.json", text)]
    with tarfile.open(path, "w:gz", format=form) as tar:
        for info, content in [*first, *members]:
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def document(packed):
    with tarfile.open(packed) as tar:
        return json.load(tar.extractfile("run.json"))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (member("../escaped", b"x"), "'../escaped' is none of its files"),
        (member("trials/../../escaped", b"x"), "is none of its files"),
        (member("trials/0001/../../../escaped", b"x"), "is none of its files"),
        (member("/escaped", b"x"), "is none of its files"),
        (member("trials/0001/./x", b"x"), "is none of its files"),
        (member("trials/x", b"x"), "is none of its files"),
        (member("results.sqlite", b"x"), "is none of its files"),
        (member("run.json", b"{}"), "'run.json' is none of its files"),
        (member("trials/0001/link", type=tarfile.SYMTYPE, linkname="/etc"), "is no regular file"),
        (member("trials/0001/link", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "is no regular file"),
        (member("trials/0001/device", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "is no regular file"),
        (member("trials/0001/fifo", type=tarfile.FIFOTYPE), "is no regular file"),
        (member("trials/0001", type=tarfile.DIRTYPE), "is no regular file"),
        (member("trials/0001/sparse", type=tarfile.GNUTYPE_SPARSE), "is no regular file"),
    ],
)
def test_what_a_run_does_not_have_is_refused_and_nothing_is_left(tmp_path, document, entry, said):
    bad = built(tmp_path / "bad", document, entry)
    with pytest.raises(UserError, match=f"is no archive that `pliant archive` wrote: .*{said}"):
        archive.unpack(bad, tmp_path / "inside/there", analyse)
    assert [path.name for path in tmp_path.iterdir()] in (["bad", "inside"], ["inside", "bad"])
    assert list((tmp_path / "inside").iterdir()) == []


def test_long_names_as_extended_headers_are_refused(tmp_path, document):
    """A header that claims to be large would be read into memory."""
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        bad = built(tmp_path / "bad", document, member(f"trials/0001/{'x' * 300}", b"x"), form=form)
        with pytest.raises(UserError, match="is no regular file"):
            archive.unpack(bad, tmp_path / "there", analyse)


def test_a_bomb_is_refused_before_it_goes_off(tmp_path, document):
    bad = built(tmp_path / "bad", document, member("trials/0001/zero", bytes(2**22)))
    assert bad.stat().st_size < 2**17
    with pytest.raises(UserError, match="it has more than 2 MiB"):
        archive.unpack(bad, tmp_path / "there", analyse, most_bytes=2**21)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip at all" * 99, gzip.compress(b"no tar" * 999), gzip.compress(bytes(512))],
    ids=["empty", "no gzip", "no tar", "no member"],  # gzip writes the time, which two workers may read differently
)
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(UserError, match="is no archive that"):
        archive.unpack(tmp_path / "bad", tmp_path / "there", analyse)


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_an_archive_that_is_cut_short(packed, tmp_path, part):
    content = packed.read_bytes()
    (tmp_path / "bad").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UserError, match="is no archive that"):
        archive.unpack(tmp_path / "bad", tmp_path / "there", analyse)
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_a_file_that_was_changed_on_its_way(packed, tmp_path):
    with tarfile.open(packed) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]
    changed = [(info, content.replace(b"trial 3", b"trial 4")) for info, content in members]
    with tarfile.open(tmp_path / "bad", "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in changed:
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(UserError, match=r"there/trials/0003/write.out was changed"):
        archive.unpack(tmp_path / "bad", tmp_path / "there", analyse)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d | {"format": 2},
        lambda d: d | {"infos": []},
        lambda d: d | {"infos": [d["infos"][0] | {"label": "../../etc"}]},
        lambda d: d | {"infos": [d["infos"][0] | {"metrics": {"../x": d["infos"][0]["metrics"]["ior"]}}]},
        lambda d: d | {"infos": [d["infos"][0] | {"hosts": {"1": "many"}}]},
        lambda d: d | {"infos": [d["infos"][0] | {"unknown": 1}]},
        lambda d: d | {"trials": d["trials"][:1] * 2},
        lambda d: d | {"trials": [d["trials"][0] | {"directory": "../../etc"}]},
        lambda d: d | {"trials": [d["trials"][0] | {"directory": "/etc"}]},
        lambda d: d | {"trials": [d["trials"][0] | {"number": "1; DROP TABLE trial"}]},
        lambda d: d | {"trials": [d["trials"][0] | {"metrics": {"write_bandwidth": "much"}}]},
        lambda d: d | {"trials": [d["trials"][0] | {"usage": {"phases": 7}}]},
        lambda d: d | {"trials": [d["trials"][0] | {"host_cpu_s": ["x"]}]},
        lambda d: d | {"trials": 7},
        lambda d: d | {"facts": []},
        lambda d: {},
        lambda d: [],
        lambda d: None,
        lambda d: b"[" * 100_000,
        lambda d: b"\xff{}",
    ],
)
def test_a_document_that_is_not_of_a_run(tmp_path, document, edit):
    bad = built(tmp_path / "bad", edit(document))
    with pytest.raises(UserError, match=r"is no archive that `pliant archive` wrote|is missing"):
        archive.unpack(bad, tmp_path / "there", analyse)
    assert not (tmp_path / "there").exists()
