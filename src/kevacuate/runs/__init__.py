# SPDX-License-Identifier: GPL-2.0-or-later
"""A demand through the model: one replay, many, comparisons of policies."""
