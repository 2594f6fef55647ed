# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders of ours alone: no link is followed, nothing of others is touched."""

import os

import pytest

from muse_core.io.private import NotPrivateError, PrivateFolder


@pytest.fixture
def folder(tmp_path):
    with PrivateFolder.make(tmp_path / "own") as made:
        yield made


def test_made_for_us_alone(tmp_path, folder):
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    with folder.subfolder("below") as below:
        assert below.path == tmp_path / "own" / "below"
    os.close(folder.open_file("a", os.O_CREAT | os.O_WRONLY))
    assert (tmp_path / "own" / "a").stat().st_mode & 0o777 == 0o600
    folder.rename("a", "b")
    assert sorted(folder.names()) == ["b", "below"]
    folder.remove("b")
    folder.remove("b")
    assert folder.names() == ["below"]


def test_disk_space(tmp_path, folder):
    assert folder.disk_bytes() == 0
    with folder.subfolder("below") as below, open(below.open_file("a", os.O_CREAT | os.O_WRONLY), "wb") as file:
        file.write(bytes(10**6))
        os.fsync(file.fileno())
    (tmp_path / "own" / "link").symlink_to(tmp_path / "elsewhere")
    assert folder.disk_bytes() == pytest.approx(10**6, rel=0.05)


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_writable_by_others(tmp_path, mode):
    (tmp_path / "own").mkdir()
    (tmp_path / "own").chmod(mode)
    with pytest.raises(NotPrivateError, match=f"found a folder that others may write .mode {mode:o}., expected one"):
        PrivateFolder.make(tmp_path / "own")


def test_of_another_user(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir(mode=0o700)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(NotPrivateError, match="found a folder of another user, expected our own"):
        PrivateFolder.make(tmp_path / "own")


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_link_in_the_place_of_a_folder(tmp_path, folder, target):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    for place, open_it in (
        (tmp_path / "link", lambda: PrivateFolder.make(tmp_path / "link")),
        (tmp_path / "own" / "link", lambda: folder.subfolder("link")),
    ):
        place.symlink_to(tmp_path / target)
        with pytest.raises(NotPrivateError, match="/link: found a link, expected a folder of our own"):
            open_it()
    assert not os.listdir(tmp_path / "elsewhere")


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_EXCL])
def test_something_else_in_the_place_of_a_file(tmp_path, folder, flags):
    own, victim = tmp_path / "own", tmp_path / "victim"
    victim.write_text("mine")
    (own / "link").symlink_to(victim)
    (own / "nowhere").symlink_to(tmp_path / "new")
    os.link(victim, own / "second")
    os.mkfifo(own / "fifo")
    (own / "folder").mkdir()
    for name, found in {
        "link": "a link",
        "nowhere": "a link",
        "second": "a device, a FIFO",
        "fifo": "a device, a FIFO",
        "folder": "a folder",
    }.items():
        exists = flags & os.O_EXCL and name == "second"
        error, text = (FileExistsError, "second") if exists else (NotPrivateError, f"/{name}: found {found}")
        if name == "folder" and flags == os.O_RDONLY:
            text = "/folder: found a device"
        with pytest.raises(error, match=text):
            folder.open_file(name, flags)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_lock(folder, tmp_path):
    victim = tmp_path / "victim"
    (tmp_path / "own" / ".lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        folder.lock()
    assert not victim.exists()
    (tmp_path / "own" / ".lock").unlink()
    with folder.lock(), pytest.raises(BlockingIOError):
        folder.lock()
    folder.lock().close()
