# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb: replay what is missing of a grid, by one kind of hands or another."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kevacuate import ending
from kevacuate.errors import KevacuateError, whole_number
from kevacuate.sweeps.cells import Cell, Source, cells_of, sources, starts_of
from kevacuate.sweeps.experiment import Experiment, read_experiment
from kevacuate.sweeps.local import LocalHands, Named, workers_for_sweep
from kevacuate.sweeps.progress import Pace, Report
from kevacuate.sweeps.shards import Shard, mark, marked, short
from kevacuate.sweeps.store import Store, default_store

MOST_WORKERS = 1024


@dataclass(frozen=True)
class Swept:
    """What came of a sweep.

    Attributes
    ----------
    store : Path
        Its directory.
    cells : int
        Cells of the grid, or of the shard.
    there : int
        Cells of these that were there before.
    replayed : int
        Cells that were replayed now.
    refused : dict
        Cell's digest to what its replay said, of those replayed now: results, too.
    unable : dict
        Cell's digest to why it has no result.
    missing : int
        Cells that have none.
    again : tuple of str
        The commands that replay what is missing.
    """

    store: Path
    cells: int
    there: int
    replayed: int
    refused: dict[str, str] = field(repr=False)
    unable: dict[str, str] = field(repr=False)
    missing: int
    again: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "store": str(self.store), "again": list(self.again)}


class Hands(Protocol):
    """Who replays cells.

    Attributes
    ----------
    refused : dict
        Cell's digest to what its replay said.
    unable : dict
        Cell's digest to why it has no result.
    """

    refused: dict[str, str]
    unable: dict[str, str]

    def replay(self, cells: Sequence[Named]) -> None:
        """Replay all cells, and put their results into the store."""


@dataclass(frozen=True)
class _Grid:
    """An experiment, its cells, each once, its store, and the recordings that its demands and start states are read from."""

    experiment: Experiment
    store: Store
    cells: list[Named]
    files: list[Source]

    def command(self, rest: str = "") -> str:
        """The command that sweeps this grid."""
        words = ["kevacuate", "sweep", str(self.experiment.path), "--store", str(self.store.path)]
        return f"{shlex.join(words)}{' ' if rest else ''}{rest}"


def _grid(experiment: str | Path, store: str | Path | None) -> _Grid:
    """Read the experiment, open its recordings and its store."""
    read = read_experiment(experiment)
    demands = sources(read)
    starts = starts_of(read, demands)
    cells: dict[str, Cell] = {}
    for digest, cell in cells_of(read, demands, starts):
        cells.setdefault(digest, cell)
    kept = Store(default_store(read.path) if store is None else store)
    kept.keep_experiment(read.text)
    files = [*demands, *(start for start in starts if start is not None)]
    kept.keep_demands({source.digest: source.path for source in files})
    return _Grid(read, kept, list(cells.items()), files)


def sweep(
    experiment: str | Path,
    store: str | Path | None = None,
    *,
    workers: int | None = None,
    shard: str | None = None,
    scheduler: str | None = None,
    progress: Report | None = None,
) -> Swept:
    r"""Replay every cell of a grid that its store does not have.

    Parameters
    ----------
    experiment : path
        The experiment file (:mod:`kevacuate.sweeps.experiment`).
    store : path, optional
        The store's directory. Default: the experiment's name with the suffix ``.sweep``.
    workers : int, optional
        Processes at once; changes nothing but speed. Default: one a core that this process may use, fewer where memory is short.
    shard : str, optional
        ``K/N``: only that part of the grid. Results are then collected by :func:`collect` alone.
    scheduler : str, optional
        Address of a Dask scheduler whose workers replay in place of processes of this machine.
    progress : callable, optional
        Called with :class:`kevacuate.sweeps.progress.Far`.

    Returns
    -------
    Swept
        What was there, what was replayed, and what has no result.

    Raises
    ------
    KevacuateError
        The experiment is wrong, a recording cannot be read, or the store cannot be written.

    Examples
    --------
    >>> import kevacuate
    >>> from pathlib import Path
    >>> lines = ["recordings = ['my-server.kev']", "policies = ['mainline']", "seeds = 2"]
    >>> _ = Path("two.toml").write_text(chr(10).join(lines))
    >>> swept = kevacuate.sweep("two.toml")
    >>> swept.cells, swept.replayed, swept.missing
    (2, 2, 0)
    """
    part = None if shard is None else Shard.parse(shard)
    workers = None if workers is None else whole_number("workers", workers, 1, MOST_WORKERS)
    if scheduler is not None and (part is not None or workers is not None):
        raise KevacuateError("A scheduler has workers of its own: give neither shard nor workers beside it.")
    grid = _grid(experiment, store)
    cells: Sequence[Named] = grid.cells if part is None else part.of_cells(grid.cells)
    if part is not None:
        mark(grid.store.path, part)
    there = grid.store.digests()
    todo = [(digest, cell) for digest, cell in cells if digest not in there]
    pace = Pace(len(cells), len(cells) - len(todo), progress)
    refused: dict[str, str] = {}
    unable: dict[str, str] = {}
    if todo:
        hands = _hands(grid, part, workers, scheduler, pace, len(there), len(todo))
        try:
            with ending.patient():
                hands.replay(todo)
        except BaseException:
            ending.written.append(f"{grid.store.path} ({pace.done:,} of {len(cells):,} cells)")
            raise
        refused, unable = hands.refused, hands.unable
        grid.store.keep_unable(unable)
    if part is None:
        grid.store.collect()
    again = () if not unable else (grid.command("" if part is None else f"--shard {part}"),)
    before, now = len(cells) - len(todo), len(todo) - len(unable)
    return Swept(grid.store.path, len(cells), before, now, refused, unable, len(unable), again)


def _hands(
    grid: _Grid,
    part: Shard | None,
    workers: int | None,
    scheduler: str | None,
    pace: Pace,
    rows: int,
    todo: int,
) -> Hands:
    """Who replays."""
    if scheduler is not None:
        from kevacuate.sweeps.daskhands import DaskHands

        return DaskHands(grid.store, scheduler, pace, rows)
    most = workers_for_sweep(grid.files, todo) if workers is None else workers
    if part is None:
        return LocalHands(grid.store, most, pace, "processes", rows)
    # A shard collects nothing on the way: others may be at the same store.
    return LocalHands(grid.store, most, pace, f"shard {part}", 1 << 62)


def collect(experiment: str | Path, store: str | Path | None = None) -> Swept:
    r"""Collect what shards have replayed, and say what of the grid is missing and what replays it.

    Parameters
    ----------
    experiment, store : path
        As of :func:`sweep`.

    Returns
    -------
    Swept
        ``again`` has a command for every missing shard where the store was filled by shards, else one for the rest.

    Raises
    ------
    KevacuateError
        As :func:`sweep`.

    Examples
    --------
    >>> import kevacuate
    >>> from pathlib import Path
    >>> lines = ["recordings = ['my-server.kev']", "policies = ['mainline']", "seeds = 2"]
    >>> _ = Path("two.toml").write_text(chr(10).join(lines))
    >>> kevacuate.collect("two.toml").again
    ('kevacuate sweep two.toml --store two.sweep',)
    """
    grid = _grid(experiment, store)
    grid.store.collect()
    there = grid.store.digests()
    missing = [digest for digest, _ in grid.cells if digest not in there]
    return Swept(
        store=grid.store.path,
        cells=len(grid.cells),
        there=len(grid.cells) - len(missing),
        replayed=0,
        refused={},
        unable={},
        missing=len(missing),
        again=_again(grid, missing),
    )


def _again(grid: _Grid, missing: list[str]) -> tuple[str, ...]:
    """The commands that replay what is missing: all in one, and by the shards that the store was filled by."""
    if not missing:
        return ()
    gone, said = set(missing), [grid.command()]
    for count in marked(grid.store.path):
        numbers = [
            number
            for number in range(1, count + 1)
            if any(digest in gone for digest, _ in Shard(number, count).of_cells(grid.cells))
        ]
        said.append(f"{grid.command(f'--shard K/{count}')}  # K: {short(numbers)}")
    return tuple(said)
