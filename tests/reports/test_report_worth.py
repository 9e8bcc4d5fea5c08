# SPDX-License-Identifier: GPL-2.0-or-later
"""The trust record: how rows earn it, what a comparison says of it, and the record that the package holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from generate_trust import record_of

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison
from kevacuate.measure.fidelity import BOTH, KERNELS_ONLY, MODEL_ONLY, NEITHER, OPEN
from kevacuate.measure.trustrecord import FILE, Record, RowRecord, record
from kevacuate.reports.comparison import conclusion as concluding
from kevacuate.reports.comparison import tables, worth
from kevacuate.reports.comparison.conclusion import comparison_json, conclusion
from kevacuate.reports.comparison.rows import ROWS, comparison_rows
from kevacuate.reports.comparison.worth import (
    FOOTNOTE,
    MARK,
    worth_words,
)
from kevacuate.reports.page.page import comparison_page
from kevacuate.reports.page.tables import figure_sections

ROOT = Path(__file__).resolve().parents[2]


def effect(row: str, agreement: str, *, holds: bool = True) -> dict[str, Any]:
    return {"row": row, "agreement": agreement, "holds": holds, "false_verdict": agreement == MODEL_ONLY}


def level(row: str, holds: bool | None) -> dict[str, Any]:
    return {"row": row, "level_holds": holds}


def document(
    name: str, effects: list[dict[str, Any]], *rows: dict[str, Any], loop: str = "open"
) -> dict[str, Any]:
    about = {"workload": name, "loop": loop, "replays": 25, "boots": {"stock": 20}}
    judged = {**about, "effects": effects, "rows": list(rows)}
    return {"recording": name, "digest": "0" * 64, "levels": {"verdict": {"verdict": judged}}}


MIXED, FREE, COST = "end.mixed_blocks", "end.free_pages", "cost.pages_isolated"


def test_a_row_earns_trust_by_being_right_every_time_on_two_demands() -> None:
    right = [effect(MIXED, NEITHER), effect(MIXED, BOTH)]
    assert not record_of([document("a", right)]).earned(MIXED, "open"), "one demand is not enough"
    both = record_of([document("a", right), document("b", right)])
    assert both.earned(MIXED, "open")
    assert not both.earned(MIXED, "closed")
    assert both.of(MIXED, "open") == RowRecord(2, 4, 4, 0)
    for wrong in (
        effect(MIXED, NEITHER, holds=False),
        effect(MIXED, OPEN),
        effect(MIXED, MODEL_ONLY),
        effect(MIXED, KERNELS_ONLY),
    ):
        assert not record_of([document("a", right), document("b", [right[0], wrong])]).earned(MIXED, "open")


def test_false_verdicts_are_counted_and_rows_without_a_name_are_not() -> None:
    found = record_of([document("a", [effect(MIXED, MODEL_ONLY, holds=False), effect("", MODEL_ONLY)])])
    assert found.of(MIXED, "open") == RowRecord(1, 1, 0, 1)
    assert found.total("open") == RowRecord(1, 1, 0, 1)
    assert set(found.rows) == {MIXED}


def test_what_only_a_patched_kernel_does_answers_by_its_level() -> None:
    rows = [level(COST, True), level(COST, False), level(MIXED, False), level(COST, None)]
    found = record_of([document("a", [effect(MIXED, NEITHER)], *rows)])
    assert found.of(COST, "open") == RowRecord(1, 2, 1, 0)
    assert found.of(MIXED, "open") == RowRecord(1, 1, 1, 0), "its effect answers, not its level"


def test_each_loop_has_a_record_of_its_own() -> None:
    found = record_of(
        [document("a", [effect(MIXED, NEITHER)]), document("a", [effect(MIXED, MODEL_ONLY)], loop="closed")]
    )
    assert (found.of(MIXED, "open").right, found.of(MIXED, "closed").right) == (1, 0)
    assert found.total("closed").demands == 1


def test_documents_without_the_level_are_passed_over_and_others_refused() -> None:
    assert record_of([{"levels": {"buddy": {}}}]) == Record((), {})
    assert record_of([document("a", [])]) == Record((), {})
    for wrong in ({}, {"levels": 3}, {"levels": {"verdict": {"verdict": {"effects": [{}]}}}}):
        with pytest.raises(KevacuateError, match="no verification"):
            record_of([wrong])


def test_the_record_of_the_package_is_one() -> None:
    known = record()
    assert known.demands
    assert set(known.rows) <= {row.id for row in ROWS}
    for by_loop in known.rows.values():
        for loop, found in by_loop.items():
            assert loop in ("open", "closed")
            assert 0 < found.demands <= known.total(loop).demands
            assert found.right + found.false <= found.asked
    written = ROOT / "src" / "kevacuate" / "data" / FILE
    assert known.as_json() == written.read_text(encoding="utf-8")


def trusting(*rows: str) -> Record:
    return Record(({"loop": "open"},) * 2, {row: {"open": RowRecord(2, 4, 4, 0)} for row in rows})


@pytest.fixture(scope="module")
def compared(synthetic_kev: Path) -> Comparison:
    return kevacuate.compare(str(synthetic_kev), ["mainline", "evacuate"], repeats=4)


def use(monkeypatch: pytest.MonkeyPatch, known: Record) -> None:
    for module in (concluding, tables, worth):
        monkeypatch.setattr(module, "record", lambda: known)


def test_the_verdict_is_the_models_until_every_row_that_decides_has_earned_trust(
    compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, trusting())
    first, second, *_ = conclusion(compared)
    assert (first.kind, second.kind) == ("verdict", "worth")
    assert first.text.startswith("In the model, against mainline: evacuate changes ")
    assert first.rows == second.rows
    assert "no booted kernel was held against it" in second.text
    use(monkeypatch, trusting(*first.rows[:-1]))
    assert conclusion(compared)[0].text.startswith("In the model")
    use(monkeypatch, trusting(*first.rows))
    assert conclusion(compared)[0].text.startswith("In the kernel, against mainline: evacuate changes ")
    n = len(first.rows)
    assert f"{n} of the {n} outcomes that differ have earned trust" in conclusion(compared)[1].text


def test_what_is_worth_is_called_what_the_verdict_calls_it(compared: Comparison) -> None:
    """Of so few replays the verdict counts outcomes, not the rows that decide; those are fewer."""
    verdict, known, *_ = conclusion(compared)
    assert re.search(r"evacuate changes [0-9]+ of [0-9]+ outcomes", verdict.text)
    assert "rows that decide" not in known.text


def test_another_loop_has_earned_nothing(compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, trusting(*(row.id for row in ROWS)))
    closed = replace(
        compared,
        runs=tuple(
            replace(run, provenance={**run.provenance, "loop": {"ran": "closed"}}) for run in compared.runs
        ),
    )
    assert conclusion(compared)[0].text.startswith("In the kernel")
    assert conclusion(closed)[0].text.startswith("In the model")


def test_single_replays_decide_nothing(compared: Comparison) -> None:
    single = Comparison((compared.runs[0], compared.runs[4]), compared.recording)
    first, second, *_ = conclusion(single)
    assert first.text.startswith("Undecided: a single replay of each policy")
    assert second.text == "All this is said of the model; no booted kernel was held against it in open loop."


def test_one_policy_has_no_verdict_and_no_marks(compared: Comparison) -> None:
    alone = Comparison(compared.runs[:4], compared.recording)
    assert not {"verdict", "worth"} & {part.kind for part in conclusion(alone)}
    table = tables.comparison_table(alone)
    assert not any(MARK in line.name for line in table.lines)
    assert FOOTNOTE not in table.notes


def test_rows_that_have_not_earned_trust_are_marked(
    compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, trusting(MIXED))
    table = tables.comparison_table(compared, every=True)
    marked = {line.name for line in table.lines if line.name.endswith(MARK)}
    plain = {(line.section, line.name) for line in table.lines if line.name not in marked}
    assert f"free pages {MARK}" in marked
    assert ("At the end", "mixed pageblocks") in plain
    assert ("Control (should not move)", "rows of demand") in plain
    assert table.notes == (FOOTNOTE,)
    trusted = {row["id"]: row["trusted"] for row in comparison_json(compared)["rows"]}
    assert [name for name, earned in trusted.items() if earned] == [MIXED]
    labels = {row["id"]: row["label"] for part in figure_sections(compared)[0] for row in part["rows"]}
    assert (labels[MIXED], labels[FREE]) == ("mixed pageblocks", f"free pages {MARK}")


def test_where_all_rows_have_earned_trust_there_is_no_footnote(
    compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, trusting(*(row.id for row in ROWS)))
    assert tables.comparison_table(compared, every=True).notes == ()


def test_the_page_begins_with_the_verdict(compared: Comparison) -> None:
    page = comparison_page(compared)
    first = conclusion(compared)[0].text
    assert page.count(f"<bdi>{first}</bdi>") == 1
    assert page.index(first) < page.index('id="keys"') < page.index("In words")
    assert FOOTNOTE in page


def test_the_table_of_values_says_which_rows_are_trusted(
    compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = kevacuate.summary(compared).column("trusted").to_pylist()
    known = record()
    assert column == [known.earned(row.row.id, "open") for row in comparison_rows(compared) for _ in range(2)]


def test_the_words_count(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Record(({"loop": "open"},), {MIXED: {"open": RowRecord(1, 4, 3, 1)}})
    use(monkeypatch, known)
    assert worth_words([MIXED], "open") == (
        "0 of the 1 row that decides has earned trust against booted kernels. On 1 recorded demand in open loop 3 of 4 verdicts "
        "on a row were the kernels', and 1 was false (docs/fidelity.md)."
    )


def test_the_command_writes_the_record_or_one_sentence(tmp_path: Path) -> None:
    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "docs" / "generate_trust.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    verified, target = tmp_path / "v.json", tmp_path / "trust.json"
    verified.write_text(json.dumps(document("a", [effect(MIXED, NEITHER)])))
    assert call(verified, "-o", target).returncode == 0
    assert json.loads(target.read_text())["rows"] == {
        MIXED: {"open": {"demands": 1, "asked": 1, "right": 1, "false": 0}}
    }
    verified.write_text("{}")
    refused = call(verified, "-o", tmp_path / "none.json")
    assert refused.returncode == 1
    assert "no verification" in refused.stderr
    assert not (tmp_path / "none.json").exists()
