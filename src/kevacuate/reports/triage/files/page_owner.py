# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of copies of page_owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from kevacuate.kernelfiles.allocator_frames import NOT_KEPT, NOT_TOLD
from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.words import plural

MOST_ROWS = 12
"""Rows shown; the JSON has the first hundred."""

COUNTED = {"blocks", "alone", "pages", "processes"}
"""Columns of numbers."""

MOST_CALLERS = 3
"""Functions of a stack shown behind its holder."""


def words(answer: dict[str, Any]) -> str:
    """What each dump says, in sentences."""
    return "\n\n".join("\n".join(_dump_words(dump)) for dump in answer["dumps"])


def _dump_words(dump: dict[str, Any]) -> Iterator[str]:
    pages, records = plural(dump["pages"], "page"), plural(dump["records"], "allocation")
    yield f"{dump['file']}, a copy of page_owner: {records} of {pages}."
    if dump["placed"]:
        yield from _placed(dump)
    elif dump["records"]:
        yield "It does not say where the pages lie: page_owner_sort leaves that out. Give the copy of page_owner itself."
    yield from _holder(dump)
    yield from _doubts(dump)


def _placed(dump: dict[str, Any]) -> Iterator[str]:
    """How many movable blocks are polluted."""
    movable, polluted = dump["blocks"].get("movable", 0), dump["polluted_blocks"]
    order = dump["pageblock_order"]
    size = "" if order is None else f" of order {order}"
    have = "has" if movable == 1 else "have"
    hold = "holds" if polluted == 1 else "hold"
    yield f"{plural(movable, 'movable pageblock')}{size} {have} allocated pages. {polluted:,} {hold} pages that cannot move."
    if polluted and order is not None:
        held = dump["pages_that_cannot_move"]
        rest = max(0, (polluted << order) - held)
        yield f"{plural(held, 'such page')} keep{'s' if held == 1 else ''} {rest:,} others of these blocks from a huge page."
    early = dump["early"]
    if early["pages"]:
        yield (
            f"{plural(early['pages'], 'page')} in {plural(early['blocks'], 'block')} of these were allocated before page_owner "
            "began: by whom is not known."
        )
    if dump["cma"]["pages"]:
        blocks = plural(dump["cma"]["blocks"], "CMA pageblock")
        yield f"{plural(dump['cma']['pages'], 'page')} that cannot move lie in {blocks}, which no kernel should allow."


def _holder(dump: dict[str, Any]) -> Iterator[str]:
    """Who holds most."""
    if not dump["holders"]:
        return
    top = dump["holders"][0]
    known = top["holder"] not in (NOT_KEPT, NOT_TOLD)
    what = " for slabs" if top["slab"] else ""
    who = f"{top['holder']} holds most{what}" if known else f"The largest holder{what} is {top['holder']}"
    if dump["placed"]:
        yield (
            f"{who}: {plural(top['pages'], 'page')} in {plural(top['blocks'], 'block')}, "
            f"{top['alone']:,} of which nobody else pollutes."
        )
    else:
        yield f"{who}: {plural(top['pages'], 'page')}."
    if top["tasks"]:
        yield f"The tasks that allocated most of it: {', '.join(top['tasks'])}."


def _doubts(dump: dict[str, Any]) -> Iterator[str]:
    """What makes the figures less than certain."""
    if dump["migratetypes"] == "assumed":
        yield "The numbers of migratetypes are taken to be those before Linux 4.4: no record proves them."
    if dump["malformed"]:
        yield f"{plural(dump['malformed'], 'record')} could not be read."
    if dump["inconsistent"]:
        yield f"{plural(dump['inconsistent'], 'record')} name another block than their page's: their block counts as printed."
    if dump["pairs_left_out"]:
        yield "Counts of blocks are too low: there were more pairs of stacks and blocks than are kept."
    if dump["pages_not_ranked"]:
        yield f"{plural(dump['pages_not_ranked'], 'page')} are in no table: there were more stacks than are told apart."
    yield "Pages count as such that cannot move by their gfp flags: page_owner does not show which movable ones are pinned."


def tables(answer: dict[str, Any]) -> list[Table]:
    """Holders, stacks and tasks of each dump."""
    found = []
    for dump in answer["dumps"]:
        if dump["holders"]:
            found += [_holders(dump), _stacks(dump), _tasks(dump)]
    return found


def _figures(row: dict[str, Any]) -> list[str]:
    return [f"{row[name]:,}" for name in ("blocks", "alone", "pages")]


def _holders(dump: dict[str, Any]) -> Table:
    table = plain_table(
        "Who holds movable pageblocks", ("holder", "blocks", "alone", "pages", "tasks"), COUNTED
    )
    for row in dump["holders"][:MOST_ROWS]:
        table.add_row(row["holder"], *_figures(row), ", ".join(row["tasks"]))
    return table


def _stacks(dump: dict[str, Any]) -> Table:
    rows = dump["stacks"]
    title = f"By stack: the first {min(MOST_ROWS, len(rows)):,} of {dump['stacks_in_all']:,}"
    table = plain_table(title, ("stack", "blocks", "alone", "pages", "gfp"), COUNTED)
    for row in rows[:MOST_ROWS]:
        at = next((i for i, name in enumerate(row["stack"]) if name.partition(".")[0] == row["holder"]), 0)
        named = row["stack"][at : at + 1 + MOST_CALLERS] or [row["holder"]]
        table.add_row(" < ".join(named), *_figures(row), "\n".join(row["gfp"][:1]).replace("|", "| "))
    return table


def _tasks(dump: dict[str, Any]) -> Table:
    table = plain_table("By task", ("task", "processes", "blocks", "alone", "pages"), COUNTED)
    for row in dump["tasks"][:MOST_ROWS]:
        table.add_row(row["task"], f"{row['processes']:,}", *_figures(row))
    return table
