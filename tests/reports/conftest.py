# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages and a browser for the tests of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browser import Watched, browser, missing, opened
from page_synthetic import comparison

from kevacuate.measure import Comparison
from kevacuate.reports.page.page import comparison_page

Open = Callable[..., AbstractContextManager[Watched]]


@pytest.fixture(scope="session")
def made() -> Comparison:
    """512 blocks, 20 moments, two policies, pages of single blocks included."""
    return comparison(pages=True)


@pytest.fixture(scope="session")
def page_text(made: Comparison) -> str:
    return comparison_page(made)


@pytest.fixture(scope="session")
def page_path(page_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page_text, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if why := missing():
        pytest.skip(why)
    with browser() as started:
        yield started


@pytest.fixture
def show(chromium: Any) -> Open:
    """Open a page in the browser."""
    return partial(opened, chromium)


@pytest.fixture
def page(show: Open, page_path: Path) -> Iterator[Watched]:
    """The page, open; at the end nothing may have been said on the console and nothing asked of the network."""
    with show(page_path) as watched:
        yield watched
        assert watched.said == []
        assert watched.asked == [page_path.absolute().as_uri()]
