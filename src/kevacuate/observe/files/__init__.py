# SPDX-License-Identifier: GPL-2.0-or-later
"""What files say that are no recordings: one file a kind, and the door that finds a file's kind by its content."""
