# SPDX-License-Identifier: GPL-2.0-or-later
"""What the fuzzer has found worth keeping: no reader fails on any of it."""

from pathlib import Path

import pytest
from harness import readers

CORPUS = Path(__file__).with_name("corpus")


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize("name", readers.TARGETS)
def test_reader_survives_the_corpus(name):
    inputs = [*readers.seeds(name), *(path.read_bytes() for path in sorted((CORPUS / name).iterdir()))]
    assert len(inputs) > 12
    for data in inputs:
        readers.TARGETS[name](data)
