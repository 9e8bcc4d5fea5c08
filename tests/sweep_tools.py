# SPDX-License-Identifier: GPL-2.0-or-later
"""A made-up sweep's results, with planted effects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.sweeps.columns import FIGURES, FIRST, MADE
from kevacuate.sweeps.store import Store

SEEDS = 12
NAME = "tiny <b>.kev"


def figures(seed: int, mixed: float, worker: float) -> dict[str, float]:
    """Made-up figures of a replay."""
    rng = np.random.default_rng(seed)
    values = {row.id: 1.0 for row in FIGURES if not row.id.startswith(("vmstat.", "stall."))}
    noise = rng.normal(size=3)
    return values | {
        "end.mixed_blocks": 50 + mixed + noise[0],
        "end.polluted_blocks": 80 + noise[1],
        "cost.worker_ms": worker + (abs(noise[2]) if worker else 0.0),
    }


def cell(policy: str, knobs: dict[str, str], seed: int, mixed: float, worker: float) -> dict[str, Any]:
    label = ",".join([policy, *(f"{name}={value}" for name, value in sorted(knobs.items()))])
    number = sum(map(ord, label)) * 1000 + seed
    return {
        **{name: "" for name, _ in FIRST},
        "cell": f"{label}-{seed}",
        "demand": NAME,
        "demand_digest": "d",
        "policy": label,
        "base": policy,
        "seed": seed,
        "replay": '{"despite_losses":true,"loop":"open"}',
        "error": None,
        "knobs": knobs,
        "figures": figures(number, mixed, worker),
    }


def grid() -> list[dict[str, Any]]:
    """Two policies, two knobs, a condition: pool=8 helps at a cost where memory is 0.9, and wq and pool=0 do nothing."""
    rows = []
    for seed in range(SEEDS):
        for memory in ("1.0", "0.9"):
            rows.append(cell("mainline", {"memory": memory}, seed, 0.0, 0.0))
            for pool in ("0", "8"):
                for wq in ("per-cpu", "per-node"):
                    knobs = {"memory": memory, "pool": pool, "wq": wq}
                    helps = -9.0 if pool == "8" and memory == "0.9" else 0.0
                    harms = 9.0 if pool == "8" and memory == "1.0" else 0.0
                    rows.append(cell("evacuate", knobs, seed, helps + harms, 4.0 if pool == "8" else 0.0))
    return rows


def filled(path: Path, rows: list[dict[str, Any]]) -> Path:
    store = Store(path)
    for row in rows:
        store.put(row, {**dict.fromkeys(name for name, _ in MADE), "cell": row["cell"]})
    store.keep_demands({"d": "/some where/tiny.kev"})
    store.collect()
    return path
