# SPDX-License-Identifier: GPL-2.0-or-later
"""The counterfactual level: replays under each policy, against kernels that really ran so."""
