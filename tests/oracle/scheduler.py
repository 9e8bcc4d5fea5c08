# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: workers, kswapds, vmstat ticks, kcompactds run at their due times, earliest and lowest number first."""

from __future__ import annotations

from .balance import kswapd_step
from .evacuate import worker_step
from .kcompactd import kcompactd_step
from .machine import Machine
from .pcp import decay_pcp_high
from .policy import run_worker
from .region_shrink import run as shrink_tainted
from .swap import used_again


def vmstat_tick(m: Machine, cpu: int) -> None:
    """The CPU's vmstat worker: decay its pcps of all zones; again after the interval."""
    m.cpu = cpu
    m.ticks[cpu] += m.config.stat_interval_ns
    for zone in m.zones:
        decay_pcp_high(m, zone, zone.pcps[cpu])


def due_times(m: Machine) -> list[int]:
    """When each entity is due (-1: not at all), in order of their numbers."""
    return [
        *(w.due for w in m.workers), *(k.due for k in m.kswapds), *m.ticks, *(k.due for k in m.kcompactds),
        m.policy.due if m.policy is not None else -1,
        m.swap.due if m.swap is not None else -1,
        *(work.due for work in m.shrinks),
    ]  # fmt: skip


def run_entity(m: Machine, number: int) -> None:
    """Run the step of the entity with this number."""
    if number < len(m.workers):
        worker_step(m, m.workers[number])
        return
    number -= len(m.workers)
    if number < len(m.kswapds):
        kswapd_step(m, number)
        return
    number -= len(m.kswapds)
    if number < len(m.ticks):
        vmstat_tick(m, number)
        return
    number -= len(m.ticks)
    if number < len(m.kcompactds):
        kcompactd_step(m, number)
    elif number == len(m.kcompactds):
        run_worker(m)
    elif number == len(m.kcompactds) + 1:
        used_again(m)
    else:
        shrink_tainted(m, number - len(m.kcompactds) - 2)


def advance(m: Machine, t: int) -> None:
    """Let virtual time pass until `t`."""
    while True:
        due, number = min((due, number) for number, due in enumerate(due_times(m)) if due >= 0)
        if due > t:
            break
        m.now = due
        run_entity(m, number)
    m.now = t
