# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of a reduction: numbers from its products, checks with limits, one page of HTML, and the same as JSON.

`products` finds what there is; `exposures`, `field`, `sky`, `rows`, `noise`, `steps` measure; `checks` judges;
`figures` draws; `page` writes. Nothing here changes a product, and those of ESO's recipes will do as well as ours.
"""
