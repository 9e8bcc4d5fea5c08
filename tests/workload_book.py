# SPDX-License-Identifier: GPL-2.0-or-later
"""A second, slow reading of a demand's rows: who is alive since when, what is a shadow; nothing may be freed twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kevacuate.demand.objects import MAX_ORDER
from kevacuate.recording import DemandChunk, DemandOp
from kevacuate.workload.describe import Machine, Workload


@dataclass
class Row:
    """One row, in plain ints."""

    t: int
    op: int
    cpu: int
    obj: int
    order: int
    mt: int
    gfp: int
    attr: int
    aux: int
    task: int


def rows_of(chunks: Iterable[DemandChunk]) -> list[Row]:
    """All rows, one by one."""
    return [
        Row(*values)
        for chunk in chunks
        for values in zip(*(column.tolist() for column in chunk), strict=True)
    ]


@dataclass
class Book:
    """What the rows so far come to."""

    alive: dict[int, Row] = field(default_factory=dict)
    shadows: dict[int, int] = field(default_factory=dict)
    """First shadow of each reclaimed folio: its order."""
    lives: list[tuple[Row, int]] = field(default_factory=list)
    """(the row that allocated it, when it was freed) of every object that died."""
    pages: int = 0
    peak: int = 0
    last: int = 0

    def read(self, row: Row) -> None:
        """Take a row into the book; AssertionError where it contradicts those before it."""
        assert row.t >= self.last
        self.last = row.t
        op = DemandOp(row.op)
        assert (op in (DemandOp.ALLOC_CONTIG, DemandOp.FREE_CONTIG)) == (row.order > MAX_ORDER)
        if op in (DemandOp.ALLOC, DemandOp.ALLOC_BULK, DemandOp.ALLOC_CONTIG):
            assert row.obj not in self.alive
            assert op != DemandOp.ALLOC_BULK or row.order == 0
            if row.aux:
                assert self.shadows.pop(row.aux) == row.order
            self.alive[row.obj] = row
            self.pages += 1 << row.order
            self.peak = max(self.peak, self.pages)
        elif op in (DemandOp.FREE, DemandOp.RECLAIM, DemandOp.FREE_CONTIG):
            born = self.alive.pop(row.obj)
            assert born.order == row.order
            self.lives.append((born, row.t))
            self.pages -= 1 << row.order
            if op == DemandOp.RECLAIM:
                assert row.aux > 0
                assert row.aux % (1 << row.order) == 0
                assert row.aux not in self.shadows
                self.shadows[row.aux] = row.order
        elif op == DemandOp.ACCESS:
            assert self.alive[row.obj].order == row.order
        else:
            assert op == DemandOp.TRUNCATE
            assert self.shadows.pop(row.aux) == row.order


def book_of(chunks: Iterable[DemandChunk]) -> Book:
    """The book of a whole demand."""
    book = Book()
    for row in rows_of(chunks):
        book.read(row)
    return book


def workload(*parts: Any, memory: str = "64MiB", **more: Any) -> Workload:
    """A small workload of these parts."""
    machine = {name: more.pop(name) for name in ("cpus", "nodes", "zones", "kernel") if name in more}
    given = {"duration": "5s", "fill": "500ms"} | more
    return Workload(machine=Machine(memory=memory, **machine), parts=parts, **given)
