# SPDX-License-Identifier: GPL-2.0-or-later
"""The input frames of a run, looked up by tag."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from muse_core.errors import InputError, MissingFileError
from muse_core.io.sof import Frame
from muse_core.model.compat import Compat
from muse_core.model.declare import InputSpec

_LOG = logging.getLogger(__name__)


class FrameSelection:
    """Frames by tag.

    Parameters
    ----------
    frames : iterable of Frame
        Frames in the order of the set of frames.
    inputs : sequence of InputSpec
        Declared tags; frames with other tags are left out, with a warning.
    compat : Compat
        With `ambiguous_master_ignored`, several frames of a tag of which one is allowed count as none.

    Raises
    ------
    MissingFileError
        A frame does not exist.
    """

    def __init__(self, frames: Iterable[Frame], inputs: Sequence[InputSpec], compat: Compat):
        self._paths: dict[str, list[Path]] = {spec.tag: [] for spec in inputs}
        self._compat = compat
        self.unknown: list[str] = []
        for frame in frames:
            path = Path(frame.path)
            if frame.tag not in self._paths:
                self.unknown.append(frame.tag)
                _LOG.warning("%s: tag %s is not used by this recipe", path, frame.tag or "(none)")
                continue
            if not path.is_file():
                found = "not a file" if path.exists() else "no such file"
                raise MissingFileError(f"{path}: {found}, expected a FITS file with tag {frame.tag}")
            self._paths[frame.tag].append(path)

    @property
    def paths(self) -> list[Path]:
        """The files of all tags."""
        return [path for files in self._paths.values() for path in files]

    def all(self, tag: str) -> list[Path]:
        """Return the files of a tag in order."""
        return self._paths.get(tag, [])

    def first(self, tag: str) -> Path | None:
        """Return the first file of a tag, or None."""
        return next(iter(self.all(tag)), None)

    def only(self, tag: str) -> Path | None:
        """Return the file of a tag of which only one is allowed, or None.

        Raises
        ------
        InputError
            If there are several.
        """
        paths = self.all(tag)
        if len(paths) > 1:
            names = ", ".join(str(path) for path in paths)
            if not self._compat.ambiguous_master_ignored:
                raise InputError(f"{len(paths)} frames with tag {tag}: found {names}, expected at most one")
            _LOG.warning("%d frames with tag %s (%s): all ignored", len(paths), tag, names)
            return None
        return paths[0] if paths else None
