"""Rules for passwords that users choose."""

from __future__ import annotations

from deploy.domain.errors import InvalidInput

MIN_PASSWORD, MAX_PASSWORD = 8, 1024


class InvalidPassword(InvalidInput):
    """A new password violates a rule."""


def check_rules(password: str) -> None:
    """Check a new password.

    Raises:
        InvalidPassword: The password violates a rule. The message names the rule but never contains the password.
    """
    if len(password) < MIN_PASSWORD:
        raise InvalidPassword(f"The password is too short: use at least {MIN_PASSWORD} characters.")
    if len(password) > MAX_PASSWORD:
        raise InvalidPassword(f"The password is too long: use at most {MAX_PASSWORD} characters.")
