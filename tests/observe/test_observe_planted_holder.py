# SPDX-License-Identifier: GPL-2.0-or-later
"""A real guest with a planted holder (tests/data/page-owner): it is ranked first, and the kernel's other files agree."""

from __future__ import annotations

import lzma
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kevacuate

DATA = Path(__file__).parent.parent / "data" / "page-owner"
PIPE_PAGES = 235 * 16
"""Pages that the planted holder filled its pipes with."""


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """The answers of triage to the files together, by kind."""
    names = ("page_owner.xz", "show_stacks.xz", "allocinfo.xz")
    found = kevacuate.triage([DATA / name for name in names])
    return {answer["kind"]: answer for answer in found["answers"]}


def records() -> Iterator[tuple[int, str, int, str, str]]:
    """Order, type, block, type of the block and stack of each record, by patterns of this file's own."""
    for part in lzma.decompress((DATA / "page_owner.xz").read_bytes()).decode().split("\n\n"):
        place = re.search(r"^PFN 0x\w+ type (\w+) Block (\d+) type (\w+)", part, re.MULTILINE)
        order = re.match(r"Page allocated via order (\d+)", part)
        if place and order:
            yield int(order[1]), place[1], int(place[2]), place[3], part


def test_the_planted_holder_is_first(answers: dict[str, Any]) -> None:
    dump = answers["page_owner"]["dumps"][0]
    assert dump["pageblock_order"] == 9
    top = dump["holders"][0]
    assert (top["holder"], top["tasks"][0], dump["tasks"][0]["task"]) == (
        "anon_pipe_write",
        "pipeholder",
        "pipeholder",
    )
    assert "anon_pipe_write" in answers["page_owner"]["advice"][0]["do"]


def test_figures_are_those_of_another_reading(answers: dict[str, Any]) -> None:
    """A dozen lines of patterns give the same blocks and pages."""
    dump = answers["page_owner"]["dumps"][0]
    blocks: dict[str, set[int]] = {"pipes": set(), "all": set()}
    pages: Counter[str] = Counter()
    for order, kind, block, block_type, part in records():
        pages["all"] += 1 << order
        if block_type == "Movable" and kind in ("Unmovable", "Reclaimable"):
            blocks["all"].add(block)
            pages["held"] += 1 << order
            if "anon_pipe_write" in part:
                blocks["pipes"].add(block)
                pages["pipes"] += 1 << order
    top = dump["holders"][0]
    assert (dump["pages"], dump["polluted_blocks"], dump["pages_that_cannot_move"]) == (
        pages["all"],
        len(blocks["all"]),
        pages["held"],
    )
    assert (top["blocks"], top["pages"]) == (len(blocks["pipes"]), pages["pipes"])
    assert dump["malformed"] == dump["inconsistent"] == 0


def test_the_kernel_counts_as_many_mixed_blocks(answers: dict[str, Any]) -> None:
    """pagetypeinfo's "Number of mixed blocks" is the same figure: tasks that wrote the copy made it rise from 34 to 36."""
    counted = []
    for when in ("before", "after"):
        text = (DATA / f"pagetypeinfo-{when}").read_text()
        counted.append(int(re.search(r"mixed blocks.*\n.*DMA32 +\d+ +(\d+)", text)[1]))  # type: ignore[index]
    assert counted == [34, 36]
    dump = answers["page_owner"]["dumps"][0]
    assert dump["polluted_blocks"] == 36


def test_other_files_count_the_same_pipe_pages(answers: dict[str, Any]) -> None:
    """allocinfo has the pages that were planted; the pipes through which the others were written held a few more."""
    places = answers["allocinfo"]["copies"][0]["places"]
    assert (places[0]["function"], places[0]["calls"], places[0]["bytes"]) == (
        "anon_pipe_get_page",
        PIPE_PAGES,
        PIPE_PAGES * 4096,
    )
    everywhere = sum(1 << order for order, *_, part in records() if "anon_pipe_write" in part)
    stacks = {row["holder"]: row["count"] for row in answers["page_owner_stacks"]["copies"][0]["holders"]}
    for count in (everywhere, stacks["anon_pipe_write"]):
        assert 0 <= count - PIPE_PAGES <= 16
