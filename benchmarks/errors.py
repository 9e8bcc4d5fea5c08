# SPDX-License-Identifier: GPL-2.0-or-later
"""How often ``compare`` and ``tune`` call what is not there, and find what is: ``python -m benchmarks.errors [--runs 1000]``.

No model runs: the figures of replays are drawn, without an effect, from distributions of three kinds. Of ``compare``, three
policies and all rows that decide are looked at as long as it goes on, up to ``--replays`` of each policy. Of ``tune``, twelve
settings are screened and the best are tested; then one of them gets the effect that tunings like it find in POWER of cases.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.permutation import LEVEL
from kevacuate.measure.sequential import DIFFERS, POWER, SequentialTest, Values, looks
from kevacuate.measure.tuned import (
    LEAST_TESTED,
    SCREENED,
    Table,
    confirmed_rows,
    findable,
    screen,
    verdict_of,
)

Drawn = Callable[[np.random.Generator, tuple[int, ...]], npt.NDArray[np.float64]]

KINDS: dict[str, Drawn] = {
    "normal": lambda rng, size: rng.normal(100, 30, size),
    "skewed (log-normal, sigma 1.2)": lambda rng, size: rng.lognormal(4, 1.2, size),
    "counts (negative binomial, r 1)": lambda rng, size: rng.negative_binomial(1, 0.2, size).astype(float),
}
ROWS = tuple(DECIDING)
SETTINGS = 12


def compared(rng: np.random.Generator, drawn: Drawn, replays: int) -> bool:
    """Whether a comparison of three policies without an effect calls a row, at whatever look it ends."""
    values = drawn(rng, (3, len(ROWS), replays))
    pairs: Values = {
        (row, policy): (values[0, i].tolist(), values[policy, i].tolist())
        for i, row in enumerate(ROWS)
        for policy in (1, 2)
    }
    test = SequentialTest()
    for number, _ in takewhile(lambda look: look[0] <= replays, looks()):
        told = test.decide(pairs, number)
        if told.decided:
            break
    return any(row.state == DIFFERS for row in told.rows)


def tables(values: npt.NDArray[np.float64]) -> list[Table]:
    """float[settings, rows, replays] as tables; setting 0 is the base."""
    return [{row: one[i].tolist() for i, row in enumerate(ROWS)} for one in values]


def winners(rng: np.random.Generator, drawn: Drawn, planted: float = 0.0) -> list[int]:
    """The winners of a tuning in which the last setting has that much less of the third row."""
    shift = np.zeros((1 + SETTINGS, len(ROWS), 1))
    shift[-1, 2] = -planted
    first = tables(drawn(rng, (1 + SETTINGS, len(ROWS), SCREENED)) + shift)
    chosen = screen(first[0], first[1:])
    again = tables(drawn(rng, (1 + SETTINGS, len(ROWS), LEAST_TESTED)) + shift)
    judged = zip(chosen, confirmed_rows(again[0], [again[1 + i] for i in chosen]), strict=True)
    return [i for i, rows in judged if verdict_of(rows, ()).startswith("helps")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--replays", type=int, default=40, help="of each policy of a comparison, at most")
    given = parser.parse_args(arguments)
    for kind, drawn in KINDS.items():
        rng = np.random.default_rng(1)
        called = sum(compared(rng, drawn, given.replays) for _ in range(given.runs))
        print(
            f"compare, {kind}: {called} of {given.runs} call a row (at most {LEVEL * given.runs:.0f})",
            flush=True,
        )
    for kind, drawn in KINDS.items():
        rng = np.random.default_rng(2)
        won = sum(bool(winners(rng, drawn)) for _ in range(given.runs))
        print(
            f"tune, {kind}: {won} of {given.runs} have a winner (at most {LEVEL * given.runs:.0f})",
            flush=True,
        )
    effect = findable(SETTINGS, len(ROWS), SCREENED, LEAST_TESTED)
    rng = np.random.default_rng(3)
    found = sum(SETTINGS - 1 in winners(rng, KINDS["normal"], effect * 30) for _ in range(given.runs))
    print(
        f"tune, an effect of {effect:.2f} standard deviations: {found} of {given.runs} find it (said: {POWER:.0%})"
    )


if __name__ == "__main__":
    main()
