# SPDX-License-Identifier: GPL-2.0-or-later
"""Which policies are taken where the user names none, and how examples in messages name them."""

from __future__ import annotations

from kevacuate.policy.evacuate import EVACUATE
from kevacuate.policy.mainline import MAINLINE

BASELINE = MAINLINE.name
"""What a single replay runs under, and what others are compared with."""

PATCHED = EVACUATE.name
"""The policy that the laboratory exists for."""

PATCHED_WITHOUT_HINT = f"{PATCHED},skip-hint=ignore"
"""The same where isolation neither reads nor sets compaction's skip bits."""

PAIR = (BASELINE, PATCHED)
"""What a recording is replayed under by default, where two stand side by side."""

COMPARED = (*PAIR, PATCHED_WITHOUT_HINT)
"""What a comparison has by default."""

BOOTED = {BASELINE: "stock", PATCHED: "patched", PATCHED_WITHOUT_HINT: "fixskip"}
"""Policy to the name, in ``outcomes.csv``, of the kernel that was booted with it."""

SKIP_BITS_EXAMPLE = f"{PATCHED},skip-bits=0.5"
"""How an assumed share of skip bits is written."""
