# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages name every command, knob and page there is, and their links lead somewhere."""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT, blocks
from markdown_it import MarkdownIt

from kevacuate.cli.main import COMMANDS
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.measure.permutation import Direction
from kevacuate.mm.layout import EvacuationConfig
from kevacuate.observe import recordingadvice
from kevacuate.observe.files.procadvice import (
    ALLOCSTALLS_AN_HOUR,
    FAULTS,
    GROWN,
    GROWN_SHARE,
    MOST_PROACTIVE,
    PROACTIVENESS,
    RULES,
    STALLS,
    WORTH,
)
from kevacuate.percent import percent
from kevacuate.policy import KNOBS, api
from kevacuate.policy.api import FUNCTIONS, WORKER_ONLY
from kevacuate.policy.hooks import HOOKS, Hooks
from kevacuate.reports.comparison.rows import ROWS
from kevacuate.reports.triage.words import HEADLINES

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(text: str, name: str) -> list[list[str]]:
    """The rows below the head of the table between ``<!-- name -->`` and ``<!-- end -->``, as cells."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert found, name
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in found[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@cache
def links(page: Path) -> tuple[tuple[str, str], ...]:
    """("a" or "img", target) of every link and picture."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type == "link_open":
                found.append(("a", str(child.attrs["href"])))
            elif child.type == "image":
                found.append(("img", str(child.attrs["src"])))
    return tuple(found)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The names that a forge, and the site, give to a page's headings."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    heads = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return frozenset(re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads)


def test_the_readme_names_every_command() -> None:
    named = [row[0].removeprefix("`kevacuate ").split()[0].rstrip("`") for row in table(README, "commands")]
    assert sorted(named) == sorted(COMMANDS)
    assert all(len(row) == 3 and all(row) for row in table(README, "commands"))


def test_the_page_of_commands_has_a_section_for_each() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (\S+)(?: --\w+)?$", text, re.MULTILINE)) - {"Environment"}
    assert sections == set(COMMANDS)


def test_the_page_of_policies_has_every_knob_with_its_default() -> None:
    rows = {row[0].strip("`"): row[1] for row in table((DOCS / "policies.md").read_text(), "knobs")}
    assert list(rows) == list(KNOBS)
    defaults = EvacuationConfig()
    for knob, name in ((knob, kind.field) for knob, kind in KNOBS.items() if kind.field):
        value = getattr(defaults if hasattr(defaults, name) else defaults.regions, name)
        if type(value) is int and knob != "time-scale":
            assert f"{value:,}" in rows[knob], knob


def test_every_row_of_the_comparison_is_explained() -> None:
    explained = table((DOCS / "comparison.md").read_text(), "rows")
    assert [row[:4] for row in explained] == [
        [
            row.section,
            row.label,
            f"`{row.id}`",
            "" if row.direction is Direction.NEITHER else str(row.direction),
        ]
        for row in ROWS
    ]


def test_the_page_of_triage_has_exactly_the_headlines_that_it_prints() -> None:
    rows = table((DOCS / "triage.md").read_text(encoding="utf-8"), "headlines")
    assert {row[1].strip("`"): row[0] for row in rows} == HEADLINES
    assert len(rows) == len(HEADLINES)
    assert all(rule for *_, rule in rows)


def test_the_page_of_files_has_exactly_the_rules_of_advice() -> None:
    rows = table((DOCS / "files.md").read_text(encoding="utf-8"), "rules")
    assert [row[0].strip("`") for row in rows] == [rule.__name__ for rule in RULES]
    said = " ".join(row[1] for row in rows)
    for limit in (WORTH, STALLS, FAULTS, ALLOCSTALLS_AN_HOUR, PROACTIVENESS, MOST_PROACTIVE, GROWN):
        assert f"{limit:,}" in said, limit
    assert percent(GROWN_SHARE) in said


def test_the_page_of_triage_has_exactly_the_rules_of_advice_on_a_recording() -> None:
    rows = table((DOCS / "triage.md").read_text(encoding="utf-8"), "recording-rules")
    assert [row[0].strip("`") for row in rows] == [rule.__name__ for rule in recordingadvice.RULES]
    said = " ".join(row[1] for row in rows)
    limits = [
        getattr(recordingadvice, name)
        for name in ("MIXING", "CLAIMS", "STALLS", "RECLAIMS", "RECLAIMS_AN_HOUR", "WORTH")
    ]
    for limit in (*limits, round(100 * recordingadvice.CIRCLES)):
        assert f"{limit:,} " in said, limit


def test_the_page_of_hooks_has_every_hook_with_its_arguments_and_every_function() -> None:
    page = (DOCS / "own-policy.md").read_text()
    told = {row[0].strip("`"): row[1].strip("`") for row in table(page, "hooks")}
    wanted = {name: ", ".join([*inspect.signature(getattr(Hooks, name)).parameters][2:]) for name in HOOKS}
    assert told == {name: names or "none" for name, names in wanted.items()}
    functions = [getattr(function, "py_func", function) for function in FUNCTIONS]
    shown = [f"{one.__name__}({', '.join(inspect.signature(one).parameters)})" for one in functions]
    rows = table(page, "functions")
    assert [row[0].strip("`") for row in rows] == shown
    for_worker = [row[0].strip("`").partition("(")[0] for row in rows if "`worker` only" in row[1]]
    assert for_worker == [getattr(function, "py_func", function).__name__ for function in WORKER_ONLY]


def test_the_page_of_hooks_has_every_constant_and_every_kind_of_field() -> None:
    page = (DOCS / "own-policy.md").read_text()
    told = [name for row in table(page, "constants") for name in re.findall(r"`([A-Z_]+)`", row[0])]
    assert sorted(told) == sorted(name for name in api.__all__ if isinstance(getattr(api, name), int))
    kinds = [row[0].strip("`").partition("(")[0] for row in table(page, "fields")]
    homes = {name: getattr(getattr(api, name), "__module__", "") for name in api.__all__}
    assert sorted(kinds) == sorted(
        name for name in homes if homes[name] == Hooks.__module__ and name != "Hooks"
    )


def test_every_page_is_in_the_index_and_in_the_site() -> None:
    index = DOCS / "index.md"
    pages = {path.stem for path in DOCS.rglob("*") if path.suffix in (".md", ".rst")} - {"index"}
    linked = [Path(target).stem for _, target in links(index)]
    assert sorted(linked) == sorted(pages)
    trees = [block.text for block in blocks(index) if block.language == "{toctree}"]
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert sorted(Path(entry).stem for entry in listed) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for kind, target in links(page):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert page == PAGES[0] or kind == "img" or DOCS in file.parents, f"{target} is not in the site"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


def test_the_shares_of_page_kinds_are_those_in_use() -> None:
    page = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d.]+) \|", page, re.MULTILINE))
    used = {name: value for name, value in asdict(PageKindModel()).items() if name != "seed"}
    assert {name: float(value) for name, value in told.items()} == used
