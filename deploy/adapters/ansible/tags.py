"""Decide by its tags whether Ansible runs a task. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_UNTAGGED = frozenset({"untagged"})


@dataclass(frozen=True, slots=True)
class TagFilter:
    """The tags to run and to skip, as in the section `[tags]` of an `ansible.cfg`."""

    run: frozenset[str] = frozenset({"all"})
    skip: frozenset[str] = frozenset()

    @classmethod
    def of(cls, run: str, skip: str) -> TagFilter:
        """Return the filter for two lists of tags, separated by commas."""
        return cls(frozenset(_split(run)) or frozenset({"all"}), frozenset(_split(skip)))

    def runs(self, tags: frozenset[str]) -> bool:
        """Return True if a task with these tags, including inherited ones, runs."""
        tags = tags or _UNTAGGED
        is_demanded = "never" not in tags
        is_chosen = (
            "always" in tags
            or ("all" in self.run and is_demanded)
            or not tags.isdisjoint(self.run)
            or ("tagged" in self.run and tags != _UNTAGGED and is_demanded)
        )
        return is_chosen and not self._skips(tags)

    def _skips(self, tags: frozenset[str]) -> bool:
        if "all" in self.skip:
            return "always" not in tags or "always" in self.skip
        return not tags.isdisjoint(self.skip) or ("tagged" in self.skip and tags != _UNTAGGED)


def tags_of(item: object) -> frozenset[str]:
    """Return the tags of a play, role, block, or task, without inherited ones."""
    tags = item.get("tags") if isinstance(item, dict) else None
    if isinstance(tags, str):
        return frozenset(_split(tags))
    return frozenset(str(tag).strip() for tag in tags) if isinstance(tags, list) else frozenset()


def _split(text: str) -> Iterator[str]:
    return (tag.strip() for tag in text.split(",") if tag.strip())
