# SPDX-License-Identifier: GPL-2.0-or-later
"""Time and memory of triage for a large system log, of generated text.

    PYTHONPATH=src python benchmarks/kernel_log.py [--megabytes 200] [--every 2000] [--log FILE] [--folder FOLDER]

The log has the lines of other daemons, and every so many lines a report of FILE (by default one of a machine with two nodes,
from the tests' data) with a time and a task of its own; ``--every 0`` makes a log of nothing but reports. Prints the time of
the answer (wall clock and processor), the most memory that the process had, and the number of reports found against those
written. The log is made in FOLDER (by default the system's for temporary files) and removed.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.kernel_log import answer

REPORT = Path(__file__).parents[1] / "tests" / "data" / "kernel_logs" / "310-numa-syslog.txt"
DAEMONS = ("systemd[1]", "sshd[4711]", "agent[811]", "cron[77]", "kernel")
CHUNK = 1 << 20


def other_line(draw: random.Random, second: int) -> str:
    """A line of a daemon that has nothing to do with memory, or of the kernel."""
    clock = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    words = " ".join(f"{draw.getrandbits(40):x}" for _ in range(draw.randint(3, 8)))
    return f"Mar {1 + second // 86400 % 28:2d} {clock} node17 {draw.choice(DAEMONS)}: {words}\n"


def write(path: Path, size: int, every: int, report: Path) -> int:
    """Writes a log of *size* bytes; the number of reports in it."""
    draw = random.Random(1)
    common = [other_line(draw, second) for second in range(20_000)]
    lines = [line.split("kernel: ", 1)[1] for line in report.read_text().splitlines() if "kernel: " in line]
    written = reports = 0
    with path.open("w") as out:
        while written < size:
            at = draw.randrange(len(common) - 2000)
            text = "".join(common[at : at + every]) if every else ""
            head, tail = lines[0].split(":", 1)[0], lines[0].split("]:", 1)[1]
            task = f"{head.split('[')[0]}{reports % 50}"
            stamp = f"Mar  4 02:11:07 node17 kernel: [{1000 + reports}.000000] "
            text += f"{stamp}{task}:{tail}\n" + "".join(f"{stamp}{line}\n" for line in lines[1:])
            reports += 1
            written += out.write(text)
    return reports


def measure(path: Path) -> None:
    """In a process of its own: the answer of one log, its time and memory."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = answer([TextFile(path)])
    print(
        f"{time.perf_counter() - wall:.2f} s ({time.process_time() - cpu:.2f} s of CPU), "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB at most, {found['failures']} failures"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument(
        "--every", type=int, default=2000, help="other lines between two reports, at most 2,000"
    )
    parser.add_argument("--log", type=Path, default=REPORT)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder, "syslog")
        written = write(path, given.megabytes * 1_000_000, min(given.every, 2000), given.log)
        print(f"{path.stat().st_size / 1e6:.0f} MB, {written} reports written: ", end="", flush=True)
        subprocess.run([sys.executable, __file__, "--measure", path], check=True)


if __name__ == "__main__":
    main()
