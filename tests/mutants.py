# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults put into a copy of the program, one at a time: the tests named beside each must notice it.

    python tests/mutants.py [--places] [NUMBER ...]

Not collected by pytest: it takes some minutes. Exits with 1 if a mutant survives.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFINITIONS = "tests/measure/test_measure_definitions.py"
TRUTH = "tests/measure/test_measure_truth.py"
ROWS = "tests/reports/test_report_rows.py"
GROUPS = "tests/measure/test_measure_permutation.py"
VERDICT = "tests/fidelity/test_fidelity_verdict.py"
INTERVALS = "tests/measure/test_measure_intervals.py"
WORTH = "tests/reports/test_report_worth.py"
KERNELS = "tests/docs/test_docs_kernels.py"
STALLS = "tests/measure/test_measure_stalls.py"
RESCANS = "tests/measure/test_measure_rescans.py"
METRICS = "tests/live/test_live_metrics.py -k values"
SKIP = "tests/mm/test_skip_bits.py"
SPLIT = "tests/mm/test_split_folio.py"
FLUSHER = "tests/mm/test_reclaim.py -k flusher"
SHARED = "tests/mm/test_kcompactd.py -k slice"
STALLED = "tests/mm/test_reclaim.py -k its_task_s_time"
PINNED = "tests/demand/test_demand_kinds.py -k compactions"
READS = "tests/demand/test_demand_reclaim.py -k last_event"
FAULTS = "tests/demand/test_demand_reclaim.py -k fault"
ADVICE = "tests/observe/test_observe_recording_advice.py"
MONITORS = "tests/observe/test_observe_monitors.py"
LOGS = "tests/observe/test_observe_kernel_log.py -k told_by_what_it_says"
SHAPES = "tests/observe/test_observe_log_shapes.py -k same"
ARCHIVES = "tests/observe/test_observe_archives.py"
PERCENT = "tests/test_percent.py"
ABLATED = "tests/measure/test_measure_ablated.py"
APART = "tests/reports/test_report_ablation.py"
FORMS = "tests/search/test_search_forms.py -k oracles"
GENERATIONS = "tests/mm/test_lru_gen.py"
READAHEAD = "tests/runs/test_runs_readahead.py"
RELIEF = "tests/mm/test_region_relief.py"
BORDER = "tests/policy/test_policy_contiguitas.py"
DECIDED = "tests/measure/test_measure_sequential.py -k matters"
WAITED = "tests/runs/test_runs_until_decided.py -k wait"
SAMPLED = "tests/cli/test_cli_commands.py -k samples_are_few"
CONTIG = "tests/mm/test_contig.py"
COSTS = "tests/search/test_search_cost.py -k by_region"

MUTANTS: tuple[tuple[str, str, str, str], ...] = (
    ("reports/comparison/group_rows.py", '{"better": "green", "worse": "red"}', '{"better": "red", "worse": "green"}', ROWS),
    ("measure/table.py", '("mixed_blocks",), LOWER)', '("mixed_blocks",), HIGHER)', ROWS),
    ("measure/table.py", '"thp_fault_alloc", "faults", HIGHER)', '"thp_fault_alloc", "faults", LOWER)', ROWS),
    ("reports/triage/words.py", 'triage["seconds"] < SHORT', 'triage["seconds"] <= SHORT', DEFINITIONS),
    ("kernel/extfrag.py", "order_taken >= pageblock_order", "order_taken > pageblock_order", DEFINITIONS),
    ("kernel/pcp.py", "index // MIGRATE_PCPTYPES, max(hugepage_order, 0)", "index // MIGRATE_PCPTYPES, 9", DEFINITIONS),
    ("measure/extfrag.py", "table[..., :pageblock_order]", "table[..., : pageblock_order + 1]", DEFINITIONS),
    ("measure/blocks.py", "(movable > 0) & (unmovable > 0)", "(movable > 0) | (unmovable > 0)", DEFINITIONS),
    ("mm/kcompactd.py", "if s.cfg.kswapd_slice_ns == 0:", "if True:", SHARED),
    ("mm/kcompactd.py", "pgdat.kcompactd_slice = left", "pass", SHARED),
    ("mm/shared_cpu.py", "s.stat.late += ns", "pass", SHARED),
    ("mm/vmscan.py", "s.stat.late += sc.cost * s.cfg.time_scale", "pass", STALLED),
    ("mm/vmscan.py", "if s.cfg.kswapd_slice_ns:", "if True:", STALLED),
    ("mm/shared_cpu.py", "return ns + s.cfg.kswapd_slice_ns,", "return ns,", SHARED),
    ("demand/pagekinds.py", "pinned: float = 0.00003", "pinned: float = 0.0006", PINNED),
    ("measure/blocks.py", "(mt == k.MIGRATE_MOVABLE) & pinned", "(mt != MIGRATE_MOVABLE) & pinned", DEFINITIONS),
    ("kernel/pageflags.py", "flag(words, KPF_LRU) | anonymous", "flag(words, KPF_LRU)", f"{TRUTH} -k moments"),
    ("kernel/pageflags.py", "flag(words, KPF_LRU) | anonymous", "anonymous", DEFINITIONS),
    ("kernel/pageflags.py", "return can_move(tails_as_heads(words))", "return can_move(words)", DEFINITIONS),
    ("kernel/pageflags.py", " | 1 << KPF_OFFLINE)", ")", DEFINITIONS),
    ("kernel/pageflags.py", " & ~(flag(words, KPF_SLAB) | flag(words, KPF_PGTABLE))", "", DEFINITIONS),
    ("measure/pages.py", "classes[classes == FREE] = UNMOVABLE", "pass", f"{TRUTH} -k moments"),
    ("measure/extfrag.py", " | (wanted == MIGRATE_RECLAIMABLE)", "", DEFINITIONS),
    ("measure/extfrag.py", "(kind == CLAIM) & from_movable", "(kind != STEAL) & from_movable", DEFINITIONS),
    ("measure/extfrag.py", "between(STEAL, movable, everyone)", "between(STEAL, movable, own)", DEFINITIONS),
    ("measure/extfrag.py", "between(CLAIM, movable, own)", "between(CLAIM, own, movable)", DEFINITIONS),
    ("mm/log.py", "return packed >> 8, packed & 255", "return packed & 255, packed >> 8", DEFINITIONS),
    ("mm/movable.py", "== ATTR_LRU", "== ATTR_FILE", DEFINITIONS),
    ("live/view.py", '"order_asked": self.order_asked', '"order_asked": self.order_taken', DEFINITIONS),
    ("live/tap.py", 'order_taken=fields["fallback_order"]', 'order_taken=fields["alloc_order"]', DEFINITIONS),
    ("measure/permutation.py", "(self is Direction.HIGHER) else", "(self is Direction.LOWER) else", ROWS),
    ("reports/plot/bars.py", 'Direction.LOWER: ", less is better"', 'Direction.LOWER: ", more is better"', ROWS),
    ("measure/permutation.py", "TIE = 1e-13", "TIE = 1e-2", GROUPS),
    ("measure/permutation.py", "found - max(TIE * found, lost)", "found - 1e-9", GROUPS),
    ("reports/comparison/rows.py", '"movable_only_per_dropped_page",\n        "end.regions_2m_movable_only"',
     '"movable_only_per_dropped_page",\n        "end.regions_2m_tainted"', ROWS),
    ("measure/fidelity.py", "ERRORS = 2.0", "ERRORS = 3.0", VERDICT),
    ("measure/fidelity.py", "OPEN if self.holds and small else", "OPEN if self.holds else", VERDICT),
    ("measure/fidelity.py", "SPREAD * self.theirs.sd", "SPREAD * self.ours.sd", VERDICT),
    ("measure/intervals.py", "limit = t_quantile(1 - level / 2, freedom)", "limit = t_quantile(1 - level, freedom)", INTERVALS),
    ("measure/intervals.py", "min((len(p) - rank) * p[key], 1.0)", "min(len(p) * p[key], 1.0)", INTERVALS),
    ("measure/intervals.py", "part**2 / (s.n - 1)", "part**2 / s.n", INTERVALS),
    ("fidelity/verdict/changes.py", "if len({*before, *after}) > 1", "", VERDICT),
    ("fidelity/verdict/level.py", " and run.image == image", "", VERDICT),
    ("fidelity/verdict/outcomes.py", "int(number[1]) >= 6", "int(number[1]) >= 5", VERDICT),
    ("fidelity/verdict/columns.py", '"end_mixed": "end.mixed_blocks"', '"end_mixed": "end.polluted_blocks"', VERDICT),
    ("../../docs/kernels_document.py", "column.name not in ONLY_PATCHED and ", "", KERNELS),
    ("measure/trustrecord.py", "LEAST_DEMANDS = 2", "LEAST_DEMANDS = 1", WORTH),
    ("measure/trustrecord.py", "self.right == self.asked", "self.right > 0", WORTH),
    ("../../docs/generate_trust.py", ' and effect["holds"]', "", WORTH),
    ("reports/comparison/conclusion.py", "known.earned(row_id, loop) for row_id in deciding",
     "True for row_id in deciding", WORTH),
    ("measure/stalls.py", "begin.zone != (e.b, e.c)", "False", STALLS),
    ("measure/stalls.py", "request is None or task.waits", "request is None", STALLS),
    ("measure/stalls.py", "chunk.gfp[alloc] & np.uint32(GFP_DIRECT_RECLAIM)", "chunk.gfp[alloc] | np.uint32(1)", STALLS),
    ("measure/stalls.py", "attempt.runs += 1", "pass", STALLS),
    ("measure/stallfigures.py", "-(-percent * len(durations) // 100)", "percent * len(durations) // 100 or 1", STALLS),
    ("measure/stallfigures.py", "np.where(reclaim, result == 0,", "np.where(reclaim, result < 0,", STALLS),
    ("measure/rescans.py", "> LONGEST_PAUSE_NS)", ">= LONGEST_PAUSE_NS)", RESCANS),
    ("measure/rescans.py", "LEAST_SCANS = 10", "LEAST_SCANS = 9", RESCANS),
    ("measure/rescans.py", "begin[0] != begin[2]", "True", RESCANS),
    ("measure/wakes.py", "GFP_DIRECT_RECLAIM | GFP_COMP", "GFP_DIRECT_RECLAIM", RESCANS),
    ("live/metrics.py", "int(sure.sum()) - others", "int(sure.sum())", METRICS),
    ("live/metrics.py", "number << order", "number", METRICS),
    ("live/stallfeed.py", 'side="left"', 'side="right"', "tests/live/test_live_metrics.py -k bound"),
    ("mm/compact_scanners.py", "return cc.ignore_skip_hint != 0 or not get_pageblock_skip(s, pfn)", "return True", SKIP),
    ("mm/compact_scanners.py", "return cc.ignore_skip_hint != 0 or not", "return not", SKIP),
    ("mm/isolate_freepages.py", " and isolation_suitable(s, cc, start)", "", SKIP),
    ("mm/isolate_migratepages.py", "at_start and not fast and not isolation_suitable(s, cc, pfn)", "False", SKIP),
    ("mm/isolate_migratepages.py", "if from_start and not isolation_suitable(s, cc, start)", "if False", SKIP),
    ("mm/split_folio.py", "attr & ~k.ATTR_RECLAIM if i else attr", "attr", SPLIT),
    ("mm/split_folio.py", "attr & k.ATTR_BUSY and mode == k.MIGRATE_ASYNC", "attr & k.ATTR_BUSY", SPLIT),
    ("mm/split_folio.py", "return not (attr & k.ATTR_FILE and folio_dirty(s, pfn, attr))", "return True", SPLIT),
    ("mm/split_folio.py", "s.stat.first_shadow <= obj", "s.stat.first_base_page <= obj", SPLIT),
    ("mm/shrink_list.py", "if scan and sc.nr_unqueued_dirty == scan:", "if scan < 0:", FLUSHER),
    ("demand/pagecache.py", "i = _read_before(s, reader, key, pages)", "i = i64(0)", READS),
    ("mm/compact_migrate.py", "if try_split_folio(s, cc, pfn, mode):", "if order > 0:", SPLIT),
    ("mm/compact_zone.py", "s.cfg.open_loop == 0 and try_split_folio(s, cc, pfn, cc.mode)",
     "try_split_folio(s, cc, pfn, cc.mode)", SPLIT),
    ("observe/recordingadvice.py", "_mixing(triage) >= MIXING", "_mixing(triage) > MIXING", ADVICE),
    ("observe/recordingadvice.py", "2 * failed < count", "2 * failed <= count", ADVICE),
    ("observe/recordingadvice.py", "if recording else f\"`sudo", "if not recording else f\"`sudo", ADVICE),
    ("observe/files/monitors.py", "if scans[at] > 0)", "if scans[at] >= 0)", MONITORS),
    ("observe/files/monitors.py", "sum(kb[:HUGE_ORDER])", "sum(kb[: HUGE_ORDER + 1])", MONITORS),
    ("kernelfiles/sysstat.py", "if month > 12 and day <= 12", "if month > 31", MONITORS),
    ("kernelfiles/netdata.py", "else abs(number)", "else number", MONITORS),
    ("observe/files/reportcopies.py", "self._here.clear()", "pass", LOGS),
    ("observe/files/reportcopies.py", "if time not in self._times", "if time in self._times", LOGS),
    ("kernelfiles/loglines.py", 'text = _COLOUR.sub("", text)', "pass", SHAPES),
    ("kernelfiles/text.py", 'return "utf-16" if', 'return "utf-8" if', SHAPES),
    ("observe/files/archives.py", "member.isreg()", "True", ARCHIVES),
    ("percent.py", 'f} %"', 'f}%"', PERCENT),
    ("measure/ablated.py", "direction.judged(after - before)", "direction.judged(before - after)", ABLATED),
    ("measure/ablated.py", "if corrected is not None and corrected <= LEVEL", "if alone is not None and alone <= LEVEL", ABLATED),
    ("measure/ablated.py", 'if row.judged == "better")', 'if row.judged == "worse")', ABLATED),
    ("measure/ablated.py", 'if row.judged == "worse")', 'if row.judged == "better")', ABLATED),
    ("measure/ablated.py", 'ONLY_COSTS if "worse" in paid else CHEAPER', 'CHEAPER if "worse" in paid else ONLY_COSTS', ABLATED),
    ("reports/ablation.py", '{"better": BETTER, "worse": WORSE}', '{"better": WORSE, "worse": BETTER}', APART),
    ("reports/ablation.py", 'row.judged == "better" for row in one.rows', 'row.judged == "worse" for row in one.rows', APART),
    ("reports/ablation.py", '("buys", one.buys), ("costs", one.paid)', '("buys", one.paid), ("costs", one.buys)', APART),
    ("runs/ablate.py", "table[0] == table[1 + i]", "table[0] != table[1 + i]", "tests/runs/test_runs_ablate.py -k nothing"),
    ("search/find.py", "return hi - i if largest else lo + i", "return lo + i", FORMS),
    ("search/find.py", "first <= bucket < last and rank < best", "first <= bucket < last and rank <= best", FORMS),
    ("search/find.py", "                word ^= bit(region)", "                word = 0", FORMS),
    ("search/find.py", "if known >> at & 1 == 0", "if known == 0", FORMS),
    ("search/buckets.py", "bucket < CLEAN * CLASSES <= old", "bucket <= CLEAN * CLASSES <= old", FORMS),
    ("search/buckets.py", "while 0 <= behind < number:", "while 0 <= behind < 0:", FORMS),
    ("search/buckets.py", "region.free_blocks <= s.cfg.reserve", "region.free_blocks < s.cfg.reserve", FORMS),
    ("search/lists.py", "before + min(sign, 0) == 0", "before == 0", FORMS),
    ("search/zone.py", "order < s.cfg.max_page_order - 1 and", "order < s.cfg.max_page_order and", FORMS),
    ("search/zone.py", "            retype_chunk(s, buddy, order, mt)", "            pass", FORMS),
    ("search/mainline.py", "free + alike >= (end - start) // 2", "free + alike > (end - start) // 2", FORMS),
    ("search/mainline.py", "range(s.cfg.look_ahead + 1)", "range(s.cfg.look_ahead)", FORMS),
    ("search/cost.py", "return _PAGES + node - s.cfg.region_nodes", "return _PAGES", COSTS),
    ("search/cost.py", "if cost.line[i] == line:", "if cost.line[i] > line:", COSTS),
    ("mm/contig.py", "CONTIG_TRIES = 5", "CONTIG_TRIES = 4", CONTIG),
    ("mm/contig.py", "s.cfg.region_contig and order >= s.cfg.region_order", "False", f"{CONTIG} -k cheapest"),
    ("mm/contig.py", "if not set_migratetype_isolate(s, first)", "if set_migratetype_isolate(s, first) and False", CONTIG),
    ("mm/migrate_batch.py", "if s.link[2 * pfn + 1] & ATTR_PINNED:", "if s.link[2 * pfn + 1] & 0:", f"{CONTIG} -k pinned"),
    ("mm/migrate_batch.py", "lru_add_batch_drain(s, cpu)", "pass", CONTIG),
    ("policy/spb_contig.py", "region_contig=True", "region_contig=False", f"{CONTIG} -k named"),
    ("mm/contig_regions.py", "size * s.cfg.region_contig_free // 100", "0", f"{CONTIG} -k little"),
    ("mm/region_evacuate.py", "if smallest_of_region(s, number, order, mt) >= 0:", "if False:", RELIEF),
    ("mm/region_shrink.py", "slabs & ((1 << s.cfg.region_shrink_priority) - 1) == 0", "slabs & 1 == 1", RELIEF),
    ("policy/spb_evacuation.py", "region_evacuate=True", "region_evacuate=False", f"{RELIEF} -k named"),
    ("policy/contiguitas.py", "        return FALLBACK_EMPTY", "        return mt", BORDER),
    ("policy/contiguitas.py", "found < most:\n            pfn", "found < 64:\n            pfn", BORDER),
    ("policy/spb_evacuation.py", "region_nofragment_kept=True", "region_nofragment_kept=False", f"{RELIEF} -k named"),
    ("policy/spb_shrink.py", "region_shrink=True", "region_shrink=False", f"{RELIEF} -k named"),
    ("policy/evacuate.py", '"on-steal=yes", "a steal', '"on-steal=no", "a steal', "tests/policy/test_policy_ablation.py"),
    ("mm/swap_use.py", "seen == 0 or (seen != now", "(seen != now", "tests/mm/test_swap.py -k spared"),
    ("mm/zsmalloc.py", "k.ATTR_MOVABLE_OPS, obj)", "0, obj)", "tests/mm/test_swap.py -k movable_pages"),
    ("mm/layout.py", "lru_gen: bool = False", "lru_gen: bool = True", "tests/runs/test_runs_settings.py -k lru_gen_is_replayed"),
    ("runs/sysctls.py", 'recorded.setdefault("lru_gen", on)', "pass", "tests/runs/test_runs_settings.py -k lru_gen_is_replayed"),
    ("mm/lruvec.py", "k.MAX_NR_GENS - (1 if attr & (k.ATTR_W", "k.MAX_NR_GENS - (0 if attr & (k.ATTR_W",
     f"{GENERATIONS} -k in_its_batch"),
    ("mm/lru_gen_evict.py", "if lazy or tier > tier_idx:", "if lazy:", f"{GENERATIONS} -k read_again"),
    ("mm/lru_gen_shrink.py", "s.stat.nr_swap_pages >= k.MIN_LRU_BATCH", "s.stat.nr_swap_pages", f"{GENERATIONS} -k room"),
    ("mm/swapfile.py", "+ (1 << SWAP_UNIT_SHIFT)", "+ (2 << SWAP_UNIT_SHIFT)", "tests/mm/test_swap.py -k in_use"),
    ("measure/stationary.py", "alpha).bound", "alpha).difference", "tests/measure/test_measure_stationary.py"),
    ("workload/started.py", "DemandOp.SPLIT, first, 0", "DemandOp.SPLIT, 0, 0", "tests/runs/test_runs_started.py -k another"),
    ("mm/read_state.py", "(-left, head)", "(left, head)", "tests/runs/test_runs_started.py -k links_make"),
    (
        "demand/again.py",
        "own[:gone]]), own[gone:]",
        "own[: gone // 2]]), own[gone // 2 :]",
        "tests/demand/test_again.py -k contradicts",
    ),
    (
        "runs/scaled_rows.py",
        "(at - within) * self.turns + self.turn * SHARED_CPU_SLICE_NS + within",
        "at",
        "tests/demand/test_again.py -k turns",
    ),
    ("runs/tiled.py", "(of.copy, of.row, rows.mt", "(of.row, of.copy, rows.mt", "tests/runs/test_scale.py -k several"),
    ("mm/region_worker.py", "s.meta[start] & 15 < s.cfg.pageblock_order and", "s.meta[start] >= 0 and",
     "tests/mm/test_regions.py -k huge"),
    ("measure/sequential.py", "MATTERS = 0.20", "MATTERS = 0.30", DECIDED),
    ("measure/sequential.py", "max(-low, high) <= MATTERS", "min(-low, high) <= MATTERS", DECIDED),
    ("runs/until_decided.py", "chance >= HOPELESS", "chance >= 0", WAITED),
    ("runs/until_decided.py", "told.decided or not _worth_going_on", "True or not _worth_going_on", WAITED),
    ("cli/compare.py", "if not (series or save)", "if not save", SAMPLED),
    ("cli/compare.py", "SAMPLES = 20", "SAMPLES = 100", SAMPLED),
    (
        "runs/loop.py",
        "        t = row_time(s, d.t[i])\n        while t",
        "        t = row_time(s, d.t[i])\n        row_begins(s, d.t[i])\n        while t",
        "tests/runs/test_runs_closed_loop.py -k looking",
    ),
    ("runs/base_pages.py", "if in_time:\n            fault", "if taken < 0:\n            fault",
     "tests/runs/test_runs_base_pages.py -k time"),
    ("runs/readahead.py", "fault_takes_time(s, s.stat.now - s.stat.late, READ_NS)", "pass", f"{READAHEAD} -k time"),
    ("runs/readahead.py", "MOST_ALIGNED = 9", "MOST_ALIGNED = 0", f"{READAHEAD} -k larger"),
    ("runs/readahead.py", "state == ABSENT or state == NEW", "state == ABSENT", f"{READAHEAD} -k first_time"),
    ("runs/mapping.py", "VM_READAHEAD_PAGES = 32", "VM_READAHEAD_PAGES = 16", f"{READAHEAD} -k stretch"),
    ("runs/mapping.py", "waits = gfp & READAHEAD == READAHEAD and", "waits = gfp < 0 and", f"{READAHEAD} -k waits"),
    ("demand/tables.py", "MOST_NUMBERS = 8", "MOST_NUMBERS = 9", "tests/demand/test_demand_reclaim.py -k longest"),
    ("demand/pagecache.py", "end = min(end, file_count(s, key, i64(FILE_MAPPED)))", "pass", FAULTS),
    ("demand/pagecache.py", "        return i if inside and", "        return i64(-1) if inside and", FAULTS),
    ("runs/readahead.py", "had += 0 < s.mapping[i] <= s.stat.first_shadow", "had += 1", f"{READAHEAD} -k had"),
    ("demand/pagecache.py", "obj != last and (fresh or not more)", "obj != last", FAULTS),
    ("demand/pagecache.py", "== 0:\n            continue", "== 0:\n            break", FAULTS),
    ("demand/pagecache.py", "        leave(s, key + i + IN_TABLE)\n", "", FAULTS),
    ("demand/pagecache.py", "if end > key + pages:", "if end >= key:", "tests/demand/test_demand_reclaim.py -k random"),
    ("fidelity/verdict/two_reads.py", "flags.classes == MOVABLE, MOVABLE", "dump.classes == MOVABLE, MOVABLE",
     "tests/fidelity/test_fidelity_two_reads.py -k reclaimed"),
    ("fidelity/verdict/two_reads.py", "FLAGS_NS = 60_000_000", "FLAGS_NS = 0",
     "tests/fidelity/test_fidelity_two_reads.py -k later"),
    ("demand/uses.py", "(when < end) & (until > since)", "until > since", "tests/demand/test_demand_uses.py -k order"),
    ("demand/uses.py", "latest = [-1] * PASSED", "latest = [-1]", "tests/demand/test_demand_uses.py -k young"),
)  # fmt: skip
"""File below src/kevacuate, text, what stands there instead, and the tests that must fail."""


def survives(number: int, copy: Path) -> bool:
    """Whether the tests pass with this mutant in place."""
    name, text, instead, tests = MUTANTS[number]
    path = copy / "src" / "kevacuate" / name
    whole = path.read_text()
    if text not in whole:
        raise SystemExit(f"Mutant {number}: {name} does not hold {text!r}.")
    path.write_text(whole.replace(text, instead, 1))
    try:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *tests.split(),
        ]
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        if name.startswith(("mm/", "search/")):
            environment["NUMBA_DISABLE_JIT"] = "1"  # compiling the model takes longer than these tests do
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    finally:
        path.write_text(whole)
    if done.returncode not in (0, 1):
        raise SystemExit(f"Mutant {number}: pytest ended with {done.returncode}.\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def places(numbers: list[int]) -> int:
    """Whether each mutant's text stands in its file; 1 if one does not."""
    lost = [
        n for n in numbers if MUTANTS[n][1] not in (ROOT / "src" / "kevacuate" / MUTANTS[n][0]).read_text()
    ]
    for number in lost:
        print(f"{number:2} not found: {MUTANTS[number][0]}: {MUTANTS[number][1]!r}")
    return 1 if lost else 0


def main() -> int:
    """Try all mutants, or those named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "numbers", nargs="*", type=int, metavar="NUMBER", help=f"0 to {len(MUTANTS) - 1}; all without"
    )
    parser.add_argument(
        "--places", action="store_true", help="only look whether each place is still there, once"
    )
    given = parser.parse_args()
    numbers = given.numbers or list(range(len(MUTANTS)))
    if given.places:
        return places(numbers)
    alive = 0
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for part in ("src", "tests", "docs", "benchmarks", "pyproject.toml"):
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part)
            else:
                shutil.copy(source, copy)
        for number in numbers:
            lives = survives(number, copy)
            alive += lives
            print(
                f"{number:2} {'SURVIVES' if lives else 'killed  '} {MUTANTS[number][0]}: {MUTANTS[number][2]!r}",
                flush=True,
            )
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
