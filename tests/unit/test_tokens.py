"""Test signed tokens and password hashes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import jwt
import pytest
from argon2 import extract_parameters

from deploy.adapters.tokens import (
    ISSUER,
    THREADS,
    WAITING,
    Passwords,
    TokenSigner,
    hash_secret,
    new_secret,
    new_token_id,
)
from deploy.domain.errors import NotSignedIn, Overloaded
from deploy.domain.policy import TokenType
from tests.hashing import observed_passwords

KEY = "k" * 40
KINDS = [kind.value for kind in TokenType]
HOUR = timedelta(hours=1)
COMPOSED, DECOMPOSED = "pa\u00dfwort\u00e9", "pa\u00dfworte\u0301"


@pytest.fixture
def signer() -> TokenSigner:
    return TokenSigner(KEY)


def now() -> datetime:
    return datetime.now(timezone.utc)


def a_token(signer: TokenSigner, kind: str = "user", **more: Any) -> str:
    return signer.sign(kind, "1", now=more.pop("now", now()), lifetime=more.pop("lifetime", HOUR), **more)


def derived(key: str) -> bytes:
    """Return the key that a signer with this secret signs with."""
    return hashlib.sha256(b"fastdeploy/jwt/" + key.encode()).digest()


def signed(claims: dict[str, Any], key: bytes = derived(KEY), algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def valid_claims(**other: Any) -> dict[str, Any]:
    """Return the claims of a user token. None omits a claim."""
    moment = now()
    claims = {"iss": ISSUER, "aud": f"{ISSUER}:user", "sub": "1", "jti": "x", "iat": moment, "exp": moment + HOUR}
    return {name: value for name, value in {**claims, **other}.items() if value is not None}


class TestRead:
    def test_a_signed_token_is_read(self, signer: TokenSigner) -> None:
        moment = now().replace(microsecond=0)
        token = signer.sign("user", "17", now=moment, lifetime=HOUR, token_id="t1", epoch=3)
        claims = signer.read(token, frozenset({"user"}))
        assert (claims.kind, claims.subject, claims.token_id, claims.extra) == ("user", "17", "t1", {"epoch": 3})
        assert claims.expires == (moment + HOUR).timestamp()

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("wanted", KINDS)
    def test_a_token_of_one_type_is_not_accepted_as_another(self, signer: TokenSigner, kind: str, wanted: str) -> None:
        token = a_token(signer, kind)
        if kind == wanted:
            assert signer.read(token, frozenset({wanted})).kind == kind
        else:
            with pytest.raises(NotSignedIn, match="Could not validate credentials"):
                signer.read(token, frozenset({wanted}))

    def test_the_type_is_returned_if_several_are_accepted(self, signer: TokenSigner) -> None:
        assert signer.read(a_token(signer, "service"), frozenset({"user", "service"})).kind == "service"

    def test_an_expired_token_is_rejected(self, signer: TokenSigner) -> None:
        with pytest.raises(NotSignedIn):
            signer.read(a_token(signer, now=now() - 2 * HOUR), frozenset({"user"}))

    def test_each_token_has_an_id(self, signer: TokenSigner) -> None:
        ids = {signer.read(a_token(signer), frozenset({"user"})).token_id for _ in range(3)}
        assert len(ids) == 3

    def test_another_key_is_rejected(self, signer: TokenSigner) -> None:
        with pytest.raises(NotSignedIn):
            signer.read(a_token(TokenSigner("other" * 10)), frozenset({"user"}))

    def test_the_configured_key_itself_is_not_used_for_signing(self, signer: TokenSigner) -> None:
        with pytest.raises(NotSignedIn):
            signer.read(signed(valid_claims(), KEY.encode()), frozenset({"user"}))

    @pytest.mark.parametrize(
        "other",
        [
            {"iss": "somebody"},
            {"iss": None},
            {"aud": "fastdeploy:admin"},
            {"aud": "user"},
            {"aud": None},
            {"exp": None},
            {"iat": None},
            {"jti": None},
            {"sub": None},
            {"exp": 1},
            {"exp": "tomorrow"},
            {"sub": 1},
            {"nbf": 2**40},
            {"iat": 2**40},
            {"exp": 10**400},
            {"jti": 1},
            {"aud": [f"{ISSUER}:user"]},
            {"aud": [f"{ISSUER}:user", f"{ISSUER}:service"]},
            {"aud": []},
            {"aud": {"fastdeploy:user": 1}},
        ],
        ids=str,
    )
    def test_every_claim_is_checked(self, signer: TokenSigner, other: dict[str, Any]) -> None:
        signer.read(signed(valid_claims()), frozenset({"user"}))
        with pytest.raises(NotSignedIn):
            signer.read(signed(valid_claims(**other)), frozenset({"user"}))

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    def test_another_algorithm_is_rejected(self, signer: TokenSigner, algorithm: str) -> None:
        with pytest.raises(NotSignedIn):
            signer.read(signed(valid_claims(), derived(KEY) * 2, algorithm), frozenset({"user"}))

    @pytest.mark.parametrize("name", ["none", "None", "NONE", "HS256"])
    def test_an_unsigned_token_is_rejected(self, signer: TokenSigner, name: str) -> None:
        claims = valid_claims(iat=int(now().timestamp()), exp=int((now() + HOUR).timestamp()))
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": name, "typ": "JWT"}, claims)
        ]
        with pytest.raises(NotSignedIn):
            signer.read(".".join([*parts, ""]), frozenset({"user"}))

    @pytest.mark.parametrize(
        "change",
        [
            lambda token: token[:-1],
            lambda token: token + "x",
            lambda token: token[1:],
            lambda token: token.replace(".", ""),
            lambda token: ".".join([token.split(".")[0], token.split(".")[1]]),
            lambda token: ".".join([token.split(".")[0], token.split(".")[1][:-2], token.split(".")[2]]),
        ],
    )
    def test_a_modified_token_is_rejected(self, signer: TokenSigner, change: Callable[[str], str]) -> None:
        with pytest.raises(NotSignedIn):
            signer.read(change(a_token(signer)), frozenset({"user"}))

    @pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "\x00", "ä.ö.ü", "\ud800", "x" * 100_000])
    def test_a_malformed_token_is_rejected(self, signer: TokenSigner, text: str) -> None:
        with pytest.raises(NotSignedIn):
            signer.read(text, frozenset({"user"}))

    def test_no_token_is_valid_if_no_type_is_accepted(self, signer: TokenSigner) -> None:
        with pytest.raises(NotSignedIn):
            signer.read(a_token(signer), frozenset())


class TestSecrets:
    def test_secrets_are_long_and_unique(self) -> None:
        made = {new_secret() for _ in range(10)}
        assert len(made) == 10
        assert all(len(secret) >= 43 for secret in made)

    def test_token_ids_are_unique(self) -> None:
        assert new_token_id() != new_token_id()

    def test_only_a_hash_is_stored(self) -> None:
        assert hash_secret("abc") == hashlib.sha256(b"abc").hexdigest()


class TestPasswords:
    @pytest.fixture
    def passwords(self) -> Passwords:
        return Passwords()

    async def test_the_right_password_is_accepted(self, passwords: Passwords) -> None:
        kept = await passwords.hash("correct horse")
        assert kept.startswith("$argon2id$")
        assert "correct horse" not in kept
        assert await passwords.verify("correct horse", kept)

    @pytest.mark.parametrize("wrong", ["", "correct", "Correct horse", "correct horse ", "correct horse\x00"])
    async def test_a_wrong_password_is_rejected(self, passwords: Passwords, wrong: str) -> None:
        assert not await passwords.verify(wrong, passwords.hash_now("correct horse"))

    async def test_a_missing_user_has_no_password(self, passwords: Passwords) -> None:
        assert not await passwords.verify("", None)
        assert not await passwords.verify("correct horse", None)

    async def test_a_missing_user_takes_the_same_time(self) -> None:
        passwords, hashing = observed_passwords()
        kept = Passwords().hash_now("correct horse")
        for password in ("a guess", "\u00e4 guess"):
            hashing.checked.clear()
            assert not await passwords.verify(password, kept)
            work = [extract_parameters(one) for one in hashing.checked]
            hashing.checked.clear()
            assert not await passwords.verify(password, None)
            assert [extract_parameters(one) for one in hashing.checked] == work

    @pytest.mark.parametrize("typed", [COMPOSED, DECOMPOSED])
    @pytest.mark.parametrize("first", [COMPOSED, DECOMPOSED])
    async def test_every_unicode_form_is_accepted(self, passwords: Passwords, first: str, typed: str) -> None:
        assert await passwords.verify(typed, await passwords.hash(first))

    @pytest.mark.parametrize("typed", [COMPOSED, DECOMPOSED])
    @pytest.mark.parametrize("first", [COMPOSED, DECOMPOSED, f"{COMPOSED}{DECOMPOSED}"])
    async def test_hashes_of_unnormalized_passwords_stay_valid(
        self, passwords: Passwords, first: str, typed: str
    ) -> None:
        _, hashing = observed_passwords()
        assert await passwords.verify(first, hashing.hash(first))
        if first != f"{COMPOSED}{DECOMPOSED}":
            assert await passwords.verify(typed, hashing.hash(first))

    async def test_letters_that_only_look_alike_are_different(self, passwords: Passwords) -> None:
        kept = await passwords.hash(COMPOSED)
        assert not await passwords.verify("pa\u00dfworte\u0300", kept)
        assert not await passwords.verify("passworte", kept)

    async def test_a_hostile_length_is_not_normalized(self, passwords: Passwords) -> None:
        # Normalizing this would take minutes, because each combining mark is sorted among the previous ones.
        hostile = "a" + "\u0315\u0300" * 200_000
        assert not await passwords.verify(hostile, None)

    async def test_a_full_queue_rejects_immediately(self) -> None:
        passwords, hashing = observed_passwords()
        hashing.close()
        waiting = [asyncio.ensure_future(passwords.hash("correct horse")) for _ in range(THREADS + WAITING)]
        await asyncio.sleep(0)
        try:
            for work in (passwords.hash("correct horse"), passwords.verify("correct horse", None)):
                with pytest.raises(Overloaded, match="too many passwords"):
                    await asyncio.wait_for(work, 60)
        finally:
            hashing.open()
        await asyncio.gather(*waiting)
        assert await passwords.hash("correct horse")

    def test_equal_passwords_have_different_hashes(self, passwords: Passwords) -> None:
        assert passwords.hash_now("a") != passwords.hash_now("a")
