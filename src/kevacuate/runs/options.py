# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes and parameters of a replay that are not the policy's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kevacuate.errors import KevacuateError, whole_number
from kevacuate.runs.loop import LOG_MARGIN
from kevacuate.runs.loop_choice import checked_loop
from kevacuate.runs.variation import Variation

MOST_SAMPLES = 1_000_000
"""Points of a time series: each is kept, and takes a call of the compiled loop."""

MOST_ROWS = 1 << 28
"""Rows of a chunk, records of a log, events ahead."""


@dataclass(frozen=True)
class ReplayOptions:
    """Sizes and parameters of a replay that are not the policy's.

    Attributes
    ----------
    seed : int
        Seed of what is drawn: which blocks carry a skip bit, and, unless it is 0, when the once-a-second and the
        twice-a-second work of the background begins. Replays of different seeds tell chance from effect.
    samples : int
        Points of the time series, at most :data:`MOST_SAMPLES`.
    chunk_rows : int
        Demand rows per call of the compiled loop; changes nothing but speed.
    log_capacity : int
        Log records kept between two reads.
    prefetch : int
        How many events ahead to prefetch; changes nothing but speed.
    despite_losses : bool
        Replay a recording that lost events.
    loop : str
        ``open``: what the recorded kernel reclaimed is freed when it was. ``closed``: the model reclaims by itself. ``auto``:
        see :mod:`kevacuate.runs.loop_choice`.
    variation : Variation
        What seeds other than 0 vary besides that; by default nothing.
    keep : bool
        Keep the pageblock map over time and the history of every block (``Run.frames``, ``Run.history``).

    Raises
    ------
    KevacuateError
        A size that no replay can work with.

    """

    seed: int = 0
    samples: int = 100
    chunk_rows: int = 1 << 18
    log_capacity: int = 1 << 17
    prefetch: int = 8
    despite_losses: bool = False
    keep: bool = False
    loop: str = "auto"
    variation: Variation = Variation()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("seed", 0, None),
            ("samples", 1, MOST_SAMPLES),
            ("chunk_rows", 1, MOST_ROWS),
            ("log_capacity", 2 * LOG_MARGIN, MOST_ROWS),
            ("prefetch", 0, MOST_ROWS),
        ):
            whole_number(f"{name} of a replay", getattr(self, name), least, most)
        checked_loop(self.loop)
        if not isinstance(self.variation, Variation):
            raise KevacuateError(f"The variation of a replay cannot be {self.variation!r}: give a Variation.")


def given_options(options: object, seed: int | None) -> ReplayOptions:
    """The options of a replay, with the seed that is given beside them.

    Raises
    ------
    KevacuateError
        They are none, or the seed is no whole number.
    """
    if not isinstance(options, ReplayOptions):
        raise KevacuateError(f"options cannot be {options!r}: give kevacuate.ReplayOptions(...).")
    return options if seed is None else replace(options, seed=seed)
