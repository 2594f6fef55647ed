# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables in a notebook: what is in them, parts of them, pictures of them."""

import contextlib
import dataclasses
import html
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from astropy.io.fits import Header

from muse_core.api import session
from muse_core.api.region import Region, as_region
from muse_core.engine.exposure import Chunk, RowLimits, StoredExposure, read_pass
from muse_core.engine.slabs import Weights
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError, ParameterError
from muse_core.model import origin, units
from muse_core.model.cards import set_card
from muse_core.model.dq import DQ
from muse_core.model.fits import as_astropy
from muse_core.model.header import PIXTABLE, get_float, get_string, require_float
from muse_core.model.rows import ROW
from muse_core.recipe.parameters import WavelengthRange
from muse_core.recipe.run import Run
from muse_core.stages.calibrate import CalibrationOptions, calibrate
from muse_core.stages.opening import OpenedExposure, open_exposures
from muse_core.stages.pointing import Pointing, load_pointing
from muse_core.stages.tables import PixelTableSaver, StoredTable
from muse_core.steps.passes import locate_rows

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.units import Quantity
    from matplotlib.axes import Axes

Choice = Callable[[np.ndarray], np.ndarray]
_WAVELENGTHS = WavelengthRange()
_STATES = {units.PIX: "in the field, in spaxels", units.RAD: "projected", units.DEG: "on the sky"}


class PixelTable:
    """The pixel table of an exposure, its IFUs merged, or of several exposures.

    Rows are in memory if they are few, else in a scratch file without a name (`MUSE_MAX_MEMORY` and `MUSE_SCRATCH` say
    how many are few, and where the file is). Steps change a table in place; `copy` keeps what was there.

    Parameters
    ----------
    run, table, store : object
        What `read` makes; nobody else makes a table.

    Attributes
    ----------
    header : astropy.io.fits.Header
        Its primary header.
    n_rows : int
        Number of rows, ``len(table)``.

    See Also
    --------
    muse_core.api.steps : What is done with pixel tables.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.PixelTable.read("none.sof")
    >>> len(table) == table.n_rows, table.header["OBJECT"] != ""
    (True, True)
    >>> table.position_unit, table.data_unit, table.stat_unit
    ('pix', 'count', 'count**2')
    >>> table.xpos.shape == table.ypos.shape == table.lbda.shape == table.data.shape == table.stat.shape
    True
    >>> [table.dq.dtype.name, table.origin.dtype.name, table.ifu.dtype.name]
    ['int32', 'uint32', 'uint8']
    >>> part = table.select(ifu=12, good=True)
    >>> int(part.ifu.max()), int(part.slice.max()), int(part.dq.max())
    (12, 48, 0)
    """

    def __init__(self, run: Run, table: StoredTable, store: RowStore):
        self._run, self._store = run, store
        self._table = dataclasses.replace(table, header=as_astropy(table.header))

    # making them

    @classmethod
    def read(
        cls,
        files: session.Files,
        *,
        lambdamin: float = _WAVELENGTHS.lambdamin,
        lambdamax: float = _WAVELENGTHS.lambdamax,
        ifu: int | Sequence[int] | None = None,
        slice: int | Sequence[int] | None = None,  # noqa: A002 (that is its name)
        region: Region | str | tuple[float, float, float] | None = None,
        good: bool = False,
    ) -> Self:
        """Read the pixel tables of one exposure, merged as the recipe does: scales of the IFUs, flat-field spectrum.

        Files are read in pieces; what is left out never is in memory.

        Parameters
        ----------
        files : path, list of paths, or dict of tag to paths
            Pixel tables, or sets of frames; the calibrations in these are known to the steps.
        lambdamin, lambdamax : float
            Wavelengths in Angstrom; as in the recipe the flat-field spectrum is cut there, too.
        ifu, slice : int or sequence of int, optional
            IFUs and slices to take, from 1.
        region : Region, text, or tuple of three floats, optional
            Part of the field, as for `select`.
        good : bool
            Leave out rows with flags.

        Returns
        -------
        PixelTable
            The table of the exposure.

        Raises
        ------
        InputError
            A file cannot be used, or the files are of several exposures: see `read_all`.
        DataError
            The files do not fit together, or no row is left.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> table = muse.PixelTable.read("none.sof", lambdamin=7272, lambdamax=7276, ifu=13)
        >>> bool(table.lbda.min() >= 7272), int(table.ifu.min())
        (True, 13)
        """
        run, exposures = _open(files, WavelengthRange(lambdamin=lambdamin, lambdamax=lambdamax))
        if len(exposures) > 1:
            dates = ", ".join(get_string(exposure.header, "DATE-OBS", "?") for exposure in exposures)
            raise InputError(f"found {len(exposures)} exposures ({dates}), expected one; read_all reads all of them")
        return cls._load(run, exposures[0], ifu, slice, region, good)

    @classmethod
    def read_all(
        cls,
        files: session.Files,
        *,
        lambdamin: float = _WAVELENGTHS.lambdamin,
        lambdamax: float = _WAVELENGTHS.lambdamax,
    ) -> list[Self]:
        """Read the pixel tables of several exposures, one table each, in the order of time.

        Parameters
        ----------
        files : path, list of paths, or dict of tag to paths
            As for `read`.
        lambdamin, lambdamax : float
            As for `read`.

        Returns
        -------
        list of PixelTable
            A table for each exposure.

        Raises
        ------
        InputError, DataError
            As for `read`.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> len(muse.PixelTable.read_all("none.sof"))
        1
        """
        run, exposures = _open(files, WavelengthRange(lambdamin=lambdamin, lambdamax=lambdamax))
        parts = [dataclasses.replace(run, factory=run.factory.elsewhere(run.factory.destination)) for _ in exposures]
        return [cls._load(part, exposure) for part, exposure in zip(parts, exposures, strict=True)]

    @classmethod
    def _load(cls, run: Run, exposure: OpenedExposure, ifu=None, number=None, region=None, good=False) -> Self:
        pointing = load_pointing(run)
        unit = exposure.rows.files[0].position_unit
        if unit == units.PIX and (good or any(what is not None for what in (ifu, number, region))):
            keep_centre(exposure.header, exposure.rows.limits().extent)
        choice = _choice(exposure.header, unit, pointing, ifu=ifu, slice=number, region=region, good=good)
        if choice is not None:
            exposure.rows.choose(choice)
            exposure.keeps_limits = False
        store = run.resources.make_store([exposure.rows.n_rows])
        return cls(run, calibrate(run, exposure, store, 0, CalibrationOptions()), store)

    def copy(self) -> Self:
        """Return a copy, of rows and header.

        Returns
        -------
        PixelTable
            Another table; steps change only one of them.

        Raises
        ------
        ResourceError
            There is no room for it.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> table = muse.PixelTable.read("none.sof")
        >>> len(table.copy()) == len(table)
        True
        """
        return self._chosen(None)

    def select(
        self,
        *,
        lambdamin: float | None = None,
        lambdamax: float | None = None,
        ifu: int | Sequence[int] | None = None,
        slice: int | Sequence[int] | None = None,  # noqa: A002
        region: Region | str | tuple[float, float, float] | None = None,
        good: bool = False,
        where: Choice | None = None,
    ) -> Self:
        """Return a table with some of the rows. Where they are in the field, and will be on the sky, stays the same.

        Parameters
        ----------
        lambdamin, lambdamax : float, optional
            Wavelengths in Angstrom.
        ifu, slice : int or sequence of int, optional
            IFUs and slices to take, from 1.
        region : Region, text, or tuple of three floats, optional
            Region on the sky: a `Region`, a text that `Region.parse` reads, or right ascension and declination of the
            centre of a circle in degrees, and its radius in arcsec. Positions in the field are put on the sky for that,
            with the astrometry and the offset that the table was read with.
        good : bool
            Leave out rows with flags.
        where : callable, optional
            Gets rows (ndarray of `muse_core.model.rows.ROW`, shape (n,)), returns ndarray of bool, shape (n,).

        Returns
        -------
        PixelTable
            Another table.

        Raises
        ------
        DataError
            No row is left.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> table = muse.PixelTable.read("none.sof")
        >>> bright = table.select(where=lambda rows: rows["data"] > 1000)
        >>> bool(bright.data.min() > 1000)
        True
        """
        choice = _choice(
            self.header, self.position_unit, self._pointing, ifu=ifu, slice=slice, region=region, good=good,
            low=lambdamin, high=lambdamax, where=where,
        )  # fmt: skip
        return self._chosen(choice)

    def _chosen(self, choice: Choice | None) -> Self:
        old, run = self._table.stored, self._run
        counts = [len(chunk) for chunk in old.chunks]
        if choice is not None:
            counts = list(self._each(lambda rows, _: int(np.count_nonzero(choice(rows)))))
            if not sum(counts):
                raise DataError("pixel table: found no rows of those that are asked for, expected some")
        store = run.resources.make_store([sum(counts)])
        table, limits = self._copied_into(store, 0, counts, choice)
        if choice is not None:
            if self.position_unit == units.PIX:
                names = [f"{PIXTABLE}LIMITS {axis} {end}" for axis in "XY" for end in ("LOW", "HIGH")]
                keep_centre(table.header, [require_float(self.header, name, "pixel table") for name in names])
            table.write_limits(limits)
        factory = run.factory.elsewhere(run.factory.destination)
        return type(self)(dataclasses.replace(run, factory=factory), table, store)

    def _copied_into(
        self, store: RowStore, begin: int, counts: Sequence[int] | None = None, choice: Choice | None = None
    ) -> tuple[StoredTable, RowLimits]:
        """Copy rows, those of a choice, to a place in a store; return what is there, with a copy of the header."""
        old = self._table.stored
        counts = [len(chunk) for chunk in old.chunks] if counts is None else counts
        edges = np.cumsum([0, *counts]).tolist()
        chunks = [
            dataclasses.replace(chunk, start=a, stop=b, row=a)
            for chunk, a, b in zip(old.chunks, edges[:-1], edges[1:], strict=True)
        ]
        limits = RowLimits()
        for before, after in zip(old.chunks, chunks, strict=True):
            rows = self._store.read(old.begin + before.start, old.begin + before.stop)
            rows = rows if choice is None else rows[choice(rows)]
            if len(rows):
                store.write(begin + after.start, rows)
                limits.include(RowLimits.of(rows))
        stored = StoredExposure(begin, begin + edges[-1], [chunk for chunk in chunks if len(chunk)], old.grouped)
        weights = self._weights_of(old, edges)
        return dataclasses.replace(self._table, header=self.header.copy(), stored=stored, weights=weights), limits

    def _weights_of(self, old: StoredExposure, edges: Sequence[int]) -> Weights | None:
        weights = self._table.weights
        if weights is None:
            return None
        starts = [old.begin + chunk.start for chunk in old.chunks]
        found = np.searchsorted(starts, weights.first_rows)
        return Weights(np.asarray(edges)[found].astype(np.int64), weights.values)

    # what is in them

    def __len__(self) -> int:
        return self.n_rows

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._table.stored.n_rows

    @property
    def header(self) -> Header:
        """Primary header."""
        return self._table.header

    @property
    def position_unit(self) -> str:
        """Unit of `xpos` and `ypos`, which is the state of the table: "pix" (field), "rad" (projected), "deg" (sky)."""
        return self._table.position_unit

    @property
    def data_unit(self) -> str:
        """Unit of `data` as ESO's files have it."""
        return self._table.data_unit

    @property
    def stat_unit(self) -> str:
        """Unit of `stat`, the variance of `data`."""
        return self._table.stat_unit

    xpos = property(lambda self: self._column("xpos"), doc="Positions; float32, shape (n,), in `position_unit`.")
    ypos = property(lambda self: self._column("ypos"), doc="Positions; float32, shape (n,), in `position_unit`.")
    lbda = property(lambda self: self._column("lbda"), doc="Wavelengths in air; float32, shape (n,), in Angstrom.")
    data = property(lambda self: self._column("data"), doc="Values; float32, shape (n,), in `data_unit`.")
    stat = property(lambda self: self._column("stat"), doc="Variances of `data`; float32, shape (n,), in `stat_unit`.")
    dq = property(lambda self: self._column("dq"), doc="Euro3D flags, 0 for good; int32, shape (n,).")
    origin = property(lambda self: self._column("origin"), doc="CCD, slice and pixel in bits; uint32, shape (n,).")
    ifu = property(lambda self: origin.ifu_of(self.origin).astype(np.uint8), doc="IFUs from 1; uint8, shape (n,).")
    slice = property(
        lambda self: origin.slice_of(self.origin).astype(np.uint8), doc="Slices from 1; uint8, shape (n,)."
    )

    def _column(self, name: str) -> np.ndarray:
        out, begin = np.empty(self.n_rows, ROW[name]), self._table.stored.begin
        for chunk in self._table.stored.chunks:
            rows = self._store.read(begin + chunk.start, begin + chunk.stop)
            out[chunk.row : chunk.row + len(chunk)] = rows[name]
        return out

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield copies of all rows in pieces that fit into memory.

        Yields
        ------
        ndarray of muse_core.model.rows.ROW, shape (n,)
            Rows in the order of the table.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> table = muse.PixelTable.read("none.sof")
        >>> sum(len(rows) for rows in table.chunks()) == len(table)
        True
        """
        begin = self._table.stored.begin
        for chunk in self._table.stored.chunks:
            yield self._store.read(begin + chunk.start, begin + chunk.stop)

    def quantity(self, name: str) -> "Quantity":
        """Return a column with its unit.

        Parameters
        ----------
        name : str
            "xpos", "ypos", "lbda", "data" or "stat".

        Returns
        -------
        astropy.units.Quantity
            Values of float32, shape (n,).

        Raises
        ------
        ParameterError
            There is no such column with a unit.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> muse.PixelTable.read("none.sof").quantity("lbda").unit
        Unit("Angstrom")
        """
        if name not in self._units:
            raise ParameterError(f"column: found {name!r}, expected one of {', '.join(self._units)}")
        return getattr(self, name) * as_unit(self._units[name])

    @property
    def _units(self) -> dict[str, str]:
        position = self.position_unit
        return {
            "xpos": position, "ypos": position, "lbda": units.ANGSTROM, "data": self.data_unit, "stat": self.stat_unit
        }  # fmt: skip

    def sky(self) -> tuple[np.ndarray, np.ndarray]:
        """Return right ascensions and declinations of all rows.

        Rows in the field are put on the sky as `project` and `make_cube` would do it.

        Returns
        -------
        ra : ndarray of float64, shape (n,)
            Right ascensions in degrees.
        dec : ndarray of float64, shape (n,)
            Declinations in degrees.

        Raises
        ------
        InputError, DataError
            The header, or the ASTROMETRY_WCS of the set of frames, does not say where the field is.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> ra, dec = muse.PixelTable.read("none.sof").sky()
        >>> bool(abs(dec - dec.mean()).max() < 0.02)
        True
        """
        find = _sky_positions(self.header, self.position_unit, self._pointing)
        parts = [find(rows) for rows in self.chunks()]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def to_table(self) -> "Table":
        """Return all rows as an astropy table, with units.

        Returns
        -------
        astropy.table.Table
            All n rows; the header is its ``meta``.

        Raises
        ------
        MemoryError
            All rows are not for the memory of this machine; `chunks` needs less.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> muse.PixelTable.read("none.sof").to_table().colnames
        ['xpos', 'ypos', 'lbda', 'data', 'dq', 'stat', 'origin', 'ifu', 'slice']
        """
        from astropy.table import Column, Table

        columns = {name: self._column(name) for name in ROW.names}
        columns["ifu"], columns["slice"] = (
            f(columns["origin"]).astype(np.uint8) for f in (origin.ifu_of, origin.slice_of)
        )
        made = [
            Column(v, name=k, unit=as_unit(self._units[k]) if k in self._units else None) for k, v in columns.items()
        ]
        return Table(made, meta=dict(self.header))

    def write(self, path: str | Path) -> Path:
        """Write it as the recipe writes pixel tables, one image extension a column.

        Parameters
        ----------
        path : path
            File; it must not exist.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ProductError
            It cannot be written, or exists.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> table = muse.PixelTable.read("none.sof").select(ifu=12)
        >>> len(muse.PixelTable.read(table.write("ifu12.fits"))) == len(table)
        True
        """
        from muse_core.api.cube import placing

        with (
            placing(self._run, path, "write", {}) as (run, _),
            PixelTableSaver(run, self._table, _TAGS[self.position_unit]) as saver,
        ):
            begin = self._table.stored.begin
            for chunk in self._table.stored.chunks:
                saver.write(chunk, self._store.read(begin + chunk.start, begin + chunk.stop))
            saver.finish()
        return Path(path)

    def plot(self, kind: str = "field", *, region=None, ifu: int | None = None, ax: "Axes | None" = None) -> "Axes":
        """Draw it.

        Parameters
        ----------
        kind : str
            "field": the mean of good rows in each spaxel. "detector": an IFU as the detector saw it, slices side by
            side. "spectrum": the mean of good rows in planes of 1.25 Angstrom.
        region : Region, text, or tuple of three floats, optional
            Part of the field, for the spectrum; as in `select`.
        ifu : int, optional
            Which IFU; by default the first that there is.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Raises
        ------
        ParameterError
            There is no such kind.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> table = muse.PixelTable.read("none.sof")
        >>> axes = table.plot()
        >>> axes = table.plot("detector", ifu=13)
        """
        from muse_core.api import plotting

        return plotting.draw_table(self, kind, region, ifu, ax)

    # what steps need

    @property
    def _pointing(self) -> Pointing:
        return load_pointing(self._run)

    def _each(self, look: Callable[[np.ndarray, Chunk], object]) -> Iterator:
        return read_pass(self._table.stored, self._store, look, self._run.resources.n_threads)

    def _facts(self) -> dict[str, str]:
        def limits(axis: str) -> str:
            ends = (self.header.get(f"{PIXTABLE}LIMITS {axis} {end}") for end in ("LOW", "HIGH"))
            return " to ".join("?" if end is None else f"{end:.7g}" for end in ends)

        state = _STATES.get(self.position_unit, "")
        return {
            "object": f"{get_string(self.header, 'OBJECT', '')}, {get_string(self.header, 'DATE-OBS', '')}".strip(", "),
            "rows": f"{self.n_rows} of IFU {limits('IFU')}, {'in memory' if self._store.memory_bytes else 'in a file'}",
            "positions": f"{self.position_unit} ({state}), x {limits('X')}, y {limits('Y')}",
            "wavelengths": f"{limits('LAMBDA')} Angstrom",
            "data": self.data_unit,
        }

    def __repr__(self) -> str:
        lines = (f"  {name}: {value}" for name, value in self._facts().items())
        return "\n".join([f"<PixelTable, {self.n_rows} rows>", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in self._facts().items())
        return f"<table><caption>PixelTable</caption>{rows}</table>"

    def __dir__(self):
        return [name for name in super().__dir__() if not name.startswith("_") or name.startswith("__")]

    def close(self) -> None:
        """Give back memory and scratch file; the table cannot be used any more. One that is forgotten does that too.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> with muse.PixelTable.read("none.sof") as table:  # gives back at the end
        ...     wavelengths = table.lbda
        """
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, value, traceback):
        self.close()

    def __del__(self):
        with contextlib.suppress(AttributeError):
            self._store.close()


#: What a table of a state is in the headers of files.
_TAGS = {units.PIX: "PIXTABLE_REDUCED", units.RAD: "PIXTABLE_REDUCED", units.DEG: "PIXTABLE_POSITIONED"}
_ESO_UNITS = {"pix": "pix", "rad": "rad", "deg": "deg", "count": "count", "count**2": "count2", "Angstrom": "Angstrom"}


def as_unit(text: str):
    """Return the astropy unit that a unit of ESO's files stands for."""
    from astropy import units as u

    flux = u.Unit("1e-20 erg / (s cm2 Angstrom)")
    known = {units.FLUX: flux, units.FLUX_VARIANCE: flux**2, units.COUNT_VARIANCE: u.count**2}
    return known[text] if text in known else u.Unit(_ESO_UNITS.get(text, text))


def _open(files: session.Files, wavelengths: WavelengthRange) -> tuple[Run, list[OpenedExposure]]:
    run = session.make_run(session.frames_of(files))
    return run, open_exposures(run, session.PIXTABLE, wavelengths)


def keep_centre(header: Header, extent: Sequence[float]) -> None:
    """Note the extent of the whole field, of which the centre is where the telescope points, before it is cut."""
    for index, (axis, end) in enumerate((axis, end) for axis in "XY" for end in ("LO", "HI")):
        key = f"{PIXTABLE}PREDAR LIMITS {axis}{end}"
        if get_float(header, key) is None:
            set_card(header, key, np.float32(extent[index]))


def _sky_positions(header: Header, unit: str, pointing: Pointing) -> Callable[[np.ndarray], tuple]:
    """Return a function from rows to right ascensions and declinations in degrees."""
    if unit == units.DEG:
        ra, dec = (require_float(header, key, "pixel table") for key in ("CRVAL1", "CRVAL2"))
        return lambda rows: (ra + rows["xpos"].astype(np.float64), dec + rows["ypos"].astype(np.float64))
    if unit == units.PIX:
        projection, own = pointing.in_advance(header)
    else:
        projection, own = None, pointing.positioning(header)

    def find(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        on_sky = rows.copy()
        locate_rows(on_sky, projection=projection, positioning=own)
        return own.ra_deg + on_sky["xpos"].astype(np.float64), own.dec_deg + on_sky["ypos"].astype(np.float64)

    return find


def _choice(
    header: Header, unit: str, pointing: Pointing, *, ifu=None, slice=None, region=None, good=False,  # noqa: A002
    low: float | None = None, high: float | None = None, where: Choice | None = None,
) -> Choice | None:  # fmt: skip
    """Return what chooses rows; None if all are to stay."""
    tests: list[Choice] = []
    if low is not None or high is not None:
        ends = np.float32(-np.inf if low is None else low), np.float32(np.inf if high is None else high)
        tests.append(lambda rows: (rows["lbda"] >= ends[0]) & (rows["lbda"] <= ends[1]))
    for wanted, number_of in ((ifu, origin.ifu_of), (slice, origin.slice_of)):
        if wanted is not None:
            numbers = np.atleast_1d(wanted)
            tests.append(lambda rows, numbers=numbers, of=number_of: np.isin(of(rows["origin"]), numbers))
    if good:
        tests.append(lambda rows: rows["dq"] == DQ.GOOD)
    if region is not None:
        area, find = as_region(region), _sky_positions(header, unit, pointing)
        tests.append(lambda rows: area.contains(*find(rows)))
    if where is not None:
        tests.append(lambda rows: np.asarray(where(rows), bool))
    if not tests:
        return None

    def choose(rows: np.ndarray) -> np.ndarray:
        chosen = np.ones(len(rows), bool)
        for test in tests:
            chosen &= test(rows)
        return chosen

    return choose
