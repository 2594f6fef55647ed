# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures as inline SVG that takes its colours from the page, so that one figure does for light, dark and print."""

import html
import io
import re
import warnings
from collections.abc import Callable

from muse_core.model.record import record

#: Colours that the page replaces: text, rules, panels, and those of data. As drawn they are those of the light page.
TEXT, MUTED, RULE, PANEL = "#1c2430", "#5b6675", "#d9dee5", "#fdfdfe"
C1, C2, C3, C4 = "#2466a9", "#c8641a", "#3a8a6c", "#8a5aa8"
OK_COLOUR, LOOK_COLOUR, BAD_COLOUR = "#2e8562", "#b9770e", "#c33b32"
VARIABLES = {
    TEXT: "--text", MUTED: "--muted", RULE: "--rule", PANEL: "--panel", C1: "--c1", C2: "--c2", C3: "--c3", C4: "--c4",
    OK_COLOUR: "--ok", LOOK_COLOUR: "--look", BAD_COLOUR: "--bad",
}  # fmt: skip
STATUS = {"ok": OK_COLOUR, "look": LOOK_COLOUR, "bad": BAD_COLOUR}
#: Sizes in CSS pixels.
WIDTH, HEIGHT, WIDE = 440, 310, 1320
_PX = 1 / 72
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.linewidth": 1.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "text.color": TEXT,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.labelcolor": TEXT,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.3,
    "path.simplify": True,
    "mathtext.default": "regular",
}
_ID = re.compile(r' id="([^"]+)"')


@record
class Panel:
    """A figure of the report.

    Attributes
    ----------
    name : str
        Its name, unique in the report of a run.
    title, caption, alt : str
        What is over it, under it, and in its place for who cannot see it.
    svg : str
        The figure.
    narrow : str
        The same for narrow pages, if that is another.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    narrow: str = ""

    @property
    def is_wide(self) -> bool:
        """Does it take the width of the page?"""
        return bool(self.narrow)


def draw(
    name: str,
    title: str,
    alt: str,
    caption: str,
    plot: Callable,
    *,
    wide: bool = False,
    height: int = HEIGHT,
    wide_height: int | None = None,
    **kind,
) -> Panel:
    """Make a panel.

    Parameters
    ----------
    name, title, alt, caption : str
        As in `Panel`.
    plot : callable
        Draws into the matplotlib figure that it gets.
    wide : bool
        For the width of the page; on narrow pages a figure of its own.
    height, wide_height : int
        In CSS pixels, of the figure of usual width, and of the wide one if that has another.
    **kind
        For `plot`.
    """
    normal = _svg(plot, f"{name}-n", WIDTH, height, alt, kind)
    if not wide:
        return Panel(name, title, caption, alt, normal)
    return Panel(name, title, caption, alt, _svg(plot, f"{name}-w", WIDE, wide_height or height, alt, kind), normal)


def _svg(plot: Callable, salt: str, width: int, height: int, alt: str, kind: dict) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ranges without width, empty slices: what is drawn shows it
        figure = Figure(figsize=(width * _PX, height * _PX), layout="constrained")
        figure.get_layout_engine().set(w_pad=4 * _PX, h_pad=4 * _PX, wspace=0.04, hspace=0.04)
        plot(figure, **kind)
        with io.StringIO() as stream:
            figure.savefig(stream, format="svg", dpi=144, metadata={"Date": None})
            text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<svg [^>]*>", lambda _: _opening(width, height, alt), text, count=1)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font: (\d[^;\"]*?)(?:px)? '[^;\"]*", r"font-size: \1px", text)
    used = set(re.findall(r"#([\w.-]+)", text))
    text = _ID.sub(lambda found: found[0] if found[1] in used else "", text)
    return re.sub(r">\s+<", "><", text)


def _opening(width: int, height: int, alt: str) -> str:
    label = html.escape(alt, quote=True)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink"><title>{html.escape(alt)}</title>'
    )
