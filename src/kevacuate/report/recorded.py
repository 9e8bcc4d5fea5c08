# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings of real kernels side by side: the table, the words, the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kevacuate.measure.groups import UNKNOWN, rule
from kevacuate.measure.recorded import Recorded
from kevacuate.report.grouprows import GroupRow, cells, found, number
from kevacuate.report.recordedrows import RecordedRow, common_labels

Groups = Sequence[Sequence[Recorded]]

DEMAND_TOLERANCE = 0.05
"""Means of the control rows may differ by this share before the demand counts as another."""


def group_names(groups: Groups) -> list[str]:
    """A group of one by its recording's name, others by letter and size."""
    return [
        group[0].name if len(group) == 1 else f"{chr(ord('A') + i % 26)} ({len(group)} recordings)"
        for i, group in enumerate(groups)
    ]


def recorded_table(groups: Groups, rows: Sequence[GroupRow[RecordedRow]], *, details: bool = False) -> Table:
    """All rows; the first group is what the others are compared with. *details*: every row, every recording's value."""
    names = group_names(groups)
    table = Table(
        title="Recorded kernels side by side",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    table.add_column("unit", style="dim", no_wrap=True)
    for i, name in enumerate(names):
        table.add_column(name, justify="right", no_wrap=True)
        if i:
            table.add_column("change", justify="right", no_wrap=True)
            table.add_column("", no_wrap=True)
        if details and len(groups[i]) > 1:
            table.add_column(f"each of {name[0]}", style="dim")
    section = ""
    for row in rows:
        if row.row.detail and not details:
            continue
        if row.row.section != section:
            section = row.row.section
            table.add_section()
            table.add_row(Text(section, style="bold"))
        shown: list[Text] = []
        for i, group in enumerate(groups):
            shown += cells(row, i)
            if details and len(group) > 1:
                shown.append(Text(" ".join("-" if v is None else number(v) for v in row.values[i])))
        table.add_row(f"  {row.row.name}", row.row.unit, *shown)
    return table


def _listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence, cut short."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _unlike(groups: Groups) -> Iterator[str]:
    """What makes the recordings hard to compare."""
    every = [recorded for group in groups for recorded in group]
    for key, what in (
        ("cpus", "CPUs"),
        ("managed_pages", "managed pages"),
        ("pageblock_order", "pageblock order"),
    ):
        found = sorted({r.about[key] for r in every if key in r.about})
        # the end of boot leaves a few more or less pages to the allocator
        if len(found) > 1 and (key != "managed_pages" or found[-1] > 1.01 * found[0]):
            yield f"The machines differ in {what} ({', '.join(f'{n:,}' for n in found)}): counts are not of like machines."
    for name, group in zip(group_names(groups), groups, strict=True):
        kernels = sorted({str(r.about.get("kernel", "")) for r in group})
        if len(kernels) > 1:
            yield f"{name} mixes kernels ({_listed(kernels)}): its spread is not that of repeats."
    digests = [str(r.about.get("digest", r.name)) for r in every]
    if len(set(digests)) < len(digests):
        yield "A recording was given more than once: it is no repeat of itself, and makes the spread too small."
    lossy = [r.name for r in every if r.about.get("lost_events")]
    if lossy:
        yield f"Events were lost in {_listed(lossy)}: their counts are too low."
    if any(moment.get("approximate") for r in every for moment in r.moments.values()):
        yield (
            "Snapshots made of page flags are approximate: types of single pageblocks are guessed so that the sums of "
            "/proc/pagetypeinfo come out, and pages on per-CPU lists may count as pages that cannot move: mixed and polluted "
            "pageblocks come out too high, and vary with what was on those lists."
        )
    common = common_labels(every)
    left = sorted({label for r in every for label in r.moments} - set(common))
    if left:
        yield f"Snapshots that not all recordings have are left out: {_listed(left)}."


CONTROLS = ("allocations (mm_page_alloc)", "pages allocated (vmstat pgalloc)")
"""Rows that tell whether the demand was the same; the first that every group has counts."""


def _control(rows: Sequence[GroupRow[RecordedRow]]) -> str:
    """Whether the demand was the same, as the number of allocations tells."""
    for name in CONTROLS:
        for row in rows:
            known = [m for i in range(len(row.values)) if (m := row.summary(i)[0]) is not None]
            if row.row.name != name or len(known) < len(row.values) or not known[0]:
                continue
            moved = max(abs(m - known[0]) / known[0] for m in known)
            if moved > DEMAND_TOLERANCE:
                return f"The control row {name} moved by {moved:.0%}: the demands differ, so compare rates, not counts."
            return f"The control row {name} moved by {moved:.1%} at most: much the same demand."
    return "The recordings do not show how many allocations there were, so whether the demand was the same is not known."


def conclusion(groups: Groups, rows: Sequence[GroupRow[RecordedRow]]) -> str:
    """Sentences: what was compared, whether it can be, what the rule is, what it found."""
    lines = [
        f"{name}: {_listed([r.name for r in group], 12)}."
        for name, group in zip(group_names(groups), groups, strict=True)
        if len(group) > 1
    ]
    lines += _unlike(groups)
    lines.append(_control(rows))
    lines += found(group_names(groups), rows)
    lines.append(rule([len(group) for group in groups]))
    unknown = sorted({row.row.name for row in rows if any(d.verdict == UNKNOWN for d in row.decisions)})
    if unknown:
        lines.append(f"Not in all recordings, so not compared: {_listed(unknown, 8)}.")
    lines.append("Real kernels, counted from their events and snapshots: no model was involved.")
    return "\n".join(lines)


def recorded_json(groups: Groups, rows: Sequence[GroupRow[RecordedRow]]) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    return {
        "groups": [
            {"name": name, "recordings": [recorded.to_json() for recorded in group]}
            for name, group in zip(group_names(groups), groups, strict=True)
        ],
        "rows": [row.to_json() for row in rows],
        "rule": rule([len(group) for group in groups]),
        "conclusion": conclusion(groups, rows),
    }
