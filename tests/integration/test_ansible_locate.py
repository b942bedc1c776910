from pathlib import Path

import pytest

from deploy.adapters.ansible.locate import (
    find_executable,
    find_inventory,
    find_playbook,
    find_strategies,
    playbook_path,
)
from deploy.adapters.ansible.playbook_yaml import PlaybookError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`services/` with the folder `shop` in it, and things beside it."""
    (tmp_path / "site" / "services" / "shop" / "deep").mkdir(parents=True)
    for name in ("services/shop/play.yml", "services/shop/deep/play.yml", "ansible/old.yml", "../outside.yml"):
        file = tmp_path / "site" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("- hosts: all\n")
    return tmp_path / "site" / "services"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("play.yml", "services/shop/play.yml"),
        ("deep/play.yml", "services/shop/deep/play.yml"),
        ("ansible/old.yml", "ansible/old.yml"),
        ("../../ansible/old.yml", "ansible/old.yml"),
    ],
)
def test_a_playbook_is_in_the_folder_or_beside_the_services(root: Path, name: str, expected: str) -> None:
    assert playbook_path(root / "shop", {"ansible_playbook": name}, root) == root.parent / expected


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "names no ansible_playbook"),
        ({"ansible_playbook": "gone.yml"}, "neither in"),
        ({"ansible_playbook": ["play.yml"]}, "has to be a path"),
        ({"ansible_playbook": "../../../outside.yml"}, "outside"),
        ({"ansible_playbook": "/etc/passwd"}, "outside"),
        ({"ansible_playbook": "deep"}, "neither in"),
        ({"ansible_playbook": "play.yml", "ansible_inventory": "gone"}, "is not in"),
        ({"ansible_playbook": "play.yml", "ansible_inventory": "../../../outside.yml"}, "outside"),
        ({"ansible_playbook": "play.yml", "pipelining": "no"}, "true or false"),
        ({"ansible_playbook": "play.yml", "mitogen": "yes"}, "true or false"),
    ],
)
def test_a_config_that_names_what_cannot_be_used_is_refused(
    root: Path, config: dict[str, object], reason: str
) -> None:
    with pytest.raises(PlaybookError, match=reason):
        find_playbook(root / "shop", config, root, search_path="/bin")


@pytest.mark.parametrize("name", ["inventory", "inventory.ini", "inventory.yml", "inventory.yaml", "hosts"])
def test_an_inventory_is_found_by_its_usual_names(root: Path, name: str) -> None:
    (root / "shop" / name).write_text("web1\n")

    assert find_inventory(root / "shop", {}, root) == root / "shop" / name


def test_an_inventory_may_be_a_folder(root: Path) -> None:
    (root / "shop" / "inventory").mkdir()

    assert find_inventory(root / "shop", {}, root) == root / "shop" / "inventory"


def test_the_config_names_the_inventory_before_anything_else(root: Path) -> None:
    (root / "shop" / "hosts").write_text("web1\n")
    (root.parent / "production").write_text("web1\n")
    (root / "shop" / "ansible.cfg").write_text("[defaults]\ninventory = ./hosts\n")

    assert find_inventory(root / "shop", {"ansible_inventory": "../../production"}, root) == root.parent / "production"


def test_an_inventory_in_ansible_cfg_is_left_to_ansible(root: Path) -> None:
    (root / "shop" / "hosts").write_text("web1\n")
    (root / "shop" / "ansible.cfg").write_text("[defaults]\ninventory = ./staging\n")

    assert find_inventory(root / "shop", {}, root) is None


def test_without_an_inventory_there_is_localhost(root: Path) -> None:
    assert find_inventory(root / "shop", {}, root) is None


def test_a_service_folder_may_be_a_link(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "play.yml").write_text("- hosts: all\n")
    (root / "linked").symlink_to(elsewhere)

    assert playbook_path(root / "linked", {"ansible_playbook": "play.yml"}, root) == elsewhere / "play.yml"


def test_mitogen_is_found_where_it_is_asked_for() -> None:
    folder = find_strategies({"mitogen": True})
    assert folder is not None
    assert (folder / "mitogen_linear.py").is_file()
    assert find_strategies({"mitogen": False}) is None


def test_a_playbook_comes_with_all_that_is_needed_to_run_it(root: Path) -> None:
    (root / "shop" / "ansible.cfg").write_text("[defaults]\nforks = 3\n")
    playbook = find_playbook(
        root / "shop", {"ansible_playbook": "play.yml", "pipelining": False}, root, search_path=""
    )

    assert Path(playbook.executable).name == "ansible-playbook"
    assert playbook.folder == root / "shop"
    assert playbook.pipelining is False
    assert playbook.strategies is None
    assert "forks = 3" in playbook.ansible_cfg


def test_an_executable_is_found_on_the_path_of_the_deploy_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "venv" / "python"))
    with pytest.raises(PlaybookError, match="not installed"):
        find_executable(str(tmp_path))

    (tmp_path / "ansible-playbook").write_text("#!/bin/sh\n")
    (tmp_path / "ansible-playbook").chmod(0o755)
    assert find_executable(str(tmp_path)) == str(tmp_path / "ansible-playbook")
