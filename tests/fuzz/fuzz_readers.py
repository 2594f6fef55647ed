# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzz a reader (``make fuzz``): ``fuzz_readers.py TARGET [options of libFuzzer] [CORPUS ...]``.

TARGET is one of those in `harness.readers`. Inputs come from atheris, guided by the lines that they reach; of those
with cards, half get the value or the name of a card from a list of bad ones. What fails stays in a file ``crash-...``.
"""

import random
import sys
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["muse_core.io", "harness.readers"]):
    from harness import readers

    import muse_core.io.fitscolumn
    import muse_core.io.pixtable
    import muse_core.io.sof  # noqa: F401 (instrumented as they are imported)

_VALUES = (
    b"0 -1 1 2 3 8 64 -32 -64 999 1000 2147483648 9223372036854775807 -9223372036854775808 1E400 1e-400 NaN -0.0 T F "
    b"'' ' '&' '1E' '0E' '9999999999E' '1PE(3)' '1X' 'rad' 'IMAGE' 'BINTABLE' 'RICE_1' 'GEOFULL' (1,2)"
).split()
_KEYS = (
    b"NAXIS NAXIS1 NAXIS2 BITPIX PCOUNT GCOUNT TFIELDS TFORM1 TTYPE1 TSCAL1 TZERO3 TDIM1 BSCALE BZERO EXTNAME ZIMAGE "
    b"ZCMPTYPE ZBITPIX ZNAXIS XTENSION THEAP TNULL1 BUNIT COMMENT CONTINUE END"
).split()


def mutate_cards(data: bytes, largest: int, seed: int) -> bytes:
    """Change a card of some bytes, or any bytes; the mutator of libFuzzer."""
    draw = random.Random(seed)
    cards = len(data) // 80
    if not cards or draw.random() < 0.5:
        return atheris.Mutate(data, largest)
    where = 80 * draw.randrange(cards)
    card = data[where : where + 80]
    key = draw.choice(_KEYS) if draw.random() < 0.4 else card.partition(b"=")[0].strip()
    text = key.ljust(8) + b"= " + draw.choice(_VALUES).rjust(draw.choice((0, 20)))
    return (data[:where] + text.ljust(80)[:80] + data[where + 80 :])[:largest]


if __name__ == "__main__":
    name = sys.argv[1]
    warnings.simplefilter("ignore")
    options = {} if name == "sof" else {"custom_mutator": mutate_cards}
    atheris.Setup([sys.argv[0], "-timeout=20", "-rss_limit_mb=1000", *sys.argv[2:]], readers.TARGETS[name], **options)
    atheris.Fuzz()
