# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict level: is the model's verdict on a policy that of kernels which were really booted with and without it?"""
