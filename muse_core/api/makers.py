# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that the recipes take and users have to make: SKY_MASK, OUTPUT_WCS, OFFSET_LIST."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from muse_core.api.cube import Cube, Image
from muse_core.api.pixtable import PixelTable
from muse_core.api.region import Region, as_region
from muse_core.errors import InputError, ParameterError, ProductError
from muse_core.io.calibration import offset_columns
from muse_core.io.fitswriter import image_header, primary_header, write_hdus
from muse_core.io.tables import table_hdu
from muse_core.model.cards import set_card
from muse_core.model.curves import OffsetList
from muse_core.model.grid import LOG_SPECTRAL_STEP, SPECTRAL_STEP, SPECTRAL_TYPES
from muse_core.steps.offsets import DATE_LENGTH
from muse_core.steps.sky.mask import create_sky_mask

if TYPE_CHECKING:
    from astropy.table import Table

AnyRegion = Region | str | tuple[float, float, float]
_MARGIN_ARCSEC = 1.0


def make_sky_mask(
    path: str | os.PathLike,
    image: Image | Cube | str | os.PathLike,
    *,
    objects: Iterable[AnyRegion] = (),
    region: AnyRegion | None = None,
    fraction: float | None = None,
    ignore: float = 0.0,
) -> Path:
    """Make a SKY_MASK on the pixels of an image of the field.

    Parameters
    ----------
    path : path
        File to make; it must not exist.
    image : Image, Cube or path
        An image on the sky, white light for example: an IMAGE_FOV, ``cube.image()``, a `quick_look`. Pixels without
        data are no sky.
    objects : iterable of Region, text, or tuple of three floats
        What is no sky: regions, or right ascension, declination (degrees) and radius (arcsec) of each source of a list.
    region : Region, text, or tuple of three floats, optional
        Only what is inside can be sky.
    fraction : float, optional
        Of what is left the darkest part of this size is sky; by default all.
    ignore : float
        Part of it, the darkest, that is left out.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        The image has no such coordinates.
    ParameterError
        Nothing is left, or `fraction` and `ignore` are no parts.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
    >>> muse.make_sky_mask("mask.fits", cube, objects=[(*cube.centre, 3.0)], fraction=0.5).name
    'mask.fits'
    """
    picture = _image(image)
    wcs = picture.wcs
    if not wcs.has_celestial or "TAN" not in wcs.wcs.ctype[0]:
        raise InputError(f"make_sky_mask: found an image with {list(wcs.wcs.ctype)}, expected RA---TAN, DEC--TAN")
    ny, nx = picture.data.shape
    y, x = np.mgrid[:ny, :nx]
    position = wcs.wcs_pix2world(x, y, 0)
    sky = np.isfinite(picture.data)
    if region is not None:
        sky &= as_region(region).contains(*position)
    for item in objects:
        sky &= ~as_region(item).contains(*position)
    if fraction is not None:
        if not (0 < fraction <= 1 and 0 <= ignore < 1):
            raise ParameterError(f"make_sky_mask: found fraction {fraction}, ignore {ignore}, expected parts of 1")
        values = np.where(sky, picture.data, 0).astype(np.float32)
        sky &= create_sky_mask(values, ~sky, fraction, ignore)[0] > 0
    if not sky.any():
        raise ParameterError("make_sky_mask: found no pixel that is sky, expected some")
    header = _primary("SKY_MASK", 8, sky.shape)
    for item in _celestial_cards(wcs):
        set_card(header, *item)
    return _write(path, [(header, sky.astype(np.uint8))])


def make_output_wcs(
    path: str | os.PathLike,
    ra: float | None = None,
    dec: float | None = None,
    size: float | tuple[float, float] | None = None,
    *,
    exposures: Sequence[PixelTable | Cube] = (),
    angle: float = 0.0,
    step: float = 0.2,
    lambdamin: float | None = None,
    lambdamax: float | None = None,
    dlambda: float | None = None,
    ctype: str = "AWAV",
) -> Path:
    """Make an OUTPUT_WCS: the grid that a cube is to have.

    Parameters
    ----------
    path : path
        File to make; it must not exist.
    ra, dec : float, optional
        Centre in degrees; by default that of the exposures.
    size : float or tuple of two floats, optional
        Width and height in arcsec; by default all of the exposures fits in.
    exposures : sequence of PixelTable or Cube
        What sets centre, size and wavelengths where they are not given.
    angle : float
        Position angle of the second axis, in degrees from north to east.
    step : float
        Size of a spaxel in arcsec.
    lambdamin, lambdamax : float, optional
        First wavelength, and one that the last plane reaches, in Angstrom; by default as the exposures.
    dlambda : float, optional
        Step in Angstrom; with a logarithmic axis that at the first wavelength. By default 1.25 (0.78125, logarithmic).
    ctype : str
        "AWAV" (air), "WAVE" (vacuum), "AWAV-LOG", "WAVE-LOG".

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ParameterError
        What is given is not enough, or a value makes no sense.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> muse.make_output_wcs("grid.fits", 53.16, -27.79, 60.0, angle=30.0, lambdamin=4750, lambdamax=9350).name
    'grid.fits'
    >>> muse.make_output_wcs("log.fits", exposures=[muse.Cube.open("DATACUBE_FINAL.fits")], ctype="AWAV-LOG").name
    'log.fits'
    """
    if ctype not in SPECTRAL_TYPES:
        raise ParameterError(f"make_output_wcs: found ctype {ctype!r}, expected one of {', '.join(SPECTRAL_TYPES)}")
    logarithmic = ctype.endswith("-LOG")
    dlambda = dlambda or (LOG_SPECTRAL_STEP if logarithmic else SPECTRAL_STEP)
    if not (step > 0 and dlambda > 0):
        raise ParameterError(f"make_output_wcs: found step {step} and dlambda {dlambda}, expected them above 0")
    if exposures and (ra is None or size is None):
        points = [_outline(exposure) for exposure in exposures]
        ra, dec, size = _enclosing(points, ra, dec, size, angle)
    if exposures and (lambdamin is None or lambdamax is None):
        ends = [_wavelengths(exposure) for exposure in exposures]
        lambdamin = min(low for low, _ in ends) if lambdamin is None else lambdamin
        lambdamax = max(high for _, high in ends) if lambdamax is None else lambdamax
    if None in (ra, dec, size, lambdamin, lambdamax) or not 0 < lambdamin < lambdamax:
        raise ParameterError(
            f"make_output_wcs: found ra {ra}, dec {dec}, size {size}, lambdamin {lambdamin}, lambdamax {lambdamax}, "
            "expected all of them, or exposures"
        )
    width, height = size if isinstance(size, Sequence) else (size, size)
    nx, ny = (max(1, math.ceil(extent / step - 1e-6)) for extent in (width, height))
    if logarithmic:
        nz = math.ceil(lambdamin / dlambda * math.log(lambdamax / lambdamin)) + 1
    else:
        nz = math.ceil((lambdamax - lambdamin) / dlambda - 1e-9) + 1
    sin, cos, deg = math.sin(math.radians(angle)), math.cos(math.radians(angle)), step / 3600
    cards = [
        ("EXTNAME", "DATA"), ("WCSAXES", 3), ("CRPIX1", (nx + 1) / 2), ("CRPIX2", (ny + 1) / 2), ("CRVAL1", float(ra)),
        ("CRVAL2", float(dec)), ("CD1_1", -deg * cos), ("CD1_2", deg * sin), ("CD2_1", deg * sin), ("CD2_2", deg * cos),
        ("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CUNIT1", "deg"), ("CUNIT2", "deg"), ("CTYPE3", ctype),
        ("CUNIT3", "Angstrom"), ("CRPIX3", 1.0), ("CRVAL3", float(lambdamin)), ("CD3_3", float(dlambda)),
        *((f"CD{i}_{j}", 0.0) for i, j in ((1, 3), (2, 3), (3, 1), (3, 2))),
    ]  # fmt: skip
    primary = _primary("OUTPUT_WCS")
    header = image_header(-32, (nz, ny, nx))
    for item in cards:
        set_card(header, *item)
    return _write(path, [(primary, None), (header, None)])


def make_offset_list(path: str | os.PathLike, table: "Table | Mapping[str, Sequence]") -> Path:
    """Make an OFFSET_LIST from a table.

    Parameters
    ----------
    path : path
        File to make; it must not exist.
    table : astropy Table or mapping of str to sequence
        Columns DATE_OBS (DATE-OBS of the exposures), RA_OFFSET, DEC_OFFSET (what is subtracted from RA and DEC, in
        degrees of coordinate unless they have another unit), and, if wanted, FLUX_SCALE (factors on the data).

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        A column is missing, or has no such values.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> muse.make_offset_list("offsets.fits", {"DATE_OBS": ["2014-11-21T06:32:33.123"], "RA_OFFSET": [1e-4],
    ...                                        "DEC_OFFSET": [-5e-5]}).name
    'offsets.fits'
    """
    from astropy import units as u
    from astropy.time import Time

    names = list(getattr(table, "colnames", None) or table)
    missing = [name for name in ("DATE_OBS", "RA_OFFSET", "DEC_OFFSET") if name not in names]
    if missing:
        raise InputError(f"make_offset_list: found columns {', '.join(names)}, expected {', '.join(missing)} too")

    def numbers(name: str) -> np.ndarray:
        column = table[name]
        unit = getattr(column, "unit", None)
        try:
            values = np.asarray(column.value if hasattr(column, "value") else column, np.float64)
            return values if unit in (None, "") else (values * u.Unit(unit)).to_value(u.deg)
        except (TypeError, ValueError) as error:
            raise InputError(f"make_offset_list: column {name}: {error}, expected numbers of degrees") from error

    dates = tuple(str(date).strip() for date in table["DATE_OBS"])
    wrong = [date for date in dates if not DATE_LENGTH[0] <= len(date) <= DATE_LENGTH[1]]
    if wrong or not dates:
        raise InputError(
            f"make_offset_list: column DATE_OBS: found {wrong or 'no row'}, expected 2014-11-21T06:32:33.123"
        )
    scale = np.asarray(table["FLUX_SCALE"], np.float64) if "FLUX_SCALE" in names else None
    try:
        mjd = np.array([Time(date, format="isot", scale="utc").mjd for date in dates])
    except ValueError as error:
        raise InputError(f"make_offset_list: column DATE_OBS: {error}, expected 2014-11-21T06:32:33.123") from error
    offsets = OffsetList(dates, numbers("RA_OFFSET"), numbers("DEC_OFFSET"), scale, where=str(path))
    columns = offset_columns(offsets, mjd)
    primary = _primary("OFFSET_LIST")
    return _write(path, [(primary, None), table_hdu(columns if scale is not None else columns[:-1], None)])


def _primary(tag: str, *structure: object) -> fits.Header:
    header = primary_header(*structure)
    set_card(header, "ESO PRO CATG", tag, "Category of pipeline product frame")
    return header


def _write(path: str | os.PathLike, hdus: list) -> Path:
    path = Path(path)
    if path.exists():
        raise ProductError(f"{path}: found a file of this name, expected none")
    try:
        write_hdus(path, hdus)
    except OSError as error:
        raise ProductError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return path


def _image(image: Image | Cube | str | os.PathLike) -> Image:
    """Return an image as such."""
    if isinstance(image, Image):
        return image
    if isinstance(image, Cube):
        return image.image()
    try:
        with fits.open(image) as hdus:
            found = next((hdu for hdu in hdus if hdu.is_image and hdu.data is not None and hdu.data.ndim == 2), None)
            if found is not None:
                return Image(np.array(found.data, np.float32), found.header.copy())
    except OSError as error:
        raise InputError(f"{image}: {error}, expected a FITS file with an image") from error
    with Cube.open(image) as cube:
        return cube.image()


def _celestial_cards(wcs) -> list[tuple]:
    matrix = wcs.celestial.pixel_scale_matrix
    cards = [(f"{key}{i + 1}", float(getattr(wcs.wcs, key.lower())[i])) for key in ("CRPIX", "CRVAL") for i in (0, 1)]
    cards += [(f"CD{i + 1}_{j + 1}", float(matrix[i, j])) for i in (0, 1) for j in (0, 1)]
    return [*cards, ("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CUNIT1", "deg"), ("CUNIT2", "deg")]


def _outline(exposure: PixelTable | Cube) -> np.ndarray:
    """Return positions that enclose an exposure: right ascensions and declinations in degrees, shape (2, n)."""
    if isinstance(exposure, Cube):
        _, ny, nx = exposure.shape
        corners = np.array([(x, y) for x in (-0.5, nx - 0.5) for y in (-0.5, ny - 0.5)])
        return np.array(exposure.wcs.celestial.wcs_pix2world(*corners.T, 0))
    return np.array(exposure.sky())


def _wavelengths(exposure: PixelTable | Cube) -> tuple[float, float]:
    values = exposure.wave if isinstance(exposure, Cube) else exposure.lbda
    return float(values.min()), float(values.max())


def _enclosing(points: list[np.ndarray], ra, dec, size, angle: float):
    """Return centre and size of a box that has all positions in it, with the values that are given already."""
    ra0, dec0 = (points[0][0, 0], points[0][1, 0]) if ra is None else (ra, dec)
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    ends = []
    for found in points:
        east = ((found[0] - ra0 + 180) % 360 - 180) * math.cos(math.radians(dec0)) * 3600
        north = (found[1] - dec0) * 3600
        u, v = east * cos - north * sin, east * sin + north * cos
        ends.append([u.min(), u.max(), v.min(), v.max()])
    ends = np.array(ends)
    low_u, high_u, low_v, high_v = ends[:, 0].min(), ends[:, 1].max(), ends[:, 2].min(), ends[:, 3].max()
    if ra is None:
        u, v = (low_u + high_u) / 2, (low_v + high_v) / 2
        east, north = u * cos + v * sin, v * cos - u * sin
        ra, dec = ra0 + east / 3600 / math.cos(math.radians(dec0)), dec0 + north / 3600
        half = (high_u - low_u) / 2, (high_v - low_v) / 2
    else:
        half = max(high_u, -low_u), max(high_v, -low_v)
    return ra, dec, size or tuple(2 * (extent + _MARGIN_ARCSEC / 2) for extent in half)
