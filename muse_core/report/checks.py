# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of a run: each with value, limits, and whether it is ok, wants a look, or is bad."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from muse_core.errors import ParameterError
from muse_core.model.record import record

OK, LOOK, BAD = "ok", "look", "bad"
_RANK = {BAD: 0, LOOK: 1, OK: 2}


@record
class Limit:
    """What is expected of a number.

    Attributes
    ----------
    section : str
        Where the report has more about it.
    label, unit : str
        What it is.
    look, bad : float
        Beyond: wants a look, is bad.
    kind : str
        ``high``: values above are beyond; ``low``: values below; ``ratio``: those above the limit or below its inverse.
    hint : str
        What a value beyond may mean, and what to do.
    """

    section: str
    label: str
    unit: str
    look: float
    bad: float
    kind: str
    hint: str

    def status(self, value: float) -> str:
        """Judge a value."""
        if self.kind == "low":
            return BAD if value < self.bad else LOOK if value < self.look else OK
        if self.kind == "ratio":
            value = max(value, 1 / value) if value > 0 else math.inf
        return BAD if value > self.bad else LOOK if value > self.look else OK

    def expected(self) -> str:
        """Say what is ok."""
        if self.kind == "ratio":
            return f"{1 / self.look:.2f} to {self.look:.2f}"
        return f"{'at least' if self.kind == 'low' else 'at most'} {self.look:g}"


#: The limits, by the name under which a file may change them.
LIMITS: dict[str, Limit] = {
    "filled": Limit("field", "Voxels with data", "%", 95.0, 80.0, "low", "bad slices, or too fine a grid"),
    "line_residual": Limit(
        "sky", "Residual at sky lines", "% of the line", 4.0, 8.0, "high",
        "line spread function or line fluxes do not fit: LSF_PROFILE of the right night? sky mask?",
    ),
    "line_profile": Limit(
        "sky", "Sky lines that the fit leaves in the continuum", "% of the line", 2.5, 6.0, "high",
        "the line spread function has another width: LSF_PROFILE of the right night?",
    ),
    "line_scatter": Limit(
        "sky", "Scatter at sky lines over that between them", "", 1.2, 1.5, "high",
        "the lines fit on average but not in each slice: LSF_PROFILE, wavelength calibration",
    ),
    "continuum_residual": Limit(
        "sky", "Continuum left of the sky", "% of the sky", 8.0, 15.0, "high",
        "the sky mask is no mean of the sky: objects in it, or only its darkest part",
    ),
    "mask_on_sources": Limit(
        "sky", "Sky mask on sources", "% of the mask", 15.0, 30.0, "high",
        "objects are taken for sky and subtracted: give a SKY_MASK, or another skymodel_fraction",
    ),
    "stat": Limit(
        "noise", "Scatter over the square root of STAT", "", 1.15, 1.3, "ratio",
        "errors cannot be trusted: scale STAT by the square of this, or look for residuals",
    ),
    "slice_level": Limit(
        "slices", "Level of the worst slice", "% of the sky", 8.0, 15.0, "high",
        "flat field or illumination of a slice: --autocalib=deepfield, or leave the slice out",
    ),
    "misaligned": Limit(
        "exposures", "Offset from the other exposures", "spaxel", 1.0, 2.5, "high",
        "pointing: run muse_exp_align and give its OFFSET_LIST",
    ),
    "transmission": Limit(
        "exposures", "Flux relative to the other exposures", "", 1.15, 1.4, "ratio",
        "clouds or another response: FLUX_SCALE in the OFFSET_LIST, or leave the exposure out",
    ),
    "sky_residual": Limit(
        "exposures", "Sky residual relative to the other exposures", "", 1.6, 3.0, "high",
        "its sky does not fit: sky mask, line fit of this exposure",
    ),
    "image_quality": Limit(
        "exposures", "FWHM relative to the other exposures", "", 1.4, 2.0, "high",
        "seeing or focus: weight=fwhm, or leave the exposure out",
    ),
    "sky_brightness": Limit(
        "exposures", "Sky brightness relative to the other exposures", "", 2.0, 5.0, "high", "moon or twilight",
    ),
    "matches": Limit(
        "alignment", "Sources in common with other images", "", 3.0, 1.0, "low",
        "the offset is not known: --threshold, --srcmin, --rsearch of muse_exp_align",
    ),
    "cosmic_rays": Limit(
        "exposures", "Rows flagged as cosmic rays", "%", 2.0, 5.0, "high", "crsigma too low, or exposures do not match",
    ),
    "flagged": Limit("exposures", "Rows with a flag", "%", 10.0, 25.0, "high", "bad pixels, or saturation"),
    "no_data": Limit(
        "steps", "Autocalibration bins without data", "%", 5.0, 20.0, "high", "too little sky: another mask"
    ),
    "darcheck": Limit(
        "exposures", "Residual refraction", "arcsec", 0.1, 0.25, "high", "--darcheck=correct, or lambdaref",
    ),
    "warnings": Limit("machine", "Warnings in the log", "", 0.5, math.inf, "high", "read them below"),
}  # fmt: skip


def read_limits(path: Path | None) -> dict[str, Limit]:
    """Return the limits, with those that a file (TOML: a table a name, with look and bad) changes.

    Raises
    ------
    ParameterError
        The file cannot be read, or has something else in it.
    """
    if path is None:
        return LIMITS
    try:
        wanted = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ParameterError(f"file of limits {path}: {error}") from error
    limits = dict(LIMITS)
    for name, values in wanted.items():
        if name not in limits:
            raise ParameterError(f"file of limits {path}: found [{name}], expected one of {', '.join(LIMITS)}")
        if not isinstance(values, Mapping) or not set(values) <= {"look", "bad"}:
            raise ParameterError(f"file of limits {path}: [{name}]: found {values!r}, expected look and bad")
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values.values()):
            raise ParameterError(f"file of limits {path}: [{name}]: found {values!r}, expected numbers")
        limits[name] = dataclasses.replace(limits[name], **values)
    return limits


@record(frozen=False)
class Judge:
    """Collects checks.

    Attributes
    ----------
    limits : dict of str to Limit
        The limits.
    checks : list of dict
        What has been checked.
    """

    limits: Mapping[str, Limit]
    checks: list[dict] = dataclasses.field(default_factory=list)

    def check(self, name: str, value: float | None, where: str = "", exposure: str | None = None) -> None:
        """Check a number; nothing if it is not known.

        Parameters
        ----------
        name : str
            Name of the limit.
        value : float or None
            The number.
        where : str
            What of the run it is of: group of lines, slice.
        exposure : str, optional
            DATE-OBS of the exposure that it is of.
        """
        if value is None or not math.isfinite(value):
            return
        limit = self.limits[name]
        status = limit.status(value)
        self.checks.append(
            {
                "name": name,
                "section": limit.section,
                "label": limit.label,
                "where": where,
                "exposure": exposure,
                "value": value,
                "unit": limit.unit,
                "look": limit.look,
                "bad": limit.bad if math.isfinite(limit.bad) else None,
                "kind": limit.kind,
                "expected": limit.expected(),
                "status": status,
                "hint": "" if status == OK else limit.hint,
            }
        )

    def sorted(self) -> list[dict]:
        """Return the checks, worst first."""
        return sorted(self.checks, key=lambda item: _RANK[item["status"]])

    @property
    def verdict(self) -> str:
        """The worst of all."""
        return min((item["status"] for item in self.checks), key=_RANK.__getitem__, default=OK)


def outliers(checks: Sequence[Mapping]) -> list[dict]:
    """Return the exposures that have something beyond its limits, worst first, and what that is."""
    found: dict[str, dict] = {}
    for item in checks:
        if item["exposure"] and item["status"] != OK:
            one = found.setdefault(
                item["exposure"], {"exposure": item["exposure"], "status": item["status"], "why": []}
            )
            one["status"] = min(one["status"], item["status"], key=_RANK.__getitem__)
            one["why"].append(item["label"] + (f" ({item['where']})" if item["where"] else ""))
    return sorted(found.values(), key=lambda one: (_RANK[one["status"]], one["exposure"]))
