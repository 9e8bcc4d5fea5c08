# SPDX-License-Identifier: GPL-2.0-or-later
"""Which stacks and tasks hold pages that cannot move inside movable pageblocks, from copies of page_owner.

A page counts as one that cannot move if its flags asked for the unmovable or the reclaimable type: page_owner prints no more.
So a movable page that is pinned does not count, and neither does one outside the allocator's sight (PageReserved).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.migratetypes import MIGRATE_CMA, MIGRATE_MOVABLE, MIGRATE_TYPES, NAMES
from kevacuate.kernelfiles.allocator_frames import NOT_KEPT, NOT_TOLD, holder_of, is_early
from kevacuate.kernelfiles.page_owner import NO_TYPE, Owned, Tally, frames, records
from kevacuate.kernelfiles.text import TextFile
from kevacuate.measure.extfrag import KERNEL_OWN

Ints = npt.NDArray[np.int64]

MOST_KEYS = 1 << 20
"""Stacks, and tasks, that are told apart; what comes later counts as one."""

MOST_KEY_BYTES = 1 << 28
"""Bytes of stacks that are kept."""

MOST_PAIRS = 1 << 23
"""Pairs of a stack (or a task) and a block that are kept: 64 MiB. Beyond them counts of blocks are too low, and say so."""

BUFFERED = 1 << 17
"""Pairs collected before they are counted."""

BLOCK_BITS = 40
"""A pair is a key shifted by this, and a block."""

MOST_NAMES, OTHERS = 256, "others"
"""Flags and tasks told apart of one stack, and what the rest counts as."""

STANDS_OUT = 0.01
"""Share of the movable blocks seen that must be polluted for advice to be given."""

LEAST_POLLUTED = 16
"""Polluted movable blocks below which they do not stand out, whatever their share: an excerpt of a dump has few blocks."""

ROWS = 100
"""Stacks, holders and tasks in the answer: the first by rank."""

PROGRESS_EVERY = 1 << 14
"""Records between two calls of progress."""

SOURCE = "Documentation/mm/page_owner.rst"


class Pairs:
    """Pairs of a key and a block, each kept once."""

    def __init__(self) -> None:
        self._found, self._waiting = np.empty(0, np.int64), np.empty(BUFFERED, np.int64)
        self._n = 0
        self.left_out = 0
        """Pairs that came when :data:`MOST_PAIRS` were there (one may count several times)."""

    def add(self, key: int, first: int, count: int = 1) -> None:
        """Add a key with some blocks that follow one another."""
        pair = key << BLOCK_BITS | first
        if count == 1 and self._n < len(self._waiting):
            self._waiting[self._n] = pair
            self._n += 1
            return
        for at in range(pair, pair + count, BUFFERED):
            part = np.arange(at, min(pair + count, at + BUFFERED), dtype=np.int64)
            if self._n + len(part) > len(self._waiting):
                self._flush()
            self._waiting[self._n : self._n + len(part)] = part
            self._n += len(part)

    def _flush(self) -> None:
        """Put the pairs that wait among those found; the more there are, the more may wait, so that each is sorted a few
        times only.
        """
        pairs = np.unique(self._waiting[: self._n])
        new = pairs[~np.isin(pairs, self._found, assume_unique=True)]
        room = max(0, MOST_PAIRS - len(self._found))
        self.left_out += max(0, len(new) - room)
        self._found = np.sort(np.concatenate([self._found, new[:room]]))
        self._n = 0
        if len(self._found) > 2 * len(self._waiting):
            self._waiting = np.empty(len(self._found) // 2, np.int64)

    def split(self) -> tuple[Ints, Ints]:
        """Keys and blocks of all pairs, ascending."""
        self._flush()
        return self._found >> BLOCK_BITS, self._found & ((1 << BLOCK_BITS) - 1)


class _Held:
    """What one stack, holder or task holds inside movable pageblocks."""

    def __init__(self) -> None:
        self.pages = self.allocations = self.slab = 0
        self.orders: Counter[int] = Counter()
        self.types: Counter[int] = Counter()
        self.gfp: Counter[str] = Counter()
        self.tasks: Counter[str] = Counter()

    def add(self, one: Owned, task: str) -> None:
        """Count a record; of flags and tasks the first few hundred are told apart."""
        self.pages += one.pages
        self.allocations += one.times
        self.slab += one.times if one.slab else 0
        self.orders[one.order] += one.times
        self.types[one.page_type] += one.pages
        for counter, key in ((self.gfp, one.gfp), (self.tasks, task)):
            counter[key if key in counter or len(counter) < MOST_NAMES else OTHERS] += one.pages

    def merge(self, other: _Held) -> None:
        """Add what another holds."""
        self.pages += other.pages
        self.allocations += other.allocations
        self.slab += other.slab
        for mine, its in (
            (self.orders, other.orders), (self.types, other.types), (self.gfp, other.gfp), (self.tasks, other.tasks)
        ):  # fmt: skip
            mine.update(its)  # type: ignore[arg-type]


class _Keys:
    """Numbers for stacks or tasks, in the order in which they come."""

    def __init__(self) -> None:
        self.of: dict[Any, int] = {}
        self._room = MOST_KEY_BYTES

    def number(self, key: Any) -> int:
        """The key's number; one, :data:`MOST_KEYS`, for all that come after so many or after :data:`MOST_KEY_BYTES`."""
        found = self.of.get(key)
        if found is None:
            self._room -= len(key) if isinstance(key, bytes) else 0
            if len(self.of) >= MOST_KEYS or self._room < 0:
                return MOST_KEYS
            found = self.of[key] = len(self.of)
        return found


class OwnerCounter:
    """Counts the records of one dump as they stream by."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.records = self.pages = self.early = self.inconsistent = 0
        self.matrix = np.zeros((MIGRATE_TYPES + 1, MIGRATE_TYPES + 1), np.int64)
        """Pages by type of their block and by type asked for; the last of each is "not known"."""
        self.pageblock_order: int | None = None
        self.blocks, self.stack_blocks, self.task_blocks = Pairs(), Pairs(), Pairs()
        self.cma_blocks, self.cma_pages = Pairs(), 0
        self.stacks, self.tasks = _Keys(), _Keys()
        self.by_stack: dict[int, _Held] = {}
        self.by_task: dict[int, _Held] = {}
        self.processes = Pairs()
        self.placed = False
        """Whether records say where their page is."""

    def add(self, one: Owned) -> None:
        """Count a record."""
        self.records += one.times
        self.pages += one.pages
        self.matrix[one.block_type, one.page_type] += one.pages
        if one.pfn < 0:
            if one.page_type in KERNEL_OWN or one.page_type == NO_TYPE:
                self._hold(one, 0)
            return
        self.placed = True
        self._order(one)
        count = self._span(one)
        self.blocks.add(one.block_type + 1, one.block, count)
        if one.page_type not in KERNEL_OWN:
            return
        if one.block_type == MIGRATE_CMA:
            self.cma_pages += one.pages
            self.cma_blocks.add(0, one.block, count)
        elif one.block_type == MIGRATE_MOVABLE:
            self._hold(one, count)

    def _order(self, one: Owned) -> None:
        """Find the pageblock order: Block is pfn >> pageblock_order (mm/page_owner.c, print_page_owner)."""
        if self.pageblock_order is not None:
            self.inconsistent += one.pfn >> self.pageblock_order != one.block
        elif one.block:
            low = one.pfn.bit_length() - one.block.bit_length()
            if one.pfn >> low == one.block:
                self.pageblock_order = low
            else:
                self.inconsistent += 1

    def _span(self, one: Owned) -> int:
        """How many blocks an allocation covers: several where its order is above pageblock order."""
        order = one.order if self.pageblock_order is None else self.pageblock_order
        return 1 << max(0, one.order - order)

    def _hold(self, one: Owned, blocks: int) -> None:
        """Count a record that cannot move and covers so many movable blocks, or lies anywhere if that is not printed."""
        stack = self.stacks.number(one.stack)
        task = self.tasks.number(one.task.name or one.task.tgid)
        held = self.by_stack.get(stack)
        if held is None:
            held = self.by_stack[stack] = _Held()
        held.add(one, _task_name(one))
        worker = self.by_task.get(task)
        if worker is None:
            worker = self.by_task[task] = _Held()
        worker.add(one, "")
        if one.task.tgid >= 0:
            self.processes.add(task, one.task.tgid)
        if blocks:
            self.stack_blocks.add(stack, one.block, blocks)
            self.task_blocks.add(task, one.block, blocks)


def _task_name(one: Owned) -> str:
    """How a task is called: its name, or its process where the kernel kept no name."""
    if one.task.name:
        return one.task.name
    return f"process {one.task.tgid}" if one.task.tgid >= 0 else "not kept"


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """What holds movable pageblocks, of each dump by itself.

    Parameters
    ----------
    files : sequence of TextFile
        Copies of page_owner, or outputs of page_owner_sort.
    progress : callable, optional
        Called with (records done, 0).

    Returns
    -------
    dict
        ``kind``, ``files``, ``advice``, and ``dumps``: one dict a file with ``records``, ``pages``, ``pageblock_order``
        (None where
        the dump does not tell it), ``blocks`` (by type: those with an allocated page), ``pages_by_type`` (type of the block, then
        type asked for), ``polluted_blocks`` (movable, with a page that cannot move), ``pages_that_cannot_move`` in them,
        ``early`` (pages and blocks of the same kind that were allocated before page_owner began), ``cma`` (the same of CMA
        blocks),
        and the first 100 by rank of ``holders``, ``stacks`` and ``tasks`` with ``blocks`` (a block once each), ``alone``
        (blocks that
        nobody else of its kind pollutes), ``pages``, ``allocations`` and more. Ranked by blocks, then pages, then name.

    Raises
    ------
    KevacuateError
        A file cannot be read, or does not decompress.

    """
    dumps = []
    for file in files:
        counter = OwnerCounter()
        for number, one in enumerate(records(file, counter.tally)):
            counter.add(one)
            if progress is not None and not number % PROGRESS_EVERY:
                progress(number, 0)
        dumps.append(_dump(file.name, counter))
    return {
        "kind": "page_owner",
        "files": [file.name for file in files],
        "dumps": dumps,
        "advice": [piece for dump in dumps for piece in _advice(dump)],
    }


def _dump(name: str, counter: OwnerCounter) -> dict[str, Any]:
    """The answer of one dump."""
    kinds, _ = counter.blocks.split()
    by_type = {
        _type_name(int(kind) - 1): int(n)
        for kind, n in zip(*np.unique(kinds, return_counts=True), strict=True)
    }
    owner, polluted = counter.stack_blocks.split()
    early = _early(counter)
    rows = _stack_rows(counter, owner, polluted, early)
    left_out = counter.stack_blocks.left_out + counter.task_blocks.left_out + counter.blocks.left_out
    spoilt = np.unique(polluted)
    return {
        "file": name,
        "records": counter.records,
        "pages": counter.pages,
        "malformed": counter.tally.malformed,
        "inconsistent": counter.inconsistent,
        "migratetypes": counter.tally.how or "named",
        "placed": counter.placed,
        "pageblock_order": counter.pageblock_order,
        "blocks": by_type,
        "pages_by_type": _matrix(counter.matrix),
        "polluted_blocks": len(spoilt),
        "pages_that_cannot_move": sum(held.pages for held in counter.by_stack.values()),
        "pairs_left_out": left_out,
        "pages_not_ranked": counter.by_stack[MOST_KEYS].pages if MOST_KEYS in counter.by_stack else 0,
        "early": early,
        "cma": {"blocks": len(np.unique(counter.cma_blocks.split()[1])), "pages": counter.cma_pages},
        "holders": _holder_rows(counter, owner, polluted)[:ROWS],
        "stacks": rows[:ROWS],
        "stacks_in_all": len(rows),
        "tasks": _task_rows(counter)[:ROWS],
    }


def _type_name(number: int) -> str:
    return NAMES[number] if 0 <= number < MIGRATE_TYPES else "not known"


def _matrix(matrix: Ints) -> dict[str, dict[str, int]]:
    """Pages by type of their block, then by type asked for, without what is 0."""
    found = {}
    for block in range(MIGRATE_TYPES + 1):
        row = {_type_name(page): int(n) for page, n in enumerate(matrix[block]) if n}
        if row:
            found[_type_name(block)] = row
    return found


def _early_numbers(counter: OwnerCounter) -> set[int]:
    return {number for stack, number in counter.stacks.of.items() if is_early(frames(stack))}


def _early(counter: OwnerCounter) -> dict[str, int]:
    """What was allocated before page_owner began: nobody knows by whom, or of which type."""
    numbers = _early_numbers(counter)
    owner, blocks = counter.stack_blocks.split()
    mine = blocks[np.isin(owner, list(numbers))]
    pages = sum(counter.by_stack[number].pages for number in numbers)
    return {"blocks": len(np.unique(mine)), "pages": pages}


def _alone(owner: Ints, blocks: Ints) -> Counter[int]:
    """How many blocks each key has to itself: pairs are unique, so such a block comes once."""
    _, first, times = np.unique(blocks, return_index=True, return_counts=True)
    keys, counts = np.unique(owner[first[times == 1]], return_counts=True)
    return Counter(dict(zip(keys.tolist(), counts.tolist(), strict=True)))


def _counts(owner: Ints) -> Counter[int]:
    keys, counts = np.unique(owner, return_counts=True)
    return Counter(dict(zip(keys.tolist(), counts.tolist(), strict=True)))


def _row(held: _Held, blocks: int, alone: int) -> dict[str, Any]:
    """The figures of a stack, a holder or a task."""
    return {
        "blocks": blocks,
        "alone": alone,
        "pages": held.pages,
        "allocations": held.allocations,
        "slab": held.slab == held.allocations,
        "orders": {str(order): n for order, n in sorted(held.orders.items())},
        "types": {_type_name(kind): n for kind, n in sorted(held.types.items())},
        "gfp": _most(held.gfp),
        "tasks": _most(held.tasks),
    }


def _most(counter: Counter[str]) -> list[str]:
    """The three most frequent, equal ones by name."""
    return [name for name, _ in sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:3] if name]


def _ranked(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-row["blocks"], -row["pages"], row[name]))


def _stack_rows(
    counter: OwnerCounter, owner: Ints, blocks: Ints, early: dict[str, int]
) -> list[dict[str, Any]]:
    """Every stack by rank, but those of pages allocated before page_owner began."""
    counts, alone = _counts(owner), _alone(owner, blocks)
    passed = _early_numbers(counter)
    rows = []
    for stack, number in counter.stacks.of.items():
        if number in passed or number not in counter.by_stack:
            continue
        named = frames(stack)
        row = _row(counter.by_stack[number], counts[number], alone[number])
        rows.append({"holder": holder_of(named), "stack": list(named), **row})
    return _ranked(rows, "stack")


def _holder_rows(counter: OwnerCounter, owner: Ints, blocks: Ints) -> list[dict[str, Any]]:
    """Every holder by rank: the innermost function of a stack that is no allocator's own, whatever called it."""
    passed = _early_numbers(counter)
    names, merged = _Keys(), dict[int, _Held]()
    holder = np.full(MOST_KEYS + 1, MOST_KEYS + 1, np.int64)
    for stack, number in counter.stacks.of.items():
        if number in passed or number not in counter.by_stack:
            continue
        holder[number] = names.number(holder_of(frames(stack)))
        merged.setdefault(int(holder[number]), _Held()).merge(counter.by_stack[number])
    pairs = np.unique(holder[owner] << BLOCK_BITS | blocks)
    mine, its = pairs >> BLOCK_BITS, pairs & ((1 << BLOCK_BITS) - 1)
    counts, alone = _counts(mine), _alone(mine, its)
    rows = [
        {"holder": name, **_row(merged[number], counts[number], alone[number])}
        for name, number in names.of.items()
    ]
    return _ranked(rows, "holder")


def _task_rows(counter: OwnerCounter) -> list[dict[str, Any]]:
    """Every task by rank, by its name; by its process where the kernel kept no name."""
    owner, blocks = counter.task_blocks.split()
    counts, alone, processes = _counts(owner), _alone(owner, blocks), _counts(counter.processes.split()[0])
    rows = []
    for key, number in counter.tasks.of.items():
        if number in counter.by_task:
            name = key if isinstance(key, str) else f"process {key}" if key >= 0 else "not kept"
            row = _row(counter.by_task[number], counts[number], alone[number])
            del row["tasks"]
            rows.append({"task": name, "processes": processes[number], **row})
    return _ranked(rows, "task")


def _advice(dump: dict[str, Any]) -> list[dict[str, str]]:
    """What the kernel's documentation offers against what stands out in a dump."""
    found = []
    if dump["cma"]["pages"]:
        found.append(
            {
                "do": "Report the kernel's fault: only movable pages may lie in CMA pageblocks.",
                "evidence": f"{dump['cma']['pages']:,} pages that cannot move lie in {dump['cma']['blocks']:,} CMA pageblocks.",
                "source": "include/linux/mmzone.h, MIGRATE_CMA",
            }
        )
    polluted, movable = dump["polluted_blocks"], dump["blocks"].get("movable", 0)
    if not dump["holders"] or polluted < max(LEAST_POLLUTED, STANDS_OUT * movable):
        return found
    return found + _against(dump["holders"][0], polluted, movable)


def _against(top: dict[str, Any], polluted: int, movable: int) -> list[dict[str, str]]:
    """What to do about the holder that pollutes most."""
    known = top["holder"] not in (NOT_KEPT, NOT_TOLD) or not top["tasks"]
    who = top["holder"] if known else f"the task {top['tasks'][0]}"
    among = f"{top['blocks']:,} of {polluted:,} polluted movable pageblocks"
    evidence = (
        f"{who} holds pages in {among}."
        if known
        else f"Pages whose holder is {top['holder']} lie in {among}, and {who} allocated most of them."
    )
    reclaimable = top["types"].get("reclaimable", 0)
    if 2 * reclaimable > top["pages"]:
        first = {
            "do": "Compare after `echo 2 > /proc/sys/vm/drop_caches`: it frees reclaimable slab objects.",
            "evidence": evidence,
            "source": "Documentation/admin-guide/sysctl/vm.rst, drop_caches",
        }
    else:
        first = {
            "do": f"Look first at what allocates {'through' if known else 'in'} {who}.",
            "evidence": f"{evidence} {top['alone']:,} of these blocks {'has' if top['alone'] == 1 else 'have'} no other holder.",
            "source": SOURCE,
        }
    second = {
        "do": "Set vm.defrag_mode=1 right after boot (Linux 6.15 and later).",
        "evidence": (
            f"{polluted:,} of {movable:,} movable pageblocks with allocated pages "
            f"{'holds' if polluted == 1 else 'hold'} pages that cannot move."
        ),
        "source": "Documentation/admin-guide/sysctl/vm.rst, defrag_mode",
    }
    return [first, second]
