# SPDX-License-Identifier: GPL-2.0-or-later
"""The extra ``noise``: NOISE_CORRELATION beside the cube: the correlations of its voxels, and its measured noise."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.engine.slabs import SlabSource
from muse_core.errors import DataError, ParameterError
from muse_core.io.fitsreader import FitsFile, Hdu
from muse_core.io.fitswriter import primary_header
from muse_core.io.noise import PATTERN, SIZED_COLUMNS, SPECTRAL, TAG, Encoding, NoiseWriter
from muse_core.model.fits import Header
from muse_core.model.grid import OutputGrid
from muse_core.model.header import get_float, get_int, get_string, is_nfm
from muse_core.model.spectrum import Spectrum
from muse_core.recipe.extras import Collector, ExposureWatch, Extra, Finished
from muse_core.recipe.run import Run
from muse_core.stages.cards import image_wcs, object_cards
from muse_core.steps import dar
from muse_core.steps.collapse import Collapse
from muse_core.steps.combine import CARD_COMBINED
from muse_core.steps.noise import correlation as coding
from muse_core.steps.noise.correlation import box_factor, encode
from muse_core.steps.noise.layout import Layout
from muse_core.steps.noise.measured import SIZES, SkyNoise, boxes_of, combined_sky_variance
from muse_core.steps.noise.sums import LARGEST_REACH, CorrelationSums, CorrelationWatch, scratch_bytes
from muse_core.steps.resample import ResampleOptions, SlabResult

_LOG = logging.getLogger(__name__)
_CUBE = "DATACUBE_FINAL"
_ENCODING = Encoding(8, 1 / coding.SCALE, -coding.ZERO / coding.SCALE, coding.BLANK)


def _code_pattern(values: np.ndarray) -> dict[str, np.ndarray]:
    codes = encode(values)
    return {"codes": codes, "means": coding.mean_of(codes)}


def _code_spectral(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"codes": encode(values)}


def refraction_shift(grid: OutputGrid, header: Header) -> np.ndarray | None:
    """Return by how much the rows in each plane were moved to correct for refraction; in spaxels, shape (nz,).

    None where they were not, or where the header of the pixel table does not say so.
    """
    if is_nfm(header) or get_float(header, dar.CARD_CORRECT, 0.0) <= 0 or not grid.celestial:
        return None
    lbda = grid.wavelength(np.arange(grid.nz))
    try:
        correction = dar.DarCorrection.from_header(header, get_float(header, dar.CARD_CORRECT, 0.0))
    except DataError as error:
        _LOG.info("Planes of the noise are spaced evenly: %s", error)
        return None
    return correction.shift_arcsec(lbda) / (3600 * min(grid.voxel_scales()))


class _SkyWatch(ExposureWatch):
    """Keeps how well the sky of an exposure is known."""

    def __init__(self) -> None:
        self._seen: dict[str, np.ndarray] = {}

    def sky_found(self, header: Header, spectrum: Spectrum) -> None:
        """Keep what `SkyNoise` needs of a spectrum."""
        assert spectrum.count is not None
        self._seen = {"lbda": spectrum.lbda, "stat": spectrum.stat, "count": spectrum.count}

    def seen(self) -> dict[str, np.ndarray]:
        """Return that."""
        return self._seen


class NoiseCollector(Collector):
    """Finds the correlations while the cube is made, and measures its noise when it is complete."""

    def __init__(self, extra: Extra, run: Run):
        super().__init__(extra, run)
        self._writer: NoiseWriter | None = None
        self._skies: list[SkyNoise] = []
        self._factors: dict[int, list[float]] = {}

    def needs(self, grid: OutputGrid | None, options: ResampleOptions | None) -> tuple[int, int]:
        """Return the bytes of memory and of disk."""
        if grid is None or options is None:
            return 0, 0
        if options.reach > LARGEST_REACH:
            raise ParameterError(f"noise: found ld = {options.ld}, expected at most {LARGEST_REACH}")
        layout = Layout.of(grid, options)
        return scratch_bytes(grid, layout.neighbourhood), layout.product_bytes(grid)

    def watch_exposure(self) -> "_SkyWatch":
        """Return who looks how well the sky of an exposure is known."""
        return _SkyWatch()

    def add_exposure(self, header: Header, seen: dict[str, np.ndarray]) -> None:
        """Keep how well it is."""
        if seen:
            self._skies.append(SkyNoise(**seen))

    def begin_cube(self, header: Header, source: SlabSource, options: ResampleOptions) -> None:
        """Choose the planes, and watch the resampling."""
        grid = self._grid = source.resampler.grid
        self._source, self._layout = source, Layout.of(grid, options, refraction_shift(grid, header))
        n_exposures = get_int(header, CARD_COMBINED, 1)
        self._shares = source.shares() or [1 / n_exposures] * n_exposures
        self._white = Collapse(grid, [None], self.run.resources.n_threads)
        self._lbda = grid.wavelength(np.arange(grid.nz))
        wcs, layout = grid.cards(header), self._layout
        factory = self.run.factory
        path = factory.next_path(TAG)
        self._writer = NoiseWriter(
            path,
            factory.header(TAG, self.cards([*object_cards(header), *wcs]), path, primary_header()),
            image_wcs(wcs),
            (grid.ny, grid.nx),
            layout.neighbourhood.offsets,
            (layout.pattern, layout.spectral),
            self._lbda,
            _ENCODING,
        )
        watch = CorrelationWatch(grid, layout, _code_pattern, _code_spectral)
        self._sums = CorrelationSums(watch, self._keep_pattern, self._keep_spectral)
        if len(layout.neighbourhood.offsets):
            source.resampler.watch = watch

    def _keep_pattern(self, plane: int, kept: dict[str, np.ndarray]) -> None:
        offsets = map(tuple, self._layout.neighbourhood.offsets.tolist())
        mean = dict(zip(offsets, kept["means"].tolist(), strict=True))
        self._factors[plane] = [box_factor(mean, size) for size in SIZES]
        assert self._writer is not None
        self._writer.write(PATTERN, plane, kept["codes"])

    def _keep_spectral(self, plane: int, kept: dict[str, np.ndarray]) -> None:
        assert self._writer is not None
        self._writer.write(SPECTRAL, plane, kept["codes"])

    def add_planes(self, first: int, result: SlabResult) -> None:
        """Keep the coefficients, and add planes to the image in which sky is looked for."""
        self._sums.add(result.seen)
        self._white.add_planes(first, result.data, result.dq)

    def end_cube(self) -> None:
        """Leave the resampling alone."""
        self._source.resampler.watch = None

    def write(self, products: Sequence[Finished]) -> None:
        """Measure the noise of the cube; complete the product."""
        if self._writer is None:
            _LOG.warning("No cube is made: there is no noise of it")
            return
        start = time.monotonic()
        columns = {"WAVELENGTH": self._lbda, "SKY_VARIANCE": self._sky_variance()}
        cube = next(product.path for product in products if product.tag == _CUBE)
        unit = self._measure(cube, columns)
        planes = sorted(self._factors)
        for number, size in enumerate(SIZES[1:], 1):
            factors = [self._factors[plane][number] for plane in planes] or [1.0]
            columns[f"PREDICTED{size}"] = np.interp(np.arange(self._grid.nz), planes or [0], factors)
        self.run.factory.register(self._writer.finish(columns, unit), TAG)
        _LOG.info("Noise of the cube: measured in %.1f s", time.monotonic() - start)

    def _measure(self, path: Path, columns: dict[str, np.ndarray]) -> str:
        """Fill in the columns of the measured noise; return the unit of the cube."""
        nz = self._grid.nz
        for name in SIZED_COLUMNS:
            for size in SIZES:
                columns[f"{name}{size}"] = np.zeros(nz) if name == "N" else np.full(nz, np.nan)
        boxes = boxes_of(self._white.images()[0])
        with FitsFile(path) as file:
            data, stat = file.find("DATA"), file.find("STAT")
            if data is None or stat is None:
                _LOG.warning("%s: noise is measured in cubes of the formats Cube, xCube and sdpCube only", path.name)
                return ""

            for plane in range(nz):  # by one thread: it is over before several have found each other
                pair = [_plane(file, hdu, plane) for hdu in (data, stat)]
                for box in boxes:
                    ratio, number = box.ratio(*pair)
                    columns[f"RATIO{box.size}"][plane], columns[f"N{box.size}"][plane] = ratio, number
            return get_string(data.header, "BUNIT", "")

    def _sky_variance(self) -> np.ndarray:
        """Return the variance of the sky that was subtracted, in each plane; NaN if it is not known."""
        if len(self._skies) != len(self._shares):
            return np.full(self._grid.nz, np.nan)
        length = self._grid.voxel_length(np.arange(self._grid.nz))
        return combined_sky_variance([sky.variance(self._lbda, length) for sky in self._skies], self._shares)

    def close(self) -> None:
        """Leave no file open."""
        if self._writer is not None:
            self._writer.abort()


def _plane(file: FitsFile, hdu: Hdu, number: int) -> np.ndarray:
    """Return a plane of a cube, big-endian as it is in the file."""
    _, ny, nx = hdu.shape
    size = 4 * ny * nx
    return np.frombuffer(file.read(hdu.data_begin + number * size, size), ">f4").reshape(ny, nx)
