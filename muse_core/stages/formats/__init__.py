# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats of DATACUBE_FINAL: what the parameter `format` may be, and what each of them needs."""

from collections.abc import Callable

from muse_core.model.record import record
from muse_core.stages.formats.plain import PlainCube
from muse_core.stages.formats.product import CubeFormat, CubeProduct


def _euro3d(product: CubeProduct) -> CubeFormat:
    from muse_core.stages.formats.euro3d import Euro3D  # for those who want it

    return Euro3D(product)


def _sdp(product: CubeProduct) -> CubeFormat:
    from muse_core.stages.formats.sdp import SdpCube  # for those who want it

    return SdpCube(product)


@record
class FormatTraits:
    """A format.

    Attributes
    ----------
    writer : callable
        Returns what writes a cube.
    images_inside : bool
        The images go into the file of the cube.
    measures_fwhm : bool
        The header tells the FWHM of sources in the cube.
    describes_exposures : bool
        The header tells of each exposure; see `muse_core.steps.sdp`.
    voxel_bytes : int
        Length of a voxel in the file.
    spools : bool
        The planes wait in a scratch file (`muse_core.engine.spool`).
    """

    writer: Callable[[CubeProduct], CubeFormat]
    images_inside: bool = False
    measures_fwhm: bool = True
    describes_exposures: bool = False
    voxel_bytes: int = 8
    spools: bool = False


FORMATS = {
    "Cube": FormatTraits(PlainCube),
    "xCube": FormatTraits(PlainCube, images_inside=True),
    "sdpCube": FormatTraits(_sdp, describes_exposures=True),
    "Euro3D": FormatTraits(_euro3d, measures_fwhm=False, voxel_bytes=12, spools=True),
    "xEuro3D": FormatTraits(_euro3d, images_inside=True, measures_fwhm=False, voxel_bytes=12, spools=True),
}
