# SPDX-License-Identifier: GPL-2.0-or-later
"""A model that begins from the exact lists of a real kernel's memory dump."""

from pathlib import Path

import numpy as np
from start_tools import begun

from kevacuate.demand.start_objects import pages_in_use, start_objects
from kevacuate.fidelity.model_from_dump import free_lists
from kevacuate.mm import constants as k
from kevacuate.mm.check import check
from kevacuate.recording import Recording

DEBIAN = Path(__file__).parents[1] / "data/debian-6.1/state.kev"


def test_the_model_holds_debians_lists_in_order() -> None:
    recording = Recording.open(DEBIAN)
    start = recording.start
    assert start is not None
    objects = start_objects(start, pages_in_use(start, 9))
    state = begun(recording.machine, start, objects)
    check(state)
    theirs = {}
    for zone, order, mt in {*zip(start.free.zone, start.free.order, start.free.mt, strict=True)}:
        mine = (start.free.zone == zone) & (start.free.order == order) & (start.free.mt == mt)
        theirs[int(zone), int(order), int(mt)] = start.free.pfn[mine].tolist()
    assert {(x.zone, x.order, x.mt): x.pfns.tolist() for x in free_lists(state)} == theirs
    skipped = state.block.reshape(-1, 2)[start.blocks.pfn >> 9, 0] & k.PB_COMPACT_SKIP != 0
    assert np.array_equal(skipped, start.blocks.skip)
