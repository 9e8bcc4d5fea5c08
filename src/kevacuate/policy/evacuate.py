# SPDX-License-Identifier: GPL-2.0-or-later
"""``evacuate``: Linux 7.2 with the asynchronous evacuation of stolen movable pageblocks.

What it does is modelled in :mod:`kevacuate.mm.evacuate` and :mod:`kevacuate.mm.evacuate_queue`; the knobs set the fields of
:class:`kevacuate.mm.layout.EvacuationConfig`.
"""

from __future__ import annotations

from kevacuate.measure.rows import LOWER, Row, Value, figure_of
from kevacuate.measure.table import WORKER_MS
from kevacuate.policy.api import (
    MAINLINE_RULE,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    REFUSE,
    Hooks,
    evacuate_block,
    get_pfnblock_migratetype,
    pageblock_order,
)
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.knobs import COMMON, MOST, MOST_TIMES, Knob, choice, count, nodes, times
from kevacuate.policy.settings import SETTINGS
from kevacuate.policy.variant import OPENING, PART, TOGETHER, Variant

NO_YES, YES_NO = choice(no=False, yes=True), choice(yes=True, no=False)

_COST = f"ns of virtual time, 0 to {MOST}"

KNOBS: dict[str, Knob] = {
    "pool": Knob(
        count, f"a number from 0 to {MOST}, default 64", "preallocated work items (NR_EVACUATE_ITEMS)", "pool"
    ),
    "wq": Knob(
        choice(per_cpu="per_cpu", per_node="per_node"),
        "per-cpu (default, as 7.2 does) or per-node",
        "where max_active=1 applies: one evacuation at a time per CPU, or per node as the patch intends",
        "wq",
    ),
    "skip-hint": Knob(
        choice(honour=True, ignore=False),
        "honour (default, as the patch does) or ignore",
        "whether isolation reads and sets the block's skip bit",
        "skip_hint",
    ),
    "claim-types": Knob(
        choice(both="both", unmovable="unmovable", reclaimable="reclaimable"),
        "both (default, as the patch does), unmovable or reclaimable",
        "claims for which of these types queue a movable block",
        "claims",
    ),
    "on-steal": Knob(
        NO_YES,
        "no (default, as the patch does) or yes",
        "whether a steal from a movable block queues it too",
        "on_steal",
    ),
    "claim-guard": Knob(
        YES_NO,
        "yes (default, as the patch does) or no",
        "whether the claim path passes over isolated blocks",
        "guard",
    ),
    "type-recheck": Knob(
        YES_NO,
        "yes (default, as the patch does) or no",
        "whether a block that is movable again when a worker takes it is left alone",
        "recheck",
    ),
    "batch-tries": Knob(
        times,
        f"a number from 1 to {MOST_TIMES}, default 1",
        "how often a batch with pages that fail is tried (alloc_contig_range: up to 5)",
        "tries",
    ),
    "failed-page": Knob(
        choice(abandon=False, go_on=True),
        "abandon (default, as the patch does) or go-on",
        "whether a page that fails ends its block's evacuation",
        "pass_failed",
    ),
    "drain-first": Knob(
        NO_YES,
        "no (default, as the patch does) or yes",
        "whether the zone's per-CPU lists and all LRU batches are drained first",
        "drain_first",
    ),
    "queue-twice": Knob(
        YES_NO,
        "yes (default, as the patch does) or no",
        "whether a block that is queued is queued again",
        "queue_twice",
    ),
    "no-item": Knob(
        choice(drop=False, wait=True),
        "drop (default, as the patch does) or wait",
        "what a request does when the pool is empty: it is dropped, or its block waits for an item",
        "wait_for_item",
    ),
    "clean-cache": Knob(
        choice(drop=True, move=False),
        "drop (default, as the patch does) or move",
        "whether clean page cache is dropped or migrated",
        "drop_clean",
    ),
    "target-pages": Knob(
        choice(any=True, movable=False),
        "any (default, as the patch does) or movable",
        "destinations: from the ordinary allocator, or off the node's free movable lists alone",
        "any_target",
    ),
    "isolate-block": Knob(
        NO_YES,
        "no (default, as the patch does) or yes",
        "whether the block is isolated while it is evacuated, as alloc_contig_range does",
        "isolate_block",
    ),
    **COMMON,
    "time-scale": Knob(
        count,
        f"a number from 0 to {MOST}",
        "how many times slower than the costs' native machine the recorded one is",
        "time_scale",
    ),
    "no-workqueue": Knob(nodes, "node numbers joined by +", "nodes whose workqueue could not be created"),
    "irq-work-ns": Knob(count, _COST, "from the end of the lock hold to the irq_work", "irq_work_ns"),
    "wakeup-ns": Knob(count, _COST, "waking an idle kworker", "wakeup_ns"),
    "work-ns": Knob(count, _COST, "taking an item and re-checking its block", "work_ns"),
    "scan-ns": Knob(count, _COST, "passing a page that cannot be isolated", "scan_ns"),
    "isolate-ns": Knob(count, _COST, "isolating a page", "isolate_ns"),
    "reclaim-ns": Knob(count, _COST, "dropping a clean cache page", "reclaim_ns"),
    "migrate-ns": Knob(count, _COST, "migrating a page", "migrate_ns"),
    **SETTINGS,
}


def _ended(start: str) -> Value:
    """Evacuations that ended in the way whose name begins so."""
    return lambda run: float(
        sum(n for name, n in run.metrics["evacuations_ended"].items() if name.startswith(start))
    )


COUNTERS = (
    "evacuations_queued",
    "evacuations_dropped",
    "evacuations_started_with_skip_bit",
    "evacuations_movable_again",
    "pages_isolated",
    "pages_dropped",
    "pages_migrated",
    "pages_failed",
    "worker_cpu_seconds",
)

ROWS = (
    *(
        Row(f"evacuations.{end}", "Evacuations", label, "blocks", value)
        for end, label, value in (
            ("queued", "queued", figure_of("evacuations_queued")),
            ("dropped", "dropped, no item left", figure_of("evacuations_dropped")),
            (
                "started_with_skip_bit",
                "started with the skip bit set",
                figure_of("evacuations_started_with_skip_bit"),
            ),
            ("movable_again", "movable again when started", figure_of("evacuations_movable_again")),
            ("ran_to_the_end", "ran to the end of the block", _ended("ran")),
            ("nothing_isolated", "found nothing to isolate", _ended("nothing isolated")),
            ("page_failed", "ended by a page that failed", _ended("a page failed")),
            ("too_many_isolated", "ended by too many isolated", _ended("too many")),
        )
    ),
    Row("cost.pages_isolated", "Cost", "pages isolated", "pages", figure_of("pages_isolated")),
    Row("cost.pages_dropped", "Cost", "clean cache dropped", "pages", figure_of("pages_dropped"), LOWER),
    Row("cost.pages_migrated", "Cost", "migrated", "pages", figure_of("pages_migrated")),
    Row("cost.pages_failed", "Cost", "failed to migrate", "pages", figure_of("pages_failed"), LOWER),
    WORKER_MS,
)


ABLATION = (
    Variant("no claim queues", "pool=0", "nothing is queued: the guard alone is left", PART),
    Variant(
        "unmovable claims only",
        "claim-types=unmovable",
        "claims for reclaimable requests queue nothing",
        PART,
    ),
    Variant(
        "reclaimable claims only",
        "claim-types=reclaimable",
        "claims for unmovable requests queue nothing",
        PART,
    ),
    Variant("no guard", "claim-guard=no", "the claim path does not pass over isolated blocks", PART),
    Variant("no recheck", "type-recheck=no", "a block that is movable again is evacuated all the same", PART),
    Variant(
        "1: on steal", "on-steal=yes", "a steal from a movable block queues it, as a claim does", OPENING
    ),
    Variant(
        "2: skip hint ignored",
        "skip-hint=ignore",
        "isolation neither reads nor sets compaction's skip bit",
        OPENING,
    ),
    Variant(
        "3: five tries", "batch-tries=5", "a batch with pages that fail is tried up to five times", OPENING
    ),
    Variant(
        "3: go on",
        "failed-page=go-on",
        "pages that fail are put back, and the rest of the block is gone on with",
        OPENING,
    ),
    Variant("4: drain first", "drain-first=yes", "per-CPU lists and LRU batches are drained first", OPENING),
    Variant("5: pool of 1024", "pool=1024", "1,024 work items in place of 64", OPENING),
    Variant(
        "5: wait for an item",
        "no-item=wait",
        "a request that finds the pool empty waits in place of being dropped",
        OPENING,
    ),
    Variant("5: queued once", "queue-twice=no", "a block that is queued is not queued again", OPENING),
    Variant("5: worker per node", "wq=per-node", "one worker a node, as the patch's comment has it", OPENING),
    Variant(
        "6: move clean cache",
        "clean-cache=move",
        "clean page cache is migrated in place of being dropped",
        OPENING,
    ),
    Variant(
        "7: free movable targets",
        "target-pages=movable",
        "destinations claim, steal and reclaim nothing",
        OPENING,
    ),
    Variant(
        "8: isolate the block", "isolate-block=yes", "nothing is allocated from the block meanwhile", OPENING
    ),
    Variant(
        "1 to 8 together",
        "on-steal=yes,skip-hint=ignore,batch-tries=5,failed-page=go-on,drain-first=yes,no-item=wait,queue-twice=no,"
        "clean-cache=move,target-pages=movable,isolate-block=yes",
        "all of them, but for the pool's size and the workers",
        TOGETHER,
    ),
)
"""The patch's parts taken out, what it leaves open closed one by one, and all of that together."""


class Evacuate(Hooks):
    """The patch in terms of hooks. The model has it built in (``cfg.evacuate``), as its counters and log tell more of it."""

    def try_to_claim_block(self, s, z, pfn, order, start_type, block_type):  # type: ignore[no-untyped-def]
        """The patch's guard: an isolated block is not claimed."""
        return REFUSE if get_pfnblock_migratetype(s, pfn) == MIGRATE_ISOLATE else MAINLINE_RULE

    def block_claimed(self, s, z, pfn, order, start_type, block_type):  # type: ignore[no-untyped-def]
        """The patch's condition: a movable block was claimed through a smaller chunk for requests that cannot move."""
        if order < pageblock_order(s) and block_type == MIGRATE_MOVABLE and start_type != MIGRATE_MOVABLE:
            evacuate_block(s, pfn)


EVACUATE = PolicyKind(
    "evacuate",
    "with the asynchronous evacuation of stolen movable pageblocks",
    KNOBS,
    evacuates=True,
    counters=COUNTERS,
    rows=ROWS,
    ablation=ABLATION,
)
