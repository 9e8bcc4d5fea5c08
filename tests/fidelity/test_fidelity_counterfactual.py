# SPDX-License-Identifier: GPL-2.0-or-later
"""The counterfactual level: replays of a stock demand against tables of what kernels came to."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic

from kevacuate.errors import KevacuateError
from kevacuate.fidelity.counterfactual import level as counterfactual
from kevacuate.fidelity.counterfactual import measures
from kevacuate.fidelity.counterfactual.causes import Evidence, cause_of
from kevacuate.fidelity.counterfactual.level import verify_counterfactual
from kevacuate.fidelity.counterfactual.outcomes import Workload, read_outcomes, workload_of
from kevacuate.fidelity.counterfactual.recorded_run import recorded_counts, recorded_moment
from kevacuate.fidelity.counterfactual.verdict import INFORMATIONAL, OUTSIDE, SHARES, WITHIN, outcome
from kevacuate.fidelity.level import Given
from kevacuate.measure.fidelity import LevelResult, Outcome
from kevacuate.mm import constants as k
from kevacuate.mm.fields import LogRecord
from kevacuate.policy import BOOTED
from kevacuate.recording import AllocatorState, EventChunk, EventKind, KevWriter, Recording, write_demand
from kevacuate.recording.schema import COLUMN_TYPES
from kevacuate.reports.fidelity.tables import outcome_line

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
    write_demand(path, [script.chunk()], synthetic.start_objects(), {})
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


def kernel_row(kernel: str, repeat: int, values: dict[str, float], **other: Any) -> dict[str, Any]:
    """A row of outcomes, from values by column (free chunks by order one by one)."""
    row: dict[str, Any] = {
        "kernel": kernel,
        "workload": "churn",
        "memory": "1g",
        "cpus": synthetic.CPUS,
        "seed": 3,
        "repeat": repeat,
    } | other
    for name, value in values.items():
        column, _, order = name.partition("_by_order ")
        if order:
            row.setdefault(f"{column}_by_order", "")
            row[f"{column}_by_order"] = f"{row[f'{column}_by_order']} {value:g}".strip()
        elif name not in ("share_with_skip_bit", "pcp") and not name.endswith("pcp_pages"):
            row[name] = value
    if values.get("evac_started"):
        row["evac_started_with_skip_bit"] = values["share_with_skip_bit"] * values["evac_started"]
    return row


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("counterfactual") / "stock.kev", EVENTS)


@pytest.fixture(scope="module")
def replays(recording: Recording) -> dict[str, list[counterfactual.Run]]:
    return counterfactual._replayed(recording, lambda name, done, total: None)


def true_rows(replays: dict[str, list[counterfactual.Run]], **changes: float) -> list[dict[str, Any]]:
    """A table in which kernels came to what the replays do, times the factors given by column."""
    rows = []
    for policy, kernel in BOOTED.items():
        for i, run in enumerate(replays[policy]):
            values = dict(run.values)
            values["claims_whole_block"] += 1  # recorded before the start
            values |= {name: values[name] * factor for name, factor in changes.items()}
            rows.append(kernel_row(kernel, i, values))
    return rows


def by_name(result: LevelResult, policy: str) -> dict[str, Outcome]:
    return {row.name: row for row in result.outcomes if row.policy == policy}


def test_kernels_that_are_the_model_are_within(
    recording: Recording, replays: dict[str, list[counterfactual.Run]], tmp_path: Path
) -> None:
    table = write_table(tmp_path / "o.csv", true_rows(replays))
    seen: list[int] = []
    result = verify_counterfactual(given_of(recording), table, lambda name, done, total: seen.append(done))
    assert result.decisions > 40
    assert result.mismatches == 0
    assert seen[-1] == ROWS
    assert result.inputs == {"real runs, stock": 6, "real runs, patched": 6, "real runs, fixskip": 6}
    for row in result.outcomes:
        assert row.ours == pytest.approx(row.mean, rel=1e-5), row.name
        assert (row.runs, row.replays) == (6, 6)
    mainline = by_name(result, "mainline")
    assert "evacuations queued" not in mainline
    assert by_name(result, "evacuate")["evacuations queued"].ours > 0
    assert {"free chunks of order 10 at peak", "unmovable blocks at end"} <= set(mainline)
    assert not any("freed" in name for name in mainline)
    assert any("no snapshot marks freed" in note for note in result.notes)


def test_a_kernel_that_did_otherwise_is_outside_and_has_a_cause(
    recording: Recording, replays: dict[str, list[counterfactual.Run]], tmp_path: Path
) -> None:
    rows = true_rows(replays, claims_below_pageblock_order=3.0, end_blocks_movable=0.5)
    result = verify_counterfactual(
        given_of(recording), write_table(tmp_path / "o.csv", rows), lambda *_: None
    )
    wrong = [row for row in result.outcomes if row.verdict == OUTSIDE]
    names = {row.name for row in wrong}
    assert "claims of movable blocks below pageblock order" in names
    assert "movable blocks at end" in names
    assert names <= {"claims of movable blocks below pageblock order", "movable blocks at end"}
    assert all(row.cause for row in wrong)
    assert result.mismatches == len(wrong) == sum(result.causes.values())
    assert "outside" in outcome_line(wrong[0])


def test_equal_inputs_give_equal_results(recording: Recording, tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "o.csv", [kernel_row("stock", i, {"claims_whole_block": i}) for i in range(3)]
    )
    first, second = (verify_counterfactual(given_of(recording), table, lambda *_: None) for _ in range(2))
    assert first.as_dict() == second.as_dict()


def test_fewer_than_three_runs_decide_nothing(recording: Recording, tmp_path: Path) -> None:
    rows = [
        kernel_row("stock", i, {"claims_below_pageblock_order": 5, "claims_whole_block": 9}) for i in range(2)
    ]
    result = verify_counterfactual(
        given_of(recording), write_table(tmp_path / "o.csv", rows), lambda *_: None
    )
    assert "no row decides" in result.not_exercised
    assert len(result.outcomes) == 2
    assert {row.verdict for row in result.outcomes} == {INFORMATIONAL}


def test_the_rule_of_a_row() -> None:
    row = outcome("p", "counts", [8.0, 10.0, 12.0], [13.0, 14.0])
    assert (row.mean, row.sd, row.accepts, row.ours, row.verdict) == (10, 2, (6, 14), 13.5, WITHIN)
    assert row.z == pytest.approx(1.75)
    assert outcome("p", "counts", [8.0, 10.0, 12.0], [14.5]).verdict == OUTSIDE
    assert outcome("p", "counts", [0.0, 10.0, 20.0], [99.0]).verdict == INFORMATIONAL, "it would accept 0"
    assert outcome("p", "counts", [10.0] * 3, [11.0]).verdict == WITHIN, "counts are whole"
    assert outcome("p", "counts", [10.0] * 3, [11.1]).verdict == OUTSIDE
    assert outcome("p", "counts", [10.0] * 3, [10.0]).z is None
    share = SHARES[0]
    assert outcome("p", share, [1.0] * 3, [0.9]).verdict == OUTSIDE


def test_causes_by_rule() -> None:
    def row(ours: float) -> Outcome:
        return outcome("mainline", "x", [90.0, 100.0, 110.0], [ours])

    none = Evidence({}, {})
    assert "recorded run itself" in cause_of("c", row(150), [150], Evidence({"c": 130}, {})).words
    assert "recorded run itself" not in cause_of("c", row(150), [150], Evidence({"c": 70}, {})).words
    pcp = Evidence({}, {"end": (50.0, 10.0)})
    assert "per-CPU lists hold 50 pages" in cause_of("end_free_pages", row(40), [40], pcp).words
    assert "per-CPU lists" not in cause_of("end_free_pages", row(150), [150], pcp).words
    assert cause_of("c", row(150), [100, 200], none).words.startswith("1 of 2 replays are within")
    assert cause_of("c", row(150), [140, 160], none).words.startswith("all replays are outside")


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
    assert found["free_by_order 10"] == int((state.free.order == 10).sum())
    assert "mixed" not in recorded_moment(replace(state, page_flags=None), 9, 9)


def test_what_a_log_shows_as_refused() -> None:
    log = np.zeros((4, LogRecord.STRIDE), np.int64)
    log[:, 1] = k.L_EVAC_CLAIM
    log[:, 4] = [0 << 8 | 1, 2 << 8 | 1, 0 << 8 | 2, 0 << 8 | 1]
    log[3, 7] = 1
    assert measures.refused_in(log) == 2


def test_workload_from_the_command_line() -> None:
    assert workload_of(synthetic.machine(cmdline=CMDLINE)) == WORKLOAD
    assert workload_of(synthetic.machine(cmdline="gtwl=net gtmem=4096")) == Workload("net", "4g", 2, 1)
    for strange in ("", "gtwl=churn", "gtwl=churn gtmem=x", "gtwl=churn gtmem=1024 gtseed=x"):
        assert workload_of(synthetic.machine(cmdline=strange)) is None


def not_exercised(recording: Recording, table: Path | None) -> str:
    result = verify_counterfactual(given_of(recording), table, lambda *_: None)
    assert result.decisions == 0
    assert not result.passes(0.0)
    return result.not_exercised


def test_it_says_what_it_lacks(recording: Recording, tmp_path: Path) -> None:
    row = kernel_row("stock", 0, {"claims_whole_block": 1})
    table = write_table(tmp_path / "o.csv", [row])
    assert "no outcomes of real kernels" in not_exercised(recording, None)
    other = write_table(tmp_path / "other.csv", [row | {"seed": 4}])
    assert "has no run of churn, 1g, 2 CPUs, seed 3" in not_exercised(recording, other)
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
        verify_counterfactual(given_of(recording), tmp_path / "none.csv", lambda *_: None)
