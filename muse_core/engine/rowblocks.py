# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of an exposure of which only a part is wanted: blocks of rows are chosen by where they are.

The columns of positions and wavelengths are read once, for the ranges of blocks; the others only where they are wanted.
"""

from collections.abc import Callable, Sequence

import numpy as np

from muse_core.cython_ext import columns as columns_kernels
from muse_core.engine.exposure import Chunk, ExposureRows, RowLimits, _chunk_edges, _exposure_edges
from muse_core.engine.threads import map_in_order
from muse_core.errors import DataError, InputError
from muse_core.io.pixtable import PixelTableFile
from muse_core.model import origin
from muse_core.model.header import PIXTABLE, get_int
from muse_core.model.record import record

#: Rows of a block: some fifty lines of a slice on the detector, or seventy Angstrom.
BLOCK_ROWS = 1 << 12
_READ_ROWS = 64 * BLOCK_ROWS
BLOCK_COLUMNS = ("xpos", "ypos", "lambda")


@record
class Blocks:
    """Blocks of rows of the files of an exposure.

    Attributes
    ----------
    part : ndarray of int32, shape (n,)
        Number of the file.
    start, stop : ndarray of int64, shape (n,)
        Rows of it.
    low, high : ndarray of float32, shape (n, 3)
        Smallest and largest xpos, ypos, wavelength; only those columns that were looked at are finite.
    """

    part: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    low: np.ndarray
    high: np.ndarray


class BlockedRows(ExposureRows):
    """The rows of an exposure on disk, of which none are there until `take` says which.

    Limits are those of all rows, whichever are taken.

    Parameters
    ----------
    files, lambda_range, cut, n_threads
        As for `ExposureRows`.
    columns : sequence of str
        Columns of which the ranges of blocks are wanted: some of xpos, ypos, lambda.
    """

    def __init__(
        self,
        files: Sequence[PixelTableFile],
        lambda_range: tuple[float, float],
        cut: Sequence[bool],
        n_threads: int,
        columns: Sequence[str] = BLOCK_COLUMNS,
    ):
        self.files, self._cut, self._n_threads = files, cut, n_threads
        self._range = tuple(np.float32(x) for x in lambda_range)
        self._choice, self.chunks, self.n_rows, self.grouped = None, [], 0, True
        for file in files:
            if len(_exposure_edges(file)) > 2 or file.has_weight:
                raise InputError(f"{file.path}: found a table of several exposures, expected one exposure")
        tasks = [
            (part, start, min(start + _READ_ROWS, file.n_rows))
            for part, file in enumerate(files)
            for start in range(0, file.n_rows, _READ_ROWS)
        ]
        try:
            found = list(map_in_order(lambda task: self._look(*task, columns), tasks, n_threads))
        finally:
            self.close()
        self.blocks = Blocks(*(np.concatenate(values) for values in zip(*found, strict=True)))

    def _look(self, part: int, begin: int, end: int, columns: Sequence[str]) -> tuple[np.ndarray, ...]:
        edges = np.arange(begin, end, BLOCK_ROWS)
        low, high = (np.full((3, len(edges)), value, np.float32) for value in (-np.inf, np.inf))
        for name in columns:
            raw, stride = self.files[part].raw_column(name, begin, end)
            number = BLOCK_COLUMNS.index(name)
            columns_kernels.block_ranges(raw, stride, BLOCK_ROWS, low[number], high[number])
        stop = np.minimum(edges + BLOCK_ROWS, end)
        return (
            np.full(len(edges), part, np.int32),
            edges,
            stop,
            np.ascontiguousarray(low.T),
            np.ascontiguousarray(high.T),
        )

    def exposure_edges(self) -> list[int]:
        """Return the first of the rows of the exposure, and their number."""
        return [0, self.n_rows]

    def weights(self) -> None:
        """Return the weights: a single exposure has none."""

    def within(self, low: float, high: float) -> np.ndarray:
        """Return which blocks may have rows between two wavelengths in Angstrom that are loaded; bool, shape (n,)."""
        first, last = max(low, self._range[0]), min(high, self._range[1])
        return (self.blocks.low[:, 2] <= last) & (self.blocks.high[:, 2] >= first)

    def take(self, wanted: np.ndarray) -> None:
        """Let the rows of some blocks be those of the exposure; neighbours make chunks of whole slices.

        Parameters
        ----------
        wanted : ndarray of bool, shape (n,)
            Which blocks.

        Raises
        ------
        DataError
            None.
        """
        blocks, pieces = self.blocks, []
        chosen = np.flatnonzero(wanted)
        if not len(chosen):
            raise DataError(f"{self.files[0].path} ...: found no rows of those that are asked for, expected some")
        ends = (blocks.part[chosen[1:]] != blocks.part[chosen[:-1]]) | (
            blocks.start[chosen[1:]] != blocks.stop[chosen[:-1]]
        )
        first = chosen[np.r_[True, ends]]
        last = chosen[np.r_[ends, True]]
        with self:
            for a, b in zip(first, last, strict=True):
                part = int(blocks.part[a])
                edges, grouped = _chunk_edges(self.files[part], int(blocks.start[a]), int(blocks.stop[b]))
                self.grouped = self.grouped and grouped
                pieces += [(part, int(x), int(y)) for x, y in zip(edges[:-1], edges[1:], strict=True)]
            counts = list(map_in_order(self._count, pieces, self._n_threads))
        edges = np.cumsum([0, *counts]).tolist()
        self.chunks = [
            Chunk(*piece, start, stop, start)
            for piece, start, stop in zip(pieces, edges[:-1], edges[1:], strict=True)
            if stop > start
        ]
        self.n_rows = edges[-1]

    def _count(self, piece: tuple[int, int, int]) -> int:
        part, start, stop = piece
        if not self._cut[part]:
            return stop - start
        return int(np.count_nonzero(self._inside(self.files[part].column("lambda", start, stop))))

    def limits(self, select: Callable[[np.ndarray], np.ndarray] | None = None) -> RowLimits:
        """Return the limits of all rows, as they are in the files; of those of the chunks that `select` leaves."""
        if select is not None:
            return super().limits(select)
        blocks, limits = self.blocks, RowLimits()
        low, high = self._range
        is_cut = np.asarray(self._cut)[blocks.part]
        whole = ~is_cut | ((blocks.low[:, 2] >= low) & (blocks.high[:, 2] <= high))
        if whole.any():
            limits.extent[0::2] = blocks.low[whole].min(axis=0)
            limits.extent[1::2] = blocks.high[whole].max(axis=0)
        with self:
            for i in np.flatnonzero(~whole & self.within(float(low), float(high))):  # the range ends in these
                chunk = Chunk(int(blocks.part[i]), int(blocks.start[i]), int(blocks.stop[i]), 0, 0, 0)
                limits.include(RowLimits.of(self.load(chunk)))
        keys = [f"{PIXTABLE}LIMITS IFU {end}" for end in ("LOW", "HIGH")]
        found = (get_int(file.header, key) for file in self.files for key in keys)
        ifus = [number for number in found if number is not None]
        limits.ifu = (min(ifus), max(ifus)) if ifus else (1, origin.N_IFU)
        limits.slice = (1, origin.N_SLICE)
        return limits
