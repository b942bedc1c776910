"""Everything secret in a run, as one object, so that nothing secret can be passed, stored, or masked differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.domain.masking import Mask

# The name of the deployment token among the sealed values. No input can have it, because PostgreSQL cannot store NUL.
# Secrets of other kinds get names that begin like this, too.
_TOKEN = "\x00token"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSecrets:
    """The values of secret inputs, and the deployment token. Its repr does not contain them.

    `token` is None before the run is prepared, and for runs that an earlier version started. If the secrets are not
    known, `fault` is the reason.
    """

    inputs: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)
    fault: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str]) -> RunSecrets:
        """Return the secrets with these values from `values`.

        Earlier versions sealed only the values of inputs, in the same form.
        """
        inputs = {name: value for name, value in values.items() if name != _TOKEN}
        return cls(inputs=inputs, token=values.get(_TOKEN))

    def values(self) -> dict[str, str]:
        """Return the secrets by name, to seal them."""
        return {**self.inputs, **({_TOKEN: self.token} if self.token is not None else {})}

    def mask(self) -> Mask:
        """Return a new mask for the output of the run. If the secrets are not known, it masks everything."""
        return Mask(self.values().values(), everything=bool(self.fault))
