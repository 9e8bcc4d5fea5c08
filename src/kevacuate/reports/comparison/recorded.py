# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings of real kernels side by side: the table, the words, the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from kevacuate.measure.permutation import UNKNOWN, rule
from kevacuate.measure.recorded import Recorded
from kevacuate.percent import percent
from kevacuate.recording import Lost
from kevacuate.reports.comparison.group_rows import Conclusion, GroupRow, Part, by_id, cells, found, number
from kevacuate.reports.comparison.recorded_rows import RecordedRow, common_labels
from kevacuate.reports.comparison.side_by_side import Line, SideBySide

Groups = Sequence[Sequence[Recorded]]

DEMAND_TOLERANCE = 0.05
"""Means of the control rows may differ by this share before the demand counts as another."""


def group_names(groups: Groups) -> list[str]:
    """A group of one by its recording's name, others by letter and size."""
    return [
        group[0].name if len(group) == 1 else f"{chr(ord('A') + i % 26)} ({len(group)} recordings)"
        for i, group in enumerate(groups)
    ]


def recorded_table(
    groups: Groups, rows: Sequence[GroupRow[RecordedRow]], *, details: bool = False
) -> SideBySide:
    """All rows; the first group is what the others are compared with. *details*: every row, every recording's value."""
    names = group_names(groups)
    each = [details and len(group) > 1 for group in groups]

    def heads(last: str) -> list[list[str]]:
        return [
            [name, *(["change", last] if i else []), *([f"each of {name[0]}"] if each[i] else [])]
            for i, name in enumerate(names)
        ]

    def shown(row: GroupRow[RecordedRow], *, brief: bool) -> list[list[Text]]:
        every = [" ".join("-" if v is None else number(v) for v in values) for values in row.values]
        return [
            cells(row, i, brief=brief) + ([Text(every[i], style="dim")] if each[i] else [])
            for i in range(len(groups))
        ]

    lines = [
        Line(row.row.section, row.row.label, row.row.unit, shown(row, brief=False), shown(row, brief=True))
        for row in rows
        if details or not row.row.detail
    ]
    return SideBySide("Recorded kernels side by side", heads(""), heads("p"), lines)


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
    lossy = [f"{r.name} ({Lost.of_json(r.about).number})" for r in every if r.about.get("lost_events")]
    if lossy:
        yield f"Events were lost in {_listed(lossy)}: their counts are too low."
    if any(moment.get("approximate") for r in every for moment in r.moments.values()):
        yield (
            "Snapshots made of page flags are approximate. Types of single pageblocks are guessed so that the sums of "
            "/proc/pagetypeinfo come out. Pages on per-CPU lists may count as pages that cannot move: mixed and polluted "
            "pageblocks come out too high, and vary with those lists."
        )
    common = common_labels(every)
    left = sorted({label for r in every for label in r.moments} - set(common))
    if left:
        yield f"Snapshots that not all recordings have are left out: {_listed(left)}."


CONTROLS = ("control.allocations", "control.vmstat_pgalloc")
"""Ids of the rows that tell whether the demand was the same; the first that every group has counts."""


def _control(rows: Sequence[GroupRow[RecordedRow]]) -> Part:
    """Whether the demand was the same, as the number of allocations tells."""
    for row in (row for row_id in CONTROLS if (row := by_id(rows).get(row_id)) is not None):
        known = [m for i in range(len(row.values)) if (m := row.summary(i)[0]) is not None]
        if len(known) < len(row.values) or not known[0]:
            continue
        name, moved = row.row.label, max(abs(m - known[0]) / known[0] for m in known)
        text = f"The control row {name} moved by {percent(moved, 1)} at most: much the same demand."
        if moved > DEMAND_TOLERANCE:
            text = f"The control row {name} moved by {percent(moved)}: the demands differ, so compare rates, not counts."
        return Part("control", text, (row.row.id,))
    return Part(
        "control",
        "The recordings do not show how many allocations there were. Whether the demand was the same is not known.",
    )


def conclusion(groups: Groups, rows: Sequence[GroupRow[RecordedRow]]) -> Conclusion:
    """What was compared, whether it can be, what the rule is, what it found.

    Parts are of these kinds: ``group`` (its recordings), ``unlike`` (what makes them hard to compare), ``control`` (whether the
    demand was the same), ``found`` (how many rows differ), ``rule``, ``not_compared`` (rows that some recording lacks) and
    ``basis``.
    """
    parts = [
        Part("group", f"{name}: {_listed([r.name for r in group], 12)}.")
        for name, group in zip(group_names(groups), groups, strict=True)
        if len(group) > 1
    ]
    parts += [Part("unlike", text) for text in _unlike(groups)]
    parts.append(_control(rows))
    parts += found(group_names(groups), rows)
    parts.append(Part("rule", rule([len(group) for group in groups])))
    unknown = [row.row for row in rows if any(d.verdict == UNKNOWN for d in row.decisions)]
    if unknown:
        text = (
            f"Not in all recordings, so not compared: {_listed(sorted({row.label for row in unknown}), 8)}."
        )
        parts.append(Part("not_compared", text, tuple(row.id for row in unknown)))
    parts.append(
        Part("basis", "Real kernels, counted from their events and snapshots: no model was involved.")
    )
    return Conclusion(parts)


def recorded_json(groups: Groups, rows: Sequence[GroupRow[RecordedRow]]) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    return {
        "groups": [
            {"name": name, "recordings": [recorded.to_json() for recorded in group]}
            for name, group in zip(group_names(groups), groups, strict=True)
        ],
        "rows": [row.to_json() for row in rows],
        "rule": rule([len(group) for group in groups]),
        "conclusion": [part.as_dict() for part in conclusion(groups, rows)],
    }
