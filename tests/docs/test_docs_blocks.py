# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command and every piece of Python in README.md and docs/ is run, or skipped with the reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_blocks import COMMAND, PAGES, RUN, SHOWN, Block, blocks
from doc_needs import ON_REQUEST, missing
from doc_runner import Failed, Place, compare

RUNNABLE = [page for page in PAGES if any(block.is_run and not block.needs for block in blocks(page))]
DEMANDING = [block for page in PAGES for block in blocks(page) if block.is_run and block.needs]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    place = Place(tmp_path)
    wanted = [block for block in blocks(page) if block.is_run and not block.needs]
    for block in wanted:
        place.run(block)
    assert place.ran == wanted


@pytest.mark.parametrize("block", DEMANDING, ids=str)
def test_a_block_that_not_every_machine_can_run(block: Block, tmp_path: Path) -> None:
    if why := missing(block.needs):
        pytest.skip(f"{block}: {why}")
    Place(tmp_path).run(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_left_out(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^ *```(\w+)", text, re.MULTILINE)
    assert sum(block.is_run for block in blocks(page)) == sum(language in RUN for language in fences)
    assert {block.language for block in blocks(page)} <= {*RUN, *SHOWN, "indented"}
    for block in blocks(page):
        if not block.is_run:
            typed = [line for line in block.text.splitlines() if COMMAND.match(line)]
            assert not typed, f"{block} shows a command but is not run: make it a fence of sh or console"


def test_few_blocks_wait_to_be_asked_for() -> None:
    run = [block for page in PAGES for block in blocks(page) if block.is_run]
    waiting = [block for block in run if ON_REQUEST & set(block.needs)]
    assert 4 * len(waiting) <= len(run)
    assert [block.page for block in waiting if "ci" in block.needs] == [PAGES[0]]


@pytest.mark.parametrize(
    ("language", "text", "output"),
    [
        ("sh", "false", None),
        ("sh", "false | cat", None),
        ("sh", "kevacuate info nowhere.kev", None),
        ("console", "$ echo one\ntwo\n", None),
        ("console", "$ true\n$ exit 3\n", None),
        ("python", "print(1)", "2\n"),
        ("python", "assert False", None),
    ],
)
def test_a_block_that_is_wrong_is_found(language: str, text: str, output: str | None, tmp_path: Path) -> None:
    block = Block(Path("made-up.md"), 1, language, text, (), output)
    with pytest.raises(AssertionError):
        Place(tmp_path).run(block)


def test_dots_stand_for_anything() -> None:
    block = Block(Path("made-up.md"), 1, "sh", "")
    compare(block, "a ... c\n...\nend\n", "a b c\n1\n2\nend\n")
    with pytest.raises(Failed):
        compare(block, "a ... d\n", "a b c\n")
