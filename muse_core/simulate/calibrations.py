# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibration frames of the synthetic instrument, in the formats that muse_scipost reads, one function a tag.

Each writes one file and returns its path. The curves are those with which `muse_core.simulate.exposure` makes its data,
so that a reduction recovers the truth.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.io.autocal import edge_cards, factors_columns
from muse_core.io.calibration import offset_columns
from muse_core.io.fitswriter import image_header, primary_header, write_hdus
from muse_core.io.tables import table_hdu
from muse_core.model import origin, units
from muse_core.model.autocal import AutocalFactors, wavelength_edges
from muse_core.model.cards import set_card
from muse_core.model.curves import OffsetList
from muse_core.model.fits import Header
from muse_core.simulate import instrument, sky
from muse_core.simulate.pointing import CENTRE_PIX, astrometric_matrix, mjd_of

#: cards: (keyword, value) or (keyword, value, comment); columns: (name, format, unit or None, values)
Cards = Sequence[tuple]
Columns = Sequence[tuple[str, str, str | None, np.ndarray]]

_FFCORR = ("ESO DRS MUSE FLUX FFCORR", True, "Flat-field spectrum corrected")

LSF_SHAPE = (48, 30, 150)  # slice, wavelength of the line, distance from the line
_DATE_OBS = "2014-11-20T23:15:00.000"


def _primary(tag: str, path: Path, mode: instrument.Mode | None = None, cards: Cards = (), image=None) -> Header:
    """Primary header of a calibration frame."""
    header = primary_header() if image is None else primary_header(8, image.shape)
    for card in (
        ("INSTRUME", "MUSE", "Instrument used."),
        ("DATE-OBS", _DATE_OBS, "Observing date"),
        ("MJD-OBS", 56981.96875, "Obs start"),
        ("PIPEFILE", Path(path).name, "Filename of data product"),
        ("ESO PRO CATG", tag, "Category of pipeline product frame"),
        ("ESO PRO TYPE", "REDUCED", "Product type"),
        *([("ESO INS MODE", mode.name, "Instrument mode used")] if mode else []),
        *cards,
    ):
        set_card(header, *card)
    return header


def _image(shape: tuple[int, ...], cards: Cards) -> Header:
    """Header of an extension with float32 data."""
    header = image_header(-32, shape)
    for card in cards:
        set_card(header, *card)
    return header


def _write_table(path: Path, tag: str, columns: Columns, mode=None, cards: Cards = (), extname=None) -> Path:
    return write_hdus(path, [(_primary(tag, path, mode, cards), None), table_hdu(columns, extname)])


def write_response(path: Path, mode: instrument.Mode, flat_field: bool = True) -> Path:
    """STD_RESPONSE, 4400 to 9700 Angstrom, of data with (or, `flat_field` false, without) flat-field spectrum."""
    lbda = np.arange(4400.0, 9700.1, 1.25)
    unit = "2.5*log10((count/s/Angstrom)/(erg/s/cm**2/Angstrom))"
    columns = [
        ("lambda", "D", units.ANGSTROM, lbda),
        ("response", "D", unit, instrument.response_magnitude(lbda)),
        ("resperr", "D", unit, np.full_like(lbda, 0.004)),
    ]
    return _write_table(path, "STD_RESPONSE", columns, mode, [_FFCORR] if flat_field else [])


def write_extinction(path: Path) -> Path:
    """EXTINCT_TABLE, 3500 to 10000 Angstrom."""
    lbda = np.arange(3500.0, 10001.0, 25.0)
    columns = [("lambda", "D", units.ANGSTROM, lbda), ("extinction", "D", "mag/airmass", sky.extinction(lbda))]
    return _write_table(path, "EXTINCT_TABLE", columns)


def write_telluric(path: Path, mode: instrument.Mode, flat_field: bool = True) -> Path:
    """STD_TELLURIC, 6000 to 9700 Angstrom."""
    lbda = np.arange(6000.0, 9700.1, 1.25)
    columns = [
        ("lambda", "D", units.ANGSTROM, lbda),
        ("ftelluric", "D", None, sky.telluric_transmission(lbda)),
        ("ftellerr", "D", None, np.full_like(lbda, 0.003)),
    ]
    return _write_table(path, "STD_TELLURIC", columns, mode, [_FFCORR] if flat_field else [])


def write_astrometry(path: Path, mode: instrument.Mode) -> Path:
    """ASTROMETRY_WCS of the field of a mode: scales, a small rotation, the offset of the reference pixel."""
    cd = astrometric_matrix(mode)
    cards = [
        ("WCSAXES", 2),
        ("CRPIX1", CENTRE_PIX[0]),
        ("CRPIX2", CENTRE_PIX[1]),
        ("CD1_1", cd[0, 0]),
        ("CD1_2", cd[0, 1]),
        ("CD2_1", cd[1, 0]),
        ("CD2_2", cd[1, 1]),
        ("CUNIT1", "deg"),
        ("CUNIT2", "deg"),
        ("CTYPE1", "RA---TAN"),
        ("CTYPE2", "DEC--TAN"),
        ("CSYER1", 8.2e-6, "[deg] Systematic error in coordinate"),
        ("CSYER2", 8.3e-6, "[deg] Systematic error in coordinate"),
    ]
    return write_hdus(path, [(_primary("ASTROMETRY_WCS", path, mode, cards), None)])


def _line_columns(lines: np.ndarray) -> Columns:
    return [
        ("name", "16A", None, lines["name"]),
        ("group", "J", None, lines["group"]),
        ("lambda", "D", units.ANGSTROM, lines["lbda"]),
        ("flux", "D", units.LINE_FLUX, lines["flux"]),
        ("dq", "J", None, np.zeros(len(lines), np.int32)),
    ]


def write_sky_lines(path: Path, lines: np.ndarray | None = None, with_transitions: bool = True) -> Path:
    """SKY_LINES: extension LINES with `lines` (default: all but OH), and the OH lines as OH_TRANSITIONS.

    The fluxes of the default list are those of an average night, so that a fit of its groups is needed. With the true
    lines of an exposure and without transitions it is what muse_create_sky would give for it.
    """
    columns = _line_columns(sky.other_lines() if lines is None else lines)
    hdus = [(_primary("SKY_LINES", path), None), table_hdu(columns, "LINES")]
    if with_transitions:
        oh = sky.oh_transitions()
        columns = [
            ("name", "16A", None, oh["name"]),
            ("lambda", "D", units.ANGSTROM, oh["lbda"]),
            *((name, "J", None, oh[name]) for name in ("v_u", "v_l", "nu")),
            ("E_u", "D", "J", oh["E_u"]),
            *((name, "D", None, oh[name]) for name in ("J_u", "A")),
        ]
        hdus.append(table_hdu(columns, "OH_TRANSITIONS"))
    return write_hdus(path, hdus)


def write_raman_lines(path: Path) -> Path:
    """RAMAN_LINES: groups 0 (O2) and 1 (N2)."""
    return _write_table(path, "RAMAN_LINES", _line_columns(sky.raman_lines()), extname="LINES")


def write_sky_continuum(path: Path, lbda: np.ndarray, flux: np.ndarray) -> Path:
    """SKY_CONTINUUM; `flux` in the unit of flux-calibrated pixel tables at `lbda` Angstrom, as the recipe wants it."""
    columns = [("lambda", "D", units.ANGSTROM, lbda), ("flux", "D", units.LINE_FLUX_PLAIN, flux)]
    return _write_table(path, "SKY_CONTINUUM", columns, extname="CONTINUUM")


def write_sky_mask(path: Path, mask: np.ndarray, cards: Cards) -> Path:
    """SKY_MASK: 1 where there is only sky.

    Parameters
    ----------
    path : Path
        File.
    mask : ndarray of bool, shape (n_y, n_x)
        The mask.
    cards : sequence of tuple
        WCS, see `linear_wcs` and `celestial_wcs`.
    """
    return write_hdus(path, [(_primary("SKY_MASK", path, cards=cards, image=mask), mask.astype(np.uint8))])


def linear_wcs(x_low: float, y_low: float) -> Cards:
    """WCS cards of an image in nominal spaxels, whose first pixel is at (`x_low`, `y_low`)."""
    cards = [("CRPIX1", 1.0), ("CRPIX2", 1.0), ("CRVAL1", float(x_low)), ("CRVAL2", float(y_low))]
    cards += [("CD1_1", 1.0), ("CD1_2", 0.0), ("CD2_1", 0.0), ("CD2_2", 1.0)]
    return cards + [("CTYPE1", "PIXEL"), ("CTYPE2", "PIXEL"), ("CUNIT1", "pixel"), ("CUNIT2", "pixel")]


def celestial_wcs(ra_deg: float, dec_deg: float, shape: tuple[int, int], step_arcsec: float = 0.2) -> Cards:
    """WCS cards of an image on the sky, north up, centred on a position, of `shape` (n_y, n_x)."""
    cards = [("CRPIX1", (shape[1] + 1) / 2), ("CRPIX2", (shape[0] + 1) / 2), ("CRVAL1", ra_deg), ("CRVAL2", dec_deg)]
    step = step_arcsec / 3600.0
    cards += [("CD1_1", -step), ("CD1_2", 0.0), ("CD2_1", 0.0), ("CD2_2", step)]
    return cards + [("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CUNIT1", "deg"), ("CUNIT2", "deg")]


def _lsf_cube(ifu: int) -> tuple[np.ndarray, Cards]:
    n_slice, n_lbda, n_distance = LSF_SHAPE
    step_distance, step_lbda = 2 * instrument.Lsf.REACH / (n_distance - 1), 4650.0 / (n_lbda - 1)
    distance = -instrument.Lsf.REACH + step_distance * np.arange(n_distance)
    lbda = 4650.0 + step_lbda * np.arange(n_lbda)
    cube = np.empty(LSF_SHAPE, np.float32)
    for number in range(1, n_slice + 1):
        cube[number - 1] = instrument.slice_lsf(ifu, number).profile(distance, lbda[:, None])
    cards = [("CRPIX1", 1.0), ("CRVAL1", -instrument.Lsf.REACH), ("CD1_1", step_distance), ("CTYPE1", "PARAM")]
    cards += [("CRPIX2", 1.0), ("CRVAL2", 4650.0), ("CD2_2", step_lbda), ("CTYPE2", "AWAV")]
    cards += [("CUNIT1", "Angstrom"), ("CUNIT2", "Angstrom"), ("CD1_2", 0.0), ("CD2_1", 0.0)]
    return cube, cards


def write_lsf(path: Path, ifu: int, mode: instrument.Mode | None = None) -> Path:
    """LSF_PROFILE of one IFU as a cube: 150 distances x 30 wavelengths x 48 slices."""
    cube, cards = _lsf_cube(ifu)
    primary = _primary("LSF_PROFILE", path, mode, [("EXTNAME", f"CHAN{ifu:02d}")])
    return write_hdus(path, [(primary, None), (_image(LSF_SHAPE, [("EXTNAME", "LSF_PROFILE"), *cards]), cube)])


def write_merged_lsf(path: Path, ifus: Sequence[int], mode: instrument.Mode | None = None) -> Path:
    """LSF_PROFILE of several IFUs in one file, extensions CHANnn.LSF_PROFILE."""
    hdus = [(_primary("LSF_PROFILE", path, mode), None)]
    for ifu in ifus:
        cube, cards = _lsf_cube(ifu)
        hdus.append((_image(LSF_SHAPE, [("EXTNAME", f"CHAN{ifu:02d}.LSF_PROFILE"), *cards]), cube))
    return write_hdus(path, hdus)


def write_lsf_parameters(path: Path, ifu: int, mode: instrument.Mode | None = None) -> Path:
    """LSF_PROFILE of one IFU in the old format: a table of parameters (widths right, shape only Gaussian)."""
    slit, pixel, n = 2.61, 1.25, origin.N_SLICE
    grid = np.linspace(-2250.0, 2350.0, 50)
    width = np.stack([instrument.slice_lsf(ifu, i + 1).width(7000.0 + grid) for i in range(n)], axis=1)
    gaussian = np.sqrt(width**2 - (slit**2 + pixel**2) / 12)
    columns = [
        ("ifu", "J", None, np.full(n, ifu)),
        ("slice", "J", None, np.arange(n) + 1),
        ("sensitivity", "3D", None, np.tile((1.0, 0.0, 0.0), (n, 1))),
        ("offset", "D", None, np.zeros(n)),
        ("refraction", "D", None, np.ones(n)),
        ("slit_width", "D", units.ANGSTROM, np.full(n, slit)),
        ("bin_width", "D", units.ANGSTROM, np.full(n, pixel)),
        ("lsf_width", "3D", units.ANGSTROM, np.polynomial.polynomial.polyfit(grid, gaussian, 2).T),
        *((f"hermit{i}", "2D", None, np.zeros((n, 2))) for i in (3, 4, 5, 6)),
    ]
    return _write_table(path, "LSF_PROFILE", columns, mode, [("EXTNAME", f"CHAN{ifu:02d}")], "SLICE_PARAM")


def write_autocal_factors(path: Path, mode: instrument.Mode, seed: int = 1, rms: float = 0.01) -> Path:
    """AUTOCAL_FACTORS: a random factor for each wavelength bin, IFU and slice."""
    edges = wavelength_edges(mode.is_ao)
    shape = (len(edges) - 1, origin.N_IFU, origin.N_SLICE)
    random = np.random.default_rng([seed, 6]).standard_normal(shape)
    factors = AutocalFactors(
        edges=edges,
        corr=(1 + rms * random).astype(np.float32),
        npts=np.full(shape, 5000, np.int32),
        corr_orig=np.full(shape, np.nan, np.float32),
    )
    return _write_table(path, "AUTOCAL_FACTORS", factors_columns(factors), mode, edge_cards(factors))


def write_offset_list(
    path: Path, entries: Sequence[tuple[str, float, float, float]], with_flux_scale: bool = True
) -> Path:
    """OFFSET_LIST.

    Parameters
    ----------
    path : Path
        File.
    entries : sequence of (DATE-OBS, RA offset in deg, DEC offset in deg, flux scale)
        The recipe subtracts the offsets from the pointing and multiplies with the scale.
    with_flux_scale : bool
        Write the column FLUX_SCALE.
    """
    date_obs, ra_offset, dec_offset, scale = zip(*entries, strict=True)
    columns = offset_columns(OffsetList(date_obs, ra_offset, dec_offset, scale), np.array([*map(mjd_of, date_obs)]))
    if not with_flux_scale:
        columns = [column for column in columns if column[0] != "FLUX_SCALE"]
    return _write_table(path, "OFFSET_LIST", columns)


def write_filter_list(path: Path) -> Path:
    """FILTER_LIST: synthetic bands, one extension each, some of them with the names of bands of the real list."""
    bands = (
        ("sim_V", 5450.0, 450.0),
        ("sim_R", 6500.0, 700.0),
        ("sim_I", 8000.0, 800.0),
        ("sim_7030", 7030.0, 20.0),
        ("Johnson_V", 5425.0, 375.0),
        ("Cousins_R", 6450.0, 750.0),
        ("Cousins_I", 8050.0, 750.0),
    )
    hdus = [(_primary("FILTER_LIST", path), None)]
    for i, (name, centre, half_width) in enumerate(bands):
        u = np.linspace(-1.3, 1.3, 53)
        throughput = np.where(np.abs(u) < 1.3, 0.9 / (1 + np.abs(u) ** 12), 0.0)
        columns = [("lambda", "D", units.ANGSTROM, centre + half_width * u), ("throughput", "D", None, throughput)]
        header, data = table_hdu(columns, name)
        set_card(header, "ZP_VEGA", 20.5 + 0.1 * i, "Vega-mag zero point")
        set_card(header, "ZP_AB", 20.6 + 0.1 * i, "AB-mag zero point")
        hdus.append((header, data))
    return write_hdus(path, hdus)


def write_output_wcs(
    path: Path,
    ra_deg: float,
    dec_deg: float,
    shape: tuple[int, int, int],
    lbda: tuple[float, float],
    step_arcsec: float = 0.2,
    ctype: str = "AWAV",
) -> Path:
    """OUTPUT_WCS: a cube of zeros, north up.

    Parameters
    ----------
    path : Path
        File.
    ra_deg, dec_deg : float
        Centre.
    shape : tuple of int
        Planes, rows, columns.
    lbda : tuple of float
        First wavelength and step, in Angstrom.
    step_arcsec : float
        Size of a spaxel.
    ctype : str
        AWAV, AWAV-LOG, WAVE or WAVE-LOG.
    """
    cards = [("WCSAXES", 3), *celestial_wcs(ra_deg, dec_deg, shape[1:], step_arcsec)]
    cards += [("CTYPE3", ctype), ("CUNIT3", "Angstrom"), ("CRPIX3", 1.0), ("CRVAL3", lbda[0]), ("CD3_3", lbda[1])]
    cards += [(f"CD{i}_{j}", 0.0) for i, j in ((1, 3), (2, 3), (3, 1), (3, 2))]
    return write_hdus(
        path, [(_primary("OUTPUT_WCS", path), None), (_image(shape, [("EXTNAME", "DATA"), *cards]), None)]
    )
