# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a recording's start is guessed, or was not recorded: as figures, and in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kevacuate.measure.moments import mixed_bounds_of, recorded_blocks
from kevacuate.policy import SKIP_BITS_EXAMPLE
from kevacuate.recording import Recording

FIRM_SHARE = 0.02
"""Up to this share of block types, and of pages on per-CPU lists, a guess leaves a replay on firm ground."""

SKIP_HINT = "skip-bits=SHARE assumes a share"
SKIP_SENTENCE = f"A policy's skip-bits=SHARE assumes a share of them, as in {SKIP_BITS_EXAMPLE}."
"""What to do where skip bits were not recorded."""


def start_facts(recording: Recording) -> dict[str, Any]:
    """How much of the start is guessed.

    Returns
    -------
    dict
        ``skip_bits_recorded``; ``blocks_with_skip_bit`` (None where not recorded); ``guesses``, the counts of
        :class:`kevacuate.recording.state.Guesses` (None for a dump); ``mixed_blocks``, ``least`` and ``most`` at the start (None
        where it is exact, or not known at all); ``approximate``, sentences. Empty without a start state.
    """
    start = recording.start
    if start is None:
        return {}
    machine = recording.machine
    counts = recorded_blocks(start, machine.pageblock_order, machine.hugepage_order)
    bounds = mixed_bounds_of(start, counts, machine.pageblock_order) if counts is not None else None
    return {
        "skip_bits_recorded": start.skip_known,
        "blocks_with_skip_bit": int(start.blocks.skip.sum()) if start.skip_known else None,
        "guesses": asdict(start.guesses) if start.guesses is not None else None,
        "mixed_blocks": bounds._asdict() if bounds is not None else None,
        "approximate": list(start.approximate),
    }


def guessed_things(start: dict[str, Any]) -> list[str]:
    """What is guessed or missing at the start, as parts of a sentence; nothing for a dump, or where there is no start."""
    guesses = start.get("guesses")
    things = []
    if guesses:
        if guesses["block_types"]:
            things.append(f"types of {guesses['block_types']:,} of {guesses['blocks']:,} pageblocks")
        if guesses["pcp_pages_unknown"]:
            unknown, counted = guesses["pcp_pages_unknown"], guesses["pcp_pages"]
            things.append(f"{unknown:,} of {counted:,} pages on per-CPU lists")
    elif start.get("approximate"):
        things.append("parts of the state (not counted by the version that recorded it)")
    if start.get("skip_bits_recorded") is False:
        things.append("compaction's skip bits (not recorded)")
    return things


def firm(start: dict[str, Any]) -> bool:
    """Whether the start is known well enough for firm ground: skip bits recorded, little else guessed."""
    if start.get("skip_bits_recorded") is False:
        return False
    guesses = start.get("guesses")
    if not guesses:
        return not start.get("approximate")
    types = guesses["block_types"] <= FIRM_SHARE * guesses["blocks"]
    return bool(types and guesses["pcp_pages_unknown"] <= FIRM_SHARE * guesses["pcp_pages"])


def guessed_words(start: dict[str, Any]) -> str:
    """One or two sentences: what is guessed, and what to do; empty where nothing is."""
    things = guessed_things(start)
    if not things:
        return ""
    listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
    hint = f" {SKIP_SENTENCE}" if start.get("skip_bits_recorded") is False else ""
    return f"Guessed at the start: {listed}.{hint}"
