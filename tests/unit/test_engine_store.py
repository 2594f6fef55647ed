# SPDX-License-Identifier: GPL-2.0-or-later
"""The row store: the same rows from memory and scratch, windows in wavelength, nothing left behind."""

import threading

import numpy as np
import pytest

from muse_core.cython_ext import grid as grid_kernels
from muse_core.cython_ext import rows as rows_kernels
from muse_core.engine import resources as resources_module
from muse_core.engine import scratch as scratch_module
from muse_core.engine import store as store_module
from muse_core.engine import threads as threads_module
from muse_core.engine.exposure import Chunk, StoredExposure, read_pass, write_pass
from muse_core.engine.resources import Resources, parse_size
from muse_core.engine.scratch import ScratchRowStore
from muse_core.engine.slabs import FlaggedRows, Weights
from muse_core.engine.store import RowStore, index_bytes, stretch_rows
from muse_core.engine.threads import map_in_order, stoppable_runs, thread_count
from muse_core.errors import ParameterError, ResourceError
from muse_core.model.grid import OutputGrid
from muse_core.model.rows import ROW, make_rows


@pytest.fixture
def rows():
    rng = np.random.default_rng(2)
    n = 20_000
    lbda = np.repeat(np.linspace(7000, 7100, n // 4)[None], 4, 0).ravel() + rng.normal(0, 0.3, n)
    return make_rows(*rng.normal(size=(2, n)), lbda, rng.normal(size=n), 0, 1, np.arange(n))


@pytest.fixture(params=["memory", "scratch", "several files"])
def store(request, rows, tmp_path, monkeypatch):
    if request.param == "several files":
        monkeypatch.setattr(scratch_module, "_STRETCH", 700)
    with RowStore(len(rows)) if request.param == "memory" else ScratchRowStore(len(rows), tmp_path) as made:
        made.write(8000, rows[8000:])
        made.write(0, rows[:8000])
        yield made
    assert list(tmp_path.iterdir()) == []


def test_rows_are_lent(store, rows):
    """Those in memory themselves, those of a file as a copy."""
    lent = store.lend(7000, 9000, np.empty(3000, ROW))
    assert np.array_equal(lent, rows[7000:9000])
    lent["data"] = 1234.5
    assert (store.read(7000, 9000)["data"] == 1234.5).all() == (store.memory_bytes > 0)


def test_passes(store, rows):
    """Who looks at rows cannot change them, wherever they are; what a pass changes or drops is so in the store."""
    chunks = [Chunk(0, a, b, a, b, a) for a, b in ((0, 8000), (8000, len(rows)))]
    stored = StoredExposure(0, len(rows), chunks)

    def spoil(rows, chunk):
        rows["data"] = 0

    with pytest.raises(ValueError, match="read-only"):
        list(read_pass(stored, store, spoil, 1))

    def change(rows, chunk):
        rows["data"] += 1
        return rows[: len(chunk)], int(rows["origin"][0])

    final = stored.without([0, 100])
    assert write_pass(stored, final, store, change, 2) == [0, 8000]
    found = np.concatenate(list(read_pass(final, store, lambda rows, chunk: rows.copy(), 2)))
    expected = rows[:-100].copy()
    expected["data"] += 1
    assert np.array_equal(found, expected)
    assert len(store.window(0, 1e9).rows) == len(rows) - 100


def test_ranges(store, rows):
    assert np.array_equal(store.read(7000, 9000), rows[7000:9000])


def test_window_has_all_rows_in_order(store, rows):
    window = store.window(7030, 7031.5)
    inside = (window.rows["lbda"] >= 7030) & (window.rows["lbda"] <= 7031.5)
    expected = np.flatnonzero((rows["lbda"] >= 7030) & (rows["lbda"] <= 7031.5))
    assert np.array_equal(window.numbers(np.flatnonzero(inside)), expected)
    assert len(window.rows) == store.count(7030, 7031.5) < len(rows) / 4


def test_window_read_by_several_threads(store):
    runs = store.runs(7030, 7060)
    assert len(runs[0]) > 3
    expected = store.read_runs(*runs)
    for n_threads in (2, 3, 100):
        found = store.read_runs(*runs, n_threads=n_threads)
        assert np.array_equal(found.rows, expected.rows)
        assert np.array_equal(found.offsets, expected.offsets)
    nothing = store.read_runs(*store.runs(1, 2), n_threads=2)
    assert len(nothing.rows) == 0


def test_window_of_one_exposure(store, rows):
    window = store.window(0, 1e9, 8000, len(rows))
    assert np.array_equal(window.rows, rows[8000:])


def test_empty_window(store):
    assert len(store.window(1, 2).rows) == 0


def test_rows_with_nan_wavelength_are_in_every_window(rows):
    rows["lbda"][5] = np.nan
    with RowStore(len(rows)) as store:
        store.write(0, rows)
        assert 5 in store.window(7090, 7091).rows["origin"]


@pytest.mark.parametrize("n", [0, 1, 100, 1024, 5000])
def test_index_against_numpy(n):
    """Ranges of stretches; what has a NaN has the range NaN, and nothing else has."""
    random = np.random.default_rng(n)
    rows = make_rows(*random.normal(size=(3, n)), np.nan, 0, 0, 0)
    for name in ("xpos", "ypos", "lbda"):
        rows[name][random.random(n) < 1e-3] = np.nan
        rows[name][random.random(n) < 1e-3] = np.inf
    per_entry, per_extent = 128, 1024
    wavelengths = np.empty((-(-n // per_entry), 2), np.float32)
    extents = np.empty((-(-n // per_extent), 4), np.float32)
    rows_kernels.index(rows, per_entry, per_extent, wavelengths, extents)
    for found, names, size in ((wavelengths, ["lbda"], per_entry), (extents, ["xpos", "ypos"], per_extent)):
        for k, ranges in enumerate(found):
            part = rows[k * size : (k + 1) * size]
            expected = [find(part[name]) for name in names for find in (np.min, np.max)]
            np.testing.assert_array_equal(ranges, expected)


def test_memory_of_slabs(tmp_path):
    """A fixed amount, unless all rows are in memory and take much more; never more than what is left."""
    resources = Resources(memory_bytes=16 << 30, scratch=tmp_path, n_threads=1)
    assert resources.slab_memory().wanted == resources.slab_memory(1 << 30, 1 << 20).wanted == 400 << 20
    many = resources.slab_memory(9 << 30, 1 << 20)
    assert many.wanted == int(0.1 * (9 << 30))
    assert many.most == resources.working_bytes - (9 << 30) - (1 << 20)


def test_window_of_extents(store, rows):
    """Rows of the stretches that are wanted, and of no other."""
    extents = store.extents()
    assert len(extents) == -(-8000 // 1024) + -(-12000 // 1024)
    wanted = extents[:, 1] > 3.2
    window = store.window(7030, 7060, among=wanted)
    assert store.count(7030, 7060, among=wanted) == len(window.rows) < store.count(7030, 7060)
    inside = (rows["lbda"] >= 7030) & (rows["lbda"] <= 7060) & (rows["xpos"] > 3.2)
    assert inside.any()
    assert set(np.flatnonzero(inside)) <= set(window.numbers(np.arange(len(window.rows))))
    assert (extents[:, 0] <= extents[:, 1]).all()
    assert extents[:, 3].max() == rows["ypos"].max()


def test_window_of_chosen_rows(store, rows, monkeypatch):
    monkeypatch.setattr(store_module, "_PIECE_ROWS", 100)
    window = store.window(7030, 7060, choose=lambda rows: rows["ypos"] > 1)
    everything = store.window(7030, 7060)
    expected = np.flatnonzero(everything.rows["ypos"] > 1)
    assert 100 < len(expected) < len(everything.rows) / 4
    assert np.array_equal(window.rows, everything.rows[expected])
    assert np.array_equal(window.numbers(np.arange(len(expected))), everything.numbers(expected))
    weights = Weights(np.array([0, 8000]), np.array([1.0, 2.0], np.float32))
    assert np.array_equal(weights.of(window), weights.of(everything)[expected])
    for first_rows in ([0, 7900, 9000], [0, 5, 3000, 8000, 12_345, 19_999]):  # runs go on from one exposure to the next
        weights = Weights(np.array(first_rows), np.arange(1, len(first_rows) + 1, dtype=np.float32))
        for found in (
            window,
            everything,
            store.window(0, 1e9),
            store.window(0, 1e9, choose=lambda rows: rows["ypos"] > 1),
        ):
            numbers = found.numbers(np.arange(len(found.rows)))
            assert np.array_equal(weights.of(found), np.searchsorted(first_rows, numbers, "right"))
    runs = store.runs(7030, 7060)
    for n_threads in (2, 5):
        again = store.read_runs(*runs, choose=lambda rows: rows["ypos"] > 1, n_threads=n_threads)
        assert np.array_equal(again.rows, window.rows)
        assert np.array_equal(again.chosen, window.chosen)
    assert len(store.window(1, 2, choose=lambda rows: rows["ypos"] > 1).rows) == 0


def test_extents_are_where_the_rows_are():
    """The rows of the grid that belong to an extent have all of its rows of the pixel table."""
    random = np.random.default_rng(8)
    for trial in range(300):
        celestial, angle = trial % 3 > 0, random.uniform(0, 2 * np.pi)
        step = 0.2 / 3600 if celestial else 1.0
        turn = step * np.array([-np.cos(angle), np.sin(angle), np.sin(angle), np.cos(angle)])
        centre = (random.uniform(0, 360), random.uniform(-88, 88)) if celestial else (0.0, 0.0)
        grid = OutputGrid(
            nx=int(random.integers(5, 60)), ny=int(random.integers(5, 400)), nz=1, celestial=celestial, ctype3="AWAV",
            crpix=(30.0, 200.0, 1.0), crval=(*centre, 5000.0), cd=tuple(turn), cd33=1.0, origin=centre,
            scale=(step, step),
        )  # fmt: skip
        n = 200
        stretch = 1 / np.cos(np.radians(centre[1]))
        around = random.uniform(-200, 200, 2) * step
        size = random.choice([1e-3, 1, 60, 300]) * step
        x, y = ((around[k] + random.uniform(-size, size, n)) * (stretch, 1)[k] for k in range(2))
        table = make_rows(x, y, 5000, 0, 0, 1, 0)
        store = RowStore(n)
        store.write(0, table)
        found = np.empty((len(store.extents()), 2), np.int32)
        grid_kernels.rows_of_extents(store.extents(), grid.parameters(), found)
        voxel, counts = np.empty(n, np.int32), np.empty((1, 1), np.int64)
        stop = np.zeros(1, np.int32)
        grid_kernels.assign_cells(table, grid.parameters(), 0, 1, 0, grid.ny, grid.ny, voxel, counts, stop, 1)
        cells = voxel // grid.nx
        assert found[0, 0] <= cells.min(), trial
        assert cells.max() <= found[0, 1], trial


def test_index_of_many_exposures(store, rows, monkeypatch):
    """It takes at most half a gigabyte; longer stretches have the same rows, and some more beside them."""
    for n_rows in (1, 10**6, 324 * 10**6, 64 * 324 * 10**6, 200 * 324 * 10**6):
        assert index_bytes(n_rows) <= 512 << 20
        assert n_rows < 10**10 or index_bytes(n_rows) > 256 << 20
    assert stretch_rows(64 * 324 * 10**6) == 512
    monkeypatch.setattr(store_module, "_INDEX_BYTES", index_bytes(len(rows)) // 3)
    with RowStore(len(rows)) as coarse:
        coarse.write(8000, rows[8000:])
        coarse.write(0, rows[:8000])
        assert len(coarse.extents()) < len(store.extents())
        draft = RowStore(12_000, 8000, final=coarse)
        draft.write(8000, rows[8000:])  # its index is to go into that of the other
        assert len(draft.extents()) == len(coarse.extents()) - -(-8000 // (8 * stretch_rows(len(rows))))
        windows = [each.window(7030, 7031.5, choose=lambda r: r["lbda"] < 7031) for each in (store, coarse)]
        few, many = (window.rows[window.rows["lbda"] > 7030] for window in windows)
        assert len(few) > 10
        assert np.array_equal(few, many)
        for window in windows:
            numbers = window.numbers(np.arange(len(window.rows)))
            assert np.array_equal(rows[numbers], window.rows)
        assert coarse.count(7030, 7031.5) > store.count(7030, 7031.5)


def test_flagged_rows():
    """Those of any range, also beyond 2^32 rows, whatever the order in which they come."""
    random = np.random.default_rng(3)
    numbers = np.unique(np.append(random.integers(0, 3 << 32, 400), [(1 << 32) - 1, 1 << 32, (2 << 32) - 1, 2 << 32]))
    flagged = FlaggedRows()
    assert not len(flagged.within(0, 10))
    for part in np.array_split(random.permutation(numbers), 5):
        flagged.add(part)
    assert len(flagged) == len(numbers)
    for found in map_in_order(lambda _: flagged.within(0, 3 << 32), range(50), 5):  # the first ones sort
        assert np.array_equal(found, numbers)
    edges = [0, 1 << 32, 2 << 32, 3 << 32, *random.integers(0, 3 << 32, 20), *numbers[:3]]
    for start in edges:
        for stop in edges:
            expected = numbers[(numbers >= start) & (numbers < stop)] - start
            assert np.array_equal(flagged.within(int(start), int(stop)), expected), (start, stop)


def test_rewriting_updates_the_index(store, rows):
    moved = rows[:8000].copy()
    moved["lbda"] += 1000
    store.write(0, moved)
    assert len(store.window(8000, 8200).rows) == 8000


def test_scratch_in_a_missing_folder(tmp_path):
    with pytest.raises(ResourceError, match="MUSE_SCRATCH"):
        ScratchRowStore(10, tmp_path / "nowhere")


@pytest.mark.parametrize(("text", "size"), [("4G", 4 << 30), ("500M", 500 << 20), ("1.5 GiB", 3 << 29), ("1024", 1024)])
def test_sizes(text, size):
    assert parse_size(text, "X") == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "0"])
def test_bad_sizes(text):
    with pytest.raises(ParameterError, match="MUSE_MAX_MEMORY: found"):
        parse_size(text, "MUSE_MAX_MEMORY")


def test_resources_from_environment(tmp_path):
    resources = Resources.from_environment(tmp_path, {"MUSE_MAX_MEMORY": "1G"})
    assert resources.memory_bytes == 1 << 30
    assert resources.scratch == tmp_path
    with pytest.raises(ParameterError, match="MUSE_SCRATCH"):
        Resources.from_environment(tmp_path, {"MUSE_SCRATCH": "/nowhere"})
    small = Resources.from_environment(tmp_path, {"MUSE_MAX_MEMORY": "100M"})
    with pytest.raises(ResourceError, match="100 MiB are too little"):
        _ = small.working_bytes


def test_large_tables_go_to_scratch(tmp_path):
    resources = Resources(memory_bytes=1 << 30, scratch=tmp_path, n_threads=1)
    with resources.make_store([1000]) as store:
        assert type(store) is RowStore
    with resources.make_store([(1 << 27) // ROW.itemsize]) as store:
        assert type(store) is ScratchRowStore


def test_what_the_page_cache_cannot_take_stays_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(resources_module, "available_memory", lambda: 1 << 30)
    resources = Resources(memory_bytes=8 << 30, scratch=tmp_path, n_threads=1)
    half = (100 << 20) // ROW.itemsize
    assert not resources.keeps_in_memory([half])
    assert resources.keeps_in_memory([2 * half])
    assert not resources.keeps_in_memory([half, half])  # memory does not grow with the exposures
    small = Resources(memory_bytes=1 << 30, scratch=tmp_path, n_threads=1)
    assert not small.keeps_in_memory([2 * half])


def test_thread_count(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    with pytest.raises(ParameterError, match="OMP_NUM_THREADS"):
        thread_count()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert thread_count() >= 1


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_map_in_order(n_threads):
    assert list(map_in_order(lambda k: k * k, range(20), n_threads)) == [k * k for k in range(20)]

    def fail(k):
        if k == 3:
            raise ValueError("three")
        return k

    with pytest.raises(ValueError, match="three"):
        list(map_in_order(fail, range(20), n_threads))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100000 100000", 1), ("350000 100000", 3), ("50000 100000", 1), ("max 100000", 8), (None, 8)],
)
def test_threads_of_a_control_group(tmp_path, monkeypatch, text, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads_module.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    limit = tmp_path / "cpu.max"
    if text:
        limit.write_text(text)
    monkeypatch.setattr(threads_module, "_CGROUP_CPU", limit)
    assert thread_count() == expected


def test_memory_of_a_control_group(tmp_path, monkeypatch):
    """The smallest of the limits; groups without one have a word in its place, or no file."""
    texts = {"none": "max", "one": "7000000", "other": "9000000"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(resources_module, "_CGROUP_MEMORY", [tmp_path / "none", tmp_path / "missing"])
    assert resources_module.available_memory() > 9_000_000
    monkeypatch.setattr(resources_module, "_CGROUP_MEMORY", [tmp_path / name for name in ("other", "none", "one")])
    assert resources_module.available_memory() == 7_000_000


def test_works_of_a_block_have_one_thread():
    """Another one than ours; what fails, or was told to stop, does not concern the next."""

    def fail(stop):
        raise ValueError

    with stoppable_runs() as run:
        threads = {run(lambda stop: threading.get_ident()) for _ in range(3)}
        assert len(threads) == 1
        assert threading.get_ident() not in threads
        with pytest.raises(ValueError):  # noqa: PT011 (has no text)
            run(fail)
        assert run(lambda stop: stop.tolist()) == [0]
