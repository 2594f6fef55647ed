# SPDX-License-Identifier: GPL-2.0-or-later
"""Recipe objects; each call runs in a process of its own."""

import contextlib
import dataclasses
import html
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from muse_core.cplapi import messages
from muse_core.engine.cluster import CLUSTER_VARIABLE, cluster_address
from muse_core.engine.meter import Progress
from muse_core.errors import InputError, ProductError
from muse_core.frontends import ending, protocol, registry
from muse_core.frontends.progress import Wanted, display
from muse_core.frontends.pythoncpl.logger import LogList
from muse_core.frontends.pythoncpl.result import RecipeCrash, RecipeError, Result, Stat
from muse_core.frontends.pythoncpl.settings import FrameConfig, FrameList, Parameter, ParameterList, as_frames
from muse_core.io.folders import working_folder
from muse_core.model.record import record

if TYPE_CHECKING:
    from muse_core.engine.plan import Plan

logging.getLogger("cpl").addHandler(logging.NullHandler())

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class Recipe:
    """A recipe that is called like a function, in the manner of python-cpl.

    Parameters
    ----------
    name : str
        Name of the recipe.
    filename : path, optional
        Python file to take it from.
    version : int or str, optional
        Version that it must have.
    threaded : bool
        Let calls return at once.

    Attributes
    ----------
    path : list of str
        Of the class: folders with further recipes.
    param : ParameterList
        Values of parameters: ``recipe.param.dx = 0.4``; None for the default.
    calib : FrameList
        Calibration frames: ``recipe.calib.SKY_LINES = "lines.fits"``.
    tag, tags : str, list of str
        Tag of the raw frames, and those that there are.
    raw : file name, HDUList, list of them, dict of tag to them, or None
        Raw frames of a call without any.
    output : dict
        Tags of the products for each raw tag.
    output_dir : str or None
        Folder that keeps the products; without one they are read into memory.
    temp_dir : str
        Folder in which the working folders of runs without `output_dir` are made.
    env : dict
        Environment variables for the runs.
    max_memory, scratch, resume : str or path or None
        Memory that a run may take, such as ``4G``; folder of its scratch file; folder in which it keeps what it has
        done, so that a call with the same arguments goes on there after it was killed. None: as ``MUSE_MAX_MEMORY``,
        ``MUSE_SCRATCH`` and ``MUSE_RESUME`` in the environment say.
    cluster : str or path, optional
        Address of the scheduler of a Dask cluster that does the work, or path of its file. None: as ``MUSE_CLUSTER``
        says or, if it says nothing, the current `distributed.Client`.
    extras : str or sequence of str, optional
        Products beyond those of ESO's recipe, see `muse_core.recipe.extras`. None: as ``MUSE_EXTRAS`` says.
    progress : callable or bool, optional
        Called with a `muse_core.engine.meter.Progress` twice a second; an exception that it raises ends the run. False:
        nothing is shown. None: a bar in a notebook, a line on a terminal (standard error), else nothing.
    description, version : tuple
        Synopsis and description; number and text of the version.
    cpl_version, cpl_description, dir, memory_mode, memory_dump, mtrace : object
        For compatibility with python-cpl: not used.

    Raises
    ------
    InputError
        There is no such recipe, or it has another version.

    Examples
    --------
    >>> import muse_core
    >>> scipost = muse_core.Recipe("muse_scipost")
    >>> scipost.param.skymethod = "none"
    >>> scipost.param.resample.sequence
    ['nearest', 'linear', 'quadratic', 'renka', 'drizzle', 'lanczos']
    >>> scipost.tag, scipost.tags
    ('PIXTABLE_OBJECT', ['PIXTABLE_OBJECT'])
    >>> frames = muse_core.esorex.load_sof("none.sof")
    >>> scipost.raw = frames.pop("PIXTABLE_OBJECT")
    >>> scipost.calib = frames
    >>> plan = scipost.plan()  # and scipost() runs it
    >>> plan.problems()
    []
    """

    path: ClassVar[list[str]] = []
    dir = "."
    memory_mode = 0
    #: For compatibility: there is no CPL.
    cpl_version = ""
    cpl_description = ""
    _running = threading.BoundedSemaphore(os.cpu_count() or 1)

    def __init__(self, name: str, filename: str | None = None, version=None, threaded: bool = False):
        recipe = (registry.recipes_of_file(filename) if filename else self._found()).get(name)
        if recipe is None:
            raise InputError(f"recipe {name!r} not found in this package nor at path {self.path}")
        number = [int(part) for part in recipe.version.split(".")]
        self.version = (number[0] * 10000 + number[1] * 100 + number[2], recipe.version)
        if version is not None and version not in self.version:
            raise InputError(f"recipe {name!r} has version {recipe.version}, expected {version}")
        self.__name__ = name
        self.__author__, self.__email__, self.__copyright__ = recipe.author, recipe.email, recipe.copyright
        self.__version__ = recipe.version
        self.description = (recipe.synopsis, recipe.description)
        hidden = {spec.name for spec in getattr(recipe, "PARAMETERS", ()) if spec.hidden}
        inputs, outputs = getattr(recipe, "INPUTS", ()), getattr(recipe, "PRODUCTS", ())
        self._class = type(recipe)
        self._param = ParameterList([Parameter(p, hidden=p.cli_alias in hidden) for p in recipe.parameters])
        calibrations = (spec for spec in inputs if spec.group != "RAW")
        self._calib = FrameList({s.tag: FrameConfig(s.tag, s.minimum, s.maximum) for s in calibrations})
        self.tags = [spec.tag for spec in inputs if spec.group == "RAW"]
        self._tag = self.tags[0] if self.tags else None
        self.output = {tag: [spec.tag for spec in outputs] for tag in self.tags}
        self.raw: Any = None
        self.output_dir = None
        self.temp_dir = "."
        self.env: dict[str, Any] = {}
        self.max_memory: str | None = None
        self.scratch: str | os.PathLike | None = None
        self.resume: str | os.PathLike | None = None
        self.cluster: str | os.PathLike | None = None
        self.extras: str | Sequence[str] | None = None
        self.progress: Wanted = None
        self.threaded = threaded
        self.memory_dump = 0
        self.mtrace = False
        self.__doc__ = self._documentation()

    @classmethod
    def from_product(
        cls,
        product: str | os.PathLike,
        search_path: str | os.PathLike | Sequence[str | os.PathLike] = (),
        *,
        verify: bool = True,
    ) -> "Recipe":
        """Return the recipe that made a product, with its frames and parameters: a call without any makes it again.

        Parameters
        ----------
        product : path
            A product of one of our recipes, or of ESO's of the same name.
        search_path : path or sequence of path
            Folders below which its files are looked for first; then in the folders of the product and the current one.
        verify : bool
            Read all files, and check that they are those that the product was made of: DATAMD5 as far as the product
            has it, DATAMD5, CHECKSUM and DATASUM in their own headers.

        Returns
        -------
        Recipe
            With raw frames, calibrations and parameters.

        Raises
        ------
        InputError
            The product does not say how it was made; files are missing or have changed.

        Examples
        --------
        >>> import os
        >>> import muse_core
        >>> archive = os.path.dirname(muse_core.esorex.load_sof("model.sof")["PIXTABLE_OBJECT"][0])
        >>> again = muse_core.Recipe.from_product("DATACUBE_FINAL.fits", archive)
        >>> again.__name__, again.param.filter.value
        ('muse_scipost', 'white,sim_7030')
        >>> again.param.dlambda = 2.5
        """
        from muse_core.frontends.redo import Redo

        folders = [search_path] if isinstance(search_path, (str, os.PathLike)) else search_path
        again = Redo.of(product, folders)
        if problems := again.problems() if verify else again.missing():
            raise InputError(f"{product} cannot be made again: " + "; ".join(problems))
        recipe = cls(again.recipe)
        recipe.param = again.values
        raw: dict[str, list[str]] = {}
        calibrations: dict[str, list[str]] = {}
        for item in again.inputs:
            frames = raw if item.group == "RAW" else calibrations
            frames.setdefault(item.tag, []).append(str(item.path))
        recipe.raw = raw
        recipe.calib = {tag: paths[0] if len(paths) == 1 else paths for tag, paths in calibrations.items()}
        recipe.env |= again.environment
        return recipe

    @classmethod
    def _found(cls) -> dict:
        path = cls.path.split(":") if isinstance(cls.path, str) else cls.path
        return registry.find_recipes(path)

    @classmethod
    def list(cls) -> Sequence[tuple[str, Sequence[str]]]:
        """Return names and versions of the recipes.

        Returns
        -------
        list of (str, list of str)
            A pair for each recipe.

        Examples
        --------
        >>> import muse_core
        >>> "muse_scipost" in dict(muse_core.Recipe.list())
        True
        """
        return [(name, [recipe.version]) for name, recipe in cls._found().items()]

    @classmethod
    def get_recipefilename(cls, name: str, version=None) -> str | None:
        """Return the Python file of a recipe.

        Parameters
        ----------
        name : str
            Name of the recipe.
        version : int or str, optional
            Version that it must have.

        Returns
        -------
        str or None
            Name of the file; None if there is no such recipe.

        Examples
        --------
        >>> import muse_core
        >>> muse_core.Recipe.get_recipefilename("muse_scipost")
        '.../muse_scipost.py'
        """
        recipe = cls._found().get(name)
        if recipe is None or version not in (None, recipe.version):
            return None
        return sys.modules[type(recipe).__module__].__file__

    @staticmethod
    def get_libs() -> Sequence:
        """Return the plugins in use: none.

        Returns
        -------
        list
            Empty.

        Examples
        --------
        >>> import muse_core
        >>> muse_core.Recipe.get_libs()
        []
        """
        return []

    @classmethod
    def set_maxthreads(cls, number: int) -> None:
        """Set how many threaded runs may go on at the same time.

        Parameters
        ----------
        number : int
            At most so many; at the beginning as many as there are cores.

        Examples
        --------
        >>> import muse_core
        >>> muse_core.Recipe.set_maxthreads(2)
        """
        cls._running = threading.BoundedSemaphore(number)

    @property
    def param(self) -> ParameterList:
        """Parameters; a dict can be assigned, which first resets all to their defaults."""
        return self._param

    @param.setter
    def param(self, values: Mapping[str, Any] | None) -> None:
        for parameter in self._param:
            parameter.value = None
        for name, value in (values or {}).items():
            self._param[name] = value

    @property
    def calib(self) -> FrameList:
        """Calibration frames; a dict can be assigned, which first removes all."""
        return self._calib

    @calib.setter
    def calib(self, frames: Mapping[str, Any] | None) -> None:
        for config in self._calib:
            config.frames = None
        for tag, value in (frames or {}).items():
            self._calib[tag] = value

    @property
    def tag(self) -> str | None:
        """Tag of raw frames that come without one."""
        return self._tag

    @tag.setter
    def tag(self, tag: str) -> None:
        if tag not in self.tags:
            raise KeyError(f"tag {tag!r} not in {self.tags}")
        self._tag = tag

    def __call__(
        self,
        raw=None,
        *,
        tag: str | None = None,
        threaded: bool | None = None,
        loglevel: int = logging.NOTSET,
        logname: str | None = None,
        output_dir: str | os.PathLike | None = None,
        param: Mapping[str, Any] | None = None,
        calib: Mapping[str, Any] | None = None,
        env: Mapping[str, Any] | None = None,
        extras: str | Sequence[str] | None = None,
        progress: Wanted = None,
    ) -> "Result | Threaded":
        """Run the recipe.

        Parameters
        ----------
        raw : file name, HDUList, list of them, or dict of tag to them
            Raw frames.
        tag : str, optional
            Their tag.
        threaded : bool, optional
            Return at once; the result waits when it is used.
        loglevel : int
            Level of the logger.
        logname : str, optional
            Name of the logger; by default ``cpl.<recipe>``.
        output_dir : path, optional
            Folder that keeps the products.
        param, calib, env : mapping, optional
            Parameters, calibration frames and environment variables for this call, on top of those of the object.
        extras : str or sequence of str, optional
            Products beyond those of ESO's recipe for this call, instead of those of the object.
        progress : callable or bool, optional
            What is told of the progress of this call, instead of that of the object. With `threaded` it is called by
            another thread.

        Returns
        -------
        Result or Threaded
            The products; of a threaded run, what stands for them until it has ended.

        Raises
        ------
        RecipeError
            If the recipe fails; `RecipeCrash` if its process dies.
        ParameterError
            Unknown parameter or tag of a calibration, value that is not allowed.

        Examples
        --------
        >>> import muse_core
        >>> scipost = muse_core.Recipe("muse_scipost")
        >>> frames = muse_core.esorex.load_sof("none.sof")
        >>> raw = frames.pop("PIXTABLE_OBJECT")
        >>> scipost.calib = frames
        >>> result = scipost(raw, param={"skymethod": "none"}, output_dir="products")
        >>> result.DATACUBE_FINAL
        '.../products/DATACUBE_FINAL.fits'
        """
        run = self._prepared(raw, tag, loglevel, logname, output_dir, param, calib, env, extras)
        run.progress = self.progress if progress is None else progress
        if self.threaded if threaded is None else threaded:
            return Threaded(run, self._running)
        return run()

    def plan(
        self,
        raw=None,
        *,
        tag: str | None = None,
        loglevel: int = logging.NOTSET,
        logname: str | None = None,
        output_dir: str | os.PathLike | None = None,
        param: Mapping[str, Any] | None = None,
        calib: Mapping[str, Any] | None = None,
        env: Mapping[str, Any] | None = None,
        extras: str | Sequence[str] | None = None,
    ) -> "Plan":
        """Say what a call with the same arguments would need: rows, voxels, memory, disk, time.

        Parameters
        ----------
        raw, tag, loglevel, logname, output_dir, param, calib, env, extras : object
            As for a call.

        Returns
        -------
        muse_core.engine.plan.Plan
            The numbers; ``str(plan)`` is a line of text, ``plan.problems()`` says what there is too little of.

        Raises
        ------
        RecipeError
            The recipe cannot work with the arguments, or makes no plans.
        ParameterError
            Unknown parameter or tag of a calibration, value that is not allowed.

        Examples
        --------
        >>> import muse_core
        >>> scipost = muse_core.Recipe("muse_scipost")
        >>> frames = muse_core.esorex.load_sof("none.sof")
        >>> raw = frames.pop("PIXTABLE_OBJECT")
        >>> scipost.calib = frames
        >>> plan = scipost.plan(raw, param={"skymethod": "none"})
        >>> plan.problems()
        []
        """
        run = self._prepared(raw, tag, loglevel, logname, output_dir, param, calib, env, extras)
        return run(only_plan=True)

    def _prepared(self, raw, tag, loglevel, logname, output_dir, param, calib, env, extras) -> "_Run":
        """Return the run that the arguments of a call ask for."""
        run = _Run(self, logname or f"cpl.{self.__name__}", loglevel)
        values = {p.fullname: p.value for p in self._param if p.value is not None}
        for name, value in (param or {}).items():
            parameter = self._param[name]
            if value is not None:
                values[parameter.fullname] = parameter.checked(value)
            else:
                values.pop(parameter.fullname, None)
        calibrations = {config.tag: config.frames for config in self._calib}
        for name, frames in (calib or {}).items():
            calibrations[self._calib[name].tag] = frames.frames if isinstance(frames, FrameConfig) else frames
        raw = self.raw if raw is None else raw
        frames_by_tag = raw if isinstance(raw, Mapping) else {tag or self.tag or "": raw}
        run.frames = [pair for t, f in (*frames_by_tag.items(), *calibrations.items()) for pair in as_frames(t, f)]
        # as python-cpl: a list of one raw frame gives lists of products
        single = next(iter(frames_by_tag.values()), None)
        run.always_lists = isinstance(single, (list, tuple)) and not _is_hdulist(single) and len(single) == 1
        run.values = values
        extras = self.extras if extras is None else extras
        extras = extras if extras is None or isinstance(extras, str) else ",".join(extras)
        settings = {"MUSE_MAX_MEMORY": self.max_memory, "MUSE_CLUSTER": self.cluster, "MUSE_EXTRAS": extras}
        settings |= {  # the run is in another folder
            name: os.path.abspath(folder)
            for name, folder in (("MUSE_SCRATCH", self.scratch), ("MUSE_RESUME", self.resume))
            if folder is not None
        }
        run.environment = {**{k: v for k, v in settings.items() if v is not None}, **self.env, **(env or {})}
        run.output_dir = output_dir if output_dir is not None else self.output_dir
        return run

    def _documentation(self) -> str:
        def block(title, items):
            width = max(len(name) for name, _ in items) if items else 0
            lines = [
                textwrap.fill(
                    " ".join(text.split()),
                    78,
                    initial_indent=f" {name:>{width}}: ",
                    subsequent_indent=" " * (width + 3),
                )
                for name, text in items
            ]
            return f"{title}:\n" + "\n".join(lines)

        parts = [
            self.description[0],
            self.description[1],
            block("Parameters", [(p.name, p.__doc__) for p in self._param]),
            block("Calibration frames", [(c.tag, c.__doc__) for c in self._calib]),
            block("Raw and product frames", [(tag, ", ".join(tags)) for tag, tags in self.output.items()]),
        ]
        return "\n\n".join(parts) + "\n"

    def _repr_html_(self) -> str:
        """What it does and its parameters, for notebooks."""
        frames = ", ".join(f"{config.tag}: {config.frames}" for config in self._calib if config.frames is not None)
        title, what = (html.escape(text) for text in (self.__name__, self.description[0]))
        return f"<b>{title}</b> {what}<br>{html.escape(frames)}{self._param._repr_html_()}"

    def __repr__(self):
        return f"Recipe({self.__name__!r}, version = {self.version[0]})"


def _is_hdulist(thing) -> bool:
    from astropy.io import fits

    return isinstance(thing, fits.HDUList)


@record(frozen=False)
class _Reply:
    """What the process of a run said: products (file, tag), times, plan and failure."""

    products: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    times: tuple[float, float] = (0.0, 0.0)
    plan: str = ""
    failure: RecipeError | None = None


class _Run:
    """One run in a process of its own."""

    def __init__(self, recipe: Recipe, logname: str, loglevel: int):
        self._class = recipe._class
        self._name = recipe.__name__
        self._temp_dir = recipe.temp_dir
        self._logname = logname
        self._logger = logging.getLogger(logname)
        if loglevel != logging.NOTSET:
            self._logger.setLevel(loglevel)
        self.log = LogList()
        self._dead: set[logging.Handler] = set()
        self.frames: list[tuple[str, Any]] = []
        self.values: dict[str, Any] = {}
        self.environment: dict[str, Any] = {}
        self.output_dir: str | os.PathLike | None = None
        self.always_lists = False
        self.progress: Wanted = False
        self._show: Callable[[Progress], object] | None = None

    def __call__(self, *, only_plan: bool = False) -> "Result | Plan":
        """Run, wait, and return the result, or only the plan."""
        keep = self.output_dir is not None
        folder = working_folder() / (self.output_dir if keep else self._temp_dir)
        with contextlib.ExitStack() as stack:
            if keep:
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise ProductError(f"output folder {folder}: {error.strerror}") from error
            if not keep or any(not isinstance(frame, str) for _, frame in self.frames):
                prefix = f".{self._name}-input-" if keep else f"{self._name}-"
                temporary = Path(stack.enter_context(_temporary_folder(prefix, folder)))
            else:
                temporary = None
            self._show = stack.enter_context(display(self._name, self.progress))
            self._tell(Progress(step="Starting"))
            return self._run(folder if keep else temporary, temporary, keep=keep, only_plan=only_plan)

    def _run(self, folder: Path, temporary: Path | None, *, keep: bool, only_plan: bool) -> "Result | Plan":
        """Run in a folder; frames in memory are written into `temporary`, which is removed when the run has ended."""
        request = b"".join(
            protocol.encode("F", self._file_of(number, tag, frame, temporary), tag, 0)
            for number, (tag, frame) in enumerate(self.frames)
        )
        for name, value in self.values.items():
            text = str(int(value)) if isinstance(value, bool) else repr(value) if isinstance(value, float) else value
            request += protocol.encode("P", name, type(value).__name__, text)
        mode = ["plan"] if only_plan else []
        mode += [] if temporary is None else [f"--temporary={temporary}"]
        reply = self._communicate(request + protocol.encode("E"), folder, mode)
        if reply.failure is not None:
            raise reply.failure
        from muse_core.io.signature import ensure_signed

        if only_plan:
            from muse_core.engine.plan import Plan

            return Plan.from_json(reply.plan)
        self._tell(Progress(step="Reading products", part=0.99, left=0.0))
        for name, _ in reply.products:
            ensure_signed(folder / name, md5=True, checksum=True)  # as python-cpl does
        items = [(tag, str(folder / name) if keep else _in_memory(folder / name)) for name, tag in reply.products]
        return Result(items, Stat(0, *reply.times), self.log, always_lists=self.always_lists)

    def _file_of(self, number: int, tag: str, frame, folder: Path | None) -> str:
        """Return the path of a frame; one in memory is written into a folder."""
        if isinstance(frame, str):
            return os.path.abspath(frame)
        path = folder / f"{tag}_{number:04d}.fits"
        frame.writeto(path)
        return str(path)

    def _communicate(self, request: bytes, folder: Path, mode: Sequence[str]) -> "_Reply":
        """Run the worker and return its reply."""
        reader, writer = os.pipe()
        command = [
            sys.executable,
            *("-P", "-m", "muse_core.frontends.worker"),
            registry.address(self._class),
            str(writer),
            *mode,
        ]
        environment = os.environ | {name: str(value) for name, value in self.environment.items()}
        if cluster := cluster_address(environment):
            environment[CLUSTER_VARIABLE] = cluster
        # the worker is in another folder, of which it may not import anything
        path = [os.path.abspath(entry) for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
        environment["PYTHONPATH"] = os.pathsep.join(path)
        with open(reader, "rb") as reply:
            before = ending.block()  # until the worker can clean up
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, pass_fds=(writer,), cwd=folder, env=environment
                )
            finally:
                os.close(writer)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            try:
                with process.stdin as stream:
                    stream.write(request)
                return self._read(reply)
            except (EOFError, BrokenPipeError):
                status = process.wait()
                text = (
                    f"the process of the recipe was killed by signal {-status}"
                    if status < 0
                    else (f"the process of the recipe ended with status {status}")
                )
                self._record(3, "worker", text)
                crash = RecipeCrash(1, text, "worker.py", 0, "main", self.log)
                crash.signal = -status if status < 0 else None
                return _Reply(failure=crash)
            except BaseException:
                process.terminate()
                raise
            finally:
                process.wait()

    def _read(self, stream: BinaryIO) -> "_Reply":
        reply = _Reply()
        for kind, *fields in protocol.records(stream, protocol.REPLY):
            if kind == "M":
                self._record(int(fields[0]), fields[1], fields[2])
            elif kind == "S":
                self._tell(Progress.from_json(fields[2]))
            elif kind == "R":
                reply.products.append((fields[0], fields[1]))
            elif kind == "D":
                reply.plan = fields[0]
            elif kind == "X":
                code, text, file, line, function = fields
                reply.failure = RecipeError(int(code), text, file, int(line), function, self.log)
            elif kind == "T":
                reply.times = (float(fields[0]), float(fields[1]))
        return reply

    def _tell(self, progress: Progress) -> None:
        """Tell who wants to know how far the run is."""
        if self._show is not None:
            self._show(progress)

    def _record(self, level: int, component: str, text: str) -> None:
        logger = self._logger.getChild(component)
        record = logger.makeRecord(logger.name, _LEVELS[level], "", 0, text, (), None, component)
        self.log.append(record)
        if logger.isEnabledFor(record.levelno) and not logger.disabled and logger.filter(record):
            with messages.status.aside():
                self._hand_on(logger, record)

    def _hand_on(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Give a record to the handlers of a logger and of those above it; one that cannot write it gets no more."""
        while logger is not None:
            for handler in logger.handlers:
                if record.levelno >= handler.level and handler not in self._dead:
                    with _failures_of(handler, self._dead):
                        handler.handle(record)
            logger = logger.parent if logger.propagate else None


@contextlib.contextmanager
def _failures_of(handler: logging.Handler, dead: set[logging.Handler]) -> Iterator[None]:
    """In the block, a handler of `logging` that fails is noted, and told of in one line instead of a traceback."""

    def note(_record: logging.LogRecord) -> None:
        dead.add(handler)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(f"log {handler}: {sys.exc_info()[1]}; the run goes on without", file=sys.stderr)

    if type(handler).handleError is not logging.Handler.handleError:  # somebody has taken care of it
        yield
        return
    handler.handleError = note
    try:
        yield
    finally:
        del handler.handleError


@contextlib.contextmanager
def _temporary_folder(prefix: str, directory: Path) -> Iterator[str]:
    try:
        folder = tempfile.mkdtemp(prefix=prefix, dir=directory)
    except OSError as error:
        raise ProductError(f"folder {directory} for the files of a run: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_memory(path: Path):
    """Read a product completely: an HDUList, or the bytes of a file of another kind."""
    if path.suffix != ".fits":
        return path.read_bytes()
    from astropy.io import fits

    with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
        for hdu in hdus:
            hdu.data  # noqa: B018 (reads it)
        return hdus


class Threaded:
    """The result of a run in the background; using it waits for the end, and raises what the run raised.

    Parameters
    ----------
    run, running : object
        What a call of a `Recipe` gives.

    Examples
    --------
    >>> import muse_core
    >>> scipost = muse_core.Recipe("muse_scipost")
    >>> frames = muse_core.esorex.load_sof("none.sof")
    >>> raw = frames.pop("PIXTABLE_OBJECT")
    >>> scipost.calib = frames
    >>> running = scipost(raw, threaded=True, param={"skymethod": "none"})
    >>> running.join()
    >>> running.is_alive(), "DATACUBE_FINAL" in running
    (False, True)
    """

    def __init__(self, run: _Run, running: threading.Semaphore):
        self._run = run
        self._running = running
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="CplThread", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            with self._running:
                self._result = self._run()
        except BaseException as error:
            self._error = error

    def is_alive(self) -> bool:
        """Tell whether it still runs."""
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, without raising."""
        self._thread.join(timeout)

    @property
    def _finished(self) -> Result:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def __getattr__(self, name: str):
        return getattr(self._finished, name)

    def __getitem__(self, tag: str):
        return self._finished[tag]

    def __contains__(self, tag: str) -> bool:
        return tag in self._finished

    def __iter__(self):
        return iter(self._finished)

    def __len__(self) -> int:
        return len(self._finished)
