# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the package's trust record from verifications of the level `verdict`.

``kevacuate verify RECORDING --level verdict --replays 25 --json > VERIFIED.json`` for each demand at hand, then
``python docs/generate_trust.py VERIFIED.json ...``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from kevacuate import KevacuateError
from kevacuate.measure.trustrecord import FILE, Record
from kevacuate.reports.comparison.worth import record_of

TARGET = Path(__file__).parent.parent / "src" / "kevacuate" / "data" / FILE


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
