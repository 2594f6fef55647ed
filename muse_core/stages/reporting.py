# SPDX-License-Identifier: GPL-2.0-or-later
"""The report as an extra of a run: what only the run itself knows is collected on the way."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from muse_core.cplapi.messages import PACKAGE_LOGGER, step_of
from muse_core.engine.progress import bytes_written, peak_memory
from muse_core.model.fits import Header
from muse_core.model.header import get_float, get_string
from muse_core.recipe.extras import Collector, ExposureWatch, Extra, Finished
from muse_core.recipe.run import Run
from muse_core.report.checks import LIMITS
from muse_core.report.products import ProductFile
from muse_core.report.products import Run as ReportedRun
from muse_core.report.rows import RowStatistics
from muse_core.report.write import require_packages, write_files

#: Different warnings that are kept.
_WARNINGS = 200


class _Listener(logging.Handler):
    """Keeps the numbers that lines of the log tell, and the warnings."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.facts: list[dict[str, Any]] = []
        self.warnings: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what a record tells."""
        facts = getattr(record, "facts", None)
        if facts:
            self.facts.append(facts)
        if record.levelno >= logging.WARNING:
            text = f"{step_of(record.name)}: {record.getMessage()}"
            if text in self.warnings or len(self.warnings) < _WARNINGS:
                self.warnings[text] = self.warnings.get(text, 0) + 1


class _RowWatch(ExposureWatch):
    """Makes statistics of the rows of an exposure."""

    def __init__(self) -> None:
        self._statistics: RowStatistics | None = None

    def see_rows(self, header: Header, rows: np.ndarray) -> RowStatistics:
        """Return the statistics of some rows."""
        low, high = (get_float(header, f"ESO DRS MUSE PIXTABLE LIMITS LAMBDA {end}") for end in ("LOW", "HIGH"))
        statistics = RowStatistics(low or 4600.0, high or 9400.0)
        statistics.add(rows)
        return statistics

    def add(self, found: object) -> None:
        """Add them up."""
        assert isinstance(found, RowStatistics)
        if self._statistics is None:
            self._statistics = found
        else:
            self._statistics.include(found)

    def seen(self) -> dict[str, np.ndarray]:
        """Return them."""
        return {} if self._statistics is None else self._statistics.arrays()


class ReportCollector(Collector):
    """Listens to the log, looks at the rows without sky, and writes page and numbers."""

    def __init__(self, extra: Extra, run: Run):
        require_packages()
        super().__init__(extra, run)
        self._started, self._written = time.monotonic(), bytes_written()
        self._rows: dict[str, RowStatistics] = {}
        self._listener = _Listener()
        logger = logging.getLogger(PACKAGE_LOGGER)
        self._level = logger.level
        logger.addHandler(self._listener)
        logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))

    def close(self) -> None:
        """Stop listening."""
        logger = logging.getLogger(PACKAGE_LOGGER)
        logger.removeHandler(self._listener)
        logger.setLevel(self._level)

    def watch_exposure(self) -> "_RowWatch":
        """Return who makes statistics of the rows of an exposure."""
        return _RowWatch()

    def add_exposure(self, header: Header, seen: dict[str, np.ndarray]) -> None:
        """Keep the statistics of an exposure."""
        if seen:
            self._rows[get_string(header, "DATE-OBS", "")] = RowStatistics.from_arrays(seen)

    def write(self, products: Sequence[Finished]) -> None:
        """Measure the products, write page and numbers."""
        files = [ProductFile(product.path, product.tag, product.header()) for product in products]
        if not files:
            return
        factory = self.run.factory
        page, numbers = paths = [factory.next_path(spec.tag) for spec in self.extra.products]
        reported = ReportedRun(factory.directory.resolve().name or "run", files)
        write_files([reported], page, numbers, LIMITS, factory.pipeline.partition("/")[2], self._record(files))
        for path, spec in zip(paths, self.extra.products, strict=True):
            factory.register(path, spec.tag)

    def _record(self, files: Sequence[ProductFile]) -> dict[str, Any]:
        """Return what only the run knows."""
        exposures: dict[str, dict[str, Any]] = {}
        stores: dict[str, tuple[int, int]] = {}
        steps: dict[str, dict[str, Any]] = {}
        machine: dict[str, Any] = {}
        current: dict[str, Any] = {}
        for facts in self._listener.facts:
            if "exposure" in facts:
                date = str(facts["exposure"])
                current = exposures.setdefault(date, {})
                stores[date] = facts["store"]
            elif "step" in facts:
                step = steps.setdefault(facts["step"], {"seconds": 0.0, "memory_bytes": 0, "written_bytes": 0})
                step["seconds"] += facts["seconds"]
                step["memory_bytes"] = max(step["memory_bytes"], int(facts["peak_memory"]))
                step["written_bytes"] += facts["written"]
            elif "plan" in facts:
                plan = facts["plan"]
                machine["plan"] = {
                    "seconds": plan.seconds,
                    "memory_bytes": plan.memory_bytes,
                    "scratch_bytes": plan.scratch.needed,
                    "products_bytes": plan.products.needed,
                    "threads": plan.n_threads,
                }
            elif "applied" in facts:
                exposures.setdefault(str(facts["applied"]["exposure"]), {})["weight"] = facts["applied"]["weight"]
            elif "flagged" in facts:
                for date, (begin, end) in stores.items():
                    exposures[date]["cosmic_rays"] = len(facts["flagged"].within(begin, end))
            else:
                current |= facts
        for date, statistics in self._rows.items():
            exposures.setdefault(date, {})["flagged"] = statistics.n_flagged
        machine |= {
            "seconds": time.monotonic() - self._started,
            "memory_bytes": peak_memory(),
            "written_bytes": bytes_written() - self._written,
            "products_bytes": sum(file.path.stat().st_size for file in files),
            "steps": [{"name": name} | step for name, step in steps.items()],
            "warnings": [{"text": text, "count": n} for text, n in self._listener.warnings.items()],
        }
        return {"rows": self._rows, "exposures": exposures, "machine": machine, "inputs": self.run.frames.paths}
