# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of /proc files in words and tables."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.proc import answer
from kevacuate.reports.triage.files.proc import tables, words
from kevacuate.reports.triage.files.proctables import _thousands

DATA = Path(__file__).parent.parent / "data" / "procfiles"
REPORTS = sorted(path.stem for path in DATA.glob("*.txt"))
MOST_WORDS = 25


def of(*paths: Path) -> dict[str, Any]:
    return answer([TextFile(path) for path in paths])


def shown(found: dict[str, Any]) -> str:
    """The tables with single blanks."""
    screen = Console(file=io.StringIO(), width=250)
    for table in tables(found):
        screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    return " ".join(re.sub("[\u2500-\u257f]+", " ", screen.file.getvalue()).split())


def row(*chunks: int) -> str:
    return "Node 0, zone   Normal " + " ".join(map(str, (*chunks, *[0] * (11 - len(chunks))))) + "\n"


def series(*texts: str) -> str:
    return "".join(f"2023-05-15 10:{at:02}:00\n{text}" for at, text in enumerate(texts))


@pytest.mark.parametrize("name", REPORTS)
def test_no_sentence_of_a_report_is_too_long(name: str) -> None:
    found = of(DATA / f"{name}.txt")
    said = [
        *re.split(r"(?<=[.:]) (?=[A-Z])|\n", words(found)),
        *(piece[key] for piece in found["advice"] for key in piece),
    ]
    long = [sentence for sentence in said if len(re.sub(r"`[^`]*`", "code", sentence).split()) > MOST_WORDS]
    assert long == []
    assert shown(found) or found["machines"][0]["marks"]


SAID = {
    "server-buddyinfo": (
        "Node 0, zone Normal: 1,294,805 pages free, none in a chunk of order 9 or larger; the largest has order 6. "
        "A request of order 9 would fail there of fragmentation (fragmentation index 0.995)."
    ),
    "bees-buddyinfo": (
        "Node 0, zone DMA32: 42,060 pages free, 512 of them in chunks of order 9 or larger. Of no use to order 9 are 98.7 %."
    ),
    "mail-2015-reserve": "135 unmovable, 3 reclaimable, 124 movable, 2 reserve of 264 pageblocks; 52.3 % unmovable",
    "mail-2016-two-kernels": "Unmovable and reclaimable ones 1,248 -> 7,410 (+6,162).",
    "stopped-pagetypeinfo": "Counts marked >= are where the kernel stopped counting: free pages are at least so many.",
    "vmstat-61": "3,431 entries into direct reclaim (allocstall) since boot.",
    "zoneinfo-419": "Node 0, zone DMA: 3,976 pages free, not below the high watermark (7).",
    "samples": "3 entries into direct reclaim (allocstall) over the series.",
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_of_a_report(name: str) -> None:
    assert SAID[name] in words(of(DATA / f"{name}.txt"))


def test_the_tables_of_a_report() -> None:
    found = shown(of(DATA / "stopped-pagetypeinfo.txt"))
    assert "0 Normal movable >=100k 93k 41k 17k 5937 3527 2269 1339 842 1269 1170" in found
    assert "Free chunks by type and order, last copy, k: thousands" in found
    assert "0 Normal 298 10,165 288 1 0 0" in found
    counters = shown(of(DATA / "samples.txt"))
    assert "counter rose by an hour allocstall 3 10,800 compact_stall 5 18,000" in counters


def test_the_course_of_a_zone(tmp_path: Path) -> None:
    good, bad = row(8, 0, 0, 0, 0, 0, 0, 0, 0, 1), row(520)
    (tmp_path / "log").write_text(series(good, bad, good, bad, bad))
    said = words(of(tmp_path / "log"))
    assert "log" not in said
    assert "buddyinfo: 5 copies from 2023-05-15 10:00:00 to 2023-05-15 10:04:00 (4 min)." in said
    assert "The share of no use to order 9 is rising: 1.5 -> 100.0 % (least 1.5, most 100.0 %)." in said
    assert "From 2023-05-15 10:03:00 on, no chunk of order 9 or larger was free." in said
    assert "In 3 of 5 copies no zone had a free chunk of order 9 or larger." in said
    assert "+98.5" in shown(of(tmp_path / "log"))


def test_lack_of_memory_is_not_called_fragmentation(tmp_path: Path) -> None:
    (tmp_path / "b").write_text(row(0, 0, 0, 0, 0, 0, 0, 0, 2))
    assert "A request of order 9 would fail there of lack of memory (fragmentation index 0.000)." in words(
        of(tmp_path / "b")
    )


def test_each_machine_is_named(tmp_path: Path) -> None:
    for host in ("a", "b"):
        (tmp_path / host).mkdir()
        (tmp_path / host / "buddyinfo").write_text(row(5))
    said = words(of(tmp_path / "a" / "buddyinfo", tmp_path / "b" / "buddyinfo"))
    assert [line for line in said.splitlines() if line.endswith(":")] == [f"{tmp_path}/a:", f"{tmp_path}/b:"]


@pytest.mark.parametrize("name", REPORTS)
def test_no_count_is_cut_off_in_80_columns(name: str) -> None:
    screen = Console(file=io.StringIO(), width=80)
    for table in tables(of(DATA / f"{name}.txt")):
        screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    assert "\u2026" not in screen.file.getvalue()
    assert all(len(line) <= 80 for line in screen.file.getvalue().splitlines())


def test_eight_nodes_fit_80_columns_exactly() -> None:
    text = shown(of(DATA / "eight-nodes-buddyinfo.txt"))
    assert "2 Normal 68427 538670 446906 229138 123555 62539 21161 4407 1122 166 274" in text
    assert "thousands" not in text


@pytest.mark.parametrize(
    ("cell", "least", "said"),
    [
        ("93493", 10_000, "93k"),
        ("9999", 10_000, "9999"),
        ("1500", 1_000, "2k"),
        (">=100999", 10_000, ">=100k"),
    ],
)
def test_counts_in_thousands(cell: str, least: int, said: str) -> None:
    assert _thousands(cell, least) == said


def test_counts_that_fit_are_exact() -> None:
    text = shown(of(DATA / "server-buddyinfo.txt"))
    assert "0 Normal 127559 175569 74035 31054 12025 2271 101 0 0 0 0" in text
    assert "thousands" not in text


def test_rows_that_end_below_pageblock_order_are_told_by_the_orders_they_have() -> None:
    """Orders 0 to 5 are shown: no chunk of order 9, a largest one of order 5, and the share of no use is order 5's."""
    text = words(of(DATA / "samples.txt"))
    assert "97 pages free, none in a chunk of order 9 or larger; the largest has order 5." in text
    assert "The share of no use to order 5 is steady: 66.8 -> 67.0 %" in text
    assert "order 5 or larger" not in text
