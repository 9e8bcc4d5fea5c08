# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of arrays that are apart: a store to one array of the state cannot change what another holds.

:mod:`kevacuate.aliasing` tells LLVM. Here is only who says it, so that the model's records need no compiler.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_APART: dict[type, frozenset[str]] = {}
"""The views (:func:`kevacuate.records.view_of`) of arrays that share no memory, and which of these are only read."""


def arrays_apart(view: type, *, constant: Iterable[str] = ()) -> None:
    """Say that the arrays of which *view* is a view share no memory, and that no compiled function writes those in *constant*."""
    _APART[view] = frozenset(constant)


class Place(NamedTuple):
    """Memory that what lies in other places cannot alias.

    Attributes
    ----------
    tag : str
        Its name: of a view and its field, and of a record's field.
    constant : bool
        No compiled function writes it.
    """

    tag: str
    constant: bool

    def field(self, name: str) -> Place:
        """The place of one named field of all its records."""
        return Place(f"{self.tag}.{name}", self.constant)


def place_of(view: type, field: str) -> Place | None:
    """Where the array that *view* has as *field* lies; None if nobody said that its arrays are apart."""
    if view not in _APART:
        return None
    return Place(f"{view.__name__}.{field}", field in _APART[view])
