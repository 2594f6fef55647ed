# SPDX-License-Identifier: GPL-2.0-or-later
"""Cubes, images and spectra in a notebook."""

import contextlib
import html
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from astropy.io import fits

from muse_core.api import session
from muse_core.api.region import Region, as_region
from muse_core.errors import InputError, ParameterError, ProductError
from muse_core.io.files import copy
from muse_core.model.dq import DQ
from muse_core.model.record import record
from muse_core.recipe.run import Run

if TYPE_CHECKING:
    import mpdaf.obj
    from astropy.nddata import CCDData
    from astropy.wcs import WCS
    from matplotlib.axes import Axes


@contextlib.contextmanager
def placing(run: Run, path: str | Path, name: str, parameters: Mapping[str, object]) -> Iterator[tuple[Run, Path]]:
    """Yield a run that makes one product in a folder of its own; at the end of the block it has its place.

    Raises
    ------
    ProductError
        There is a file of that name, or it cannot be written.
    """
    path = _free(path, overwrite=False)
    with _folder_in(path.parent) as folder:
        inside = session.into(run, folder, name, parameters)
        yield inside, folder
        (product,) = inside.factory.products
        product.path.rename(path)


@contextlib.contextmanager
def placing_all(run: Run, folder: str | Path, name: str) -> Iterator[tuple[Run, list[Path]]]:
    """Yield a run that makes products in a folder of its own, and the list of their places, which they have at the end.

    Raises
    ------
    ProductError
        There is a file of one of their names, or they cannot be written.
    """
    places: list[Path] = []
    with _folder_in(Path(folder)) as inside:
        made = session.into(run, inside, name, {})
        yield made, places
        paths = [product.path for product in made.factory.products]
        places += [_free(Path(folder, path.name), overwrite=False) for path in paths]
        for path, place in zip(paths, places, strict=True):
            path.rename(place)


@contextlib.contextmanager
def _folder_in(parent: Path) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix=".muse-", dir=parent)
    except OSError as error:
        raise ProductError(f"{parent}: {error.strerror}, expected a folder to write to") from error
    with folder as name:
        yield Path(name)


_PICTURES = (".png", ".pdf")


def _free(path: str | Path, overwrite: bool) -> Path:
    path = Path(path)
    if path.exists() and not overwrite:
        raise ProductError(f"{path}: found a file of this name, expected none (overwrite=True replaces it)")
    return path


def _save(shown: "Image | Spectrum", path: str | Path, overwrite: bool, hdu: fits.ImageHDU | fits.BinTableHDU) -> Path:
    """Write an HDU to a FITS file, or a plot, if the name is that of a picture; what was there is replaced at the end.

    Raises
    ------
    ProductError
        It cannot be written, or there is a file of that name.
    """
    path = _free(path, overwrite)
    if path.suffix.lower() in _PICTURES:
        from muse_core.api import plotting

        return plotting.save(shown.plot(), path)
    with _beside(path) as partial:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(partial, checksum=True)
    return path


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield the name of a file to make in a folder beside `path`; at the end of the block it takes its place."""
    try:
        with tempfile.TemporaryDirectory(prefix=".muse-", dir=path.parent) as folder:
            partial = Path(folder, path.name)
            yield partial
            partial.replace(path)
    except OSError as error:
        raise ProductError(f"{path}: {error.strerror or error}") from error


class Image:
    """An image of the field, with world coordinates.

    Parameters
    ----------
    data : ndarray of float32, shape (ny, nx)
        Values, NaN where there are none.
    header : astropy.io.fits.Header
        Keywords, with the world coordinates.
    unit : str
        Unit of the values as in ESO's files.
    title : str
        What it shows.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> image = muse.Cube.open("DATACUBE_FINAL.fits").image()
    >>> image.data.ndim, image.wcs.naxis
    (2, 2)
    >>> image.title, image.header["CTYPE1"]
    ('white', 'RA---TAN')
    """

    def __init__(self, data: np.ndarray, header: fits.Header, unit: str = "", title: str = ""):
        self.data, self.header, self.unit, self.title = data, header, unit, title

    @property
    def wcs(self) -> "WCS":
        """World coordinates."""
        from astropy.wcs import WCS

        return WCS(self.header, fix=False)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw it, with right ascension and declination.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> axes = muse.Cube.open("DATACUBE_FINAL.fits").image().plot()
        """
        from muse_core.api import plotting

        return plotting.draw_image(self, ax)

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write it: FITS, or a picture with coordinates if the name ends in .png or .pdf.

        Parameters
        ----------
        path : path
            File.
        overwrite : bool
            Replace a file of that name.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ProductError
            It cannot be written, or there is a file of that name.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> image = muse.Cube.open("DATACUBE_FINAL.fits").image()
        >>> image.write("white.fits").name, image.write("white.png").name
        ('white.fits', 'white.png')
        """
        header = self.header.copy()
        header["BUNIT"] = self.unit
        return _save(self, path, overwrite, fits.ImageHDU(self.data, header, "DATA"))

    def to_nddata(self) -> "CCDData":
        """Return it as `astropy.nddata.CCDData`: values with unit, mask, world coordinates, header.

        Returns
        -------
        CCDData
            The image.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> image = muse.Cube.open("DATACUBE_FINAL.fits").image()
        >>> image.to_nddata().shape == image.data.shape
        True
        """
        from astropy.nddata import CCDData

        from muse_core.api.pixtable import as_unit

        mask, meta = ~np.isfinite(self.data), dict(self.header)
        return CCDData(self.data, mask=mask, wcs=self.wcs, meta=meta, unit=as_unit(self.unit))

    def to_mpdaf(self) -> "mpdaf.obj.Image":
        """Return it as an image of MPDAF; needs mpdaf.

        Returns
        -------
        mpdaf.obj.Image
            The image.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> muse.Cube.open("DATACUBE_FINAL.fits").image().to_mpdaf()  # doctest: +SKIP
        <Image(...)>
        """
        import mpdaf.obj

        mask, wcs = ~np.isfinite(self.data), mpdaf.obj.WCS(self.header)
        return mpdaf.obj.Image(data=np.ma.MaskedArray(self.data, mask), wcs=wcs, copy=False)

    def __repr__(self) -> str:
        ny, nx = self.data.shape
        return f"<Image {self.title}, {nx} x {ny} pixels, {self.unit}>"

    def _repr_html_(self) -> str:
        from muse_core.api import plotting

        return plotting.thumbnail(self) + f"<br>{html.escape(repr(self).strip('<>'))}"


@record
class Spectrum:
    """A spectrum.

    Parameters
    ----------
    wave : ndarray of float64, shape (n,)
        Wavelengths in Angstrom.
    data, stat : ndarray of float64, shape (n,)
        Values, and their variances without correlations of the voxels; NaN where there are none.
    unit : str
        Unit of the values as in ESO's files.
    title : str
        What it is of.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
    >>> spectrum = cube.spectrum(*cube.centre, 2.0)
    >>> spectrum.wave.shape == spectrum.data.shape
    True
    """

    wave: np.ndarray
    data: np.ndarray
    stat: np.ndarray
    unit: str = ""
    title: str = ""

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw it, with its standard deviation.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
        >>> axes = cube.spectrum(*cube.centre, 2.0).plot()
        """
        from muse_core.api import plotting

        return plotting.draw_spectrum(self, ax)

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write it: a table with the columns lambda, data, stat; or a picture if the name ends in .png or .pdf.

        Parameters
        ----------
        path : path
            File.
        overwrite : bool
            Replace a file of that name.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ProductError
            It cannot be written, or there is a file of that name.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
        >>> cube.spectrum(*cube.centre, 2.0).write("spectrum.fits").name
        'spectrum.fits'
        """
        units = ("Angstrom", self.unit, f"({self.unit})**2")
        columns = [
            fits.Column(name, "D", unit, array=values)
            for name, unit, values in zip(
                ("lambda", "data", "stat"), units, (self.wave, self.data, self.stat), strict=True
            )
        ]
        return _save(self, path, overwrite, fits.BinTableHDU.from_columns(columns, name="SPECTRUM"))

    def to_specutils(self):
        """Return it as a `specutils.Spectrum` (or `Spectrum1D`, before specutils 2); needs specutils.

        Returns
        -------
        specutils.Spectrum
            Fluxes with unit, and variances.

        Raises
        ------
        ImportError
            There is no specutils.

        Examples
        --------
        >>> import importlib.util
        >>> import muse_core.api as muse
        >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
        >>> spectrum = cube.spectrum(*cube.centre, 2.0)
        >>> if importlib.util.find_spec("specutils"):
        ...     assert spectrum.to_specutils().spectral_axis.unit == "Angstrom"
        """
        import specutils
        from astropy import units as u
        from astropy.nddata import VarianceUncertainty

        from muse_core.api.pixtable import as_unit

        kind = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
        flux = self.data * as_unit(self.unit)
        return kind(flux, spectral_axis=self.wave * u.AA, uncertainty=VarianceUncertainty(self.stat))


class Cube:
    """A cube: values, variances, world coordinates. What is asked for is read from its file then.

    Parameters
    ----------
    path : path
        File in ESO's format; `Cube.open` says more about one that is none.
    folder : tempfile.TemporaryDirectory, optional
        Folder of a file that goes with the object.
    images : sequence of (str, ndarray), optional
        Names of filters, and the images that were made with the cube.

    Attributes
    ----------
    path : Path
        Its file; that of a cube which was not written is in a folder of its own, and goes with the object.

    Raises
    ------
    InputError
        The file has no cube.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
    >>> nz, ny, nx = cube.shape
    >>> cube.data.shape == cube.stat.shape == cube.dq.shape == (nz, ny, nx)
    True
    >>> cube.unit, cube.wave.shape == (nz,), cube.wcs.naxis
    ('10**(-20)*erg/s/cm**2/Angstrom', True, 3)
    >>> ra, dec = cube.centre
    >>> bool(abs(ra - cube.header["RA"]) < 0.01)
    True
    >>> cube.close()
    """

    def __init__(self, path: str | Path, folder: "tempfile.TemporaryDirectory | None" = None, images=()):
        self.path, self._folder = Path(path), folder
        self._images = {name: image for name, image in images}
        self._hdus = fits.open(self.path, memmap=True)
        if "DATA" not in self._hdus or len(self._hdus["DATA"].shape) != 3:
            self._hdus.close()
            raise InputError(f"{path}: found no extension DATA with a cube, expected one")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a cube in ESO's format.

        Parameters
        ----------
        path : path
            File with the extensions DATA and STAT.

        Returns
        -------
        Cube
            The cube.

        Raises
        ------
        InputError
            The file is no such one.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> muse.Cube.open("DATACUBE_FINAL.fits").unit
        '10**(-20)*erg/s/cm**2/Angstrom'
        """
        try:
            return cls(path)
        except OSError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: {error}, expected a FITS file with a cube") from error

    @property
    def header(self) -> fits.Header:
        """Primary header."""
        return self._hdus[0].header

    @property
    def unit(self) -> str:
        """Unit of the values as in ESO's files."""
        return self._hdus["DATA"].header.get("BUNIT", "")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of planes, rows and columns."""
        return self._hdus["DATA"].shape

    @property
    def data(self) -> np.ndarray:
        """Values, NaN where there are none; float32, shape (nz, ny, nx), in `unit`."""
        return self._hdus["DATA"].data

    @property
    def stat(self) -> np.ndarray:
        """Variances of the values, without correlations; float32, shape (nz, ny, nx), in `unit` squared."""
        return self._hdus["STAT"].data

    @property
    def dq(self) -> np.ndarray:
        """Euro3D flags: 0, or 2**30 where there are no data; int32, shape (nz, ny, nx)."""
        return np.where(np.isfinite(self.data), np.int32(DQ.GOOD), np.int32(DQ.MISSING))

    @property
    def wcs(self) -> "WCS":
        """World coordinates of all three axes, wavelengths in metres, as astropy has them."""
        from astropy.wcs import WCS

        return WCS(self._hdus["DATA"].header)

    @property
    def wave(self) -> np.ndarray:
        """Wavelengths of the planes, in Angstrom; float64, shape (nz,)."""
        header = self._hdus["DATA"].header
        step = np.arange(1, self.shape[0] + 1) - header["CRPIX3"]
        if header["CTYPE3"].endswith("-LOG"):
            return header["CRVAL3"] * np.exp(step * header["CD3_3"] / header["CRVAL3"])
        return header["CRVAL3"] + step * header["CD3_3"]

    @property
    def centre(self) -> tuple[float, float]:
        """Right ascension and declination of the middle of the field, in degrees."""
        ra, dec = self.wcs.celestial.wcs_pix2world((self.shape[2] - 1) / 2, (self.shape[1] - 1) / 2, 0)
        return float(ra), float(dec)

    def image(self, filter: str | tuple[float, float] = "white") -> Image:  # noqa: A002 (as in ESO's parameters)
        """Return an image of the field.

        Parameters
        ----------
        filter : str or tuple of two floats
            "white", a filter with which the cube was made, or a range of wavelengths in Angstrom, of which the mean of
            the planes is taken.

        Returns
        -------
        Image
            Values of float32, shape (ny, nx), in the unit of the cube.

        Raises
        ------
        ParameterError
            There is no such filter, or no plane.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> muse.Cube.open("DATACUBE_FINAL.fits").image((7272, 7276))
        <Image 7272 to 7276 Angstrom, ...>
        """
        header = self.wcs.celestial.to_header()
        if isinstance(filter, str) and filter in self._images:
            return Image(self._images[filter], header, self.unit, filter)
        if filter == "white":
            low, high, title = -np.inf, np.inf, "white"
        elif isinstance(filter, str):
            raise ParameterError(
                f"filter: found {filter!r}, expected one of {', '.join(self._images) or 'white'}, or wavelengths"
            )
        else:
            (low, high), title = filter, "{:g} to {:g} Angstrom".format(*filter)
        planes = np.flatnonzero((self.wave >= low) & (self.wave <= high))
        if not len(planes):
            raise ParameterError(
                f"filter: found {title}, expected wavelengths from {self.wave[0]:g} to {self.wave[-1]:g} Angstrom"
            )
        total, count = (np.zeros(self.shape[1:]) for _ in range(2))
        for plane in planes:
            values = np.asarray(self.data[plane], np.float64)
            good = np.isfinite(values)
            total[good] += values[good]
            count += good
        with np.errstate(invalid="ignore"):
            return Image((total / count).astype(np.float32), header, self.unit, title)

    def spectrum(self, ra: "float | Region | str", dec: float | None = None, radius: float | None = None) -> Spectrum:
        """Return the sum of the spaxels whose centres are in a region.

        Parameters
        ----------
        ra : float, Region or text
            Right ascension of the centre of a circle in degrees; or a region, alone.
        dec, radius : float
            Its declination in degrees, and its radius in arcsec.

        Returns
        -------
        Spectrum
            Sums of fluxes and of variances, shape (nz,), in the unit of the cube; `muse_core.noise` has the errors with
            correlations.

        Raises
        ------
        ParameterError
            No spaxel is in it.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
        >>> ra, dec = cube.centre
        >>> bool((cube.spectrum(ra, dec, 1.0).data == cube.spectrum(f'circle({ra!r},{dec!r},1")').data).all())
        True
        """
        region = as_region(ra if dec is None else (ra, dec, radius))
        _, ny, nx = self.shape
        y, x = np.mgrid[:ny, :nx]
        inside = region.contains(*self.wcs.celestial.wcs_pix2world(x, y, 0))
        if not inside.any():
            raise ParameterError(
                f"{region}: found no spaxel of the cube in it, expected some; its centre is {self.centre}"
            )
        where = np.nonzero(inside)
        box = tuple(slice(i.min(), i.max() + 1) for i in where)
        part = inside[box]
        values, variances = (
            np.asarray(column[(slice(None), *box)], np.float64)[:, part] for column in (self.data, self.stat)
        )
        empty = np.isnan(values).all(axis=1)
        data, stat = np.nansum(values, axis=1), np.nansum(variances, axis=1)
        data[empty] = stat[empty] = np.nan
        return Spectrum(self.wave, data, stat, self.unit, f"{inside.sum()} spaxels")

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw its white-light image.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> axes = muse.Cube.open("DATACUBE_FINAL.fits").plot()
        """
        return self.image().plot(ax)

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write it to a file.

        Parameters
        ----------
        path : path
            File.
        overwrite : bool
            Replace a file of that name.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ProductError
            It cannot be written, or there is a file of that name.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> muse.Cube.open("DATACUBE_FINAL.fits").write("copy.fits").name
        'copy.fits'
        """
        path = _free(path, overwrite)
        if path.exists() and path.samefile(self.path):
            return path
        with _beside(path) as partial:
            copy(self.path, partial)
        return path

    def to_mpdaf(self) -> "mpdaf.obj.Cube":
        """Return it as a cube of MPDAF; needs mpdaf.

        Returns
        -------
        mpdaf.obj.Cube
            The cube, with variances and world coordinates.

        Raises
        ------
        ImportError
            There is no mpdaf.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
        >>> cube.to_mpdaf().shape == cube.shape
        True
        """
        import mpdaf.obj

        return mpdaf.obj.Cube(str(self.path))

    def to_nddata(self) -> "CCDData":
        """Return it as `astropy.nddata.CCDData`: values with unit, variances, mask, world coordinates, header.

        Returns
        -------
        astropy.nddata.CCDData
            Values of float32, shape (nz, ny, nx).

        Examples
        --------
        >>> import muse_core.api as muse
        >>> muse.Cube.open("DATACUBE_FINAL.fits").to_nddata().uncertainty.uncertainty_type
        'var'
        """
        from astropy.nddata import CCDData, VarianceUncertainty

        from muse_core.api.pixtable import as_unit

        data = np.asarray(self.data, np.float32)
        stat = VarianceUncertainty(np.asarray(self.stat, np.float32))
        unit, meta = as_unit(self.unit), dict(self.header)
        return CCDData(data, uncertainty=stat, mask=~np.isfinite(data), wcs=self.wcs, meta=meta, unit=unit)

    def _facts(self) -> str:
        nz, ny, nx = self.shape
        wave = self.wave
        return f"{nx} x {ny} spaxels, {nz} planes from {wave[0]:.2f} to {wave[-1]:.2f} Angstrom, {self.unit}"

    def __repr__(self) -> str:
        return f"<Cube {self.header.get('OBJECT', '')}: {self._facts()}>"

    def _repr_html_(self) -> str:
        from muse_core.api import plotting

        return plotting.thumbnail(self.image()) + f"<br>Cube: {html.escape(self._facts())}"

    def close(self) -> None:
        """Close the file; that of a cube which was made, and not written, goes. A cube that is forgotten does that.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> with muse.Cube.open("DATACUBE_FINAL.fits") as cube:  # closes it at the end
        ...     white = cube.image()
        """
        self._hdus.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __del__(self):
        with contextlib.suppress(AttributeError):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, value, traceback):
        self.close()


def scratch_folder(run: Run) -> "tempfile.TemporaryDirectory":
    """Return a folder for the file of a cube, beside the scratch files; it goes with the object."""
    free = shutil.disk_usage(run.resources.scratch).free
    try:
        return tempfile.TemporaryDirectory(prefix="muse-cube-", dir=run.resources.scratch, ignore_cleanup_errors=True)
    except OSError as error:
        raise ProductError(f"{run.resources.scratch}: {error.strerror}, {free} bytes free; see MUSE_SCRATCH") from error
