# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole recipe against ESO's, frame by frame and parameter by parameter, from the same files as a user would.

Both run on the same set of frames, ours with ``MUSE_COMPAT=2.8.7``, and all products are compared with the tolerances
of `harness.tolerances`. The steps by themselves, with more extreme values, are in the other modules of this folder.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from astropy.io import fits
from harness import compare, run

pytestmark = pytest.mark.reference

EVERYTHING = "--save=cube,individual,positioned,combined"


@dataclasses.dataclass(frozen=True)
class Case:
    """One run.

    Attributes
    ----------
    parameters : str
        Parameters, separated by blanks; without a sky method they are for ``none``.
    data, sof : str
        Data set and its set-of-frames file.
    without : str
        Pattern of the frames to leave out.
    others : tuple of (data set, file of its folder, tag)
        Frames to add.
    env : dict
        Environment.
    edits : tuple of (tag, keyword, value, number of the HDU)
        Keywords to set in all files of a tag; None removes them.
    """

    parameters: str = ""
    data: str = "wfm"
    sof: str = "none"
    without: str = ""
    others: tuple[tuple[str, str, str], ...] = ()
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    edits: tuple[tuple[str, str, object, int], ...] = ()


def sky(parameters: str = "", data: str = "wfm", sof: str = "model", **more) -> Case:
    """Return a case with subtraction of the sky, by default that of the recipe."""
    return Case(f"--skymethod=model {parameters}", data, sof, **more)


OTHER_RESPONSE = {name: ((name, "calib/STD_RESPONSE.fits", "STD_RESPONSE"),) for name in ("wfm", "noflat")}
SHORT_CONTINUUM = (("small", "calib/SKY_CONTINUUM.fits", "SKY_CONTINUUM"),)
GIVEN_CONTINUUM = (("wfm", "calib/SKY_CONTINUUM.fits", "SKY_CONTINUUM"),)

WITHOUT_SKY = {
    "defaults": Case(),
    "image columns, written as table": Case(env={"MUSE_PIXTABLE_SAVE_AS_TABLE": "1"}),
    "table, written as image columns": Case(data="table"),
    "blue end": Case(data="blue"),
    "red end": Case(data="red"),
    "position angle 90": Case(data="pa90"),
    "position angle 137": Case(data="pa137"),
    "field not rotating with the sky": Case(data="static"),
    "adaptive optics": Case(data="ao"),
    "edge of the notch filter": Case(data="gap"),
    "narrow field": Case(data="nfm"),
    # frames
    "no response": Case(without="STD_RESPONSE"),
    "no extinction": Case(without="EXTINCT_TABLE"),
    "no flux calibration at all": Case(without="STD_RESPONSE|EXTINCT_TABLE"),
    "telluric": Case(data="telluric"),
    "no astrometry frame": Case(without="ASTROMETRY_WCS"),
    "no astrometry frame, narrow field": Case(data="nfm", without="ASTROMETRY_WCS"),
    "no flat-field spectra": Case(data="noflat"),
    "flat field taken back": Case(without="STD_RESPONSE", others=OTHER_RESPONSE["noflat"]),
    "response with, data without flat field": Case(data="noflat", without="STD_RESPONSE", others=OTHER_RESPONSE["wfm"]),
    "one IFU": Case(without="-13.fits"),
    "output WCS": Case(sof="output_wcs"),
    "offsets": Case(sof="offsets"),
    # wavelengths
    "range cut": Case("--lambdamin=7280 --lambdamax=7300"),
    "range cut below": Case("--lambdamin=7290.3"),
    "refraction to 5000": Case("--lambdaref=5000"),
    "refraction off": Case("--lambdaref=100"),
    "refraction after Owens": Case(env={"MUSE_DAR_CORRECT_METHOD": "Owens"}),
    "refraction after Edlen": Case(env={"MUSE_DAR_CORRECT_METHOD": "Edlen"}),
    "refraction after Ciddor": Case(env={"MUSE_DAR_CORRECT_METHOD": "Ciddor"}),
    "heliocentric": Case("--rvcorr=helio"),
    "geocentric": Case("--rvcorr=geo"),
    "topocentric": Case("--rvcorr=none"),
    "without astrometry": Case("--astrometry=false"),
    "without astrometry, narrow field": Case("--astrometry=false", data="nfm"),
    # cube
    "cosmic rays iraf": Case("--crtype=iraf --crsigma=5"),
    "cosmic rays mean": Case("--crtype=mean --crsigma=3"),
    "cosmic rays median": Case("--crsigma=3"),
    "cosmic rays off": Case("--crsigma=0"),
    "pixfrac one": Case("--pixfrac=0.6"),
    "pixfrac three": Case("--pixfrac=0.5,0.7,1.0"),
    "steps": Case("--dx=0.3 --dy=0.25 --dlambda=2.5"),
    "ld": Case("--ld=2"),
    "nearest": Case("--resample=nearest"),
    "linear": Case("--resample=linear"),
    "quadratic": Case("--resample=quadratic"),
    "renka": Case("--resample=renka --rc=1.5"),
    "lanczos": Case("--resample=lanczos"),
    "filters": Case("--filter=white,sim_I,sim_R,none,sim_7030,Nonsense"),
    "no image": Case("--filter=none"),
    # several exposures
    "two exposures": Case(data="two"),
    "two exposures, weights fwhm": Case("--weight=fwhm", data="two"),
    "two exposures, no weights": Case("--weight=none", data="two"),
    "two exposures, offsets and scales": Case(data="two", sof="offsets"),
}
WITH_SKY = {
    "model": sky(),
    "model, blue end": sky(data="blue"),
    "model, adaptive optics": sky(data="ao"),
    "model, narrow field": sky(data="nfm"),
    "model, two exposures": sky(data="two"),
    "model, mask in pixels": sky(sof="mask_pix"),
    "model, mask on the sky": sky(sof="mask_deg"),
    "model, mask on the sky, rotated": sky(data="two", sof="mask_deg", without="PIXTABLE_OBJECT_0002"),
    "model, fractions": sky("--skymodel_fraction=0.4 --skymodel_ignore=0.2"),
    "model, everything is sky": sky("--skymodel_fraction=1 --skymodel_ignore=0"),
    "model, sampling": sky("--skymodel_sampling=0.4 --skymodel_csampling=0.6"),
    "model, thresholds": sky("--sky_crsigma=5,3"),
    "model, no thresholds": sky("--sky_crsigma=0,0"),
    "model, given continuum": sky(others=GIVEN_CONTINUUM),
    "model, one file of LSF": sky(sof="lsf_merged"),
    "model, parametrised LSF": sky(sof="lsf_table"),
    "model, no flux calibration": sky(without="STD_RESPONSE"),
    "model, range cut": sky("--lambdamin=7275 --lambdamax=7300"),
    "model, rows dropped, no limits from before refraction": sky("--lambdaref=-1", data="gap"),
    "simple": Case("--skymethod=simple"),
    "simple, mask, fraction, threshold": Case(
        "--skymethod=simple --skymodel_fraction=0.3 --sky_crsigma=10,4", sof="mask_pix"
    ),
    "subtract-model": Case("--skymethod=subtract-model", sof="subtract"),
    "subtract-model, rows dropped, no limits from before refraction": Case(
        "--skymethod=subtract-model --lambdaref=-1", sof="subtract", without="SKY_CONTINUUM", others=SHORT_CONTINUUM
    ),
    "subtract-model, two exposures": Case("--skymethod=subtract-model", data="two", sof="subtract"),
}
SAVE = {
    "save cube": sky("--save=cube"),
    "save skymodel": sky("--save=skymodel"),
    "save individual": Case("--save=individual"),
    "save positioned": Case("--save=positioned"),
    "save combined": Case("--save=combined"),
}


#: Inputs with which the reference goes wrong and we, by default, stop or do what is right.
DEFECTS = {
    "numbers without decimal point": Case(edits=(("PIXTABLE_OBJECT", "ESO TEL AMBI TEMP", 12, 0),)),
    "two responses": Case(others=OTHER_RESPONSE["wfm"]),
    "nothing to subtract": Case("--skymethod=subtract-model"),
    "unusable output WCS": Case(sof="output_wcs", edits=(("OUTPUT_WCS", "CTYPE1", "GLON-TAN", 1),)),
    "unusable offsets": Case(sof="offsets", edits=(("OFFSET_LIST", "TTYPE3", "RA_OFF", 1),)),
    "no parallactic angle": Case(edits=(("PIXTABLE_OBJECT", "ESO TEL PARANG START", None, 0),)),
    "no epoch of the coordinates": Case(edits=(("PIXTABLE_OBJECT", "EQUINOX", None, 0),)),
    "response of another mode": Case(edits=(("STD_RESPONSE", "ESO INS MODE", "NFM-AO-N", 0),)),
    "no LSF for an IFU": sky(without="LSF_PROFILE-13"),
    "text as threshold": sky("--sky_crsigma=off,15"),
    "text as drop size": Case("--pixfrac=wide,0.8"),
    "four drop sizes": Case("--pixfrac=1,1,1,1"),
}


def edited(lines: list[str], edits, folder: Path) -> list[str]:
    """Return the lines of a set of frames with copies of the files that are to be edited."""
    tags, result = {tag for tag, *_ in edits}, []
    for line in lines:
        path, tag = line.split()
        if tag in tags:
            with fits.open(path) as hdus:
                for _, key, value, number in (edit for edit in edits if edit[0] == tag):
                    if value is None:
                        del hdus[number].header[key]
                    else:
                        hdus[number].header[key] = value
                path = folder / Path(path).name
                hdus.writeto(path)
        result.append(f"{path} {tag}")
    return result


def compare_runs(datasets, folder, case: Case) -> list[str]:
    """Run both recipes at the same time, check that they are content, and compare what they made."""
    data = datasets[case.data]
    lines = data.frames(case.sof, case.without)
    lines += [f"{datasets[other].folder / file} {tag}" for other, file, tag in case.others]
    lines = edited(lines, case.edits, folder)
    sof = folder / "case.sof"
    sof.write_text("\n".join(lines) + "\n")
    parameters = case.parameters.split()
    if not any(parameter.startswith("--skymethod") for parameter in parameters):
        parameters.append("--skymethod=none")
    if not any(parameter.startswith("--save") for parameter in parameters):
        parameters.append(EVERYTHING + ("" if "--skymethod=none" in parameters else ",skymodel"))
    env = {"OMP_NUM_THREADS": "1", **case.env}
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(command, sof, folder / name, *parameters, env=env)
            for name, command in (("reference", run.reference), ("ours", run.ours))
        ]
    expected, found = (pending.result() for pending in runs)
    assert expected.status == 0, expected.output
    assert found.status == 0, found.output
    assert any(expected.folder.glob("*.fits"))
    stray = [path.name for path in found.folder.iterdir() if path.suffix not in (".fits", ".log")]
    assert not stray
    sky_fitted = "--skymethod=model" in parameters
    return compare.products(expected.folder, found.folder, sky_fitted=sky_fitted)


@pytest.mark.parametrize("name", WITHOUT_SKY)
def test_without_sky_subtraction(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, WITHOUT_SKY[name]) == []


@pytest.mark.parametrize("name", WITH_SKY)
def test_with_sky_subtraction(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, WITH_SKY[name]) == []


@pytest.mark.parametrize("name", SAVE)
def test_saved_products(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, SAVE[name]) == []


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_reproduced(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, DEFECTS[name]) == []
