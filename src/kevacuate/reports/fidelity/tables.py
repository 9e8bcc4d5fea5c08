# SPDX-License-Identifier: GPL-2.0-or-later
"""A verification for people: one table, and what stands behind each of its rows."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kevacuate.measure.fidelity import LevelResult, Tally, Verification
from kevacuate.recording.machine import kernel_words
from kevacuate.reports.fidelity.verdict import judged_text, share, summary_words


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
    if level.judged:
        yield from (f"  {line}" if line else "" for line in judged_text(level.judged))
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
        said += [f"  {line}" for line in summary_words(level)] if level.judged else []
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
