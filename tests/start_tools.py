# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's state at the start of a replay in open loop, of a start state and what its pages are."""

from __future__ import annotations

import numpy as np

from kevacuate.mm.layout import State
from kevacuate.policy import Policy, parse_policy
from kevacuate.recording import AllocatorState, Machine, StartObjects
from kevacuate.runs.initial_state import initial_state, machine_config, skip_bits, start_of
from kevacuate.runs.options import ReplayOptions


def begun(
    machine: Machine,
    recorded: AllocatorState,
    objects: StartObjects,
    policy: Policy | None = None,
    skip: np.ndarray | None = None,
) -> State:
    """The state, under `mainline` and with the recorded skip bits unless others are given."""
    policy = policy or parse_policy("mainline")
    start = start_of(machine, recorded, policy)
    config = machine_config(machine, start, policy.settings)
    if skip is None:
        skip = skip_bits(recorded, policy, 0)
    return initial_state(machine, config, recorded, start, objects, policy, ReplayOptions(), 1000, skip)
