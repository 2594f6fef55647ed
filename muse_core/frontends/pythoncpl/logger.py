# SPDX-License-Identifier: GPL-2.0-or-later
"""The messages of a run, as python-cpl's module `cpl.logger` has them."""

import logging


class LogList(list):
    """The log records of a run; `debug`, `info`, `warning` and `error` give the texts of that severity and above."""

    def filter(self, level: int) -> list[str]:
        """Return the texts of the records of a severity and above."""
        return [f"{record.funcName}: {record.getMessage()}" for record in self if record.levelno >= level]

    debug = property(lambda self: self.filter(logging.DEBUG), doc="Texts of all messages.")
    info = property(lambda self: self.filter(logging.INFO), doc="Texts of all but debug messages.")
    warning = property(lambda self: self.filter(logging.WARNING), doc="Texts of warnings and errors.")
    error = property(lambda self: self.filter(logging.ERROR), doc="Texts of the errors.")
