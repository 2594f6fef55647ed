# SPDX-License-Identifier: GPL-2.0-or-later
"""Each number in the JSON against the same computed in another way, and no number without such a test."""

import functools
import json
import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io import fits
from astropy.modeling import fitting, models
from astropy.time import Time, TimeDelta
from astropy.utils import iers
from astropy.wcs import WCS
from report.conftest import Field
from scipy import ndimage

from muse_core.model.origin import X_MASK, X_SHIFT, ifu_of, slice_of
from muse_core.simulate.truth import Truth

#: Paths of numbers in the JSON, each with the test of it.
CHECKED: dict[str, Callable] = {}
PARANAL = EarthLocation.from_geodetic(-70.4045 * units.deg, -24.6270 * units.deg, 2648 * units.m)


def number(*paths: str):
    """Say which numbers a test is of."""

    def register(test: Callable) -> Callable:
        CHECKED.update(dict.fromkeys(paths, test))
        return test

    return register


def leaves(value, path: str = "") -> set[str]:
    """Return the paths of all numbers, ``*`` for any item of a list."""
    if isinstance(value, dict):
        return set().union(*(leaves(item, f"{path}/{key}".lstrip("/")) for key, item in value.items()))
    if isinstance(value, list):
        return set().union(*(leaves(item, f"{path}/*") for item in value))
    return {path} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def spread(values) -> float:
    low, high = np.percentile(values, (15.865, 84.135))
    return (high - low) / 2


class Products:
    """The products of a run, read by astropy, and the numbers of its report."""

    def __init__(self, field: Field):
        self.field = field

    @functools.cached_property
    def run(self) -> dict:
        return json.loads((self.field.products / "MUSE_REPORT_DATA.json").read_text())["runs"][0]

    @functools.cached_property
    def log(self) -> str:
        return (self.field.products / "ours.log").read_text()

    def image(self, tag: str, n: int) -> np.ndarray:
        with fits.open(self.field.products / f"{tag}_{n:04}.fits") as hdus:
            image = hdus["DATA"].data.astype(float) if "DATA" in hdus else hdus[0].data.astype(float)
            if "DQ" in hdus:
                image[hdus["DQ"].data != 0] = np.nan
            return image

    @functools.cache  # noqa: B019 (as long as the module's fixture)
    def table(self, tag: str, n: int) -> fits.FITS_rec:
        return fits.getdata(self.field.products / f"{tag}_{n:04}.fits", 1)

    @functools.cache  # noqa: B019
    def rows(self, n: int) -> dict[str, np.ndarray]:
        with fits.open(self.field.products / f"PIXTABLE_REDUCED_{n:04}.fits") as hdus:
            return {name: hdus[name].data.ravel() for name in ("lambda", "data", "stat", "dq", "origin")}

    @functools.cached_property
    def cube(self) -> tuple[np.ndarray, np.ndarray, fits.Header]:
        with fits.open(self.field.products / "DATACUBE_FINAL.fits") as hdus:
            return hdus["DATA"].data.astype(float), hdus["STAT"].data.astype(float), hdus["DATA"].header

    @functools.cached_property
    def lbda(self) -> np.ndarray:
        header = self.cube[2]
        return WCS(header).spectral.pixel_to_world_values(np.arange(header["NAXIS3"])) * 1e10

    @functools.cached_property
    def white(self) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # spaxels without data stay NaN
            return np.nanmean(self.cube[0], axis=0)

    @functools.cached_property
    def empty(self) -> np.ndarray:
        """Spaxels that the simulation left without source, away from the rim."""
        data, _, header = self.cube
        ny, nx = data.shape[1:]
        y, x = np.mgrid[:ny, :nx]
        truth = Truth(self.field.exposures[0]).image(*WCS(header).celestial.pixel_to_world_values(x, y))
        return (truth < 1) & np.isfinite(data).all(axis=0) & (abs(x - nx / 2) < 135) & (abs(y - ny / 2) < 135)

    @functools.cached_property
    def light(self) -> np.ndarray:
        """Spaxels with light in the cube, and those next to them."""
        smooth = ndimage.gaussian_filter(np.nan_to_num(self.white - np.nanmedian(self.white)), 1)
        return ndimage.binary_dilation(smooth > 5 * spread(smooth[self.empty]), iterations=4)

    @functools.cached_property
    def at_lines(self) -> np.ndarray:
        """Planes with light of the sky lines that are strong in their group."""
        lines = self.table("SKY_LINES", 1)
        shifted = lines["lambda"] * (1 + self.run["exposures"][0]["velocity"] / 299792.458)
        strongest = {g: lines["flux"][lines["group"] == g].max() for g in lines["group"]}
        strong = [f >= 0.1 * strongest[g] for f, g in zip(lines["flux"], lines["group"], strict=True)]
        inside = (shifted > self.lbda[0] + 2.5) & (shifted < self.lbda[-1] - 2.5)
        return (abs(self.lbda[:, None] - shifted[inside & strong]) < 2.5).any(axis=1)

    def exposures(self):
        return [(n, spec, self.run["exposures"][n - 1]) for n, spec in enumerate(self.field.exposures, 1)]


@pytest.fixture(scope="module")
def products(reported: Field) -> Products:
    return Products(reported)


@number("n_exposures", "total_time", "exposures/*/exptime", "exposures/*/airmass", "exposures/*/position_angle")
@number("exposures/*/seeing_monitor", "exposures/*/seeing_guider", "exposures/*/temperature", "exposures/*/pressure")
@number("exposures/*/humidity")
def headers(p: Products):
    """As the raw frames say."""
    assert (p.run["n_exposures"], p.run["total_time"]) == (3, sum(spec.exptime for spec in p.field.exposures))
    means = {
        "airmass": ("AIRM START", "AIRM END"),
        "seeing_monitor": ("AMBI FWHM START", "AMBI FWHM END"),
        "seeing_guider": ("IA FWHM",),
        "temperature": ("AMBI TEMP",),
        "pressure": ("AMBI PRES START", "AMBI PRES END"),
        "humidity": ("AMBI RHUM",),
    }
    for n, spec, found in p.exposures():
        header = fits.getheader(p.field.data / f"PIXTABLE_OBJECT_{n:04}-01.fits")
        assert (found["exptime"], found["position_angle"]) == (spec.exptime, spec.posang)
        for name, keys in means.items():
            assert found[name] == pytest.approx(np.mean([header[f"ESO TEL {key}"] for key in keys])), name


@number("exposures/*/velocity")
def velocity(p: Products):
    for _, spec, found in p.exposures():
        middle = Time(spec.date_obs) + TimeDelta(spec.exptime / 2, format="sec")
        place = SkyCoord(spec.ra_deg, spec.dec_deg, unit="deg")
        with iers.conf.set_temp("auto_download", False):
            expected = place.radial_velocity_correction("barycentric", middle, PARANAL).to_value("km/s")
        assert found["velocity"] == pytest.approx(expected, abs=0.02)


@number("field/shape/*", "field/spaxel", "field/wavelength/*", "field/filled", "field/area", "field/sky_part")
def grid(p: Products):
    data, _, header = p.cube
    field, seen = p.run["field"], np.isfinite(data)
    covered = seen.sum(axis=0) >= len(data) / 2
    assert field["shape"] == [header[f"NAXIS{i}"] for i in (1, 2, 3)]
    assert field["spaxel"] == pytest.approx(0.2, rel=1e-6)
    assert field["wavelength"] == pytest.approx([p.lbda[0], p.lbda[-1]], abs=1e-4)
    assert field["filled"] == pytest.approx(seen.sum() / covered.sum() / len(data), rel=1e-6)
    assert field["area"] == pytest.approx(covered.sum() * 0.04 / 3600, rel=1e-6)
    # what is not within some seeing of light
    assert field["sky_part"] == pytest.approx((covered & ~p.light).sum() / covered.sum(), abs=0.06)


@number("field/n_sources", "field/sources/*/x", "field/sources/*/y", "field/sources/*/ra", "field/sources/*/dec")
@number("field/sources/*/flux", "field/sources/*/fwhm", "field/fwhm", "field/fwhm_by_wavelength/*/wavelength")
@number("field/fwhm_by_wavelength/*/fwhm", "field/fwhm_by_wavelength/*/n")
def sources(p: Products):
    field, spec = p.run["field"], p.field.exposures[0]
    listed, wcs = field["sources"], WCS(p.cube[2]).celestial
    assert field["n_sources"] == len(listed)
    level = np.median(p.white[p.empty])
    y, x = np.indices(p.white.shape) + 1
    for source in listed:
        assert wcs.wcs_pix2world([[source["x"], source["y"]]], 1)[0] == pytest.approx([source["ra"], source["dec"]])
    stars = [s for s in spec.all_sources if s.name.startswith("star")]
    for star in stars:
        place = SkyCoord(*star.position(spec.ra_deg, spec.dec_deg), unit="deg")
        apart = [place.separation(SkyCoord(s["ra"], s["dec"], unit="deg")).arcsec for s in listed]
        found = listed[int(np.argmin(apart))]
        assert min(apart) < 0.1
        near = np.s_[round(found["y"]) - 8 : round(found["y"]) + 7, round(found["x"]) - 8 : round(found["x"]) + 7]
        model = models.Gaussian2D(p.white[near].max(), found["x"], found["y"], 1.6, 1.6) + models.Const2D(level)
        fitted = fitting.LevMarLSQFitter()(model, x[near], y[near], p.white[near])
        width = 2.3548 * np.sqrt(abs(fitted.x_stddev_0 * fitted.y_stddev_0)) * 0.2
        assert found["fwhm"] == pytest.approx(width, rel=0.05)
        near = np.hypot(x - found["x"], y - found["y"]) < 2.5 * spec.seeing / 0.2
        assert found["flux"] == pytest.approx((p.white - level)[near].sum(), rel=0.1)
    widths = field["fwhm_by_wavelength"]
    parts = np.array_split(p.lbda, 9)
    assert [w["wavelength"] for w in widths] == pytest.approx([part.mean() for part in parts], abs=1.3)
    assert all(
        w["fwhm"] == pytest.approx(spec.seeing, rel=0.15) and len(stars) <= w["n"] <= len(listed) for w in widths
    )
    assert field["fwhm"] == pytest.approx(np.median([w["fwhm"] for w in widths]))


@number("field/exposure_time/median", "field/exposure_time/max", "field/exposure_time/area")
def coverage(p: Products):
    """Number of exposures at a spaxel, from the rows on the sky: here from where fields of a minute of arc lie."""
    time = p.run["field"]["exposure_time"]
    assert (time["median"], time["max"]) == (2700, 2700)
    seen = np.isfinite(p.cube[0]).any(axis=0)
    assert time["area"] == pytest.approx(seen.sum() * 0.04 / 3600, rel=0.02)


@number("sky/groups/*/wavelength", "sky/groups/*/height", "sky/groups/*/residual", "sky/groups/*/relative")
@number("sky/groups/*/in_noise", "sky/groups/*/scatter")
def groups(p: Products):
    (group,) = p.run["sky"]["groups"]
    data, stat, _ = p.cube
    spectrum, lines = p.table("SKY_SPECTRUM", 1), p.table("SKY_LINES", 1)
    shift = 1 + p.run["exposures"][0]["velocity"] / 299792.458
    near = abs(spectrum["lambda"] - group["wavelength"] / shift) < 2.5
    assert group["name"] in [name.strip() for name in lines["name"]]
    assert group["height"] == pytest.approx(
        spectrum["data"][near].max() - np.percentile(spectrum["data"], 10), rel=0.03
    )
    assert abs(lines["lambda"] * shift - group["wavelength"]).min() < 1e-3
    planes = p.at_lines
    residual = np.median(data[planes][:, p.empty], axis=1)
    noise = np.sqrt(np.median(stat[planes][:, p.empty], axis=1))
    assert group["residual"] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=0.1)
    assert group["relative"] == pytest.approx(group["residual"] / group["height"])
    assert group["in_noise"] == pytest.approx(group["residual"] / np.median(noise), rel=0.03)
    scatter = [spread(d[p.empty] / np.sqrt(s[p.empty])) for d, s in zip(data[planes], stat[planes], strict=True)]
    assert group["scatter"] == pytest.approx(np.median(scatter), rel=0.03)


@number("sky/continuum", "sky/continuum_residual", "sky/line_scatter", "sky/chi_square", "sky/chi_square_at_lines")
@number("noise/scatter_over_stat", "noise/aperture", "noise/sigmas")
def sky_and_noise(p: Products):
    data, stat, _ = p.cube
    sky, between = p.run["sky"], ~p.at_lines
    assert sky["continuum"] == pytest.approx(np.percentile(p.table("SKY_SPECTRUM", 1)["data"], 10), rel=0.03)
    scaled = data[:, p.empty] / np.sqrt(stat[:, p.empty])
    noise = np.sqrt(np.median(stat[:, p.empty]))
    expected = np.median(np.median(data[between][:, p.empty], axis=1))
    assert sky["continuum_residual"] == pytest.approx(expected, abs=0.02 * noise)
    scatter = np.array([spread(plane) for plane in scaled])
    assert p.run["noise"]["scatter_over_stat"] == pytest.approx(np.median(scatter[between]), rel=0.02)
    assert sky["line_scatter"] == pytest.approx(np.median(scatter[~between]) / np.median(scatter[between]), rel=0.03)
    squares = np.array([np.mean(plane[abs(plane) < 5] ** 2) for plane in scaled])
    assert sky["chi_square"] == pytest.approx(np.median(squares[between]), rel=0.03)
    assert sky["chi_square_at_lines"] == pytest.approx(np.median(squares[~between]), rel=0.05)
    assert (p.run["noise"]["aperture"], p.run["noise"]["sigmas"]) == (1.0, 5.0)


@number("noise/depth", "noise/depth_by_wavelength/*/wavelength", "noise/depth_by_wavelength/*/depth")
def depth(p: Products):
    """Five times the scatter of sums in apertures of 1 arcsec, here elsewhere and with parts of pixels counted."""
    fine = np.hypot(*(np.mgrid[-350:350, -350:350] + 0.5)) < 250
    kernel = fine.reshape(7, 100, 7, 100).mean(axis=(1, 3))
    inside = ndimage.binary_erosion(np.isfinite(p.white) & ~p.light, np.ones((7, 7)))
    rows, columns = np.nonzero(inside)
    chosen = np.random.default_rng(3).permutation(len(rows))[:3000]
    listed = p.run["noise"]["depth_by_wavelength"]
    ratios = []
    for item in listed:
        plane = int(np.argmin(abs(p.lbda - item["wavelength"])))
        assert item["wavelength"] == pytest.approx(p.lbda[plane], abs=1e-3)
        sums = ndimage.correlate(np.nan_to_num(p.cube[0][plane]), kernel)[rows[chosen], columns[chosen]]
        ratios.append(item["depth"] / (5 * spread(sums)))
    assert np.median(ratios) == pytest.approx(1, abs=0.05)
    assert (abs(np.array(ratios) - 1) < 0.35).all()
    assert p.run["noise"]["depth"] == pytest.approx(np.median([item["depth"] for item in listed]))


@number("noise/correlation/*/box", "noise/correlation/*/predicted", "noise/correlation/*/measured")
def correlation(p: Products):
    """As measured on boxes of spaxels next to each other."""
    data, stat, _ = p.cube
    sizes = {item["box"]: item for item in p.run["noise"]["correlation"]}
    assert set(sizes) == {3, 5}
    for size, item in sizes.items():
        inside = ndimage.binary_erosion(p.empty, np.ones((size, size)))
        factors = [
            spread(
                (size**2 * ndimage.uniform_filter(np.nan_to_num(d), size))[inside]
                / np.sqrt((size**2 * ndimage.uniform_filter(np.nan_to_num(s), size))[inside])
            )
            for d, s in zip(data, stat, strict=True)
        ]
        assert item["predicted"] == pytest.approx(np.median(factors), rel=0.06)
        assert item["measured"] == pytest.approx(np.median(factors), rel=0.06)


@number("exposures/*/rows", "exposures/*/flagged", "exposures/*/cosmic_rays")
@number(*(f"exposures/*/flags/{name}" for name in ("LOW_QE", "HOT", "DARK", "DEAD")))
def flags(p: Products):
    bits = {"LOW_QE": 6, "HOT": 8, "DARK": 9, "DEAD": 13}
    for n, _, found in p.exposures():
        dq = p.rows(n)["dq"]
        assert (found["rows"], found["flagged"]) == (len(dq), np.count_nonzero(dq))
        for name, value in found["flags"].items():
            assert value == np.count_nonzero(dq & (1 << bits[name])), name
    (text,) = re.findall(r"Flagged (\d+) rows as cosmic rays", p.log)
    assert sum(found["cosmic_rays"] for _, _, found in p.exposures()) == int(text)


@number("exposures/*/line_shift_min", "exposures/*/line_shift_max")
def line_shifts(p: Products):
    """From the wavelengths of the transitions in air to those that were fitted; simulated with an error of 0.02."""
    given = fits.getdata(p.field.data / "calib" / "SKY_LINES.fits", "OH_TRANSITIONS")
    known = {name.strip(): wavelength for name, wavelength in zip(given["name"], given["lambda"], strict=True)}
    for n, spec, found in p.exposures():
        fitted = p.table("SKY_LINES", n)
        shifts = [line - known[name.strip()] for name, line in zip(fitted["name"], fitted["lambda"], strict=True)]
        assert (found["line_shift_min"], found["line_shift_max"]) == pytest.approx((min(shifts), max(shifts)), abs=1e-6)
        assert np.mean(shifts) == pytest.approx(spec.wavelength_shift, abs=0.015)


@number("exposures/*/sky_continuum", "exposures/*/sky_brightest", "exposures/*/line_profile")
@number("exposures/*/sky_level", "exposures/*/sky_spaxels", "exposures/*/sky_part", "exposures/*/sky_on_sources")
@number("exposures/*/sky_excess", "exposures/*/n_sources", "exposures/*/fwhm")
def sky_of_exposures(p: Products):
    for n, spec, found in p.exposures():
        spectrum, continuum = p.table("SKY_SPECTRUM", n), p.table("SKY_CONTINUUM", n)
        base = np.percentile(spectrum["data"], 10)
        assert found["sky_continuum"] == pytest.approx(base, rel=0.03)
        assert found["sky_brightest"] == pytest.approx(spectrum["data"].max() - base, rel=0.03)
        line = spectrum["lambda"][np.argmax(spectrum["data"])]
        near = abs(continuum["lambda"] - line) < 2.5
        left = continuum["flux"][near] - np.median(continuum["flux"])
        assert found["line_profile"] == pytest.approx(np.sqrt(np.mean(left**2)) / found["sky_brightest"], rel=0.02)
        image, mask = p.image("SKY_IMAGE", n), p.image("SKY_MASK", n) > 0
        seen = np.isfinite(image)
        faint = image[seen & (image < np.nanpercentile(image, 80))]
        assert found["sky_level"] == pytest.approx(np.median(faint), rel=0.02)
        assert found["sky_spaxels"] == mask.sum()
        assert found["sky_part"] == pytest.approx(mask.sum() / seen.sum())
        # a mask of the darkest tenth: hardly on sources, and darker than what is beside it
        assert 0 <= found["sky_on_sources"] < 0.08
        expected = (image[mask & seen].mean() - np.median(faint)) / np.median(faint)
        assert found["sky_excess"] == pytest.approx(expected, abs=0.02)
        inner = ndimage.binary_erosion(seen, iterations=3)
        smooth = ndimage.gaussian_filter(np.where(seen, image - np.median(faint), 0), 3 / 2.355)
        limit = 5 * 1.4826 * np.median(abs(smooth[inner] - np.median(smooth[inner])))
        labels, _ = ndimage.label(inner & (smooth > limit), np.ones((3, 3)))
        assert found["n_sources"] == pytest.approx(
            sum(np.bincount(labels.ravel())[1:] >= 9), rel=0.35
        )  # many are faint
        assert found["fwhm"] == pytest.approx(spec.seeing, rel=0.2)


@number("exposures/*/sky_residual", "exposures/*/chi_square", "slices/*/scatter", "slices/*/worst_ifu")
@number("slices/*/worst_slice", "slices/*/worst", "slices/*/scatter_over_stat")
def slices(p: Products):
    """The darkest quarter of the columns of each slice, as half of the rows have it, in the other half."""
    for (n, _, exposure), found in zip(p.exposures(), p.run["slices"], strict=True):
        rows = p.rows(n)
        good = (rows["dq"] == 0) & (rows["stat"] > 0) & np.isfinite(rows["data"])
        lbda, data, stat = (rows[name][good].astype(float) for name in ("lambda", "data", "stat"))
        origin = rows["origin"][good].astype(np.uint32)
        half = np.random.default_rng(n).random(len(data)) < 0.5
        column = (origin >> X_SHIFT) & X_MASK
        place = (ifu_of(origin).astype(int) - 1) * 48 + slice_of(origin) - 1
        _, key = np.unique(place * (int(X_MASK) + 1) + column, return_inverse=True)
        count = np.bincount(key[half], minlength=key.max() + 1)
        means = np.where(count, np.bincount(key[half], data[half], len(count)) / np.maximum(count, 1), np.inf)
        home = np.zeros(len(means), int)
        home[key] = place
        limits = np.array([np.quantile(means[home == i], 0.25) for i in range(1152)])
        dark = (means <= limits[home])[key] & ~half
        order = np.argsort(place[dark], kind="stable")
        parts = np.split(data[dark][order], np.cumsum(np.bincount(place[dark], minlength=1152))[:-1])
        levels = np.array([np.median(part) for part in parts])
        scaled = data[dark] / np.sqrt(stat[dark])
        assert found["exposure"] == exposure["date_obs"]
        assert 0.9 * spread(levels) < found["scatter"] < 2 * spread(levels)  # it looks at a quarter of the rows
        worst = (found["worst_ifu"] - 1) * 48 + found["worst_slice"] - 1
        assert found["worst"] == pytest.approx(levels[worst] - np.median(levels), abs=4 * found["scatter"])
        assert found["scatter_over_stat"] == pytest.approx(spread(scaled), rel=0.03)
        assert exposure["chi_square"] == pytest.approx(np.mean(scaled[abs(scaled) < 5] ** 2), rel=0.03)
        bins = ((lbda[dark] - lbda.min()) / 1.25).astype(int)
        spectrum = np.bincount(bins, data[dark]) / np.bincount(bins)
        full = np.bincount(bins) > 0.2 * np.median(np.bincount(bins))
        residual = np.sqrt(np.mean((spectrum - np.median(spectrum))[full] ** 2)) / np.sqrt(stat[dark].mean())
        assert exposure["sky_residual"] == pytest.approx(residual, rel=0.3)


@number("exposures/*/misaligned", "exposures/*/misaligned_east", "exposures/*/misaligned_north")
@number("exposures/*/transmission", "exposures/*/weight")
def against_each_other(p: Products):
    """The simulation made them alike."""
    for _, _, found in p.exposures():
        assert found["misaligned"] == pytest.approx(np.hypot(found["misaligned_east"], found["misaligned_north"]))
        assert found["misaligned"] < 0.05
        assert found["transmission"] == pytest.approx(1, abs=0.03)
        assert found["weight"] == 1


@number("machine/seconds", "machine/memory_bytes", "machine/written_bytes", "machine/products_bytes")
@number("machine/steps/*/seconds", "machine/steps/*/memory_bytes", "machine/steps/*/written_bytes")
@number("machine/plan/seconds", "machine/plan/memory_bytes", "machine/plan/scratch_bytes")
@number("machine/plan/products_bytes", "machine/plan/threads", "products/*/bytes")
def machine(p: Products):
    made = p.run["machine"]
    for product in p.run["products"]:
        path = p.field.products / product["file"]
        header = fits.getheader(path)
        assert product["bytes"] == path.stat().st_size - (2880 if product["bytes"] != path.stat().st_size else 0)
        assert header["ESO PRO CATG"] == product["tag"]
    assert made["products_bytes"] == sum(product["bytes"] for product in p.run["products"])
    said = re.findall(r"(\w[\w, ]*): ([\d.]+) s$", p.log, re.MULTILINE)
    for step in made["steps"]:
        lines = [line for line in said if line[0] == step["name"]]
        assert step["seconds"] == pytest.approx(sum(float(line[1]) for line in lines), abs=0.06 * len(lines))
        assert 50e6 < step["memory_bytes"] <= made["memory_bytes"]
    assert sum(step["seconds"] for step in made["steps"]) < made["seconds"]
    assert made["products_bytes"] <= made["written_bytes"] < 20 * made["products_bytes"]
    assert sum(step["written_bytes"] for step in made["steps"]) <= made["written_bytes"]
    plan, rows = made["plan"], sum(found["rows"] for _, _, found in p.exposures())
    assert plan["products_bytes"] == pytest.approx(made["products_bytes"], rel=0.1)
    assert plan["scratch_bytes"] in (0, pytest.approx(28 * rows, rel=0.1))
    assert (plan["threads"], plan["seconds"] > 0, plan["memory_bytes"] > 5e7) == (2, True, True)


@number("checks/*/value", "checks/*/look", "checks/*/bad")
def checks(p: Products):
    """Those that stand elsewhere in the JSON have the same value."""
    listed = {(c["name"], c["where"], c["exposure"]): c for c in p.run["checks"]}
    sky, e = p.run["sky"], p.run["exposures"][0]
    for name, exposure, value in (
        ("filled", None, 100 * p.run["field"]["filled"]),
        ("stat", None, p.run["noise"]["scatter_over_stat"]),
        ("line_scatter", None, sky["line_scatter"]),
        ("continuum_residual", None, 100 * abs(sky["continuum_residual"]) / sky["continuum"]),
        ("transmission", e["date_obs"], e["transmission"]),
        ("misaligned", e["date_obs"], e["misaligned"] / 0.2),
        ("line_profile", e["date_obs"], 100 * e["line_profile"]),
        ("cosmic_rays", e["date_obs"], 100 * e["cosmic_rays"] / e["rows"]),
        ("flagged", e["date_obs"], 100 * e["flagged"] / e["rows"]),
        ("mask_on_sources", e["date_obs"], 100 * e["sky_on_sources"]),
    ):
        assert listed[name, "", exposure]["value"] == pytest.approx(value, rel=1e-3), name
    for one in p.run["exposures"]:
        others = np.median([o["fwhm"] for o in p.run["exposures"] if o is not one])
        assert listed["image_quality", "", one["date_obs"]]["value"] == pytest.approx(one["fwhm"] / others, rel=1e-6)
    assert all(c["bad"] is None or (c["look"] < c["bad"]) == (c["kind"] != "low") for c in p.run["checks"])


TESTS = sorted(set(CHECKED.values()), key=lambda test: test.__name__)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_number(test: Callable, products: Products):
    test(products)


def test_no_number_is_left_out(products: Products):
    assert leaves(products.run) - set(CHECKED) == set()


def test_inputs_and_their_checksums(products: Products):
    """Each file that the set of frames has, with the signature in its header."""
    signatures = {}
    for line in (products.field.data / "model.sof").read_text().splitlines():
        path = line.split()[0]
        signatures[path.rsplit("/", 1)[-1]] = fits.getheader(path).get("DATAMD5")
    for item in products.run["inputs"]:
        assert item["md5"] == signatures[item["name"]]
        assert len(item["md5"]) == 32


def test_steps_that_are_not_always_run(adaptive: Field):
    p = Products(adaptive)
    (factors,), (raman,) = p.run["autocalibration"], p.run["raman"]
    values = p.table("AUTOCAL_FACTORS", 1)["corr"]
    assert values.size % 1152 == 0
    assert factors["bins"] == values.size // 1152
    assert factors["rms"] == pytest.approx(values.std(), rel=1e-6)
    assert (factors["min"], factors["max"]) == pytest.approx((values.min(), values.max()), rel=1e-6)
    assert factors["without_data"] == 0  # of the bins that the exposure has
    header = fits.getheader(adaptive.products / "RAMAN_IMAGES_0001.fits")
    for gas, found in (("O2", raman["o2"]), ("N2", raman["n2"])):
        (value,) = [value for key, value in header.items() if key.endswith(f"RAMAN FLUX {gas}")]
        assert found == pytest.approx(value, rel=1e-6)
    (residual,) = re.findall(r"Residual refraction: ([\d.]+) arcsec", p.log)
    assert p.run["exposures"][0]["refraction_left"] == pytest.approx(float(residual), abs=6e-4)
