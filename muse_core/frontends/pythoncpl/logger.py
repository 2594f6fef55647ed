# SPDX-License-Identifier: GPL-2.0-or-later
"""The messages of a run, as python-cpl's module `cpl.logger` has them."""

import logging


class LogList(list):
    """The log records of a run.

    Parameters
    ----------
    iterable : sequence of logging.LogRecord, optional
        The records.

    Examples
    --------
    >>> import logging
    >>> import muse_core
    >>> record = logging.makeLogRecord({"msg": "sky was dark", "levelno": logging.INFO, "funcName": "sky"})
    >>> log = muse_core.logger.LogList([record])
    >>> log.info == log.debug, log.warning, log.error
    (True, [], [])
    """

    def filter(self, level: int) -> list[str]:
        """Return the texts of the records of a severity and above.

        Parameters
        ----------
        level : int
            Severity, as in `logging`.

        Returns
        -------
        list of str
            Texts, with the name of the step.

        Examples
        --------
        >>> import logging
        >>> import muse_core
        >>> record = logging.makeLogRecord({"msg": "sky was dark", "levelno": logging.INFO, "funcName": "sky"})
        >>> muse_core.logger.LogList([record]).filter(logging.INFO)
        ['sky: sky was dark']
        """
        return [f"{record.funcName}: {record.getMessage()}" for record in self if record.levelno >= level]

    debug = property(lambda self: self.filter(logging.DEBUG), doc="Texts of all messages.")
    info = property(lambda self: self.filter(logging.INFO), doc="Texts of all but debug messages.")
    warning = property(lambda self: self.filter(logging.WARNING), doc="Texts of warnings and errors.")
    error = property(lambda self: self.filter(logging.ERROR), doc="Texts of the errors.")
