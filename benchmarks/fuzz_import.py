# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and hostile files for every importer, for a given time each.

    PYTHONPATH=src:tests/recording python benchmarks/fuzz_import.py [--seconds 60] [--first-seed 1000]

Prints, per importer, how many files were read, refused, and what memory the process took at most. Ends at once, naming
the seed, at an exception that is no KevacuateError, at a file that takes over 20 s, and at more than 1 GiB.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
from collections import Counter
from types import FrameType
from typing import NoReturn

from importer_fuzz import IMPORTERS, Importer, bombs, run

SECONDS_A_FILE = 20
LIMIT_MIB = 1024


def too_long(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"one file took over {SECONDS_A_FILE} s")


def memory() -> int:
    """The most memory this process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def attempt(what: str, data: bytes, file: str, importer: Importer | None, whole: bool) -> str:
    """One file."""
    signal.alarm(SECONDS_A_FILE)
    try:
        said = run(data, file, importer.formats if importer else None, whole)
    except BaseException:
        print(f"FAILED: {what}", file=sys.stderr)
        raise
    finally:
        signal.alarm(0)
    if memory() > LIMIT_MIB:
        raise SystemExit(f"FAILED: {what}: {memory()} MiB")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each importer")
    parser.add_argument("--first-seed", type=int, default=1000)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, too_long)
    if sys.flags.optimize:
        raise SystemExit("run it without -O")
    for name in IMPORTERS:
        importer, outcomes, seed, slowest = Importer(name), Counter[str](), options.first_seed, 0.0
        end = time.monotonic() + options.seconds
        while (begun := time.monotonic()) < end:
            file, data = importer.file(seed)
            said = attempt(f"{name}, seed {seed}", data, file, importer, seed % 10 == 0)
            outcomes["refused" if said else "read"] += 1
            slowest = max(slowest, time.monotonic() - begun)
            seed += 1
        counts = ", ".join(f"{n:,} {what}" for what, n in sorted(outcomes.items()))
        print(
            f"{name:12} {sum(outcomes.values()):,} files: {counts}; slowest {slowest:.2f} s; {memory()} MiB",
            flush=True,
        )
    for what, data in bombs().items():
        begun = time.monotonic()
        said = attempt(what, data, "x.dat", None, False)
        print(
            f"{what:12} {'refused' if said else 'read'} in {time.monotonic() - begun:.2f} s: {said}"[:150],
            flush=True,
        )
    print(f"at most {memory()} MiB")


if __name__ == "__main__":
    main()
