# SPDX-License-Identifier: GPL-2.0-or-later
"""`muse_core.Recipe` behaves as python-cpl's."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from harness.recipes import RECIPES

import muse_core
from muse_core.errors import InputError, MuseError, ParameterError, ProductError
from muse_core.frontends.pythoncpl.logger import LogList
from muse_core.frontends.pythoncpl.result import RecipeCrash, RecipeError, Result, Stat


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The demo recipe in an empty folder with one raw frame."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(muse_core.Recipe, "path", [str(RECIPES)])
    Path("raw.fits").touch()
    return muse_core.Recipe("demo")


@pytest.fixture
def scipost():
    return muse_core.Recipe("muse_scipost")


def test_description(scipost):
    assert scipost.__name__ == "muse_scipost"
    assert scipost.version == (20900, "2.9.0")
    assert scipost.tags == ["PIXTABLE_OBJECT"]
    assert scipost.tag == "PIXTABLE_OBJECT"
    assert scipost.output["PIXTABLE_OBJECT"][:3] == ["DATACUBE_FINAL", "IMAGE_FOV", "OBJECT_RESAMPLED"]
    assert repr(scipost) == "Recipe('muse_scipost', version = 20900)"
    assert "skymodel_fraction: " in scipost.__doc__
    assert "LSF_PROFILE: one frame or list of frames (optional)" in scipost.__doc__
    assert ("muse_scipost", ["2.9.0"]) in muse_core.Recipe.list()
    with pytest.raises(KeyError, match="NOPE"):
        scipost.tag = "NOPE"


def test_recipes_that_are_not_there():
    with pytest.raises(InputError, match="'muse_nope' not found"):
        muse_core.Recipe("muse_nope")
    with pytest.raises(InputError, match=r"has version 2\.9\.0, expected 20807"):
        muse_core.Recipe("muse_scipost", version=20807)
    assert muse_core.Recipe("demo", filename=f"{RECIPES}/demo.py", version="2.9.0").tags == ["PIXTABLE_OBJECT"]


def test_parameters(scipost):
    param = scipost.param
    assert len(param) == 27
    assert "dx" in param
    assert (param.dx.name, param.dx.fullname, param.dx.context) == ("dx", "muse.muse_scipost.dx", "muse.muse_scipost")
    assert (param.dx.default, param.dx.value, param.dx.type, param.dx.range, param.dx.sequence) == (
        *(0.0, None, float, None, None),
    )
    assert param.resample.sequence == ["nearest", "linear", "quadratic", "renka", "drizzle", "lanczos"]
    assert param["muse.muse_scipost.dx"] is param["dx"] is param.dx
    assert [p.name for p in param if not p.enabled[0]] == [
        *("raman_width", "skymodel_sampling", "skymodel_csampling", "sky_crsigma"),
    ]
    param.dx = "0.4"
    param["muse.muse_scipost.ld"] = 2.0
    param.astrometry = "no"
    assert (param.dx.value, param.ld.value, param.astrometry.value) == (0.4, 2, False)
    assert (str(param.dx), repr(param.dx), str(param.dy)) == (
        *("0.4", "Parameter('dx', value=0.4, default=0.0)", "0.0 (default)"),
    )
    del param.dx
    assert param.dx.value is None
    scipost.param = {"rc": 2}
    assert (param.rc.value, param.ld.value) == (2.0, None)


def test_in_notebooks(scipost):
    scipost.param.resample = "linear"
    table = scipost.param._repr_html_()
    assert table.count("<tr>") == len(scipost.param) + 1
    assert "<b>&#x27;linear&#x27;</b> (&#x27;drizzle&#x27;)" in table
    assert "nearest, linear, quadratic, renka, drizzle, lanczos" in table
    assert table in scipost._repr_html_()
    assert "resample" in scipost.param._ipython_key_completions_()
    image = fits.HDUList([fits.PrimaryHDU(np.array([[1, 2]], np.int16))])
    made = Result([("CUBE", "cube.fits"), ("IMAGE", image), ("PAGE", b"html")], Stat(0, 0.0, 0.0), LogList(),
                  always_lists=False)  # fmt: skip
    for text in ("cube.fits", "PRIMARY 2 x 1", "4 bytes"):
        assert text in made._repr_html_()
        assert text in repr(made)
    assert made._repr_html_().count("<img") == 1
    assert made.open("IMAGE").to_nddata().data.tolist() == [[1, 2]]
    with pytest.raises(InputError, match="PAGE"):
        made.open("PAGE")
    assert set(dir(scipost.calib)) == set(scipost.calib._ipython_key_completions_()) == {c.tag for c in scipost.calib}
    assert set(made._ipython_key_completions_()) == made.tags <= set(dir(made))
    scipost.param.resample = None
    assert "<b>" not in scipost.param._repr_html_()


@pytest.mark.parametrize(
    ("name", "value"), [("resample", "foo"), ("ld", "abc"), ("astrometry", "maybe"), ("dx", []), ("nope", 1)]
)
def test_wrong_parameters(scipost, name, value):
    with pytest.raises(ParameterError):
        setattr(scipost.param, name, value)
    with pytest.raises(ParameterError):
        scipost("x.fits", param={name: value})
    with pytest.raises(KeyError):
        scipost.param["nope"]


def test_calibrations(scipost):
    calib = scipost.calib
    limits = {config.tag: (config.min, config.max) for config in calib}
    assert limits["EXTINCT_TABLE"] == (1, 1)
    assert limits["LSF_PROFILE"] == (0, None)
    assert limits["SKY_LINES"] == (0, 1)
    assert calib.SKY_LINES.frames is None
    calib.SKY_LINES = "lines.fits"
    calib["LSF_PROFILE"] = ["a.fits", "b.fits"]
    assert (calib["SKY_LINES"].frames, calib.LSF_PROFILE.frames) == ("lines.fits", ["a.fits", "b.fits"])
    del calib.SKY_LINES
    assert calib.SKY_LINES.frames is None
    scipost.calib = {"SKY_MASK": "m.fits"}
    assert (calib.SKY_MASK.frames, calib.LSF_PROFILE.frames) == ("m.fits", None)
    with pytest.raises(KeyError):
        calib.NOPE = "x"


def test_results_in_memory(demo):
    result = demo("raw.fits", param={"dx": 2, "save": "x"})
    assert result.tags == {"DATACUBE_FINAL", "IMAGE_FOV"}
    assert (len(result), "IMAGE_FOV" in result, "NOPE" in result) == (2, True, False)
    assert [tag for tag, _ in result] == ["DATACUBE_FINAL", "IMAGE_FOV"]
    assert isinstance(result.DATACUBE_FINAL, fits.HDUList)
    assert result["DATACUBE_FINAL"][0].header["DEMO dx"] == 2.0
    np.testing.assert_array_equal(result.DATACUBE_FINAL[1].data, [[1, 2], [3, 4]])
    assert result.stat.return_code == 0
    assert result.stat.user_time > 0
    assert result.log.info == ["demo: A message", "demo: A warning"]
    assert result.log.warning == ["demo: A warning"]
    assert (result.log.error, result.error) == ([], None)
    assert os.listdir() == ["raw.fits"]
    with pytest.raises(KeyError):
        result["NOPE"]
    with pytest.raises(AttributeError):
        result.NOPE  # noqa: B018


def test_results_in_a_folder(demo):
    demo.output_dir = "a/b"
    result = demo(["raw.fits"])
    assert result["DATACUBE_FINAL"] == [os.path.abspath("a/b/DATACUBE_FINAL.fits")]
    result = demo({"PIXTABLE_OBJECT": ["raw.fits", "raw.fits"]}, output_dir="c")
    assert result["DATACUBE_FINAL"] == os.path.abspath("c/DATACUBE_FINAL.fits")
    assert sorted(os.listdir("c")) == ["DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits"]
    with pytest.raises(ProductError, match="output folder"):
        demo("raw.fits", output_dir="raw.fits/x")


def test_frames_in_memory(demo):
    demo.calib.EXTINCT_TABLE = fits.HDUList([fits.PrimaryHDU(np.ones((2, 3)))])
    raw = fits.HDUList([fits.PrimaryHDU(np.zeros((2, 3)))])
    result = demo(raw, param={"save": "frames"}, output_dir="out", calib={"LSF": ["raw.fits", raw]})
    frames = result.log.filter(logging.DEBUG)
    found = [line.split()[2:] for line in frames if line.startswith("demo: frame")]
    assert [tag for _, tag, _ in found] == ["PIXTABLE_OBJECT", "EXTINCT_TABLE", "LSF", "LSF"]
    assert [Path(path).name[:4] for path, _, _ in found] == ["PIXT", "EXTI", "raw.", "LSF_"]
    assert {size for path, _, size in found if not path.endswith("raw.fits")} == {"5760"}
    assert sorted(os.listdir("out")) == ["DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits"]


def test_tag_and_environment(demo, monkeypatch):
    monkeypatch.setenv("DEMO_VARIABLE", "a")
    demo.env = {"DEMO_VARIABLE": 1, "DEMO_OTHER": 2}
    result = demo("raw.fits", tag="LSF", env={"DEMO_OTHER": 3})
    assert "demo: variables 1 3" in result.log.debug
    assert any(line.startswith("demo: frame") and " LSF " in line for line in result.log.debug)


def test_failure(demo):
    with pytest.raises(RecipeError, match=r"as asked \(13\) in run\(\) \(demo\.py:\d+\)") as caught:
        demo("raw.fits", param={"fail": "DataError"})
    error = caught.value
    assert isinstance(error, MuseError)
    assert (error.code, error.msg, error.file, error.function) == (13, "as asked", "demo.py", "run")
    assert list(error) == [error]
    assert error.log.error == ["demo: as asked"]
    assert error.log.warning == ["demo: A warning", "demo: as asked"]
    assert os.listdir() == ["raw.fits"]


@pytest.mark.parametrize(("how", "kind"), [("abort", RecipeCrash), ("exit", RecipeError)])
def test_crash(demo, how, kind):
    with pytest.raises(kind):
        demo("raw.fits", param={"fail": how})


def test_no_frame_that_is_none(demo):
    with pytest.raises(InputError, match="expected a file name"):
        demo(3)


def test_messages_are_logged(demo, caplog, capfd):
    with caplog.at_level(logging.INFO, logger="cpl"):
        demo("raw.fits")
    assert [(r.name, r.levelname, r.message) for r in caplog.records] == [
        ("cpl.demo.demo", "INFO", "A message"),
        ("cpl.demo.demo", "WARNING", "A warning"),
    ]
    caplog.clear()
    demo("raw.fits", logname="mine", loglevel=logging.ERROR)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_threads(demo):
    results = [demo("raw.fits", threaded=True, param={"dx": n}) for n in range(3)]
    failing = demo("raw.fits", threaded=True, param={"fail": "DataError"})
    assert [result.DATACUBE_FINAL[0].header["DEMO dx"] for result in results] == [0.0, 1.0, 2.0]
    with pytest.raises(RecipeError):
        failing.DATACUBE_FINAL  # noqa: B018
    failing.join()
    assert not failing.is_alive()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resample": "Linear"}, "resample: found 'Linear', expected one of nearest, .*; did you mean 'linear'\\?"),
        (
            {"resmple": "linear"},
            "unknown parameter 'resmple'; did you mean 'resample'\\?; known ones: save, resample, ",
        ),
        ({"ld": "x"}, "parameter ld: found 'x', expected an integer number"),
        ({"dx": "x"}, "parameter dx: found 'x', expected a number"),
        ({"astrometry": "maybe"}, "parameter astrometry: found 'maybe', expected True or False"),
    ],
)
def test_messages_on_parameters(scipost, change, message):
    with pytest.raises(ParameterError, match=message):
        scipost("x.fits", param=change)
    with pytest.raises(ParameterError, match=message):
        scipost.param = change


def test_names_that_are_not_there(scipost):
    assert not hasattr(scipost.param, "nope")
    assert getattr(scipost.calib, "nope", 3) == 3
    with pytest.raises(KeyError, match="unknown tag of calibrations 'SKY_LINE'; did you mean 'SKY_LINES'\\?"):
        scipost.calib["SKY_LINE"] = "x.fits"


def test_memory_and_folders(demo):
    demo.max_memory, demo.scratch, demo.resume = "3G", "a", "b"
    here = os.getcwd()
    wanted = ["MUSE_MAX_MEMORY=3G", f"MUSE_RESUME={here}/b", f"MUSE_SCRATCH={here}/a"]
    assert [
        line.split("variable ")[1] for line in demo("raw.fits").log.debug if "variable MUSE_" in line and "=" in line
    ] == wanted
    found = demo("raw.fits", env={"MUSE_RESUME": "/c"}).log.debug
    assert "demo: variable MUSE_RESUME=/c" in found
