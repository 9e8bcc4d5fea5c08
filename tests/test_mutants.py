# SPDX-License-Identifier: GPL-2.0-or-later
"""The places of tests/mutants.py are there: a mutant whose text is gone kills nothing and says nothing."""

from __future__ import annotations

import mutants


def test_every_mutants_place_is_there() -> None:
    assert mutants.places(list(range(len(mutants.MUTANTS)))) == 0
