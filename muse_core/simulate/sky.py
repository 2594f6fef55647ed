# SPDX-License-Identifier: GPL-2.0-or-later
"""The synthetic night sky: continuum, atomic and O2 lines, OH bands, Raman lines, absorption and extinction of the air.

The OH lines are computed from spectroscopic constants of the ground state of OH, good to an Angstrom or so, with
Hoenl-London factors and a rotational temperature of 200 K; each upper vibrational level has its own population, which
is what a sky model has to find. All spectra are in 1e-20 erg/s/cm2/Angstrom (lines: integrated over Angstrom) per
spaxel of the wide field.

Not modelled: gradients of the sky over the field, variations within an exposure, moonlight, lambda doubling, blends
finer than what the list has.
"""

import dataclasses
import functools

import numpy as np

from muse_core.simulate.instrument import Lsf

#: One line of a list: as in the calibration SKY_LINES.
LINE = np.dtype([("name", "U16"), ("group", np.int32), ("lbda", np.float64), ("flux", np.float64)])

#: One OH transition: as in the extension OH_TRANSITIONS of SKY_LINES (energy in J).
TRANSITION = np.dtype(
    [
        ("name", "U16"),
        ("lbda", np.float64),
        ("v_u", np.int32),
        ("v_l", np.int32),
        ("nu", np.int32),
        ("E_u", np.float64),
        ("J_u", np.float64),
        ("A", np.float64),
    ]
)

_ATOMIC = (  # name, group, wavelength in air, flux
    ("OI5577", 0, 5577.338, 4200.0),
    ("OI6300", 1, 6300.304, 2400.0),
    ("OI6364", 1, 6363.776, 800.0),
    ("NaI5890", 2, 5889.950, 420.0),
    ("NaI5896", 2, 5895.924, 240.0),
    ("NI5198", 3, 5197.920, 30.0),
    ("NI5200", 3, 5200.257, 45.0),
)
_O2_GROUP = 4
_O2_BAND = (8605.0, 8700.0, 120.0)  # O2 (0-1): first and last wavelength, flux of the strongest line

_RAMAN = (  # name, group (0: O2, 1: N2), wavelength, relative flux
    ("O2", 0, 6484.39, 1.0),
    ("O2 S", 0, 6476.2, 0.06),
    ("O2 O", 0, 6492.3, 0.05),
    ("N2", 1, 6826.80, 1.0),
    ("N2 S", 1, 6818.9, 0.07),
    ("N2 O", 1, 6834.5, 0.05),
)

_J_PER_CM = 1.98644586e-23
_BOLTZMANN = 1.380649e-23
_TEMPERATURE = 200.0
_OH_TERM = (0.0, 3568.5, 6971.4, 10210.6, 13287.2, 16201.3, 18951.0, 21536.0, 23951.0, 26187.0)  # 1/cm, v = 0...9
_OH_RANGE = (4600.0, 9450.0)
_OH_POPULATION = {4: 0.5, 5: 1.0, 6: 1.4, 7: 1.5, 8: 1.8, 9: 1.3}  # relative
_OH_FLUX = 20000.0  # scale of the brightest bands

# telluric bands: first and last wavelength, optical depth, asymmetry
_TELLURIC = ((6867, 6944, 0.25, 3.0), (7160, 7340, 0.10, 1.0), (7594, 7700, 1.0, 3.0), (8120, 8350, 0.12, 1.0))
_TELLURIC_RED = (8930, 9400, 0.25, 1.0)


def air_wavelength(wavenumber):
    """Wavelength in air, in Angstrom, of a wavenumber in vacuum in 1/cm (Ciddor's refractivity of standard air)."""
    s = (np.asarray(wavenumber) * 1e-4) ** 2
    n = 1 + 1e-8 * (5792105 / (238.0185 - s) + 167917 / (57.362 - s))
    return 1e8 / (wavenumber * n)


def _rotational_term(v, j, f):
    """Energy in 1/cm of level (v, J) of the spin component F1 or F2 of OH X 2Pi (Hill and Van Vleck)."""
    b = 18.9108 - 0.7242 * (v + 0.5)
    d = 1.94e-3
    y = -139.21 / b
    n = j + 0.5
    root = 0.5 * np.sqrt(4 * n**2 + y * (y - 4))
    rigid = b * (n**2 - 1 + (root if f == 2 else -root))
    return rigid - d * (n**2 - 1) ** 2 + _OH_TERM[v]


@functools.lru_cache(maxsize=1)
def oh_transitions() -> np.ndarray:
    """Return the OH lines between 4600 and 9450 Angstrom, by upper level and wavelength.

    Returns
    -------
    ndarray of TRANSITION, shape (n,)
        Read-only.
    """
    found = []
    for v_u in range(4, 10):
        for v_l in range(v_u - 3):
            change = v_u - v_l
            band = 2.5 * 0.42 ** (change - 3) * (v_u / 6) ** 2
            for f, omega in ((1, 1.5), (2, 0.5)):
                for j in omega + np.arange(7):
                    strengths = {
                        "R": (j**2 - omega**2) / j,
                        "Q": (2 * j + 1) * omega**2 / (j * (j + 1)),
                        "P": ((j + 1) ** 2 - omega**2) / (j + 1),
                    }
                    upper = _rotational_term(v_u, j, f)
                    for branch, step in (("R", -1), ("Q", 0), ("P", 1)):
                        if j + step < omega:
                            continue
                        lbda = air_wavelength(upper - _rotational_term(v_l, j + step, f))
                        if _OH_RANGE[0] < lbda < _OH_RANGE[1]:
                            name = f"{v_u}-{v_l}{branch}{f}({j + step:.1f})"
                            a = band * strengths[branch] / (2 * j + 1)
                            found.append((name, lbda, v_u, v_l, f, upper * _J_PER_CM, j, a))
    lines = np.array(sorted(found, key=lambda t: (t[2], t[1])), TRANSITION)
    lines.setflags(write=False)
    return lines


def oh_lines(populations: dict[int, float]) -> np.ndarray:
    """Return the OH lines with the fluxes that upper levels of the given populations emit.

    Parameters
    ----------
    populations : dict
        Relative population of each upper vibrational level.

    Returns
    -------
    ndarray of LINE, shape (n,)
        The group of a line is its upper level.
    """
    transitions = oh_transitions()
    weight = (2 * transitions["J_u"] + 1) * np.exp(-transitions["E_u"] / (_BOLTZMANN * _TEMPERATURE))
    total = np.bincount(transitions["v_u"], weight)
    population = np.array([populations.get(v, 0.0) for v in range(len(total))])
    lines = np.zeros(len(transitions), LINE)
    lines["name"], lines["group"], lines["lbda"] = transitions["name"], transitions["v_u"], transitions["lbda"]
    lines["flux"] = weight * transitions["A"] * population[transitions["v_u"]] / total[transitions["v_u"]]
    lines["flux"] *= _OH_FLUX * 8000.0 / lines["lbda"]
    return lines


@functools.lru_cache(maxsize=1)
def other_lines() -> np.ndarray:
    """Return the lines of O, Na, N and O2 of an average night; read-only array of LINE."""
    first, last, flux = _O2_BAND
    n = 24
    lbda = first + (last - first) * (np.arange(n) / (n - 1)) ** 1.3
    shape = np.exp(-0.5 * ((np.arange(n) - 9) / 5.0) ** 2)
    band = [(f"O2 0-1 {i}", _O2_GROUP, w, flux * s) for i, (w, s) in enumerate(zip(lbda, shape, strict=True))]
    lines = np.array([*_ATOMIC, *band], LINE)
    lines.setflags(write=False)
    return lines


def raman_lines(flux: float = 1.0) -> np.ndarray:
    """Return the lines of O2 and N2 that the lasers excite; the main line of O2 has `flux`, that of N2 1.6 x it."""
    lines = np.array([*_RAMAN], LINE)
    lines["flux"] *= flux * np.where(lines["group"] == 1, 1.6, 1.0)
    return lines


def continuum(lbda):
    """Continuum of the sky: a slope, an airglow bump, and a few Fraunhofer lines."""
    lbda = np.asarray(lbda, float)
    t = (lbda - 7000.0) / 2500.0
    value = 38 * (1 - 0.18 * t + 0.1 * t**2) + 4 * np.exp(-0.5 * ((lbda - 5900) / 150) ** 2)
    for centre, depth, width in ((4861.3, 0.08, 5.0), (5175.0, 0.12, 12.0), (6562.8, 0.1, 4.0), (8542.1, 0.09, 4.0)):
        value = value * (1 - depth * np.exp(-0.5 * ((lbda - centre) / width) ** 2))
    return value


def extinction(lbda):
    """Extinction of the atmosphere in magnitudes at airmass 1."""
    x = np.asarray(lbda, float) / 5500.0
    return 0.095 * x**-4 + 0.035 * x**-1.2


def telluric_transmission(lbda):
    """Transmission of the atmosphere in the bands of O2 and H2O at airmass 1 (the power of the airmass otherwise)."""
    lbda = np.asarray(lbda, float)
    depth = np.zeros_like(lbda)
    for first, last, tau, asymmetry in (*_TELLURIC, _TELLURIC_RED):
        u = np.clip((lbda - first) / (last - first), 0, 1)
        shape = u * (1 - u) ** asymmetry * (1 + asymmetry) ** (1 + asymmetry) / asymmetry**asymmetry
        depth += tau * shape * (1 + 0.3 * np.sin(lbda / 2.2))
    return np.exp(-depth)


def add_lines(spectrum: np.ndarray, first: float, step: float, lines: np.ndarray, lsf: Lsf, intrinsic=0.0) -> None:
    """Add lines, spread by the line spread function, to a regularly sampled spectrum, in place.

    Parameters
    ----------
    spectrum : ndarray of float64, shape (n,)
        Spectrum at wavelengths ``first + step * i``.
    first, step : float
        Angstrom.
    lines : ndarray of LINE
        Lines, of which those out of reach are passed over.
    lsf : Lsf
        Line spread function of the slice.
    intrinsic : float
        Standard deviation of the lines before the instrument, in Angstrom.
    """
    reach = Lsf.REACH + 4 * intrinsic
    last = first + step * (len(spectrum) - 1)
    lines = lines[(lines["lbda"] > first - reach) & (lines["lbda"] < last + reach)]
    if len(lines) == 0:
        return
    n = int(2 * reach / step) + 1
    start = np.ceil((lines["lbda"] - reach - first) / step).astype(np.int64)
    index = start[:, None] + np.arange(n)
    distance = first + step * index - lines["lbda"][:, None]
    value = lines["flux"][:, None] * lsf.profile(distance, lines["lbda"][:, None], intrinsic)
    inside = (index >= 0) & (index < len(spectrum))
    spectrum += np.bincount(index[inside], value[inside], minlength=len(spectrum))


@dataclasses.dataclass(frozen=True)
class Sky:
    """The sky of an exposure, without noise.

    Attributes
    ----------
    lines : ndarray of LINE
        All lines with their true fluxes and wavelengths, Raman lines excepted.
    scale : float
        Factor on everything: area of a spaxel in units of that of the wide field.
    continuum_level : float
        Factor on the continuum.
    """

    lines: np.ndarray
    scale: float = 1.0
    continuum_level: float = 1.0

    def continuum(self, lbda):
        """Continuum in 1e-20 erg/s/cm2/Angstrom per spaxel."""
        return self.scale * self.continuum_level * continuum(lbda)

    def sampled_lines(self, first: float, step: float, n: int, lsf: Lsf) -> np.ndarray:
        """Lines through a line spread function, at ``first + step * arange(n)``, as float64 of shape (n,)."""
        spectrum = np.zeros(n)
        add_lines(spectrum, first, step, self.lines, lsf)
        return self.scale * spectrum


def make_sky(seed: int, scale: float = 1.0, with_lines: bool = True, continuum_level: float = 1.0) -> Sky:
    """Return the sky of an exposure: fluxes of the line groups vary by some 15 % with `seed`."""
    factor = np.exp(0.15 * np.random.default_rng([seed, 1]).standard_normal(16))
    lines = other_lines().copy()
    lines["flux"] *= factor[lines["group"]]
    oh = oh_lines({v: p * factor[v + 5] for v, p in _OH_POPULATION.items()})
    oh["group"] += _O2_GROUP + 1 - min(_OH_POPULATION)
    lines = np.concatenate([lines, oh]) if with_lines else lines[:0]
    return Sky(lines=lines, scale=scale, continuum_level=continuum_level)
