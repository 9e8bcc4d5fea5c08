# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate snapshot``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import kevacuate
from kevacuate.cli.common import console, print_json, progress_bar, writable
from kevacuate.cli.options import json_option, path_option
from kevacuate.errors import KevacuateError
from kevacuate.recording.atomic_write import written


@click.command("snapshot", short_help="The state of a machine's memory, now or in a dump.")
@path_option(
    "-o",
    "--output",
    file=True,
    help="Write it to this file too, as JSON; NAME.kev, with --vmcore or --kcore: as the state that a replay starts from.",
)
@path_option("-c", "--vmcore", metavar="FILE", help="Read a dump (ELF or kdump) instead of /proc.")
@click.option(
    "-k", "--kcore", is_flag=True, help="Read /proc/kcore, the running kernel's memory, instead of /proc."
)
@path_option(
    "-s", "--vmlinux", metavar="FILE", help="That kernel's debug information [where distributions put it]."
)
@json_option
def command(
    output: Path | None, vmcore: Path | None, kcore: bool, vmlinux: Path | None, as_json: bool
) -> None:
    """Show the state of the running machine's memory now: by zone, and a map of its pageblocks.

    Needs root, for /proc/kpageflags. Changes nothing.

    With a dump, or --kcore, drgn reads the allocator's own lists from the kernel's memory. These are every free list and
    per-CPU list in order, pageblock types and skip bits. They are checked against the kernel's counters.

    Example: kevacuate snapshot -o before.json

    Example: kevacuate snapshot --vmcore vmcore --vmlinux vmlinux -o crashed.kev
    """
    if vmcore is not None and kcore:
        raise click.UsageError("--vmcore and --kcore name two sources: give one of them.")
    if vmcore is None and not kcore:
        if vmlinux is not None:
            raise click.UsageError("--vmlinux is of use with --vmcore or --kcore only.")
        _from_proc(output, as_json)
    else:
        _from_core(vmcore, vmlinux, output, as_json)


def _from_proc(output: Path | None, as_json: bool) -> None:
    if output is not None and output.suffix == ".kev":
        raise KevacuateError(
            f"{output.name} would hold the allocator's lists, which /proc does not show: add --kcore, or choose a name like "
            f"{output.stem}.json."
        )
    writable(output)
    with progress_bar("reading page flags"):
        survey = kevacuate.snapshot()
    if output is not None:
        _write(output, survey.to_json())
    if as_json:
        print_json(survey.to_json())
        return
    _show(survey)


def _from_core(vmcore: Path | None, vmlinux: Path | None, output: Path | None, as_json: bool) -> None:
    writable(output)
    with progress_bar("reading the kernel's memory"):
        if vmcore is None:
            found = kevacuate.snapshot(kcore=True, vmlinux=vmlinux)
        else:
            found = kevacuate.snapshot(vmcore, vmlinux=vmlinux)
    if output is not None and output.suffix == ".kev":
        found.save(output)
    elif output is not None:
        _write(output, found.to_json())
    if as_json:
        print_json(found.to_json())
        return
    _show_core(found)


def _write(output: Path, values: dict[str, Any]) -> None:
    with written(output, replace=True) as file:
        file.path.write_text(json.dumps(values, sort_keys=True) + "\n", encoding="utf-8")


def _show_core(found: kevacuate.CoreSnapshot) -> None:
    from kevacuate.reports.vmcore_lists import checks_text, free_table, pcp_table

    out = console()
    out.print(f"From {found.source}:", markup=False, highlight=False)
    _show(found.survey, lists_known=True)
    out.print("Free lists by order, and pageblocks of each type with compaction's skip bit:")
    out.print(free_table(found))
    out.print("Per-CPU lists:")
    out.print(pcp_table(found))
    out.print("Do the lists fit together, and the kernel's counters with them?")
    out.print(checks_text(found), end="")
    for line in found.state.approximate:
        out.print(line, markup=False)


def _show(survey: kevacuate.Survey, *, lists_known: bool = False) -> None:
    from kevacuate.reports.blockmap import block_map, legend, zone_table

    out = console()
    rows: list[dict[str, int | str]] = []
    for zone in survey.counts.zones:
        row: dict[str, int | str] = {
            "zone": f"node {zone.node} {zone.name}",
            "managed": zone.managed,
            "free": zone.free,
        }
        row |= {
            "on pcp lists": sum(p.count for p in zone.pcp),
            "huge pages free": huge_free(zone.chunks, survey.block_order),
        }
        row |= {f"{name} blocks": count for name, count in zone.blocks_by_type.items() if name in _SHOWN}
        rows.append(row)
    out.print(f"Linux {survey.kernel}, pageblocks of {1 << survey.block_order} pages; sizes in pages")
    out.print(zone_table(rows, out.width))
    classes = survey.classes
    text, per = block_map(classes, min(max(out.width - 2, 40), 128), 32)
    stands = "a pageblock" if per == 1 else f"{per} pageblocks, as most of them are"
    out.print(f"Map by address; a character is {stands}:")
    out.print(text)
    if not lists_known:
        out.print(
            f"Mixed pageblocks: {survey.mixed.words()}. Pages on per-CPU lists look like the kernel's own (no flag): blocks that "
            "only they may make mixed or unmovable are unclear. A recording knows more of them: `kevacuate record`.",
            highlight=False,
        )
    out.print(legend(survey.blocks_by_class))


_SHOWN = ("Unmovable", "Movable", "Reclaimable", "HighAtomic")


def huge_free(chunks: tuple[int, ...], block_order: int) -> int:
    """Pageblock-sized pages that are free at once, of free chunks by order."""
    return sum(count << (order - block_order) for order, count in enumerate(chunks) if order >= block_order)
