# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate snapshot``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kevacuate.cli.common import console, print_json
from kevacuate.cli.options import json_option
from kevacuate.errors import KevacuateError

if TYPE_CHECKING:
    from kevacuate.capture.survey import Survey


@click.command("snapshot", short_help="The state of the running machine's memory now.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it as JSON to this file too.")
@json_option
def command(output: Path | None, as_json: bool) -> None:
    """Show the state of the running machine's memory now: by zone, and a map of its pageblocks.

    Needs root, for /proc/kpageflags. Changes nothing.

    Example: kevacuate snapshot -o before.json
    """
    from kevacuate.capture.survey import take_survey

    survey = take_survey()
    if output is not None:
        _write(output, survey)
    if as_json:
        print_json(survey.to_json())
        return
    _show(survey)


def _write(output: Path, survey: Survey) -> None:
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        temporary.write_text(json.dumps(survey.to_json(), sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(output)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise KevacuateError(f"{output} cannot be written: {error.strerror or error}.") from None


def _show(survey: Survey) -> None:
    from kevacuate.capture.survey import CLASSES
    from kevacuate.report.blockmap import block_map, legend, zone_table

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
            "free huge pages": huge_free(zone.chunks, survey.block_order),
        }
        row |= {f"{name} blocks": count for name, count in zone.blocks_by_type.items() if name in _SHOWN}
        rows.append(row)
    out.print(f"Linux {survey.kernel}, pageblocks of {1 << survey.block_order} pages; sizes in pages")
    out.print(zone_table(rows))
    classes = survey.classes
    text, per = block_map(classes, min(max(out.width - 2, 40), 128), 32)
    stands = "a pageblock" if per == 1 else f"{per} pageblocks, as most of them are"
    out.print(f"Map by address; a character is {stands}:")
    out.print(text)
    out.print(
        "Pages on per-CPU lists look like pages of the kernel's, so some blocks are counted as mixed for them."
    )
    out.print(legend({name: int((classes == i).sum()) for i, name in enumerate(CLASSES)}))


_SHOWN = ("Unmovable", "Movable", "Reclaimable", "HighAtomic")


def huge_free(chunks: tuple[int, ...], block_order: int) -> int:
    """Pageblock-sized pages that are free at once, of free chunks by order."""
    return sum(count << (order - block_order) for order, count in enumerate(chunks) if order >= block_order)
