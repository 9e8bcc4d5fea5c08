# SPDX-License-Identifier: GPL-2.0-or-later
"""Dask distributed as a sweep's hands: a future for every short run of cells, its results put into the store here.

Workers read a demand by its path. One that cannot, or finds another there, is sent it, once per worker, and checks its digest.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.policy import parse_policy
from kevacuate.sweeps.cells import Cell, Source, canonical, model_version
from kevacuate.sweeps.dasktask import replay_run
from kevacuate.sweeps.local import Named, runs_of
from kevacuate.sweeps.progress import Pace
from kevacuate.sweeps.store import Store

CONNECT_SECONDS = 10
RETRIES = 3
"""How often a run of cells is begun again whose worker was lost."""

AHEAD = 4
"""Runs of cells a worker's thread that the scheduler knows of at once."""


def files_of(source: Source) -> dict[str, bytes]:
    """The files of a recording, by their names in a directory that has the recording's own name."""
    root = Path(source.path)
    return {
        f"{source.name}/{path.relative_to(root).as_posix()}": path.read_bytes()
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
        try:
            import distributed
        except ImportError:
            raise KevacuateError(
                "Dask is not installed, which --scheduler needs: pip install 'kevacuate[dask]'."
            ) from None
        self._dask: Any = distributed
        self._store, self._address, self._pace = store, address, pace
        self._rows, self._files = rows, 0
        self._sent: dict[str, Any] = {}
        self._texts: dict[str, str] = {}
        self.unable: dict[str, str] = {}
        """Cells that have no result, and why."""
        self.refused: dict[str, str] = {}
        """Cells whose replay was refused, and what it said."""

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A client of the scheduler."""
        try:
            client = self._dask.Client(self._address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            said = str(error).partition("\n")[0].removesuffix(".")
            raise KevacuateError(f"No Dask scheduler answers at {self._address}: {said}.") from None
        try:
            yield client
        finally:
            with suppress(Exception):
                client.close(timeout=CONNECT_SECONDS)

    def replay(self, cells: Sequence[Named]) -> None:
        """Replay all cells.

        Raises
        ------
        KevacuateError
            The scheduler cannot be reached, is lost, or has no worker.
        """
        with self._client() as client:
            threads = sum(client.nthreads().values())
            if not threads:
                raise KevacuateError(
                    f"The Dask scheduler at {self._address} has no worker: start `dask worker {self._address}`."
                )
            waiting = deque(runs_of(cells, threads, len(cells)))
            self._pace.begin()
            try:
                self._work(client, waiting, threads * AHEAD)
            except (OSError, TimeoutError) as error:
                raise self._lost(error) from None

    def _lost(self, error: BaseException) -> KevacuateError:
        """What is said when the scheduler is gone."""
        said = str(error).partition("\n")[0].removesuffix(".") or type(error).__name__
        return KevacuateError(
            f"The Dask scheduler at {self._address} was lost ({said}): the same command goes on from here."
        )

    def _work(self, client: Any, waiting: deque[list[Named]], most: int) -> None:
        """Hand out the runs, so many at once, and keep what comes back."""
        pending: dict[Any, list[Named]] = {}
        done = self._dask.as_completed(loop=client.loop, raise_errors=False)
        while waiting or pending:
            while waiting and len(pending) < most:
                run = waiting.popleft()
                future = self._submit(client, run)
                pending[future] = run
                done.add(future)
            future = next(done)
            run = pending.pop(future)
            if future.status == "finished":
                absent = self._keep(json.loads(future.result()), dict(run))
                if absent:
                    self._send(client, absent[0][1].source)
                    waiting.appendleft(absent)
            elif future.status in ("cancelled", "lost"):
                raise TimeoutError("it forgot what it was asked for")
            else:
                self._give_up(run, future.exception())
            future.release()

    def _submit(self, client: Any, run: list[Named]) -> Any:
        """A future for a run of cells."""
        order = {
            "model": model_version(),
            "cells": [cell.to_json() for _, cell in run],
            "told": [digest for digest, _ in run],
            "policies": {cell.code: self._text(cell) for _, cell in run if cell.code},
        }
        sent = self._sent.get(run[0][1].source.digest)
        return client.submit(replay_run, canonical(order), sent, pure=False, retries=RETRIES)

    def _text(self, cell: Cell) -> str:
        """The text of a policy's file."""
        if cell.code not in self._texts:
            hooks = parse_policy(cell.spec).hooks
            self._texts[cell.code] = hooks.source if hooks else ""
        return self._texts[cell.code]

    def _send(self, client: Any, source: Source) -> None:
        """Have a demand sent to the workers that need it, each once."""
        if source.digest not in self._sent:
            self._sent[source.digest] = client.scatter([files_of(source)], hash=False)[0]

    def _keep(self, said: list[dict[str, Any]], cells: dict[str, Cell]) -> list[Named]:
        """Put results into the store; the cells that are to be done with their demand sent."""
        absent: list[Named] = []
        for one in said:
            if "absent" in one:
                absent.append((one["cell"], cells[one["cell"]]))
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
        return absent

    def _give_up(self, run: list[Named], error: BaseException | None) -> None:
        """A run whose workers were lost again and again, or failed."""
        said = str(error).partition("\n")[0] or type(error).__name__
        for digest, cell in run:
            self.unable[digest] = f"Dask gave {cell.label} up: {said}"
            self._pace.one(failed=True)
