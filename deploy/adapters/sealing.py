"""Encrypt the secret values in the database (AES-256-GCM), with a key that is not stored there."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from functools import cached_property
from typing import Any

_NONCE_BYTES = 12
# The first byte of sealed data. A different algorithm or key derivation gets a different version.
_VERSION = b"\x01"
_SEAL, _FINGERPRINT = b"fastdeploy/secret-inputs/1", b"fastdeploy/request-fingerprint/1"


class Unsealable(Exception):
    """Sealed values cannot be decrypted. The text says what to do."""


class Vault:
    """Encrypts the secrets of runs, and recognizes repeated requests without storing the values."""

    def __init__(self, secret_key: str) -> None:
        self._secret_key = secret_key.encode()

    def seal(self, values: dict[str, str], deployment_id: int) -> bytes:
        """Return the encrypted values, which are bound to this deployment."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = json.dumps(values).encode("ascii")
        encrypted: bytes = self._cipher.encrypt(nonce, plain, _associated_data(deployment_id))
        return _VERSION + nonce + encrypted

    def open(self, sealed: bytes, deployment_id: int) -> dict[str, str]:
        """Return the values that were sealed for this deployment.

        Raises:
            Unsealable: The values were sealed with another key or for another deployment, or they are corrupt.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only deployments with secrets need it

        nonce, encrypted = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            plain = self._cipher.decrypt(nonce, encrypted, _associated_data(deployment_id))
        except (InvalidTag, ValueError) as error:
            raise Unsealable(
                "Its secret values cannot be decrypted because SECRET_KEY has changed since then. Start a new deployment."
            ) from error
        values: dict[str, str] = json.loads(plain)
        return values

    def fingerprint(self, request: Any) -> str:
        """Return a keyed hash (HMAC) that identifies a repeated request without revealing its content."""
        canonical = json.dumps(request, sort_keys=True, separators=(",", ":")).encode("ascii")
        return hmac.new(_derive_key(self._secret_key, _FINGERPRINT), canonical, hashlib.sha256).hexdigest()

    @cached_property
    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        return AESGCM(_derive_key(self._secret_key, _SEAL))


def _derive_key(secret: bytes, info: bytes) -> bytes:
    """Return a 32-byte key for one purpose: HKDF (RFC 5869) with SHA-256, without salt."""
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)


def _associated_data(deployment_id: int) -> bytes:
    return f"deployment:{deployment_id}".encode("ascii")
