# SPDX-License-Identifier: GPL-2.0-or-later
"""Every function of every kernel with numbers and arrays that it is not made for: it returns, or refuses them.

`CALLS` has a valid call of each function. From it follow the hostile ones: each number, and each field of each array,
is replaced by NaN, infinities, what does not fit into an integer, denormals; integers by those at and beyond the limits
of their type and of IFU, slice and plane; arrays are made shorter, longer, empty. A kernel that reads or writes beyond
an array, loops for ever or turns a float into an integer that it does not fit into is found by the sanitizers: `make
sanitize` runs this file with them. What index arrays hold is not varied where a kernel next to it makes them
(`MADE_BY_KERNELS`): those are tested as a chain, with hostile rows at its begin.
"""

import faulthandler
import importlib
import math
import os
import pkgutil
import signal

import numpy as np
import pytest

import muse_core.cython_ext
from muse_core.model import dq, origin
from muse_core.model.rows import ROW
from muse_core.steps.autocalibration import N_IFU, N_SLICE
from muse_core.steps.flatfield import FACTOR
from muse_core.steps.flux import CONSTANTS, CURVES, INTERVAL
from muse_core.steps.resample.slab import CELL_ROW, SPAXEL

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

N = 12
TINY = 5e-324
FLOATS = (np.nan, np.inf, -np.inf, 1e30, -1e30, 3.4e38, TINY, -TINY, 1e-42, -0.0, 0.0, 2.0**31, -(2.0**31) - 1, 2.0**63)
INTEGERS = (0, 1, -1, 2, 127, 128, 1024, 1025, 2**15, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63))
#: origin: nothing, IFU 1 and 24, and beyond; slice 1, 48, and beyond; all bits.
ORIGINS = (0, 1 << 6 | 1, 24 << 6 | 48, 25 << 6 | 1, 31 << 6 | 63, 1 << 6, 1 << 6 | 49, 127 << 24 | 65, 2**32 - 1)
FLAGS = (0, 32, 1 << 30, -(2**31), 2**31 - 1, -1)
REFUSED = (ValueError, IndexError, OverflowError, TypeError, MemoryError)


def rows(n=N):
    made = np.zeros(n, ROW)
    made["xpos"], made["ypos"] = np.linspace(-2, 2, n), np.linspace(1, -1, n)
    made["lbda"] = np.linspace(5000, 5004, n)
    made["data"], made["stat"] = np.linspace(1, 9, n), 2.0
    made["origin"] = origin.encode(np.arange(n) + 1, 5, 3, 7, 0)
    return made


def grid(celestial=False, logarithmic=False):
    scale = 5.5e-5 if celestial else 1.0
    return {
        "nx": 4,
        "ny": 3,
        "nz": 5,
        "celestial": celestial,
        "logarithmic": logarithmic,
    } | dict(
        zip(
            ("crpix1", "crpix2", "crpix3", "crval1", "crval2", "crval3", "cd11", "cd12", "cd21", "cd22", "cd33"),
            (2.0, 2.0, 1.0, 0.0, 0.0, 5000.0, -scale, 0.0, 0.0, scale, 1.0),
            strict=True,
        ),
        origin1=0.0,
        origin2=0.0,
        scale_x=scale,
        scale_y=scale,
    )


def floats(*shape, start=1.0, stop=2.0, dtype=np.float64):
    return np.linspace(start, stop, int(np.prod(shape))).reshape(shape).astype(dtype)


def zeros(*shape, dtype=np.float64):
    return np.zeros(shape, dtype)


CALLABLE = ("cython_function_or_method", "builtin_function_or_method")
STOP = np.zeros(1, np.int32)
#: Rows of the grid that are sorted together: the last strip of a plane has fewer.
STRIP_ROWS = 2
ZEROS = os.open("/dev/zero", os.O_RDONLY)
LSF = (floats(2, 6), np.array([3.0, 0.0, 1.0, 1.0, 5000.0, 10.0]))
LINES = (np.array([5001.0, 5003.0]), np.array([1.0, 2.0]))


def calibration():
    starts = np.array([-np.inf, 5002.0, np.inf])
    flat, flux, curves = np.zeros(2, FACTOR), np.zeros(2, INTERVAL), np.zeros(2, CURVES)
    flat["intercept"] = 1.0
    flux["gain"] = 2.0
    constants = np.ones(1, CONSTANTS)
    return (rows(), 2.0, 3, starts, flat, floats(14), starts.copy(), flux, curves, constants, True)


class Slab:
    """The kernels of the resampling, one after the other, on a small grid."""

    def __init__(self, kernels, method, made=None, shape=None):
        self.kernels, self.method = kernels, method
        self.rows = rows() if made is None else made
        self.grid = shape or grid()
        n, planes = len(self.rows), self.grid["nz"]
        self.plane = self.grid["nx"], self.grid["ny"]
        n_strips = planes * -(-self.grid["ny"] // STRIP_ROWS)
        self.voxel, self.order = zeros(n, dtype=np.int32), zeros(n, dtype=np.int32)
        self.counts = zeros(kernels["grid"].n_chunks(n), n_strips, dtype=np.int64)
        self.values, self.variances = zeros(n + 16, dtype=np.float32), zeros(n + 16, dtype=np.float32)
        self.offsets = zeros(planes * math.prod(self.plane) + 1, dtype=np.int32)
        self.cells, self.fullest = zeros(n, dtype=CELL_ROW), zeros(n_strips, 2, dtype=np.int32)

    def assign(self):
        area = (0, self.grid["nz"], 0, self.grid["ny"])
        return (self.rows, self.grid, *area, STRIP_ROWS, self.voxel, self.counts, STOP, 2)

    def by_strip(self):
        self.kernels["grid"].assign_cells(*self.assign())
        self.starts = np.zeros(self.counts.shape[1] + 1, np.int64)
        np.cumsum(self.counts.sum(axis=0), out=self.starts[1:])
        first_rows = np.ascontiguousarray(self.starts[:-1] + np.cumsum(self.counts, axis=0) - self.counts)
        return (self.voxel, *self.plane, STRIP_ROWS, first_rows, self.order, STOP, 2)

    def by_cell(self):
        self.kernels["grid"].sort_by_strip(*self.by_strip())
        weights = floats(len(self.rows), dtype=np.float32)
        columns = (self.voxel, self.order, self.starts, self.offsets, self.cells, self.values, self.variances)
        return (self.rows, weights, *columns, *self.plane, STRIP_ROWS, self.fullest, STOP, 2)

    def rejection(self, kind=2, direction=1):
        self.kernels["grid"].sort_cells(*self.by_cell())
        in_cell, in_row = (int(count) for count in self.fullest.max(axis=0))
        capacity = (3 * in_row, 27 * in_cell)
        sizes = self.kernels["cosmics"].scratch_sizes(self.grid["nx"], *capacity, kind == 0)
        kinds = (np.float32, np.int32, np.float64)
        scratch = [zeros(2, max(size, 1), dtype=dtype) for size, dtype in zip(sizes, kinds, strict=True)]
        variances = self.variances if kind == 0 else None
        limits = (*self.plane, STRIP_ROWS, 0, self.grid["nz"], kind, direction, 3.0)
        found = (zeros(len(self.rows), dtype=np.int32), zeros(len(self.fullest), dtype=np.int64))
        return (
            *(self.cells, self.offsets, self.values, variances, *limits, *found),
            *(*capacity, *scratch, STOP, 2),
        )

    def _common(self):
        self.rejection()
        spaxels = zeros(self.grid["ny"], self.grid["nx"], dtype=SPAXEL)
        self.kernels["grid"].spaxel_table(self.grid, spaxels)
        lbda = 5000.0 + np.arange(self.grid["nz"])
        return self.cells, self.offsets, self.grid, spaxels, lbda

    def _cube(self):
        shape = (self.grid["nz"], self.grid["ny"], self.grid["nx"])
        return [zeros(*shape, dtype=dtype) for dtype in (np.float32, np.float32, np.int32)]

    def nearest(self):
        return (*self._common(), 1.0, 1.0, 0, self.grid["nz"], *self._cube(), STOP, 2)

    def _weighting(self):
        weighting = {"reach": 1, "sign_x": -1, "sign_y": 1, "sign_l": 1, "volume": 0.2, "radius": 1.25, "far": 1e-150}
        weighting |= dict.fromkeys(("drop_x", "drop_y", "drop_l"), 0.6)
        return weighting | dict.fromkeys(("voxel_x", "voxel_y", "xn", "yn"), 1.0)

    def pair_sums(self, selves=True):
        *common, lbda = self._common()
        noise, planes = self.kernels["noise"], lbda[1:4].copy()
        sums = zeros(self.grid["ny"], self.grid["nx"], noise.n_sums(2, 1, selves))
        scratch = zeros(2, noise.scratch_size(1) // 8)
        lines = (0, self.grid["ny"], 0, self.grid["ny"])
        return (
            *common,
            *lines,
            planes,
            np.ones(3),
            self.method,
            self._weighting(),
            1,
            2,
            1,
            selves,
            scratch,
            sums,
            STOP,
            2,
        )

    def weigh(self, variances=True):
        weighting = self._weighting()
        nx, nz = self.grid["nx"], self.grid["nz"]
        scratch = zeros(2, self.kernels["resample"].scratch_size(nx, 1, 2))
        planes = (0, nz, 2)
        data, stat, dq = self._cube()
        made = (data, stat if variances else None, dq)
        return (*self._common(), np.ones(nz), self.method, weighting, *planes, 2, scratch, *made, STOP, 2)


def minimisation():
    jac = np.array([[1.0, 2.0, 0.5, 1.0], [0.3, 1.0, 2.0, -1.0]])
    return jac, np.arange(2, dtype=np.int64)


def calls(kernels):
    """Return a function that makes the arguments of a valid call of each kernel, by module, name and variant."""
    slab = {method: (lambda method=method: Slab(kernels, method)) for method in range(-1, 5)}
    bins = (N_IFU, N_SLICE, 2, 128)
    edges = np.array([4990, 5002, 5010], np.float32)
    return {
        "autocal.add_columns": lambda: (
            rows(), np.ones(N, np.uint8), edges.copy(), 3.0, zeros(*bins), zeros(*bins, dtype=np.int32),
        ),
        "autocal.clipped_mean": lambda: (floats(N, dtype=np.float32), zeros(N, dtype=np.float32), 3, True),
        "autocal.clipped_mean/deviation": lambda: (floats(N, dtype=np.float32), zeros(N, dtype=np.float32), 3, False),
        "autocal.slice_fluxes": lambda: (
            zeros(*bins) + 5, np.full(bins, 60, np.int32), zeros(2, 24, 48, dtype=np.float32),
            zeros(2, 24, 48, dtype=np.int32),
        ),
        "autocal.apply_factors": lambda: (rows(), edges.copy(), np.ones((2, 24, 48), np.float32)),
        "calibrate.calibrate": calibration,
        "calibrate_position.locate": lambda: (rows(), 1.1, np.array([0.5, 0.5, -5e-5, 0, 0, 5e-5]), floats(5), 1.2),
        "calibrate_position.locate/rad": lambda: (rows(), 1.1, zeros(0), floats(5), 1.2),
        "calibrate_smooth.smooth_locally": lambda: (
            floats(N, start=5000, stop=5010), floats(N), 3, 2.0, zeros(2, 7, dtype=np.uint8), zeros(2, 7), zeros(N), 2,
        ),
        "collapse.add_planes": lambda: (
            floats(2, 3, 4, dtype=np.float32), zeros(2, 3, 4, dtype=np.int32), floats(2, 2), zeros(2, 3, 4),
            zeros(2, 3, 4), 2,
        ),
        "collapse.divide": lambda: (floats(3, 4), floats(3, 4), zeros(3, 4, dtype=np.float32)),
        "collapse.blank": lambda: (
            floats(2, 3, 4, dtype=np.float32), floats(2, 3, 4, dtype=np.float32), zeros(2, 3, 4, dtype=np.int32), 2,
        ),
        "collapse.add_histogram": lambda: (
            floats(2, 3, 4, dtype=np.float32), zeros(2, 3, 4, dtype=np.int32), 0.5, zeros(8, dtype=np.int64),
        ),
        "columns.add_image": lambda: (
            *(np.arange(4 * N, dtype=np.uint8) for _ in range(5)), np.full(5, 4, np.intp), N, 4800.0, 1.0, floats(9, 6),
            -3.0, -3.0, zeros(5, 6), zeros(5, 6), zeros(7, 5), 3.0,
        ),
        "columns.block_ranges": lambda: (
            np.arange(4 * N, dtype=np.uint8), 4, N, zeros(1, dtype=np.float32), zeros(1, dtype=np.float32),
        ),
        "columns.find_changes": lambda: (np.arange(4 * N, dtype=np.uint8), 4, N, 7, -1, zeros(8, dtype=np.int64)),
        "columns.pack": lambda: (np.arange(N, dtype=np.uint32), zeros(N, dtype=np.uint32)),
        "columns.unpack": lambda: (np.arange(4 * N, dtype=np.uint8), 4, zeros(N, 7, dtype=np.uint32), 2),
        "cosmics.scratch_sizes": lambda: (4, 30, 40, True),
        **{
            f"cosmics.reject/{k},{direction}": lambda k=k, direction=direction: slab[0]().rejection(k, direction)
            for k in range(3)
            for direction in range(3)
        },
        "darcheck.shift_positions": lambda: (rows(), 5000.0, 10.0, floats(3), floats(3)),
        "detect.label": lambda: (zeros(5, 6, dtype=np.uint8), zeros(5, 6, dtype=np.int32)),
        "files.read_columns": lambda: (
            ZEROS, np.arange(3), np.array([4, 28, 5]), np.array([0, 6, 2], np.int32), zeros(N, 7, dtype=np.uint32),
            zeros(100, dtype=np.uint8),
        ),
        "files.read_pieces": lambda: (
            np.full(2, ZEROS, np.int32), np.arange(2), np.full(2, 4), np.ones(8, np.uint8), zeros(1, dtype=np.int32),
        ),
        "grid.n_chunks": lambda: (N,),
        "grid.tangent_plane": lambda: (10.0, -30.0, 10.1, -30.1),
        "grid.pixel_of_position": lambda: (grid(), 1.0, 2.0),
        "grid.pixel_of_position/celestial": lambda: (grid(True), 1.0, 2.0),
        "grid.position_of_pixel": lambda: (grid(), 1.0, 2.0),
        "grid.position_of_pixel/celestial": lambda: (grid(True), 1.0, 2.0),
        "grid.spaxel_table": lambda: (grid(True), zeros(3, 4, dtype=SPAXEL)),
        "grid.assign_cells": lambda: slab[0]().assign(),
        "grid.assign_cells/celestial": lambda: Slab(kernels, 0, shape=grid(True, True)).assign(),
        "grid.sort_by_strip": lambda: slab[0]().by_strip(),
        "grid.sort_cells": lambda: slab[0]().by_cell(),
        "grid.rows_of_extents": lambda: (floats(5, 4, dtype=np.float32), grid(), zeros(5, 2, dtype=np.int32)),
        "grid.rows_of_extents/celestial": lambda: (
            floats(5, 4, dtype=np.float32), grid(True), zeros(5, 2, dtype=np.int32),
        ),
        "grid.planes_of": lambda: (floats(N, start=5000, dtype=np.float32), grid(), zeros(N, dtype=np.int32)),
        "grid.planes_of/log": lambda: (
            floats(N, start=5000, stop=5004, dtype=np.float32), grid(False, True), zeros(N, dtype=np.int32),
        ),
        "minpack.norm": lambda: (floats(N),),
        "minpack.qr_factor": lambda: (*minimisation(), zeros(2), zeros(2), zeros(2)),
        "minpack.apply_q": lambda: (minimisation()[0], floats(2), floats(4), zeros(2)),
        "minpack.scaled_gradient": lambda: (*minimisation(), floats(2), floats(2), 1.5),
        "minpack.r_times": lambda: (*minimisation(), floats(2), zeros(2)),
        "minpack.damping_parameter": lambda: (
            minimisation()[0][:, :2].copy(), np.arange(2), floats(2), floats(2), 0.1, 0.0, zeros(2), zeros(5, 2),
        ),
        "noise.n_sums": lambda: (2, 1, True),
        "noise.scratch_size": lambda: (1,),
        **{f"noise.pair_sums/{method}": lambda method=method: slab[method]().pair_sums() for method in slab},
        "noise.pair_sums/alone": lambda: slab[0]().pair_sums(False),
        "raman.add_moments": lambda: (rows(), floats(N), 100.0, 1.0, zeros(8, 8)),
        "raman.residuals": lambda: (rows(), floats(N), floats(5), 1.0, False, zeros(N)),
        "raman.residuals/rounded": lambda: (rows(), floats(N), floats(5), 1.0, True, zeros(N)),
        "raman.subtract": lambda: (rows(), floats(N), floats(5), True),
        "resample.scratch_size": lambda: (4, 1, 2),
        **{f"resample.weigh/{method}": lambda method=method: slab[method]().weigh() for method in slab},
        **{f"resample.weigh/{method}/data": lambda method=method: slab[method]().weigh(False) for method in slab},
        "resample.nearest": lambda: slab[0]().nearest(),
        "rows.constants": lambda: (),
        "rows.index": lambda: (
            rows(), 8, 16, zeros(-(-N // 8), 2, dtype=np.float32), zeros(-(-N // 16), 4, dtype=np.float32),
        ),
        "rows.copy_runs": lambda: (
            rows(), np.array([0, 4]), np.array([3, N]), zeros(N - 1, dtype=ROW), STOP,
        ),
        "rows.compress": lambda: (
            rows(), (np.arange(N) % 3 > 0).view(np.uint8), zeros(N, dtype=ROW), zeros(N, dtype=np.uint32),
        ),
        "rows.find_runs": lambda: (
            np.array([0, N]), np.array([N, 8]), np.array([1, 0], np.uint8),
            *zeros(2, -(-N // 8) + 1, dtype=np.float32), 8,
            np.ones(-(-N // 16) + 1, np.uint8), 2, 0.0, 1.0, zeros(3, dtype=np.int64), zeros(3, dtype=np.int64),
        ),
        "rows.limits": lambda: (rows(), np.array([3e38, -3e38] * 3), zeros(2048, dtype=np.uint8)),
        "rows.keep_inside": lambda: (rows(), 5000.0, 5100.0),
        "rows.sort": lambda: (rows(), True, zeros(2 * N, dtype=np.uint64), zeros(N, dtype=ROW)),
        "rows.sort/descending": lambda: (
            rows()[::-1].copy(), False, zeros(2 * N, dtype=np.uint64), zeros(N, dtype=ROW),
        ),
        "rows.sort_space": lambda: (rows(),),
        "sky_lines.profile": lambda: (*(a.copy() for a in LSF), 5001.0, zeros(2, 10)),
        "sky_lines.line_spectrum": lambda: (
            floats(N, start=4998, stop=5006), *(a.copy() for a in (*LINES, *LSF)), True, zeros(2, 10), zeros(N),
        ),
        "sky_lines.subtract_lines": lambda: (rows(), *(a.copy() for a in (*LINES, *LSF)), zeros(2, 10), zeros(2, N)),
        "sky_lines.subtract_spectrum": lambda: (rows(), floats(5, start=4999, stop=5004), floats(5)),
        "sky_lines.interpolate": lambda: (
            floats(N, start=5000, stop=5004), floats(5, start=4999, stop=5005), floats(5), zeros(N),
        ),
        "sky_lines.hermite_spectrum": lambda: (
            floats(N, start=4998, stop=5006), *(a.copy() for a in LINES), *(floats(k) for k in (3, 1, 1, 1, 1)),
            2.61, 1.25, 7.0, zeros(N),
        ),
        "sky_select.select": lambda: (
            rows(), zeros(5, 6, dtype=np.uint8), np.array([3.0, 3, 0, 0, 1, 0, 0, 1]), False, 0.0, 0.0,
            np.ones(N, np.uint8),
        ),
        "sky_select.select/celestial": lambda: (
            rows(), zeros(5, 6, dtype=np.uint8), np.array([3.0, 3, 0, 0, 1, 0, 0, 1]), True, 0.0, 0.0,
            np.ones(N, np.uint8),
        ),
        "sky_select.gather": lambda: (rows(), np.ones(N, np.uint8), zeros(N, 3, dtype=np.float32)),
        "sky_select.count_slices": lambda: (rows(), zeros(2048, dtype=np.int64)),
        "sky_select.accumulate": lambda: (
            floats(N, 3, start=5000, stop=5004, dtype=np.float32), 5000.0, 0.5, floats(9, start=5000, stop=6000),
            zeros(3, 9),
        ),
        "sky_select.accumulate/all": lambda: (
            floats(N, 3, start=5000, stop=5004, dtype=np.float32), 5000.0, 0.5, zeros(0), zeros(3, 9),
        ),
        "stacked.stack_rows": lambda: (rows(), -2.0, 1.0, 5000.0, 1.25, zeros(5, 5), zeros(5, 5)),
    }  # fmt: skip


#: Arguments, by function and position, whose content kernels have made: counts, cells, offsets, voxel, order, starts.
MADE_BY_KERNELS = {
    "autocal.add_columns": (5,),
    "autocal.slice_fluxes": (1,),
    "collapse.add_histogram": (3,),
    "sky_select.count_slices": (1,),
    "grid.sort_by_strip": (0, 4),
    "grid.sort_cells": (2, 3, 4, 5),
    "cosmics.reject": (0, 1, 2, 3),
    "noise.pair_sums": (1,),
    "resample.weigh": (1,),
    "resample.nearest": (1,),
}
KERNELS = {
    module.name: importlib.import_module(f"muse_core.cython_ext.{module.name}")
    for module in pkgutil.iter_modules(muse_core.cython_ext.__path__)
    if not module.ispkg
}
CALLS = calls(KERNELS)


def functions(module):
    """Return the names of the public functions of a kernel module."""
    return {
        name for name in dir(module) if not name.startswith("_") and type(getattr(module, name)).__name__ in CALLABLE
    }


def test_every_function_of_every_kernel_is_here():
    known = {key.partition("/")[0] for key in CALLS}
    assert known == {f"{name}.{function}" for name, module in KERNELS.items() for function in functions(module)}
    assert len(KERNELS) >= 16


def _variants(value):
    """Yield hostile versions of an argument."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from ({**value, key: other} for other in _variants(item))
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        yield from INTEGERS
    elif isinstance(value, float):
        yield from FLOATS
    elif isinstance(value, np.ndarray):
        yield from _contents(value)


def _contents(array):
    for name in array.dtype.names or (None,):
        column = array if name is None else array[name]
        for number in _numbers(column.dtype.base, name):
            for place in (slice(None), slice(0, 1), slice(column.size // 2, None)):
                changed = array.copy()
                view = changed if name is None else changed[name]
                view.reshape(-1)[place] = number
                if name is not None:
                    changed[name] = view
                yield changed


def _numbers(dtype, name):
    if dtype.names:
        return ()
    if name == "origin":
        return ORIGINS
    if name == "dq":
        return FLAGS
    if dtype.kind == "f":
        return FLOATS
    limits = np.iinfo(dtype)
    return [number for number in INTEGERS if limits.min <= number <= limits.max]


def _lengths(array):
    """Yield the array shorter, longer and empty along each axis."""
    for axis in range(array.ndim):
        n = array.shape[axis]
        for size in {0, 1, max(n - 1, 0), n + 1, 2 * n} - {n}:
            index = np.arange(size) % max(n, 1)
            yield (
                np.ascontiguousarray(np.take(array, index, axis))
                if n
                else np.zeros((*array.shape[:axis], size, *array.shape[axis + 1 :]), array.dtype)
            )


def _call(function, arguments):
    try:
        function(*arguments)
    except REFUSED:
        return False
    return True


@pytest.fixture(autouse=True)
def _end_endless_loops():
    """A kernel gives no handler of Python a chance: the system ends the process, after 100 s of a processor."""
    faulthandler.register(signal.SIGPROF, chain=True)
    signal.setitimer(signal.ITIMER_PROF, 100)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    faulthandler.unregister(signal.SIGPROF)


def _find(key):
    module, function = key.partition("/")[0].split(".")
    return getattr(KERNELS[module], function), CALLS[key], MADE_BY_KERNELS.get(f"{module}.{function}", ())


@pytest.mark.parametrize("key", CALLS)
def test_hostile_contents(key):
    function, make, made_by_kernels = _find(key)
    assert _call(function, make()), "the call that the others are made from is refused"
    for position, value in enumerate(make()):
        if position in made_by_kernels:
            continue
        for other in _variants(value):
            arguments = list(make())
            arguments[position] = other
            _call(function, arguments)


@pytest.mark.parametrize("key", CALLS)
def test_hostile_lengths(key):
    function, make, _ = _find(key)
    for position, value in enumerate(make()):
        if isinstance(value, np.ndarray):
            for other in _lengths(value):
                arguments = list(make())
                arguments[position] = other
                _call(function, arguments)


@pytest.mark.parametrize("key", CALLS)
def test_hostile_everything(key):
    """All arguments at once, by chance."""
    function, make, made_by_kernels = _find(key)
    random = np.random.default_rng(1)
    for _ in range(200):
        arguments = list(make())
        for position, value in enumerate(arguments):
            if position in made_by_kernels or value is STOP:
                continue
            others = list(_variants(value)) if not isinstance(value, np.ndarray) else [_sprinkled(value, random)]
            if others and random.random() < 0.5:
                arguments[position] = others[random.integers(len(others))]
        _call(function, arguments)


def _sprinkled(array, random):
    """Replace a few numbers of an array."""
    changed = array.copy()
    for name in array.dtype.names or (None,):
        column = changed if name is None else changed[name]
        numbers = _numbers(column.dtype.base, name)
        if len(numbers) and column.size:
            flat = column.reshape(-1)
            flat[random.integers(column.size, size=2)] = [numbers[random.integers(len(numbers))] for _ in range(2)]
            if name is not None:
                changed[name] = flat.reshape(column.shape)
    return changed


@pytest.mark.parametrize("celestial", [False, True])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_hostile_rows_through_the_resampling(celestial, logarithmic):
    random = np.random.default_rng(2)
    for trial in range(60):
        made = _sprinkled(_sprinkled(rows(40), random), random)
        shape = grid(celestial, logarithmic)
        for key in random.choice([key for key in shape if key[0] in "co"], trial % 3, replace=False):
            shape[key] = float(FLOATS[random.integers(len(FLOATS))])
        slab = Slab(KERNELS, trial % 6 - 1, made, shape)
        KERNELS["cosmics"].reject(*slab.rejection(trial % 3, trial // 3 % 3))
        KERNELS["resample"].weigh(*slab.weigh())
        KERNELS["resample"].nearest(*slab.nearest())
        KERNELS["noise"].pair_sums(*slab.pair_sums())


def test_wavelength_beyond_all_bins_does_not_loop():
    """A row of 1e30 Angstrom had the spectrum's kernel count up for ever."""
    samples = np.array([[1e30, 1.0, 1.0], [5000.0, 2.0, 1.0]], np.float32)
    sums = np.zeros((3, 4))
    KERNELS["sky_select"].accumulate(samples, 5000.0, 1.0, np.full(4, 10.0), sums)
    assert sums[2, 0] == 1


def test_constants_are_those_of_the_model():
    flags, bits = KERNELS["rows"].constants()
    assert flags == {name: dq.as_int32(dq.DQ[name]) for name in flags}
    assert bits == {name: getattr(origin, name) for name in bits}
