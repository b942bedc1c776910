"""Test the records that servers leave for commands, and which of them are trusted."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from deploy.entrypoints.serve.known_servers import (
    RECORD,
    ServerRecord,
    is_running,
    known_data_dirs,
    read_record,
    recorded,
)

OTHER_USER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(autouse=True)
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder with the links to data folders."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "fastdeploy" / "servers"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def record(folder: Path) -> ServerRecord:
    return ServerRecord(working_dir=str(folder), services_root=str(folder / "services"), database="")


def test_a_server_is_found_while_it_runs_and_afterward(data_dir: Path, links: Path) -> None:
    assert (known_data_dirs(), read_record(data_dir)) == ([], None)
    with recorded(data_dir, record(data_dir)):
        assert known_data_dirs() == [data_dir]
        assert is_running(data_dir)
    assert not is_running(data_dir)
    assert known_data_dirs() == [data_dir]
    assert read_record(data_dir) == record(data_dir)
    assert (data_dir / RECORD).stat().st_mode & 0o777 == 0o600
    assert links.stat().st_mode & 0o777 == 0o700


def test_the_most_recent_start_counts(data_dir: Path, tmp_path: Path) -> None:
    for folder in (data_dir, tmp_path):
        with recorded(data_dir, record(folder)):
            pass
    assert read_record(data_dir) == record(tmp_path)
    assert known_data_dirs() == [data_dir]
    assert [path.name for path in data_dir.iterdir()] == [RECORD]


def test_a_removed_data_folder_is_forgotten(data_dir: Path, tmp_path: Path, links: Path) -> None:
    with recorded(data_dir, record(data_dir)):
        pass
    (data_dir / RECORD).unlink()
    assert known_data_dirs() == []
    other = tmp_path / "other"
    other.mkdir()
    with recorded(other, record(other)):
        assert len(list(links.iterdir())) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"working_dir": "/"}', "null", "\x00", "[" * 100_000])
def test_an_invalid_record_is_ignored(data_dir: Path, text: str) -> None:
    (data_dir / RECORD).write_text(text)
    assert read_record(data_dir) is None


def test_a_record_that_is_a_link_or_a_pipe_is_ignored(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps(dict.fromkeys(ServerRecord.__dataclass_fields__, "x")))
    (data_dir / RECORD).symlink_to(tmp_path / "file")
    assert read_record(data_dir) is None
    (data_dir / RECORD).unlink()
    os.mkfifo(data_dir / RECORD)
    assert read_record(data_dir) is None


def test_a_server_works_if_it_cannot_write_its_record(data_dir: Path, links: Path) -> None:
    links.parent.parent.mkdir()
    links.parent.write_text("in the way")
    with recorded(data_dir, record(data_dir)):
        assert is_running(data_dir)
    assert known_data_dirs() == []


def test_a_user_without_a_home_has_no_links(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_account(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", no_account)
    monkeypatch.chdir(tmp_path)
    with recorded(data_dir, record(data_dir)):
        assert known_data_dirs() == []
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@as_root
def test_records_of_other_users_are_ignored(data_dir: Path, links: Path) -> None:
    with recorded(data_dir, record(data_dir)):
        pass
    (link,) = links.iterdir()
    for path in (link, links, data_dir, data_dir / RECORD):
        os.lchown(path, OTHER_USER, OTHER_USER)
        assert known_data_dirs() == []
        os.lchown(path, 0, 0)
    assert known_data_dirs() == [data_dir]
    os.chown(data_dir / RECORD, OTHER_USER, OTHER_USER)
    assert read_record(data_dir) is None
