# SPDX-License-Identifier: GPL-2.0-or-later
"""The lockstep scripts of closed loops under pressure, played until every exit and every result has been reached often enough.

    python tests/lockstep_pressure.py [OPERATIONS]

Not collected by pytest: 300,000 operations, the default, take some minutes. Prints the counts; exits with 1 if the models differ
or something was reached too seldom.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "mm")]


def main(operations: int) -> int:
    """Play the shards in turn, each time from another seed, up to so many operations at least."""
    from hypothesis import given, seed, settings
    from hypothesis import strategies as st
    from lockstep import Lockstep
    from lockstep_counts import REQUIRED_OF_LONG_RUN
    from lockstep_machines import THEMES, specs
    from lockstep_script import Script
    from lockstep_spec import Spec
    from test_lockstep import PRESSURE_SHARDS, SETTINGS

    total: Counter[str] = Counter()
    turn = 0
    while total["operations"] < operations:
        shard = PRESSURE_SHARDS[turn % len(PRESSURE_SHARDS)]

        @seed(turn)
        @settings(SETTINGS, max_examples=shard.machines, deadline=None, database=None)
        @given(specs(THEMES[shard.theme]), st.integers(0, 2**32 - 1))
        def play(spec: Spec, number: int) -> None:
            lock = Lockstep(spec)
            Script(lock, number, shard.plan).run(shard.operations)  # noqa: B023 (called in this turn)
            total.update(lock.finish().total)

        play()
        turn += 1
        print(f"{total['operations']:>10,} operations after {shard}", file=sys.stderr, flush=True)
    for what, times in sorted(total.items()):
        print(f"{times:>10,} {what}")
    missing = {what: least for what, least in REQUIRED_OF_LONG_RUN.items() if total[what] < least}
    for what, least in missing.items():
        print(f"not reached often enough: {what}: {total[what]:,} < {least:,}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000))
