# SPDX-License-Identifier: GPL-2.0-or-later
"""Demand reconstruction and the replay loop."""
