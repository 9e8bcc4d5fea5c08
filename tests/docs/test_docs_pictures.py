# SPDX-License-Identifier: GPL-2.0-or-later
"""The README's pictures are there, say what they show, and are what their command makes."""

from __future__ import annotations

import importlib.util
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from browser import missing
from doc_blocks import ROOT

from kevacuate.measure import Comparison

pytest.importorskip("matplotlib")
pytest.importorskip("textual")
Image = pytest.importorskip("PIL.Image")

PICTURES = ROOT / "docs" / "pictures"
README = (ROOT / "README.md").read_text(encoding="utf-8")
REMEDY = "run: python docs/make_pictures.py"


def script(name: str) -> ModuleType:
    """A file of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def command() -> ModuleType:
    """docs/make_pictures.py."""
    return script("make_pictures")


@pytest.fixture(scope="module")
def made(command: ModuleType) -> Comparison:
    """What the pictures show."""
    comparison: Comparison = command.comparison()
    return comparison


def colours(path: Path) -> dict[tuple[int, ...], float]:
    """The share of a picture that has each colour; colours that are near to each other are one."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3) // 32
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(c): n / len(pixels) for c, n in zip(found.tolist(), counts.tolist(), strict=True)}


def assert_alike(fresh: Path, kept: Path) -> None:
    """The same colours in the same shares: fonts and margins may differ, blocks may not."""
    new, old = colours(fresh), colours(kept)
    for colour in new.keys() | old.keys():
        assert abs(new.get(colour, 0) - old.get(colour, 0)) < 0.01, f"{kept.name}: {colour}; {REMEDY}"


def test_pictures_are_small_and_say_what_they_show() -> None:
    shown = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README)
    assert {Path(target).name for _, target in shown} == {path.name for path in PICTURES.iterdir()}
    for alt, target in shown:
        assert len(alt.split()) >= 10, target
        assert (ROOT / target).stat().st_size > 10_000
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < 600_000


def test_maps_and_table_are_of_the_same_replays(command: ModuleType) -> None:
    assert script("regenerate_readme").REPLAYS == command.REPEATS


def test_the_readme_says_what_the_map_shows(command: ModuleType, made: Comparison) -> None:
    assert command.with_words(README, made) == README, REMEDY


def test_the_map_is_what_the_command_makes(command: ModuleType, made: Comparison, tmp_path: Path) -> None:
    command.draw_pageblocks(made, tmp_path / "pageblocks.png")
    assert_alike(tmp_path / "pageblocks.png", PICTURES / "pageblocks.png")


def test_the_terminal_is_what_the_command_makes(command: ModuleType, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as apart:  # a browser's test may have left this thread an event loop that runs
        apart.submit(command.draw_terminal, tmp_path / "watch.svg").result()
    texts = []
    for path in (tmp_path / "watch.svg", PICTURES / "watch.svg"):
        svg = path.read_text()
        assert not re.search(r"url\((?!#)", svg), "a picture that asks the network"
        texts.append(re.findall(r"claims \d+.*|block \d+: .*", "\n".join(words_of(svg))))
    assert len(texts[0]) >= 5
    assert texts[0] == texts[1], REMEDY


def words_of(svg: str) -> list[str]:
    """The pieces of text of an SVG."""
    return [unescape(text).replace("\xa0", " ") for text in re.findall(r">([^<>]+)</text>", svg)]


@pytest.mark.skipif(bool(missing()), reason=missing() or "there is a browser")
def test_the_page_is_what_the_command_makes(command: ModuleType, made: Comparison, tmp_path: Path) -> None:
    command.photograph_page(made, tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as fresh, Image.open(PICTURES / "report.png") as kept:
        assert fresh.size == kept.size == command.WINDOW
    assert_alike(tmp_path / "report.png", PICTURES / "report.png")
