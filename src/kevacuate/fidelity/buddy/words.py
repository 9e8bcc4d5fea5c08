# SPDX-License-Identifier: GPL-2.0-or-later
"""The first divergence of the buddy level, in words."""

from __future__ import annotations

from typing import Any

from kevacuate.fidelity.buddy import books as bk
from kevacuate.kernel.hooks import ListOp, RmqKind
from kevacuate.measure.fidelity import Divergence
from kevacuate.mm import constants as k

LIST_OPS = (
    "added at the head of",
    "added at the tail of",
    "deleted from",
    "moved to the tail of",
    "now first of",
    "now last of",
)
REQUESTS = (
    "refill (rmqueue_bulk)",
    "direct allocation (rmqueue_buddy)",
    "drain (free_pcppages_bulk)",
    "direct free",
)


def _mt(number: int) -> str:
    return k.MIGRATE_NAMES[number] if 0 <= number < len(k.MIGRATE_NAMES) else f"type {number}"


def record_words(logged: int, pfn: int, a: int, b: int, c: int, d: int) -> str:
    """A record of the model's log, or the kernel's event in its terms, as a short sentence."""
    if logged == k.L_LIST:
        to = c >> 8 if a == ListOp.MOVE else c & 255
        op = LIST_OPS[a] if 0 <= a < len(LIST_OPS) else f"operation {a} on"
        return f"pfn {pfn:#x} {op} list order {b} {_mt(to)}"
    if logged == k.L_ZONE_LOCKED:
        return f"took pfn {pfn:#x} order {a} {_mt(b)}"
    if logged == k.L_PCPU_DRAIN:
        return f"drained pfn {pfn:#x} order {a} to {_mt(b)}"
    if logged == k.L_EXTFRAG:
        how = "claimed" if d else "stole"
        return f"{how} pfn {pfn:#x} order {a} from order {b} {_mt(c & 255)} for {_mt(c >> 8)}"
    if logged == k.L_BLOCK_TYPE:
        return f"pageblock {pfn:#x} changed from {_mt(a)} to {_mt(b)}"
    if logged == k.L_EVAC_CLAIM:
        verdict = "claimed" if d else "refused"
        return f"pageblock {pfn:#x} {verdict} for {_mt(a >> 8)}: {b} free, {c} movable"
    return "nothing"


def request_words(first: Any) -> str:
    """The request in which the divergence lies."""
    kind, zone, order, mt, value, count, cpu = (int(x) for x in first[bk.V_REQUEST : bk.V_REQUEST + 7])
    if kind < 0:
        return f"no request, CPU {cpu}"
    if kind == RmqKind.FREE:
        return f"a {REQUESTS[kind]} of pfn {value:#x} order {order}, zone {zone}, CPU {cpu}"
    size = f"{count} x order {order} {_mt(mt)}" if kind == RmqKind.BULK else f"order {order} {_mt(mt)}"
    if kind == RmqKind.DRAIN:
        return f"a {REQUESTS[kind]} of {count} pages, zone {zone}, CPU {cpu}"
    return f"a {REQUESTS[kind]} of {size}, alloc_flags {value:#x}, zone {zone}, CPU {cpu}"


def divergence_of(first: Any, at_dump: tuple[int, str, str, str] | None) -> Divergence:
    """The books' first divergence, or the one that a dump showed, in words."""
    if at_dump is not None:
        ts, what, model, kernel = at_dump
        return Divergence(-1, ts, what, model, kernel)
    return Divergence(
        position=int(first[bk.V_POSITION]),
        ts=int(first[bk.V_TS]),
        what=f"{bk.KINDS[int(first[bk.V_KIND])]}, in {request_words(first)}",
        model=record_words(*(int(x) for x in first[bk.V_MODEL : bk.V_MODEL + 6])),
        kernel=record_words(*(int(x) for x in first[bk.V_KERNEL : bk.V_KERNEL + 6])),
    )
