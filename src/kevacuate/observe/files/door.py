# SPDX-License-Identifier: GPL-2.0-or-later
"""The door of ``kevacuate triage``: files of any kind, each answered by those who know its kind, and what would help."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from kevacuate.errors import KevacuateError, named_file
from kevacuate.kernelfiles import proctext
from kevacuate.kernelfiles.allocinfo import looks_like_allocinfo
from kevacuate.kernelfiles.bpftrace import looks_like_bpftrace
from kevacuate.kernelfiles.loglines import looks_like_log
from kevacuate.kernelfiles.page_owner import looks_like_page_owner, looks_like_stacks
from kevacuate.kernelfiles.perf_kmem import looks_like_perf_kmem
from kevacuate.kernelfiles.plotfrag import looks_like_plotfrag
from kevacuate.kernelfiles.snoop import looks_like_snoop
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.traced import looks_like_traced
from kevacuate.observe.files import monitors
from kevacuate.observe.files.archives import unpacked
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import Recording
from kevacuate.recording.atomic_write import private_directory
from kevacuate.recording.groundtruth import is_ground_truth
from kevacuate.recording.importers import import_recording
from kevacuate.recording.importers.registry import kind_of_directory
from kevacuate.recording.kev import is_kev, recording_of
from kevacuate.recording.recognise import ARCHIVE, PROC_FILES, recognised, saved_proc_files

Progress = Callable[[int, int], None]
"""Called with (done, all; 0 where that is not known)."""

MOST_FILES = 200_000
"""Files of a folder; a sosreport has about 20,000."""

MOST_ADVICE = 3
"""Pieces of advice that all answers together give."""


_WAY = re.compile(r"(kevacuate record)|\bvm[./](\w+)|(transparent_hugepage/\w+)")


class Kind(NamedTuple):
    """A kind of file that triage answers."""

    name: str
    """Its module of :mod:`kevacuate.observe.files`, which has ``answer(files, progress)``, and of the words for it."""
    looks: Callable[[TextFile], bool]
    """Whether a file's head is of that kind."""


KINDS: tuple[Kind, ...] = (
    Kind("kernel_log", lambda file: looks_like_log(file.head)),
    Kind("proc", proctext.looks),
    Kind("monitors", monitors.looks),
    Kind("page_owner", looks_like_page_owner),
    Kind("page_owner_stacks", looks_like_stacks),
    Kind("traced", lambda file: looks_like_plotfrag(file) or looks_like_traced(file)),
    Kind("perf_kmem", looks_like_perf_kmem),
    Kind("snoop", looks_like_snoop),
    Kind("allocinfo", looks_like_allocinfo),
    Kind("bpftrace", looks_like_bpftrace),
)
"""The kinds in the order in which they are tried; the general ones stand last."""


def triage(
    recording: Recording | str | Path | Sequence[str | Path],
    *,
    called: Mapping[Path, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Whether a machine was fragmenting, and by whom, from what there is: what ``kevacuate triage --json`` prints.

    Parameters
    ----------
    recording : Recording, path, or a sequence of paths
        A recording with external fragmentation events (snapshots are used where there are some), or files of other kinds,
        folders and tar archives of them, each recognised by its content.
    called : mapping of Path to str, optional
        What files are called in the answer whose paths mean nothing to the reader, as standard input that was stored.
    progress : callable, optional
        Called with (events or files done, in all; 0 where that is not known).

    Returns
    -------
    dict
        JSON values. Of a recording: ``verdict``, ``seconds``, counts of events, ``requesters`` and ``tasks`` (one entry each, in
        order of their events), ``timeline``, ``pageblocks``, ``advice``. Of other files: ``answers`` (one of each kind, with its
        ``kind`` and ``files``), ``advice`` (at most three), ``not_read`` (files of no such kind, and what they are) and
        ``last_line_unended`` (files whose last line has no end, as of one that was cut off). No model has a part in them.

    Raises
    ------
    KevacuateError
        There is nothing to read, or what is read is corrupted.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.triage("my-server.kev")
    >>> result["verdict"], round(result["seconds"], 1)
    ('quiet now', 1.4)

    """
    if isinstance(recording, Recording):
        return triage_recording(recording, progress=progress)
    given = recording if isinstance(recording, list | tuple) else [recording]
    if len(given) == 1 and is_recording(path := named_file(given[0])):
        return triage_recording(Recording.open(path), progress=progress)
    names = called or {}
    files = [file for one in given for file in files_of(named_file(one), names.get(named_file(one)))]
    folder = path if len(given) == 1 and os.path.isdir(path) else None
    with ExitStack() as stack:
        directory = partial(stack.enter_context, private_directory("triage"))
        inside = unpacked(files, directory, lambda file: any(kind.looks(file) for kind in KINDS))
        if not inside.files and inside.not_read:
            raise KevacuateError(f"{inside.not_read[0]['file']} is {inside.not_read[0]['what']}")
        found = triage_files(inside.files, folder, progress=progress)
    if "not_read" in found:
        found["not_read"] += inside.not_read
    return found


def is_recording(path: Path) -> bool:
    """Whether a path is a recording, or is named like one; a folder that may not be entered is none."""
    with suppress(PermissionError):
        return path.is_dir() and (path.suffix == ".kev" or is_kev(path) or is_ground_truth(path))
    return False


def files_of(path: Path, called: str | None = None) -> Iterator[TextFile]:
    """The file that a path names, or every regular file of the folder, by name; a recording is one file.

    *called*: what a file is called in the answer, if not by its path.

    Of a running kernel's /proc only :data:`kevacuate.recording.recognise.PROC_FILES` are read: reading some of the others would
    wait, or change something.

    Raises
    ------
    KevacuateError
        There is no such file or folder, it may not be read, or the folder has more than :data:`MOST_FILES`.

    """
    try:
        there = path.exists()
    except PermissionError:
        there = True
    if not there:
        raise KevacuateError(f"{path} does not exist.")
    if os.path.isdir(path) and not _may_be_read(path):
        raise KevacuateError(f"{path} cannot be read: Permission denied.")
    if not os.path.isdir(path) or is_recording(path):
        yield TextFile(path, called)
        return
    if (path / "self").is_symlink() and (path / "kmsg").exists():
        yield from (TextFile(path / name) for name in PROC_FILES if (path / name).exists())
        return
    for number, file in enumerate(_below(path)):
        if number == MOST_FILES:
            raise KevacuateError(
                f"{path} holds more than {MOST_FILES:,} files: name the folder in it that matters."
            )
        yield TextFile(file)


def _may_be_read(path: Path) -> bool:
    """Whether a file may be read; a folder may be listed and entered."""
    asked = os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK
    return os.access(path, asked, effective_ids=os.access in os.supports_effective_ids)


def _below(path: Path) -> Iterator[Path]:
    """The regular files of a folder and of those in it, recordings, and folders that may not be read; links are not followed."""
    for folder, below, names in os.walk(path):
        below.sort()
        for name in [name for name in below if not _may_be_read(Path(folder, name))]:
            below.remove(name)
            yield Path(folder, name)
        for name in [name for name in below if is_recording(Path(folder, name))]:
            below.remove(name)
            yield Path(folder, name)
        for name in sorted(names):
            file = Path(folder, name)
            with suppress(FileNotFoundError):  # a log that was rotated away meanwhile
                if stat.S_ISREG(file.lstat().st_mode):
                    yield file


def triage_files(
    files: Sequence[TextFile], folder: Path | None = None, *, progress: Progress | None = None
) -> dict[str, Any]:
    """The answers that files give, one of each kind, in the order of :data:`KINDS`; a recording's stands for itself.

    *folder* is the one folder that was given, if that is what was given.

    Raises
    ------
    KevacuateError
        None of the files is of a kind that is read.

    """
    found = _by_kind(files)
    if found.imports:
        return _imported(found.imports[0], progress)
    answers = [_of_recording(file, progress) for file in found.recordings]
    for name, of in found.kinds.items():
        module = import_module(f"kevacuate.observe.files.{name}")
        try:
            answers.append(module.answer(of, progress))
        except KevacuateError as error:
            if len(found.kinds) == 1 and not found.recordings:
                raise
            found.not_read.extend({"file": file.name, "what": str(error)} for file in of)
    found.not_read.extend(_in_part(found, answers))
    if not answers:
        known = kind_of_directory(folder) if folder and not saved_proc_files(folder) else None
        raise KevacuateError(known or f"There is nothing to triage: {_nothing(found.not_read)}.")
    unended = [file.name for of in found.kinds.values() for file in of if file.unended]
    return {
        "answers": answers,
        "advice": _strongest(answers),
        "not_read": found.not_read,
        "last_line_unended": unended,
    }


def _in_part(found: _Found, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The files that could not be read to their end, of which no answer says so itself."""
    told = {sentence for answer in answers for sentence in answer.get("damaged", ())}
    damaged = [file for of in found.kinds.values() for file in of if file.damage and file.damage not in told]
    return [{"file": file.name, "what": f"read only in part: {file.damage}"} for file in damaged]


class _Found(NamedTuple):
    """Files by what is to be done with them, each once, by name."""

    recordings: list[TextFile]
    kinds: dict[str, list[TextFile]]
    """In the order of :data:`KINDS`."""
    imports: list[TextFile]
    """The one file there is, where no kind takes it: a trace that can be imported, perhaps."""
    not_read: list[dict[str, str]]


def _by_kind(files: Sequence[TextFile]) -> _Found:
    """The files by kind; a file that is given twice counts once.

    Raises
    ------
    KevacuateError
        The only file cannot be read.

    """
    found = _Found([], {}, [], [])
    told: dict[str, list[TextFile]] = {}
    unique = {file.path.resolve(): file for file in sorted(files, key=lambda one: one.name, reverse=True)}
    for file in sorted(unique.values(), key=lambda one: one.name):
        file.tolerant = len(unique) > 1
        if os.path.isdir(file.path):
            if _may_be_read(file.path):
                found.recordings.append(file)
            else:
                found.not_read.append({"file": file.name, "what": "a folder that may not be read"})
            continue
        try:
            kind = next((kind for kind in KINDS if kind.looks(file)), None)
        except KevacuateError as error:
            if len(unique) == 1:
                raise
            found.not_read.append({"file": file.name, "what": str(error)})
            continue
        if kind is not None:
            told.setdefault(kind.name, []).append(file)
        elif len(unique) == 1:
            found.imports.append(file)
        else:
            found.not_read.append({"file": file.name, "what": _what(file)})
        file.forget()
    found.kinds.update((kind.name, told[kind.name]) for kind in KINDS if kind.name in told)
    return found


def _nothing(not_read: list[dict[str, str]]) -> str:
    """Why there is nothing to triage, as a clause."""
    if not not_read:
        return "nothing was given, or the folder holds no file"
    archive = next((one["file"] for one in not_read if one["what"] == ARCHIVE), None)
    hint = f"; unpack {archive}, and give the folder" if archive else ""
    return f"none of the {len(not_read):,} files is of a kind that triage reads{hint}"


def _strongest(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """At most :data:`MOST_ADVICE` pieces of advice, none twice: the strongest of each answer, then the next of each."""
    found: dict[str, dict[str, str]] = {}
    for rank in zip_longest(*(answer["advice"] for answer in answers)):
        for piece in rank:
            if piece is not None:
                found.setdefault(_way(piece["do"]), piece)
    return list(found.values())[:MOST_ADVICE]


def _way(do: str) -> str:
    """What a piece of advice uses, the setting or the command that it names first: two that use the same are one."""
    named = _WAY.search(do)
    return next(filter(None, named.groups())) if named else do


def _of_recording(file: TextFile, progress: Progress | None) -> dict[str, Any]:
    """The triage of a recording among other files."""
    found = triage_recording(Recording.open(file.path), progress=progress)
    return {**found, "kind": "recording", "files": [file.name]}


def _what(file: TextFile) -> str:
    """What a file is that no kind takes."""
    kind = recognised(file.head_bytes)
    return "not recognised" if kind is None else kind.what


def _imported(file: TextFile, progress: Progress | None) -> dict[str, Any]:
    """The triage of a trace that can be imported.

    Raises
    ------
    KevacuateError
        It cannot be, or is a part of a recording; the sentence says what the file is.

    """
    if recording_of(file.path):
        Recording.open(file.path)
    with private_directory("triage") as directory:
        target = directory / f"{file.path.name}.kev"
        import_recording(file.path, target, progress=progress)
        return {**triage_recording(Recording.open(target), progress=progress), "name": file.path.name}
