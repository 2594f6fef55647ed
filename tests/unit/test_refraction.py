# SPDX-License-Identifier: GPL-2.0-or-later
"""Refractive index: values of the reference implementation."""

import numpy as np
import pytest
from astropy.io.fits import Header

from muse_core.model.cards import set_card
from muse_core.steps.refraction import Air, Method, RefractiveIndex, saturation_pressure_hpa

LBDA = np.array([4650, 4750, 6000, 7000, 8000, 9300]) / 1e4
EXPECTED = {
    Method.FILIPPENKO: [20772798203, 20748955683, 20547715420, 20460004754, 20403692129, 20356230972],
    Method.OWENS: [20773926484, 20750118834, 20549277190, 20461800200, 20405657215, 20358351043],
}


@pytest.mark.parametrize("method", EXPECTED)
def test_index_against_reference(method):
    n = RefractiveIndex.of(Air(284.65, 0.145, 743.0), method)(LBDA)
    np.testing.assert_allclose(n, 1 + np.array(EXPECTED[method]) * 1e-14, rtol=0, atol=6e-15)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (Method.EDLEN, [1.00020709859877, 1.00020395791717, 1.00020291687759]),
        (Method.CIDDOR, [1.00020776025299, 1.00020463724804, 1.00020360144781]),
    ],
)
def test_index_with_given_humidity(method, expected, monkeypatch):
    """The reference's values are for pv = 200 Pa and xv = 0.0027; the humidity is chosen to give these."""
    from muse_core.steps import refraction

    pressure, celsius = 74300.0, 11.5
    enhancement = 1.00062 + 3.14e-8 * pressure + 5.60e-7 * celsius**2
    vapour = 200.0 if method is Method.EDLEN else 0.0027 * pressure / enhancement
    monkeypatch.setattr(refraction, "_saturation_pressure_pa", lambda temperature: vapour)
    n = RefractiveIndex.of(Air(284.65, 1.0, 743.0), method)(np.array([0.465, 0.7, 0.93]))
    np.testing.assert_allclose(n, expected, rtol=0, atol=6e-15)


def test_saturation_pressure():
    assert saturation_pressure_hpa(284.65) == pytest.approx(14.296207686104, abs=1e-10)
    assert saturation_pressure_hpa(273.15) == pytest.approx(6.84052720309955, abs=1e-10)


def test_formulas_agree_with_each_other_in_dry_air():
    air = Air(284.65, 0.0, 743.0)
    n = [RefractiveIndex.of(air, method)(LBDA) for method in Method]
    np.testing.assert_allclose(n, np.broadcast_to(n[0], np.shape(n)), rtol=0, atol=3e-7)


def test_air_from_header_and_defaults(caplog):
    header = Header()
    assert Air.from_header(header) == Air(11.5 + 273.15, 0.145, 743.0)
    assert "ESO TEL AMBI RHUM" in caplog.text
    set_card(header, "ESO TEL AMBI TEMP", 5.0)
    set_card(header, "ESO TEL AMBI RHUM", 35.0)
    set_card(header, "ESO TEL AMBI PRES START", 741.0)
    assert Air.from_header(header).pressure == 743.0
    set_card(header, "ESO TEL AMBI PRES END", 741.4)
    air = Air.from_header(header)
    assert air.pressure == pytest.approx(741.2)
    n = RefractiveIndex.of(air)(np.array([0.465, 0.7, 0.93])) - 1
    np.testing.assert_allclose(n, [2.12023898218e-4, 2.08828808588e-4, 2.07768773756e-4], atol=1e-14)


def test_method_names():
    assert Method.named("Edlen") is Method.EDLEN
    assert Method.named("edlen") is Method.named(None) is Method.FILIPPENKO
