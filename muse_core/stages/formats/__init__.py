# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats of DATACUBE_FINAL: what the parameter `format` may be, and what each of them needs."""

from muse_core.model.record import record
from muse_core.stages.formats.euro3d import Euro3D
from muse_core.stages.formats.plain import PlainCube
from muse_core.stages.formats.product import CubeFormat
from muse_core.stages.formats.sdp import SdpCube


@record
class FormatTraits:
    """A format.

    Attributes
    ----------
    writer : type
        Writes the cube.
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

    writer: type[CubeFormat]
    images_inside: bool = False
    measures_fwhm: bool = True
    describes_exposures: bool = False
    voxel_bytes: int = 8
    spools: bool = False


FORMATS = {
    "Cube": FormatTraits(PlainCube),
    "xCube": FormatTraits(PlainCube, images_inside=True),
    "sdpCube": FormatTraits(SdpCube, describes_exposures=True),
    "Euro3D": FormatTraits(Euro3D, measures_fwhm=False, voxel_bytes=12, spools=True),
    "xEuro3D": FormatTraits(Euro3D, images_inside=True, measures_fwhm=False, voxel_bytes=12, spools=True),
}
