# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict level: replays of a stock demand against tables of what boots of kernels came to."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from fidelity_document import fidelity_document

import kevacuate
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.errors import KevacuateError
from kevacuate.fidelity import verify
from kevacuate.fidelity.level import Given
from kevacuate.fidelity.verdict import columns
from kevacuate.fidelity.verdict import replays as replaying
from kevacuate.fidelity.verdict.changes import changes
from kevacuate.fidelity.verdict.columns import Column
from kevacuate.fidelity.verdict.judge import (
    EFFECTS_HOLD,
    LEVELS_HOLD,
    SPREADS_HOLD,
    VERDICTS_HOLD,
    Sides,
    effect_rows,
    level_rows,
    one_boot,
    perfect,
    tallies,
)
from kevacuate.fidelity.verdict.level import verify_verdict
from kevacuate.fidelity.verdict.outcomes import (
    FIRST_IMAGE,
    SECOND_IMAGE,
    Workload,
    image_of,
    read_outcomes,
    read_repeats,
    recorded_image,
    workload_of,
)
from kevacuate.fidelity.verdict.recorded_run import recorded_counts, recorded_moment
from kevacuate.measure.fidelity import (
    BOTH,
    FALSE,
    KERNELS_ONLY,
    MODEL_ONLY,
    NEITHER,
    OPEN,
    OPPOSITE,
    Effect,
    LevelResult,
    LevelRow,
)
from kevacuate.measure.intervals import Sample
from kevacuate.mm import constants as k
from kevacuate.mm.fields import LogRecord
from kevacuate.policy import BASELINE, BOOTED
from kevacuate.recording import AllocatorState, EventChunk, EventKind, KevWriter, Recording, write_demand
from kevacuate.recording.schema import COLUMN_TYPES
from kevacuate.reports.fidelity.verdict import effect_words, judged_text, summary_words
from kevacuate.runs.options import ReplayOptions

CMDLINE = "console=ttyS0 gtwl=churn gtit=4000 gtseed=3 gtpar=1 gtmem=1024 rdinit=/init"
WORKLOAD = Workload("churn", "1g", synthetic.CPUS, 3)
ROWS = 8_000


def event(ts: int, kind: EventKind, **columns: int) -> dict[str, int]:
    return {"ts": ts, "kind": int(kind), **columns}


def evac(ts: int, op: int, a: int = 0, d: int = 0) -> dict[str, int]:
    return event(ts, EventKind.GT_EVAC, order=op, a=a, d=d)


FALLBACK = {"order": 0, "mt": 0, "b": k.MIGRATE_MOVABLE}
EVENTS = [
    event(1, EventKind.MM_PAGE_ALLOC_EXTFRAG, **FALLBACK, a=10, c=1),
    event(5_000_000, EventKind.MM_PAGE_ALLOC_EXTFRAG, **FALLBACK, a=5, c=1),
    event(5_000_001, EventKind.MM_PAGE_ALLOC_EXTFRAG, **FALLBACK, a=0, c=0),
    event(5_000_002, EventKind.MM_PAGE_ALLOC_EXTFRAG, order=0, mt=1, b=0, a=4, c=0),
    evac(5_000_003, 0, a=0 << 8 | 1, d=0),
    evac(5_000_004, 0, a=0 << 8 | 2, d=0),
    evac(5_000_005, 0, a=2 << 8 | 1, d=1),
]
"""A whole-block claim before the start; then a claim, a steal from and one by movable, a refusal, one of a reclaimable block."""


def record(
    path: Path, events: list[dict[str, int]], cmdline: str = CMDLINE, end: int = 100_000_000
) -> Recording:
    """A recording of the fragmenting demand whose snapshots mark `peak` and `end`."""
    start = replace(synthetic.start_state(), ts=2)
    with KevWriter(path, synthetic.machine(cmdline=cmdline, hooks=True)) as writer:
        table: dict[str, Any] = {name: np.zeros(len(events), kind) for name, kind in COLUMN_TYPES.items()}
        for i, row in enumerate(events):
            for name, value in row.items():
                table[name][i] = value
        writer.add_events(EventChunk(**table))
        for label, ts in (("start", 2), ("peak", end // 2), ("end", end)):
            writer.add_state(replace(start, label=label, ts=ts, tag=label[0]))
        writer.set_losses([])
    script = synthetic.fragmenting(ROWS)
    write_demand(path, [script.chunk()], synthetic.start_objects(), {"page_kinds": asdict(PageKindModel())})
    return Recording.open(path)


def given_of(recording: Recording) -> Given:
    assert recording.start is not None
    return Given.of(recording, recording.start)


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    names = [*dict.fromkeys(name for row in rows for name in row)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


REPLAYS = 6


def kernel_row(kernel: str, repeat: int, values: dict[str, float], **other: Any) -> dict[str, Any]:
    """A row of outcomes, from values by column."""
    row: dict[str, Any] = {
        "kernel": kernel,
        "workload": "churn",
        "memory": "1g",
        "cpus": synthetic.CPUS,
        "seed": 3,
        "repeat": f"x{repeat}",
    }
    return row | values | other


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("verdict") / "stock.kev", EVENTS)


@pytest.fixture(scope="module")
def replayed(recording: Recording) -> dict[str, list[dict[str, float]]]:
    return replaying.replayed(recording, REPLAYS, ReplayOptions(), lambda *_: None).values


def true_rows(replayed: dict[str, list[dict[str, float]]], **factors: float) -> list[dict[str, Any]]:
    """A table in which kernels came to what the replays do, times the factors given by column."""
    rows = []
    for policy, kernel in BOOTED.items():
        for i, found in enumerate(replayed[policy]):
            values = dict(found)
            values["claims_whole_block"] += 1  # recorded before the start
            values |= {name: values[name] * factor for name, factor in factors.items()}
            rows.append(kernel_row(kernel, i, values))
    return rows


def judged(recording: Recording, table: Path, number: int = REPLAYS) -> LevelResult:
    return verify_verdict(given_of(recording), [table], lambda *_: None, number)


def by_name(result: LevelResult, policy: str) -> dict[str, LevelRow]:
    assert result.judged is not None
    return {row.column: row for row in result.judged.rows if row.policy == policy}


def test_kernels_that_are_the_model_hold_every_row(
    recording: Recording, replayed: dict[str, list[dict[str, float]]], tmp_path: Path
) -> None:
    table = write_table(tmp_path / "o.csv", true_rows(replayed))
    seen: list[tuple[int, int]] = []
    result = verify_verdict(
        given_of(recording), [table], lambda name, done, total: seen.append((done, total)), REPLAYS
    )
    assert result.judged is not None
    assert result.mismatches == 0
    assert set(result.kinds) == {LEVELS_HOLD, SPREADS_HOLD, EFFECTS_HOLD, VERDICTS_HOLD}
    assert result.kinds[LEVELS_HOLD].decisions > 40
    assert seen[-1] == (ROWS * REPLAYS * 3,) * 2
    assert result.inputs == {"boots, stock": 6, "boots, patched": 6, "boots, fixskip": 6}
    for row in result.judged.rows:
        assert row.ours.mean == pytest.approx(row.theirs.mean), row.name
        assert row.spread_ratio is None or row.spread_ratio == pytest.approx(1.0)
    assert {row.agreement for row in result.judged.effects} <= {BOTH, NEITHER}
    mainline = by_name(result, "mainline")
    assert "evac_queued" not in mainline
    assert by_name(result, "evacuate")["evac_queued"].ours.mean > 0
    assert {"end_mixed", "peak_polluted"} <= set(mainline)
    assert mainline["end_mixed"].row == "end.mixed_blocks"
    assert mainline["claims_whole_block"].recorded == 1
    assert by_name(result, "evacuate")["claims_whole_block"].recorded is None
    assert not any(name.startswith("freed") for name in mainline)
    assert any("no snapshot marks freed" in note for note in result.notes)
    assert (result.judged.loop, result.judged.replays) == ("open", REPLAYS)


def test_kernels_that_did_otherwise_are_found_row_by_row(
    recording: Recording, replayed: dict[str, list[dict[str, float]]], tmp_path: Path
) -> None:
    rows = true_rows(replayed, claims_below_pageblock_order=3.0, end_blocks_movable=0.5)
    result = judged(recording, write_table(tmp_path / "o.csv", rows))
    assert result.judged is not None
    wrong = {row.column for row in result.judged.rows if row.level_holds is False}
    assert wrong == {"claims_below_pageblock_order", "end_blocks_movable"}
    assert result.kinds[LEVELS_HOLD].mismatches == 6
    claims = by_name(result, "mainline")["claims_below_pageblock_order"]
    assert claims.theirs.mean == pytest.approx(3 * claims.ours.mean)
    assert claims.errors is not None
    assert claims.errors < -2
    lines = "\n".join(judged_text(result.judged))
    assert "claims of movable blocks below pageblock order" in lines
    json.dumps(result.as_dict(), allow_nan=False)


def test_columns_that_replays_lack_are_named(recording: Recording, tmp_path: Path) -> None:
    values = {"claims_whole_block": 3, "load_compact_stall": 7, "huge_pages": 2, "slow_op0": 9, "slow_op2": 0}
    rows = [kernel_row(kernel, i, values) for kernel in BOOTED.values() for i in range(2)]
    result = judged(recording, write_table(tmp_path / "o.csv", rows), 2)
    assert result.judged is not None
    assert set(result.judged.not_modelled) == {"load_compact_stall", "huge_pages"}
    assert {row.column for row in result.judged.rows} == {"claims_whole_block", "slow_op0"}
    assert result.judged.effects == ()


def test_a_counter_of_the_model_is_found_by_the_kernels_name() -> None:
    assert columns.replay_load({"compact_stall": 3, "vmstat": {"pgscan_direct": 4}, "other": 1}) == {
        "load_compact_stall": 3,
        "load_pgscan_direct": 4,
    }


def test_two_tables_of_the_same_boots_are_joined(tmp_path: Path) -> None:
    first = write_table(tmp_path / "a.csv", [kernel_row("stock", i, {"huge_pages": i}) for i in range(2)])
    second = write_table(tmp_path / "b.csv", [kernel_row("stock", 1, {"load_compact_stall": 5})])
    runs = read_repeats([first, second])
    assert [dict(run.values) for run in runs] == [
        {"huge_pages": 0},
        {"huge_pages": 1, "load_compact_stall": 5},
    ]


def test_stalls_of_all_zones_are_summed(tmp_path: Path) -> None:
    stalls = {"load_allocstall_dma32": 1, "load_allocstall_normal": 4, "load_allocstall_movable": 7}
    (run,) = read_repeats([write_table(tmp_path / "a.csv", [kernel_row("stock", 0, stalls)])])
    assert run.values == {**stalls, "load_allocstall": 12}


def test_equal_inputs_give_equal_results(recording: Recording, tmp_path: Path) -> None:
    rows = [kernel_row("stock", i, {"claims_whole_block": i}) for i in range(3)]
    table = write_table(tmp_path / "o.csv", rows)
    first, second = (judged(recording, table, 2) for _ in range(2))
    assert first.as_dict() == second.as_dict()


def test_a_single_boot_decides_nothing(recording: Recording, tmp_path: Path) -> None:
    table = write_table(tmp_path / "o.csv", [kernel_row("stock", 0, {"claims_whole_block": 9})])
    result = judged(recording, table, 2)
    assert "no row decides" in result.not_exercised
    assert [row.level_holds for row in by_name(result, "mainline").values()] == [None]


def test_options_reach_every_replay(recording: Recording) -> None:
    shifted = replaying.replayed(recording, 1, ReplayOptions(seed=1), lambda *_: None)
    both = replaying.replayed(recording, 2, ReplayOptions(), lambda *_: None)
    assert {policy: [values[1]] for policy, values in both.values.items()} == shifted.values
    assert both.loop == "open"
    with pytest.raises(KevacuateError, match="A closed loop needs a demand with its counts"):
        replaying.replayed(recording, 1, ReplayOptions(loop="closed"), lambda *_: None)


def test_a_replay_of_the_level_is_the_replay_of_its_seed(
    recording: Recording, replayed: dict[str, list[dict[str, float]]]
) -> None:
    """The level runs the rows that a plain replay runs, as its seed and loop make them."""
    for policy in ("mainline", "evacuate"):
        for seed in (0, 3):
            metrics = kevacuate.replay(recording, policy, seed=seed).metrics
            own = replayed[policy][seed]
            for column, value in columns.replay_counts(metrics).items():
                assert own[column] == value, column


def test_how_many_replays_run_at_once_changes_nothing(
    recording: Recording, replayed: dict[str, list[dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "workers_for", lambda recording, jobs: 1)
    assert replaying.replayed(recording, REPLAYS, ReplayOptions(), lambda *_: None).values == replayed


def level(theirs: Sequence[float], ours: Sequence[float]) -> LevelRow:
    (row,) = level_rows(
        BASELINE, [Sides(Column("end_mixed", "mixed"), list(theirs), list(ours))], {"end_mixed": 7}
    )
    return row


def test_the_rule_of_a_level() -> None:
    row = level([8, 10, 12], [13, 14, 15])
    assert (row.theirs, row.ours) == (Sample(3, 10, 2), Sample(3, 14, 1))
    assert row.errors == pytest.approx(4 / (5 / 3) ** 0.5)
    assert row.level_holds is False
    assert row.recorded == 7
    assert level([8, 10, 12], [11, 12, 13]).level_holds is True
    assert level([10, 10], [10, 10]).level_holds is True
    assert level([10, 10], [11, 11]).level_holds is False
    assert level([10], [11, 12]).level_holds is None


def test_the_rule_of_a_spread() -> None:
    theirs = [0.0, 10.0, 20.0]
    assert level(theirs, [1, 10, 19]).spread_holds is True
    assert level(theirs, [2.6, 10, 17.4]).spread_holds is False
    assert level(theirs, [-2, 10, 22]).spread_holds is True
    assert level(theirs, [-3, 10, 23]).spread_holds is False
    assert level([5, 5], [5, 5]).spread_holds is True
    assert (level([5, 5], [5, 6]).spread_holds, level([5, 5], [5, 6]).spread_ratio) == (False, None)


LOW, HIGH = [float(i) for i in range(1, 9)], [float(i) for i in range(21, 29)]
"""Eight and eight values that do not overlap."""
BIT = [value + 3.5 for value in LOW]
"""A little more: p is 0.01, and kernels so far apart would be seen."""
WIDE, WIDER = [float(i * 10) for i in range(8)], [float(i * 10 + 5) for i in range(8)]
"""Kernels that vary so much that a change of 20 would be missed."""


def effect(theirs: tuple[list[float], list[float]], ours: tuple[list[float], list[float]]) -> Effect:
    column = Column("end_mixed", "mixed", "end.mixed_blocks")
    base, changed = (Sides(column, theirs[i], ours[i]) for i in (0, 1))
    (row,) = effect_rows("evacuate", [base], [changed])
    return row


@pytest.mark.parametrize(
    ("theirs", "ours", "agreement"),
    [
        ((LOW, HIGH), (LOW, HIGH), BOTH),
        ((HIGH, LOW), (HIGH, LOW), BOTH),
        ((LOW, LOW), (HIGH, HIGH), NEITHER),
        ((LOW, LOW), (LOW, HIGH), MODEL_ONLY),
        ((LOW, LOW), (HIGH, LOW), MODEL_ONLY),
        ((LOW, HIGH), (LOW, LOW), KERNELS_ONLY),
        ((LOW, HIGH), (HIGH, LOW), OPPOSITE),
        ((WIDE, WIDER), (LOW, HIGH), OPEN),
        ((WIDE, WIDER), (LOW, [value * 10 for value in HIGH]), MODEL_ONLY),
    ],
)
def test_whose_verdict_it_is(
    theirs: tuple[list[float], list[float]], ours: tuple[list[float], list[float]], agreement: str
) -> None:
    row = effect(theirs, ours)
    assert row.agreement == agreement
    said = row.as_dict()
    assert said["agreement"] == agreement
    assert said["false_verdict"] is (agreement in FALSE)
    assert said["row"] == "end.mixed_blocks"


def test_a_change_that_the_kernels_would_have_seen_is_false_though_their_interval_holds_it() -> None:
    theirs = (LOW, [value + 2 for value in LOW])
    row = effect(theirs, (LOW, [value + 4 for value in LOW]))
    assert row.theirs.difference.high == pytest.approx(4.63, abs=0.01)
    assert row.theirs.seen == row.theirs.difference.seen == pytest.approx(3.69, abs=0.01)
    assert (row.ours.direction, row.holds, row.agreement) == (1, True, MODEL_ONLY)


def test_what_kernels_would_have_seen_is_of_the_test_with_its_correction() -> None:
    """Beside other rows that are not called a larger change is missed; those that are called cost nothing."""
    same, moved = (LOW, [value + 2 for value in LOW]), (LOW, HIGH)
    alone, beside, called = (
        changes({"a": same, **more})["a"]
        for more in ({}, {str(i): (LOW, LOW) for i in range(9)}, {str(i): moved for i in range(9)})
    )
    assert alone.seen == alone.difference.seen == pytest.approx(called.seen)
    assert beside.seen == pytest.approx(beside.difference.seen_at(0.005))
    assert beside.seen > 1.3 * alone.seen


def test_a_change_that_kernels_would_have_missed_after_correction_is_not_false() -> None:
    """Nine rows without an effect beside it: the same change would be false of one row alone."""
    column = Column("end_mixed", "mixed", "end.mixed_blocks")
    others = [Column(f"other_{i}", "other") for i in range(9)]
    sides = (
        [Sides(column, LOW, LOW)],
        [Sides(column, [value + 2 for value in LOW], [value + 4.5 for value in LOW])],
    )
    more = [Sides(other, LOW, [0.0] * 8) for other in others]
    told = {row.column: row for row in effect_rows("evacuate", sides[0] + more, sides[1] + more)}
    row = told["end_mixed"]
    assert (row.ours.direction, row.holds, row.agreement) == (1, True, OPEN)
    assert abs(row.ours.difference.value) > row.theirs.difference.seen


def test_p_is_corrected_for_the_rows_that_vary() -> None:
    rows = {"a": (LOW, BIT), "b": (LOW, LOW), "c": (LOW, HIGH), "still": ([1.0] * 8, [1.0] * 8)}
    found = changes(rows)
    assert found["a"].corrected == pytest.approx(2 * found["a"].p)
    assert found["c"].corrected == pytest.approx(3 * found["c"].p)
    assert (found["still"].p, found["still"].corrected) == (1.0, 1.0)
    assert found["a"].p <= 0.05


def test_too_few_boots_or_replays_give_no_effect() -> None:
    for theirs, ours in (((LOW[:3], HIGH[:3]), (LOW, HIGH)), ((LOW, HIGH), (LOW[:3], HIGH[:3]))):
        column = Column("end_mixed", "mixed")
        base, changed = (Sides(column, theirs[i], ours[i]) for i in (0, 1))
        assert list(effect_rows("evacuate", [base], [changed])) == []


def test_what_a_perfect_model_would_pass() -> None:
    rng = np.random.default_rng(1)
    values = [rng.normal(100, 10, 24).tolist() for _ in range(40)]
    sides = {
        policy: [Sides(Column(f"c{i}", "c"), some, some) for i, some in enumerate(values)]
        for policy in BOOTED
    }
    found = perfect(sides)
    assert found[LEVELS_HOLD] == pytest.approx(0.95, abs=0.02)
    assert found[EFFECTS_HOLD] == pytest.approx(
        0.84, abs=0.04
    )  # ours varies too, so fewer than 95 % are inside
    assert 0.7 < found[SPREADS_HOLD] < 0.95


def test_what_a_model_of_one_boot_would_pass() -> None:
    def share(boots: list[float], replays: list[float]) -> float | None:
        return one_boot({BASELINE: [Sides(Column("c", "c"), boots, replays)]})

    still, far = [1.0, 1.0], [0.0, 1000.0]
    assert share([10.0, 10.0, 10.0, 10.0], still) == 1.0
    assert share([10.0, 10.0, 10.0, 50.0], still) == 0.75  # the last is far from the others, which are alike
    assert share([10.0, 10.0, 10.0, 50.0], far) == 1.0
    assert share([10.0, 50.0], still) is None


def test_the_tallies_count_each_question() -> None:
    rows = [level([8, 10, 12], [13, 14, 15]), level([8, 10, 12], [8, 10, 12])]
    effects = [effect((LOW, LOW), (LOW, HIGH)), effect((LOW, HIGH), (LOW, HIGH))]
    found = {name: (tally.decisions, tally.mismatches) for name, tally in tallies(rows, effects).items()}
    assert found == {LEVELS_HOLD: (2, 1), SPREADS_HOLD: (2, 1), EFFECTS_HOLD: (2, 1), VERDICTS_HOLD: (2, 1)}


def test_the_words_count_what_the_model_has_got_wrong() -> None:
    right, alone = effect((LOW, HIGH), (LOW, HIGH)), effect((LOW, LOW), (LOW, HIGH))
    assert effect_words([right, alone]) == (
        "In 1 of 2 rows the model's verdict on a policy is the kernels'. In 1 only the model differs."
    )
    assert effect_words([right]) == "In 1 of 1 rows the model's verdict on a policy is the kernels'."


def test_the_document_and_the_terminal_say_the_same(
    recording: Recording, replayed: dict[str, list[dict[str, float]]], tmp_path: Path
) -> None:
    table = write_table(tmp_path / "o.csv", true_rows(replayed, steals_from_movable=4.0))
    found = verify.verify(recording, "verdict", repeats_table=table, replays=REPLAYS)
    text = fidelity_document([found], [])
    for line in summary_words(found.levels["verdict"]):
        assert f"- {line}" in text
    assert "| mainline | steals from movable |" in text
    assert "So few replays" not in text
    few = verify.verify(recording, "verdict", repeats_table=table, replays=4).levels["verdict"]
    assert "So few replays show no difference once p is corrected for 20 rows" in " ".join(summary_words(few))
    assert "has enough repeats" in fidelity_document([replace(found, levels={})], [])


def test_the_image_of_a_boot() -> None:
    churn, pressure = Workload("churn", "1g", 1, 1), Workload("pressure", "1g", 1, 1)
    assert [image_of(churn, name) for name in ("0", "r2", "x1", "x5")] == [FIRST_IMAGE] * 4
    assert [image_of(churn, name) for name in ("x6", "x25")] == [SECOND_IMAGE] * 2
    assert image_of(churn, "n1") == ""
    assert image_of(churn._replace(seed=3), "x5") == FIRST_IMAGE
    assert image_of(churn._replace(seed=5), "0") == SECOND_IMAGE
    assert image_of(pressure, "x1") == SECOND_IMAGE
    assert recorded_image(synthetic.machine(cmdline="kmem:gt_list,kmem:gt_rec")) == SECOND_IMAGE
    assert recorded_image(synthetic.machine(cmdline="kmem:gt_list")) == FIRST_IMAGE


def test_boots_of_another_image_are_left_out(recording: Recording, tmp_path: Path) -> None:
    rows = [
        kernel_row("stock", i, {"claims_whole_block": 9}, image=("first", "second")[i % 2]) for i in range(6)
    ]
    result = judged(recording, write_table(tmp_path / "o.csv", rows), 2)
    assert result.inputs["boots, stock"] == 3


def test_the_recorded_runs_own_counts(recording: Recording) -> None:
    assert recording.start is not None
    before, whole = recorded_counts(recording, recording.start)
    assert before["claims_whole_block"] == whole["claims_whole_block"] == 1
    expected = {
        "claims_below_pageblock_order": 1,
        "steals_from_movable": 1,
        "steals_by_movable": 1,
        "claims_refused": 1,
    }
    assert {name: whole[name] for name in expected} == expected
    assert not whole.get("patch_events")


def test_the_recorded_runs_own_moment() -> None:
    state: AllocatorState = synthetic.start_state()
    found = recorded_moment(state, 9, 9)
    blocks = (synthetic.END - synthetic.FIRST) // synthetic.BLOCK
    assert found["blocks_movable"] == found["polluted"] + blocks - 1
    assert (found["mixed"], found["blocks_with_unmovable"], found["polluted"]) == (1, 1, 1)
    assert found["free_pages"] == sum(1 << int(order) for order in state.free.order)
    assert "mixed" not in recorded_moment(replace(state, page_flags=None), 9, 9)


def test_what_a_log_shows_as_refused() -> None:
    log = np.zeros((4, LogRecord.STRIDE), np.int64)
    log[:, 1] = k.L_EVAC_CLAIM
    log[:, 4] = [0 << 8 | 1, 2 << 8 | 1, 0 << 8 | 2, 0 << 8 | 1]
    log[3, 7] = 1
    assert columns.refused_in(log) == 2


def test_workload_from_the_command_line() -> None:
    assert workload_of(synthetic.machine(cmdline=CMDLINE)) == WORKLOAD
    assert workload_of(synthetic.machine(cmdline="gtwl=net gtmem=4096")) == Workload("net", "4g", 2, 1)
    for strange in ("", "gtwl=churn", "gtwl=churn gtmem=x", "gtwl=churn gtmem=1024 gtseed=x"):
        assert workload_of(synthetic.machine(cmdline=strange)) is None


def not_exercised(recording: Recording, table: Path | None) -> str:
    result = verify_verdict(given_of(recording), [table] if table else [], lambda *_: None)
    assert result.decisions == 0
    assert not result.passes(0.0)
    return result.not_exercised


def test_it_says_what_it_lacks(recording: Recording, tmp_path: Path) -> None:
    row = kernel_row("stock", 0, {"claims_whole_block": 1})
    table = write_table(tmp_path / "o.csv", [row])
    assert "no table of repeats of real kernels" in not_exercised(recording, None)
    other = write_table(tmp_path / "other.csv", [row | {"seed": 4}])
    assert "has no boot of churn, 1g, 2 CPUs, seed 3" in not_exercised(recording, other)
    silent = record(tmp_path / "silent.kev", EVENTS, cmdline="quiet")
    assert "does not say which workload" in not_exercised(silent, table)
    patched = record(tmp_path / "patched.kev", [*EVENTS, evac(5_000_006, 1)])
    assert "the recorded kernel has the patch" in not_exercised(patched, table)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'kernel'"),
        (b"a,b\n1,2\n", "no column 'kernel'"),
        (b"kernel,workload,memory,cpus,seed,repeat,x\nstock,churn,1g,one,3,0,1\n", "Line 2"),
        (b"kernel,workload,memory,cpus,seed,repeat,x\nstock,churn,1g,1,3,0,nan\n", "column 'x'"),
        (b"kernel,workload,memory,cpus,seed,repeat,x\nstock,churn,1g,1,3,0,1,2,3\n", "Line 2"),
        (b"kernel,workload,memory,cpus,seed,repeat,x\nstock\n", "Line 2"),
        (b"\xff\xfe\x00kernel", "UTF-8"),
    ],
)
def test_damaged_outcomes_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_bytes(content)
    with pytest.raises(KevacuateError, match=said):
        read_outcomes(path)


def test_outcomes_that_are_not_there_are_refused(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(KevacuateError, match="cannot be read"):
        verify_verdict(given_of(recording), [tmp_path / "none.csv"], lambda *_: None)
