# SPDX-License-Identifier: GPL-2.0-or-later
"""Where we differ from the reference on purpose, one switch for each defect of it.

By default we do what is right; with ``MUSE_COMPAT=2.8.7`` in the environment every switch is on and the numbers are
those of ESO's recipe 2.8.7. docs/known_differences.md lists each with its reason and size.
"""

import dataclasses
import os
from collections.abc import Mapping

from muse_core.errors import ParameterError
from muse_core.model.record import record

ENVIRONMENT_VARIABLE = "MUSE_COMPAT"
REFERENCE_VERSION = "2.8.7"
#: In the headers of products that are not made with all defects.
KEYWORD = "ESO DRS MUSE SCIPOST COMPAT"


@record(kw_only=True)
class Compat:
    """True in a field: reproduce this defect of the reference."""

    geolon_west_positive: bool = False  # ESO TEL GEOLON used as west-positive longitude
    senseless_values_used: bool = False  # numbers beyond all sense, text, NaN in curves are used, or count as 0
    integer_keywords_missing: bool = False  # a number without decimal point counts as missing
    keep_partial_exposure: bool = False  # an IFU file that fails to load ends the exposure silently
    ambiguous_master_ignored: bool = False  # two frames of a "one only" tag count as none
    subtract_model_without_inputs: bool = False  # subtract-model subtracts what it has, possibly nothing
    bad_output_wcs_ignored: bool = False  # an unusable OUTPUT_WCS is ignored
    unflagged_outside_calibration: bool = False  # rows outside response or flat-field spectrum are not flagged
    raman_float32_fit: bool = False  # Raman fit stops far from the minimum
    fwhm_y_from_converted_x: bool = False  # FWHM in y uses the already converted x
    nan_hides_sources: bool = False  # one NaN in the plane of the FWHM keywords, and no source is found
    renka_nan_variance: bool = False  # renka voxels of far pixels only: variance NaN
    euro3d_images_cut: bool = False  # images of Euro3D cubes cut to the size, not the place, of the area with data
    euro3d_step_asked_for: bool = False  # spaxel size in Euro3D cubes is that of the parameters, not of the grid
    dar_fits_end_early: bool = False  # fits of sources in the DAR check end before their minimum
    dar_of_few_planes_zero: bool = False  # too few planes with a position: no residual refraction
    stacked_dx_in_degrees: bool = False  # stacked takes dx in arcsec as degrees
    bad_offset_list_ignored: bool = False  # an OFFSET_LIST of unexpected format is ignored
    autocal_by_row_position: bool = False  # columns quad, ifu, sli of AUTOCAL_FACTORS are ignored
    user_factors_computed: bool = False  # autocalib=user without AUTOCAL_FACTORS computes factors from the data
    failed_step_ignored: bool = False  # a failing step (DAR, flux, velocity) leaves the table as it is, exit 0
    sky_lines_dropped: bool = False  # a SKY_LINES table of unexpected structure counts as empty
    bad_sky_input_ignored: bool = False  # an unusable SKY_CONTINUUM or SKY_MASK, or part of SKY_LINES, is ignored
    bad_lsf_used: bool = False  # LSF_PROFILE without coordinates or with empty profiles is used, a broken one ignored
    lsf_of_other_shape_ignored: bool = False  # an LSF_PROFILE of another shape is left out of the average
    slice_without_lsf_ignored: bool = False  # slices without LSF_PROFILE keep their sky lines
    text_counts_as_zero: bool = False  # what is no number in sky_crsigma or pixfrac counts as 0
    continuum_of_other_rows: bool = False  # with parametrised LSFs and unsorted rows, not from the rows on sky
    original_always_kept: bool = False  # subtract_sky without orig writes a column without name
    astrometry_input_not_recorded: bool = False  # products of apply_astrometry: headers of ASTROMETRY_WCS
    curves_of_other_range_used: bool = False  # flux is calibrated by curves for other wavelengths, or not, silently
    grid_without_data_made: bool = False  # an OUTPUT_WCS that does not touch the data gives a cube of NaN
    filter_without_data_used: bool = False  # a filter outside of the range of the cube gives an image of NaN
    shifted_lines_used: bool = False  # a fit that moves the sky lines by Angstroms is taken for one
    wide_bin_not_folded: bool = False  # an LSF narrower than skymodel_sampling is used unfolded
    unmatched_offsets_ignored: bool = False  # an OFFSET_LIST without any of the exposures changes nothing, silently
    source_list_off_by_one: bool = False  # positions in SOURCE_LIST are those of one pixel before, in x and y
    override_without_lists: bool = False  # override_detection without SOURCE_LIST detects sources
    preview_cut: bool = False  # PREVIEW_FOV lacks a row and a column, and more if the images are rotated
    ra_zero_not_crossed: bool = False  # right ascensions on both sides of 0 count as 360 degrees apart

    @classmethod
    def reference(cls) -> "Compat":
        """All defects reproduced."""
        return cls(**{f.name: True for f in dataclasses.fields(cls)})

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Compat":
        """Read ``MUSE_COMPAT``.

        Raises
        ------
        ParameterError
            If it names a version that we do not know.
        """
        value = (os.environ if environ is None else environ).get(ENVIRONMENT_VARIABLE, "")
        if not value:
            return cls()
        if value != REFERENCE_VERSION:
            raise ParameterError(f"{ENVIRONMENT_VARIABLE}: found {value!r}, expected {REFERENCE_VERSION!r} or nothing")
        return cls.reference()


OURS = Compat()
