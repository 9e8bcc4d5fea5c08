# SPDX-License-Identifier: GPL-2.0-or-later
"""What replays of different seeds vary, besides when background work begins: each a named parameter.

Boots of one kernel with one program differ in how far each task has come when another runs: above all in how far kswapd is when a
burst of kernel allocations comes. Seed 0 is as recorded, whatever the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from kevacuate.errors import KevacuateError, whole_number

LONGEST_NS = 10_000_000_000
"""Longest shift and longest time between two draws: ten seconds."""


@dataclass(frozen=True)
class Variation:
    """How much a seed other than 0 varies; all 0: nothing. Times are those of a native machine.

    The default was fitted on 25 boots of a stock kernel (churn, seed 5): replays end about as far apart as those.

    Attributes
    ----------
    interleave_ns : int
        Standard deviation of a task's shift against the recorded time: each task's own order is kept, and so is the order of what
        happens to one object (:mod:`kevacuate.runs.interleave`).
    interleave_period_ns : int
        Time between two draws of a task's shift; between them it changes evenly.
    read_ns : int
        Standard deviation of how long one read takes: what the task does after it comes so much earlier or later, and these
        shifts add up over its reads. A read is a run of page-cache allocations of one task.
    page_kinds : bool
        Draw anew which pages are dirty, under writeback, busy or pinned, with the shares of the demand's page kind model.
    kswapd_percent : int
        Standard deviation, in percent, of how long kswapd takes to wake up and to run, drawn once a run.

    Raises
    ------
    KevacuateError
        A value that no replay can work with.
    """

    interleave_ns: int = 2_000_000
    interleave_period_ns: int = 20_000_000
    read_ns: int = 0
    page_kinds: bool = False
    kswapd_percent: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "page_kinds":
                if not isinstance(value, bool):
                    raise KevacuateError(
                        f"page_kinds of a variation cannot be {value!r}: give True or False."
                    )
                continue
            whole_number(f"{field.name} of a variation", value, int(field.name == "interleave_period_ns"))
            most = 30 if field.name == "kswapd_percent" else LONGEST_NS
            if value > most:
                raise KevacuateError(f"{field.name} of a variation is {value}: give at most {most}.")

    def at_scale(self, time_scale: int) -> Variation:
        """The same with times on a machine that is so much slower than a native one."""
        names = ("interleave_ns", "interleave_period_ns", "read_ns")
        return replace(self, **{name: min(getattr(self, name) * time_scale, LONGEST_NS) for name in names})

    def applied(self, *, seed: int, to_demand: bool) -> Variation:
        """What a replay of that seed has varied: nothing of a demand that was left as it is, and nothing at all of seed 0.

        The time between two draws is kept, as it must not be 0.
        """
        how = self if to_demand else replace(self, interleave_ns=0, read_ns=0, page_kinds=False)
        return how if seed else replace(how, kswapd_percent=0)

    @property
    def moves_rows(self) -> bool:
        """Whether rows happen at other times than recorded."""
        return self.interleave_ns > 0 or self.read_ns > 0
