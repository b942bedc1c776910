"""Contract, deploy scripts: how they are started and what they can report."""

import json
import os
from pathlib import Path
from typing import Any

from tests.e2e.api import Api
from tests.e2e.folders import python, report, shell, steps
from tests.e2e.server import Server
from tests.e2e.waiting import wait_until

DUMP = """
import json, os, stat, sys
path = os.environ["DEPLOY_CONFIG_FILE"]
status = os.stat(path)
print("DUMP " + json.dumps({
    "argv": open("/proc/self/cmdline").read().split("\\0")[:-1],
    "environment": open("/proc/self/environ").read().split("\\0")[:-1],
    "config": json.load(open(path)),
    "mode": stat.S_IMODE(status.st_mode),
    "folder_mode": stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode),
    "owner": status.st_uid,
    "user": os.getuid(),
    "folder": os.getcwd(),
    "stdin": os.readlink("/proc/self/fd/0"),
    "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),
}))
"""
CALLS_HOME = """
import json, os, urllib.request
config = json.load(open(os.environ["DEPLOY_CONFIG_FILE"]))
def call(method, url, body=None):
    headers = {"Authorization": "Bearer " + config["access_token"], "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, headers, method=method)
    print(urllib.request.urlopen(request).read().decode())
call("POST", config["steps_url"], {"name": "A", "state": "running", "message": "by HTTP"})
call("POST", config["steps_url"], {"name": "A", "state": "success", "message": "done"})
print(json.dumps({"name": "B", "state": "success", "message": "by output"}), flush=True)
call("PUT", config["deployment_finish_url"])
"""


def dump(api: Api, deployment_id: int) -> dict[str, Any]:
    (line,) = [line for line in api.lines(deployment_id) if line.startswith("DUMP ")]
    return dict(json.loads(line.removeprefix("DUMP ")))


def summaries(steps_: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(step["name"], step["state"], step["message"]) for step in steps_]


# How scripts are started


def test_a_script_gets_a_config_file_and_a_minimal_environment(server: Server, api: Api) -> None:
    name = server.add_service(python(DUMP))
    done = api.run(name, {"TAG": "v1", "list": [1, {"a": None}], "text": 'ü"\n$(x)'})
    assert done["state"] == "success", api.lines(done["id"])
    found = dump(api, done["id"])
    script, file = str(server.services_dir / name / "deploy.sh"), found["argv"][-1]
    assert found["argv"][-3:] == [script, "--config", file]
    environment = dict(entry.split("=", 1) for entry in found["environment"])
    assert set(environment) == {"PATH", "HOME", "LANG", "DEPLOY_CONFIG_FILE"}
    assert environment["DEPLOY_CONFIG_FILE"] == file
    assert environment["HOME"] == os.environ["HOME"]
    config = found["config"]
    assert config["deployment_id"] == done["id"]
    assert config["deploy_script"] == script
    assert config["steps_url"] == f"{server.base_url}/steps/"
    assert config["deployment_finish_url"] == f"{server.base_url}/deployments/finish/"
    assert config["context"] == {"env": {"TAG": "v1", "list": [1, {"a": None}], "text": 'ü"\n$(x)'}}
    assert config["path_for_deploy"] == environment["PATH"]
    assert "ssh_auth_sock" not in config
    assert config["access_token"]
    assert (found["mode"], found["folder_mode"], found["owner"]) == (0o600, 0o700, found["user"])
    assert not Path(file).parent.exists()
    assert found["folder"] == str(server.services_dir / name)
    assert found["stdin"] == "/dev/null"
    # 3 is the folder being listed.
    assert found["descriptors"] == [0, 1, 2, 3]


def test_secrets_do_not_appear_in_arguments_or_environments(server: Server, api: Api) -> None:
    with server.puppet() as (name, puppet):
        started = api.start(name, {"PASSWORD": "the-secret-of-this-test"})
        token = puppet.config()["access_token"]
        key = (server.data_dir / "secret-key").read_text().strip()
        seen = [
            (path, secret)
            for process in os.listdir("/proc")
            if process.isdigit()
            for path in (Path("/proc", process, "cmdline"), Path("/proc", process, "environ"))
            for secret in (token, token.split(".")[2], key, "the-secret-of-this-test")
            if secret.encode() in content_of(path)
        ]
        puppet.exit()
        api.wait_until_final(started["id"])
    assert seen == []
    log = server.log_file.read_text()
    assert token not in log
    assert "the-secret-of-this-test" not in log


def content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended, or belongs to another user
        return b""


def test_the_config_file_is_removed_even_if_the_script_is_killed(server: Server, api: Api) -> None:
    name = server.add_service(shell('echo "$DEPLOY_CONFIG_FILE"; kill -9 $$'))
    done = api.run(name)
    (file,) = api.lines(done["id"])
    wait_until(lambda: not Path(file).parent.exists(), "the folder to be removed")


# What scripts can report


def test_lines_of_stdout_and_stderr_are_reports_or_log_output(server: Server, api: Api) -> None:
    lines = [
        "text",
        "",
        "  indented ünïcode \t",
        '{"a": 1}',
        '{"name": 5}',
        '{"name": ""}',
        '{"name": "x", "state": "odd"}',
        '[{"name": "x"}]',
        '{"name": "x"',
        "\x1b[31mred\x1b[0m",
    ]
    script = python(f"""
        import sys
        for line in {lines!r}:
            print(line, flush=True)
        print('  {report("A", message="first")}  ', file=sys.stderr, flush=True)
        print("an error", file=sys.stderr, flush=True)
        print('{report("B", message="second")}')
        print("no newline at the end", end="")
    """)
    done = api.run(server.add_service(script))
    found = api.lines(done["id"])
    notes = [line for line in found if line.startswith("[fastdeploy]")]
    assert [line for line in found if line not in notes] == [*lines, "an error", "no newline at the end"]
    assert [found[found.index(note) - 1] for note in notes] == ['{"name": "x", "state": "odd"}']
    assert summaries(done["steps"]) == [("A", "success", "first"), ("B", "success", "second")]


def test_other_fields_are_kept_as_detail(server: Server, api: Api) -> None:
    line = report("A", "failure", error_message="It broke", duration=1.5, nested={"a": [None, "ü"]})
    done = api.run(server.add_service(shell(f"echo '{line}'")))
    (step,) = done["steps"]
    assert step["message"] == "It broke"
    assert {key: step["detail"][key] for key in ("duration", "nested")} == {
        "duration": 1.5,
        "nested": {"a": [None, "ü"]},
    }


def test_a_script_can_report_over_http_and_on_stdout(server: Server, api: Api) -> None:
    name = server.add_service(python(CALLS_HOME), config={"steps": steps("A", "B", "C")})
    done = api.run(name)
    assert done["state"] == "success"
    assert summaries(done["steps"])[0] == ("A", "success", "done")
    wait_until(lambda: api.deployment(done["id"])["exit_code"] is not None, "the script to exit")
    assert [line for line in api.lines(done["id"]) if "step processed" in line] == ['{"detail":"step processed"}'] * 2
    assert f'{{"detail":"Deployment {done["id"]} finished"}}' in api.lines(done["id"])
    assert api.deployment(done["id"])["state"] == "success"
