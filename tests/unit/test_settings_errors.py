"""Every wrong setting ends every command with one sentence that names it. New settings and commands are included."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import SecretStr
from typer.core import TyperGroup

from deploy.config import Settings, SettingsError
from deploy.entrypoints.cli import app, main
from deploy.entrypoints.serve.settings import SECRET_SETTINGS, load_settings

CONTROL, NOT_UTF8 = "a\x1b[31mb", "correct-\udcff-horse"
# Values that are wrong for a type.
WRONG: dict[Any, list[str]] = {
    int: ["many", "1.5", "[1]", "0x10", "9" * 5000],
    float: ["soon", "nan", "inf", "-inf", "1e999", "1,5"],
    bool: ["perhaps", "2"],
    str: [CONTROL, "  ", NOT_UTF8],
    SecretStr | None: [NOT_UTF8],
    Path: [CONTROL, "  "],
    Path | None: [CONTROL, "  "],
    list[str]: ["https://status.example.com", "[1]", '{"a": "b"}', "[", NOT_UTF8],
}
NO_URLS = ["deploy.example.com", "ftp://deploy.example.com", "http://", "http://a:b", "https://[::1", "http:///x"]
# Values that are wrong for one setting.
ALSO_WRONG = {
    "secret_key": ["a", "1234567", "a" * 40],
    "api_url": NO_URLS,
    "public_url": NO_URLS,
    "log_level": ["loud"],
}
BEYOND: dict[str, Callable[[float], float]] = {
    "ge": lambda limit: limit - 1,
    "gt": lambda limit: limit,
    "le": lambda limit: limit + 1,
}


def beyond_limits(name: str) -> Iterator[str]:
    """Yield values just beyond the limits of a setting."""
    for item in Settings.model_fields[name].metadata:
        for limit, beyond in BEYOND.items():
            if hasattr(item, limit):
                yield str(beyond(getattr(item, limit)))


def wrong_values() -> list[tuple[str, str]]:
    """Return every setting with every value that is wrong for it."""
    return [
        (name, value)
        for name, field in Settings.model_fields.items()
        for value in [*WRONG[field.annotation], *beyond_limits(name), *ALSO_WRONG.get(name, [])]
    ]


def server_commands() -> list[list[str]]:
    """Return a call of every command that uses the server's settings, with the arguments it requires."""

    def calls(command: Any, words: list[str]) -> Iterator[list[str]]:
        if isinstance(command, TyperGroup):
            for name, child in command.commands.items():
                yield from calls(child, [*words, name])
        elif command.callback is not None and ".client" not in command.callback.__module__:
            required = [one for one in command.params if one.required]
            options = [[one.opts[0], "1"] for one in required if one.param_type_name == "option"]
            given = [one for one in required if one.param_type_name == "argument"]
            arguments = [["1" if one.name == "grant_ids" else "ada"] for one in given]
            yield [*words, *(word for words in options + arguments for word in words)]

    return list(calls(typer.main.get_command(app), []))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove settings from the environment and change to an empty folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def failed_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]) -> list[str]:
    """Run a command that must exit with code 2. Return the lines that it prints."""
    monkeypatch.setattr(sys, "argv", ["fastdeploy", *command])
    with (Path("..") / "password").open(encoding="utf-8") as password:
        monkeypatch.setattr(sys, "stdin", password)
        with pytest.raises(SystemExit) as exited:
            main()
    assert exited.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()


@pytest.fixture
def fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[list[str]], list[str]]:
    """Return a function that runs a command with wrong settings and returns the lines that it prints."""
    (tmp_path / "password").write_text("a long password\n")
    return lambda command: failed_run(monkeypatch, capsys, command)


@pytest.mark.parametrize(("name", "value"), wrong_values(), ids=lambda text: repr(text[:20]))
def test_a_wrong_value_is_explained_in_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name.upper(), value)
    with pytest.raises(SettingsError, match=rf"^{name.upper()} (must |is too easy to guess)[^\n]+\.$") as raised:
        load_settings()
    assert len(str(raised.value)) < 300
    assert ("(got " in str(raised.value)) == (name not in SECRET_SETTINGS)
    assert value not in str(raised.value) or name not in SECRET_SETTINGS or len(value) == 1


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "")
    assert getattr(load_settings(), name) == Settings.model_fields[name].default


@pytest.mark.parametrize("command", server_commands(), ids=" ".join)
def test_every_command_reports_all_wrong_settings(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[[list[str]], list[str]], command: list[str]
) -> None:
    wrong = {name: value for name, value in wrong_values() if name != "data_dir"}
    for name, value in wrong.items():
        monkeypatch.setenv(name.upper(), value)
    lines = fails(command)
    assert [line.split()[:2] for line in lines] == [
        ["Error:", name.upper()] for name in Settings.model_fields if name in wrong
    ]
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL must start with postgresql+asyncpg://"),
        ({"DATABASE_URL": "mysql://u:hush-hush@db/x"}, "DATABASE_URL must start with postgresql+asyncpg://"),
        ({"DATABASE_URL": "postgresql+asyncpg://u:hush-hush@db:x/x"}, "DATABASE_URL is invalid (the port must be"),
        ({"DATABASE_URL": "postgresql+asyncpg://u:hush-hush@db:99999/x"}, "DATABASE_URL is invalid (the port must be"),
        ({"DATABASE_URL": "postgresql+asyncpg://u:hush-hush@[::1/x"}, "DATABASE_URL is invalid (the port must be"),
        ({"DATABASE_URL": "postgresql+asyncpg://db/x", "SECRET_KEY": ""}, "SECRET_KEY is missing."),
        ({"DATA_DIR": "~no-such-user/x"}, "The path ~no-such-user/x cannot be used"),
    ],
)
@pytest.mark.parametrize("command", [["user", "list"], ["worker"]], ids=" ".join)
def test_a_value_that_is_checked_later_is_also_explained(
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[list[str]], list[str]],
    settings: dict[str, str],
    reason: str,
    command: list[str],
) -> None:
    for name, value in ({"SECRET_KEY": "0123456789abcdef" * 2} | settings).items():
        monkeypatch.setenv(name, value)
    (line,) = fails(command)
    assert line.startswith(f"Error: {reason}")
    assert "hush-hush" not in line


@pytest.mark.parametrize("option", ["sslmode=nonsense", "ssl=nonsense", "target_session_attrs=nonsense"])
def test_an_invalid_option_of_the_database_url_is_explained(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[[list[str]], list[str]], option: str
) -> None:
    monkeypatch.setenv("SECRET_KEY", "0123456789abcdef" * 2)
    monkeypatch.setenv("DATABASE_URL", f"postgresql+asyncpg://u:hush-hush@127.0.0.1:1/x?{option}")
    (line,) = fails(["user", "list"])
    assert line.startswith("Error: DATABASE_URL is invalid (")
    assert "nonsense" in line
    assert "hush-hush" not in line


@pytest.mark.parametrize("command", server_commands(), ids=" ".join)
def test_every_command_names_an_unreadable_dotenv_file(
    fails: Callable[[list[str]], list[str]], command: list[str]
) -> None:
    Path(".env").write_bytes(b"API_URL=\xff\n")
    (line,) = fails(command)
    assert line.startswith(
        f"Error: The settings in {Path('.env').absolute()} cannot be read (not UTF-8). Save the file"
    )


def test_a_wrong_value_in_a_dotenv_file_is_found_there(fails: Callable[[list[str]], list[str]]) -> None:
    Path(".env").write_text("WORKER_SLOTS=many\nDATA_DIR=a\0b\n")
    assert fails(["serve"]) == [
        f"Error: DATA_DIR must not contain control characters (got 'a\\x00b' in {Path('.env').absolute()}).",
        f"Error: WORKER_SLOTS must be an integer between 1 and 1000 (got 'many' in {Path('.env').absolute()}).",
    ]
