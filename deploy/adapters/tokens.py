"""Sign tokens (JWT, RFC 7519) and hash passwords (argon2id, RFC 9106).

The libraries are loaded on first use, or by `load`, because they import all of `cryptography` and the server can
answer requests before that.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import unicodedata
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from deploy.domain.errors import NotSignedIn, Overloaded

if TYPE_CHECKING:
    from pwdlib import PasswordHash

P = ParamSpec("P")
Result = TypeVar("Result")

ALGORITHM = "HS256"
ISSUER = "fastdeploy"
INVALID = "Could not validate credentials"
# Parameters of argon2id, as recommended by OWASP: passes, memory in KiB, threads.
PASSES, MEMORY, LANES = 2, 19 * 1024, 1
# Number of passwords that are hashed at the same time, and that can wait. The sum exceeds the limit per network
# (PER_NETWORK), so a single attacker cannot fill the queue.
THREADS, WAITING = 2, 30
BUSY, BUSY_SECONDS = "The server is checking too many passwords at the moment. Try again in a few seconds.", 2
# Unicode normalization takes quadratic time on hostile text.
MAX_NORMALIZED_LENGTH = 1024


def load() -> None:
    """Load the libraries for tokens and passwords in advance."""
    import jwt  # noqa: F401, PLC0415
    import pwdlib.hashers.argon2  # noqa: F401, PLC0415


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a token whose signature, type, and expiration have been verified."""

    kind: str
    subject: str
    token_id: str
    expires: float
    extra: dict[str, Any]


class TokenSigner:
    """Signs and verifies tokens.

    The audience is the token type, so a token of one type is never accepted as another.
    """

    def __init__(self, secret_key: str) -> None:
        # A derived key is long enough for HS256 and is not used for anything else.
        self._key = hashlib.sha256(b"fastdeploy/jwt/" + secret_key.encode()).digest()

    def sign(
        self, kind: str, subject: str, *, now: datetime, lifetime: timedelta, token_id: str | None = None, **extra: Any
    ) -> str:
        """Return a token of type `kind` for `subject`, valid for `lifetime` starting at `now`."""
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
            NotSignedIn: The token is invalid, expired, or of another type.
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
            expires = float(claims["exp"])
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise NotSignedIn(INVALID) from error
        if not all(isinstance(claims[name], str) for name in ("aud", "sub", "jti")):
            raise NotSignedIn(INVALID)
        standard = {"iss", "aud", "sub", "jti", "iat", "exp"}
        return Claims(
            kind=claims["aud"].removeprefix(f"{ISSUER}:"),
            subject=claims["sub"],
            token_id=claims["jti"],
            expires=expires,
            extra={key: value for key, value in claims.items() if key not in standard},
        )


def new_token_id() -> str:
    """Return a new `jti`."""
    return str(uuid.uuid4())


def new_secret() -> str:
    """Return a random value of 256 bits that is safe to use in a cookie."""
    return secrets.token_urlsafe(32)


def hash_secret(value: str) -> str:
    """Return the hash of a random value, for storage. It does not need a salt, because the value cannot be guessed."""
    return hashlib.sha256(value.encode()).hexdigest()


class KeyedHash:
    """Hashes names and addresses with a key, so that a copy of the database does not reveal them."""

    def __init__(self, secret_key: str) -> None:
        self._key = hashlib.sha256(b"fastdeploy/attempts/" + secret_key.encode()).digest()

    def of(self, *parts: str) -> bytes:
        """Return a 32-byte hash of the parts, in this order."""
        return hmac.digest(self._key, json.dumps(parts).encode("ascii"), "sha256")


class Passwords:
    """Hashes and verifies passwords in two dedicated threads. Each password takes 19 MiB and 20 ms of one core
    (OWASP).

    If more than `WAITING` passwords are queued, new ones are rejected immediately.
    """

    def __init__(self, hashing: PasswordHash | None = None) -> None:
        """`hashing` is the implementation; the default is argon2id with the parameters above."""
        self._given = hashing
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._unfinished: set[Future[Any]] = set()
        # Does not match any password. Verifying against it takes as long as against any other hash.
        self._dummy_hash = f"$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}${_random(16)}${_random(32)}"

    @cached_property
    def _hash(self) -> PasswordHash:
        from pwdlib import PasswordHash  # noqa: PLC0415
        from pwdlib.hashers.argon2 import Argon2Hasher  # noqa: PLC0415

        return self._given or PasswordHash((Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY, parallelism=LANES),))

    def hash_now(self, password: str) -> str:
        """Return the hash of a password, computed in the current thread."""
        return self._hash.hash(_normalizations(password)[0])

    async def hash(self, password: str) -> str:
        """Return the hash of a password.

        Raises:
            Overloaded: Too many passwords are waiting.
        """
        return await self._in_thread(self.hash_now, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return True if the password matches. Verifying `None`, the hash of a nonexistent user, takes just as long.

        Raises:
            Overloaded: Too many passwords are waiting. The password was not checked.
        """
        matches = await self._in_thread(self._verify_now, password, password_hash or self._dummy_hash)
        return matches and password_hash is not None

    async def _in_thread(self, compute: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        if len(self._unfinished) >= THREADS + WAITING:
            raise Overloaded(BUSY, BUSY_SECONDS)
        job = self._threads.submit(compute, *args, **kwargs)
        self._unfinished.add(job)
        # A canceled request leaves the queue, but a hash that has started occupies its thread until it is done.
        job.add_done_callback(self._unfinished.discard)
        return await asyncio.wrap_future(job)

    def _verify_now(self, password: str, password_hash: str) -> bool:
        return any(self._hash.verify(normalized, password_hash) for normalized in _normalizations(password))


def _normalizations(password: str) -> list[str]:
    """Return the Unicode normalizations of a password, starting with the one for new hashes (NFC, RFC 8265).

    Some systems send "é" as one character, others as two. Older hashes are based on the password as it was sent.
    """
    if password.isascii() or len(password) > MAX_NORMALIZED_LENGTH:
        return [password]
    composed, decomposed = (unicodedata.normalize(form, password) for form in ("NFC", "NFD"))
    return list(dict.fromkeys((composed, password, decomposed)))


def _random(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
