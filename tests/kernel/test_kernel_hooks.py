# SPDX-License-Identifier: GPL-2.0-or-later
"""The hooks' numbers: recordings hold no others, the compiled loops have the same, and no file has them bare."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest

import kevacuate
from kevacuate.kernel.hooks import (
    FIRST_OF_A_PAGE,
    LAST_OF_A_PAGE,
    LAST_REQUEST,
    OF_A_LIST,
    OF_A_PAGE,
    CompactZoneOp,
    EvacOp,
    ListOp,
    MigrationOp,
    RmqKind,
)
from kevacuate.recording import EventKind, event_numbers
from kevacuate.recording.schema import NO_PFN

DATA = Path(__file__).parents[1] / "data"
PACKAGE = Path(kevacuate.__file__).parent
ENUMS: dict[str, tuple[type[IntEnum], EventKind, str]] = {
    "RMQ": (RmqKind, EventKind.GT_RMQ, "a"),
    "LIST": (ListOp, EventKind.GT_LIST, "a"),
    "EVAC": (EvacOp, EventKind.GT_EVAC, "order"),
    "MIG": (MigrationOp, EventKind.GT_MIG, "b"),
    "CZ": (CompactZoneOp, EventKind.GT_CZ, "a"),
}


@pytest.mark.parametrize("name", ENUMS)
def test_a_recording_holds_only_known_numbers(name: str) -> None:
    enum, kind, column = ENUMS[name]
    found: set[int] = set()
    name = "compaction.kev" if kind in (EventKind.GT_MIG, EventKind.GT_CZ) else "one-cpu.kev"
    for chunk in kevacuate.open(DATA / name).events(kinds=[kind]):
        numbers = getattr(chunk, column)
        found |= set(np.unique(numbers & 255 if kind == EventKind.GT_CZ else numbers).tolist())
    assert found
    assert found <= {int(one) for one in enum}


def test_kinds_that_name_a_page_have_one_and_others_none() -> None:
    seen: dict[int, bool] = {}
    for chunk in kevacuate.open(DATA / "one-cpu.kev").events(kinds=[EventKind.GT_RMQ]):
        for kind in np.unique(chunk.a).tolist():
            has_page = chunk.pfn[chunk.a == kind] != NO_PFN
            assert has_page.all() or not has_page.any()
            seen[kind] = bool(has_page.all())
    assert len(seen) >= 4
    assert {kind for kind, has_page in seen.items() if has_page} == set(OF_A_PAGE) & set(seen)
    assert (min(OF_A_PAGE), max(OF_A_PAGE)) == (FIRST_OF_A_PAGE, LAST_OF_A_PAGE)
    assert set(OF_A_PAGE) == set(range(FIRST_OF_A_PAGE, LAST_OF_A_PAGE + 1))


def test_requests_come_before_what_no_request_is() -> None:
    assert {kind for kind in RmqKind if kind <= LAST_REQUEST} == {
        RmqKind.BULK, RmqKind.BUDDY, RmqKind.DRAIN, RmqKind.FREE
    }  # fmt: skip
    assert set(OF_A_LIST) == {RmqKind.DRAIN, RmqKind.INSERT}


def test_the_compiled_loops_have_the_numbers_of_the_enums() -> None:
    plain = {name: value for name, value in vars(event_numbers).items() if name.isupper()}
    for name, value in plain.items():
        prefix, _, rest = name.partition("_")
        enum = ENUMS[prefix][0] if prefix in ENUMS else EventKind
        assert type(value) is int
        assert value == enum[rest if prefix in ENUMS else name], name


def bare(tree: ast.Module) -> Iterator[int]:
    """Lines that compare an op or a kind with a number."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        names = {getattr(side, "id", getattr(side, "attr", "")) for side in sides}
        signs = all(isinstance(one, ast.Lt | ast.GtE) for one in node.ops) and any(
            isinstance(side, ast.Constant) and side.value == 0 for side in sides
        )  # none at all, as -1
        numbers = (
            any(isinstance(side, ast.Constant) and type(side.value) is int for side in sides) and not signs
        )
        if names & {"op", "kind"} and numbers:
            yield node.lineno


@pytest.mark.parametrize("room", ["demand", "fidelity", "measure", "observe", "runs", "reports"])
def test_no_operation_is_compared_with_a_bare_number(room: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for line in bare(ast.parse(path.read_text()))
    ]
    assert found == []


def test_a_bare_number_is_found() -> None:
    assert list(bare(ast.parse("if op == 2:\n    pass"))) == [1]
    assert not list(bare(ast.parse("if op == LIST_DELETE:\n    pass")))
