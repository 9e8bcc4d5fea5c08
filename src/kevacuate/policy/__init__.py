# SPDX-License-Identifier: GPL-2.0-or-later
"""What may vary between kernels: ``mainline``, ``evacuate`` and their knobs."""

from kevacuate.policy.policy import KNOBS, POLICIES, Policy, parse_policy

__all__ = ["KNOBS", "POLICIES", "Policy", "parse_policy"]
