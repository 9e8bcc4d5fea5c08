# SPDX-License-Identifier: GPL-2.0-or-later
"""What the random scripts do: phases, each a mixture of operations, and plans, each a cycle of phases."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kevacuate.mm import constants as k

U, M, R = k.MIGRATE_UNMOVABLE, k.MIGRATE_MOVABLE, k.MIGRATE_RECLAIMABLE
NOWAIT = k.GFP_KSWAPD_RECLAIM | k.GFP_NOWARN
RESERVE_GFPS = (
    k.GFP_ATOMIC, NOWAIT, k.GFP_KERNEL | k.GFP_MEMALLOC, k.GFP_KERNEL | k.GFP_NOFAIL, k.GFP_ATOMIC | k.GFP_MEMALLOC,
    k.GFP_KERNEL | k.GFP_NORETRY, k.GFP_KERNEL | k.GFP_RETRY_MAYFAIL, k.GFP_KERNEL | k.GFP_NOMEMALLOC,
    k.GFP_ATOMIC | k.GFP_NOMEMALLOC, k.GFP_HIGH | k.GFP_KERNEL, 0,
)  # fmt: skip
STEPS_NS = (0, 1, 500, 5_000, 20_000, 33_000, 60_000, 150_000, 1_100_000, 50_000_000, 1_000_000_000)


@dataclass(frozen=True)
class Phase:
    """What a stretch of the script is like: shares of operations, of types, of orders."""

    alloc: float
    free: float
    types: tuple[int, ...]
    orders: tuple[int, ...]
    sweep: float = 0.0  # share of frees that take neighbours, so that buddies merge
    advance: float = 0.1
    longest: int = len(STEPS_NS)
    atomic: float = 0.1
    lru: float = 0.9
    hurt: float = 0.1  # share of LRU pages that cannot be moved
    isolate: float = 0.01
    guard: float = 0.0
    victims: tuple[int, ...] = (0, 1)  # frees take from: 0 unmovable and reclaimable objects, 1 movable ones
    stretch: tuple[int, int] = (20, 300)
    share: float = 0.9  # of the neighbours that a sweep takes
    until_full: bool = False  # ends when allocations keep failing
    gfps: tuple[int, ...] = ()  # instead of the usual ones
    relative: bool = False  # orders are for blocks of 16 pages: larger in larger ones
    meddle: float = 0.0  # how often a page that a worker holds is freed
    scene: float = 0.0  # how often a claim of a movable block is staged
    chain: float = 0.0  # how often the next one is staged before any worker runs
    use: float = 0.0  # how often a page is used (folio_mark_accessed)
    reclaim: float = 0.0  # how often somebody reclaims directly
    file: float = (
        -1.0
    )  # share of LRU pages that are page cache, clean unless they cannot be moved; -1: any mixture
    locked: float = 0.0  # share of LRU pages that are locked into memory
    drains: bool = False  # begins with empty per-CPU lists
    hold: float = 0.0  # how often many pages are isolated by somebody meanwhile
    squeeze: float = 0.0  # how often requests are staged that find little free memory, in single pages
    folios: float = 0.0  # share of large folios in what fills memory then
    asks: tuple[int, ...] = (M, M, U, R)  # of which types what is asked for then is
    strait: str = ""  # which of lockstep_straits is staged


SMALL = (0, 0, 0, 0, 1, 1, 2, 3)
WIDE = (0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10)
PHASES = {
    "grow": Phase(0.85, 0.05, (M, M, M, M, M, U, R), (0, 0, 0, 1, 2), hurt=0.02),
    "fragment": Phase(0.05, 0.85, (M, U, R), SMALL, hurt=0.02),
    "claim": Phase(0.6, 0.15, (U, U, U, R, M), (0, 0, 1, 2), advance=0.2, longest=8),
    "shrink": Phase(0.1, 0.8, (M, U, R), SMALL, sweep=0.9),
    "pressure": Phase(0.75, 0.15, (M, M, U, R), SMALL, atomic=0.5),
    "atomic": Phase(0.6, 0.3, (U, U, U, R, M), (0, 1, 1, 2, 3), atomic=0.9, sweep=0.2),
    "wide": Phase(0.45, 0.45, (M, M, U, R), WIDE, sweep=0.4, atomic=0.2),
    "isolation": Phase(0.2, 0.3, (M, M, M, M, U), WIDE, sweep=0.6, isolate=0.9, lru=1.0),
    "guard": Phase(0.75, 0.15, (U, U, R, M), (0, 1, 2, 2), guard=0.9),
    "churn": Phase(0.42, 0.42, (M, M, M, U, R), SMALL, advance=0.15),
    "hurt": Phase(0.7, 0.2, (M,), (0, 0, 0, 1, 2), hurt=0.4),
    "idle": Phase(0.02, 0.02, (M,), (0,), advance=0.96, stretch=(4, 12), longest=9, meddle=0.1),
    "fill movable": Phase(0.98, 0.0, (M,), (0, 0, 1, 2, 2), hurt=0.05, lru=0.98, until_full=True),
    "fill with clean cache": Phase(0.98, 0.0, (M,), (0, 0, 1, 2, 2), hurt=0.0, until_full=True),
    "punch holes": Phase(0.0, 0.98, (M,), (0,), victims=(1,), sweep=1.0, share=0.6, stretch=(5, 14)),
    "steal blocks": Phase(
        0.6, 0.1, (U, U, R), (0, 1, 2, 2), advance=0.29, longest=7, stretch=(8, 24), victims=(1,), meddle=0.25
    ),
    "steal many blocks": Phase(
        0.97, 0.0, (U, U, R), (0, 1, 1), advance=0.01, longest=3, stretch=(6, 16), relative=True
    ),
    "let go": Phase(0.0, 0.98, (M,), (0,), victims=(0,), sweep=0.3, stretch=(5, 14), advance=0.0),
    "empty blocks": Phase(0.0, 0.98, (M,), (0,), sweep=1.0, share=1.0, stretch=(6, 14), victims=(0,), advance=0.0),
    "movable again": Phase(0.95, 0.0, (M,), (0, 2, 3, 3, 4), advance=0.0, stretch=(4, 14)),
    "fill, little of it LRU": Phase(0.98, 0.0, (M,), (0, 0, 1, 1), hurt=0.0, lru=0.15, until_full=True),
    "fill": Phase(0.98, 0.0, (M,), (0, 1, 2, 2, 3), hurt=0.0, until_full=True),
    "squeeze": Phase(
        0.55, 0.43, (U, U, R), (0, 1, 1, 2, 3), stretch=(100, 300), victims=(0,),
        gfps=(k.GFP_ATOMIC, k.GFP_ATOMIC, k.GFP_KERNEL),
    ),
    "stage": Phase(0.9, 0.0, (M,), (0, 0, 1), hurt=0.1, scene=0.6, stretch=(60, 200), lru=0.97, chain=0.1),
    "stage with little LRU": Phase(0.9, 0.0, (M,), (0, 0, 1), hurt=0.0, scene=0.8, stretch=(60, 200), chain=0.8),
    "compact": Phase(0.35, 0.3, (M, M, M, U, R), WIDE, advance=0.3, atomic=0.5, hurt=0.02),
    "crowd": Phase(0.7, 0.05, (M, M, U), (0, 0, 1), advance=0.25, longest=7, hurt=0.0),
}  # fmt: skip
MIXED = tuple(PHASES)
LRU_HURTS = (k.ATTR_WRITEBACK, k.ATTR_WRITEBACK, k.ATTR_PINNED, k.ATTR_PINNED, k.ATTR_BUSY, 0, 0, 0)
"""What keeps page cache from being reclaimed, besides being dirty."""
CACHE = Phase(
    0.55,
    0.05,
    (M, M, M, M, M, U, R),
    (0, 0, 0, 0, 1, 2),
    advance=0.25,
    longest=9,
    use=0.25,
    file=0.8,
    hurt=0.05,
    lru=0.98,
)
PHASES |= {
    "cache": CACHE,
    "read through": replace(CACHE, alloc=0.9, free=0.0, use=0.1, until_full=True, advance=0.1, longest=7),
    "dirty": replace(CACHE, hurt=0.4, stretch=(60, 200)),
    "working set": replace(CACHE, alloc=0.2, free=0.1, use=0.6, stretch=(60, 300)),
    "reclaim": replace(
        CACHE, alloc=0.4, reclaim=0.1, advance=0.1, stretch=(40, 120), locked=0.1, orders=SMALL
    ),
    "starve": replace(CACHE, file=0.03, alloc=0.8, hurt=0.8, reclaim=0.05, stretch=(40, 100), use=0.02),
    "nap": replace(CACHE, alloc=0.3, free=0.02, advance=0.6, longest=len(STEPS_NS) - 1, stretch=(10, 40)),
    "pin": replace(CACHE, alloc=0.8, types=(U, U, R, M), orders=(0, 1, 1, 2), stretch=(10, 60)),
}
PRESSURE_GFPS = (
    k.GFP_KERNEL, k.GFP_KERNEL, k.GFP_KERNEL, k.GFP_KERNEL | k.GFP_NORETRY, k.GFP_KERNEL | k.GFP_RETRY_MAYFAIL,
    k.GFP_KERNEL | k.GFP_RETRY_MAYFAIL, k.GFP_KERNEL | k.GFP_NOFAIL, k.GFP_KERNEL | k.GFP_NORETRY | k.GFP_THISNODE,
    k.GFP_KERNEL & ~k.GFP_FS, (k.GFP_KERNEL & ~(k.GFP_FS | k.GFP_IO)) | k.GFP_RETRY_MAYFAIL,
    k.GFP_KERNEL | k.GFP_NOFAIL | k.GFP_NORETRY,
    k.GFP_KERNEL | k.GFP_THISNODE, k.GFP_KERNEL | k.GFP_MEMALLOC, k.GFP_ATOMIC, NOWAIT,
)  # fmt: skip
"""What requests under pressure are allowed to do, and what they give up."""
RESERVES_GFPS = (
    k.GFP_KERNEL | k.GFP_NOFAIL, k.GFP_KERNEL | k.GFP_NOFAIL | k.GFP_NORETRY, k.GFP_KERNEL | k.GFP_MEMALLOC,
    k.GFP_KERNEL | k.GFP_NOFAIL | k.GFP_RETRY_MAYFAIL, k.GFP_KERNEL, k.GFP_ATOMIC,
)  # fmt: skip
"""What a request may be that finds a page where others find none."""
PRESS = Phase(
    0.55, 0.3, (M, M, M, U, R), (0, 1, 2, 2, 3, 3, 4, 5), advance=0.05, longest=8, hurt=0.03, file=0.3, lru=0.97,
    gfps=PRESSURE_GFPS, stretch=(40, 160), use=0.02,
)  # fmt: skip
SQUEEZE_FOLIOS = replace(
    PRESS, alloc=0.2, free=0.6, squeeze=0.6, folios=0.4, stretch=(100, 400), file=0.4, hurt=0.1, types=(M,)
)
PHASES |= {
    "press": PRESS,
    "press for blocks": replace(
        PRESS, types=(M, M, U, R), orders=(2, 3, 3, 4, 4, 5, 6), file=0.05, alloc=0.6, drains=True
    ),
    "press anonymous": replace(PRESS, file=0.02, hurt=0.01, orders=(1, 2, 3, 4, 5)),
    "press hurt": replace(PRESS, hurt=0.5, file=0.5, stretch=(20, 80)),
    "press small": replace(
        PRESS,
        types=(M, M, U),
        orders=(1, 1, 2, 3),
        file=0.0,
        alloc=0.9,
        free=0.02,
        stretch=(3, 12),
        drains=True,
    ),
    "fill anonymous": replace(
        PRESS,
        alloc=0.98,
        free=0.0,
        types=(M,),
        orders=(0, 0, 0, 1),
        file=0.0,
        gfps=(),
        until_full=True,
        hurt=0.01,
    ),
    "leave holes": replace(
        PRESS, alloc=0.0, free=0.98, sweep=1.0, share=0.35, stretch=(30, 120), victims=(1,)
    ),
    "leave few holes": replace(PRESS, alloc=0.0, free=0.99, stretch=(4, 24), victims=(1,)),
    "reserves": replace(
        PRESS, orders=(0, 0, 0, 1), file=0.02, alloc=0.8, free=0.15, stretch=(20, 60), gfps=RESERVES_GFPS
    ),
    "reserve blocks": replace(
        PRESS, types=(U, U, R), orders=(1, 2), alloc=0.7, free=0.2, gfps=(k.GFP_ATOMIC,), stretch=(10, 40)
    ),
    "squeeze for chunks": replace(PRESS, alloc=0.2, free=0.6, squeeze=0.2, stretch=(100, 400), file=0.0),
    "squeeze only": replace(
        PRESS, alloc=0.2, free=0.6, squeeze=0.8, hold=0.8, stretch=(100, 600), file=0.0, hurt=0.0, types=(M,)
    ),
    "squeeze hurt": replace(PRESS, alloc=0.2, free=0.6, squeeze=0.2, stretch=(100, 300), file=0.1, hurt=0.4),
    "squeeze folios": SQUEEZE_FOLIOS,
    "squeeze locked folios": replace(SQUEEZE_FOLIOS, file=0.9, hurt=0.6),
    "squeeze pinned": replace(SQUEEZE_FOLIOS, folios=0.0, squeeze=0.8, file=0.0, hurt=1.0, asks=(U, U, R)),
    **{
        name: replace(
            PRESS,
            alloc=0.4,
            free=0.4,
            types=(M,),
            orders=(0, 0, 1),
            file=0.0,
            strait=name,
            stretch=(150, 500),
        )
        for name in ("too many isolated", "falls back late", "below the marks")
    },
    "give back": replace(PRESS, alloc=0.0, free=0.98, stretch=(10, 60), victims=(0,)),
}
HOLES = ("fill movable", "punch holes")
PHASES["swap"] = replace(
    PRESS, alloc=0.3, free=0.15, types=(M, M, M, U), orders=(0, 0, 0, 1, 2), file=0.25, hurt=0.02, reclaim=0.25, gfps=(),
    advance=0.5, longest=len(STEPS_NS), stretch=(60, 200),
)  # fmt: skip
"""For machines with a zram device: time for what is in swap to be used again."""
PLANS = {
    "swap": ("grow", "swap", "swap", "read through", "swap", "let go"),
    "mixed": tuple(name for name in MIXED if name != "compact"),
    "reclaim": (
        "read through", "cache", "working set", "nap", "reclaim", "dirty", "pin", "cache", "starve", "let go", "shrink",
        "shrink",
    ),
    "evacuation": (*HOLES, "steal blocks", "let go", "movable again", *HOLES, "steal blocks", "idle", "let go"),
    "busy": (
        "fill, little of it LRU", "punch holes", "steal many blocks", "idle", "let go", "fill with clean cache",
        "punch holes", "steal many blocks", "idle", "let go",
    ),
    "again": (*HOLES, "steal many blocks", "empty blocks", "movable again", "idle"),
    "staged": ("fill movable", "stage"),
    "staged, little LRU": ("fill, little of it LRU", "stage with little LRU"),
    "crowded": (*HOLES, "steal many blocks", "fill movable", "crowd", "idle", "hurt", "let go"),
    "highatomic": ("fill", "squeeze", "squeeze", "squeeze", "squeeze", "pressure"),
    "isolation": ("fill movable", "punch holes", "isolation", "guard", "isolation", "shrink"),
    "guard": (*HOLES, "guard", "let go", "isolation"),
    "compaction": (*HOLES, "compact", "let go", "compact", "pressure", "compact"),
    "press": (
        "fill anonymous", "leave holes", "press for blocks", "give back", "press anonymous", "leave holes", "press",
        "press for blocks", "shrink", "fill movable", "leave holes", "press hurt", "press for blocks", "read through", "press",
    ),
    "press evacuating": (
        "fill anonymous", "leave holes", "steal blocks", "press for blocks", "leave holes", "steal many blocks",
        "press anonymous", "give back", "shrink",
    ),
    "squeeze": (
        "fill anonymous", "squeeze for chunks", "give back", "squeeze for chunks", "squeeze hurt", "give back", "press",
        "shrink",
    ),
    "squeeze only": ("fill anonymous", "squeeze only", "squeeze only", "give back"),
    "squeeze folios": ("fill anonymous", "squeeze folios", "squeeze locked folios", "give back", "squeeze folios"),
    "squeeze pinned": ("fill anonymous", "squeeze pinned", "squeeze pinned", "give back"),
    **{
        name: ("fill anonymous", name, name, "leave holes", name, "give back")
        for name in ("too many isolated", "falls back late", "below the marks")
    },
    "press reserves": (
        "reserve blocks", "fill anonymous", *("leave few holes", "press small") * 4, "reserves",
        *("leave few holes", "press small") * 3, "give back", "leave few holes", "press", "reserves", "shrink",
    ),
    "defrag": ("fill movable", "pressure", "punch holes", "wide", "pressure"),
}  # fmt: skip
"""Each a cycle of phases; now and then one is taken at random."""
