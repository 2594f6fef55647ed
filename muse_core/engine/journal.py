# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run has done so far, in a folder that outlives it: the same run goes on from there after it was killed.

The folder of a run holds its rows, a record of each exposure that is on the sky, its products, and a record of each
slab of the final cube. A record is complete or it does not exist; its content is checked before it is used.
"""

import hashlib
import logging
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from muse_core.engine.resources import ENVIRONMENT, RESUME_VARIABLE, Resources
from muse_core.engine.slabs import Slab, SlabSource
from muse_core.engine.store import RowStore, ScratchRowStore
from muse_core.errors import DataError, InputError, ParameterError, ResourceError
from muse_core.io.fitswriter import describe_os_error
from muse_core.io.folders import lock_folder
from muse_core.io.products import ProductFactory
from muse_core.io.sof import Frame
from muse_core.model.rows import ROW

_LOG = logging.getLogger(__name__)
#: Errors that come again when the run does: there is nothing to go on with.
_LASTING = (DataError, InputError, ParameterError)
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
        self._folder = folder
        self._lock: BinaryIO | None = None

    @property
    def products(self) -> Path | None:
        """Folder of the products until the run ends; None without a journal."""
        return None if self._folder is None else self._folder / "products"

    def __enter__(self):
        if self._folder is None:
            return self
        try:
            while self._lock is None:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                self.products.mkdir(exist_ok=True)
                try:
                    self._lock = lock_folder(self._folder)
                except FileNotFoundError:
                    continue  # another run ended just now, and took the folder with it
            owner = self._folder.stat().st_uid
        except BlockingIOError as error:
            raise ResourceError(
                f"{RESUME_VARIABLE}: {self._folder}: another run with the same inputs and parameters is at work there"
            ) from error
        except OSError as error:
            raise ResourceError(f"{RESUME_VARIABLE}: {describe_os_error(error, self._folder)}") from error
        if owner != os.geteuid():
            raise ResourceError(f"{RESUME_VARIABLE}: {self._folder}: found a folder of another user, expected our own")
        return self

    def __exit__(self, kind, value, traceback):
        if self._folder is None:
            return
        if kind is None or issubclass(kind, _LASTING):
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            _LOG.info("What has been done is kept in %s: the same run will go on from there", self._folder)
        self._lock.close()

    def make_store(self, lengths: Sequence[int], resources: Resources) -> RowStore:
        """Return the store of the rows of exposures of these lengths; one that lasts if there is a journal."""
        if self._folder is None:
            return resources.make_store(lengths)
        n_rows = sum(lengths)
        rows = self._folder / "rows"
        if not rows.exists() or rows.stat().st_size != n_rows * ROW.itemsize:
            self.forget_exposures()
        return ScratchRowStore(n_rows, self._folder, rows.name)

    def record_exposure(
        self, number: int, done: object, store: RowStore, span: tuple[int, int], factory: ProductFactory
    ) -> None:
        """Keep an exposure of which the rows, in a range of the store, and the products are complete."""
        if self._folder is not None:
            self._record(f"exposure-{number:04d}", (done, store.checkpoint(*span), factory.checkpoint()))

    def recall_exposure(self, number: int, store: RowStore, factory: ProductFactory) -> Any:
        """Return what an earlier run kept of an exposure, if anything, with store and factory in the state after it."""
        kept = self._recall(f"exposure-{number:04d}")
        if kept is None:
            return None
        done, rows, made = kept
        if not factory.restore(made):
            _LOG.warning("Exposure %d: products of the interrupted run are missing; done again", number)
            return None
        store.restore(rows)
        _LOG.info("Exposure %d: taken over from the interrupted run", number)
        return done

    def forget_exposures(self) -> None:
        """Say that the rows are about to change: an interrupted run has to begin with the exposures again."""
        if self._folder is not None:
            for path in self._folder.glob("exposure-*"):
                path.unlink()

    def slabs(self, source: SlabSource) -> Iterator[Slab]:
        """Yield the slabs of the final cube: those that an earlier run kept, then the others, which are kept too."""
        if self._folder is None:
            yield from source
            return
        first = 0
        while (slab := self._recall(f"slab-{first:06d}")) is not None and len(slab.result.data) <= source.thickness:
            first += len(slab.result.data)
            yield slab
        if first:
            _LOG.info("%d planes: taken over from the interrupted run", first)
        for slab in source.from_plane(first):
            self._record(f"slab-{slab.first:06d}", slab)
            yield slab

    def _record(self, name: str, value: object) -> None:
        path = self._folder / name
        partial = path.with_suffix(".part")
        buffers: list[pickle.PickleBuffer] = []
        blocks = [memoryview(pickle.dumps(value, 5, buffer_callback=buffers.append))]
        blocks += [buffer.raw() for buffer in buffers]
        try:
            with open(partial, "wb") as file:
                for block in blocks:
                    file.write(_BLOCK.pack(block.nbytes, zlib.crc32(block)))
                    file.write(block)
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ResourceError(f"{describe_os_error(error, path)}; see {RESUME_VARIABLE}") from error

    def _recall(self, name: str) -> Any:
        if self._folder is None:
            return None
        path = self._folder / name
        try:
            head, *buffers = _read_blocks(path)
            return pickle.loads(head, buffers=buffers)
        except FileNotFoundError:
            return None
        except Exception as error:  # unpickling may raise anything
            _LOG.warning("%s: damaged (%s); this part is done again", path, error)
            return None


def _read_blocks(path: Path) -> list[np.ndarray]:
    """Return the blocks of a record, as bytes.

    Raises
    ------
    ValueError
        It is not as it was written.
    """
    blocks, left = [], path.stat().st_size
    with open(path, "rb") as file:
        while left:
            entry = file.read(_BLOCK.size)
            if len(entry) < _BLOCK.size:
                raise ValueError("it ends too early")
            length, checksum = _BLOCK.unpack(entry)
            left -= _BLOCK.size + length
            if left < 0:
                raise ValueError("it ends too early")
            block = np.empty(length, np.uint8)
            file.readinto(block)
            if zlib.crc32(block) != checksum:
                raise ValueError("wrong checksum")
            blocks.append(block)
    return blocks
