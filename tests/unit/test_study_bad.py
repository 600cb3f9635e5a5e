"""Bad study files: each fault gives one line, with the file, the key, what is wrong and what would be right."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_files import BROKER, EXPLICIT, GOOD, Broker, edited

from pliant.errors import UserError
from pliant.study import registry
from pliant.study.problems import StudyError
from pliant.study.reading import load, parse

HUGE = "1" * 30

# The edit of a good study, the key that is blamed, and parts of the message: what is wrong, what would be right.
TABLES = [
    ("[study] => [studdy]", "studdy", 'is not a key; did you mean "study"?'),
    ("seed = 7 => sede = 7", "study.sede", 'did you mean "seed"? the keys here are name, description, search'),
    ("seed = 7 => search = 'grit'", "study.search", 'write one of "adaptive", "grid"'),
    (
        "seed = 7 => budget = 0",
        "study.budget",
        '0 is no budget; write a duration, e.g. "20 min", or a number of trials',
    ),
    ("seed = 7 => budget = '20 mni'", "study.budget", '"20 mni" is not a duration'),
    ("seed = 7 => budget = 1.5", "study.budget", "1.5 is no budget"),
    (
        'max_loss = "10 %" => max_loss = "10 %" \\n indifference = "12 %"',
        "fold.indifference",
        'reaches 12 % to each side of max_loss, 10 %, and a loss is more than nothing and less than all; write "10 %"',
    ),
    ('max_loss = "10 %" => indifference = 5', "fold.indifference", '5 has no unit; write e.g. "5 %"'),
    ('name = "small" =>', "study.name", 'is missing; add e.g. name = "glusterfs-quickstart"'),
    ('name = "small" => name = "My Study"', "study.name", '"My Study" is not a name', 'e.g. "my-study"'),
    ('name = "small" => name = "../../etc"', "study.name", "is not a name", 'e.g. "etc"'),
    ('name = "small" => name = ""', "study.name", '"" is not a name', "write 1 to 48 lower-case letters"),
    (f'name = "small" => name = "{"x" * 49}"', "study.name", "is not a name", "write 1 to 48"),
    ('name = "small" => name = 3', "study.name", "3 is not a text", 'write e.g. "glusterfs-quickstart"'),
    ("repetitions = 2 => repetitions = 0", "study.repetitions", "0 is too small; write 1 or more"),
    ("repetitions = 2 => repetitions = 1001", "study.repetitions", "1001 is too large; write 1000 or less"),
    ("repetitions = 2 => repetitions = 2.0", "study.repetitions", "2.0 is not a whole number; write e.g. 3"),
    ("repetitions = 2 => repetitions = 2.5", "study.repetitions", "2.5 is not a whole number; write e.g. 3"),
    ('repetitions = 2 => repetitions = "2"', "study.repetitions", '"2" is not a whole number; write e.g. 3'),
    ("repetitions = 2 => repetitions = true", "study.repetitions", "true is not a whole number; write e.g. 3"),
    ("seed = 7 => seed = -1", "study.seed", "-1 is too small; write 0 or more"),
    (f"seed = 7 => seed = {HUGE}", "study.seed", "is too large; write 9223372036854775807 or less"),
    ("seed = 7 => seed = 2026-01-01", "study.seed", "is not a whole number; write e.g. 1"),
    ("seed = 7 => seed = 7 \\n description = []", "study.description", "a list is not a text; write e.g."),
    ("seed = 7 => seed = 7 \\n trial_timeout = 600", "study.trial_timeout", "600 has no unit; write e.g."),
    ('seed = 7 => seed = 7 \\n trial_timeout = "soon"', "study.trial_timeout", "is not a duration", '"20 min"'),
    ("[study] => extra = 1 \\n [study]", "extra", "is not a key; the keys here are study, platform"),
    ("[fold] => [folds]", "folds", 'is not a key; did you mean "fold"?', "the keys here are study, platform"),
    ("[study] => [[study]]", "study", "is a list; write one table, [study] in single brackets"),
]

PLATFORM = [
    ('kind = "emulated" =>', "platform.kind", 'is missing; add e.g. kind = "emulated"'),
    (
        'kind = "emulated" => kind = "vm"',
        "platform.kind",
        '"vm" is not available yet in this version; write "emulated"',
    ),
    (
        'kind = "emulated" => kind = "emulate"',
        "platform.kind",
        'not a platform; did you mean "emulated"?',
        "write one of",
    ),
    ('kind = "emulated" => kind = 1', "platform.kind", '1 is not a text; write one of "emulated"'),
    ("[platform.host] => [platform.hots]", "platform.hots", 'is not a key; did you mean "hosts"?', "kind, host"),
    ("cores = 0.2 =>", "platform.host.cores", "is missing; add e.g. cores = 0.2"),
    (
        "cores = 0.2 => core = 0.2 \\n cores = 1",
        "platform.host.core",
        'did you mean "cores"?',
        "the keys here are cores, nic",
    ),
    ('cores = 0.2 => like = "grid5000/dahuu"', "platform.host.like", 'did you mean "grid5000/dahu"?'),
    (
        'cores = 0.2 \\n nic = "200 Mbit/s" \\n disk = "60 MB/s" \\n memory = "1 GiB" => like = "grid5000/grosse"',
        "platform.host.like",
        'did you mean "grid5000/gros"?',
    ),
    ('cores = 0.2 => like = "grid5000/grisou"', "platform.host.like", 'write "grid5000/parasilo", which has the same'),
    ('cores = 0.2 => like = "dahu"', "platform.host.like", 'is not a cluster of the catalogue; write "grid5000/dahu"'),
    ("cores = 0.2 => like = 5", "platform.host.like", '5 is not a text; write e.g. "grid5000/dahu"'),
    (
        'cores = 0.2 \\n nic = "200 Mbit/s" \\n disk = "60 MB/s" => like = "grid5000/econome"',
        "platform.host.disk",
        "is missing; the catalogue has no rate of the Western Digital WD2003FYYS in grid5000/econome; add the real one",
    ),
    ("cores = 0.2 => cores = 0.2 \\n scale = 0.5", "platform.host.scale", "0.5 is not a scale; write a number of 1 or"),
    ("cores = 0.2 => cores = 0.2 \\n scale = nan", "platform.host.scale", "nan is not a scale; write a number of 1 or"),
    ("cores = 0.2 => cores = 0.2 \\n scale = inf", "platform.host.scale", "inf is not a scale; write a number of 1 or"),
    ("cores = 0.2 => cores = 0.2 \\n scale = true", "platform.host.scale", "true is not a scale; write a number of 1"),
    ('cores = 0.2 => cores = 0.2 \\n scale = "full"', "platform.host.scale", '"full" is not a scale', 'or "auto"'),
    ('cores = 0.2 => cores = 0.2 \\n scale = "150"', "platform.host.scale", '"150" is not a scale', 'or "auto"'),
    ("cores = 0.2 => cores = 0.2 \\n scale = []", "platform.host.scale", "a list is not a scale"),
    (
        "cores = 0.2 => cores = 16 \\n scale = 100",
        "platform.host.scale",
        "100 leaves a host 600 kB/s of disk (at least 1 MB/s); write 60 or less",
    ),
    (
        "cores = 0.2 => cores = 0.2 \\n scale = 100",
        "platform.host.scale",
        "100 leaves a host 0.002 cores (at least 0.01) and 600 kB/s of disk (at least 1 MB/s); write 20 or less",
    ),
    ("cores = 0.2 => cores = 0", "platform.host.cores", "0 is too small; write 0.01 or more"),
    ("cores = 0.2 => cores = 2000", "platform.host.cores", "2000 is too large; write 1024 or less"),
    ("cores = 0.2 => cores = nan", "platform.host.cores", "nan is not a finite number; write e.g. 0.2"),
    ("cores = 0.2 => cores = inf", "platform.host.cores", "inf is not a finite number; write e.g. 0.2"),
    ('cores = 0.2 => cores = "0.2"', "platform.host.cores", '"0.2" is not a number; write e.g. 0.2'),
    ("cores = 0.2 => cores = true", "platform.host.cores", "true is not a number; write e.g. 0.2"),
    ('"200 Mbit/s" => "200 Mb"', "platform.host.nic", '"200 Mb" is not a rate; write e.g. "200 Mbit/s"'),
    ('"200 Mbit/s" => "25 MB/s"', "platform.host.nic", "counts bytes", 'write "200 Mbit/s"'),
    ('"200 Mbit/s" => 200', "platform.host.nic", '200 has no unit; write e.g. "200 Mbit/s"'),
    ('"200 Mbit/s" => "200 bit/s"', "platform.host.nic", '"200 bit/s" is too small; write "1 Mbit/s" or more'),
    ('"200 Mbit/s" => ["200 Mbit/s"]', "platform.host.nic", 'text with a unit is wanted here; write e.g. "200 Mbit/s"'),
    ('"60 MB/s" => "60 Mbit/s"', "platform.host.disk", "counts bits", 'write "7.5 MB/s"'),
    ('"60 MB/s" => "60 MB"', "platform.host.disk", '"60 MB" is not a disk rate; write e.g. "60 MB/s"'),
    ('"1 GiB" => "1 G"', "platform.host.memory", '"1 G" is not a size; write "1 GiB"'),
    ('"1 GiB" => "1 KiB"', "platform.host.memory", '"1 KiB" is too small; write "64 MiB" or more'),
    ('"1 GiB" => "1 GiB" \\n disk_size = "-1 GiB"', "platform.host.disk_size", "not above zero; write e.g."),
]

FILESYSTEM = [
    (
        '"glusterfs" => "glusterf"',
        "filesystem.kind",
        '"glusterf" is not a file system; did you mean "glusterfs"?',
        "write one of",
    ),
    ('"glusterfs" => "GlusterFS"', "filesystem.kind", "is not a file system", "write one of"),
    ('"glusterfs" => 4', "filesystem.kind", '4 is not a text; write e.g. "glusterfs"'),
    ('kind = "glusterfs" =>', "filesystem.kind", 'is missing; add e.g. kind = "glusterfs"'),
    (
        "server = 4 => sever = 4",
        "filesystem.roles.sever",
        'is not a role of glusterfs; did you mean "server"?',
        "its roles are server, client",
    ),
    (
        "server = 4 => server = 4 \\n monitor = 1",
        "filesystem.roles.monitor",
        "is not a role of glusterfs; its roles are server, client",
    ),
    ("client = 4 =>", "filesystem.roles.client", "is missing; glusterfs needs it, add client = 1 or more"),
    ("server = 4 => server = 0", "filesystem.roles.server", "0 is too small; glusterfs needs 1 or more"),
    ("server = 4 => server = -4", "filesystem.roles.server", "-4 is too small; write 0 or more"),
    ("server = 4 => server = 4.5", "filesystem.roles.server", "4.5 is not a whole number; write e.g."),
    ('server = 4 => server = "4"', "filesystem.roles.server", '"4" is not a whole number; write e.g.'),
    (
        "server = 4 => server = 70000",
        "filesystem.roles",
        "70004 nodes are more than a cluster can have; write at most 60000",
    ),
    (
        "[filesystem.roles] => [filesystem.rolls]",
        "filesystem.rolls",
        'did you mean "roles"?',
        "kind, name, roles, options",
    ),
    (
        'volume = "distribute" => volume = "raid"',
        "filesystem.options.volume",
        '"raid" is not a volume type; write "distribute"',
    ),
    (
        'volume = "distribute" => volume = "replicate 3"',
        "filesystem.roles",
        "a multiple of 3 servers, not 4; take 3 or 6",
    ),
    (
        'volume = "distribute" => volume = "replicate 5"',
        "filesystem.roles.server",
        "4 is too small; glusterfs needs 5 or more",
    ),
    (
        'volume = "distribute" => volumes = "distribute"',
        "filesystem.options.volumes",
        'did you mean "volume"?',
        "the keys here are volume",
    ),
    (
        'volume = "distribute" => transport = "rdma"',
        "filesystem.options.transport",
        '"rdma" is not one of those allowed',
        'write one of "tcp"',
    ),
    (
        'volume = "distribute" => ping_timeout_s = "1"',
        "filesystem.options.ping_timeout_s",
        "is not a whole number; write e.g. 42",
    ),
]

FOLD = [
    ("ratios = [1, 2, 4] =>", "fold.ratios", "is missing; add e.g. ratios = [1, 2, 4]"),
    ("[1, 2, 4] => []", "fold.ratios", "has 0 elements; write 1 or more"),
    ("[1, 2, 4] => 4", "fold.ratios", "4 is not a list; write e.g. [1, 2, 4]"),
    ("[1, 2, 4] => [2, 4]", "fold.ratios", "1 is missing, the baseline", "write [1, 2, 4]"),
    ('[1, 2, 4] => "any"', "fold.ratios", "", ""),
    ("[1, 2, 4] => [1, 2, 8] \\n roles = ['client']", "fold.ratios", "8 is more than the 4 nodes to fold", "write 4"),
    ("[1, 2, 4] => [1, 2] \\n of = 'ranks'", "fold.of", '"ranks" are those of clients', 'roles = ["client"]'),
    ("[1, 2, 4] => [1, 2] \\n of = 'rank'", "fold.of", 'did you mean "ranks"? write one of "nodes", "ranks"'),
    (
        "[1, 2, 4] => [1, 2] \\n of = 'ranks' \\n roles = ['server', 'client']",
        "fold.roles",
        '"server" has no ranks, which of = "ranks" folds; write roles = ["client"], or of = "nodes"',
    ),
    ("[1, 2, 4] => [1, 2] \\n roles = ['clients']", "fold.roles", '"clients" is not a role of glusterfs', "client"),
    ("[1, 2, 4] => [1, 2, 2.0]", "fold.ratios", "2 is there twice; write each ratio once"),
    ("[1, 2, 4] => [1, 0.5]", "fold.ratios[2]", "0.5 is too small; write 1 or more"),
    ("[1, 2, 4] => [1, inf]", "fold.ratios[2]", "inf is not a finite number; write"),
    ('[1, 2, 4] => [1, "2"]', "fold.ratios[2]", '"2" is not a number; write e.g. 4'),
    ("[1, 2, 4] => [1, true]", "fold.ratios[2]", "true is not a number; write e.g."),
    ("[1, 2, 4] => [1, 16]", "fold.ratios", "16 is more than the study's 8 nodes; write 8 at most"),
    ("[1, 2, 4] => [1, 4, 5]", "fold.ratios", "4 and 5 both put 8 nodes on 2 hosts; leave one of them out"),
    ("[1, 2, 4] => [1, 1.1]", "fold.ratios", "1 and 1.1 both put 8 nodes on 8 hosts; leave one of them out"),
    (
        '"spread" => "spred"',
        "fold.strategy",
        '"spred" is not a strategy; did you mean "spread"?',
        'write one of "spread", "pack"',
    ),
    (
        "[1, 2, 4] => [1, 8]",
        "fold.strategy",
        'at ratio 8: strategy "segregate" needs at least 2 hosts',
        "works with 8 nodes is 4",
    ),
    ('"10 %" => 0.1', "fold.max_loss", '0.1 has no unit; write e.g. "10 %"'),
    ('"10 %" => "0.1"', "fold.max_loss", '"0.1" is not a percentage; write e.g. "10 %"'),
    ('"10 %" => "100 %"', "fold.max_loss", "always tolerated; write less"),
    ('"10 %" => "-10 %"', "fold.max_loss", "is not above 0 %", 'write e.g. "10 %"'),
    (
        "[fold] => [fold.placement] \\n 2 = [] \\n [fold]",
        "fold.placement",
        '"spread" makes its own; write strategy = "explicit"',
    ),
]

PLACEMENTS = [
    (
        '4 = [["server"], ["client"]] =>',
        "fold.placement.4",
        "is missing; write a list of nodes for each of its 2 hosts",
    ),
    ('4 = [["server"], ["client"]] => 4 = [["all"]]', "fold.placement.4", "has 1 host; ratio 4 puts 8 nodes on 2"),
    (
        '["server"], ["client"] => ["server"], ["server1", "client"]',
        "fold.placement.4",
        "server1 is placed more than once; write",
    ),
    (
        '["server"], ["client"] => ["server"], ["client[1-3]"]',
        "fold.placement.4",
        "client4 is on no host; add it to one",
    ),
    (
        '["server"], ["client"] => ["server"], ["clint"]',
        "fold.placement.4",
        'no node or role "clint"; did you mean "client"?',
    ),
    (
        '["server"], ["client"] => ["server[1-"], ["client"]',
        "fold.placement.4",
        'is not closed; write e.g. "server[1-4]"',
    ),
    ('["server"], ["client"] => ["all"], []', "fold.placement.4", "host 2 has no node; give it one"),
    ('["server"], ["client"] => ["all"], [7]', "fold.placement.4[2][1]", "7 is not a text; write e.g."),
    (
        "[fold.placement] => [fold.placement] \\n 1 = []",
        "fold.placement.1",
        "the baseline has one node on each host; remove",
    ),
    (
        "[fold.placement] => [fold.placement] \\n 8 = []",
        "fold.placement.8",
        "is not one of fold.ratios; write one of 2, 4",
    ),
    (
        "[fold.placement] => [fold.placement] \\n two = []",
        "fold.placement.two",
        "is not one of fold.ratios; write one of 2, 4",
    ),
]

WORKLOADS = [
    ('kind = "ior" =>', "workload[1].kind", 'is missing; add kind = one of "command", "fio", "io500", "ior", "mdtest"'),
    (
        'kind = "ior" => kind = "iorr"',
        "workload[1].kind",
        '"iorr" is not a workload; did you mean "ior"?',
        "write one of",
    ),
    ('kind = "ior" => kind = 1', "workload[1].kind", "1 is not a text; write one of"),
    (
        'kind = "mdtest" \\n files_per_rank = 20 => kind = "ior"',
        "workload[2].name",
        'workload[1] is called "ior" too; add e.g. name = "ior-2"',
    ),
    ('kind = "mdtest" => kind = "mdtest" \\n name = "ior"', "workload[2].name", 'is called "ior" too; add e.g.'),
    ('kind = "mdtest" => kind = "mdtest" \\n name = "a b"', "workload[2].name", '"a b" is not a name', '"a-b"'),
    ('kind = "mdtest" => kind = "mdtest" \\n name = 2', "workload[2].name", "2 is not a text; write e.g."),
    ('"8 MiB" => "8 M"', "workload[1].block", '"8 M" is not a size; write "8 MiB"'),
    ('"8 MiB" => 8', "workload[1].block", '8 has no unit; write e.g. "64 MiB"'),
    ('"8 MiB" => "9.5 MiB"', "workload[1]", 'is not a multiple of transfer "1 MiB"'),
    ("block = => blok =", "workload[1].blok", 'did you mean "block"?', "the keys here are kind, name, block"),
    ('transfer = "1 MiB" => operations = ["wite"]', "workload[1].operations[1]", 'did you mean "write"?'),
    ('transfer = "1 MiB" => fsync = 1', "workload[1].fsync", "1 is not true or false; write e.g. true"),
    ('transfer = "1 MiB" => program = "ior"', "workload[1].program", '"ior"', "absolute path"),
    ("files_per_rank = 20 => files_per_rank = 0", "workload[2].files_per_rank", "0 is too small; write 1 or more"),
    (
        'files_per_rank = 20 => files_per_rank = "20"',
        "workload[2].files_per_rank",
        '"20" is not a whole number; write e.g.',
    ),
]

OTHERS = [
    ("[fold] => [power] \\n idle = 95 \\n [fold]", "power.idle", '95 has no unit; write e.g. "95 W"'),
    ('[fold] => [power] \\n idle = "95" \\n [fold]', "power.idle", '"95" is not a power; write e.g. "95 W"'),
    (
        '[fold] => [power] \\n idle = "2 kW" \\n [fold]',
        "power",
        'less than an idle one (2 kW); write busy = "2 kW" or more',
    ),
    ('[fold] => [power] \\n peak = "2 kW" \\n [fold]', "power.peak", "is not a key; the keys here are idle, busy"),
    (
        '[fold] => [mpi] \\n mpiexec = "mpiexec" \\n [fold]',
        "mpi.mpiexec",
        'not an absolute path; write e.g. "/usr/bin/mpiexec"',
    ),
    ("[study] => mpi = 3 \\n [study]", "mpi", "3 is not a table; write its keys below"),
]

CASES = [*TABLES, *PLATFORM, *FILESYSTEM, *FOLD, *WORKLOADS, *OTHERS]


def problems_of(text: str) -> tuple:
    with pytest.raises(StudyError) as refused:
        parse(text, "studies/a.toml")
    assert str(refused.value) == "\n".join(str(problem) for problem in refused.value.problems)
    assert isinstance(refused.value, UserError)
    return refused.value.problems


def check(text: str, key: str, parts: tuple[str, ...]) -> None:
    problems = problems_of(text)
    assert [problem.key for problem in problems] == [key]
    line = str(problems[0])
    assert line.startswith(f"studies/a.toml: {key}: ")
    assert "\n" not in line and "Input should" not in line
    for part in parts:
        assert part in line


@pytest.mark.parametrize(("edit", "key", "parts"), [(case[0], case[1], case[2:]) for case in CASES])
def test_one_fault_is_one_line(edit, key, parts):
    edits = [edit, '"spread" => "segregate"'] if "segregate" in parts[0] else [edit]
    check(edited(*edits), key, parts)


@pytest.mark.parametrize(("edit", "key", "parts"), [(case[0], case[1], case[2:]) for case in PLACEMENTS])
def test_one_fault_in_an_explicit_placement_is_one_line(edit, key, parts):
    check(edited(edit, text=EXPLICIT), key, parts)


@pytest.mark.parametrize(
    ("edit", "key", "message"),
    [
        ("broker = 1 => broker = 2", "filesystem.roles.broker", "2 is too large; broker can have 1 at most"),
        ("store = 3 => store = 2", "filesystem.roles", "two stores cannot agree; write 1 or 3"),
        ("client = 4 => client = 1", "filesystem.roles.client", "1 is too small; broker needs 2 or more"),
        ('token = "abc" =>', "filesystem.options.token", "is missing; add token = ... (a shared secret)"),
        ('token = "abc" => token = "a" \\n mode = "broken"', "filesystem.options", 'no roles; write mode = "plain"'),
    ],
)
def test_what_another_driver_refuses(edit, key, message, monkeypatch):
    monkeypatch.setattr(registry, "filesystem", lambda name: Broker)
    check(edited(edit, text=BROKER), key, (message,))


def test_workloads_are_needed():
    head = GOOD[: GOOD.index("[[workload]]")]
    check(head, "workload", ('is missing; add a [[workload]] table with e.g. kind = "ior"',))
    check(f'{head}[workload]\nkind = "ior"\n', "workload", ("write [[workload]], in double brackets",))
    check(f"workload = [1]\n{head}", "workload[1]", ("1 is not a table; write [[workload]]",))
    check(f"workload = 1\n{head}", "workload", ("write [[workload]], in double brackets",))


def test_a_missing_table():
    check(GOOD[GOOD.index("[platform]") :], "study", ("is missing; add a [study] table",))


def test_a_value_in_place_of_a_table():
    text = "study = 3\n" + GOOD[GOOD.index("[platform]") :]
    check(text, "study", ("3 is not a table; write its keys below",))


def test_all_faults_are_found_at_once_in_the_order_of_the_tables():
    text = edited(
        'name = "small" => name = "S M"',
        '"200 Mbit/s" => "200 Mb"',
        'volume = "distribute" => volume = "raid"',
        "[1, 2, 4] => [2, 4]",
        '"8 MiB" => "8 M"',
        "files_per_rank = 20 => files_per_rank = 0 \\n dept = 1",
    )
    assert [problem.key for problem in problems_of(text)] == [
        "study.name",
        "platform.host.nic",
        "filesystem.options.volume",
        "fold.ratios",
        "workload[1].block",
        "workload[2].files_per_rank",
        "workload[2].dept",
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("is empty", "studies/quickstart.toml")),
        ("# nothing\n", ("is empty",)),
        ("[study\nname = 1\n", ("line 1, column 7: expected ']'", 'close the name of the table with "]"')),
        ("[study]\nname = small\n", ("line 2, column 8: invalid value", "write a text in double quotes")),
        ("[study]\nname\n", ("line 2, column 5: expected '='", "write key = value")),
        ("[study]\na = 1 b = 2\n", ("line 2, column 7: expected newline", "write one key = value on a line")),
        (
            "[study]\nseed = 1\nseed = 2\n",
            ("line 3, column 9: cannot overwrite a value", "write each key and each [table] once"),
        ),
        ("[study]\nname = 1\n[study]\n", ("line 3, column 7: cannot declare", "once")),
        ('[study]\nname = "abc\n', ("line 2, column 12: illegal character", 'close the text with "\\""')),
        ("[fold]\nratios = [1, 2\n", ("line 3, column 1: unclosed array", 'close the list with "]"')),
        ("a = " + "[" * 100_000, ("nested too deeply",)),
        ("\x00", ("line 1, column 1: invalid statement", "https://toml.io")),
    ],
    ids=range(12),
)
def test_what_is_no_toml(text, parts):
    (problem,) = problems_of(text)
    assert problem.key == ""
    assert str(problem).startswith("studies/a.toml: ") and "\n" not in str(problem)
    for part in parts:
        assert part in problem.message


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    def line(path) -> str:
        with pytest.raises(StudyError) as refused:
            load(path)
        (problem,) = refused.value.problems
        assert problem.file == str(path)
        assert "\n" not in str(problem)
        return problem.message

    assert "there is no such file; write one as docs/study-file.md shows" in line(tmp_path / "a.toml")
    assert "is a directory; name the study file in it" in line(tmp_path)
    assert "is not a file" in line(tmp_path / "../../../../../../../../dev/null")
    assert "is not a path" in line(tmp_path / "a\0b")
    assert "cannot be read: File name too long" in line(tmp_path / ("x" * 5000))
    (tmp_path / "latin.toml").write_bytes(b'[study]\nname = "\xe9t\xe9"\n')
    assert "line 2 is not UTF-8; save the file in that encoding" in line(tmp_path / "latin.toml")
    assert f'did you mean "{tmp_path / "latin.toml"}"?' in line(tmp_path / "lattin.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (2**20 + 1))
    assert "larger than 1 MiB" in line(tmp_path / "big.toml")

    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert 'permission denied; make it readable with "chmod a+r"' in line(tmp_path / "big.toml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["study", "platform", "filesystem", "fold", "workload", "power", "mpi"]), VALUES)
)
def test_no_shape_of_file_is_answered_with_a_traceback(raw):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pliant.study.reading.read_toml", lambda text, file: raw)
        for problem in problems_of("anything"):
            assert "\n" not in str(problem)


@given(st.data())
def test_no_value_anywhere_is_answered_with_a_traceback(data):
    raw = tomllib.loads(GOOD)
    table = raw
    while True:
        key = data.draw(
            st.sampled_from(sorted(table)) if isinstance(table, dict) else st.sampled_from(range(len(table)))
        )
        if not isinstance(table[key], dict | list) or not table[key] or data.draw(st.booleans()):
            break
        table = table[key]
    table[key] = data.draw(VALUES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pliant.study.reading.read_toml", lambda text, file: raw)
        try:
            parse("anything", "a.toml")
        except StudyError as refused:
            assert all("\n" not in str(problem) and "Input should" not in str(problem) for problem in refused.problems)
