"""Decode tokens, and forge new ones."""

import base64
import hashlib
import hmac
import json
from typing import Any

HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token."""
    return dict(json.loads(_decoded(token.split(".")[1])))


def forged(claims: dict[str, Any], *, key: bytes, algorithm: str = "HS256") -> str:
    """Return a token with these claims, signed with `key` (or unsigned if the algorithm is `none`)."""
    head = _encoded(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
    signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
    if algorithm not in HASHES:
        return f"{signed}."
    return f"{signed}.{_encoded(hmac.new(key, signed.encode(), HASHES[algorithm]).digest())}"


def altered(token: str, **claims: Any) -> str:
    """Return the token with changed claims and its old signature."""
    head, _, signature = token.split(".")
    return f"{head}.{_encoded(json.dumps(claims_of(token) | claims).encode())}.{signature}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
