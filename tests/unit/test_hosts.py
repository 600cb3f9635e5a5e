"""Which hosts are meant, and what an agent answers that is spoken to without ssh."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from pliant.errors import UserError
from pliant.machine.agent import BOOTSTRAP, SIGN, Agent, bundle
from pliant.platforms.agents import hosts_of


@pytest.mark.parametrize(
    ("specs", "hosts"),
    [
        (["node[1-3]"], ("node1", "node2", "node3")),
        (["node2,node10", "node1"], ("node1", "node2", "node10")),
        (["root@node[1-2]"], ("root@node1", "root@node2")),
        (["10.0.0.1", "node-1.site.example"], ("10.0.0.1", "node-1.site.example")),
        (["node1", "node1"], ("node1",)),
    ],
)
def test_hosts_are_written_as_sets_of_nodes_are(specs, hosts):
    assert hosts_of(specs) == hosts


def test_a_file_names_hosts_as_oar_writes_them(tmp_path):
    (tmp_path / "nodes").write_text("node2\nnode2\nnode1\n\nfd00::1\n")
    assert hosts_of([f"@{tmp_path}/nodes", "other"]) == ("fd00::1", "node1", "node2", "other")


def test_or_as_nxc_does(tmp_path):
    (tmp_path / "deployment.json").write_text(
        json.dumps({"deployment": {"10.0.0.2": {"role": "server", "host": "server1"}, "c1": {"role": "client"}}})
    )
    assert hosts_of([f"@{tmp_path}/deployment.json"]) == ("10.0.0.2", "c1")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match='has no table "deployment"'):
        hosts_of([f"@{tmp_path}/other.json"])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("-oProxyCommand=x", "-oProxyCommand=x"),
        ("node1;reboot", "node1;reboot"),
        ("node[1-", 'a "[" that is not closed'),
        ("@/nonesuch", "/nonesuch: cannot be read: No such file or directory"),
        ("@/dev/null", "no host is named in @/dev/null"),
        ("a@b@c", '"a@b@c" is not a name of a host'),
    ],
)
def test_what_is_no_host_is_refused(spec, said):
    with pytest.raises(UserError) as caught:
        hosts_of([spec])
    assert said in str(caught.value)


def test_a_file_may_not_smuggle_in_an_option_of_ssh(tmp_path):
    (tmp_path / "nodes").write_text("node1\n-oProxyCommand=reboot\n")
    with pytest.raises(UserError, match='"-oProxyCommand=reboot" is not a name of a host'):
        hosts_of([f"@{tmp_path}/nodes"])


# The agent


def spoken(*requests: object) -> list[dict[str, object]]:
    """What an agent answers to lines, when all have been given at once."""
    lines = (each if isinstance(each, str) else json.dumps(each) for each in requests)
    answers = io.BytesIO()
    Agent(io.BytesIO("".join(f"{line}\n" for line in lines).encode()), answers).serve()
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_requests_are_answered_by_their_number():
    answers = spoken(
        {"id": 1, "do": "which", "with": {"programs": ["sh", "nonesuch"]}, "timeout_s": 5},
        {"id": 2, "do": "having", "with": {"modules": ["loop"]}, "timeout_s": 5},
    )
    found = {each["id"]: each["done"] for each in answers}
    assert found[1]["sh"].endswith("/sh") and found[1]["nonesuch"] is None
    assert "a kernel that has it" in found[2]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("{", "a request is one line of JSON"),
        ("[1]", "a request is one line of JSON"),
        ({"id": 1, "do": "dance"}, "does not know how to 'dance'"),
        ({"id": 1}, "a request says what to do"),
        ({"id": 1, "do": "which"}, "programs"),
        ({"id": 1, "do": "which", "with": {"nonesuch": 1}}, "nonesuch"),
        ({"id": 1, "do": "run", "with": {"argv": ["true"]}}, "timeout_s"),
        ({"id": 1, "do": "run", "timeout_s": 5, "with": {"argv": ["/nonesuch"]}}, "/nonesuch"),
        ({"id": 1, "do": "remove", "with": {"deployment": "../etc"}}, "../etc"),
        ({"cancel": 9}, None),
    ],
)
def test_a_faulty_request_is_answered_and_ends_nothing(request_, said):
    answers = spoken(request_, {"id": 7, "do": "hello"})
    assert any(each["id"] == 7 and "done" in each for each in answers)
    failed = [str(each["failed"]) for each in answers if "failed" in each]
    assert (said in failed[0]) if said else not failed


def bootstrap(digest: str, state: object, packed: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-I", "-c", BOOTSTRAP, digest, str(state), ""], input=packed, capture_output=True, timeout=30
    )


def test_it_is_sent_once_and_only_if_it_arrives_whole(tmp_path):
    digest, packed = bundle()
    hello = b'{"id": 1, "do": "hello"}\n'
    spoilt = packed[:1000] + bytes([packed[1000] ^ 1]) + packed[1001:]
    for wrong in (b"%d\n%b" % (len(packed), spoilt), b"%d\n%b" % (len(packed), packed[:5000])):
        done = bootstrap(digest, tmp_path / "state", wrong)
        assert done.returncode == 3 and b"not what was sent" in done.stdout
        assert list((tmp_path / "state-agents").iterdir()) == []
    first = bootstrap(digest, tmp_path / "state", b"%d\n%b%b" % (len(packed), packed, hello))
    assert first.stdout.decode().startswith(f"{SIGN}send\n{SIGN}ready\n")
    again = bootstrap(digest, tmp_path / "state", hello)
    assert again.stdout.decode().startswith(f"{SIGN}ready\n") and b'"done"' in again.stdout
    assert [path.name for path in (tmp_path / "state-agents").iterdir()] == [digest]


def test_what_others_may_write_is_not_run(tmp_path):
    digest, _ = bundle()
    (tmp_path / "state-agents" / digest / "machine").mkdir(parents=True)
    (tmp_path / "state-agents").chmod(0o777)
    done = bootstrap(digest, tmp_path / "state", b"")
    assert done.returncode == 3 and b"may be written by others" in done.stdout
