# SPDX-License-Identifier: GPL-2.0-or-later
"""The sky of an exposure: found in it, or given; and its subtraction."""

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from muse_core.api import session
from muse_core.api.cube import Image, placing_all
from muse_core.api.pixtable import PixelTable
from muse_core.errors import DataError, InputError, ParameterError, ProductError
from muse_core.model import units
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum, Spectrum
from muse_core.recipes.muse_scipost import MuseScipost
from muse_core.stages import locate
from muse_core.stages import sky as stage
from muse_core.stages.pointing import load_pointing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_P = MuseScipost.Parameters()
_METHODS = ("model", "simple", "subtract-model")
File = str | os.PathLike


class SkyModel:
    """The sky of an exposure: what `subtract` takes away.

    Parameters
    ----------
    result : object
        What `fit` makes.
    table : PixelTable
        The table in which it was found.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.calibrate_flux(muse.PixelTable.read("model.sof"))
    >>> sky = muse.steps.sky.fit(table)
    >>> sky.spectrum.lbda.shape == sky.spectrum.data.shape, sky.continuum.lbda.shape == sky.continuum.flux.shape
    (True, True)
    >>> len(sky.lines.lbda) > 0, sky.mask.shape == sky.image.data.shape
    (True, True)
    """

    def __init__(self, result: stage.SkyResult, table: PixelTable):
        self._result = result
        self._run, self._table = table._run, table._table

    @property
    def spectrum(self) -> Spectrum | None:
        """Spectrum of the spaxels on sky: `lbda` in Angstrom, `data`, `stat`, shape (n,); None if the sky was given."""
        return self._result.spectrum

    @property
    def lines(self) -> SkyLines | None:
        """Emission lines: `lbda` in Angstrom, `flux`, shape (n,); None if the spectrum itself is subtracted."""
        return self._result.lines

    @property
    def continuum(self) -> Continuum | None:
        """Continuum: `lbda` in Angstrom, `flux`, shape (n,)."""
        return self._result.continuum

    @property
    def mask(self) -> np.ndarray | None:
        """Which spaxels of the field are sky, 1 there; uint8, shape (ny, nx); None if that was not asked."""
        return self._result.mask

    @property
    def image(self) -> Image | None:
        """White-light image of the field from which the mask was made; float32, shape (ny, nx)."""
        from muse_core.model.fits import Header, as_astropy

        white = self._result.white_light
        if white is None:
            return None
        return Image(white.image, as_astropy(Header(white.wcs)), white.unit, "white light of the field")

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw spectrum, continuum and lines.

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
        >>> table = muse.steps.calibrate_flux(muse.PixelTable.read("none.sof"))
        >>> axes = muse.steps.sky.fit(table, method="simple").plot()
        """
        from muse_core.api import plotting

        return plotting.draw_sky(self, ax)

    def write(self, folder: str | Path = ".") -> list[Path]:
        """Write it as the recipe does: image, mask, spectrum, lines and continuum, as far as they were found.

        Parameters
        ----------
        folder : path
            Where to; files of these names must not be there.

        Returns
        -------
        list of Path
            The files, which other runs take as SKY_MASK, SKY_SPECTRUM, SKY_LINES and SKY_CONTINUUM.

        Raises
        ------
        ProductError
            They cannot be written, or one exists; there is nothing to write, since all was given.

        Examples
        --------
        >>> import muse_core.api as muse
        >>> table = muse.steps.calibrate_flux(muse.PixelTable.read("model.sof"))
        >>> sorted(path.name for path in muse.steps.sky.fit(table).write("."))
        ['SKY_CONTINUUM_0001.fits', 'SKY_IMAGE_0001.fits', 'SKY_LINES_0001.fits', 'SKY_MASK_0001.fits', ...]
        """
        with placing_all(self._run, folder, "sky.write") as (run, written):
            stage.save_sky(run, self._table, self._result)
        if not written:
            raise ProductError("sky.write: found nothing that was found in an exposure, expected mask and spectrum")
        return written

    def _facts(self) -> str:
        parts = []
        if self.mask is not None:
            parts.append(f"{int(self.mask.sum())} of {self.mask.size} spaxels on sky")
        if self.spectrum is not None:
            parts.append(f"spectrum from {self.spectrum.lbda[0]:.1f} to {self.spectrum.lbda[-1]:.1f} Angstrom")
        if self.lines is not None:
            parts.append(f"{len(self.lines.lbda)} lines")
        if self.continuum is not None:
            parts.append("continuum")
        return ", ".join(parts) or "nothing"

    def __repr__(self) -> str:
        return f"<SkyModel: {self._facts()}>"

    def _repr_html_(self) -> str:
        return f"SkyModel: {html.escape(self._facts())}"


def fit(
    table: PixelTable,
    lines: File | None = None,
    lsf: Sequence[File] | None = None,
    *,
    continuum: File | None = None,
    mask: File | None = None,
    method: str = "model",
    skymodel_fraction: float = _P.sky.fraction,
    skymodel_ignore: float = _P.sky.ignore,
    skymodel_sampling: float = _P.sky.sampling,
    skymodel_csampling: float = _P.sky.csampling,
    sky_crsigma: str = _P.sky.crsigma,
) -> SkyModel:
    """Find the sky of an exposure; the table stays as it is.

    Parameters
    ----------
    table : PixelTable
        Positions in the field, flux calibrated.
    lines, lsf, continuum, mask : path or sequence of path, optional
        SKY_LINES, LSF_PROFILE of all IFUs, SKY_CONTINUUM, SKY_MASK; by default those of the set of frames.
    method : str
        "model" (lines fitted to the spectrum of the darkest part of the field), "simple" (that spectrum itself), or
        "subtract-model" (lines and continuum as they are given).
    skymodel_fraction, skymodel_ignore : float
        Part of the field that is sky, and the darkest part that is left out.
    skymodel_sampling, skymodel_csampling : float
        Sampling of spectrum and continuum in Angstrom.
    sky_crsigma : str
        Thresholds of the rejection of cosmic rays, in the cube of the white-light image and in the spectrum, in sigma.

    Returns
    -------
    SkyModel
        The sky, for `subtract`.

    Raises
    ------
    ParameterError
        There is no such method.
    InputError
        A file is missing, or cannot be used.
    DataError
        Positions are projected already.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.calibrate_flux(muse.PixelTable.read("model.sof"))
    >>> muse.steps.sky.fit(table)
    <SkyModel: ... spaxels on sky, spectrum from ... lines, continuum>
    """
    if method not in _METHODS:
        raise ParameterError(f"sky.fit: found method {method!r}, expected one of {', '.join(_METHODS)}")
    if table.position_unit != units.PIX:
        raise DataError(f"sky.fit: found positions in {table.position_unit}, expected them in {units.PIX}")
    run = table._run = session.with_frames(
        table._run, SKY_LINES=lines, LSF_PROFILE=lsf, SKY_CONTINUUM=continuum, SKY_MASK=mask
    )
    chosen = {
        "fraction": skymodel_fraction,
        "ignore": skymodel_ignore,
        "sampling": skymodel_sampling,
        "csampling": skymodel_csampling,
        "crsigma": sky_crsigma,
    }
    options = stage.SkyOptions(method=method, model=type(_P.sky)(**chosen))
    inputs = stage.load_sky_inputs(run, options)
    session.noted(run, "sky.fit", {"method": method, **chosen})
    return SkyModel(stage.model_sky(run, options, inputs, load_pointing(run), table._table, table._store), table)


def subtract(table: PixelTable, model: SkyModel) -> PixelTable:
    """Subtract a sky; rows beyond its continuum are dropped.

    Parameters
    ----------
    table : PixelTable
        Positions in the field, in the state in which the sky was found.
    model : SkyModel
        The sky.

    Returns
    -------
    PixelTable
        The table itself.

    Raises
    ------
    InputError
        There is nothing to subtract.
    DataError
        No row is left.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> table = muse.steps.calibrate_flux(muse.PixelTable.read("none.sof"))
    >>> sky = muse.steps.sky.fit(table, method="simple")
    >>> before = table.data.mean()
    >>> bool(muse.steps.subtract_sky(table, sky).data.mean() < before)
    True
    """
    run, stored = table._run, table._table
    subtraction = stage.SkySubtraction.of(run, model._result, stored)
    if subtraction is None:
        raise InputError("subtract_sky: found neither lines with line spread functions nor a continuum, expected one")
    located = locate.locate(run, stored, table._store, locate.LocationOptions(), None, subtraction)
    if located.limits is not None:
        stored.write_limits(located.limits)
    session.noted(run, "subtract_sky", {})
    return table
