"""The catalogue of real clusters: every entry is complete, plausible and has its sources."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from pliant.study import catalogue
from pliant.study.catalogue import KINDS, Cluster, clusters, retired
from pliant.study.tables import HostTable

ROOT = Path(__file__).parents[2]
GONE = {"retired", "akin", "source"}
KEYS = {"nodes", "cpu", "cores", "nic", "memory", "disks", "data_disk", "source", "disk_rates", "watts"}
CEILINGS = {"SATA at 6 Gbit/s": 600e6, "SAS at 12 Gbit/s": 1200e6}
EVERY = [pytest.param(each, id=name) for name, each in clusters().items()]


@pytest.mark.parametrize("cluster", EVERY)
def test_every_entry_is_complete_and_positive(cluster: Cluster):
    assert re.fullmatch(r"[a-z0-9]+/[a-z0-9]+", cluster.name)
    assert cluster.nodes >= 1 and cluster.cpu
    assert 1 <= cluster.cores <= 1024
    assert 1e9 <= cluster.nic_bit_s <= 4e11
    assert 2**30 <= cluster.memory_bytes <= 2**43
    assert cluster.disks and all(disk.kind in KINDS and disk.model for disk in cluster.disks)
    assert all(70e9 <= disk.size_bytes <= 32e12 for disk in cluster.disks)
    assert sum(disk.data for disk in cluster.disks) == 1 and cluster.data_disk.data
    assert re.search(
        r"reference-repository, \w+/" + cluster.name.partition("/")[2] + r", commit [0-9a-f]{7}\b", cluster.source
    )


@pytest.mark.parametrize("cluster", EVERY)
def test_every_figure_that_is_there_has_a_source(cluster: Cluster):
    rates = (cluster.read_byte_s, cluster.write_byte_s)
    assert rates == (None, None) or all(10e6 <= rate <= 10e9 for rate in rates if rate is not None)
    assert (None in rates) == (not cluster.disk_source) == (cluster.disk_byte_s is None)
    assert (cluster.idle_w is None) == (cluster.busy_w is None) == (not cluster.watts_source)
    if cluster.idle_w is not None and cluster.busy_w is not None:
        assert 20 <= cluster.idle_w < cluster.busy_w <= 2000
    if cluster.disk_byte_s is not None:
        assert cluster.disk_byte_s == min(rate for rate in rates if rate is not None)
        assert re.search(r"https?://|specification", cluster.disk_source)


@pytest.mark.parametrize("cluster", EVERY)
def test_a_rate_that_is_not_the_disks_own_is_told_as_such(cluster: Cluster):
    assert not (cluster.disk_bound and cluster.disk_akin)
    if cluster.disk_bound:
        assert cluster.data_disk.kind == "SSD"
        assert cluster.read_byte_s == cluster.write_byte_s == CEILINGS[cluster.disk_bound]
        assert "upper bound" in cluster.disk_caveat and "not a measurement" in cluster.disk_caveat
    assert bool(cluster.disk_caveat) == bool(cluster.disk_bound or cluster.disk_akin)
    if cluster.disk_caveat:
        assert all(
            each in cluster.disk_caveat for each in (cluster.data_disk.model, "`disk = ` in the study overrides")
        )


@pytest.mark.parametrize(("name", "rate"), [("dahu", 600e6), ("gros", 520e6)])
def test_the_name_alone_of_the_most_used_ones_makes_a_host(name, rate):
    host = HostTable.model_validate({"like": f"grid5000/{name}"})
    assert host.disk == rate and host.disk_caveat == clusters()[f"grid5000/{name}"].disk_caveat != ""
    assert HostTable.model_validate({"like": f"grid5000/{name}", "disk": "480 MB/s"}).disk_caveat == ""


def test_the_caveats_in_words():
    assert clusters()["grid5000/dahu"].disk_caveat == (
        "600 MB/s is an upper bound, what its interface carries (SATA at 6 Gbit/s), and not a measurement: no rate of "
        "the Samsung MZ7KM480HMHQ0D3 itself was found; `disk = ` in the study overrides it"
    )
    assert clusters()["grid5000/gros"].disk_caveat.startswith(
        "520 MB/s is the published rate of others of its family (Micron's 5100 and 5300, the series before and after"
    )
    assert clusters()["grid5000/chifflot"].disk_caveat == clusters()["grid5000/econome"].disk_caveat == ""


def test_the_files_have_no_key_that_is_not_read():
    for file in resources.files("pliant.study").joinpath("clusters").iterdir():
        for table in tomllib.loads(file.read_text()).values():
            assert set(table) <= KEYS or set(table) == GONE
            if "retired" in table:
                continue
            assert all(set(disk) == {"kind", "size", "model"} for disk in table["disks"])
            assert set(table.get("disk_rates", {})) in (
                set(),
                *({"read", "write", "source"} | more for more in (set(), {"bound"}, {"akin"})),
            )
            assert set(table.get("watts", {})) in (set(), {"idle", "busy", "source"})


def test_it_is_not_small():
    known = clusters()
    assert len(known) >= 12
    assert sum(each.disk_byte_s is not None for each in known.values()) >= 1
    assert sum(each.idle_w is not None for each in known.values()) >= 1


def test_a_known_one():
    dahu = catalogue.cluster("grid5000/dahu")
    assert (dahu.cores, dahu.nic_bit_s, dahu.memory_bytes, dahu.nodes) == (32, 10e9, 192 * 2**30, 32)
    assert [disk.kind for disk in dahu.disks] == ["SSD", "SSD", "HDD"]
    assert dahu.data_disk.size_bytes == 480e9


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grid5000/dahuu", 'did you mean "grid5000/dahu"?'),
        ("Grid5000/Dahu", 'did you mean "grid5000/dahu"?'),
        ("dahu", 'write "grid5000/dahu"'),
        ("DAHU", 'write "grid5000/dahu"'),
        ("", "write one of"),
        ("grid5000/paravance", 'was retired by its testbed (last described on 2024-12-05); write "grid5000/parasilo"'),
        ("Grisou", '"grid5000/grisou" was retired by its testbed'),
        ("cloudlab/m400", "is not a cluster of the catalogue"),
    ],
)
def test_a_name_that_is_none(name, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        catalogue.cluster(name)


def test_what_is_no_more_has_one_like_it():
    assert set(retired()) == {"grid5000/grisou", "grid5000/paravance"}
    for gone in retired().values():
        assert gone.name not in clusters() and gone.akin in clusters()
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", gone.last) and "reference-repository" in gone.source
        like = clusters()[gone.akin]
        assert like.cpu in gone.source and f"{like.memory_bytes >> 30} GiB" in gone.source


@pytest.mark.parametrize("name", clusters())
def test_every_entry_makes_a_host(name):
    real = clusters()[name]
    table = {"like": name} | ({} if real.disk_byte_s else {"disk": "100 MB/s"})
    host = HostTable.model_validate(table)
    assert host.real.memory_bytes == real.memory_bytes and host.memory is None
    assert (host.cores, host.nic, host.disk) == (real.cores, real.nic_bit_s, real.disk_byte_s or 100e6)


def test_the_reference_names_every_cluster():
    section = (ROOT / "docs/study-file.md").read_text().partition("### The catalogue")[2].partition("\n#")[0]
    listed = re.search(r"NAME one of ([^:]*):", section)
    assert listed and [f"grid5000/{name}" for name in re.split(r",\s+", listed[1])] == sorted(clusters())


def test_the_reference_says_whose_the_disk_rates_are():
    section = (ROOT / "docs/study-file.md").read_text().partition("### The catalogue")[2].partition("\n#")[0]
    rows = re.findall(r"^\| ([a-z, ]+) \| (?:of|an upper)", section, re.MULTILINE)
    rated = [each for each in clusters().values() if each.disk_byte_s is not None]
    kinds = [
        [each for each in rated if not each.disk_caveat],
        [each for each in rated if each.disk_akin],
        [each for each in rated if each.disk_bound],
    ]
    assert [row.split(", ") for row in rows] == [sorted(each.name.partition("/")[2] for each in kind) for kind in kinds]


def test_an_installed_package_has_the_files():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["pliant"]
    package = ROOT / "src/pliant"
    carried = {path for pattern in declared for path in package.glob(pattern)}
    assert set((package / "study/clusters").iterdir()) <= carried


def test_it_is_pure():
    for name in ("study/catalogue", "proportions"):
        tree = ast.parse((ROOT / f"src/pliant/{name}.py").read_text())
        sources = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        sources += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        own = {source for source in sources if source.split(".")[0] not in sys.stdlib_module_names}
        assert own <= {"pliant.study.problems", "pliant.units"}
        assert not {"subprocess", "socket", "os", "shutil"} & set(sources)
