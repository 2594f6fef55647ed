# SPDX-License-Identifier: GPL-2.0-or-later
"""How large is my error? The noise of a cube, with the correlations that resampling makes between its voxels.

`Noise` opens a cube, or a part of one, and the NOISE_CORRELATION that was made with it (``MUSE_EXTRAS=noise``). STAT
has the variance of each voxel; that of a sum is larger than the sum of variances, since neighbours share pixels of the
detector. What a user sums up is told by weights: of spaxels, of planes, or of both. Missing voxels count as 0, as in
`numpy.nansum`.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from muse_core.errors import DataError, InputError
from muse_core.io.noise import TAG, NoiseFile, read_noise
from muse_core.steps.noise.correlation import Box, Correlation, Variances, bands, quadratic_form
from muse_core.steps.noise.layout import Layout, Neighbourhood

if TYPE_CHECKING:
    from astropy.nddata import Covariance
    from scipy.sparse import csr_array

_WHOLE = 0.01  # voxels by which grids may be apart


class Noise:
    """The noise of a cube.

    Parameters
    ----------
    cube : path, HDUList, or tuple of (variance, Header or WCS)
        Cube, or a part of it that has been cut out, with its world coordinates. Of a file or HDUList, the
        extension STAT is used; it is mapped, and only what is needed is read.
    correlation : path, optional
        NOISE_CORRELATION; by default ``NOISE_CORRELATION.fits`` beside the file of the cube.

    Attributes
    ----------
    shape : tuple of int
        Shape of the cube, (nz, ny, nx).
    wavelength : ndarray of float64, shape (nz,)
        Wavelengths of the planes, in Angstrom.
    table : ndarray
        The measured noise, a row for each plane: RATIO1, RATIO3, RATIO5, the scatter of sky spaxels, and of sums over
        3 x 3 and 5 x 5, in units of what STAT says alone; PREDICTED3, PREDICTED5, what correlations make of that; N1,
        N3, N5, numbers of spaxels used; SKY_VARIANCE, of the sky that was subtracted from a spaxel.

    Raises
    ------
    InputError, DataError
        A file cannot be used, or the cube is no part of that of the correlations.

    Examples
    --------
    >>> import numpy as np
    >>> from muse_core.noise import Noise
    >>> noise = Noise("DATACUBE_FINAL.fits")
    >>> nz, ny, nx = noise.shape
    >>> aperture = noise.aperture(x=nx // 2, y=ny // 2, radius=0.6)
    >>> error = np.sqrt(noise.variance(aperture))  # of the spectrum summed up in the aperture
    >>> error.shape == noise.wavelength.shape == noise.table["RATIO1"].shape
    True
    >>> band = np.where(noise.wavelength > noise.wavelength[1], 1.25, 0)
    >>> image_error = np.sqrt(noise.variance(planes=band))  # of a narrow-band image
    >>> flux_error = np.sqrt(noise.variance(aperture, band))  # of the flux in both
    >>> bool(flux_error > 0)
    True
    """

    def __init__(self, cube: Any, correlation: str | os.PathLike | None = None):
        self._stat, header = _variance_of(cube)
        if correlation is None:
            if not isinstance(cube, (str, os.PathLike)):
                raise InputError(f"{TAG}: found none, expected its file name beside a cube that is no file")
            correlation = Path(cube).with_name(f"{TAG}.fits")
        self._file = read_noise(correlation)
        self.shape = tuple(self._stat.shape)
        wcs = header if isinstance(header, WCS) else WCS(header, naxis=3)
        self._origin = _origin(wcs, self.shape, self._file, str(correlation))
        z = self._origin[0]
        self.table = self._file.noise[z : z + self.shape[0]]
        self.wavelength = np.asarray(self.table["WAVELENGTH"], np.float64)
        self._correlation = _correlation_of(self._file)
        self._variances = Variances(self._stat, self._origin)
        self._spaxel_arcsec = 1.0
        if wcs.has_celestial:
            self._spaxel_arcsec = math.sqrt(abs(np.linalg.det(wcs.celestial.pixel_scale_matrix))) * 3600

    def aperture(self, x: float, y: float, radius: float) -> np.ndarray:
        """Return weights of 1 for the spaxels whose centre is in a circle, 0 for the others.

        Parameters
        ----------
        x, y : float
            Centre in spaxels, counted from 0.
        radius : float
            Radius in arcsec (in spaxels, of a cube that is not on the sky).

        Returns
        -------
        ndarray of float64, shape (ny, nx)
            Weights for `variance`.

        Examples
        --------
        >>> from muse_core.noise import Noise
        >>> noise = Noise("DATACUBE_FINAL.fits")
        >>> inside = noise.aperture(x=100, y=6, radius=0.3)
        >>> inside.shape == noise.shape[1:], float(inside[6, 100]), float(inside[0, 0])
        (True, 1.0, 0.0)
        """
        rows, columns = np.indices(self.shape[1:])
        inside = np.hypot(columns - x, rows - y) * self._spaxel_arcsec <= radius
        return inside.astype(np.float64)

    def variance(
        self, weights: np.ndarray | None = None, planes: np.ndarray | None = None, *, sky: bool = False
    ) -> np.ndarray | float:
        """Return the variance of a weighted sum of voxels.

        Parameters
        ----------
        weights : ndarray, shape (ny, nx) or (nz, ny, nx), optional
            Weight of each spaxel, or of each voxel; a mask will do.
        planes : ndarray, shape (nz,), optional
            Weight of each plane.
        sky : bool
            Add the error of the sky spectrum that was subtracted, common to all spaxels.

        Returns
        -------
        ndarray of float64, shape (nz,)
            With `weights` of spaxels alone: of the spectrum.
        ndarray of float64, shape (ny, nx)
            With `planes` alone: of the image; 0 where there are no data.
        float
            With both, or weights of voxels: of the number.

        Raises
        ------
        DataError
            Weights of another shape than the cube, or none; or the error of the sky is not known, and asked for.

        Examples
        --------
        >>> from muse_core.noise import Noise
        >>> noise = Noise("DATACUBE_FINAL.fits")
        >>> aperture = noise.aperture(noise.shape[2] // 2, noise.shape[1] // 2, 0.6)
        >>> noise.variance(aperture).shape == noise.wavelength.shape
        True
        >>> band = noise.wavelength > noise.wavelength[1]
        >>> noise.variance(planes=band).shape == noise.shape[1:]
        True
        >>> bool(noise.variance(aperture, band) > 0)
        True
        """
        if weights is None and planes is None:
            raise DataError("variance: found no weights, expected some of spaxels, planes or voxels")
        if planes is not None:
            planes = self._checked(planes, self.shape[:1], "planes")
        if weights is None:
            return self._of_image(planes, sky)
        weights = np.asarray(weights, np.float64)
        if weights.ndim == 3:
            weights = self._checked(weights, self.shape, "weights")
            planes = np.ones(self.shape[0]) if planes is None else planes
            box, found = self._bands(weights * planes[:, None, None], sky, np.ones(self.shape[0]))
            return 0.0 if box is None else quadratic_form(found, np.ones(found.shape[1]))
        weights = self._checked(weights, self.shape[1:], "weights")
        box, found = self._bands(weights, sky, planes)
        if planes is None:
            return found[0] if box is not None else np.zeros(self.shape[0])
        return 0.0 if box is None else quadratic_form(found, planes[slice(*box.planes)])

    def spectrum_covariance(
        self, weights: np.ndarray, planes: tuple[int, int] | None = None, *, sky: bool = False
    ) -> "csr_array":
        """Return the covariance matrix of a spectrum summed up with weights, for fits.

        Parameters
        ----------
        weights : ndarray, shape (ny, nx)
            Weight of each spaxel; a mask will do.
        planes : tuple of int, optional
            First plane and last + 1, counted from 0; by default all.
        sky : bool
            As for `variance`.

        Returns
        -------
        scipy.sparse.csr_array of float64, shape (n_planes, n_planes)
            Its diagonal is what `variance` gives.

        Raises
        ------
        DataError
            Weights of another shape than the field.

        Examples
        --------
        >>> from muse_core.noise import Noise
        >>> noise = Noise("DATACUBE_FINAL.fits")
        >>> aperture = noise.aperture(noise.shape[2] // 2, noise.shape[1] // 2, 0.6)
        >>> noise.spectrum_covariance(aperture, (0, 3)).toarray().shape
        (3, 3)
        """
        from scipy.sparse import csr_array, diags_array

        first, last = (0, self.shape[0]) if planes is None else planes
        chosen = np.zeros(self.shape[0])
        chosen[first:last] = 1
        box, found = self._bands(self._checked(weights, self.shape[1:], "weights"), sky, chosen)
        if box is None:
            return csr_array((last - first, last - first))
        start = first - box.planes[0]
        n = last - first
        diagonals, numbers = [found[0, start : start + n]], [0]
        for dz in range(1, min(len(found), n)):
            band = found[dz, start : start + n - dz]
            diagonals += [band, band]
            numbers += [dz, -dz]
        return csr_array(diags_array(diagonals, offsets=numbers, shape=(n, n)))

    def covariance(
        self, plane: int, y: tuple[int, int] | None = None, x: tuple[int, int] | None = None
    ) -> "Covariance":
        """Return the covariance of the spaxels of a plane, or of a part of it.

        Parameters
        ----------
        plane : int
            Plane, counted from 0.
        y, x : tuple of int, optional
            First spaxel and last + 1 of the part.

        Returns
        -------
        astropy.nddata.Covariance
            Of an image of shape (ny, nx), as rows one after the other; missing spaxels have no variance.

        Raises
        ------
        DataError
            astropy older than 7.1, which has no such class.

        Examples
        --------
        >>> from muse_core.noise import Noise
        >>> noise = Noise("DATACUBE_FINAL.fits")
        >>> noise.covariance(1, y=(2, 8), x=(100, 110)).data_shape
        (6, 10)
        """
        try:
            from astropy.nddata import Covariance
        except ImportError as error:
            raise DataError("astropy.nddata.Covariance: not found, expected astropy 7.1 or later") from error
        from scipy.sparse import csr_matrix

        y, x = y or (0, self.shape[1]), x or (0, self.shape[2])
        box = self._box((plane, plane + 1), y, x)
        noise = np.sqrt(self._read(box)[0])
        number = np.arange(noise.size).reshape(noise.shape)
        rows, columns, values = [number.ravel()], [number.ravel()], [noise.ravel() ** 2]
        local = self._correlation.local(box, self._variances)
        for offset in self._correlation.offsets:
            if offset[0]:
                continue
            (_, *here), (_, *there), found = local.pairs(offset)
            here, there = tuple(here), tuple(there)
            value = (found[0] * noise[here] * noise[there]).ravel()
            rows += [number[here].ravel(), number[there].ravel()]
            columns += [number[there].ravel(), number[here].ravel()]
            values += [value, value]
        entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        matrix = csr_matrix(entries, shape=(noise.size, noise.size))
        matrix.eliminate_zeros()
        return Covariance(matrix, data_shape=noise.shape, assume_symmetric=True)

    def aperture_factor(self, radius: float, wavelength: float) -> float:
        """Return by how much the error of a sum over a circle is larger than STAT alone says, on average in the field.

        Parameters
        ----------
        radius : float
            Radius in arcsec.
        wavelength : float
            Wavelength in Angstrom.

        Returns
        -------
        float
            1 without correlations.

        Examples
        --------
        >>> from muse_core.noise import Noise
        >>> noise = Noise("DATACUBE_FINAL.fits")
        >>> 1 < noise.aperture_factor(0.6, noise.wavelength[1]) < 4
        True
        """
        size = 2 * math.ceil(radius / self._spaxel_arcsec) + 1
        rows, columns = np.indices((size, size)) - size // 2
        inside = (np.hypot(columns, rows) * self._spaxel_arcsec <= radius).astype(float)
        plane = int(np.argmin(np.abs(self.wavelength - wavelength))) + self._origin[0]
        total = inside.sum()
        if not self._correlation.offsets:
            return 1.0
        for (dz, dy, dx), rho in self._correlation.mean(plane).items():
            if dz == 0:
                total += 2 * rho * _pairs_at(inside, dy, dx)
        return math.sqrt(max(total, 0.0) / inside.sum())

    def _checked(self, weights: Any, shape: Sequence[int], name: str) -> np.ndarray:
        found = np.asarray(weights, np.float64)
        if found.shape != tuple(shape):
            raise DataError(f"{name}: found shape {found.shape}, expected {tuple(shape)}, that of the cube")
        return found

    def _read(self, box: Box) -> np.ndarray:
        """Return the variances of a box, 0 where there are none."""
        return self._variances.read(np.arange(*box.planes), box.y, box.x)[0]

    def _box(self, planes: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> Box:
        """Return a box in the cube of the correlations."""
        ranges = ((low + at, high + at) for (low, high), at in zip((planes, y, x), self._origin, strict=True))
        z, y, x = ranges
        return Box(x, y, z)

    def _bands(self, weights: np.ndarray, sky: bool, planes: np.ndarray | None) -> tuple[Box | None, np.ndarray]:
        """Return covariances of sums over spaxels between planes, of all planes, or from the first to the last that
        count, and the box (of this cube) in which they are; None for nothing at all."""
        flat = weights if weights.ndim == 2 else np.any(weights, axis=0)
        used = np.nonzero(flat)
        z = (0, self.shape[0])
        if planes is not None:
            chosen = np.flatnonzero(planes)
            z = (int(chosen[0]), int(chosen[-1]) + 1) if len(chosen) else (0, 0)
        if not len(used[0]) or z[0] == z[1]:
            return None, np.zeros((1, 0))
        y, x = ((int(axis.min()), int(axis.max()) + 1) for axis in used)
        part = weights[..., slice(*y), slice(*x)]
        if weights.ndim == 3:
            part = part[slice(*z)]
        box = self._box(z, y, x)
        found = bands(self._correlation, box, self._variances, part)
        if sky:
            total = np.where(self._read(box) > 0, part, 0).sum(axis=(1, 2))
            found[0] += total**2 * self._sky()[slice(*z)]
        return Box(x, y, z), found

    def _sky(self) -> np.ndarray:
        variance = np.asarray(self.table["SKY_VARIANCE"], np.float64)
        if not np.isfinite(variance).any():
            raise DataError("variance: sky=True, but the error of the sky is not known; was it subtracted in this run?")
        return np.nan_to_num(variance)

    def _of_image(self, planes: np.ndarray, sky: bool) -> np.ndarray:
        """Return the variance of an image made of planes, spaxel by spaxel."""
        image = np.zeros(self.shape[1:])
        used = np.flatnonzero(planes)
        if not len(used):
            return image
        depth = self._correlation.depth
        whole = (int(used[0]), int(used[-1]) + 1)
        y, x = (0, self.shape[1]), (0, self.shape[2])
        step = self._box(whole, y, x).chunk_planes
        for first in range(*whole, step):
            z = (first, min(first + step + depth, whole[1]))
            box = self._box(z, y, x)
            scaled = planes[slice(*z), None, None] * np.sqrt(self._read(box))
            last = min(step, z[1] - first)
            image += np.einsum("pyx,pyx->yx", scaled[:last], scaled[:last])
            local = self._correlation.local(box, self._variances)
            for dz in range(1, depth + 1):
                here, there, values = local.pairs((dz, 0, 0))
                pairs = (scaled[here] * scaled[there] * values)[:last]
                image += 2 * pairs.sum(axis=0)
        if sky:
            image += np.where(image > 0, np.sum(planes**2 * self._sky()), 0)
        return image


def _pairs_at(inside: np.ndarray, dy: int, dx: int) -> float:
    """Return the number of pairs at a distance of an image of 0 and 1."""
    from muse_core.steps.noise.correlation import overlap

    here, there = overlap((dy, dx), inside.shape)
    return float(np.sum(inside[here] * inside[there]))


def _variance_of(cube: Any) -> tuple[np.ndarray, fits.Header | WCS]:
    if isinstance(cube, tuple):
        stat, header = cube
        stat = np.ma.filled(np.ma.asarray(stat, np.float64), np.nan) if np.ma.isMaskedArray(stat) else stat
        found = np.asarray(stat)
    else:
        hdus = cube if isinstance(cube, fits.HDUList) else None
        try:
            with fits.open(cube, memmap=True) if hdus is None else _kept(hdus) as hdus:
                if "STAT" not in hdus:
                    raise InputError(f"{cube}: found no extension STAT, expected a cube with variances")
                found, header = hdus["STAT"].data, hdus["STAT"].header.copy()
        except OSError as error:
            raise InputError(f"{cube}: {error.strerror or error}") from error
    if found is None or found.ndim != 3:
        raise InputError(f"cube: found variances of {0 if found is None else found.ndim} axes, expected 3")
    return found, header


def _kept(hdus: fits.HDUList):
    import contextlib

    return contextlib.nullcontext(hdus)


def _correlation_of(file: NoiseFile) -> Correlation:
    offsets = file.offsets
    neighbourhood = Neighbourhood(int(np.abs(offsets[:, 1:]).max(initial=0)), int(offsets[:, 0].max(initial=0)))
    if not np.array_equal(neighbourhood.offsets, offsets):
        raise InputError(f"{TAG}: found other neighbours in the extension OFFSETS than this version knows")
    return Correlation(Layout(neighbourhood, file.pattern_planes, file.spectral_planes), file.pattern, file.spectral)


def _origin(wcs: WCS, shape: tuple[int, ...], file: NoiseFile, name: str) -> tuple[int, int, int]:
    """Return where the first voxel of a cube is in that of the correlations: (z, y, x)."""
    header = file.primary.copy()
    del header["NAXIS"]  # of an HDU without data
    whole = WCS(header, naxis=3)
    corners = np.array([(0, 0, 0), (shape[2] - 1, shape[1] - 1, shape[0] - 1)], float)
    found = whole.wcs_world2pix(wcs.wcs_pix2world(corners, 0), 0)
    first = np.rint(found[0])
    nx, ny = file.pattern.shape[3], file.pattern.shape[2]
    limits = (nx or np.inf, ny or np.inf, len(file.noise))
    if np.abs(found - corners - first).max() > _WHOLE or np.any(first < 0) or np.any(found[1] > np.array(limits) - 0.5):
        raise DataError(
            f"{name}: the cube is no part of the one that it was made with: its corners are at voxels "
            f"{found[0].round(2)} and {found[1].round(2)} there, expected whole ones"
        )
    return int(first[2]), int(first[1]), int(first[0])
