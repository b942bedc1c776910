"""Find the files named in a config inside the services folder or next to it, and nowhere else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deploy.adapters.ansible.command import AnsibleSettings
from deploy.adapters.ansible.locate import (
    find_executable,
    find_inventory,
    find_strategies,
    playbook_path,
    read_settings,
)
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.runs.supervisor.file_access import MAX_ENTRIES
from deploy.adapters.service_folders.files import Files
from deploy.adapters.service_folders.survey import Survey, survey
from deploy.domain.service_config import ServiceConfig
from tests.reading import files_of

SECRET = "secret-of-the-server"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return `services/` with the folder `shop` in it, files next to it, and a data folder."""
    (tmp_path / "site" / "services" / "shop" / "deep").mkdir(parents=True)
    (tmp_path / "site" / "data").mkdir()
    (tmp_path / "site" / "data" / "secret-key").write_text(SECRET)
    for name in ("services/shop/play.yml", "services/shop/deep/play.yml", "ansible/old.yml", "../outside.yml"):
        file = tmp_path / "site" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("- hosts: all\n")
    return tmp_path / "site" / "services"


@pytest.fixture
def files(reader: socket.socket, root: Path) -> Files:
    return files_of(reader, root, root.parent / "data")


def found(files: Files, root: Path, **config: object) -> Survey:
    return survey(files, str(root / "shop"), ServiceConfig.from_json(config))


def is_refusal(reason: str) -> bool:
    """Return True if a file was rejected because of its location."""
    return "outside the services folder" in reason or "fastDeploy's own files" in reason


def inventory_of(files: Files, root: Path, **config: object) -> str | None:
    folder = str(root / "shop")
    return find_inventory(files, folder, ServiceConfig.from_json(config), read_settings(files, folder))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("play.yml", "services/shop/play.yml"),
        ("deep/play.yml", "services/shop/deep/play.yml"),
        ("ansible/old.yml", "ansible/old.yml"),
        ("../../ansible/old.yml", "ansible/old.yml"),
    ],
)
def test_a_playbook_is_found_in_the_folder_or_next_to_the_services(
    files: Files, root: Path, name: str, expected: str
) -> None:
    path = playbook_path(files, str(root / "shop"), ServiceConfig(ansible_playbook=name), str(root))
    assert path == str(root.parent / expected)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"ansible_playbook": "gone.yml"}, "neither in"),
        ({"ansible_playbook": ["play.yml"]}, "must be a path"),
        ({"ansible_playbook": "../../../outside.yml"}, "outside the services folder"),
        ({"ansible_playbook": "/etc/passwd"}, "outside the services folder"),
        ({"ansible_playbook": "data/secret-key"}, "fastDeploy's own files"),
        ({"ansible_playbook": "link.yml"}, "fastDeploy's own files"),
        ({"ansible_playbook": "deep"}, "neither in"),
        ({"ansible_playbook": "play.yml", "ansible_inventory": "gone"}, "does not exist"),
        ({"ansible_playbook": "play.yml", "ansible_inventory": "../../../outside.yml"}, "outside the services folder"),
        ({"ansible_playbook": "play.yml", "ansible_inventory": "link.yml"}, "fastDeploy's own files"),
    ],
)
def test_a_config_with_unusable_files_is_rejected(
    files: Files, root: Path, config: dict[str, object], reason: str
) -> None:
    (root / "shop" / "link.yml").symlink_to(root.parent / "data" / "secret-key")
    assert reason in found(files, root, **config).fault


@pytest.mark.parametrize("name", ["inventory", "inventory.ini", "inventory.yml", "inventory.yaml", "hosts"])
def test_an_inventory_is_found_by_its_usual_names(files: Files, root: Path, name: str) -> None:
    (root / "shop" / name).write_text("web1\n")
    assert inventory_of(files, root) == str(root / "shop" / name)


def test_an_inventory_can_be_a_folder(files: Files, root: Path) -> None:
    (root / "shop" / "inventory").mkdir()
    assert inventory_of(files, root) == str(root / "shop" / "inventory")


def test_the_inventory_in_the_config_takes_precedence(files: Files, root: Path) -> None:
    (root / "shop" / "hosts").write_text("web1\n")
    (root.parent / "production").write_text("web1\n")
    (root / "shop" / "ansible.cfg").write_text("[defaults]\ninventory = ./hosts\n")
    assert inventory_of(files, root, ansible_inventory="../../production") == str(root.parent / "production")


def test_an_inventory_in_ansible_cfg_is_left_to_ansible(files: Files, root: Path) -> None:
    (root / "shop" / "hosts").write_text("web1\n")
    (root / "shop" / "ansible.cfg").write_text("[defaults]\ninventory = ./staging\n")
    assert inventory_of(files, root) is None


def test_the_default_inventory_is_localhost(files: Files, root: Path) -> None:
    assert inventory_of(files, root) is None


class TestHostsOfOutsideInventories:
    """Ansible shows the contents of anything it reads as an inventory, as if they were host names."""

    def hidden(self, files: Files, root: Path) -> str:
        seen = found(files, root, ansible_playbook="play.yml")
        assert SECRET not in repr(seen)
        return seen.fault or seen.hidden

    @pytest.mark.parametrize("target", ["{data}/secret-key", "/etc/passwd", "/nowhere/at/all"])
    @pytest.mark.parametrize("name", ["hosts", "inventory/web", "inventory/deep/er/web"])
    def test_links_to_outside_files_are_rejected(self, files: Files, root: Path, name: str, target: str) -> None:
        link = root / "shop" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target.format(data=root.parent / "data"))
        assert is_refusal(self.hidden(files, root))

    @pytest.mark.parametrize(
        "inventory",
        ["/etc/passwd", "../../data/secret-key", "hosts, ../../data/secret-key", "$HOME/hosts", "~/hosts", "link"],
    )
    def test_outside_inventories_in_ansible_cfg_are_rejected(self, files: Files, root: Path, inventory: str) -> None:
        (root / "shop" / "hosts").write_text("web1\n")
        (root / "shop" / "link").symlink_to("../../data")
        (root / "shop" / "ansible.cfg").write_text(f"[defaults]\ninventory = {inventory}\n")
        assert is_refusal(self.hidden(files, root))

    @pytest.mark.parametrize(
        "inventory", ["{{CWD}}/hosts", '"hosts"', "'hosts'", "up/../../../outside.yml", "gone", "pipe"]
    )
    def test_paths_that_ansible_reads_differently_are_rejected(self, files: Files, root: Path, inventory: str) -> None:
        """If the path is taken literally, it leads to a file that can be shown."""
        shop = root / "shop"
        (shop / "deep" / "er").mkdir()
        (shop / "up").symlink_to("deep/er")
        (shop / "{{CWD}}").mkdir()
        for name in ("{{CWD}}/hosts", '"hosts"', "'hosts'", "../outside.yml"):
            (shop / name).write_text("web1\n")
        os.mkfifo(shop / "pipe")
        (shop / "ansible.cfg").write_text(f"[defaults]\ninventory = {inventory}\n")
        assert self.hidden(files, root).endswith("so its hosts are not shown")

    @pytest.mark.parametrize("before", [b"# \xff\n", b"#" + b"x" * (1 << 20) + b"\n"], ids=["not UTF-8", "large"])
    def test_an_ansible_cfg_that_only_ansible_can_read_is_rejected(
        self, files: Files, root: Path, before: bytes
    ) -> None:
        (root / "shop" / "ansible.cfg").write_bytes(before + b"[defaults]\ninventory = /etc/passwd\n")
        reason = self.hidden(files, root)
        assert is_refusal(reason) or reason == "ansible.cfg: it is larger than 1 MiB"

    @pytest.mark.parametrize("folder", ["a/b/c/d/e", "a"])
    def test_inventories_too_large_to_inspect_are_rejected(self, files: Files, root: Path, folder: str) -> None:
        last = root / "shop" / "inventory" / folder
        last.mkdir(parents=True)
        if folder == "a":
            for number in range(MAX_ENTRIES):
                (last / f"{number:04}").touch()
        (last / "zz").symlink_to("/etc/passwd")
        assert self.hidden(files, root).startswith("the inventory has more than 4 levels of folders or 1000 files")

    def test_variables_of_many_hosts_do_not_hide_them(self, files: Files, root: Path) -> None:
        variables = root / "shop" / "inventory" / "host_vars"
        variables.mkdir(parents=True)
        for number in range(MAX_ENTRIES):
            (variables / f"{number}").touch()
        assert self.hidden(files, root) == ""

    @pytest.mark.parametrize("inventory", ["hosts", "./hosts", "inventory", "../hosts, hosts"])
    def test_inventories_in_the_services_folder_are_shown(self, files: Files, root: Path, inventory: str) -> None:
        (root / "hosts").write_text("web1\n")
        (root / "shop" / "inventory").mkdir()
        (root / "shop" / "inventory" / "web").symlink_to(root / "hosts")
        (root / "shop" / "hosts").symlink_to(root / "hosts")
        (root / "shop" / "ansible.cfg").write_text(f"[defaults]\ninventory = {inventory}\n")
        assert self.hidden(files, root) == ""

    def test_an_inventory_next_to_the_services_is_used_but_not_shown(self, files: Files, root: Path) -> None:
        (root.parent / "production").write_text("web1\n")
        seen = found(files, root, ansible_playbook="play.yml", ansible_inventory="../../production")
        assert (seen.inventory, seen.fault) == (str(root.parent / "production"), "")
        assert "outside the services folder" in seen.hidden

    def test_an_inventory_next_to_the_playbook_is_shown(self, files: Files, root: Path) -> None:
        (root.parent / "ansible" / "production").write_text("web1\n")
        seen = found(files, root, ansible_playbook="ansible/old.yml", ansible_inventory="../../ansible/production")
        assert (seen.fault, seen.hidden) == ("", "")

    def test_an_outside_ansible_cfg_is_rejected(self, files: Files, root: Path) -> None:
        (root / "shop" / "ansible.cfg").symlink_to(root.parent / "data" / "secret-key")
        assert self.hidden(files, root).startswith("ansible.cfg: it is one of fastDeploy's own files")


def test_a_service_folder_can_be_a_link_within_the_root(files: Files, root: Path) -> None:
    (root / "linked").symlink_to("shop")
    config = ServiceConfig(ansible_playbook="play.yml")
    assert survey(files, str(root / "linked"), config).playbook == str(root / "shop/play.yml")


def test_a_pipe_is_not_an_ansible_cfg(files: Files, root: Path) -> None:
    os.mkfifo(root / "shop" / "ansible.cfg")
    assert read_settings(files, str(root / "shop")) == AnsibleSettings()


def test_mitogen_is_found_in_its_environment() -> None:
    folder = find_strategies(ServiceConfig(mitogen=True))
    assert folder is not None
    assert (folder / "mitogen_linear.py").is_file()
    assert find_strategies(ServiceConfig(mitogen=False)) is None


def test_an_executable_is_found_on_the_path_of_the_deploy_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "venv" / "python"))
    with pytest.raises(PlaybookError, match="neither installed"):
        find_executable(str(tmp_path))

    (tmp_path / "ansible-playbook").write_text("#!/bin/sh\n")
    (tmp_path / "ansible-playbook").chmod(0o755)
    assert find_executable(str(tmp_path)) == str(tmp_path / "ansible-playbook")
