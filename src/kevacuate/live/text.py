# SPDX-License-Identifier: GPL-2.0-or-later
"""A view as text for the terminal: pure functions of the view and the room there is.

Nothing that a process chose (its name) is interpreted: control and format characters are shown as escapes, and rich's markup is
never parsed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.text import Text

from kevacuate.kernel.extfrag import CLAIM_BLOCK
from kevacuate.kernel.migratetypes import name as type_name
from kevacuate.live.view import CONTENTS, Extfrag, Queued, View
from kevacuate.measure.frames import CONTENT_ABSENT, CONTENT_RESERVED
from kevacuate.measure.holders import UNCLEAR, HeldBlocks
from kevacuate.recording import Lost
from kevacuate.reports.bars import duration

LETTERS = dict(zip(CONTENTS, ".mURX-i x?", strict=True))
"""A block's letter: free, movable, unmovable, reclaimable, mixed, reserved, in use, absent, unclear, not read yet."""
STYLES = {
    "free": "grey50", "movable": "#56b4e9", "unmovable": "bold #d55e00", "reclaimable": "#009e73", "mixed": "bold #cc79a7",
    "reserved": "grey35", "in use": "#e69f00", "absent": "grey35", "unclear": "#cc79a7", "not read yet": "grey35",
}  # fmt: skip
QUEUED_STYLE = "bold black on #f0e442"
_WORST = [CONTENTS.index(name) for name in (
    "absent", "not read yet", "reserved", "free", "movable", "in use", "unclear", "reclaimable", "unmovable", "mixed",
)]  # fmt: skip
"""Contents in order of what a cell of several blocks shows: the last of these that one of its blocks holds."""
_RANK = np.argsort(np.array(_WORST))
SORTS = ("latest first", "most pages first", "by block")
MARKED_SECONDS = 10.0
"""How long a queued block is marked in the map."""
TASK_WIDTH = 24


@dataclass
class Options:
    """What the keys have set."""

    paused: bool = False
    sort: int = 0
    zoom: int = 0
    """0: as many blocks in a cell as it takes to show all; else 2**(zoom - 1) blocks."""
    row: int = 0
    """First row of the map that is shown."""


def clean(text: str, width: int = TASK_WIDTH) -> str:
    """Text of others, harmless: escapes for what is not printed or turns the direction of writing; cut to *width*."""
    out = "".join(
        c
        if c == " " or (c.isprintable() and unicodedata.category(c)[0] not in "CZM")
        else c.encode("unicode_escape").decode()
        for c in text
    )
    return out if len(out) <= width else out[: width - 1] + "…"


def _with_memory(view: View) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The blocks that the map shows: those that exist, or, where more than a quarter of them is reserved, the others alone."""
    there = view.content != CONTENT_ABSENT
    inside = there & (view.content != CONTENT_RESERVED)
    if inside.sum() > 0.75 * there.sum() or not inside.any():
        inside = there
    return view.start[inside], view.content[inside]


def cell_size(blocks: int, width: int, height: int, zoom: int) -> int:
    """Blocks in a cell of the map."""
    if zoom:
        return 1 << (zoom - 1)
    cells = max(width * height, 1)
    size = 1
    while ceil(blocks / size) > cells:
        size *= 2
    return size


def cells(content: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """What cells of *size* blocks show: the worst that one of their blocks holds."""
    ranks = _RANK[content]
    padded = np.zeros(ceil(len(ranks) / size) * size, ranks.dtype)
    padded[: len(ranks)] = ranks
    worst = padded.reshape(-1, size).max(axis=1)
    shown: npt.NDArray[np.uint8] = np.asarray(_WORST, np.uint8)[worst]
    return shown


def head_text(view: View, options: Options, width: int) -> Text:
    """Two lines: what is watched, and the sums."""
    state = "PAUSED" if options.paused else "END" if view.ended else ""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(clean(view.title, width - 24), style="bold")
    text.append(f"  {view.t:.1f} s  ")
    text.append(state, style="reverse" if state else "")
    counts = view.counts
    line = (
        f"claims {counts['claims']:,}, whole-block {counts['claims_whole_block']:,}  steals {counts['steals']:,}  "
        f"would be queued {len(view.queued):,} blocks, {counts['pages_to_move']:,} pages to move"
    )
    if lost := Lost.of_json(counts):
        line += f"  LOST {lost.number} events"
    return text.append("\n" + line)


def map_text(view: View, options: Options, width: int, height: int) -> Text:
    """The pageblock map: a letter a cell, in the order of addresses, and a last line that says what they are."""
    start, content = _with_memory(view)
    size = cell_size(len(start), width, height - 3, options.zoom)
    legend = _legend(view, size, width)
    rows = max(height - len(legend), 1)
    size = cell_size(len(start), width, rows, options.zoom)
    shown = cells(content, size)
    marked = {one.block for one in view.queued if view.t - one.t <= MARKED_SECONDS}
    marks = set((np.searchsorted(start, sorted(marked)) // size).tolist())
    last = max(ceil(len(shown) / width) - rows, 0)
    rows = min(rows, ceil(len(shown) / width))
    options.row = min(max(options.row, 0), last)
    text = Text(no_wrap=True)
    for row in range(options.row, options.row + rows):
        _append_row(text, shown[row * width : (row + 1) * width], [at - row * width for at in marks])
    return text.append_text(Text("\n").join(_legend(view, size, width)))


def _append_row(text: Text, row: npt.NDArray[np.uint8], marks: list[int]) -> None:
    """One row of cells, its runs of equal cells each with one style."""
    kinds = row.astype(np.int64)
    inside = [at for at in marks if 0 <= at < len(row)]
    kinds[inside] += 100
    begins = np.flatnonzero(np.diff(kinds, prepend=-1)).tolist()
    for first, last in zip(begins, [*begins[1:], len(row)], strict=True):
        name = CONTENTS[row[first]]
        style = QUEUED_STYLE if kinds[first] >= 100 else STYLES[name]
        text.append(LETTERS[name] * (last - first), style=style)
    text.append("\n")


def _legend(view: View, size: int, width: int) -> list[Text]:
    """Lines that say what the letters mean, with the number of blocks, and what a letter is."""
    numbers = np.bincount(view.content, minlength=len(CONTENTS))
    parts = [
        Text(LETTERS[name], style=STYLES[name]).append(
            f" {name} {int(numbers[i]):,}", style="not bold default"
        )
        for i, name in enumerate(CONTENTS)
        if numbers[i] and i != CONTENT_ABSENT
    ]
    if view.mixed is not None:
        parts.append(Text(f"mixed: {view.mixed.words()}"))
    if view.held is not None:
        parts.append(Text(held_words(view.held)))
    if view.waits is not None:
        parts += [Text(words) for words in wait_words(view.waits)]
    hidden = len(_with_memory(view)[0]) < int((view.content != CONTENT_ABSENT).sum())
    one = f"1 block of {_pages(1 << view.pageblock_order)}"
    words = [f"a letter: {one if size == 1 else f'the worst of {size} blocks'}"]
    words += ["reserved left out"] if hidden else []
    parts += [Text(text, style="dim") for text in (*words, view.subtitle)]
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + 2 + part.cell_len <= width:
            lines[-1].append("  ").append_text(part)
        else:
            lines.append(part)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def held_words(held: HeldBlocks) -> str:
    """How many blocks are held, and in how many of them each holder has a page; a block may have several.

    Pages that may be free hold no block, so they are left out.
    """
    rows = [row for row in held.rows if row.blocks and row.holder.kind != UNCLEAR]
    by = ", ".join(f"{row.holder.kind} {row.blocks:,}" for row in rows)
    return f"held {held.blocks['held']:,}" + (f" by: {by}" if by else "")


def wait_words(waits: Mapping[str, Any]) -> list[str]:
    """Stalls, wakes and rescans so far, as far as there were any: how often, and who asked for most."""
    words = []
    for name, label in (("direct_reclaim", "direct reclaim"), ("direct_compaction", "direct compaction")):
        row = waits[name]
        if row["count"]:
            words.append(f"{label} {row['count']:,}, {duration(row['total_ns'])}, failed {row['failed']:,}")
    for name in ("kswapd", "kcompactd"):
        wakes = waits[f"{name}_wakes"]
        if wakes["count"]:
            words.append(f"{name} woken {wakes['count']:,}: {_wake(wakes['requests'][0])}")
    for scanner, row in waits["rescans"].items():
        if (worst := row["worst"]) is not None:
            words.append(
                f"compaction in circles: {scanner} at pfn {worst['first_pfn']:#x}, {worst['scans']:,} times"
            )
    return words


def _wake(row: Mapping[str, Any]) -> str:
    """The request that woke most, and who asked."""
    who = ", ".join(f"{clean(task['task'] or str(task['pid']))} {task['count']:,}" for task in row["tasks"])
    what = "boosted watermark" if row.get("boosted") else f"order {row['order']}"
    return f"{what}{' as vmalloc asks' if row.get('as_vmalloc') else ''} {row['count']:,} ({who})"


def _pages(pages: int) -> str:
    """A size in pages of 4 KiB, as memory."""
    for unit, size in (("GiB", 1 << 18), ("MiB", 1 << 8)):
        if pages >= size:
            return f"{pages / size:{'.0f' if pages >= 999.5 * size else '.3g'}} {unit}"
    return f"{pages * 4} KiB"


def free_text(view: View, width: int, height: int) -> Text:
    """Free memory by order, all zones together: with bars, or where there is no room for those two orders in a line."""
    orders = max((len(chunks) for _, chunks in view.free_orders), default=0)
    totals = [sum(chunks[o] << o for _, chunks in view.free_orders if o < len(chunks)) for o in range(orders)]
    text = Text("free by order", style="bold", no_wrap=True)
    text.append(f"  {_pages(sum(totals))} in all\n", style="not bold")
    room = max(width - 14, 1)
    most = max([*totals, 1])
    short = height < orders + 1
    half = (orders + 1) // 2
    for order in range(half if short else orders):
        text.append(f"{order:>2} {_pages(totals[order]):>9} ", style="not bold")
        if not short:
            bar = "█" * round(room * totals[order] / most) or ("▏" if totals[order] else "")
            text.append(bar, style="not bold #56b4e9")
        elif order + half < orders:
            text.append(f"  {order + half:>2} {_pages(totals[order + half]):>9}", style="not bold")
        text.append("\n")
    text.rstrip()
    return text


def sorted_queue(queued: list[Queued], sort: int) -> list[Queued]:
    """The blocks in one of the orders of SORTS."""
    if sort == 1:
        return sorted(queued, key=lambda one: (-one.pages, one.block))
    if sort == 2:
        return sorted(queued, key=lambda one: (one.block, one.t))
    return queued[::-1]


def queue_text(view: View, options: Options, height: int) -> Text:
    """The blocks that the evacuation would have queued."""
    text = Text("would be queued", style="bold", no_wrap=True, overflow="ellipsis")
    text.append(f" ({SORTS[options.sort]})\n", style="not bold")
    text.append("   block  to move    free  for\n", style="not bold dim")
    for one in sorted_queue(view.queued, options.sort)[: max(height - 2, 0)]:
        pages = f"{one.pages:,}" if one.pages >= 0 else "?"
        free = f"{one.free:,}" if one.free >= 0 else "?"
        text.append(f"{one.block:>8} {pages:>8} {free:>7}  {type_name(one.wanted)}\n", style="not bold")
    text.rstrip()
    return text


def event_line(event: Extfrag, view: View, width: int) -> Text:
    """One extfrag event."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{event.t:>9.3f} s CPU {event.cpu:<2} ")
    text.append(
        f"{'claim' if event.claimed else 'steal':<6}", style="bold #d55e00" if event.claimed else "#e69f00"
    )
    if event.queues(view.pageblock_order):
        text.append("would queue", style=QUEUED_STYLE).append(" ")
    elif event.kind(view.pageblock_order) == CLAIM_BLOCK:
        text.append("whole ")
    types = f"{type_name(event.source)} for {type_name(event.wanted)}"
    text.append(
        f"block {event.pfn >> view.pageblock_order}: {types}, order {event.order_asked} from {event.order_taken}"
    )
    if event.task:
        text.append("  " + clean(event.task))
    text.truncate(width, overflow="ellipsis")
    return text


def events_text(view: View, width: int, height: int) -> Text:
    """The latest extfrag events, newest first."""
    text = Text("extfrag events", style="bold", no_wrap=True)
    text.append("\n")
    latest = view.events[::-1][: max(height - 1, 0)]
    if not latest:
        text.append("none so far", style="not bold dim")
    for i, event in enumerate(latest):
        line = event_line(event, view, width)
        line.stylize("not bold", 0, 0)
        text.append_text(Text("\n" if i else "") + line)
    return text
