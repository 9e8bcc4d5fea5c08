# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw the README's pictures from the recording that ships with the package: ``python docs/make_pictures.py [-o DIRECTORY]``.

Needs the extras ``plot`` and ``watch``, and for the picture of the HTML page Playwright, Pillow and a Chromium (Debian's
package, or what the variable CHROMIUM names); without those the page's picture is left as it was. Writes into README.md the
sentences that say what the pictures show.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kevacuate import Comparison
    from kevacuate.live.playback import Playback

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "pictures"
README = DOCS.parent / "README.md"
POLICIES = ("mainline", "evacuate")
REPEATS = 20
"""Replays of each policy, of which the median is shown: those of the README's table (regenerate_readme.py:REPLAYS)."""
SAMPLES = 200
WATCHED_AT = 100
"""The moment of 200 at which the terminal is shown: claims and steals are under way."""
TERMINAL = (120, 26)
WINDOW = (1160, 1345)
"""Pixels of the picture of the HTML page."""


def comparison() -> Comparison:
    """The typical run of each policy on the shipped recording, with the map kept."""
    from kevacuate.cli.common import open_recording
    from kevacuate.runs.compare import compare
    from kevacuate.runs.options import ReplayOptions

    options = ReplayOptions(keep=True, samples=SAMPLES)
    return compare(open_recording(None), POLICIES, repeats=REPEATS, options=options).typical


def contents(made: Comparison) -> list[tuple[str, dict[str, int]]]:
    """(name, pageblocks by what they hold) at the start, and at the end under each policy."""
    from kevacuate.measure.frames import CONTENT_NAMES

    def count(number: int, moment: int) -> dict[str, int]:
        frames = made.runs[number].frames
        assert frames is not None
        content = frames.at(moment).content.tolist()
        return {name: content.count(i) for i, name in enumerate(CONTENT_NAMES)}

    ends = [(run.policy, count(i, -1)) for i, run in enumerate(made.runs)]
    return [("start", count(0, 0)), *ends]


def draw_pageblocks(made: Comparison, target: Path) -> None:
    """Three pageblock maps: the start, and the end under each policy."""
    import matplotlib as mpl

    mpl.use("Agg")
    from kevacuate import plot
    from kevacuate.reports.plot.style import pyplot, style

    with style():
        figure, panels = pyplot().subplots(1, 3, figsize=(11, 2.6), layout="constrained")
        for panel, number, moment in zip(panels, (0, 0, 1), (0, -1, -1), strict=True):
            plot.pageblock_map(made.runs[number], moment=moment, ax=panel)
        panels[0].set_title("both policies\nat the start")
        for panel, run in zip(panels[1:], made.runs, strict=True):
            panel.set_title(f"{run.policy}\nat the end")
    small = io.BytesIO()
    figure.savefig(small, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    pyplot().close(figure)
    _write(target, small.getvalue())


def most_evacuated(made: Comparison) -> int:
    """The pageblock from which an evacuation migrated most pages."""
    history = made.runs[1].history
    assert history is not None
    return max(history.evacuations(), key=lambda one: (one.migrated, -one.block)).block


def chromium() -> str | None:
    """The browser's path, if there is one to be used."""
    if not all(importlib.util.find_spec(name) for name in ("playwright", "PIL")):
        return None
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def photograph_page(made: Comparison, target: Path) -> None:
    """The part of the HTML page with the maps, at the end of the replay, one evacuated block chosen."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from kevacuate.reports.page.page import comparison_page, write_page

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as play:
        page_file = Path(scratch) / "page.html"
        write_page(page_file, comparison_page(made))
        browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]}, reduced_motion="reduce")
        page.goto(f"{page_file.as_uri()}#block={most_evacuated(made)}&t={SAMPLES - 1}")
        page.wait_for_selector("html[data-ready]", state="attached")
        page.locator("#live").evaluate("part => part.scrollIntoView({ block: 'start' })")
        taken = page.screenshot()
        browser.close()
    small = io.BytesIO()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(96).save(small, "png", optimize=True)
    _write(target, small.getvalue())


def draw_terminal(target: Path) -> None:
    """``kevacuate watch --policy evacuate``, half way through the replay."""
    from kevacuate.cli.common import open_recording
    from kevacuate.live.playback import play_replay
    from kevacuate.policy import parse_policy

    source = play_replay(open_recording(None), parse_policy(POLICIES[1]))
    source.seek(WATCHED_AT)
    _write(target, asyncio.run(_screen(source)).encode())


async def _screen(source: Playback) -> str:
    """The terminal's screen as SVG that asks the network for no font."""
    from kevacuate.live.app import WatchApp

    app = WatchApp(source, interval=1e6)
    async with app.run_test(size=TERMINAL) as pilot:
        for _ in range(3):
            await pilot.pause()
        drawn = app.export_screenshot(title="kevacuate watch --policy evacuate")
    return re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)


def _write(target: Path, content: bytes) -> None:
    """Write beside the target, then rename."""
    beside = target.with_name(f".{target.name}.new")
    beside.write_bytes(content)
    beside.replace(target)


def words(made: Comparison) -> str:
    """What the README says of the pageblock map: the picture's text, and a sentence under it."""
    (_, start), (_, stock), (_, patched) = contents(made)
    blocks = sum(stock.values())
    verb = "is" if start["mixed"] == 1 else "are"
    alt = (
        f"Three maps of {blocks} pageblocks. At the start {start['mixed']} {verb} mixed and {start['free']} free; "
        f"at the end {stock['mixed']} are mixed under mainline and {patched['mixed']} under evacuate."
    )
    return (
        f"![{alt}](docs/pictures/pageblocks.png)\n\n"
        f"*{blocks} pageblocks of 2 MiB before and after a replay. Purple blocks are mixed: pages that cannot move lie among "
        f"pages that can. There are {stock['mixed']} under mainline and {patched['mixed']} under evacuate. Each map is one of "
        f"{REPEATS} replays: the one with the median number of mixed pageblocks. The table below gives the spread of all "
        f"{REPEATS}.*\n"
    )


def with_words(text: str, made: Comparison) -> str:
    """The README with what its pageblock map shows."""
    found = re.search(r"<!-- picture -->\n(.*?)<!-- end -->", text, re.DOTALL)
    if not found:
        raise SystemExit("README.md has no block 'picture'")
    return text[: found.start(1)] + words(made) + text[found.end(1) :]


def draw(directory: Path, made: Comparison) -> dict[str, Any]:
    """All pictures, into *directory*; the names of those made."""
    directory.mkdir(parents=True, exist_ok=True)
    draw_pageblocks(made, directory / "pageblocks.png")
    draw_terminal(directory / "watch.svg")
    names = ["pageblocks.png", "watch.svg"]
    if chromium():
        photograph_page(made, directory / "report.png")
        names.append("report.png")
    return {name: (directory / name).stat().st_size for name in names}


def main() -> None:
    """Draw, and bring the README's sentence up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=PICTURES)
    directory = parser.parse_args().output
    made = comparison()
    for name, size in draw(directory, made).items():
        print(f"{directory / name}: {size:,} bytes", file=sys.stderr)
    if directory == PICTURES:
        README.write_text(with_words(README.read_text(), made))


if __name__ == "__main__":
    main()
