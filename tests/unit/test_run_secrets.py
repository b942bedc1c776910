"""Everything secret in a run, as one object."""

from __future__ import annotations

from deploy.domain.commands import PrepareRun
from deploy.domain.events import RunPrepared
from deploy.domain.run_secrets import RunSecrets

SECRETS = RunSecrets(inputs={"password": "hunter2-hunter2", "token": "another-value"}, token="the-deployment-token")


def test_sealed_values_restore_the_secrets() -> None:
    assert RunSecrets.of(SECRETS.values()) == SECRETS


def test_values_sealed_by_an_earlier_version_are_inputs() -> None:
    assert RunSecrets.of({"token": "value"}) == RunSecrets(inputs={"token": "value"})


def test_every_secret_is_masked() -> None:
    text = "hunter2-hunter2, another-value, the-deployment-token"
    assert SECRETS.mask().text(text) == "***, ***, ***"


def test_unknown_secrets_mask_everything() -> None:
    assert RunSecrets(fault="The key has changed.").mask().text("anything") == "***"


def test_the_repr_of_messages_with_secrets_hides_them() -> None:
    shown = repr([SECRETS, RunPrepared(7, SECRETS), PrepareRun(deployment_id=7, token="the-deployment-token")])
    for value in SECRETS.values().values():
        assert value not in shown
