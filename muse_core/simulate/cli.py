# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``muse-simulate``: make a demonstration data set."""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import muse_core
from muse_core.errors import MuseError
from muse_core.simulate.dataset import dithered, make_dataset, mosaic, sky_exposure
from muse_core.simulate.exposure import ExposureSpec
from muse_core.simulate.instrument import MODES


def _ifu_list(text: str) -> tuple[int, ...]:
    """Parse ``1-4,12``."""
    ifus = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            ifus += range(int(first), int(last or first) + 1)
        except ValueError:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected a list such as 1-4,12") from None
    return tuple(ifus)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="muse-simulate",
        description="Make simulated MUSE exposures, their calibrations and set-of-frames files.",
        epilog="Reduce it with, for example: muse-esorex muse_scipost DIRECTORY/model.sof; with --sky: muse-esorex "
        "muse_create_sky DIRECTORY/create_sky.sof. The offsets and flux scales that take out the errors are in "
        "DIRECTORY/calib/OFFSET_LIST.fits.",
    )
    default = ExposureSpec()
    add = parser.add_argument
    add("directory", type=Path, help="where to write; made if needed")
    add("--ifus", type=_ifu_list, default=default.ifus, metavar="LIST", help="IFUs, such as 1-4,12 (default: 1-24)")
    add(
        "--lambda",
        dest="lbda",
        type=float,
        nargs=2,
        default=(6400.0, 6600.0),
        metavar=("MIN", "MAX"),
        help="wavelength range in Angstrom (default: 6400 6600)",
    )
    add("--exposures", type=int, default=1, metavar="N", help="number of dithered exposures (default: 1)")
    add("--fields", type=int, choices=(1, 2, 4), default=1, help="fields of a mosaic, of N exposures each (default: 1)")
    add("--sky", action="store_true", help="with an exposure of empty sky, for muse_create_sky")
    add("--flux-error", type=float, default=0.0, metavar="PART", help="relative, of all but the first (default: 0)")
    add("--pointing-error", type=float, default=0.0, metavar="ARCSEC", help="of all but the first (default: 0)")
    add("--mode", choices=MODES, default=default.mode, help="instrument mode (default: %(default)s)")
    add("--seed", type=int, default=default.seed, help="same seed, same files (default: %(default)s)")
    add("--posang", type=float, default=0.0, metavar="DEG", help="derotator position angle (default: 0)")
    add("--drot-mode", choices=("SKY", "STAT"), default="SKY", help="derotator mode (default: %(default)s)")
    add("--exptime", type=float, default=default.exptime, metavar="S", help="seconds (default: %(default)g)")
    add("--no-flat-field", action="store_true", help="no flat-field spectrum in the pixel tables")
    add("--no-noise", action="store_true", help="no noise, cosmic rays and bad pixels")
    add("--telluric", action="store_true", help="with telluric absorption")
    add("--slice-gain", type=float, default=0.0, metavar="RMS", help="relative error of the slices (default: 0)")
    add("--raman", type=float, default=0.0, metavar="FLUX", help="flux of the Raman lines, AO modes (default: 0)")
    add(
        "--examples",
        action="store_true",
        help="write sets of frames into DIRECTORY/sof_examples, and end",
    )
    add("--format", choices=("image", "table"), default="image", help="of the pixel tables (default: %(default)s)")
    return parser


def _examples() -> Path:
    """Return the folder of sets of frames to start from: in the package, or beside it in the sources."""
    package = Path(muse_core.__file__).parent
    return next(path for path in (package / "sof_examples", package.parent / "sof_examples") if path.is_dir())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        0, or 1 after an error, which goes to standard error.
    """
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = time.perf_counter()
    try:
        if arguments.examples:
            shutil.copytree(_examples(), arguments.directory / "sof_examples", dirs_exist_ok=True)
            return 0
        spec = ExposureSpec(
            mode=arguments.mode,
            ifus=arguments.ifus,
            lbda_min=arguments.lbda[0],
            lbda_max=arguments.lbda[1],
            posang=arguments.posang,
            drot_mode=arguments.drot_mode,
            exptime=arguments.exptime,
            seed=arguments.seed,
            flat_field=not arguments.no_flat_field,
            file_format=arguments.format,
            telluric=arguments.telluric,
            noise=not arguments.no_noise,
            cosmic_rays=not arguments.no_noise,
            bad_pixels=not arguments.no_noise,
            slice_gain_rms=arguments.slice_gain,
            raman_flux=arguments.raman,
        )
        errors = {"error_arcsec": arguments.pointing_error, "flux_error": arguments.flux_error}
        if arguments.fields == 1:
            exposures = dithered(spec, arguments.exposures, **errors)
        else:
            exposures = mosaic(spec, arguments.fields, arguments.exposures, **errors)
        if arguments.sky:
            exposures.append(sky_exposure(exposures[-1]))
        sets = make_dataset(arguments.directory, exposures)
    except (MuseError, OSError) as error:
        sys.stderr.write(f"muse-simulate: {error}\n")
        return 1
    logging.getLogger(__name__).info(
        "%s: %d set-of-frames files in %.1f s", arguments.directory, len(sets), time.perf_counter() - start
    )
    return 0
