# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done with pixel tables, a function a step: the functions that the recipes call, on tables in a notebook.

A step changes the table that it gets, and returns it. Files that it needs are those of the set of frames with which
the table was read, unless others are given. Parameters have the names and defaults of the recipe muse_scipost.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.api import session
from muse_core.api.cube import Cube, scratch_folder
from muse_core.api.pixtable import PixelTable
from muse_core.api.steps import sky
from muse_core.engine.slabs import Weights
from muse_core.errors import DataError, InputError, ParameterError
from muse_core.io.fitsreader import FitsFile
from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.header import PIXTABLE
from muse_core.recipe.parameters import Resampling
from muse_core.recipe.run import Run
from muse_core.recipes.muse_scipost import MuseScipost
from muse_core.stages import (
    autocalibration,
    calibrate,
    calibrations,
    locate,
    raman,
)
from muse_core.stages import (
    combine as combination,
)
from muse_core.stages import (
    cube as cubes,
)
from muse_core.stages.darcheck import check_refraction as measure_refraction
from muse_core.stages.exposures import ReducedExposure
from muse_core.stages.locate import Located, LocationOptions
from muse_core.stages.pointing import Pointing, load_pointing
from muse_core.stages.sky import load_lsf, load_sky_mask

__all__ = [
    "autocalibrate", "calibrate_flux", "check_refraction", "clean_raman", "combine", "correct_refraction",
    "correct_velocity", "make_cube", "project", "sky", "subtract_sky",
]  # fmt: skip

_LOG = logging.getLogger(__name__)
_P = MuseScipost.Parameters()
_R: Resampling = _P.resampling
File = str | os.PathLike


def correct_refraction(table: PixelTable, lambdaref: float = _P.lambdaref) -> PixelTable:
    """Correct the positions for the differential refraction of the atmosphere.

    Parameters
    ----------
    table : PixelTable
        Positions in the field, "pix".
    lambdaref : float
        Wavelength in Angstrom that stays where it is.

    Returns
    -------
    PixelTable
        The table itself.

    Raises
    ------
    DataError
        Positions are in another state, or airmass and angles are not in the header.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.PixelTable.read("none.sof")
    >>> muse.steps.correct_refraction(table).header["ESO DRS MUSE PIXTABLE DAR CORRECT"]
    7000.0
    """
    run, stored, store = _parts(table)
    kept = _field_of(table)
    done = calibrate.correct_refraction(run, stored, store, lambdaref)
    for card in kept if done else ():
        set_card(table.header, *card)
    session.noted(run, "correct_refraction", {"lambdaref": lambdaref})
    return table


def calibrate_flux(
    table: PixelTable, response: File | None = None, extinction: File | None = None, telluric: File | None = None
) -> PixelTable:
    """Calibrate the flux: from counts to 1e-20 erg / s / cm2 / Angstrom.

    Parameters
    ----------
    table : PixelTable
        Data in counts.
    response, extinction, telluric : path, optional
        STD_RESPONSE, EXTINCT_TABLE, STD_TELLURIC; by default those of the set of frames.

    Returns
    -------
    PixelTable
        The table itself.

    Raises
    ------
    InputError
        There is no response, or a file cannot be used.
    DataError
        The data are no counts, or the curves are for other wavelengths.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.PixelTable.read("none.sof")
    >>> muse.steps.calibrate_flux(table).data_unit
    '10**(-20)*erg/s/cm**2/Angstrom'
    """
    given = {"STD_RESPONSE": response, "EXTINCT_TABLE": extinction, "STD_TELLURIC": telluric}
    run, stored, store = _parts(table, **given)
    curves = calibrations.load_flux_curves(run)
    if curves.response is None:
        raise InputError("calibrate_flux: found no STD_RESPONSE, expected one in the set of frames, or as `response`")
    calibrate.revert_flat_field(run, stored, store, curves)
    calibrate.calibrate_flux(run, stored, store, curves)
    session.noted(run, "calibrate_flux", {})
    return table


def check_refraction(table: PixelTable, *, correct: bool = False) -> PixelTable:
    """Measure what is left of the refraction from sources in the field, and remove it if wanted; before the flux.

    The header tells the largest shift: ``ESO DRS MUSE PIXTABLE DAR CHECK`` in arcsec.

    Parameters
    ----------
    table : PixelTable
        Positions in the field, corrected for refraction.
    correct : bool
        Remove it.

    Returns
    -------
    PixelTable
        The table itself.

    Raises
    ------
    DataError
        It cannot be measured: with too short a range of wavelengths, or without a source.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.correct_refraction(muse.PixelTable.read("none.sof"))
    >>> float(table.lbda.max() - table.lbda.min()) < 30  # too few, in this example
    True
    >>> muse.steps.check_refraction(table)
    Traceback (most recent call last):
        ...
    muse_core.errors.DataError: DAR check: found 2 planes of 10 Angstrom, expected at least 3
    """
    run, stored, store = _parts(table)
    measure_refraction(run, stored, store, correct=correct)
    session.noted(run, "check_refraction", {"correct": correct})
    return table


def clean_raman(
    table: PixelTable,
    lines: File | None = None,
    lsf: Sequence[File] | None = None,
    mask: File | None = None,
    *,
    raman_width: float = _P.raman_width,
    skymodel_fraction: float = _P.sky.fraction,
    skymodel_ignore: float = _P.sky.ignore,
) -> PixelTable:
    """Fit and subtract the lines of Raman scattering of the lasers of the adaptive optics.

    Parameters
    ----------
    table : PixelTable
        Positions in the field, flux calibrated.
    lines, lsf, mask : path or sequence of path, optional
        RAMAN_LINES, LSF_PROFILE, SKY_MASK; by default those of the set of frames.
    raman_width : float
        Full width of the windows around the lines, in Angstrom.
    skymodel_fraction, skymodel_ignore : float
        Part of the field that is sky, and the darkest part that is left out.

    Returns
    -------
    PixelTable
        The table itself.

    Raises
    ------
    InputError
        A file is missing or cannot be used.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.calibrate_flux(muse.PixelTable.read("raman.sof", ifu=12))
    >>> before = table.data
    >>> bool((muse.steps.clean_raman(table).data != before).any())
    True
    """
    run, stored, store = _parts(table, RAMAN_LINES=lines, LSF_PROFILE=lsf, SKY_MASK=mask)
    found = raman.load_lines(run)
    if found is None:
        raise InputError("clean_raman: found no RAMAN_LINES, expected them in the set of frames, or as `lines`")
    region = type(_P.sky)(fraction=skymodel_fraction, ignore=skymodel_ignore)
    crsigma, _ = _P.sky.thresholds(run.compat)
    options = raman.RamanOptions(width=raman_width, crsigma=crsigma, region=region)
    raman.clean(
        run, options, load_pointing(run), stored, store, found, load_lsf(run, for_sky=False), load_sky_mask(run)
    )
    session.noted(run, "clean_raman", {"raman_width": raman_width})
    return table


def autocalibrate(
    table: PixelTable, method: str = "deepfield", *, factors: File | None = None, mask: File | None = None
) -> PixelTable:
    """Level the slices of the detectors.

    Parameters
    ----------
    table : PixelTable
        Positions in the field.
    method : str
        "deepfield" (by the sky of the exposure) or "user" (with given factors).
    factors, mask : path, optional
        AUTOCAL_FACTORS, SKY_MASK; by default those of the set of frames.

    Returns
    -------
    PixelTable
        The table itself.

    Raises
    ------
    ParameterError
        There is no such method.
    InputError
        A file is missing or cannot be used.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.calibrate_flux(muse.PixelTable.read("none.sof"))
    >>> muse.steps.autocalibrate(table).header["ESO DRS MUSE PIXTABLE AUTOCAL"]
    'slice-median'
    """
    if method not in ("deepfield", "user"):
        raise ParameterError(f"autocalibrate: found method {method!r}, expected deepfield or user")
    run, stored, store = _parts(table, AUTOCAL_FACTORS=factors, SKY_MASK=mask)
    crsigma, _ = _P.sky.thresholds(run.compat)
    options = autocalibration.AutocalibrationOptions(method=method, crsigma=crsigma)
    given = autocalibration.load_factors(run, method)
    autocalibration.autocalibrate(run, options, load_pointing(run), stored, store, given, load_sky_mask(run))
    session.noted(run, "autocalibrate", {"method": method})
    return table


subtract_sky = sky.subtract


def correct_velocity(table: PixelTable, rvcorr: str = _P.rvcorr) -> PixelTable:
    """Correct the wavelengths for the motion of the observer.

    Parameters
    ----------
    table : PixelTable
        In any state.
    rvcorr : str
        Rest frame: "bary" (barycentre), "helio" (Sun), "geo" (Earth), or "none".

    Returns
    -------
    PixelTable
        The table itself.

    Raises
    ------
    ParameterError
        There is no such rest frame.
    DataError
        Date, position or observatory are not in the header.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.correct_velocity(muse.PixelTable.read("none.sof"))
    >>> abs(table.header["ESO DRS MUSE PIXTABLE RVCORR"]) < 31
    True
    """
    choices = ("bary", "helio", "geo", "none")
    if rvcorr not in choices:
        raise ParameterError(f"correct_velocity: found rvcorr {rvcorr!r}, expected one of {', '.join(choices)}")
    run, _, _ = _parts(table)
    _locate(run, table, LocationOptions(rvcorr=rvcorr))
    session.noted(run, "correct_velocity", {"rvcorr": rvcorr})
    return table


def project(table: PixelTable, astrometry: File | None = None) -> PixelTable:
    """Project positions in the field with the astrometric solution: the last step before `combine` and `make_cube`.

    Parameters
    ----------
    table : PixelTable
        Positions in the field, "pix".
    astrometry : path, optional
        ASTROMETRY_WCS; by default that of the set of frames, else the default solution of the mode.

    Returns
    -------
    PixelTable
        The table itself.

    Raises
    ------
    DataError
        Positions are projected already.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> muse.steps.project(muse.PixelTable.read("none.sof")).position_unit
    'rad'
    """
    if table.position_unit != units.PIX:
        raise DataError(f"project: found positions in {table.position_unit}, expected them in {units.PIX}")
    run, _, _ = _parts(table, ASTROMETRY_WCS=astrometry)
    pointing = Pointing(run.compat, load_pointing(run).solution_header)
    _locate(run, table, LocationOptions(pointing=pointing, project=True, position=False))
    session.noted(run, "project", {})
    return table


def combine(tables: Sequence[PixelTable], offsets: File | None = None, *, weight: str = _P.weight) -> PixelTable:
    """Put exposures on the sky, and make one table of them; they stay as they are.

    Parameters
    ----------
    tables : sequence of PixelTable
        Projected, "rad".
    offsets : path, optional
        OFFSET_LIST; by default that of the set of frames of the first table.
    weight : str
        "exptime", "fwhm" or "none".

    Returns
    -------
    PixelTable
        A table of all rows, on the sky, "deg".

    Raises
    ------
    DataError
        A table is in another state.
    InputError
        The offsets cannot be used, or are those of other exposures.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.project(muse.PixelTable.read("none.sof"))
    >>> muse.steps.combine([table]).position_unit
    'deg'
    """
    from muse_core.steps.offsets import require_match

    if not tables:
        raise InputError("combine: found no tables, expected some")
    for table in tables:
        if table.position_unit != units.RAD:
            raise DataError(f"combine: found positions in {table.position_unit}, expected all in {units.RAD}")
    first = tables[0]._run
    run = session.with_frames(first, OFFSET_LIST=offsets)
    run = session.into(run, run.factory.directory, "combine", {"weight": weight})
    for table in tables[1:]:
        run.factory.include(table._run.factory)
    pointing = load_pointing(run)
    headers = [table.header for table in tables]
    require_match(pointing.offsets, headers, run.compat)
    counts = [table.n_rows for table in tables]
    store = run.resources.make_store(counts)
    weights: Weights | None = tables[0]._table.weights
    if len(tables) > 1:
        weights = combination.weigh(run, headers, np.cumsum([0, *counts[:-1]]), weight)
    reference = None if len(tables) < 2 else pointing.known_positioning(headers[0])
    reduced = []
    for number, table in enumerate(tables):
        part, _ = table._copied_into(store, sum(counts[:number]))
        located = locate.locate(run, part, store, LocationOptions(pointing=pointing), reference if number else None)
        reduced.append(ReducedExposure(part, located))
    return PixelTable(run, combination.combine(run, reduced, weights), store)


def make_cube(
    table: PixelTable,
    *,
    grid: "File | None" = None,
    resample: str = _R.resample,
    dx: float = _R.dx,
    dy: float = _R.dy,
    dlambda: float = _R.dlambda,
    crtype: str = _R.crtype,
    crsigma: float = _R.crsigma,
    rc: float = _R.rc,
    pixfrac: str | float | Sequence[float] = _R.pixfrac,
    ld: int = _R.ld,
    filter: str = _P.filter,  # noqa: A002 (as in ESO's parameters)
) -> Cube:
    """Resample a table into a cube.

    Parameters
    ----------
    table : PixelTable
        In the field ("pix": a cube in spaxels), projected (put on the sky for the cube), or on the sky.
    grid : path, optional
        OUTPUT_WCS; by default that of the set of frames, else the grid is laid out around the data.
    resample : str
        "nearest", "linear", "quadratic", "renka", "drizzle" or "lanczos".
    dx, dy : float
        Size of the spaxels in arcsec; 0: the nominal one.
    dlambda : float
        Step of the planes in Angstrom; 0: 1.25.
    crtype, crsigma : str, float
        Statistics and threshold of the rejection of cosmic rays; "iraf", "mean" or "median", in sigma, 0: none.
    rc : float
        Critical radius of renka, in voxels.
    pixfrac : text, float or sequence of float
        Size of a drop of drizzle relative to its pixel: for all axes; space and wavelength; or x, y and wavelength.
    ld : int
        Neighbouring voxels to search on each side.
    filter : str
        Filters of the images, separated by commas: white, or extensions of FILTER_LIST.

    Returns
    -------
    Cube
        Its voxels are those of the recipe's DATACUBE_FINAL to the bit.

    Raises
    ------
    ParameterError
        A parameter has no such value.
    InputError, DataError
        The grid cannot be used, or would be all but empty.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.project(muse.PixelTable.read("none.sof"))
    >>> cube = muse.steps.make_cube(table, dlambda=2.5)
    >>> float(cube.wave[1] - cube.wave[0])
    2.5
    """
    if not isinstance(pixfrac, str):
        pixfrac = ",".join(f"{value:.17g}" for value in np.atleast_1d(pixfrac))
    chosen = {
        "resample": resample, "dx": dx, "dy": dy, "dlambda": dlambda, "crtype": crtype, "crsigma": crsigma, "rc": rc,
        "pixfrac": pixfrac, "ld": ld,
    }  # fmt: skip
    options = Resampling(**chosen).options(table._run.compat)
    if table.position_unit == units.RAD:
        table = combine([table])
    run = session.with_frames(table._run, OUTPUT_WCS=grid)
    folder = scratch_folder(run)
    run = session.into(run, _path(folder), "make_cube", {**chosen, "filter": filter})
    wanted = cubes.CubeOptions(resample=options, filters=filter)
    inputs = cubes.load_cube_inputs(run, wanted, ())
    if inputs.override is not None and inputs.override.is_vacuum:  # its wavelengths are converted
        copied = table.copy()
        stored, store = copied._table, copied._store
    else:
        stored, store = table._table, table._store
    cubes.make_cube(run, inputs, stored, store)
    images, path = [], None
    for product in run.factory.products:
        if product.tag == "IMAGE_FOV":
            images.append(_read_image(product.path))
        else:
            path = product.path
    return Cube(path, folder, images)


def _parts(table: PixelTable, **files: File | Sequence[File] | None):
    """Return run, table and store of a table, which takes over other files if some are given."""
    table._run = session.with_frames(table._run, **files)
    return table._run, table._table, table._store


def _locate(run: Run, table: PixelTable, options: LocationOptions, subtraction=None) -> Located:
    """Do a part of what `muse_core.stages.locate` does at once, and let the header tell of it."""
    located = locate.locate(run, table._table, table._store, options, None, subtraction)
    if located.limits is not None:
        table._table.write_limits(located.limits)
    return located


def _field_of(table: PixelTable) -> list[tuple]:
    """Return the cards with the extent of the whole field, if the table is a part of it."""
    return [
        (card.keyword, card.value, card.comment)
        for card in table.header.cards
        if card.keyword.startswith(PIXTABLE + "PREDAR LIMITS")
    ]


def _read_image(path) -> tuple[str, np.ndarray]:
    with FitsFile(path) as file:
        return str(file.primary.header.get("ESO DRS MUSE FILTER NAME", "white")), file[1].image()


def _path(folder):
    return Path(folder.name)
