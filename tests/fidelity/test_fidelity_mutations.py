# SPDX-License-Identifier: GPL-2.0-or-later
"""A deliberately broken model is caught, at the level that is about what was broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import kevacuate

PACKAGE = Path(kevacuate.__file__).parent
DATA = Path(__file__).parent.parent / "data"


class Mutation(NamedTuple):
    """One line of the model, broken."""

    file: str
    right: str
    wrong: str
    level: str
    """The level that must catch it."""
    recording: str = "one-cpu.kev"


MUTATIONS = {
    "wrong list end on a claim": Mutation(
        "mm/buddy.py",
        "    list_add_tail(s, pfn, free_list(s, z, order, new_mt))",
        "    list_add(s, pfn, free_list(s, z, order, new_mt))",
        "buddy",
    ),
    "wrong fallback order": Mutation(
        "mm/fallback.py",
        "    return k.MIGRATE_MOVABLE if start_type == k.MIGRATE_UNMOVABLE else k.MIGRATE_UNMOVABLE",
        "    return k.MIGRATE_RECLAIMABLE if start_type == k.MIGRATE_UNMOVABLE else k.MIGRATE_MOVABLE",
        "buddy",
    ),
    "threshold off by one": Mutation(
        "mm/fallback.py",
        "free + alike >= 1 << (pageblock_order - 1)",
        "free + alike > 1 << (pageblock_order - 1)",
        "buddy",
    ),
    "refill count": Mutation(
        "mm/pcp.py", "wanted = batch if order else batch << factor", "wanted = batch", "tuning"
    ),
    "drain from the wrong end": Mutation(
        "mm/pcp.py", "pfn = s.link[2 * head + 1] + 0\n", "pfn = s.link[2 * head] + 0\n", "pcp"
    ),
    "oldest first in a collection": Mutation(
        "mm/evacuate_queue.py",
        "        queue_work(s, number, item)\n        item = following",
        "        if following >= 0:\n            queue_work(s, number, following)\n        queue_work(s, number, item)\n"
        "        item = s.item[following].next if following >= 0 else -1",
        "evacuation",
    ),
    "skip bit ignored": Mutation(
        "mm/evacuate_isolate.py", "if use_hint and s.block[hint] & PB_COMPACT_SKIP:", "if False:", "evacuation", "two-cpus.kev"
    ),
    "balanced whatever the order": Mutation(
        "mm/watermark.py",
        "        if zone_watermark_ok_free(s, z, order, wmark_pages(s, z, k.WMARK_HIGH),",
        "        if zone_watermark_ok_free(s, z, 0, wmark_pages(s, z, k.WMARK_HIGH),",
        "reclaim",
        "reclaim-1cpu",
    ),
    "reclaim from the head": Mutation(
        "mm/shrink_list.py",
        "    at = s.lru[2 * head + 1] + 0\n    while",
        "    at = s.lru[2 * head] + 0\n    while",
        "reclaim",
        "reclaim-1cpu",
    ),
    "a batch of half a cluster": Mutation(
        "mm/shrink_node.py",
        "batch = min(sc.nr[which], k.SWAP_CLUSTER_MAX)",
        "batch = min(sc.nr[which], k.SWAP_CLUSTER_MAX // 2)",
        "reclaim",
        "reclaim-1cpu",
    ),
    "the order is kept whatever is reclaimed": Mutation(
        "mm/kswapd.py",
        "    if sc.order and sc.nr_reclaimed >= compact_gap(sc.order):\n",
        "    if False:\n",
        "reclaim",
        "reclaim-1cpu",
    ),
    "clean page cache is kept": Mutation(
        "mm/shrink_list.py",
        "    return attr & k.ATTR_ACTIVATING == 0",
        "    return attr & k.ATTR_ACTIVATING != 0",
        "reclaim",
        "reclaim-1cpu",
    ),
    "free chunks isolated to the wrong end": Mutation(
        "mm/compact_scanners.py", "    list_add_tail(s, pfn, freepages(s, z, cc, order))",
        "    list_add(s, pfn, freepages(s, z, cc, order))", "compaction", "compaction.kev",
    ),
    "free scanner's preferred quarter": Mutation(
        "mm/fast_isolate_freepages.py", "free_pfn - (distance >> 2))", "free_pfn - (distance >> 6))",
        "compaction", "compaction.kev",
    ),
    "free scanner's preferred quarter, seen in the free lists": Mutation(
        "mm/fast_isolate_freepages.py", "free_pfn - (distance >> 2))", "free_pfn - (distance >> 6))",
        "buddy", "compaction.kev",
    ),
    "free lists not rotated by the free scanner": Mutation(
        "mm/fast_isolate_freepages.py", "            move_freelist(s, head, pfn, False)\n            return pfn, True",
        "            return pfn, True", "buddy", "compaction.kev",
    ),
    "skip bits never set by the scanners": Mutation(
        "mm/compact_scanners.py", ">> s.cfg.pageblock_order)] |= k.PB_COMPACT_SKIP", ">> s.cfg.pageblock_order)] |= 0",
        "compaction", "compaction.kev",
    ),
    "a batch one folio too large": Mutation(
        "mm/isolate_migratepages.py", "(finish or cc.nr_migratepages < k.COMPACT_CLUSTER_MAX)",
        "(finish or cc.nr_migratepages <= k.COMPACT_CLUSTER_MAX)", "compaction", "compaction.kev",
    ),
    "asynchronous compaction moves both positions": Mutation(
        "mm/isolate_migratepages.py", "    if cc.mode != k.MIGRATE_ASYNC:\n        cached[1]", "    if True:\n        cached[1]",
        "compaction", "compaction.kev",
    ),
}  # fmt: skip


def verified(package: Path, recording: str, level: str) -> dict[str, Any]:
    """What a package in that directory says of the recording at a level, in plain Python: nothing is compiled."""
    code = (
        "import json, sys; from kevacuate.fidelity.verify import verify; "
        "print(json.dumps(verify(sys.argv[1], [sys.argv[2]]).as_dict()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(package), "NUMBA_DISABLE_JIT": "1"}
    arguments = [sys.executable, "-c", code, str(DATA / recording), level]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)["levels"][level]
    return result


@pytest.mark.parametrize(("recording", "level"), sorted({(m.recording, m.level) for m in MUTATIONS.values()}))
def test_the_model_as_it_is_decides_as_the_kernel_did(recording: str, level: str) -> None:
    result = verified(PACKAGE.parent, recording, level)
    assert result["decisions"] > 0
    wrong = {name: kind["mismatches"] for name, kind in result["kinds"].items() if kind["mismatches"]}
    assert all("drain" in name for name in wrong) if level == "tuning" else not wrong, result[
        "first_divergence"
    ]


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_model_is_caught(name: str, tmp_path: Path) -> None:
    mutation = MUTATIONS[name]
    shutil.copytree(
        PACKAGE, tmp_path / "kevacuate", ignore=shutil.ignore_patterns("__pycache__", "data", "*.parquet")
    )
    target = tmp_path / "kevacuate" / mutation.file
    source = target.read_text()
    assert source.count(mutation.right) == 1
    target.write_text(source.replace(mutation.right, mutation.wrong))
    result = verified(tmp_path, mutation.recording, mutation.level)
    wrong = {name: kind["mismatches"] for name, kind in result["kinds"].items()}
    assert sum(count for name, count in wrong.items() if mutation.level != "tuning" or "refill" in name) > 0
    assert result["first_divergence"] is not None
