# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel logs in words: what a sentence says of each report, and that none is too long."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.kernel_log import answer
from kevacuate.observe.files.kernel_log_advice import RULES
from kevacuate.reports.triage.files.kernel_log import tables, words

LOGS = Path(__file__).parents[1] / "data" / "kernel_logs"
MOST_WORDS = 25


def answered(*names: str) -> dict[str, Any]:
    """The answer of logs by name."""
    return answer([TextFile(LOGS / f"{name}.txt") for name in names])


def sentences(text: str) -> list[str]:
    """Its sentences."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text) if part]


SAID = {
    "310-numa-syslog": [
        "Allocation failure, order 5, GFP_KERNEL|__GFP_COMP|__GFP_ZERO|__GFP_KMEMCG: fragmentation.",
        "Once, at 03-04 02:11:07, by setup[1:NET].",
        "Node 0 DMA32 kept 249,720 kB of lowmem_reserve, and 250,808 kB were free.",
        "Node 1 Normal had 117,572 kB free and no chunk of order 5 or larger.",
        "Its fragmentation index is 0.959: the kernel takes fragmentation for the cause.",
    ],
    "317-mips-16k-wrapped": ["Node 0 Normal could not serve it: above DMA."],
    "419-arm64-vendor": ["Node 0 Normal had large enough chunks only in highatomic pageblocks."],
    "44-ppc64-64k": ["Once, by kthreadd.", "Node 7 DMA had no free page."],
    "48-x86-cma-dmesg-x": [
        "Node 0 Normal counted 1,432 kB free, not above its mark of 5,316 kB.",
        "Node 0 Normal had large enough chunks only in CMA and highatomic pageblocks.",
        "The OOM killer killed swapper_test, which held 250,000 kB of anonymous memory.",
    ],
    "58-cpuset-movable-node": ["no zone allowed", "Constraint: cpuset.", "Node 4 Movable could not serve it: above Normal."],
    "617-arm64-highatomic": [
        "Node 0 Normal was above its mark of 50,560 kB when this was written: 54,540 kB free.",
    ],
    "619-x86-dmesg-T": ["at 2026-04-17 19:56:16, by kswapd0."],
    "memcg-41-and-54": [
        "Out of memory, order 0, GFP_KERNEL: memory cgroup limit.",
        "Constraint: memcg of /lab.slice/memhog.scope.",
        "Usage was 204,800 kB, the limit 204,800 kB.",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_of_a_report(name: str) -> None:
    text = words(answered(name))
    for sentence in SAID[name]:
        assert sentence in text, text


def test_no_sentence_is_too_long() -> None:
    for log in LOGS.glob("*.txt"):
        for sentence in sentences(words(answered(log.stem))):
            assert len(sentence.split()) <= MOST_WORDS, sentence
    for rule in RULES:
        for text in (rule.do, rule.because):
            for sentence in sentences(text):
                assert len(sentence.split()) <= MOST_WORDS, sentence


ADVICE = {
    "310-numa-syslog": ["compact_memory", "external fragmentation events"],
    "419-arm64-vendor": [],
    "44-ppc64-64k": ["OOM killer"],
    "41-x86-atomic": ["min_free_kbytes"],
    "48-x86-cma-dmesg-x": ["compact_memory", "external fragmentation events", "cma="],
    "58-cpuset-movable-node": [],
    "617-arm64-highatomic": [],
    "memcg-41-and-54": ["memory.max"],
}


@pytest.mark.parametrize("name", ADVICE)
def test_what_is_advised(name: str) -> None:
    found = answered(name)["advice"]
    assert [piece["source"].rsplit(", ", 1)[-1] for piece in found] == ADVICE[name]


def test_the_strongest_advice_stands_first() -> None:
    found = answered("310-numa-syslog", "48-x86-cma-dmesg-x", "memcg-41-and-54", "41-x86-atomic")["advice"]
    assert [piece["evidence"].split(" ", 1)[0] for piece in found] == ["2", "2", "2"]
    assert "2 OOM kills were at the limit" in found[0]["evidence"]


def test_every_rule_applies_to_something_and_names_its_source() -> None:
    for rule in RULES:
        assert rule.source.startswith(("Documentation/", "mm/")), rule.name
        assert "{count}" in rule.because, rule.name


def test_the_tables_have_every_group_and_task() -> None:
    found = answered("310-numa-syslog", "memcg-41-and-54", "41-x86-atomic")
    console = Console(width=200, record=True, file=io.StringIO())
    for table in tables(found):
        console.print(table)
    text = console.export_text()
    for word in (
        "fragmentation",
        "memory cgroup",
        "setup[1:NET]",
        "nodejob",
        "swapper/3",
        "hour 33 since boot",
        "03-04 02:00",
    ):
        assert word in text, word
    assert tables(answer([])) == []


def test_the_table_of_reports_fits_80_columns_and_cuts_no_flag() -> None:
    found = answer([TextFile(path) for path in sorted(LOGS.glob("*.txt"))])
    console = Console(width=80, record=True, file=io.StringIO())
    for table in tables(found):
        console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for group in found["groups"]:
        for flag in (group["example"]["gfp"] or "").split("|"):
            assert flag in text, flag
    assert not re.search("[┃│…]", text)


def test_a_constraint_is_said_where_there_is_one() -> None:
    said = {log.stem: words(answered(log.stem)) for log in LOGS.glob("*.txt")}
    assert "Constraint: cpuset." in said["58-cpuset-movable-node"]
    assert not any("Constraint: none" in text for text in said.values())


def test_copies_of_proc_files_in_a_log_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    log, buddy = LOGS / "310-numa-syslog.txt", "Node 0, zone   Normal 1 2 3 4 5 6 7 8 9 10 11\n"
    (tmp_path / "both.txt").write_text(log.read_text() + buddy * 2)
    found, alone = answer([TextFile(tmp_path / "both.txt")]), answer([TextFile(log)])
    assert (found["proc_lines"], alone["proc_lines"]) == (2, 0)
    assert found["groups"] == alone["groups"]
    assert "2 lines of /proc files in it were not read: give them as a file of their own." in words(found)
    assert "/proc" not in words(alone)
