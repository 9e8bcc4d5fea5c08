# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level: how far lists are refilled and drained, given allocations and frees."""
