# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of a sweep's results: planted effects are found, the rest is left alone; its page and its command."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from browser import browser, missing, opened
from sweep_tools import NAME, SEEDS, cell, figures, filled, grid

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.measure.tuned import COSTLY, HARMS, NO_EFFECT, UNCHANGED
from kevacuate.reports.sweeps.page import sweep_page
from kevacuate.reports.sweeps.shown import explained_table, replay_line, shown_json, shown_words


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    refused = cell("mainline", {"memory": "1.0"}, 99, 0.0, 0.0) | {
        "error": "It lost 3 events.",
        "figures": {},
    }
    return filled(tmp_path_factory.mktemp("shown") / "grid.sweep", [*grid(), refused])


@pytest.fixture(scope="module")
def shown(store: Path) -> kevacuate.Shown:
    return kevacuate.show_sweep(store)


def verdicts(shown: kevacuate.Shown, memory: str) -> dict[str, str]:
    context = next(one for one in shown.contexts if one.conditions["memory"] == memory)
    assert context.base == f"mainline,memory={memory}"
    return {one.policy: one.tried.verdict for one in context.settings}


def test_settings_are_judged_within_their_conditions(shown: kevacuate.Shown) -> None:
    tight = verdicts(shown, "0.9")
    assert tight["mainline,memory=0.9"] == "base"
    for wq in ("per-cpu", "per-node"):
        assert tight[f"evacuate,memory=0.9,pool=8,wq={wq}"] == COSTLY
        assert tight[f"evacuate,memory=0.9,pool=0,wq={wq}"] in (NO_EFFECT, UNCHANGED)
        assert verdicts(shown, "1.0")[f"evacuate,memory=1.0,pool=8,wq={wq}"] == HARMS
    assert shown.refused == 1
    assert shown.errors == {"It lost 3 events.": 1}


def test_the_same_figures_in_every_cell_change_nothing(tmp_path: Path) -> None:
    rows = []
    for seed in range(4):
        for policy in ("mainline", "evacuate"):
            rows.append(cell(policy, {}, seed, 0.0, 0.0) | {"figures": figures(seed, 0.0, 0.0)})
    found = kevacuate.show_sweep(filled(tmp_path / "s.sweep", rows))
    assert [one.tried.verdict for one in found.contexts[0].settings] == ["base", UNCHANGED]
    assert "The model shows no setting to help." in shown_words(found)


def test_an_interaction_is_found(shown: kevacuate.Shown) -> None:
    parts = {one.knobs: one for one in shown.explained if one.row == "end.mixed_blocks"}
    assert parts["memory", "pool"].share > 0.3
    assert parts["memory", "pool"].q is not None
    assert parts["memory", "pool"].q < 1e-6
    assert parts[("wq",)].q is not None
    assert parts[("wq",)].q > 0.05
    assert shown.incomplete == ()


def test_a_grid_that_lacks_a_cell_is_named(tmp_path: Path) -> None:
    rows = [row for row in grid() if row["cell"] != "evacuate,memory=0.9,pool=8,wq=per-cpu-3"]
    found = kevacuate.show_sweep(filled(tmp_path / "s.sweep", rows))
    assert found.incomplete == (f"evacuate on {NAME}",)
    assert {one.policy for one in found.explained} == {"mainline"}


def test_the_front_is_that_of_the_rows_that_are_asked_for(store: Path, shown: kevacuate.Shown) -> None:
    context = next(one for one in shown.contexts if one.conditions["memory"] == "0.9")
    front = {one.policy for one in context.settings if one.on_front}
    assert front & {f"evacuate,memory=0.9,pool=8,wq={wq}" for wq in ("per-cpu", "per-node")}
    assert all(one.cost is not None and one.cost >= 1.0 for one in context.settings), "compaction's ms is 1"
    other = kevacuate.show_sweep(store, benefit="end.polluted_blocks", cost="cost.worker_ms")
    assert other.contexts[0].settings[0].cost == 0.0
    for wrong in ("nothing", "input.blocks_with_skip_bit"):
        with pytest.raises(KevacuateError, match=f"A front cannot weigh '{wrong}': it weighs"):
            kevacuate.show_sweep(store, cost=wrong)


def test_the_command_that_replays_a_cell_is_told(shown: kevacuate.Shown) -> None:
    context = shown.contexts[0]
    line = replay_line(shown, context, context.settings[1], 7)
    words = shlex.split(line)
    assert words[:3] == ["kevacuate", "replay", "/some where/tiny.kev"]
    assert words[3:] == [
        "--policy",
        context.settings[1].policy,
        "--seed",
        "7",
        "--loop",
        "open",
        "--despite-losses",
    ]


def test_json_and_words(shown: kevacuate.Shown) -> None:
    told = json.loads(json.dumps(shown_json(shown)))
    assert told["cells"] == SEEDS * 10 + 1
    assert told["front"] == {"benefit": "end.mixed_blocks", "cost": ["cost.worker_ms", "compaction.ms"]}
    assert len(told["contexts"]) == 2
    assert told["contexts"][0]["settings"][0]["verdict"] == "base"
    said = shown_words(shown)
    assert any(re.search(r"2 settings help, the clearest evacuate,memory=0\.9,pool=8", line) for line in said)
    assert any("1 cell was refused" in line for line in said)
    assert explained_table(shown) is not None


def test_the_page_loads_nothing_and_has_every_value(shown: kevacuate.Shown) -> None:
    page = sweep_page(shown)
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert "<b>.kev" not in page.replace("\\u003cb", ""), "names are text"
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    (demand,) = data["demands"]
    assert len(demand["settings"]) == 10
    assert all(len(one["seeds"]) == SEEDS for one in demand["settings"])
    assert {row["id"] for row in data["rows"]} == {
        "end.mixed_blocks",
        "end.polluted_blocks",
        "cost.worker_ms",
    }
    row = [one["id"] for one in data["rows"]].index("end.mixed_blocks")
    found = next(one for one in demand["settings"] if one["policy"] == "mainline,memory=0.9")
    table = shown.table.filter([p == found["policy"] for p in shown.table["policy"].to_pylist()])
    assert found["values"][row] == pytest.approx(table["end.mixed_blocks"].to_pylist(), rel=1e-5)


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_the_heat_map_leads_to_every_cell_and_its_command(shown: kevacuate.Shown, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(sweep_page(shown))
    with browser() as started, opened(started, path) as watched:
        page = watched.page
        page.select_option("#row", label="At the end: mixed pageblocks")
        page.select_option("#x", label="memory")
        page.select_option("#y", label="pool")
        fields = page.locator("#map button")
        assert fields.count() == 6
        assert page.locator("#map th").all_text_contents() == [
            "pool \\ memory",
            "0.9",
            "1.0",
            "0",
            "8",
            "default",
        ]
        fields.nth(2).click()
        assert page.locator("#cells pre").count() == 2 * SEEDS
        first = page.locator("#cells pre").first.text_content()
        assert "kevacuate replay '/some where/tiny.kev' --policy evacuate,memory=0.9,pool=8,wq=" in first
        assert page.locator("#plot circle").count() == 5
        assert watched.said == []
