# SPDX-License-Identifier: GPL-2.0-or-later
"""Cells of a sweep: what each is, and the digest that it is known by.

A cell is one replay: a demand under a policy with one seed. Its digest is taken of all that its result follows from, and of
nothing else: neither paths nor names of files, nor who replays it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from kevacuate.errors import KevacuateError
from kevacuate.jit import PACKAGE
from kevacuate.measure.startfile import read_start
from kevacuate.policy import Policy
from kevacuate.recording import Recording
from kevacuate.recording.demand import demand_facts
from kevacuate.runs.options import ReplayOptions
from kevacuate.sweeps.demands import open_demand, open_start, ships, whole_name
from kevacuate.sweeps.experiment import AS_IT_IS, Experiment, in_file_words
from kevacuate.sweeps.lines import line_of
from kevacuate.workload.started import machine_of

ROOMS = ("kernel", "mm", "recording", "demand", "measure", "policy", "workload", "runs")
"""Rooms of the package that a replay's result follows from."""

DIGITS = 32
"""Hex digits of a cell's digest: 128 bits."""

REPLAYED = ("loop", "samples", "despite_losses", "variation")
"""Parameters of a replay that its result follows from, besides the seed; the others change nothing but speed."""


@cache
def model_version(package: Path = PACKAGE) -> str:
    """Hash (hex, 16 digits) of the sources that a replay's result follows from, comments included: the model's version."""
    digest = hashlib.sha256()
    for path in sorted(package / "records.py" if room == "" else package / room for room in ("", *ROOMS)):
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{source.relative_to(package)}\n".encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def demand_digest(recording: Recording) -> str:
    """Hash (hex) of a recording's content and of the demand that is stored beside it.

    Raises
    ------
    KevacuateError
        The recording or its demand is corrupted.
    """
    stored = demand_facts(recording.path)["digest"] if recording.has_demand else ""
    return hashlib.sha256(f"{recording.digest} {stored}".encode()).hexdigest()[:DIGITS]


def canonical(value: Any) -> str:
    """JSON that is the same whenever and wherever the value is."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Source(NamedTuple):
    """A demand or start state of the grid: where it lies, its digest, and the name that it is shown by."""

    path: str
    digest: str
    name: str


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes
    ----------
    source : Source
        Its demand.
    spec : str
        The policy and its knobs, as the replay takes it.
    base, knobs : str, dict
        The policy's own name, and its knobs' values as text.
    code : str
        Hash of the policy's file, empty of one that is built in.
    seed : int
    replay : dict
        The parameters of :data:`REPLAYED`, as JSON values.
    start : Source, optional
        The start state that the demand begins from in place of its own.
    """

    source: Source
    spec: str
    base: str
    knobs: dict[str, str]
    code: str
    seed: int
    replay: dict[str, Any]
    start: Source | None = None

    def identity(self) -> dict[str, Any]:
        """All that its result follows from."""
        begun = {} if self.start is None else {"start": self.start.digest}
        return {
            **begun,
            "demand": self.source.digest,
            "policy": self.base,
            "knobs": self.knobs,
            "code": self.code,
            "seed": self.seed,
            "replay": self.replay,
            "model": model_version(),
        }

    @property
    def label(self) -> str:
        """The policy and its knobs, by the alphabet: a setting's name."""
        return ",".join([self.base, *(f"{name}={value}" for name, value in sorted(self.knobs.items()))])

    @property
    def digest(self) -> str:
        """What it is known by."""
        return hashlib.sha256(canonical(self.identity()).encode()).hexdigest()[:DIGITS]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, for another process."""
        start = None if self.start is None else list(self.start)
        return {**asdict(self), "source": list(self.source), "start": start}

    @staticmethod
    def of_json(values: dict[str, Any]) -> Cell:
        """The inverse of :meth:`to_json`."""
        start = None if values["start"] is None else Source(*values["start"])
        return Cell(**{**values, "source": Source(*values["source"]), "start": start})


def replayed(options: ReplayOptions) -> dict[str, Any]:
    """The parameters that a result follows from, as JSON values."""
    given = asdict(options)
    return {name: given[name] for name in REPLAYED}


def sources(experiment: Experiment) -> list[Source]:
    """The demands of a grid, each once, however many paths lead to it.

    Raises
    ------
    KevacuateError
        A path is neither a recording nor a description, or one is corrupted or wrong.
    """
    found: dict[str, Source] = {}
    for name in experiment.demands:
        try:
            recording = open_demand(name)
            digest = demand_digest(recording)
        except KevacuateError as error:
            line = line_of(
                experiment.text, "workloads" if Path(name).is_file() or ships(name) else "recordings", name
            )
            raise KevacuateError(f"{experiment.path}:{line}: {in_file_words(str(error))}") from None
        shown = name if ships(name) else recording.path.name
        found.setdefault(digest, Source(whole_name(name), digest, shown))
    return list(found.values())


def starts_of(experiment: Experiment, demands: Sequence[Source]) -> list[Source | None]:
    """The start states of a grid, each once; None stands for a demand's own.

    Raises
    ------
    KevacuateError
        One is none, is corrupted, or is of a machine that a demand does not fit.
    """
    found: dict[str, Source | None] = {}
    machines = (
        {} if experiment.starts == (AS_IT_IS,) else {d.name: open_demand(d.path).machine for d in demands}
    )
    for name in experiment.starts:
        if name == AS_IT_IS:
            found.setdefault("", None)
            continue
        try:
            recording, named = open_start(name), {"file": Path(name).name}
            for demand, machine in machines.items():
                machine_of(machine, read_start(recording).machine, named, f"the demand {demand}")
            digest = demand_digest(recording)
        except KevacuateError as error:
            line = line_of(experiment.text, "start", Path(name).name)
            raise KevacuateError(f"{experiment.path}:{line}: {in_file_words(str(error))}") from None
        shown = name if ships(name) else recording.path.name
        found.setdefault(digest, Source(whole_name(name), digest, f"{shown}@{digest[:8]}"))
    return list(found.values())


def code_of(policy: Policy) -> str:
    """Hash of a policy's file; empty of one that is built in."""
    hooks = policy.hooks
    return hashlib.sha256(hooks.source.encode()).hexdigest()[:DIGITS] if hooks else ""


def cells_of(
    experiment: Experiment, demands: list[Source], starts: Sequence[Source | None] = (None,)
) -> Iterator[tuple[str, Cell]]:
    """(digest, cell) of a grid in the order of replays: by demand, start and seed, as replays of one seed share its demand."""
    replay = replayed(experiment.options)
    codes = [code_of(setting.policy) for setting in experiment.settings]
    for source, start, seed in product(demands, starts, experiment.seeds):
        for setting, code in zip(experiment.settings, codes, strict=True):
            cell = Cell(source, setting.policy.spec, setting.base, setting.knobs, code, seed, replay, start)
            yield cell.digest, cell
