# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rows of a comparison rest on what was guessed at the start: notes for its table, its JSON and its page."""

from __future__ import annotations

from collections.abc import Iterator

from kevacuate.measure import Comparison
from kevacuate.measure.mixed_bounds import Bounds
from kevacuate.reports.comparison.group_rows import Part
from kevacuate.reports.comparison.rows import ROWS
from kevacuate.runs.start_guesses import SKIP_SENTENCE

BY_TYPES = ("extfrag.", "evacuations.", "end.blocks_", "end.polluted_", "mean.polluted_")
BY_PCP = ("end.mixed_", "mean.mixed_", "end.polluted_", "mean.polluted_", "end.regions_")
BY_SKIP_BITS = ("input.blocks_with_skip_bit", "evacuations.", "cost.", "compaction.")
"""Beginnings of the ids of the rows that rest on pageblock types, on pages of per-CPU lists, and on skip bits."""


def _rows(beginnings: tuple[str, ...]) -> tuple[str, ...]:
    """Ids of the rows that begin so."""
    return tuple(row.id for row in ROWS if row.id.startswith(beginnings))


def guessed_parts(comparison: Comparison) -> Iterator[Part]:
    """A part of kind ``guessed`` for each thing that was guessed at the start, with the rows that rest on it."""
    start = comparison.recording.get("start") or {}
    guesses = start.get("guesses")
    if guesses and guesses["block_types"]:
        text = (
            f"Types of {guesses['block_types']:,} of {guesses['blocks']:,} pageblocks at the start are guessed: claims, "
            "steals and polluted pageblocks rest on them."
        )
        yield Part("guessed", text, _rows(BY_TYPES))
    if guesses and guesses["pcp_pages_unknown"]:
        text = (
            f"{guesses['pcp_pages_unknown']:,} of {guesses['pcp_pages']:,} pages on per-CPU lists are not known by pfn: "
            f"they count as in use.{_bounds(start)} Mixed, polluted and tainted rest on them."
        )
        yield Part("guessed", text, _rows(BY_PCP))
    if start.get("approximate") and not guesses:
        text = "Parts of the start state are guessed; the version that recorded it did not count which. Record again."
        yield Part("guessed", text, tuple(dict.fromkeys(_rows(BY_TYPES) + _rows(BY_PCP))))
    wanted = {run.provenance.get("skip_bits", "recorded") for run in comparison.runs}
    if start.get("skip_bits_recorded") is False and "recorded" in wanted:
        text = f"Compaction's skip bits were not recorded, so none is set: evacuations and costs rest on them. {SKIP_SENTENCE}"
        yield Part("guessed", text, _rows(BY_SKIP_BITS))


def _bounds(start: dict[str, object]) -> str:
    """How many blocks are mixed at the start, as far as it is known."""
    mixed = start.get("mixed_blocks")
    if not isinstance(mixed, dict):
        return ""
    bounds = Bounds(int(mixed["least"]), int(mixed["most"]))
    begun = "" if bounds.least == bounds.most else ", and a replay begins with the latter"
    return f" Mixed pageblocks at the start: {bounds.words()}{begun}."
