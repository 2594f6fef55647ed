# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated exposures: what muse_scibasic would hand to muse_scipost, one pixel table an IFU.

Light of the sources and of the sky goes through atmosphere, refraction, line spread function and throughput onto the
pixels of the 48 slices of each CCD; photon and read noise, cosmic rays and bad pixels are added; the result is divided
by the flat-field. Rows are in the order slice, CCD row, CCD column. The variance is that which a pipeline estimates:
from the measured electrons and the read noise.

The same `ExposureSpec` gives the same files, bit for bit. Each slice has its own stream of random numbers, so that they
do not depend on which other IFUs are made.

See the other modules of this package for what is not modelled; bias, dark current, illumination and geometry errors
count as perfectly removed.
"""

import logging
from pathlib import Path

import numpy as np

from muse_core.errors import ParameterError
from muse_core.io.fitswriter import primary_header
from muse_core.io.pixtable import PixelTableWriter
from muse_core.model import origin, units
from muse_core.model.cards import set_card
from muse_core.model.dq import DQ
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.model.record import record
from muse_core.model.rows import make_rows
from muse_core.simulate import header, instrument, sky
from muse_core.simulate.pointing import Pointing, mjd_of, offset_position, zenith_of
from muse_core.simulate.source import Seeing, Source, default_sources

_LOG = logging.getLogger(__name__)

TAGS = ("PIXTABLE_OBJECT", "PIXTABLE_SKY")
_STEP = 0.03125  # Angstrom, sampling of the spectra that are interpolated at the wavelengths of the pixels
_PSF_ROWS = 32  # CCD rows between which the image of a source is interpolated
_FLAT_GRID = np.arange(4140.0, 9811.0, 1.25)  # wavelengths of the flat-field spectra


@record(kw_only=True)
class ExposureSpec:
    """Everything that defines a simulated exposure.

    Attributes
    ----------
    tag : str
        PIXTABLE_OBJECT, or PIXTABLE_SKY for an exposure of sky.
    mode : str
        Instrument mode, a key of `muse_core.simulate.instrument.MODES`.
    ifus : tuple of int
        IFUs to make, 1...24. The centre of the field is the middle of what they see.
    slices : tuple of int
        Slices of each IFU to make, 1...48, in this order.
    lbda_min, lbda_max : float
        Wavelength range in Angstrom; cut to what the mode sees.
    ra_deg, dec_deg : float
        Target: sources are placed relative to it.
    dither_arcsec : tuple of float
        Offset (east, north) of the pointing from the target.
    pointing_error_arcsec : tuple of float
        True pointing minus the one in the header: (east, north).
    posang : float
        ESO INS DROT POSANG in degrees.
    drot_mode : str
        SKY (the position angle of the field is -posang) or STAT (+posang).
    exptime : float
        Seconds.
    date_obs : str
        Start of the exposure, 23 characters.
    seed : int
        Of noise, cosmic rays, state of the sky and slice gains.
    sources : tuple of Source or None
        None for the default field of the mode.
    seeing : float
        Full width at half maximum in arcsec at 7000 Angstrom.
    temperature_c, pressure_hpa : float
        Air, as the header says.
    refraction_error : float
        Relative error of the refraction that the header's atmosphere predicts: leaves residual refraction.
    refraction : bool
        Differential refraction (always off in the narrow field, which has a corrector).
    transparency : float
        Factor on all light, sky included.
    object_name : str
        Keyword OBJECT.
    flat_field : bool
        Divide by the spectrum of the lamp and attach it, as pipelines since 2.0 do.
    file_format : str
        "image" (one image a column) or "table" (one binary table).
    continuum_level : float
        Factor on the sky continuum.
    sky_lines, telluric, noise, cosmic_rays, bad_pixels : bool
        Switches.
    wavelength_shift : float
        Error of the wavelength calibration in Angstrom: lines appear this much redder.
    slice_gain_rms : float
        Relative error of the level of the slices, the error that autocalibration takes out.
    raman_flux : float
        Flux of the strongest Raman line in 1e-20 erg/s/cm2 per spaxel in the middle of the field (AO modes).
    """

    tag: str = "PIXTABLE_OBJECT"
    mode: str = "WFM-NOAO-N"
    ifus: tuple[int, ...] = tuple(range(1, 25))
    slices: tuple[int, ...] = tuple(range(1, origin.N_SLICE + 1))
    lbda_min: float = 4750.0
    lbda_max: float = 9350.0
    ra_deg: float = 53.1625
    dec_deg: float = -27.79139
    dither_arcsec: tuple[float, float] = (0.0, 0.0)
    pointing_error_arcsec: tuple[float, float] = (0.0, 0.0)
    posang: float = 0.0
    drot_mode: str = "SKY"
    exptime: float = 900.0
    date_obs: str = "2014-11-21T06:32:33.123"
    seed: int = 1
    sources: tuple[Source, ...] | None = None
    seeing: float = 0.7
    temperature_c: float = 11.5
    pressure_hpa: float = 743.0
    refraction_error: float = 0.0
    refraction: bool = True
    transparency: float = 1.0
    object_name: str = "SIMULATED FIELD"
    flat_field: bool = True
    file_format: str = "image"
    continuum_level: float = 1.0
    sky_lines: bool = True
    telluric: bool = False
    noise: bool = True
    cosmic_rays: bool = True
    bad_pixels: bool = True
    wavelength_shift: float = 0.02
    slice_gain_rms: float = 0.0
    raman_flux: float = 0.0

    def __post_init__(self):
        for name, numbers, last in (("ifus", self.ifus, origin.N_IFU), ("slices", self.slices, origin.N_SLICE)):
            unique = set(numbers)
            if not unique or len(unique) != len(numbers) or not unique <= set(range(1, last + 1)):
                raise ParameterError(f"{name}: found {numbers}, expected numbers from 1 to {last}, each once")
        if self.tag not in TAGS:
            raise ParameterError(f"tag: found {self.tag!r}, expected {' or '.join(TAGS)}")
        if self.drot_mode not in ("SKY", "STAT"):
            raise ParameterError(f"drot_mode: found {self.drot_mode!r}, expected SKY or STAT")
        if self.file_format not in ("image", "table"):
            raise ParameterError(f"file_format: found {self.file_format!r}, expected image or table")
        low, high = self.lbda_range
        if not low < high:
            raise ParameterError(f"wavelength range: nothing left of {self.lbda_min}..{self.lbda_max} in {self.mode}")
        if self.zenith_and_parallactic[0] > 80:
            raise ParameterError(f"date_obs: the target is {self.zenith_and_parallactic[0]:.0f} deg from the zenith")

    @property
    def raw_type(self) -> str:
        """OBJECT or SKY: type of the raw exposure."""
        return self.tag.removeprefix("PIXTABLE_")

    @property
    def instrument_mode(self) -> instrument.Mode:
        """The mode."""
        return instrument.mode_of(self.mode)

    @property
    def lbda_range(self) -> tuple[float, float]:
        """Wavelength range cut to what the mode sees, in Angstrom."""
        low, high = self.instrument_mode.lbda_range
        return max(low, self.lbda_min), min(high, self.lbda_max)

    @property
    def header_position(self) -> tuple[float, float]:
        """Right ascension and declination of the header, in degrees."""
        return offset_position(self.ra_deg, self.dec_deg, *self.dither_arcsec)

    @property
    def true_position(self) -> tuple[float, float]:
        """Where the telescope really points, in degrees."""
        return offset_position(*self.header_position, *self.pointing_error_arcsec)

    @property
    def zenith_and_parallactic(self) -> tuple[float, float]:
        """Zenith distance and parallactic angle in the middle of the exposure, in degrees."""
        return zenith_of(*self.header_position, mjd_of(self.date_obs) + self.exptime / 2 / 86400.0)

    @property
    def all_sources(self) -> tuple[Source, ...]:
        """The sources."""
        return default_sources(self.instrument_mode) if self.sources is None else self.sources

    def sky(self) -> sky.Sky:
        """The sky of this exposure."""
        made = sky.make_sky(self.seed, self.instrument_mode.area_ratio, self.sky_lines, self.continuum_level)
        made.lines["lbda"] += self.wavelength_shift
        return made

    def pointing(self) -> Pointing:
        """Geometry of this exposure."""
        zenith, parallactic = self.zenith_and_parallactic
        refracts = self.refraction and not self.instrument_mode.is_nfm
        return Pointing(
            mode=self.instrument_mode,
            ra_deg=self.true_position[0],
            dec_deg=self.true_position[1],
            position_angle_deg=-self.posang if self.drot_mode == "SKY" else self.posang,
            zenith_distance_deg=zenith,
            parallactic_deg=parallactic,
            temperature_c=self.temperature_c,
            pressure_hpa=self.pressure_hpa,
            refraction=(1 + self.refraction_error) if refracts else 0.0,
            centre=field_centre(self.ifus, *self.lbda_range),
        )


def field_centre(ifus, lbda_min: float, lbda_max: float) -> tuple[float, float]:
    """Middle of the positions of all rows of some IFUs, in nominal spaxels: where the telescope points."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for ifu in ifus:
        for number in range(1, origin.N_SLICE + 1):
            geometry = instrument.slice_geometry(ifu, number)
            y = geometry.rows(lbda_min, lbda_max)
            if len(y) == 0:
                continue
            centre = geometry.centre(y)
            ends = np.array(
                [
                    np.min(np.ceil(centre - geometry.half_width) - centre),
                    np.max(np.floor(centre + geometry.half_width) - centre),
                ]
            )
            x, y = geometry.position(ends)
            low = np.minimum(low, (x.min(), y.min()))
            high = np.maximum(high, (x.max(), y.max()))
    return float((low[0] + high[0]) / 2), float((low[1] + high[1]) / 2)


class _Light:
    """What all slices of an exposure share: curves of wavelength on the fine grid, sources, geometry."""

    def __init__(self, spec: ExposureSpec):
        low, high = spec.lbda_range
        self.spec = spec
        self.mode = spec.instrument_mode
        self.first = low - 3.0
        self.n = int((high - low + 6.0) / _STEP) + 1
        self.lbda = self.first + _STEP * np.arange(self.n)
        self.sky = spec.sky()
        self.pointing = spec.pointing()
        self.seeing = Seeing.of_mode(self.mode, spec.seeing)
        airmass = 1 / np.cos(np.radians(spec.zenith_and_parallactic[0]))
        magnitude = instrument.response_magnitude(self.lbda) - airmass * sky.extinction(self.lbda)
        electrons = spec.exptime * instrument.PIXEL_ANGSTROM * 1e-20 * 10 ** (0.4 * magnitude) * spec.transparency
        if spec.telluric:
            electrons = electrons * sky.telluric_transmission(self.lbda) ** airmass
        #: electrons a pixel for a spectrum of 1e-20 erg/s/cm2/Angstrom
        self.electrons = electrons * instrument.notch_transmission(self.mode, self.lbda)
        self.continuum = self.sky.continuum(self.lbda)
        self.flat = instrument.lamp(self.lbda) if spec.flat_field else np.ones(self.n)
        self.raman = sky.raman_lines(spec.raman_flux) if self.mode.is_ao and spec.raman_flux else None
        self.sources = spec.all_sources
        #: wavelengths between which the positions of the sources are interpolated, and those positions
        self.nodes = np.linspace(low - 10, high + 10, 2 + int((high - low) / 20))
        target = (spec.ra_deg, spec.dec_deg)
        self.positions = [self.pointing.pixel(*s.position(*target), self.nodes) for s in self.sources]

    def at(self, curve: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Interpolate `curve` at fractional indices."""
        index = position.astype(np.int32)
        value = curve[index]
        return value + (position - index) * (curve[index + 1] - value)


def _add_sources(expected, light: _Light, geometry, lsf, along, lbda, position) -> None:
    """Add the electrons of the sources to `expected`, shape (n_y, n_x), in place."""
    sx, sy = light.mode.spaxel_arcsec
    n = len(lbda)
    nodes = np.unique(np.append(np.arange(0, n, _PSF_ROWS), n - 1))
    x, y = geometry.position(along[nodes])
    node_lbda = lbda[nodes, lbda.shape[1] // 2]
    row = np.searchsorted(nodes, np.arange(n), side="right") - 1
    row = np.minimum(row, max(len(nodes) - 2, 0))
    for source, position_of_source in zip(light.sources, light.positions, strict=True):
        source_x, source_y = (np.interp(node_lbda, light.nodes, p) for p in position_of_source)
        reach = light.seeing.reach_arcsec(source)
        dx, dy = (x - source_x[:, None]) * sx, (y - source_y[:, None]) * sy
        if np.hypot(dx, dy).min() > reach:
            continue
        image = light.seeing.image(source, dx, dy, node_lbda[:, None])
        if len(nodes) > 1:
            weight = ((np.arange(n) - nodes[row]) / (nodes[row + 1] - nodes[row]))[:, None]
            image = image[row] * (1 - weight) + image[row + 1] * weight
        spectrum = source.sampled(light.first, _STEP, light.n, lsf) * light.electrons
        expected += sx * sy * image * light.at(spectrum, position)


def raman_shape(x, y):
    """Brightness of the Raman light over the field, 1 in the middle; `x`, `y` in nominal spaxels."""
    return 1 + 1.5e-3 * x - 0.8e-3 * y - 1.2e-5 * x**2 - 0.9e-5 * y**2 + 0.3e-5 * x * y


def slice_gain(spec: ExposureSpec, ifu: int, number: int, lbda):
    """Error of the level of a slice, about 1: a constant and a slope in wavelength."""
    if spec.slice_gain_rms == 0:
        return np.ones_like(lbda)
    level, slope = np.random.default_rng([spec.seed, 3, ifu, number]).standard_normal(2)
    return 1 + spec.slice_gain_rms * (level + 0.4 * slope * (lbda - 7000.0) / 2300.0)


def _cosmic_rays(rng, shape, exptime: float) -> np.ndarray:
    """Electrons of cosmic rays: tracks of 1 to 12 pixels, some 3 hits per hour and 1000 pixels."""
    electrons = np.zeros(shape)
    hits = rng.poisson(8e-7 * exptime * shape[0] * shape[1])
    for _ in range(hits):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        angle, length = rng.uniform(0, np.pi), 1 + min(11.0, rng.exponential(2.5))
        charge = 150 + rng.exponential(900)
        steps = np.arange(0, length, 0.5)
        iy, ix = (y + steps * np.sin(angle)).astype(int), (x + steps * np.cos(angle)).astype(int)
        inside = (iy >= 0) & (iy < shape[0]) & (ix >= 0) & (ix < shape[1])
        electrons[iy[inside], ix[inside]] += charge / 2
    return electrons


def _simulate_slice(light: _Light, ifu: int, number: int) -> np.ndarray | None:
    """Rows of one slice (array of ROW), or None where the slice sees none of the wavelengths."""
    spec = light.spec
    geometry, lsf = instrument.slice_geometry(ifu, number), instrument.slice_lsf(ifu, number)
    low, high = spec.lbda_range
    y = geometry.rows(low, high)
    if len(y) == 0:
        return None
    columns = geometry.columns(y)
    along = columns - geometry.centre(y)[:, None]
    lbda = geometry.wavelength(along, y).astype(np.float32).astype(float)  # as stored: limits and flags agree with it
    used = (np.abs(along) <= geometry.half_width) & (lbda >= low) & (lbda <= high)
    if not used.any():
        return None
    position = np.clip((lbda - light.first) / _STEP, 0, light.n - 2)

    spectrum = light.sky.sampled_lines(light.first, _STEP, light.n, lsf) + light.continuum
    expected = light.at(spectrum * light.electrons, position)
    _add_sources(expected, light, geometry, lsf, along, lbda, position)
    if light.raman is not None:
        spectrum = np.zeros(light.n)
        sky.add_lines(spectrum, light.first, _STEP, light.raman, lsf)
        expected += raman_shape(*geometry.position(along)) * light.at(spectrum * light.electrons, position)
    expected *= slice_gain(spec, ifu, number, lbda) * instrument.ifu_level(ifu) * instrument.ifu_colour(ifu, lbda)

    # only pixels that the slice illuminates get noise: the stream of random numbers is what costs time
    expected, lbda = expected[used], lbda[used]
    rng = np.random.default_rng([spec.seed, 4, ifu, number])
    measured = expected
    if spec.cosmic_rays:
        measured = measured + _cosmic_rays(rng, used.shape, spec.exptime)[used]
    if spec.noise:
        measured = rng.poisson(measured) + instrument.READ_NOISE * rng.standard_normal(len(measured))
    dq = np.zeros(len(measured), np.int32)
    if spec.bad_pixels:
        flags = instrument.bad_pixels(geometry, y, columns)[used]
        dq |= flags
        measured = measured + 3000.0 * ((flags & DQ.HOT) != 0) + 200.0 * ((flags & DQ.DARK) != 0)
        measured = np.where((flags & (DQ.DEAD | DQ.LOW_QE)) != 0, 0.3 * measured, measured)
    dq[measured > instrument.FULL_WELL] |= DQ.SATURATED
    if light.mode.notch is not None:
        dq[(lbda > light.mode.notch[0]) & (lbda < light.mode.notch[1])] = DQ.NOTCH_NAD
    variance = np.maximum(measured, 0) + instrument.READ_NOISE**2
    flat = instrument.ifu_colour(ifu, lbda) * light.at(light.flat, position[used])

    x, y_sky = geometry.position(along)
    grid_y, grid_x = np.broadcast_arrays(y[:, None], columns)
    encoded = origin.encode(grid_x[used], grid_y[used], ifu, number, geometry.offset)
    return make_rows(x[used], y_sky[used], lbda, measured / flat, dq, variance / flat**2, encoded)


def _flat_field_spectrum(ifu: int) -> FlatFieldSpectrum:
    """Flat-field spectrum of an IFU: lamp and colour of the IFU, with a little noise."""
    noise = 1 + 2e-4 * np.random.default_rng([ifu, 5]).standard_normal(len(_FLAT_GRID))
    return FlatFieldSpectrum(_FLAT_GRID, instrument.lamp(_FLAT_GRID) * instrument.ifu_colour(ifu, _FLAT_GRID) * noise)


def _write_ifu(light: _Light, ifu: int, path: Path) -> int:
    """Make and write one IFU; return the number of rows."""
    spec = light.spec
    slices = [s for n in spec.slices if (s := _simulate_slice(light, ifu, n)) is not None]
    limits = {
        axis: (min(s[field].min() for s in slices), max(s[field].max() for s in slices))
        for axis, field in (("X", "xpos"), ("Y", "ypos"), ("LAMBDA", "lbda"))
    }
    primary = primary_header()
    for card in (
        *header.telescope_cards(spec),
        *header.detector_cards(ifu),
        *header.scibasic_cards(path.name, ifu, spec),
        *header.pixtable_cards(ifu, limits, spec.flat_field),
        ("EXTNAME", f"CHAN{ifu:02d}", "IFU"),
    ):
        set_card(primary, *card)
    n_rows = sum(map(len, slices))
    with PixelTableWriter(
        path,
        primary,
        n_rows,
        position_unit=units.PIX,
        data_unit=units.COUNT,
        stat_unit=units.COUNT_VARIANCE,
        flat_field=_flat_field_spectrum(ifu) if spec.flat_field else None,
        as_table=spec.file_format == "table",
    ) as writer:
        start = 0
        for rows in slices:
            writer.write(start, rows)
            start += len(rows)
        writer.finish()
    return n_rows


def simulate_exposure(spec: ExposureSpec, directory: Path, number: int = 1) -> list[Path]:
    """Make an exposure.

    Parameters
    ----------
    spec : ExposureSpec
        What to make.
    directory : Path
        Where to write; must exist.
    number : int
        File names are ``<tag>_<number>-<IFU>.fits``.

    Returns
    -------
    list of Path
        The files, in the order of `spec.ifus`. Memory: 28 bytes a row of one IFU, and some 100 MB.
    """
    light = _Light(spec)
    paths = []
    for ifu in spec.ifus:
        paths.append(Path(directory) / f"{spec.tag}_{number:04d}-{ifu:02d}.fits")
        n_rows = _write_ifu(light, ifu, paths[-1])
        _LOG.info("%s: %d rows", paths[-1].name, n_rows)
    return paths
