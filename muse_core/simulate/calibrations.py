# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibration frames of the synthetic instrument, in the formats that muse_scipost reads, one function a tag.

Each writes one file and returns its path. The curves are those with which `muse_core.simulate.exposure` makes its data,
so that a reduction recovers the truth.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.model import origin, units
from muse_core.simulate import instrument, sky
from muse_core.simulate.fitsfile import FitsWriter
from muse_core.simulate.pointing import CENTRE_PIX, astrometric_matrix

LSF_SHAPE = (48, 30, 150)  # slice, wavelength of the line, distance from the line
_DATE_OBS = "2014-11-20T23:15:00.000"

#: lower edges of the wavelength bins of autocalibration, and the end of the last one
AUTOCAL_EDGES = (
    *(0, 5000, 5265, 5466, 5658, 5850, 6120, 6440, 6678, 6931, 7211, 7450, 7668, 7900, 8120, 8330, 8565, 8731, 9012),
    *(9275, 10000),
)
_AO_GAP_EDGE = 5850  # no edge inside the gap of the AO modes


def _cards(tag: str, mode: instrument.Mode | None = None, extra: Sequence[tuple] = ()) -> list[tuple]:
    cards = [
        ("INSTRUME", "MUSE", "Instrument used."),
        ("DATE-OBS", _DATE_OBS, "Observing date"),
        ("MJD-OBS", 56981.96875, "Obs start"),
        ("ESO PRO CATG", tag, "Category of pipeline product frame"),
        ("ESO PRO TYPE", "REDUCED", "Product type"),
    ]
    if mode is not None:
        cards.append(("ESO INS MODE", mode.name, "Instrument mode used"))
    return cards + list(extra)


def _table(**columns) -> np.ndarray:
    """Table of float64 columns."""
    table = np.zeros(len(next(iter(columns.values()))), [(name, np.float64) for name in columns])
    for name, values in columns.items():
        table[name] = values
    return table


def _write_table(path: Path, tag: str, table, table_units, mode=None, extra=(), extname=None) -> Path:
    with FitsWriter(path, _cards(tag, mode, extra), with_md5=True) as file:
        file.table([table], [("EXTNAME", extname)] if extname else [], table_units)
    return Path(path)


def write_response(path: Path, mode: instrument.Mode, flat_field: bool = True) -> Path:
    """STD_RESPONSE, 4400 to 9700 Angstrom, of data with (or, `flat_field` false, without) flat-field spectrum."""
    lbda = np.arange(4400.0, 9700.1, 1.25)
    unit = "2.5*log10((count/s/Angstrom)/(erg/s/cm**2/Angstrom))"
    table = _table(**{"lambda": lbda, "response": instrument.response_magnitude(lbda), "resperr": 0.004 + 0 * lbda})
    extra = [("ESO DRS MUSE FLUX FFCORR", True, "Flat-field spectrum corrected")] if flat_field else []
    return _write_table(
        path, "STD_RESPONSE", table, {"lambda": units.ANGSTROM, "response": unit, "resperr": unit}, mode, extra
    )


def write_extinction(path: Path) -> Path:
    """EXTINCT_TABLE, 3500 to 10000 Angstrom."""
    lbda = np.arange(3500.0, 10001.0, 25.0)
    table = _table(**{"lambda": lbda, "extinction": sky.extinction(lbda)})
    return _write_table(path, "EXTINCT_TABLE", table, {"lambda": units.ANGSTROM, "extinction": "mag/airmass"})


def write_telluric(path: Path, mode: instrument.Mode, flat_field: bool = True) -> Path:
    """STD_TELLURIC, 6000 to 9700 Angstrom."""
    lbda = np.arange(6000.0, 9700.1, 1.25)
    table = _table(**{"lambda": lbda, "ftelluric": sky.telluric_transmission(lbda), "ftellerr": 0.003 + 0 * lbda})
    extra = [("ESO DRS MUSE FLUX FFCORR", True, "Flat-field spectrum corrected")] if flat_field else []
    return _write_table(path, "STD_TELLURIC", table, {"lambda": units.ANGSTROM}, mode, extra)


def write_astrometry(path: Path, mode: instrument.Mode) -> Path:
    """ASTROMETRY_WCS of the field of a mode: scales, a small rotation, the offset of the reference pixel."""
    cd = astrometric_matrix(mode)
    extra = [
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
    with FitsWriter(path, _cards("ASTROMETRY_WCS", mode, extra), with_md5=True):
        pass
    return Path(path)


def _line_table(lines: np.ndarray) -> np.ndarray:
    table = np.zeros(len(lines), [("name", "S16"), ("group", "i4"), ("lambda", "f8"), ("flux", "f8"), ("dq", "i4")])
    table["name"], table["group"] = np.char.encode(lines["name"], "ascii"), lines["group"]
    table["lambda"], table["flux"] = lines["lbda"], lines["flux"]
    return table


_LINE_UNITS = {"lambda": units.ANGSTROM, "flux": units.LINE_FLUX}


def write_sky_lines(path: Path, lines: np.ndarray | None = None, with_transitions: bool = True) -> Path:
    """SKY_LINES: extension LINES with `lines` (default: all but OH), and the OH lines as OH_TRANSITIONS.

    The fluxes of the default list are those of an average night, so that a fit of its groups is needed. With the true
    lines of an exposure (``spec.sky().lines``) and without transitions it is what muse_create_sky would give for it.
    """
    lines = sky.other_lines() if lines is None else lines
    with FitsWriter(path, _cards("SKY_LINES"), with_md5=True) as file:
        file.table([_line_table(lines)], [("EXTNAME", "LINES")], _LINE_UNITS)
        if with_transitions:
            oh = sky.oh_transitions()
            fields = [
                ("name", "S16"),
                *(("lambda", "f8"), ("v_u", "i4"), ("v_l", "i4"), ("nu", "i4")),
                *(("E_u", "f8"), ("J_u", "f8"), ("A", "f8")),
            ]
            table = np.zeros(len(oh), fields)
            table["name"], table["lambda"] = np.char.encode(oh["name"], "ascii"), oh["lbda"]
            for name in ("v_u", "v_l", "nu", "E_u", "J_u", "A"):
                table[name] = oh[name]
            file.table([table], [("EXTNAME", "OH_TRANSITIONS")], {"lambda": units.ANGSTROM, "E_u": "J"})
    return Path(path)


def write_raman_lines(path: Path) -> Path:
    """RAMAN_LINES: groups 0 (O2) and 1 (N2)."""
    return _write_table(path, "RAMAN_LINES", _line_table(sky.raman_lines()), _LINE_UNITS, extname="LINES")


def write_sky_continuum(path: Path, lbda: np.ndarray, flux: np.ndarray) -> Path:
    """SKY_CONTINUUM; `flux` in the unit of flux-calibrated pixel tables at `lbda` Angstrom, as the recipe wants it."""
    table_units = {"lambda": units.ANGSTROM, "flux": units.LINE_FLUX_PLAIN}
    table = _table(**{"lambda": lbda, "flux": flux})
    return _write_table(path, "SKY_CONTINUUM", table, table_units, extname="CONTINUUM")


def write_sky_mask(path: Path, mask: np.ndarray, cards: Sequence[tuple]) -> Path:
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
    with FitsWriter(path, _cards("SKY_MASK", extra=cards), image=mask.astype("u1"), with_md5=True):
        pass
    return Path(path)


def linear_wcs(x_low: float, y_low: float) -> list[tuple]:
    """WCS cards of an image in nominal spaxels, whose first pixel is at (`x_low`, `y_low`)."""
    cards = [("CRPIX1", 1.0), ("CRPIX2", 1.0), ("CRVAL1", float(x_low)), ("CRVAL2", float(y_low))]
    cards += [("CD1_1", 1.0), ("CD1_2", 0.0), ("CD2_1", 0.0), ("CD2_2", 1.0)]
    return cards + [("CTYPE1", "PIXEL"), ("CTYPE2", "PIXEL"), ("CUNIT1", "pixel"), ("CUNIT2", "pixel")]


def celestial_wcs(ra_deg: float, dec_deg: float, shape: tuple[int, int], step_arcsec: float = 0.2) -> list[tuple]:
    """WCS cards of an image on the sky, north up, centred on a position, of `shape` (n_y, n_x)."""
    cards = [("CRPIX1", (shape[1] + 1) / 2), ("CRPIX2", (shape[0] + 1) / 2), ("CRVAL1", ra_deg), ("CRVAL2", dec_deg)]
    step = step_arcsec / 3600.0
    cards += [("CD1_1", -step), ("CD1_2", 0.0), ("CD2_1", 0.0), ("CD2_2", step)]
    return cards + [("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CUNIT1", "deg"), ("CUNIT2", "deg")]


def _lsf_cube(ifu: int) -> tuple[np.ndarray, list[tuple]]:
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
    primary = _cards("LSF_PROFILE", mode, [("PIPEFILE", Path(path).name), ("EXTNAME", f"CHAN{ifu:02d}")])
    with FitsWriter(path, primary, with_md5=True) as file:
        file.image([cube], LSF_SHAPE, [("EXTNAME", "LSF_PROFILE"), *cards])
    return Path(path)


def write_merged_lsf(path: Path, ifus: Sequence[int], mode: instrument.Mode | None = None) -> Path:
    """LSF_PROFILE of several IFUs in one file, extensions CHANnn.LSF_PROFILE."""
    with FitsWriter(path, _cards("LSF_PROFILE", mode, [("PIPEFILE", Path(path).name)]), with_md5=True) as file:
        for ifu in ifus:
            cube, cards = _lsf_cube(ifu)
            file.image([cube], LSF_SHAPE, [("EXTNAME", f"CHAN{ifu:02d}.LSF_PROFILE"), *cards])
    return Path(path)


def write_lsf_parameters(path: Path, ifu: int, mode: instrument.Mode | None = None) -> Path:
    """LSF_PROFILE of one IFU in the old format: a table of parameters (widths right, shape only Gaussian)."""
    slit, pixel = 2.61, 1.25
    fields = [("ifu", "i4"), ("slice", "i4"), ("sensitivity", "f8", 3), ("offset", "f8"), ("refraction", "f8")]
    fields += [("slit_width", "f8"), ("bin_width", "f8"), ("lsf_width", "f8", 3)]
    fields += [(f"hermit{i}", "f8", 2) for i in (3, 4, 5, 6)]
    table = np.zeros(origin.N_SLICE, fields)
    grid = np.linspace(-2250.0, 2350.0, 50)
    for i, row in enumerate(table):
        width = instrument.slice_lsf(ifu, i + 1).width(7000.0 + grid)
        gaussian = np.sqrt(width**2 - (slit**2 + pixel**2) / 12)
        row["lsf_width"] = np.polynomial.polynomial.polyfit(grid, gaussian, 2)
        row["ifu"], row["slice"], row["refraction"] = ifu, i + 1, 1.0
        row["slit_width"], row["bin_width"], row["sensitivity"] = slit, pixel, (1.0, 0.0, 0.0)
    primary = _cards("LSF_PROFILE", mode, [("PIPEFILE", Path(path).name), ("EXTNAME", f"CHAN{ifu:02d}")])
    with FitsWriter(path, primary, with_md5=True) as file:
        file.table([table], [("EXTNAME", "SLICE_PARAM")])
    return Path(path)


def write_autocal_factors(path: Path, mode: instrument.Mode, seed: int = 1, rms: float = 0.01) -> Path:
    """AUTOCAL_FACTORS: a random factor for each wavelength bin, IFU and slice."""
    edges = [e for e in AUTOCAL_EDGES if not (mode.is_ao and e == _AO_GAP_EDGE)]
    n_bin = len(edges) - 1
    grid = np.indices((n_bin, origin.N_IFU, origin.N_SLICE)).reshape(3, -1) + 1
    table = np.zeros(
        grid.shape[1],
        [("ifu", "i4"), ("sli", "i4"), ("quad", "i4"), ("npts", "i4"), ("corr", "f8"), ("corr_orig", "f8")],
    )
    table["quad"], table["ifu"], table["sli"] = grid
    table["npts"] = 5000
    corr = 1 + rms * np.random.default_rng([seed, 6]).standard_normal(grid.shape[1])
    table["corr"] = corr.astype(np.float32)
    table["corr_orig"] = np.nan
    extra = []
    for i in range(n_bin):
        extra.append((f"ESO DRS MUSE LAMBDA{i + 1} MIN", float(edges[i]), "[Angstrom] lower end of wavelength range"))
        extra.append((f"ESO DRS MUSE LAMBDA{i + 1} MAX", float(edges[i + 1]), "[Angstrom] upper end"))
    return _write_table(path, "AUTOCAL_FACTORS", table, {}, mode, extra)


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
    fields = [("DATE_OBS", "S23"), ("MJD_OBS", "f8"), ("RA_OFFSET", "f8"), ("DEC_OFFSET", "f8")]
    table = np.zeros(len(entries), fields + ([("FLUX_SCALE", "f8")] if with_flux_scale else []))
    for row, (date_obs, ra_offset, dec_offset, scale) in zip(table, entries, strict=True):
        row["DATE_OBS"], row["RA_OFFSET"], row["DEC_OFFSET"] = date_obs.encode("ascii"), ra_offset, dec_offset
        if with_flux_scale:
            row["FLUX_SCALE"] = scale
    return _write_table(path, "OFFSET_LIST", table, {"RA_OFFSET": "deg", "DEC_OFFSET": "deg"})


def write_filter_list(path: Path) -> Path:
    """FILTER_LIST: synthetic bands, one extension each: ``sim_V``, ``sim_R``, ``sim_I`` and the narrow ``sim_7030``."""
    bands = (("sim_V", 5450.0, 450.0), ("sim_R", 6500.0, 700.0), ("sim_I", 8000.0, 800.0), ("sim_7030", 7030.0, 20.0))
    with FitsWriter(path, _cards("FILTER_LIST"), with_md5=True) as file:
        for i, (name, centre, half_width) in enumerate(bands):
            u = np.linspace(-1.3, 1.3, 53)
            table = _table(**{"lambda": centre + half_width * u, "throughput": 0.9 / (1 + np.abs(u) ** 12)})
            table["throughput"][[0, -1]] = 0
            cards = [("EXTNAME", name), ("ZP_VEGA", 20.5 + 0.1 * i, "Vega-mag zero point"), ("ZP_AB", 20.6 + 0.1 * i)]
            file.table([table], cards, {"lambda": units.ANGSTROM})
    return Path(path)


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
    plane = np.zeros(shape[1:], np.float32)
    with FitsWriter(path, _cards("OUTPUT_WCS")) as file:
        file.image([plane] * shape[0], shape, [("EXTNAME", "DATA"), *cards])
    return Path(path)
