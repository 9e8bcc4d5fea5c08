# SPDX-License-Identifier: GPL-2.0-or-later
"""A variant of a policy, as the policy itself names them for an ablation: a part of it taken out, or something it leaves open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kevacuate.errors import KevacuateError

PART, OPENING, TOGETHER = "part", "opening", "together"
"""What kind of variant it is."""

MOST_NAME, MOST_WHAT = 24, 120
"""Characters of a variant's name and of what it is, at most: they stand in tables."""


@dataclass(frozen=True)
class Variant:
    """One variant.

    Attributes
    ----------
    name : str
        How it is called in a table.
    knobs : str
        The knobs that it turns, ``knob=value[,knob=value...]``.
    what : str
        The part that is taken out, or the opening that is closed, in words.
    kind : str
        PART, OPENING or TOGETHER.
    """

    name: str
    knobs: str
    what: str = ""
    kind: str = PART


def declared_variants(found: Any, whose: str) -> tuple[Variant, ...]:
    """What a class of hooks declares as ``ablation``: (name, knobs, what it is) each.

    Raises
    ------
    KevacuateError
        It is something else; *whose* names the class.
    """
    if not isinstance(found, Iterable) or isinstance(found, str):
        raise KevacuateError(_refusal(whose))
    variants = []
    for one in found:
        known = isinstance(one, tuple) and len(one) == 3 and all(isinstance(text, str) for text in one)
        if not known or not 0 < len(one[0]) <= MOST_NAME or not one[1] or len(one[2]) > MOST_WHAT:
            raise KevacuateError(_refusal(whose))
        if not (one[0] + one[2]).isprintable():
            raise KevacuateError(_refusal(whose))
        variants.append(Variant(*one))
    return tuple(variants)


def _refusal(whose: str) -> str:
    """What an ablation is."""
    return (
        f"{whose}: ablation is a list of (name, knobs, what), all printable text: at most {MOST_NAME} characters, "
        f"knob=value,..., at most {MOST_WHAT} characters."
    )
