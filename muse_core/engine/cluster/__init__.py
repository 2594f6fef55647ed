# SPDX-License-Identifier: GPL-2.0-or-later
"""Several processes, maybe on several machines, that share the work of a run: a Dask cluster.

A task is shipped to a worker, which puts what comes of it into the journal of the run, on the file system that all
share; this process takes it over from there as it would after an interruption. Dask is imported only if it is used.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from muse_core.errors import ParameterError

if TYPE_CHECKING:
    from muse_core.engine.executor import Executor

CLUSTER_VARIABLE = "MUSE_CLUSTER"


def cluster_address(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the address of the scheduler, or the path of its file, that a run is to use, if any.

    That is what MUSE_CLUSTER says or, in Python, the address of the current `distributed.Client`.

    Raises
    ------
    ParameterError
        It can be no address.
    """
    text = environ.get(CLUSTER_VARIABLE, "")
    if text:
        if "://" not in text and not os.path.isfile(text):
            raise ParameterError(
                f"{CLUSTER_VARIABLE}: found {text!r}, expected the address of a scheduler such as tcp://host:8786, or "
                "the path of its file, and there is no file of this name"
            )
        return text if "://" in text else os.path.abspath(text)
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.Client.current()
    except ValueError:
        return None
    address: str = client.scheduler.address
    if address.startswith("inproc"):
        raise ParameterError(
            f"current Dask client: found a cluster of threads ({address}), expected one of processes: "
            "LocalCluster(processes=True)"
        )
    return address


def connect(address: str, recipe: str, inputs: Sequence[str]) -> "Executor":
    """Return who has tasks done by the workers of a cluster; connections are made when it is entered.

    Parameters
    ----------
    address : str
        Address of the scheduler, or path of its file.
    recipe : str
        Name of the recipe.
    inputs : sequence of str
        Files that workers will have to read.

    Raises
    ------
    ParameterError
        Dask is not installed.
    """
    try:
        from muse_core.engine.cluster.client import DaskExecutor
    except ImportError as error:
        raise ParameterError(
            f"{CLUSTER_VARIABLE}: found no Dask here ({error}), expected it: pip install 'muse-scipost[cluster]'"
        ) from error
    return DaskExecutor(address, recipe, inputs)
