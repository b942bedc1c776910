"""Find the hosts that a playbook targets."""

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
        (["w*", "lone"], ["web1", "web2", "lone"]),
        (["d*"], ["db1"]),
        (["gone"], []),
        (["localhost"], ["localhost"]),
        (["localhost", "web1"], ["web1", "localhost"]),
    ],
)
def test_patterns_match_the_expected_hosts(patterns: list[str], hosts: list[str]) -> None:
    assert matching_hosts(patterns, INVENTORY) == hosts


def test_hosts_of_plays_and_imported_playbooks_are_found(files: Files, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text(
        "- hosts: web\n- hosts: [db, lone]\n- import_playbook: other.yml\n"
        "- ansible.builtin.import_playbook: site.yml\n- import_playbook: gone.yml\n"
    )
    (tmp_path / "other.yml").write_text("- hosts: localhost\n")
    assert host_patterns(files, str(tmp_path / "site.yml")) == ["web", "db", "lone", "localhost"]


@pytest.mark.parametrize("pattern", ["{{ target }}", "web[1:3]", "~(a+)+$", "all:!~(a+)+$"])
def test_targets_that_only_a_run_can_determine_are_unknown(files: Files, tmp_path: Path, pattern: str) -> None:
    """This includes regular expressions, because matching them can take forever."""
    (tmp_path / "site.yml").write_text(f'- hosts: "{pattern}"\n')
    assert host_patterns(files, str(tmp_path / "site.yml")) is None


def test_the_size_of_patterns_is_limited(files: Files, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text("- hosts: [" + "web, " * 1_000 + "]\n")
    assert host_patterns(files, str(tmp_path / "site.yml")) == ["web"] * 1_000
    (tmp_path / "site.yml").write_text("- hosts: [" + "web1, " * 3_000 + "]\n")
    assert host_patterns(files, str(tmp_path / "site.yml")) is None


@pytest.mark.parametrize("pattern", ["?*x", "all", "big", "~(a+)+$"])
def test_the_time_to_match_is_limited(pattern: str) -> None:
    hosts = [f"{'a' * 40}{number}!" for number in range(5_000)]
    inventory = {"all": hosts, "big": hosts}
    found = matching_hosts([pattern] * 2, inventory)
    assert found == ([] if pattern in {"?*x", "~(a+)+$"} else hosts)
    assert matching_hosts([pattern] * 1_000, inventory) == ([] if pattern == "~(a+)+$" else None)
