# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that triages recordings: told ``{"paths": [...]}`` a line, it says each one's sheet, or why it has none."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from kevacuate.errors import KevacuateError
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import Recording
from kevacuate.sweeps.processes import Lines
from kevacuate.sweeps.sheets import sheet_of


def one_sheet(path: str, named: str = "") -> dict[str, Any]:
    """The sheet of a recording, which is named by *named* where it lies elsewhere."""
    try:
        return {"sheet": sheet_of(triage_recording(Recording.open(path)))}
    except (KevacuateError, OSError, MemoryError) as error:
        said = str(error) or type(error).__name__
        return {"refused": said.replace(path, named or path)}


def main() -> None:
    """Work until the input ends."""
    pa.set_cpu_count(1)  # a process a core: threads beside it only cost
    lines = Lines()
    for told in lines.told():
        for path in told["paths"]:
            lines.say(**one_sheet(path))


if __name__ == "__main__":
    main()
