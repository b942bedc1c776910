"""Seal secret inputs."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from deploy.adapters.sealing import Unsealable, Vault, _derive_key

VALUES = {"password": "hunter2 \N{SNOWMAN}\n", "key": "x" * 100_000}


def test_sealed_values_can_be_opened() -> None:
    assert Vault("key").open(Vault("key").seal(VALUES, 7), 7) == VALUES


def test_sealed_values_cannot_be_read() -> None:
    sealed = Vault("key").seal(VALUES, 7)
    assert b"hunter2" not in sealed
    assert b"password" not in sealed
    assert sealed != Vault("key").seal(VALUES, 7)


def test_opening_requires_the_same_deployment_key_and_data() -> None:
    sealed = Vault("key").seal(VALUES, 7)
    damaged = [sealed[:-1], sealed[:20], b"", sealed[:30] + bytes([sealed[30] ^ 1]) + sealed[31:]]
    attempts = [("key", sealed, 8), ("other", sealed, 7), *(("key", one, 7) for one in damaged)]
    for key, attempt, deployment_id in attempts:
        with pytest.raises(Unsealable, match="SECRET_KEY"):
            Vault(key).open(attempt, deployment_id)


def test_keys_are_derived_with_hkdf() -> None:
    reference = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"info").derive(b"secret")
    assert _derive_key(b"secret", b"info") == reference


def test_a_repeated_request_is_recognized() -> None:
    vault = Vault("key")
    first = vault.fingerprint({"env": {"a": 1, "b": "x"}, "user": "ada"})
    assert first == vault.fingerprint({"user": "ada", "env": {"b": "x", "a": 1}})
    assert first != vault.fingerprint({"env": {"a": 1, "b": "y"}, "user": "ada"})
    assert first != Vault("other").fingerprint({"env": {"a": 1, "b": "x"}, "user": "ada"})
