# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies by name and knobs: ``NAME[,knob=value...]``, for instance ``evacuate,pool=0,wq=per-node``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from kevacuate.errors import KevacuateError, did_you_mean
from kevacuate.mm.constants import REGION_AUTO
from kevacuate.mm.layout import EvacuationConfig, RegionConfig
from kevacuate.policy.evacuate import EVACUATE
from kevacuate.policy.hooks import Declared
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.knobs import KEPT_REGIONS, REGIONS, Knob, SkipBits
from kevacuate.policy.load import SHIPPED, HooksFile, installed, load_entry_point, load_file, load_shipped
from kevacuate.policy.mainline import MAINLINE
from kevacuate.policy.spb_cheap_fallback import SPB_CHEAP_FALLBACK
from kevacuate.policy.spb_contig import SPB_CONTIG
from kevacuate.policy.spb_evacuation import SPB_EVACUATION
from kevacuate.policy.spb_passes import SPB_PASSES
from kevacuate.policy.spb_shrink import SPB_SHRINK
from kevacuate.policy.spb_steering import SPB_STEERING
from kevacuate.policy.spb_worker import SPB_WORKER
from kevacuate.policy.variant import declared_variants

ITEMS_OF_REGIONS = 4096
"""Work items where regions have workers: the series has one a region, and each has one evacuation under way at most."""

MOST_DIGITS = 19
"""Digits of a knob of hooks, at most: those of 2**62."""

MOST_SHOWN = 40
"""Characters of what was given that a sentence repeats."""

REGION_FIELDS = tuple(one.name for one in fields(RegionConfig))
"""The fields that knobs of regions set."""


@dataclass(frozen=True)
class Policy:
    """What the model does where kernels differ.

    Attributes
    ----------
    spec : str
        As the user wrote it; the run's name.
    name : str
        One of :data:`POLICIES`, ``FILE.py:CLASS``, or an installed package's.
    knobs : dict
        The knobs that were given, by name.
    own : PolicyKind or None
        What a policy of hooks says of itself.
    """

    spec: str
    name: str
    knobs: dict[str, Any] = field(default_factory=dict)
    own: PolicyKind | None = field(default=None, repr=False, compare=False)

    @property
    def kind(self) -> PolicyKind:
        """What the policy says of itself."""
        return self.own or POLICIES[self.name]

    @property
    def hooks(self) -> HooksFile | None:
        """The class of hooks that it is, and its file; None of a policy that is built into the model."""
        return self.kind.hooks

    @property
    def hook_knobs(self) -> dict[str, int]:
        """The knobs that were given of those that its class declares."""
        own = self.hooks.policy.declared if self.hooks else {}
        return {name: value for name, value in self.knobs.items() if name in own}

    @property
    def evacuates(self) -> bool:
        """Whether the evacuation patch is in."""
        return self.kind.evacuates

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
        turned = self.kind.knobs
        return {turned[name].setting: value for name, value in self.knobs.items() if turned[name].setting}

    def evacuation(self, time_scale: int, nodes: int) -> EvacuationConfig:
        """The model's parameters on a machine of *nodes* nodes that is *time_scale* times slower than the costs' machine.

        Raises
        ------
        KevacuateError
            A knob names a node that the machine does not have.
        """
        turned = self.kind.knobs
        given = {turned[name].field: value for name, value in self.knobs.items() if turned[name].field}
        given.setdefault("time_scale", time_scale)
        failed = self.knobs.get("no-workqueue")
        if failed is not None:
            if max(failed) >= nodes:
                raise KevacuateError(
                    f"Policy {self.spec!r} names node {max(failed)}: the machine has nodes 0 to {nodes - 1}."
                )
            given["ready"] = tuple(node not in failed for node in range(nodes))
        if self.kind.regions.region_worker:
            given.setdefault("pool", ITEMS_OF_REGIONS)
        kept = {name: given.pop(name) for name in REGION_FIELDS if name in given}
        return EvacuationConfig(evacuate=self.evacuates, regions=replace(self.kind.regions, **kept), **given)


POLICIES: dict[str, PolicyKind] = {
    kind.name: kind
    for kind in (
        MAINLINE,
        EVACUATE,
        SPB_STEERING,
        SPB_PASSES,
        SPB_CHEAP_FALLBACK,
        SPB_WORKER,
        SPB_EVACUATION,
        SPB_SHRINK,
        SPB_CONTIG,
    )
}
"""Name to what the policy says of itself. What a further one does is in mm/; it is a file of this folder, and its name here."""

KNOBS: dict[str, Knob] = {name: knob for kind in POLICIES.values() for name, knob in kind.knobs.items()} | {
    "regions": REGIONS
}
"""Every knob of every policy, in the order in which they are shown: that of :data:`POLICIES`."""


def policies_told() -> dict[str, str]:
    """What each policy is that can be named without a file, in a few words."""
    told = {name: kind.what for name, kind in POLICIES.items()}
    return told | {name: kind_of_hooks(name).what for name in SHIPPED}


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
    own = None if name in POLICIES else kind_of_hooks(name)
    takes = (own or POLICIES[name]).knobs
    knobs: dict[str, Any] = {}
    for part in parts:
        knob, equals, text = part.partition("=")
        if knob not in takes:
            raise _no_knob(name, knob, takes, own)
        if knob in knobs:
            raise KevacuateError(f"Policy {_shown(spec)!r} gives the knob {knob} twice: keep one.")
        try:
            knobs[knob] = takes[knob].convert(text)
        except (KeyError, ValueError):
            shown = text if equals else "nothing"
            raise KevacuateError(
                f"Knob {knob} of policy {name} cannot be {_shown(shown)!r}: it takes {takes[knob].values}."
            ) from None
    policy = Policy(spec.strip(), name, knobs, own)
    _refuse_crossed(policy)
    return policy


def _refuse_crossed(policy: Policy) -> None:
    """Refuse a policy of hooks with a knob that is less than the one by which it is bound."""
    declared = policy.hooks.policy.declared if policy.hooks else {}
    for name, found in declared.items():
        if found.at_least:
            value, bound = (policy.knobs.get(one, declared[one].default) for one in (name, found.at_least))
            if value < bound:
                raise KevacuateError(
                    f"Policy {_shown(policy.spec)!r} has {name}={value}, less than {found.at_least}={bound}: give it more."
                )


def _no_knob(name: str, knob: str, takes: Iterable[str], own: PolicyKind | None) -> KevacuateError:
    """The refusal of a knob: what it may have been, and which there are; of hooks their own, as they take all others too."""
    shown = [one for one in takes if not own or one not in KNOBS]
    others = "the knobs of docs/policies.md"
    listed = ", ".join([*shown, f"and {others}"] if own and shown else shown or [others])
    meant = did_you_mean(knob, takes)
    asked = f"{meant} It" if meant else "it"
    return KevacuateError(f"Policy {name} has no knob {_shown(knob)!r}: {asked} takes {listed}.")


def _shown(text: str) -> str:
    """What was given, as a sentence repeats it."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _knob(declared: Declared) -> Knob:
    """A knob that a class of hooks declares."""

    def convert(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > MOST_DIGITS:
            raise ValueError
        value = int(text)
        if not declared.least <= value <= declared.most:
            raise ValueError
        return value

    bound = f", at least {declared.at_least}" if declared.at_least else ""
    values = f"a number from {declared.least} to {declared.most}{bound}, default {declared.default}"
    return Knob(convert, values, declared.help)


def kind_of_hooks(name: str) -> PolicyKind:
    """What a policy in a file, or of an installed package, says of itself; its file is read and run.

    Raises
    ------
    KevacuateError
        There is none of that name, or it cannot be used.
    """
    path, colon, cls = name.rpartition(":")
    if colon and path.endswith(".py"):
        file = load_file(path, cls)
    elif name.endswith(".py"):
        raise KevacuateError(f"The policy {name} names a file alone: write {name}:CLASS.")
    elif name in SHIPPED:
        file = load_shipped(name)
    elif entry := installed().get(name):
        file = load_entry_point(entry)
    else:
        known = ", ".join([*POLICIES, *SHIPPED, *installed()])
        raise KevacuateError(
            f"There is no policy {_shown(name)!r}: the known ones are {known}; a file is written FILE.py:CLASS."
        )
    own = {one.name: _knob(one) for one in file.policy.declared.values() if one.sort == "knob"}
    if taken := sorted(set(own) & set(KNOBS)):
        raise KevacuateError(
            f"{file.path}: {file.name} declares the knob {taken[0]}, which a built-in policy has: choose another name."
        )
    what = (file.policy.__doc__ or "hooks of a file").strip().split("\n")[0]
    variants = declared_variants(getattr(file.policy, "ablation", ()), f"{file.path}: {file.name}")
    knobs = {**own, **KNOBS}
    if name not in SHIPPED:
        return PolicyKind(name, what, knobs, ablation=variants, hooks=file)
    knobs["regions"] = KEPT_REGIONS
    return PolicyKind(name, what, knobs, ablation=variants, hooks=file, regions=RegionConfig(REGION_AUTO))
