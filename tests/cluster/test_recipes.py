# SPDX-License-Identifier: GPL-2.0-or-later
"""All kinds of recipes on a cluster: same products as those of one process."""

import dataclasses

import pytest
from cluster.conftest import Cluster
from cluster.test_cluster import Bench
from harness.fields import DITHERED, FIELDS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers."""
    made = Cluster(tmp_path_factory.mktemp("cluster") / "files")
    for n_threads in (1, 2):
        made.worker(n_threads, preload=None)
    made.wait_for_workers(2)
    yield made
    made.close()


def _combine(datasets, folder):
    """Reduced exposures of which each has its weight, and an offset."""
    reduced = datasets.reduced("smalltwo")
    lines = [f"{path} PIXTABLE_REDUCED" for path in sorted(reduced.glob("PIXTABLE_REDUCED_*.fits"))]
    return [*lines, *datasets["smalltwo"].frames("offsets", "PIXTABLE_OBJECT|ASTROMETRY|RESPONSE|EXTINCT|TELLURIC")]


def _images(datasets, folder):
    field = dataclasses.replace(FIELDS["few"], views=DITHERED[:2])
    return [f"{path} IMAGE_FOV" for path in field.write(folder / "images")]


def _sky(datasets, folder):
    return [line.replace(" PIXTABLE_OBJECT", " PIXTABLE_SKY") for line in datasets["small"].frames("model")]


def _frames(data: str, sof: str):
    return lambda datasets, folder: datasets[data].frames(sof)


#: Frames, arguments, kinds of tasks, and a product.
CASES = {
    "muse_exp_combine": (_combine, ["--save=cube,combined"], {"exposure", "slab"}, "PIXTABLE_COMBINED.fits"),
    "muse_scipost_make_cube": (
        _frames("smalltwo", "none"),
        ["--stacked=true"],
        {"exposure", "slab"},
        "OBJECT_RESAMPLED.fits",
    ),
    "muse_scipost_correct_dar": (_frames("smalltwo", "correct_dar"), [], {"exposure"}, "PIXTABLE_REDUCED_0001-00.fits"),
    "muse_exp_align": (_images, ["--expmap=true"], set(), "EXPOSURE_MAP.fits"),
    "muse_create_sky": (_sky, [], set(), "SKY_LINES.fits"),
}


@pytest.mark.parametrize("recipe", CASES)
def test_recipe(datasets, tmp_path, cluster, recipe):
    frames, arguments, kinds, product = CASES[recipe]
    sof = tmp_path / "frames.sof"
    sof.write_text("\n".join(frames(datasets, tmp_path)) + "\n")
    bench = Bench(tmp_path / "runs", sof, recipe, *arguments)
    before = cluster.tasks()
    expected, _ = bench.run()
    assert (product, 0) in expected
    found, output = bench.run(cluster)
    assert found == expected
    assert "2 workers with 3 threads" in output
    assert {kind for kind, number in cluster.tasks().items() if number > before[kind]} == kinds
