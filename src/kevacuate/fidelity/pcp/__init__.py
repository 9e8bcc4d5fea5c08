# SPDX-License-Identifier: GPL-2.0-or-later
"""The pcp level: pages handed out and drained, given when lists are refilled and drained."""
