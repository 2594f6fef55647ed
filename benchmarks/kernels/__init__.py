# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks of the kernels, for asv."""
