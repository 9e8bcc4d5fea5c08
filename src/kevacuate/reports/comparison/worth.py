# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verdict of the model is worth: which rows it has got right against kernels that were really booted.

``data/trust.json`` is the record. ``docs/generate_trust.py`` makes it from what ``kevacuate verify --level verdict --json`` says
of the demands at hand, and ``docs/generate_fidelity.py`` makes it together with docs/fidelity.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison
from kevacuate.measure.fidelity import BOTH, NEITHER
from kevacuate.measure.trustrecord import Record, RowRecord, record
from kevacuate.reports.comparison.rows import ROWS

MARK = "°"
"""Stands behind the name of a row that has not earned trust."""

FOOTNOTE = (
    f"{MARK} has not earned trust against booted kernels: the row speaks of the model (docs/fidelity.md)."
)
"""What the mark means."""


def record_of(documents: Iterable[Mapping[str, Any]]) -> Record:
    """The record, from verifications as ``kevacuate verify --json`` writes them; those without the level are passed over.

    It has the rows that a comparison shows.

    Raises
    ------
    KevacuateError
        One is no verification.
    """
    demands: list[dict[str, Any]] = []
    found: dict[tuple[str, str], list[tuple[int, bool, bool]]] = {}
    for document in documents:
        try:
            judged = document["levels"].get("verdict", {}).get("verdict")
            if judged is None or not judged["effects"]:
                continue
            names = ("workload", "loop", "replays", "boots")
            about = {"recording": document["recording"], "digest": document["digest"]}
            demands.append({**about, **{name: judged[name] for name in names}})
            for row, right, false in _answers(judged):
                found.setdefault((row, judged["loop"]), []).append((len(demands), right, false))
        except (KeyError, TypeError, AttributeError):
            raise KevacuateError(
                "A document is no verification: make it by kevacuate verify RECORDING --level verdict --json."
            ) from None
    rows: dict[str, dict[str, RowRecord]] = {}
    shown = {row.id for row in ROWS}
    for (row, loop), answers in found.items():
        if row not in shown:
            continue
        rows.setdefault(row, {})[loop] = RowRecord(
            len({demand for demand, _, _ in answers}),
            len(answers),
            sum(right for _, right, _ in answers),
            sum(false for _, _, false in answers),
        )
    return Record(tuple(demands), rows)


def _answers(judged: Mapping[str, Any]) -> Iterator[tuple[str, bool, bool]]:
    """(row, right, false) of every verdict on a row of a comparison; rows without an effect answer by their level."""
    told = {effect["row"] for effect in judged["effects"]}
    for effect in judged["effects"]:
        if effect["row"]:
            right = effect["agreement"] in (BOTH, NEITHER) and effect["holds"]
            yield effect["row"], right, effect["false_verdict"]
    for level in judged["rows"]:
        if level["row"] and level["row"] not in told and level["level_holds"] is not None:
            yield level["row"], level["level_holds"], False


def loop_of(comparison: Comparison) -> str:
    """The loop that a comparison was replayed in."""
    loop: dict[str, str] = comparison.baseline.provenance.get("loop", {})
    return loop.get("ran", "open")


def worth_words(deciding: Sequence[str], loop: str) -> str:
    """What a verdict that rests on these rows is worth, in sentences."""
    known = record()
    total = known.total(loop)
    if not total.asked:
        return f"All this is said of the model; no booted kernel was held against it in {loop} loop."
    earned = sum(known.earned(row_id, loop) for row_id in deciding)
    rows = "1 row that decides" if len(deciding) == 1 else f"{len(deciding)} rows that decide"
    has = f"{earned} of the {rows} {'has' if 1 in (earned, len(deciding)) else 'have'} earned trust against booted kernels."
    false = f"{total.false} {'was' if total.false == 1 else 'were'} false"
    demands = f"{total.demands} recorded demand{'' if total.demands == 1 else 's'}"
    return (
        f"{has if deciding else 'No row decides.'} On {demands} in {loop} loop {total.right} of {total.asked} verdicts on a row "
        f"were the kernels', and {false} (docs/fidelity.md)."
    )
