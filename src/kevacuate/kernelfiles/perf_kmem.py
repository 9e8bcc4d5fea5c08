# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``perf kmem --page stat`` prints (tools/perf/builtin-kmem.c): rows of allocations, totals, and requests by order and type.

perf names migratetypes by the numbers that they had before Linux 4.4 (``UNMOVABL``, ``RECLAIM``, ``MOVABLE``), on every
kernel. Since
4.4 movable is 1 and reclaimable 2, so there what it calls RECLAIM is movable, and what it calls MOVABLE reclaimable.
:func:`read` keeps perf's own names; :mod:`kevacuate.observe.files.perf_kmem` finds which numbering holds.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kevacuate.kernelfiles.text import TextFile

LABELS = ("UNMOVABL", "RECLAIM", "MOVABLE", "RESERVED", "CMA/ISLT")
"""perf's names in its rows, by number (migrate_type_str)."""

TOTALS = {
    "Total allocation requests": "requests",
    "Total free requests": "frees",
    "Total alloc+freed requests": "freed",
    "Total alloc-only requests": "not_freed",
    "Total free-only requests": "frees_only",
    "Total allocation failures": "failures",
}
"""Names of totals to ours."""

MOST_ROWS = 1 << 17
"""Rows kept; later ones are counted."""

_TOTAL = re.compile(r"^(Total [\w+ -]{1,40}?) *: +([\d,']{1,24}) +\[ +([\d,']{1,24}) KB \]")
_LEGEND = re.compile(r"^# *([0-9a-f]{8}): +(\S{1,200}): +(\S{1,400})")
_RULE = re.compile(r"^[-=]{5,}$")


class Row(NamedTuple):
    """One row of allocations."""

    kib: int
    hits: int
    order: int
    number: int
    """Migratetype, by the place of perf's name in LABELS."""
    gfp: int | None
    """Flags as the kernel numbers them; None where neither the row nor the legend says."""
    gfp_text: str
    callsite: str


class Report:
    """What was read of one file.

    Attributes
    ----------
    rows : list of Row
        Allocations.
    totals : dict of str to tuple of int
        Requests and KiB of each total.
    orders : dict of int to list of int
        Requests by order, then by perf's column.
    unread : int
        Rows that could not be read.
    left_out : int
        Rows beyond those kept.

    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.totals: dict[str, tuple[int, int]] = {}
        self.orders: dict[int, list[int]] = {}
        self.unread = self.left_out = 0
        self.legend: dict[str, tuple[int, str]] = {}


def looks_like_perf_kmem(file: TextFile) -> bool:
    """Whether a file holds what perf kmem prints of pages."""
    return bool(re.search(r"Mig\.type +\| *GFP flags|^ *SUMMARY \(page allocator\)", file.head, re.MULTILINE))


def read(file: TextFile) -> Report:
    """All that a file says.

    Raises
    ------
    KevacuateError
        The file cannot be read, or does not decompress.

    """
    report, columns, in_orders = Report(), list[str](), False
    for full in file.lines():
        line = full.strip()
        if "Mig.type" in line and "GFP flags" in line:
            columns, in_orders = _cells(line), False
        elif line.startswith("Order ") and "Unmovable" in line:
            columns, in_orders = [], True
        elif found := _TOTAL.match(line):
            columns = []
            if found[1] in TOTALS:
                report.totals[TOTALS[found[1]]] = _number(found[2]), _number(found[3])
        elif found := _LEGEND.match(line):
            if len(report.legend) < MOST_ROWS:
                report.legend[found[2]] = int(found[1], 16), found[3]
        elif columns and len(cells := _cells(line)) == len(columns):
            _row(report, dict(zip(columns, cells, strict=True)))
        elif in_orders and line and not _RULE.match(line.replace(" ", "")):
            in_orders = _order(report, line.split())
    report.rows = [_with_legend(row, report.legend) for row in report.rows]
    return report


def _number(text: str) -> int:
    """A number with marks between thousands; -1 if there is none in it."""
    digits = text.replace(",", "").replace("'", "").replace(".", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else -1


def _cells(line: str) -> list[str]:
    """The cells of a row. Letters of flags are joined by the sign that parts cells, without blanks around it (``HUM|C``)."""
    return [cell.strip() for cell in line.split(" |")]


def _row(report: Report, cells: dict[str, str]) -> None:
    """Read a row of allocations."""
    if set("".join(cells.values())) <= set(". "):
        return  # "...": perf left rows out
    kib = next((value for name, value in cells.items() if "(KB)" in name), "")
    label, text = cells.get("Mig.type", ""), cells.get("GFP flags", "")
    numbers = [_number(kib), _number(cells.get("Hits", "")), _number(cells.get("Order", ""))]
    if min(numbers) < 0 or numbers[2] > 63 or label not in LABELS:
        report.unread += 1
    elif len(report.rows) >= MOST_ROWS:
        report.left_out += 1
    else:
        gfp = int(text, 16) if re.fullmatch(r"[0-9a-f]{8}", text) else None
        site = cells.get("Callsite", "")[:200]
        report.rows.append(
            Row(numbers[0], numbers[1], numbers[2], LABELS.index(label), gfp, text[:400], site)
        )


def _with_legend(row: Row, legend: dict[str, tuple[int, str]]) -> Row:
    """The row with the flags that its letters stand for."""
    if row.gfp is not None or row.gfp_text not in legend:
        return row
    value, names = legend[row.gfp_text]
    return row._replace(gfp=value, gfp_text=names)


def _order(report: Report, words: list[str]) -> bool:
    """Read a row of requests by order; whether it is one."""
    counts = [0 if word == "." else _number(word) for word in words[1:]]
    if len(counts) != len(LABELS) or min(counts) < 0 or not 0 <= _number(words[0]) < 64:
        return False
    report.orders[int(words[0])] = counts
    return True
