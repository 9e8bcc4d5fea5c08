# SPDX-License-Identifier: GPL-2.0-or-later
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from capture_tools import FREE_TEXT, TEXTS

from kevacuate.capture import options as opt
from kevacuate.capture.command import check_asked, invoking_user
from kevacuate.capture.events import DEFAULT, GROUPS, LIGHT, EventChoice, choose_events
from kevacuate.capture.options import RecordOptions, choose_buffer, parse_size
from kevacuate.capture.session import Session
from kevacuate.capture.survey import CLASSES, Survey, SurveyedBlocks, count_blocks
from kevacuate.capture.tasks import TaskNumbers
from kevacuate.capture.tracefs import sub_buffer_bytes
from kevacuate.cli.process import ended_by_signal
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import tails_as_heads
from kevacuate.recording.schema import EVENT_SPECS
from kevacuate.recording.snapshot import snapshot_from_texts
from kevacuate.reports.blockmap import MARKS, block_map

HEADER_PAGE = """	field: u64 timestamp;	offset:0;	size:8;	signed:0;
	field: local_t commit;	offset:8;	size:8;	signed:1;
	field: int overwrite;	offset:8;	size:1;	signed:1;
	field: char data;	offset:16;	size:{};	signed:0;
"""


def test_tasks_are_numbered_in_order_of_appearance() -> None:
    tasks = TaskNumbers()
    assert tasks.numbers(np.array([70, 0, 9, 70, -1], np.int32)).tolist() == [1, 0, 2, 1, -1]
    assert tasks.numbers(np.array([4_000_000, 9], np.int32)).tolist() == [3, 2]
    assert TaskNumbers(tasks.pids).numbers(np.array([9, 5], np.int32)).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("2 GiB", 2 << 30), ("1.5k", 1536), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises(KevacuateError, match="is not a size"):
        parse_size("many")


def test_buffers_stay_a_small_share_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opt, "available_bytes", lambda: 8 << 30)
    assert choose_buffer(1, light=False) == 128 * 1024
    assert choose_buffer(128, light=False) * 128 << 10 <= (8 << 30) // 50
    assert choose_buffer(2, light=True) == 1024
    monkeypatch.setattr(opt, "available_bytes", lambda: 0)
    assert choose_buffer(2, light=False) == 256


def test_a_disk_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opt, "free_disk", lambda path: 10 << 20)
    with pytest.raises(KevacuateError, match="has 10 MiB free, but recording needs at least 65 MiB"):
        opt.check_disk(tmp_path, 1 << 20)


def fake_events(path: Path, events: tuple[str, ...]) -> Path:
    for event in events:
        (path / "events" / event).mkdir(parents=True)
        (path / "events" / event / "format").write_text(FREE_TEXT)
    return path


def test_events_of_modes_and_groups(tmp_path: Path) -> None:
    every = (*DEFAULT, *LIGHT[:0], *(e for g in GROUPS.values() for e in g))
    tracefs = fake_events(tmp_path, every)
    assert choose_events(tracefs).chosen == DEFAULT
    assert choose_events(tracefs, light=True).chosen == LIGHT
    more = choose_events(tracefs, groups=("migrate",))
    assert more.chosen == (*DEFAULT, *GROUPS["migrate"])
    assert more.missing == ()
    assert {event.split("/")[1] for event in every} <= set(EVENT_SPECS)


def test_missing_events_are_named_and_needed_ones_refused(tmp_path: Path) -> None:
    few = fake_events(tmp_path / "few", DEFAULT[:3])
    assert choose_events(few).missing == DEFAULT[3:]
    none = fake_events(tmp_path / "none", DEFAULT[2:])
    with pytest.raises(KevacuateError, match="no event kmem/mm_page_alloc in"):
        choose_events(none)


def test_sub_buffer_size_is_read_not_assumed() -> None:
    assert sub_buffer_bytes(HEADER_PAGE.format(4080)) == 4096
    assert sub_buffer_bytes(HEADER_PAGE.format(65520)) == 65536
    with pytest.raises(KevacuateError, match="layout"):
        sub_buffer_bytes("field: char data; offset:12; size:4084;")


def test_a_program_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KevacuateError, match="no program 'no-such-program-here'"):
        check_asked(RecordOptions(tmp_path / "x.kev", command=("no-such-program-here",)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_user_is_the_one_who_called_sudo() -> None:
    assert invoking_user({}) is None
    assert invoking_user({"SUDO_UID": "0", "SUDO_GID": "0"}) is None
    user = invoking_user({"SUDO_UID": "54321", "SUDO_GID": "54321"})
    assert user is not None
    assert (user.uid, user.gid, user.groups) == (54321, 54321, ())


def test_blocks_are_classed_by_their_pages() -> None:
    lru, buddy, slab, reserved = (1 << bit for bit in (5, 10, 7, 32))
    flags = np.array(
        [buddy] * 8
        + [lru] * 4
        + [buddy] * 4
        + [lru, slab] * 4
        + [slab] * 8
        + [0] * 8
        + [reserved] * 8
        + [lru] * 6
        + [0, 0]
        + [0] * 8,
        np.uint64,
    )
    counts = count_blocks(flags, 3)
    absent = np.array([False] * 4 + [True] + [False] * 3)
    survey = Survey(snapshot_from_texts(TEXTS, 0, "now"), 3, counts, "6.1", absent)
    names = ["free", "movable", "mixed", "unmovable", "absent", "reserved", "unclear", "unmovable"]
    assert [CLASSES[c] for c in survey.classes] == names
    found = survey.to_json()
    assert found["blocks_by_class"]["mixed"] == 1
    assert "absent" not in found["blocks_by_class"], "a hole is no block"
    assert sum(found["blocks_by_class"].values()) == 7
    assert found["mixed_blocks"] == {"least": 1, "most": 2}, (
        "the three pages counted on per-CPU lists may be those"
    )
    known = Survey(survey.counts, 3, counts, "6.1", absent, lists_known=True)
    assert CLASSES[known.classes[6]] == "mixed"
    assert known.mixed == (2, 2)
    assert isinstance(counts, SurveyedBlocks)


def test_tails_have_the_flags_of_their_heads_on_every_kernel() -> None:
    lru, head, tail, thp, slab = (np.uint64(1 << bit) for bit in (5, 15, 16, 22, 7))
    old = np.array(
        [tail | thp, lru, lru | head | thp, tail | thp, tail | thp, slab | head, tail | slab, 0], np.uint64
    )
    new = tails_as_heads(old)
    assert new.tolist() == [
        *old[:3].tolist(),
        *[int(lru | tail | thp)] * 2,
        *old[5:].tolist(),
    ]
    assert np.array_equal(tails_as_heads(new), new)
    assert count_blocks(new, 3).movable.tolist() == [4]


def test_the_map_needs_no_colour() -> None:
    assert len({mark for mark, _, _ in MARKS.values()}) == len(MARKS) == len(CLASSES)
    assert tuple(MARKS) == CLASSES
    text, per = block_map(np.array([2, 2, 4, 5, 3, 1, 0, 0], np.uint8), 4, 10)
    assert (text.plain, per) == ("..XU\nm-\n", 1)
    text, per = block_map(np.array([2, 4, 2, 2, 5, 5, 5, 3], np.uint8), 2, 2)
    assert (text.plain, per) == ("X.\nUU\n", 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_what_ended_a_recorder_before_its_first_event_is_known_to_its_caller(
    number: signal.Signals, tmp_path: Path
) -> None:
    session = Session(opt.RecordOptions(tmp_path / "a.kev"), tmp_path, EventChoice((), ()))

    def recorded() -> None:
        with session._signals():
            session._go_on()
            os.kill(os.getpid(), number)
            session._go_on()

    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # SIGINT is ignored where the tests run in the background
    try:
        with ended_by_signal() as caught:
            with pytest.raises(KeyboardInterrupt):
                recorded()
            assert caught == [number]
    finally:
        signal.signal(number, before)
