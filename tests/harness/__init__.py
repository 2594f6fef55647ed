# SPDX-License-Identifier: GPL-2.0-or-later
"""Running ESO's recipe and ours on the same input, and comparing their products."""
