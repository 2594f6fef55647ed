# SPDX-License-Identifier: GPL-2.0-or-later
"""Relative pointing of exposures from the point sources of their field-of-view images.

`stars` finds the sources of an image, `match` the offsets between images, `mosaic` lays the images over each other.
"""
