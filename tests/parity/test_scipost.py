# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole recipe against ESO's, frame by frame and parameter by parameter, from the same files as a user would.

Both run on the same set of frames, ours with ``MUSE_COMPAT=2.8.7``, and all products are compared with the tolerances
of `harness.tolerances`. The steps by themselves, with more extreme values, are in the other modules of this folder.
"""

import pytest
from harness import compare
from harness import tolerances as tol
from harness.case import Case, compare_runs, run_both, sky

pytestmark = pytest.mark.reference

OTHER_RESPONSE = {name: ((name, "calib/STD_RESPONSE.fits", "STD_RESPONSE"),) for name in ("wfm", "noflat")}
SHORT_CONTINUUM = (("small", "calib/SKY_CONTINUUM.fits", "SKY_CONTINUUM"),)
GIVEN_CONTINUUM = (("wfm", "calib/SKY_CONTINUUM.fits", "SKY_CONTINUUM"),)

RAMAN_MASK = (("raman", "calib/SKY_MASK_pix.fits", "SKY_MASK"),)
RAMAN_LINES = (("raman", "calib/RAMAN_LINES.fits", "RAMAN_LINES"),)

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
    "three exposures, offsets and scales": Case(data="eight", sof="offsets", without="PIXTABLE_OBJECT_000[4-8]"),
    "three exposures, weights fwhm": Case("--weight=fwhm", data="eight", without="PIXTABLE_OBJECT_000[4-8]"),
    "eight exposures": Case(data="eight"),
    "eight exposures, offsets and scales": Case(data="eight", sof="offsets"),
    "eight exposures, weights fwhm, offsets": Case("--weight=fwhm", data="eight", sof="offsets"),
    "eight exposures, no weights, offsets": Case("--weight=none", data="eight", sof="offsets"),
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
    "model, parametrised LSF, rows not sorted": sky(data="noflat", sof="lsf_table"),
    "model, no flux calibration": sky(without="STD_RESPONSE"),
    "model, range cut": sky("--lambdamin=7275 --lambdamax=7300"),
    "model, rows dropped, no limits from before refraction": sky("--lambdaref=-1", data="gap"),
    "model, red end": sky(data="red_sky"),
    "model, no line in range": sky(data="no_lines"),
    "model, edge of the notch filter": sky(data="gap"),
    "model, adaptive optics, mask on the sky": sky(data="ao", sof="mask_deg"),
    "model, adaptive optics, fractions, sampling": sky(
        "--skymodel_fraction=0.5 --skymodel_ignore=0.1 --skymodel_sampling=0.25 --skymodel_csampling=0.5", data="ao"
    ),
    "model, narrow field, mask in pixels": sky(data="nfm", sof="mask_pix"),
    "model, narrow field, fractions, sampling": sky(
        "--skymodel_fraction=0.7 --skymodel_ignore=0 --skymodel_sampling=0.5 --sky_crsigma=4,4", data="nfm"
    ),
    "simple, adaptive optics": Case("--skymethod=simple", data="ao"),
    "simple, narrow field": Case("--skymethod=simple", data="nfm"),
    "subtract-model, narrow field": Case("--skymethod=subtract-model", data="nfm", sof="subtract"),
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
#: What the steps share: the white-light image and its cosmic-ray flags, the mask, the line spread functions.
INTERPLAY = {
    "autocalibration, no sky": Case("--autocalib=deepfield", save="autocal,skymodel"),
    "autocalibration": sky("--autocalib=deepfield", save="autocal"),
    "autocalibration, mask": sky("--autocalib=deepfield", sof="mask_pix", save="autocal"),
    "autocalibration, mask on the sky": sky("--autocalib=deepfield", sof="mask_deg", save="autocal"),
    "autocalibration, simple": Case("--skymethod=simple --autocalib=deepfield --sky_crsigma=5,5", save="autocal"),
    "autocalibration, subtract-model": Case("--skymethod=subtract-model --autocalib=deepfield", sof="subtract"),
    "autocalibration, two exposures": sky("--autocalib=deepfield", data="two", save="autocal"),
    "factors of the user": sky("--autocalib=user", sof="autocal", save="autocal"),
    "factors of the user, no sky": Case("--autocalib=user", sof="autocal"),
    "lasers, no sky": Case(data="raman", sof="raman", save="raman"),
    "lasers": sky(data="raman", sof="raman", save="raman"),
    "lasers, width and fractions": sky(
        "--raman_width=14 --skymodel_fraction=0.3 --skymodel_ignore=0.02", data="raman", sof="raman", save="raman"
    ),
    "lasers, mask": sky(data="raman", sof="raman", save="raman", others=RAMAN_MASK),
    "lasers, autocalibration": sky("--autocalib=deepfield", data="raman", sof="raman", save="raman,autocal"),
    "lasers, autocalibration, mask": sky(
        "--autocalib=deepfield", data="raman", sof="raman", save="raman,autocal", others=RAMAN_MASK
    ),
    "lasers, autocalibration, simple": Case(
        "--skymethod=simple --autocalib=deepfield", data="raman", sof="raman", save="raman,autocal"
    ),
    "lasers in the wide field without adaptive optics": Case(sof="none", others=RAMAN_LINES, save="raman"),
    "refraction checked": sky("--darcheck=check"),
    "refraction checked, narrow field": Case("--darcheck=check", data="nfm"),
    "refraction checked, autocalibration, lasers": sky(
        "--darcheck=check --autocalib=deepfield", data="raman", sof="raman", save="raman,autocal"
    ),
}
#: The residual is found by fits that the reference stops early: positions and what follows from them differ a little.
CORRECTED = {
    "refraction corrected": Case("--darcheck=correct"),
    "refraction corrected, model": sky("--darcheck=correct"),
    "refraction corrected, narrow field": Case("--darcheck=correct", data="nfm"),
}
FULL_RANGE = sky("--save=cube,skymodel,individual", data="full_range")
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
    "Raman lines with parametrised LSF": Case(
        data="ao", sof="lsf_table", others=(("ao", "calib/RAMAN_LINES.fits", "RAMAN_LINES"),)
    ),
    "text as threshold": sky("--sky_crsigma=off,15"),
    "text as drop size": Case("--pixfrac=wide,0.8"),
    "four drop sizes": Case("--pixfrac=1,1,1,1"),
}


@pytest.mark.parametrize("name", WITHOUT_SKY)
def test_without_sky_subtraction(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, WITHOUT_SKY[name]) == []


@pytest.mark.parametrize("name", WITH_SKY)
def test_with_sky_subtraction(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, WITH_SKY[name]) == []


@pytest.mark.parametrize("name", INTERPLAY)
def test_interplay_of_the_steps(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, INTERPLAY[name]) == []


@pytest.mark.parametrize("name", CORRECTED)
def test_corrected_refraction(datasets, tmp_path, name):
    expected, found = (outcome.folder for outcome in run_both(datasets, tmp_path, CORRECTED[name]))
    product = "PIXTABLE_POSITIONED_0001.fits"
    assert compare.positions(expected / product, found / product, tol.DAR_CORRECTED) == []


@pytest.mark.slow
def test_full_range(datasets, tmp_path):
    """All wavelengths of two IFUs, a quarter of their slices, with every kind of sky line."""
    assert compare_runs(datasets, tmp_path, FULL_RANGE) == []


@pytest.mark.parametrize("name", SAVE)
def test_saved_products(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, SAVE[name]) == []


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_reproduced(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, DEFECTS[name]) == []
