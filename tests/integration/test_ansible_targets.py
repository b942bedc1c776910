"""Which hosts a playbook targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.adapters.ansible.targets import host_patterns, matching_hosts
from deploy.adapters.service_folders.files import Files

INVENTORY = {"all": ["web1", "web2", "db1", "lone"], "ungrouped": ["lone"], "web": ["web1", "web2"], "db": ["db1"]}


@pytest.mark.parametrize(
    ("patterns", "hosts"),
    [
        ([], []),
        (["all"], ["web1", "web2", "db1", "lone"]),
        (["*"], ["web1", "web2", "db1", "lone"]),
        (["db", "web"], ["web1", "web2", "db1"]),
        (["web:db"], ["web1", "web2", "db1"]),
        (["web, db1"], ["web1", "web2", "db1"]),
        (["all:!web"], ["db1", "lone"]),
        (["!web1:web"], ["web2"]),
        (["all:&web:!web2"], ["web1"]),
        (["web*"], ["web1", "web2"]),
        (["d?"], ["db1"]),
        (["~web[12]"], ["web1", "web2"]),
        (["~("], []),
        (["gone"], []),
        (["localhost"], ["localhost"]),
        (["localhost", "web1"], ["web1", "localhost"]),
    ],
)
def test_patterns(patterns: list[str], hosts: list[str]) -> None:
    assert matching_hosts(patterns, INVENTORY) == hosts


def test_plays_and_imported_playbooks(files: Files, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text(
        "- hosts: web\n- hosts: [db, lone]\n- import_playbook: other.yml\n"
        "- ansible.builtin.import_playbook: site.yml\n- import_playbook: gone.yml\n"
    )
    (tmp_path / "other.yml").write_text("- hosts: localhost\n")
    assert host_patterns(files, str(tmp_path / "site.yml")) == ["web", "db", "lone", "localhost"]


def test_targets_that_only_a_run_can_determine(files: Files, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text('- hosts: "{{ target }}"\n')
    assert host_patterns(files, str(tmp_path / "site.yml")) is None
