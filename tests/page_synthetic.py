# SPDX-License-Identifier: GPL-2.0-or-later
"""Made-up comparisons for the page: machines of any size, with a map that changes as fast as a busy machine's."""

from __future__ import annotations

from typing import Any

import numpy as np

from kevacuate.measure import Comparison, Run
from kevacuate.measure import frames as f
from kevacuate.measure import pages as p
from kevacuate.measure.frames import Frames, Steps, encode
from kevacuate.measure.history import History
from kevacuate.mm import constants as k

ORDER = 9
BLOCK = 1 << ORDER
SECOND = 1_000_000_000


def block_counts(rng: np.random.Generator, blocks: int, kind: np.ndarray) -> np.ndarray:
    """int[blocks, 7] pages by class, of blocks that are by kind free, movable, unmovable, reclaimable, mixed or reserved."""
    counts = np.zeros((blocks, 7), np.int64)
    free = rng.integers(0, 200, blocks)
    few = rng.geometric(0.05, blocks).clip(1, 250)
    counts[:, p.FREE] = np.where(kind == 0, BLOCK, np.where(kind == 5, 0, free))
    left = BLOCK - counts[:, p.FREE]
    counts[:, p.UNMOVABLE] = np.where(kind == 2, left, np.where(kind == 4, np.minimum(few, left - 1), 0))
    counts[:, p.RECLAIMABLE] = np.where(kind == 3, left, 0)
    counts[:, p.MOVABLE] = np.where((kind == 1) | (kind == 4), left - counts[:, p.UNMOVABLE], 0)
    counts[:, p.RESERVED] = np.where(kind == 5, BLOCK, 0)
    return counts


def frames(
    blocks: int, moments: int, seed: int, *, churn: float = 0.15, mixed: float = 0.2, pages: bool = False
) -> Frames:
    """A map of *blocks* of which the share *churn* changes from one moment to the next; the start is the same for all seeds."""
    first = np.random.default_rng(7)
    rng = np.random.default_rng(seed)
    share = [0.3, 0.35, 0.12, 0.05, mixed, 0.0]
    share[1] += 1 - sum(share)
    kind = first.choice(6, blocks, p=share)
    kind[: max(blocks // 64, 1)] = 5
    mt = np.select([kind == 2, kind == 3], [k.MIGRATE_UNMOVABLE, k.MIGRATE_RECLAIMABLE], k.MIGRATE_MOVABLE)
    skip = first.random(blocks) < 0.1
    plane = encode(mt, block_counts(first, blocks, kind), skip, ORDER)
    places, values, offsets = [], [], [0, 0]
    now = plane.copy()
    for _ in range(1, moments):
        changed = np.flatnonzero((rng.random(blocks) < churn) & (kind != 5))
        new = encode(mt[changed], block_counts(rng, len(changed), kind[changed]), skip[changed], ORDER)
        real = new != now[changed]
        now[changed] = new
        places.append(changed[real])
        values.append(new[real])
        offsets.append(offsets[-1] + int(real.sum()))
    steps = Steps(plane, np.array(offsets, np.int64), np.concatenate(places), np.concatenate(values))
    t = np.arange(moments, dtype=np.int64) * SECOND // 2
    start = np.arange(blocks, dtype=np.int64) << ORDER
    zone = (np.arange(blocks) >= blocks // 16).astype(np.uint8)
    zones = ("node 0 DMA32", "node 0 Normal")
    return Frames(
        t, start, zone, zones, ORDER, steps, page_steps(rng, blocks, moments, kind) if pages else None
    )


def page_steps(rng: np.random.Generator, blocks: int, moments: int, kind: np.ndarray) -> Steps:
    """The pages of every block; of a block about 4 change from one moment to the next."""
    held = np.array([p.FREE, p.MOVABLE, p.UNMOVABLE, p.RECLAIMABLE, p.MOVABLE, p.RESERVED])[kind]
    first = np.repeat(held, BLOCK).astype(np.uint8)
    first[rng.random(len(first)) < 0.03] = p.FREE
    size = 4 * blocks
    place = [np.unique(rng.integers(0, len(first), size)) for _ in range(moments - 1)]
    value = [rng.choice([p.FREE, p.MOVABLE, p.UNMOVABLE], len(at)).astype(np.uint8) for at in place]
    offsets = np.concatenate([[0, 0], np.cumsum([len(at) for at in place])])
    return Steps(first, offsets.astype(np.int64), np.concatenate(place), np.concatenate(value))


def history(blocks: int, moments: int, seed: int, *, evacuates: bool, claims: int, steals: int) -> History:
    """A log of claims, with evacuations if asked for, and of steals."""
    rng = np.random.default_rng(seed)
    end = (moments - 1) * SECOND // 2
    rows: list[tuple[int, ...]] = []
    for item, t in enumerate(np.sort(rng.integers(0, end, claims)).tolist()):
        pfn = int(rng.integers(blocks // 64 + 1, blocks)) << ORDER
        rows.append((t, k.L_EVAC_CLAIM, 0, pfn, k.MIGRATE_MOVABLE, 300, 150, 1))
        rows.append((t, k.L_BLOCK_TYPE, 0, pfn, k.MIGRATE_MOVABLE, k.MIGRATE_UNMOVABLE, 0, 0))
        rows.append((t, k.L_EXTFRAG, 0, pfn + 3, 0, 6, k.MIGRATE_MOVABLE, 1))
        if evacuates:
            rows.append((t, k.L_EVAC_QUEUED, 0, pfn, item % 64, 0, 0, 0))
            rows.append((t + 900_000, k.L_EVAC_STARTED, 0, pfn, 0, 299, 150, item % 64))
            why = k.WHY_END if item % 5 else k.WHY_MIGRATE_FAILED
            rows.append(
                (t + 2_500_000, k.L_EVAC_FINISHED, 0, pfn, 150, 90, 59 + (why == 0), 256 * (why != 0) + why)
            )
    at = np.sort(rng.integers(0, end, steals))
    where = rng.integers(0, blocks * BLOCK, steals)
    stolen = np.zeros((steals, 8), np.int64)
    stolen[:, 0], stolen[:, 1], stolen[:, 3], stolen[:, 6] = at, k.L_EXTFRAG, where, k.MIGRATE_MOVABLE
    records = np.concatenate([np.array(rows, np.int64).reshape(-1, 8), stolen])
    return History(records[np.argsort(records[:, 0], kind="stable")], ORDER)


def moment(seen: f.BlockFrame) -> dict[str, Any]:
    """The part of :func:`kevacuate.measure.metrics.moment` that a map tells."""
    mixed = int((seen.content == f.CONTENT_MIXED).sum())
    regions = {
        "regions": len(seen.mt),
        "free": 0,
        "movable_only": int((seen.unmovable == 0).sum()),
        "tainted": mixed,
    }
    return {
        "blocks": {name: int((seen.mt == i).sum()) for i, name in enumerate(k.MIGRATE_NAMES)},
        "mixed_blocks": mixed,
        "polluted_blocks": int(((seen.mt == 1) & (seen.unmovable > 0)).sum()),
        "polluted_pages": int(seen.unmovable[seen.mt == 1].sum()),
        "free_pages": int((BLOCK - seen.movable - seen.unmovable).sum()),
        "huge_pages_free": int((seen.content == 0).sum()),
        "unusable_free_index": [i * 80 for i in range(11)],
        "fragmentation_index": [-1000] * 9 + [600, 700],
        "regions_2m": regions,
        "regions_32m": regions,
        "regions_1g": regions,
    }


COUNTERS = (
    "extfrag",
    "extfrag_below_pageblock",
    "claims_from_movable",
    "claims_whole_block_from_movable",
    "steals_from_movable",
    "steals_by_movable",
    "start_blocks_with_skip_bit",
    "start_blocks",
    "evacuations_queued",
    "evacuations_dropped",
    "evacuations_started_with_skip_bit",
    "evacuations_movable_again",
    "pages_isolated",
    "pages_dropped",
    "pages_migrated",
    "pages_failed",
    "worker_cpu_seconds",
    "demand_rows",
    "allocations_failed",
    "allocations_below_watermark",
    "frees_of_dropped",
    "compactions",
    "compaction_pages_migrated",
    "compaction_cpu_seconds",
)


def run(
    policy: str, blocks: int = 512, moments: int = 20, *, seed: int = 1, pages: bool = False, **more: Any
) -> Run:
    """A run with a map, a history and all the figures that the page shows."""
    evacuates = policy.startswith("evacuate")
    shown = frames(
        blocks, moments, seed, churn=more.get("churn", 0.15), mixed=0.14 if evacuates else 0.2, pages=pages
    )
    told = history(
        blocks,
        moments,
        seed,
        evacuates=evacuates,
        claims=more.get("claims", 60),
        steals=more.get("steals", 800),
    )
    series: dict[str, list[Any]] = {"t": shown.t.tolist()}
    for i in range(moments):
        for name, value in moment(shown.at(i)).items() if moments < 50 or i % 20 == 0 else ():
            series.setdefault(name, []).append(value)
    for name in (
        "mixed_blocks",
        "polluted_blocks",
        "free_pages",
        "unusable_free_index",
        "fragmentation_index",
    ):
        few = series[name]
        series[name] = [few[min(i * len(few) // moments, len(few) - 1)] for i in range(moments)]
    series = {name: values for name, values in series.items() if len(values) == moments}
    for i, name in enumerate(("steals", "claims", "claims_whole_block", "pages_migrated", "pages_dropped")):
        series[name] = [(i + 1) * j * (evacuates or i < 3) for j in range(moments)]
    for name in (
        "evacuations_queued",
        "evacuations_finished",
        "evacuations_movable_again",
        "evacuations_dropped",
    ):
        series[name] = [0] * moments
    metrics: dict[str, Any] = {name: 10 * i + 7 * seed for i, name in enumerate(COUNTERS)}
    metrics["evacuations_ended"] = dict.fromkeys(k.WHY_NAMES, 3)
    if not evacuates:
        metrics |= {name: 0 for name in metrics if name.startswith(("evacuations_", "pages_", "worker"))}
        metrics["evacuations_ended"] = dict.fromkeys(k.WHY_NAMES, 0)
    metrics["extfrag_events"] = [
        {
            "kind": kind,
            "for": "unmovable",
            "from": source,
            "order_taken": order,
            "events": 5 * order + 3 * seed,
        }
        for kind, orders in (("claim", (5, 6)), ("claim_block", (9,)), ("steal", (0, 1, 2)))
        for source in ("movable", "reclaimable")
        for order in orders
    ]
    metrics["end"] = moment(shown.at(-1))
    provenance = {
        "kevacuate": "0",
        "policy": policy,
        "options": {"seed": seed},
        "evacuation": {"skip_hint": True},
    }
    return Run(policy, metrics, series, provenance, {}, shown, told)


def comparison(
    blocks: int = 512, moments: int = 20, policies: tuple[str, ...] = ("mainline", "evacuate"), **more: Any
) -> Comparison:
    """A comparison of such runs."""
    runs = tuple(run(policy, blocks, moments, seed=i + 1, **more) for i, policy in enumerate(policies))
    zones = [{"node": 0, "name": "Normal", "managed_pages": blocks * BLOCK}]
    about = {
        "name": "synthetic.kev",
        "digest": "0" * 64,
        "kernel": "7.2.0-synthetic",
        "arch": "x86_64",
        "cpus": 4,
        "zones": zones,
        "pageblock_order": ORDER,
        "lost_events": [0, 0, 0, 0],
        "quality": {"trusted": 1.0},
        "verdict": "No event was lost.",
    }
    return Comparison(runs, about)
