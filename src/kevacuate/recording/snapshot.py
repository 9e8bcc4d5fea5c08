# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc says of a running machine's zones at one moment, as figures: one line of ``snapshots.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.recording import procfs
from kevacuate.recording.atomic_write import not_written
from kevacuate.recording.jsontypes import WrongType, build

_MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class PcpCounts:
    """One CPU's per-cpu list of a zone (/proc/zoneinfo), in pages; what a kernel does not show is 0."""

    cpu: int
    count: int
    high: int
    batch: int
    high_min: int = 0
    high_max: int = 0


@dataclass(frozen=True)
class ZoneCounts:
    """One populated zone. Sizes and marks in pages; lists of counts are by order, from 0."""

    node: int
    name: str
    start_pfn: int
    spanned: int
    present: int
    managed: int
    free: int
    """NR_FREE_PAGES (/proc/zoneinfo)."""
    boost: int
    watermark: tuple[int, ...]
    """min, low, high, promo."""
    protection: tuple[int, ...]
    """lowmem_reserve, by zone index."""
    chunks: tuple[int, ...] = ()
    """Free chunks by order (/proc/buddyinfo)."""
    chunks_by_type: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Migratetype's name as the kernel writes it to free chunks by order (/proc/pagetypeinfo)."""
    blocks_by_type: dict[str, int] = field(default_factory=dict)
    """Migratetype's name to pageblocks (/proc/pagetypeinfo)."""
    pcp: tuple[PcpCounts, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The machine at one moment.

    The files are read one after the other, within about a millisecond each; ``ts`` is when that was over.
    """

    ts: int
    """Nanoseconds of the recording's clock."""
    label: str
    """``start``, ``end`` or ``periodic``."""
    zones: tuple[ZoneCounts, ...]
    vmstat: dict[str, int]
    """/proc/vmstat."""

    @property
    def managed(self) -> int:
        """Pages that the allocator manages, of all zones: on some machines they grow while in use."""
        return sum(zone.managed for zone in self.zones)


def snapshot_from_texts(texts: Mapping[str, str], ts: int, label: str) -> Snapshot:
    """Take the texts of ``zoneinfo``, ``buddyinfo``, ``pagetypeinfo`` and ``vmstat`` apart; the last three may be missing."""
    chunks = procfs.parse_buddyinfo(texts.get("buddyinfo", ""))
    by_type, blocks = procfs.parse_pagetypeinfo(texts.get("pagetypeinfo", ""))
    zones = []
    for head, body in procfs.zone_bodies(texts.get("zoneinfo", "")):
        counts = procfs.zone_numbers(body)
        if not counts["present"]:
            continue
        zones.append(
            ZoneCounts(
                node=head[0],
                name=head[1],
                **{
                    name: counts[name]
                    for name in ("start_pfn", "spanned", "present", "managed", "free", "boost")
                },
                watermark=tuple(counts[name] for name in ("min", "low", "high", "promo")),
                protection=procfs.protection(body),
                chunks=chunks.get(head, ()),
                chunks_by_type=by_type.get(head, {}),
                blocks_by_type=blocks.get(head, {}),
                pcp=tuple(PcpCounts(**values) for values in procfs.pagesets(body)),
            )
        )
    return Snapshot(ts, label, tuple(zones), procfs.parse_vmstat(texts.get("vmstat", "")))


def snapshot_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """As plain JSON values."""
    return asdict(snapshot)


def snapshot_from_json(values: Mapping[str, Any]) -> Snapshot:
    """The inverse of :func:`snapshot_to_json`.

    Raises
    ------
    KevacuateError
        If something is missing or is of another kind.

    """
    try:
        return build(Snapshot, values, "the snapshot")
    except WrongType as error:
        raise KevacuateError(
            f"A snapshot in the recording is not one that this program writes ({error})."
        ) from None


def write_snapshots(path: Path, snapshots: Sequence[Snapshot]) -> None:
    """One JSON document a line."""
    lines = [json.dumps(snapshot_to_json(s), sort_keys=True, separators=(",", ":")) + "\n" for s in snapshots]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise not_written(path, error) from None


def read_snapshots(path: Path) -> tuple[Snapshot, ...]:
    """The inverse of :func:`write_snapshots`.

    Raises
    ------
    KevacuateError
        If the file is missing or corrupted.

    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise KevacuateError(f"{path} is larger than any such file can be.")
        values = [json.loads(line) for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise KevacuateError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise KevacuateError(f"{path} is corrupted or truncated: it is not JSON.") from None
    return tuple(snapshot_from_json(v) for v in values)
