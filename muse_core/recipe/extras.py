# SPDX-License-Identifier: GPL-2.0-or-later
"""Extras: products beyond those of the reference, which are made for those who ask for them.

Each is declared once, in `EXTRAS`. It hooks into a run by a `Collector`: stages tell it what they are doing, and when
all products of the run are complete it writes its own beside them; all get their places together, or none does. The
products of the reference are the same with extras and without.

Nothing heavy is imported here: front-ends list the names.
"""

import importlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from muse_core.errors import ParameterError
from muse_core.model.declare import ProductSpec, did_you_mean
from muse_core.model.record import record

if TYPE_CHECKING:
    import numpy as np
    from astropy.io.fits import Card, Header

    from muse_core.engine.slabs import SlabSource
    from muse_core.model.grid import OutputGrid
    from muse_core.model.spectrum import Spectrum
    from muse_core.recipe.run import Run
    from muse_core.steps.resample import ResampleOptions, SlabResult

EXTRAS_VARIABLE = "MUSE_EXTRAS"
_LOG = logging.getLogger(__name__)
_WITH_CUBE = ("muse_scipost", "muse_exp_combine", "muse_scipost_make_cube")


@record(kw_only=True)
class Extra:
    """An extra.

    Attributes
    ----------
    name : str
        What users ask for.
    help : str
        What they get.
    recipes : tuple of str
        Names of the recipes that offer it.
    products : tuple of ProductSpec
        Its products. One that is no FITS file says so by its suffix; python-cpl cannot read such into memory.
    collector : str
        ``module:class`` of its `Collector`, imported for those who ask for it.
    """

    name: str
    help: str
    recipes: tuple[str, ...]
    products: tuple[ProductSpec, ...]
    collector: str


#: All extras, in the order in which they are written: the report tells of the others.
EXTRAS: dict[str, Extra] = {
    extra.name: extra
    for extra in (
        Extra(
            name="noise",
            help="how the voxels of the cube are correlated, and its measured noise",
            recipes=("muse_scipost", "muse_exp_combine", "muse_scipost_make_cube"),
            products=(
                ProductSpec(
                    "NOISE_CORRELATION", "master", "FINAL", "IMAGE", "correlations and measured noise of the cube"
                ),
            ),
            collector="muse_core.stages.noise:NoiseCollector",
        ),
        Extra(
            name="report",
            help="a page about the reduction, with checks, and its numbers as JSON",
            recipes=("muse_scipost", "muse_exp_combine", "muse_exp_align", "muse_create_sky"),
            products=(
                ProductSpec("MUSE_REPORT", "master", "FINAL", "IMAGE", "report of the reduction", suffix=".html"),
                ProductSpec("MUSE_REPORT_DATA", "master", "FINAL", "IMAGE", "numbers of the report", suffix=".json"),
            ),
            collector="muse_core.stages.reporting:ReportCollector",
        ),
    )
}


@record
class Finished:
    """A product of the run that is complete.

    Attributes
    ----------
    tag : str
        PRO CATG.
    path : Path
        Where it is now; its name is the final one, its folder is not.
    """

    tag: str
    path: Path

    def header(self) -> "Header":
        """Return its primary header."""
        from muse_core.io.fitsreader import FitsFile

        with FitsFile(self.path) as file:
            return file.primary.header.copy()


class ExposureWatch:
    """What an extra sees of an exposure, where that is reduced: maybe by another process. All hooks do nothing here.

    It is sent there before it has seen anything; what it has seen is kept with the exposure.
    """

    def see_rows(self, header: "Header", rows: "np.ndarray") -> object:
        """Return what there is in rows, calibrated and without sky; from several threads, and not to be changed.

        Rows of a slice lie together; the rows of an exposure come in any order, each once.
        """

    def add(self, found: object) -> None:
        """Hear what `see_rows` returned; in the order of the rows."""

    def sky_found(self, header: "Header", spectrum: "Spectrum") -> None:
        """Hear of the sky spectrum of the exposure, whose pixel table has this `header`, before it is subtracted."""

    def seen(self) -> "dict[str, np.ndarray]":
        """Return all that was seen."""
        return {}


class Collector:
    """What an extra does in a run: collects, then writes. All hooks but `write` do nothing here.

    Hooks are called from the main thread unless they say otherwise. An error of an extra ends the run, as any other.

    Parameters
    ----------
    extra : Extra
        The extra.
    run : Run
        The run; `run.factory` gives names and headers, see `cards`.
    """

    def __init__(self, extra: Extra, run: "Run"):
        self.extra, self.run = extra, run

    def needs(self, grid: "OutputGrid | None", options: "ResampleOptions | None") -> tuple[int, int]:
        """Return the bytes of memory and of disk that the extra takes, for the plan.

        Parameters
        ----------
        grid, options : OutputGrid and ResampleOptions, optional
            Expected grid of the cube, and how it will be resampled; None without a cube.
        """
        return 0, 0

    def watch_exposure(self) -> ExposureWatch | None:
        """Return who looks at an exposure while it is reduced."""

    def add_exposure(self, header: "Header", seen: "dict[str, np.ndarray]") -> None:
        """Hear what was seen of an exposure, whose pixel table has this `header` now; in the order of the exposures."""

    def close(self) -> None:
        """Hear that the run has ended, also by an error."""

    def begin_cube(self, header: "Header", source: "SlabSource", options: "ResampleOptions") -> None:
        """Hear that a cube is about to be made of all rows, a table with this `header`, by `source`."""

    def add_planes(self, first: int, result: "SlabResult") -> None:
        """See planes of the cube, from number `first` on, as they are made; in order, and not to be changed."""

    def end_cube(self) -> None:
        """Hear that all planes have been made; the rows are still there."""

    def write(self, products: Sequence[Finished]) -> None:
        """Write the products of the extra, by ``run.factory``.

        Parameters
        ----------
        products : sequence of Finished
            The products of the reference that the run has made, and those of the extras before this one, sorted by
            tag, then name. They must not be changed.
        """
        raise NotImplementedError(f"extra {self.extra.name} writes nothing")

    def cards(self, source: "Iterable[Card]" = ()) -> "list[Card]":
        """Return `source` for ``factory.header``, with the keyword that says for whom the product was made."""
        from muse_core.model.cards import card

        return [*source, card("ESO DRS MUSE EXTRA", self.extra.name, f"made on request, by {EXTRAS_VARIABLE}")]


def parse(text: str) -> list[str]:
    """Read a list of extras, separated by commas.

    Raises
    ------
    ParameterError
        There is none of that name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in EXTRAS:
            choices = ", ".join(EXTRAS) or "none"
            raise ParameterError(
                f"{EXTRAS_VARIABLE}: found {name!r}, expected names separated by commas, of: {choices}"
                f"{did_you_mean(name, EXTRAS)}"
            )
    return [name for name in EXTRAS if name in names]


def wanted(environ: Mapping[str, str], recipe: str) -> list[Extra]:
    """Return the extras that are asked for in the environment, as far as a recipe offers them.

    Raises
    ------
    ParameterError
        A name is not known.
    """
    found = [EXTRAS[name] for name in parse(environ.get(EXTRAS_VARIABLE, ""))]
    for extra in found:
        if recipe not in extra.recipes:
            _LOG.warning("%s: %s makes no %s; %s do", EXTRAS_VARIABLE, recipe, extra.name, ", ".join(extra.recipes))
    return [extra for extra in found if recipe in extra.recipes]


class Extras:
    """The collectors of a run, in the order of `EXTRAS`.

    Stages call hooks by ``for collector in run.extras: collector.begin_cube(...)``.
    """

    def __init__(self, extras: Iterable[Extra] = ()):
        self._extras = tuple(extras)
        self._collectors: list[Collector] = []

    @property
    def products(self) -> list[ProductSpec]:
        """Declared products of all of them."""
        return [spec for extra in self._extras for spec in extra.products]

    def __bool__(self) -> bool:
        return bool(self._extras)

    def __str__(self) -> str:
        return f"{EXTRAS_VARIABLE}={','.join(extra.name for extra in self._extras)}"

    def open(self, run: "Run") -> None:
        """Make the collectors."""
        for extra in self._extras:
            module, _, name = extra.collector.partition(":")
            self._collectors.append(getattr(importlib.import_module(module), name)(extra, run))

    def __iter__(self) -> Iterator[Collector]:
        return iter(self._collectors)

    def watches(self) -> dict[str, ExposureWatch]:
        """Return who looks at an exposure, by the name of the extra."""
        found = {collector.extra.name: collector.watch_exposure() for collector in self._collectors}
        return {name: watch for name, watch in found.items() if watch is not None}

    def add_exposure(self, header: "Header", seen: "Mapping[str, dict[str, np.ndarray]]") -> None:
        """Tell what those have seen who looked at an exposure."""
        for collector in self._collectors:
            if collector.extra.name in seen:
                collector.add_exposure(header, seen[collector.extra.name])

    def close(self) -> None:
        """Tell all of them that the run has ended."""
        for collector in self._collectors:
            collector.close()

    def write(self, run: "Run") -> None:
        """Have all of them write their products, once those of the reference are complete."""
        for collector in self._collectors:
            finished = [Finished(product.tag, run.factory.place_of(product)) for product in run.factory.products]
            collector.write(sorted(finished, key=lambda product: (product.tag, product.path.name)))
