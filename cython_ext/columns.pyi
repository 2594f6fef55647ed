# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from columns.pyx.

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

def unpack(raw: Buffer, stride: int, words: npt.NDArray[np.uint32], field: int) -> None: ...
