# SPDX-License-Identifier: GPL-2.0-or-later
"""What the ``print fmt`` of a format file says: values behind labels, names of numbers, names of flags.

It is C as the recorded kernel's compiler saw it: a string, then the arguments. Constants in it (the pageblock order, the
numbers of names, the bits of flags) are that kernel's own, whatever its version.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kevacuate.recording.cconstant import constant

_FORMAT = re.compile(r'print fmt:\s*"((?:[^"\\]|\\.)*)"')
_PLACE = re.compile(r"(\w+)[=:]\s*(?:0x)?%[-\d]*[a-zA-Z]|%%|%[-\d]*[a-zA-Z]")
_ENTRY = re.compile(r'\{([^{}"]{1,4000}),\s*"([^"]{1,64})"\s*\}')
_OPEN, _CLOSE = "([{", ")]}"


def _split(text: str) -> list[str]:
    """Arguments at the commas outside of brackets and strings."""
    parts, deep, begin, quoted = [], 0, 0, False
    for at, letter in enumerate(text):
        if letter == '"' and text[at - 1 : at] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif letter in _OPEN:
            deep += 1
        elif letter in _CLOSE:
            deep -= 1
        elif letter == "," and deep == 0:
            parts.append(text[begin:at].strip())
            begin = at + 1
    return [*parts, text[begin:].strip()]


@lru_cache(maxsize=1 << 8)
def arguments(text: str) -> dict[str, str]:
    """Label (``order`` of ``order=%d``) to the C expression printed behind it; {} without a print fmt.

    Parameters
    ----------
    text : str
        The whole format file.

    """
    found = _FORMAT.search(text)
    if not found:
        return {}
    parts = _split(text[found.end() :].partition("\n")[0].strip().removeprefix(","))
    labels = [match[1] for match in _PLACE.finditer(found[1]) if match[0] != "%%"]
    return {label: part for label, part in zip(labels, parts, strict=False) if label}


def _entries(text: str) -> list[tuple[str, int | None]]:
    return [(name, constant(value)) for value, name in _ENTRY.findall(text)]


def symbols(text: str, field: str) -> dict[str, int]:
    """Name to number, of the ``__print_symbolic(REC->field, {number, "name"}, ...)`` in a format file.

    Numbers that are no constants there (before Linux 4.0 to 4.4, names of an enum) are left out; {} if there is none.
    """
    found = re.search(rf"__print_symbolic\(\s*REC->{re.escape(field)}\s*,", text)
    if not found:
        return {}
    table = re.match(r'(?:\s*\{[^{}"]{1,4000},\s*"[^"]{1,64}"\s*\},?)*', text[found.end() :])
    return {name: value for name, value in _entries(table[0] if table else "") if value is not None}


def flags(text: str) -> list[tuple[str, int]]:
    """Name and value of each flag, in the order of the first ``__print_flags`` in a format file."""
    _, found, rest = text.partition("__print_flags(")
    return [(name, value) for name, value in _entries(rest) if value is not None] if found else []


def pageblock_order(text: str) -> int | None:
    """The constant behind ``pageblock_order=`` of mm_page_alloc_extfrag's format file, None if it is none."""
    value = constant(arguments(text).get("pageblock_order", ""))
    return value if value is not None and 0 < value <= 20 else None
