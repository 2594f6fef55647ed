# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from detect.pyx.

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

def label(mask: Buffer, labels: npt.NDArray[np.int32]) -> int: ...
