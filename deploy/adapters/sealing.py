"""Secret inputs on their way through the database: sealed with a key that is not in it (AES-256-GCM)."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any

_NONCE_BYTES = 12
# The first byte of what is sealed: another algorithm, or a changed key, will have another one.
_VERSION = b"\x01"
_SEAL, _FINGERPRINT = b"fastdeploy/secret-inputs/1", b"fastdeploy/request-fingerprint/1"


class Unsealable(Exception):
    """What was sealed cannot be opened; the text says what to do."""


class Vault:
    """Seals the secret inputs of deployments, and recognises requests without keeping them."""

    def __init__(self, secret_key: str) -> None:
        self._secret_key = secret_key.encode()

    def seal(self, values: dict[str, str], deployment_id: int) -> bytes:
        """Return the values, sealed: good for this deployment only."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = json.dumps(values).encode("ascii")
        encrypted: bytes = self._cipher().encrypt(nonce, plain, _associated(deployment_id))
        return _VERSION + nonce + encrypted

    def open(self, sealed: bytes, deployment_id: int) -> dict[str, str]:
        """Return what was sealed for this deployment.

        Raises:
            Unsealable: by another key, for another deployment, or damaged.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only deployments with secrets need it

        nonce, encrypted = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            plain = self._cipher().decrypt(nonce, encrypted, _associated(deployment_id))
        except (InvalidTag, ValueError) as error:
            raise Unsealable(
                "Its secret inputs cannot be read: SECRET_KEY has changed since they were given. Start it once more."
            ) from error
        values: dict[str, str] = json.loads(plain)
        return values

    def fingerprint(self, request: Any) -> str:
        """Return a text by which the same request is known again; without the key it tells nothing about it."""
        canonical = json.dumps(request, sort_keys=True, separators=(",", ":")).encode("ascii")
        return hmac.new(_derived(self._secret_key, _FINGERPRINT), canonical, hashlib.sha256).hexdigest()

    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        return AESGCM(_derived(self._secret_key, _SEAL))


def _derived(secret: bytes, info: bytes) -> bytes:
    """Return a 32-byte key for one purpose: HKDF (RFC 5869) with SHA-256, without salt."""
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)


def _associated(deployment_id: int) -> bytes:
    return f"deployment:{deployment_id}".encode("ascii")
