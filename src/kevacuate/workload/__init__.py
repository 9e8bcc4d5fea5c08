# SPDX-License-Identifier: GPL-2.0-or-later
"""Demand that is described, not recorded: a machine and what runs on it, generated as a stream of rows."""
