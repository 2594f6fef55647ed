# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run will need, known before it starts: memory, disk, time."""

import dataclasses
import json

from muse_core.engine.exposure import CHANGING, LOOKING
from muse_core.engine.meter import PlannedStep
from muse_core.engine.resources import BASE_BYTES, MEMORY_VARIABLE, RESUME_VARIABLE, SCRATCH_VARIABLE
from muse_core.engine.slabs import OwnCube
from muse_core.errors import ResourceError
from muse_core.model.record import record

#: Step of a run in which others reduce the exposures, and the name of what they work on.
EXPOSURES_STEP, EXPOSURES = "Exposures", "exposures"
#: Part of the disk space that is expected without which a run does not start: the expectation may be too high.
SURELY_NEEDED = 0.9


@record
class ExposureStep:
    """A step between the calibration of an exposure and its place on the sky.

    Attributes
    ----------
    name : str
        Its name in the log.
    passes : tuple of OwnCube or str
        What it does one after the other: cubes that it makes of the exposure, and passes over its rows, by name.
    kept_bytes : float
        What it keeps for each row of the exposure until it is done (`muse_core.engine.spool.ArraySpool`).
    """

    name: str
    passes: tuple[OwnCube | str, ...] = (LOOKING, CHANGING)
    kept_bytes: float = 0.0


def size_text(n_bytes: float) -> str:
    """Return a number of bytes as text."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


@record(kw_only=True)
class Crew:
    """Workers of a cluster.

    Attributes
    ----------
    n_workers : int
        Their number.
    n_threads, memory_bytes : int
        What each of them may use at least.
    """

    n_workers: int
    n_threads: int
    memory_bytes: int


@record(kw_only=True)
class Disk:
    """Disk space in a folder.

    Attributes
    ----------
    folder : str
        The folder.
    device : int
        Its file system.
    needed, free : int
        What the run will write there at most, and what is free, in bytes.
    kept : int
        What an interrupted run has taken of `needed` already.
    """

    folder: str
    device: int
    needed: int
    free: int
    kept: int = 0

    def __str__(self) -> str:
        kept = f"{size_text(self.kept)} kept, " if self.kept else ""
        return f"{size_text(self.needed)} ({kept}{size_text(self.free)} free)"

    def lacks(self, needed: int) -> bool:
        """Is there surely too little space for so many bytes?"""
        return SURELY_NEEDED * needed > self.free + self.kept


@record(kw_only=True, repr=False)
class Plan:
    """What a run will need.

    Attributes
    ----------
    n_exposures, n_rows : int
        Input.
    grid : tuple of int, optional
        Voxels of the cube along x, y and wavelength, as the headers let expect; None if they do not tell.
    makes_cube : bool
        There will be a cube.
    memory_bytes, memory_limit : int
        Peak resident memory, and what it may be.
    scratch, products : Disk
        Rows and, with MUSE_RESUME, whatever else is kept; products.
    n_threads : int
        Threads, of each worker if there are some.
    seconds : float
        Wall time.
    n_workers : int
        Workers of a cluster, each of which may take the memory; 0 without a cluster.
    steps : tuple of PlannedStep
        The steps, and how long each takes.
    """

    n_exposures: int
    n_rows: int
    grid: tuple[int, int, int] | None
    memory_bytes: int
    memory_limit: int
    scratch: Disk
    products: Disk
    n_threads: int
    seconds: float
    makes_cube: bool = False
    n_workers: int = 0
    steps: tuple[PlannedStep, ...] = ()

    def __str__(self) -> str:
        cube = "cube of unknown size" if self.makes_cube else "no cube"
        if self.grid is not None:
            cube = f"cube of about {' x '.join(map(str, self.grid))} voxels"
        each, who = "", ""
        if self.n_workers:
            each, who = " of each worker", f"{self.n_workers} worker{'s' * (self.n_workers > 1)} with "
        return (
            f"{self.n_exposures} exposure{'s' * (self.n_exposures > 1)}, {self.n_rows} rows; {cube}; "
            f"memory{each} {size_text(self.memory_bytes)} (limit {size_text(self.memory_limit)}), "
            f"scratch {self.scratch}, products {self.products}; "
            f"about {self.seconds:.0f} s with {who}{self.n_threads} thread{'s' * (self.n_threads > 1)}"
        )

    def __repr__(self) -> str:
        return f"<Plan: {self}>"

    def _repr_html_(self) -> str:
        """Table for notebooks."""
        cube = " x ".join(map(str, self.grid)) + " voxels" if self.grid else "of unknown size"
        who = f"{self.n_workers} workers with " if self.n_workers else ""
        facts = {
            "exposures": f"{self.n_exposures}, {self.n_rows} rows",
            "cube": cube if self.makes_cube or self.grid else "none",
            "memory": f"{size_text(self.memory_bytes)} (limit {size_text(self.memory_limit)})",
            "scratch": f"{self.scratch} in {self.scratch.folder}",
            "products": f"{self.products} in {self.products.folder}",
            "time": f"about {self.seconds:.0f} s with {who}{self.n_threads} threads",
            "too little": "; ".join(self.problems()) or "of nothing",
        }
        import html  # for notebooks alone

        rows = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in facts.items())
        return f"<table>{rows}</table>"

    def to_json(self) -> str:
        """Return the plan as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Return the plan of which the text was made."""
        values = json.loads(text)
        values |= {name: Disk(**values[name]) for name in ("scratch", "products")}
        steps = [{**step, "passes": tuple(map(tuple, step["passes"]))} for step in values["steps"]]
        values["steps"] = tuple(PlannedStep(**step) for step in steps)
        return cls(**values | {"grid": values["grid"] and tuple(values["grid"])})

    def problems(self) -> list[str]:
        """Return what there is too little of."""
        found = []
        if self.memory_bytes > self.memory_limit:
            found.append(
                f"{MEMORY_VARIABLE}: found {size_text(self.memory_limit)}, expected at least "
                f"{size_text(self.memory_bytes)}; of these {size_text(BASE_BYTES)} are for the interpreter"
            )
        where = f"{SCRATCH_VARIABLE} or {RESUME_VARIABLE}"
        for disk, hint in ((self.scratch, f"for rows; see {where}"), (self.products, "for products")):
            if disk.lacks(disk.needed):
                found.append(_too_full(disk, disk.needed, hint))
        both = self.scratch.needed + self.products.needed
        if not found and self.scratch.device == self.products.device and self.scratch.lacks(both):
            found.append(_too_full(self.products, both, f"for rows and products; see {where}"))
        return found

    def require_space(self) -> None:
        """Refuse what cannot be done.

        Raises
        ------
        ResourceError
            With the numbers.
        """
        problems = self.problems()
        if problems:
            raise ResourceError("; ".join(problems))


def _too_full(disk: Disk, needed: int, hint: str) -> str:
    kept = f" beside the {size_text(disk.kept)} that are kept" if disk.kept else ""
    return f"{disk.folder}: found {size_text(disk.free)} free{kept}, expected at least {size_text(needed)} {hint}"
