# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict level for people: a summary in sentences, its rows as a table of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from kevacuate.measure.fidelity import (
    BOTH,
    FALSE,
    KERNELS_ONLY,
    MODEL_ONLY,
    NEITHER,
    OPEN,
    OPPOSITE,
    WORDS,
    Change,
    Effect,
    Judged,
    LevelResult,
    LevelRow,
)
from kevacuate.measure.intervals import Sample
from kevacuate.measure.permutation import LEVEL, least_p
from kevacuate.percent import percent

LEVEL_HEADS = (
    "policy",
    "row",
    "kernels: mean (sd)",
    "error",
    "model: mean (sd)",
    "error",
    "apart",
    "level",
    "sd ratio",
    "spread",
    "recorded",
)
EFFECT_HEADS = (
    "policy", "row", "kernels: change", "95 % interval", "p", "corrected", "would be seen", "model: change", "p", "corrected",
    "effect", "verdict",
)  # fmt: skip
"""Heads of the two tables."""

_DISAGREE = {
    OPEN: "only the model differs, by less than the kernels' repeats could tell",
    MODEL_ONLY: "only the model differs",
    KERNELS_ONLY: "only the kernels differ",
    OPPOSITE: "they differ in opposite ways",
}


def share(value: float | None) -> str:
    """Exactness in per cent, never rounded up to 100."""
    if value is None:
        return "-"
    if value == 1.0:
        return "100 %"
    shown = min(int(value * 1e6) / 1e4, 99.9999)
    return f"{shown:.4f} %".replace("0000 %", "00 %")


def figure(value: float) -> str:
    """A figure of a table: whole from 1,000 on, else with one decimal, two below 10."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def p_figure(p: float) -> str:
    """A p with three decimals: ``0.003``, ``< 0.001``."""
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def sample_text(sample: Sample) -> str:
    """Mean and standard deviation."""
    return f"{figure(sample.mean)} ({figure(sample.sd)})"


def change_text(change: Change) -> tuple[str, str]:
    """The difference, in per cent too where the first mean is not 0; and its interval."""
    value, base = change.difference.value, change.before.mean
    relative = f" ({percent(value / base, signed=True)})" if base else ""
    return f"{signed(value)}{relative}", interval_text(change)


def interval_text(change: Change) -> str:
    """The interval of a change."""
    return f"{signed(change.difference.low)} to {signed(change.difference.high)}"


def signed(value: float) -> str:
    """A figure with its sign."""
    text = figure(value)
    return text if value < 0 else f"+{text}"


def effect_words(effects: Sequence[Effect]) -> str:
    """In how many rows the model's verdict is the kernels', and where it is not."""
    count = Counter(row.agreement for row in effects)
    text = f"In {count[BOTH] + count[NEITHER]} of {len(effects)} rows the model's verdict on a policy is the kernels'"
    wrong = [f"{count[kind]} {words}" for kind, words in _DISAGREE.items() if count[kind]]
    return f"{text}. In {'; in '.join(wrong)}." if wrong else f"{text}."


def summary_words(level: LevelResult) -> Iterator[str]:
    """What the level came to: a line for every question, and the verdicts in words."""
    judged = level.judged
    if judged is None:
        return
    boots = ", ".join(f"{kernel} {n}" for kernel, n in judged.boots.items())
    yield f"{judged.workload}, {judged.loop} loop: {judged.replays} replays of each policy; boots: {boots}."
    for name, tally in level.kinds.items():
        ideal = judged.perfect.get(name)
        expected = f" (a perfect model: about {percent(ideal)})" if ideal is not None else ""
        yield f"{name}: {tally.decisions - tally.mismatches} of {tally.decisions} rows{expected}."
    if judged.one_boot is not None:
        yield f"A model that comes to what a single boot did would pass about {percent(judged.one_boot)} of the levels."
    if judged.effects:
        yield effect_words(judged.effects)
        false = sum(row.agreement in FALSE for row in judged.effects)
        yield f"False verdicts after correction: {false}.{_too_few(judged)}"
    if judged.not_modelled:
        yield f"Not modelled: {len(judged.not_modelled)} columns of the table of repeats."


def _too_few(judged: Judged) -> str:
    """That so few replays can show no difference after correction, where it is so."""
    rows = max(Counter(row.policy for row in judged.effects).values())
    if least_p(judged.replays, judged.replays) * rows <= LEVEL:
        return ""
    return (
        f" So few replays show no difference once p is corrected for {rows} rows: ask for more (--replays)."
    )


def _held(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def level_cells(row: LevelRow) -> tuple[str, ...]:
    """The cells of one row of levels, under LEVEL_HEADS."""
    errors, ratio = row.errors, row.spread_ratio
    return (
        row.policy,
        row.name,
        sample_text(row.theirs),
        figure(row.theirs.error),
        sample_text(row.ours),
        figure(row.ours.error),
        "" if errors is None else f"{errors:+.1f}",
        _held(row.level_holds),
        "" if ratio is None else f"{ratio:.2f}",
        _held(row.spread_holds),
        "" if row.recorded is None else figure(row.recorded),
    )


def effect_cells(row: Effect) -> tuple[str, ...]:
    """The cells of one row of effects, under EFFECT_HEADS."""
    theirs, interval = change_text(row.theirs)
    said = row.agreement
    if said == BOTH:
        said = f"both {WORDS[row.ours.direction]}"
    return (
        row.policy,
        row.name,
        theirs,
        interval,
        p_figure(row.theirs.p),
        p_figure(row.theirs.corrected),
        figure(row.theirs.seen),
        change_text(row.ours)[0],
        p_figure(row.ours.p),
        p_figure(row.ours.corrected),
        "inside" if row.holds else "outside",
        f"FALSE: {said}" if row.agreement in FALSE else said,
    )


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns of text, the first two to the left."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for cells in (heads, *rows):
        told = (
            f"{text:<{width}}" if i < 2 else f"{text:>{width}}"
            for i, (text, width) in enumerate(zip(cells, widths, strict=True))
        )
        yield "  ".join(told).rstrip()


def judged_text(judged: Judged) -> Iterator[str]:
    """Everything, as lines of text."""
    yield "levels (mean, standard deviation, standard error; apart in standard errors of the difference):"
    yield from aligned(LEVEL_HEADS, [level_cells(row) for row in judged.rows])
    if judged.effects:
        yield ""
        yield "effects (p of the permutation test, corrected for the number of rows; the smallest change seen in 80 % of cases):"
        yield from aligned(EFFECT_HEADS, [effect_cells(row) for row in judged.effects])
    if judged.not_modelled:
        yield ""
        yield f"not modelled: {', '.join(judged.not_modelled)}"
