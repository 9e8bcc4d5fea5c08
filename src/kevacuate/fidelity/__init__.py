# SPDX-License-Identifier: GPL-2.0-or-later
"""The model against the recorded kernel, decision by decision (docs/fidelity.md)."""
