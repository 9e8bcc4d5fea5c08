# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies by name and knobs: ``NAME[,knob=value...]``, for instance ``evacuate,pool=0,wq=per-node``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.mm.layout import EvacuationConfig
from kevacuate.policy.evacuate import EVACUATE
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.knobs import Knob, SkipBits
from kevacuate.policy.mainline import MAINLINE


@dataclass(frozen=True)
class Policy:
    """What the model does where kernels differ.

    Attributes
    ----------
    spec : str
        As the user wrote it; the run's name.
    name : str
        One of :data:`POLICIES`.
    knobs : dict
        The knobs that were given, by name.
    """

    spec: str
    name: str
    knobs: dict[str, Any] = field(default_factory=dict)

    @property
    def evacuates(self) -> bool:
        """Whether the evacuation patch is in."""
        return POLICIES[self.name].evacuates

    @property
    def skip_bits(self) -> SkipBits:
        """Which blocks carry compaction's skip bit at the start: ``recorded``, ``none``, ``all`` or a share of blocks.

        An input of the run; from then on the model's own compaction sets them.
        """
        value: SkipBits = self.knobs.get("skip-bits", "recorded")
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """The kernel's settings that were given, by the kernel's names; all others are as recorded."""
        turned = POLICIES[self.name].knobs
        return {turned[name].setting: value for name, value in self.knobs.items() if turned[name].setting}

    def evacuation(self, time_scale: int, nodes: int) -> EvacuationConfig:
        """The model's parameters on a machine of *nodes* nodes that is *time_scale* times slower than the costs' machine.

        Raises
        ------
        KevacuateError
            A knob names a node that the machine does not have.
        """
        turned = POLICIES[self.name].knobs
        given = {turned[name].field: value for name, value in self.knobs.items() if turned[name].field}
        given.setdefault("time_scale", time_scale)
        failed = self.knobs.get("no-workqueue")
        if failed is not None:
            if max(failed) >= nodes:
                raise KevacuateError(
                    f"Policy {self.spec!r} names node {max(failed)}: the machine has nodes 0 to {nodes - 1}."
                )
            given["ready"] = tuple(node not in failed for node in range(nodes))
        return EvacuationConfig(evacuate=self.evacuates, **given)


POLICIES: dict[str, PolicyKind] = {kind.name: kind for kind in (MAINLINE, EVACUATE)}
"""Name to what the policy says of itself. What a further one does is in mm/; it is a file of this folder, and its name here."""

KNOBS: dict[str, Knob] = {name: knob for kind in POLICIES.values() for name, knob in kind.knobs.items()}
"""Every knob of every policy, in the order in which they are shown: that of :data:`POLICIES`."""


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
    takes = POLICIES[name].knobs
    knobs: dict[str, Any] = {}
    for part in parts:
        knob, equals, text = part.partition("=")
        if knob not in takes:
            raise KevacuateError(f"Policy {name} has no knob {knob!r}: it takes {', '.join(takes)}.")
        if knob in knobs:
            raise KevacuateError(f"Policy {spec!r} gives the knob {knob} twice: keep one.")
        try:
            knobs[knob] = takes[knob].convert(text)
        except (KeyError, ValueError):
            shown = text if equals else "nothing"
            raise KevacuateError(
                f"Knob {knob} of policy {name} cannot be {shown!r}: it takes {takes[knob].values}."
            ) from None
    return Policy(spec.strip(), name, knobs)
