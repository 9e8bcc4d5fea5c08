# SPDX-License-Identifier: GPL-2.0-or-later
"""``evacuate``: Linux 7.2 with the asynchronous evacuation of stolen movable pageblocks.

What it does is modelled in :mod:`kevacuate.mm.evacuate` and :mod:`kevacuate.mm.evacuate_queue`; the knobs set the fields of
:class:`kevacuate.mm.layout.EvacuationConfig`.
"""

from __future__ import annotations

from collections.abc import Callable

from kevacuate.measure.results import Run
from kevacuate.measure.rows import LOWER, Row, counter
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
from kevacuate.policy.knobs import COMMON, MOST, Knob, choice, count, nodes
from kevacuate.policy.settings import SETTINGS

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


def _ended(start: str) -> Callable[[Run], float]:
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
            ("queued", "queued", counter("evacuations_queued")),
            ("dropped", "dropped, no item left", counter("evacuations_dropped")),
            (
                "started_with_skip_bit",
                "started with the skip bit set",
                counter("evacuations_started_with_skip_bit"),
            ),
            ("movable_again", "movable again when started", counter("evacuations_movable_again")),
            ("ran_to_the_end", "ran to the end of the block", _ended("ran")),
            ("nothing_isolated", "found nothing to isolate", _ended("nothing isolated")),
            ("page_failed", "ended by a page that failed", _ended("a page failed")),
            ("too_many_isolated", "ended by too many isolated", _ended("too many")),
        )
    ),
    Row("cost.pages_isolated", "Cost", "pages isolated", "pages", counter("pages_isolated")),
    Row("cost.pages_dropped", "Cost", "clean cache dropped", "pages", counter("pages_dropped"), LOWER),
    Row("cost.pages_migrated", "Cost", "migrated", "pages", counter("pages_migrated")),
    Row("cost.pages_failed", "Cost", "failed to migrate", "pages", counter("pages_failed"), LOWER),
    WORKER_MS,
)


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
)
