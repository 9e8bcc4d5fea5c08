# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of a demand's objects are alive, and rows that end them: its programs exit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.demand.objects import BIRTHS, DEATHS, free_ops
from kevacuate.mm import constants as k
from kevacuate.mm.layout import State
from kevacuate.recording import DemandChunk, DemandOp, StartObjects
from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.runs.initial_state import splitmix64


class Alive:
    """The objects that a demand has, as its rows tell.

    Parameters
    ----------
    own : StartObjects
        The demand's own start objects.
    first : int
        The id of the first of them.
    """

    def __init__(self, own: StartObjects, first: int = 0) -> None:
        self._orders = np.zeros(first + len(own.pfn) + 1, np.uint8)
        """Of each id 1 + the order of its object, 0 of none."""
        self._orders[first : first + len(own.pfn)] = own.order + 1

    def note(self, rows: DemandChunk) -> None:
        """Take rows into account."""
        born = np.isin(rows.op, BIRTHS)
        gone = np.isin(rows.op, DEATHS)
        split = rows.op == DemandOp.SPLIT
        number, order = np.arange(rows.t.size), rows.order.astype(np.uint8)
        at = np.concatenate([number[born | gone | split], number[split]])
        ids = np.concatenate([rows.obj[born | gone | split], rows.aux[split]])
        after = np.where(born, order + 1, np.where(split, order, 0)).astype(np.uint8)[at]
        if ids.size and (most := int(ids.max())) >= self._orders.size:
            self._orders = np.concatenate([self._orders, np.zeros(most + 1, np.uint8)])
        by = np.argsort(at, kind="stable")
        self._orders[ids[by]] = after[by]  # of several the last counts

    def frees(self, t: int, cpus: int, share: float, seed: int) -> DemandChunk:
        """Rows that free that share of the objects at *t* ns, drawn and in an order drawn; they are noted."""
        ids = np.flatnonzero(self._orders)
        drawn = splitmix64(ids, seed)
        ids = ids[np.argsort(drawn, kind="stable")][: round(share * ids.size)]
        order = self._orders[ids] - 1
        rows = rows_of(
            t,
            op=free_ops(order),
            obj=ids,
            order=order,
            cpu=np.arange(ids.size) % cpus,
        )
        self.note(rows)
        return rows


def rows_of(t: int, **columns: npt.NDArray[np.generic]) -> DemandChunk:
    """Rows at *t* ns with these columns, 0 in the others; tasks are not known."""
    count = len(next(iter(columns.values())))
    given = {"t": np.full(count, t), "task": np.full(count, -1), **columns}
    zeros = np.zeros(count, np.int64)
    return DemandChunk(
        **{name: np.asarray(given.get(name, zeros), kind) for name, kind in DEMAND_TYPES.items()}
    )


def truncates(state: State, shadows: int, t: int) -> DemandChunk:
    """Rows of a closed loop that give up all that the model keeps, or remembers, of what the recorded kernel reclaimed."""
    first = state.view.stat.first_shadow
    pfn = state.obj[first : first + max(shadows, 0)]
    held = np.flatnonzero((pfn >= 0) | (pfn == k.OBJ_DROPPED))
    order = np.where(pfn[held] >= 0, state.meta[np.maximum(pfn[held], 0)] & 15, 0)
    return rows_of(t, op=np.full(held.size, DemandOp.TRUNCATE), aux=held, order=order)
