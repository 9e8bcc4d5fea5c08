# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast ``kevacuate triage`` reads a large copy of page_owner, and how much memory that takes.

``python -m benchmarks.page_owner [MEBIBYTES]`` writes such a file (1,024 MiB unless said) to a temporary folder, reads it in a
process of its own, and prints the rate and the peak of memory. The file is drawn from a seed: Linux 7.2's lines, stacks of
16 functions,
4,000 different ones, one record in eight that cannot move.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

STACKS = 4000
FRAMES = 16
RECORDS_PER_WRITE = 4096

READ = """
import json, resource, sys, time
from pathlib import Path
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.page_owner import answer
began, cpu = time.perf_counter(), time.process_time()
dump = answer([TextFile(Path(sys.argv[1]))])["dumps"][0]
print(json.dumps({
    "seconds": time.perf_counter() - began,
    "cpu_seconds": time.process_time() - cpu,
    "MiB_at_most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "records": dump["records"], "polluted_blocks": dump["polluted_blocks"], "stacks": dump["stacks_in_all"],
}))
"""


def stacks(draw: random.Random) -> list[str]:
    """Stacks as the kernel prints them."""
    return [
        "".join(
            f" function_{draw.randrange(3000)}_of_kernel+0x{draw.randrange(1, 4096):x}/0x{draw.randrange(4096, 8192):x}\n"
            for _ in range(FRAMES)
        )
        for _ in range(STACKS)
    ]


def records(seed: int) -> Iterator[str]:
    """Records without end, by ascending page frame."""
    draw, pfn = random.Random(seed), 0x1000
    known = stacks(draw)
    while True:
        order = draw.choice((0, 0, 0, 0, 1, 3))
        own = draw.random() < 0.125
        kind, mask = (
            ("Unmovable", "0xcc0(GFP_KERNEL)")
            if own
            else ("Movable", "0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP)")
        )
        yield (
            f"Page allocated via order {order}, mask {mask}, pid {draw.randrange(400, 32768)}, tgid {draw.randrange(400, 32768)} "
            f"(worker-{draw.randrange(200)}), ts {draw.randrange(10**12)} ns\n"
            f"PFN 0x{pfn:x} type {kind} Block {pfn >> 9} type Movable "
            f"Flags 0x17ffffc0000200(lru|node=0|zone=2|lastcpupid=0x1fffff)\n"
            f"{known[int(draw.random() ** 3 * STACKS)]}\n"
        )
        pfn += 1 << order


def write(path: Path, size: int, seed: int = 1) -> None:
    """Write a file of that many bytes, to the end of a record."""
    made = records(seed)
    with path.open("w", encoding="ascii") as file:
        while file.tell() < size:
            file.write("".join(next(made) for _ in range(RECORDS_PER_WRITE)))


def main() -> None:
    """Write, read, print."""
    mebibytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page_owner"
        write(path, mebibytes << 20)
        size = path.stat().st_size
        done = subprocess.run(
            [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
        )
    found = json.loads(done.stdout)
    print(
        json.dumps(
            {"MiB": size >> 20, "MiB_per_cpu_second": (size >> 20) / found["cpu_seconds"], **found}, indent=1
        )
    )


if __name__ == "__main__":
    main()
