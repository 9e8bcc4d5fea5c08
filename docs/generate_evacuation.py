# SPDX-License-Identifier: GPL-2.0-or-later
"""Write docs/results/evacuation.md from ablations of the evacuation patch on recorded demands.

``python docs/generate_evacuation.py RECORDING.kev ...`` replays each, under the patch as posted and with its skip hint ignored.
Recordings behind ``--also`` are replayed under the patch as posted; the page says whether what the others show holds there.
An ablation that was made before is taken as ``kevacuate ablate --json`` wrote it: ``ABLATED.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from evacuation_document import evacuation_document

import kevacuate
from kevacuate.measure.ablated import Ablation, ablation_from
from kevacuate.policy import COMPARED, PATCHED

TARGET = Path(__file__).parent / "results" / "evacuation.md"
REPEATS = 30


def ablations_of(path: Path, repeats: int, policies: Sequence[str]) -> list[Ablation]:
    """The ablation that a file holds, or those of policies on a recording.

    Raises
    ------
    KevacuateError
        It is neither.
    """
    if path.suffix == ".json":
        try:
            return [ablation_from(json.loads(path.read_text(encoding="utf-8")))]
        except (OSError, ValueError):
            raise kevacuate.KevacuateError(f"{path} cannot be read as JSON: name an ablation.") from None
    source = kevacuate.open(path)
    return [kevacuate.ablate(source, policy, repeats=repeats) for policy in policies]


def main() -> None:
    """Make or read the ablations, and write beside the target, then rename."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+", metavar="RECORDING")
    parser.add_argument("--also", type=Path, nargs="*", default=[], metavar="RECORDING", help="others")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    arguments = parser.parse_args()
    try:
        made = [
            one for path in arguments.sources for one in ablations_of(path, arguments.repeats, COMPARED[1:])
        ]
        others = [one for path in arguments.also for one in ablations_of(path, arguments.repeats, [PATCHED])]
    except kevacuate.KevacuateError as error:
        sys.exit(str(error))
    beside = arguments.output.with_suffix(".new")
    beside.write_text(evacuation_document(made, others), encoding="utf-8")
    beside.replace(arguments.output)


if __name__ == "__main__":
    main()
