# SPDX-License-Identifier: GPL-2.0-or-later
"""What a migrated folio keeps of its source."""

from __future__ import annotations

import pytest
from lockstep_fast import hold

from kevacuate import Machine
from kevacuate.jit import kernel, pointers
from kevacuate.mm import constants as k
from kevacuate.mm.migrate import migrate_folio_move

STARTED = k.ATTR_LRU | k.ATTR_FILE | k.ATTR_DIRTY
SOME_TIME = 7 << 16


@kernel
def move(sa, src, dst):  # type: ignore[no-untyped-def]
    migrate_folio_move(pointers(sa), 0, src, dst, 0)


@pytest.mark.parametrize("dirtied", [0, SOME_TIME])
def test_a_dirty_folio_keeps_the_time_when_it_was_made_dirty(dirtied: int) -> None:
    """One of the start has none: it keeps none, though it gets a new page later."""
    machine = Machine(1024, pageblock_order=6)
    source, target = machine.alloc("movable", 0), machine.alloc("movable", 0)
    assert source is not None
    assert target is not None
    src, dst = source.pfn, target.pfn
    assert src is not None
    assert dst is not None
    hold(machine.state, src)
    machine.state.link[2 * src + 1] = STARTED | dirtied
    machine.state.view.stat.now = 10_000_000_000
    move(machine.state, src, dst)
    assert int(machine.state.link[2 * dst + 1]) & k.ATTR_DIRTIED == dirtied
    assert int(machine.state.link[2 * dst + 1]) & STARTED == STARTED
