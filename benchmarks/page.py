# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast the page loads and scrubs, and how large it is: ``python -m benchmarks.page [--blocks N]...``; needs Chromium.

Synthetic machines on which 15 % of the pageblocks change from one moment to the next, two policies. Frame times are those of
requestAnimationFrame while the slider moves one step a frame; the browser draws without a GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

SCRUB = """steps => new Promise(done => {
  const slider = document.getElementById("time");
  const times = [], work = [];
  let i = 0, last = performance.now();
  const frame = now => {
    if (i) times.push(now - last);
    last = now;
    if (i === steps) { done({ times, work }); return; }
    slider.value = String(i % (Number(slider.max) + 1));
    const begin = performance.now();
    slider.dispatchEvent(new Event("input"));
    work.push(performance.now() - begin);
    i++;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})"""
MEMORY = "() => performance.memory ? performance.memory.usedJSHeapSize : 0"


def measure(blocks: int, moments: int, pages: bool) -> None:
    """One machine: make its page, load it three times, scrub."""
    from browser import browser, opened
    from page_synthetic import comparison

    from kevacuate.reports.page.page import comparison_page

    made = comparison(blocks, moments, pages=pages, claims=4000, steals=100_000)
    begin = time.perf_counter()
    text = comparison_page(made)
    build = time.perf_counter() - begin
    size = f"{len(text) / 1e6:.2f} MB, made in {build:.1f} s"
    print(f"{blocks:>7} blocks ({blocks / 512:.0f} GiB), {moments} moments, 2 policies: {size}")
    with tempfile.TemporaryDirectory() as directory, browser() as started:
        path = Path(directory) / "page.html"
        path.write_text(text)
        for _ in range(3):
            with opened(started, path) as watched:
                drawn, ready = watched.page.evaluate(
                    "() => ['drawn', 'ready'].map(name => Number(document.documentElement.dataset[name]))"
                )
                found = watched.page.evaluate(SCRUB, 200)
                heap = watched.page.evaluate(MEMORY)
                assert not watched.said, watched.said
            times = sorted(found["times"])
            work = sorted(found["work"])
            middle, late = times[len(times) // 2], times[len(times) * 95 // 100]
            mean = sum(times) / len(times)
            script = work[len(work) // 2]
            print(
                f"        drawn after {drawn:.0f} ms, ready after {ready:.0f} ms; scrubbing {1000 / mean:.0f} frames/s "
                f"(median {middle:.1f} ms, 95 % {late:.1f} ms; script {script:.1f} ms); heap {heap / 1e6:.0f} MB"
            )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, action="append", help="pageblocks; repeat it")
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument(
        "--pages", action="store_true", help="with the pages of single blocks (memory of the machine's size)"
    )
    told = parser.parse_args()
    for blocks in told.blocks or [512, 32_768, 524_288]:
        measure(blocks, told.moments, told.pages or blocks <= 32_768)


if __name__ == "__main__":
    main()
