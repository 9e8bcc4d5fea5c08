# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded text made harmless to look at: what would act on the reader's screen is shown, not obeyed."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

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
    shown = "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") else c
        for c in plain[:MOST_CHARACTERS]
    )
    return shown + "…" if len(plain) > MOST_CHARACTERS else shown


def script_json(value: Any) -> str:
    """JSON that may stand inside a ``script`` element: no ``<``, ``>``, ``&`` or line separator in it is literal."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
