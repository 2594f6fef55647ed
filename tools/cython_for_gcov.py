# SPDX-License-Identifier: GPL-2.0-or-later
"""Cython for a build of which gcov counts lines: ``CYTHON='python cython_for_gcov.py' meson setup -Db_coverage=true``.

Cython tells the C compiler for each statement from which line it comes, but not where that ends: what it adds itself,
such as the end of a function, would count for the lines below.
"""

import re
import subprocess
import sys
from pathlib import Path

#: What Cython writes above code of its own.
_OWN = re.compile(r"^ *(/\* (#### Code section: .* ###|Python wrapper|function exit code) \*/)$", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """Run Cython; mark what it has added as coming from elsewhere."""
    status = subprocess.run(["cython", "--line-directives", *arguments], check=False).returncode
    if status == 0 and "-o" in arguments:
        made = Path(arguments[arguments.index("-o") + 1])
        made.write_text(_OWN.sub(r'\n#line 1 "added by Cython"\n\1', made.read_text()))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
