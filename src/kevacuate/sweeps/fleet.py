# SPDX-License-Identifier: GPL-2.0-or-later
"""Many machines side by side, from light recordings: which fragment, by whom, which are alike, which to record in full."""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kevacuate.errors import KevacuateError, whole_number
from kevacuate.sweeps.alike import alike
from kevacuate.sweeps.processes import LineProcess
from kevacuate.sweeps.searched import recordings_of
from kevacuate.sweeps.sheets import FRAGMENTING, RATES, SHARES, vectors

AHEAD = 16
"""Recordings that a worker is told of at once."""

PICKED = 3
"""Machines that are to be recorded in full."""

MOST_DEATHS = 2
"""A recording at which so many workers died is refused."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Machine:
    """A machine of the fleet: its name, where its recording lies, and its sheet (:mod:`.sheets`)."""

    name: str
    path: Path
    sheet: dict[str, Any] = field(repr=False)

    @property
    def mixing(self) -> float:
        """Requests an hour that took part of a movable pageblock."""
        return float(self.sheet["mixing"] or 0.0)

    @property
    def fragments(self) -> bool:
        """Whether it does, by its triage's verdict."""
        return self.sheet["verdict"] in FRAGMENTING


@dataclass(frozen=True)
class Cluster:
    """Alike machines: the most typical one first, and what sets them apart.

    Attributes
    ----------
    machines : tuple of Machine
    figures : dict
        The median of each figure of :data:`~.sheets.RATES` and :data:`~.sheets.SHARES`; None where nobody knows it.
    requesters : list
        Who took part of movable pageblocks, with each one's share of the cluster's.
    """

    machines: tuple[Machine, ...]
    figures: dict[str, float | None]
    requesters: list[dict[str, Any]]

    @property
    def typical(self) -> Machine:
        """The machine that stands for the others."""
        return self.machines[0]

    @property
    def fragmenting(self) -> int:
        """Machines of it that fragment."""
        return sum(one.fragments for one in self.machines)

    @property
    def mixing(self) -> float:
        """Of all its machines, an hour."""
        return sum(one.mixing for one in self.machines)


@dataclass(frozen=True)
class Pick:
    """A machine to record in full, how many others are like it, and its cluster's share of the fleet's mixing."""

    machine: Machine
    stands_for: int
    share: float


@dataclass(frozen=True)
class Fleet:
    """What a fleet's recordings come to.

    Attributes
    ----------
    machines : tuple of Machine
        Those that mix most first.
    clusters : tuple of Cluster
        The largest first.
    requesters, tasks : list
        Who took part of movable pageblocks, over the fleet: per hour, and on how many machines.
    picks : tuple of Pick
    refused : dict
        Recording's name to why it has no sheet.
    """

    machines: tuple[Machine, ...]
    clusters: tuple[Cluster, ...]
    requesters: list[dict[str, Any]]
    tasks: list[dict[str, Any]]
    picks: tuple[Pick, ...]
    refused: dict[str, str]


def fleet(
    recordings: str | Path | Sequence[str | Path],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Fleet:
    """Triage many machines' recordings side by side; light recordings (``kevacuate record --light``) are enough.

    Parameters
    ----------
    recordings : path or sequence of paths
        Directories that hold recordings, however deep, recordings themselves, or globs.
    workers : int, optional
        Processes at once. Default: one a core that this process may use.
    scheduler : str, optional
        Address of a Dask scheduler whose workers triage in place of processes of this machine.
    progress : callable, optional
        Called with (recordings done, recordings in all).

    Returns
    -------
    Fleet
        Machines, clusters of alike ones, who asked, and which to record in full. No model has a part in it.

    Raises
    ------
    KevacuateError
        There is no recording, none can be triaged, or the scheduler cannot be reached.

    Examples
    --------
    >>> import kevacuate
    >>> found = kevacuate.fleet(["my-server.kev", "one-cpu.kev"])
    >>> [machine.name for machine in found.machines], len(found.clusters)
    (['my-server.kev', 'one-cpu.kev'], 1)
    """
    given = [recordings] if isinstance(recordings, str | Path) else list(recordings)
    if scheduler is not None and workers is not None:
        raise KevacuateError("A scheduler has workers of its own: give no workers beside it.")
    most = whole_number("workers", len(os.sched_getaffinity(0)) if workers is None else workers, 1)
    told = progress or (lambda done, total: None)
    paths, unread = recordings_of(given)
    if scheduler is None:
        said = _triaged(paths, min(most, len(paths)), told)
    else:
        from kevacuate.sweeps.fleetdask import triaged_by_dask

        said = triaged_by_dask(paths, scheduler, AHEAD, told)
    whole = {path: os.path.abspath(path) for path in (*paths, *unread)}
    root = os.path.commonpath([os.path.dirname(place) for place in whole.values()])
    names = {path: os.path.relpath(place, root) for path, place in whole.items()}
    machines = [
        Machine(names[path], path, said[str(path)]["sheet"]) for path in paths if "sheet" in said[str(path)]
    ]
    refused = {names[path]: said[str(path)]["refused"] for path in paths if "refused" in said[str(path)]}
    refused |= {names[path]: why for path, why in unread.items()}
    if not machines:
        name, why = next(iter(refused.items()))
        raise KevacuateError(f"None of {len(paths):,} recordings can be triaged; of {name} it is said: {why}")
    clusters = clusters_of(machines)
    return Fleet(
        machines=tuple(sorted(machines, key=lambda one: (-one.mixing, one.name))),
        clusters=clusters,
        requesters=_summed(machines, "requesters", ("type", "order", "gfp")),
        tasks=_summed(machines, "tasks", ("name",)),
        picks=picks_of(clusters),
        refused=refused,
    )


class _Desk:
    """Paths to be triaged, handed to processes in runs of AHEAD; ``said`` is what they say of each."""

    def __init__(self, paths: Sequence[Path], workers: int, selector: selectors.BaseSelector) -> None:
        self.said: dict[str, dict[str, Any]] = {}
        self.todo: dict[LineProcess, deque[str]] = {}
        self._waiting = deque(
            [str(path) for path in paths[at : at + AHEAD]] for at in range(0, len(paths), AHEAD)
        )
        self._workers = workers
        self._deaths: dict[str, int] = {}
        self._selector = selector

    def begin(self) -> None:
        """Start a process for each run that waits, as far as there may be more."""
        while self._waiting and len(self.todo) < self._workers:
            worker = LineProcess("kevacuate.sweeps.fleetworker", [])
            self.todo[worker] = deque()
            self._selector.register(worker.out, selectors.EVENT_READ, worker)
            self._hand_out(worker)

    def hear(self, worker: LineProcess) -> None:
        """Take what a process has said, and give it more to do."""
        heard = worker.heard()
        if heard is None:
            self._lost(worker)
            return
        for values in heard:
            self.said[self.todo[worker].popleft()] = values
        self._hand_out(worker)

    def _hand_out(self, worker: LineProcess) -> None:
        if len(self.todo[worker]) <= 1 and self._waiting:
            run = self._waiting.popleft()
            self.todo[worker].extend(run)
            worker.tell(paths=run)
        elif not self.todo[worker]:
            worker.dismiss()

    def _lost(self, worker: LineProcess) -> None:
        """A process is gone: what it had not done is for others."""
        self._selector.unregister(worker.out)
        how, left = worker.gone(), self.todo.pop(worker)
        if left:
            self._deaths[left[0]] = self._deaths.get(left[0], 0) + 1
            if self._deaths[left[0]] >= MOST_DEATHS:
                self.said[left.popleft()] = {"refused": f"The process that read it {how}."}
        if left:
            self._waiting.appendleft(list(left))
        self.begin()


def _triaged(paths: Sequence[Path], workers: int, progress: Progress) -> dict[str, dict[str, Any]]:
    """What the workers say of every recording, by path."""
    with selectors.DefaultSelector() as selector:
        desk = _Desk(paths, workers, selector)
        try:
            desk.begin()
            while desk.todo:
                for key, _ in selector.select():
                    desk.hear(key.data)
                progress(len(desk.said), len(paths))
        finally:
            for worker in desk.todo:
                worker.end()
    return desk.said


def clusters_of(machines: Sequence[Machine]) -> tuple[Cluster, ...]:
    """Clusters of alike machines, the largest first."""
    made = []
    for _, members in alike(vectors([one.sheet for one in machines])):
        own = tuple(machines[number] for number in members)
        figures = {name: _median([one.sheet[name] for one in own]) for name in (*RATES, *SHARES)}
        made.append(Cluster(own, figures, _summed(own, "requesters", ("type", "order", "gfp"))))
    return tuple(made)


def _median(values: Sequence[float | None]) -> float | None:
    """The median of those that are known: of an even number the lower of the two in the middle."""
    known = sorted(value for value in values if value is not None)
    return known[(len(known) - 1) // 2] if known else None


def _summed(machines: Sequence[Machine], what: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Requesters or tasks over machines: the rate per hour, on how many machines, and the share of all; the greatest first."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for one in machines:
        hours = one.sheet["seconds"] / 3600
        own: dict[tuple[Any, ...], float] = {}
        for row in one.sheet[what]:
            key = tuple(row[name] for name in names)
            own[key] = own.get(key, 0.0) + (row["mixing"] / hours if hours else 0.0)
        for key, rate in own.items():
            entry = found.setdefault(key, [0.0, 0.0])
            entry[0] += rate
            entry[1] += 1
    whole = sum(one.mixing for one in machines)
    rows = [
        {
            **dict(zip(names, key, strict=True)),
            "per_hour": rate,
            "machines": int(count),
            "share": rate / whole if whole else 0.0,
        }
        for key, (rate, count) in found.items()
    ]
    return sorted(rows, key=lambda row: (-row["per_hour"], str([row[name] for name in names])))


def picks_of(clusters: Sequence[Cluster], most: int = PICKED) -> tuple[Pick, ...]:
    """The machines to record in full: the most typical fragmenting one of each cluster, those clusters first that mix most.

    With fewer such clusters than *most*, the machines that mix most among the others follow.
    """
    whole = sum(one.mixing for one in clusters) or 1.0
    ranked = sorted(
        (one for one in clusters if one.fragmenting), key=lambda one: (-one.mixing, one.typical.name)
    )
    picks = [
        Pick(
            next(one for one in cluster.machines if one.fragments),
            len(cluster.machines) - 1,
            cluster.mixing / whole,
        )
        for cluster in ranked[:most]
    ]
    taken = {pick.machine.path for pick in picks}
    rest = [one for cluster in ranked for one in cluster.machines if one.fragments and one.path not in taken]
    rest.sort(key=lambda one: (-one.mixing, one.name))
    return tuple(picks + [Pick(one, 0, one.mixing / whole) for one in rest[: most - len(picks)]])
