# SPDX-License-Identifier: GPL-2.0-or-later
"""One answer after the other, of files that have nothing to do with each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.text import TextFile


def each(
    files: Sequence[TextFile], one: Callable[[TextFile], Any], progress: Callable[[int, int], None] | None
) -> list[Any]:
    """What *one* gives of each file, in their order; *progress* is called with (files done, files in all)."""
    found = []
    for number, file in enumerate(files, start=1):
        found.append(one(file))
        if progress is not None:
            progress(number, len(files))
    return found


def take_each(
    files: Sequence[TextFile], take: Callable[[TextFile], None], progress: Callable[[int, int], None] | None
) -> list[str]:
    """Have *take* read each file, in their order; sentences about those that end before their end, where there are others.

    *progress* is called with (files done, files in all).

    Raises
    ------
    KevacuateError
        The only file cannot be read to its end.
    """
    damaged: list[str] = []
    for done, file in enumerate(files):
        if progress is not None:
            progress(done, len(files))
        try:
            take(file)
        except KevacuateError as error:
            if len(files) == 1:
                raise
            damaged.append(str(error))
        if file.damage:
            damaged.append(file.damage)
    return damaged
