# SPDX-License-Identifier: GPL-2.0-or-later
"""No sentence of README.md, docs/, help and messages is too long to be read once: at most 25 words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from doc_blocks import PAGES
from markdown_it import MarkdownIt

import kevacuate
from kevacuate.cli.main import cli

MOST_WORDS = 25
EXCEPTIONS: frozenset[str] = frozenset()
"""Sentences that may be longer, by their first five words. None is; it shall stay so."""

_END = re.compile(r"(?<=[.!?])[)\"”']*\s+(?=[A-Z0-9`\"“(~±]|$)")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|cf|vs|No)\.$")


def texts(page: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each paragraph, list item, heading and cell of a page; a piece of code is one word, comments are none."""
    line = 0
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        line = token.map[0] + 1 if token.map else line
        if token.type != "inline":
            continue
        parts = []
        for child in token.children or ():
            if child.type in ("text", "text_special"):
                parts.append(child.content)
            elif child.type == "code_inline":
                parts.append("`code`")
            elif child.type in ("softbreak", "hardbreak"):
                parts.append(" ")
        yield line, "".join(parts)


def sentences(text: str) -> list[str]:
    """The sentences of a text: they end in a full stop, a question or exclamation mark before a capital, figure or code."""
    found: list[str] = []
    for piece in _END.split(text):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += f" {piece}"
        elif piece.strip():
            found.append(piece.strip())
    return found


def words(sentence: str) -> int:
    """Words, a figure or a piece of code counting as one; signs alone count as none."""
    return sum(any(character.isalnum() for character in word) for word in sentence.split())


def too_long(page: Path, most: int) -> list[str]:
    """The page's sentences of more than so many words, with line and length."""
    return [
        f"{page.name}:{line}: {words(sentence)} words: {sentence}"
        for line, text in texts(page)
        for sentence in sentences(text)
        if words(sentence) > most and " ".join(sentence.split()[:5]) not in EXCEPTIONS
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_is_too_long(page: Path) -> None:
    assert too_long(page, MOST_WORDS) == []


def test_a_long_sentence_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    long = " ".join(["word"] * (MOST_WORDS + 1))
    page.write_text(
        f"# Head\n\nShort one. A {long}.\n\n| a |\n|---|\n| {long} |\n\n```sh\n{long}\n```\n\n- `a b c` {long[5:]}\n"
    )
    assert [found.split(": ")[0] for found in too_long(page, MOST_WORDS)] == [
        "page.md:3",
        "page.md:7",
        "page.md:13",
    ]


def test_where_sentences_end() -> None:
    assert sentences("One (7.2, mm/vmstat.c). Two `code`? `Three` e.g. Four. 5 is 5.") == [
        "One (7.2, mm/vmstat.c).", "Two `code`?", "`Three` e.g. Four.", "5 is 5.",
    ]  # fmt: skip
    assert words("a -> `code` 5.8 % b/c") == 4


def help_texts(group: click.Group) -> Iterator[tuple[str, str]]:
    """(command, paragraph) of all that ``--help`` prints, its examples left out."""
    context = click.Context(group)
    named = {name: group.get_command(context, name) for name in group.list_commands(context)}
    for name, one in {**named, "kevacuate": group}.items():
        assert one is not None
        found = [one.help, one.short_help, *(p.help for p in one.params if isinstance(p, click.Option))]
        for text in filter(None, [*found, *(one.epilog or "").split("\n")]):
            for paragraph in re.split(r"\n\s*\n", text):
                if not paragraph.strip().startswith("Example: "):
                    yield name, re.sub(r"`[^`]*`", "`code`", " ".join(paragraph.split()))


def test_no_sentence_of_the_help_is_too_long() -> None:
    found = list(help_texts(cli))
    assert len({name for name, _ in found}) > 10
    long = [(name, s) for name, text in found for s in sentences(text) if words(s) > MOST_WORDS]
    assert long == [], long


def strings(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the strings of a program that are no docstrings; a value in a string is one word, as is code."""
    tree = ast.parse(source)
    apart = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    apart |= {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            text = node.value
        else:
            continue
        yield node.lineno, re.sub(r"`[^`]*`", "`code`", " ".join(text.split()))


def test_no_sentence_of_a_message_is_too_long() -> None:
    package = Path(kevacuate.__file__).parent
    long = [
        f"{path.relative_to(package)}:{line}: {words(sentence)} words: {sentence}"
        for path in sorted(package.rglob("*.py"))
        for line, text in strings(path.read_text(encoding="utf-8"))
        if "{ height:" not in text  # a style sheet
        for sentence in sentences(text)
        if words(sentence) > MOST_WORDS
    ]
    assert long == [], long


def test_a_long_message_is_found() -> None:
    long = " ".join(["word"] * MOST_WORDS)
    source = f'''"""{long} doc."""\nraise Error(f"{long} {{value}}: no. " "Short.")\nshow("{long}")\n'''
    found = [(line, s) for line, text in strings(source) for s in sentences(text) if words(s) > MOST_WORDS]
    assert found == [(2, f"{long} X: no.")]
