# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast this tree replays a recording, against another tree: ``python -m benchmarks.builds OTHER [--runs 15]``.

One process a tree, each kept; they replay in turn, so that what else the machine does hits both. A replay is a whole call of
``replay``: the rows are decoded, the state is loaded, the samples and the result are made. Counted is the user CPU time of each
call. Prints the medians, their ratio, the peak memory, and whether the final states are equal; compiles first.

    git worktree add --detach ../old COMMIT
    python -m benchmarks.builds ../old
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
POLICIES = ("mainline", "evacuate,skip-hint=ignore")

_CHILD = """
import json, resource, sys
import kevacuate
try:
    from kevacuate.runs.replay import replay
except ImportError:  # a tree from when the folder had this name
    from kevacuate.replay.run import replay
where, loop, seed = sys.argv[1:]
options = kevacuate.ReplayOptions(seed=int(seed), **({"loop": loop} if loop else {}))
recording = kevacuate.Recording.open(where) if where else kevacuate.Recording.shipped()
for line in sys.stdin:
    before = resource.getrusage(resource.RUSAGE_SELF)
    run = replay(recording, line.strip(), options=options)
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({
        "user": after.ru_utime - before.ru_utime,
        "peak_mib": after.ru_maxrss / 1024,
        "rows": run.metrics["demand_rows"],
        "digest": run.provenance["final_state_digest"],
    }), flush=True)
"""


class Tree:
    """A source tree with a process that replays when asked to.

    Parameters
    ----------
    path : Path
        The tree; its ``src`` comes before whatever this Python has installed.
    recording : str
        A recording, or nothing for the shipped one of each tree.
    loop : str
        Of every replay; nothing where the tree chooses, or knows no loops.
    seed : int
        Of every replay.
    """

    def __init__(self, path: Path, recording: str, loop: str = "", seed: int = 0) -> None:
        if not (path / "src" / "kevacuate").is_dir():
            raise SystemExit(f"{path} is no source tree: it has no src/kevacuate.")
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, recording, loop, str(seed)],
            env={**os.environ, "PYTHONPATH": str(path / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def replay(self, policy: str) -> dict[str, Any]:
        """One replay: user CPU seconds, peak MiB of the process so far, rows, digest of the final state."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(policy + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"The replay of {policy} ended in {self.path}.")
        result: dict[str, Any] = json.loads(line)
        return result

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compare(this: Tree, other: Tree, policy: str, runs: int) -> dict[str, Any]:
    """Both replay *policy* in turn, *runs* times after one that is not counted; medians and their ratio."""
    trees = (this, other)
    first = [tree.replay(policy) for tree in trees]
    seconds: list[list[float]] = [[], []]
    last = first
    for _ in range(runs):
        last = [tree.replay(policy) for tree in trees]
        for values, result in zip(seconds, last, strict=True):
            values.append(result["user"])
    medians = [statistics.median(values) for values in seconds]
    pairs = sorted(theirs / ours for ours, theirs in zip(*seconds, strict=True))
    return {
        "policy": policy,
        "rows": first[0]["rows"],
        "user_seconds": medians,
        "ratio": medians[1] / medians[0],
        "ratio_of_pairs": (pairs[0], statistics.median(pairs), pairs[-1]),
        "peak_mib": [result["peak_mib"] for result in last],
        "equal": first[0]["digest"] == first[1]["digest"],
    }


def show(result: dict[str, Any]) -> None:
    """Two lines for one policy."""
    (ours, theirs), (least, median, most) = result["user_seconds"], result["ratio_of_pairs"]
    print(
        f"{result['policy']}: {result['rows']:,} rows; user CPU {ours * 1e3:.0f} ms here, {theirs * 1e3:.0f} ms there: "
        f"{result['ratio']:.2f} x as fast (pairs {least:.2f}, {median:.2f}, {most:.2f})\n"
        f"         peak {result['peak_mib'][0]:.0f} MiB here, {result['peak_mib'][1]:.0f} there; "
        f"final states {'equal' if result['equal'] else 'DIFFER'}",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    """Compare this tree with another."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.builds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("other", type=Path, help="another source tree")
    parser.add_argument("--policy", nargs="+", default=POLICIES)
    parser.add_argument("--recording", default="", help="replay this one instead of the shipped one")
    parser.add_argument("--loop", default="", help="of this tree's replays: open or closed")
    parser.add_argument("--seed", type=int, default=0, help="of all replays; 0 varies nothing")
    parser.add_argument("--runs", type=int, default=15, help="replays by each tree and policy")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    found = []
    for path in (HERE, options.other.resolve()):
        loop = options.loop if path == HERE else ""
        with closing(
            Tree(path, options.recording, loop)
        ) as compiling:  # takes memory that no other replay takes
            compiling.replay(options.policy[0])
    here = Tree(HERE, options.recording, options.loop, options.seed)
    there = Tree(options.other.resolve(), options.recording, seed=options.seed)
    with closing(here), closing(there):
        for policy in options.policy:
            found.append(compare(here, there, policy, options.runs))
            show(found[-1])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
