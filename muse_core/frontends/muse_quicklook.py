# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``muse-quicklook``: an image or a spectrum of an exposure in seconds, or a part of its cube."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from muse_core.errors import MuseError


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="muse-quicklook",
        description="Make an image of an exposure straight from its pixel tables, as FITS and PNG: refraction "
        "corrected, flux calibrated if there is a response, sky taken away. Or the spectrum of a source, or a part of "
        "the cube at full quality.",
        epilog="See docs/quicklook.md.",
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="PIXTABLE|SOF", help="pixel tables of one exposure, or sets of frames")
    add("--filter", default="white", metavar="NAME", help="white, or an extension of FILTER_LIST (default: white)")
    add("--lambda", dest="lbda", nargs=2, type=float, metavar=("MIN", "MAX"), help="wavelengths in Angstrom")
    add("--region", metavar="REGION", help='part of the field, as circle(53.1625,-27.7914,3") or box(...)')
    add(
        "--spectrum",
        nargs=3,
        type=float,
        metavar=("RA", "DEC", "RADIUS"),
        help="the spectrum of a source, too: position in degrees, radius in arcsec",
    )
    add("--cube", action="store_true", help="a part of the cube: needs --region and --lambda")
    add("--no-sky", action="store_true", help="leave the sky where it is")
    add("-o", "--output", default="quicklook", metavar="NAME", help="beginning of file names (default: quicklook)")
    add("--overwrite", action="store_true", help="replace files of these names")
    return parser


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
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.cube and not (arguments.region and arguments.lbda):
        parser.error("--cube needs --region and --lambda")
    logging.basicConfig(level=logging.WARNING, format="muse-quicklook: %(message)s")
    try:
        for path in _make(arguments):
            print(path)
    except MuseError as error:
        sys.stderr.write(f"muse-quicklook: {error}\n")
        return 1
    return 0


def _make(arguments: argparse.Namespace) -> list[Path]:
    from muse_core import api

    made: list[Path] = []
    band = {} if arguments.lbda is None else dict(zip(("lambdamin", "lambdamax"), arguments.lbda, strict=True))

    def write(thing: object, suffix: str) -> None:
        made.append(thing.write(f"{arguments.output}{suffix}", overwrite=arguments.overwrite))

    if arguments.cube:
        write(api.partial_cube(arguments.files, arguments.region, **band), "_cube.fits")
        return made
    options = {"filter": arguments.filter, "region": arguments.region, "sky": not arguments.no_sky}
    image = api.quick_look(arguments.files, **band, **options)
    write(image, ".fits")
    _with_matplotlib(lambda: write(image, ".png"))
    if arguments.spectrum is not None:
        spectrum = api.quick_spectrum(arguments.files, *arguments.spectrum, **band, sky=not arguments.no_sky)
        write(spectrum, "_spectrum.fits")
        _with_matplotlib(lambda: write(spectrum, "_spectrum.png"))
    return made


def _with_matplotlib(draw) -> None:
    try:
        draw()
    except ImportError as error:
        logging.getLogger(__name__).warning("no picture: %s; pip install 'muse-scipost[report]'", error)


if __name__ == "__main__":
    sys.exit(main())
