# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds every pageblock, for the page: the sentences of ``kevacuate explain``, so that the page only shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.measure import Run
from kevacuate.measure.held_states import HeldStates
from kevacuate.measure.holders import Holder
from kevacuate.reports.escape import visible
from kevacuate.reports.page.pack import Blobs
from kevacuate.reports.page.stories import pack_texts, that_fit
from kevacuate.reports.story.story import Unmovable

HELD_BYTES = 400_000
"""About how many deflated bytes of the page these sentences may take; blocks that something happened to come first."""

ByState = Sequence[tuple[tuple[Holder, int], ...]]


def _sentences(held: HeldStates, by_state: ByState) -> list[str]:
    """What pages cannot move, a sentence for each state."""
    states = zip(held.t.tolist(), held.labels, by_state, strict=True)
    return [visible(Unmovable(t, label, holders).text) for t, label, holders in states]


def _encoded(held: HeldStates, rows: npt.NDArray[np.int64]) -> Iterator[str]:
    """One JSON text a block."""
    for row in rows.tolist():
        yield json.dumps(_sentences(held, held.of_row(row)), separators=(",", ":"))


def pack_held(
    blobs: Blobs, runs: Sequence[Run], score: npt.NDArray[np.int64], budget: int = HELD_BYTES
) -> dict[str, Any] | None:
    """What holds as many blocks as fit, those of the highest *score* (one per row of the map) first.

    Parameters
    ----------
    blobs : Blobs
        Takes the streams.
    runs : sequence of Run
        What the page shows. They are of one recording, so one that knows it speaks for all.
    score : int64[blocks]
        How much there is to see of a row of the map.
    budget : int
        Deflated bytes.

    Returns
    -------
    dict or None
        As of :func:`kevacuate.reports.page.stories.pack_texts`, of the blocks with a page that cannot move in some state;
        ``nothing``: the sentences of all other blocks. None where no state has page flags.

    """
    held = next((run.frames.held for run in runs if run.frames is not None and run.frames.held), None)
    if held is None:
        return None
    rows = np.unique(held.cells[:, 0])
    rows = rows[np.argsort(-score[rows], kind="stable")]
    texts = that_fit(_encoded(held, rows), budget)
    return {"nothing": _sentences(held, [()] * len(held.labels)), **pack_texts(blobs, rows, texts)}
