# SPDX-License-Identifier: GPL-2.0-or-later
"""The reclaim level: when kswapd wakes and stops, how much is scanned, which folios, and what becomes of each."""
