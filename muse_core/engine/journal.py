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
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from muse_core.engine.records import RecordError, pack, unpack
from muse_core.engine.resources import ENVIRONMENT, RESUME_VARIABLE, Resources
from muse_core.engine.slabs import Slab, SlabSource
from muse_core.engine.store import KeptRows, KeptRowStore, RowStore
from muse_core.errors import DataError, InputError, ParameterError, ProductError, ResourceError
from muse_core.io.fitswriter import describe_os_error
from muse_core.io.private import NotPrivateError, PrivateFolder
from muse_core.io.products import Made, ProductFactory
from muse_core.io.sof import Frame

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
#: Errors that come again when the run does: there is nothing to go on with.
_LASTING = (DataError, InputError, ParameterError)
_PRODUCTS = "products"
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


def _exposure_schema(kind: type) -> Any:
    return tuple[kind, dict[int, KeptRows], Made]


def _version(path: str | os.PathLike) -> tuple[int, ...]:
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
    """

    def __init__(self, folder: Path | None = None):
        self._path = folder
        self._folder: PrivateFolder | None = None
        self._lock: BinaryIO | None = None

    @property
    def products(self) -> Path | None:
        """Folder of the products until the run ends; None without a journal."""
        return None if self._path is None else self._path / _PRODUCTS

    def kept_bytes(self) -> int:
        """Return the disk space that an interrupted run has taken already."""
        if self._path is None:
            return 0
        try:
            with PrivateFolder.open(self._path) as folder:
                return folder.disk_bytes()
        except OSError:
            return 0  # there is none, or `__enter__` says what is wrong with it

    def __enter__(self):
        if self._path is None:
            return self
        with contextlib.ExitStack() as opened:
            try:
                while self._lock is None:
                    self._folder = opened.enter_context(PrivateFolder.make(self._path))
                    try:
                        self._lock = opened.enter_context(self._folder.lock())
                    except FileNotFoundError:
                        continue  # another run ended just now, and took the folder with it
                self._folder.subfolder(_PRODUCTS).close()
            except BlockingIOError as error:
                raise ResourceError(
                    f"{RESUME_VARIABLE}: {self._path}: another run with the same inputs and parameters is at work there"
                ) from error
            except NotPrivateError as error:
                raise ResourceError(f"{RESUME_VARIABLE}: {error}") from error
            except OSError as error:
                raise ResourceError(f"{RESUME_VARIABLE}: {describe_os_error(error, self._path)}") from error
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind, value, traceback):
        if self._path is None:
            return
        if kind is None or issubclass(kind, _LASTING):
            shutil.rmtree(self._path, ignore_errors=True)
        else:
            _LOG.info("What has been done is kept in %s: the same run will go on from there", self._path)
        self._opened.close()

    def make_store(self, lengths: Sequence[int], resources: Resources) -> RowStore:
        """Return the store of the rows of exposures of these lengths; one that lasts if there is a journal."""
        return resources.make_store(lengths) if self._path is None else KeptRowStore(sum(lengths), self._folder)

    def record_exposure(
        self, number: int, done: object, store: RowStore, span: tuple[int, int], factory: ProductFactory
    ) -> None:
        """Keep an exposure of which the rows, in a range of the store, and the products are complete.

        What else is known of it is in `done`, of a type that `muse_core.engine.records` can keep.
        """
        if self._path is not None:
            kept = done, store.checkpoint(*span), factory.checkpoint()
            self._record(f"exposure-{number:04d}", kept, _exposure_schema(type(done)))

    def recall_exposure(self, number: int, store: RowStore, factory: ProductFactory, kind: type[T]) -> T | None:
        """Return what an earlier run kept of an exposure, if anything, with store and factory in the state after it."""
        kept = self._recall(f"exposure-{number:04d}", _exposure_schema(kind))
        if kept is None:
            return None
        done, rows, made = kept
        try:
            store.restore(rows)
            factory.restore(made)
        except (DataError, ProductError) as error:
            _LOG.warning("Exposure %d: %s; done again", number, error)
            return None
        _LOG.info("Exposure %d: taken over from the interrupted run", number)
        return done

    def forget_exposures(self) -> None:
        """Say that the rows are about to change: an interrupted run has to begin with the exposures again."""
        if self._path is not None:
            for name in self._folder.names():
                if name.startswith("exposure-"):
                    self._folder.remove(name)

    def slabs(self, source: SlabSource) -> Iterator[Slab]:
        """Yield the slabs of the final cube: those that an earlier run kept, then the others, which are kept too."""
        if self._path is None:
            yield from source
            return
        first = 0
        while (slab := self._recall(f"slab-{first:06d}", Slab)) is not None and source.accepts(slab, first):
            first += len(slab.result.data)
            yield slab
        if first:
            _LOG.info("%d planes: taken over from the interrupted run", first)
        for slab in source.from_plane(first):
            self._record(f"slab-{slab.first:06d}", slab, Slab)
            yield slab

    def _record(self, name: str, value: object, schema: Any) -> None:
        partial = f"{name}.part"
        try:
            blocks = pack(value, schema)
        except RecordError as error:
            _LOG.warning("%s: cannot be kept (%s); after an interruption this part is done again", name, error)
            return
        try:
            self._folder.remove(partial)
            with open(self._folder.open_file(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                for block in blocks:
                    file.write(_BLOCK.pack(block.nbytes, zlib.crc32(block)))
                    file.write(block)
            self._folder.rename(partial, name)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._folder.remove(partial)
            raise ResourceError(f"{describe_os_error(error, self._path / name)}; see {RESUME_VARIABLE}") from error

    def _recall(self, name: str, schema: Any) -> Any:
        if self._path is None:
            return None
        try:
            return unpack(self._read_blocks(name), schema)
        except FileNotFoundError:
            return None
        except (RecordError, OSError) as error:
            _LOG.warning("%s: damaged (%s); this part is done again", self._path / name, error)
            return None

    def _read_blocks(self, name: str) -> list[np.ndarray]:
        """Return the blocks of a record, as bytes.

        Raises
        ------
        RecordError
            It is not as it was written.
        """
        blocks = []
        with open(self._folder.open_file(name, os.O_RDONLY), "rb") as file:
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
