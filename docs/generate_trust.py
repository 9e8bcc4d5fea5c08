# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the package's trust record from verifications of the level `verdict`.

``kevacuate verify RECORDING --level verdict --replays 25 --json > VERIFIED.json`` for each demand at hand, then
``python docs/generate_trust.py VERIFIED.json ...``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kevacuate import KevacuateError
from kevacuate.measure.fidelity import BOTH, NEITHER
from kevacuate.measure.trustrecord import FILE, Record, RowRecord
from kevacuate.reports.comparison.rows import ROWS

TARGET = Path(__file__).parent.parent / "src" / "kevacuate" / "data" / FILE


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


def write_record(found: Record, target: Path = TARGET) -> None:
    """Write beside the target, then rename."""
    beside = target.with_suffix(".new")
    beside.write_text(found.as_json(), encoding="utf-8")
    beside.replace(target)


def main() -> None:
    """Read the verifications and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verified", type=Path, nargs="+", metavar="VERIFIED.json")
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    arguments = parser.parse_args()
    try:
        found = record_of([json.loads(path.read_text(encoding="utf-8")) for path in arguments.verified])
    except (OSError, ValueError, KevacuateError) as error:
        sys.exit(f"The record was not written: {error}")
    if not found.demands:
        sys.exit("No document holds the level verdict with effects: the record was not written.")
    write_record(found, arguments.output)


if __name__ == "__main__":
    main()
