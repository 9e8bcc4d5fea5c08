# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of every pageblock in a run: claims, steals and evacuations, read from the model's event log (level 1).

The log is docs/model.md, section Log; its records are int64[n, 8]: t, kind, cpu, pfn, a, b, c, d. Times are ns of virtual time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.extfrag import extfrag_kind
from kevacuate.measure.evacuations import Evacuation, read_evacuations
from kevacuate.mm import constants as k
from kevacuate.mm.log import unpack_types

T, KIND, CPU, PFN, A, B, C, D = range(8)
"""Columns of a record."""

BLOCK_KINDS = (
    k.L_EXTFRAG,
    k.L_EVAC_CLAIM,
    k.L_EVAC_QUEUED,
    k.L_EVAC_DROPPED,
    k.L_EVAC_STARTED,
    k.L_EVAC_SKIPPED,
    k.L_EVAC_ISOLATE,
    k.L_EVAC_RECLAIM,
    k.L_EVAC_MIGRATE,
    k.L_EVAC_PUTBACK,
    k.L_EVAC_FINISHED,
    k.L_BLOCK_TYPE,
    k.L_HIGHATOMIC_RESERVE,
    k.L_HIGHATOMIC_UNRESERVE,
)
"""Kinds of records that belong to one pageblock."""

KEPT_KINDS = (*BLOCK_KINDS, k.L_IRQ_WORK)
"""Kinds of records that a history keeps: those, and what hands queued evacuations to their workers."""


@dataclass(frozen=True)
class Flow:
    """One mm_page_alloc_extfrag event: a request took pages of another type."""

    t: int
    cpu: int
    pfn: int
    block: int
    kind: int
    """STEAL, CLAIM or CLAIM_BLOCK."""
    wanted: int
    """Migratetype asked for."""
    source: int
    """Migratetype of the free list that the pages came from."""
    order_asked: int
    """Order asked for."""
    order_taken: int
    """Order of the chunk found (fallback_order)."""


@dataclass(frozen=True)
class ClaimAttempt:
    """try_to_claim_block below pageblock order: what it counted, and whether that was enough."""

    t: int
    cpu: int
    block: int
    wanted: int
    source: int
    free: int
    movable: int
    claimed: bool


class History:
    """A run's event log, by pageblock.

    Parameters
    ----------
    records : int64[n, 8]
        The log, in order of time; kinds that are not known are passed over.
    pageblock_order : int
        Pages of a block are 2**pageblock_order.
    lost : int
        Records that did not fit in the model's log and are missing here.
    """

    def __init__(self, records: npt.NDArray[np.int64], pageblock_order: int, lost: int = 0) -> None:
        self.records = np.asarray(records, np.int64).reshape(-1, 8)
        self.pageblock_order = pageblock_order
        self.lost = lost

    @classmethod
    def of_log(cls, log: Sequence[npt.NDArray[np.int64]], pageblock_order: int, lost: int = 0) -> History:
        """From the pieces of a log, as ``Replay.log`` keeps them."""
        whole = np.concatenate([np.empty((0, 8), np.int64), *log])
        return cls(whole[np.isin(whole[:, KIND], KEPT_KINDS)], pageblock_order, lost)

    def check(self) -> None:
        """Raise KevacuateError if records contradict what the model can log: for what was read from a file."""
        flows = self.records[self.records[:, KIND] == k.L_EXTFRAG]
        orders = flows[:, (A, B)]
        if orders.size and not (orders.min() >= 0 and orders.max() < 64):
            raise KevacuateError(
                "the history holds orders that no chunk has: the file is damaged, save it again."
            )

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def block_of(self) -> npt.NDArray[np.int64]:
        """The pageblock (pfn >> pageblock_order) of every record; -1 of those that belong to none."""
        return self.records[:, PFN] >> self.pageblock_order

    @cached_property
    def blocks(self) -> npt.NDArray[np.int64]:
        """The pageblocks that have a history, ascending."""
        return np.unique(self.block_of[self.block_of >= 0])

    @cached_property
    def _by_block(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Record numbers by (block, time), and where each block's begin."""
        order = np.argsort(self.block_of, kind="stable")
        return order, np.searchsorted(self.block_of[order], self.blocks)

    def of_block(self, block: int) -> History:
        """The history of one pageblock; empty if nothing happened to it.

        A chunk larger than a pageblock is the history of its first block alone; the others' change of type is a record of theirs.
        """
        return History(self.records[self._rows_of(block)], self.pageblock_order, self.lost)

    def story_records(self, block: int) -> npt.NDArray[np.int64]:
        """The records of one pageblock, and after each of its evacuations that was queued the irq_work that came next."""
        rows = self._rows_of(block)
        queued = rows[self.records[rows, KIND] == k.L_EVAC_QUEUED]
        after = np.searchsorted(self._irq_works, queued)
        handed = self._irq_works[after[after < len(self._irq_works)]]
        records: npt.NDArray[np.int64] = self.records[np.union1d(rows, handed) if handed.size else rows]
        return records

    @cached_property
    def _irq_works(self) -> npt.NDArray[np.intp]:
        """Numbers of the records of irq_works, ascending."""
        rows: npt.NDArray[np.intp] = np.flatnonzero(self.records[:, KIND] == k.L_IRQ_WORK)
        return rows

    def _rows_of(self, block: int) -> npt.NDArray[np.intp]:
        """Numbers of one block's records, ascending."""
        order, begins = self._by_block
        at = int(np.searchsorted(self.blocks, block))
        found = at < len(self.blocks) and int(self.blocks[at]) == block
        end = begins[at + 1] if at + 1 < len(begins) else len(order)
        rows: npt.NDArray[np.intp] = order[begins[at] : end] if found else order[:0]
        return rows

    def of_kind(self, *kinds: int) -> npt.NDArray[np.int64]:
        """The records of these kinds."""
        return self.records[np.isin(self.records[:, KIND], kinds)]

    def flow_kinds(self) -> npt.NDArray[np.int8]:
        """STEAL, CLAIM or CLAIM_BLOCK for every record; -1 where it is not an extfrag event.

        :func:`kevacuate.kernel.extfrag.extfrag_kind` tells them apart, of the model's events as of the kernel's own.
        """
        is_flow = self.records[:, KIND] == k.L_EXTFRAG
        kind = extfrag_kind(self.records[:, B], self.pageblock_order, self.records[:, D])
        return np.where(is_flow, kind, -1).astype(np.int8)

    def flows(self) -> Iterator[Flow]:
        """The extfrag events, in order of time."""
        kinds = self.flow_kinds()
        for i in np.flatnonzero(kinds >= 0).tolist():
            t, _, cpu, pfn, order, taken, types, _ = self.records[i].tolist()
            block = pfn >> self.pageblock_order
            yield Flow(t, cpu, pfn, block, int(kinds[i]), *unpack_types(types), order, taken)

    def claim_attempts(self) -> Iterator[ClaimAttempt]:
        """The attempts to claim a block, the refused ones included, in order of time."""
        for t, _, cpu, pfn, types, free, movable, claimed in self.of_kind(k.L_EVAC_CLAIM).tolist():
            block = pfn >> self.pageblock_order
            yield ClaimAttempt(t, cpu, block, *unpack_types(types), free, movable, claimed != 0)

    def evacuations(self) -> list[Evacuation]:
        """Every evacuation that was queued or dropped, in that order."""
        return read_evacuations(self.records, self.pageblock_order)
