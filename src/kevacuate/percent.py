# SPDX-License-Identifier: GPL-2.0-or-later
"""Shares as people read them, in one way everywhere: ``78 %``, with a blank before the sign."""

from __future__ import annotations


def percent(share: float, digits: int = 0, *, signed: bool = False) -> str:
    """A share in per cent: ``33 %`` of 1/3.

    Parameters
    ----------
    share : float
        1 is the whole.
    digits : int
        Digits behind the point.
    signed : bool
        Whether a plus stands before what is not negative.

    """
    return f"{100 * share:{'+' if signed else ''}.{digits}f} %"
