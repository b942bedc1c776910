"""Mask secret values in everything that a run prints or reports, before it is stored.

`spellings` lists the ways to write a value, `search` finds them in text, `mask` applies this to the output of a run.
"""

from deploy.domain.masking.mask import Mask

__all__ = ["Mask"]
