# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of inputs that are stored as other types or scaled, as both recipes read them."""

import pytest
from harness import compare, run
from harness.case import Frames
from harness.rawfits import RawFile, rewrite

pytestmark = pytest.mark.reference


def _columns_as_images(file: RawFile) -> None:
    """Rewrite the columns of a pixel table as all that the reference reads."""
    for name, *how in (
        ("xpos", -32, 2.0, 100.0),
        ("lambda", -32, 0.5, -8.0),
        ("data", -32, -0.25, None),
        ("dq", 32, 1.0, 2147483648.0),
        ("stat", -32, 3.0, 0.0),
        ("origin", 64, None, 1000.0),
    ):
        file.set_image(file.number(name), *how)


def _columns_of_a_table(file: RawFile) -> None:
    for name, *how in (
        ("xpos", "E", 2.0, 100.0),
        ("ypos", "I", 0.01, None),
        ("data", "I", 0.5, 100.0),
        ("dq", "B", None, None),
        ("stat", "E", 3.0, 0.0),
    ):
        file.set_column(1, name, *how)


CALIBRATIONS = {
    "STD_RESPONSE": lambda file: [
        file.set_column(1, "lambda", "J", 0.01, 3.0),
        file.set_column(1, "response", "D", 0.5, 3.0),
    ],
    "EXTINCT_TABLE": lambda file: file.set_column(1, "extinction", "K", 0.0001, None),
    "SKY_MASK": lambda file: file.set_image(0, 16, 1.0, 32768.0),
    "LSF_PROFILE": lambda file: file.set_image(1, 16, 1e-4, 0.1),
    "SKY_LINES": lambda file: [
        file.set_column(1, "group", "B", 1.0, -1.0),
        file.set_column(1, "flux", "J", 0.01, None),
    ],
}


@pytest.mark.parametrize(
    ("data", "sof", "parameters", "changes"),
    [
        ("small", "none", ("--skymethod=none",), {"PIXTABLE_OBJECT": _columns_as_images}),
        ("smalltable", "none", ("--skymethod=none",), {"PIXTABLE_OBJECT": _columns_of_a_table}),
        ("small", "mask_pix", ("--save=cube,skymodel,individual",), CALIBRATIONS),
    ],
)
def test_types_and_scalings(datasets, tmp_path, data, sof, parameters, changes):
    frames = Frames(datasets[data].frames(sof), tmp_path)
    for tag, change in changes.items():
        for number in range(sum(found == tag for _, found in frames.entries)):
            rewrite(frames.copy(tag, number), change)
    path, env = frames.write(), {"OMP_NUM_THREADS": "1"}
    expected = run.reference(path, tmp_path / "reference", *parameters, env=env)
    assert expected.status == 0, expected.output
    found = run.ours(path, tmp_path / "ours", *parameters, env=env)
    assert found.status == 0, found.output
    assert not compare.products(expected.folder, found.folder, sky_fitted=sof != "none")
