# SPDX-License-Identifier: GPL-2.0-or-later
"""Dask distributed as a sweep's hands: a future for every short run of cells, its results put into the store here.

Workers read a demand by its path. One that cannot, or finds another there, is sent it, once per worker, and checks its digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kevacuate.errors import small_file
from kevacuate.policy import parse_policy
from kevacuate.sweeps.cells import Cell, Source, canonical, model_version
from kevacuate.sweeps.dasktask import replay_run
from kevacuate.sweeps.demands import local
from kevacuate.sweeps.local import Named, runs_of
from kevacuate.sweeps.progress import Pace
from kevacuate.sweeps.scheduler import RETRIES, Scheduler
from kevacuate.sweeps.store import Store


def files_of(source: Source) -> dict[str, bytes]:
    """The files of a recording, by their names in a directory that has the recording's own name; of a workload its file."""
    root = Path(local(source.path))
    if root.is_file():
        return {root.name: small_file(root)}
    return {
        f"{root.name}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


class DaskHands:
    """Replays cells by the workers of a Dask scheduler.

    Parameters
    ----------
    store : Store
        Where results go.
    address : str
        The scheduler's, as ``tcp://host:8786``.
    pace : Pace
        Told of every cell.
    rows : int
        Rows that the store's table has.

    Raises
    ------
    KevacuateError
        Dask is not installed.
    """

    def __init__(self, store: Store, address: str, pace: Pace, rows: int) -> None:
        self._scheduler = Scheduler(address)
        self._store, self._pace = store, pace
        self._rows, self._files = rows, 0
        self._absent: set[str] = set()
        self._sent: dict[str, Any] = {}
        self._texts: dict[str, str] = {}
        self.unable: dict[str, str] = {}
        """Cells that have no result, and why."""
        self.refused: dict[str, str] = {}
        """Cells whose replay was refused, and what it said."""

    def replay(self, cells: Sequence[Named]) -> None:
        """Replay all cells.

        Raises
        ------
        KevacuateError
            The scheduler cannot be reached, is lost, or has no worker.
        """

        def jobs(threads: int) -> Iterator[list[Named]]:
            self._pace.begin()
            return runs_of(cells, threads, len(cells))

        self._scheduler.run(jobs, self._submit, self._keep, self._give_up)

    def _submit(self, client: Any, run: list[Named]) -> Any:
        """A future for a run of cells."""
        order = {
            "model": model_version(),
            "cells": [cell.to_json() for _, cell in run],
            "told": [digest for digest, _ in run],
            "policies": {cell.code: self._text(cell) for _, cell in run if cell.code},
        }
        first = run[0][1]
        sent = [self._demand(client, one) for one in (first.source, first.start) if one is not None]
        return client.submit(replay_run, canonical(order), *sent, pure=False, retries=RETRIES)

    def _text(self, cell: Cell) -> str:
        """The text of a policy's file."""
        if cell.code not in self._texts:
            hooks = parse_policy(cell.spec).hooks
            self._texts[cell.code] = hooks.source if hooks else ""
        return self._texts[cell.code]

    def _demand(self, client: Any, source: Source) -> Any:
        """The demand, on its way to the workers that need it, each once; None where they read it by its path."""
        if source.digest in self._absent and source.digest not in self._sent:
            self._sent[source.digest] = client.scatter([files_of(source)], hash=False)[0]
        return self._sent.get(source.digest)

    def _keep(self, run: list[Named], said: str) -> list[Named] | None:
        """Put results into the store; the cells that are to be done with their demand sent."""
        cells, absent = dict(run), []
        for one in json.loads(said):
            if "absent" in one:
                cell = cells[one["cell"]]
                self._absent |= {one.digest for one in (cell.source, cell.start) if one is not None}
                absent.append((one["cell"], cell))
                continue
            if "unable" in one:
                self.unable[one["cell"]] = one["unable"]
            else:
                self._store.put(one["result"], one["made"])
                self._files += 1
                if one["result"]["error"] is not None:
                    self.refused[one["result"]["cell"]] = one["result"]["error"]
            self._pace.one(failed="unable" in one)
        if self._store.due(self._files, self._rows):
            self._rows, self._files = self._store.collect(), 0
        return absent or None

    def _give_up(self, run: list[Named], said: str) -> None:
        """A run whose workers were lost again and again, or failed."""
        for digest, cell in run:
            self.unable[digest] = f"Dask gave {cell.label} up: {said}"
            self._pace.one(failed=True)
