# SPDX-License-Identifier: GPL-2.0-or-later
"""The buddy level: pages taken, merged, claimed and stolen, given the requests."""
