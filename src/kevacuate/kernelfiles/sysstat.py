# SPDX-License-Identifier: GPL-2.0-or-later
"""What sysstat prints of memory: ``sar -B -r -S -W -H`` (or ``-A``), ``sadf -d``, ``-p``, ``-j`` and ``-x``.

sar's tables are found by their columns' names, so those of other activities are passed over. Its dates follow the locale: where
both numbers could be the month, the first is taken for it (the C locale's). Decimal commas and ``--human`` are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.samples import Sample
from kevacuate.kernelfiles.stamps import Stamp, stamp_in
from kevacuate.kernelfiles.text import TextFile

COLUMNS = {
    "kbmemfree": "free_kb", "memfree": "free_kb", "kbavail": "available_kb", "avail": "available_kb",
    "kbslab": "slab_kb", "slab": "slab_kb", "kbkstack": "kernel_stack_kb", "kstack": "kernel_stack_kb",
    "kbpgtbl": "page_tables_kb", "pgtbl": "page_tables_kb", "kbvmused": "vmalloc_kb", "vmused": "vmalloc_kb",
    "kbhugfree": "huge_free_kb", "hugfree": "huge_free_kb", "kbswpused": "swap_used_kb", "swpused": "swap_used_kb",
    "pgscank": "pgscan_kswapd", "pgscand": "pgscan_direct", "pgsteal": "pgsteal", "pswpin": "pswpin", "pswpout": "pswpout",
}  # fmt: skip
"""sar's columns (without ``/s``) and sadf's JSON and XML names to names of :mod:`kevacuate.kernelfiles.samples`."""

MOST_JSON = 8 << 20
"""Bytes of sadf's JSON that are read at once."""

LONGEST = 2000
"""Characters of a line that are looked at."""

_DAY_SECONDS = 86400.0
_BANNER = re.compile(
    r"^Linux \S{1,100} \((?P<host>[^()]{0,200})\)\s+(?P<date>[\d./-]{6,10})\s+_?\w+_?\s*(?:\(\d+ CPU\))?"
)
_DATES = (
    re.compile(r"(?P<Y>\d{4})-(?P<M>\d\d)-(?P<D>\d\d)$"),
    re.compile(r"(?P<M>\d\d)[/-](?P<D>\d\d)[/-](?P<Y>\d{4}|\d\d)$"),
    re.compile(r"(?P<D>\d\d)[.](?P<M>\d\d)[.](?P<Y>\d{4}|\d\d)$"),
)
_ROW = re.compile(r"^(?P<time>\d\d:\d\d:\d\d(?: [AP]M)?)\s+(?P<rest>\S.*)$")
_NUMBER = re.compile(r"-?\d{1,18}(?:[.,]\d{1,6})?(?P<unit>[kMGT])?")
_UNITS = {"k": 1.0, "M": 1024.0, "G": 1024.0**2, "T": 1024.0**3}
_PAIRS = re.compile(r'([\w-]{1,40})="(-?\d{1,18}(?:\.\d{1,6})?)"|<([\w-]{1,40})>(-?\d{1,18}(?:\.\d{1,6})?)</')
_XML_TIME = re.compile(r'<timestamp date="([\d-]{10})" time="([\d:]{8})"(?: utc="(\d)")?')
_XML_HOST = re.compile(r'<host nodename="([^"]{1,200})"')
_NAMES = "|".join(sorted(COLUMNS))
_LOOKS = re.compile(
    r"^Linux \S{1,100} \([^()\n]{0,200}\)[^\S\n]+[\d./-]{6,10}[^\S\n]+_\w+_"
    rf"|^\d\d:\d\d:\d\d(?: [AP]M)?(?:\s+[\w%/]+){{0,6}}\s+(?:{_NAMES})(?:/s)?(?:\s|$)"
    rf"|^#? ?hostname;interval;timestamp;.{{0,400}}(?:{_NAMES})"
    rf"|^\S{{1,200}}\t\d+\t[^\t]{{8,30}}\t\S+\t(?:{_NAMES})(?:/s)?\t"
    r'|\A\s*\{\s*"sysstat" ?: ?\{|^<sysstat\b',
    re.MULTILINE,
)


def looks_like_sysstat(file: TextFile) -> bool:
    """Whether a file begins with what sar or sadf prints of memory."""
    return _LOOKS.search(file.head) is not None


def sysstat_samples(file: TextFile) -> Iterator[Sample]:
    """The figures of memory in what sar or sadf printed, in the file's order."""
    start = file.head.lstrip()[:200]
    if start.startswith("{"):
        yield from _json(file)
    elif "<sysstat" in file.head:
        yield from _xml(file.lines())
    elif ";interval;timestamp" in file.head or ("\t" in start.split("\n")[0] and not _BANNER.match(start)):
        yield from _database(file.lines())
    else:
        yield from _text(file.lines())


def name_of(column: str) -> str | None:
    """The name of a column's figure; None if it is none of memory that is kept."""
    return COLUMNS.get(column.removesuffix("/s"))


def _value(text: str, name: str) -> float | None:
    """A figure as printed; amounts with a unit of ``--human`` in kB."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    unit = found["unit"]
    number = float((text[: found.start("unit")] if unit else text).replace(",", "."))
    return number * _UNITS[unit] if unit and name.endswith("_kb") else None if unit else number


def _date(text: str) -> str:
    """The banner's date as ``2026-11-30``; empty where it is none."""
    for form in _DATES:
        if found := form.match(text):
            year, month, day = found["Y"], int(found["M"]), int(found["D"])
            if month > 12 and day <= 12:
                month, day = day, month
            return f"{year if len(year) == 4 else f'20{year}'}-{month:02}-{day:02}"
    return ""


class _Clock:
    """Times of day under a banner's date; one that falls by half a day or more is the next day's."""

    def __init__(self) -> None:
        self.date, self.last, self.days = "", 0.0, 0.0

    def begin(self, date: str) -> None:
        """A banner with its date."""
        self.date, self.last, self.days = date, 0.0, 0.0

    def at(self, time: str) -> Stamp | None:
        """The moment of a row; tables of one report begin anew, so a time may fall by less."""
        stamp = stamp_in(f"{self.date} {time}".strip())
        if stamp is None:
            return None
        of_day = stamp.seconds % _DAY_SECONDS
        if self.last - of_day > _DAY_SECONDS / 2:
            self.days += _DAY_SECONDS
        self.last = of_day
        if not self.days:
            return stamp
        return stamp._replace(
            seconds=stamp.seconds + self.days, text=f"{stamp.text} + {self.days / _DAY_SECONDS:.0f} d"
        )


def _text(lines: Iterable[str]) -> Iterator[Sample]:
    """sar's tables."""
    host, clock = "", _Clock()
    columns, table = list[str](), list[str]()
    for whole in lines:
        line = whole[:LONGEST].rstrip()
        if banner := _BANNER.match(line):
            host, columns, table = banner["host"], [], []
            clock.begin(_date(banner["date"]))
            continue
        row = _ROW.match(line)
        if row is None:
            columns = columns if line else []
            continue
        cells = row["rest"].split()
        if any(name_of(cell) for cell in cells):
            if cells != table:
                clock.last, clock.days = 0.0, 0.0
            columns = table = cells
            clock.at(row["time"])
        elif not all(_NUMBER.fullmatch(cell) for cell in cells):
            columns = []
        elif len(cells) == len(columns):
            yield from _cells(host, clock.at(row["time"]), columns, cells)


def _cells(host: str, stamp: Stamp | None, columns: list[str], cells: list[str]) -> Iterator[Sample]:
    """The figures of a row."""
    for column, cell in zip(columns, cells, strict=True):
        name = name_of(column)
        value = _value(cell, name) if name else None
        if name and value is not None:
            yield Sample(host, stamp, name, value)


def _database(lines: Iterable[str]) -> Iterator[Sample]:
    """``sadf -d``, with its line of columns, and ``-p``, one figure a line."""
    columns: list[str] = []
    for whole in lines:
        line = whole[:LONGEST].rstrip()
        if "hostname;interval;timestamp;" in line:
            columns = line.lstrip("# ").split(";")[3:]
        elif (cells := line.split(";"))[3:] and len(cells) == len(columns) + 3:
            yield from _cells(cells[0], stamp_in(cells[2]), columns, cells[3:])
        elif len(cells := line.split("\t")) == 6:
            yield from _cells(cells[0], stamp_in(cells[2]), cells[4:5], cells[5:])


def _xml(lines: Iterable[str]) -> Iterator[Sample]:
    """``sadf -x``: attributes of an activity, or elements of their own."""
    host, stamp = "", None
    for whole in lines:
        line = whole[:LONGEST]
        if found := _XML_HOST.search(line):
            host = found[1]
        if found := _XML_TIME.search(line):
            stamp = stamp_in(f"{found[1]} {found[2]}{' UTC' if found[3] == '1' else ''}")
        for one in _PAIRS.finditer(line):
            if name := name_of(one[1] or one[3]):
                yield Sample(host, stamp, name, float(one[2] or one[4]))


def _json(file: TextFile) -> Iterator[Sample]:
    """``sadf -j``."""
    for host in _list(_at(document(file), "sysstat"), "hosts"):
        named = str(_at(host, "nodename") or "")[:200]
        for moment in _list(host, "statistics"):
            at = _at(moment, "timestamp")
            zone = " UTC" if str(_at(at, "utc")) == "1" else ""
            stamp = stamp_in(f"{_at(at, 'date')} {_at(at, 'time')}{zone}")
            for activity in moment.values() if isinstance(moment, dict) else ():
                for column, value in activity.items() if isinstance(activity, dict) else ():
                    name = name_of(column)
                    if name and isinstance(value, int | float) and abs(value) < 1e18:
                        yield Sample(named, stamp, name, float(value))


def document(file: TextFile) -> Any:
    """A file of JSON; None if it is none.

    Raises
    ------
    KevacuateError
        It has more than :data:`MOST_JSON` bytes.

    """
    text = file.whole(MOST_JSON)
    if text is None and not file.damage:
        raise KevacuateError(
            f"{file.name} holds more than {MOST_JSON >> 20} MiB of JSON: give a shorter time, or another format."
        )
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _at(values: Any, name: str) -> Any:
    return values.get(name) if isinstance(values, Mapping) else None


def _list(values: Any, name: str) -> list[Any]:
    found = _at(values, name)
    return found if isinstance(found, list) else []
