# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict level: whether the model's verdict on a policy is that of kernels booted with and without it."""
