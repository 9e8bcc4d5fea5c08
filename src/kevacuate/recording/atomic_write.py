# SPDX-License-Identifier: GPL-2.0-or-later
"""Files and directories that are written beside their place and renamed into it when they are complete.

The name beside is ``.NAME.kevacuate-PID``. Its maker holds a lock on it (flock), which ends with the process however that ends:
what bears such a name without lock and without process was left by a killed one, and :func:`remove_leftovers` removes it. Where
locks cannot be told, as on NFS, nothing is removed: the process may run on another machine.
A second process that is to make the same file or recording sees the first one's lock and refuses before it works.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from kevacuate import ending
from kevacuate.errors import KevacuateError

_BESIDE = re.compile(r"\.(.+)\.kevacuate-(\d{1,10})")
_PRIVATE = re.compile(r"kevacuate-(?:triage|kernels|input)-(\d{1,10})-\w+")
RECORDER = re.compile(r"\.(.+)\.rec-(\d{1,10})")
"""Name of a recorder's work directory: the recording's name, the recorder's process."""
_LOCK_SECONDS = 2.0
_held: dict[Path, int] = {}


class Leftover(NamedTuple):
    """What a killed process left."""

    path: Path
    size: int
    """Bytes of all its files."""

    def __str__(self) -> str:
        return f"{self.path} ({self.size / 1e6:.1f} MB)"


def beside(target: Path) -> Path:
    """Where this process writes what is to become *target*."""
    return target.with_name(f".{target.name}.kevacuate-{os.getpid()}")


def shown(path: Path) -> Path:
    """*path* as its user knows it: of what lies beside its place, the name that it will have."""
    for place in (path, *path.parents):
        match = _BESIDE.fullmatch(place.name) or RECORDER.fullmatch(place.name)
        if match:
            return place.with_name(match[1])
    return path


def not_written(path: Path, error: Exception) -> KevacuateError:
    """What to say of a file that could not be written, which may be one beside its place, for that reason."""
    number = getattr(error, "errno", None)  # pyarrow's own words tell it twice
    return KevacuateError(f"{shown(path)} cannot be written: {os.strerror(number) if number else error}.")


def unwritable(target: Path, number: int, elsewhere: str = "") -> KevacuateError:
    """What to say where *target*'s directory cannot be written to, for the reason of that errno; *elsewhere*: the way out."""
    way_out = elsewhere or f"choose another place for {target.name}"
    return KevacuateError(f"{target.parent} cannot be written to ({os.strerror(number)}): {way_out}.")


def is_alive(pid: int) -> bool:
    """Whether a process of that id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def hold(path: Path) -> None:
    """Lock a file or directory of this process's making until :func:`release` or the process's end, which removes it."""
    ending.owe(path, lambda: _remove(path))
    with suppress(OSError):  # a file system without locks
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        _held[path] = descriptor
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def release(path: Path) -> None:
    """End what :func:`hold` began."""
    ending.settle(path)
    descriptor = _held.pop(path, None)
    if descriptor is not None:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file or directory, as far as it can be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def temporary_place() -> Path:
    """The directory for temporary files, as TMPDIR says.

    Raises
    ------
    KevacuateError
        No such directory can be written to.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        raise KevacuateError(
            "No directory for temporary files can be written to: set TMPDIR to one that can."
        ) from None


@contextmanager
def private_directory(purpose: str) -> Iterator[Path]:
    """A directory in the place for temporary files, held and then removed; :func:`leftovers` finds it after a kill.

    *purpose* is part of its name, ``kevacuate-PURPOSE-PID-...``: ``triage`` or ``input``.

    Raises
    ------
    KevacuateError
        It cannot be made.
    """
    place = temporary_place()
    try:
        made = tempfile.TemporaryDirectory(prefix=f"kevacuate-{purpose}-{os.getpid()}-", dir=place)
    except OSError as error:
        raise KevacuateError(
            f"{place} cannot be written to ({error.strerror or error}): set TMPDIR to another place."
        ) from None
    with made as name:
        directory = Path(name)
        hold(directory)
        try:
            yield directory
        finally:
            release(directory)


def _locked(path: Path) -> bool | None:
    """Whether some process holds the file or directory; None where that cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(descriptor)


def is_left(path: Path, pid: int) -> bool:
    """Whether the process *pid* that made *path* is no more: no other has that id, none holds the lock.

    A path that bears this process's own id was made by one that had the id before, as happens in containers.
    """
    return (pid == os.getpid() or not is_alive(pid)) and path not in _held and not _locked(path)


def _may_remove(path: Path, pid: int) -> bool:
    """Whether *path* is surely left: on file systems without locks its process may run on another machine."""
    return is_left(path, pid) and _locked(path) is False


@contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    """Between looking who else makes a file in *directory* and making it; without locks, or after two seconds, all go on.

    A directory that this process holds is its own: its lock would be waited for in vain.
    """
    if directory in _held:
        yield
        return
    descriptor = -1
    try:
        with suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY)
        deadline = time.monotonic() + _LOCK_SECONDS
        while descriptor >= 0:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)
            except OSError:
                break
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _refuse_second(target: Path, own: Path) -> None:
    """Raise KevacuateError where another process is making *target*."""
    names = re.compile(rf"\.{re.escape(target.name)}\.(?:kevacuate|rec)-(\d{{1,10}})")
    try:
        listed = os.listdir(target.parent)
    except PermissionError:  # a directory that may be written to and not read
        return
    for name in listed:
        match = names.fullmatch(name)
        path = target.parent / name
        if match is None or path == own:
            continue
        locked = _locked(path)
        if locked or (locked is None and is_alive(int(match[1]))):
            raise KevacuateError(
                f"{target} is being written by process {match[1]}: wait for it, or choose another name with -o."
            )


def claim(target: Path, own: Path, *, directory: bool, mode: int = 0o777, alone: bool = True) -> None:
    """Make *own*, in which *target* comes to be, and hold it.

    Parameters
    ----------
    target : Path
        What is to be made.
    own : Path
        Where it is made, ``.NAME.kevacuate-PID`` or a recorder's ``.NAME.rec-PID`` beside the target.
    directory : bool
        Whether *own* is to be a directory or an empty file.
    mode : int
        The directory's permissions, less those of the umask.
    alone : bool
        Refuse where another process is at the same target; if not, the one that ends last replaces what the other made.

    Raises
    ------
    KevacuateError
        Another process is making *target*.
    OSError
        *own* cannot be made.

    """
    with _one_at_a_time(target.parent):
        if alone:
            _refuse_second(target, own)
        if directory:
            if own.exists() and _BESIDE.fullmatch(own.name) and _may_remove(own, os.getpid()):
                shutil.rmtree(own)
            own.mkdir(mode=mode)
        else:
            os.close(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666))
        hold(own)


def complete(path: Path) -> None:
    """Have the command say of a file or recording that it was written, should it end early; not of what is in a private place."""
    if not any(place in _held for place in path.parents):
        ending.written.append(str(path))


def put(own: Path, target: Path) -> Path:
    """Rename *own* to *target*, or to ``STEM-2.SUFFIX`` and so on where something has that name already; its name now."""
    number = 1
    while True:
        place = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        with _one_at_a_time(target.parent):
            if not os.path.lexists(place):
                own.rename(place)
                complete(place)
                return place
        number += 1


def refuse_special(target: Path) -> None:
    """Refuse a device, pipe or socket (``/dev/null``): a file renamed to its name would take its place for everyone.

    Raises
    ------
    KevacuateError
        *target*, or what it links to, is one.

    """
    try:
        mode = target.stat().st_mode
    except (OSError, ValueError):  # not there; what else is wrong with it is said when it is written
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise KevacuateError(
            f"{target} is a device or a pipe, whose place a file would take: choose another name."
        )


class Written:
    """A file that is being written: :attr:`path` is where, :attr:`target` its name when it is complete."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self.target = path, target


@contextmanager
def written(target: Path, *, replace: bool) -> Iterator[Written]:
    """A file to be written beside its place and renamed into it; nothing is left of it after an exception.

    Parameters
    ----------
    target : Path
        The file. A link stays one: what it points to is written.
    replace : bool
        Whether an older one is replaced. If not, it is refused at the beginning; one that appears meanwhile is kept, and the new
        one gets another name (:func:`put`), which is then ``target`` of what was yielded.

    Raises
    ------
    KevacuateError
        The file cannot be written, or must not be.

    """
    if not replace and os.path.lexists(target):
        raise KevacuateError(f"{target} exists already: remove it or choose another name.")
    refuse_special(target)
    if replace:
        target = Path(os.path.realpath(target))
    own = beside(target)
    file = Written(own, target)
    try:
        claim(target, own, directory=False, alone=not replace)
        yield file
        if replace:
            own.replace(target)
            complete(target)
        else:
            file.target = put(own, target)
    except OSError as error:
        raise not_written(target, error) from None
    finally:
        release(own)
        with suppress(OSError):
            own.unlink(missing_ok=True)


@contextmanager
def folder(path: Path) -> Iterator[None]:
    """A directory to write into, made with those above it; what is made and stays empty goes again after an exception.

    Raises
    ------
    OSError
        It cannot be made.
    """
    made = missing(path)
    with ending.owed(lambda: remove_empty(made)):
        try:
            path.mkdir(parents=True, exist_ok=True)
            yield
        except BaseException:
            remove_empty(made)
            raise


def missing(path: Path) -> list[Path]:
    """Those of a directory and of the ones above it that do not exist, the innermost first."""
    return [place for place in (path.absolute(), *path.absolute().parents) if not place.exists()]


def remove_empty(made: list[Path]) -> None:
    """Remove directories, the innermost first, up to one in which something is."""
    with suppress(OSError):
        for place in made:
            place.rmdir()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a directory."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    total = 0
    for root, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total


def _left_in(directory: Path, names: re.Pattern[str], group: int) -> list[Path]:
    """What killed processes of this user left in a directory, by name."""
    found = []
    with suppress(OSError), _one_at_a_time(directory):
        for entry in sorted(directory.iterdir()):
            match = names.fullmatch(entry.name)
            if match is None or entry.is_symlink() or entry.lstat().st_uid != os.geteuid():
                continue
            if _may_remove(entry, int(match[group])):
                found.append(entry)
    return found


def leftovers(directory: Path) -> list[Leftover]:
    """What killed processes of this user left in *directory*, and of private directories in the place for temporary files.

    What a recorder captured is none of it: :func:`captures_left` finds that.
    """
    found = []
    for path in _left_in(directory, _BESIDE, 2) + [p for p in _private_left() if not _has_capture(p)]:
        with suppress(OSError):  # gone meanwhile
            found.append(Leftover(path, size_of(path)))
    return found


def captures_left() -> list[Path]:
    """Private directories in the place for temporary files in which a killed recorder of this user left what it captured."""
    return [path for path in _private_left() if _has_capture(path)]


def _private_left() -> list[Path]:
    """Private directories that killed processes of this user left."""
    with suppress(KevacuateError):
        return _left_in(temporary_place(), _PRIVATE, 1)
    return []


def _has_capture(directory: Path) -> bool:
    """Whether a recorder's work directory is in *directory*: what it holds can be saved."""
    with suppress(OSError):
        return any(RECORDER.fullmatch(name) for name in os.listdir(directory))
    return False


def remove_leftovers(directory: Path) -> list[Leftover]:
    """Remove :func:`leftovers`; those that are gone now."""
    gone = []
    for left in leftovers(directory):
        _remove(left.path)
        if not left.path.exists():
            gone.append(left)
    return gone
