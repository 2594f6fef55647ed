# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of runs, from their products to the files."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from muse_core.errors import ParameterError, ProductError
from muse_core.report.checks import Limit

#: What the report needs beside what the package does, as in ``pip install "muse-scipost[report]"``.
NEEDED = ("jinja2", "matplotlib")


def require_packages() -> None:
    """Say what is to be installed, if anything.

    Raises
    ------
    ParameterError
        A package is missing.
    """
    import importlib.util

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ParameterError(
            f"report: found no package {', '.join(missing)}, expected it: pip install 'muse-scipost[report]'"
        )


def write_report(
    groups: Sequence, output: Path, limits: Mapping[str, Limit], made_by: str, record: Mapping | None = None
) -> tuple[Path, Path]:
    """Measure runs, and write page and numbers.

    Parameters
    ----------
    groups : sequence of Run
        The runs; side by side if there are several.
    output : Path
        The page; the numbers go beside it.
    limits : mapping of str to Limit
        Limits of the checks.
    made_by : str
        Version.
    record : mapping, optional
        What only a run itself knows, see `measure`.

    Returns
    -------
    tuple of Path
        Page and numbers.
    """
    numbers = output.with_name(f"{output.stem}_DATA.json")
    write_files(groups, output, numbers, limits, made_by, record)
    return output, numbers


def write_files(
    groups: Sequence,
    page: Path,
    numbers: Path,
    limits: Mapping[str, Limit],
    made_by: str,
    record: Mapping | None = None,
) -> None:
    """Do what `write_report` does, with both places given."""
    require_packages()
    drawing = threading.Thread(target=_import_drawing)  # half a second, while the products are measured
    drawing.start()
    from muse_core.report.measure import measure

    measured = [measure(run, limits, record) for run in groups]
    drawing.join()
    from muse_core.report.page import to_html, to_json

    texts = {page: to_html(measured, made_by, numbers.name), numbers: to_json(measured, made_by)}
    for path, text in texts.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ProductError(f"report {path}: {error.strerror}") from error


def _import_drawing() -> None:
    import jinja2
    import matplotlib.backends.backend_svg
    import matplotlib.figure

    del jinja2, matplotlib
