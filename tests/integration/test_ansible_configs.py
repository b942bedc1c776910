"""Find the settings of an `ansible.cfg` outside the service's folder, with the real `ansible-config`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.adapters.ansible import configs
from deploy.adapters.ansible.command import AnsibleSettings
from deploy.adapters.ansible.configs import OutsideConfigs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(configs, "SYSTEM_CONFIG", str(tmp_path / "no-system.cfg"))
    (tmp_path / "home").mkdir()
    (tmp_path / "service").mkdir()
    return tmp_path / "home"


async def test_the_deploy_users_config_counts_until_it_changes(home: Path) -> None:
    outside = OutsideConfigs(path=os.environ["PATH"], home=str(home), user=lambda: None)
    service = home.parent / "service"
    assert await outside.settings(service) == AnsibleSettings()
    file = home / ".ansible.cfg"
    file.write_text("[defaults]\ncallback_plugins = ./notes\n[ssh_connection]\npipelining = no\n")
    found = await outside.settings(service)
    assert (found.callback_plugins, found.names_pipelining) == (str(home / "notes"), True)
    file.write_text("[defaults]\nforks = 3\n")
    assert await outside.settings(service) == AnsibleSettings()
    file.write_text("this is no section\n")  # Ansible reports it when the playbook runs
    assert await outside.settings(service) == AnsibleSettings()
