# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording and its replays as a Perfetto trace."""
