# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker's process: replays the cells that it is told on its standard input and puts each result into the store.

It says ``{"kept": true}`` if the model need not be compiled. It reads one JSON object a line, ``{"cells": [...]}``, and writes
one for every cell: ``{"cell": DIGEST}`` when its result is there, with ``"error"`` where the replay was refused, or ``"unable"``
where there is no result. It ends with its input, after the cell that it is at. Signals from a terminal are for its parent.
"""

from __future__ import annotations

import sys
from typing import Any

from kevacuate.compiling import when_compiling
from kevacuate.errors import KevacuateError
from kevacuate.runs.replay import loop_is_kept
from kevacuate.sweeps.bench import Bench, Unable
from kevacuate.sweeps.cells import Cell
from kevacuate.sweeps.processes import Lines
from kevacuate.sweeps.store import Store


def one(bench: Bench, store: Store, cell: Cell) -> dict[str, Any]:
    """Replay a cell and keep its result, unless it is there; what is said of it."""
    digest = cell.digest
    if store.place(digest).exists():
        return {"cell": digest}
    try:
        done = bench.run(cell)
        store.put(done.result, done.made)
    except (Unable, KevacuateError) as error:
        return {"cell": digest, "unable": str(error)}
    refused = done.result["error"]
    return {"cell": digest} if refused is None else {"cell": digest, "error": refused}


def main() -> None:
    """Work until the input ends."""
    lines, store, bench = Lines(), Store(sys.argv[1], make=False), Bench(sys.argv[2])
    if loop_is_kept():
        lines.say(kept=True)
    with when_compiling(lambda: lines.say(compiling=True)):
        for told in lines.told():
            for values in told["cells"]:
                lines.say(**one(bench, store, Cell.of_json(values)))


if __name__ == "__main__":
    main()
