# SPDX-License-Identifier: GPL-2.0-or-later
"""Where exposures are on the sky: astrometric solution and offsets, and what follows for an exposure."""

import contextlib
from collections.abc import Sequence

import numpy as np

from muse_core.errors import InputError
from muse_core.io import calibration
from muse_core.model.compat import Compat
from muse_core.model.curves import OffsetList
from muse_core.model.fits import Header
from muse_core.model.header import require_float
from muse_core.model.record import record
from muse_core.model.wcs import AstrometricSolution
from muse_core.recipe.run import Run
from muse_core.stages.calibrations import load_offsets
from muse_core.steps.astrometry import Positioning, Projection
from muse_core.steps.offsets import Offset, find_offset


@record
class Pointing:
    """Astrometric solution and offsets of a run.

    Attributes
    ----------
    compat : Compat
        Defects to reproduce.
    solution_header : Header, optional
        ASTROMETRY_WCS; without, the default solution of the mode holds.
    offsets : OffsetList, optional
        OFFSET_LIST.
    """

    compat: Compat
    solution_header: Header | None = None
    offsets: OffsetList | None = None

    def offset(self, header: Header) -> Offset | None:
        """Return the offset of the exposure of a header."""
        return find_offset(self.offsets, header)

    def solution(self, header: Header) -> AstrometricSolution:
        """Return the solution for an exposure."""
        if self.solution_header is None:
            return AstrometricSolution.default(header)
        return AstrometricSolution.from_header(self.solution_header, "ASTROMETRY_WCS", self.compat)

    def positioning(self, header: Header) -> Positioning:
        """Return the position of an exposure, with its offset.

        Raises
        ------
        InputError
            RA or DEC are not in the header.
        """
        ra, dec = (require_float(header, key, "exposure", self.compat) for key in ("RA", "DEC"))
        offset = self.offset(header)
        if offset is not None:
            ra, dec = offset.pointing(ra, dec)
        return Positioning.at(ra, dec)

    def known_positioning(self, header: Header) -> Positioning | None:
        """Return the position of an exposure; None if it is not in the header."""
        with contextlib.suppress(InputError):
            return self.positioning(header)
        return None

    def in_advance(
        self, header: Header, limits: Sequence[float] | np.ndarray | None = None
    ) -> tuple[Projection, Positioning]:
        """Return projection and position that an exposure in pix will have; `limits` as for `Projection.from_header`.

        Raises
        ------
        InputError
            The pointing is not in the header.
        """
        projection = Projection.from_header(header, self.solution(header), limits, compat=self.compat)
        return projection, self.positioning(header)


def load_solution(run: Run) -> Pointing | None:
    """Load ASTROMETRY_WCS; None if it is not given.

    Raises
    ------
    InputError
        It cannot be used, or there are several.
    """
    header = run.load("ASTROMETRY_WCS", lambda path: calibration.read_astrometry(path, run.compat))
    return None if header is None else Pointing(run.compat, header)


def load_pointing(run: Run) -> Pointing:
    """Load ASTROMETRY_WCS and OFFSET_LIST, those of them that the recipe takes and are given.

    Raises
    ------
    InputError
        One cannot be used, or there are several.
    """
    header = run.load("ASTROMETRY_WCS", lambda path: calibration.read_astrometry(path, run.compat))
    return Pointing(run.compat, header, load_offsets(run))
