# SPDX-License-Identifier: GPL-2.0-or-later
"""What may vary between kernels: one file a policy, with its knobs, counters and rows. No other room knows their names."""

from kevacuate.policy.defaults import BASELINE, BOOTED, COMPARED, PAIR, PATCHED, SKIP_BITS_EXAMPLE
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.policy import (
    KNOBS,
    POLICIES,
    Policy,
    parse_policies,
    parse_policy,
    policies_told,
)

__all__ = [
    "BASELINE",
    "BOOTED",
    "COMPARED",
    "KNOBS",
    "PAIR",
    "PATCHED",
    "POLICIES",
    "SKIP_BITS_EXAMPLE",
    "Policy",
    "PolicyKind",
    "parse_policies",
    "parse_policy",
    "policies_told",
]
