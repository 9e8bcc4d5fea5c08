# SPDX-License-Identifier: GPL-2.0-or-later
"""An experiment file (TOML): the grid of a sweep, read and checked before anything runs.

Every list is an axis. A knob is an axis of the policies that take it; its value ``"default"`` leaves it as it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from kevacuate.errors import KevacuateError, failing, named_file, small_file
from kevacuate.measure.permutation import REPEATS
from kevacuate.policy import COMPARED, Policy, parse_policy
from kevacuate.recording.recording import Recording
from kevacuate.runs.loop_choice import LOOPS
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.variation import Variation
from kevacuate.sweeps.demands import is_url, ships
from kevacuate.sweeps.lines import line_of

KEYS = ("recordings", "workloads", "start", "policies", "seeds", "knobs", "replay")
"""What an experiment file has."""

REPLAY_KEYS = ("loop", "samples", "despite_losses", "variation")
"""What its table ``replay`` has; all are as of a single replay where they are not given."""

AS_IT_IS = "default"
"""The value of a knob that is not turned, and the start state of a demand that begins from its own."""

MOST_CELLS = 1_000_000
MOST_SEED = 2**31 - 1


IN_FILE_WORDS = (
    (r"--loop (open|closed|auto)", r'loop = "\1" under [replay]'),
    (
        r"With --despite-losses, .* use it all the same",
        "despite_losses = true under [replay] uses it all the same",
    ),
    (r"--start (\S+)\.$", r'start = ["\1"].'),
)
"""What refusals of a replay name as options of a command line, and what stands for it in an experiment file."""


def in_file_words(said: str) -> str:
    """The refusal of a cell, with the file's keys in the place of options."""
    for option, key in IN_FILE_WORDS:
        said = re.sub(option, key, said)
    return said


@dataclass(frozen=True)
class Setting:
    """A policy with its knobs turned: the policy as parsed, its own name, and the knobs' values as text."""

    policy: Policy
    base: str
    knobs: dict[str, str]


@dataclass(frozen=True)
class Experiment:
    """A grid.

    Attributes
    ----------
    path : Path
        The experiment file.
    text : str
        What it holds.
    demands : tuple of str
        Paths of recordings and of descriptions of workloads, or names of workloads that ship; each once.
    starts : tuple of str
        Paths of the start states that every demand begins from; :data:`AS_IT_IS` stands for its own.
    settings : tuple of Setting
        Policies with their knobs, in the order of the file.
    seeds : tuple of int
        Ascending.
    options : ReplayOptions
        How every cell is replayed; its seed is that of no cell.
    """

    path: Path
    text: str
    demands: tuple[str, ...]
    starts: tuple[str, ...]
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    options: ReplayOptions

    def __len__(self) -> int:
        """Cells, those of equal demands counted apart."""
        return len(self.demands) * len(self.starts) * len(self.settings) * len(self.seeds)


class _Reader:
    """The file's values, and a sentence with the line for what is wrong with one."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        try:
            self.values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            what, _, where = str(error).partition(" (at ")
            at = re.match(r"line (\d+)", where)
            line = int(at[1]) if at else max(len(text.splitlines()), 1)
            raise KevacuateError(f"{path}:{line}: the experiment is no TOML: {what}.") from None

    def wrong(self, key: str, what: str, value: str = "") -> KevacuateError:
        """A sentence of what is wrong with a key's value, and where it stands."""
        return KevacuateError(f"{self.path}:{line_of(self.text, key, value)}: {what}")

    def refuse_unknown(self, table: dict[str, Any], known: tuple[str, ...], above: str = "") -> None:
        """Refuse keys of a table that are not known."""
        for name in table:
            if name not in known:
                place = f"{above}.{name}" if above else name
                raise self.wrong(
                    place, f"there is no key {place!r}; {above or 'an experiment'} has {', '.join(known)}."
                )

    def strings(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of strings that is not empty, each once; a single string is a list of one."""
        given = self.values.get(key, list(default))
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
            raise self.wrong(key, f"{key} cannot be {given!r}: it is a list of strings.")
        if not given:
            raise self.wrong(key, f"{key} is empty: name at least one, or leave the key out.")
        twice = next((one for one in given if given.count(one) > 1), None)
        if twice is not None:
            raise self.wrong(key, f"{key} names {twice!r} more than once: keep one.", twice)
        return tuple(given)

    def table(self, key: str) -> dict[str, Any]:
        """A table; empty where it is not there."""
        given: Any = self.values
        for name in key.split("."):
            given = given.get(name, {})
            if not isinstance(given, dict):
                raise self.wrong(key, f"{key} cannot be {given!r}: it is a table, written [{key}].")
        return dict(given)


def read_experiment(path: str | Path) -> Experiment:
    """Read an experiment file.

    Raises
    ------
    KevacuateError
        In one sentence with the line and what is accepted there.
    """
    where = named_file(path)
    with failing(f"{where} cannot be read"):
        data = small_file(where)
    try:
        reader = _Reader(where, data.decode())
    except UnicodeDecodeError:
        raise KevacuateError(f"{where} is no TOML: it is not UTF-8.") from None
    reader.refuse_unknown(reader.values, KEYS)
    seeds, options = _seeds(reader), _options(reader)
    settings = _settings(reader)
    found = Experiment(
        where, reader.text, _demands(reader), _starts(reader, settings), settings, seeds, options
    )
    if len(found) > MOST_CELLS:
        raise KevacuateError(f"{where} has {len(found):,} cells, more than {MOST_CELLS:,}: make it smaller.")
    return found


def _demands(reader: _Reader) -> tuple[str, ...]:
    """The recordings and workloads that are named; without any, the recording that ships."""
    if "recordings" not in reader.values and "workloads" not in reader.values:
        return (str(Recording.shipped().path),)
    found: dict[str, None] = {}
    for key, what, is_one in (
        ("recordings", "recording", Path.is_dir),
        ("workloads", "description of a workload", Path.is_file),
    ):
        for name in reader.strings(key, ()) if key in reader.values else ():
            named = ships(name) or is_url(name)
            here = [name] if named else [str(place) for place in _places(reader, name) if is_one(place)]
            if not here:
                raise reader.wrong(key, f"there is no {what} {name!r}: name a path or a glob.", name)
            found.update(dict.fromkeys(here))
    return tuple(found)


def _starts(reader: _Reader, settings: tuple[Setting, ...]) -> tuple[str, ...]:
    """The start states that are named; without any, each demand's own."""
    found: dict[str, None] = {}
    if "start" in reader.values and (
        own := next((s for s in settings if "start" in s.policy.kind.knobs), None)
    ):
        raise reader.wrong(
            "start", f"start cannot be an axis: the policy {own.base} has a knob of that name."
        )
    for name in reader.strings("start", (AS_IT_IS,)):
        named = name == AS_IT_IS or ships(name) or is_url(name)
        here = [name] if named else [str(place) for place in _places(reader, name)]
        if not here:
            raise reader.wrong("start", f"there is no start state {name!r}: name a path or a glob.", name)
        found.update(dict.fromkeys(here))
    return tuple(found)


def _places(reader: _Reader, name: str) -> list[Path]:
    """What a path or glob stands for; it begins at the experiment's directory."""
    place = reader.path.parent / name
    if place.exists() or not any(c in name for c in "*?["):
        return [place] if place.exists() else []
    root = Path(place.anchor) if place.is_absolute() else Path()
    return sorted(root.glob(str(place.relative_to(root))))


def _seeds(reader: _Reader) -> tuple[int, ...]:
    """The seeds: a number stands for 0 to that less one."""
    given = reader.values.get("seeds", REPEATS)
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= MOST_SEED:
        return tuple(range(given))
    numbers = isinstance(given, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= MOST_SEED for one in given
    )
    if not numbers or not given or len(set(given)) < len(given):
        raise reader.wrong(
            "seeds",
            f"seeds cannot be {given!r}: it is how many, or a list of different numbers; at most {MOST_SEED:,}.",
        )
    return tuple(sorted(given))


def _options(reader: _Reader) -> ReplayOptions:
    """How every cell is replayed."""
    given = reader.table("replay")
    reader.refuse_unknown(given, REPLAY_KEYS, "replay")
    for name, kind, accepted in (
        ("loop", str, " or ".join(LOOPS)),
        ("samples", int, "a whole number, at least 1"),
        ("despite_losses", bool, "true or false"),
    ):
        if name in given and type(given[name]) is not kind:
            raise reader.wrong(
                f"replay.{name}", f"replay.{name} cannot be {given[name]!r}: it is {accepted}."
            )
    variation = reader.table("replay.variation")
    names = tuple(field.name for field in fields(Variation))
    reader.refuse_unknown(variation, names, "replay.variation")
    place = "replay"
    try:
        for name, value in variation.items():
            place = f"replay.variation.{name}"
            Variation(**{name: value})
        rest = {name: value for name, value in given.items() if name != "variation"}
        for name, value in rest.items():
            place = f"replay.{name}"
            ReplayOptions(**{name: value})
        return ReplayOptions(**rest, variation=Variation(**variation))
    except KevacuateError as error:
        raise reader.wrong(place, str(error)) from None


def _text(value: Any) -> str | None:
    """A knob's value as it is written behind a policy's name; None of what is none."""
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _axes(reader: _Reader) -> dict[str, tuple[str, ...]]:
    """Knob to its values as text."""
    axes = {}
    for name, given in reader.table("knobs").items():
        values = given if isinstance(given, list) else [given]
        texts = [text for value in values if (text := _text(value)) is not None and "," not in text]
        if not values or len(texts) < len(values) or len(set(texts)) < len(texts):
            raise reader.wrong(
                f"knobs.{name}",
                f"the knob {name} cannot be {given!r}: it is a list of different numbers or strings.",
            )
        axes[name] = tuple(texts)
    return axes


def _parsed(reader: _Reader, spec: str, key: str, value: str) -> Policy:
    """A policy, whose file lies beside the experiment unless it is there from here."""
    path, colon, rest = spec.partition(".py:")
    beside = reader.path.parent / f"{path}.py"
    spec = f"{beside}:{rest}" if colon and beside.exists() else spec
    try:
        return parse_policy(spec)
    except KevacuateError as error:
        raise reader.wrong(key, str(error), value) from None


def _settings(reader: _Reader) -> tuple[Setting, ...]:
    """Every policy under every combination of the knobs that it takes."""
    axes = _axes(reader)
    bases = [(spec, _parsed(reader, spec, "policies", spec)) for spec in reader.strings("policies", COMPARED)]
    for name in axes:
        if not any(name in base.kind.knobs for _, base in bases):
            known = ", ".join(dict.fromkeys(knob for _, base in bases for knob in base.kind.knobs))
            raise reader.wrong(f"knobs.{name}", f"no policy here has a knob {name!r}: they take {known}.")
    made: dict[tuple[str, tuple[tuple[str, str], ...]], Setting] = {}
    for spec, base in bases:
        if given := next((name for name in axes if name in base.knobs), None):
            raise reader.wrong(
                f"knobs.{given}", f"the policy {spec} gives the knob {given} already: keep one of the two."
            )
        for setting in _turned(reader, spec, base, axes):
            made.setdefault((setting.policy.name, tuple(sorted(setting.knobs.items()))), setting)
    return tuple(made.values())


def _turned(reader: _Reader, spec: str, base: Policy, axes: dict[str, tuple[str, ...]]) -> Iterator[Setting]:
    """One policy under every combination of the knobs that it takes."""
    own = [name for name in axes if name in base.kind.knobs]
    for name in own:
        for value in axes[name]:
            if value != AS_IT_IS:
                _parsed(reader, f"{base.spec},{name}={value}", f"knobs.{name}", value)
    name, *parts = base.spec.split(",")
    written = dict(part.split("=", 1) for part in parts)
    for values in product(*(axes[name] for name in own)):
        knobs = written | {n: v for n, v in zip(own, values, strict=True) if v != AS_IT_IS}
        text = "".join(f",{knob}={value}" for knob, value in knobs.items())
        policy = _parsed(reader, f"{name}{text}", "policies", spec)
        yield Setting(policy, policy.hooks.spec if policy.hooks else policy.name, knobs)
