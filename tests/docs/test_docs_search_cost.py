# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/search-cost.md: its figures are those of its command, its tables fit a mail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_blocks import ROOT
from search_cost_document import RULES, WIDTH, search_cost_document, short, table

from kevacuate.search.measure import Generated, search_generated

PAGE = ROOT / "docs" / "results" / "search-cost.md"
PROOF = ROOT / "docs" / "results" / "search-forms.md"
ROW = re.compile(r"^1 GiB .*$", re.MULTILINE)


@pytest.fixture(scope="module")
def made() -> str:
    """The page of the smallest generated demand alone."""
    what = Generated(1)
    demand = {rule: search_generated(what, rule) for rule in RULES}
    return search_cost_document([demand], "a command")


def test_the_smallest_demands_rows_are_the_pages(made: str) -> None:
    rows = [re.sub(" +", " ", row) for row in ROW.findall(made)]
    there = [re.sub(" +", " ", row) for row in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert len(rows) > 20
    assert [row for row in rows if row not in there] == [], "run: python docs/generate_search_cost.py"


@pytest.mark.parametrize("page", [PAGE, PROOF], ids=["search-cost", "search-forms"])
def test_tables_fit_a_mail(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
        assert all(len(line) <= WIDTH for line in block.splitlines())


def test_a_table_that_is_too_wide_is_refused() -> None:
    with pytest.raises(ValueError, match="columns wide"):
        list(table(["a", "b"], [["x" * 40, "y" * 40]]))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.0039, "0.0039"), (0.5, "0.50"), (4.2, "4.20"), (12.34, "12.3"), (124_365, "124k"), (14_944.8, "14.9k")],
)  # fmt: skip
def test_figures_are_short(value: float, said: str) -> None:
    assert short(value) == said
