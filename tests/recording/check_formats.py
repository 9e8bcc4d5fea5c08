# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds the reader of trace.dat to real format files: ``python tests/recording/check_formats.py [-v] DIR...``.

Each DIR is a tree of format files of one kernel (SYSTEM/EVENT/format, as below tracefs' ``events``), whose path names the
version (``..._4.4.88``). For every event that a recording keeps, a trace.dat is made with a distinct value in each field and,
one after the other, each name that the print fmt has for a number or flag; the importer must give each value in its
column, and each name the number that :mod:`kevacuate.kernel` has for it at that version. What trace-cmd prints of the file's
raw fields, where it is installed, must be what was put in. Not part of the suite: such trees are others' and not copied here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from tracedat_maker import Maker

from kevacuate.errors import KevacuateError
from kevacuate.kernel import compaction, gfp, migrate, migratetypes
from kevacuate.kernel.events import FIELDS
from kevacuate.kernel.versions import Version, parse_version
from kevacuate.recording.formats import EventFormat, load_formats
from kevacuate.recording.gfptext import gfp_text
from kevacuate.recording.importers import open_source
from kevacuate.recording.printfmt import flags, symbols
from kevacuate.recording.schema import VALUE_COLUMNS, EventSpec, concat_chunks, event_name, event_spec


class Try(NamedTuple):
    """One event put in, and what must come out."""

    fields: dict[str, int]
    columns: dict[str, int]
    what: str


def field_of(event: EventFormat, spec: EventSpec, column: str) -> str:
    """The event's own name of the field that fills the column, "" if it has none."""
    wanted = spec.field(column)
    old = [name for name, new in FIELDS.get(event_name(event.name), {}).items() if new == wanted]
    return next((f.name for name in (wanted, *old) for f in event.fields if f.name == name), "")


def base_flags(version: Version | None) -> int:
    """What flags are of which no bit is set: kernels before 4.4 wake kswapd unless told otherwise."""
    return gfp.conversion(gfp.bits(version) or {}).base


def plain(event: EventFormat, spec: EventSpec, version: Version | None) -> Try:
    """A distinct small number in every field."""
    fields, columns = dict[str, int](), dict[str, int]()
    for number, column in enumerate(spec.fields, 1):
        name = field_of(event, spec, column)
        if name in ("name", "pte"):  # a string and an entry of a page table: no numbers
            continue
        if name:
            fields[name] = 0 if column in ("mt", "gfp") or name in ("ret", "status") else number
            columns[column] = base_flags(version) if column == "gfp" else fields[name]
            if name in ("ret", "status"):
                del columns[column]
        else:
            columns[column] = spec.missing(column) or 0
    return Try(fields, columns, "values")


def names(event: EventFormat, spec: EventSpec, version: Version | None) -> Iterator[Try]:
    """Every name of a number and of a flag, and every migratetype."""
    stored = {
        "ret": compaction.stored_result,
        "status": compaction.stored_result,
        "reason": migrate.stored_reason,
    }
    stored["mode"] = migrate.stored_mode
    for column in spec.fields:
        name = field_of(event, spec, column)
        if name in stored:
            for label, number in symbols(event.text, name).items():
                new = stored[name](label)
                yield Try({name: number}, {column: -1 if new is None else new}, f"{name} {label}")
        table = migratetypes.table(version)
        if name.endswith("migratetype") and table is not None:
            for number, new in enumerate(table.tolist()):
                yield Try({name: number}, {column: new}, f"{name} {number}")
        if column == "gfp" and name:
            for label, value in flags(event.text):
                single = gfp.printed_name(label) if value.bit_count() == 1 else ""
                known = gfp.composed(label, version) if label.startswith("GFP_") else None
                if single in gfp.GFP_BITS:
                    known = 1 << gfp.GFP_BITS[single] | base_flags(version)
                if known is not None and value and single not in gfp.GONE:
                    yield Try({name: value}, {"gfp": known}, f"flags {label}")


def wrong(
    path: Path, formats: dict[int, EventFormat], event: EventFormat, tries: list[Try], maker: Maker
) -> list[str]:
    """What the importer, and trace-cmd, say otherwise."""
    payloads = [maker.event(maker.payload(event, **x.fields)) for x in tries]
    pages = b"".join(maker.page(10**9 * (i + 1), payload) for i, payload in enumerate(payloads))
    path.write_bytes(maker.version_7(formats.values(), {"": (4096, {0: pages})}))
    chunk = concat_chunks(list(open_source(path).events()))
    bad = [] if chunk.rows == len(tries) else [f"{chunk.rows} of {len(tries)} events"]
    for row, x in enumerate(tries[: chunk.rows]):
        for column in VALUE_COLUMNS:
            value = int(getattr(chunk, column)[row])
            if column in x.columns and value != x.columns[column] and not column.startswith("@"):
                shown = (
                    (gfp_text(value), gfp_text(x.columns[column]))
                    if column == "gfp"
                    else (value, x.columns[column])
                )
                bad.append(f"{x.what}: {column} is {shown[0]}, not {shown[1]}")
    return bad + (reported(path, tries) if shutil.which("trace-cmd") else [])


def reported(path: Path, tries: list[Try]) -> list[str]:
    """Fields of which trace-cmd prints another value than was put in."""
    words = ["trace-cmd", "report", "-R", "-t", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=True)
    lines = [line for line in done.stdout.splitlines() if re.search(r"\[\d+\] +\d+\.\d+:", line)]
    bad = [] if len(lines) == len(tries) else [f"trace-cmd prints {len(lines)} of {len(tries)} events"]
    for line, x in zip(lines, tries, strict=False):
        found = dict(re.findall(r"(\w+)=(-?\w+)", line))
        for name, value in x.fields.items():
            number = found.get(name, "")
            if number not in (str(value), hex(value), f"{value:x}"):
                bad.append(f"{x.what}: trace-cmd prints {name}={number}, not {value}")
    return bad


def check(tree: Path, verbose: bool) -> int:
    """Check one kernel's format files; how many events are read otherwise than they should be."""
    formats = {i: e for i, e in load_formats(tree).items() if event_spec(e.name)}
    sizes = Counter(
        f.size for e in formats.values() for f in e.fields if f.declaration.startswith("unsigned long ")
    )
    maker = Maker(long_bytes=4 if sizes[4] > sizes[8] else 8)
    release = re.findall(r"_(\d+\.\d+[.\d]*)", tree.as_posix())
    version = parse_version(release[-1]) if release else None
    print(
        f"{tree}: version {version}, {8 * maker.long_bytes} bits, {len(formats)} events that a recording keeps"
    )
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for event in sorted(formats.values(), key=lambda e: e.name):
            spec = event_spec(event.name)
            assert spec is not None
            tries = [plain(event, spec, version), *names(event, spec, version)]
            try:
                bad = wrong(Path(work) / "x.dat", formats, event, tries, maker)
            except KevacuateError as error:
                print(f"  {event.name}: refused: {str(error).partition('cannot be read. ')[2] or error}")
                continue
            failed += bool(bad)
            if bad or verbose:
                print(f"  {event.name}: {'; '.join(bad) or f'{len(tries)} as put in'}")
    return failed


def main() -> int:
    """The command."""
    words = [word for word in sys.argv[1:] if word != "-v"]
    trees = [path / "events" if (path / "events").is_dir() else path for path in map(Path, words)]
    return min(1, sum(check(tree, "-v" in sys.argv) for tree in trees))


if __name__ == "__main__":
    sys.exit(main())
