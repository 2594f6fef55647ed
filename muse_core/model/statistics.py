# SPDX-License-Identifier: GPL-2.0-or-later
"""Constants of statistics."""

#: Standard deviation of a normal distribution over the median of the absolute deviations from its median.
SIGMA_PER_MAD = 1.482602218505602
