"""Options of the file systems' own programs, written as people write them, and what becomes of them."""

from __future__ import annotations

import json
import tomllib

import pytest
from pydantic import ValidationError
from test_filesystems import commands, compose

from pliant.filesystems.cephfs import CephOptions
from pliant.filesystems.glusterfs import GlusterOptions
from pliant.filesystems.moosefs import MooseOptions
from pliant.study import registry
from pliant.study.problems import explain


@pytest.mark.parametrize(
    ("kind", "written", "kept"),
    [
        (
            "glusterfs",
            'volume_options = {"performance.io-cache" = false, "a" = "*", "b" = "10%"}',
            "off * 10%",
        ),
        ("glusterfs", 'volume_options = {"a" = -1, "b" = 1.5, "c" = "-1", "d" = true}', "-1 1.5 -1 on"),
        ("cephfs", 'settings = {debug_osd = "0/0", osd_heartbeat_grace = 20, "osd crush x" = true}', "0/0 20 true"),
        ("cephfs", 'settings = {a = "x=y", b = 0.5, c = false}', "x=y 0.5 false"),
        ("moosefs", 'master_options = {NICE_LEVEL = "-19", LABELS = "A B", X9 = true}', "-19 A B 1"),
    ],
)
def test_options_are_written_as_people_write_them(kind, written, kept):
    driver = registry.filesystem(kind)
    options = driver.Options.model_validate_json(json.dumps(tomllib.loads(written)), strict=True)
    (table,) = options.model_dump(exclude_unset=True).values()
    assert " ".join(table.values()) == kept


def test_the_options_that_people_mount_moosefs_with():
    composition = compose("moosefs", {"master": 1, "chunkserver": 2, "client": 1}, mount_options=["mfssubfolder=/data"])
    assert "mfsmount -H master1 -o mfsallowoomkiller,mfssubfolder=/data /mnt/dfs" in commands(
        composition, "mount", "client1"
    )


def test_a_value_that_ceph_would_take_for_a_comment_is_in_quotes():
    roles = {"monitor": 1, "manager": 1, "metadata": 1, "osd": 3, "client": 1}
    composition = compose("cephfs", roles, settings={"a": "x; y", "b": 'say "#1"', "c": "plain = 1"})
    (text,) = [file.content for file in composition.files["osd1"] if file.path == "/etc/ceph/ceph.conf"]
    assert {'a = "x; y"', 'b = "say \\"#1\\""', "c = plain = 1"} <= set(text.splitlines())


def test_each_osd_takes_its_part_of_the_kernels_asynchronous_requests():
    roles = {"monitor": 1, "manager": 1, "metadata": 1, "osd": 40, "client": 1}
    assert compose("cephfs", roles).kernel_limits == {"fs.aio-max-nr": 81920}


@pytest.mark.parametrize(
    ("model", "written", "path", "sentence"),
    [
        (
            GlusterOptions,
            'volume_options.a.io-cache = "off"',
            "volume_options",
            'write "a.io-cache" =',
        ),
        (GlusterOptions, 'volume_options = {"a b" = 1}', "a b", 'they are such as "performance.io-cache"'),
        (GlusterOptions, 'volume_options = {"a" = [1]}', "a", "is not one value"),
        (GlusterOptions, 'volume_options = {"a" = "x\\ny"}', "a", "cannot be in a line of text"),
        (GlusterOptions, 'volume_options = {"a" = " "}', "a", "is empty"),
        (GlusterOptions, "volume_options = 3", "volume_options", "is not a table"),
        (MooseOptions, 'mount_options = ["a,b"]', 0, "is not one option"),
        (MooseOptions, "mount_options = [3]", 0, 'is not a text; write e.g. "mfswritecachesize=64"'),
        (CephOptions, 'settings = {fsid = "x"}', "settings", "is set by pliant"),
    ],
)
def test_what_cannot_be_an_option_is_said_in_words(model, written, path, sentence):
    raw = tomllib.loads(written)
    with pytest.raises(ValidationError) as refused:
        model.model_validate_json(json.dumps(raw), strict=True)
    ((where, said),) = explain(refused.value, model, raw)
    assert where[-1] == path and sentence in said
