"""OrangeFS and BeeGFS as data: options, nodes and facts in, commands out."""

from __future__ import annotations

import itertools
import re
from types import MappingProxyType, SimpleNamespace

import pytest
from pydantic import ValidationError
from test_filesystems import commands, compose

from pliant.campaign import brought, kernels
from pliant.cli import findings, plan
from pliant.composition.model import BadOptions, OwnKernel
from pliant.composition.placement import Placement
from pliant.errors import UserError
from pliant.machine.module_file import ModuleFile
from pliant.machine.vm import Booted
from pliant.study import registry

MIB = 2**20
BEE = {"management": 1, "metadata": 2, "storage": 3, "client": 2}


def waves(composition):
    return [list(wave) for wave in plan.waves(composition.steps)]


def content(composition, node, path):
    return next(file.content for file in composition.files[node] if file.path == path)


# OrangeFS


def test_orangefs_by_fuse():
    composition = compose("orangefs", {"server": 2, "client": 3}, sync_data=True, strip_kib=256)
    assert waves(composition) == [["prepare"], ["format"], ["server"], ["reach"], ["mount"]]
    assert commands(composition, "format", "server2") == [
        "pvfs2-server -f /etc/orangefs/server.conf -a server2",
        "sync --file-system /srv/orangefs",
    ]
    assert commands(composition, "server", "server1") == ["pvfs2-server -d /etc/orangefs/server.conf -a server1"]
    for client in ("client1", "client2", "client3"):
        assert commands(composition, "mount", client) == ["pvfs2fuse -f -o big_writes /mnt/dfs"]
        table = content(composition, client, "/etc/pvfs2tab")
        assert table == "tcp://server1:3334/orangefs /mnt/dfs pvfs2 defaults,noauto 0 0\n"
    config = content(composition, "server2", "/etc/orangefs/server.conf")
    assert "Alias server2 tcp://server2:3334\n" in config
    assert "TroveSyncMeta yes\nTroveSyncData yes\n" in config
    assert "Param strip_size\nValue 262144\n" in config
    assert composition.one_per_kernel == ()


def ranges(text, kind):
    found = re.search(rf"<{kind}HandleRanges>\n(.*?)</{kind}", text, re.DOTALL)[1]
    return [(name, int(one), int(other)) for name, one, other in re.findall(r"Range (\S+) (\d+)-(\d+)", found)]


@pytest.mark.parametrize(
    ("servers", "options", "meta", "data"),
    [
        (1, {}, [1], [1]),
        (3, {}, [1, 2, 3], [1, 2, 3]),
        (5, {"metadata": "server[1-2]"}, [1, 2], [1, 2, 3, 4, 5]),
        (5, {"metadata": "server4", "data": "server[1-3,5]"}, [4], [1, 2, 3, 5]),
        (7, {"data": "server7"}, [1, 2, 3, 4, 5, 6, 7], [7]),
    ],
)
def test_orangefs_has_metadata_and_data_on_chosen_servers(servers, options, meta, data):
    composition = compose("orangefs", {"server": servers, "client": 1}, **options)
    config = content(composition, "server1", "/etc/orangefs/server.conf")
    found = {kind: ranges(config, kind) for kind in ("Meta", "Data")}
    assert [name for name, *_ in found["Meta"]] == [f"server{number}" for number in meta]
    assert [name for name, *_ in found["Data"]] == [f"server{number}" for number in data]
    every = [each[1:] for each in (*found["Meta"], *found["Data"])]
    assert every[0][0] == 3
    assert all(one[1] + 1 == other[0] for one, other in itertools.pairwise(every))
    assert every[-1][1] < 2**63
    assert content(composition, "client1", "/etc/pvfs2tab").startswith(f"tcp://server{meta[0]}:3334/")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metadata": "server1", "data": "server2"}, "server3: neither in metadata nor in data"),
        ({"metadata": "server9"}, "metadata: "),
        ({"data": "server["}, "data: "),
    ],
)
def test_orangefs_servers_that_cannot_be_chosen(options, said):
    with pytest.raises(BadOptions, match=said):
        compose("orangefs", {"server": 3, "client": 1}, **options)


def test_orangefs_by_the_kernel():
    composition = compose("orangefs", {"server": 1, "client": 2}, client="kernel", mount_options=["intr"])
    assert waves(composition) == [["prepare", "client"], ["format"], ["server"], ["mount"]]
    assert commands(composition, "client", "client2") == [
        "pvfs2-client-core --logtype=file --logfile=/dev/stderr --acache-timeout=0 --ncache-timeout=0"
    ]
    assert commands(composition, "mount", "client2") == ["mkdir -p /mnt/dfs"]
    mount = "timeout --signal=KILL 8 mount -t pvfs2 -o intr tcp://server1:3334/orangefs /mnt/dfs"
    assert composition.step("mount").ready["client2"].argv == tuple(mount.split())
    assert composition.role("client").kernel == ("pvfs2",)
    assert composition.one_per_kernel == ("client",)


def test_orangefs_clients_that_keep_what_they_know():
    composition = compose("orangefs", {"server": 1, "client": 2}, client_cache=True, mount_options=["noatime"])
    assert commands(composition, "mount", "client1") == [
        "pvfs2fuse -f -o big_writes,fs_spec=tcp://server1:3334/orangefs,noatime /mnt/dfs"
    ]
    assert any("up to a minute" in warning for warning in composition.warnings)


# BeeGFS


def test_beegfs():
    composition = compose("beegfs", BEE)
    servers = ["metadata", "storage"]
    before, after = [["prepare"], ["founding"], servers, ["told"], ["written"]], [["layout"], ["founded"], ["mount"]]
    assert waves(composition) == [*before, ["management"], *after]
    assert [step.name for step in composition.again("management1")] == ["management"]
    assert [step.name for step in composition.again("storage1")] == ["storage"]
    assert waves(compose("beegfs", BEE, release="8")) == [["prepare"], ["management"], servers, *after]
    assert set(composition.step("founded").runs) == {n.name for n in composition.nodes if n.role != "client"}
    assert commands(composition, "prepare", "storage3") == ["mkdir -p /srv/beegfs/data"]
    assert content(composition, "storage3", "/srv/beegfs/data/targetNumID") == "3\n"
    assert content(composition, "metadata2", "/srv/beegfs/data/nodeNumID") == "2\n"
    assert commands(composition, "storage", "storage3") == [
        "beegfs-storage cfgFile=/etc/beegfs/beegfs-storage.conf runDaemonized=false"
    ]
    assert commands(composition, "layout", "management1") == [
        "beegfs-ctl --setpattern --sysMgmtdHost=management1 --connAuthFile=/etc/beegfs/conn.auth --numtargets=3 "
        "--chunksize=512k --pattern=raid0 --unmounted /"
    ]
    assert commands(composition, "mount", "client2") == [
        "mkdir -p /mnt/dfs",
        "mount -t beegfs -o cfgFile=/etc/beegfs/beegfs-client.conf,sysMgmtdHost=10.77.1.1 beegfs_nodev /mnt/dfs",
    ]
    files = {file.path: file for file in composition.files["storage2"]}
    secret = files["/etc/beegfs/conn.auth"]
    assert (secret.mode, secret.secret) == (0o600, True)
    assert "sysMgmtdHost = management1\n" in files["/etc/beegfs/beegfs-storage.conf"].content
    client = content(composition, "client1", "/etc/beegfs/beegfs-client.conf")
    assert "sysMountSanityCheckMS = 0\n" in client
    assert "logType = syslog\n" in client
    with pytest.raises(BadOptions, match="not a power of two"):
        compose("beegfs", BEE, chunk_kib=100)


@pytest.mark.parametrize(
    ("storage", "options", "expected"),
    [
        (2, {"mirror": True}, "--numtargets=1 --chunksize=512k --pattern=buddymirror"),
        (6, {"mirror": True, "stripe_targets": 2}, "--numtargets=2 --chunksize=512k --pattern=buddymirror"),
        (6, {"stripe_targets": 2, "chunk_kib": 1024}, "--numtargets=2 --chunksize=1024k --pattern=raid0"),
        (1, {}, "--numtargets=1 --chunksize=512k --pattern=raid0"),
    ],
)
def test_beegfs_layouts(storage, options, expected):
    composition = compose("beegfs", {**BEE, "storage": storage}, **options)
    layout = commands(composition, "layout", "management1")
    assert expected in layout[-1]
    mirrored = bool(options.get("mirror"))
    assert ["--addmirrorgroup" in command for command in layout] == ([True, False] if mirrored else [False])
    assert composition.spare["storage"] == int(mirrored)


# The same, with targets that have not reported since the management service was started.
STATES = """\
TargetID     Reachability  Consistency   NodeID
========     ============  ===========   ======
       1           Online         Good        1
       2 Probably-offline         Good        2
"""


def test_beegfs_is_mounted_when_all_servers_are_there():
    ready = compose("beegfs", {**BEE, "storage": 2}).step("layout").ready
    for node, kind in (("metadata1", "meta"), ("storage1", "storage")):
        assert f"--nodetype={kind}" in ready[node].argv
        assert not re.search(ready[node].expect, STATES)
        assert not re.search(ready[node].expect, "")
        assert re.search(ready[node].expect, STATES.replace("Probably-offline", "Online"))


def test_beegfs_8_mirrors_with_a_licence_only():
    with pytest.raises(BadOptions, match="mirror of BeeGFS 8 needs a licence"):
        compose("beegfs", {**BEE, "storage": 2}, mirror=True, release="8")


def test_beegfs_mirrors_pairs():
    with pytest.raises(ValueError, match="an even number of storage servers, not 3"):
        compose("beegfs", BEE, mirror=True)


def test_beegfs_8_has_another_management_and_other_tools():
    composition = compose("beegfs", BEE, release="8")
    config = "beegfs-mgmtd --config-file /etc/beegfs/beegfs-mgmtd.toml"
    assert commands(composition, "prepare", "management1") == ["mkdir -p /srv/beegfs/data", f"{config} --init"]
    assert commands(composition, "management", "management1") == [config]
    told = content(composition, "management1", "/etc/beegfs/beegfs-mgmtd.toml")
    assert 'auth-file = "/etc/beegfs/conn.auth"\n' in told
    assert "logType" not in content(composition, "client1", "/etc/beegfs/beegfs-client.conf")
    assert "beegfs-ctl" not in composition.programs
    (layout,) = commands(composition, "layout", "management1")
    assert layout.startswith("beegfs --mgmtd-addr=management1:8010 ")
    assert any("never deployed" in warning for warning in composition.warnings)


# As beegfs-ctl of 7.4.7 prints it.
LISTED = """\
metadata1 [ID: 1]
   Reachable: <yes>
metadata2 [ID: 2]
   Reachable: <no>
"""


def test_beegfs_health_by_what_it_really_prints():
    health = compose("beegfs", {**BEE, "metadata": 12}).health
    found = [node for node, command in health.items() if command.expect and re.search(command.expect, LISTED)]
    assert found == ["metadata1"]
    assert re.search(health["management1"].expect, "management1 [ID: 1]\n")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("beegfs", {"programs": "opt/beegfs"}),
        ("beegfs", {"module": "../beegfs.ko"}),
        ("beegfs", {"release": "7"}),
        ("orangefs", {"programs": "/opt/../x"}),
        ("orangefs", {"client": "vfs"}),
        ("orangefs", {"mount_options": ["a,b"]}),
    ],
)
def test_options_that_cannot_be(kind, options):
    counts = BEE if kind == "beegfs" else {"server": 1, "client": 1}
    with pytest.raises(ValidationError):
        compose(kind, counts, **options)


# What the user brings


class Machines(SimpleNamespace):
    remote = False
    kernels = MappingProxyType({"uml": "6.1.176 mod_unload", "vm": "6.1.0-50-cloud-amd64 SMP mod_unload"})
    booted_by = ()
    loaded = ()
    modules = MappingProxyType({})
    there = MappingProxyType({})
    says = "Management Node Version: 7.4.7\nRefer to"

    def missing_filesystems(self, names):
        return [name for name in names if name not in self.loaded]

    def booted(self):
        return [Booted(acceleration, 1.0, "") for acceleration in self.booted_by]

    def own_kernel(self, kind):
        return self.kernels.get(kind, "")

    def own_kernel_lacks(self, names, kind="uml"):
        return [name for name in names if name != "pvfs2"] if self.own_kernel(kind) else list(names)

    def having(self, *modules):
        return f"load {' '.join(modules)}"

    def module(self, path):
        return self.modules.get(path)

    def located(self, programs, directory):
        return {program: self.there.get(f"{directory}/{program}") for program in programs}

    def which(self, program):
        return self.there.get(program)

    def said(self, argv):
        self.asked = tuple(argv)
        return self.says

    def version(self, argv):
        return self.said(argv)


GOOD = ModuleFile("beegfs", "6.1.176 mod_unload", ("beegfs",), ())
OTHER = ModuleFile("beegfs", "6.1.0-50-cloud-amd64 SMP mod_unload", ("beegfs",), ())
NFS = ModuleFile("nfs", "6.1.176 mod_unload", ("nfs", "nfs4"), ())


def chosen(wish=None, module="/opt/beegfs.ko", **machine):
    composition = compose("beegfs", BEE, module=module)
    together = (Placement((tuple(node.name for node in composition.nodes),)),)
    return kernels.choose(composition, together, 2048 * MIB, wish, Machines(**machine))


def test_a_module_that_the_user_names_is_for_kernels_of_nodes():
    found = chosen(modules={"/opt/beegfs.ko": GOOD})
    assert dict(found.own) == {"client": OwnKernel("uml", 512 * MIB)}
    assert dict(found.modules) == {"client": "/opt/beegfs.ko"}
    digests = SimpleNamespace(digests=lambda names: {name: f"digest of {name}" for name in names})
    assert found.document(digests)["modules"] == {"client": "digest of /opt/beegfs.ko"}
    # A shared kernel would not do, had it the module or not.
    assert chosen(modules={"/opt/beegfs.ko": GOOD}, loaded=("beegfs",)).own


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({}, "beegfs: /opt/beegfs.ko is no file of a kernel module; build client_module of BeeGFS's source"),
        ({"modules": {"/opt/beegfs.ko": NFS}}, "is the module nfs, which has no beegfs; build client_module"),
        (
            {"modules": {"/opt/beegfs.ko": OTHER}},
            'was built for the kernel "6.1.0-50-cloud-amd64 SMP mod_unload", and that of nodes is "6.1.176 mod_unload"',
        ),
        ({"modules": {"/opt/beegfs.ko": GOOD}, "kernels": {}}, "need: apt-get install user-mode-linux"),
        ({"wish": "vm", "modules": {"/opt/beegfs.ko": GOOD}}, 'and that of nodes is "6.1.0-50-cloud-amd64'),
        ({"wish": "vm", "modules": {"/opt/beegfs.ko": OTHER}}, "run `pliant doctor` first"),
        ({"wish": "vm", "modules": {"/opt/beegfs.ko": OTHER}, "kernels": {}}, "need: apt-get install qemu-system-x86"),
        ({"wish": "vm", "module": ""}, "each client needs a module for the kernel of its virtual machine; build"),
        ({"module": ""}, "beegfs: the kernel of each client is one of its own, and has no beegfs; build client_module"),
        ({"wish": "shared"}, "BeeGFS's module is on the machine's network.*leave kernel = \"shared\" out"),
        ({"remote": True}, "nodes have kernels of their own on the platform emulated only"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_told_in_a_sentence(machine, said):
    with pytest.raises(UserError, match=said) as refused:
        chosen(**machine)
    assert "\n" not in str(refused.value)


def test_a_module_may_be_for_the_kernel_of_virtual_machines():
    modules = {"/opt/beegfs.ko": OTHER}
    asked = chosen("vm", modules=modules, booted_by=["tcg"])
    assert dict(asked.own) == {"client": OwnKernel("vm", 512 * MIB)} and asked.emulated
    assert dict(asked.modules) == {"client": "/opt/beegfs.ko"}
    # Unasked, it is taken for what can load it where KVM boots one.
    assert chosen(modules=modules, booted_by=["kvm"]).own["client"].kind == "vm"
    with pytest.raises(UserError, match="was built for the kernel"):
        chosen(modules=modules, booted_by=["tcg"])


def test_more_clients_than_one_kernel_carries_have_one_each():
    for count, loaded, expected in ((1, ("pvfs2",), {}), (1, (), {"client"}), (2, ("pvfs2",), {"client"})):
        composition = compose("orangefs", {"server": 1, "client": count}, client="kernel")
        together = (Placement((tuple(node.name for node in composition.nodes),)),)
        assert set(kernels.choose(composition, together, 2048 * MIB, None, Machines(loaded=loaded)).own) == set(
            expected
        )


BEE_PROGRAMS = ("beegfs-mgmtd", "beegfs-meta", "beegfs-storage", "beegfs-ctl")


def test_programs_lie_where_the_user_says():
    composition = compose("beegfs", BEE, programs="/opt/beegfs/")
    there = {f"/opt/beegfs/{name}": f"/opt/beegfs/sbin/{name}" for name in BEE_PROGRAMS}
    machines = Machines(there=there)
    found = brought.programs_brought(composition, machines)
    assert found == {name: f"/opt/beegfs/sbin/{name}" for name in BEE_PROGRAMS}
    assert machines.asked == ("/opt/beegfs/sbin/beegfs-mgmtd", "--version")
    assert brought.version_of(composition, found, machines) == "7.4.7"
    on_path = compose("beegfs", BEE)
    machines = Machines(there={name: f"/usr/sbin/{name}" for name in BEE_PROGRAMS})
    assert brought.programs_brought(on_path, machines) == {}
    assert machines.asked == ("beegfs-mgmtd", "--version")
    assert brought.packaged(compose("orangefs", {"server": 1, "client": 1}, client="kernel")) == ("pgrep", "timeout")


def test_programs_that_are_not_there_or_of_another_release():
    composition = compose("beegfs", BEE, programs="/opt/beegfs")
    with pytest.raises(UserError) as refused:
        brought.programs_brought(composition, Machines())
    said = (
        "beegfs: no beegfs-mgmtd, beegfs-meta, beegfs-storage, beegfs-ctl in /opt/beegfs, its bin or its sbin; no pack"
    )
    assert str(refused.value).startswith(said)
    there = {f"/opt/beegfs/{name}": f"/opt/beegfs/sbin/{name}" for name in BEE_PROGRAMS}
    with pytest.raises(UserError, match=r'"BeeGFS Management 8\.2\.1"; release = "7\.4" is deployed.*"8"'):
        brought.programs_brought(composition, Machines(there=there, says="BeeGFS Management 8.2.1"))
    eight = compose("beegfs", BEE, release="8")
    there = {name: f"/usr/bin/{name}" for name in eight.sources}
    assert brought.programs_brought(eight, Machines(there=there, says="beegfs-mgmtd 8.2.1")) == {}
    with pytest.raises(UserError, match="orangefs: no pvfs2-server, pvfs2-check-server, pvfs2fuse on PATH; no package"):
        brought.programs_brought(compose("orangefs", {"server": 1, "client": 1}), Machines())


# What doctor says


@pytest.mark.parametrize(
    ("kind", "there", "kernel", "own", "ok", "said"),
    [
        ("orangefs", False, ("fuse",), (), False, "no package of Debian's has OrangeFS"),
        ("orangefs", True, ("fuse",), (), True, "Management Node Version: 7.4.7"),
        ("orangefs", True, (), (), False, "the kernel has no fuse: load fs-fuse"),
        ("beegfs", False, ("fuse",), (), False, "no package of Debian's has BeeGFS"),
        ("beegfs", True, ("beegfs",), ("nfs4",), False, "its client needs a kernel module: build client_module"),
        ("nfs", True, (), ("nfsd", "nfs4"), True, "Management"),
        ("nfs", True, (), (), False, "the kernel has no nfsd: load fs-nfsd; or apt-get install user-mode-linux"),
    ],
)
def test_doctor_says_what_is_missing(kind, there, kernel, own, ok, said):
    answers = {
        "which": lambda programs: {name: f"/usr/bin/{name}" if there else None for name in programs},
        "missing_filesystems": lambda names: [name for name in names if name not in kernel],
        "own_kernel_lacks": lambda names: [name for name in names if name not in own],
        "having": lambda modules: f"load {' '.join(modules)}",
        "version": lambda argv: Machines.says.splitlines()[0],
        "said": lambda argv: Machines.says,
    }
    found = findings.usable(lambda what, **given: answers[what](**given), kind, registry.filesystem(kind))
    assert found.ok == ok
    assert found.detail.startswith(said)
