# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a fixed lockstep script and print a digest of all states it went through; once per form of the compiled code.

Prints the form, whether an index beyond an array is noticed (not tried on raw pointers), and the digests.
"""

from __future__ import annotations

from lockstep import Lockstep
from lockstep_script import Script
from lockstep_spec import Spec

from kevacuate.jit import ARRAY_FORM, JIT_DISABLED
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.mm.layout import EvacuationConfig, MachineConfig, ZoneConfig

MARKS = (4, 6, 8, 10)
MACHINES = (
    Spec(
        MachineConfig(
            npages=192,
            zones=(ZoneConfig(0, 2, 3, 190, ((20, 22),), MARKS),),
            cpu_node=(0, 0),
            max_page_order=6,
            pageblock_order=4,
            hpage_pmd_order=4,
        ),
        EvacuationConfig(evacuate=True, pool=4, wakeup_ns=100, irq_work_ns=0),
        batch=3,
    ),
    Spec(
        MachineConfig(
            npages=256,
            zones=(ZoneConfig(0, 1, 0, 128, (), MARKS), ZoneConfig(1, 2, 128, 256, (), MARKS)),
            cpu_node=(0, 1, 1),
            max_page_order=7,
            pageblock_order=3,
            hpage_pmd_order=-1,
            zone_dma32=False,
        ),
        EvacuationConfig(evacuate=True, wq="per_node", pool=2, skip_hint=False),
        cma=(9, 10),
    ),
)
PLANS = ("mixed", "staged", "isolation")
OPERATIONS = 300


def form() -> str:
    """Which form this process runs."""
    return "python" if JIT_DISABLED else "arrays" if ARRAY_FORM else "pointers"


def digest() -> str:
    """Digest of everything that the scripts went through."""
    parts = []
    for number, (spec, plan) in enumerate((spec, plan) for spec in MACHINES for plan in PLANS):
        lock = Lockstep(spec)
        Script(lock, number, plan).run(OPERATIONS)
        lock.finish()
        parts.append(lock.digest.hexdigest()[:16])
    return " ".join(parts)


def notices_bad_index() -> bool:
    """Whether a CPU that does not exist is an IndexError."""
    lock = Lockstep(MACHINES[0])
    try:
        entry.alloc(lock.fast, 1 << 20, -1, 0, k.MIGRATE_MOVABLE, k.GFP_KERNEL, 0, -1)
    except IndexError:
        return True
    return False


if __name__ == "__main__":
    print(form(), form() != "pointers" and notices_bad_index(), digest())
