# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures: they show the run's own numbers, are the same every time, and draw where they are told to."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison
from kevacuate.measure.frames import CONTENT_NAMES
from kevacuate.recording import Recording
from kevacuate.reports import plot
from kevacuate.reports.plot.map import columns_for, grid
from kevacuate.runs.compare import compare
from kevacuate.runs.options import ReplayOptions

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def without_a_screen() -> Any:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def compared(synthetic_kev: Path) -> Comparison:
    options = ReplayOptions(samples=20, keep=True)
    return compare(Recording.open(synthetic_kev), ["mainline", "evacuate"], repeats=1, options=options)


def test_the_facade_has_the_figures() -> None:
    assert kevacuate.plot is plot


def test_the_map_has_every_block_in_its_place(compared: Comparison) -> None:
    run = compared.runs[1]
    assert run.frames is not None
    block = run.frames.at(-1)
    columns = columns_for(len(run.frames.start))
    picture = grid(run.frames, block.content, columns)
    number = run.frames.start >> run.frames.pageblock_order
    for i, at in enumerate(number.tolist()):
        assert picture[at // columns - int(number[0]) // columns, at % columns] == block.content[i]
    assert np.isfinite(picture).sum() == len(number)


@pytest.mark.parametrize("show", ["content", "type"])
def test_the_map_counts_what_it_shows(compared: Comparison, show: Any) -> None:
    run = compared.runs[1]
    ax = plot.pageblock_map(run, show=show)
    legend = dict(text.get_text().rsplit(" ", 1) for text in ax.get_legend().get_texts())
    assert sum(int(n.replace(",", "")) for n in legend.values()) == len(run.frames.start)  # type: ignore[union-attr]
    if show == "content":
        assert set(legend) <= set(CONTENT_NAMES)
        assert int(legend.get("mixed", 0)) == run.metrics["end"]["mixed_blocks"]
    assert run.policy in ax.get_title(loc="left")


def test_a_line_for_every_policy(compared: Comparison) -> None:
    ax = plot.timeline(compared, "mixed")
    assert [line.get_label() for line in ax.lines] == ["mainline", "evacuate"]
    for line, run in zip(ax.lines, compared.runs, strict=True):
        assert line.get_ydata().tolist() == run.series["mixed_blocks"]
        assert np.allclose(line.get_xdata(), np.array(run.series["t"]) / 1e9)
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 2


def test_the_flow_shows_every_event(compared: Comparison) -> None:
    for run in compared.runs:
        tables = {kind: plot.flow_matrix(run, kind) for kind in ("steal", "claim", "claim_block")}
        assert sum(int(table.sum()) for table in tables.values()) == run.metrics["extfrag"]
        assert tables["steal"][1, [0, 2]].sum() == run.metrics["steals_from_movable"]
    texts = [t.get_text() for t in plot.flow(compared.runs[1], "steal").texts]
    assert f"{int(plot.flow_matrix(compared.runs[1], 'steal')[1, 0]):,}" in texts


def test_bars_show_the_spread_of_repeats(compared: Comparison) -> None:
    one = compared.runs[1]
    changed = {
        **one.metrics,
        "end": {**one.metrics["end"], "mixed_blocks": one.metrics["end"]["mixed_blocks"] + 4},
    }
    ax = plot.bar([compared.runs[0], one, replace(one, metrics=changed)])
    assert [round(p.get_width(), 6) for p in ax.patches] == [
        compared.runs[0].metrics["end"]["mixed_blocks"],
        one.metrics["end"]["mixed_blocks"] + 2,
    ]
    assert "±" in ax.texts[1].get_text()
    assert "±" not in ax.texts[0].get_text()


def test_figures_draw_where_they_are_told(compared: Comparison) -> None:
    figure, panels = plt.subplots(1, 4)
    calls = (
        plot.pageblock_map(compared.runs[0], ax=panels[0]),
        plot.timeline(compared, "free", ax=panels[1]),
        plot.flow(compared.runs[0], ax=panels[2]),
        plot.bar(compared, ax=panels[3]),
    )
    assert all(drawn is panel for drawn, panel in zip(calls, panels, strict=True))
    assert plt.get_fignums() == [figure.number]


def test_settings_of_others_are_left_alone(compared: Comparison) -> None:
    before = dict(plt.rcParams)
    plot.timelines(compared)
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize("form", plot.FORMATS)
def test_the_same_bytes_every_time(compared: Comparison, tmp_path: Path, form: str) -> None:
    figures = (plot.pageblock_maps, plot.timelines, plot.flows, plot.bars)
    if form != "svg":
        figures = figures[1:2]
    for number, draw in enumerate(figures):
        paths = [plot.save(draw(compared), tmp_path / f"{number}{name}.{form}") for name in "ab"]
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert len(paths[0].read_bytes()) > 5_000
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_drawn(compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = replace(compared.runs[0], frames=None)
    with pytest.raises(KevacuateError, match="keep=True"):
        plot.pageblock_map(run)
    with pytest.raises(KevacuateError, match="none with number 999"):
        plot.pageblock_map(compared.runs[0], moment=999)
    with pytest.raises(KevacuateError, match="no series 'x'"):
        plot.timeline(compared, "x")
    with pytest.raises(KevacuateError, match="no kind of extfrag event"):
        plot.flow(compared.runs[0], "x")  # type: ignore[arg-type]
    with pytest.raises(KevacuateError, match="has no row"):
        plot.bar(compared, "end.x")
    with pytest.raises(KevacuateError, match=r"name it \.png"):
        plot.save(plt.figure(), tmp_path / "a.gif")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(KevacuateError, match=r"pip install 'kevacuate\[plot\]'"):
        plot.timeline(compared)
