# SPDX-License-Identifier: GPL-2.0-or-later
"""Which loop a replay runs: open, with the recorded kernel's reclaim in the demand, or closed, with the model's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kevacuate.demand.quality import MARKS
from kevacuate.errors import KevacuateError

if TYPE_CHECKING:
    from kevacuate.demand.build import Demand

LOOPS = ("open", "closed", "auto")

AUTO_CLOSES = True
"""Whether ``auto`` closes the loop where the demand tells the recorded kernel's reclaim from the workload's frees."""


class LoopChoice(NamedTuple):
    """The loop of a replay, and what it rests on."""

    closed: bool
    why: str
    """Sentences."""

    @property
    def name(self) -> str:
        """``open`` or ``closed``."""
        return "closed" if self.closed else "open"


def checked_loop(loop: object) -> str:
    """One of LOOPS.

    Raises
    ------
    KevacuateError
        It is none.
    """
    if not isinstance(loop, str) or loop not in LOOPS:
        raise KevacuateError(f"The loop of a replay cannot be {loop!r}: give open, closed or auto.")
    return loop


def choose_loop(wanted: str, demand: Demand) -> LoopChoice:
    """The loop that is meant, for a demand that has been read to its end once.

    *wanted* is one of LOOPS.
    """
    closed = wanted == "closed" or (wanted == "auto" and AUTO_CLOSES and demand.tells_reclaim)
    quality = {} if demand.max_objects is None else demand.quality.as_dict()
    return LoopChoice(closed, f"{_RUNS[closed]} {reclaim_words(quality)}")


_RUNS = {
    False: "The loop is open: what the recorded kernel reclaimed is freed when it was.",
    True: "The loop is closed: the model reclaims by itself.",
}


def reclaim_words(quality: dict[str, Any]) -> str:
    """What a demand tells of reclaim and of reads, by the counters of its reconstruction (:class:`.DemandQuality`)."""
    reclaimed = quality.get("reclaimed", 0)
    if not reclaimed:
        return "The demand does not tell the recorded kernel's reclaim from the workload's frees."
    if not quality.get("alloc_events", 0):
        return f"The demand is described: of its frees, {reclaimed:,} give up page cache for want of room."
    known = f"Of its frees, {reclaimed:,} are known to be the recorded kernel's reclaim."
    inferred = quality.get("accesses_inferred", 0)
    if not quality.get("cached", 0):
        told = f" The order of reclaim tells {inferred // MARKS:,} uses." if inferred else ""
        return f"{known} No event names files: each page-cache allocation counts as a miss.{told}"
    return (
        f"{known} Events name files: {quality.get('read_again', 0):,} reads of reclaimed folios and "
        f"{quality.get('accesses', 0):,} uses are recognised."
    )
