# SPDX-License-Identifier: GPL-2.0-or-later
"""The stories of pageblocks for the page: told here by what tells ``kevacuate explain``'s, so that the page only shows them.

A run's history has everything that concerns a block as a whole, and the steals. Requests and frees of single pages are too many
to keep of every block, so those sums are missing in the page, and so is what kept a page from moving; the command named beside
each story has both.
"""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.measure import Run
from kevacuate.measure.frames import Frames
from kevacuate.reports.escape import visible
from kevacuate.reports.page.pack import Blobs, ascending
from kevacuate.reports.story.place import Place
from kevacuate.reports.story.story import Story, between, tell

STORY_BYTES = 700_000
"""About how many deflated bytes of the page the stories may take; evacuated blocks are told first, then claimed ones."""

_MEASURED = 32
"""Stories between two looks at how much they take."""


def place_of(frames: Frames, row: int) -> Place:
    """The block that is row *row* of the map; its zone's name says the node, too."""
    first, order = int(frames.start[row]), frames.pageblock_order
    zone = frames.zones[int(frames.zone[row])]
    return Place(first >> order, first, first + (1 << order), order, zone, 0)


def block_story(run: Run, place: Place) -> Story | None:
    """The story of a block in a run; None where the run kept no history."""
    if run.history is None:
        return None
    return tell(run.history.story_records(place.block), place, run.policy, traffic=False)


def _texts(story: Story | None) -> list[Any] | None:
    """A story as the page reads it: summary, and per step microseconds, CPU, sentence."""
    if story is None:
        return None
    steps = [[step.t // 1000, step.cpu, visible(step.text)] for step in story.steps]
    return [visible(story.summary), steps]


def _encoded(runs: Sequence[Run], frames: Frames, rows: npt.NDArray[np.int64]) -> Iterator[str]:
    """One JSON text a block: what became of it under one policy and the other, then each run's story."""
    for row in rows.tolist():
        place = place_of(frames, row)
        stories = [block_story(run, place) for run in runs]
        lines = [visible(line) for line in between([story for story in stories if story is not None])]
        yield json.dumps([lines, [_texts(story) for story in stories]], separators=(",", ":"))


def eventful_rows(runs: Sequence[Run], frames: Frames) -> npt.NDArray[np.int64]:
    """Rows of the map that something happened to in some run, ascending."""
    blocks = [run.history.blocks for run in runs if run.history is not None]
    numbers = np.unique(np.concatenate([np.empty(0, np.int64), *blocks]))
    return np.flatnonzero(np.isin(frames.start >> frames.pageblock_order, numbers))


def pack_stories(
    blobs: Blobs, runs: Sequence[Run], frames: Frames, score: npt.NDArray[np.int64], budget: int = STORY_BYTES
) -> dict[str, Any]:
    """The stories of as many blocks as fit, those of the highest *score* (one per row of the map) first.

    Returns
    -------
    dict
        As of :func:`pack_texts`; ``nothing``: what there is to say of blocks that nothing happened to.
    """
    rows = eventful_rows(runs, frames)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    texts = that_fit(_encoded(runs, frames, rows), budget)
    return {
        "nothing": tell(np.empty((0, 8), np.int64), place_of(frames, 0), "").summary,
        **pack_texts(blobs, rows, texts),
    }


def that_fit(texts: Iterable[str], budget: int) -> list[str]:
    """The first of these texts: as many as take about *budget* deflated bytes together."""
    squeezer, size = zlib.compressobj(6), 0
    kept: list[str] = []
    for text in texts:
        size += len(squeezer.compress(text.encode()))
        if len(kept) % _MEASURED == 0:
            size += len(squeezer.flush(zlib.Z_SYNC_FLUSH))
        if size > budget:
            break
        kept.append(text)
    return kept


def pack_texts(blobs: Blobs, rows: npt.NDArray[np.int64], texts: list[str]) -> dict[str, Any]:
    """JSON texts of the first of these rows of the map, a text each, as decode.js reads them.

    Returns
    -------
    dict
        ``told`` and ``untold``: streams of the rows with a text and of those without; ``texts``: the stream of the texts;
        ``blocks`` and ``shown``: how many rows there are, and how many have a text.
    """
    told, untold = rows[: len(texts)], np.sort(rows[len(texts) :])
    order = np.argsort(told)
    return {
        "blocks": len(rows),
        "shown": len(told),
        "told": blobs.varints(ascending(told[order])),
        "untold": blobs.varints(ascending(untold)),
        "texts": blobs.add(("[" + ",".join(texts[i] for i in order.tolist()) + "]").encode()),
    }


def explain_command(recording: str, run: Run | None = None) -> str:
    """What tells a story with the traffic of its single pages: the command, but for the block."""
    words = f"kevacuate explain {shlex.quote(visible(recording))}"
    if run is not None and run.history is not None:
        words += f" --policy {shlex.quote(visible(run.policy))}" + (f" --seed {run.seed}" if run.seed else "")
    return words
