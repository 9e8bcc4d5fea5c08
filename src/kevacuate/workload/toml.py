# SPDX-License-Identifier: GPL-2.0-or-later
"""A description as a TOML file: read, checked key by key, and refused with the line of what is wrong."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from kevacuate.errors import KevacuateError, did_you_mean, failing, named_file, small_file
from kevacuate.workload.describe import PARTS, Described, GiganticPages, Machine, PartOf, Rhythm, Workload
from kevacuate.workload.machine import memory_pages
from kevacuate.workload.named import PREFIX, path_of
from kevacuate.workload.plan import LAY_OUT, Plan

SINGLE: dict[str, type[Described]] = {"machine": Machine, "rhythm": Rhythm, "gigantic_pages": GiganticPages}
"""Tables of which there is one at most."""

_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_-]+)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")

T = TypeVar("T", bound=Described)


class _Lines:
    """Where in the text tables and keys stand."""

    def __init__(self, text: str) -> None:
        self._at: dict[tuple[str, int, str], int] = {}
        seen: dict[str, int] = {}
        table, number = "", 0
        for line, words in enumerate(text.splitlines(), 1):
            header, named = _HEADER.fullmatch(words), _KEY.match(words)
            if header:
                table = header[1]
                number = seen[table] = seen.get(table, -1) + 1
                self._at.setdefault((table, number, ""), line)
            elif named:
                self._at.setdefault((table, number, named[1]), line)

    def of(self, table: str, number: int, name: str = "") -> str:
        """The words ``line N`` of a key, else of its table; empty where neither is found."""
        line = self._at.get((table, number, name)) or self._at.get((table, number, ""))
        return f"line {line}" if line else "line 1"


class _Reader:
    """Reads one description."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.lines = path, _Lines(text)

    def wrong(self, where: str, what: str) -> KevacuateError:
        """The refusal of something at a place."""
        return KevacuateError(f"{self.path}, {where}: {what}")

    def unknown(self, where: str, name: str, known: Iterable[str], what: str) -> KevacuateError:
        """The refusal of a name that is none of those known."""
        names = sorted(known)
        meant = did_you_mean(name, names)
        asked = f" ({meant})" if meant else ""
        return self.wrong(where, f"there is no {what} {name!r}{asked}; known are {', '.join(names)}.")

    def table(self, kind: type[T], given: Any, number: int = 0, **more: Any) -> T:
        """A table of the file as a description; *more* are fields that are no keys."""
        name = kind.TABLE if kind is not Workload else ""
        place = self.lines.of(name, number)
        if not isinstance(given, dict):
            raise self.wrong(
                self.lines.of("", 0, name), f"{name} is no table: write [{name}] in a line of its own."
            )
        keys = kind.keys()
        for one in given:
            if one not in keys:
                raise self.unknown(self.lines.of(name, number, one), one, keys, f"key of {kind.TABLE}")
        missing = sorted(kind.required() - set(given))
        if missing:
            what = keys[missing[0]]
            raise self.wrong(place, f"{kind.TABLE}.{missing[0]} is missing: give {what.kind.accepted}.")
        for one, value in given.items():
            if keys[one].kind.read(value) is None:
                accepted = keys[one].kind.accepted
                where = self.lines.of(name, number, one)
                raise self.wrong(where, f"{kind.TABLE}.{one} cannot be {value!r}: give {accepted}.")
        try:
            return kind(**given, **more)
        except KevacuateError as error:
            raise self.wrong(place, str(error)) from None

    def parts(self, given: dict[str, Any]) -> list[PartOf]:
        """The parts, in the order of their tables."""
        found: list[PartOf] = []
        for name, tables in given.items():
            if name not in PARTS:
                continue
            if not isinstance(tables, list):
                raise self.wrong(self.lines.of(name, 0), f"{name} may come several times: write [[{name}]].")
            for number, table in enumerate(tables):
                named = {"name": name} | table if isinstance(table, dict) else table
                found.append(self.table(PARTS[name], named, number))
        return found

    def workload(self, given: dict[str, Any]) -> Workload:
        """The whole description."""
        keys = Workload.keys()
        for name, value in given.items():
            if name not in keys and name not in SINGLE and name not in PARTS:
                table = isinstance(value, dict | list)
                where = self.lines.of(name, 0) if table else self.lines.of("", 0, name)
                raise self.unknown(where, name, {*keys, *SINGLE, *PARTS}, "key or table")
        if "machine" not in given:
            raise self.wrong("line 1", "there is no table [machine]: give at least its memory.")
        single: dict[str, Any] = {
            name: self.table(kind, given[name]) for name, kind in SINGLE.items() if name in given
        }
        top = {name: value for name, value in given.items() if name in keys}
        top.setdefault("name", self.path.stem)
        found = self.table(Workload, top, parts=tuple(self.parts(given)), **single)
        self.fits(found)
        return found

    def fits(self, workload: Workload) -> None:
        """See that the parts fit the machine, one after the other: the first that does not is named with its line."""
        plan, seen = Plan(workload, memory_pages(workload.machine)), Counter[str]()
        for part in workload.parts:
            try:
                LAY_OUT[type(part)](plan, part)
            except KevacuateError as error:
                raise self.wrong(self.lines.of(part.TABLE, seen[part.TABLE]), str(error)) from None
            seen[part.TABLE] += 1


def read_workload(path: str | Path) -> Workload:
    """The description that a TOML file holds, or that ``workload:NAME`` names among those that ship.

    Raises
    ------
    KevacuateError
        It cannot be read or is no TOML, or it has a key that there is none of or a value that a key does not take: says in which
        line, and what is taken.

    """
    named = str(path).startswith(PREFIX)
    where = path_of(str(path).removeprefix(PREFIX)) if named else named_file(path)
    with failing(f"{where} cannot be read"):
        raw = small_file(where)
    try:
        text = raw.decode()
        given = tomllib.loads(text)
    except UnicodeDecodeError:
        raise KevacuateError(f"{where} is no description of a workload: it is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise KevacuateError(f"{where} is no TOML: {str(error)[:1].lower()}{str(error)[1:]}.") from None
    return _Reader(where, text).workload(given)


def is_description(path: object) -> bool:
    """Whether a path names a description of a workload: a file whose name ends in .toml."""
    return isinstance(path, str | Path) and Path(path).suffix == ".toml" and not Path(path).is_dir()
