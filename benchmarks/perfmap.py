# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of compiled functions for `perf report`: ``/tmp/perf-PID.map`` (tools/perf/Documentation/jit-interface.txt).

Numba loads each entry point's object file from its cache and knows the address of the entry alone; its parts are local symbols of
several sections. Each section is found in this process's memory by bytes that no relocation has changed. Needs `readelf`.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from numba.core.codegen import JITCodeLibrary

Region = tuple[int, bytes]


def keep_objects() -> None:
    """Keep the object code of what Numba loads from its cache from now on: it forgets it otherwise."""
    load = JITCodeLibrary._unserialize.__func__

    def loaded(cls: Any, codegen: Any, state: Any) -> Any:
        library = load(cls, codegen, state)
        if state[1] == "object":
            library.kept = state[2][0]
        return library

    JITCodeLibrary._unserialize = classmethod(loaded)


def write(*kernels: Any) -> str:
    """Write the map of *kernels*, which must have been called; its path."""
    path = f"/tmp/perf-{os.getpid()}.map"
    regions = _code_regions()
    with open(path, "w", encoding="ascii") as out:
        for kernel in kernels:
            library = next(iter(kernel.overloads.values())).library
            code = getattr(library, "kept", None) or library._get_compiled_object()
            out.writelines(_lines(kernel.__name__, code, regions))
    return path


def _code_regions() -> list[Region]:
    """Address and content of the executable memory that no file backs."""
    regions = []
    with open("/proc/self/maps", encoding="ascii") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, mode, *rest = line.split()
            if "x" in mode and len(rest) < 4:
                first, end = (int(part, 16) for part in span.split("-"))
                memory.seek(first)
                regions.append((first, memory.read(end - first)))
    return regions


def _lines(name: str, code: bytes, regions: list[Region]) -> Iterator[str]:
    """Address, size and name of each function of an entry point's object code."""
    with tempfile.NamedTemporaryFile(suffix=".o") as file:
        file.write(code)
        file.flush()
        sections, symbols = (
            subprocess.run(["readelf", option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("-SW", "-sW")
        )
    at = {}
    for number, offset, size in re.findall(r"\[ *(\d+)\] \S*text\S* +PROGBITS +\S+ (\S+) (\S+)", sections):
        begin = int(offset, 16)
        at[number] = _place(code[begin : begin + int(size, 16)], regions)
    for cells in map(str.split, symbols.splitlines()):
        if len(cells) >= 8 and cells[3] == "FUNC" and at.get(cells[6]) is not None:
            function = re.sub(r"B\d*v\d+B.*|\$[0-9a-f]+$|^kevacuate\.", "", cells[7]).replace(
                "_ZN9kevacuate", ""
            )
            yield f"{at[cells[6]] + int(cells[1], 16):x} {int(cells[2], 0):x} {name}:{function}\n"


def _place(section: bytes, regions: list[Region]) -> int | None:
    """Where a section lies; None if no bytes of its beginning are found in one place alone."""
    for cut in range(0, min(len(section), 1024), 16):
        piece = section[cut : cut + 40]
        hits = [base + held.find(piece) - cut for base, held in regions if piece in held]
        if len(hits) == 1:
            return hits[0]
    return None
