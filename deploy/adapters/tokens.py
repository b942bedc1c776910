"""Signed tokens (JWT, RFC 7519) and password hashes (argon2id, RFC 9106).

The libraries of both are loaded when they are needed, or by `load`: they bring all of `cryptography` along, and
a server can answer before it is there.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deploy.domain.errors import NotSignedIn

if TYPE_CHECKING:
    from pwdlib import PasswordHash

ALGORITHM = "HS256"
ISSUER = "fastdeploy"
INVALID = "Could not validate credentials"
# Of argon2id, as OWASP recommends: passes over the memory, KiB of it, threads.
PASSES, MEMORY, LANES = 2, 19 * 1024, 1


def load() -> None:
    """Load what signing, reading and hashing need, so that none of them waits for it."""
    import jwt  # noqa: F401, PLC0415
    import pwdlib.hashers.argon2  # noqa: F401, PLC0415


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
        import jwt  # noqa: PLC0415

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
        import jwt  # noqa: PLC0415

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
        self._limit = asyncio.Semaphore(2)
        # Of no password, and nobody has computed it: checking against it takes as long as against any other.
        self._nobody = f"$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}${_random(16)}${_random(32)}"

    @cached_property
    def _hash(self) -> PasswordHash:
        from pwdlib import PasswordHash  # noqa: PLC0415
        from pwdlib.hashers.argon2 import Argon2Hasher  # noqa: PLC0415

        return PasswordHash((Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY, parallelism=LANES),))

    def hash_now(self, password: str) -> str:
        """Return the hash of a password, in this thread."""
        return self._hash.hash(password)

    async def hash(self, password: str) -> str:
        """Return the hash of a password."""
        async with self._limit:
            return await asyncio.to_thread(self.hash_now, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password; takes as long for a user who does not exist (`None`)."""
        async with self._limit:
            matches = await asyncio.to_thread(self._verify_now, password, password_hash or self._nobody)
        return matches and password_hash is not None

    def _verify_now(self, password: str, password_hash: str) -> bool:
        return self._hash.verify(password, password_hash)


def _random(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
