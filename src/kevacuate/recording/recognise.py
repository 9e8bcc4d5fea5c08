# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are no traces, recognised by their content, with what to do instead: one table, one entry a kind.

It is asked only after every importer has declined. A pattern is searched in a file's first bytes; the kinds are tried
in order, so that the general ones stand last.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TRACE = "Record events with `trace-cmd record -e kmem -e compaction -e migrate`, and import its trace.dat"
PERF = "Print it with `perf script -F comm,tid,cpu,time,event,trace`"
VMCORE = "`kevacuate snapshot --vmcore FILE --vmlinux FILE` reads a memory image"
HELD = "`kevacuate triage FILE` says what it holds"
ARCHIVE = "an archive"
"""What a file that holds others is called."""
SAVED = "a saved result of `compare` or `replay`"
"""What a file that ``--save`` wrote is called."""


class Recogniser(NamedTuple):
    """A kind of file that is recognised and not read."""

    what: str
    """What it is, behind "FILE is"."""
    lacks: str
    """Why no recording is made of it: a clause."""
    instead: str
    """What to do: a sentence without its period."""
    pattern: re.Pattern[bytes]
    """Found in the first bytes of such a file."""

    def sentence(self, name: str) -> str:
        """What is said of a file of that name."""
        return f"{name} is {self.what}: {self.lacks}. {self.instead}."


def _kind(what: str, lacks: str, instead: str, pattern: str) -> Recogniser:
    return Recogniser(what, lacks, instead, re.compile(pattern.encode("latin-1"), re.MULTILINE))


RECOGNISERS: tuple[Recogniser, ...] = (
    _kind("empty", "it holds no events", TRACE, r"\A\s*\Z"),
    _kind(
        "text in UTF-16",
        "read is UTF-8",
        "Convert it with `iconv -f UTF-16 -t UTF-8`, and import the result",
        r"\A(?:\xff\xfe(?:[\x09-\x7e]\0){4}|\xfe\xff(?:\0[\x09-\x7e]){4})",
    ),
    _kind(
        SAVED,
        "it holds replays, not events",
        "Show it with `kevacuate report FILE` or `kevacuate plot FILE`",
        r"\A(?:PK\x03\x04[\s\S]{26}about\.json)",
    ),
    _kind(
        "a page that `kevacuate report` wrote",
        "it is for a browser",
        "Give the recording or the saved result that it was made of",
        r'\A<!doctype html>[\s\S]{0,1000}<meta name="generator" content="kevacuate ',
    ),
    _kind(
        "what `kevacuate snapshot` wrote",
        "it shows one moment",
        "`kevacuate record` makes a recording of this machine",
        r'\A\{"blocks": \{"class": \["',
    ),
    _kind(
        ARCHIVE,
        "the files in it are not looked at",
        "Unpack it, and `kevacuate import` the trace, or `kevacuate triage` the folder",
        r"\A(?:PK\x03\x04|7z\xbc\xaf|[\s\S]{257}ustar)",
    ),
    _kind(
        "compressed with lz4 or lzop",
        "read are xz, lzma, gzip, bzip2 and zstd",
        "Decompress it, and `kevacuate import` what comes out",
        r"\A(?:\x04\x22\x4d\x18|\x89LZO\0)",
    ),
    _kind(
        "a perf.data file",
        "its events are not read",
        "Import the text that `perf script` prints of it",
        r"\A(?:PERFILE2|2ELIFREP)",
    ),
    _kind(
        "a trace in the Common Trace Format, as LTTng writes it",
        "its events are not read",
        "Print it with `babeltrace`, and give what it prints to `kevacuate triage`",
        r"\A(?:\xc1\x1f\xfc\xc1|\xc1\xfc\x1f\xc1|/\* CTF \d|\xd1\x1d\x57\x75|\x75\x57\x1d\xd1)",
    ),
    _kind(
        "what babeltrace prints of an LTTng trace",
        "its lines are not read as events",
        HELD,
        r"^\[(?:[\d-]+ )?[\d:]+\.\d{9}\] (?:\([+-][\d.?]+\) )?(?:\S+ )?\w+: \{",
    ),
    _kind("an ELF file", "it is a program or a memory image, not a trace", VMCORE, r"\A\x7fELF"),
    _kind(
        "a crash dump", "it is a memory image, not a trace", VMCORE, r"\A(?:KDUMP {3}|DISKDUMP|makedumpfile)"
    ),
    _kind(
        "plot-fragmentation's JSON",
        "it names neither pages nor CPUs",
        HELD,
        r'"event_type": *"extfrag"|"fragmentation_index"',
    ),
    _kind(
        "what perf kmem prints",
        "it names no page, and its migratetypes have the names of kernels before 4.4",
        HELD,
        r"Mig\.type +\| *GFP flags|^SUMMARY \(page allocator\)",
    ),
    _kind(
        "what perf trace prints",
        "its values are in a form that is not read",
        HELD,
        r"^ *\d+\.\d{3} (?:\( *[\d.]* ms\): )?\S.{0,30}?/\d+ \w+:\w+\(",
    ),
    _kind(
        "what perf stat prints",
        "it holds counters, not events",
        "Record with `perf record -a -e 'kmem:*'`, and import what `perf script` prints of it",
        r"^ *Performance counter stats for ",
    ),
    _kind(
        "a histogram of ftrace's hist trigger",
        "it holds sums, not events",
        TRACE,
        r"^# event histogram|^# trigger info: hist:|^\{ .{1,200} \} hitcount: ",
    ),
    _kind(
        "a trace in Chrome's JSON",
        "its events are not read",
        TRACE,
        r'\A\s*(?:\{\s*"traceEvents"|\[\s*\{\s*"(?:name|ph)")',
    ),
    _kind(
        "what bpftrace prints",
        "it holds sums, not events",
        HELD,
        r"^Attach(?:ing|ed) \d+ probes?|^@\w*\[.{0,200}\]: ?(?:\d+$|$)",
    ),
    _kind("what drgn's corelens prints", "it shows moments, not events", HELD, r"^=+ MODULE \w+ =+"),
    _kind(
        "what page-types prints",
        "it shows moments, not events",
        "`kevacuate record` keeps /proc/kpageflags with its events, and `kevacuate snapshot` counts them by pageblock",
        r"^voffset\toffset\t|^offset\tlen\tflags|^ +flags\tpage-count +MB",
    ),
    _kind(
        "a copy of page_owner",
        "it shows moments, not events",
        HELD,
        r"^[> \t]*Page allocated via order \d+, mask 0x|\A\s*\d+ times, \d+ pages",
    ),
    _kind(
        "a copy of page_owner_stacks",
        "it shows moments, not events",
        HELD,
        r"^ ?\S+\+0x[0-9a-f]+/0x.+\n(?:handle: \d+\n)?(?:stack_count|nr_base_pages): \d+$",
    ),
    _kind(
        "what bcc's compactsnoop or drsnoop prints",
        "it holds stalls, not events",
        HELD,
        r"^(?:TIME\(s\) +)?(?:UID +)?COMM +(?:PID +NODE +ZONE +ORDER|T?PID +LAT\(ms\) +PAGES)",
    ),
    _kind(
        "a page of node_exporter's metrics",
        "it holds counters, not events",
        HELD,
        r"^# HELP node_\w+ |^node_(?:buddyinfo|vmstat|memory)_\w+",
    ),
    _kind(
        "a copy of /proc/pagetypeinfo",
        "it shows moments, not events",
        HELD,
        r"^Page block order: \d+|^Number of blocks type ",
    ),
    _kind(
        "a copy of /proc/zoneinfo",
        "it shows moments, not events",
        HELD,
        r"^Node \d+, zone +\w+\n(?: +per-node stats| +pages free)",
    ),
    _kind(
        "a copy of /proc/buddyinfo",
        "it shows moments, not events",
        HELD,
        r"^Node \d+, zone +\w+(?: +\d+){8,}",
    ),
    _kind(
        "a copy of extfrag_index or unusable_index",
        "it shows moments, not events",
        HELD,
        r"^Node \d+, zone +\w+(?: +-?\d\.\d{3}){8,}",
    ),
    _kind(
        "a copy of /proc/vmstat",
        "it holds counters, not events",
        HELD,
        r"^(?:nr_free_pages|(?:compact|thp|pgalloc|pgsteal|pgscan|pgmigrate)_\w+) \d+\n",
    ),
    _kind(
        "a copy of /proc/allocinfo",
        "it holds sums, not events",
        HELD,
        r"^allocinfo - version: ",
    ),
    _kind(
        "a copy of /proc/pressure",
        "it holds counters, not events",
        TRACE,
        r"^(?:some|full) avg10=",
    ),
    _kind(
        "what sar, sadf or netdata give of memory",
        "it holds samples, not events",
        HELD,
        r"^\d\d:\d\d:\d\d(?: [AP]M)? +(?:pgpgin/s|kbmemfree|pswpin/s|kbhugfree)|^# hostname;interval;timestamp;"
        r"|^netdata_(?:mem|system)_\w+\{|^NETDATA_(?:MEM|SYSTEM)_",
    ),
    _kind(
        "what vmstat, free or sar prints",
        "it holds counters, not events",
        TRACE,
        r"^procs -+memory|^ r +b +swpd +free|^ +total +used +free|^\d\d:\d\d:\d\d(?: [AP]M)? +(?:pgpgin/s|kbmemfree)",
    ),
    _kind("a copy of /proc/meminfo", "it shows moments, not events", HELD, r"^MemTotal: +\d+ kB"),
    _kind("a copy of /proc/slabinfo", "it shows moments, not events", HELD, r"^slabinfo - version: "),
    _kind(
        "a kernel log with a page allocation failure",
        "it holds no events",
        HELD,
        r"page allocation failure: order:\d+|invoked oom-killer: |^(?:\[.{1,20}\] )?Mem-Info:",
    ),
    _kind(
        "text of ftrace's function tracers",
        "it holds functions, not events",
        TRACE,
        r"^# tracer: function|^ *\d+\) +[\d.]+ us +\| +\w+\(\)",
    ),
    _kind(
        "what perf script prints without the task",
        "each line needs task, CPU and time",
        PERF,
        r"^ *(?:\d+ +|\S.{0,14}[^\s\d] +(?=\[))?(?:\[\d+\] +)?\d+\.\d{6,9}: +(?:\d+ +)?\w+:\w+: ",
    ),
    _kind(
        "what perf script prints without the time",
        "each line needs task, CPU and time",
        PERF,
        r"^ *\S.{0,15} +-?\d+ +(?:\[\d+\] +)?\w+:mm_\w+: ",
    ),
    _kind(
        "what perf script prints without the events' values",
        "each line needs them",
        PERF,
        r"^ *\S.{0,15} +-?\d+ +(?:\[\d+\] +)?\d+\.\d{6,9}: +\w+:mm_\w+:? *$",
    ),
    _kind(
        "text with events of the allocator in a form that is not read",
        "each line needs task, CPU and time before the event",
        "Import what the kernel's trace file, `trace-cmd report` or `perf script` prints, unchanged",
        r"\b(?:mm_page_(?:alloc|free)\w*|mm_compaction_\w+|mm_vmscan_\w+)\b",
    ),
    _kind(
        "a kernel log",
        "it holds no events",
        HELD,
        r"^\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? |^<\d>\[ *\d+\.\d{6}\]",
    ),
)
"""The kinds in the order in which they are tried."""

PROC_FILES = ("buddyinfo", "meminfo", "pagetypeinfo", "slabinfo", "vmstat", "zoneinfo")
"""Files of /proc that are read, of a running kernel or as copies."""


def recognised(head: bytes) -> Recogniser | None:
    """The kind of file that begins so; None if it is none that is known."""
    return next((kind for kind in RECOGNISERS if kind.pattern.search(head)), None)


def saved_proc_files(path: Path) -> list[str]:
    """Names of the /proc files of which a directory, or ``proc`` in it, holds copies."""
    below = path / "proc"
    names = {entry.name for place in (path, below) if place.is_dir() for entry in place.iterdir()}
    return [name for name in PROC_FILES if name in names]


def directory_sentence(path: Path) -> str | None:
    """What a directory holds that no recording can be made of, and what to do; None if that is not known."""
    names = {entry.name for entry in path.iterdir()}
    if saved := saved_proc_files(path):
        return (
            f"{path} holds copies of /proc files ({', '.join(saved)}): they show moments, not events. "
            "`kevacuate triage` says what they show."
        )
    if "metadata" in names and any(name.startswith("channel") for name in names):
        return f"{path} is an LTTng trace: print it with `babeltrace`, and give what it prints to `kevacuate triage`."
    if "data" in names and any(name.startswith("data.") for name in names):
        return f"{path} is a directory of perf record: import the text that `perf script` prints of it."
    if {"kmem", "compaction"} & names:
        return f"{path} holds event formats and no trace: give it with --formats beside the file to import."
    return None
