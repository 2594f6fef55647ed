# SPDX-License-Identifier: GPL-2.0-or-later
"""Line spread functions at work: average over slices, convolution with a bin, spectrum of a line list."""

import logging
from collections.abc import Iterable

import numpy as np

from muse_core.cython_ext import sky_lines as sky_lines_kernels
from muse_core.cython_ext import sky_select as sky_select_kernels
from muse_core.errors import DataError, ParameterError
from muse_core.model.compat import OURS, Compat
from muse_core.model.lsf import HermiteProfile, HermiteProfiles, LsfCubes, LsfGrid, LsfImage
from muse_core.model.origin import IFU_SHIFT, N_IFU, SLICE_KEY_MASK

_LOG = logging.getLogger(__name__)

HERMITE_REACH = 7.0  # Angstrom


def grid_numbers(grid: LsfGrid) -> np.ndarray:
    """CRPIX1, CRVAL1, CD1_1, CRPIX2, CRVAL2, CD2_2 as the kernels take them."""
    return np.array(
        [
            grid.offset_pixel,
            grid.offset_value,
            grid.offset_step,
            grid.line_pixel,
            grid.line_value,
            grid.line_step,
        ]
    )


def empty_counts() -> np.ndarray:
    """Row counts to start from: ndarray of int64, one element for each IFU and slice key."""
    return np.zeros(SLICE_KEY_MASK + 1, np.int64)


def count_slices(rows: np.ndarray, counts: np.ndarray) -> None:
    """Add the number of rows of each slice to `counts` (from `empty_counts`); every row counts, bad or not."""
    sky_select_kernels.count_slices(rows, counts)


def require_ifus(lsf: LsfCubes | HermiteProfiles, ifus: Iterable[int]) -> None:
    """Check, before any work, that there is an LSF for each IFU.

    Raises
    ------
    DataError
        Naming the IFUs without.
    """
    present = {key if isinstance(key, int) else key[0] for key in lsf}
    missing = sorted(set(ifus) - present)
    if missing:
        raise DataError(
            f"LSF_PROFILE: nothing for IFU {', '.join(map(str, missing))}, of which there are pixel tables; "
            "their sky lines could not be subtracted"
        )


def average_lsf(lsf: LsfCubes, counts: np.ndarray, compat: Compat = OURS) -> LsfImage | None:
    """Average the LSFs of all slices, weighted with their number of rows.

    Parameters
    ----------
    lsf : LsfCubes
        Cubes by IFU.
    counts : ndarray of int64, shape (2048,)
        Rows of each slice, from `count_slices`.
    compat : Compat
        ``lsf_of_other_shape_ignored``: an IFU whose images have another shape than the first is left out.

    Returns
    -------
    LsfImage or None
        With the coordinates of the first IFU; None if no slice with an LSF has rows.

    Raises
    ------
    DataError
        If the images differ in shape.
    """
    total = None
    n_rows = 0
    for ifu in sorted(lsf):
        cube = lsf[ifu]
        for slice_number, image in enumerate(cube.data, start=1):
            weight = int(counts[ifu << IFU_SHIFT | slice_number]) if ifu <= N_IFU else 0
            if weight == 0:
                continue
            if total is None:
                total = np.zeros_like(image)
            elif image.shape != total.shape:
                message = f"LSF_PROFILE: images of IFU {ifu} have shape {image.shape}, others {total.shape}"
                if not compat.lsf_of_other_shape_ignored:
                    raise DataError(message)
                _LOG.warning("%s; left out of the average", message)
                break
            total += image * float(weight)
            n_rows += weight
    if total is None:
        return None
    grid = lsf[min(lsf)].grid
    others = [ifu for ifu in sorted(lsf) if not np.allclose(grid_numbers(lsf[ifu].grid), grid_numbers(grid), rtol=1e-9)]
    if others:
        _LOG.warning(
            "LSF_PROFILE: coordinates of IFU %s differ from those of IFU %d, which are used for the average",
            ", ".join(map(str, others)),
            min(lsf),
        )
    return LsfImage(total / float(n_rows), grid)


def fold_with_bin(image: LsfImage, width: float, compat: Compat = OURS) -> LsfImage:
    """Convolve an LSF with the rectangle of a spectral bin.

    Parameters
    ----------
    image : LsfImage
        LSF as measured from pixels.
    width : float
        Width of the bin in Angstrom.
    compat : Compat
        ``wide_bin_not_folded``: return the LSF as it is where the bin is wider than the image.

    Raises
    ------
    ParameterError
        If the bin is wider than the image.
    """
    data = image.data
    n_offset = data.shape[1]
    q = width / image.grid.offset_step
    n_kernel = 2 * ((int(q) + 1) // 2) + 1
    if n_kernel > n_offset:
        if compat.wide_bin_not_folded:
            return image
        raise ParameterError(
            f"parameter skymodel_sampling: {width} Angstrom is wider than the LSF_PROFILE "
            f"({n_offset * image.grid.offset_step:.4g} Angstrom)"
        )
    kernel = np.ones(n_kernel)
    kernel[0] = kernel[-1] = 1 - (n_kernel - q) / 2
    numerator = np.zeros_like(data)
    denominator = np.zeros(n_offset)
    for k, weight in enumerate(kernel):
        shift = k - n_kernel // 2
        inside = slice(max(0, -shift), n_offset - max(0, shift))
        shifted = slice(max(0, shift), n_offset + min(0, shift))
        numerator[:, inside] += weight * data[:, shifted]
        denominator[inside] += abs(weight)
    return LsfImage(numerator / denominator, image.grid)


def lsf_nodes(image: LsfImage, line: float) -> np.ndarray:
    """Return the profile of a line: piecewise linear, centred on its centroid, with unit integral.

    Parameters
    ----------
    image : LsfImage
        LSF.
    line : float
        Wavelength of the line in Angstrom.

    Returns
    -------
    ndarray of float64, shape (2, n_offset + 4)
        Offsets from the line in Angstrom, and values per Angstrom.
    """
    nodes = np.empty((2, image.data.shape[1] + 4))
    sky_lines_kernels.profile(image.data, grid_numbers(image.grid), line, nodes)
    return nodes


def line_spectrum(
    lbda: np.ndarray, line_lbda: np.ndarray, line_flux: np.ndarray, image: LsfImage, *, lone: bool = False
) -> np.ndarray:
    """Spectrum of lines seen through an LSF.

    Parameters
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelengths in Angstrom, ascending.
    line_lbda : ndarray of float64, shape (n_lines,)
        Wavelengths of the lines in Angstrom; any order, which is that of the summation.
    line_flux : ndarray of float64, shape (n_lines,)
        Fluxes of the lines.
    image : LsfImage
        LSF.
    lone : bool
        Whether a line counts that reaches one wavelength only: with the ESO pipeline sky lines do not, Raman lines do.

    Returns
    -------
    ndarray of float64, shape (n,)
        Flux per Angstrom.
    """
    out = np.zeros(len(lbda))
    nodes = np.empty((2, image.data.shape[1] + 4))
    sky_lines_kernels.line_spectrum(lbda, line_lbda, line_flux, image.data, grid_numbers(image.grid), lone, nodes, out)
    return out


def hermite_spectrum(
    lbda: np.ndarray, line_lbda: np.ndarray, line_flux: np.ndarray, profile: HermiteProfile
) -> np.ndarray:
    """Spectrum of lines seen through a parametrised LSF; parameters and return value as `line_spectrum`."""
    out = np.zeros(len(lbda))
    sky_lines_kernels.hermite_spectrum(
        lbda,
        line_lbda,
        line_flux,
        profile.width,
        *profile.hermite,
        profile.slit_width,
        profile.bin_width,
        HERMITE_REACH,
        out,
    )
    return out
