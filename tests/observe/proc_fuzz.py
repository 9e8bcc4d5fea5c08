# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and hostile copies of /proc files, drawn from a seed: equal seeds give equal files.

Whatever a file holds, triage gives an answer that can be printed, or a KevacuateError.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.proctext import looks
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.proc import answer
from kevacuate.reports.triage.files.proc import tables, words

sys.path.insert(0, str(Path(__file__).parent.parent / "recording"))
from importer_fuzz import damaged

DATA = Path(__file__).parent.parent / "data" / "procfiles"
NODES = "".join(f"Node {node}, zone   Normal  1 2 3 4 5 6 7 8 9 10 11\n" for node in range(1100))


def samples() -> list[bytes]:
    """Every report, and all of them as one file."""
    found = [path.read_bytes() for path in sorted(DATA.glob("*.txt"))]
    return [*found, b"time: 1684144800\n".join(found)]


def hostile(seed: int) -> bytes:
    """The file that belongs to a seed."""
    draw = random.Random(f"proc {seed}")
    return damaged(draw.choice(samples()), draw)


def bombs() -> dict[str, bytes]:
    """Files that are large, or whose lines are such that a careless pattern takes long."""
    return {
        "line": b"Node 0, zone   Normal " + b"1 " * (16 << 20) + b"x\n",
        "spaces": (b"Node 0, zone   Normal" + b" " * 900 + b"x\n") * 4000,
        "quotes": b"> " * 400 + b"\n" + (b"> " * 450 + b"Node\n") * 2000,
        "open": (b"Node 0, zone   Normal 1 2 3\n" + b" 1\n" * 3) * 10000,
        "soft": b"Node 0, zone   Normal 1=\n" * 20000,
        "counters": b"".join(b"nr_%d 1\n" % number for number in range(120000)),
        "again": b"compact_stall 1\n" * 60000,
        "types": b"".join(b"Node 0, zone Normal, type T%d 999999999999 1\n" % n for n in range(20000)),
        "zones": NODES.encode() * 3,
        "zoneinfo": b"Node 0, zone   Normal\n" + b"  pages free  " + b"9" * 900 + b"\n" + b"  min 1\n" * 150000,
        "slabs": b"slabinfo - version: 2.1\n"
        + b"".join(b"c%d 1 1 1 1 1 : tunables 0 0 0 : slabdata 1 1 0\n" % n for n in range(30000)),
        "times": b"2023-05-15 10:00:00\n1684144800\n10:00:00\n" * 20000,
        "newlines": b"\n" * 100000,
        "head": b"Node 0, zone   Normal" + b"\n" * 65000,
        "digits": (b"9" * 999 + b"\n") * 20000,
    }  # fmt: skip


def run(data: bytes) -> str:
    """Answer a file and print the answer: "" if that succeeded, else the sentence."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x"
        path.write_bytes(data)
        file = TextFile(path)
        looks(file)
        try:
            found = answer([file])
        except KevacuateError as error:
            text = str(error)
            assert text.endswith("."), text
            assert "\n" not in text
            assert len(text) < 1000
            return text
        json.dumps(found, allow_nan=False)
        assert words(found)
        screen = Console(file=io.StringIO(), width=200)
        for table in tables(found):
            screen.print(table)
        return ""
