# SPDX-License-Identifier: GPL-2.0-or-later
"""How often ``compare`` and ``tune`` call what is not there, and find what is: ``python -m benchmarks.errors [--runs 1000]``.

The figures of replays are drawn, without an effect, from distributions of three kinds, rows independent. With ``--recording``
they are those of real replays under ``mainline`` (``--pool`` of them, each with a seed of its own), drawn with replacement: rows
hang together there.

Of ``compare``, three policies and all rows that decide are looked at as long as it goes on, up to ``--replays`` of each policy.
Then one row of one policy gets the change that such a comparison says would have been seen; and all rows of figures that vary
less get the least change that matters, which none may be said not to reach. Of ``tune``, twelve settings are
screened and the best are tested; then one of them gets the effect that tunings like it find in POWER of cases.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from kevacuate.measure.deciding import DECIDING, values_of
from kevacuate.measure.permutation import LEVEL
from kevacuate.measure.sequential import (
    DIFFERS,
    MATTERS,
    POWER,
    SMALL,
    Sequential,
    SequentialTest,
    Values,
    looks,
)
from kevacuate.measure.tuned import (
    LEAST_TESTED,
    SCREENED,
    Table,
    confirmed_rows,
    findable,
    screen,
    verdict_of,
)
from kevacuate.percent import percent
from kevacuate.recording import Recording
from kevacuate.runs.compare import compare
from kevacuate.runs.options import ReplayOptions

Array = npt.NDArray[np.float64]
SETTINGS = 12
PLANTED = "end.mixed_blocks"
"""The row that gets an effect."""


@dataclass(frozen=True)
class Figures:
    """What the replays of a kind are like.

    ``draw(rng, groups, replays)`` gives float[groups, rows, replays]; ``deviation`` is the standard deviation of the row PLANTED,
    ``means`` [rows] are those of all.
    """

    name: str
    rows: tuple[str, ...]
    means: Array
    deviation: float
    draw: Callable[[np.random.Generator, int, int], Array]

    @property
    def planted(self) -> int:
        """Number of the row that gets an effect."""
        return self.rows.index(PLANTED)


Drawn = Callable[[np.random.Generator, tuple[int, ...]], Array]
DISTRIBUTIONS: dict[str, Drawn] = {
    "normal": lambda rng, size: rng.normal(100, 30, size),
    "skewed (log-normal, sigma 1.2)": lambda rng, size: rng.lognormal(4, 1.2, size),
    "counts (negative binomial, r 1)": lambda rng, size: rng.negative_binomial(1, 0.2, size).astype(float),
}


NARROW: dict[str, Drawn] = {
    "normal, 15 %": lambda rng, size: rng.normal(100, 15, size),
    "skewed (log-normal, sigma 0.25)": lambda rng, size: rng.lognormal(4, 0.25, size),
    "counts (Poisson, 30)": lambda rng, size: rng.poisson(30, size).astype(float),
    "one in 50 three times as large": lambda rng, size: (
        rng.normal(60, 8, size) * np.where(rng.random(size) < 0.02, 3, 1)
    ),
}
"""Of these some dozen replays can tell that a change does not matter."""


def distributed(name: str, drawn: Drawn) -> Figures:
    """Figures that are drawn, of all rows that decide."""
    rows = tuple(DECIDING)
    many = drawn(np.random.default_rng(0), (1_000_000,))
    means = np.full(len(rows), many.mean())
    return Figures(
        name, rows, means, float(np.std(many)), lambda rng, groups, n: drawn(rng, (groups, len(rows), n))
    )


def replays(path: str, loop: str, pool: int) -> Figures:
    """The figures of real replays; ``shipped`` is the recording in the package."""
    recording = Recording.shipped() if path == "shipped" else Recording.open(path)
    made = compare(recording, ["mainline"], repeats=pool, options=ReplayOptions(loop=loop))
    table = values_of(DECIDING, made.runs)
    values = np.array(list(table.values()))

    def draw(rng: np.random.Generator, groups: int, n: int) -> Array:
        return np.moveaxis(values[:, rng.integers(0, pool, (groups, n))], 0, 1)

    return Figures(
        f"{pool} replays of {recording.path.name}, {loop} loop",
        tuple(table),
        values.mean(axis=1),
        float(np.std(table[PLANTED])),
        draw,
    )


def pairs(figures: Figures, values: Array) -> Values:
    """What the sequential test is given of float[policies, rows, replays]."""
    return {
        (row, policy): (values[0, i].tolist(), values[policy, i].tolist())
        for i, row in enumerate(figures.rows)
        for policy in range(1, len(values))
    }


def compared(
    rng: np.random.Generator, figures: Figures, replays: int, effect: float = 0.0, share: float = 0.0
) -> Sequential:
    """What three policies come to, at whatever look it ends.

    The second has *effect* more of the row PLANTED, and both others that *share* of its mean more of every row.
    """
    values = figures.draw(rng, 3, replays)
    values[1, figures.planted] += effect
    values[1:] += share * figures.means[:, None]
    test, known = SequentialTest(), pairs(figures, values)
    for number, _ in takewhile(lambda look: look[0] <= replays, looks()):
        told = test.decide(known, number)
        if told.decided:
            break
    return told


def calls(told: Sequential, *, planted: bool = False) -> bool:
    """Whether some row is called; with *planted* the one that got the effect."""
    return any(row.state == DIFFERS and (not planted or row.key == (PLANTED, 1)) for row in told.rows)


def seen(told: Sequential, base: float) -> float:
    """The least change of the row PLANTED that would have been seen, in its unit; *base* is the first policy's mean."""
    return next(base * row.seen for row in told.rows if row.key == (PLANTED, 1) and row.seen is not None)


def show_compare(figures: Figures, runs: int, replays: int) -> None:
    """Comparisons without an effect, then with the one that each says it would have seen after *replays*."""
    rng = np.random.default_rng(1)
    called = sum(calls(compared(rng, figures, replays)) for _ in range(runs))
    print(f"compare, {figures.name}: {called} of {runs} call a row (at most {LEVEL * runs:.0f})", flush=True)
    rng = np.random.default_rng(4)
    pilot = []
    for _ in range(100):
        values = figures.draw(rng, 3, replays)
        told = SequentialTest().decide(pairs(figures, values), replays)
        pilot.append(seen(told, float(values[0, figures.planted].mean())))
    effect = statistics.median(pilot)
    found = sum(calls(compared(rng, figures, replays, effect), planted=True) for _ in range(runs))
    print(
        f"compare, {figures.name}, a change of {effect / figures.deviation:.2f} standard deviations in {PLANTED}: "
        f"{found} of {runs} find it within {replays} replays (said: {percent(POWER)})",
        flush=True,
    )


def show_small(figures: Figures, runs: int, replays: int) -> None:
    """Comparisons in which every row of both policies has the least change that matters; then without any change."""
    rng = np.random.default_rng(5)
    wrong = least = 0
    for _ in range(runs):
        told = compared(rng, figures, replays, share=MATTERS)
        wrong += any(row.state == SMALL for row in told.rows)
        least += any(row.low is not None and row.low > MATTERS for row in told.rows)
    none = [compared(rng, figures, replays) for _ in range(max(1, runs // 10))]
    found = sum(row.state == SMALL for told in none for row in told.rows)
    rows = sum(len(told.rows) for told in none)
    print(
        f"compare, {figures.name}: with a change of {percent(MATTERS)} everywhere {wrong} of {runs} say of some row that it is "
        f"smaller, {least} that one is larger (at most {LEVEL * runs:.0f} each); without any {found} of {rows} rows are said to "
        f"change by less, after {statistics.median(told.replays for told in none):.0f} replays",
        flush=True,
    )


def tables(values: Array, rows: Sequence[str]) -> list[Table]:
    """float[settings, rows, replays] as tables; setting 0 is the base."""
    return [{row: one[i].tolist() for i, row in enumerate(rows)} for one in values]


def winners(rng: np.random.Generator, figures: Figures, planted: float = 0.0) -> list[int]:
    """The winners of a tuning in which the last setting has that much less of the row PLANTED."""
    shift = np.zeros((1 + SETTINGS, len(figures.rows), 1))
    shift[-1, figures.planted] = -planted
    first = tables(figures.draw(rng, 1 + SETTINGS, SCREENED) + shift, figures.rows)
    chosen = screen(first[0], first[1:])
    again = tables(figures.draw(rng, 1 + SETTINGS, LEAST_TESTED) + shift, figures.rows)
    judged = zip(chosen, confirmed_rows(again[0], [again[1 + i] for i in chosen]), strict=True)
    return [i for i, rows in judged if verdict_of(rows, ()).startswith("helps")]


def show_tune(figures: Figures, runs: int) -> None:
    """Tunings without an effect, then with the one that POWER of such tunings are said to find."""
    rng = np.random.default_rng(2)
    won = sum(bool(winners(rng, figures)) for _ in range(runs))
    print(f"tune, {figures.name}: {won} of {runs} have a winner (at most {LEVEL * runs:.0f})", flush=True)
    effect = findable(SETTINGS, len(figures.rows), SCREENED, LEAST_TESTED)
    rng = np.random.default_rng(3)
    found = sum(SETTINGS - 1 in winners(rng, figures, effect * figures.deviation) for _ in range(runs))
    print(
        f"tune, {figures.name}, an effect of {effect:.2f} standard deviations in {PLANTED}: "
        f"{found} of {runs} find it (said: {percent(POWER)})",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--replays", type=int, default=40, help="of each policy of a comparison, at most")
    parser.add_argument(
        "--only", choices=("compare", "tune"), help="a comparison takes 0.1 s, a tuning 0.01 s"
    )
    parser.add_argument("--recording", action="append", default=[], help="draw from real replays; 'shipped'")
    parser.add_argument("--loop", default="closed", choices=("open", "closed"), help="of the real replays")
    parser.add_argument("--pool", type=int, default=60, help="real replays to draw from")
    given = parser.parse_args(arguments)
    chosen = (replays(path, given.loop, given.pool) for path in given.recording)
    for figures in chosen if given.recording else (distributed(*kind) for kind in DISTRIBUTIONS.items()):
        if given.only != "tune":
            show_compare(figures, given.runs, given.replays)
        if given.only != "compare":
            show_tune(figures, given.runs)
    if given.only != "tune":
        for figures in chosen if given.recording else (distributed(*kind) for kind in NARROW.items()):
            show_small(figures, given.runs, given.replays)


if __name__ == "__main__":
    main()
