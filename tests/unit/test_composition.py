"""A composition as data: what it refuses, what a node runs again, what is shown of it and what is not."""

from __future__ import annotations

import json
import uuid as uuids

import pytest

from pliant.cli import plan
from pliant.composition import identity
from pliant.composition.model import Command, Composition, File, Identity, Role, Step
from pliant.composition.placement import nodes_for
from pliant.machine import facts
from pliant.machine.process import CommandFailed, Completed

ROLES = (Role("server", disk="/srv/d"), Role("client", client=True))
SECRET = "s3cr3t-k3y"


def run(*argv: str) -> tuple[Command, ...]:
    return (Command(argv),)


def composition(**keys) -> Composition:
    nodes = nodes_for({"server": 2, "client": 1})
    return Composition(**{"filesystem": "x", "roles": ROLES, "nodes": nodes, "steps": (), "mount": "/mnt/dfs"} | keys)


def full() -> Composition:
    steps = (
        Step("mount", {"client1": run("mount")}, requires=("serve",), ready={"client1": Command(("mountpoint",))}),
        Step("format", {"server1": run("mkfs"), "server2": run("mkfs")}, once=True),
        Step("serve", {"server1": run("d"), "server2": run("d")}, after=("format", "listen"), daemon=True),
        Step("listen", {"server1": (Command(("l",), stdin="in"),)}, ready={"server2": Command(("ok",), expect="yes")}),
    )
    return composition(
        steps=steps,
        programs=("d", "l"),
        packages=("p",),
        kernel=("fuse",),
        files={
            "server1": (File("/etc/d.conf", "who = 1\n"), File("/etc/key", SECRET, owner="d", secret=True)),
            "server2": (File("/etc/d.conf", "who = 1\n"),),
        },
        identities={"server1": {"uuid": Identity("1-2-3"), "key": Identity(SECRET, secret=True)}},
        health={"server1": Command(("healthy",), expect="ok")},
        unmount={"client1": run("umount", "/mnt/dfs")},
        clean={"server2": run("freed")},
    )


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"steps": (Step("a", {"server3": ()}),)}, 'step "a" is for server3, which is not a node'),
        ({"steps": (Step("a", {}, ready={"x": Command(("y",))}),)}, 'step "a" is for x, which is not a node'),
        ({"steps": (Step("a", {"server1": ()}, daemon=True),)}, 'step "a" is a daemon, so each of its nodes has one'),
        ({"steps": (Step("a", {}), Step("a", {}))}, "2 steps have 1 names: a"),
        ({"steps": (Step("a", {}, requires=("b",)),)}, 'step "a" comes after "b", which is not a step'),
        ({"steps": (Step("a", {}, after=("b",)), Step("b", {}, requires=("a",)))}, "steps wait for each other: a, b"),
        ({"files": {"me": ()}}, "me is not a node"),
        ({"health": {"me": Command(("x",))}}, "me is not a node"),
        ({"unmount": {"me": ()}}, "me is not a node"),
        ({"clean": {"me": ()}}, "me is not a node"),
        ({"identities": {"me": {}}}, "me is not a node"),
        ({"mount": "mnt"}, '"mnt" is not an absolute path'),
        ({"files": {"server1": (File("etc/x", ""),)}}, '"etc/x" is not an absolute path'),
        ({"files": {"server1": (File("/etc/../x", ""),)}}, '"/etc/../x" is not an absolute path'),
    ],
)
def test_what_cannot_be_carried_out_is_refused(keys, sentence):
    with pytest.raises(ValueError) as refused:
        composition(programs=(), packages=(), **keys)
    assert sentence in str(refused.value)


def test_a_node_that_starts_again_runs_its_part_in_order_and_formats_nothing():
    again = full().again("server1")
    assert [step.name for step in again] == ["listen", "serve"]
    assert [list(step.runs) for step in again] == [["server1"], ["server1"]]
    assert [list(step.ready) for step in again] == [[], []]
    assert [step.name for step in full().again("server2")] == ["listen", "serve"]
    assert full().again("server2")[0].runs == {}
    assert [(step.name, step.requires) for step in full().again("client1")] == [("mount", ("serve",))]


def test_a_secret_file_is_for_root_alone_whatever_was_asked():
    assert File("/k", SECRET, mode=0o644, secret=True).mode == 0o600
    assert File("/k", "x").mode == 0o644


@pytest.mark.parametrize(
    "shown", [repr, str, lambda each: json.dumps(plan.document(each)), lambda each: "\n".join(plan.lines(each))]
)
def test_what_is_secret_is_shown_nowhere(shown):
    assert SECRET not in shown(full())


def test_a_plan_in_words():
    text = "\n".join(plan.lines(full()))
    assert (
        text
        == """
needs d, l
  of the kernel: fuse

identities
  server1: uuid = 1-2-3
  server1: key = (secret)

file /etc/d.conf on server[1-2], mode 0644
  | who = 1

file /etc/key on server1, mode 0600, of d (secret)

step format, once, within 60 s
  server1: mkfs
  server2: mkfs

step listen, within 60 s
  server1: l <<< in
  server2: wait until ok shows /yes/

step serve after format, listen, within 60 s
  server1: d &
  server2: d &

step mount requires serve, within 60 s
  client1: mount
  client1: wait until mountpoint succeeds

after emptying a workload's directory, until it succeeds
  server2: freed

unmount
  client1: umount /mnt/dfs

health
  server1: healthy shows /ok/"""
    )


def test_a_plan_as_json():
    document = plan.document(full())
    assert document["order"] == [["format", "listen"], ["serve"], ["mount"]]
    assert document["files"]["server1"] == [
        {"path": "/etc/d.conf", "mode": "0644", "owner": "root", "content": "who = 1\n"},
        {"path": "/etc/key", "mode": "0600", "owner": "d", "secret": True},
    ]
    assert document["identities"] == {"server1": {"uuid": "1-2-3", "key": "(secret)"}}
    assert document["health"] == {"server1": {"argv": ["healthy"], "expect": "ok"}}
    assert document["steps"][3]["runs"] == {"server1": [{"argv": ["l"], "stdin": "in"}]}
    assert [step["once"] for step in document["steps"]] == [False, True, False, False]


# Identities


def test_identities_follow_from_the_seed_and_what_they_are_for():
    found = {
        identity.uuid(seed, *purpose)
        for seed in (1, 2, 11)
        for purpose in (("a",), ("a", "b"), ("ab",), ("b", "a"), ("1", "a"))
    }
    assert len(found) == 15
    assert identity.uuid(1, "a") == "bff8d862-4829-4e4d-ad1b-d142dac96501"  # the same in every version of pliant
    assert uuids.UUID(identity.uuid(3, "x")).version == 4


@pytest.mark.parametrize("size", [1, 16, 32, 33, 100])
def test_as_many_bytes_as_wanted(size):
    assert len(identity.derive(5, "k", size=size)) == size
    assert identity.derive(5, "k", size=100).startswith(identity.derive(5, "k", size=size))
    assert len(identity.token(5, "k", size=size)) == 2 * size


# What the machine has of it


def test_file_systems_of_the_kernel_are_those_it_has_or_would_load(monkeypatch):
    monkeypatch.setattr(facts, "_read", lambda path: "nodev\tsysfs\n\text4\nnodev\tfuse\n")
    asked = []

    def run(argv, timeout_s):
        asked.append(list(argv))
        return Completed(tuple(argv), 0 if argv[-1] == "fs-nfs4" else 1, "", "")

    monkeypatch.setattr(facts, "run", run)
    assert facts.missing_filesystems(("fuse", "nfs4", "beegfs")) == ["beegfs"]
    assert asked == [["modprobe", "--quiet", "--dry-run", f"fs-{name}"] for name in ("nfs4", "beegfs")]

    def none(argv, timeout_s):
        raise CommandFailed(argv, 127, "", "no modprobe")

    monkeypatch.setattr(facts, "run", none)
    assert facts.missing_filesystems(("ext4", "nfs4")) == ["nfs4"]


def test_versions_of_packages():
    found = facts.package_versions(("util-linux", "no-such-package-0"))
    assert list(found) == ["util-linux"]
    assert found["util-linux"][0].isdigit()
    assert facts.package_versions(()) == {}
