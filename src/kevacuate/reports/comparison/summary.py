# SPDX-License-Identifier: GPL-2.0-or-later
"""The table that ``kevacuate compare`` prints, as values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from kevacuate.measure import Comparison
from kevacuate.measure.trustrecord import record
from kevacuate.reports.comparison.rows import comparison_rows
from kevacuate.reports.comparison.worth import loop_of

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("section", pa.string()),
        ("label", pa.string()),
        ("unit", pa.string()),
        ("direction", pa.string()),
        ("policy", pa.string()),
        ("runs", pa.int64()),
        ("mean", pa.float64()),
        ("sd", pa.float64()),
        ("change", pa.float64()),
        ("p", pa.float64()),
        ("verdict", pa.string()),
        ("trusted", pa.bool_()),
    ]
)
"""The columns."""


def summary(comparison: Comparison) -> pa.Table:
    """The table that ``kevacuate compare`` prints, as an Arrow table: a row for each of its rows and each policy.

    ``id`` names the row for good; ``section``, ``label``, ``unit`` as printed; ``direction`` says which way is better (``lower``,
    ``higher``, ``neither``); ``policy``, how many ``runs`` it had, their ``mean`` and ``sd`` (standard deviation, n - 1). Against
    the first policy, null in its own rows: ``change`` of the mean as a share of the first's (null where that is 0), ``p`` and
    ``verdict`` of the exact permutation test (:func:`kevacuate.measure.permutation.decide`; p is null where a policy was run
    once). ``trusted``: whether the row has earned trust against booted kernels (docs/fidelity.md).
    ``.to_pandas()`` makes a DataFrame of it, ``polars.from_arrow`` one of polars.
    """
    rows: list[dict[str, Any]] = []
    for row in comparison_rows(comparison):
        base = row.summary(0)[0]
        for i, (policy, runs) in enumerate(comparison.groups.items()):
            middle, varies = row.summary(i)
            one = {
                "id": row.row.id,
                "section": row.row.section,
                "label": row.row.label,
                "unit": row.row.unit,
                "direction": str(row.row.direction),
                "policy": policy,
                "runs": len(runs),
                "mean": middle,
                "sd": varies,
                "trusted": record().earned(row.row.id, loop_of(comparison)),
            }
            if i:
                decision = row.decisions[i - 1]
                moved = (middle - base) / abs(base) if base and middle is not None else None
                one |= {"change": moved, "p": decision.p, "verdict": decision.verdict}
            rows.append(one)
    return pa.Table.from_pylist(rows, schema=SCHEMA)
