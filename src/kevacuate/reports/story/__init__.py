# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of one page or pageblock."""
