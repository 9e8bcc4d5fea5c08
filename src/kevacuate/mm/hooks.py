# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a policy is asked, and what its answers may be (docs/policies.md).

A policy's hooks are machine code of their own, at addresses in ``cfg.hook``; a bit of ``cfg.hooks`` says which there are. Without
one, mainline's branch is taken. An answer that is none is refused: mainline's stands, the state says what was wrong
(``stat.hook_error``), and no hook is asked any more; whoever runs the model ends the run.
"""

from __future__ import annotations

from kevacuate.jit import call_hook, foreign_part, part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View


@part(inline=True)
def hooked(s: View, hook: int) -> bool:
    """Whether the policy has this hook."""
    return s.cfg.hooks >> hook & 1 != 0


@part(cold=True)
def hook_wrong(s: View, hook: int, error: int, value: int) -> None:
    """Note what is wrong with a hook, if it is the first thing."""
    if s.stat.hook_error == 0:
        s.stat.hook_error = error
        s.stat.failed_hook = hook
        s.stat.hook_value = value


@part(inline=True)
def ask(s: View, hook: int, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """Call a hook; HOOK_FAILED if it ended in an exception, asked for what it may not, or one has failed before."""
    if s.stat.hook_error:
        return k.HOOK_FAILED
    before = s.stat.running_hook
    s.stat.hook_rounds = s.stat.hook_rounds if before else 0
    s.stat.running_hook = hook + 1
    told, value = call_hook(s.cfg.hook[hook], s, a, b, c, d, e, f)
    s.stat.running_hook = before
    if told:
        hook_wrong(s, hook, k.HOOK_RAISED, told)
    return k.HOOK_FAILED if s.stat.hook_error else int(value)


@part(inline=True)
def ask_between(
    s: View, hook: int, a: int, b: int, c: int, d: int, e: int, f: int, low: int, high: int
) -> int:
    """Call a hook whose answers are *low* to *high*; HOOK_FAILED for any other."""
    value = ask(s, hook, a, b, c, d, e, f)
    if value != k.HOOK_FAILED and not low <= value <= high:
        hook_wrong(s, hook, k.HOOK_BAD_VALUE, value)
        return k.HOOK_FAILED
    return value


@part(inline=False)
def hooked_gfp_migratetype(s: View, order: int, mt: int, gfp: int) -> int:
    """The type whose lists a request goes to: one of the three that have per-CPU lists."""
    value = ask_between(s, k.HOOK_GFP_MIGRATETYPE, gfp, order, mt, 0, 0, 0, 0, k.MIGRATE_PCPTYPES - 1)
    return mt if value == k.HOOK_FAILED else value


@part(cold=True)
def hooked_free_one_page(s: View, z: int, pfn: int, order: int, mt: int, fpi: int, tail: bool) -> bool:
    """Whether a free chunk goes to the tail of its list; *tail* is mainline's answer."""
    value = ask_between(s, k.HOOK_FREE_ONE_PAGE, z, pfn, order, mt, fpi, int(tail), 0, 1)
    return tail if value == k.HOOK_FAILED else value != 0


@part(cold=True)
def hooked_nr_pcp_alloc(s: View, z: int, cpu: int, order: int, wanted: int) -> int:
    """How many chunks a refill asks for: at least one, at most 4096 pages; *wanted* is mainline's answer."""
    most = max(4096 >> order, 1)
    value = ask_between(s, k.HOOK_NR_PCP_ALLOC, z, cpu, order, wanted, 0, 0, 1, most)
    return wanted if value == k.HOOK_FAILED else value


@part(cold=True)
def hooked_verdict(s: View, z: int, pfn: int, order: int, start_type: int, block_type: int) -> int:
    """What becomes of a candidate of try_to_claim_block: REFUSE, CLAIM or MAINLINE_RULE."""
    value = ask_between(
        s, k.HOOK_TRY_TO_CLAIM_BLOCK, z, pfn, order, start_type, block_type, 0, k.MAINLINE_RULE, k.CLAIM
    )
    return k.MAINLINE_RULE if value == k.HOOK_FAILED else value


@part(cold=True)
def hooked_should_try_claim(s: View, order: int, start_type: int, allowed: bool) -> bool:
    """Whether a claim from *order* is allowed; *allowed* is mainline's answer."""
    value = ask_between(s, k.HOOK_SHOULD_TRY_CLAIM_BLOCK, order, start_type, int(allowed), 0, 0, 0, 0, 1)
    return allowed if value == k.HOOK_FAILED else value != 0


@part(cold=True)
def hooked_event(s: View, hook: int, z: int, pfn: int, order: int, start_type: int, block_type: int) -> None:
    """Tell the policy what has happened; it answers nothing."""
    ask(s, hook, z, pfn, order, start_type, block_type, 0)


@part(inline=False)
def round_too_many(s: View) -> bool:
    """Count a round of a hook's loops, or a call of a function of its file; whether there were too many in one call of a hook."""
    s.stat.hook_rounds += 1
    return s.stat.hook_rounds > k.MOST_ROUNDS


@foreign_part
def quotient(a: int, b: int) -> int:
    """a // b in a hook: what 64 bits hold of it, and an error where *b* is 0."""
    return -a if b == -1 else a // b


@foreign_part
def remainder(a: int, b: int) -> int:
    """a % b in a hook."""
    return 0 if b == -1 else a % b


@part
def wake_policy_worker(s: View, delay: int) -> None:
    """Have the policy's worker run *delay* ns from now, or earlier if it is due by then; not before its last run is over."""
    due = max(s.stat.now + delay, s.stat.policy_busy)
    s.stat.policy_due = min(s.stat.policy_due, due)
    s.stat.next_due = min(s.stat.next_due, s.stat.policy_due)
