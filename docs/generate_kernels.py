# SPDX-License-Identifier: GPL-2.0-or-later
"""Write docs/results/kernels.md from tables of repeats of booted kernels.

``python docs/generate_kernels.py tests/data/outcomes/outcomes.csv tests/data/outcomes/outcomes-pressure.csv``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kernels_document import kernels_document

from kevacuate import KevacuateError

TARGET = Path(__file__).parent / "results" / "kernels.md"


def main() -> None:
    """Read the tables, and write beside the target, then rename."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+", metavar="OUTCOMES")
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    arguments = parser.parse_args()
    try:
        text = kernels_document(arguments.tables)
    except KevacuateError as error:
        sys.exit(str(error))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    beside = arguments.output.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(arguments.output)


if __name__ == "__main__":
    main()
