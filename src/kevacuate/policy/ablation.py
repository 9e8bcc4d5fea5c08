# SPDX-License-Identifier: GPL-2.0-or-later
"""The variants of a policy as policies: what it declares, or what the user names, added to whatever knobs it was given."""

from __future__ import annotations

from collections.abc import Iterable

from kevacuate.errors import KevacuateError
from kevacuate.policy.mainline import MAINLINE
from kevacuate.policy.policy import Policy, parse_policy
from kevacuate.policy.variant import Variant


def with_knobs(policy: Policy, knobs: str) -> Policy:
    """The same policy with these knobs (``knob=value[,knob=value...]``) in place of its own of the same names.

    Raises
    ------
    KevacuateError
        As :func:`parse_policy`.
    """
    given = [part for part in knobs.split(",") if part]
    turned = {part.partition("=")[0] for part in given}
    kept = [part for part in policy.spec.split(",")[1:] if part.partition("=")[0] not in turned]
    return parse_policy(",".join([policy.name, *kept, *given]))


def ablation_of(policy: Policy, chosen: Iterable[str] | None = None) -> list[tuple[Variant, Policy]]:
    """The variants that the policy declares, or those of the knobs *chosen*, and each as a policy.

    One that the policy is already is left out, where it was not chosen. The first is the policy's absence, if it has one.

    Raises
    ------
    KevacuateError
        It declares none and none is chosen; or as :func:`parse_policy`; or one is chosen twice, or changes nothing.
    """
    found = [] if chosen is None else [Variant(knobs, knobs) for knobs in chosen]
    if not found and not policy.kind.ablation:
        raise KevacuateError(
            f"The policy {policy.name} declares no ablation: name its variants, as --variant KNOB=VALUE[,KNOB=VALUE...]."
        )
    variants: list[tuple[Variant, Policy]] = []
    for variant in found or policy.kind.ablation:
        own = with_knobs(policy, variant.knobs)
        same = [other for _, other in variants if other.knobs == own.knobs]
        if own.knobs == policy.knobs or same:
            if found:
                why = "is given twice" if same else f"changes nothing of {policy.spec}"
                raise KevacuateError(f"The variant {variant.name} {why}.")
            continue
        variants.append((variant, own))
    return ([] if found else _absence(policy)) + variants


def _absence(policy: Policy) -> list[tuple[Variant, Policy]]:
    """What the policy is added to, with those of its knobs that this takes."""
    if policy.name == MAINLINE.name:
        return []
    kept = [part for part in policy.spec.split(",")[1:] if part.partition("=")[0] in MAINLINE.knobs]
    knobs = ",".join(kept)
    return [
        (
            Variant("without it", knobs, f"{MAINLINE.name}: {MAINLINE.what}"),
            parse_policy(",".join([MAINLINE.name, *kept])),
        )
    ]
