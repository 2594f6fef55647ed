# SPDX-License-Identifier: GPL-2.0-or-later
"""The noise of a cube: how the voxels are correlated that share rows, and what is measured on sky."""
