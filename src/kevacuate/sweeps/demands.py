# SPDX-License-Identifier: GPL-2.0-or-later
"""An experiment's demands and start states: recordings and described workloads, opened in one way by all hands.

One that is named by a URL is copied by fsspec, once a process, into a directory that ends with the process.
"""

from __future__ import annotations

import threading
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from kevacuate.errors import KevacuateError
from kevacuate.recording import Recording
from kevacuate.workload.named import PREFIX
from kevacuate.workload.opening import recording_of, start_source

_copies: dict[str, TemporaryDirectory[str]] = {}
_copying = threading.Lock()


def open_demand(path: str | Path) -> Recording:
    """The recording at a path or URL, whose files are checked against their digests, or what stands for a described workload.

    Raises
    ------
    KevacuateError
        There is neither, or it is corrupted, or the description is wrong.
    """
    return recording_of(local(path))


def open_start(path: str) -> Recording:
    """What a start state is read from, at a path or URL.

    Raises
    ------
    KevacuateError
        There is none, or it is corrupted, or another tool's form.
    """
    return start_source(local(path))


def ships(name: str) -> bool:
    """Whether a demand's name is that of a workload that ships with the package, and no path."""
    return name.startswith(PREFIX)


def is_url(name: str) -> bool:
    """Whether a demand's name is a URL, which fsspec opens."""
    return "://" in name


def whole_name(name: str) -> str:
    """A demand's name from wherever it is read: its absolute path, unless it ships with the package or is a URL."""
    return name if ships(name) or is_url(name) else str(Path(name).absolute())


def local(path: str | Path) -> str | Path:
    """The path itself; of a URL where its copy lies.

    Raises
    ------
    KevacuateError
        There is nothing at the URL, it cannot be read, or fsspec is not installed.
    """
    url = str(path)
    if not is_url(url):
        return path
    with _copying:
        if url not in _copies:
            _copies[url] = _copied(url)
    return Path(_copies[url].name, _name(url))


def _name(url: str) -> str:
    """The last part of a URL."""
    return PurePosixPath(url.rpartition("://")[2]).name or "demand"


def _copied(url: str) -> TemporaryDirectory[str]:
    """A directory that holds what a URL names."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise KevacuateError(
            f"{url} is read by fsspec, which is not installed: pip install 'kevacuate[fsspec]'."
        ) from None
    made = TemporaryDirectory(prefix="kevacuate-copied-")
    try:
        files, root = url_to_fs(url)
        names = files.find(root)
        for name in names:
            inner = PurePosixPath(name.removeprefix(root.rstrip("/")).lstrip("/"))
            if ".." in inner.parts:
                raise KevacuateError(f"{url} holds {str(inner)!r}, which leads out of its directory.")
            place = Path(made.name, _name(url), inner)
            place.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(name, str(place))
    except KevacuateError:
        raise
    except Exception as error:  # of whichever file system it is
        why = str(error).partition("\n")[0].removesuffix(".") or type(error).__name__
        raise KevacuateError(f"{url} cannot be read: {why}.") from None
    if not names:
        raise KevacuateError(f"There is nothing at {url}.")
    return made
