# SPDX-License-Identifier: GPL-2.0-or-later
"""A comparison, or recordings side by side: rows, tables, conclusion."""
