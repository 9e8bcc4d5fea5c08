# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sweep's results say: which settings help, what explains the variation, and what a benefit costs at least.

Settings are compared within a *context*: one demand, one model, one value of every knob that is an input and no choice
(:data:`CONDITIONS`). Each is compared with the context's base.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kevacuate.errors import KevacuateError
from kevacuate.measure.deciding import COSTS, DECIDING
from kevacuate.measure.discoveries import discovery_qs, ps_of
from kevacuate.measure.factors import parts_of
from kevacuate.measure.front import pareto
from kevacuate.measure.permutation import LEVEL, Direction, mean
from kevacuate.measure.tuned import NO_EFFECT, UNCHANGED, Tried, TriedRow, verdict_of
from kevacuate.policy import BASELINE
from kevacuate.sweeps.columns import FIGURES, KNOB, START
from kevacuate.sweeps.store import Store

CONDITIONS = ("memory", "skip-bits", "time-scale", START)
"""What says how the machine was, not what a kernel could do: settings are compared where these are equal."""

BENEFIT = "end.mixed_blocks"
COST = ("cost.worker_ms", "compaction.ms")
"""What the front weighs unless told: mixed pageblocks at the end, and the CPU time (virtual) of workers and of compaction."""

ROW_OF = {row.id: row for row in FIGURES}


@dataclass(frozen=True)
class Setting:
    """A setting in its context.

    Attributes
    ----------
    policy : str
        The policy with its knobs.
    tried : Tried
        Its rows and costs against the base's, and the verdict; of a row that decides, p is its q over the whole sweep.
    seeds : tuple of int
        Of its cells that succeeded.
    benefit, cost : float or None
        Means of the front's figures.
    on_front : bool
        No other setting of the context costs as little and gives as much.
    """

    policy: str
    tried: Tried
    seeds: tuple[int, ...]
    benefit: float | None
    cost: float | None
    on_front: bool


@dataclass(frozen=True)
class Context:
    """A demand and the conditions in which settings are compared; the base is the first of the settings."""

    demand: str
    digest: str
    conditions: dict[str, str]
    replay: dict[str, Any]
    model: str
    settings: tuple[Setting, ...]

    @property
    def name(self) -> str:
        """The demand and its conditions."""
        return ", ".join([self.demand, *(f"{name}={value}" for name, value in self.conditions.items())])

    @property
    def base(self) -> str:
        """The setting that the others are compared with."""
        return self.settings[0].policy


@dataclass(frozen=True)
class Explained:
    """The share of a row's variation over one policy's grid that a knob, or two beyond each alone, explain.

    ``q`` is None where there is one cell of each combination.
    """

    demand: str
    policy: str
    row: str
    knobs: tuple[str, ...]
    share: float
    q: float | None


@dataclass(frozen=True)
class Shown:
    """What a store's results say.

    Attributes
    ----------
    store : Path
    cells, refused : int
        Rows, and those of them whose replay was refused.
    errors : dict
        What was said, and how often.
    contexts : tuple of Context
    tests : int
        Rows of settings that were tested.
    explained : tuple of Explained
        By demand, policy and row, the largest share first.
    incomplete : tuple of str
        Grids in which combinations are missing: nothing is explained there.
    benefit, cost : str, tuple of str
        The rows of the front; costs are added.
    paths : dict
        Demand's digest to where it lay when it was swept.
    """

    store: Path
    cells: int
    refused: int
    errors: dict[str, int]
    contexts: tuple[Context, ...]
    tests: int
    explained: tuple[Explained, ...]
    incomplete: tuple[str, ...]
    benefit: str
    cost: tuple[str, ...]
    paths: dict[str, str] = field(repr=False)
    table: pa.Table = field(repr=False)


class _Columns:
    """The table's rows that succeeded, by column."""

    def __init__(self, table: pa.Table) -> None:
        kept = [i for i, error in enumerate(table["error"].to_pylist()) if error is None]
        self.table = table.take(pa.array(kept, pa.int64())) if len(kept) < table.num_rows else table
        self._text: dict[str, list[Any]] = {}
        self._numbers: dict[str, npt.NDArray[np.float64]] = {}
        self.knobs = [name.removeprefix(KNOB) for name in self.table.column_names if name.startswith(KNOB)]

    def text(self, name: str) -> list[Any]:
        """A column's values."""
        if name not in self._text:
            self._text[name] = self.table[name].to_pylist()
        return self._text[name]

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A figure's values; NaN where there is none."""
        if name not in self._numbers:
            self._numbers[name] = np.array(self.table[name].to_pylist(), np.float64)
        return self._numbers[name]

    def values(self, name: str, rows: Sequence[int]) -> list[float] | None:
        """A figure of some rows; None where one of them has none."""
        found = self.numbers(name)[list(rows)]
        return None if np.isnan(found).any() else found.tolist()


def _front_rows(benefit: str, cost: Sequence[str]) -> None:
    """Refuse figures that are none, or that have no better way."""
    for name in (benefit, *cost):
        if name not in ROW_OF or ROW_OF[name].direction is Direction.NEITHER:
            known = ", ".join(row.id for row in FIGURES if row.direction is not Direction.NEITHER)
            raise KevacuateError(f"A front cannot weigh {name!r}: it weighs {known}.")


def show_sweep(store: str | Path, *, benefit: str = BENEFIT, cost: str = "+".join(COST)) -> Shown:
    r"""Say what the results of a sweep come to.

    Parameters
    ----------
    store : path
        The store of :func:`kevacuate.sweep`.
    benefit, cost : str
        Ids of rows that the Pareto front weighs; several costs are joined by ``+`` and added.

    Returns
    -------
    Shown
        Contexts with their settings' verdicts, what explains the variation, and the front.

    Raises
    ------
    KevacuateError
        There is no such store, it is empty, or a row is none.

    Examples
    --------
    >>> import kevacuate
    >>> from pathlib import Path
    >>> lines = ["recordings = ['my-server.kev']", "policies = ['mainline']", "seeds = 1"]
    >>> _ = Path("one.toml").write_text(chr(10).join(lines))
    >>> shown = kevacuate.show_sweep(kevacuate.sweep("one.toml").store)
    >>> shown.cells, shown.contexts[0].base
    (1, 'mainline')
    """
    costs = tuple(cost.split("+"))
    _front_rows(benefit, costs)
    kept = Store(store, make=False)
    table = kept.table()
    if not table.num_rows:
        raise KevacuateError(f"{kept.path} holds no result yet: sweep first.")
    columns = _Columns(table)
    groups = _groups(columns)
    contexts, tests = _judged(columns, groups, benefit, costs)
    explained, incomplete = _explained(columns)
    errors = Counter(error for error in table["error"].to_pylist() if error is not None)
    return Shown(
        store=kept.path,
        cells=table.num_rows,
        refused=sum(errors.values()),
        errors=dict(errors.most_common()),
        contexts=contexts,
        tests=tests,
        explained=explained,
        incomplete=incomplete,
        benefit=benefit,
        cost=costs,
        paths=kept.demands(),
        table=columns.table,
    )


Groups = dict[tuple[Any, ...], dict[tuple[str, str], list[int]]]
"""Context to setting (policy, hash of its file) to its rows."""


def _groups(columns: _Columns) -> Groups:
    """The rows by context and setting, each context's base first."""
    conditions = [name for name in CONDITIONS if name in columns.knobs]
    names = ("demand_digest", "model", "replay")
    keys = zip(
        *(columns.text(name) for name in names),
        *(columns.text(KNOB + name) for name in conditions),
        strict=True,
    )
    found: Groups = {}
    settings = zip(columns.text("policy"), columns.text("code"), strict=True)
    for row, (key, setting) in enumerate(zip(keys, settings, strict=True)):
        found.setdefault(key, {}).setdefault(setting, []).append(row)
    return {key: _base_first(columns, group) for key, group in found.items()}


def _base_first(
    columns: _Columns, group: dict[tuple[str, str], list[int]]
) -> dict[tuple[str, str], list[int]]:
    """The settings, the base first: the kernel as it is, or else what has the fewest knobs."""

    def rank(setting: tuple[str, str]) -> tuple[bool, int, str]:
        base = columns.text("base")[group[setting][0]]
        return (base != BASELINE, setting[0].count(","), setting[0])

    return {setting: group[setting] for setting in sorted(group, key=rank)}


def _judged(
    columns: _Columns, groups: Groups, benefit: str, costs: tuple[str, ...]
) -> tuple[tuple[Context, ...], int]:
    """Every context with its settings judged, and how many tests there were."""
    pairs: dict[Any, tuple[list[float], list[float]]] = {}
    paid: dict[Any, tuple[list[float], list[float]]] = {}
    for key, group in groups.items():
        base, *others = group
        for setting in others:
            for rows, into in ((DECIDING, pairs), (COSTS, paid)):
                for name in rows:
                    first, second = (
                        columns.values(name, group[base]),
                        columns.values(name, group[setting]),
                    )
                    if first is not None and second is not None:
                        into[key, setting, name] = (first, second)
    p = ps_of(pairs)
    q, cost_p = discovery_qs(p), ps_of(paid)
    contexts = tuple(
        _context(columns, key, group, (pairs, q), (paid, cost_p), benefit, costs)
        for key, group in groups.items()
    )
    return contexts, len(p)


Tested = tuple[Mapping[Any, tuple[list[float], list[float]]], Mapping[Any, float]]
"""Pairs of groups, and p or q of those that were tested."""


def _context(
    columns: _Columns,
    key: tuple[Any, ...],
    group: dict[tuple[str, str], list[int]],
    deciding: Tested,
    paid: Tested,
    benefit: str,
    costs: tuple[str, ...],
) -> Context:
    """One context."""
    conditions = [name for name in CONDITIONS if name in columns.knobs]
    first = next(iter(group.values()))[0]
    base = next(iter(group))
    weighed = {setting: _weighed(columns, rows, benefit, costs) for setting, rows in group.items()}
    known = [setting for setting, pair in weighed.items() if None not in pair]
    sign = 1.0 if ROW_OF[benefit].direction is Direction.HIGHER else -1.0
    front = pareto(
        [weighed[one][1] or 0.0 for one in known], [sign * (weighed[one][0] or 0.0) for one in known]
    )
    best = {known[i] for i in front}
    settings = [
        Setting(
            policy=setting[0],
            tried=_tried(base, setting, key, deciding, paid),
            seeds=tuple(columns.text("seed")[row] for row in rows),
            benefit=weighed[setting][0],
            cost=weighed[setting][1],
            on_front=setting in best,
        )
        for setting, rows in group.items()
    ]
    return Context(
        demand=columns.text("demand")[first],
        digest=key[0],
        conditions={
            name: value for name, value in zip(conditions, key[3:], strict=True) if value is not None
        },
        replay=json.loads(key[2]),
        model=key[1],
        settings=tuple(settings),
    )


def _weighed(
    columns: _Columns, rows: list[int], benefit: str, costs: tuple[str, ...]
) -> tuple[float | None, float | None]:
    """A setting's mean benefit, and its mean cost."""
    gained = columns.values(benefit, rows)
    paid = [columns.values(name, rows) for name in costs]
    cost = None if None in paid else sum(mean(values) for values in paid if values is not None)
    return (None if gained is None else mean(gained), cost)


def _tried(
    base: tuple[str, str], setting: tuple[str, str], key: tuple[Any, ...], deciding: Tested, paid: Tested
) -> Tried:
    """A setting's rows, judged."""
    rows = _rows(key, setting, deciding, DECIDING)
    costs = tuple(
        row for row in _rows(key, setting, paid, COSTS) if row.p is not None or row.base != row.mean
    )
    verdict = "base" if setting == base else verdict_of(rows, costs)
    pairs = [pair for (k, s, _), pair in deciding[0].items() if k == key and s == setting]
    if verdict == NO_EFFECT and pairs and all(first == second for first, second in pairs):
        verdict = UNCHANGED
    return Tried(setting[0], setting[0], verdict, rows, costs)


def _rows(
    key: tuple[Any, ...], setting: tuple[str, str], found: Tested, known: Mapping[str, Any]
) -> tuple[TriedRow, ...]:
    """Rows of a setting against the base."""
    pairs, p = found
    made = []
    for name, row in known.items():
        pair = pairs.get((key, setting, name))
        if pair is None:
            continue
        before, after = mean(pair[0]), mean(pair[1])
        own = p.get((key, setting, name))
        judged = row.direction.judged(after - before) if own is not None and own <= LEVEL else ""
        made.append(TriedRow(name, before, after, own, judged))
    return tuple(made)


def _explained(columns: _Columns) -> tuple[tuple[Explained, ...], tuple[str, ...]]:
    """What knobs explain of each row, and the grids that are incomplete."""
    grids: dict[tuple[Any, ...], list[int]] = {}
    names = ("demand_digest", "model", "replay", "base", "code")
    for row, key in enumerate(zip(*(columns.text(name) for name in names), strict=True)):
        grids.setdefault(key, []).append(row)
    found: dict[tuple[Any, ...], tuple[str, str, str, tuple[str, ...], float, float | None]] = {}
    incomplete = []
    for key, rows in grids.items():
        knobs = [name for name in columns.knobs if len({columns.text(KNOB + name)[row] for row in rows}) > 1]
        if not knobs:
            continue
        name = f"{columns.text('base')[rows[0]]} on {columns.text('demand')[rows[0]]}"
        order = _grid_order(columns, knobs, rows)
        if order is None:
            incomplete.append(name)
            continue
        for row_id in DECIDING:
            values = columns.numbers(row_id)[order]
            if np.isnan(values).any():
                continue
            for part in parts_of(values):
                told = tuple(knobs[axis] for axis in part.factors)
                demand, base = columns.text("demand")[rows[0]], columns.text("base")[rows[0]]
                found[*key, row_id, told] = (demand, base, row_id, told, part.share, part.p)
    q = discovery_qs({key: one[5] for key, one in found.items() if one[5] is not None})
    made = [Explained(*one[:5], q.get(key)) for key, one in found.items()]
    made.sort(key=lambda one: (one.demand, one.policy, list(DECIDING).index(one.row), -one.share))
    return tuple(made), tuple(incomplete)


def _grid_order(columns: _Columns, knobs: Sequence[str], rows: Sequence[int]) -> npt.NDArray[np.int64] | None:
    """Numbers of the rows as int64[levels of each knob ..., seeds]; None where a combination lacks a seed."""
    texts = [columns.text(KNOB + name) for name in knobs]
    levels = [sorted({text[row] for row in rows}, key=str) for text in texts]
    seeds = columns.text("seed")
    cells = {(*(text[row] for text in texts), seeds[row]): row for row in rows}
    kept = sorted({seeds[row] for row in rows})
    shape = [*(len(level) for level in levels), len(kept)]
    if len(cells) != len(rows) or len(rows) != int(np.prod(shape)):
        return None
    found = np.empty(shape, np.int64)
    for at in np.ndindex(*shape):
        key = (*(level[i] for level, i in zip(levels, at[:-1], strict=True)), kept[at[-1]])
        if key not in cells:
            return None
        found[at] = cells[key]
    return found
