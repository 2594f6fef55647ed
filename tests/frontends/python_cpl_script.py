# SPDX-License-Identifier: GPL-2.0-or-later
"""Run by test_python_cpl.py in an interpreter that has python-cpl; prints what it finds as JSON.

Usage: python_cpl_script.py what folder-of-plugins
"""

import json
import os
import sys

import cpl
from astropy.io import fits


def description(name):
    """Return the attributes of a recipe, without texts."""
    recipe = cpl.Recipe(name)
    return {
        "tags": recipe.tags,
        "tag": recipe.tag,
        "output": recipe.output,
        "version": recipe.version,
        "calib": [(c.tag, c.min, c.max) for c in recipe.calib],
        "param": [
            (p.name, p.fullname, p.context, p.default, p.type.__name__, p.range, p.sequence, p.enabled)
            for p in recipe.param
        ],
    }


def from_files():
    """Run from files, into a folder."""
    open("raw.fits", "w").close()
    recipe = cpl.Recipe("demo")
    recipe.param.dx = 2
    recipe.output_dir = "out"
    result = recipe("raw.fits", calib={"LSF": ["raw.fits", "raw.fits"]}, param={"save": "x"})
    header = fits.getheader(result.DATACUBE_FINAL)
    return {
        "file": os.path.basename(result.DATACUBE_FINAL),
        "tags": sorted(result.tags),
        "header": [header["DEMO dx"], header["DEMO save"], len(header["DATAMD5"]), "CHECKSUM" in header],
        "info": result.log.info,
        "warning": result.log.warning,
        "error": result.error,
        "status": result.stat.return_code,
    }


def from_memory():
    """Run from HDULists, into memory."""
    image = fits.HDUList([fits.PrimaryHDU([[1.0, 2.0]])])
    result = cpl.Recipe("demo")(image, calib={"EXTINCT_TABLE": image})
    return {"data": result.DATACUBE_FINAL[1].data.tolist(), "left": os.listdir(".")}


def threads():
    """Run four at once."""
    open("raw.fits", "w").close()
    recipe = cpl.Recipe("demo", threaded=True)
    results = [recipe("raw.fits", param={"dx": number}) for number in range(4)]
    return [result.DATACUBE_FINAL[0].header["DEMO dx"] for result in results]


def failures():
    """Fail in several ways."""
    open("raw.fits", "w").close()
    recipe = cpl.Recipe("demo")
    found = {}
    for how in ("DataError", "MissingFileError", "abort"):
        try:
            recipe("raw.fits", param={"fail": how})
        except cpl.CplError as error:
            found[how] = [error.code, error.msg, error.function, os.path.basename(error.file), error.log.error]
    found["left"] = os.listdir(".")
    return found


if __name__ == "__main__":
    what, folder = sys.argv[1:]
    if folder != "default":
        cpl.Recipe.path = folder
    call = {"scipost": lambda: description("muse_scipost"), "demo": lambda: description("demo")}.get(what) or globals()[
        what
    ]
    print("JSON " + json.dumps(call()))
