# SPDX-License-Identifier: GPL-2.0-or-later
"""A comparison in plain words, computed from its figures."""

from __future__ import annotations

from kevacuate.measure import Comparison, Run

REPEAT_SPREAD = 81
"""Standard deviation of mixed pageblocks at the end in five exact repeats of the recorded stock kernel (churn, 1 GiB, 1 CPU)."""


def _skip_words(run: Run) -> str:
    """What the run assumes about compaction's skip bits."""
    blocks, share = run.metrics["start_blocks_with_skip_bit"], run.metrics["start_blocks"]
    return f"{blocks} of {share} blocks marked by compaction at the start"


def _effect(base: Run, run: Run) -> str:
    """What an evacuating run did and what became of the mixed blocks."""
    m, end, before = run.metrics, run.metrics["end"], base.metrics["end"]
    found = m["evacuations_started_with_skip_bit"]
    honoured = (
        "stopped by the skip bit"
        if run.provenance["evacuation"]["skip_hint"]
        else "begun with the skip bit set"
    )
    moved = (
        f"{run.policy} ({_skip_words(run)}): {m['evacuations_queued']} evacuations queued, "
        f"{found} of them {honoured}; {m['pages_migrated']:,} pages migrated and {m['pages_dropped']:,} "
        f"cache pages dropped in {m['worker_cpu_seconds'] * 1e3:.1f} ms of worker time. "
    )
    return moved + (
        f"Mixed pageblocks at the end {before['mixed_blocks']} -> {end['mixed_blocks']}, "
        f"2 MiB regions free of unmovable pages {before['regions_2m']['movable_only']} -> {end['regions_2m']['movable_only']}."
    )


def _direction(base: Run, runs: list[Run]) -> str:
    """Whether the runs that moved pages agree, and whether the difference exceeds the spread of real repeats."""
    moved = [run for run in runs if run.metrics["pages_isolated"]]
    if not moved:
        return "No run isolated a page: with these skip bits evacuation changes nothing."
    deltas = [run.metrics["end"]["mixed_blocks"] - base.metrics["end"]["mixed_blocks"] for run in moved]
    low, high = min(deltas), max(deltas)
    span = f"{low:+d}" if low == high else f"{low:+d} to {high:+d}"
    inside = max(abs(low), abs(high)) < REPEAT_SPREAD
    size = "less than" if inside else "more than"
    verdict = "so this demand does not tell the policies apart" if inside else "which repeats must confirm"
    return (
        f"Where evacuation moved pages, mixed pageblocks at the end changed by {span}: {size} the {REPEAT_SPREAD} by "
        f"which exact repeats of the recorded kernel differ among themselves (one standard deviation), {verdict}. "
        "How much it moves rests on the skip bits that compaction has set."
    )


def conclusion(comparison: Comparison) -> str:
    """Sentences that say what the policies did, on what that rests, and how much one demand can decide."""
    base = comparison.baseline
    runs = [run for run in comparison.runs[1:] if run.metrics["evacuations_queued"]]
    if not runs:
        return f"No policy queued an evacuation that {base.policy} did not: this comparison says nothing about evacuation."
    lines = [_effect(base, run) for run in runs]
    lines.append(_direction(base, runs))
    lines.append(
        "One demand, replayed once per policy; reclaim is the recorded kernel's own. "
        "Other seeds (--seed) show how much is chance."
    )
    return "\n".join(lines)
