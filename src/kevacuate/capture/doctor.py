# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine offers for recording, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kevacuate.capture import options as opt
from kevacuate.capture.events import DEFAULT, GROUPS, LIGHT, REQUIRED, has_event
from kevacuate.capture.machine import PROC, SYS, THP, chosen, cpu_nodes, text_of
from kevacuate.capture.tracefs import (
    MOUNT_POINT,
    Instance,
    find_tracefs,
    read_formats,
    stale_instances,
    sub_buffer_bytes,
)
from kevacuate.capture.workdir import captured_and_left
from kevacuate.errors import KevacuateError
from kevacuate.recording import procfs
from kevacuate.recording.atomic_write import leftovers
from kevacuate.recording.fieldtable import decoding
from kevacuate.recording.formats import gfp_bits
from kevacuate.recording.schema import ALL_KINDS, GFP_BITS

OK, NOTE, MISSING = "ok", "note", "missing"
"""A check's outcome: as it should be; worth knowing; recording is not possible without."""

CAP_SYS_ADMIN = 21
"""Its bit (include/uapi/linux/capability.h)."""

PAGE_OWNER = Path("/sys/kernel/debug/page_owner")
KCORE = PROC / "kcore"
_WITHOUT = "Recorded without them."


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, and what to do where something is missing."""

    name: str
    status: str
    found: str
    advice: str = ""


def _kernel() -> Check:
    if sys.platform != "linux" or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return Check(
            "kernel",
            MISSING,
            f"{sys.platform}, {platform.machine()}",
            "Record on a 64-bit little-endian Linux.",
        )
    return Check("kernel", OK, f"Linux {platform.release()} ({platform.machine()})")


def _privileges() -> Check:
    if os.geteuid() != 0:
        return Check("privileges", MISSING, "not root", "Run it with sudo.")
    locked = chosen(SYS / "kernel/security/lockdown")
    if locked == "confidentiality":
        return Check(
            "privileges",
            MISSING,
            "root, but the kernel is locked down",
            "Boot without lockdown=confidentiality.",
        )
    return Check("privileges", OK, "root")


def _tracefs() -> Check:
    where = find_tracefs()
    if where is not None:
        return Check("tracefs", OK, f"mounted at {where}")
    if MOUNT_POINT.is_dir() and may_mount():
        return Check(
            "tracefs", NOTE, "not mounted", f"record mounts it; or: mount -t tracefs nodev {MOUNT_POINT}"
        )
    if MOUNT_POINT.is_dir():
        return Check(
            "tracefs",
            MISSING,
            "not mounted, and may not be mounted here",
            "Run it with sudo, on the host and not in a container.",
        )
    return Check(
        "tracefs", MISSING, "the kernel has none", "Boot a kernel with CONFIG_FTRACE and tracepoints."
    )


def may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN, which root in a container often lacks."""
    match = re.search(r"^CapEff:\s*([0-9a-f]{1,16})$", text_of(PROC / "self/status"), re.MULTILINE)
    return bool(match and int(match[1], 16) >> CAP_SYS_ADMIN & 1)


def _events(tracefs: Path) -> Iterator[Check]:
    """The events of each mode and group."""
    for name, wanted, needed in (("default", DEFAULT, REQUIRED), ("light", LIGHT, LIGHT[:1])):
        absent = [event for event in wanted if not has_event(tracefs, event)]
        lacking = [event for event in needed if event in absent]
        status = MISSING if lacking and name == "default" else NOTE if absent else OK
        advice = "Boot a kernel with these tracepoints." if lacking else _WITHOUT if absent else ""
        found = f"{len(wanted) - len(absent)} of {len(wanted)}" + (
            f", without {', '.join(absent)}" if absent else ""
        )
        yield Check(f"events, {name} mode", status, found, advice)
    for name, wanted in GROUPS.items():
        absent = [event for event in wanted if not has_event(tracefs, event)]
        found = f"{len(wanted) - len(absent)} of {len(wanted)}" + (
            f", without {', '.join(absent)}" if absent else ""
        )
        yield Check(f"events, --{name}", NOTE if absent else OK, found, _WITHOUT if absent else "")


def _fields(tracefs: Path) -> Check:
    """Whether the events' fields are where the decoder can find them, and the gfp bits have names."""
    present = [event for event in DEFAULT if has_event(tracefs, event)]
    try:
        formats = read_formats(tracefs, present)
        decoding(formats, ALL_KINDS)
    except KevacuateError as error:
        return Check("event fields", MISSING, str(error), "Report it, with the format files.")
    names = gfp_bits(next(e for e in formats.values() if e.name == "mm_page_alloc"))
    absent = sorted(set(GFP_BITS) - set(names))
    found = f"all fields known, {len(set(GFP_BITS) & set(names))} of {len(GFP_BITS)} gfp bits named"
    return Check(
        "event fields", NOTE if absent else OK, found + (f", not {', '.join(absent)}" if absent else "")
    )


def _instance(tracefs: Path) -> Check:
    """Whether an instance of our own can be made; it is removed at once."""
    try:
        size = sub_buffer_bytes(text_of(tracefs / "events/header_page"))
        instance = Instance(tracefs, f"kevacuate-{os.getpid()}")
        cpus = len(instance.cpus())
        gone = instance.remove()
    except KevacuateError as error:
        return Check("tracing instance", MISSING, str(error), "Run as root, outside a container.")
    found = f"can be made and removed: {cpus} CPUs, sub-buffers of {size} bytes"
    return Check(
        "tracing instance", OK if gone else NOTE, found if gone else "made, but it cannot be removed"
    )


def _readable(path: Path, why: str) -> Check:
    try:
        with path.open("rb") as file:
            file.read(8)
    except FileNotFoundError:
        return Check(str(path), NOTE, "the kernel has none", why)
    except OSError as error:
        return Check(str(path), NOTE, error.strerror or str(error), "Run it with sudo.")
    return Check(str(path), OK, "readable")


def _page_flags() -> Check:
    check = _readable(PROC / "kpageflags", "")
    if check.status == OK:
        return check
    return Check(
        check.name,
        MISSING,
        check.found,
        "A replay needs the state of every page: run it with sudo, on a kernel with CONFIG_PROC_PAGE_MONITOR; "
        "record --no-pages does without, for info and triage.",
    )


def _extras() -> Iterator[Check]:
    """What is of use when it is there."""
    yield _readable(PROC / "kpagecount", "Kept in snapshots where there is one.")
    yield _readable(PROC / "pagetypeinfo", "Without it the types of pageblocks are guessed from page flags.")
    there = os.path.exists(PAGE_OWNER)  # which says no where it may not look
    yield Check("page_owner", OK if there else NOTE, "there" if there else "not there (not used)")
    yield _kcore()


def _kcore() -> Check:
    """Whether snapshot --kcore can read the free lists in order; recording does without."""
    there, drgn = os.path.exists(KCORE), importlib.util.find_spec("drgn") is not None
    found = ("there" if there else "the kernel has none") + (", drgn installed" if drgn else ", no drgn")
    if there and drgn:
        return Check(
            "kcore", OK, found, "snapshot --kcore reads the free lists in order, with debug information."
        )
    lacks = "CONFIG_PROC_KCORE" if not there else "pip install 'kevacuate[drgn]'"
    return Check("kcore", NOTE, found, f"Not needed to record; snapshot --kcore would need {lacks}.")


def _memory() -> Iterator[Check]:
    """Zones, NUMA, THP, and memory for buffers."""
    zones, _ = procfs.parse_zoneinfo(text_of(PROC / "zoneinfo"))
    listed = ", ".join(f"node {z.node} {z.name} {z.managed:,} pages" for z in zones)
    yield Check("zones", OK if zones else NOTE, listed or "not known")
    nodes = {z.node for z in zones}
    cpus = os.cpu_count() or 1
    placed = ", ".join(f"node {n}: {cpu_nodes(cpus).count(n)} CPUs" for n in sorted(nodes))
    yield Check("NUMA", OK, f"{len(nodes)} node{'s' * (len(nodes) != 1)} ({placed})")
    thp = f"enabled={chosen(THP / 'enabled')}, defrag={chosen(THP / 'defrag')}" if THP.is_dir() else "none"
    yield Check("transparent huge pages", OK, thp)
    kb = opt.choose_buffer(cpus, light=False)
    free = opt.available_bytes()
    found = f"{free >> 20:,} MiB available; buffers of {kb / 1024:,.0f} MiB for each of {cpus} CPUs"
    status = NOTE if kb < 4096 else OK
    yield Check(
        "memory for buffers",
        status,
        found,
        "Small buffers lose events in bursts: --buffer." if status != OK else "",
    )
    free_disk = opt.free_disk(Path.cwd())
    enough = free_disk > opt.LEAST_DISK
    yield Check(
        "disk here",
        OK if enough else MISSING,
        f"{free_disk >> 20:,} MiB free",
        "" if enough else "Record elsewhere: -o.",
    )


def _clock() -> Check:
    source = text_of(SYS / "devices/system/clocksource/clocksource0/current_clocksource").strip()
    slow = source in ("hpet", "acpi_pm", "refined-jiffies", "jiffies")
    advice = "Reading this clock is slow, so tracing costs more." if slow else ""
    return Check("clock", NOTE if slow else OK, f"mono, from {source or 'an unknown source'}", advice)


def _left(tracefs: Path | None) -> Iterator[Check]:
    """What killed recorders left, and other tracers at work."""
    stale = [] if tracefs is None else [str(p) for p in stale_instances(tracefs)]
    stale += [str(work.path) for work in captured_and_left(Path.cwd())]
    if stale:
        yield Check(
            "left by killed recorders",
            NOTE,
            ", ".join(stale),
            "The next recording there cleans up, and saves what was captured.",
        )
    files = ", ".join(str(left) for left in leftovers(Path.cwd()))
    if files:
        yield Check(
            "left by killed commands", NOTE, files, "The next command with -o in this directory removes it."
        )
    tracer = "" if tracefs is None else text_of(tracefs / "current_tracer").strip()
    if re.fullmatch(r"\w+", tracer) and tracer != "nop":
        yield Check(
            "other tracers", NOTE, f"{tracer} is at work", "It is not disturbed, but it slows the machine."
        )


def examine() -> list[Check]:
    """What this machine offers for recording: all checks, in the order in which they are best read.

    Makes and removes a tracing instance, and changes nothing else.

    Returns
    -------
    list of Check
        Each with ``name``, ``status`` ("ok", "note" or "missing"), ``found`` and ``advice``, in words. Where none is missing,
        recording is possible.

    Examples
    --------
    >>> import kevacuate
    >>> {check.status for check in kevacuate.doctor()} <= {"ok", "note", "missing"}
    True
    """
    checks: list[Check] = []

    def each(make: Callable[[], Iterator[Check]]) -> None:
        checks.extend(make())

    checks += [_kernel(), _privileges(), _tracefs()]
    tracefs = find_tracefs()
    if tracefs is not None and not os.access(tracefs / "events", os.R_OK):
        tracefs = None  # there, and closed to us
    if tracefs is not None:
        found = tracefs
        each(lambda: _events(found))
        if not any(c.status == MISSING for c in checks):
            checks += [_fields(tracefs), _instance(tracefs)]
    checks += [_page_flags()]
    each(_extras)
    checks += [_clock()]
    each(_memory)
    each(lambda: _left(tracefs))
    return checks


def possible(checks: list[Check]) -> bool:
    """Whether recording is possible."""
    return not any(check.status == MISSING for check in checks)
