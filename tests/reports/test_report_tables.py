# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of a comparison: whole at every width, and as values."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from page_synthetic import run
from rich.console import Console

import kevacuate
from kevacuate.measure import Comparison, Run
from kevacuate.measure.permutation import DIFFERS, EQUAL, SAME, UNDECIDED, Decision
from kevacuate.reports.blockmap import zone_table
from kevacuate.reports.comparison.conclusion import comparison_json, conclusion
from kevacuate.reports.comparison.group_rows import mark_text, mean_text, moved
from kevacuate.reports.comparison.rows import comparison_rows, folded, zeros_words
from kevacuate.reports.comparison.tables import comparison_table
from kevacuate.reports.comparison.worth import MARK
from kevacuate.reports.page.tables import figure_sections, key_figures
from kevacuate.reports.plain import plain_table

ABOUT = {"name": "x.kev", "kernel": "7.2.0", "profile": "7.2"}
POLICIES = ("mainline", "evacuate", "evacuate,skip-hint=ignore")


@pytest.fixture(scope="module")
def compared(synthetic_kev: Path) -> Comparison:
    return kevacuate.compare(str(synthetic_kev), POLICIES, repeats=3)


def printed(comparison: Comparison, width: int, *, every: bool = False) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width, no_color=True).print(comparison_table(comparison, every=every))
    return screen.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_nothing_is_cut_off_at_any_width(compared: Comparison, width: int) -> None:
    text = printed(compared, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    shown = " ".join(text.split())
    for row in comparison_rows(compared):
        for i in range(3):
            wanted = mean_text(*row.summary(i))
            assert wanted in shown
            assert not i or moved(row, i) in shown


def test_a_narrow_terminal_gets_one_policy_after_the_other(compared: Comparison) -> None:
    wide, middle, narrow = (printed(compared, width) for width in (200, 125, 80))
    assert [text.count("External fragmentation events") for text in (wide, middle, narrow)] == [1, 1, 2]
    assert ("differs, p " in wide, "differs, p " in middle) == (True, False) or "differs" not in wide
    assert "events" in wide
    assert not re.search(r"\bqueued +blocks", narrow)
    assert re.search(rf"workers' CPU time \(virtual\) {MARK}, ms", " ".join(narrow.split()))
    legend = narrow.rstrip().splitlines()[-5:]
    assert any(line.startswith("p: ") for line in legend)
    assert any(line.startswith(MARK) for line in legend)


def test_marks_stand_for_verdicts() -> None:
    def marked(p: float | None, verdict: str) -> str:
        return mark_text(Decision(1.0, p, 0.008, verdict))

    assert marked(0.008, DIFFERS) == "0.008 *"
    assert marked(0.0001, DIFFERS) == "<0.001 *"
    assert marked(0.1, "apart") == "0.10 +"
    assert marked(0.97, SAME) == "0.97"
    assert (marked(1.0, EQUAL), marked(None, UNDECIDED)) == ("=", "?")


def test_the_table_as_values(compared: Comparison) -> None:
    table = kevacuate.summary(compared).to_pylist()
    rows = comparison_rows(compared)
    assert len(table) == 3 * len(rows)
    for i, one in enumerate(table):
        row, group = rows[i // 3], i % 3
        assert (one["id"], one["section"], one["label"], one["direction"], one["policy"]) == (
            row.row.id,
            row.row.section,
            row.row.label,
            row.row.direction,
            POLICIES[group],
        )
        assert (one["mean"], one["sd"], one["runs"]) == (*row.summary(group), 3)
        if group:
            decision = row.decisions[group - 1]
            assert (one["p"], one["verdict"]) == (decision.p, decision.verdict)
        else:
            assert (one["change"], one["p"], one["verdict"]) == (None, None, None)
    queued = next(one for one in table if one["id"] == "evacuations.queued" and one["policy"] == "evacuate")
    assert queued["mean"] > 0
    assert queued["change"] is None, "of nothing there is no share"


def test_results_are_short_to_look_at(compared: Comparison) -> None:
    assert repr(compared) == (
        "<Comparison of 'tiny.kev': runs of mainline (3), evacuate (3), evacuate,skip-hint=ignore (3)>"
    )
    assert len(repr(compared.runs[0])) < 60
    seeds = compared.to_arrow("metrics").column("seed").to_pylist()
    assert seeds == [0, 1, 2] * 3
    assert {"compare", "summary", "Recording"} <= set(dir(kevacuate))


def test_the_shipped_recording_is_at_hand() -> None:
    shipped = kevacuate.Recording.shipped()
    assert repr(shipped).endswith("stock-churn-1g-smp1-s3.kev', Linux 7.2.13>")
    assert shipped.has_demand


def test_zones_stand_side_by_side_where_their_rows_are_too_wide() -> None:
    rows: list[dict[str, int | str]] = [
        {"zone": f"node {i} Normal", "managed": 5_394_266, "free": 4_447_420, "on pcp lists": 20_116}
        | {f"{name} blocks": 10_587 for name in ("Unmovable", "Movable", "Reclaimable", "HighAtomic")}
        for i in range(3)
    ]
    for width, first in ((200, "node 0 Normal +5,394,266 +4,447,420"), (80, "managed +5,394,266 +5,394,266")):
        screen = io.StringIO()
        Console(file=screen, width=width).print(zone_table(rows, width))
        assert re.search(first, screen.getvalue())
        assert "…" not in screen.getvalue()


def replays(policy: str, seeds: tuple[int, ...], drawn: tuple[int, ...]) -> list[Run]:
    """Replays with these seeds whose figures follow from what was *drawn*."""
    made = []
    for seed, draw in zip(seeds, drawn, strict=True):
        one = run(policy, 64, 4, seed=draw)
        options = {**one.provenance["options"], "seed": seed}
        made.append(replace(one, provenance={**one.provenance, "options": options}))
    return made


def test_settings_of_swap_without_swap_are_said_to_do_nothing() -> None:
    said = {}
    for given in (
        {"swappiness": 200},
        {"swappiness": 200, "anon_used": 0.1},
        {"swappiness": 1, "zram": 1 << 24},
    ):
        one = run("evacuate", 64, 4, seed=0)
        told = replace(one, provenance={**one.provenance, "vm_settings": {"given": given}})
        parts = conclusion(Comparison((run("mainline", 64, 4, seed=0), told), ABOUT))
        said[len(given), "zram" in given] = [part.text for part in parts if part.kind == "idle"]
    assert said[1, False] == [
        "Under evacuate swappiness does nothing, as there is no swap: zram=SIZE makes one."
    ]
    assert said[2, False] == [
        "Under evacuate swappiness and anon_used do nothing, as there is no swap: zram=SIZE makes one."
    ]
    assert said[2, True] == []


def test_replays_that_never_part_are_said_to_tell_nothing_of_chance() -> None:
    seeds = (0, 1, 2)
    same = replays("mainline", seeds, (5, 5, 5)) + replays("evacuate", seeds, (6, 6, 6))
    (part,) = (part for part in conclusion(Comparison(tuple(same), ABOUT)) if part.kind == "seed")
    assert part.text.startswith(
        "The replays of each policy are equal in every figure: the seed decided nothing."
    )
    one = replays("mainline", seeds, (5, 5, 5)) + replays("evacuate", seeds, (6, 6, 7))
    (part,) = (part for part in conclusion(Comparison(tuple(one), ABOUT)) if part.kind == "seed")
    assert part.text.startswith("The replays of mainline are equal in every figure")
    none = replays("mainline", seeds, (5, 6, 5)) + replays("evacuate", seeds, (6, 6, 7))
    assert "seed" not in {part.kind for part in conclusion(Comparison(tuple(none), ABOUT))}
    single = replays("mainline", (0,), (5,)) + replays("evacuate", (0,), (6,))
    assert "seed" not in {part.kind for part in conclusion(Comparison(tuple(single), ABOUT))}


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_rows_that_are_zero_everywhere_fold_away(seeds: tuple[int, ...]) -> None:
    runs = replays("mainline", seeds, seeds) + replays("mainline,thp=0", seeds, seeds)
    compared = Comparison(tuple(runs), ABOUT)
    rows = comparison_rows(compared)
    shown, zeros = folded(rows)
    assert "evacuations.queued" in [row.row.id for row in zeros]
    assert sorted(row.row.id for row in [*shown, *zeros]) == sorted(row.row.id for row in rows)
    assert all(value == 0 for row in zeros for group in row.values for value in group)
    assert not any(all(value == 0 for group in row.values for value in group) for row in shown)
    for width in (80, 200):
        text = " ".join(printed(compared, width).split())
        assert f"{len(zeros)} rows are 0 in every run; --all shows them." in text
    assert not re.search(r"^ +queued", printed(compared, 200), re.MULTILINE)
    whole = printed(compared, 200, every=True)
    assert re.search(r"^ +queued", whole, re.MULTILINE)
    assert "0 in every run" not in whole
    page, folded_away = (
        [row["id"] for part in some for row in part["rows"]] for some in figure_sections(compared)
    )
    assert page == [row.row.id for row in shown]
    assert folded_away == [row.row.id for row in zeros]
    assert zeros_words(zeros[:1]) == "1 row is 0 in every run"
    assert "cost.pages_migrated" in [one["id"] for one in key_figures(compared)]
    assert [row["id"] for row in comparison_json(compared)["rows"]] == [row.row.id for row in rows]


def test_a_table_that_does_not_fit_becomes_lines_and_nothing_is_cut_off() -> None:
    names = ["machine", "by whom", *(f"figure {n}" for n in range(5))]
    table = plain_table("Machines", names, names[2:], whole=names[2:])
    table.add_row("rack-with-a-long-name.kev", "GFP_KERNEL|__GFP_COMP", *(f"{n}2,345" for n in range(5)))
    for width in (200, 80, 40, 20):
        file = io.StringIO()
        Console(file=file, width=width).print(table)
        lines = file.getvalue().splitlines()
        text = re.sub(r"\s", "", "".join(lines))
        assert max(map(len, lines)) <= width
        if width != 80:  # there cells stand beside each other, in pieces
            assert "rack-with-a-long-name.kev" in text
        assert all(f"{n}2,345" in text for n in range(5)), width
        assert ("figure 0" in lines[2]) == (width >= 80)
