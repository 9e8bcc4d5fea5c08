# SPDX-License-Identifier: GPL-2.0-or-later
"""A view as text: what cells show, what the queue's orders are, what becomes of hostile names."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kevacuate.live.text import LETTERS, Options, cell_size, cells, clean, event_line, map_text, sorted_queue
from kevacuate.live.view import CONTENTS, Extfrag, Queued, View
from kevacuate.mm.constants import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE


def view(content: list[str], queued: list[Queued] | None = None) -> View:
    numbers = np.array([CONTENTS.index(name) for name in content], np.uint8)
    return View("x", "y", 1.0, np.arange(len(content)), numbers, [], [], queued or [], {}, 9)


@given(st.text(max_size=60))
def test_nothing_of_a_name_is_acted_on(name: str) -> None:
    shown = clean(name)
    assert len(shown) <= 24
    assert all(unicodedata.category(c)[0] not in "CZ" or c == " " for c in shown)


def test_a_name_as_it_is() -> None:
    assert clean("kworker/u8:2-17") == "kworker/u8:2-17"
    assert clean("\x1b[2J\u202ex") == "\\x1b[2J\\u202ex"
    assert clean("[bold]x[/bold]") == "[bold]x[/bold]"


@pytest.mark.parametrize(
    ("taken", "claimed", "source", "said"),
    [
        (8, True, MIGRATE_MOVABLE, "claim would queue block 2: movable for unmovable, order 0 from 8"),
        (9, True, MIGRATE_MOVABLE, "claim whole block 2: movable for unmovable, order 0 from 9"),
        (8, True, MIGRATE_RECLAIMABLE, "claim block 2: reclaimable for unmovable, order 0 from 8"),
        (8, False, MIGRATE_MOVABLE, "steal block 2: movable for unmovable, order 0 from 8"),
    ],
)
def test_an_event_says_what_it_was_and_what_evacuation_would_do(
    taken: int, claimed: bool, source: int, said: str
) -> None:
    event = Extfrag(0, 0, "", 1024, MIGRATE_UNMOVABLE, source, 0, taken, claimed)
    assert event_line(event, view(["free"]), 200).plain.endswith(f" {said}")


def test_markup_in_a_name_stays_text() -> None:
    event = Extfrag(0, 0, "[red]x[/red]-1", 1, 0, 1, 0, 0, False)
    assert "[red]x[/red]-1" in event_line(event, view(["free"]), 200).plain


def test_a_cell_shows_the_worst_of_its_blocks() -> None:
    content = view(["free", "mixed", "movable", "unmovable", "free", "movable", "reserved"]).content
    assert [CONTENTS[i] for i in cells(content, 2)] == ["mixed", "unmovable", "movable", "reserved"]
    assert [CONTENTS[i] for i in cells(content, 8)] == ["mixed"]
    assert (cells(content, 1) == content).all()


@pytest.mark.parametrize(
    ("blocks", "width", "height", "zoom", "size"), [(100, 10, 10, 0, 1), (101, 10, 10, 0, 2), (9, 1, 1, 3, 4)]
)
def test_cells_are_as_large_as_they_must(blocks: int, width: int, height: int, zoom: int, size: int) -> None:
    assert cell_size(blocks, width, height, zoom) == size


def test_the_map_has_a_letter_a_block_in_order() -> None:
    text = map_text(view(["free"] * 14 + ["mixed"] * 3 + ["movable"]), Options(), 8, 10).plain.splitlines()
    assert text[:3] == ["........", "......XX", "Xm"]
    assert text[3].startswith(f"{LETTERS['free']} free …")


def test_memory_that_is_not_there_is_left_out() -> None:
    text = map_text(
        view(["reserved"] * 10 + ["movable"] * 4 + ["reserved"] * 3), Options(), 40, 10
    ).plain.splitlines()
    assert text[0] == "mmmm"
    assert "reserved left out" in text[-1] + text[-2]


def test_the_orders_of_the_queue() -> None:
    queue = [Queued(1, 5, 10, 0, 0), Queued(2, 3, 99, 0, 0), Queued(3, 9, -1, 0, 0)]
    assert [[one.block for one in sorted_queue(queue, sort)] for sort in range(3)] == [
        [9, 3, 5],
        [3, 5, 9],
        [3, 5, 9],
    ]


@pytest.mark.parametrize(
    ("wanted", "source", "order_taken", "claimed", "queues"),
    [
        (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, 3, True, True),
        (MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE, 8, True, True),
        (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, 9, True, False),
        (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, 3, False, False),
        (MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE, 3, True, False),
        (MIGRATE_MOVABLE, MIGRATE_UNMOVABLE, 8, True, False),
    ],
)
def test_which_claims_queue_a_block(
    wanted: int, source: int, order_taken: int, claimed: bool, queues: bool
) -> None:
    assert Extfrag(0, 0, "", 0, wanted, source, 0, order_taken, claimed).queues(9) is queues
