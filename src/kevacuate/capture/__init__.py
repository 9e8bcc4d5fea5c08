# SPDX-License-Identifier: GPL-2.0-or-later
"""The running machine: what it offers, a recorder on tracefs, and snapshots of its memory.

Only one thing is changed on the machine: a tracing instance of our own is made, and removed at the end.
"""
