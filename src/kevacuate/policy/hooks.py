# SPDX-License-Identifier: GPL-2.0-or-later
"""``Hooks``: a policy of one's own is a class of it, in a file (docs/policies.md).

Its methods are called where the kernel's functions of their names decide. Each answers as mainline does until it is overridden;
one that is not costs nothing. ``self`` holds what the policy keeps, by names that the class declares. ``s`` stands for the
machine: it is passed on to functions of :mod:`kevacuate.mm.policy_calls` and is used for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from kevacuate.mm import constants as k
from kevacuate.mm import policy_calls as calls

BY_BLOCK = -1
BY_ZONE = -2
"""Lengths of fields that have a word for each pageblock, for each zone: what is counted is the machine's, see :func:`words_of`.

A further kind is a negative number here, a function like :func:`by_block`, and its count in ``policy/install.py:sizes_of``."""

MOST_WORDS = 1 << 20
"""Words of one field of numbers at most."""

MOST_LABEL = 80
"""Characters of a label or a help at most."""

MOST_NUMBER = 1 << 62
"""A knob and its bounds lie between this and its negative."""

MOST_UNLESS_SAID = 1_000_000
"""The largest number that a knob takes unless it says so."""

BETTER = ("", "lower", "higher")


def _shown(value: object) -> str:
    """A value in a sentence, however long it is."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length():,} bits"
    return f"{value!r:.40}"


class Declared:
    """A field as its class declares it.

    Attributes
    ----------
    sort : str
        ``knob``, ``counter``, ``share`` or ``field``.
    length : int
        Words; 0 is a single number, BY_BLOCK a word a pageblock, BY_ZONE a word a zone.
    default, least, most : int
        Of a knob: its value unless it is turned, and its bounds.
    help, unit, better : str
        What it is, in words; a counter's unit, and which way is better (``lower``, ``higher`` or empty).
    of : tuple of str
        Of a share: the names of its part and of its whole.
    at_least : str
        Of a knob: the name of another one that it may not be less than, or empty.
    """

    def __init__(
        self,
        sort: str,
        help: str,
        *,
        length: int = 0,
        default: int = 0,
        least: int = 0,
        most: int = 0,
        unit: str = "",
        better: str = "",
        of: tuple[str, ...] = (),
        at_least: str = "",
    ) -> None:
        for text in (help, unit):
            if not isinstance(text, str) or not text.isprintable() or len(text) > MOST_LABEL:
                raise ValueError(
                    f"a label is one line of at most {MOST_LABEL} characters, not {_shown(text)}"
                )
        if better not in BETTER:
            raise ValueError(f"a row is better lower, higher or neither, not {_shown(better)}")
        self.sort, self.help, self.length = sort, help, length
        self.default, self.least, self.most = default, least, most
        self.unit, self.better, self.of, self.at_least = unit, better, of, at_least
        self.at = 0
        self.name = ""

    @property
    def words(self) -> int:
        """Words that it takes among the fields: of a row by something two, where it begins and how long it is."""
        return 0 if self.sort == "share" else 2 if self.length < 0 else max(self.length, 1)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, policy: Any, _owner: Any) -> Any:
        if policy is None:
            return self
        words = policy._words
        if not self.length:
            return words[self.at]
        if self.length < 0:
            return Row(words, words[self.at], words[self.at + 1])
        return Row(words, self.at, self.length)

    def __set__(self, policy: Any, value: int) -> None:
        policy._words[self.at] = int(value)


class Row:
    """Several words of a policy, by index from 0, in plain Python."""

    __slots__ = ("_count", "_first", "_words")

    def __init__(self, words: Any, first: int, count: int) -> None:
        self._words, self._first, self._count = words, first, count

    def _place(self, i: int) -> int:
        if not 0 <= i < self._count:
            raise IndexError("index is out of bounds")
        return self._first + i

    def __getitem__(self, i: int) -> int:
        return int(self._words[self._place(i)])

    def __setitem__(self, i: int, value: int) -> None:
        self._words[self._place(i)] = int(value)


def knob(default: int, help: str, *, least: int = 0, most: int = MOST_UNLESS_SAID, at_least: str = "") -> Any:
    """A whole number that is given with the policy (``,name=5``) and does not change; *help* says what it does.

    *at_least* names another knob of the class: a policy is refused whose knob is less than that one.
    """
    for value in (default, least, most):
        if type(value) is not int:
            raise ValueError(f"a knob is a whole number, not {_shown(value)}")
        if abs(value) > MOST_NUMBER:
            raise ValueError(
                f"a knob and its bounds lie between -2**62 and 2**62, and {_shown(value)} does not"
            )
    if least > most:
        raise ValueError(f"a knob's bounds are in the wrong order: {least} is more than {most}")
    if not least <= default <= most:
        where = "give it least and most" if (least, most) == (0, MOST_UNLESS_SAID) else "move its bounds"
        raise ValueError(
            f"a knob's default lies between its bounds, and {default} is not in {least} to {most}: {where}"
        )
    return Declared("knob", help, default=default, least=least, most=most, at_least=at_least)


def counter(label: str, unit: str, *, better: str = "") -> Any:
    """A number that hooks count up; it is a row of ``compare``'s table. *better* is ``lower``, ``higher`` or empty."""
    return Declared("counter", label, unit=unit, better=better)


def share(label: str, part: str, whole: str, *, better: str = "") -> Any:
    """A row of the table: how much of the counter *whole* the counter *part* is, in per cent. Hooks do not see it."""
    return Declared("share", label, unit="%", better=better, of=(part, whole))


def number() -> Any:
    """A whole number that hooks read and write, 0 at first."""
    return Declared("field", "")


def numbers(length: int) -> Any:
    """So many of them, by index."""
    if type(length) is not int or not 1 <= length <= MOST_WORDS:
        raise ValueError(f"a field has 1 to {MOST_WORDS:,} numbers, not {_shown(length)}")
    return Declared("field", "", length=length)


def by_block() -> Any:
    """One for each pageblock, by the block's number: ``pfn >> pageblock_order(s)``."""
    return Declared("field", "", length=BY_BLOCK)


def by_zone() -> Any:
    """One for each zone, by the zone's number."""
    return Declared("field", "", length=BY_ZONE)


class Hooks:
    """A policy: what the model does where kernels differ. Times are ns of virtual time, memory is in pages.

    Attributes
    ----------
    nr_pageblocks : int
        Pageblocks of the machine: the length of every field by pageblock.
    """

    declared: ClassVar[dict[str, Declared]] = {}

    def __init_subclass__(cls) -> None:
        cls.declared = {}
        at = 1
        for owner in reversed(cls.__mro__):
            for name, found in vars(owner).items():
                if isinstance(found, Declared):
                    cls.declared[name] = found
        for found in cls.declared.values():
            found.at = at
            at += found.words

    def __init__(self, words: Any) -> None:
        self._words = words

    @property
    def nr_pageblocks(self) -> int:
        """Pageblocks of the machine."""
        return int(self._words[0])

    def gfp_migratetype(self, s: Any, gfp: int, order: int, mt: int) -> int:
        """The type whose lists a request goes to (include/linux/gfp.h). Asked at every request; *mt* is mainline's answer."""
        return mt

    def rmqueue(self, s: Any, z: int, order: int, mt: int, alloc_flags: int, turn: int) -> int:
        """What __rmqueue tries at its *turn*, from 0 on: *mt*, MIGRATE_CMA (with ALLOC_CMA), TRY_CLAIM, TRY_STEAL or TRY_END."""
        return calls.rmqueue_turn(s, mt, alloc_flags, turn)

    def find_suitable_fallback(
        self, s: Any, z: int, order: int, start_type: int, claimable: int, mt: int
    ) -> int:
        """Another type with a free chunk of exactly *order*, FALLBACK_EMPTY, or if *claimable* FALLBACK_NOCLAIM: claim nothing.

        *mt* is mainline's answer.
        """
        return mt

    def should_try_claim_block(self, s: Any, order: int, start_type: int, allowed: int) -> int:
        """Whether a request may claim a block through a chunk of *order*; *allowed* is mainline's answer."""
        return allowed

    def try_to_claim_block(
        self, s: Any, z: int, pfn: int, order: int, start_type: int, block_type: int
    ) -> int:
        """What becomes of a candidate, a free chunk of *order*: REFUSE, CLAIM, or MAINLINE_RULE (half is free or alike)."""
        return k.MAINLINE_RULE

    def free_one_page(self, s: Any, z: int, pfn: int, order: int, mt: int, fpi: int, tail: int) -> int:
        """Whether a free chunk, merged already, goes to the tail of its list; *tail* is mainline's answer."""
        return tail

    def nr_pcp_alloc(self, s: Any, z: int, cpu: int, order: int, wanted: int) -> int:
        """How many chunks a refill of a per-CPU list asks for, 1 to 4096 pages' worth; *wanted* is mainline's answer."""
        return wanted

    def block_claimed(self, s: Any, z: int, pfn: int, order: int, start_type: int, block_type: int) -> None:
        """A chunk of *order* led to a claim: *pfn*'s block (a larger chunk's blocks) went from *block_type* to *start_type*."""

    def page_stolen(self, s: Any, z: int, pfn: int, order: int, start_type: int, block_type: int) -> None:
        """A request of *order* took the chunk at *pfn* from *block_type*'s lists; the block keeps its type."""

    def worker(self, s: Any) -> int:
        """The policy's own kernel thread. Returns in how many ns it runs again; 0: when :func:`wake_worker` says so."""
        return 0

    def last_unmovable_freed(self, s: Any, z: int, pfn: int, order: int, mt: int) -> None:
        """A chunk of *order* was freed, the last that could not move in the block that starts at *pfn*, whose type is *mt*."""


HOOKS = (
    "gfp_migratetype", "rmqueue", "find_suitable_fallback", "should_try_claim_block", "try_to_claim_block", "free_one_page",
    "nr_pcp_alloc", "block_claimed", "page_stolen", "worker", "last_unmovable_freed",
)  # fmt: skip
"""The hooks, each at its place in ``cfg.hook`` (HOOK_* of :mod:`kevacuate.mm.constants`)."""

EVENTS = frozenset(("block_claimed", "page_stolen", "last_unmovable_freed"))
"""Hooks that answer nothing."""

ANSWERS = {
    "gfp_migratetype": "MIGRATE_UNMOVABLE, MIGRATE_MOVABLE or MIGRATE_RECLAIMABLE",
    "rmqueue": "mt, MIGRATE_CMA with ALLOC_CMA, TRY_CLAIM, TRY_STEAL or TRY_END",
    "find_suitable_fallback": "another type with a free chunk of the order, FALLBACK_EMPTY, or, if claimable, FALLBACK_NOCLAIM",
    "should_try_claim_block": "0 or 1",
    "try_to_claim_block": "REFUSE, CLAIM or MAINLINE_RULE",
    "free_one_page": "0 or 1",
    "nr_pcp_alloc": "1 to 4096 pages' worth of chunks",
    "worker": "a time in ns that is not negative",
}
"""What each hook may return, in words."""


def words_of(policy: type[Hooks], sizes: Mapping[int, int], knobs: dict[str, int]) -> list[int]:
    """What a policy's memory holds at first, with these knobs turned.

    *sizes* are the machine's: pageblocks by BY_BLOCK, zones by BY_ZONE.
    """
    words = [sizes[BY_BLOCK]] + [0] * sum(found.words for found in policy.declared.values())
    for found in policy.declared.values():
        if found.sort == "knob":
            words[found.at] = knobs.get(found.name, found.default)
        if found.length < 0:
            words[found.at], words[found.at + 1] = len(words), sizes[found.length]
            words += [0] * sizes[found.length]
    return words


def fields_of(policy: type[Hooks]) -> tuple[tuple[str, int, int], ...]:
    """(name, word, length) of every field, the number of pageblocks first."""
    return (
        ("nr_pageblocks", 0, 0),
        *((found.name, found.at, found.length) for found in policy.declared.values() if found.words),
    )


def rows_of(policy: type[Hooks]) -> Iterator[Declared]:
    """What is a row of the table, counters and shares, in the order of their declaration."""
    return (found for found in policy.declared.values() if found.sort in ("counter", "share"))


def values_of(policy: type[Hooks], words: Any) -> dict[str, float]:
    """The rows' values by name, as a policy's memory has them. A share of nothing is 0."""
    at = {found.name: found.at for found in policy.declared.values()}
    values: dict[str, float] = {}
    for found in rows_of(policy):
        if found.sort == "counter":
            values[found.name] = int(words[found.at])
        else:
            part, whole = (int(words[at[name]]) for name in found.of)
            values[found.name] = 100 * part / whole if whole else 0.0
    return values
