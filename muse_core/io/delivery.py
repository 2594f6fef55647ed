# SPDX-License-Identifier: GPL-2.0-or-later
"""Products on their way to their places: all of them get there or none does, and one run at a time.

A run holds the folder of its products, and works in a hidden folder there which is closed to everybody else. In the
end old products are set aside in it and the new ones take their names. What undoes that is recorded on the disk
before: an error undoes it, and after a kill the next run in the folder does.
"""

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import logging
import os
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from muse_core.errors import ProductError, ResourceError
from muse_core.io.files import close_quietly, copy, create, describe_os_error, sync, write_all
from muse_core.io.folders import LOCK, lock_directory, lock_folder
from muse_core.io.litter import cleaned_up_by
from muse_core.io.private import PrivateFolder
from muse_core.io.signature import ensure_signed
from muse_core.model.record import record

_LOG = logging.getLogger(__name__)
#: Names of the hidden folders of runs start so.
_PREFIX = ".muse-run-"
_RECORD = "record"
#: What a run says of itself in its lock is not longer.
_LOCK_BYTES = 4096
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: ioctl that reads the attributes of a file (chattr), and those that forbid to rename it: append only, immutable.
_FS_IOC_GETFLAGS, _FS_FIXED = 0x80086601, 0x30


class PlaceError(ProductError):
    """A product cannot have its place.

    Attributes
    ----------
    place : str
        The place.
    is_link : bool
        It is that of a link to the product.
    """

    def __init__(self, message: str, place: str = "", *, is_link: bool = False):
        super().__init__(message)
        self.place, self.is_link = place, is_link


@record(frozen=False)
class Destination:
    """Where the products of a run go, and how they are left there.

    Attributes
    ----------
    directory : Path
        Folder.
    shown : str
        The folder as it is written in links; empty for the current one.
    prefix : str, optional
        New names: this, an underscore, and a number of four digits.
    read_only : bool
        Nobody may write to them.
    links : Path, optional
        Folder in which there is a symbolic link to each.
    md5, checksum : bool
        With DATAMD5; with CHECKSUM and DATASUM. It is signed products that arrive.
    replaced : set of str
        Places, as they are shown, of products and links in which there was something.
    delivered : bool
        All of them have their places.
    """

    directory: Path
    shown: str = ""
    prefix: str | None = None
    read_only: bool = False
    links: Path | None = None
    md5: bool = True
    checksum: bool = True
    replaced: set[str] = dataclasses.field(default_factory=set)
    delivered: bool = False

    def names(self, products: Iterable[str]) -> list[str]:
        """Return the final names of products, which are in the order in which they are numbered."""
        if self.prefix is None:
            return list(products)
        return [f"{self.prefix}_{number:04d}{Path(name).suffix}" for number, name in enumerate(products)]

    def text(self, name: str) -> str:
        """Return the path of a product as links and users get it."""
        return os.path.join(self.shown, name)


class Delivery:
    """Holds the folder of the products of one run, and gives them their places.

    Parameters
    ----------
    destination : Destination
        Where they go.
    recipe : str
        Name of the recipe, for others who want the folder.

    Attributes
    ----------
    folder : Path
        Hidden folder, in which to write; it is gone after the block.

    Raises
    ------
    PlaceError
        The folder is not writable.
    ResourceError
        Another run holds it.
    """

    folder: Path

    def __init__(self, destination: Destination, recipe: str):
        self._destination, self._recipe = destination, recipe
        self._held: int | None = None
        self._lock: BinaryIO | None = None
        self._inputs: dict[tuple[int, int], str] = {}
        self._busy = threading.Lock()  # held while products get their places, and while the hidden folder is removed
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            with _undisturbed():
                self._enter(self._destination.directory)
                self._stack.enter_context(cleaned_up_by(self._clean_up))
        except BaseException:
            self._leave()
            raise
        return self

    def _enter(self, directory: Path) -> None:
        try:
            self._held = lock_directory(directory)
        except BlockingIOError as error:
            raise _held_by(directory) from error
        except OSError as error:
            raise self._unusable(error) from error
        try:
            _recover(directory)
            if _is_fixed(directory):
                raise PermissionError(errno.EPERM, "its attributes, see lsattr, keep names in it from being changed")
            self._make_folder(directory)
            _recover(directory, self.folder)  # again: where folders cannot be locked, another run has begun perhaps
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> PlaceError:
        text = describe_os_error(error, self._destination.directory / "products")
        return PlaceError(text, self._destination.shown or ".")

    def _make_folder(self, directory: Path) -> None:
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory))
            try:
                self._lock = lock_folder(self.folder)
                break
            except (BlockingIOError, FileNotFoundError):
                continue  # another process that starts took it for abandoned, before it was locked
            except OSError:
                return  # a file system without locks
        owner = {"recipe": self._recipe, "pid": os.getpid(), "host": os.uname().nodename, "start": _now()}
        with contextlib.suppress(OSError):  # on a full disk there is only a bit less to say to others
            write_all(self._lock.fileno(), json.dumps(owner).encode())

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        with _undisturbed():
            self._leave()

    def _clean_up(self) -> None:
        """Leave nothing, for a process that ends while its main thread is elsewhere; it may do nothing afterwards."""
        self._busy.acquire()
        self._remove()

    def _remove(self) -> None:
        folder = getattr(self, "folder", None)
        if folder is not None and not os.path.lexists(folder / _RECORD):
            _remove_tree(folder)

    def _leave(self) -> None:
        with self._busy:
            self._remove()
        self._stack.close()
        with contextlib.suppress(OSError):
            if self._lock is not None:
                self._lock.close()
        if self._held is not None:
            close_quietly(self._held)
        self._lock = self._held = None

    def refuse_unusable(self, products: Sequence[str], inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
        """Look at the places that products of these names will have.

        Parameters
        ----------
        products : sequence of str
            Names, in the order of their numbers.
        inputs : iterable of path
            Files that may not be replaced.

        Raises
        ------
        PlaceError
            A place is taken by what may not or cannot be replaced.
        """
        for path in inputs:
            with contextlib.suppress(OSError):
                found = os.stat(path)
                self._inputs[found.st_dev, found.st_ino] = os.fspath(path)
        destination = self._destination
        for name in destination.names(products):
            self._refuse(destination.directory / name, destination.text(name))
            if destination.links is not None:
                self._refuse_link(destination.links, name)

    def _refuse(self, path: Path, shown: str) -> None:
        try:
            found = path.lstat()
            same = self._inputs.get((found.st_dev, found.st_ino)) or self._input_behind(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise PlaceError(describe_os_error(error, path), shown) from error
        problem = ""
        if same:
            problem = f"is an input, {same}; move it, or choose another folder for the products"
        elif not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            problem = f"found {_kind(found.st_mode)}, expected nothing or an older product; move it"
        elif stat.S_ISREG(found.st_mode) and _is_fixed(path):
            problem = "found a file that its attributes, see lsattr, keep from being replaced"
        elif _is_of_another(found, path.parent):
            problem = "found a file of another user in a folder where only he may replace it"
        if problem:
            raise PlaceError(f"{path}: place of a product: {problem}", shown)

    def _input_behind(self, path: Path) -> str | None:
        try:
            found = path.stat()
        except OSError:
            return None  # a link that leads nowhere
        return self._inputs.get((found.st_dev, found.st_ino))

    def _refuse_link(self, folder: Path, name: str) -> None:
        link = folder / name
        try:
            if os.path.samefile(folder, self._destination.directory):
                problem = "it would be in the place of the product itself"
            elif not os.access(folder, os.W_OK | os.X_OK) or _is_fixed(folder):
                problem = f"folder {folder} is not writable"
            elif not os.path.lexists(link):
                problem = ""
            elif not link.is_symlink():
                problem = f"Not a symbolic link: {link}"
            elif Path(os.readlink(link)).name != name:
                problem = f"{link} leads to {os.readlink(link)}, expected no link or one to an older product"
            else:
                problem = ""
        except OSError as error:
            problem = describe_os_error(error, link)
        if problem:
            raise PlaceError(f"link to product {name}: {problem}", str(link), is_link=True)

    def commit(self, sources: Sequence[Path]) -> list[Path]:
        """Give products their places; return these.

        Parameters
        ----------
        sources : sequence of Path
            Files, complete, in the order of their numbers. Those outside the hidden folder stay where they are.

        Raises
        ------
        PlaceError
            A product or a link cannot have its place. All older products are in their places again.
        """
        destination = self._destination
        self.refuse_unusable([source.name for source in sources])
        names = destination.names(source.name for source in sources)
        moves = []
        for number, (source, name) in enumerate(zip(sources, names, strict=True)):
            try:
                ready = source
                if not is_same_name(source, destination.directory / name):
                    ready = self.folder / f"new-{number:04d}{source.suffix}"
                    self._stage(source, ready)
                    moves.append((ready, name))
                if not (destination.md5 and destination.checksum):
                    ensure_signed(ready, md5=destination.md5, checksum=destination.checksum)
                if destination.read_only:
                    ready.chmod(0o444)
                sync(ready)
            except OSError as error:
                raise _place_error(error, destination, name) from error
        shown = {destination.text(name): destination.directory / name for _, name in moves}
        if destination.links is not None:
            shown |= {str(destination.links / name): destination.links / name for name in names}
        destination.replaced = {text for text, path in shown.items() if path.exists()}
        with _undisturbed(), self._busy:
            self._place(moves, names)
            destination.delivered = True
        return [destination.directory / name for name in names]

    def _stage(self, source: Path, staged: Path) -> None:
        """Bring a file to the file system of its place; one outside the hidden folder stays where it is too."""
        if source.parent == self.folder:
            source.rename(staged)
            return
        try:
            if source.is_symlink():
                raise OSError(errno.EXDEV, "not the file itself")
            os.link(source, staged)
        except OSError:
            staged.unlink(missing_ok=True)
            copy(source, staged)

    def _place(self, moves: Sequence[tuple[Path, str]], names: Sequence[str]) -> None:
        """Move files to their names, and make the links to all of them."""
        destination = self._destination
        links = []
        if destination.links is not None:
            folder = destination.links.absolute()
            links = [_Link(str(folder / name), destination.text(name), _text_of_link(folder / name)) for name in names]
        record = _Record([_Move(name, _identity(staged.lstat())) for staged, name in moves], links)
        name = ""
        try:
            record.write(self.folder)
            for number, (_, name) in enumerate(moves):
                if os.path.lexists(destination.directory / name):
                    os.rename(destination.directory / name, self.folder / f"old-{number:04d}")
            for staged, name in moves:
                os.rename(staged, destination.directory / name)
            for link in links:
                link.make()
            sync(destination.directory)
            os.unlink(self.folder / _RECORD)
        except OSError as error:
            try:
                undo(self.folder, destination.directory)
            except (OSError, ValueError) as problem:
                raise ProductError(
                    f"{describe_os_error(error, destination.directory / name)}; older products could not be put back "
                    f"({problem}) and are in {self.folder}; the next run in this folder will try again"
                ) from error
            raise error if isinstance(error, PlaceError) else _place_error(error, destination, name) from error
        with contextlib.suppress(OSError):
            sync(self.folder)


def is_same_name(one: Path, other: Path) -> bool:
    """Are these two ways to write one name, and not only two names of one file?"""
    return one.name == other.name and os.path.samefile(one.parent, other.parent)


def _place_error(error: OSError, destination: Destination, name: str) -> PlaceError:
    text = str(error) if isinstance(error, ProductError) else describe_os_error(error, destination.directory / name)
    return PlaceError(text, destination.text(name))


@record
class _Move:
    """A product on its way to a name; what it is known by there."""

    name: str
    identity: tuple[int, ...]


@record
class _Link:
    """A symbolic link to a product, and what an older one in its place says, if there is one."""

    path: str
    text: str
    old: str | None

    def make(self) -> None:
        try:
            if self.old is not None:
                os.unlink(self.path)
            os.symlink(self.text, self.path)
        except OSError as error:
            raise PlaceError(describe_os_error(error, Path(self.path)), self.path, is_link=True) from error

    def undo(self) -> None:
        if _text_of_link(Path(self.path)) == self.text != self.old:
            os.unlink(self.path)
        if self.old is not None and not os.path.lexists(self.path):
            os.symlink(self.old, self.path)


@record
class _Record:
    """What a delivery is about to do; while it lies in the hidden folder, the delivery is to be undone."""

    moves: list[_Move]
    links: list[_Link]

    def write(self, folder: Path) -> None:
        data = json.dumps(dataclasses.asdict(self)).encode()
        partial = folder / f"{_RECORD}.part"
        descriptor = create(partial, 0o600)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(partial, folder / _RECORD)
        sync(folder)

    @classmethod
    def read(cls, folder: Path) -> "_Record | None":
        try:
            with PrivateFolder.open(folder) as opened, open(opened.open_file(_RECORD, os.O_RDONLY), "rb") as file:
                content = json.load(file)
            moves = [_Move(os.path.basename(m["name"]), tuple(map(int, m["identity"]))) for m in content["moves"]]
            links = [_Link(str(k["path"]), str(k["text"]), k["old"]) for k in content["links"]]
        except FileNotFoundError:
            return None
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / _RECORD}: no record of a delivery") from error
        return cls(moves, links)


def undo(folder: Path, directory: Path) -> bool:
    """Take a delivery back that did not end; say whether there was one.

    Parameters
    ----------
    folder : Path
        Hidden folder of the delivery.
    directory : Path
        Folder of the products.

    Raises
    ------
    OSError, ValueError
        An older product could not be put back; it is still in `folder`.
    """
    record = _Record.read(folder)
    if record is None:
        return False
    for link in record.links:
        link.undo()
    for number, move in enumerate(record.moves):
        path, old = directory / move.name, folder / f"old-{number:04d}"
        with contextlib.suppress(FileNotFoundError):
            if _identity(path.lstat()) == move.identity:
                os.rename(path, folder / f"new-{number:04d}")
        if os.path.lexists(old):
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, f"there is another {move.name} now")
            os.rename(old, path)
    sync(directory)
    os.unlink(folder / _RECORD)
    return True


def _recover(directory: Path, own: Path | None = None) -> None:
    """Remove what killed runs left, after putting older products back that they were about to replace.

    Raises
    ------
    ResourceError
        There is a folder, and not our own, of a run that is at work.
    """
    for folder in list(_hidden_folders(directory)):
        if folder == own:
            continue
        try:
            with PrivateFolder.open(folder) as opened:
                if not opened.is_of_a_run():
                    continue
                lock = opened.lock()
            with lock:
                if undo(folder, directory):
                    _LOG.warning("A run was killed while it gave its products their places; the older ones are back")
                _remove_tree(folder)
        except BlockingIOError as error:
            raise _held_by(directory) from error
        except (OSError, ValueError) as error:
            _LOG.warning("%s: older products, of a run that was killed, cannot be put back: %s", folder, error)
        else:
            _LOG.info("Removed %s, which a run that was killed had left", folder)


def _remove_tree(folder: Path) -> None:
    """Remove a folder of ours as far as it can be; the next run tries again."""
    for _ in range(2):  # what fails by chance is tried once more
        with contextlib.suppress(OSError):
            with PrivateFolder.open(folder) as opened:
                if not opened.is_of_a_run():
                    return
                opened.clear()
            os.rmdir(folder)
        if not os.path.lexists(folder):
            return


def _hidden_folders(directory: Path, *, of_all: bool = False) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                if of_all or (found.st_uid == os.geteuid() and not found.st_mode & 0o077):
                    yield directory / entry.name


def _held_by(directory: Path) -> ResourceError:
    """Return the error that says whose run is at work in a folder."""
    owner = "another process"
    for folder in _hidden_folders(directory, of_all=True):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = folder.lstat()
            start = datetime.datetime.fromtimestamp(found.st_ctime).isoformat(" ", "seconds")
            owner = f"a run of the user with number {found.st_uid}, since {start},"
            facts = {key: _plain(value) for key, value in json.loads(_read_lock(folder)).items()}
            owner = "{recipe}, process {pid} on {host}, since {start},".format_map(facts)
    return ResourceError(f"{directory}: {owner} is at work there; wait for its end, or choose another output folder")


def _read_lock(folder: Path) -> bytes:
    """Return what a run says of itself; the folder may be another user's, with anything in it."""
    descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LOCK_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


def _plain(value: object) -> str:
    """Return a value of somebody else as one line of printable text."""
    return "".join(character if character.isprintable() else "?" for character in str(value))


def _now() -> str:
    return datetime.datetime.now().isoformat(" ", "seconds")


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _text_of_link(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _is_fixed(path: Path) -> bool:
    """Is this a file that cannot be renamed, or a folder in which nothing can be, whoever asks?"""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # then the one who tries will hear of it
    try:
        flags = fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(8))
        return bool(int.from_bytes(flags[:4], sys.byteorder) & _FS_FIXED)
    except OSError:
        return False  # a file system without such attributes
    finally:
        close_quietly(descriptor)


def _is_of_another(found: os.stat_result, folder: Path) -> bool:
    """Does a folder in which all may write, as /tmp, keep others from replacing this file?"""
    where, user = folder.stat(), os.geteuid()
    return bool(where.st_mode & stat.S_ISVTX) and user not in (0, found.st_uid, where.st_uid)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals that end us wait until the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    previous = {number: signal.getsignal(number) for number in _ENDING}
    previous = {number: handler for number, handler in previous.items() if handler is not None}
    try:
        for number in previous:
            signal.signal(number, lambda number, frame: waiting.append(number))
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for waited in waiting[:1]:
        signal.raise_signal(waited)
