# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs as tables: Arrow itself, and through it pandas and polars where they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from kevacuate.errors import KevacuateError

if TYPE_CHECKING:
    import pyarrow as pa

    from kevacuate.measure.results import Run

What = Literal["series", "metrics"]
WHAT = ("series", "metrics")


def flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value and what it holds as (column, number or text): keys and positions are joined by ``.``; other lists are left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if not isinstance(inner, dict):
                yield from flat(f"{name}.{i}", inner)
    else:
        yield name, value


def _series_rows(run: Run) -> Iterator[dict[str, Any]]:
    """A row for every sample of the time series."""
    for i in range(len(run.series.get("t", ()))):
        yield dict(pair for name, values in run.series.items() for pair in flat(name, values[i]))


def to_arrow(runs: Sequence[Run], what: What) -> pa.Table:
    """A table of runs.

    ``series``: a row for every sample of every run, ``t`` in ns. ``metrics``: a row for every run, with what it did and how it
    ended. First come ``run`` (its number), ``policy`` and ``seed``. Nested values have a column each, named by their path:
    ``blocks.movable``, ``unusable_free_index.9``.

    Raises
    ------
    KevacuateError
        *what* is neither.
    """
    if what not in WHAT:
        raise KevacuateError(f"A table of {what!r} is not known: it is of {' or '.join(WHAT)}.")
    rows = []
    for number, run in enumerate(runs):
        many = _series_rows(run) if what == "series" else iter([dict(flat("", run.metrics))])
        rows += [{"run": number, "policy": run.policy, "seed": run.seed, **row} for row in many]
    import pyarrow as pa

    return pa.Table.from_pylist(rows)


def _need(package: str) -> Any:
    """The package.

    Raises
    ------
    KevacuateError
        It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise KevacuateError(
            f"{package} is not installed: pip install 'kevacuate[{package}]', or use to_arrow()."
        ) from None


def to_pandas(table: pa.Table) -> Any:
    """The table as a pandas DataFrame. Raises KevacuateError if pandas is not installed."""
    _need("pandas")
    return table.to_pandas()


def to_polars(table: pa.Table) -> Any:
    """The table as a polars DataFrame. Raises KevacuateError if polars is not installed."""
    return _need("polars").from_arrow(table)
