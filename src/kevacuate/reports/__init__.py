# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables and words for people."""
