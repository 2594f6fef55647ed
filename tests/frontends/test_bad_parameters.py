# SPDX-License-Identifier: GPL-2.0-or-later
"""Parameters and variables of the environment that cannot be used.

What each run has to do then is in `harness.bench`.
"""

import pytest

PARAMETERS = {
    "--nosuch=1": "Command line parameter '--nosuch=1' not recognized",
    "--skymethod=foo": "--skymethod: found 'foo', expected one of none, subtract-model, ",
    "--astrometry=maybe": "--astrometry: found 'maybe', expected TRUE or FALSE",
    "--dx=wide": "--dx: found 'wide', expected a number",
    "--dx=-1": "parameter dx: found -1, expected a number at least 0",
    "--dy=nan": "parameter dy: found nan, expected a finite number",
    "--dx=1e-7": "output grid: .* are positions and wavelengths right",
    "--dlambda=inf": "parameter dlambda: found inf, expected a finite number",
    "--rc=0": "parameter rc: found 0, expected a number above 0",
    "--pixfrac=wide": "parameter pixfrac: found 'wide', expected one to three numbers above 0",
    "--pixfrac=0.8,0": "parameter pixfrac: found '0.8,0', expected one to three numbers above 0",
    "--save=cube,foo": "parameter save: found 'foo', expected some of cube, autocal, raman",
    "--save=": "parameter save: found nothing, expected some of cube",
    "--lambdamin=8000": r"-12.fits: found no rows with wavelengths from 8000 to 10000 Angstrom",
    "--lambdamin=7300 --lambdamax=7200": "lambdamin, lambdamax: found 7300 and 7200, expected a range",
    "--skymodel_fraction=2": "parameter skymodel_fraction: found 2, expected a number above 0, at most 1",
    "--skymodel_fraction=0": "parameter skymodel_fraction: found 0, expected a number above 0, at most 1",
    "--skymodel_ignore=-0.1": "parameter skymodel_ignore: found -0.1, expected a number at least 0, at most 1",
    "--skymodel_ignore=1": "sky spectrum: no pixel left",
    "--skymodel_sampling=0": "parameter skymodel_sampling: found 0, expected a number above 0",
    "--skymodel_sampling=1e-9": "out of memory",
    "--skymodel_sampling=1000": "parameter skymodel_sampling: 1000.0 Angstrom is wider than the LSF_PROFILE",
    "--skymodel_csampling=-1": "parameter skymodel_csampling: found -1, expected a number above 0",
    "--sky_crsigma=a,b": "parameter sky_crsigma: found 'a,b', expected two numbers",
}


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_unusable_parameter(bench, parameters):
    sof = "model" if "sky" in parameters else "none"
    bench.fails(bench.frames(sof), *parameters.split(), says=PARAMETERS[parameters])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MUSE_COMPAT", "9.9", "MUSE_COMPAT: found '9.9', expected '2.8.7' or nothing"),
        ("MUSE_MAX_MEMORY", "much", "MUSE_MAX_MEMORY: found 'much', expected a size such as 4G"),
        ("MUSE_MAX_MEMORY", "10M", "MUSE_MAX_MEMORY: 10 MiB are too little: .* expected at least"),
        ("MUSE_SCRATCH", "/nosuch", "MUSE_SCRATCH: /nosuch: found no folder of this name"),
        ("MUSE_RESUME", "/nosuch", "MUSE_RESUME: /nosuch: found no folder of this name"),
        ("OMP_NUM_THREADS", "all", "OMP_NUM_THREADS: found 'all', expected a number from 1 to 1024"),
        ("OMP_NUM_THREADS", "0", "OMP_NUM_THREADS: found '0', expected a number from 1 to 1024"),
    ],
)
def test_unusable_environment(bench, monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    bench.fails(bench.frames(), says=says)
