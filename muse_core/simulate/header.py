# SPDX-License-Identifier: GPL-2.0-or-later
"""Primary headers of simulated pixel tables: the cards of a real one that matter after muse_scibasic."""

import datetime

import numpy as np

from muse_core.model.header import PIXTABLE
from muse_core.simulate import instrument
from muse_core.simulate.pointing import ELEVATION_M, LATITUDE_DEG, LONGITUDE_DEG, mjd_of, sidereal_time_deg, zenith_of

_SECONDS_PER_DAY = 86400.0


def telescope_cards(spec) -> list[tuple]:
    """Cards of target, time, telescope, atmosphere and instrument.

    Parameters
    ----------
    spec : ExposureSpec
        The exposure.
    """
    ra, dec = spec.header_position
    mjd = mjd_of(spec.date_obs)
    end = mjd + spec.exptime / _SECONDS_PER_DAY
    (z0, q0), (z1, q1) = zenith_of(ra, dec, mjd), zenith_of(ra, dec, end)
    date = datetime.datetime.fromisoformat(spec.date_obs)
    utc = (date - datetime.datetime.combine(date.date(), datetime.time())).total_seconds()
    lst = sidereal_time_deg(mjd) * 240.0
    mode = spec.instrument_mode
    cards = [
        ("ORIGIN", "ESO-PARANAL", "European Southern Observatory"),
        ("DATE", spec.date_obs[:19], "file creation date"),
        ("TELESCOP", "ESO-VLT-U4", "ESO <TEL>"),
        ("INSTRUME", "MUSE", "Instrument used."),
        ("RA", round(ra, 6), "[deg] RA (J2000.0) pointing"),
        ("DEC", round(dec, 5), "[deg] DEC (J2000.0) pointing"),
        ("EQUINOX", 2000.0, "Standard FK5"),
        ("RADECSYS", "FK5", "Coordinate system"),
        ("EXPTIME", float(spec.exptime), "Integration time"),
        ("MJD-OBS", round(mjd, 8), "Obs start"),
        ("DATE-OBS", spec.date_obs, "Observing date"),
        ("UTC", round(utc, 3), "[s] UTC at start"),
        ("LST", round(lst, 3), "[s] LST at start"),
        ("PI-COI", "UNKNOWN", "PI-COI name."),
        ("OBSERVER", "UNKNOWN", "Name of observer."),
        ("OBJECT", spec.object_name, "Original target."),
        ("ESO OBS ID", 200324947, "Observation block ID"),
        ("ESO OBS NAME", f"SIM-{mode.name}", "OB name"),
        ("ESO OBS PROG ID", "60.A-9100(A)", "ESO program identification"),
        ("ESO OBS TARG NAME", spec.object_name, "OB target name"),
        ("ESO OBS START", spec.date_obs[:19], "OB start time"),
        ("ESO TPL ID", f"MUSE_{mode.name[:3].lower()}_obs", "Template signature ID"),
        ("ESO TPL NAME", "Simulated observation", "Template name"),
        ("ESO TPL NEXP", 1, "Number of exposures in template"),
        ("ESO TPL EXPNO", 1, "Exposure number in template"),
        ("ESO DPR CATG", "SCIENCE", "Observation category"),
        ("ESO DPR TYPE", spec.raw_type, "Exposure type"),
        ("ESO DPR TECH", "IFU", "Observation technique"),
        ("ESO TEL GEOLAT", LATITUDE_DEG, "[deg] Tel geo latitute (+=North)"),
        ("ESO TEL GEOLON", LONGITUDE_DEG, "[deg] Tel geo longitude (+=East)"),
        ("ESO TEL GEOELEV", ELEVATION_M, "[m] Elevation above sea level"),
        ("ESO TEL AIRM START", round(1 / np.cos(np.radians(z0)), 3), "Airmass at start"),
        ("ESO TEL AIRM END", round(1 / np.cos(np.radians(z1)), 3), "Airmass at end"),
        ("ESO TEL PARANG START", round(q0, 3), "[deg] Parallactic angle at start"),
        ("ESO TEL PARANG END", round(q1, 3), "[deg] Parallactic angle at end"),
        ("ESO TEL ALT", round(90 - z0, 3), "[deg] Alt angle at start"),
        ("ESO TEL AMBI TEMP", spec.temperature_c, "[C] Ambient temperature"),
        ("ESO TEL AMBI RHUM", 14.5, "[%] Ambient relative humidity"),
        ("ESO TEL AMBI PRES START", spec.pressure_hpa, "[hPa] Ambient pressure at start"),
        ("ESO TEL AMBI PRES END", spec.pressure_hpa, "[hPa] Ambient pressure at end"),
        ("ESO TEL AMBI FWHM START", round(1.1 * spec.seeing, 2), "[arcsec] Observatory seeing"),
        ("ESO TEL AMBI FWHM END", round(1.15 * spec.seeing, 2), "[arcsec] Observatory seeing"),
        ("ESO TEL IA FWHM", round(1.05 * spec.seeing, 3), "[arcsec] Delivered seeing corrected by airmass"),
        ("ESO OCS SGS AG FWHMX AVG", round(0.98 * spec.seeing, 3), "[arcsec] AG FWHM X average"),
        ("ESO OCS SGS AG FWHMY AVG", round(1.01 * spec.seeing, 3), "[arcsec] AG FWHM Y average"),
        ("ESO INS MODE", mode.name, "Instrument mode used"),
        ("ESO INS DROT POSANG", float(spec.posang), "[deg] Derotator position angle"),
        ("ESO INS DROT MODE", spec.drot_mode, "Derotator mode"),
        ("ESO INS TEMP11 VAL", 13.76, "[C] Left IFU temperature"),
    ]
    if mode.is_nfm:
        cards += [
            ("ESO DRS MUSE RTC STREHL", 12.5, "Mean RTC Strehl ratio"),
            ("ESO DRS MUSE RTC STREHERR", 1.5, "Error of the mean RTC Strehl ratio"),
        ]
    return cards


def detector_cards(ifu: int) -> list[tuple]:
    """Cards of the detector of an IFU, which go with the merging of the IFUs."""
    return [
        ("ESO DET READ CURID", 1, "Used readout mode id"),
        ("ESO DET CHIP NAME", f"SIM-{ifu:02d}", "Detector chip name"),
        ("ESO DET CHIP ID", f"ESO-Sim{ifu:02d}", "Detector chip identification"),
        ("ESO DET OUT1 GAIN", 1.1, "[e-/adu] Conversion electrons to ADU"),
        ("ESO DET OUT1 RON", instrument.READ_NOISE, "[e-] Readout noise"),
        ("ESO DET OUT GAIN", 1.1, "[e-/adu] Conversion electrons to ADU"),
        ("ESO DET2 EXP NO", 1, "Exposure number"),
    ]


def scibasic_cards(name: str, ifu: int, spec) -> list[tuple]:
    """Cards of the products of muse_scibasic: PRO keywords with the history of its run."""
    rec = "ESO PRO REC1 "
    calibrations = ("MASTER_BIAS", "MASTER_FLAT", "TRACE_TABLE", "WAVECAL_TABLE", "GEOMETRY_TABLE", "TWILIGHT_CUBE")
    cards = [
        ("ARCFILE", f"MUSE.{spec.date_obs}.fits", "Archive File Name"),
        ("PIPEFILE", name, "Filename of data product"),
        ("ESO PRO DID", "PRO-1.16", "Data dictionary for PRO"),
        ("ESO PRO CATG", spec.tag, "Category of pipeline product frame"),
        ("ESO PRO TYPE", "REDUCED", "Product type"),
        ("ESO PRO TECH", "IFU", "Observation technique"),
        ("ESO PRO SCIENCE", True, "Scientific product if T"),
        (rec + "ID", "muse_scibasic", "Pipeline recipe (unique) identifier"),
        (rec + "DRS ID", "cpl-7.2.3", "Data Reduction System identifier"),
        (rec + "PIPE ID", "muse/2.8.7", "Pipeline (unique) identifier"),
        (rec + "RAW1 NAME", f"MUSE.{spec.date_obs}.fits", "File name of raw frame"),
        (rec + "RAW1 CATG", spec.raw_type, "Category of raw frame"),
        ("ESO PRO DATANCOM", 1, "Number of combined frames"),
    ]
    for i, tag in enumerate(calibrations, 1):
        cards += [(f"{rec}CAL{i} NAME", f"{tag}-{ifu:02d}.fits"), (f"{rec}CAL{i} CATG", tag)]
    return cards + [
        (rec + "PARAM1 NAME", "nifu", "IFU to handle"),
        (rec + "PARAM1 VALUE", str(ifu), "Default: 0"),
        (rec + "PARAM2 NAME", "crop", "Crop the output pixel tables"),
        (rec + "PARAM2 VALUE", "true", "Default: true"),
        ("ESO QC SCIBASIC NSATURATED", 0, "Number of saturated pixels in output data"),
    ]


def pixtable_cards(ifu: int, limits: dict[str, tuple], with_flat_field: bool) -> list[tuple]:
    """Cards of the pixel table: kind, limits, offsets of the slices, flat-field levels.

    Parameters
    ----------
    ifu : int
        IFU.
    limits : dict
        ``X``, ``Y`` and ``LAMBDA`` to (lowest, highest) value, as numpy.float32.
    with_flat_field : bool
        Is a flat-field spectrum attached?
    """
    level = 12000.0 * instrument.ifu_level(ifu)
    cards = [("ESO DRS MUSE PIXTABLE TYPE", "GEOFULL", "Pixel table type")]
    for axis, (low, high) in limits.items():
        cards += [
            (f"{PIXTABLE}LIMITS {axis} LOW", np.float32(low)),
            (f"{PIXTABLE}LIMITS {axis} HIGH", np.float32(high)),
        ]
    for axis, low, high in (("IFU", ifu, ifu), ("SLICE", 1, 48)):
        cards += [(f"{PIXTABLE}LIMITS {axis} LOW", low), (f"{PIXTABLE}LIMITS {axis} HIGH", high)]
    for number in range(1, 49):
        offset = instrument.slice_geometry(ifu, number).offset
        cards.append((f"{PIXTABLE}EXP0 IFU{ifu:02d} SLICE{number:02d} XOFFSET", offset))
    cards += [
        (PIXTABLE + "ILLUM1", np.float32(1.0 + 0.001 * ifu)),
        (PIXTABLE + "ILLUM MEAN", np.float32(1.0)),
        (PIXTABLE + "ILLUM STDEV", np.float32(0.002)),
        ("ESO DRS MUSE FLAT FLUX SKY", level, "Twilight level of this IFU"),
    ]
    if with_flat_field:
        cards.append(("ESO DRS MUSE FLAT FLUX LAMP", 2.5 * level, "Lamp-flat level of this IFU"))
    return cards
