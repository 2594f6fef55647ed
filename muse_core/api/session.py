# SPDX-License-Identifier: GPL-2.0-or-later
"""The context in which stages work where no recipe runs: frames, resources, environment, headers of products."""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from muse_core import __version__
from muse_core.engine.executor import Executor
from muse_core.engine.journal import Journal
from muse_core.engine.rowblocks import BLOCK_COLUMNS, BlockedRows
from muse_core.errors import DataError, InputError
from muse_core.io.delivery import Destination
from muse_core.io.fitsreader import FitsFile
from muse_core.io.folders import working_folder
from muse_core.io.frames import FrameSelection
from muse_core.io.products import ProductFactory
from muse_core.io.sof import Frame, read_sof
from muse_core.model import units
from muse_core.model.declare import InputSpec, ParameterSpec
from muse_core.model.header import get_string
from muse_core.recipe.run import Environment, Run, claim_resources, compat_cards
from muse_core.recipes.muse_scipost import MuseScipost
from muse_core.stages.opening import OpenedExposure, open_exposures

#: What files are that come without a tag and are pixel tables.
PIXTABLE = MuseScipost.raw_tag()
_WAVELENGTHS = MuseScipost.Parameters().wavelengths
#: In the place of the recipe's name in the headers of products.
NAME = "muse_python"

#: A file, a set of frames, or several of them.
Files = str | os.PathLike | Iterable[str | os.PathLike] | Mapping[str, object]


def frames_of(files: Files) -> list[Frame]:
    """Return the frames that a user means.

    Parameters
    ----------
    files : path, list of paths, or dict of tag to path or list of paths
        Set-of-frames files (whose names do not end in .fits or a compressed form of it), and pixel tables.

    Raises
    ------
    InputError
        There is no pixel table among them.
    """
    if isinstance(files, Mapping):
        found = [
            Frame(os.fspath(path), tag)
            for tag, paths in files.items()
            for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)
        ]
    else:
        found = []
        for path in [files] if isinstance(files, (str, os.PathLike)) else files:
            is_fits = any(suffix.lower() in (".fits", ".fz") for suffix in Path(path).suffixes)
            found += [Frame(os.fspath(path), PIXTABLE)] if is_fits else read_sof(path)
    tables = [f for f in found if f.tag.startswith("PIXTABLE")]
    if not tables:
        raise InputError(f"found no pixel table among {', '.join(f.path for f in found) or 'no files'}, expected some")
    return [dataclasses.replace(f, tag=PIXTABLE) if f in tables else f for f in found]


def make_run(frames: Iterable[Frame]) -> Run:
    """Return the context of work on these frames, with memory, threads and defects as the environment says."""
    environment = Environment.read(os.environ)
    destination = Destination(working_folder())
    resources = claim_resources(Path(tempfile.gettempdir()))
    compat, frames = environment.compat, list(frames)
    factory = ProductFactory(
        recipe=NAME,
        pipeline=f"muse/{__version__}",
        system=f"muse-scipost-{__version__}",
        parameters=[],
        products=MuseScipost.PRODUCTS,
        qc_prefix=MuseScipost.QC,
        destination=destination,
        inputs=[Path(frame.path) for frame in frames],
        marks=compat_cards(compat),
    )
    return Run(
        environment=environment,
        resources=resources,
        frames=FrameSelection(frames, _INPUTS, compat),
        factory=factory,
        journal=Journal(),
        executor=Executor(),
        qc_prefix=MuseScipost.QC,
    )


def open_blocks(files: Files, what: str, columns: Sequence[str] = BLOCK_COLUMNS) -> tuple[Run, OpenedExposure]:
    """Open one exposure, in the field, of whose rows nothing is read but the ranges of some columns in blocks.

    Raises
    ------
    InputError
        The files are of several exposures.
    DataError
        Its positions are projected.
    """
    run = make_run(frames_of(files))
    exposures = open_exposures(run, PIXTABLE, _WAVELENGTHS, functools.partial(BlockedRows, columns=columns))
    if len(exposures) > 1:
        raise InputError(f"{what}: found {len(exposures)} exposures, expected the pixel tables of one")
    unit = exposures[0].rows.files[0].position_unit
    if unit != units.PIX:
        raise DataError(f"{what}: found positions in {unit}, which are projected, expected them in the field")
    return run, exposures[0]


#: All tags that steps may ask for.
_INPUTS: tuple[InputSpec, ...] = MuseScipost.INPUTS


def with_frames(run: Run, **given: object) -> Run:
    """Return the run with other files of some tags; None leaves those that it has."""
    chosen = {tag: paths for tag, paths in given.items() if paths is not None}
    if not chosen:
        return run
    frames = [
        Frame(str(path), spec.tag) for spec in _INPUTS if spec.tag not in chosen for path in run.frames.all(spec.tag)
    ]
    for tag, paths in chosen.items():
        several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        frames += [Frame(os.fspath(path), tag) for path in several]
    return dataclasses.replace(run, frames=FrameSelection(frames, _INPUTS, run.compat))


def with_factory(run: Run, factory: ProductFactory) -> Run:
    """Return the run with another factory of products."""
    return dataclasses.replace(run, factory=factory)


def into(run: Run, folder: Path, name: str, parameters: Mapping[str, object]) -> Run:
    """Return the run with another place of its products, which tell of a further step."""
    factory = run.factory.elsewhere(Destination(folder))
    made = dataclasses.replace(run, factory=factory)
    noted(made, name, parameters)
    return made


def noted(run: Run, step: str, parameters: Mapping[str, object]) -> None:
    """Let the headers of what is made from now on tell of a step."""
    text = " ".join(f"{name}={value}" for name, value in parameters.items())
    run.factory.note(ParameterSpec(step, "", "step of the reduction, and its parameters"), text)


def is_pixel_table(path: str | os.PathLike) -> bool:
    """Does a file say that it is a pixel table?"""
    with FitsFile(path) as file:
        return get_string(file.primary.header, "ESO DRS MUSE PIXTABLE TYPE") is not None
