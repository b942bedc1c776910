"""Every line of output is kept in order, whatever a script prints, and the server's memory does not grow with it."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import python, report, shell, steps
from tests.e2e.processes import Site, forget_peak_memory, living, peak_memory
from tests.e2e.server import Server
from tests.e2e.waiting import wait_until

MAX_MEMORY = 400  # MiB
PRINT = "import os, sys\nprint_bytes = sys.stdout.buffer.write\n"

Expected = Callable[[bytes], list[str]]


def text_of(data: bytes) -> list[str]:
    """Return the lines that are stored for the printed data."""
    lines = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


# The output of a script, as an expression that is evaluated both here and in the script.
HOSTILE = {
    "nothing": "b''",
    "a one-megabyte line": "b'x' * 1_000_000 + b'\\n'",
    "binary": "bytes(range(256)) * 1000",
    "NUL": "b'a\\0b\\n' * 1000 + b'\\0' * 1000",
    "invalid UTF-8": "b'caf\\xe9 \\xff\\xfe \\xf0\\x9f\\x98 \\xed\\xa0\\x80 \\xf0\\x9f\\x9a\\x80 \\xc0\\x80\\n' * 10",
    "empty lines": "b'\\n' * 5000 + b'\\r\\n' * 5000",
    "other line separators": "'a\\x0bb\\x0cc\\x1cd\\x85e\\u2028f\\u2029g\\rh\\n'.encode() * 10",
    "colors and progress": "b'\\x1b[31mred\\x1b[0m\\n' + b'\\r'.join(b'%d %%' % n for n in range(1000)) + b'\\n'",
    "an unterminated line": "b'first\\nsecond'",
    "spool records": 'b\'[1,0.5,"exit",{"code":0,"signal":null,"cause":null,"message":""}]\\n\' * 10',
    "depth": "b'{\"name\": ' + b'[' * 100_000 + b'\\n' + b'{' * 100_000 + b'\\n'",
    "numbers": "b'{\"name\": 5}\\n{\"name\": \"\"}\\n[1e999]\\n' + b'9' * 10_000 + b'\\n'",
}


def printing(expression: str) -> str:
    return python(f"{PRINT}print_bytes({expression})")


def lines_of(api: Api, deployment_id: int, **params: Any) -> dict[str, Any]:
    return dict(answer(api.admin.get(f"/deployments/{deployment_id}/output", params=params)))


@pytest.mark.parametrize("name", HOSTILE)
def test_printed_output_is_kept_unchanged(server: Server, name: str) -> None:
    expression = HOSTILE[name]
    found = server.api.run(server.add_service(printing(expression)))
    assert (found["state"], found["reason"]) == ("success", None)
    expected = text_of(eval(expression))  # noqa: S307 - our own, above
    assert server.api.lines(found["id"]) == expected
    assert found["lines"] == len(expected)
    downloaded = server.api.admin.get(f"/deployments/{found['id']}/output.txt")
    assert downloaded.text == "".join(f"{line}\n" for line in expected)
    assert downloaded.headers["content-type"] == "text/plain; charset=utf-8"


def test_ten_megabytes_without_a_newline_are_split_but_complete(server: Server) -> None:
    forget_peak_memory(server.pid)
    found = server.api.run(server.add_service(printing("b'0123456789' * 1_000_000")))
    assert found["state"] == "success"
    pieces = server.api.lines(found["id"])
    assert "".join(pieces) == "0123456789" * 1_000_000
    assert [len(piece) for piece in pieces[:-1]] == [1 << 20] * 9
    assert peak_memory(server.pid) < MAX_MEMORY


@pytest.mark.parametrize("lines", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_a_flood_is_kept_line_by_line_and_can_be_paged_and_searched(server: Server, lines: int) -> None:
    api = server.api
    forget_peak_memory(server.pid)
    script = python(f"{PRINT}for n in range(1, {lines} + 1): print(f'line {{n}} of many')")
    deployment_id = api.run(server.add_service(script))["id"]
    found = api.deployment(deployment_id)
    assert (found["state"], found["lines"]) == ("success", lines)
    with api.admin.stream("GET", f"/deployments/{deployment_id}/output.txt") as response:
        for number, line in enumerate(response.iter_lines(), 1):
            assert line == f"line {number} of many"
        assert number == lines
    part = lines_of(api, deployment_id, after=12_345, limit=3)
    assert [(line["n"], line["text"]) for line in part["lines"]] == [
        (n, f"line {n} of many") for n in (12_346, 12_347, 12_348)
    ]
    assert (part["total"], part["next_after"]) == (lines, 12_348)
    end = lines_of(api, deployment_id, after=lines - 2)
    assert ([line["n"] for line in end["lines"]], end["next_after"]) == ([lines - 1, lines], None)
    assert lines_of(api, deployment_id, after=lines)["lines"] == []
    first = lines_of(api, deployment_id, q="LINE 1234", limit=10)
    assert len(first["lines"]) == 10
    rest = lines_of(api, deployment_id, q="LINE 1234", after=first["next_after"])
    numbers = [line["n"] for line in [*first["lines"], *rest["lines"]]]
    assert numbers == [number for number in range(1, lines + 1) if str(number).startswith("1234")]
    assert rest["next_after"] is None
    assert peak_memory(server.pid) < MAX_MEMORY


def test_stdout_and_stderr_share_one_order(server: Server) -> None:
    found = server.api.run(
        server.add_service(python(f"{PRINT}for n in range(20_000): os.write(1 + n % 2, f'{{n}}\\n'.encode())"))
    )
    assert found["state"] == "success"
    assert server.api.lines(found["id"]) == [str(n) for n in range(20_000)]


def test_steps_know_their_lines(server: Server) -> None:
    printed = [
        "before",
        report("One", "running"),
        "in one",
        "and again",
        report("One"),
        "in two",
        report("Two"),
        report("Three", "running"),
        report("Three"),
        "after",
    ]
    found = server.api.run(
        server.add_service(
            python("\n".join(f"print({line!r})" for line in printed)), config={"steps": steps("One", "Two")}
        )
    )
    by_name = {step["name"]: step for step in found["steps"]}
    spans = {name: (step["first_line"], step["last_line"]) for name, step in by_name.items()}
    assert spans == {"One": (2, 3), "Two": (4, 4), "Three": (None, None)}
    one, two = by_name["One"]["id"], by_name["Two"]["id"]
    lines = lines_of(server.api, found["id"])["lines"]
    assert [(line["text"], line["step_id"]) for line in lines] == [
        ("before", None),
        ("in one", one),
        ("and again", one),
        ("in two", two),
        ("after", None),
    ]


def test_unusual_reports_are_harmless(server: Server) -> None:
    strange = [
        '{"name": "' + "n" * 100_000 + '", "state": "success", "message": "' + "m" * 200_000 + '"}',
        '{"name": "NUL \\u0000 and \\ud800", "state": "success", "message": "\\u0000\\udfff", "more": "\\u0000\\ud800"}',
        '{"name": "Numbers", "state": "success", "more": [NaN, Infinity, 1e999, -1e999, 1' + "0" * 4000 + "]}",
        '{"name": "Many", "state": "running"}' * 2,
        '{"name": "Unknown", "state": "dancing"}',
        '{"name": ["no", "name"]}',
    ]
    script = python("\n".join(f"print({line!r})" for line in [*strange, report("Last")]))
    found = server.api.run(server.add_service(script))
    assert (found["state"], found["exit_code"]) == ("success", 0)
    names = [step["name"] for step in found["steps"]]
    assert [len(names[0]) < 1000, names[1], *names[2:]] == [
        True,
        "NUL \N{REPLACEMENT CHARACTER} and ?",
        "Numbers",
        "Last",
    ]
    lines = server.api.lines(found["id"])
    notes = [line for line in lines if line.startswith("[fastdeploy] The line above is not a step report.")]
    assert [line for line in lines if line not in notes] == strange[3:]
    assert len(notes) == 2


def test_a_script_cannot_forge_steps_of_another_deployment(server: Server) -> None:
    api = server.api
    with server.puppet({"steps": steps("One", "Two")}) as (name, puppet):
        victim = api.start(name)["id"]
        puppet.print(report("One", "running"), "mine")
        wait_until(lambda: api.lines(victim) == ["mine"], "the victim to start")
        before = api.deployment(victim)
        of_victim = before["steps"][0]["id"]
        forged = [
            report("One", "failure", deployment_id=victim, id=of_victim, deleted=True),
            f'{{"type": "step", "name": "Two", "state": "failure", "deployment_id": {victim}}}',
            f'{{"type": "deployment", "id": {victim}, "deployment_id": {victim}, "state": "failure"}}',
            f'{{"type": "output", "deployment_id": {victim}, "seq": 1, "lines": [[1, null, "forged", {of_victim}]]}}',
            f'{{"event": "task_end", "task": "{of_victim}", "name": "One", "state": "failure"}}',
            '{"cancel": "forged"}',
        ]
        forger = api.run(server.add_service(python("\n".join(f"print({line!r})" for line in forged))))
        assert forger["state"] == "failure"
        assert {step["deployment_id"] for step in forger["steps"]} == {forger["id"]}
        assert of_victim not in {step["id"] for step in forger["steps"]}
        assert api.deployment(victim) == before
        puppet.print(report("One"), report("Two"))
        puppet.exit()
        after = api.wait_until_final(victim)
        assert [(step["name"], step["state"]) for step in after["steps"]] == [("One", "success"), ("Two", "success")]
        assert (after["state"], api.lines(victim)) == ("success", ["mine"])


def test_a_script_that_closes_its_output_still_runs(server: Server) -> None:
    name = server.new_name()
    folder = server.services_dir / name
    folder.mkdir()
    os.mkfifo(folder / "orders", 0o666)
    orders = os.open(folder / "orders", os.O_RDWR)
    try:
        server.add_service(shell("echo said; echo $$; exec >&- 2>&-; read -r code < orders; exit $code"), name=name)
        deployment_id = server.api.start(name)["id"]
        _, pid = wait_until(lambda: server.api.lines(deployment_id)[1:] and server.api.lines(deployment_id))
        script = living(int(pid))
        wait_until(lambda: not os.path.exists(f"/proc/{pid}/fd/1"), "the output to be closed")
        assert server.api.deployment(deployment_id)["state"] == "running"
        os.write(orders, b"3\n")
        found = server.api.wait_until_final(deployment_id)
        assert (found["state"], found["exit_code"]) == ("failure", 3)
        assert script.is_dead()
        assert server.api.lines(deployment_id) == ["said", pid]
    finally:
        os.close(orders)


def test_processes_left_running_do_not_delay_the_end(server: Server) -> None:
    api = server.api
    found = api.run(server.add_service(shell("sleep 600 & echo $!")))
    pid, note = api.lines(found["id"])
    left = living(int(pid))
    try:
        assert (found["state"], found["exit_code"]) == ("success", 0)
        assert note.startswith("[fastdeploy] Some processes are still running")
        assert f"sleep ({pid})" in note
    finally:
        left.kill()


def test_processes_left_printing_do_not_delay_the_end(server: Server) -> None:
    api = server.api
    found = api.run(server.add_service(shell("while sleep 0.01; do echo more; done & echo $!; exit 3")))
    first = lines_of(api, found["id"], limit=1)["lines"][0]["text"]
    assert (found["state"], found["exit_code"]) == ("failure", 3)
    # Its output is no longer stored, but read, so it can keep printing.
    living(int(first)).kill()


def test_output_beyond_the_limit_is_dropped_and_noted_in_the_log(site: Site) -> None:
    api = site.api
    lines = 100_000
    script = python(f"{PRINT}for n in range({lines}): print(f'{{n:019}}')\nprint({report('Late')!r})\nsys.exit(3)")
    name = site.server.add_service(script)
    with site.worker(OUTPUT_LIMIT_MIB="1"):
        found = api.run(name)
    assert (found["state"], found["exit_code"]) == ("failure", 3)
    *kept, marker = api.lines(found["id"])
    assert kept == [f"{n:019}" for n in range(len(kept))]
    assert (1 << 20) - 100 < 20 * len(kept) <= 1 << 20
    assert marker.startswith("[fastdeploy] The output limit of 1048576 bytes is reached")
    assert (found["steps"][0]["name"], found["steps"][0]["state"]) == ("Late", "success")
