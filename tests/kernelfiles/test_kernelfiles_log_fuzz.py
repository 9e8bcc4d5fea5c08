# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and hostile kernel logs, drawn from a seed: whatever a log holds, it gets an answer that is JSON, in bounded time."""

import json
import random
import time
from pathlib import Path

import pytest

from kevacuate.kernelfiles.loglines import looks_like_log
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.kernel_log import answer
from kevacuate.reports.triage.files.kernel_log import tables, words

LOGS = sorted((Path(__file__).parents[1] / "data" / "kernel_logs").glob("*.txt"))
SEEDS = 150
HOSTILE = (
    b"9" * 5000, b"-1", b"0x" + b"f" * 5000, b"Node 99999999999 ", b"kB ", b"*", b"(", b")", b": ", b"=", b"\0", b"\xff\xfe",
    b"#012" * 50, b"free:999999999999999999999kB ", b"lowmem_reserve[]:" + b" 99999999999" * 50, b"order:-1, mode:0x",
    b"0*4kB " * 500, b"nodemask=0-99999999999", b"mems_allowed=" + b"1," * 3000, b" invoked oom-killer: gfp_mask=0x0(",
    b"page allocation failure: order:", b"Killed process 1 (", b"CPU: 1 PID: 2 Comm: " * 30, b"[    1.000000]" * 20,
    "\u0661\u00b2".encode(),
)  # fmt: skip
MORE = (b"> ", b"a:1kB ", b"x", b"Out of memory ", b"page allocation ", b"4,1,2,-;", b"Mar  4 02:11:07 h ")


def damaged(draw: random.Random) -> bytes:
    """A log with bytes changed, parts lost, lines moved, or hostile words in it."""
    lines = b"".join(draw.choice(LOGS).read_bytes() for _ in range(draw.randint(1, 3))).split(b"\n")
    for _ in range(draw.randint(1, 12)):
        at = draw.randrange(len(lines))
        kind = draw.randrange(5)
        if kind == 0 and lines[at]:
            cut = draw.randrange(len(lines[at]))
            lines[at] = lines[at][:cut] + bytes([draw.randrange(256)]) + lines[at][cut + draw.randint(0, 3) :]
        elif kind == 1:
            cut = draw.randint(0, len(lines[at]))
            lines[at] = lines[at][:cut] + draw.choice(HOSTILE) + lines[at][cut:]
        elif kind == 2:
            lines[at : at + draw.randint(1, 4)] = []
            lines = lines or [b""]
        elif kind == 3:
            lines.insert(draw.randrange(len(lines)), lines[at])
        else:
            lines[at] = lines[at] * draw.randint(2, 40)
    return b"\n".join(lines)


@pytest.mark.parametrize("part", range(5))
def test_damaged_logs_get_an_answer(part: int, tmp_path: Path) -> None:
    for seed in range(part * SEEDS // 5, (part + 1) * SEEDS // 5):
        data = damaged(random.Random(seed))
        (tmp_path / "log").write_bytes(data)
        file = TextFile(tmp_path / "log")
        looks_like_log(file.head)
        found = answer([file])
        json.dumps(found)
        assert words(found)
        tables(found)


@pytest.mark.parametrize("word", [*HOSTILE, *MORE])
def test_a_line_of_one_word_takes_no_time(word: bytes, tmp_path: Path) -> None:
    """200,000 bytes of each word, on one line and on many, within an open report and without."""
    begins = b"dd: page allocation failure: order:1, mode:0x20\nNode 0 Normal free:4kB min:4kB\n"
    many = word * (200_000 // len(word)) + b"\n"
    (tmp_path / "log").write_bytes(many + begins + many + (word + b"\n") * 500)
    file = TextFile(tmp_path / "log")
    start = time.process_time()
    looks_like_log(file.head)
    answer([file])
    assert time.process_time() - start < 10
