# SPDX-License-Identifier: GPL-2.0-or-later
"""Sky subtraction: mask, spectrum, line fit, continuum, subtraction. Functions on arrays and model objects."""
