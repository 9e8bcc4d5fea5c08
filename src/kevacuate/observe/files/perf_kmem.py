# SPDX-License-Identifier: GPL-2.0-or-later
"""Who allocated pages by perf kmem, with migratetypes named as the recorded kernel means them, or not at all.

perf kmem prints names of the numbering before Linux 4.4. Its rows prove which holds: gfp_migratetype() makes a request
movable if and
only if it has __GFP_MOVABLE, which has been bit 3 in every version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kevacuate.kernel.gfp import GFP_MOVABLE
from kevacuate.kernel.migratetypes import SWAPPED_FIRST, SWAPPED_UNTIL, names
from kevacuate.kernelfiles.perf_kmem import LABELS, Report, Row, read
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.each import each

BEFORE, SINCE, CONTRADICTORY, NOT_KNOWN = "before 4.4", "since 4.4", "contradictory", "not known"
"""What the rows prove of the numbering."""

ROWS = 100
"""Rows of allocations in the answer."""

RECLAIM, MOVABLE = LABELS.index("RECLAIM"), LABELS.index("MOVABLE")


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """What each file says.

    Parameters
    ----------
    files : sequence of TextFile
        What perf kmem printed.
    progress : callable, optional
        Called with (files done, files in all).

    Returns
    -------
    dict
        ``kind``, ``files``, ``advice``, and ``reports``: one dict a file with ``numbering`` (of migratetypes: "before
        4.4", "since
        4.4", "contradictory", "not known"), ``totals`` ([requests, KiB]), ``rows`` (by KiB: type, None where the numbering is not
        known; perf's name; order, hits, KiB, gfp, call site), ``by_type`` and ``by_order`` (requests by type), ``rows_left_out``,
        ``rows_not_read``.

    Raises
    ------
    KevacuateError
        A file cannot be read, or does not decompress.

    """
    reports = each(files, lambda file: _report(file.name, read(file)), progress)
    return {
        "kind": "perf_kmem",
        "files": [file.name for file in files],
        "reports": reports,
        "advice": [piece for report in reports for piece in _advice(report)],
    }


def numbering_of(rows: Iterable[Row]) -> str:
    """BEFORE, SINCE, CONTRADICTORY or NOT_KNOWN: what the flags of rows called RECLAIM and MOVABLE prove."""
    proofs = {
        bool(row.gfp & GFP_MOVABLE) == (row.number == MOVABLE)
        for row in rows
        if row.gfp is not None and row.number in (RECLAIM, MOVABLE)
    }
    if len(proofs) == 2:
        return CONTRADICTORY
    return NOT_KNOWN if not proofs else BEFORE if proofs.pop() else SINCE


def _type(number: int, numbering: str) -> str | None:
    """The migratetype that a number means; None if the numbering is not known and it depends on it."""
    version = {BEFORE: SWAPPED_UNTIL, SINCE: SWAPPED_FIRST}.get(numbering)
    if version is None:
        return "unmovable" if number == 0 else None
    known = names(version)
    return known[number] if known is not None and number < len(known) else None


def _report(name: str, report: Report) -> dict[str, Any]:
    """The answer of one file."""
    numbering = numbering_of(report.rows)
    by_type: Counter[str] = Counter()
    for counts in report.orders.values():
        for number, count in enumerate(counts):
            by_type[_type(number, numbering) or f"perf's {LABELS[number]}"] += count
    ranked = sorted(report.rows, key=lambda row: (-row.kib, -row.hits, row.order, row.callsite, row.gfp_text))
    return {
        "file": name,
        "numbering": numbering,
        "totals": {key: list(value) for key, value in report.totals.items()},
        "by_type": {kind: n for kind, n in by_type.items() if n},
        "by_order": {
            str(order): _of_order(counts, numbering)
            for order, counts in sorted(report.orders.items())
            if any(counts)
        },
        "rows": [_row(row, numbering) for row in ranked[:ROWS]],
        "rows_in_all": len(report.rows),
        "rows_left_out": report.left_out,
        "rows_not_read": report.unread,
    }


def _of_order(counts: list[int], numbering: str) -> dict[str, int]:
    return {_type(number, numbering) or f"perf's {LABELS[number]}": n for number, n in enumerate(counts) if n}


def _row(row: Row, numbering: str) -> dict[str, Any]:
    return {
        "type": _type(row.number, numbering),
        "perf_name": LABELS[row.number],
        "order": row.order,
        "hits": row.hits,
        "kib": row.kib,
        "gfp": row.gfp_text,
        "callsite": row.callsite,
    }


def _advice(report: dict[str, Any]) -> list[dict[str, str]]:
    """Where the types cannot be told, how they can."""
    if report["numbering"] in (BEFORE, SINCE):
        return []
    return [
        {
            "do": "Print the same perf.data with `perf script`, and import that.",
            "evidence": "perf kmem's names of migratetypes are those before Linux 4.4, and no row proves which numbering holds.",
            "source": "tools/perf/builtin-kmem.c, migrate_type_str",
        }
    ]
