# SPDX-License-Identifier: GPL-2.0-or-later
"""Output grids for tests: planes of 1.25 Angstrom, north up, east to the left."""

from muse_core.model.grid import OutputGrid

#: Side of a spaxel of the wide field, in deg.
STEP = 0.2 / 3600
_PLANE = 1.25


def pixel_grid(nx: int, ny: int, nz: int, first: tuple[float, float, float] = (1.0, 1.0, 5000.0)) -> OutputGrid:
    """Return a grid in spaxels; `first` are the coordinates of its first voxel."""
    return OutputGrid(
        nx=nx,
        ny=ny,
        nz=nz,
        celestial=False,
        ctype3="AWAV",
        crpix=(1.0, 1.0, 1.0),
        crval=first,
        cd=(1.0, 0.0, 0.0, 1.0),
        cd33=_PLANE,
        origin=(0.0, 0.0),
        scale=(1.0, 1.0),
    )


def sky_grid(
    nx: int,
    ny: int,
    nz: int,
    crval: tuple[float, float, float],
    crpix: tuple[float, float] = (1.0, 1.0),
    step: float = STEP,
) -> OutputGrid:
    """Return a grid on the sky: right ascension, declination (deg) and wavelength at a pixel of the first plane."""
    return OutputGrid(
        nx=nx,
        ny=ny,
        nz=nz,
        celestial=True,
        ctype3="AWAV",
        crpix=(*crpix, 1.0),
        crval=crval,
        cd=(-step, 0.0, 0.0, step),
        cd33=_PLANE,
        origin=crval[:2],
        scale=(step, step),
    )
