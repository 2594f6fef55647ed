# SPDX-License-Identifier: GPL-2.0-or-later
"""A recipe for the tests of the front-ends: writes two small products, or fails as asked."""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

from muse_core.cplapi import ui
from muse_core.model import declare

logger = logging.getLogger("muse_core.demo")
CONTEXT = "muse.demo"


class Demo(ui.PyRecipe):
    """Copies its parameters into the headers of two products."""

    _name = "demo"
    _version = "2.9.0"
    _author = "Nobody"
    _email = "nobody@example.org"
    _copyright = "No copyright"
    _synopsis = "Recipe for tests."
    INPUTS = (
        declare.InputSpec("PIXTABLE_OBJECT", "RAW", 1, -1, "raw"),
        declare.InputSpec("EXTINCT_TABLE", "CALIB", 1, 1, "calibration"),
        declare.InputSpec("LSF", "CALIB", 0, -1, "calibrations"),
    )
    PRODUCTS = (
        declare.ProductSpec("DATACUBE_FINAL", "master", "FINAL", "IMAGE", "cube"),
        declare.ProductSpec("IMAGE_FOV", "sequence", "FINAL", "IMAGE", "image"),
    )

    _description = "This text is the long description.\nIt has two lines."

    def __init__(self):
        super().__init__()
        add = (
            ui.ParameterValue(f"{CONTEXT}.save", "What to save", CONTEXT, "cube,skymodel"),
            ui.ParameterEnum(f"{CONTEXT}.resample", "Method.", CONTEXT, "drizzle", ("nearest", "linear", "drizzle")),
            ui.ParameterValue(f"{CONTEXT}.dx", "Step.", CONTEXT, 0.0),
            ui.ParameterRange(f"{CONTEXT}.frac", "Fraction.", CONTEXT, 0.05, 0.0, 1.0),
            ui.ParameterValue(f"{CONTEXT}.ld", "Loop distance.", CONTEXT, 1),
            ui.ParameterValue(f"{CONTEXT}.astrometry", "Use it?", CONTEXT, True),
            ui.ParameterValue(f"{CONTEXT}.fail", "Fail in this way.", CONTEXT, ""),
        )
        for parameter in add:
            parameter.cli_alias = parameter.name.rpartition(".")[2]
        self.parameters = ui.ParameterList(add)

    def run(self, frameset, settings):
        """Write the products into the current folder."""
        from astropy.io import fits

        for frame in frameset:
            frame.group = frame.FrameGroup.RAW if frame.tag == "PIXTABLE_OBJECT" else frame.FrameGroup.CALIB
        logger.info("A message")
        logger.debug("A debug message")
        for frame in frameset:
            size = os.path.getsize(frame.file) if os.path.exists(frame.file) else "-"
            logger.debug("frame %s %s %s", frame.file, frame.tag, size)
        logger.debug("variables %s %s", os.environ.get("DEMO_VARIABLE"), os.environ.get("DEMO_OTHER"))
        for name in sorted(os.environ):
            if name.startswith("MUSE_"):
                logger.debug("variable %s=%s", name, os.environ[name])
        logger.warning("A warning")
        values = {parameter.cli_alias: parameter.value for parameter in self.parameters}
        values.update((name.rpartition(".")[2], value) for name, value in settings.items())
        if values["fail"] == "busy":
            from muse_core.io.litter import cleaned_up_by

            # removed by the block where a signal comes before the kernel has begun, else by another thread
            made = tempfile.TemporaryDirectory(prefix=".demo-", dir=".")
            with made as folder, cleaned_up_by(lambda: shutil.rmtree(folder)):
                Path("running").touch()
                hashlib.pbkdf2_hmac("sha512", b"", b"", 50_000_000)  # a kernel: no lock, deaf to signals
        elif values["fail"] == "sleep":
            Path("running").touch()
            for _ in range(1200):  # in steps: a signal that another thread takes does not end a sleep
                time.sleep(0.05)
        elif values["fail"] == "abort":
            os.abort()
        elif values["fail"] == "exit":
            raise SystemExit(3)
        elif values["fail"]:
            import muse_core.errors

            raise getattr(muse_core.errors, values["fail"])("as asked")
        header = fits.Header()
        for name, value in values.items():
            header[f"HIERARCH DEMO {name}"] = value
        header["PIPEFILE"] = "DATACUBE_FINAL.fits"
        header["DATAMD5"] = "Not computed"
        data = fits.ImageHDU([[1.0, 2.0], [3.0, 4.0]], name="DATA")
        names = ("DATACUBE_FINAL", "IMAGE_FOV_0001")
        for name in names:
            fits.HDUList([fits.PrimaryHDU(header=header), data]).writeto(f"{name}.fits", overwrite=True)
        return ui.FrameSet(
            [
                ui.Frame(
                    f"{name}.fits",
                    tag=name.removesuffix("_0001"),
                    group=ui.Frame.FrameGroup.PRODUCT,
                    level=ui.Frame.FrameLevel.FINAL,
                    frameType=ui.Frame.FrameType.IMAGE,
                )
                for name in names
            ]
        )
