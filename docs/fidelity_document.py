# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/fidelity.md: recordings by levels, with inputs, causes and what is not modelled, from verifications."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kevacuate.measure.fidelity import ERRORS, LEVELS, SPREAD, LevelResult, Verification
from kevacuate.percent import percent
from kevacuate.policy import BASELINE, BOOTED
from kevacuate.reports.fidelity.verdict import (
    EFFECT_HEADS,
    LEVEL_HEADS,
    effect_cells,
    level_cells,
    share,
    summary_words,
)

_POLICIES = " and ".join(", ".join(f"`{policy}`" for policy in BOOTED).rsplit(", ", 1))

ABOUT = {
    "buddy": (
        "The start state's free lists are loaded; every other page is in use. Each recorded refill, direct allocation, direct "
        "free and drained chunk is put to the model's own `rmqueue_bulk`, `rmqueue_buddy`, `free_one_page` and "
        "`__free_one_page`. The model runs the whole request before its answer is looked at. Where list operations were not "
        "recorded, it goes page by page. A page that is not the kernel's costs one decision there, and is put right at once.",
        "the requests (order, type, alloc_flags, count), the chunks of a drain, and the number of movable pages in a block at a "
        "claim. Begin and end of direct compactions with their order and type: what is captured for them is a decision. Which "
        "tasks are kernel threads, which capture nothing, is told by their having had no page of user memory. With the "
        "first set of hooks, compaction's list operations are inputs where they were recorded.",
        "every page taken, every list operation (list and end), every claim attempt, claim, steal and refusal, block types, "
        "captured pages. Compaction's own list operations, with the second set of hooks: the compaction level's model decides "
        "them. Where the kernel's is another one, that is made. Where none were recorded, that model's own are made. At every "
        "dump each free list in order and each pageblock's type.",
    ),
    "pcp": (
        "The per-CPU lists, apart from the buddy lists.",
        "allocations and frees (CPU, order, gfp), when and how much was refilled and drained, which pages a refill brought (the "
        "buddy level's decision).",
        "the pfn of every `mm_page_alloc` that a per-CPU list served, every page drained, and at every dump each list in order.",
    ),
    "tuning": (
        "`pcp->high`, `alloc_factor`, `free_count` and flags, run forward from the first dump by the model's own "
        "`nr_pcp_alloc`, `nr_pcp_high`, `nr_pcp_free`, the tuning of `free_frozen_page_commit` and `decay_pcp_high`. BELOW_HIGH "
        "and the boost are simulated. `pcp->count` follows the recorded refills and drains once a decision has been compared.",
        "allocations and frees; that a list is refilled, and full drains; the insertions' counts where they are recorded. "
        "Kswapd's activity (`balance_pgdat` begun and ended, its wake-up of kcompactd, or inferred from batched frees). "
        "One number per recording, the phase of the one-second decay: of 1,000 phases that are all carried along, the one with "
        "the fewest mismatches.",
        "the size of every refill, also of those that bring nothing. For every free that drains in the model or the kernel, "
        "whether it does and the size of each sub-batch. The decay's drains. At every dump every field of every per-CPU list "
        "set, its bounds as derived from the zone's marks and size.",
    ),
    "evacuation": (
        "Patched kernels only: the queue, the workers, and the loop of `evacuate_pageblock`.",
        "claims' blocks and counts, when a worker starts its next item, and the block's page counts at that moment. Skip bits "
        "that compaction set, and what reclaim and migration came to.",
        "which claims queue, which item a worker takes, its CPU, the re-check, batches, endings and sums.",
    ),
    "compaction": (
        "`compact_zone` of kcompactd and of direct compactions, step by step. Kernels need the second set of hooks, or have "
        "recorded no list operations. The model's own functions decide on the recorded free lists and folios; then "
        "the kernel's step is made. The two runs may interleave. Without `gt_list` this level and the buddy level are one "
        "model. The free scanner is decided at each of its events: its next block, how far it looks there, what it takes.",
        "free lists (`gt_list`) and folios as they are before a step: allocations, frees, insertions into the LRU. Which folios "
        "failed to move and when, which large folios could not be split, captures, alloc_flags of a direct compaction's request. "
        "When kswapd ends a run, how far its clearing of skip bits has come when kcompactd begins, and in the middle of its run. "
        "Folios passed over that another task had unmapped. Skip bits of evacuated blocks. "
        "Without events of kswapd: that it cleared them, where the next run starts as if it had. Without the second set "
        "of hooks: how many pages of a batch moved, and which pages were given back.",
        "deferral and suitability, where scanners start and stop, which folios an isolation takes, the scanners' list "
        "operations. The free page of each move, what follows a batch, results, positions, and what is given back. At every "
        "dump the skip bits, cached positions and deferral.",
    ),
    "reclaim": (
        "Recordings of the second set of hooks. The model's LRU lists follow the recorded events from boot, where they are "
        "empty, or from a dump of them. Its free lists follow the list operations. On these the model's own reclaim decides. "
        "`wakeup_kswapd`, the look after HZ/10 and `balance_pgdat` decide about runs, `shrink_node` about rounds. "
        "`isolate_lru_folios` and `shrink_folio_list` decide about folios. After a mismatch the kernel's decision is taken over.",
        "the moments at which folios reach a list, are activated, isolated for migration, rotated or freed. Folios that are "
        "dirty, under writeback, locked, or mapped and used, and buffers that cannot be released. Pages that shrinkers freed, "
        "that refaults activated something, claims' boosts, moments of a look and of a retry. Folios that khugepaged or mlock "
        "takes off a list have no event: each is noticed once. "
        "Batches that a later event of a folio shows to be back on their list.",
        "whether each request wakes kswapd, the order and zones of each run, and what kswapd does at its look. Whether a "
        "round follows another, and the order at which a run ends. The priority of each round, each batch's list and size, and "
        "the pages it scans. Each folio in its order, and what becomes of it. At every dump that shows them, all four LRU lists.",
    ),
    "verdict": (
        f"The demand of a *stock* recording is replayed under {_POLICIES}, with several seeds each. It is held against kernels "
        "that were booted again and again with that workload and seed.",
        "the demand, and the tables of repeats: what each boot came to.",
        f"row by row four answers. Is the level within {ERRORS:g} standard errors? Is the spread within {percent(SPREAD)}? "
        "Is each policy's effect inside the kernels' 95 % interval? Is its verdict free of falsehood after correction?",
    ),
}
"""Per level: what it is, its inputs, its decisions."""


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> Iterator[str]:
    """A Markdown table, its first columns to the left."""
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * left + "---:|" * (len(heads) - left)
    for cells in rows:
        yield f"| {' | '.join(cells)} |"


def _cell(level: LevelResult | None) -> str:
    if level is None:
        return ""
    if level.not_exercised:
        return "not exercised"
    text = f"{share(level.exactness)} of {level.decisions:,}"
    before = level.until_compaction
    if before is not None and level.mismatches:
        text += f"; until the first compaction {share(before.exactness)} of {before.decisions:,}"
    if level.dumps:
        text += f"; dumps {sum(level.dumps.values())}/{len(level.dumps)}"
    return text


def _overview(results: Sequence[Verification]) -> Iterator[str]:
    yield "| recording | kernel | events | " + " | ".join(LEVELS) + " |"
    yield "|---" * (3 + len(LEVELS)) + "|"
    for result in results:
        cells = " | ".join(_cell(result.levels.get(name)) for name in LEVELS)
        yield f"| {result.recording} | {result.profile} | {result.events:,} | {cells} |"


def _judged(level: LevelResult) -> Iterator[str]:
    """The verdict level's rows."""
    judged = level.judged
    if judged is None:
        return
    yield from (f"- {line}" for line in summary_words(level))
    yield ""
    yield "Levels. *Error* is the standard error of the mean, *apart* in standard errors of the difference:"
    yield ""
    yield from markdown(LEVEL_HEADS, [level_cells(row) for row in judged.rows])
    yield ""
    if judged.effects:
        yield (
            "Effects. *Corrected* is p corrected for the number of rows, *would be seen* the smallest change seen in 80 % "
            "after it:"
        )
        yield ""
        yield from markdown(EFFECT_HEADS, [effect_cells(row) for row in judged.effects])
        yield ""
    if judged.not_modelled:
        yield f"Not modelled: {', '.join(f'`{name}`' for name in judged.not_modelled)}."
        yield ""


def _worth(results: Sequence[Verification]) -> Iterator[str]:
    """What a verdict of the model is worth, by the recordings that have repeats of real kernels."""
    told = [
        (result.recording, level)
        for result in results
        if (level := result.levels.get("verdict")) is not None and level.judged is not None
    ]
    yield "## What a verdict is worth"
    yield ""
    yield (
        f"A comparison says where a policy *differs* from `{BASELINE}`. Kernels with and without the patch were booted again and "
        "again, with one program and seed. The model replayed one recording of that load. The same tests judge both. "
        "A verdict is *false* where the model says a difference that the kernels contradict: there, `compare` misleads."
    )
    yield ""
    if not told:
        yield "No recording at hand has enough repeats of real kernels."
        yield ""
    for name, level in told:
        yield f"### {name}: levels, spreads and verdicts"
        yield ""
        yield from (f"- {line}" for line in summary_words(level))
        yield ""


def _counts(title: str, counts: Mapping[str, str]) -> Iterator[str]:
    """A list of what was counted; nothing where there is nothing."""
    if counts:
        yield f"{title}:"
        yield ""
        yield from (f"- {name}: {count}" for name, count in counts.items())
        yield ""


def _facts(recording: str, level: LevelResult) -> Iterator[str]:
    """One recording under one level."""
    yield f"### {recording}"
    yield ""
    if level.not_exercised:
        yield f"Not exercised: {level.not_exercised}."
        yield ""
        return
    decided = {
        name: f"{t.decisions:,}" + (f" (**{t.mismatches:,} not the kernel's**)" if t.mismatches else "")
        for name, t in level.kinds.items()
    }
    yield from _counts("Decisions", decided)
    yield from _counts("Inputs", {name: f"{count:,}" for name, count in level.inputs.items()})
    yield from _counts("Causes", {name: f"{count:,}" for name, count in level.causes.items()})
    if level.first is not None:
        first = level.first
        where = f"event {first.position:,}" if first.position >= 0 else "a dump"
        yield f"First divergence: {where}, {first.ts / 1e9:.6f} s. Decision: {first.what}."
        yield ""
        yield "```"
        yield f"model:  {first.model}"
        yield f"kernel: {first.kernel}"
        yield from first.around
        yield "```"
        yield ""
    yield from (f"- {note}" for note in level.notes)
    if level.notes:
        yield ""
    yield from _judged(level)


def fidelity_document(results: Sequence[Verification], not_modelled: Sequence[str]) -> str:
    """The document, as Markdown."""
    lines = [
        "# Fidelity: the model against recorded kernels",
        "",
        "Generated by `python docs/generate_fidelity.py DIRECTORY`, which verifies every recording in DIRECTORY; nothing in it",
        "is written by hand. Exactness counts decisions that the model made by itself; what it took from the recording is",
        "listed as inputs. The model decides first: no decision is read from the event that checks it. Where an event tells what",
        "came before it unseen, such as what an interrupted task had done, that is an input. Nothing is put back to the recorded",
        "state after a mismatch unless a level's notes say so.",
        "",
        *_overview(results),
        "",
        *_worth(results),
    ]
    for name in LEVELS:
        what, inputs, decisions = ABOUT[name]
        lines += [f"## {name}", "", what, "", f"*Inputs*: {inputs}", "", f"*Decisions*: {decisions}", ""]
        for result in results:
            if name in result.levels:
                lines += _facts(result.recording, result.levels[name])
    lines += ["## What is not modelled", "", *(f"- {text}" for text in not_modelled), ""]
    return "\n".join(lines)
