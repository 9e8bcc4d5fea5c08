# SPDX-License-Identifier: GPL-2.0-or-later
"""The evacuation level: queues, batches and ends of evacuations, given the claims."""
