# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded kernel did, from its own events and states; no model runs here."""
