# SPDX-License-Identifier: GPL-2.0-or-later
"""Is a file what it was signed as, and what a product says that it was?"""

import os

from muse_core.io.fitsreader import FitsFile, Hdu
from muse_core.io.signature import ALL_ONES, MD5_CHUNK, DataMD5, fold, word_sum
from muse_core.model.header import get_string

_PIECE = 1 << 24


def changes(path: str | os.PathLike[str], md5: str | None = None) -> list[str]:
    """Return what of a FITS file is not as its signatures say; an empty list if all is, or if it has none.

    Parameters
    ----------
    path : path
        The file.
    md5 : str, optional
        Its DATAMD5 as it is recorded elsewhere.

    Returns
    -------
    list of str
        A sentence for each difference: DATAMD5 (of the whole file), CHECKSUM (header and data of an HDU), DATASUM (its
        data).

    Raises
    ------
    InputError
        It cannot be read.
    """
    found = []
    with FitsFile(path) as file:
        digest, begin = DataMD5(), 0
        own = get_string(file.primary.header, "DATAMD5")
        for hdu in file:
            first, wrong = _sum(file, hdu, begin)
            found += [f"{hdu.where}: {text}" for text in wrong]
            digest.add_unit(first, hdu.end - hdu.data_begin)
            begin = hdu.end
        # of compressed images it is that of the data before they were compressed
        computed = own if any(hdu.is_compressed for hdu in file) else digest.hexdigest()
        if md5 and computed != md5:
            found.insert(0, f"{path}: found data with DATAMD5 {computed}, expected {md5} as when it was used")
        elif own and len(own) == 32 and computed != own:
            found.insert(0, f"{path}: found data with DATAMD5 {computed}, expected {own} as in its header")
    return found


def _sum(file: FitsFile, hdu: Hdu, begin: int) -> tuple[bytes, list[str]]:
    """Return the beginning of the data of an HDU, and what is wrong with its sums; its header begins at a byte."""
    data_sum, checksum = (str(hdu.header.get(key, "")).strip() for key in ("DATASUM", "CHECKSUM"))
    first = file.read(hdu.data_begin, min(MD5_CHUNK, hdu.end - hdu.data_begin))
    if not data_sum.isdigit() and not checksum:
        return first, []
    total = 0
    for start in range(hdu.data_begin, hdu.end, _PIECE):
        total += word_sum(file.read(start, min(_PIECE, hdu.end - start)))
    total = fold(total)
    if data_sum.isdigit() and total != int(data_sum):
        return first, [f"found data with DATASUM {total}, expected {data_sum} as in its header"]
    if checksum and fold(total + word_sum(file.read(begin, hdu.data_begin - begin))) not in (ALL_ONES, 0):
        return first, ["found another CHECKSUM than that in its header: the header has been changed"]
    return first, []
