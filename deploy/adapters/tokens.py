"""Signed tokens (JWT, RFC 7519) and password hashes (argon2id, RFC 9106)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from deploy.domain.errors import NotSignedIn

ALGORITHM = "HS256"
ISSUER = "fastdeploy"
INVALID = "Could not validate credentials"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, once its signature, type and time have been checked."""

    kind: str
    subject: str
    token_id: str
    expires: float
    extra: dict[str, Any]


class TokenSigner:
    """Makes and checks tokens. The audience is the token's type, so that none passes for another."""

    def __init__(self, secret_key: str) -> None:
        # A derived key: long enough for HS256 whatever was configured, and good for nothing else.
        self._key = hashlib.sha256(b"fastdeploy/jwt/" + secret_key.encode()).digest()

    def sign(
        self, kind: str, subject: str, *, now: datetime, lifetime: timedelta, token_id: str | None = None, **extra: Any
    ) -> str:
        """Return a token of type `kind` for `subject`, good from `now` for `lifetime`."""
        claims = {
            "iss": ISSUER,
            "aud": f"{ISSUER}:{kind}",
            "sub": subject,
            "jti": token_id or new_token_id(),
            "iat": now,
            "exp": now + lifetime,
            **extra,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def read(self, token: str, kinds: frozenset[str]) -> Claims:
        """Return the claims of a token of one of these types.

        Raises:
            NotSignedIn: forged, expired, of another type, or no token at all.
        """
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=[f"{ISSUER}:{kind}" for kind in kinds],
                issuer=ISSUER,
                options={"require": ["exp", "iat", "jti", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise NotSignedIn(INVALID) from error
        own = {"iss", "aud", "sub", "jti", "iat", "exp"}
        return Claims(
            kind=str(claims["aud"]).removeprefix(f"{ISSUER}:"),
            subject=claims["sub"],
            token_id=claims["jti"],
            expires=float(claims["exp"]),
            extra={key: value for key, value in claims.items() if key not in own},
        )


def new_token_id() -> str:
    """Return a fresh `jti`."""
    return str(uuid.uuid4())


def new_secret() -> str:
    """Return a random value of 256 bits, safe in a cookie."""
    return secrets.token_urlsafe(32)


def hash_secret(value: str) -> str:
    """Return what is stored of a random value; it needs no salt, nobody can guess it."""
    return hashlib.sha256(value.encode()).hexdigest()


class Passwords:
    """Hashes and checks passwords in threads, two at a time: each takes 19 MiB and a core for 20 ms (OWASP)."""

    def __init__(self) -> None:
        self._hash = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))
        self._nobody = self._hash.hash(secrets.token_hex(16))
        self._limit = asyncio.Semaphore(2)

    def hash_now(self, password: str) -> str:
        """Return the hash of a password, in this thread."""
        return self._hash.hash(password)

    async def hash(self, password: str) -> str:
        """Return the hash of a password."""
        async with self._limit:
            return await asyncio.to_thread(self._hash.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password; takes as long for a user who does not exist (`None`)."""
        async with self._limit:
            matches = await asyncio.to_thread(self._hash.verify, password, password_hash or self._nobody)
        return matches and password_hash is not None
