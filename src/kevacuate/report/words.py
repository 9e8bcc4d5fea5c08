# SPDX-License-Identifier: GPL-2.0-or-later
"""A comparison in plain words, computed from its figures."""

from __future__ import annotations

from kevacuate.measure import Comparison, Run

REPEAT_SPREAD = 81
"""Standard deviation of mixed pageblocks at the end in five exact repeats of the recorded stock kernel (churn, 1 GiB, 1 CPU)."""


def _skip_words(run: Run) -> str:
    """What the run assumes about compaction's skip bits."""
    blocks, share = run.metrics["start_blocks_with_skip_bit"], run.metrics["start_blocks"]
    return f"{blocks} of {share} blocks marked by compaction"


def _effect(base: Run, run: Run) -> str:
    """What an evacuating run did and what became of the mixed blocks."""
    m, end, before = run.metrics, run.metrics["end"], base.metrics["end"]
    found = m["evacuations_started_with_skip_bit"]
    moved = (
        f"{run.policy} ({_skip_words(run)}): {m['evacuations_queued']} evacuations queued, {found} of them stopped by the skip bit; "
        f"{m['pages_migrated']:,} pages migrated and {m['pages_dropped']:,} cache pages dropped in {m['worker_cpu_seconds'] * 1e3:.1f} ms of worker time. "
    )
    return moved + (
        f"Mixed pageblocks at the end {before['mixed_blocks']} -> {end['mixed_blocks']}, "
        f"2 MiB regions free of unmovable pages {before['regions_2m']['movable_only']} -> {end['regions_2m']['movable_only']}."
    )


def _direction(base: Run, runs: list[Run]) -> str:
    """Whether the runs agree on the direction, and whether the difference exceeds the spread of real repeats."""
    deltas = [run.metrics["end"]["mixed_blocks"] - base.metrics["end"]["mixed_blocks"] for run in runs]
    largest = max(deltas, key=abs)
    if all(delta == 0 for delta in deltas):
        return "No run differs from the baseline in mixed pageblocks at the end."
    size = (
        f"less than the {REPEAT_SPREAD} by which exact repeats of the recorded kernel differ among themselves (one standard deviation)"
        if abs(largest) < REPEAT_SPREAD
        else f"more than the {REPEAT_SPREAD} of one standard deviation among exact repeats of the recorded kernel"
    )
    if len({delta > 0 for delta in deltas if delta}) > 1:
        return f"The runs disagree on the direction, so the answer rests on the skip bits; the largest change, {largest:+d} mixed blocks, is {size}."
    word = "fewer" if largest < 0 else "more"
    return f"All point to {word} mixed pageblocks at the end; the largest change, {largest:+d}, is {size}."


def conclusion(comparison: Comparison) -> str:
    """Sentences that say what the policies did, on what that rests, and how much one demand can decide."""
    base = comparison.baseline
    runs = [run for run in comparison.runs[1:] if run.metrics["evacuations_queued"]]
    if not runs:
        return f"No policy queued an evacuation that {base.policy} did not; nothing can be said about evacuation from this comparison."
    lines = [_effect(base, run) for run in runs]
    lines.append(_direction(base, runs))
    lines.append(
        "This is one demand replayed once per policy, with compaction not modelled: it shows the mechanism at work, and only repeats decide a difference."
    )
    return "\n".join(lines)
