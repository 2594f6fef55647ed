# SPDX-License-Identifier: GPL-2.0-or-later
"""NOISE_CORRELATION on disk; its extensions are described in docs/file_formats.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muse_core.errors import InputError
from muse_core.io.fitswriter import FitsStreamWriter, image_header
from muse_core.io.tables import TableColumn, table_hdu
from muse_core.model.cards import set_card
from muse_core.model.fits import Card, Header
from muse_core.model.record import record

TAG = "NOISE_CORRELATION"
PATTERN, SPECTRAL, OFFSETS, PATTERN_PLANES, SPECTRAL_PLANES, NOISE = (
    *("PATTERN", "SPECTRAL", "OFFSETS"),
    *("PATTERN_PLANES", "SPECTRAL_PLANES", "NOISE"),
)
#: Columns of the table of the noise, with their units; those with a number in the name are of boxes of that size.
COLUMNS = (
    ("WAVELENGTH", "D", "Angstrom"),
    ("RATIO1", "E", None),
    ("RATIO3", "E", None),
    ("RATIO5", "E", None),
    ("PREDICTED3", "E", None),
    ("PREDICTED5", "E", None),
    ("N1", "J", None),
    ("N3", "J", None),
    ("N5", "J", None),
    ("SKY_VARIANCE", "D", "(unit)**2"),
)
#: What is measured, by the size of the boxes.
SIZED_COLUMNS = ("RATIO", "N")


@record
class Encoding:
    """How the coefficients of an image are kept: value = zero + scale * integer, and which integer means none."""

    bitpix: int
    scale: float
    zero: float
    blank: int


class NoiseWriter:
    """Writes the product; the coefficients of planes come one after the other.

    Parameters
    ----------
    path : Path
        Final name.
    primary : Header
        Complete primary header, with the world coordinates of the cube.
    wcs : sequence of Card
        World coordinates of the two spatial axes.
    spaxels : tuple of int
        (ny, nx).
    offsets : ndarray of int16, shape (n, 3)
        (dz, dy, dx) of the neighbours.
    planes : tuple of two ndarrays of int32
        Planes of the pattern and of the spectral part, from 0.
    wavelengths : ndarray of float64, shape (nz,)
        Wavelength of each plane of the cube, in Angstrom.
    encoding : Encoding
        Of the coefficients.
    """

    def __init__(
        self,
        path: Path,
        primary: Header,
        wcs: Sequence[Card],
        spaxels: tuple[int, int],
        offsets: np.ndarray,
        planes: tuple[np.ndarray, np.ndarray],
        wavelengths: np.ndarray,
        encoding: Encoding,
    ):
        self._spaxels, self._planes = spaxels, [found.tolist() for found in planes]
        depth = int(offsets[:, 0].max(initial=0))
        self._lengths = len(offsets), depth
        headers, self._tables = [primary], {}
        for name, n, found in zip((PATTERN, SPECTRAL), self._lengths, planes, strict=True):
            shape = (len(found), n, *spaxels) if n else ()
            header = image_header(encoding.bitpix, shape)
            set_card(header, "EXTNAME", name, "correlation coefficients of voxels")
            if n:
                set_card(header, "BSCALE", encoding.scale, "coefficient = BZERO + BSCALE * integer")
                set_card(header, "BZERO", encoding.zero)
                set_card(header, "BLANK", encoding.blank, "no voxel, or no neighbour")
                for item in wcs:
                    set_card(header, item.keyword, item.value, item.comment)
                third = "OFFSET" if name == PATTERN else "DZ"
                set_card(header, "CTYPE3", third, f"row of {OFFSETS}" if name == PATTERN else "planes further on")
                set_card(header, "CTYPE4", "PLANE", f"row of {name}_PLANES")
            headers.append(header)
        dz, dy, dx = offsets.T
        tables: list[tuple[str, list[TableColumn]]] = [
            (OFFSETS, [("DX", "I", "pixel", dx), ("DY", "I", "pixel", dy), ("DZ", "I", "pixel", dz)])
        ]
        for name, found in zip((PATTERN_PLANES, SPECTRAL_PLANES), planes, strict=True):
            tables.append(
                (name, [("PLANE", "J", None, found + 1), ("WAVELENGTH", "D", "Angstrom", wavelengths[found])])
            )
        blank: list[TableColumn] = [(name, form, unit, np.zeros(len(wavelengths))) for name, form, unit in COLUMNS]
        for name, columns in (*tables, (NOISE, blank)):
            header, self._tables[len(headers)] = table_hdu(columns, name)
            headers.append(header)
        self._writer = FitsStreamWriter(path, headers)
        self._headers = headers

    def write(self, extension: str, plane: int, coefficients: np.ndarray) -> None:
        """Write the coefficients, encoded, shape (n, ny, nx), of a plane."""
        number = (PATTERN, SPECTRAL).index(extension)
        at = self._planes[number].index(plane)
        size = self._lengths[number] * self._spaxels[0] * self._spaxels[1]
        self._writer.write(number + 1, at * size, np.ascontiguousarray(coefficients).reshape(-1))

    def finish(self, columns: dict[str, np.ndarray], unit: str) -> Path:
        """Write the table of the noise, a value a plane in each column, and complete the file."""
        found = [
            (name, form, f"({unit})**2" if own == "(unit)**2" else own, columns[name]) for name, form, own in COLUMNS
        ]
        last = len(self._headers) - 1
        header, self._tables[last] = table_hdu(found, NOISE)
        for item in header.cards:
            self._headers[last][item.keyword] = item.value
        for number, data in self._tables.items():
            if data.size:
                self._writer.write(number, 0, data)
        return self._writer.finish()

    def abort(self) -> None:
        """Remove what has been written, unless it is complete."""
        self._writer.abort()


@record
class NoiseFile:
    """The product, of which the images are mapped, not read.

    Attributes
    ----------
    primary : Header
        Primary header, with the world coordinates of the cube.
    pattern, spectral : ndarray
        Coefficients as encoded: uint8, shapes (n_planes, n_offsets, ny, nx) and (n_planes, depth, ny, nx).
    offsets : ndarray of int16, shape (n, 3)
        (dz, dy, dx) of the neighbours.
    pattern_planes, spectral_planes : ndarray of int32
        Planes, counted from 0.
    noise : ndarray
        Table of the noise.
    """

    primary: Header
    pattern: np.ndarray
    spectral: np.ndarray
    offsets: np.ndarray
    pattern_planes: np.ndarray
    spectral_planes: np.ndarray
    noise: np.ndarray


def read_noise(path: str | Path) -> NoiseFile:
    """Open a NOISE_CORRELATION.

    Raises
    ------
    InputError
        It is none.
    """
    from astropy.io import fits  # here, because its import takes as long as a small run

    try:
        with fits.open(path, memmap=True, do_not_scale_image_data=True) as hdus:
            missing = [
                name
                for name in (PATTERN, SPECTRAL, OFFSETS, PATTERN_PLANES, SPECTRAL_PLANES, NOISE)
                if name not in hdus
            ]
            if missing:
                raise InputError(f"{path}: found no extension {', '.join(missing)}, expected a {TAG}")
            offsets = np.stack([np.asarray(hdus[OFFSETS].data[name], np.int16) for name in ("DZ", "DY", "DX")], axis=1)
            pattern_planes, spectral_planes = (
                np.asarray(hdus[name].data["PLANE"], np.int32) - 1 for name in (PATTERN_PLANES, SPECTRAL_PLANES)
            )
            pattern, spectral = (_image(hdus[name]) for name in (PATTERN, SPECTRAL))
            noise = np.array(hdus[NOISE].data)
            return NoiseFile(hdus[0].header.copy(), pattern, spectral, offsets, pattern_planes, spectral_planes, noise)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _image(hdu: Any) -> np.ndarray:
    """Return the integers of an image as they are; of shape (0, 0, 0, 0) without data."""
    return np.empty((0, 0, 0, 0), np.uint8) if hdu.data is None else hdu.data
