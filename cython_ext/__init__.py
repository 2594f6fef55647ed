# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels. They hold the loops over rows and voxels, import nothing of ours, and release the interpreter lock."""

import os

# Threads that wait for work shall sleep: rows of the next slab are read meanwhile, and spinning threads take its core.
# The OpenMP library reads it when the first kernel is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
