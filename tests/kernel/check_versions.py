# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds the tables of ``kevacuate.kernel`` to real kernels: ``python tests/kernel/check_versions.py DIRECTORY...``.

Each DIRECTORY is a kernel's source or header package (``include/linux/gfp.h`` and so on), or a copy of a machine's
``/sys/kernel/tracing/events`` (``kmem/mm_page_alloc/format``); its version is read from its Makefile, or from its name.
Printed is one line a directory and one a difference; exit status 1 if anything differs. The sources are not part of this
repository: Debian's linux-source packages and public repositories have them. With ``--write FILE`` first, the numbers read from
the source trees are written to that file, for ``test_kernel_tables.py``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import kernel_sources as ks

from kevacuate.kernel import compaction, events, gfp, migrate, migratetypes
from kevacuate.kernel.versions import Version, parse_version, version_text

HEADERS = ("kmem", "compaction", "vmscan", "migrate")
FIRST: dict[str, Version] = {
    "mm_page_alloc": (2, 6, 33),
    "mm_page_alloc_zone_locked": (2, 6, 33),
    "mm_page_pcpu_drain": (2, 6, 33),
    "mm_page_alloc_extfrag": (2, 6, 33),
    "mm_page_free": (3, 3),
    "mm_page_free_batched": (3, 3),
    "mm_compaction_isolate_migratepages": (3, 2),
    "mm_compaction_isolate_freepages": (3, 2),
    "mm_compaction_migratepages": (3, 2),
    "mm_compaction_begin": (3, 14),
    "mm_compaction_end": (3, 14),
    "mm_compaction_try_to_compact_pages": (4, 0),
    "mm_compaction_finished": (4, 0),
    "mm_compaction_suitable": (4, 0),
    "mm_compaction_deferred": (4, 0),
    "mm_compaction_defer_compaction": (4, 0),
    "mm_compaction_defer_reset": (4, 0),
    "mm_compaction_kcompactd_sleep": (4, 6),
    "mm_compaction_wakeup_kcompactd": (4, 6),
    "mm_compaction_kcompactd_wake": (4, 6),
    "mm_compaction_fast_isolate_freepages": (6, 5),
    "mm_migrate_pages": (3, 8),
    "mm_migrate_pages_start": (5, 14),
    "set_migration_pte": (5, 19),
    "remove_migration_pte": (5, 19),
    "mm_vmscan_lru_shrink_active": (4, 11),
    "mm_vmscan_write_folio": (5, 19),
    "mm_vmscan_reclaim_pages": (6, 13),
    "mm_setup_per_zone_wmarks": (6, 18),
    "mm_calculate_totalreserve_pages": (6, 18),
    "mm_vmscan_balance_pgdat_begin": (7, 2),
    "mm_vmscan_balance_pgdat_end": (7, 2),
}
"""The earliest version whose header was seen to have the event; the event may be one or two versions older."""

PFN_FIRST: Version = (4, 1)
"""Before, the events of the kmem system held a pointer to struct page (field ``page``) and no pfn."""
PLAIN_NAMES_UNTIL: Version = (4, 5)
"""The last version that prints names of single bits without underscores, and ``GFP_NOWAIT`` for no flag at all."""
GONE_MODES = {"MIGRATE_SYNC_NO_COPY": 3}
"""Modes that Linux 7.2 does not have, with their number (4.14 to 6.11 or earlier)."""
NAMED = re.compile(r"(\d+\.\d+(?:\.\d+)?)")


def version_of(directory: Path) -> Version | None:
    """The version of a source tree (Makefile), or the last number in the directory's name that is one."""
    makefile = directory / "Makefile"
    if makefile.is_file():
        words = dict(
            re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)", makefile.read_text(), re.MULTILINE)
        )
        if len(words) == 3:
            return parse_version(f"{words['VERSION']}.{words['PATCHLEVEL']}.{words['SUBLEVEL']}")
    found = NAMED.findall(str(directory.resolve()))
    return parse_version(found[-1]) if found else None


class Check:
    """The comparisons of one directory: how many agreed, and what did not."""

    def __init__(self) -> None:
        self.agreed = 0
        self.wrong: list[str] = []

    def same(self, what: str, table: object, source: object) -> None:
        """Compare one value; a source that says nothing (None) is passed over, as is a table that says "not known"."""
        if source is None or table is None:
            return
        if table == source:
            self.agreed += 1
        else:
            self.wrong.append(f"{what}: table {table}, source {source}")


def header_reader(root: Path) -> Callable[[str], str]:
    """What reads one header of a source tree, empty if it has none of that name."""

    def read(name: str) -> str:
        path = root / name
        return path.read_text(errors="replace") if path.is_file() else ""

    return read


def facts(root: Path) -> dict[str, object]:
    """The numbers of a source tree: migratetypes and results of compaction by number, GFP bits by name."""
    read = header_reader(root)
    types = ks.migratetypes(read("include/linux/mmzone.h"))
    trace, flags = read("include/trace/events/compaction.h"), read("include/trace/events/mmflags.h")
    results = ks.compaction_results(read("include/linux/compaction.h"), trace, flags)
    bits = ks.gfp_bits(read("include/linux/gfp.h"), read("include/linux/gfp_types.h"))
    return {
        "migratetypes": [types[i] for i in sorted(types)],
        "compaction": [results[i] for i in sorted(results)],
        "gfp": dict(sorted(bits.items(), key=lambda item: item[1])),
    }


def check_headers(root: Path, version: Version) -> Check:
    """Compare the tables with a source tree."""
    read, check = header_reader(root), Check()
    zone = read("include/linux/mmzone.h")
    for cma in (True, False):
        source = ks.migratetypes(zone, cma)
        if source:
            names = migratetypes.names(version, cma=cma)
            check.same(f"migratetypes, cma {cma}", names, tuple(source[i] for i in sorted(source)))
    header, types = read("include/linux/gfp.h"), read("include/linux/gfp_types.h")
    check_gfp(check, version, ks.gfp_bits(header, types), ks.gfp_composed(header, types))
    trace = {name: read(f"include/trace/events/{name}.h") for name in HEADERS}
    flags = read("include/trace/events/mmflags.h")
    results = ks.compaction_results(read("include/linux/compaction.h"), trace["compaction"], flags)
    if results:
        check.same(
            "results of compaction", compaction.results(version), tuple(results[i] for i in sorted(results))
        )
    modes = read("include/linux/migrate_mode.h")
    for number, name in ks.migrate_reasons(read("include/linux/migrate.h"), modes, trace["migrate"]).items():
        check.same(f"reason {name}", migrate.stored_reason(name), number)
    for number, name in ks.migrate_modes(modes).items():
        check.same(
            f"mode {name}",
            (GONE_MODES | {n: i for i, n in enumerate(migrate.MODES)}).get(name),
            number,
        )
    if all(trace.values()) or version < (3, 8):
        check_events(check, version, {k: v for name in HEADERS for k, v in ks.events(trace[name]).items()})
    return check


def check_gfp(
    check: Check, version: Version, bits: dict[str, int], composed: dict[str, frozenset[str]]
) -> None:
    """Bits, and what the composed names stand for."""
    ours = gfp.bits(version)
    if ours is None:
        return
    for name, bit in ours.items():
        if name in bits or gfp.RENAMED.get(name, name) in gfp.GFP_BITS:
            check.same(f"bit {name}", bit, bits.get(name))
    for name, bit in bits.items():
        if gfp.RENAMED.get(name, name) in gfp.GFP_BITS or name in (gfp.WAIT, gfp.NO_KSWAPD):
            check.same(f"bit of the source {name}", ours.get(name, "none"), bit)
    conversion = gfp.conversion(bits)
    for name, parts in composed.items():
        if name not in gfp.COMPOSED and name != "GFP_TEMPORARY":
            continue
        if version <= PLAIN_NAMES_UNTIL and name == "GFP_NOWAIT":
            continue  # printed for no flag at all
        flags, ours_now = sum(1 << bits[part] for part in parts), gfp.composed(name, version)
        light = conversion.base if gfp.NO_KSWAPD not in parts else 0
        check.same(
            f"composed {name}", None if ours_now is None else ours_now | light, conversion.convert(flags)
        )


def check_events(check: Check, version: Version, found: dict[str, tuple[tuple[str, ...], str]]) -> None:
    """Names of events and fields, and since when the events are there."""
    for name, first in FIRST.items():
        if name in found:
            continue
        if version >= first:
            check.same(f"event {name}", f"since {version_text(first)}", "not there")
    for old, renamed in events.EVENTS.items():
        if version <= renamed.last:
            check.same(f"old event {old}", renamed.name not in found, True)
        elif version >= renamed.first:
            check.same(f"old event {old}", old not in found, True)
    for name, (fields, printed) in found.items():
        for old, new in events.FIELDS.get(name, {}).items():
            if old in fields and name != "mm_migrate_pages":
                check.same(f"{name}: {old} and {new} at once", new in fields, False)
        proof = events.BY_EVENT.get(name)
        if proof:
            check.same(f"proof by {name}", within(version, proof), True)
        for event, text, about in events.BY_TEXT:
            words, plain = f"{text.strip().removeprefix('^')}%", printed.replace("(", "")
            there = plain.startswith(words) if text.startswith("^") else words in plain
            if event == name and text.strip().endswith("=") and there:
                check.same(f"proof by {text.strip()} of {name}", within(version, about), True)
    extfrag = found.get("mm_page_alloc_extfrag")
    if extfrag:
        check.same("change_ownership", version >= events.OWNERSHIP_FIRST, "change_ownership" in extfrag[0])
        check.same("pfn", version >= PFN_FIRST, "pfn" in extfrag[0])


def within(version: Version, proof: events.Proof) -> bool:
    """Whether a version is one that the proof allows."""
    return (proof.first is None or version >= proof.first) and (proof.last is None or version <= proof.last)


def check_formats(directory: Path, version: Version) -> Check:
    """Compare the tables with the format files of a running kernel."""
    check, found = Check(), {}
    for name, text in ks.format_files(directory):
        fields = tuple(re.findall(r"field:[^;]*?(\w+)(?:\[[^\]]*\])?;", text))
        line = re.search(r'print fmt: "([^"]*)"', text)
        found[name] = (fields, line[1] if line else "")
        if name == "mm_page_alloc":
            check_printed_bits(check, version, text)
        if name in ("mm_compaction_end", "mm_compaction_finished"):
            pairs = re.findall(r"\{\s*(\d+),\s*\"(\w+)\"\s*\}", text)
            names = {int(n): s for n, s in pairs if s in (*compaction.RESULTS, *compaction.LATER_NAMES)}
            table = compaction.results(version)
            if names and table:
                check.same(f"results in {name}", {i: table[i] for i in names if i < len(table)}, names)
    for name, proof in events.BY_EVENT.items():
        if name in found:
            check.same(f"proof by {name}", within(version, proof), True)
    ported_back = (
        "change_ownership" in found.get("mm_page_alloc_extfrag", ((), ""))[0]
        and version < events.OWNERSHIP_FIRST
    )
    if (
        "mm_page_alloc_extfrag" in found and not ported_back
    ):  # as in one vendor's 3.10: what the file says counts
        check.same(
            "change_ownership",
            version >= events.OWNERSHIP_FIRST,
            "change_ownership" in found["mm_page_alloc_extfrag"][0],
        )
    for name in ("mm_page_alloc", "mm_page_free"):
        if name in found:
            check.same(f"pfn of {name}", version >= PFN_FIRST, "pfn" in found[name][0])
    return check


def check_printed_bits(check: Check, version: Version, text: str) -> None:
    """Single bits that a print fmt names with a number."""
    ours = gfp.bits(version)
    for value, name in re.findall(
        r"\{\s*\(unsigned long\)\(+\s*gfp_t\s*\)\s*\(?(0x[0-9a-f]+)u\s*\)*\s*,\s*\"(\w+)\"", text
    ):
        flag = gfp.printed_name(name) if version <= PLAIN_NAMES_UNTIL else name
        mask = int(value, 16)
        if ours is not None and flag in ours and mask.bit_count() == 1:
            check.same(f"printed bit {name}", ours[flag], mask.bit_length() - 1)


def checks(directories: list[str]) -> Iterator[tuple[str, Version, Check]]:
    """Each directory's name, version and comparisons."""
    for name in directories:
        directory = Path(name)
        version = version_of(directory)
        if version is None:
            print(f"{name}: its version is not to be seen: name the directory after it")
            continue
        formats = not (directory / "include").is_dir()
        yield name, version, (check_formats if formats else check_headers)(directory, version)


def main(directories: list[str]) -> int:
    """Check each directory; 1 if anything differs, 2 if there was nothing to check."""
    if directories[:1] == ["--write"]:
        trees = {version_text(version_of(Path(d)) or ()): facts(Path(d)) for d in directories[2:]}
        Path(directories[1]).write_text(json.dumps(trees, indent=1) + "\n")
        return 0
    wrong = done = 0
    for name, version, check in checks(directories):
        done += 1
        wrong += len(check.wrong)
        print(f"Linux {version_text(version)}: {check.agreed} agree, {len(check.wrong)} differ ({name})")
        for line in check.wrong:
            print(f"    {line}")
    return 1 if wrong else 0 if done else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
