# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the kernel's numbers out of its own headers and format files, for :mod:`check_versions`.

Every reader takes the text of one header and gives plain dicts and tuples; what a header does not hold is empty.
Nothing is compiled: the enums and ``#define`` lines concerned are simple enough for regular expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_ENUM = re.compile(r"enum\s*(\w*)\s*\{(.*?)\}\s*;", re.DOTALL)
_HEX_BIT = re.compile(r"#define\s+_(__GFP_\w+)\s+(?:0x([0-9a-fA-F]+)u?|BIT\(___GFP_(\w+)_BIT\))")
_OLD_BIT = re.compile(r"#define\s+(__GFP_\w+)\s+\(\(__force gfp_t\)0x([0-9a-fA-F]+)u?\)")
_EVENT = re.compile(
    r"(?:TRACE_EVENT(?:_CONDITION|_PRINT)?|DECLARE_EVENT_CLASS|DEFINE_EVENT(?:_CONDITION|_PRINT)?)\s*\(\s*(\w+)\s*,"
)
_PRINTED_LABEL = re.compile(r"([A-Za-z_][\w ]*?)\s*=\s*\(?%")


def without_comments(text: str) -> str:
    """The header without its comments."""
    return _COMMENT.sub(" ", text)


def conditional(text: str, defined: frozenset[str]) -> str:
    """The lines that stand under the ``#if`` of configuration options in *defined* (others count as off)."""
    kept: list[str] = []
    stack: list[bool] = []
    for line in text.splitlines():
        word = line.strip()
        if re.match(r"#\s*if", word):
            names = re.findall(r"CONFIG_\w+", word)
            on = not names or any(n in defined for n in names)
            stack.append(not on if re.match(r"#\s*ifndef", word) and names else on)
        elif re.match(r"#\s*else", word) and stack:
            stack[-1] = not stack[-1]
        elif re.match(r"#\s*endif", word):
            if stack:
                stack.pop()
        elif all(stack):
            kept.append(line)
    return "\n".join(kept)


def enum_values(text: str, first: str, defined: frozenset[str] = frozenset()) -> dict[str, int]:
    """Name to number of the enum that holds the name *first*; {} if there is none."""
    clean = conditional(without_comments(text), defined)
    for match in _ENUM.finditer(clean):
        if not re.search(rf"\b{first}\b", match[2]):
            continue
        values: dict[str, int] = {}
        number = 0
        for entry in match[2].split(","):
            name, _, given = entry.strip().partition("=")
            name, given = name.strip(), given.strip()
            if not name:
                continue
            if given:
                number = (
                    values[given] if given in values else int(given, 0) if given[:1].isdigit() else number
                )
            values[name] = number
            number += 1
        return values
    return {}


def migratetypes(mmzone: str, cma: bool = True) -> dict[int, str]:
    """Number to lower-case name of the migratetypes of mmzone.h, with or without CONFIG_CMA."""
    options = frozenset({"CONFIG_MEMORY_ISOLATION", *(["CONFIG_CMA"] if cma else [])})
    values = enum_values(mmzone, "MIGRATE_UNMOVABLE", options)
    if not values:  # up to 3.4, numbers were #define lines
        values = {
            n: int(v) for n, v in re.findall(r"#define\s+(MIGRATE_\w+)\s+(\d+)", without_comments(mmzone))
        }
    skip = {"MIGRATE_PCPTYPES", "MIGRATE_TYPES", "__MIGRATE_TYPE_END"}
    return {v: n.removeprefix("MIGRATE_").lower() for n, v in values.items() if n not in skip}


def gfp_bits(gfp: str, types: str = "") -> dict[str, int]:
    """``__GFP_`` name to bit number, of gfp.h (and gfp_types.h, since 6.0): single bits only."""
    text = without_comments(types or gfp)
    numbers = enum_values(types, "___GFP_DMA_BIT", frozenset({"CONFIG_SLAB_OBJ_EXT"}))
    bits: dict[str, int] = {}
    for name, value, bit in _HEX_BIT.findall(text):
        number = numbers.get(f"___GFP_{bit}_BIT", -1)
        mask = int(value, 16) if value else 1 << number if number >= 0 else 0
        if mask and mask & (mask - 1) == 0:
            bits[name] = mask.bit_length() - 1
    for name, value in _OLD_BIT.findall(text):
        mask = int(value, 16)
        if mask and mask & (mask - 1) == 0:
            bits[name] = mask.bit_length() - 1
    return bits


def gfp_composed(gfp: str, types: str = "") -> dict[str, frozenset[str]]:
    """Composed flag to the single ``__GFP_`` names that it stands for, with CONFIG_TRANSPARENT_HUGEPAGE."""
    text = without_comments(types or gfp).replace("\\\n", " ")
    defs = dict(re.findall(r"#define\s+(_{0,2}GFP_\w+)\s+(\(?.*)", text))
    single = set(gfp_bits(gfp, types))

    def parts(name: str, seen: frozenset[str]) -> frozenset[str]:
        if name in single:
            return frozenset({name})
        if name not in defs or name in seen:
            return frozenset()
        body = defs[name]
        taken = body.split("~")
        plus = frozenset[str]().union(
            *(parts(n, seen | {name}) for n in re.findall(r"_{0,2}GFP_\w+", taken[0]))
        )
        minus = frozenset[str]().union(
            *(parts(n, seen | {name}) for piece in taken[1:] for n in re.findall(r"_{0,2}GFP_\w+", piece))
        )
        return plus - minus

    return {
        n: p for n in defs if (n.startswith("GFP_") or n == "__GFP_RECLAIM") and (p := parts(n, frozenset()))
    }


def printed_gfp_names(header: str) -> tuple[str, ...]:
    """The names that the trace events print for GFP flags, in their order (gfpflags.h, mmflags.h)."""
    text = without_comments(header)
    if "__GFP" not in text and "GFP_" not in text:
        return ()
    quoted = re.findall(r'\{\s*\(\s*unsigned long\s*\)\s*_*GFP_\w+\s*,\s*"(\w+)"\s*\}', text)
    if quoted:
        return tuple(quoted)
    names = re.findall(r"gfpflag_string\((_*GFP_\w+)\)", text)
    general = re.findall(r"TRACE_GFP_EM\((\w+)\)", text)
    return tuple(n for n in names if n != "__GFP_") + tuple(f"__GFP_{n}" for n in general if n != "a")


def compaction_results(compaction: str, trace: str, mmflags: str) -> dict[int, str]:
    """Number to printed name of the results of compaction."""
    clean = without_comments(compaction)
    numbers = enum_values(compaction, "COMPACT_SKIPPED") or {
        n: int(v) for n, v in re.findall(r"#define\s+(COMPACT_\w+)\s+(-?\d+)", clean)
    }
    for where in (trace, mmflags):
        pairs = re.findall(r'EMe?\(\s*(COMPACT_\w+)\s*,\s*"(\w+)"\s*\)', without_comments(where))
        pairs = [(n, s) for n, s in pairs if "PRIO" not in n]
        if pairs:
            return {numbers[n]: s for n, s in pairs if n in numbers}
    return {}


def migrate_reasons(migrate: str, modes: str, trace: str) -> dict[int, str]:
    """Number to printed name of the reasons of a migration."""
    numbers = enum_values(migrate, "MR_COMPACTION") or enum_values(modes, "MR_COMPACTION")
    pairs = re.findall(r'(?:EMe?\(\s*|\{\s*)(MR_\w+)\s*,\s*"(\w+)"', without_comments(trace))
    return {numbers[n]: s for n, s in pairs if n in numbers}


def migrate_modes(header: str) -> dict[int, str]:
    """Number to name of enum migrate_mode."""
    return {v: n for n, v in enum_values(header, "MIGRATE_SYNC_LIGHT").items()}


def _arguments(text: str, begin: int) -> str:
    """What stands in the parentheses that open before *begin*."""
    depth, at = 1, begin
    while at < len(text) and depth:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[begin : at - 1]


def events(header: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Event to its fields and its print format, classes followed, of a trace header."""
    text = without_comments(header)
    classes: dict[str, tuple[tuple[str, ...], str]] = {}
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for match in _EVENT.finditer(text):
        body = _arguments(text, text.index("(", match.start()) + 1)
        fields = tuple(re.findall(r"__(?:field|array|string)(?:_struct)?\(\s*[^,()]+,\s*(\w+)", body))
        printed = re.search(r"TP_printk\(\s*((?:\"[^\"]*\"\s*)+)", body)
        line = "".join(re.findall(r'"([^"]*)"', printed[1])) if printed else ""
        if match[0].startswith("DECLARE_EVENT_CLASS"):
            classes[match[1]] = (fields, line)
        elif match[0].startswith("DEFINE_EVENT"):
            name = re.match(r"\s*\w+\s*,\s*(\w+)", body)
            base = classes.get(match[1], ((), ""))
            if name:
                found[name[1]] = (fields or base[0], line or base[1])
        else:
            found[match[1]] = (fields, line)
    return found


def printed_labels(line: str) -> tuple[str, ...]:
    """The words before ``=%`` of a print format, in order."""
    return tuple(label.split()[-1] for label in _PRINTED_LABEL.findall(line))


def format_files(directory: Path) -> Iterator[tuple[str, str]]:
    """Event name and text of the ``SYSTEM/EVENT/format`` files of a directory."""
    for file in sorted(directory.glob("**/format")):
        yield file.parent.name, file.read_text(errors="replace")
