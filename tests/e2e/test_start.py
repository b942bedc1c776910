"""Check which modules a server loads before and right after it answers requests, and how much memory it keeps."""

from pathlib import Path

import pytest

from tests.e2e.conftest import NewServer
from tests.e2e.folders import shell, write_service
from tests.e2e.server import PASSWORD, USER, Server
from tests.e2e.waiting import wait_until

# uvicorn logs this before it accepts the first request.
BEGINS_TO_ANSWER = "Started server process"
CONFIG = {"inputs": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1, "default": 2}}}}
MIB = 1 << 20


def imports(text: str) -> set[str]:
    """Return the modules listed in the output of `python -X importtime`."""
    return {line.rpartition("|")[2].strip() for line in text.splitlines() if line.startswith("import time:")}


def start(server: Server) -> tuple[set[str], str]:
    """Start a server that logs its imports.

    Return the modules loaded when it first answered, and the log up to then.
    """
    server.log_file.unlink(missing_ok=True)
    server.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    server.start()
    before, log_text, _ = server.log_file.read_text().partition(BEGINS_TO_ANSWER)
    assert log_text
    return imports(before), before


def wait_for_import(server: Server, module: str, before: str) -> None:
    wait_until(lambda: module in imports(server.log_file.read_text()[len(before) :]), f"{module} to be loaded")


def anonymous_memory(pid: int) -> int:
    """Return a process's memory in bytes, without file-backed memory."""
    (line,) = [x for x in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if x.startswith("Anonymous:")]
    return int(line.split()[1]) << 10


def test_modules_for_sign_in_and_inputs_are_loaded_after_requests_are_answered(new_server: NewServer) -> None:
    server = new_server()
    write_service(server.services_dir, "sized", script=shell("true"), config=CONFIG)
    # The first start creates the first user. Its sync checks the schema of the inputs in another process.
    for needed_later in (["jsonschema"], ["jsonschema", "jwt", "pwdlib.hashers.argon2", "cryptography"]):
        loaded, before = start(server)
        assert "fastapi.routing" in loaded
        for later in needed_later:
            assert later not in loaded
            wait_for_import(server, later, before)
        server.stop()


@pytest.mark.slow  # in the first tier: “Only migrations load Alembic”, an import contract in pyproject.toml
def test_migration_modules_are_loaded_only_for_an_outdated_schema(new_server: NewServer) -> None:
    server = new_server(blank=True)
    first, _ = start(server)
    assert {"sqlalchemy.orm", "alembic.config"} <= first
    server.stop()
    second, _ = start(server)
    assert "sqlalchemy.orm" in second
    assert not {name for name in second if name.partition(".")[0] == "alembic"}
    assert not {name for name in second if name.startswith("pydantic.v1.")}  # never needed at all


@pytest.mark.main_python
def test_the_memory_of_a_password_check_is_released(new_server: NewServer) -> None:
    server = new_server(forked=False)
    server.start()
    before = anonymous_memory(server.pid)
    for _ in range(3):
        answer = server.api.anonymous.post("/token", data={"username": USER, "password": PASSWORD})
        assert answer.status_code == 200
    # Each takes 19 MiB. The modules loaded for the first one also take some.
    assert anonymous_memory(server.pid) - before < 12 * MIB
