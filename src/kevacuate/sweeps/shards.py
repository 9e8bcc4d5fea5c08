# SPDX-License-Identifier: GPL-2.0-or-later
"""Shards: parts of a grid that other machines replay, each by a command of its own that may be given again at any time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from kevacuate.errors import KevacuateError

T = TypeVar("T")

MOST_SHARDS = 100_000
_WRITTEN = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)
_MARK = re.compile(r"shards-([0-9]{1,6})", re.ASCII)


class Shard(NamedTuple):
    """Shard *number*, from 1 on, of so many."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @staticmethod
    def parse(text: str) -> Shard:
        """The shard that ``k/n`` stands for.

        Raises
        ------
        KevacuateError
            It is none.
        """
        found = _WRITTEN.fullmatch(text)
        shard = Shard(int(found[1]), int(found[2])) if found else Shard(0, 0)
        if not 1 <= shard.number <= shard.of <= MOST_SHARDS:
            raise KevacuateError(
                f"{text!r} is no shard: write K/N, K from 1 to N, and N at most {MOST_SHARDS:,}."
            )
        return shard

    def of_cells(self, cells: Sequence[T]) -> Sequence[T]:
        """Its cells: a run of the grid's order, so that few shards load a demand; shards differ by one cell at most."""
        return cells[len(cells) * (self.number - 1) // self.of : len(cells) * self.number // self.of]


def mark(directory: Path, shard: Shard) -> None:
    """Note in a store that it is filled by so many shards."""
    (directory / f"shards-{shard.of}").touch()


def marked(directory: Path) -> list[int]:
    """Into how many shards the store's grid was divided, every number that was used."""
    found = (_MARK.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in found if match)


def short(numbers: Sequence[int]) -> str:
    """Numbers as schedulers take them: ``1-3,7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
