# SPDX-License-Identifier: GPL-2.0-or-later
"""Point sources of an image by the algorithm of DAOPHOT's FIND (Stetson 1987, PASP 99, 191).

The image is convolved with a lowered Gaussian of zero sum, whose response at a star is the height of the star. Local
maxima of it are kept if they are as sharp and as round as a star; their centroids come from fits of a Gaussian to the
marginal sums. Nothing of that depends on the threshold, so that one pass gives the sources for all thresholds.

No deblending, no photometry beyond the height; the background need not be taken off.
"""

import logging

import numpy as np

from muse_core.errors import DataError, ParameterError
from muse_core.model.compat import OURS, Compat
from muse_core.model.record import record
from muse_core.steps.detect import median
from muse_core.steps.sky.mask import create_sky_mask

_LOG = logging.getLogger(__name__)

#: Sources: centroid in pixels (the centre of the first pixel is 1), height, sharpness, roundness; all float64.
STAR = np.dtype([(name, np.float64) for name in ("x", "y", "flux", "sharpness", "roundness")])

_SIGMA_PER_FWHM = 1 / 2.35482
_RADIUS_PER_FWHM = 0.637  # 1.5 sigma
_RADII = (2.001, 6.0)  # pixels: smallest radius of the kernel, largest half width of its box


@record(kw_only=True)
class DetectionOptions:
    """What counts as a source.

    Attributes
    ----------
    fwhm : float
        Full width at half maximum of a star in pixels.
    threshold : float
        Height at which to begin: as such if above 0, else its absolute value times the median absolute deviation above
        the median of the background.
    step : float
        By how much to change it while there are too many or too few sources.
    iterations : int
        How often at most.
    srcmin, srcmax : int
        Wanted number of sources.
    roundness, sharpness : tuple of float
        Allowed range, limits included.
    ignore, fraction : float
        Fraction of the image to ignore from the darkest pixel on, and that of the rest that is background.
    bad_pixel_distance : float
        Sources nearer to a pixel without data, in pixels, are dropped; rounded up.
    """

    fwhm: float = 5.0
    threshold: float = 15.0
    step: float = 0.5
    iterations: int = 100000
    srcmin: int = 5
    srcmax: int = 80
    roundness: tuple[float, float] = (-1.0, 1.0)
    sharpness: tuple[float, float] = (0.2, 1.0)
    ignore: float = 0.05
    fraction: float = 0.10
    bad_pixel_distance: float = 5.0

    def __post_init__(self) -> None:
        for low, high, name in (
            (self.srcmin, self.srcmax, "src"),
            (*self.roundness, "round"),
            (*self.sharpness, "sharp"),
        ):
            if low > high:
                raise ParameterError(
                    f"parameters {name}min, {name}max: found {low:g}, {high:g}, expected the first not to be the larger"
                )


@record(eq=False)
class Detection:
    """Sources of an image.

    Attributes
    ----------
    stars : ndarray of STAR, shape (n,)
        In the order of rows, then columns.
    number : ndarray of int, shape (n,)
        Their numbers, from 1; those of sources near bad pixels are left out.
    background, deviation : float
        Median and median absolute deviation of the background.
    threshold : float
        Height that all of them have.
    """

    stars: np.ndarray
    number: np.ndarray
    background: float
    deviation: float
    threshold: float


def detect(image: np.ndarray, options: DetectionOptions, where: str = "image", compat: Compat = OURS) -> Detection:
    """Find the sources of an image.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        Values; not finite where there are no data.
    options : DetectionOptions
        What counts as one.
    where : str
        Names the image in messages.
    compat : Compat
        ``source_list_off_by_one``: x and y are smaller by 1.

    Raises
    ------
    DataError
        No threshold gives the wanted number of sources, or all are near pixels without data.
    """
    bad = ~np.isfinite(image)
    image = np.where(bad, np.float32(0), image)
    background, deviation = background_of(image, bad, options, where)
    start = options.threshold if options.threshold > 0 else background - options.threshold * deviation
    stars = find_stars(image, options.fwhm, options.sharpness, options.roundness)
    threshold, n = choose_threshold(stars["flux"], start, options)
    if not (options.srcmin <= n <= options.srcmax and n):
        raise DataError(
            f"{where}: found {n} point sources at the last threshold, {threshold:g} (the first was {start:g}), "
            f"expected {max(options.srcmin, 1)} to {options.srcmax}; change srcmin, srcmax, threshold or step"
        )
    stars = stars[stars["flux"] >= threshold]
    far = ~near_bad_pixels(stars, bad, options.bad_pixel_distance)
    _LOG.info(
        "%s: %d point sources above %g, %d of them too near to pixels without data", where, n, threshold, sum(~far)
    )
    if not far.any():
        raise DataError(
            f"{where}: all {n} point sources are nearer than {options.bad_pixel_distance:g} pixels to pixels without "
            "data, expected at least one that is not; change bpixdistance"
        )
    stars = stars[far]
    if compat.source_list_off_by_one:
        stars["x"] -= 1
        stars["y"] -= 1
    return Detection(stars, np.flatnonzero(far) + 1, background, deviation, threshold)


def background_of(image: np.ndarray, bad: np.ndarray, options: DetectionOptions, where: str) -> tuple[float, float]:
    """Return median and median absolute deviation of the darkest part of an image without its bad pixels.

    Raises
    ------
    DataError
        No pixel has a value between the limits, but the threshold depends on it; with another one both are 0.
    """
    mask, low, high = create_sky_mask(image, bad, options.fraction, options.ignore)
    values = image[mask != 0]
    if not len(values):
        if options.threshold <= 0:
            raise DataError(
                f"{where}: found no pixel with a value between {low:g} and {high:g}, expected the background there; "
                "change bkgignore or bkgfraction, or give a threshold above 0"
            )
        _LOG.warning("%s: no pixel has a value between %g and %g, background not known", where, low, high)
        return 0.0, 0.0
    middle = median(values)
    return middle, median(np.abs(values - np.float32(middle)))


def choose_threshold(flux: np.ndarray, start: float, options: DetectionOptions) -> tuple[float, int]:
    """Change a threshold step by step until the number of sources is the wanted one.

    Parameters
    ----------
    flux : ndarray of float64, shape (n,)
        Heights of all sources.
    start : float
        Threshold to begin with.
    options : DetectionOptions
        Wanted number, step, number of steps.

    Returns
    -------
    threshold : float
        The last one that was tried.
    n : int
        Number of sources at or above it.
    """
    ordered = np.sort(flux)
    threshold, step = start, 0.0
    for _ in range(max(options.iterations, 1)):
        threshold += step
        n = len(ordered) - int(np.searchsorted(ordered, threshold))
        if options.srcmin <= n <= options.srcmax:
            break
        needed = options.step if n > options.srcmax else -options.step
        if needed * step < 0 or threshold + needed <= 0:  # back to where it was, or as low as it may be
            break
        step = needed
    return threshold, n


def near_bad_pixels(stars: np.ndarray, bad: np.ndarray, distance: float) -> np.ndarray:
    """Say which sources are nearer to a bad pixel than a distance, rounded up; an array of bool of shape (n,)."""
    x, y = (np.floor(stars[axis]).astype(int) - 1 for axis in ("x", "y"))
    y_bad, x_bad = np.nonzero(bad)
    reach = np.ceil(distance)
    return np.array([bool((np.hypot(x_bad - i, y_bad - j) < reach).any()) for i, j in zip(x, y, strict=True)], bool)


def find_stars(
    image: np.ndarray, fwhm: float, sharpness: tuple[float, float], roundness: tuple[float, float]
) -> np.ndarray:
    """Find all sources of an image that are higher than 0.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Finite values.
    fwhm : float
        Full width at half maximum of a star in pixels.
    sharpness, roundness : tuple of float
        Allowed range, limits included.

    Returns
    -------
    ndarray of STAR, shape (n,)
        In the order of rows, then columns.

    Notes
    -----
    The convolution is periodic, over the image cut to even size. Maxima are not looked for in the `half + 1` first and
    the `half - 1` last rows and columns, of which the convolved values count as low; half is the half width of the
    kernel. The ESO pipeline does likewise, with the same result to rounding (tests/parity/test_exp_align.py).
    """
    from scipy import ndimage  # here, because its import takes as long as that of a recipe

    image = np.asarray(image, np.float64)
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    kernel = _Kernel.of_width(fwhm)
    half = kernel.half
    if min(image.shape) < 2 * half + 2:
        return np.empty(0, STAR)
    convolved = ndimage.correlate(image, kernel.lowered, mode="wrap")
    inner = np.zeros(image.shape, bool)
    inner[half + 1 : image.shape[0] - half + 1, half + 1 : image.shape[1] - half + 1] = True
    convolved[~inner] = convolved[half:-half, half:-half].min()
    highest = ndimage.maximum_filter(convolved, footprint=kernel.around, mode="nearest")
    y, x = np.nonzero((convolved > 0) & (convolved >= highest))
    fits = (x >= half) & (y >= half) & (x < image.shape[1] - half) & (y < image.shape[0] - half)
    y, x = y[fits], x[fits]

    boxes = np.lib.stride_tricks.sliding_window_view(image, kernel.lowered.shape)[y - half, x - half]
    stars = np.empty(len(x), STAR)
    stars["flux"] = convolved[y, x]
    neighbours = (boxes * kernel.around).sum(axis=(1, 2)) / kernel.around.sum()
    stars["sharpness"] = (boxes[:, half, half] - neighbours) / stars["flux"]
    along_x, along_y = (boxes.sum(axis=axis) @ kernel.lowered_1d for axis in (1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        stars["roundness"] = 2 * (along_x - along_y) / (along_x + along_y)
    shift_x = kernel.centroid(np.einsum("nyx,y->nx", boxes, kernel.weight))
    shift_y = kernel.centroid(np.einsum("nyx,x->ny", boxes, kernel.weight))
    stars["x"], stars["y"] = x + 1 + shift_x, y + 1 + shift_y
    good = (along_x > 0) & (along_y > 0) & (np.abs(shift_x) < half) & (np.abs(shift_y) < half)
    for name, (low, high) in (("sharpness", sharpness), ("roundness", roundness)):
        good &= (stars[name] >= low) & (stars[name] <= high)
    chosen: np.ndarray = stars[good]
    return chosen


@record(eq=False)
class _Kernel:
    """Kernels of the search for stars of one width.

    Attributes
    ----------
    half : int
        Half width of the box, without its centre.
    sigma : float
        Standard deviation of the star in pixels.
    lowered : ndarray of float64, shape (2 half + 1, 2 half + 1)
        Gaussian minus constant within the radius, 0 outside; sum 0, response 1 to a star of height 1.
    lowered_1d : ndarray of float64, shape (2 half + 1,)
        The same in one dimension.
    around : ndarray of bool, shape (2 half + 1, 2 half + 1)
        Pixels within the radius, but for the centre.
    weight : ndarray of float64, shape (2 half + 1,)
        Triangle by which rows and columns count in the marginal sums.
    marginal : ndarray of float64, shape (2 half + 1,)
        Marginal sum of a star of height 1.
    """

    half: int
    sigma: float
    lowered: np.ndarray
    lowered_1d: np.ndarray
    around: np.ndarray
    weight: np.ndarray
    marginal: np.ndarray

    @classmethod
    def of_width(cls, fwhm: float) -> "_Kernel":
        smallest, largest = _RADII
        radius = max(_RADIUS_PER_FWHM * fwhm, smallest)
        half = int(min(radius, largest))
        sigma = _SIGMA_PER_FWHM * fwhm
        d = np.arange(-half, half + 1)
        distance2 = d**2 + d[:, None] ** 2
        star = np.exp(-0.5 * distance2 / sigma**2)
        inside = distance2 <= radius**2
        n, total = inside.sum(), star[inside].sum()
        variance = (star[inside] ** 2).sum() - total**2 / n
        line = np.exp(-0.5 * d**2 / sigma**2)
        mean = line.mean()
        weight = half + 1.0 - np.abs(d)
        return cls(
            half,
            sigma,
            np.where(inside, (star - total / n) / variance, 0.0),
            (line - mean) / ((line**2).sum() - line.sum() * mean),
            inside & (distance2 > 0),
            weight,
            weight @ star,
        )

    def centroid(self, sums: np.ndarray) -> np.ndarray:
        """Fit a Gaussian and a constant to marginal sums, then shift it by the first order of a Taylor series.

        Parameters
        ----------
        sums : ndarray of float64, shape (n, 2 half + 1)
            Marginal sums of sources.

        Returns
        -------
        ndarray of float64, shape (n,)
            Positions relative to the centre in pixels; NaN where the Gaussian is not positive.
        """
        w, g = self.weight, self.marginal
        slope = -g * np.arange(-self.half, self.half + 1)
        total, sum_g, sum_gg, sum_s = w.sum(), w @ g, w @ g**2, w @ slope
        sum_d, sum_dg, sum_ds = sums @ w, sums @ (w * g), sums @ (w * slope)
        with np.errstate(divide="ignore", invalid="ignore"):
            height = (sum_dg - sum_g * sum_d / total) / (sum_gg - sum_g**2 / total)
            level = (sum_d - height * sum_g) / total
            model = sum_s * (height * sum_g + level * total)
            shift = (w @ (g * slope) - (sum_ds - model)) / (height * (w @ slope**2) / self.sigma**2)
        return np.where(height > 0, shift, np.nan)
