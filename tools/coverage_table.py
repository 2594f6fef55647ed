# SPDX-License-Identifier: GPL-2.0-or-later
"""Print what the tests reach of each folder: ``coverage_table.py report.json``, made by ``coverage json``.

The status is 1 if that is less than `LINES` of all lines, or than `BRANCHES` of the branches in one of some folders.
"""

import collections
import json
import sys
from pathlib import Path

#: Least parts, in per cent.
LINES, BRANCHES = 92.0, 85.0
#: Folders of which the branches count.
FOLDERS = ("muse_core/engine", "muse_core/io", "muse_core/stages")
KEYS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def percentage(reached: int, all_of_them: int) -> float:
    """Return a part in per cent; all of nothing is reached."""
    return 100.0 * reached / all_of_them if all_of_them else 100.0


def main(path: str) -> int:
    """Print the table of a report; return the status."""
    files = json.loads(Path(path).read_text())["files"]
    folders: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for name, found in files.items():
        if Path(name).is_absolute():  # a copy that a test has made
            continue
        folder = "/".join(Path(name).parts[:-1][:2])
        for key in KEYS:
            for place in (folder, "all"):
                folders[place][key] += found["summary"][key]
    print(f"{'folder':24s}{'lines':>8s}{'missed':>8s}{'%':>7s}{'branches':>10s}{'missed':>8s}{'%':>7s}")
    failed = []
    for name in [*sorted(set(folders) - {"all"}), "all"]:
        lines, reached, branches, taken = (folders[name][key] for key in KEYS)
        of_lines, of_branches = percentage(reached, lines), percentage(taken, branches)
        columns = f"{lines:8d}{lines - reached:8d}{of_lines:7.1f}{branches:10d}{branches - taken:8d}{of_branches:7.1f}"
        print(f"{name:24s}{columns}")
        if name == "all" and of_lines < LINES:
            failed.append(f"{of_lines:.1f} % of all lines are reached, less than {LINES} %")
        if name in FOLDERS and of_branches < BRANCHES:
            failed.append(f"{of_branches:.1f} % of the branches in {name} are reached, less than {BRANCHES} %")
    print("\n".join(failed), end="\n" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
