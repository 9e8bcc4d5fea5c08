# SPDX-License-Identifier: GPL-2.0-or-later
"""A verification for people: one table, and what stands behind each of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kevacuate.measure.fidelity import (
    BOTH,
    KERNELS_ONLY,
    MODEL_ONLY,
    NEITHER,
    OPPOSITE,
    Change,
    Effect,
    LevelResult,
    Outcome,
    Tally,
    Verification,
)
from kevacuate.recording.machine import kernel_words


def share(value: float | None) -> str:
    """Exactness in per cent, never rounded up to 100."""
    if value is None:
        return "-"
    if value == 1.0:
        return "100 %"
    shown = min(int(value * 1e6) / 1e4, 99.9999)
    return f"{shown:.4f} %".replace("0000 %", "00 %")


def _verdict(level: LevelResult, required: float | None) -> Text:
    if level.not_exercised:
        return Text("not exercised", style="dim")
    if required is None:
        return Text("")
    return Text("passed", style="green") if level.passes(required) else Text("below", style="red")


def verification_table(result: Verification, required: float | None = None) -> Table:
    """One row per level: exactness, decisions, mismatches, dumps, verdict."""
    title = (
        f"{result.recording}, {kernel_words(result.kernel)}, profile {result.profile}: {result.events:,} events, "
        f"digest {result.digest[:12]}"
    )
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("level", no_wrap=True)
    for name in ("exactness", "decisions", "not the\nkernel's", "dumps\nequal"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for level in result.levels.values():
        dumps = f"{sum(level.dumps.values())} of {len(level.dumps)}" if level.dumps else "-"
        exact = level.exactness
        style = "" if exact is None else ("green" if exact == 1.0 else "yellow")
        table.add_row(
            level.level,
            Text(share(exact), style=style),
            f"{level.decisions:,}",
            f"{level.mismatches:,}",
            dumps,
            _verdict(level, required),
        )
    return table


def _tally(name: str, tally: Tally) -> str:
    wrong = f", {tally.mismatches:,} not the kernel's ({share(tally.exactness)})" if tally.mismatches else ""
    return f"    {name}: {tally.decisions:,}{wrong}"


def _divergence(level: LevelResult) -> Iterator[str]:
    first = level.first
    if first is None:
        return
    where = f"event {first.position:,}" if first.position >= 0 else "a dump"
    yield f"  first divergence at {where}, {first.ts / 1e9:.6f} s: {first.what}"
    yield f"    the model: {first.model}"
    yield f"    the kernel: {first.kernel}"
    for line in first.around:
        yield f"    {line}"
    if level.mismatches > 1 and level.last_position >= 0:
        yield f"  it spread to {level.mismatches:,} decisions, the last at event {level.last_position:,}"
    if level.resyncs:
        yield f"  put back to the recorded state at {level.resyncs} dumps"


def outcome_line(row: Outcome) -> str:
    """One row of the counterfactual level."""
    z = "-" if row.z is None else f"{row.z:+.1f}"
    cause = f"; {row.cause}" if row.cause else ""
    return (
        f"    {row.policy:26} {row.name:44} kernel {row.mean:10.1f} +- {row.sd:8.1f} ({row.runs} runs), "
        f"ours {row.ours:10.1f} +- {row.ours_sd:8.1f} ({row.replays} replays), z {z:>5}, "
        f"accepts {row.accepts[0]:.0f} to {row.accepts[1]:.0f}: {row.verdict}{cause}"
    )


def _side(change: Change) -> str:
    p = "-" if change.p is None else f"{change.p:.3f}"
    return f"{change.before:,.1f} ({change.before_sd:,.1f}) -> {change.after:,.1f} ({change.after_sd:,.1f}), p {p}"


def effect_line(row: Effect) -> str:
    """What a policy changes of one measure, in kernels and in the model."""
    return f"    {row.policy:26} {row.name:44} kernels {_side(row.theirs)}; model {_side(row.ours)}: {row.agreement}"


def effect_words(effects: Sequence[Effect]) -> str:
    """One sentence: in how many rows the model's verdict is the kernels', and where it is not."""
    count = Counter(row.agreement for row in effects)
    same = count[BOTH] + count[NEITHER]
    text = f"In {same} of {len(effects)} rows the model's verdict on a policy is the kernels'"
    wrong = [f"{count[kind]} {words}" for kind, words in _DISAGREE.items() if count[kind]]
    return f"{text}. In {' and in '.join(wrong)}." if wrong else f"{text}."


_DISAGREE = {
    MODEL_ONLY: "only the model differs",
    KERNELS_ONLY: "only the kernels differ",
    OPPOSITE: "they differ in opposite ways",
}


def _full(level: LevelResult) -> Iterator[str]:
    if level.inputs:
        yield "  inputs, taken from the recording:"
        yield from (f"    {name}: {count:,}" for name, count in level.inputs.items())
    if level.kinds:
        yield "  decisions, made by the model:"
        yield from (_tally(name, tally) for name, tally in level.kinds.items())
    if level.causes:
        yield "  causes of what was not the kernel's:"
        yield from (f"    {name}: {count:,}" for name, count in level.causes.items())
    if level.outcomes:
        yield "  rows:"
        yield from (outcome_line(row) for row in level.outcomes)
    if level.effects:
        yield "  effects, mean (standard deviation) without and with the policy:"
        yield from (effect_line(row) for row in level.effects)
    yield from (f"  note: {note}" for note in level.notes)


def details_text(result: Verification, *, full: bool = False) -> list[str]:
    """What a reader asks next: why a level did not run, where it diverged first; with *full*, all that is known."""
    lines: list[str] = []
    for level in result.levels.values():
        said = [f"  not exercised: {level.not_exercised}"] if level.not_exercised else []
        before = level.until_compaction
        if before is not None and level.mismatches:
            said.append(
                f"  until the recorded kernel's first compaction: {share(before.exactness)} of {before.decisions:,} decisions"
            )
        said += _divergence(level)
        said += [f"  {effect_words(level.effects)}"] if level.effects else []
        said += _full(level) if full else []
        if said:
            lines += [f"{level.level}:", *said]
    if all(level.not_exercised for level in result.levels.values()):
        lines.append(
            "Nothing could be verified: that takes the recorded kernel's own decisions, of a kernel with recording hooks or "
            "between two dumps (docs/fidelity.md, docs/vmcore.md). A replay needs none of it: `kevacuate info` says how good "
            "this recording is."
        )
    return lines
