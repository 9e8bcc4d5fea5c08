# SPDX-License-Identifier: GPL-2.0-or-later
"""The description of a workload: a machine, how long, and the parts of what runs on it.

Each class below is a table of the TOML file (:func:`kevacuate.workload.toml.read_workload`), and can be made in Python as well:
``Workload(duration="1h", machine=Machine(memory="4GiB"), parts=(Anonymous(memory="30%"),))``. Values are written as there.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

from kevacuate.errors import KevacuateError
from kevacuate.workload import kinds as kd
from kevacuate.workload.fields import CLASSES
from kevacuate.workload.kinds import Kind

WINDOWS = 512
"""Most windows of time that births and deaths are given for."""


class Key(NamedTuple):
    """What is known of a key of a description."""

    kind: Kind
    what: str
    """What it says, in words."""


def key(kind: Kind, what: str, default: Any = MISSING) -> Any:
    """A key of a description, written as in the file; without a *default* it must be given."""
    given: dict[str, Any] = {"metadata": {"key": Key(kind, what)}}
    return field(**given) if default is MISSING else field(default=default, **given)


@dataclass(frozen=True, kw_only=True)
class Described:
    """A table of a description, its values checked and read when it is made."""

    TABLE: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for one in fields(self):
            known = one.metadata.get("key")
            if known is not None:
                value = known.kind.of(f"{self.TABLE}.{one.name}", getattr(self, one.name))
                object.__setattr__(self, one.name, value)

    @classmethod
    def keys(cls) -> dict[str, Key]:
        """Its keys, by name."""
        return {one.name: one.metadata["key"] for one in fields(cls) if "key" in one.metadata}

    @classmethod
    def required(cls) -> set[str]:
        """Keys that must be given."""
        return {one.name for one in fields(cls) if "key" in one.metadata and one.default is MISSING}


@dataclass(frozen=True, kw_only=True)
class Machine(Described):
    """The machine: x86-64 with pages of 4 KiB and pageblocks of 2 MiB."""

    TABLE: ClassVar[str] = "machine"
    memory: Any = key(kd.AMOUNT, "memory that the allocator manages, of all nodes together")
    cpus: Any = key(kd.whole(1, 1024), "CPUs, spread evenly over the nodes", 1)
    nodes: Any = key(kd.whole(1, 8), "NUMA nodes, of equal memory", 1)
    kernel: Any = key(kd.NAME, "release of Linux, which chooses the model's profile", "7.2")
    reserved: Any = key(kd.SHARE, "share of memory that never reaches the allocator, as struct pages", 0.016)
    zones: Any = key(
        kd.choice("x86", "one"), "x86: DMA, DMA32 and Normal; one: a single zone Normal a node", "x86"
    )
    min_free: Any = key(kd.NUMBER, "vm.min_free_kbytes; 0: the kernel's own choice", 0)


@dataclass(frozen=True, kw_only=True)
class Rhythm(Described):
    """How busy the machine is over the day: a cosine between its least and its most."""

    TABLE: ClassVar[str] = "rhythm"
    period: Any = key(kd.TIME, "how long until it comes again", "1d")
    least: Any = key(kd.SHARE, "the least rate, as a share of the most", 0.3)
    peak: Any = key(kd.TIME, "when it is busiest, behind the beginning of a period", "14h")
    begin: Any = key(kd.TIME, "where in the period the workload begins", "0s")


@dataclass(frozen=True, kw_only=True)
class PartOf(Described):
    """A part of a workload."""

    name: Any = key(kd.NAME, "what it is called", "part")
    cpus: Any = key(kd.CPUS, "the CPUs that it runs on", "all")
    begin: Any = key(kd.TIME, "when it begins", "0s")
    rhythm: Any = key(kd.SWITCH, "whether the rhythm governs it", True)

    def __post_init__(self) -> None:
        if self.name == PartOf.name:
            object.__setattr__(self, "name", self.TABLE)
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class Anonymous(PartOf):
    """Tasks with anonymous memory: page faults, huge pages, page tables; a task's memory goes together."""

    TABLE: ClassVar[str] = "anonymous"
    memory: Any = key(kd.AMOUNT, "what all its tasks have at most", "25%")
    tasks: Any = key(kd.whole(0, 1 << 16), "tasks at once; 0: one a CPU", 0)
    spread: Any = key(kd.NUMBER, "sigma of the logarithm of a task's size", 0.5)
    lifetime: Any = key(kd.LIFE, "how long a task keeps its memory, the mean of an exponential", "10min")
    pause: Any = key(kd.TIME, "from the end of a task to the next, the mean", "1s")
    thp: Any = key(kd.SHARE, "share of the 2 MiB ranges that are faulted as one huge page", 0.0)
    order: Any = key(kd.whole(0, 9), "order of the other folios: mTHP", 0)
    renewed: Any = key(kd.NUMBER, "how often a task gives back and faults anew each page in its life", 0.0)
    touch: Any = key(kd.TIME, "from one page fault of a task to the next", "2us")
    mlocked: Any = key(kd.SHARE, "share of the pages that is locked into memory", 0.0)
    pinned: Any = key(kd.SHARE, "share of the pages that somebody pins, so that they cannot move", 0.0)


@dataclass(frozen=True, kw_only=True)
class Forks(PartOf):
    """Children that live shortly: kernel stack and task, page tables, private pages."""

    TABLE: ClassVar[str] = "forks"
    rate: Any = key(kd.RATE, "forks")
    lifetime: Any = key(kd.LIFE, "how long a child lives, the mean", "1s")
    private: Any = key(kd.BYTES, "private pages of a child, the mean", "400KiB")
    spread: Any = key(kd.NUMBER, "sigma of the logarithm of that", 0.7)
    kernel_pages: Any = key(kd.whole(0, 64), "pages of its kernel stack, task and page directories", 8)
    touch: Any = key(kd.TIME, "from one page of a child to the next", "1us")


@dataclass(frozen=True, kw_only=True)
class PageCache(PartOf):
    """Files that are read again and again, written and deleted; the cache keeps what there is room for."""

    TABLE: ClassVar[str] = "page_cache"
    files: Any = key(kd.AMOUNT, "size of all files: the working set", "100%")
    cached: Any = key(kd.AMOUNT, "what stays in the cache at most in the open loop", "50%")
    reads: Any = key(kd.FLOW, "what is read", "100MiB/s")
    run: Any = key(kd.BYTES, "what is read at once, one folio behind the other", "128KiB")
    file: Any = key(kd.BYTES, "size of a file", "1MiB")
    order: Any = key(kd.whole(0, 9), "order of a folio", 0)
    reuse: Any = key(kd.NUMBER, "exponent of Zipf's law of which file is read; 0: each alike", 0.8)
    written: Any = key(kd.SHARE, "share of the runs that write", 0.0)
    synced: Any = key(kd.SHARE, "share of what is written that is clean at once", 0.0)
    deleted: Any = key(kd.SHARE, "share of the runs that delete the file instead", 0.0)


@dataclass(frozen=True, kw_only=True)
class FilesWritten(PartOf):
    """Files that are written once, kept for a while and deleted whole."""

    TABLE: ClassVar[str] = "files_written"
    rate: Any = key(kd.FLOW, "what is written")
    file: Any = key(kd.BYTES, "size of a file, the mean", "1MiB")
    spread: Any = key(kd.NUMBER, "sigma of the logarithm of that", 1.0)
    kept: Any = key(kd.LIFE, "until it is deleted, the mean", "1min")
    synced: Any = key(kd.SHARE, "share that is clean at once", 0.0)
    order: Any = key(kd.whole(0, 9), "order of a folio", 0)


@dataclass(frozen=True, kw_only=True)
class Slab(PartOf):
    """A slab cache: slabs that come as it grows, and go when their last object does, or when it is shrunk."""

    TABLE: ClassVar[str] = "slab"
    memory: Any = key(kd.AMOUNT, "its size in the mean", "2%")
    type: Any = key(kd.choice("unmovable", "reclaimable"), "migratetype of its slabs", "unmovable")
    order: Any = key(kd.whole(0, 5), "order of a slab", 0)
    lifetime: Any = key(kd.LIFE, "how long a slab lives, the mean", "1min")
    long: Any = key(kd.SHARE, "share of the slabs born that hold a long-lived object", 0.0)
    long_lifetime: Any = key(kd.LIFE, "how long those live, the mean", "1h")
    burst: Any = key(kd.whole(1, 4096), "slabs that come, or go, one behind the other, the mean", 8)
    shrink_every: Any = key(kd.TIME, "from one shrinker's run to the next; 0s: none runs", "0s")
    shrink: Any = key(kd.SHARE, "share of the cache that a run frees", 0.2)


@dataclass(frozen=True, kw_only=True)
class PageTables(PartOf):
    """Page tables of mappings that are not described as tasks."""

    TABLE: ClassVar[str] = "page_tables"
    memory: Any = key(kd.AMOUNT, "their size in the mean", "0.5%")
    lifetime: Any = key(kd.LIFE, "how long one lives, the mean", "10min")
    burst: Any = key(kd.whole(1, 4096), "tables that come, or go, one behind the other, the mean", 8)


@dataclass(frozen=True, kw_only=True)
class Network(PartOf):
    """Buffers of the network: GFP_ATOMIC, in bursts, the oldest freed first."""

    TABLE: ClassVar[str] = "network"
    rate: Any = key(kd.FLOW, "what is received")
    held: Any = key(kd.LIFE, "how long a buffer is held, the mean", "5ms")
    order: Any = key(kd.whole(0, 5), "order of a buffer: 3 is that of page fragments", 0)
    burst: Any = key(kd.whole(1, 4096), "buffers of a burst, the mean", 64)


@dataclass(frozen=True, kw_only=True)
class Pipes(PartOf):
    """Buffers of pipes and sockets: GFP_HIGHUSER with __GFP_ACCOUNT, the oldest freed first."""

    TABLE: ClassVar[str] = "pipes"
    rate: Any = key(kd.FLOW, "what goes through them")
    held: Any = key(kd.LIFE, "how long a buffer is held, the mean", "1ms")
    burst: Any = key(kd.whole(1, 4096), "buffers of a burst, the mean", 16)


@dataclass(frozen=True, kw_only=True)
class Vmalloc(PartOf):
    """Areas of vmalloc: their pages come together, in bulk, and go together."""

    TABLE: ClassVar[str] = "vmalloc"
    memory: Any = key(kd.AMOUNT, "what all areas have at most", "1%")
    area: Any = key(kd.BYTES, "size of an area, the mean", "1MiB")
    spread: Any = key(kd.NUMBER, "sigma of the logarithm of that", 1.0)
    lifetime: Any = key(kd.LIFE, "how long an area lives, the mean", "10min")
    pause: Any = key(kd.TIME, "from the end of an area to the next, the mean", "1min")
    order: Any = key(kd.whole(0, 9), "largest order that it asks for first", 0)


@dataclass(frozen=True, kw_only=True)
class HugePages(PartOf):
    """The pool of hugetlb: pages of 2 MiB, which compaction does not move."""

    TABLE: ClassVar[str] = "huge_pages"
    memory: Any = key(kd.AMOUNT, "size of the pool", "10%")
    lifetime: Any = key(kd.LIFE, "how long one stays in the pool, the mean", "100d")
    burst: Any = key(kd.whole(1, 4096), "pages that the pool takes one behind the other, the mean", 16)


@dataclass(frozen=True, kw_only=True)
class GiganticPages(Described):
    """Pages of 1 GiB, taken at boot; :class:`GiganticRequests` asks for some later."""

    TABLE: ClassVar[str] = "gigantic_pages"
    count: Any = key(kd.whole(1, 1024), "how many, spread evenly over the nodes")


@dataclass(frozen=True, kw_only=True)
class GiganticRequests(PartOf):
    """Pages of 1 GiB that hugetlb asks for at run time, by alloc_contig_pages: it may get none."""

    TABLE: ClassVar[str] = "gigantic_requests"
    count: Any = key(kd.whole(1, 1024), "how many it has at most, those that it asked for in vain with them")
    lifetime: Any = key(kd.LIFE, "how long one is kept until it is given back, the mean", "10min")


@dataclass(frozen=True, kw_only=True)
class Pool(PartOf):
    """Any objects that come and go one by one: what a fit writes."""

    TABLE: ClassVar[str] = "pool"
    memory: Any = key(kd.AMOUNT, "its size in the mean; not used where births are given", "1%")
    type: Any = key(kd.choice("unmovable", "movable", "reclaimable"), "migratetype asked for", "unmovable")
    gfp: Any = key(kd.GFP, "GFP flags", "GFP_KERNEL")
    births: Any = key(
        kd.several(kd.whole(0, 1 << 40), WINDOWS, 0), "objects born in each of so many equal times", ()
    )
    deaths: Any = key(kd.several(kd.whole(0, 1 << 40), WINDOWS, 0), "objects that die in each of them", ())
    page: Any = key(
        kd.choice("kernel", "anonymous", "file", "dirty"),
        "kind of its pages, which says whether they move",
        "kernel",
    )
    order: Any = key(kd.whole(0, 10), "order", 0)
    lifetimes: Any = key(
        kd.several(kd.LIFE, CLASSES), "how long objects live, a mean for each class", ("1min",)
    )
    shares: Any = key(kd.several(kd.SHARE, CLASSES), "share of the objects born in each class", (1.0,))
    burst: Any = key(kd.whole(1, 1 << 16), "objects that come, or go, one behind the other, the mean", 1)
    dies: Any = key(
        kd.choice("random", "oldest", "newest", "together"),
        "which object dies: together, those born together",
        "random",
    )
    pinned: Any = key(kd.SHARE, "share of the pages that somebody pins", 0.0)
    mlocked: Any = key(kd.SHARE, "share of the pages that is locked into memory", 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.births) != len(self.deaths):
            raise KevacuateError(
                f"pool.births has {len(self.births)} values and pool.deaths {len(self.deaths)}: give as many of each."
            )
        if len(self.shares) != len(self.lifetimes):
            raise KevacuateError(
                f"pool.shares has {len(self.shares)} values and pool.lifetimes {len(self.lifetimes)}: give as many of each."
            )


@dataclass(frozen=True, kw_only=True)
class Rounds(PartOf):
    """Fill memory, free a share at random, then free and allocate again a share of the rest, round by round."""

    TABLE: ClassVar[str] = "rounds"
    memory: Any = key(kd.AMOUNT, "what is filled")
    tasks: Any = key(kd.whole(0, 1 << 10), "tasks that do it; 0: one a CPU", 0)
    order: Any = key(kd.whole(0, 10), "order of each object", 0)
    type: Any = key(kd.choice("unmovable", "movable", "reclaimable"), "migratetype asked for", "movable")
    gfp: Any = key(kd.GFP, "GFP flags", "GFP_HIGHUSER_MOVABLE")
    page: Any = key(
        kd.choice("kernel", "anonymous", "file", "dirty"),
        "kind of its pages, which says whether they move",
        "kernel",
    )
    kept: Any = key(kd.SHARE, "share that stays when the others are freed", 0.5)
    again: Any = key(kd.SHARE, "share of those that each round frees and allocates again", 0.1)
    rounds: Any = key(kd.whole(0, 1 << 20), "how many rounds", 100)
    pause: Any = key(kd.TIME, "before each round", "100ms")
    touch: Any = key(kd.TIME, "from one row of a task to its next", "1us")


PARTS: dict[str, type[PartOf]] = {
    one.TABLE: one
    for one in (
        Anonymous, Forks, PageCache, FilesWritten, Slab, PageTables, Network, Pipes, Vmalloc, HugePages, GiganticRequests, Pool,
        Rounds,
    )
}  # fmt: skip
"""The parts by the names of their tables."""


@dataclass(frozen=True, kw_only=True)
class Workload(Described):
    """A whole description.

    Attributes
    ----------
    machine : Machine
    parts : tuple of PartOf
        Whatever runs on it, in order.
    rhythm : Rhythm or None
    gigantic_pages : GiganticPages or None
    """

    TABLE: ClassVar[str] = "workload"
    machine: Machine
    parts: tuple[PartOf, ...]
    name: Any = key(kd.NAME, "what it is called", "workload")
    duration: Any = key(kd.TIME, "virtual time from its beginning to its end", "10min")
    fill: Any = key(kd.TIME, "time in which every part grows to its size", "30s")
    seed: Any = key(kd.whole(0, (1 << 31) - 1), "seed of all that is drawn", 0)
    rhythm: Rhythm | None = None
    gigantic_pages: GiganticPages | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts:
            raise KevacuateError(f"The workload has no part: describe at least one of {', '.join(PARTS)}.")
