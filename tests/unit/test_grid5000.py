"""Grid'5000's API, played by a server of this process that follows its published models; the real one was not asked."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
import time
import types

import pytest
from grid5000_double import Testbed, closed, done_and_closed, ended, says, serving, torn, trickling

from pliant.errors import UserError
from pliant.schedulers import grid5000_credentials
from pliant.schedulers.grid5000 import Grid5000
from pliant.schedulers.grid5000_api import Api, Refused, Unanswered
from pliant.schedulers.grid5000_credentials import Credentials
from pliant.schedulers.grid5000_deploy import deploy, results
from pliant.schedulers.grid5000_power import drawn
from pliant.schedulers.interface import Scheduler, SchedulerError, Wish

JOBS = "/sites/nancy/jobs"
DEPLOYMENTS = "/sites/nancy/deployments"
SECRET = "s3cret: #of'mine"
WISH = Wish("pliant-abc", 8, 7200)
HOSTS = ("gros-1.nancy.grid5000.fr", "gros-2.nancy.grid5000.fr", "gros-3.nancy.grid5000.fr")
KEY = "ssh-ed25519 AAAA ada@laptop"


@pytest.fixture
def testbed():
    return Testbed()


@pytest.fixture
def base(testbed, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(testbed) as address:
        yield address


@pytest.fixture
def api(base):
    return quick(base)


@pytest.fixture
def nancy(api):
    return site(api)


def quick(base, credentials=None, **more):
    credentials = credentials or Credentials("ada", SECRET)
    return Api(base, credentials, **({"deadline_s": 6.0, "answer_s": 3.0, "pause_s": 0.01} | more))


def site(api, **more):
    return Grid5000(api, "nancy", **({"patience_s": 0.3, "pause_s": 0.02} | more))


# Jobs


def test_it_is_a_scheduler(nancy):
    scheduler: Scheduler = nancy
    assert scheduler.submit(WISH) == "1000"


@pytest.mark.parametrize(
    ("more", "resources"),
    [
        ({}, "nodes=8,walltime=2:00:00"),
        ({"cluster": "gros"}, "{cluster='gros'}/nodes=8,walltime=2:00:00"),
        (
            {"cluster": "gros", "disks": True},
            "{(type='default' or type='disk') AND cluster='gros'}/nodes=8,walltime=2:00:00",
        ),
    ],
)
def test_what_is_posted_for_a_wish(testbed, api, more, resources):
    assert site(api, **more).submit(WISH) == "1000"
    assert testbed.bodies == [{"command": "sleep infinity", "name": "pliant-abc", "resources": resources}]


def test_a_wish_with_everything(testbed, nancy):
    nancy.submit(Wish("n", 1, 3661, "production", "memnode > 1", ("deploy", "exotic"), "me", 1790000000.0))
    assert testbed.bodies == [
        {
            "command": "sleep infinity",
            "name": "n",
            "resources": "nodes=1,walltime=1:01:01",
            "queue": "production",
            "project": "me",
            "properties": "memnode > 1",
            "types": ["deploy", "exotic"],
            "reservation": "2026-09-21 16:13:20",
        }
    ]


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("a b", 1, 60), '"a b" is no name of a job'),
        (Wish("x" * 101, 1, 60), "100 at most"),
        (Wish("a", 0, 60), "0 nodes for 60 s are nothing to reserve"),
    ],
)
def test_a_wish_that_is_none_is_not_sent(testbed, nancy, wish, said):
    with pytest.raises(SchedulerError, match=said):
        nancy.submit(wish)
    assert testbed.seen == []


def test_places_are_names():
    with pytest.raises(SchedulerError, match="is no site of Grid'5000"):
        Grid5000(Api("http://127.0.0.1"), "../nancy")
    with pytest.raises(SchedulerError, match="is no cluster of Grid'5000"):
        Grid5000(Api("http://127.0.0.1"), "nancy", "gros' or 1=1")
    with pytest.raises(SchedulerError, match="name the cluster"):
        Grid5000(Api("http://127.0.0.1"), "nancy", disks=True)


def test_a_job_whose_answer_is_lost_is_found_and_not_submitted_twice(testbed, nancy):
    testbed.faults = [None, done_and_closed]
    assert nancy.submit(WISH) == "1000"
    assert testbed.counted("POST", JOBS) == len(testbed.jobs) == 1


def test_a_job_that_appears_late_is_found(testbed, nancy):
    def late(handler, body):
        testbed.jobs[0]["name"] = WISH.name
        return False

    testbed.job(name="not yet")
    testbed.faults = [None, says(502), None, None, late]
    assert nancy.submit(WISH) == "1000"
    assert testbed.counted("POST", JOBS) == 1


def test_a_submission_that_came_to_nothing_says_so_and_is_not_repeated(testbed, nancy):
    testbed.faults = [None, says(500, "Request failed with status 500: There are not enough resources")]
    with pytest.raises(SchedulerError, match="not enough resources; no job named pliant-abc is there") as caught:
        nancy.submit(WISH)
    assert testbed.counted("POST", JOBS) == 1 and "nothing was reserved so far" in str(caught.value)


def test_a_job_of_that_name_is_not_submitted_again(testbed, nancy):
    testbed.job(name=WISH.name, state="terminated")
    there = testbed.job(name=WISH.name, state="tolaunch")
    assert nancy.submit(WISH) == str(there["uid"])
    assert testbed.counted("POST", JOBS) == 0


def test_a_refused_submission_is_told_in_the_apis_words(testbed, nancy):
    testbed.faults = [None, says(400, "<html><p>Reservation not valid -->  next possible: 2026-12-01 19:00:00</html>")]
    with pytest.raises(Refused, match=r"Grid'5000 refuses what was asked.*next possible: 2026-12-01 19") as caught:
        nancy.submit(WISH)
    assert caught.value.status == 400 and "<" not in caught.value.said


def test_a_created_job_that_is_told_unreadably_is_looked_for(testbed, nancy):
    def unreadable(handler, body):
        testbed.job(name=WISH.name)
        handler.answer(201, '{"uid": ')
        return True

    testbed.faults = [None, unreadable]
    assert nancy.submit(WISH) == "1000"


def test_only_this_users_jobs_that_have_not_ended_are_found(testbed, nancy):
    testbed.job(name="a", user="eve")
    testbed.job(name="a", state="error")
    assert nancy.find("a") is None
    testbed.job(name="a", state="running")
    assert nancy.find("a") == "1002"


@pytest.mark.parametrize(
    ("told", "state", "said"),
    [
        ({"state": "waiting", "message": "FIFO scheduling OK"}, "waiting", "waiting: FIFO scheduling OK"),
        ({"state": "toLaunch"}, "waiting", "toLaunch"),
        ({"state": "running"}, "running", "running"),
        ({"state": "finishing"}, "ended", "finishing"),
        ({"state": "error"}, "ended", "error"),
        ({"state": "bewitched"}, "unknown", "bewitched"),
    ],
)
def test_states(testbed, nancy, told, state, said):
    found = nancy.look(str(testbed.job(**told)["uid"]))
    assert (found.state, found.said, found.hosts, found.ends_s) == (state, said, (), None)


def test_a_running_job_has_hosts_and_an_end(testbed, nancy):
    testbed.job(state="running", started_at=1000, walltime=60, assigned_nodes=list(HOSTS), scheduled_at=900)
    found = nancy.look("1000")
    assert (found.hosts, found.ends_s, found.starts_s) == (HOSTS, 1060.0, None)


def test_a_waiting_job_has_a_start_and_no_hosts_yet(testbed, nancy):
    testbed.job(state="waiting", started_at=0, scheduled_at=1790000000, assigned_nodes=list(HOSTS))
    found = nancy.look("1000")
    assert (found.hosts, found.ends_s, found.starts_s) == ((), None, 1790000000.0)


def test_a_job_that_is_unknown(nancy):
    assert nancy.look("77").state == "unknown" and "OAR::Job" in nancy.look("77").said
    with pytest.raises(SchedulerError, match=r'"7/\.\./8" is no id of a job'):
        nancy.look("7/../8")


def test_more_walltime_granted_queued_refused(testbed, nancy):
    testbed.job(state="running")
    assert nancy.extend("1000", 3661) == "" and testbed.bodies == [{"walltime": "+1:01:01"}]
    testbed.walltime = {"pending": "+1:1:1"}
    assert nancy.extend("1000", 3661) == (
        "Grid'5000 has not granted 1:1:1 more to job 1000 so far: OAR keeps the request"
    )
    testbed.jobs[0]["state"] = "waiting"
    assert "Job 1000 is not running" in nancy.extend("1000", 60)


def test_walltime_is_not_asked_for_twice(testbed, nancy):
    testbed.job(state="running")
    testbed.faults = [closed]
    with pytest.raises(Unanswered) as caught:
        nancy.extend("1000", 60)
    assert caught.value.perhaps_done and testbed.counted("POST", f"{JOBS}/1000/walltime") == 1


@pytest.mark.parametrize("fault", [None, says(403, "Job already killed"), says(404, "Not Found"), says(400), closed])
def test_a_job_is_released_whatever_state_it_is_in(testbed, nancy, fault):
    testbed.job(state="running" if fault is None else "error")
    testbed.faults = [fault]
    nancy.release("1000")
    assert testbed.jobs[0]["state"] == "error" and testbed.counted("DELETE", f"{JOBS}/1000") == 1


def test_a_job_that_cannot_be_released_is_told(testbed, nancy):
    testbed.job(state="running")
    testbed.faults = [says(403)]
    with pytest.raises(Refused, match="Grid'5000 does not allow that to ada"):
        nancy.release("1000")


def test_how_to_release_by_hand(nancy, base):
    assert nancy.release_command("12") == ("curl", "--user", "ada", "--request", "DELETE", f"{base}{JOBS}/12")
    on_front_end = Grid5000(Api(base), "nancy").release_command("12")
    assert on_front_end == ("curl", "--request", "DELETE", f"{base}{JOBS}/12")


def test_reserved_disks_are_those_of_all_running_jobs(testbed, nancy):
    testbed.job(state="running", resources_by_type={"cores": [f"{HOSTS[0]}/1"], "disks": [f"disk1.{HOSTS[0]}"]})
    testbed.job(state="running", resources_by_type={"disks": [f"disk2.{HOSTS[0]}", f"disk1.{HOSTS[1]}"]})
    testbed.job(state="waiting", resources_by_type={"disks": [f"disk3.{HOSTS[0]}"]})
    testbed.job(state="running")
    assert nancy.reserved_disks() == {HOSTS[0]: ("disk1", "disk2"), HOSTS[1]: ("disk1",)}


def test_what_the_reference_api_is_asked(testbed, api):
    testbed.fixed["/sites/nancy/clusters/gros/nodes/gros-1"] = {"uid": "gros-1"}
    testbed.fixed["/sites/nancy/clusters/gros/nodes"] = {"total": 124, "items": []}
    gros = site(api, cluster="gros")
    assert gros.node(HOSTS[0]) == {"uid": "gros-1"} and gros.cluster_nodes() == 124
    testbed.fixed["/sites/nancy/clusters/gros/nodes"] = []
    with pytest.raises(SchedulerError, match="is no description"):
        gros.cluster_nodes()


# Requests


def test_what_fails_for_the_moment_is_asked_again(testbed, nancy):
    testbed.job()
    testbed.faults = [says(503), torn, closed, says(200, "[1, 2"), says(429), says(500)]
    assert nancy.look("1000").state == "waiting"
    assert testbed.counted("GET", f"{JOBS}/1000") == 7


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (400, "no", "Grid'5000 refuses what was asked (400 for GET {url}): no"),
        (401, "", "Grid'5000 does not accept the password of ada: check ~/.python-grid5000.yaml (401 for GET {url})"),
        (403, "no\n\nno", "Grid'5000 does not allow that to ada (403 for GET {url}): no no"),
        (404, "", "Grid'5000 knows no sites/nancy/x (404 for GET {url})"),
        (302, "", "Grid'5000's API fails or answers something else (302 for GET {url})"),
    ],
)
def test_a_refusal_is_one_sentence_and_final(testbed, api, status, text, said):
    testbed.faults = [says(status, text, {"Location": "http://127.0.0.1:1/elsewhere"})]
    with pytest.raises(Refused) as caught:
        api.get("sites/nancy/x")
    assert str(caught.value) == said.format(url=api.url("sites/nancy/x"))
    assert len(testbed.seen) == 1


def test_a_long_refusal_is_cut(testbed, api):
    testbed.faults = [says(400, "word " * 1000)]
    with pytest.raises(Refused) as caught:
        api.get("x")
    assert len(caught.value.said) == 500 and caught.value.said.endswith("...")


def test_without_credentials_the_remedy_is_the_file(testbed, base):
    testbed.password = ("ada", SECRET)
    with pytest.raises(Refused, match=r"write username and password into ~/.python-grid5000.yaml, chmod 600"):
        Api(base).get("sites")
    assert quick(base).items("sites/nancy/jobs") == []


def test_no_password_of_a_netrc_is_sent(testbed, base, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password hers\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with pytest.raises(Refused):
        Api(base).get("sites")
    assert "Authorization" not in testbed.headers[0]


def test_slow_answers_end_at_the_deadline(testbed, base):
    testbed.faults = [trickling] * 9
    began = time.monotonic()
    with pytest.raises(Unanswered, match=r"does not answer .*: no whole answer within 0\.\d+ s"):
        quick(base, deadline_s=0.4, answer_s=0.15).get("sites")
    assert time.monotonic() - began < 10 and len(testbed.seen) >= 2


def test_a_server_that_is_not_there():
    api = quick("http://127.0.0.1:9", deadline_s=0.1)
    with pytest.raises(Unanswered, match="Connection refused") as caught:
        api.post("sites/nancy/jobs", {})
    assert not caught.value.perhaps_done
    with pytest.raises(Unanswered, match="Connection refused"):
        api.get("sites")


def test_listings_are_read_to_their_end(testbed, api):
    for _ in range(120):
        testbed.job()
    assert len({each["uid"] for each in api.items("sites/nancy/jobs")}) == 120
    assert [seen[2]["offset"] for seen in testbed.seen] == ["0", "50", "100"]


@pytest.mark.parametrize("answer", [[], {"items": None}, {"items": [1]}, "text"])
def test_what_is_no_listing(testbed, api, answer):
    testbed.fixed["/sites/nancy/jobs"] = json.dumps(answer)
    with pytest.raises(SchedulerError, match="answers is no listing"):
        api.items("sites/nancy/jobs")


def test_a_listing_without_end_is_given_up(testbed, api):
    testbed.fixed["/x"] = {"items": [{}] * 50, "total": 10**9}
    with pytest.raises(SchedulerError, match="lists more than 2000 items"):
        api.items("x")


def test_requests_is_asked_for_when_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(UserError, match=r'pip install "pliant\[grid5000\]"'):
        Api()


# Credentials


def kept(tmp_path, text, mode=0o600):
    file = tmp_path / "grid5000.yaml"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("plain", "plain"),
        ("plain   # a comment", "plain"),
        ("a#b", "a#b"),
        ("'s3cret: #of''mine'", SECRET),
        ('"with \\"quotes\\" and \\\\"', 'with "quotes" and \\'),
        ("12345", "12345"),
    ],
)
def test_the_users_own_file(tmp_path, testbed, base, written, password):
    file = kept(tmp_path, f"# mine\n---\nusername: ada\npassword: {written}\n\nverify_ssl: False\nuri: whatever\n")
    found = grid5000_credentials.find(str(file))
    assert found is not None and found.username == "ada" and found.verify is False
    testbed.password = ("ada", password)
    assert quick(base, found).items("sites/nancy/jobs") == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    file = kept(tmp_path, "username: ada\npassword: x\n", mode)
    with pytest.raises(UserError, match=f"chmod 600 {file}"):
        grid5000_credentials.find(str(file))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("username: ada\n", "password missing"),
        ("", "username and password missing"),
        ("username: ada\npassword: hunter2: 3\n", ":2: is not a line of the form"),
        ("username: ada\npassword: 'hunter2\n", ":2: is not a line of the form"),
        ("username: ada\npassword: |\n  hunter2\n", ":2: is not a line of the form"),
        ("username: ada\n  hunter2\n", ":2: is not a line of the form"),
        ("username: ada\npassword: &hunter2 x\n", ":2: is not a line of the form"),
        ("- hunter2\n", ":1: is not a line of the form"),
        ("username: ada\npassword:\n", "password missing"),
    ],
)
def test_a_file_that_says_something_else_is_refused_without_its_words(tmp_path, text, said):
    with pytest.raises(UserError) as caught:
        grid5000_credentials.find(str(kept(tmp_path, text)))
    assert said in str(caught.value) and "hunter2" not in str(caught.value)


def test_a_file_of_bytes(tmp_path):
    file = kept(tmp_path, "")
    file.write_bytes(b"username: \xff\n")
    with pytest.raises(UserError, match="is not a text in UTF-8"):
        grid5000_credentials.find(str(file))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        grid5000_credentials.find(str(tmp_path))


def test_without_a_file_the_keyring_is_asked(tmp_path, monkeypatch):
    class KeyringError(Exception):
        pass

    def get_credential(service, username):
        assert (service, username) == ("grid5000", None)
        if keyring.locked:
            raise KeyringError("no backend")
        return types.SimpleNamespace(username="ada", password=SECRET)

    keyring = types.SimpleNamespace(get_credential=get_credential, locked=False)
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", types.SimpleNamespace(KeyringError=KeyringError))
    found = grid5000_credentials.find(str(tmp_path / "none"))
    assert found is not None and found.username == "ada"
    keyring.locked = True
    assert grid5000_credentials.find(str(tmp_path / "none")) is None
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert grid5000_credentials.find(str(tmp_path / "none")) is None


def test_the_password_is_in_no_text(testbed, api, caplog):
    caplog.set_level(logging.DEBUG)
    credentials = Credentials("ada", SECRET)
    shown = [repr(credentials), str(credentials), f"{credentials}", repr(vars(api)), repr(api)]
    with pytest.raises(TypeError, match="not stored"):
        pickle.dumps(credentials)
    with pytest.raises(TypeError, match="not stored"):
        copy.deepcopy(credentials)
    with pytest.raises(TypeError):
        vars(credentials)
    with pytest.raises(TypeError):
        json.dumps(credentials)
    testbed.faults = [says(400, f"you said {SECRET}"), closed, closed]
    for call in (lambda: api.get("x"), lambda: api.post("x", {}), lambda: api.delete("x")):
        with pytest.raises(SchedulerError) as caught:
            call()
        error = caught.value
        shown += [str(error), repr(error), repr(vars(error)), repr(error.__context__), repr(error.__cause__)]
        assert error.__context__ is None
    site(api).extend("1000", 60)
    shown += [*map(str, site(api).release_command("1")), caplog.text]
    encoded = testbed.headers[0]["Authorization"].split()[1]
    assert not any(SECRET in each or encoded in each for each in shown)
    assert Credentials("ada", "").without("text") == "text"


def test_a_password_is_sent_encrypted_only():
    with pytest.raises(UserError, match="is not encrypted"):
        Api("http://api.example.org/stable", Credentials("ada", SECRET))
    assert Api("https://api.example.org/stable/").url("sites/a b") == "https://api.example.org/stable/sites/a%20b"


def test_on_a_front_end_the_user_is_who_is_logged_in(monkeypatch):
    monkeypatch.setenv("LOGNAME", "grace")
    assert Api("http://127.0.0.1").user == "grace"


# Deployments


def on(api, hosts=HOSTS, key=KEY, **more):
    return deploy(api, "nancy", hosts, "debian12-min", key, **({"deadline_s": 2.0, "poll_s": 0.02} | more))


def test_an_environment_is_deployed(testbed, api):
    said = []
    found = on(api, told=said.append)
    assert (found.hosts, found.failed, found.tries) == (HOSTS, {}, 1)
    assert testbed.bodies == [{"nodes": list(HOSTS), "environment": "debian12-min", "key": KEY}]
    assert said == ["debian12-min on 3 of 3 hosts, try 1 of 3"]


def test_hosts_that_fail_are_tried_again(testbed, api):
    outcomes = [{"gros_2": "KO", "gros_3": "KO"}, {"gros_3": "KO"}, {"gros_3": "KO"}]
    testbed.deployed = lambda body: [ended(body, "terminated", **outcomes.pop(0))]
    found = on(api)
    assert found.hosts == HOSTS[:2] and found.tries == 3
    assert found.failed == {HOSTS[2]: "Kadeploy says KO"}
    assert [len(body["nodes"]) for body in testbed.bodies] == [3, 2, 1]


def test_a_deployment_that_fails_as_a_whole_is_tried_again(testbed, api):
    outcomes = ["error", "terminated"]
    testbed.deployed = lambda body: [ended(body, outcomes.pop(0))]
    assert on(api).tries == 2


def test_a_cached_state_is_waited_out(testbed, api):
    stale = {"status": "processing", "result": {}}
    testbed.deployed = lambda body: [stale, stale, stale, ended(body, "terminated")]
    testbed.faults = [None, says(500), closed]
    assert on(api).hosts == HOSTS


def test_an_api_that_is_away_for_a_while_ends_no_deployment(testbed, base):
    testbed.faults = [None, says(503), says(503), closed]
    assert on(quick(base, pause_s=60)).hosts == HOSTS


def test_a_deployment_whose_answer_is_lost_is_found(testbed, api):
    testbed.deployed = lambda body: [ended(body, "terminated")]
    testbed.faults = [done_and_closed]
    assert on(api).hosts == HOSTS
    assert testbed.counted("POST", DEPLOYMENTS) == 1


def test_a_deployment_that_did_not_begin_is_told(testbed, api):
    testbed.faults = [says(500, "Cannot launch deployment: no such environment")]
    with pytest.raises(Unanswered, match="no such environment"):
        on(api)
    assert testbed.counted("POST", DEPLOYMENTS) == 1


def test_what_takes_too_long_is_cancelled(testbed, api):
    testbed.deployed = lambda body: []
    found = on(api, deadline_s=0.1)
    assert found.hosts == () and set(found.failed.values()) == {"not deployed within 0 s"}
    assert testbed.counted("DELETE", f"{DEPLOYMENTS}/D-0") == 1


def test_results_host_by_host():
    told = {
        "status": "terminated",
        "result": {
            "a": {"state": "OK"},
            "b": {"state": "KO", "macro": "BootNewEnvKexec", "micro": "wait_reboot"},
            "c": None,
        },
    }
    assert results(told, ["a", "b", "c", "d"]) == {
        "a": "",
        "b": "Kadeploy says KO in BootNewEnvKexec wait_reboot",
        "c": "Kadeploy says nothing of it",
        "d": "Kadeploy says nothing of it",
    }
    assert results({"status": "error"}, ["a"]) == {"a": "Kadeploy gave up the whole deployment"}
    with pytest.raises(SchedulerError, match="D-1 was cancelled by somebody else"):
        results({"uid": "D-1", "status": "canceled"}, ["a"])


@pytest.mark.parametrize(
    ("hosts", "key", "said"),
    [
        ((), KEY, "no hosts"),
        (HOSTS, " ", "no public key"),
        (HOSTS, "-----BEGIN OPENSSH PRIVATE KEY-----", "a private one"),
    ],
)
def test_what_is_not_deployed(testbed, api, hosts, key, said):
    with pytest.raises(SchedulerError, match=said):
        on(api, hosts, key)
    assert testbed.seen == []


# Wattmetres, asked for


def test_only_hosts_with_a_wattmetre_are_asked_for(testbed, api):
    testbed.fixed["/sites/nancy/clusters/gros"] = {
        "metrics": [{"name": "wattmetre_power_watt", "only_for": ["gros-2"], "period": 1000}]
    }
    testbed.fixed["/sites/nancy/metrics"] = [
        {"timestamp": 999.5 + i, "device_id": "gros-2", "metric_id": "wattmetre_power_watt", "value": 100, "labels": {}}
        for i in range(12)
    ]
    found = drawn(api, "nancy", HOSTS, 1000.0, 1010.0)
    assert list(found) == [HOSTS[1]]
    assert (found[HOSTS[1]].mean_w, found[HOSTS[1]].energy_j, found[HOSTS[1]].covered) == (100.0, 1000.0, 1.0)
    assert testbed.seen[-1][2] == {
        "nodes": "gros-2",
        "metrics": "wattmetre_power_watt",
        "start_time": "999",
        "end_time": "1011",
    }
    testbed.fixed["/sites/nancy/metrics"] = {"message": "too large"}
    with pytest.raises(SchedulerError, match="metrics of gros-2 is no list"):
        drawn(api, "nancy", HOSTS, 1000.0, 1010.0)


def test_long_spans_are_asked_for_in_parts(testbed, api):
    testbed.fixed["/sites/nancy/clusters/gros"] = {"metrics": [{"name": "wattmetre_power_watt"}]}
    testbed.fixed["/sites/nancy/metrics"] = []
    assert drawn(api, "nancy", [f"gros-{number}" for number in range(25)], 0, 4000) == {}
    asked = [seen[2] for seen in testbed.seen if seen[1].endswith("/metrics")]
    assert [len(each["nodes"].split(",")) for each in asked] == [20, 20, 5]
    assert [(each["start_time"], each["end_time"]) for each in asked] == [
        ("-1", "2501"),
        ("2499", "4001"),
        ("-1", "4001"),
    ]
