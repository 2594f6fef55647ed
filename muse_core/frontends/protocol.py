# SPDX-License-Identifier: GPL-2.0-or-later
"""How a front-end and the process that runs a recipe talk: records of netstrings over two pipes.

A netstring is ``<length>:<bytes>,``; the first one of a record is its kind. The native plugin speaks the same in C
(cython_ext/plugin/plugin.c). From the front-end to the worker::

    F path tag group     an input frame; group as number
    P name type text     a parameter; type is bool, int, float or str
    E                    end of the request

and back::

    M level component text                message; level 0 debug, 1 info, 2 warning, 3 error
    G number group                        group of the input frame of that number
    D text                                what the run would need, as JSON, if the worker was asked for a plan only
    S line detail json                    how far the run is: for a terminal, and as JSON (`muse_core.engine.meter`)
    R file tag type level                 product, in the current folder; type and level as numbers
    X code text file line function        failure; code is CPL's
    T user system                         processor time in seconds
    E                                     end of the reply
"""

from collections.abc import Iterator
from typing import BinaryIO

#: Number of fields after the kind, in a request and in a reply.
REQUEST = {"F": 3, "P": 3, "E": 0}
REPLY = {"M": 3, "S": 3, "D": 1, "G": 2, "R": 4, "X": 5, "T": 2, "E": 0}


def encode(*fields) -> bytes:
    """Return one record."""
    parts = (str(field).encode("utf-8", "surrogateescape") for field in fields)
    return b"".join(b"%d:%s," % (len(part), part) for part in parts)


def records(stream: BinaryIO, kinds: dict[str, int]) -> Iterator[list[str]]:
    """Yield the records of a stream up to, and without, its end record.

    Raises
    ------
    EOFError
        If the stream ends before.
    """
    while (kind := _field(stream)) != "E":
        yield [kind, *(_field(stream) for _ in range(kinds[kind]))]


def _field(stream: BinaryIO) -> str:
    size = b""
    while (byte := stream.read(1)) != b":":
        if not byte:
            raise EOFError("the other side has gone")
        size += byte
    data = stream.read(int(size) + 1)
    if len(data) != int(size) + 1:
        raise EOFError("the other side has gone")
    return data[:-1].decode("utf-8", "surrogateescape")
