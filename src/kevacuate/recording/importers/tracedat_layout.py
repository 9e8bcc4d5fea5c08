# SPDX-License-Identifier: GPL-2.0-or-later
"""The structure of trace-cmd's ``trace.dat``, versions 6 and 7: where its parts lie. Nothing is decoded here.

Kernel symbols, printk formats and process names are passed over.
"""

from __future__ import annotations

from pathlib import Path

from kevacuate.errors import KevacuateError
from kevacuate.recording.importers.container import Container, Cursor
from kevacuate.recording.importers.tracedat_parts import MAGIC, Layout
from kevacuate.recording.importers.tracedat_v6 import Version6
from kevacuate.recording.importers.tracedat_v7 import Version7


def read_layout(path: Path) -> Layout:
    """Take a trace.dat apart.

    Raises
    ------
    KevacuateError
        If it is truncated, corrupted, of another version or of a kernel that is not 64-bit little-endian.

    """
    with Container(path) as file:
        cursor = Cursor(file.read, file.bad, len(MAGIC), file.size)
        version = cursor.string("the version", 16)
        if version not in ("6", "7"):
            raise KevacuateError(
                f"{path} is a trace.dat of version {version!r}: versions 6 and 7 are read "
                "(trace-cmd convert writes them)."
            )
        if cursor.number(1, "the header") != 0:
            raise KevacuateError(f"{path} was recorded on a big-endian machine, which is not supported.")
        cursor.skip(5, "the header")
        layout = Layout(path, int(version))
        (Version6 if version == "6" else Version7)(file, layout).read(cursor)
        _check_regions(file, layout)
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
