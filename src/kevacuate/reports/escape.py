# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded text made harmless to look at: what would act on the reader's screen is shown, not obeyed."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of what is not shown or acts on the screen."""

MOST_CHARACTERS = 2_000
"""Longer texts are cut; an ellipsis says so."""


def visible(text: object) -> str:
    r"""The text with every control, format and separator character but the space written as ``\u202e``.

    These are the Unicode categories Cc, Cf, Cs, Co, Cn, Zl, Zp: terminal escapes, overrides of the writing direction, line
    separators, invisible characters, halves of surrogates.
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable() and len(plain) <= MOST_CHARACTERS:
        return plain
    shown = _escaped(plain[:MOST_CHARACTERS])
    return shown + "…" if len(plain) > MOST_CHARACTERS else shown


def visible_block(text: str) -> str:
    """The same of a text of several lines, for a terminal: newlines and tabs stay, and nothing is cut."""
    return text if text.isascii() and text.isprintable() else _escaped(text, keep="\n\t")


def _escaped(text: str, keep: str = "") -> str:
    return "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in HIDDEN and c not in keep else c for c in text
    )


def script_json(value: Any) -> str:
    """JSON that may stand inside a ``script`` element: no ``<``, ``>``, ``&`` or line separator in it is literal."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
