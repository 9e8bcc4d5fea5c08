# SPDX-License-Identifier: GPL-2.0-or-later
"""What may vary between kernels: ``mainline``, ``evacuate`` and their knobs."""

from kevacuate.policy.policy import KNOBS, PAIR, POLICIES, Policy, parse_policies, parse_policy

__all__ = ["KNOBS", "PAIR", "POLICIES", "Policy", "parse_policies", "parse_policy"]
