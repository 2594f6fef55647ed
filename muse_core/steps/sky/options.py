# SPDX-License-Identifier: GPL-2.0-or-later
"""Choices of the sky subtraction, as the recipe's parameters give them."""

import logging

from muse_core.errors import ParameterError
from muse_core.model.compat import OURS, Compat
from muse_core.model.declare import leading_number

_LOG = logging.getLogger(__name__)


def parse_crsigma(text: str, compat: Compat = OURS) -> tuple[float, float]:
    """Read the parameter ``sky_crsigma``.

    Parameters
    ----------
    text : str
        Two numbers, separated by a comma. With one, the rejection in the spectrum is off and that in the cube has its
        default, as in the ESO pipeline.
    compat : Compat
        ``text_counts_as_zero``: what does not start with a number counts as 0.

    Returns
    -------
    cube : float
        Threshold in the cube of the white-light image, in sigma; 0 or less: none.
    spectrum : float
        Threshold in the spectrum.

    Raises
    ------
    ParameterError
        If a token is no number.
    """
    values = []
    for token in filter(None, text.split(",")):
        number = leading_number(token)
        if number is None and not compat.text_counts_as_zero:
            raise ParameterError(f"parameter sky_crsigma: found {text!r}, expected two numbers, as in 15.,15.")
        values.append(number or 0.0)
    if len(values) < 2:
        _LOG.warning(
            "parameter sky_crsigma: found %r, expected two numbers; using 15 for the cube and none for the spectrum",
            text,
        )
        return 15.0, 0.0
    return values[0], values[1]
