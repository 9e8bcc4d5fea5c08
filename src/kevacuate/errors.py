# SPDX-License-Identifier: GPL-2.0-or-later
"""The one exception the package raises for bad input or a machine that cannot do what was asked, and the check of numbers."""

import difflib
import errno
import operator
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MOST_BYTES = 1 << 20
"""Bytes of a file that somebody writes by hand: a description, an experiment, a policy."""


class KevacuateError(Exception):
    """What is wrong, where, and what to do, in one sentence; the command line prints it and exits 2."""


@contextmanager
def failing(what: str) -> Iterator[None]:
    """While the block runs, an error of the operating system is told as *what*, a colon and its reason.

    Raises
    ------
    KevacuateError
        In its place.
    """
    try:
        yield
    except OSError as error:
        raise KevacuateError(f"{what}: {error.strerror or error}.") from None


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """A question for the known names, *most* of them, that look like *name*; empty where none does."""
    like = difflib.get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(like)}?" if like else ""


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """The argument *name* of a function as an int, checked.

    Raises
    ------
    KevacuateError
        It is no whole number, or lies outside *least* to *most*.
    """
    limits = f"from {least} to {most}" if most is not None else f"at least {least}"
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        raise KevacuateError(f"{name} cannot be {value!r}: it is a whole number, {limits}.")
    return number


def instance(value: Any, kind: type[T], maker: str) -> T:
    """The argument *value* of a function, checked to be of that kind, which the verb *maker* of the package returns.

    Raises
    ------
    KevacuateError
        It is of another kind.
    """
    if not isinstance(value, kind):
        noun = kind.__name__.lower()
        raise KevacuateError(f"{value!r} is no {noun}: give what kevacuate.{maker} returned.")
    return value


def small_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """What an ordinary file of at most *most* bytes holds. What is none might never end, and waits for nobody.

    Raises
    ------
    OSError
        It cannot be read, is no ordinary file, or longer.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"it is longer than {most:,} bytes")
        return file.read()


def named_file(path: Any) -> Path:
    """The argument *path* of a function as a Path.

    Raises
    ------
    KevacuateError
        It is neither a string nor a Path, or a name that no file can have.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise KevacuateError(f"{path!r} is no path: name the file by a string or a Path.")
    try:
        os.stat(path)
    except ValueError:
        raise KevacuateError(
            f"{os.fspath(path)!r} is no path: no file's name holds a null character."
        ) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise KevacuateError(
                f"{os.fspath(path)} is too long for a file's name: choose another."
            ) from None
    return Path(path)
