# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables for the terminal of what a kernel's memory says of its page allocator: chunks by type, per-CPU lists, checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from kevacuate.reports.blockmap import zone_table

if TYPE_CHECKING:
    from rich.table import Table

    from kevacuate.capture.vmcore_state import CoreSnapshot

Rows = list[dict[str, int | str]]


def free_table(found: CoreSnapshot) -> Table:
    """Chunks by zone, type and order, pageblocks of the type, and how many of them carry compaction's skip bit."""
    from kevacuate.recording.blocktypes import TYPE_INDEX

    rows: Rows = []
    blocks = found.state.blocks
    for index, zone in enumerate(found.counts.zones):
        for name, counts in zone.chunks_by_type.items():
            mine = (blocks.zone == index) & (blocks.mt == TYPE_INDEX[name])
            if not any(counts) and not mine.any():
                continue
            row: dict[str, int | str] = {"zone": f"node {zone.node} {zone.name}, {name.lower()}"}
            row |= {f"order {order}": count for order, count in enumerate(counts)}
            rows.append(row | {"blocks": int(mine.sum()), "with skip bit": int((mine & blocks.skip).sum())})
    return zone_table(rows)


def pcp_table(found: CoreSnapshot) -> Table:
    """The per-CPU lists: the kernel's fields, and how many chunks they hold."""
    pcp, pages = found.state.pcp, found.state.pcp_pages
    adapts = bool(pcp.high_max.any())
    names = ("high_min", "high_max", "batch", "flags", "alloc_factor", "free_count") if adapts else ("batch",)
    rows: Rows = []
    for row in range(len(pcp.zone)):
        zone = found.counts.zones[int(pcp.zone[row])]
        held = (pages.zone == pcp.zone[row]) & (pages.cpu == pcp.cpu[row])
        values: dict[str, int | str] = {"zone": f"node {zone.node} {zone.name}, CPU {int(pcp.cpu[row])}"}
        values |= {"pages": int(pcp.count[row]), "chunks": int(held.sum()), "high": int(pcp.high[row])}
        values |= {name: int(getattr(pcp, name)[row]) for name in names}
        if not adapts:
            values["free_factor"] = int(pcp.free_count[row])
        rows.append(values)
    return zone_table(rows)


def checks_text(found: CoreSnapshot) -> Text:
    """One line for each thing that must hold."""
    text = Text()
    for check in found.checks:
        mark, style = ("yes", "green") if check.holds else ("NO", "bold red")
        text.append(f"  {mark:>3} ", style=style).append(f"{check.name}: {check.found}\n")
    return text
