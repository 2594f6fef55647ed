# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run has done so far, in a folder that outlives it: the same run goes on from there after it was killed.

The folder of a run holds its rows, a record of each exposure that is on the sky, its products, and a record of each
slab of the final cube. A record is complete or it does not exist. All that is taken over, records, rows and products,
is checked by sums before; nothing in the folder is code (`muse_core.engine.records`), and it is ours alone
(`muse_core.io.private`).
"""

import contextlib
import hashlib
import logging
import os
import secrets
import struct
import time
import types
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

import numpy as np

from muse_core.engine.records import RecordError, pack, unpack
from muse_core.engine.resources import ENVIRONMENT, RESUME_VARIABLE, Resources
from muse_core.engine.scratch import KeptRows, KeptRowStore
from muse_core.engine.slabs import Slab, SlabSource
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError, ParameterError, ProductError, ResourceError
from muse_core.io.files import describe_os_error
from muse_core.io.litter import cleaned_up_by
from muse_core.io.private import NotPrivateError, PrivateFolder
from muse_core.io.products import Made, ProductFactory
from muse_core.io.sof import Frame

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
#: Errors that come again when the run does: there is nothing to go on with.
_LASTING = (DataError, InputError, ParameterError)
_PRODUCTS, _PARCEL = "products", "parcel-"
#: Names of folders that do not outlive their runs start so.
_PASSING = ".muse-cluster-"
#: Seconds for which a file that another machine has written may be invisible here, and between two looks.
_PATIENCE, _PAUSE = 120.0, 0.25
#: Length and checksum of each block of a record.
_BLOCK = struct.Struct("<QI")


def fingerprint(frames: Iterable[Frame], *facts: object, environ: Mapping[str, str] = os.environ) -> str:
    """Return a text that is another one whenever the products of a run would be.

    Parameters
    ----------
    frames : iterable of Frame
        Inputs; path, size and time of the last change count.
    *facts : object
        Version, parameters: anything of which the representation says what it is.
    environ : mapping of str to str
        All settings count that start with ``MUSE_``, but for those of memory and folders.
    """
    inputs = [(os.path.abspath(frame.path), frame.tag, *_version(frame.path)) for frame in frames]
    settings = sorted((k, v) for k, v in environ.items() if k.startswith("MUSE_") and k not in ENVIRONMENT)
    return hashlib.blake2b(repr((inputs, facts, settings)).encode(), digest_size=8).hexdigest()


def _exposure_schema(kind: type) -> types.GenericAlias:
    return types.GenericAlias(tuple, (kind, dict[int, KeptRows], Made))


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def exposure_name(number: int) -> str:
    """Return the name of the record of an exposure."""
    return f"exposure-{number:04d}"


def slab_name(first: int) -> str:
    """Return the name of the record of the slab that begins with a plane."""
    return f"slab-{first:06d}"


def tell_kept(n_planes: int) -> None:
    """Say how many planes an earlier run kept, if any."""
    if n_planes:
        _LOG.info("%d planes: taken over from the interrupted run", n_planes)


def remove_tree(folder: Path) -> None:
    """Remove the folder of a run, although others may still be at work in it: they do not find it any more."""
    gone = folder.with_name(f"{folder.name}.gone")
    with contextlib.suppress(OSError), PrivateFolder.open(folder) as opened:
        if not opened.is_of_a_run():
            return
        with contextlib.suppress(OSError):
            os.rename(folder, gone)
            folder = gone
        for _ in range(3):  # somebody may just have made a file
            opened.clear()
            with contextlib.suppress(OSError):
                os.rmdir(folder)
            if not os.path.lexists(folder):
                return


def _version(path: str | os.PathLike[str]) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()  # whoever reads it says so
    return found.st_size, found.st_mtime_ns


class Journal:
    """Keeps what a run has done; does nothing without a folder.

    Parameters
    ----------
    folder : Path, optional
        Folder of this very run; made when the journal is entered, removed when the run ends well.
    lasts : bool
        The folder stays if the run does not end well; else it is only there for the processes of this run.
    """

    def __init__(self, folder: Path | None = None, *, lasts: bool = True):
        self._path = None if folder is None else folder.absolute()
        self._lasts, self._is_shared = lasts, False
        self._folder: PrivateFolder | None = None
        self._lock: BinaryIO | None = None

    @classmethod
    def passing(cls, folder: Path) -> "Journal":
        """Return the journal of a run that needs one for its own time only; those that runs left there are removed."""
        for left in folder.glob(f"{_PASSING}*"):
            with contextlib.suppress(OSError), PrivateFolder.open(left) as found:
                if found.is_of_a_run():
                    with found.lock():
                        remove_tree(left)
        return cls(folder / f"{_PASSING}{secrets.token_hex(8)}", lasts=False)

    @classmethod
    @contextlib.contextmanager
    def of_another(cls, folder: Path) -> "Iterator[Journal]":
        """Yield the journal that another process, maybe on another machine, has entered."""
        journal = cls(folder)
        journal._is_shared = True
        with PrivateFolder.open(folder) as journal._folder:
            yield journal

    @property
    def folder(self) -> Path | None:
        """Folder of the run; None without a journal."""
        return self._path

    @property
    def products(self) -> Path | None:
        """Folder of the products until the run ends; None without a journal."""
        return None if self._path is None else self._path / _PRODUCTS

    @property
    def _home(self) -> PrivateFolder:
        """The folder, which is open; there is none without a journal."""
        assert self._folder is not None
        return self._folder

    def _place(self, name: str) -> Path:
        """Return where a file is, for messages."""
        assert self._path is not None
        return self._path / name

    def kept_bytes(self) -> int:
        """Return the disk space that an interrupted run has taken already."""
        if self._path is None:
            return 0
        try:
            with PrivateFolder.open(self._path) as folder:
                return folder.disk_bytes()
        except OSError:
            return 0  # there is none, or `__enter__` says what is wrong with it

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        with contextlib.ExitStack() as opened:
            try:
                while self._lock is None:
                    self._folder = opened.enter_context(PrivateFolder.make(self._path))
                    if not self._folder.is_of_a_run():
                        raise NotPrivateError(f"{self._path}: found a folder that no run has made; remove or rename it")
                    try:
                        self._lock = opened.enter_context(self._folder.lock())
                    except FileNotFoundError:
                        continue  # another run ended just now, and took the folder with it
                self._home.subfolder(_PRODUCTS).close()
            except BlockingIOError as error:
                raise ResourceError(
                    f"{RESUME_VARIABLE}: {self._path}: another run with the same inputs and parameters is at work there"
                ) from error
            except NotPrivateError as error:
                raise ResourceError(f"{RESUME_VARIABLE}: {error}") from error
            except OSError as error:
                raise ResourceError(f"{RESUME_VARIABLE}: {describe_os_error(error, self._path)}") from error
            if not self._lasts:
                path = self._path
                opened.enter_context(cleaned_up_by(lambda: remove_tree(path)))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: object) -> None:
        if self._path is None:
            return
        if not self._lasts or kind is None or issubclass(kind, _LASTING):
            remove_tree(self._path)
        else:
            _LOG.info("What has been done is kept in %s: the same run will go on from there", self._path)
        self._opened.close()

    def make_store(self, lengths: Sequence[int], resources: Resources) -> RowStore:
        """Return the store of the rows of exposures of these lengths; one that lasts if there is a journal."""
        if self._path is None:
            return resources.make_store(lengths)
        return KeptRowStore(sum(lengths), self._home, shared=self._is_shared)

    def record_exposure(
        self, number: int, done: object, store: RowStore, span: tuple[int, int], factory: ProductFactory
    ) -> None:
        """Keep an exposure of which the rows, in a range of the store, and the products are complete.

        What else is known of it is in `done`, of a type that `muse_core.engine.records` can keep.
        """
        if self._path is not None:
            kept = done, store.checkpoint(*span), factory.checkpoint()
            self._record(exposure_name(number), kept, _exposure_schema(type(done)))

    def recall_exposure(self, number: int, store: RowStore, factory: ProductFactory, kind: type[T]) -> T | None:
        """Return what an earlier run kept of an exposure, if anything, with store and factory in the state after it."""
        kept = self._recall(exposure_name(number), _exposure_schema(kind))
        if kept is None:
            return None
        done: T
        done, rows, made = kept
        try:
            store.restore(rows)
            factory.restore(made)
        except (DataError, ProductError) as error:
            _LOG.warning("Exposure %d: %s; done again", number, error)
            return None
        return done

    def adopt_exposure(self, number: int, store: KeptRowStore, factory: ProductFactory, kind: type[T]) -> T:
        """Return what another process of this run has just kept of an exposure.

        Raises
        ------
        ResourceError
            It is not there, or damaged.
        """
        done: T
        done, rows, made = self._adopt(exposure_name(number), _exposure_schema(kind))
        store.adopt(rows)
        factory.adopt(made)
        return done

    def adopt_slab(self, name: str) -> Slab:
        """Return a slab that another process of this run has just kept; errors as `adopt_exposure`."""
        slab: Slab = self._adopt(name, Slab)
        return slab

    def _adopt(self, name: str, schema: Any) -> Any:
        patience = time.monotonic() + _PATIENCE
        while True:
            try:
                return unpack(self._read_blocks(name), schema)
            except (RecordError, OSError) as error:
                if time.monotonic() > patience:
                    raise ResourceError(
                        f"{self._place(name)}: a worker has written it, but here it cannot be read ({error}); do all "
                        "machines see the same folder?"
                    ) from error
            self._home.names()  # file systems of a network remember for a while that there is no such name
            time.sleep(_PAUSE)

    def put(self, data: bytes) -> str:
        """Keep what other processes of this run will ask for; return its name, which tells its content."""
        name = f"{_PARCEL}{_digest(data)}"
        partial = f"{name}.part"
        try:
            self._home.remove(partial)
            with open(self._home.open_file(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(data)
            self._home.rename(partial, name)
        except OSError as error:
            raise ResourceError(describe_os_error(error, self._place(name))) from error
        return name

    def get(self, name: str) -> bytes:
        """Return what `put` has kept under a name.

        Raises
        ------
        ResourceError
            It cannot be read, or is something else.
        """
        try:
            with open(self._home.open_file(name, os.O_RDONLY), "rb") as file:
                data = file.read()
        except OSError as error:
            raise ResourceError(describe_os_error(error, self._place(name))) from error
        if name != f"{_PARCEL}{_digest(data)}":
            raise ResourceError(f"{self._place(name)}: it is not as it was written")
        return data

    def drop(self, name: str) -> None:
        """Remove what `put` has kept."""
        with contextlib.suppress(OSError):
            self._home.remove(name)

    def forget_exposures(self) -> None:
        """Say that the rows are about to change: an interrupted run has to begin with the exposures again."""
        if self._path is not None:
            for name in self._home.names():
                if name.startswith("exposure-"):
                    self._home.remove(name)

    def slabs(self, source: SlabSource) -> Iterator[Slab]:
        """Yield the slabs of the final cube: those that an earlier run kept, then the others, which are kept too."""
        if self._path is None:
            yield from source
            return
        first = 0
        for slab in self.kept_slabs(source):
            first += len(slab.result.data)
            yield slab
        tell_kept(first)
        for slab in source.from_plane(first):
            self.record_slab(slab)
            yield slab

    def kept_slabs(self, source: SlabSource) -> Iterator[Slab]:
        """Yield the slabs that an earlier run kept, from the first plane on as far as there is no gap."""
        first = 0
        while (slab := self._recall(slab_name(first), Slab)) is not None and source.accepts(slab, first):
            first += len(slab.result.data)
            yield slab

    def record_slab(self, slab: Slab) -> None:
        """Keep a slab."""
        self._record(slab_name(slab.first), slab, Slab)

    def has_slab(self, first: int, last: int) -> bool:
        """Has an earlier run kept a slab of these planes?"""
        found = self._recall(slab_name(first), Slab)
        return found is not None and len(found.result.data) == last - first

    def _record(self, name: str, value: object, schema: Any) -> None:
        partial = f"{name}.{secrets.token_hex(4)}.part" if self._is_shared else f"{name}.part"
        try:
            blocks = pack(value, schema)
        except RecordError as error:
            _LOG.warning("%s: cannot be kept (%s); after an interruption this part is done again", name, error)
            return
        try:
            self._home.remove(partial)
            with open(self._home.open_file(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                for block in blocks:
                    file.write(_BLOCK.pack(block.nbytes, zlib.crc32(block)))
                    file.write(block)
            self._home.rename(partial, name)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._home.remove(partial)
            raise ResourceError(f"{describe_os_error(error, self._place(name))}; see {RESUME_VARIABLE}") from error

    def _recall(self, name: str, schema: Any) -> Any:
        if self._path is None:
            return None
        try:
            return unpack(self._read_blocks(name), schema)
        except FileNotFoundError:
            return None
        except (RecordError, OSError) as error:
            _LOG.warning("%s: damaged (%s); this part is done again", self._place(name), error)
            return None

    def _read_blocks(self, name: str) -> list[np.ndarray]:
        """Return the blocks of a record, as bytes.

        Raises
        ------
        RecordError
            It is not as it was written.
        """
        blocks = []
        with open(self._home.open_file(name, os.O_RDONLY), "rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left:
                entry = file.read(_BLOCK.size)
                length, checksum = _BLOCK.unpack(entry) if len(entry) == _BLOCK.size else (left, 0)
                left -= _BLOCK.size + length
                if left < 0:
                    raise RecordError("it ends too early")
                block = np.empty(length, np.uint8)
                if file.readinto(block) != length or zlib.crc32(block) != checksum:
                    raise RecordError("wrong checksum")
                blocks.append(block)
        return blocks
