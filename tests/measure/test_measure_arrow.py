# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs and comparisons as tables."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison, Run

SERIES = {
    "t": [0, 5],
    "mixed_blocks": [1, 2],
    "blocks": [{"movable": 3}, {"movable": 4}],
    "index": [[7, 8], [9, 10]],
}
METRICS = {
    "extfrag": 4,
    "end": {"free_pages": 9, "index": [1, 2]},
    "extfrag_events": [{"kind": "steal", "events": 4}],
}


def run(policy: str = "mainline") -> Run:
    return Run(policy, METRICS, SERIES, {})


def test_the_series_of_a_run() -> None:
    assert run().to_arrow().to_pydict() == {
        "run": [0, 0],
        "policy": ["mainline", "mainline"],
        "seed": [0, 0],
        "t": [0, 5],
        "mixed_blocks": [1, 2],
        "blocks.movable": [3, 4],
        "index.0": [7, 9],
        "index.1": [8, 10],
    }


def test_the_metrics_of_a_comparison() -> None:
    table = Comparison((run(), run("evacuate")), {}).to_arrow("metrics")
    assert table.to_pydict() == {
        "run": [0, 1],
        "policy": ["mainline", "evacuate"],
        "seed": [0, 0],
        "extfrag": [4, 4],
        "end.free_pages": [9, 9],
        "end.index.0": [1, 1],
        "end.index.1": [2, 2],
    }


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_other_libraries_have_the_same_table(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package)
    one = Comparison((run(), run("evacuate")), {})
    frame: Any = getattr(one, f"to_{package}")()
    assert frame.shape == (4, 8)
    assert list(frame["mixed_blocks"]) == [1, 2, 1, 2]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(KevacuateError, match=rf"pip install 'kevacuate\[{package}\]'"):
        getattr(run(), f"to_{package}")("metrics")


def test_an_unknown_table() -> None:
    with pytest.raises(KevacuateError, match="series or metrics"):
        run().to_arrow("x")  # type: ignore[arg-type]
