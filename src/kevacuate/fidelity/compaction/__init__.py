# SPDX-License-Identifier: GPL-2.0-or-later
"""The compaction level: where runs start and end, which pages are isolated, which free page each gets."""
