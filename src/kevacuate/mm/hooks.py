# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a policy is asked, and what its answers may be (docs/policies.md).

A policy's hooks are machine code of their own, at addresses in ``cfg.hook``; a bit of ``cfg.hooks`` says which there are. Without
one, mainline's branch is taken. An answer that is none is refused: mainline's stands, the state says what was wrong
(``stat.hook_error``), and no hook is asked any more; whoever runs the model ends the run.
"""

from __future__ import annotations

from kevacuate.jit import call_hook, part
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
    """Tell the policy that a block was claimed or a page stolen; it answers nothing."""
    ask(s, hook, z, pfn, order, start_type, block_type, 0)


@part(cold=True)
def policy_work(s: View) -> None:
    """Run the policy's worker; it answers in how many ns it is due again, 0 for when it is woken."""
    s.stat.policy_due = k.NEVER
    s.stat.policy_runs += 1
    s.stat.cpu = s.node[0].cpu
    value = ask_between(s, k.HOOK_WORKER, 0, 0, 0, 0, 0, 0, 0, k.LONGEST_SLEEP)
    if value > 0:
        wake_policy_worker(s, value)


@part
def wake_policy_worker(s: View, delay: int) -> None:
    """Have the policy's worker run *delay* ns from now, or earlier if it is due by then."""
    s.stat.policy_due = min(s.stat.policy_due, s.stat.now + delay)
    s.stat.next_due = min(s.stat.next_due, s.stat.policy_due)
