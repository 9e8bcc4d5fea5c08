# SPDX-License-Identifier: GPL-2.0-or-later
"""How much of a text a parser could not read."""

from __future__ import annotations


class Unread:
    """Counted by a parser while it reads.

    Attributes
    ----------
    lines : int
        Lines that should be read and could not be.

    """

    def __init__(self) -> None:
        self.lines = 0
