# SPDX-License-Identifier: GPL-2.0-or-later
"""Resampling of a slab of planes of the output cube."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from muse_core.cython_ext import collapse as collapse_kernels
from muse_core.cython_ext import cosmics as cosmics_kernels
from muse_core.cython_ext import grid as grid_kernels
from muse_core.cython_ext import resample as resample_kernels
from muse_core.errors import DataError, ResourceError, Stopped
from muse_core.model.compat import OURS, Compat
from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.model.resampling import METHODS, NARROW_DRIZZLE
from muse_core.steps.resample.options import COSMIC_RAY_TYPES, CosmicRayDirection, ResampleOptions
from muse_core.steps.resample.size import LARGEST_INT, Band, cut_for_threads, strip_rows

CELL_ROW = np.dtype(
    [
        ("xpos", np.float32),
        ("ypos", np.float32),
        ("lbda", np.float32),
        ("data", np.float32),
        ("dq", np.int32),
        ("stat", np.float32),
        ("weight", np.float32),
        ("row", np.int32),
    ]
)
SPAXEL = np.dtype([("x", np.float64), ("y", np.float64), ("cos_y", np.float64)])

_PADDING = 16  # of arrays of which kernels may read this much beyond the end
_NARROW = 0.9  # a drop of this part of a voxel at most cannot reach both neighbours of its cell
_REGULAR = 0.01  # allowed deviation of the distances between voxels, in voxels
# Weight of the rows beyond renka's critical radius. The reference has the smallest normal number, whose square is zero.
_FAR_WEIGHT = {False: 1e-150, True: 2.2250738585072014e-308}


@record
class SlabResult:
    """Some planes of a cube.

    Attributes
    ----------
    data, stat : ndarray of float32, shape (n, ny, nx)
        Values and variances; 0 where there are no data. Without variances `stat` has no planes.
    dq : ndarray of int32, shape (n, ny, nx)
        `DQ.MISSING` where there are no data; with nearest, the flags of the row.
    cosmic_rays : ndarray of int32
        Rows newly flagged as cosmic ray in these planes: indices into the rows of the slab, ascending.
    seen : dict of str to ndarray
        What `SlabResampler.watch` has seen in the rows.
    """

    data: np.ndarray
    stat: np.ndarray
    dq: np.ndarray
    cosmic_rays: np.ndarray
    seen: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def blank(self, n_threads: int = 1) -> None:
        """Set `data` and `stat` to NaN in all flagged voxels, as a cube on disk has them."""
        collapse_kernels.blank(self.data, self.stat, self.dq, n_threads)


@record
class SortedSlab:
    """The rows of a slab as kernels take them, sorted, cosmic rays flagged; valid until the next slab is made.

    Attributes
    ----------
    first, last : int
        Planes that are made of them: first, last + 1.
    low : int
        Plane of the first cell.
    band : Band
        Rows of the grid that are made of them.
    cells, offsets
        As for `resample.weigh`, of the band with its halo.
    grid, spaxels
        As for `resample.weigh`, of all spaxels.
    code : int, optional
        Number of the method; None for nearest.
    weighting : dict
        The fields of ``weighting_t``.
    """

    first: int
    last: int
    low: int
    band: Band
    cells: np.ndarray
    offsets: np.ndarray
    grid: dict[str, Any]
    spaxels: np.ndarray
    code: int | None
    weighting: dict[str, Any]


class SlabWatch(Protocol):
    """Looks at the rows of slabs; can be sent to another machine, and what it sees comes back with the planes."""

    def __call__(self, slab: SortedSlab, stop: np.ndarray, n_threads: int) -> dict[str, np.ndarray]:
        """Return what is seen in a slab, or in a band of one; another thread that sets `stop` ends the work."""

    def join(self, bands: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return what is seen in a slab, given what was in its bands, from the lowest up."""


class SlabResampler:
    """Makes the planes of one cube, slab by slab.

    Slabs are independent of each other: any thickness, any bands, and any number of threads give the same bits. Work
    arrays are kept from slab to slab.

    Parameters
    ----------
    grid : OutputGrid
        Grid of the cube.
    options : ResampleOptions
        Method and rejection.
    direction : CosmicRayDirection
        Neighbourhood of the rejection.
    n_threads : int
        Number of threads.
    compat : Compat
        ``renka_nan_variance`` is used.
    reuse_output : bool
        The arrays of a result are used again by the next call of `slab` but one: saves the time of fresh memory, for
        callers that are done with a slab by then.
    buffers : dict, optional
        Work arrays of an earlier one that is done: fresh memory costs as much as sorting.
    variances : bool
        Make them too; nearest has them always.

    Attributes
    ----------
    watch : SlabWatch, optional
        Looks at each slab that has been made.
    """

    watch: SlabWatch | None = None

    def __init__(
        self,
        grid: OutputGrid,
        options: ResampleOptions,
        direction: CosmicRayDirection,
        n_threads: int = 1,
        compat: Compat = OURS,
        reuse_output: bool = False,
        buffers: dict[str, np.ndarray] | None = None,
        variances: bool = True,
    ):
        self.grid = grid
        self.options = options
        self.direction = direction
        self.n_threads, self.compat = n_threads, compat
        self._reuses_output, self._turn = reuse_output, 0
        self._parameters = grid.parameters()
        self._buffers: dict[str, np.ndarray] = {} if buffers is None else buffers
        self._spaxels = np.empty((grid.ny, grid.nx), SPAXEL)
        grid_kernels.spaxel_table(self._parameters, self._spaxels)
        self._weighting = _weighting(grid, options, compat)
        self._code = METHODS[options.method].code
        if options.method == "drizzle" and self._is_narrow():
            self._code = NARROW_DRIZZLE
        self._makes_variances = variances or self._code is None

    @property
    def _needs_variances(self) -> bool:
        return self.options.rejects_cosmic_rays and self.options.crtype == "iraf"

    def input_planes(self, first: int, last: int) -> tuple[int, int]:
        """Return the planes (first, last + 1) whose rows the slab of planes `first`...`last` - 1 needs."""
        return max(first - self.options.halo, 0), min(last + self.options.halo, self.grid.nz)

    def uses(self, first: int, last: int, band: Band, rows: np.ndarray) -> np.ndarray:
        """Return which rows a band of the planes `first`...`last` - 1 needs; bool, shape (n,)."""
        low, high = self.input_planes(first, last)
        voxel = np.empty(len(rows), np.int32)
        counts = np.empty((grid_kernels.n_chunks(len(rows)), high - low), np.int64)
        area, whole_planes = (low, high, band.low, band.high), band.high - band.low
        grid_kernels.assign_cells(rows, self._parameters, *area, whole_planes, voxel, counts, np.zeros(1, np.int32), 1)
        return voxel >= 0

    def slab(
        self,
        rows: np.ndarray,
        weights: np.ndarray | None,
        first: int,
        last: int,
        when_sorted: Callable[[], object] | None = None,
        stop: np.ndarray | None = None,
        band: Band | None = None,
        into: SlabResult | None = None,
    ) -> SlabResult:
        """Make the planes `first`...`last` - 1.

        Parameters
        ----------
        rows : ndarray of ROW, shape (n,)
            At least all rows of the planes `input_planes(first, last)`, in the order of the pixel table; others are
            ignored. Rows outside the grid belong to its outermost planes.
        weights : ndarray of float32, shape (n,), optional
            Weight of each row.
        first, last : int
            Planes.
        when_sorted : callable, optional
            Called as soon as `rows` and `weights` are not needed any more.
        stop : ndarray of int32, shape (1,), optional
            Another thread that sets it ends the work.
        band : Band, optional
            Make these rows of the grid only, from the rows of the pixel table that are in it with its halo.
        into : SlabResult, optional
            With `band`: where to put them, of `blank_slab`.

        Returns
        -------
        SlabResult
            The planes; or `into`, with the cosmic rays of the band and what is seen in it.

        Raises
        ------
        Stopped
            `stop` was set.
        """
        stop = np.zeros(1, np.int32) if stop is None else stop
        if not 0 <= first < last <= self.grid.nz:
            raise DataError(f"planes {first} to {last}: the cube has {self.grid.nz}")
        low, high = self.input_planes(first, last)
        values = self._statistics_buffer("values", self.options.rejects_cosmic_rays, len(rows))
        variances = self._statistics_buffer("variances", self._needs_variances, len(rows))
        bottom, top = (0, self.grid.ny) if band is None else (band.low, band.high)
        cells, offsets, starts, fullest = self._sort(rows, weights, values, variances, low, high, bottom, top, stop)
        if when_sorted is not None:
            when_sorted()
        cosmic_rays = np.empty(0, np.int32)
        if values is not None:
            cosmic_rays = self._reject(
                cells, offsets, values, variances, starts, fullest, low, first, last, top - bottom, stop
            )
        if band is None:
            made = self.blank_slab(last - first)
        else:
            shape = (last - first, top - bottom, self.grid.nx)
            made = SlabResult(
                self._buffer("band data", shape, np.float32),
                self._buffer("band stat", self._stat_shape(shape), np.float32),
                self._buffer("band dq", shape, np.int32),
                cosmic_rays,
            )
            inside = self._buffers["voxel"][cosmic_rays] // self.grid.nx % (top - bottom) + bottom
            cosmic_rays = cosmic_rays[(inside >= band.first) & (inside < band.last)]
        data, stat, dq = made.data, made.stat, made.dq
        planes = np.arange(low, high)
        lbda = self.grid.wavelength(planes)
        parameters = {**self._parameters, "ny": top - bottom}
        common = (cells, offsets, parameters, self._spaxels[bottom:top], lbda)
        if self._code is None:
            inverse = self._weighting["xn"], self._weighting["yn"]
            resample_kernels.nearest(*common, *inverse, first - low, last - low, data, stat, dq, stop, self.n_threads)
        else:
            thickness, n_bands = cut_for_threads(last - first, top - bottom, self.options.ld, self.n_threads)
            size = resample_kernels.scratch_size(self.grid.nx, self.options.ld, thickness)
            resample_kernels.weigh(
                *common,
                self.grid.voxel_length(planes),
                self._code,
                self._weighting,
                first - low,
                last - low,
                thickness,
                n_bands,
                self._buffer("sums", (self.n_threads, size), np.float64),
                data,
                stat if self._makes_variances else None,
                dq,
                stop,
                self.n_threads,
            )
        _go_on(stop)
        seen = {}
        if self.watch is not None:
            made_rows = Band(0, self.grid.ny, 0, self.grid.ny) if band is None else band
            sorted_rows = (cells, offsets, self._parameters, self._spaxels)
            slab = SortedSlab(first, last, low, made_rows, *sorted_rows, self._code, self._weighting)
            seen = self.watch(slab, stop, self.n_threads)
        if band is None:
            return SlabResult(data, stat, dq, cosmic_rays, seen)
        assert into is not None
        for name in ("data", "stat", "dq"):
            found = getattr(made, name)[:, band.first - bottom : band.last - bottom]
            getattr(into, name)[:, band.first : band.last] = found
        return SlabResult(into.data, into.stat, into.dq, cosmic_rays, seen)

    def blank_slab(self, n_planes: int) -> SlabResult:
        """Return room for the planes of a slab, whatever is in it."""
        shape = (n_planes, self.grid.ny, self.grid.nx)
        self._turn = 1 - self._turn
        data, stat = self._output("data", shape, np.float32), self._output("stat", self._stat_shape(shape), np.float32)
        return SlabResult(data, stat, self._output("dq", shape, np.int32), np.empty(0, np.int32))

    def _stat_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape if self._makes_variances else (0, *shape[1:])

    def _is_narrow(self) -> bool:
        """Are the drops small enough, and the voxels regular enough, for drizzle to look at one side only?"""
        w, x, y = self._weighting, self._spaxels["x"], self._spaxels["y"]
        if not (w["voxel_x"] and w["voxel_y"]):
            return False
        size_x, size_y = self._spaxels["cos_y"] / w["voxel_x"], 1 / w["voxel_y"]
        planes = np.arange(self.grid.nz)
        lbda, length = self.grid.wavelength(planes), self.grid.voxel_length(planes)
        steps = [
            (np.diff(x, axis=1) * size_x[:, 1:], w["sign_x"]),
            (np.diff(x, axis=0) * size_x[1:], 0),
            (np.diff(y, axis=1) * size_y, 0),
            (np.diff(y, axis=0) * size_y, w["sign_y"]),
            (np.diff(lbda) / length[1:], w["sign_l"]),
        ]
        drops = [w["drop_x"] / w["voxel_x"], w["drop_y"] / w["voxel_y"], w["drop_l"] / length.min()]
        small = all(0 < drop <= _NARROW for drop in drops)
        return small and all(np.all(np.abs(step - expected) <= _REGULAR) for step, expected in steps)

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        size = math.prod(shape)
        kept = self._buffers.get(name)
        if kept is None or kept.size < size:
            self._buffers.pop(name, None)
            kept = self._buffers[name] = np.empty(
                size + size // 8, dtype
            )  # slabs differ; what is not used costs nothing
        return kept[:size].reshape(shape)

    def _output(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        return self._buffer(f"{name}{self._turn}", shape, dtype) if self._reuses_output else np.empty(shape, dtype)

    def _statistics_buffer(self, name: str, needed: bool, n_rows: int) -> np.ndarray | None:
        return self._buffer(name, (n_rows + _PADDING,), np.float32) if needed else None

    def _sort(
        self,
        rows: np.ndarray,
        weights: np.ndarray | None,
        values: np.ndarray | None,
        variances: np.ndarray | None,
        low: int,
        high: int,
        bottom: int,
        top: int,
        stop: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Sort the rows of the planes low...high - 1 into cells: cells, offsets, start of each strip, fullest cell."""
        nx, ny, n_planes, n_rows = self.grid.nx, top - bottom, high - low, len(rows)
        n_spaxels, in_strip = nx * ny, strip_rows(ny, n_planes, self.n_threads)
        n_strips = n_planes * -(-ny // in_strip)
        if n_planes * n_spaxels > LARGEST_INT or n_rows > LARGEST_INT:
            raise ResourceError(f"slab of {n_planes} planes, {n_rows} rows: too large, make it thinner")
        voxel = self._buffer("voxel", (n_rows,), np.int32)
        order = self._buffer("order", (n_rows,), np.int32)
        cells = self._buffer("cells", (max(n_rows, 1),), CELL_ROW)
        offsets = self._buffer("offsets", (n_planes * n_spaxels + 1,), np.int32)
        counts = np.empty((grid_kernels.n_chunks(n_rows), n_strips), np.int64)
        area = low, high, bottom, top
        grid_kernels.assign_cells(rows, self._parameters, *area, in_strip, voxel, counts, stop, self.n_threads)
        starts = np.zeros(n_strips + 1, np.int64)
        np.cumsum(counts.sum(axis=0), out=starts[1:])
        chunk_starts = np.ascontiguousarray(starts[:-1] + np.cumsum(counts, axis=0) - counts)
        grid_kernels.sort_by_strip(voxel, nx, ny, in_strip, chunk_starts, order, stop, self.n_threads)
        _go_on(stop)
        fullest = np.empty((n_strips, 2), np.int32)
        grid_kernels.sort_cells(
            rows,
            weights,
            voxel,
            order,
            starts,
            offsets,
            cells,
            values,
            variances,
            nx,
            ny,
            in_strip,
            fullest,
            stop,
            self.n_threads,
        )
        _go_on(stop)
        return cells, offsets, starts, fullest

    def _reject(
        self,
        cells: np.ndarray,
        offsets: np.ndarray,
        values: np.ndarray,
        variances: np.ndarray | None,
        starts: np.ndarray,
        fullest: np.ndarray,
        low: int,
        first: int,
        last: int,
        ny: int,
        stop: np.ndarray,
    ) -> np.ndarray:
        """Flag cosmic rays in `cells` as far as the planes first...last - 1 need it; return the rows flagged there."""
        n_rows, reach = int(starts[-1]), self.options.reach
        in_cell, in_row = (int(count) for count in fullest.max(axis=0))
        row_rows, cell_rows = min(3 * in_row, n_rows), min(27 * in_cell, n_rows)
        sizes = cosmics_kernels.scratch_sizes(self.grid.nx, row_rows, cell_rows, variances is not None)
        names = ("floats", np.float32), ("ints", np.int32), ("work", np.float64)
        floats, ints, work = (
            self._buffer(name, (self.n_threads, max(size, 1)), dtype)
            for (name, dtype), size in zip(names, sizes, strict=True)
        )
        flagged = self._buffer("order", (max(n_rows, 1),), np.int32)  # the order is not needed any more
        n_flagged = np.zeros(len(starts) - 1, np.int64)
        n_planes = (len(offsets) - 1) // (self.grid.nx * ny)
        in_plane = len(n_flagged) // n_planes
        cosmics_kernels.reject(
            cells,
            offsets,
            values,
            variances,
            self.grid.nx,
            ny,
            strip_rows(ny, n_planes, self.n_threads),
            max(first - reach, low) - low,
            min(last + reach - low, n_planes),
            COSMIC_RAY_TYPES.index(self.options.crtype),
            self.direction.value,
            self.options.crsigma,
            flagged,
            n_flagged,
            row_rows,
            cell_rows,
            floats,
            ints,
            work,
            stop,
            self.n_threads,
        )
        _go_on(stop)
        strips = range((first - low) * in_plane, (last - low) * in_plane)
        found = [flagged[starts[s] : starts[s] + n_flagged[s]] for s in strips]
        return np.sort(np.concatenate(found))


def _go_on(stop: np.ndarray) -> None:
    if stop[0]:
        raise Stopped("resampling was stopped")


def _weighting(grid: OutputGrid, options: ResampleOptions, compat: Compat) -> dict[str, Any]:
    """Return the constants of the weight functions (``weighting_t``)."""
    cd11, cd22 = grid.cd[0], grid.cd[3]
    xn, yn, zn = 1 / grid.scale[0], 1 / grid.scale[1], 1 / 1.25
    drop = tuple(fraction / inverse for fraction, inverse in zip(options.pixfrac, (xn, yn, zn), strict=True))
    return {
        "reach": options.ld,
        "drop_x": drop[0],
        "drop_y": drop[1],
        "drop_l": drop[2],
        "volume": drop[0] * drop[1] * drop[2],
        "voxel_x": abs(cd11),
        "voxel_y": abs(cd22),
        "xn": xn,
        "yn": yn,
        "radius": options.rc * math.sqrt((cd11 * xn) ** 2 + (cd22 * yn) ** 2 + (grid.cd33 * zn) ** 2),
        "far": _FAR_WEIGHT[compat.renka_nan_variance],
        "sign_x": int(math.copysign(1, cd11)),
        "sign_y": int(math.copysign(1, cd22)),
        "sign_l": int(math.copysign(1, grid.cd33)),
    }
