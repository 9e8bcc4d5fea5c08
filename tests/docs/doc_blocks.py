# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks of code in README.md and docs/, as the tests that run them see them.

A fence of the language ``sh``, ``console`` or ``python`` is run. A comment in the line before a fence says more of it:

``<!-- needs: tracefs make -->``
    It cannot run everywhere: see :data:`doc_needs.NEEDS`.
``<!-- output -->``
    It is not code but what the block before it prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
RUN = ("sh", "console", "python")
"""Languages of what is run."""
SHOWN = ("", "text", "json", "toml", "{toctree}")
"""Languages of what is only shown."""
COMMAND = re.compile(r"\s*(\$ |>>> |sudo |kevacuate [^:]|pip |python3? |trace-cmd |perf |\.venv/)")
"""How a line begins that somebody would type."""
_MARK = re.compile(r"<!--\s*(needs:(?P<needs>[^>]*)|(?P<output>output))\s*-->\s*$")


@dataclass(frozen=True)
class Block:
    """A fence, or an indented block (its language is ``indented``).

    Attributes
    ----------
    page : Path
        The file it stands in.
    line : int
        The line of its opening fence, from 1.
    language : str
        The first word after the fence.
    text : str
        What is in it.
    needs : tuple of str
        What it needs that not every machine has.
    output : str or None
        What it must print; None: not said.
    """

    page: Path
    line: int
    language: str
    text: str
    needs: tuple[str, ...] = ()
    output: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether it is code that is run."""
        return self.language in RUN

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def _block(page: Path, token: Token, before: str) -> Block:
    """The block of a token; *before* is the comment in front of it."""
    assert token.map is not None
    language = "indented" if token.type == "code_block" else (token.info.split() or [""])[0]
    mark = _MARK.match(before)
    needs = tuple(mark["needs"].split()) if mark and mark["needs"] else ()
    return Block(page, token.map[0] + 1, language, token.content, needs)


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """All blocks of a page in their order; a block that is another's output is not one of them."""
    found: list[Block] = []
    before = ""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            mark = _MARK.match(before)
            if mark and mark["output"]:
                assert found, f"{page.name}: output of no block"
                assert found[-1].is_run, f"{page.name}: output of no block"
                found[-1] = replace(found[-1], output=token.content)
            else:
                found.append(_block(page, token, before))
        before = token.content if token.type == "html_block" else ""
    return tuple(found)


def transcript(text: str) -> list[tuple[str, str]]:
    """The commands of a ``console`` block, each with what it prints."""
    pairs: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            pairs.append((line[2:], ""))
        else:
            assert pairs, "a console block begins with a command: $ ..."
            pairs[-1] = (pairs[-1][0], pairs[-1][1] + line)
    return pairs
