# SPDX-License-Identifier: GPL-2.0-or-later
"""A described workload that resembles a recording: its rates are taken from the recorded demand.

Every kind of request (migratetype, order, kind of page) becomes a pool. Of each are measured: how many objects are born and die
in each of 128 equal times; how long they live; how many rows of it follow each other on a CPU; and whether neighbours in birth
die together. Lifetimes are fitted as a mixture of exponentials with fixed means, by expectation and maximization, in which an
object that outlives the recording counts as that old at least. What is not kept: which object follows which, but for those runs;
the files that a page belongs to; which task asks; and where an object is halved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.demand.build import Demand
from kevacuate.demand.objects import REQUESTS
from kevacuate.demand.pagekinds import A_DIRTY, A_FILE, A_LRU
from kevacuate.demand.refusals import empty_demand
from kevacuate.errors import KevacuateError
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE
from kevacuate.recording import DemandOp, Recording
from kevacuate.workload import describe as ds
from kevacuate.workload.fields import CLASSES
from kevacuate.workload.kinds import PAGE, Amount, BytesPerSecond, Ns

PIECES = 128
"""Equal times that births and deaths are counted in."""

MOST_ROWS = 1 << 24
"""Rows of the open loop that are read: they are held in memory, at 26 bytes each."""

MOST_POOLS = 48
"""Pools that a fit has; kinds of request that are rarer are left out, and counted."""

ROUNDS = 60
"""Steps of expectation and maximization."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """What a fit gives."""

    workload: ds.Workload
    rows: int
    """Allocations and frees of the recording that were read."""
    left_out: int
    """Of its allocations, those of kinds that are too rare to be pools."""
    not_paired: int
    """Frees of objects that were not allocated in the recording, or of halves."""


def _rows(recording: Recording, demand: Demand) -> dict[str, Ints]:
    """The allocations and frees of the open loop, as columns.

    Raises
    ------
    KevacuateError
        There are none, or too many.
    """
    names = ("t", "op", "cpu", "obj", "order", "mt", "gfp", "attr")
    parts: list[list[npt.NDArray[Any]]] = []
    count = 0
    for chunk in demand.chunks():
        wanted = np.isin(chunk.op, (*REQUESTS, DemandOp.FREE))
        parts.append([getattr(chunk, name)[wanted] for name in names])
        count += int(wanted.sum())
        if count > MOST_ROWS:
            raise KevacuateError(
                f"{recording.path} has more than {MOST_ROWS:,} allocations and frees: a fit takes so many at most."
            )
    if not count:
        raise empty_demand(recording)
    return {
        name: np.concatenate([part[i] for part in parts]).astype(np.int64) for i, name in enumerate(names)
    }


def _births_of(rows: dict[str, Ints]) -> Ints:
    """For each row that frees, the row that allocated the object; -1 where there is none, and for rows that allocate."""
    by = np.lexsort((np.arange(len(rows["t"])), rows["obj"]))
    free = rows["op"][by] == DemandOp.FREE
    born = np.full(len(by), -1, np.int64)
    paired = free[1:] & ~free[:-1] & (rows["obj"][by][1:] == rows["obj"][by][:-1])
    born[by[1:][paired]] = by[:-1][paired]
    return born


def _kinds(rows: dict[str, Ints]) -> Ints:
    """The kind of each allocation as one number: migratetype, order, and what its attributes show of the page."""
    shown = rows["attr"] & (A_LRU | A_FILE | A_DIRTY)
    return rows["mt"] << 16 | rows["order"] << 8 | shown


def mixture(lives: Ints, censored: Ints, means: Floats) -> Floats:
    """Shares of exponentials of these *means* that make these lifetimes most likely; the *censored* lived that long at least.

    Both in ns. They are counted in 64 classes, equal in the logarithm, first.
    """
    edges = np.geomspace(1.0, max(float(means[-1]), 2.0) * 4, 65)
    middle = np.sqrt(edges[1:] * edges[:-1])
    died = np.histogram(np.maximum(lives, 1), edges)[0].astype(np.float64)
    alive = np.histogram(np.maximum(censored, 1), edges)[0].astype(np.float64)
    age = middle[:, None] / means[None, :]
    density, survival = np.exp(-age) / means[None, :], np.exp(-age)
    shares = np.full(len(means), 1.0 / len(means))
    for _ in range(ROUNDS):
        by_death, by_life = density * shares, survival * shares
        by_death /= np.maximum(by_death.sum(axis=1, keepdims=True), 1e-300)
        by_life /= np.maximum(by_life.sum(axis=1, keepdims=True), 1e-300)
        shares = died @ by_death + alive @ by_life
        shares /= max(shares.sum(), 1e-300)
    return shares


def _runs(rows: dict[str, Ints], kind: Ints) -> dict[int, float]:
    """For each kind, the mean number of allocations that follow each other on one CPU with nothing between."""
    by = np.argsort(rows["cpu"], kind="stable")
    what = np.where(rows["op"] == DemandOp.FREE, -1, kind)[by]
    cpu = rows["cpu"][by]
    first = np.r_[True, (what[1:] != what[:-1]) | (cpu[1:] != cpu[:-1])]
    number = np.cumsum(first) - 1
    length = np.bincount(number)
    names = what[first]
    return {int(one): float(length[names == one].mean()) for one in np.unique(names) if one >= 0}


def _together(born: Ints) -> bool:
    """Whether objects that die one behind the other were mostly born so; *born* are the rows of birth, by death."""
    if len(born) < 16:
        return False
    return bool(np.mean(np.abs(np.diff(born)) <= 2) > 0.5)


def _pool(
    name: str, number: int, rows: dict[str, Ints], of: Ints, died: Ints, span: int, burst: float
) -> ds.Pool:
    """The pool of one kind: *of* are the rows that allocate, *died* those that free, each with its birth in ``born``."""
    mt, order, shown = number >> 16, number >> 8 & 255, number & 255
    window = max(span // PIECES, 1)
    t, born = rows["t"], rows["born"]
    lives = t[died] - t[born[died]]
    lasting = np.ones(len(t), np.bool_)
    lasting[born[died]] = False
    left = of[lasting[of]]
    means = np.geomspace(1e5, max(float(span) * 2, 1e6), CLASSES)
    shares = mixture(lives, span - t[left], means)
    kept = np.flatnonzero(shares > 1e-5)
    page = (
        "kernel"
        if not shown & A_LRU
        else "anonymous"
        if not shown & A_FILE
        else "dirty"
        if shown & A_DIRTY
        else "file"
    )
    gfp, often = np.unique(rows["gfp"][of], return_counts=True)
    return ds.Pool(
        name=name,
        type={MIGRATE_MOVABLE: "movable", MIGRATE_RECLAIMABLE: "reclaimable"}.get(mt, "unmovable"),
        gfp=int(gfp[np.argmax(often)]),
        page=page,
        order=order,
        lifetimes=tuple(Ns(round(means[i])) for i in kept),
        shares=tuple(float(f"{shares[i]:.6f}") for i in kept),
        burst=min(max(round(burst), 1), 1 << 12),
        dies="together" if _together(born[died]) else "random",
        births=tuple(np.bincount(np.minimum(t[of] // window, PIECES - 1), minlength=PIECES).tolist()),
        deaths=tuple(np.bincount(np.minimum(t[died] // window, PIECES - 1), minlength=PIECES).tolist()),
        rhythm=False,
    )


def fitted(recording: Recording, demand: Demand, seed: int = 0) -> Fitted:
    """A description of a workload with the rates of a recording's demand, in the open loop.

    Memory: the demand's allocations and frees, :data:`MOST_ROWS` at most.

    Raises
    ------
    KevacuateError
        The demand is empty, or too long.
    """
    rows = _rows(recording, demand)
    rows["born"] = _births_of(rows)
    kind = _kinds(rows)
    alloc = rows["op"] != DemandOp.FREE
    freed = np.flatnonzero(rows["born"] >= 0)
    kind[freed] = kind[rows["born"][freed]]
    numbers, counts = np.unique(kind[alloc], return_counts=True)
    chosen = numbers[np.argsort(-counts, kind="stable")[:MOST_POOLS]]
    span = int(rows["t"][-1]) + 1
    runs = _runs(rows, kind)
    parts = []
    for i, number in enumerate(chosen.tolist()):
        of = np.flatnonzero(alloc & (kind == number))
        died = freed[kind[freed] == number]
        parts.append(_pool(f"pool {i}", number, rows, of, died, span, runs.get(number, 1.0)))
    machine = recording.machine
    pages = sum(zone.managed for zone in machine.zones)
    described = ds.Machine(
        memory=Amount(pages * PAGE), cpus=machine.cpus, nodes=len(machine.nodes), kernel=machine.kernel
    )
    name = f"fit of {recording.path.name}"
    workload = ds.Workload(
        machine=described, parts=tuple(parts), name=name, duration=Ns(span), fill=Ns(0), seed=seed
    )
    left_out = int(counts.sum() - counts[np.isin(numbers, chosen)].sum())
    return Fitted(workload, len(alloc), left_out, int((~alloc).sum() - len(freed)))


def toml_of(workload: ds.Workload) -> str:
    """A description as the text of a TOML file, which is read back the same."""
    lines = [
        f"name = {_word(workload.name)}",
        f"duration = {_word(workload.duration)}",
        f"fill = {_word(workload.fill)}",
    ]
    lines += [f"seed = {workload.seed}", "", "[machine]"]
    lines += _keys(workload.machine)
    for name, table in (("rhythm", workload.rhythm), ("gigantic_pages", workload.gigantic_pages)):
        if table is not None:
            lines += ["", f"[{name}]", *_keys(table)]
    for part in workload.parts:
        lines += ["", f"[[{part.TABLE}]]", *_keys(part)]
    return "\n".join(lines) + "\n"


def _keys(table: ds.Described) -> list[str]:
    """The lines of a table."""
    return [f"{name} = {_word(getattr(table, name))}" for name, _ in table.keys().items()]


def _word(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Ns):
        return f'"{int(value)}ns"'
    if isinstance(value, BytesPerSecond):
        return f'"{float(value)!r}B/s"'
    if isinstance(value, Amount):
        return f'"{value.share * 100!r}%"' if value.share else f'"{value.size}B"'
    if isinstance(value, tuple):
        return f"[{', '.join(_word(item) for item in value)}]"
    if isinstance(value, str):
        text = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    return repr(value)
