#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check what is in wheels and source distributions: ``check_distributions.py FOLDER``; it prints sizes and faults."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tracked(*folders: str) -> set[str]:
    """Return the files of the project in these folders."""
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(listed.split("\n")) - {""}


def faults_of_wheel(path: Path) -> list[str]:
    """Say what a wheel lacks, and what should not be in it."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    expected = {name for name in tracked("muse_core") if not name.endswith("meson.build")}
    for folder, kinds in (("recipes", (".py",)), ("cython_ext", (".pxd", ".pyi")), ("sof_examples", ("",))):
        expected |= {f"muse_core/{name}" for name in tracked(folder) if name.endswith(kinds)}
    kernels = {Path(name).stem for name in tracked("cython_ext") if name.endswith(".pyx")}
    built = {Path(name).name.partition(".")[0] for name in names if name.endswith(".so")}
    faults = [f"lacks {name}" for name in sorted(expected - names)]
    faults += [f"lacks the kernel {name}" for name in sorted(kernels - built)]
    return faults + [f"has {name}" for name in sorted(names) if name.startswith(("tests/", "docs/", "benchmarks/"))]


def faults_of_source(path: Path) -> list[str]:
    """Say which files of the project a source distribution lacks."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return [f"lacks {name}" for name in sorted(tracked() - names)]


def main() -> int:
    """Check all files of a folder."""
    files, failed = sorted(Path(sys.argv[1]).iterdir()), False
    for path in files:
        faults = faults_of_wheel(path) if path.suffix == ".whl" else faults_of_source(path)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB", *faults, sep="\n  ")
        failed = failed or bool(faults)
    if not files:
        print(f"{sys.argv[1]}: found no file, expected wheels and a source distribution")
    return int(failed or not files)


if __name__ == "__main__":
    raise SystemExit(main())
