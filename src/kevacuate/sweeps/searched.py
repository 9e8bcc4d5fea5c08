# SPDX-License-Identifier: GPL-2.0-or-later
"""Which recordings lie in directories, and what could not be searched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from kevacuate.errors import KevacuateError, named_file
from kevacuate.recording.groundtruth import is_ground_truth
from kevacuate.recording.kev import is_kev


def _below(top: Path, unread: dict[Path, str]) -> Iterator[Path]:
    """The recordings in a directory, however deep; links are followed to recordings alone."""
    todo = [top]
    while todo:
        path = todo.pop()
        try:
            if not path.is_dir():
                continue
            if is_kev(path) or is_ground_truth(path):
                yield path
            elif path == top or not path.is_symlink():
                todo.extend(Path(path, name) for name in os.listdir(path))
        except OSError as error:
            unread[path] = f"It cannot be searched: {error.strerror}."


def recordings_of(given: Sequence[str | Path]) -> tuple[list[Path], dict[Path, str]]:
    """The recordings that directories and globs stand for, by path, each once however many paths lead to it; and what was not
    searched, with why.

    Raises
    ------
    KevacuateError
        One stands for none.
    """
    found: dict[str, Path] = {}
    unread: dict[Path, str] = {}
    for one in given:
        place = named_file(one)
        places = [place]
        if any(c in str(one) for c in "*?[") and not os.path.lexists(place):
            root = Path(place.anchor)
            places = sorted(root.glob(str(place.relative_to(root))))
        here = sorted(path for place in places for path in _below(place, unread))
        if not here:
            why = next((f"{path}: {why}" for path, why in unread.items()), "")
            raise KevacuateError(
                why or f"{one} holds no recording: name a directory of recordings, or a glob."
            )
        for path in here:
            found.setdefault(os.path.realpath(path), path)
    return sorted(found.values()), unread
