# SPDX-License-Identifier: GPL-2.0-or-later
"""Which importer a file is for, by what it holds, and how a file becomes a recording."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.errors import KevacuateError, named_file
from kevacuate.recording.groundtruth import is_ground_truth
from kevacuate.recording.importers.dialect import Dialect
from kevacuate.recording.importers.ftracetext import DIALECTS
from kevacuate.recording.importers.kernelproof import given_version
from kevacuate.recording.importers.perfscript import PERF_SCRIPT
from kevacuate.recording.importers.rawpages import RawPages, is_raw_directory, is_raw_name, is_raw_page
from kevacuate.recording.importers.source import ImportOptions, Source
from kevacuate.recording.importers.text import BROKEN, EVENT_WORDS, LONGEST_EVENT, TextSource
from kevacuate.recording.importers.tracedat import TraceDat, is_trace_dat
from kevacuate.recording.kev import KevWriter, is_kev
from kevacuate.recording.opener import HEAD_BYTES, head_of, open_any
from kevacuate.recording.possible import refuse_impossible_events
from kevacuate.recording.recognise import directory_sentence, recognised
from kevacuate.recording.recording import Recording
from kevacuate.recording.schema import NO_PID, EventChunk

SEARCHED_BYTES = 1 << 28
"""How far the first event of a text is searched for."""

READ = "trace-cmd's trace.dat, the text of ftrace, trace-cmd report or perf script, raw per-CPU ring-buffer pages"
Progress = Callable[[int, int], None]

TEXT_DIALECTS = (PERF_SCRIPT, *DIALECTS)
"""All dialects of trace text, in the order in which they are tried."""


def text_dialect(head: bytes) -> Dialect | None:
    """The dialect of the first line that is an event, broken by a mail program or not; None if no line is."""
    broken = ""
    for raw in head.split(b"\n"):
        line = raw.decode("utf-8", "replace").strip().removeprefix("\ufeff")
        if not line or line.startswith("#") or len(line) > LONGEST_EVENT:
            continue
        for text in (line, f"{broken} {line}") if broken else (line,):
            for dialect in TEXT_DIALECTS:
                if dialect.head.match(text):
                    return dialect
        broken = line if BROKEN.match(line) else ""
    return None


def _later_dialect(path: Path) -> Dialect | None:
    """The dialect of the first event of an allocator's text that begins behind HEAD_BYTES, as in a long kernel log."""
    file, _ = open_any(path)
    with closing(file):
        for _ in range(SEARCHED_BYTES // HEAD_BYTES):
            block = file.read(HEAD_BYTES) + file.readline(LONGEST_EVENT)
            if not block:
                break
            found = text_dialect(block) if b"\0" not in block and EVENT_WORDS.search(block) else None
            if found is not None:
                return found
    return None


def _text_source(path: Path, head: bytes, options: ImportOptions) -> Source | None:
    """The reader of a trace's text, None if it is none."""
    if b"\0" in head:
        return None
    dialect = text_dialect(head) or (_later_dialect(path) if len(head) == HEAD_BYTES else None)
    return TextSource(path, dialect, options, TEXT_DIALECTS) if dialect is not None else None


def open_source(path: str | Path, options: ImportOptions | None = None) -> Source:
    """Open a foreign file, recognised by its content.

    Raises
    ------
    KevacuateError
        If it is none that is read; the sentence says what it is, if that is known.

    """
    where, chosen = Path(path), options or ImportOptions()
    if not where.exists():
        raise KevacuateError(f"{where} does not exist.")
    if chosen.kernel is not None:
        given_version(chosen.kernel)
    if where.is_dir():
        if is_kev(where):
            raise KevacuateError(f"{where} is a recording already: there is nothing to import.")
        if is_raw_directory(where):
            return RawPages(where, chosen)
        raise KevacuateError(
            directory_sentence(where)
            or f"{where} is a directory without cpuN.raw files: name the file in it to import."
        )
    head = head_of(where)
    if is_trace_dat(head):
        return TraceDat(where, chosen)
    source = _text_source(where, head, chosen)
    if source is not None:
        return source
    kind = recognised(head)
    if is_raw_page(head, where) and (kind is None or is_raw_name(where)):
        return RawPages(where, chosen)
    if kind is not None:
        raise KevacuateError(kind.sentence(str(where)))
    raise KevacuateError(f"{where} is not a file that can be imported: read are {READ}.")


def kind_of_file(path: Path) -> str | None:
    """What a file is that stands where a recording or a saved result should, and what to do; None if that is not known.

    Raises
    ------
    KevacuateError
        It cannot be read, or is compressed and damaged.

    """
    head = head_of(path)
    if is_trace_dat(head):
        form = "a trace.dat of trace-cmd"
    elif b"\0" not in head and (dialect := text_dialect(head)) is not None:
        form = f"a trace's text ({dialect.name})"
    elif is_raw_name(path) and is_raw_page(head, path):
        form = "one CPU's raw ring-buffer pages"
    else:
        kind = recognised(head)
        return None if kind is None else kind.sentence(str(path))
    return f"{path} is {form}, not a recording: `kevacuate import` makes one of it."


def kind_of_directory(path: Path) -> str | None:
    """As :func:`kind_of_file`, of a directory that is no recording."""
    if is_raw_directory(path):
        return f"{path} holds raw ring-buffer pages and is no recording: `kevacuate import` makes one of it."
    return directory_sentence(path)


def import_recording(
    path: str | Path,
    target: str | Path,
    options: ImportOptions | None = None,
    *,
    pids: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a ``.kev`` recording of a foreign file, in memory that does not grow with its length.

    Parameters
    ----------
    path : path
        The file, or a directory of raw pages.
    target : path
        The ``.kev`` directory to make; it must not exist.
    options : ImportOptions, optional
        What the file does not say.
    pids : bool
        Keep the process ids.
    progress : callable, optional
        Called with bytes read and bytes in all.

    Returns
    -------
    dict
        JSON values: ``form``, ``recording``, ``events``, ``events_by_kind``, ``lost_events`` per CPU and
        whether there may be more (``lost_events_at_least``), what the importer counted, and what the recording ``lacks``.

    Raises
    ------
    KevacuateError
        If the file is not one that is read, is truncated or corrupted, or holds no event of the allocator.

    """
    where, target = named_file(path), named_file(target)
    if where.is_dir() and is_ground_truth(where):
        return _import_directory(where, target, pids, progress)
    source = open_source(where, options)
    with KevWriter(target, source.machine()) as writer:
        events = 0
        for chunk in source.events():
            refuse_impossible_events(chunk, where)
            writer.add_events(chunk if pids else _without_pids(chunk))
            events += chunk.rows
            if progress is not None:
                progress(min(source.done, source.total), source.total)
        if not events:
            raise KevacuateError(
                f"{where} holds no event of the page allocator: record kmem:mm_page_alloc, kmem:mm_page_free and "
                "the others that docs/import.md lists."
            )
        machine = source.machine()
        lacks = ["states", "zones", *machine.extra.get("lacks", [])]
        about = {"form": source.form, "file": where.name, "lacks": lacks, **source.facts()}
        writer.machine = replace(machine, extra={**machine.extra, "imported": source.form, "lacks": lacks})
        writer.set_losses(source.losses())
        tasks = source.tasks() if pids else {}
        writer.set_quality({"imported": about} | ({"tasks": tasks} if tasks else {}))
    return _summary(writer.path, about)


def _import_directory(where: Path, target: Path, pids: bool, progress: Progress | None) -> dict[str, Any]:
    """A directory of raw traces with formats and snapshots, which is a recording as it stands."""
    source = Recording.open(where)
    about: dict[str, Any] = {"form": "directory of raw traces", "file": where.name, "lacks": []}
    with KevWriter(target, source.machine) as writer:
        done = 0
        for chunk in source.events():
            writer.add_events(chunk if pids else _without_pids(chunk))
            done += chunk.rows
            if progress is not None:
                progress(done, 0)
        for state in source.states:
            writer.add_state(state)
        about["lacks"] = [] if source.states else ["states"]
        writer.set_losses(source.losses)
        if source.not_read:
            about["events_not_read"] = source.not_read
        kept = {"source_digest": source.digest, "events_passed_over": source.passed_over}
        writer.set_quality({**kept, "imported": about})
    return _summary(writer.path, about)


def _without_pids(chunk: EventChunk) -> EventChunk:
    return chunk._replace(pid=np.full(chunk.rows, NO_PID, np.int32))


def _summary(target: Path, about: dict[str, Any]) -> dict[str, Any]:
    """What the command shows."""
    made = Recording.open(target, verify=False)
    quality = made.quality
    return {
        **about,
        "recording": str(target),
        "digest": made.digest,
        "kernel": made.machine.kernel,
        "cpus": made.machine.cpus,
        "clock": made.machine.clock,
        "events": quality["events"],
        "events_by_kind": quality["events_by_kind"],
        "seconds": made.seconds,
        "lost_events": {str(x.cpu): x.lost.events for x in made.losses if x.any},
        "lost_events_at_least": made.lost.at_least,
    }
