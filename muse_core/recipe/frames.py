# SPDX-License-Identifier: GPL-2.0-or-later
"""Tags of input frames that several recipes take, each declared once; `with_` makes one as another recipe takes it."""

from muse_core.model.declare import UNLIMITED, InputSpec


def _raw(tag: str, help: str) -> InputSpec:  # noqa: A002 (the name of the field)
    return InputSpec(tag, "RAW", 1, UNLIMITED, help)


def _calibration(tag: str, help: str, minimum: int = 0, maximum: int = 1) -> InputSpec:  # noqa: A002
    return InputSpec(tag, "CALIB", minimum, maximum, help)


PIXTABLE_OBJECT = _raw("PIXTABLE_OBJECT", "pixel tables of science exposures, one an IFU")
PIXTABLE_REDUCED = _raw("PIXTABLE_REDUCED", "calibrated pixel tables of exposures")
PIXTABLE_SKY = _raw("PIXTABLE_SKY", "pixel tables of an exposure of empty sky")
EXTINCT_TABLE = _calibration("EXTINCT_TABLE", "atmospheric extinction curve", minimum=1)
STD_RESPONSE = _calibration("STD_RESPONSE", "response curve", minimum=1)
STD_TELLURIC = _calibration("STD_TELLURIC", "telluric absorption", minimum=UNLIMITED)
ASTROMETRY_WCS = _calibration("ASTROMETRY_WCS", "astrometric solution", minimum=UNLIMITED)
OFFSET_LIST = _calibration("OFFSET_LIST", "offsets and flux scales of the exposures", minimum=UNLIMITED)
FILTER_LIST = _calibration("FILTER_LIST", "filter curves", minimum=UNLIMITED)
OUTPUT_WCS = _calibration("OUTPUT_WCS", "world coordinates of the cube to make", minimum=UNLIMITED)
AUTOCAL_FACTORS = _calibration("AUTOCAL_FACTORS", "factors of an autocalibration")
RAMAN_LINES = _calibration("RAMAN_LINES", "Raman lines")
SKY_LINES = _calibration("SKY_LINES", "sky emission lines")
SKY_CONTINUUM = _calibration("SKY_CONTINUUM", "sky continuum")
LSF_PROFILE = _calibration("LSF_PROFILE", "line spread functions of the slices", maximum=UNLIMITED)
SKY_SPECTRUM = _calibration("SKY_SPECTRUM", "spectrum of the sky", minimum=1)
SKY_MASK = _calibration("SKY_MASK", "mask of the sky regions")
