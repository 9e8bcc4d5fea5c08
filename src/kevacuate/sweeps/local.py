# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes of this machine as a sweep's hands.

A worker is a process of its own (:mod:`.worker`), so that one that is killed costs the cell it was at, which another replays.
Where the model is to be compiled, the first worker's first cell is replayed alone: what it compiles is then on the disk for all.
Cells are handed out in short
runs of one demand and seed, in order, one run ahead of what a worker is at.
"""

from __future__ import annotations

import os
import selectors
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby

from kevacuate.errors import KevacuateError
from kevacuate.runs.compare import STATE_BYTES
from kevacuate.sweeps.bench import HELD_ROWS
from kevacuate.sweeps.cells import Cell, Source
from kevacuate.sweeps.demands import open_demand
from kevacuate.sweeps.processes import LineProcess
from kevacuate.sweeps.progress import Pace
from kevacuate.sweeps.store import Store

Named = tuple[str, Cell]
"""A cell with its digest."""

LONGEST_RUN = 24
"""Cells that are handed out at once, at most."""

MOST_DEATHS = 3
"""A cell at which so many workers died is given up."""

WORKER_BYTES = 400 << 20
"""What a worker takes besides its machine's pages: Python, the compiled model, and the demand's rows."""

_STOP_SECONDS = 30.0


def runs_of(cells: Iterable[Named], workers: int, total: int) -> Iterator[list[Named]]:
    """The cells in order, in runs of one demand, start and seed; towards the end they get shorter, so that workers end together.

    A run has at most 1 / (2 * workers) of the cells that are left (guided self-scheduling; Polychronopoulos and Kuck 1987).
    """
    left = total
    for _, group in groupby(cells, key=lambda one: (one[1].source.digest, one[1].start, one[1].seed)):
        waiting = deque(group)
        while waiting:
            size = min(LONGEST_RUN, max(1, left // (2 * workers)), len(waiting))
            yield [waiting.popleft() for _ in range(size)]
            left -= size


def workers_for_sweep(demands: Sequence[Source], cells: int) -> int:
    """As many workers as there are cores to use, and as fit into half of this machine's memory with its largest demand."""
    largest = 0
    for source in demands:
        zones = open_demand(source.path).machine.zones
        pages = max((zone.start_pfn + zone.spanned for zone in zones), default=0)
        largest = max(largest, pages * STATE_BYTES)
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    each = WORKER_BYTES + largest + HELD_ROWS * 36
    return max(1, min(cells, len(os.sched_getaffinity(0)), room // each))


class _Worker(LineProcess):
    """A worker's process, and what it was told and has not done."""

    def __init__(self, store: Store, hands: str) -> None:
        super().__init__("kevacuate.sweeps.worker", [str(store.path.absolute()), hands])
        self.todo: deque[Named] = deque()

    def give(self, run: list[Named]) -> None:
        """Tell it of cells; if it has died, they are :attr:`todo` all the same."""
        self.todo.extend(run)
        self.tell(cells=[cell.to_json() for _, cell in run])


class LocalHands:
    """Replays cells by processes of this machine.

    Parameters
    ----------
    store : Store
        Where results go.
    workers : int
        Processes at once.
    pace : Pace
        Told of every cell.
    hands : str
        How the results say by whom they were made.
    rows : int
        Rows that the store's table has: files are collected on the way where there are many.
    """

    def __init__(self, store: Store, workers: int, pace: Pace, hands: str, rows: int) -> None:
        self._store, self._most, self._pace, self._hands = store, workers, pace, hands
        self._rows, self._files = rows, 0
        self._workers: list[_Worker] = []
        self._waiting: deque[list[Named]] = deque()
        self._deaths: dict[str, int] = {}
        self._warm = False
        self._stillborn = 0
        self.unable: dict[str, str] = {}
        """Cells that have no result, and why."""
        self.refused: dict[str, str] = {}
        """Cells whose replay was refused, and what it said."""

    def replay(self, cells: Sequence[Named]) -> None:
        """Replay all cells. After an exception the workers have ended; what they had done is in the store.

        Raises
        ------
        KevacuateError
            No worker can be begun.
        """
        self._waiting.extend(runs_of(cells, self._most, len(cells)))
        try:
            with selectors.DefaultSelector() as selector:
                for _ in range(min(self._most, len(self._waiting))):
                    self._begin(selector)
                self._pace.begin()
                self._hand_out()
                while self._workers:
                    for key, _ in selector.select():
                        self._hear(key.data, selector)
                    self._hand_out()
        except BaseException:
            self._let_go()
            raise

    def _begin(self, selector: selectors.BaseSelector) -> None:
        """Begin a worker."""
        worker = _Worker(self._store, self._hands)
        self._workers.append(worker)
        selector.register(worker.out, selectors.EVENT_READ, worker)

    def _hand_out(self) -> None:
        """Give every worker a run ahead; one alone has work until the model is compiled."""
        able = [worker for worker in self._workers if not worker.dismissed]
        for worker in able if self._warm else able[:1]:
            while self._waiting and len(worker.todo) <= 1:
                worker.give(self._waiting.popleft())
        if not self._waiting and (self._warm or not any(worker.todo for worker in self._workers)):
            for worker in able:
                if not worker.todo:
                    worker.dismiss()

    def _hear(self, worker: _Worker, selector: selectors.BaseSelector) -> None:
        """Take what a worker says; if it is gone, its cells go to others."""
        said = worker.heard()
        for values in said or ():
            if "compiling" in values:
                self._pace.compiles()
            elif "kept" in values:
                self._warm = True
            else:
                self._count(worker, values)
        if said is not None:
            return
        selector.unregister(worker.out)
        self._workers.remove(worker)
        how = worker.gone()
        self._stillborn = 0 if worker.spoke or worker.dismissed else self._stillborn + 1
        if self._stillborn >= MOST_DEATHS:
            raise KevacuateError(f"Workers do not begin: the last one {how}.")
        self._take_back(worker, how)
        if self._waiting and len(self._workers) < self._most:
            self._begin(selector)

    def _count(self, worker: _Worker, values: dict[str, object]) -> None:
        """A cell is done, or cannot be."""
        digest, _ = worker.todo.popleft()
        self._warm = True
        if "unable" in values:
            self.unable[digest] = str(values["unable"])
        elif "error" in values:
            self.refused[digest] = str(values["error"])
        self._pace.one(failed="unable" in values)
        self._files += "unable" not in values
        if self._store.due(self._files, self._rows):
            self._rows, self._files = self._store.collect(), 0

    def _take_back(self, worker: _Worker, how: str) -> None:
        """The cells of a worker that died are to be done by others; that which it was at is given up after MOST_DEATHS."""
        if not worker.todo:
            return
        digest, cell = worker.todo[0]
        self._deaths[digest] = self._deaths.get(digest, 0) + 1
        if self._deaths[digest] >= MOST_DEATHS:
            worker.todo.popleft()
            self.unable[digest] = f"A worker {how} at this cell, {MOST_DEATHS} times: {cell.label}."
            self._pace.one(failed=True)
        if worker.todo:
            self._waiting.appendleft(list(worker.todo))

    def _let_go(self) -> None:
        """Have the workers end their cells, which are kept; one that takes long, or a second signal, ends them at once."""
        for worker in self._workers:
            worker.deaf()
        try:
            for worker in self._workers:
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(_STOP_SECONDS)
        finally:
            for worker in self._workers:
                worker.end()
