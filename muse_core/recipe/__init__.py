# SPDX-License-Identifier: GPL-2.0-or-later
"""What all recipes share: their base class, the context of a run, parameters, frames and products that several have.

Nothing heavy is imported with `base`, `parameters`, `frames` and `products`: front-ends list recipes with them alone.
"""
