# SPDX-License-Identifier: GPL-2.0-or-later
"""Write docs/results/held-out.md, from tables of repeats and of replays.

``python docs/generate_held_out.py`` writes the page from the tables in tests/data/outcomes.
``python docs/generate_held_out.py --measure RECORDING...`` replays recordings first, and writes the table of the later model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from held_out_document import held_out_document
from held_out_replays import measured, write_replays

from kevacuate import KevacuateError

HERE = Path(__file__).parent
TARGET = HERE / "results" / "held-out.md"
DATA = HERE.parent / "tests" / "data" / "outcomes"
TABLES = tuple(
    DATA / name for name in ("outcomes.csv", "outcomes-pressure.csv", "held-out.csv", "held-out-counters.csv")
)
REPLAYS = DATA / "held-out-replays.csv"
LATER = DATA / "held-out-replays-later.csv"
"""Replays of the model as it was when the boots were made, and of a later one."""


def main() -> None:
    """Measure if asked to, and write beside the target, then rename."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path, nargs="+", metavar="RECORDING", default=[])
    parser.add_argument(
        "--judge", nargs="*", default=[], help="names of recordings to replay under every booted policy"
    )
    parser.add_argument(
        "--replays", type=int, default=25, help="of each judged recording and policy (default: 25)"
    )
    parser.add_argument(
        "--draws", type=int, default=12, help="of each other recording, mainline (default: 12)"
    )
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    arguments = parser.parse_args()
    try:
        if arguments.measure:
            rows = []
            for path in arguments.measure:
                print(path.name, file=sys.stderr)
                judged = path.name in arguments.judge
                rows += measured(path, arguments.replays if judged else arguments.draws, judged)
            write_replays(LATER, rows)
        text = held_out_document(TABLES, REPLAYS, LATER)
    except KevacuateError as error:
        sys.exit(str(error))
    beside = arguments.output.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(arguments.output)


if __name__ == "__main__":
    main()
