"""Ranges of IDs are joined without losing an ID."""

from __future__ import annotations

import pytest

from deploy.adapters.repository.newest import joined


@pytest.mark.parametrize(
    ("ranges", "at_most", "expected"),
    [
        ([], 2, []),
        ([(0, 5)], 1, [(0, 5)]),
        ([(5, 9), (0, 5)], 2, [(0, 9)]),
        ([(0, 1), (2, 3), (9, 10)], 3, [(0, 1), (2, 3), (9, 10)]),
        ([(0, 1), (2, 3), (9, 10)], 2, [(0, 3), (9, 10)]),
        ([(0, 1), (2, 3), (9, 10)], 1, [(0, 10)]),
    ],
)
def test_the_smallest_gaps_are_closed(
    ranges: list[tuple[int, int]], at_most: int, expected: list[tuple[int, int]]
) -> None:
    assert joined(ranges, at_most) == expected
