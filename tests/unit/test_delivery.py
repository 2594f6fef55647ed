# SPDX-License-Identifier: GPL-2.0-or-later
"""Products get their places all or none: whatever call fails, whatever signal comes, also after a kill."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits

from muse_core.errors import ResourceError
from muse_core.io import delivery, files
from muse_core.io.delivery import Delivery, Destination, PlaceError

NAMES = ("DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits", "SKY_MASK_0001.fits")
#: All calls that change something, or may fail, on the way of products to their places.
CALLS = ("open", "close", "write", "fsync", "rename", "link", "unlink", "symlink", "replace", "mkdir")


@pytest.fixture
def place(tmp_path):
    """A folder with two older products of three, one of them a link, and links to them in another folder."""
    (tmp_path / "out").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "out" / NAMES[0]).write_text("old 0")
    (tmp_path / "out" / NAMES[1]).symlink_to("../elsewhere")
    (tmp_path / "links" / NAMES[0]).symlink_to(f"/before/{NAMES[0]}")
    return tmp_path


def state(folder: Path) -> dict[str, str]:
    """Return content or target of all that is in a folder and below."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_text()
        else:
            found[name] = "folder"
    return found


def deliver(place: Path) -> None:
    goal = Destination(place / "out", shown=str(place / "out"), links=place / "links", read_only=True)
    with Delivery(goal, "recipe") as run:
        for name in NAMES:
            (run.folder / name).write_text(f"new {name}")
        run.commit([run.folder / name for name in NAMES])


def after(place: Path) -> dict[str, str]:
    """Return the state in which a delivery leaves the folders."""
    new = {f"out/{name}": f"new {name}" for name in NAMES}
    new |= {f"links/{name}": f"-> {place}/out/{name}" for name in NAMES}
    return dict(sorted({"elsewhere": "mine", "links": "folder", "out": "folder", **new}.items()))


def test_all_is_delivered(place):
    deliver(place)
    assert state(place) == after(place)
    assert all((place / "out" / name).stat().st_mode & 0o777 == 0o444 for name in NAMES)
    deliver(place)  # over the read-only ones of before
    assert state(place) == after(place)


class Faulty:
    """The module os, of which the calls are counted, and something happens at one of them."""

    def __init__(self, number: int, event):
        self._left, self._event, self.happened = number, event, ""

    def __getattr__(self, name):
        value = getattr(os, name)
        if name not in CALLS:
            return value

        def call(*arguments, **keywords):
            if self._left == 0:
                self._left = -1
                self.happened = name
                if name == "close":  # done whatever it returns
                    value(*arguments)
                self._event(lambda: name == "close" or value(*arguments, **keywords))
                if name == "close":
                    return None
            self._left -= self._left > 0
            return value(*arguments, **keywords)

        return call


def with_event(place, monkeypatch, number, event) -> str:
    """Deliver, with an event at some call; return the name of the call, an empty text if there are fewer."""
    faulty = Faulty(number, event)
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "os", faulty)
        patch.setattr(files, "os", faulty)
        for name in ("rename", "chmod", "unlink"):  # of pathlib
            patch.setattr(Path, name, lambda self, *rest, _name=name, **k: getattr(faulty, _name)(self, *rest, **k))
        with contextlib.suppress(OSError, ResourceError, Stop):
            deliver(place)
            return faulty.happened
    assert faulty.happened
    return faulty.happened


class Stop(BaseException):
    """A signal has come."""


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EPERM])
def test_an_error_at_each_call(place, monkeypatch, number):
    def fail(call):
        raise OSError(number, os.strerror(number))

    before, wanted, seen = state(place), after(place), set()
    for at in range(1000):
        happened = with_event(place, monkeypatch, at, fail)
        found = state(place)
        assert found in (before, wanted), f"{happened}, call {at}"
        if not happened:
            break
        seen.add(happened)
        if found == wanted:  # an error that costs nothing; begin again
            reset(place)
    assert seen >= {"open", "close", "write", "fsync", "rename", "unlink", "symlink"}
    assert at > 30


def reset(place: Path) -> None:
    for name in NAMES:
        (place / "out" / name).unlink(missing_ok=True)
        (place / "links" / name).unlink(missing_ok=True)
    (place / "out" / NAMES[0]).write_text("old 0")
    (place / "out" / NAMES[1]).symlink_to("../elsewhere")
    (place / "links" / NAMES[0]).symlink_to(f"/before/{NAMES[0]}")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_each_call(place, monkeypatch, when):
    """The next run in the folder finds all of the old products or all of the new ones."""
    before, wanted, outcomes = state(place), after(place), []
    for at in range(1000):
        pid = os.fork()
        if not pid:

            def kill(call):
                if when == "after":
                    call()
                os.kill(os.getpid(), signal.SIGKILL)

            with_event(place, monkeypatch, at, kill)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            break
        with Delivery(Destination(place / "out"), "next"):
            pass
        found = state(place)
        assert found in (before, wanted), f"call {at}"
        outcomes.append(found == wanted)
        if found == wanted:
            reset(place)
    assert outcomes.count(False) > 10
    assert 0 < outcomes.count(True) < 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_each_call(place, monkeypatch, number):
    def stop(number, frame):
        raise Stop

    before, wanted, outcomes = state(place), after(place), set()
    previous = signal.signal(number, stop)
    try:
        for at in range(1000):
            happened = with_event(place, monkeypatch, at, lambda call: signal.raise_signal(number))
            found = state(place)
            assert found in (before, wanted), f"{happened}, call {at}"
            assert signal.getsignal(number) is stop
            if not happened:
                break
            outcomes.add(found == wanted)
            if found == wanted:
                reset(place)
    finally:
        signal.signal(number, previous)
    assert outcomes == {True, False}


def left_by_a_killed_run(place: Path, name: str = NAMES[0]) -> Path:
    """Make the hidden folder of a run that was killed when it had set one product aside."""
    folder = place / "out" / ".muse-run-killed"
    folder.mkdir(mode=0o700)
    (folder / ".lock").touch()
    (folder / "old-0000").write_text("older")
    record = {"moves": [{"name": name, "identity": [1, 2, 3, 4]}], "links": []}
    (folder / "record").write_text(json.dumps(record))
    return folder


def test_what_cannot_be_put_back_is_kept_and_named(place, caplog):
    """Someone has made a file of the name of an older product since: it stays, and so does the product."""
    folder = left_by_a_killed_run(place)
    with Delivery(Destination(place / "out"), "next"):
        pass
    assert f"{folder}: older products, of a run that was killed, cannot be put back" in caplog.text
    assert (place / "out" / NAMES[0]).read_text() == "old 0"
    assert (folder / "old-0000").read_text() == "older"
    (place / "out" / NAMES[0]).unlink()
    with Delivery(Destination(place / "out"), "next"):
        pass
    assert (place / "out" / NAMES[0]).read_text() == "older"
    assert not folder.exists()


@pytest.mark.parametrize("how", ["link", "open to others", "of another user", "record leads out"])
def test_planted_folders(place, how):
    """What others put in the way of the next run is left alone."""
    if how == "of another user" and os.geteuid():
        pytest.skip("needs root to play two users")
    folder = left_by_a_killed_run(place, "../elsewhere")
    if how == "link":
        folder.rename(place / "target")
        folder.symlink_to(place / "target")
    elif how == "open to others":
        folder.chmod(0o770)
    elif how == "of another user":
        os.chown(folder, 65534, 65534)
    before = state(place)
    with Delivery(Destination(place / "out"), "next"):
        pass
    after = state(place)
    if how == "record leads out":
        assert after.pop("out/elsewhere") == "older"  # the name alone counts
        before = {name: text for name, text in before.items() if ".muse-run" not in name}
    assert after == before


def test_private_folder_of_the_user_under_such_a_name(place):
    """Whoever may write in the folder of the products can rename what is not his: a run must not remove it."""
    private = place / "out" / ".muse-run-planted"
    (private / "below").mkdir(parents=True)
    private.chmod(0o700)
    (private / "below" / "thesis").write_text("mine")
    before = state(place)
    with Delivery(Destination(place / "out"), "next") as run:
        own, aside = run.folder, place / "out" / "aside"
        own.rename(aside)  # and the other way round: it takes the name of the folder of the run that is at work
        private.rename(own)
    own.rename(private)
    assert (aside / ".lock").exists()
    (aside / ".lock").unlink()
    aside.rmdir()
    assert state(place) == before


@pytest.mark.parametrize("what", ["pipe", "link", "noise", "list"])
def test_what_others_say_of_their_run(place, what):
    """The lock of a run of another user may be anything: nobody waits for it, and his text is printed as text."""
    folder = place / "out" / ".muse-run-planted"
    folder.mkdir()
    lock = folder / ".lock"
    if what == "pipe":
        os.mkfifo(lock)
    elif what == "link":
        lock.symlink_to("/dev/zero")
    elif what == "list":
        lock.write_text("[1]")
    else:
        lock.write_text(json.dumps({"recipe": "\x1b[2Jmuse", "pid": 1, "host": "here\n", "start": "now"}))
    code = (
        "import sys; from pathlib import Path; from muse_core.io.delivery import Delivery, Destination\n"
        "Delivery(Destination(Path(sys.argv[1])), 'next').__enter__()"
    )
    held = os.open(place / "out", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        command = [sys.executable, "-c", code, place / "out"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    finally:
        os.close(held)
    expected = "?[2Jmuse, process 1 on here?, since now," if what == "noise" else "a run of the user with number"
    assert f"ResourceError: {place / 'out'}: {expected}" in done.stderr


def taken(path: Path, how: str) -> None:
    path.unlink(missing_ok=True)
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.relpath(path))
    elif how == "attributes":
        path.write_text("old")
        if shutil.which("chattr") is None or subprocess.run(["chattr", "+i", path], capture_output=True).returncode:
            pytest.skip("needs root, chattr (Debian: e2fsprogs) and a file system with attributes")


@pytest.mark.parametrize("how", ["folder", "pipe", "socket", "attributes"])
def test_places_that_are_taken(place, how, monkeypatch):
    path = place / "out" / NAMES[2]
    monkeypatch.chdir(place)
    taken(path, how)
    goal = Destination(place / "out", shown="out")
    try:
        before = state(place)
        with (
            Delivery(goal, "recipe") as run,
            pytest.raises(PlaceError, match=f"{path}: place of a product: found a") as caught,
        ):
            run.refuse_unusable(NAMES)
        assert caught.value.place == f"out/{NAMES[2]}"
        with pytest.raises(PlaceError):
            deliver(place)
        assert state(place) == before
    finally:
        if how == "attributes":
            subprocess.run(["chattr", "-i", path], check=True)


def test_file_of_another_user_in_a_shared_folder(place):
    if os.geteuid():
        pytest.skip("needs root to play two users")
    (place / "out" / NAMES[1]).unlink()
    for folder in (*place.parents, place):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)
    (place / "out").chmod(0o1777)
    os.seteuid(65534)
    try:
        with (
            Delivery(Destination(place / "out"), "recipe") as run,
            pytest.raises(PlaceError, match="a file of another user"),
        ):
            run.refuse_unusable(NAMES)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("by", ["its name", "a link", "a hard link"])
def test_inputs_are_not_replaced(place, by):
    name = place / "out" / NAMES[0]
    given = name if by == "its name" else place / "input.fits"
    if by == "a link":
        given.symlink_to(name)
    elif by == "a hard link":
        given.hardlink_to(name)
    with (
        Delivery(Destination(place / "out"), "recipe") as run,
        pytest.raises(PlaceError, match=f"{NAMES[0]}: place of a product: is an input, {given}"),
    ):
        run.refuse_unusable(NAMES, [given])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda link: link.write_text("mine"), "Not a symbolic link"),
        (lambda link: link.mkdir(), "Not a symbolic link"),
        (lambda link: link.symlink_to("/etc/hostname"), "leads to /etc/hostname, expected no link or one to an older"),
        (lambda link: link.symlink_to("nowhere"), "leads to nowhere"),
    ],
)
def test_what_is_no_link_of_ours_stays(place, make, says):
    make(place / "links" / NAMES[1])
    before = state(place)
    with pytest.raises(PlaceError, match=says) as caught:
        deliver(place)
    assert caught.value.is_link
    assert state(place) == before


def test_no_link_in_the_place_of_the_product(place):
    (place / "same").symlink_to("out")
    before = state(place)
    for links in ("out", "same"):
        goal = Destination(place / "out", links=place / links)
        with Delivery(goal, "recipe") as run, pytest.raises(PlaceError, match="in the place of the product itself"):
            run.refuse_unusable(NAMES)
    assert state(place) == before


def test_planted_names_of_unfinished_files(tmp_path):
    """What a link leads to is never written, whatever name it has."""
    (tmp_path / "precious").write_text("mine")
    path = tmp_path / "a.fits"
    for name in (".a.fits.part", "a.fits"):
        (tmp_path / name).symlink_to("precious")
    from muse_core.io.fitswriter import primary_header, write_hdus
    from muse_core.io.signature import sign_file

    write_hdus(path, [(primary_header(), None)])
    sign_file(path, checksum=False)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not path.is_symlink()
    assert "DATASUM" not in fits.getheader(path)
    with pytest.raises(FileExistsError):
        files.create(tmp_path / ".a.fits.part")
    assert sorted(os.listdir(tmp_path)) == [".a.fits.part", "a.fits", "precious"]


def test_the_hidden_folder_is_closed_to_others(place):
    with Delivery(Destination(place / "out"), "recipe") as run:
        assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700


HOLD = (
    "import sys; from pathlib import Path; from muse_core.io.delivery import *\n"
    "with Delivery(Destination(Path(sys.argv[1])), 'muse_other'):\n    print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize("ends", ["well", "killed"])
@pytest.mark.parametrize("locks", [True, False])
def test_two_runs_in_one_folder(place, monkeypatch, ends, locks):
    """The second is refused and hears whose the first one is; also where folders cannot be locked, as on NFS."""
    folder = place / "out"
    before = state(place)
    if not locks:
        monkeypatch.setattr(delivery, "lock_directory", lambda path: os.open(path, os.O_RDONLY))
    command = [sys.executable, "-c", HOLD, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ResourceError) as caught, Delivery(Destination(folder), "recipe"):
            pass
        says = rf"^{folder}: muse_other, process {other.pid} on {os.uname().nodename}, since 20\d\d-\S+ \S+, is at work"
        assert caught.match(says)
        if ends == "killed":
            other.kill()
        else:
            other.stdin.close()
        other.wait()
    with Delivery(Destination(folder), "recipe"):
        pass
    assert state(place) == before


def test_copies_across_file_systems(place, tmp_path):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    source = tmp_path / NAMES[0]
    source.write_text("new")
    source.chmod(0o640)
    import tempfile

    with tempfile.TemporaryDirectory(dir=shared) as name:
        target = Path(name)
        (target / NAMES[0]).symlink_to(place / "elsewhere")
        with Delivery(Destination(target), "recipe") as run:
            run.commit([source])
        assert (target / NAMES[0]).read_text() == "new"
        assert not (target / NAMES[0]).is_symlink()
        assert stat.S_IMODE((target / NAMES[0]).stat().st_mode) == 0o640
        assert os.listdir(target) == [NAMES[0]]
    assert source.read_text() == "new"
    assert (place / "elsewhere").read_text() == "mine"
