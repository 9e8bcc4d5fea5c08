# SPDX-License-Identifier: GPL-2.0-or-later
"""Sweeps in words, as tables and as a page."""
