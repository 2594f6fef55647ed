# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration of Sphinx for the manual; ``make docs`` builds it, and runs the cells of its notebooks."""

import os
import sys
import types
import urllib.request
from pathlib import Path

from docutils import nodes
from sphinx_astropy.conf import v2

import muse_core

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
import generate  # noqa: E402

project = "muse-scipost"
author = muse_core.__author__
copyright = author  # noqa: A001
version = release = muse_core.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_nb",
]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_kernel"]
default_role = "code"  # single backquotes in docstrings are names

# -- notebooks: cells run in an empty folder, with the commands of this installation; an error ends the build
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.pop("MUSE_COMPAT", None)
os.environ["PYTHONPATH"] = os.pathsep.join([str(DOCS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
os.environ["IPYTHONDIR"] = str(DOCS / "_kernel")  # cells of commands
nb_execution_mode = "cache"  # a cell that was not changed is not run again; `make clean` forgets
nb_ipywidgets_js: dict = {}  # nothing from the network: bars of finished runs need no script
nb_execution_cache_path = str(DOCS / "_build" / "cells")
nb_render_markdown_format = "gfm"
nb_execution_in_temp = True
nb_execution_timeout = 3000  # for what hangs; not a limit of time
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_number_source_lines = False
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
_SHELL = "%%sh"

# -- API
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them, with shapes and units


def _within_reach(mapping: dict) -> dict:
    """Return the inventories of other packages, or none without a network: the manual is the same but for links."""
    try:
        with urllib.request.urlopen("https://numpy.org/doc/stable/objects.inv", timeout=5) as answer:
            return mapping if answer.status == 200 else {}
    except (OSError, ValueError):
        return {}


intersphinx_mapping = _within_reach(
    {name: (v2.intersphinx_mapping[name][0], None) for name in ("python", "numpy", "scipy", "astropy", "matplotlib")}
)
intersphinx_timeout = 20

generate.write()

# -- pages
html_theme = v2.html_theme
html_title = f"muse-scipost {version}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_show_sourcelink = False
html_copy_source = True
html_last_updated_fmt = None
html_show_search_summary = False  # browsers do not let a page read others from file://
html_theme_options = {
    "collapse_navigation": True,
    "navigation_depth": 2,
    "show_nav_level": 1,
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "icon_links": [],
    "use_edit_page_button": False,
    "show_version_warning_banner": False,
    "pygments_light_style": "tango",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_context = {"default_mode": "auto"}
html_sidebars = {page: [] for page in ("why", "installation", "first_cube", "troubleshooting", "glossary", "citation")}
copybutton_prompt_text = v2.copybutton_prompt_text
copybutton_prompt_is_regexp = True


def _show_shell_as_shell(app, doctree):
    """Cells of notebooks that are commands are shown without the magic that makes them so."""
    for block in doctree.findall(nodes.literal_block):
        magic, _, commands = block.astext().partition("\n")
        if magic.startswith(_SHELL):
            block.rawsource = commands
            block.children = [nodes.Text(commands)]
            block["language"] = "sh"


def _skip_names_of_types(app, what, name, member, skip, options):
    """Leave out other names of types, such as ``Rows = dict[str, ndarray]``: they have no text of their own."""
    return True if isinstance(member, types.GenericAlias) else None


def setup(app):
    """Connect what is said here."""
    app.connect("autodoc-skip-member", _skip_names_of_types)
    app.connect("doctree-read", _show_shell_as_shell)
