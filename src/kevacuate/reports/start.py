# SPDX-License-Identifier: GPL-2.0-or-later
"""A start state in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kevacuate.percent import percent

LRU_ORDER = {"left": "kept", "stated": "not known: the lower the address, the older"}


def start_sentence(where: Path, about: dict[str, Any]) -> str:
    """What the start state at *where* is like, of what ``kevacuate start --json`` prints."""
    types, blocks, cpus = about["types"], about["blocks"], about["cpus"]
    fixed = types["unmovable"] + types["reclaimable"]
    said = (
        f"{where}: {about['bytes'] / 2**30:,.2f} GiB on {cpus} CPU{'s' if cpus > 1 else ''}. {percent(about['free'], 1)} of it "
        f"is free, of that {percent(about['free_huge'], 1)} in huge pages. "
        f"Of {blocks:,} pageblocks {percent(fixed, 1)} are unmovable or reclaimable"
    )
    mixed = "" if about["mixed"] is None else f", {percent(about['mixed'], 1)} are mixed"
    return f"{said}{mixed}. The order of its LRU lists is {LRU_ORDER[about['lru_order']]}."
