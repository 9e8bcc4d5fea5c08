# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of the Linux page allocator: one file per kernel file or concept."""
