"""Find the deploy user of a process."""

from __future__ import annotations

import os

from deploy.adapters.runs.start import DeployUser
from deploy.config import Settings, SettingsError


def deploy_user(settings: Settings) -> DeployUser | None:
    """Return the deploy user, whose permissions scripts run with, or None for the server's own user.

    Raises:
        SettingsError: The deploy user owns the data folder.
        RunError: The deploy user does not exist.
    """
    if not settings.sudo_user:
        return None
    user = DeployUser.named(settings.sudo_user)
    if user.uid == os.geteuid():
        return None
    if user.uid == settings.data_dir.stat().st_uid:
        raise SettingsError(
            f"The deploy user {user.name} owns the data folder {settings.data_dir}: scripts could read every secret. "
            "Change the owner of the folder, or choose another deploy user (SUDO_USER)."
        )
    return user
