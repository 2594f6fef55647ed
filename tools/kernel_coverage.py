# SPDX-License-Identifier: GPL-2.0-or-later
"""Print which lines of the kernels were reached: ``kernel_coverage.py build``, a build with ``-Db_coverage=true``.

Lines are those of the sources in Cython, and of the C headers; several that are one statement count as one. The status
is 1 if less than `LINES` are reached.
"""

import collections
import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "cython_ext"
#: Least part of all lines, in per cent.
LINES = 92.0


def counted(build: Path) -> dict[str, collections.Counter[int]]:
    """Return how often each line of a source has been executed, for all kernels together."""
    counts: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    for path in sorted(build.rglob("*.gcda")):
        command = ["gcov", "--json-format", "--stdout", str(path.relative_to(build))]
        report = json.loads(subprocess.run(command, cwd=build, stdout=subprocess.PIPE, check=True).stdout)
        for file in report["files"]:
            for line in file["lines"]:
                counts[Path(file["file"]).name][line["line_number"]] += line["count"]
    return counts


def statements(text: str) -> list[range]:
    """Return the lines of each statement of a source in Cython, without docstrings and mere declarations."""
    found: list[range] = []
    tokens: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            continue
        if token.type != tokenize.NEWLINE:
            tokens.append(token)
            continue
        is_declaration = tokens[0].string == "cdef" and not any(one.string in ("=", "(") for one in tokens)
        if not is_declaration and any(one.type != tokenize.STRING for one in tokens):
            found.append(range(tokens[0].start[0], tokens[-1].end[0] + 1))
        tokens.clear()
    return found


def reached(path: Path, counts: collections.Counter[int]) -> tuple[int, list[int]]:
    """Return the number of statements of a source that are compiled, and the first lines of those missed."""
    text = path.read_text()
    places = statements(text) if path.suffix != ".h" else [range(n, n + 1) for n in range(1, text.count("\n") + 1)]
    compiled = [lines for lines in places if any(line in counts for line in lines)]
    return len(compiled), [lines[0] for lines in compiled if not any(counts[line] for line in lines)]


def main(build: str) -> int:
    """Print the table; return the status."""
    print(f"{'kernels':24s}{'lines':>8s}{'missed':>8s}{'%':>7s}")
    counts = counted(Path(build).resolve())
    every = missed = 0
    for path in sorted(SOURCES.iterdir()):
        if path.suffix not in (".pyx", ".pxd", ".h") or path.name not in counts:
            continue
        n, missing = reached(path, counts[path.name])
        if not n:
            continue
        every, missed = every + n, missed + len(missing)
        lines = " ".join(map(str, missing))
        print(f"{path.name:24s}{n:8d}{len(missing):8d}{100 - 100 * len(missing) / n:7.1f}  {lines}".rstrip())
    if not every:
        print(f"{build}: no kernel has been run, expected *.gcda files of a build with -Db_coverage=true")
        return 1
    part = 100 - 100 * missed / every
    print(f"{'all':24s}{every:8d}{missed:8d}{part:7.1f}")
    if part < LINES:
        print(f"{part:.1f} % of all lines of the kernels are reached, less than {LINES} %")
    return int(part < LINES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
