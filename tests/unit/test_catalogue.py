"""The catalogue of real clusters: every entry is complete, plausible and has its sources."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from pliant import catalogue
from pliant.catalogue import KINDS, Cluster, clusters
from pliant.tables import HostTable

ROOT = Path(__file__).parents[2]
KEYS = {"nodes", "cpu", "cores", "nic", "memory", "disks", "data_disk", "source", "disk_rates", "watts"}
EVERY = [pytest.param(each, id=name) for name, each in clusters().items()]


@pytest.mark.parametrize("cluster", EVERY)
def test_every_entry_is_complete_and_positive(cluster: Cluster):
    assert re.fullmatch(r"[a-z0-9]+/[a-z0-9]+", cluster.name)
    assert cluster.nodes >= 1 and cluster.cpu
    assert 1 <= cluster.cores <= 1024
    assert 1e9 <= cluster.nic_bit_s <= 4e11
    assert 2**30 <= cluster.memory_bytes <= 2**43
    assert cluster.disks and all(disk.kind in KINDS and disk.model for disk in cluster.disks)
    assert all(100e9 <= disk.size_bytes <= 32e12 for disk in cluster.disks)
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


def test_the_files_have_no_key_that_is_not_read():
    for file in resources.files("pliant").joinpath("clusters").iterdir():
        for table in tomllib.loads(file.read_text()).values():
            assert set(table) <= KEYS
            assert all(set(disk) == {"kind", "size", "model"} for disk in table["disks"])
            assert set(table.get("disk_rates", {})) in (set(), {"read", "write", "source"})
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
        ("cloudlab/m400", "is not a cluster of the catalogue"),
    ],
)
def test_a_name_that_is_none(name, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        catalogue.cluster(name)


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


def test_an_installed_package_has_the_files():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["pliant"]
    package = ROOT / "src/pliant"
    carried = {path for pattern in declared for path in package.glob(pattern)}
    assert set((package / "clusters").iterdir()) <= carried


def test_it_is_pure():
    for name in ("catalogue", "proportions"):
        tree = ast.parse((ROOT / f"src/pliant/{name}.py").read_text())
        sources = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        sources += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        own = {source for source in sources if source.split(".")[0] not in sys.stdlib_module_names}
        assert own <= {"pliant.problems", "pliant.units"}
        assert not {"subprocess", "socket", "os", "shutil"} & set(sources)
