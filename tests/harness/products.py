# SPDX-License-Identifier: GPL-2.0-or-later
"""What products have in them, to be compared to the last bit."""

from pathlib import Path

from astropy.io import fits

#: Keywords that have the time of the run in them, in value or comment.
_TIMES = {"DATE", "CHECKSUM", "DATASUM"}


def products(folder: Path) -> dict:
    """Return all keywords and the sum of the data of each product and extension, but for the time of the run."""
    found = {}
    for path in sorted(folder.glob("*.fits")):
        with fits.open(path) as hdus:
            for number, hdu in enumerate(hdus):
                cards = [card for card in hdu.header.cards if card.keyword not in _TIMES]
                found[path.name, number] = (
                    hdu.header["DATASUM"],
                    [(c.keyword, str(c.value), c.comment) for c in cards],
                )
    return found
