# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run did to the data, in words, from its parameters and the tags of its frames."""

from collections.abc import Mapping

from muse_core.report.products import Provenance

_VELOCITIES = {"bary": "barycentric", "helio": "heliocentric", "geo": "geocentric"}
_WEIGHTS = {"exptime": "exposure time", "fwhm": "exposure time and seeing", "header": "given in the headers"}


def what_was_done(made: Provenance) -> list[str]:
    """Return the steps of a run, in their order, each in a few words."""
    given = {p["name"]: p["value"] for p in made.parameters}
    tags = {item["tag"] for item in made.inputs}
    done = []
    if "lambdaref" in given:
        done += _of_exposures(given, tags)
    if made.recipe == "muse_create_sky":
        done.append("sky spectrum, lines and continuum from the darkest part of the field")
    if made.recipe == "muse_exp_align":
        done.append("offsets from the sources in common")
    if "OFFSET_LIST" in tags:
        done.append("offsets of OFFSET_LIST")
    if given.get("weight") not in (None, "none"):
        done.append(f"weights: {_WEIGHTS.get(given['weight'], given['weight'])}")
    if "resample" in given:
        done += _of_cube(given)
    return done


def _of_exposures(given: Mapping[str, str], tags: set[str]) -> list[str]:
    done = []
    if _number(given["lambdaref"]) > 0:
        done.append(f"refraction relative to {_number(given['lambdaref']):g} Å")
    if given.get("darcheck", "none") != "none":
        done.append("refraction checked" + (" and corrected" if given["darcheck"] == "correct" else ""))
    curves = [tag for tag in ("STD_RESPONSE", "EXTINCT_TABLE", "STD_TELLURIC") if tag in tags]
    done.append(f"flux by {', '.join(curves)}" if "STD_RESPONSE" in tags else "no flux calibration: counts")
    if "RAMAN_LINES" in tags:
        done.append("Raman lines removed")
    if given.get("autocalib", "none") != "none":
        done.append(f"autocalibration: {given['autocalib']}")
    if "skymethod" in given:
        done.append("sky not subtracted" if given["skymethod"] == "none" else f"sky: {given['skymethod']}")
    if given.get("rvcorr", "none") != "none":
        done.append(f"velocities {_VELOCITIES.get(given['rvcorr'], given['rvcorr'])}")
    if given.get("astrometry") == "false":
        done.append("no astrometry")
    return done


def _of_cube(given: Mapping[str, str]) -> list[str]:
    method = given["resample"]
    done = [f"resampled by {method}" + (f", pixfrac {given['pixfrac']}" if method == "drizzle" else "")]
    if _number(given.get("crsigma", "0")) > 0:
        done.append(f"cosmic rays beyond {_number(given['crsigma']):g}σ ({given.get('crtype', 'median')})")
    return done


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
