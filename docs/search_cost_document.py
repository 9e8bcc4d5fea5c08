# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/search-cost.md: what searching free lists by region costs, and what it buys. For a thread of a mailing list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kevacuate.search import fields as f
from kevacuate.search.churn import FULL, HIGH, KERNEL_ORDERS, LOW, MOVABLE_ORDERS
from kevacuate.search.measure import ZONE_LIST_BYTES, Cost, Searched, bytes_per_region

COLUMNS = (
    ("mainline", f.MAINLINE, f.FLAT),
    ("look-ahead", f.LOOK_AHEAD, f.FLAT),
    ("flat, walked", f.REGIONS, f.FLAT),
    ("regions", f.REGIONS, f.BY_REGION),
    ("bitmaps", f.REGIONS, f.BITMAPS),
    ("typed", f.REGIONS, f.TYPED_BITMAPS),
)
"""Column, rule, form."""

RULES = {f.MAINLINE: "mainline", f.LOOK_AHEAD: "look-ahead", f.REGIONS: "regions"}

WIDTH = 80
Demand = Mapping[int, Searched]
"""One demand's runs, by rule."""

MEASURES = {
    f.LINES: "cache lines touched",
    f.LISTS_LOOKED_AT: "list heads looked at",
    f.REGIONS_LOOKED_AT: "regions looked at",
    f.CHUNKS_LOOKED_AT: "entries looked at",
}


def short(value: float) -> str:
    """A figure in at most five characters."""
    if value >= 100_000:
        return f"{value / 1000:.0f}k"
    if value >= 10_000:
        return f"{value / 1000:.1f}k"
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table as plain text, of at most WIDTH columns: the first column to the left, figures to the right.

    Raises ValueError where it is wider.
    """
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    yield "```text"
    for row in (head, *rows):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
        ]
        line = "  ".join(cells).rstrip()
        if len(line) > WIDTH:
            raise ValueError(f"A table is {len(line)} columns wide: {line}")
        yield line
    yield "```"
    yield ""


def costs(
    demands: Sequence[Demand], kind: int, measure: int, figure: Callable[[Cost], float]
) -> list[list[str]]:
    """A row for each demand, a figure for each form."""
    return [
        [
            runs[f.MAINLINE].name,
            *(short(figure(runs[rule].costs[form, kind, measure])) for _, rule, form in COLUMNS),
        ]
        for runs in demands
    ]


FIGURES: tuple[tuple[str, Callable[[Cost], float]], ...] = (
    ("mean", lambda cost: cost.mean),
    ("99.9 % of them at most", lambda cost: cost.high),
    ("worst", lambda cost: cost.worst),
)


def cost_tables(demands: Sequence[Demand], kind: int, measures: Sequence[int]) -> Iterator[str]:
    """Tables of an operation's measures."""
    what = "a request" if kind == f.ALLOC else "a free"
    for measure in measures:
        for said, figure in FIGURES:
            head = [f"{MEASURES[measure]}, {said}", *(name for name, *_ in COLUMNS)]
            yield f"{MEASURES[measure].capitalize()} by {what}, {said}:"
            yield ""
            yield from table(["demand", *head[1:]], costs(demands, kind, measure, figure))


def bit_tables(demands: Sequence[Demand]) -> Iterator[str]:
    """Words read by a request; bits changed."""
    forms = ((f.BITMAPS, "bitmaps"), (f.TYPED_BITMAPS, "typed"))
    rows = []
    for runs in demands:
        run = runs[f.REGIONS]
        for form, name in forms:
            read, allocs, frees = (
                run.costs[form, kind, measure]
                for kind, measure in ((f.ALLOC, f.WORDS_READ), (f.ALLOC, f.FLIPS), (f.FREE, f.FLIPS))
            )
            each = ["/".join(short(figure(cost)) for _, figure in FIGURES) for cost in (read, allocs, frees)]
            rows.append([run.name, name, *each, f"{run.flips[form] / run.seconds:,.0f}"])
    yield "Words of 64 regions read by a request, bits changed (mean/99.9 %/worst), and changed in a second of virtual time:"
    yield ""
    yield from table(["demand", "form", "words", "flips, request", "flips, free", "flips/s"], rows)


def memory_table(demands: Sequence[Demand]) -> Iterator[str]:
    """Bytes by region."""
    rows = []
    for runs in demands:
        regions = runs[f.REGIONS].shape.nr_regions
        each = [bytes_per_region(form, rule, regions) for _, rule, form in COLUMNS[1:]]
        rows.append([runs[f.REGIONS].name, str(regions), *(short(value) for value in each)])
    yield f"Bytes by region, beyond the zone's own lists of {ZONE_LIST_BYTES:,} bytes:"
    yield ""
    yield from table(["demand", "regions", *(name for name, *_ in COLUMNS[1:])], rows)


def outcome_table(demands: Sequence[Demand]) -> Iterator[str]:
    """How the zone lies under each rule."""
    rows = []
    for runs in demands:
        for rule, run in runs.items():
            before, end = run.cycles[-2], run.cycles[-1]
            figures = (end.regions, end.least, before.tainted, end.tainted, end.clean, end.free)
            rows.append([run.name, RULES[rule], *(str(value) for value in figures)])
    yield "How the zone lies; tainted regions before and after what was counted:"
    yield ""
    yield from table(["demand", "rule", "regions", "least", "before", "after", "clean", "free"], rows)


def deeds_table(demands: Sequence[Demand]) -> Iterator[str]:
    """What was done under each rule."""
    names = ("whole_claims", "block_claims", "borrowed", "tainted", "moved", "failed")
    rows = [
        [run.name, RULES[rule], *(short(run.counters[name]) for name in names)]
        for runs in demands
        for rule, run in runs.items()
    ]
    yield (
        "What was done. Blocks are claimed whole and free, or with pages in use; pages are taken from another type's list. "
        "Then regions tainted, changes of bucket, requests for which there was no chunk."
    )
    yield ""
    yield from table(["demand", "rule", "whole", "blocks", "taken", "tainted", "changes", "failed"], rows)


def time_table(times: Mapping[str, Any]) -> Iterator[str]:
    """The C twin's figures."""
    names = list(times["runs"][0]["ns"])
    rows = [
        [f"{one['gib']} GiB", *(f"{short(one['ns'][name])} ({short(one['ratio'][name])})" for name in names)]
        for one in times["runs"]
    ]
    yield "Nanoseconds of CPU time by operation (requests and frees alike), and ratios to mainline in the same run:"
    yield ""
    yield from table(["zone", *names], rows)
    yield f"Machine: {times['machine']}; {times['compiler']}. Other work ran on it: only ratios within a row mean anything."
    yield ""


def answers(demands: Sequence[Demand], times: Mapping[str, Any] | None) -> Iterator[str]:
    """What the figures say, in sentences."""
    for runs in (demands[0], demands[-1]):
        at = [runs[rule].costs[form, f.ALLOC, f.LINES] for _, rule, form in COLUMNS]
        plain, _, walked, regions, bits, typed = at
        yield (
            f"* {runs[f.MAINLINE].name}: a request touches {short(plain.mean)} cache lines under mainline. "
            f"With lists per region it touches {short(regions.mean)} ({short(regions.mean / plain.mean)} times as many), "
            f"and at worst {short(regions.worst)}. With bitmaps per order it touches {short(bits.mean)} "
            f"({short(bits.mean / plain.mean)} times), at worst {short(bits.worst)}. "
            f"With bitmaps per order and type it touches {short(typed.mean)}, at worst {short(typed.worst)}. "
            f"A walk of flat lists for the same page touches {short(walked.mean)}."
        )
        frees = [runs[rule].costs[form, f.FREE, f.LINES].mean for _, rule, form in COLUMNS]
        flips = runs[f.REGIONS].costs[f.BITMAPS, f.FREE, f.FLIPS].mean
        yield (
            f"* {runs[f.MAINLINE].name}: a free touches {short(frees[0])} lines under mainline, {short(frees[3])} with lists "
            f"per region, {short(frees[4])} with bitmaps. It changes {short(flips)} bits of the bitmaps per order."
        )
        ends = {rule: run.cycles[-1] for rule, run in runs.items()}
        yield (
            f"* {runs[f.MAINLINE].name}: {ends[f.MAINLINE].tainted} of {ends[f.MAINLINE].regions} regions are tainted under "
            f"mainline, {ends[f.LOOK_AHEAD].tainted} with the look-ahead, {ends[f.REGIONS].tainted} with the series' passes. "
            f"The kernel's memory would fill {ends[f.REGIONS].least}."
        )
    if times:
        last = times["runs"][-1]
        ratio = last["ratio"]
        yield (
            f"* Timed in C on {last['gib']} GiB: an operation takes {short(ratio['regions'])} times mainline's time with "
            f"lists per region. With bitmaps it takes {short(ratio['bitmaps'])} times, "
            f"with typed bitmaps {short(ratio['typed bitmaps'])}."
        )


def orders(table: Sequence[tuple[int, int]]) -> str:
    """A table of orders in words."""
    before, said = 0, []
    for order, upto in table:
        said.append(f"{100 * (upto - before) / 1024:.1f} % of order {order}")
        before = upto
    return ", ".join(said)


def method(demands: Sequence[Demand]) -> Iterator[str]:
    """How it was done, and what it leaves out."""
    recorded, generated = demands[0][f.REGIONS], demands[-1][f.REGIONS]
    yield "## Method"
    yield ""
    yield from (f"* {line}" for line in (
        "An operation is one call of `__rmqueue` or `__free_one_page`: one chunk, below the per-CPU lists. A request for which "
        "the zone has no chunk large enough is not counted. The kernel refuses it at the watermarks.",
        "`mainline` takes the head of a flat list (`mm/page_alloc.c`, 7.2). `look-ahead` adds patches 11 and 12 of the series: "
        "eight more entries are looked at.",
        "The other columns choose the page that the series' passes choose (`src/kevacuate/search/passes.py`). They choose the "
        "same one at every request: each is asked, and compared.",
        "`flat, walked` looks at every entry of the flat lists for the best region. `regions` walks the regions, the fullest "
        "first, and looks at each one's lists.",
        "`bitmaps` has a bitmap per order and one per bucket of regions: AND, then find-first. `typed` has a bitmap per order "
        "and type, so that no list turns out to be empty.",
        "A bucket is a content (tainted within its reserve, tainted above it, clean, empty) and a quarter of fullness. The "
        "series' own cut-offs were not to be seen.",
        "Cache lines are counted, not measured: lines of 64 bytes, each once an operation. A page has one (`struct page`). "
        "Eleven `free_area` of 104 bytes are a zone's, or a region's. A region's counters are one.",
        "A walk longer than a limit is not made. Its cost is known: every entry, and the record of every region that has one.",
        "Values from 256 on are counted in steps of at most 6 %. Means and worst values are exact.",
        f"`{recorded.name}` is what a replay of the shipped recording under `mainline` asks of its zone: "
        f"{recorded.operations:,} operations in {recorded.seconds:.0f} s. Its machine has 1 GiB, so its regions are of 32 MiB.",
        f"`{generated.name}` and the other sizes are generated, not recorded. The zone is {100 * FULL:.0f} % full. "
        f"Kernel memory rises and falls between {100 * LOW:.0f} and {100 * HIGH:.0f} % of that. Regions are of 1 GiB.",
        f"Movable objects are {orders(MOVABLE_ORDERS)}.",
        f"Kernel objects are {orders(KERNEL_ORDERS)}.",
        f"Kernel memory rose and fell {len(generated.cycles) - 1} times before {generated.operations:,} operations were "
        "counted, at a million a second of virtual time. Two numbers of tainted regions are those before and after.",
        "`least` is how many regions the kernel's memory would fill. A `free` region is a 1 GiB page at once; for a `clean` one "
        "movable pages have to be moved.",
    ))  # fmt: skip
    yield ""
    yield "## Limits"
    yield ""
    yield from (f"* {line}" for line in (
        "Nothing reclaims, compacts or evacuates here. The series' worker would give its passes more free pageblocks in tainted "
        "regions, and so shorter searches.",
        "Per-CPU lists are not in the generated demand. They would make requests fewer, and batches of them alike.",
        "Pages in use count by what they were asked for. Those of the recording's start count as the model can move them.",
        "The order of regions in a bucket is by number, as find-first has it. Lists pay for that order when a region changes "
        "its bucket; the series does not.",
        "A mask of orders beside a region's counters would spare `regions` the lists of regions that have no chunk. What is left "
        "is the number of regions looked at.",
        "One order of preference is measured: bucket, then region, then order. To go by order first is another choice.",
        "The author's bitmaps say what regions hold and not how full they are. Then others are chosen than the fullest.",
        "Borrowing from movable lists (its pass 2d) never comes to it: pass 2b has claimed the block before.",
        "A region of the recording is 32 MiB, so an order-10 chunk is an eighth of it. Its figures say how searches grow under "
        "pressure, not what 1 GiB regions do.",
    ))  # fmt: skip
    yield ""


def search_cost_document(
    demands: Sequence[Demand], command: str, times: Mapping[str, Any] | None = None
) -> str:
    """The page, as Markdown.

    Parameters
    ----------
    demands : sequence of mappings
        Each demand's run under every rule: a recorded one first, the largest last.
    command : str
        What made them.
    times : mapping, optional
        ``runs`` of benchmarks/search.py, ``machine``, ``compiler``.
    """
    lines = [
        "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->",
        "# What it costs to search free lists by region",
        "",
        "Reviewers of the series on 1 GiB pages asked what it costs to search many free lists, one set per GiB, instead of one. "
        "Its author asked whether bitmaps would help.",
        "",
        f"Made by `{command}`.",
        "",
        "## Answers",
        "",
        *answers(demands, times),
        "",
        "## What a request costs",
        "",
        *cost_tables(demands, f.ALLOC, tuple(MEASURES)),
        "## What a free costs",
        "",
        *cost_tables(demands, f.FREE, (f.LINES,)),
        "## Bitmaps",
        "",
        *bit_tables(demands),
        "## Memory",
        "",
        *memory_table(demands),
        "## What it buys",
        "",
        *outcome_table(demands),
        *deeds_table(demands),
        *(["## Time", "", *time_table(times)] if times else []),
        *method(demands),
    ]
    return "\n".join(lines).rstrip() + "\n"
