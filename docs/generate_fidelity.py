# SPDX-License-Identifier: GPL-2.0-or-later
"""Write docs/fidelity.md, and the package's trust record, from the recordings at hand.

``python docs/generate_fidelity.py DIRECTORY``

Every directory in DIRECTORY that is a recording is verified at all levels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fidelity_document import fidelity_document
from generate_trust import record_of, write_record

from kevacuate import KevacuateError, Recording, verify
from kevacuate.mm.profile import NOT_MODELLED

TARGET = Path(__file__).with_name("fidelity.md")


def recordings(directory: Path) -> list[Recording]:
    """Every recording in *directory*, by name."""
    found = []
    for path in sorted(directory.iterdir()):
        try:
            found.append(Recording.open(path))
        except KevacuateError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


def main() -> None:
    """Verify, and write beside the target, then rename."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    parser.add_argument(
        "--replays", type=int, default=20, help="of each policy, for the verdict level (default: 20)"
    )
    arguments = parser.parse_args()
    results = []
    for recording in recordings(arguments.directory):
        print(recording.path.name, file=sys.stderr)
        results.append(verify(recording, replays=arguments.replays))
    if not results:
        sys.exit(f"{arguments.directory} holds no recording.")
    write_record(record_of([result.as_dict() for result in results]))
    beside = arguments.output.with_suffix(".new")
    beside.write_text(fidelity_document(results, NOT_MODELLED))
    beside.replace(arguments.output)


if __name__ == "__main__":
    main()
