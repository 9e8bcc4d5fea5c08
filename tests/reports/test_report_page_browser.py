# SPDX-License-Identifier: GPL-2.0-or-later
"""The page in a real Chromium: it draws what was measured, and can be operated by pointer, keys and screen reader."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import SCHEMES, Watched
from page_synthetic import comparison

from kevacuate.measure import Comparison
from kevacuate.measure.frames import CONTENT_MIXED, CONTENT_NAMES
from kevacuate.mm.constants import MIGRATE_NAMES
from kevacuate.reports.page.page import comparison_page, recorded_page
from kevacuate.reports.page.stories import block_story, place_of
from kevacuate.reports.story.story import between

EXPECTED = Path(__file__).resolve().parent.parent / "data" / "page"

PLANE = "([run, moment]) => Array.from(kev.runs[run].steps.seek(moment))"
PAGES = "([run, moment]) => Array.from(kev.runs[run].detail.steps.seek(moment))"


def seek(page: Any, moment: int) -> None:
    page.evaluate("m => kev.seek(m)", moment)


def text_of(page: Any, selector: str) -> str:
    return str(page.locator(selector).first.inner_text())


def test_the_map_is_at_every_moment_what_was_measured(page: Watched, made: Comparison) -> None:
    for number, run in enumerate(made.runs):
        assert run.frames is not None
        assert run.frames.pages is not None
        for moment in [0, 1, 19, 7, 8, 3, 0, 12]:
            seen = page.page.evaluate(PLANE, [number, moment])
            assert seen == run.frames.blocks.at(moment).tolist()
        seen = np.array(page.page.evaluate(PAGES, [number, 11]))
        assert np.array_equal(seen, run.frames.pages.at(11))


def test_captions_and_legend_count_what_is_there(page: Watched, made: Comparison) -> None:
    for moment in (0, 13):
        seek(page.page, moment)
        captions = page.page.locator("#maps figcaption").all_inner_texts()
        for run, caption in zip(made.runs, captions, strict=True):
            assert run.frames is not None
            mixed = int((run.frames.at(moment).content == CONTENT_MIXED).sum())
            assert run.policy in caption
            assert f"{mixed} mixed" in caption
    legend = page.page.locator("#legend li").all_inner_texts()
    assert set(CONTENT_NAMES[:6]) <= set(legend)
    page.page.get_by_role("radio", name="its type").check()
    assert set(MIGRATE_NAMES[:3]) <= set(page.page.locator("#legend li").all_inner_texts())


def test_a_cell_has_the_colour_of_what_its_block_holds(page: Watched, made: Comparison) -> None:
    seek(page.page, 5)
    frames = made.runs[0].frames
    assert frames is not None
    content = frames.at(5).content
    found = page.page.evaluate(
        """() => {
          const { canvas } = kev.runs[0], view = kev.state.view, size = kevMap.cellSize(view);
          const colours = kev.state.palette.contents;
          const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const pixels = new Uint32Array(image.data.buffer);
          const near = (x, y) => colours.indexOf(pixels[y * canvas.width + x]);
          return Array.from({ length: view.blocks }, (_, block) => {
            const [left, top] = kevMap.cornerOf(view, block);
            return [near(left, top + size - 2), near(left + 4, top + size - 4)];
          });
        }"""
    )
    assert len(found) == 512
    for block, (rim, inside) in enumerate(found):
        name = CONTENT_NAMES[content[block]]
        if name == "mixed":
            assert rim == CONTENT_MIXED, block
        elif name in ("free", "movable", "reserved"):
            assert inside == content[block], (block, name)


def test_one_cursor_moves_all(page: Watched) -> None:
    shown = page.page
    seek(shown, 0)
    before = (text_of(shown, "#clock"), shown.locator(".chart .now").all_inner_texts())
    box = shown.locator(".chart .u-over").first.bounding_box()
    shown.locator("#timelines").scroll_into_view_if_needed()
    box = shown.locator(".chart .u-over").first.bounding_box()
    shown.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    moment = shown.evaluate("() => kev.state.moment")
    assert 8 <= moment <= 11
    assert shown.locator("#time").input_value() == str(moment)
    after = (text_of(shown, "#clock"), shown.locator(".chart .now").all_inner_texts())
    assert after != before
    lefts = shown.evaluate("() => kevCharts.plots.map(({ plot }) => Math.round(plot.cursor.left))")
    assert len(lefts) > 8
    assert max(lefts) - min(lefts) <= 1
    assert len(set(shown.evaluate("() => kev.runs.map(run => run.steps.moment)"))) == 1


def test_play_goes_to_the_end_and_stops(page: Watched) -> None:
    shown = page.page
    shown.locator("#speed").select_option("30")
    button = shown.get_by_role("button", name="Play")
    shown.evaluate(
        "() => { window.played = []; const play = document.querySelector('#play');"
        " new MutationObserver(() => window.played.push(play.dataset.playing))"
        ".observe(play, {attributes: true, attributeFilter: ['data-playing']}); }"
    )
    button.click()
    for _ in range(
        2400
    ):  # wait_for_function of older Playwrights evaluates text, which the page's policy forbids
        if "false" in shown.evaluate("() => window.played"):
            break
        shown.wait_for_timeout(50)
    assert shown.evaluate("() => window.played") == ["true", "false"]
    assert shown.locator("#time").input_value() == "19"
    shown.locator("h1").click()
    shown.keyboard.press(",")
    assert shown.locator("#time").input_value() == "18"
    shown.keyboard.press(".")
    assert shown.locator("#time").input_value() == "19"
    shown.locator("#time").focus()
    shown.keyboard.press("Home")
    assert shown.evaluate("() => kev.state.moment") == 0
    assert "step 1 of 20" in shown.locator("#time").get_attribute("aria-valuetext")


def test_the_map_by_keyboard(page: Watched, made: Comparison) -> None:
    shown = page.page
    shown.locator("#maps canvas").first.focus()
    columns = shown.evaluate("() => kev.state.view.columns")
    for key, block in (
        ("ArrowRight", 1),
        ("ArrowDown", 1 + columns),
        ("ArrowLeft", columns),
        ("ArrowUp", 0),
        ("End", 511),
    ):
        shown.keyboard.press(key)
        assert shown.evaluate("() => kev.state.focus") == block
        assert text_of(shown, "#h-block") == f"Block {block}"
    said = shown.locator("#say").text_content()
    assert said.startswith("Block 511, pfn 0x3fe00 to 0x3ffff, node 0 Normal.")
    assert "mainline: " in said
    assert "evacuate: " in said
    shown.keyboard.press("Home")
    shown.keyboard.press("n")
    assert made.runs[1].history is not None
    evacuated = sorted({e.block for e in made.runs[1].history.evacuations()})
    claimed = {a.block for run in made.runs for a in run.history.claim_attempts()}  # type: ignore[union-attr]
    assert shown.evaluate("() => kev.state.focus") == min(claimed | set(evacuated))
    shown.keyboard.press("Enter")
    assert "kept" in text_of(shown, "#h-block")
    assert shown.evaluate("() => location.hash").startswith(f"#block={min(claimed | set(evacuated))}&t=")
    shown.keyboard.press("+")
    assert text_of(shown, "#zoom") == "2×"
    shown.keyboard.press("-")
    shown.keyboard.press("Escape")
    assert text_of(shown, "#zoom") == "1×"


def test_the_story_of_a_block(page: Watched, made: Comparison) -> None:
    shown = page.page
    frames, history = made.runs[1].frames, made.runs[1].history
    assert frames is not None
    assert history is not None
    block = history.evacuations()[0].block
    shown.evaluate("b => kevKeys.focusBlock(b)", block)
    row = int(np.searchsorted(frames.start, block << frames.pageblock_order))
    stories = shown.locator("#block-runs .story")
    assert stories.count() == 2
    told = []
    for i, run in enumerate(made.runs):
        story = block_story(run, place_of(frames, row))
        assert story is not None
        told.append(story)
        assert stories.nth(i).locator("p").first.inner_text() == story.summary
        assert [
            text.split(" CPU ")[0].strip() for text in stories.nth(i).locator("li > span").all_inner_texts()
        ] == [step.text for step in story.steps]
        command = f"kevacuate explain synthetic.kev --policy {run.policy} --seed {i + 1} block:{block}"
        assert (command in stories.nth(i).inner_text()) == bool(story.steps)
    assert "the worker starts after waiting 900 us" in stories.nth(1).inner_text()
    assert text_of(shown, "#block-together") == " ".join(between(told))
    assert shown.locator("#block-runs canvas").count() == 2
    assert frames.pages is not None
    pages = frames.pages.at(-1).reshape(-1, 512)[row]
    assert f"{int((pages == 2).sum())} movable" in shown.locator("#block-runs > div").nth(1).inner_text()


def test_what_is_to_come_in_a_story_is_pale(page: Watched, made: Comparison) -> None:
    shown = page.page
    history = made.runs[1].history
    assert history is not None
    evacuation = history.evacuations()[3]
    shown.evaluate("b => kevKeys.focusBlock(b)", evacuation.block)
    items = shown.locator("#block-runs .story").nth(1).locator("li")
    kept = items.first.element_handle()
    seek(shown, 0)
    later = [("later" in (items.nth(i).get_attribute("class") or "")) for i in range(items.count())]
    assert later == [float(items.nth(i).get_attribute("data-t")) > 0 for i in range(items.count())]
    assert any(later)
    seek(shown, 19)
    assert shown.locator("#block-runs .story li.later").count() == 0
    assert kept.is_visible(), "time changes no sentence, so nothing is read out again"


def test_a_kept_story_is_read_out_and_reached_by_keyboard(page: Watched, made: Comparison) -> None:
    shown = page.page
    shown.locator("#maps canvas").nth(1).focus()
    shown.keyboard.press("n")
    stories = shown.locator("#block-runs .story")
    assert {stories.nth(i).get_attribute("aria-live") for i in range(2)} == {"off"}
    said = shown.locator("#say").text_content()
    for i in range(2):
        assert stories.nth(i).locator("p").first.inner_text() in said
    shown.keyboard.press("Enter")
    assert {stories.nth(i).get_attribute("aria-live") for i in range(2)} == {"polite"}
    assert shown.get_by_role("region", name="Story of the block under evacuate", exact=True).count() == 1
    shown.keyboard.press("Tab")
    assert shown.evaluate("() => document.activeElement.getAttribute('aria-label')") == (
        "Story of the block under mainline"
    )
    shown.keyboard.press("Tab")
    assert shown.evaluate("() => document.activeElement.getAttribute('aria-label')") == (
        "Story of the block under evacuate"
    )


def test_blocks_that_nothing_happened_to_or_that_did_not_fit(
    show: Any, tmp_path: Path, made: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kevacuate.reports.page.stories.pack_stories.__defaults__", (4_000,))
    path = tmp_path / "page.html"
    path.write_text(comparison_page(made), encoding="utf-8")
    with show(path) as watched:
        shown = watched.page
        untold, nothing = shown.evaluate(
            "() => [[...kev.stories.untold][0],"
            " [...Array(kev.map.blocks).keys()].find(b => !kev.stories.untold.has(b) && !kev.stories.placeOf.has(b))]"
        )
        shown.evaluate("b => kevKeys.focusBlock(b)", untold)
        assert "Its story is not in this page, to keep it small." in text_of(shown, "#block-runs .story")
        assert f"block:{untold}" in text_of(shown, "#block-runs .story")
        shown.evaluate("b => kevKeys.focusBlock(b)", nothing)
        assert text_of(shown, "#block-runs .story") == "Nothing happened to it."
        assert "blocks that something happened to are told" in shown.locator("#reading").inner_text()
        assert watched.said == []


def test_pointing_and_clicking(page: Watched) -> None:
    shown = page.page
    canvas = shown.locator("#maps canvas").nth(1)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    spot = shown.evaluate("() => kevMap.cornerOf(kev.state.view, 70)")
    shown.mouse.move(box["x"] + spot[0] + 5, box["y"] + spot[1] + 5)
    assert text_of(shown, "#h-block") == "Block 70"
    shown.mouse.down()
    shown.mouse.up()
    assert text_of(shown, "#h-block") == "Block 70, kept"
    shown.mouse.move(box["x"] + 3, box["y"] + 3)
    assert text_of(shown, "#h-block") == "Block 70, kept"


def test_roles_and_names(page: Watched) -> None:
    shown = page.page
    for role, name in (
        ("heading", "Every pageblock"),
        ("heading", "Over time"),
        ("heading", "All figures"),
        ("slider", "Time"),
        ("button", "Play"),
        ("button", "Zoom in"),
        ("toolbar", "How the map is drawn"),
        ("radio", "what it holds"),
        ("list", "Legend"),
        ("region", "Every pageblock"),
        ("table", "Pageblocks claimed: the block changes its type"),
    ):
        assert shown.get_by_role(role, name=name, exact=True).count() == 1, (role, name)
    assert shown.get_by_role("application").count() == 2
    charts = shown.locator(".chart [role=img]")
    for i in range(charts.count()):
        label = charts.nth(i).get_attribute("aria-label")
        assert "mainline" in label
        assert "evacuate" in label
    levels = shown.evaluate(
        "() => [...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    unnamed = shown.evaluate(
        "() => [...document.querySelectorAll('button')].filter(b => !(b.textContent.trim() || b.ariaLabel)).length"
    )
    assert unnamed == 0


def test_orders_of_a_flow_open(page: Watched) -> None:
    shown = page.page
    button = shown.get_by_role("button", name="Show orders").first
    assert not shown.locator("tr.order").first.is_visible()
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert shown.locator("tr.order").first.is_visible()
    assert "order 5" in text_of(shown, "tr.order")


@pytest.mark.parametrize("width", [400, 1280, 3840])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_sticks_out_at_any_width(show: Any, page_path: Path, width: int, scheme: str) -> None:
    with show(page_path, width=width, height=900, scheme=scheme) as watched:
        shown = watched.page
        assert shown.evaluate("() => document.documentElement.scrollWidth") <= width
        widths = shown.evaluate(
            "() => [...document.querySelectorAll('#maps canvas')].map(c => c.clientWidth)"
        )
        assert len(set(widths)) == 1
        assert widths[0] > 300
        tops = shown.evaluate("() => [...document.querySelectorAll('#maps canvas')].map(c => c.offsetTop)")
        assert (tops[0] == tops[1]) == (width > 400), "side by side where there is room"
        paper = shown.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        assert watched.said == []


def difference(one: bytes, other: bytes) -> tuple[float, tuple[int, int], tuple[int, int]]:
    """(share of pixels that differ by more than 24 of 255 in some channel, both sizes)."""
    from PIL import Image

    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in (one, other)]
    sizes = images[0].size, images[1].size
    if sizes[0] != sizes[1]:
        return 1.0, *sizes
    a, b = (np.asarray(image, np.int16) for image in images)
    return float((np.abs(a - b).max(axis=2) > 24).mean()), *sizes


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("mode", ["holds", "type", "pinned"])
def test_the_map_looks_as_it_did(show: Any, page_path: Path, scheme: str, mode: str) -> None:
    with show(
        page_path, width=1000, height=2500, scheme=scheme
    ) as watched:  # tall: nothing lies over the map
        shown = watched.page
        shown.locator(f"input[value={mode}]").check()
        seek(shown, 12)
        shot = shown.locator("#maps canvas").nth(1).screenshot()
    expected = EXPECTED / f"map-{mode}-{scheme}.png"
    if not expected.exists():
        expected.write_bytes(shot)
        pytest.fail(f"{expected.name} did not exist; it was drawn now: look at it, then keep it")
    share, size, wanted = difference(shot, expected.read_bytes())
    assert size == wanted
    assert share < 0.01


def test_printed_it_is_light_and_complete(show: Any, page_path: Path) -> None:
    with show(page_path, scheme="dark") as watched:
        shown = watched.page
        shown.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        shown.emulate_media(media="print")
        paper = shown.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        corner = shown.evaluate(
            "() => [...kev.runs[0].painter.context.getImageData(kev.runs[0].canvas.width - 1, 0, 1, 1).data]"
        )
        assert paper == "rgb(255, 255, 255)"
        assert corner[:3] == [255, 255, 255]
        assert not shown.locator("#timebar").is_visible()
        assert shown.locator("table.figures").is_visible()
        shown.evaluate("() => dispatchEvent(new Event('afterprint'))")
        assert shown.pdf()[:5] == b"%PDF-"
        assert watched.said == []


def test_without_scripts_the_tables_stand(show: Any, page_path: Path) -> None:
    with show(page_path, java_script_enabled=False) as watched:
        assert watched.page.locator("table.figures").is_visible()
        assert watched.page.locator("table.flow").count() == 3
        assert "need JavaScript" in watched.page.locator("noscript").inner_text()


def test_a_damaged_stream_is_said(show: Any, page_text: str, tmp_path: Path) -> None:
    marker = 'class="blob">'
    at = page_text.index(marker, page_text.index(marker) + 1) + len(marker)
    broken = tmp_path / "broken.html"
    broken.write_text(page_text[:at] + "AAAA" + page_text[at + 4 :])
    with show(broken, ready="#problem:not([hidden])") as watched:
        assert "cannot be drawn" in text_of(watched.page, "#problem")
        assert watched.page.locator("table.figures").is_visible()
        assert all(said.startswith("error: ") for said in watched.said)


def test_recorded_text_stays_text_on_the_screen(show: Any, tmp_path: Path) -> None:
    from test_report_page import HOSTILE, hostile_comparison

    from kevacuate.reports.escape import visible

    text = " ".join(HOSTILE)
    path = tmp_path / "hostile.html"
    path.write_text(comparison_page(hostile_comparison(text)), encoding="utf-8")
    with show(path) as watched:
        shown = watched.page
        assert shown.locator("h1").text_content() == visible(text)
        shown.locator("#maps canvas").first.focus()
        assert visible(text) in shown.locator("#block-where").text_content()
        assert visible(text) in shown.locator("#maps figcaption b").first.text_content()
        assert watched.said == []
        assert watched.asked == [path.absolute().as_uri()]


def test_what_was_recorded_without_a_replay(show: Any, tmp_path: Path) -> None:
    from kevacuate.observe.maps import about_recorded, recorded_flows, recorded_run
    from kevacuate.recording import Recording

    source = Recording.open(Path(__file__).resolve().parent.parent / "data" / "two-cpus.kev")
    run = recorded_run(source)
    path = tmp_path / "recorded.html"
    path.write_text(recorded_page(about_recorded(source), run, recorded_flows(source), "As it was recorded."))
    with show(path) as watched:
        shown = watched.page
        assert "As it was recorded." in shown.locator("#conclusion").inner_text()
        assert run.frames is not None
        assert shown.evaluate(PLANE, [0, 1]) == run.frames.blocks.at(1).tolist()
        shown.evaluate("b => kevKeys.focusBlock(b)", int(run.frames.start[3]) >> run.frames.pageblock_order)
        assert text_of(shown, "#block-held") == "", "its states have no page flags"
        assert watched.said == []


def test_what_holds_a_block_is_said_as_explain_says_it(show: Any, tmp_path: Path) -> None:
    from kevacuate.observe.maps import about_recorded, recorded_flows, recorded_run
    from kevacuate.recording import Recording
    from kevacuate.reports.story.sources import unmovable_at

    source = Recording.open(Path(__file__).resolve().parent.parent / "data" / "one-cpu.kev")
    run = recorded_run(source)
    path = tmp_path / "held.html"
    path.write_text(recorded_page(about_recorded(source), run, recorded_flows(source), "As it was recorded."))
    frames = run.frames
    assert frames is not None
    assert frames.held is not None
    with_pages, without = (
        int(frames.held.cells[-1, 0]),
        int(np.setdiff1d(np.arange(len(frames.start)), frames.held.cells[:, 0])[0]),
    )
    with show(path) as watched:
        shown = watched.page
        for row in (with_pages, without):
            shown.evaluate(
                "b => kevKeys.focusBlock(b, { say: true })", int(frames.start[row]) >> frames.pageblock_order
            )
            said = [state.text for state in unmovable_at(source.states, source, place_of(frames, row))]
            assert (
                text_of(shown, "#block-held")
                == f"By the recorded page flags, cannot move: {'; '.join(said)}."
            )
            assert ("no page (" in said[0]) == (row == without)
            assert text_of(shown, "#block-held") in str(shown.locator("#say").text_content())
        assert watched.said == []


def test_a_link_opens_a_block_at_a_time(show: Any, page_path: Path) -> None:
    with show(page_path, fragment="#block=77&t=3.2") as watched:
        assert text_of(watched.page, "#h-block") == "Block 77, kept"
        assert watched.page.evaluate("() => kev.state.moment") == 7


@pytest.mark.parametrize("blocks", [128, 5000])
def test_machines_of_other_sizes(show: Any, tmp_path: Path, blocks: int) -> None:
    path = tmp_path / "page.html"
    path.write_text(comparison_page(comparison(blocks, 6)))
    with show(path) as watched:
        view = watched.page.evaluate("() => kev.state.view")
        assert view["columns"] * view["rows"] >= blocks
        assert view["cell"] >= 2
        assert watched.said == []


def test_flat_timelines_are_one_line_until_they_are_asked_for(page: Watched) -> None:
    shown = page.page
    known = shown.evaluate("() => kev.data.charts.map(chart => [chart.title, chart.flat])")
    flat = [title for title, is_flat in known if is_flat]
    assert flat
    assert shown.locator(".chart").count() == len(known) - len(flat)
    line = text_of(shown, "#flat")
    assert line.startswith(f"{len(flat)} timeline")
    assert all(title in line for title in flat)
    shown.locator("#flat button").click()
    assert shown.locator(".chart").count() == len(known)
    assert not shown.locator("#flat").is_visible()
    seek(shown, 0)
    assert all(shown.locator(".chart .now").all_inner_texts())
