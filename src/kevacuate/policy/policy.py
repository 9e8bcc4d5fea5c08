# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies by name and knobs: ``NAME[,knob=value...]``, for instance ``evacuate,pool=0,wq=per-node``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.mm.layout import EvacuationConfig

SkipBits = str | float


@dataclass(frozen=True)
class Policy:
    """What the model does where kernels differ.

    Attributes
    ----------
    spec : str
        As the user wrote it; the run's name.
    name : str
        ``mainline`` or ``evacuate``.
    knobs : dict
        The knobs that were given, by name.
    """

    spec: str
    name: str
    knobs: dict[str, Any] = field(default_factory=dict)

    @property
    def evacuates(self) -> bool:
        """Whether the evacuation patch is in."""
        return self.name == "evacuate"

    @property
    def skip_bits(self) -> SkipBits:
        """Which blocks carry compaction's skip bit at the start: ``recorded``, ``none``, ``all`` or a share of blocks.

        An input of the run; from then on the model's own compaction sets them.
        """
        value: SkipBits = self.knobs.get("skip-bits", "recorded")
        return value

    def evacuation(self, time_scale: int, nodes: int) -> EvacuationConfig:
        """The model's parameters on a machine of *nodes* nodes that is *time_scale* times slower than the costs' machine.

        Raises
        ------
        KevacuateError
            A knob names a node that the machine does not have.
        """
        given = {_FIELDS[name]: value for name, value in self.knobs.items() if name in _FIELDS}
        given.setdefault("time_scale", time_scale)
        failed = self.knobs.get("no-workqueue")
        if failed is not None:
            if max(failed) >= nodes:
                raise KevacuateError(
                    f"Policy {self.spec!r} names node {max(failed)}: the machine has nodes 0 to {nodes - 1}."
                )
            given["ready"] = tuple(node not in failed for node in range(nodes))
        return EvacuationConfig(evacuate=self.evacuates, **given)


MOST = 1_000_000
"""Largest number a knob takes: with it no time of a step exceeds 2^63 ns."""


def _count(text: str) -> int:
    """A whole number from 0 to MOST, in plain digits."""
    if not (text.isascii() and text.isdigit()) or int(text) > MOST:
        raise ValueError
    return int(text)


def _choice(**values: Any) -> Callable[[str], Any]:
    """One of the named values; ``_`` in a name stands for ``-``."""
    table = {name.replace("_", "-"): value for name, value in values.items()}

    def convert(text: str) -> Any:
        return table[text]

    convert.__doc__ = " or ".join(table)
    return convert


def _skip_bits(text: str) -> SkipBits:
    """One of recorded, none, all, or a share of the blocks from 0 to 1."""
    if text in ("recorded", "none", "all"):
        return text
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def _nodes(text: str) -> tuple[int, ...]:
    """Node numbers joined by +."""
    return tuple(_count(part) for part in text.split("+"))


@dataclass(frozen=True)
class Knob:
    """A knob: how its text becomes a value, what values it takes, what it does."""

    convert: Callable[[str], Any]
    values: str
    help: str


_COST = f"ns of virtual time, 0 to {MOST}"
KNOBS: dict[str, Knob] = {
    "pool": Knob(
        _count, f"a number from 0 to {MOST}, default 64", "preallocated work items (NR_EVACUATE_ITEMS)"
    ),
    "wq": Knob(
        _choice(per_cpu="per_cpu", per_node="per_node"),
        "per-cpu (default, as 7.2 does) or per-node",
        "where max_active=1 applies: one evacuation at a time per CPU, or per node as the patch intends",
    ),
    "skip-hint": Knob(
        _choice(honour=True, ignore=False),
        "honour (default, as the patch does) or ignore",
        "whether isolation reads and sets the block's skip bit",
    ),
    "skip-bits": Knob(
        _skip_bits,
        "recorded (default), none, all, or a share of the blocks",
        "input: which blocks carry compaction's skip bit when the replay starts",
    ),
    "time-scale": Knob(
        _count,
        f"a number from 0 to {MOST}",
        "how many times slower than the costs' native machine the recorded one is",
    ),
    "no-workqueue": Knob(_nodes, "node numbers joined by +", "nodes whose workqueue could not be created"),
    "irq-work-ns": Knob(_count, _COST, "from the end of the lock hold to the irq_work"),
    "wakeup-ns": Knob(_count, _COST, "waking an idle kworker"),
    "work-ns": Knob(_count, _COST, "taking an item and re-checking its block"),
    "scan-ns": Knob(_count, _COST, "passing a page that cannot be isolated"),
    "isolate-ns": Knob(_count, _COST, "isolating a page"),
    "reclaim-ns": Knob(_count, _COST, "dropping a clean cache page"),
    "migrate-ns": Knob(_count, _COST, "migrating a page"),
}

_FIELDS = {
    "pool": "pool",
    "wq": "wq",
    "skip-hint": "skip_hint",
    "time-scale": "time_scale",
    "irq-work-ns": "irq_work_ns",
    "wakeup-ns": "wakeup_ns",
    "work-ns": "work_ns",
    "scan-ns": "scan_ns",
    "isolate-ns": "isolate_ns",
    "reclaim-ns": "reclaim_ns",
    "migrate-ns": "migrate_ns",
}

POLICIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mainline": ("Linux 7.2 as it is", ("skip-bits",)),
    "evacuate": ("with the asynchronous evacuation of stolen movable pageblocks", tuple(KNOBS)),
}
"""Name to what it is and which knobs it takes."""


PAIR = ("mainline", "evacuate")
"""What a recording is replayed under by default, where two stand side by side."""


def parse_policies(policies: str | Policy | Iterable[str | Policy]) -> list[Policy]:
    """One policy or several, written or parsed already, as a list.

    Raises
    ------
    KevacuateError
        As :func:`parse_policy`.
    """
    if isinstance(policies, str | Policy):
        policies = [policies]
    try:
        given = list(policies)
    except TypeError:
        given = [policies]  # type: ignore[list-item]  # which parse_policy refuses in words
    return [one if isinstance(one, Policy) else parse_policy(one) for one in given]


def parse_policy(spec: str) -> Policy:
    """The policy that *spec* names.

    Raises
    ------
    KevacuateError
        Unknown name, knob or value; the message lists the known ones.
    """
    if not isinstance(spec, str):
        raise KevacuateError(f"{spec!r} is no policy: write NAME[,knob=value...] as a string.")
    name, *parts = spec.strip().split(",")
    if name not in POLICIES:
        known = ", ".join(POLICIES)
        raise KevacuateError(f"There is no policy {name!r}: the known ones are {known}.")
    takes = POLICIES[name][1]
    knobs: dict[str, Any] = {}
    for part in parts:
        knob, equals, text = part.partition("=")
        if knob not in takes:
            raise KevacuateError(f"Policy {name} has no knob {knob!r}: it takes {', '.join(takes)}.")
        if knob in knobs:
            raise KevacuateError(f"Policy {spec!r} gives the knob {knob} twice: keep one.")
        try:
            knobs[knob] = KNOBS[knob].convert(text)
        except (KeyError, ValueError):
            shown = text if equals else "nothing"
            raise KevacuateError(
                f"Knob {knob} of policy {name} cannot be {shown!r}: it takes {KNOBS[knob].values}."
            ) from None
    return Policy(spec.strip(), name, knobs)
