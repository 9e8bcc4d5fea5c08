# SPDX-License-Identifier: GPL-2.0-or-later
"""The structure of trace-cmd's ``trace.dat``, versions 6 and 7: where its parts lie. Nothing is decoded here.

Kernel symbols and printk formats are passed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from kevacuate.errors import KevacuateError
from kevacuate.recording.importers.container import Container, Cursor
from kevacuate.recording.importers.tracedat_parts import MAGIC, Layout
from kevacuate.recording.importers.tracedat_v6 import Version6
from kevacuate.recording.importers.tracedat_v7 import Version7


def read_layout(file: IO[bytes], path: Path) -> Layout:
    """Take a trace.dat apart.

    Parameters
    ----------
    file : binary file
        The file, not compressed as a whole.
    path : Path
        What to call it.

    Raises
    ------
    KevacuateError
        If it is truncated, corrupted or of another version.

    """
    whole = Container(file, path)
    cursor = Cursor(whole.read, whole.bad, len(MAGIC), whole.size)
    version = cursor.string("the version", 16)
    if version not in ("6", "7"):
        raise KevacuateError(
            f"{path} is a trace.dat of version {version!r}: versions 6 and 7 are read "
            "(trace-cmd convert writes them)."
        )
    whole.order = cursor.order = "big" if cursor.number(1, "the header") else "little"
    cursor.skip(1, "the header")
    layout = Layout(path, int(version), order=whole.order, machine_page=cursor.number(4, "the header"))
    (Version6 if version == "6" else Version7)(whole, layout).read(cursor)
    _check_regions(whole, layout)
    return layout


def _check_regions(file: Container, layout: Layout) -> None:
    """Trace data lie in the file, apart from each other."""
    regions = [(c.offset, c.size, c.cpu) for b in layout.buffers for c in b.cpus if c.size]
    last = 0
    for offset, size, cpu in sorted(regions):
        if offset + size > file.size:
            raise file.bad(f"the data of CPU {cpu} reach past the file's end")
        if offset < last:
            raise file.bad(f"the data of CPU {cpu} overlap those of another")
        last = offset + size
