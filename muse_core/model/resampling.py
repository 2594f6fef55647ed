# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods of resampling, one line each. A new one is its weight in cython_ext/weighting.pxd, and a line here."""

from muse_core.model.record import record


@record
class Method:
    """A method of resampling.

    Attributes
    ----------
    name : str
        Choice of the recipe's parameter ``resample``.
    code : int, optional
        Number in weighting.pxd; None for the nearest row, which has no weight.
    parameters : tuple of str
        Parameters of the recipe that it uses.
    """

    name: str
    code: int | None
    parameters: tuple[str, ...]

    @property
    def has_neighbours(self) -> bool:
        """Do the rows of neighbouring cells contribute to a voxel?"""
        return "ld" in self.parameters


METHODS = {
    method.name: method
    for method in (
        Method("nearest", None, ()),
        Method("linear", 1, ("ld",)),
        Method("quadratic", 2, ("ld",)),
        Method("renka", 3, ("ld", "rc")),
        Method("drizzle", 0, ("ld", "pixfrac")),
        Method("lanczos", 4, ("ld",)),
    )
}
NARROW_DRIZZLE = -1  # drizzle where a drop reaches one neighbour at most along each axis: same weights, faster
