"""Digests of the files in a folder."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from deploy.adapters.service_folders import digests
from deploy.adapters.service_folders.digests import folder_digests


def short(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]


def test_files_are_listed_by_path(tmp_path: Path) -> None:
    (tmp_path / "roles" / "web").mkdir(parents=True)
    (tmp_path / "deploy.sh").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "roles" / "web" / "main.yml").write_bytes(b"")
    (tmp_path / ".env").write_bytes(b"A=1")
    assert folder_digests(tmp_path) == {
        "deploy.sh": short(b"#!/bin/sh\n"),
        "roles/web/main.yml": short(b""),
        ".env": short(b"A=1"),
    }


def test_hidden_folders_are_ignored(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref")
    assert folder_digests(tmp_path) == {}


def test_a_link_is_hashed_by_its_target_path(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("1")
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "folder").symlink_to("../outside")
    (folder / "nowhere").symlink_to("gone")
    assert folder_digests(folder) == {"folder": short(b"-> ../outside"), "nowhere": short(b"-> gone")}


def test_special_files_are_ignored(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "orders")
    (tmp_path / "a").write_text("1")
    assert folder_digests(tmp_path) == {"a": short(b"1")}


def test_undecodable_bytes_in_names_are_replaced(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))).write_text("1")
    assert folder_digests(tmp_path) == {"\N{REPLACEMENT CHARACTER}": short(b"1")}


def test_files_and_bytes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MAX_BYTES", 10)
    for number in range(digests.MAX_FILES):
        (tmp_path / f"{number}").touch()
    (tmp_path / "0").write_bytes(b"x" * 10)
    found = folder_digests(tmp_path)
    assert found is not None
    assert len(found) == digests.MAX_FILES
    (tmp_path / "1").write_bytes(b"x")
    assert folder_digests(tmp_path) is None
    (tmp_path / "1").write_bytes(b"")
    (tmp_path / "one more").touch()
    assert folder_digests(tmp_path) is None


def test_folders_are_limited(tmp_path: Path) -> None:
    for number in range(digests.MAX_FOLDERS):
        (tmp_path / f"{number}").mkdir()
    assert folder_digests(tmp_path) is None


def test_a_missing_folder_has_no_digests(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folder_digests(tmp_path / "gone")


def test_a_folder_that_links_outside_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret-key").write_text("secret")
    (tmp_path / "services" / "shop").mkdir(parents=True)
    (tmp_path / "services" / "linked").symlink_to("shop")
    for name, target in (("data", "../data"), ("up", ".."), ("root", ".")):
        (tmp_path / "services" / name).symlink_to(target)
        assert folder_digests(tmp_path / "services" / name) is None
    (tmp_path / "services" / "shop" / "deploy.sh").write_text("x")
    assert folder_digests(tmp_path / "services" / "linked") == folder_digests(tmp_path / "services" / "shop") != {}
