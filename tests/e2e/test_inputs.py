"""Inputs of services through the API: with user and service tokens, in scripts and playbooks, and their secrets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.conftest import NewServer
from tests.e2e.folders import shell
from tests.e2e.secrets_search import Search
from tests.e2e.server import ROOT, Server
from tests.e2e.waiting import wait_until

SECRET = "s3cr3t/Value+with spaces"
KEY = "-----BEGIN KEY-----\nline-one-of-the-key\nline-two-of-the-key\n-----END KEY-----"
INPUTS: dict[str, Any] = {
    "type": "object",
    "required": ["environment", "password"],
    "properties": {
        "environment": {"title": "Environment", "enum": ["staging", "production"], "default": "staging"},
        "replicas": {"title": "Replicas", "type": "integer", "minimum": 1, "maximum": 9, "default": 2},
        "note": {"type": "string", "maxLength": 200},
        "branch": {"title": "Branch", "type": "string", "x-choices": {"command": ["./branches.sh", "all"]}},
        "password": {"title": "Password", "type": "string", "writeOnly": True, "minLength": 4},
        "key": {"title": "Key", "type": "string", "writeOnly": True, "format": "multiline"},
    },
    "if": {"properties": {"environment": {"const": "production"}}, "required": ["environment"]},
    "then": {"properties": {"ticket": {"title": "Ticket", "type": "string"}}, "required": ["ticket"]},
}
# Writes its values to a file in its folder and prints all of them.
SCRIPT = f"""#!{sys.executable}
import json, sys, os
config = json.load(open(sys.argv[2]))
env = config["context"]["env"]
open("given.json", "w").write(json.dumps(env))
for name, value in sorted(env.items()):
    print(name, "is", value, flush=True)
password = env.get("password", "")
print(json.dumps({{"name": "Use " + password, "state": "success", "message": "with " + password, "detail": {{"p": password}}}}), flush=True)
print("in json:", json.dumps(env), file=sys.stderr, flush=True)
if env.get("note") == "wait":
    open("waiting", "w").close()
    while not os.path.exists("go"):
        pass
    os.remove("go")
if env.get("note") == "fail":
    sys.exit("failed with " + password)
"""
BRANCHES = shell("echo main; echo develop; echo $1")
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Say what was given
      ansible.builtin.debug:
        msg: "note={{ note }} replicas={{ replicas + 1 }} on={{ inform }} password={{ password }}"
    - name: Keep what was given
      ansible.builtin.copy:
        content: "{{ fastdeploy_context | to_json }}"
        dest: "{{ playbook_dir }}/given.json"
        mode: "0600"
"""


@pytest.fixture
def service(server: Server) -> str:
    """Add a service with inputs of every kind."""
    return server.add_service(SCRIPT, files={"branches.sh": BRANCHES}, config={"inputs": INPUTS})


def start(api: Api, service: str, env: dict[str, Any], **more: Any) -> httpx2.Response:
    """Start a deployment with a user token."""
    headers = {"Idempotency-Key": key} if (key := more.pop("key", None)) else None
    path = f"/services/{api.service(service)['id']}/deployments"
    return api.admin.post(path, json={"env": env, **more}, headers=headers)


def faults(response: httpx2.Response) -> dict[str, str]:
    """Return the errors by their dotted location in the request."""
    assert response.status_code == 422, response.text
    detail = response.json()["detail"]
    assert {fault["type"] for fault in detail} == {"input"}
    return {".".join(map(str, fault["loc"])): fault["msg"] for fault in detail}


def received_values(server: Server, service: str) -> dict[str, Any]:
    """Return the values that the script received."""
    found: dict[str, Any] = json.loads((server.services_dir / service / "given.json").read_text())
    return found


class TestDescription:
    def test_inputs_are_described(self, server: Server, api: Api, service: str) -> None:
        described = answer(api.admin.get(f"/services/{api.service(service)['id']}/inputs"))
        assert described["schema"]["properties"]["branch"] == {
            "title": "Branch",
            "type": "string",
            "enum": ["main", "develop", "all"],
        }
        assert list(described["schema"]["properties"]) == list(INPUTS["properties"])
        assert (described["problems"], described["last"], described["confirm"]) == ([], None, False)
        summary = {"kind": "script", "file": "deploy.sh", "hosts": None, "runs_as": None, "ahead": 0}
        assert described["summary"] == summary

    def test_a_service_without_inputs_has_no_schema(self, server: Server, api: Api) -> None:
        service = server.add_service(shell("true"), config={"confirm": True})
        described = answer(api.admin.get(f"/services/{api.service(service)['id']}/inputs"))
        assert (described["schema"], described["last"], described["confirm"]) == (None, None, True)

    def test_a_service_token_sees_only_the_inputs_of_its_service(self, server: Server, api: Api, service: str) -> None:
        client = api.client(api.service_token(service))
        path = f"/services/{api.service(service)['id']}/inputs"
        assert answer(client.get(path))["schema"]["properties"]["branch"]["enum"] == ["main", "develop", "all"]
        foreign = api.service(server.add_service(shell("true")))["id"]
        assert client.get(f"/services/{foreign}/inputs").status_code == 403

    def test_choices_that_fail_are_reported(self, server: Server, api: Api) -> None:
        inputs = {
            "type": "object",
            "properties": {"x": {"title": "X", "x-choices": {"command": ["c.sh"]}}, "y": {"type": "string"}},
        }
        script = {"c.sh": shell("echo 'no network' >&2; exit 1")}
        service = server.add_service(shell("true"), files=script, config={"inputs": inputs})
        described = answer(api.admin.get(f"/services/{api.service(service)['id']}/inputs"))
        assert described["problems"] == [{"path": "x", "detail": "The program ended with exit code 1: no network."}]
        assert described["schema"]["properties"]["x"] == {"title": "X"}
        received = "X: the choices could not be loaded. The program ended with exit code 1: no network"
        assert faults(start(api, service, {"x": "a"})) == {"body.env.x": received}
        assert start(api, service, {"y": "a"}).status_code == 200

    def test_previous_values_are_returned_without_secrets(self, server: Server, api: Api, service: str) -> None:
        started = answer(start(api, service, {"password": SECRET, "note": "hello"}))
        api.wait_until_final(started["id"])
        described = answer(api.admin.get(f"/services/{api.service(service)['id']}/inputs"))
        assert described["last"] == {"environment": "staging", "replicas": 2, "note": "hello"}

    def test_hosts_and_choices_of_a_playbook(self, server: Server, api: Api) -> None:
        files = {
            "site.yml": "- hosts: web:!web2\n  tasks: []\n",
            "inventory.ini": "[web]\nweb1\nweb2\nweb3\n[db]\ndb1\n",
        }
        inputs = {"type": "object", "properties": {"host": {"x-choices": {"inventory": "db"}}}}
        service = server.add_service(files=files, config={"ansible_playbook": "site.yml", "inputs": inputs})
        described = answer(api.admin.get(f"/services/{api.service(service)['id']}/inputs"))
        assert described["schema"]["properties"]["host"] == {"enum": ["db1"]}
        summary = {"kind": "playbook", "file": "site.yml", "hosts": ["web1", "web3"], "runs_as": None, "ahead": 0}
        assert described["summary"] == summary


class TestStart:
    def test_values_reach_the_script_unchanged(self, server: Server, api: Api, service: str) -> None:
        env = {"password": SECRET, "key": KEY, "note": "{{ 7*7 }} $(id) ';--", "branch": "develop"}
        deployment = api.wait_until_final(answer(start(api, service, env))["id"])
        assert deployment["state"] == "success"
        assert received_values(server, service) == {**env, "environment": "staging", "replicas": 2}
        assert deployment["context"]["env"] == {
            "note": env["note"],
            "branch": "develop",
            "environment": "staging",
            "replicas": 2,
        }
        assert deployment["secret_inputs"] == ["key", "password"]

    def test_all_errors_are_reported_together_with_their_location(self, api: Api, service: str) -> None:
        env = {"environment": "production", "replicas": 12, "branch": "gone", "nots": "x", "password": "abc"}
        assert faults(start(api, service, env)) == {
            "body.env.replicas": "Replicas: must be at most 9",
            "body.env.branch": "Branch: must be one of main, develop, all",
            "body.env.password": "Password: must have at least 4 characters",
            "body.env.ticket": "Ticket: required",
            "body.env.nots": "nots: not an input of this service; its inputs are "
            "environment, replicas, note, branch, password, key, ticket",
        }

    def test_service_tokens_follow_the_same_rules(self, api: Api, service: str) -> None:
        client = api.client(api.service_token(service))
        assert faults(client.post("/deployments/")) == {"body.env.password": "Password: required"}
        started = answer(client.post("/deployments/", json={"env": {"password": SECRET, "replicas": 3}}))
        assert started["context"]["env"] == {"environment": "staging", "replicas": 3}
        assert api.wait_until_final(started["id"])["state"] == "success"

    def test_without_inputs_any_values_are_accepted(self, server: Server, api: Api) -> None:
        service = server.add_service(shell("true"))
        started = answer(start(api, service, {"password": "x", "any": [1, {"thing": None}]}))
        assert started["context"]["env"] == {"password": "x", "any": [1, {"thing": None}]}

    def test_a_playbook_gets_values_that_ansible_never_evaluates(self, server: Server, api: Api) -> None:
        inputs = {
            "type": "object",
            "properties": {
                "note": {"type": "string"},
                "replicas": {"type": "integer"},
                "inform": {"type": "boolean", "default": True},
                "password": {"type": "string", "writeOnly": True},
            },
        }
        files = {"site.yml": PLAYBOOK, "inventory.ini": "localhost ansible_connection=local\n"}
        service = server.add_service(files=files, config={"ansible_playbook": "site.yml", "inputs": inputs})
        env = {"note": "{{ 7*7 }}", "replicas": 3, "password": "{{ 6*6 }} hunter2"}
        deployment = api.wait_until_final(answer(start(api, service, env))["id"])
        assert deployment["state"] == "success", deployment["reason"]
        assert received_values(server, service) == {**env, "inform": True}
        output = "\n".join(api.lines(deployment["id"]))
        assert "note={{ 7*7 }} replicas=4 on=True password=***" in output
        assert "hunter2" not in output + json.dumps(api.events(deployment["id"]))
        assert "password=***" in str(deployment["steps"][0]["hosts"])


TYPES = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Version {{ version }}
      ansible.builtin.debug:
        msg: ["{{ pin }}", "{{ pin | int }}", "{{ code }}", "{{ code | int }}", "{{ fastdeploy_context.pin }}"]
    - name: Compare
      ansible.builtin.assert:
        that: [version == '1.10', answer == 'yes', plz | length == 5, pin is string, code is string]
    - name: Numbers in values
      ansible.builtin.debug:
        msg: {pin: "{{ pin | int }}", code: ["{{ code | int }}", "{{ code | float }}"]}
    - name: Keep what was given
      ansible.builtin.copy:
        content: "{{ fastdeploy_context | to_json }}"
        dest: "{{ playbook_dir }}/given.json"
        mode: "0600"
      diff: true
"""
SECRET_DIGITS = {"pin": "0012345", "code": "7654321"}


class TestPlaybookValues:
    """Values reach a playbook unchanged."""

    @pytest.fixture
    def playbook(self, server: Server) -> str:
        secret = {"type": "string", "writeOnly": True}
        inputs = {
            "type": "object",
            "properties": {"pin": secret, "code": secret, "size": {"type": "integer"}},
            "additionalProperties": True,
        }
        files = {"site.yml": TYPES, "inventory.ini": "localhost ansible_connection=local\n"}
        return server.add_service(files=files, config={"ansible_playbook": "site.yml", "inputs": inputs})

    def test_strings_stay_strings_and_numeric_secrets_are_masked(
        self, server: Server, api: Api, playbook: str
    ) -> None:
        env = {
            "version": "1.10",
            "answer": "yes",
            "plz": "01067",
            "at": "12:30",
            "day": "2026-03-31",
            "note": "",
            "octal": "0o17",
            "list": ["null", "~", "1e3", 1, 1.0, True, None],
            "size": 2**64 + 1,
            "template": "{{ 7 * 7 }}",
            "lines": " a\r\n\0\u2028 ",
            "labels": {"no": "off", "{{ 7 * 7 }}": ["1_000"]},
        }
        client = api.client(api.service_token(playbook))
        started = answer(client.post("/deployments/", json={"env": {**env, **SECRET_DIGITS}}))
        deployment = api.wait_until_final(started["id"])
        assert deployment["state"] == "success", deployment["reason"]
        arrived = (server.services_dir / playbook / "given.json").read_text()
        assert sorted_json(json.loads(arrived)) == sorted_json({**env, **SECRET_DIGITS})
        stored = json.dumps([deployment, api.lines(started["id"]), api.events(started["id"])])
        assert "Version 1.10" in stored
        assert not [digits for digits in ("12345", "7654321") if digits in stored]
        messages = {step["name"]: str(step["hosts"]) for step in deployment["steps"]}
        assert messages["Version 1.10"].count("***") == 5
        assert messages["Numbers in values"].count("***") == 3
        (kept,) = [step["id"] for step in deployment["steps"] if step["name"] == "Keep what was given"]
        params = {"step_id": kept, "host": "localhost"}
        result = api.admin.get(f"/deployments/{started['id']}/hosts/result", params=params)
        assert '"pin": "***"' in answer(result)["diff"]

    def test_names_reserved_by_ansible_are_rejected(self, api: Api, playbook: str) -> None:
        env = {
            "version": "1",
            "text": "__ansible_unsafe",
            "__ansible_x": 1,
            "cfg": {"__ansible_vault": "a"},
            "deep": [{"a": [{"__ansible_type": "b"}]}],
        }
        assert faults(start(api, playbook, env)) == {
            f"body.env.{name}": f"{name}: names that begin with `__ansible_` are reserved by Ansible. "
            "Rename the input, or the field in it"
            for name in ("__ansible_x", "cfg", "deep")
        }

    def test_without_inputs_reserved_names_are_rejected_for_playbooks_only(self, server: Server, api: Api) -> None:
        env = {"cfg": {"__ansible_unsafe": "{{ 7 * 7 }}"}}
        config = {"ansible_playbook": "site.yml"}
        playbook = server.add_service(files={"site.yml": TYPES}, config=config)
        assert list(faults(start(api, playbook, env))) == ["body.env.cfg"]
        script = server.add_service(SCRIPT, files={"site.yml": TYPES}, config=config)
        deployment = api.wait_until_final(answer(start(api, script, env))["id"])
        assert deployment["state"] == "success"
        assert received_values(server, script) == env


def sorted_json(value: Any) -> str:
    """Return JSON that distinguishes 1 from 1.0 and from true."""
    return json.dumps(value, sort_keys=True)


class TestConfirmation:
    def test_users_must_confirm_by_name_but_ci_does_not_have_to(self, server: Server, api: Api) -> None:
        service = server.add_service(shell("true"), config={"confirm": True})
        received = {"body.confirm": f"To confirm, type the name of the service: {service}"}
        for wrong in ({}, {"confirm": ""}, {"confirm": service.upper()}):
            assert faults(start(api, service, {}, **wrong)) == received
        first = answer(start(api, service, {}, confirm=service))
        api.wait_until_final(first["id"])
        assert faults(api.admin.post(f"/deployments/{first['id']}/retry")) == received
        retried = answer(api.admin.post(f"/deployments/{first['id']}/retry", json={"confirm": service}))
        assert retried["retry_of"] == first["id"]
        assert api.start(service)["state"] == "queued"

    def test_missing_confirmation_is_reported_with_the_other_errors(self, server: Server, api: Api) -> None:
        inputs = {"type": "object", "properties": {"a": {"title": "A"}}, "required": ["a"]}
        service = server.add_service(shell("true"), config={"confirm": True, "inputs": inputs})
        assert list(faults(start(api, service, {}))) == ["body.confirm", "body.env.a"]


class TestRetry:
    def test_secrets_are_required_again(self, server: Server, api: Api, service: str) -> None:
        first = answer(start(api, service, {"password": SECRET, "key": KEY, "note": "fail"}))
        assert api.wait_until_final(first["id"])["reason"] == "The deploy script ended with exit code 1."
        path = f"/deployments/{first['id']}/retry"
        again = "must be given again, because secret values are not stored"
        received = {"body.env.key": f"Key: {again}", "body.env.password": f"Password: {again}"}
        assert faults(api.admin.post(path)) == received
        env = {"password": "another-value", "key": KEY, "note": "changed"}
        assert faults(api.admin.post(path, json={"env": env})) == {
            "body.env.note": "note: a retry reuses the previous value"
        }
        del env["note"]
        retried = answer(api.admin.post(path, json={"env": env}))
        assert retried["secret_inputs"] == ["key", "password"]
        api.wait_until_final(retried["id"])
        assert received_values(server, service)["password"] == "another-value"

    def test_a_service_without_inputs_is_retried_without_values(self, server: Server, api: Api) -> None:
        service = server.add_service(shell("true"))
        first = api.run(service, {"a": 1})
        path = f"/deployments/{first['id']}/retry"
        assert answer(api.admin.post(path, json={"env": {}}))["context"] == first["context"]
        assert faults(api.admin.post(path, json={"env": {"b": 1}})) == {
            "body.env.b": "b: a retry does not accept new values"
        }


class TestIdempotency:
    def test_a_repeated_request_with_secrets_is_recognized(self, api: Api, service: str) -> None:
        env = {"password": SECRET}
        first = answer(start(api, service, env, key="k1"))
        api.wait_until_final(first["id"])
        assert answer(start(api, service, env, key="k1"))["id"] == first["id"]
        for other in ({"password": SECRET + "x"}, {"password": SECRET, "replicas": 2}, {}):
            assert start(api, service, other, key="k1").status_code == 409


class TestSecrets:
    def test_secrets_appear_nowhere(self, new_server: NewServer) -> None:
        server = new_server(forked=False)
        server.start()
        service = server.add_service(SCRIPT, files={"branches.sh": BRANCHES}, config={"inputs": INPUTS})
        search = Search(server, [SECRET, *KEY.splitlines()[1:3]])
        folder = server.services_dir / service
        assert SECRET not in start(server.api, service, {"password": SECRET, "replicas": 99}).text
        bad = server.api.admin.post(
            f"/services/{server.api.service(service)['id']}/deployments", json={"env": [SECRET]}
        )
        assert (bad.status_code, SECRET in bad.text) == (422, False)
        started = answer(start(server.api, service, {"password": SECRET, "key": KEY, "note": "wait"}, key="k"))
        wait_until((folder / "waiting").exists, "the script to print everything")
        assert search.processes() == []
        assert len(search.rows("SELECT * FROM secrets")) == 1
        assert search.database() == []
        (folder / "go").touch()
        deployment = server.api.wait_until_final(started["id"])
        assert deployment["state"] == "success"
        wait_until(lambda: not search.rows("SELECT * FROM secrets"), "the secrets to be removed")
        (folder / "given.json").unlink()
        assert search.database() == []
        assert search.responses_of(started["id"], deployment["service_id"]) == []
        assert search.files() == []
        assert server.api.lines(started["id"]).count("password is ***") == 1
        assert [step["name"] for step in deployment["steps"]][-1] == "Use ***"

    def test_secrets_are_removed_when_a_queued_deployment_is_cancelled(self, new_server: NewServer) -> None:
        server = new_server(options=["--no-worker"])
        server.start()
        service = server.add_service(SCRIPT, files={"branches.sh": BRANCHES}, config={"inputs": INPUTS})
        search = Search(server, [SECRET])
        started = answer(start(server.api, service, {"password": SECRET}))
        assert len(search.rows("SELECT * FROM secrets")) == 1
        answer(server.api.admin.post(f"/deployments/{started['id']}/cancel"))
        assert search.rows("SELECT * FROM secrets") == []

    # In the first tier: test_secrets_appear_nowhere, and test_process.py::test_a_signal_stops_the_server_and_runs_continue.
    @pytest.mark.slow
    def test_a_restarted_worker_still_masks_secrets(self, new_server: NewServer) -> None:
        server = new_server()
        server.start()
        service = server.add_service(WAITING, config={"inputs": INPUTS_OF_TWO})
        started = answer(start(server.api, service, {"password": SECRET}))
        folder = server.services_dir / service
        wait_until((folder / "waiting").exists, "the script to start")
        server.kill()
        (folder / "go").touch()
        server.start()
        assert server.api.wait_until_final(started["id"])["state"] == "success"
        assert server.api.lines(started["id"]) == ["before ***", "after ***"]

    def test_a_changed_key_is_reported(self, new_server: NewServer) -> None:
        server = new_server(options=["--no-worker"])
        server.start()
        service = server.add_service(WAITING, config={"inputs": INPUTS_OF_TWO})
        started = answer(start(server.api, service, {"password": SECRET}))
        server.stop()
        (server.data_dir / "secret-key").write_text("another key, long enough for everything that it is for")
        server.options.clear()
        server.start()
        server.api._token = None
        deployment = server.api.wait_until_final(started["id"])
        assert deployment["state"] == "failure"
        assert "SECRET_KEY has changed" in deployment["reason"]

    def test_steps_reported_over_http_are_masked(self, server: Server, api: Api) -> None:
        with server.puppet({"inputs": INPUTS_OF_TWO}) as (service, puppet):
            started = answer(start(api, service, {"password": SECRET}))
            token = puppet.config()["access_token"]
            body = {"name": f"Use {SECRET}", "state": "success", "message": SECRET}
            answer(api.client(token).post("/steps/", json=body))
            puppet.exit()
            deployment = api.wait_until_final(started["id"])
        assert [(step["name"], step["message"]) for step in deployment["steps"]][-1] == ("Use ***", "***")


WAITING = shell(
    """read_password() { sed -n 's/.*"password": "\\([^"]*\\)".*/\\1/p' "$DEPLOY_CONFIG_FILE"; }
P=$(read_password); echo "before $P"; touch waiting
while ! test -e go; do sleep 0.05; done; echo "after $P"
"""
)
INPUTS_OF_TWO = {"type": "object", "properties": {"password": {"type": "string", "writeOnly": True}}}


class TestExample:
    def test_the_example_declares_inputs_and_masks_secrets(self, server: Server, api: Api) -> None:
        folder = ROOT / "services" / "with-inputs"
        files = {file.name: file.read_text() for file in folder.iterdir()}
        config = json.loads(files.pop("config.json"))
        service = server.add_service(files=files, config=config)
        described = answer(api.admin.get(f"/services/{api.service(service)['id']}/inputs"))
        topics = described["schema"]["properties"]["topic"]["enum"]
        received = {"body.env.approved_by": "Approved by: required"}
        assert faults(start(api, service, {"topic": topics[0], "audience": "everyone"})) == received
        env = {"topic": topics[0], "audience": "everyone", "approved_by": "Ada", "password": SECRET, "loud": True}
        deployment = api.wait_until_final(answer(start(api, service, env))["id"])
        assert deployment["state"] == "success"
        assert api.lines(deployment["id"]) == [
            "The password is ***",
            f"GOOD NEWS: {topics[0].upper()}",
            "APPROVED BY ADA",
        ]
        messages = {step["name"]: step["message"] for step in deployment["steps"]}
        assert messages["Use the password"] == f"{len(SECRET)} characters: ***"


class TestSync:
    @pytest.mark.parametrize(
        ("inputs", "reason"),
        [
            ({"type": "array"}, 'inputs.type: must be "object".'),
            ({"type": "object", "properties": {"a": {"type": "strin"}}}, "inputs.properties.a.type: "),
            (
                {"type": "object", "properties": {"a": {"x-choices": {"command": ["../../run"]}}}},
                "inputs.properties.a.x-choices.command: '../../run' is outside the folder.",
            ),
            (
                {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/schema.json"}}},
                "inputs.properties.a.$ref: must refer to a part of the same schema (`#/$defs/…`).",
            ),
        ],
    )
    def test_a_broken_schema_is_reported(
        self, server: Server, api: Api, tmp_path: Path, inputs: dict[str, Any], reason: str
    ) -> None:
        name = server.add_service(shell("true"))
        file = server.services_dir / name / "config.json"
        file.write_text(json.dumps({"inputs": inputs}))
        try:
            (problem,) = [one for one in api.sync()["problems"] if one["folder"] == name]
        finally:
            file.write_text("{}")
        assert problem["file"] == "config.json"
        assert problem["reason"].startswith(reason)
