"""Plots as SVG that takes its ink from the page, so that it reads on light and on dark, named in words."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any, NamedTuple

COLOURS = ("#3b82c4", "#d4692a", "#1f9173", "#c05fa8", "#a8861a", "#7b7fd4")
"""Distinct to colour-blind readers (after Okabe and Ito), each at least 3 : 1 against white and near-black."""
DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""Past the colours, the same ones dashed, so that every run has its own line."""
SIZE_IN = (4.2, 2.6)
# Matplotlib writes this colour, and the page puts its own text colour in its place.
INK = "#010203"
# Before the ids of a chart that has no number yet.
OWN = "chart-of-none"

_STYLE = re.compile(r' style="([^"]+)"')
_NOT_SHOWN = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(?:url\(|href=")#([^")]+)')


class Chart(NamedTuple):
    """A drawn chart; `svg` holds no text of users, whose names stand in the page's own text."""

    title: str
    meaning: str
    svg: str


def line_style(index: int) -> tuple[str, str]:
    """Colour and SVG dash pattern of the run at this place."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def line_options(index: int) -> dict[str, Any]:
    """The same for Matplotlib."""
    colour, dash = line_style(index)
    dashes = (0, tuple(float(length) / 2 for length in dash.split())) if dash else "solid"
    return {"color": colour, "linestyle": dashes}


def draw(plot: Callable[[Any], None], title: str, meaning: str, *, size_in: tuple[float, float] = SIZE_IN) -> Chart:
    """A chart of what `plot` puts on Matplotlib's axes; the same calls give the same bytes.

    Args:
        plot: Draws on the axes; it writes no text of users.
        title: Of the chart, and the name that a screen reader gives it.
        meaning: What the axes are and how to read them, in a sentence.
        size_in: Width and height in inches; the page scales it to the room there is.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": "earshot", "font.size": 9, "font.family": "sans-serif"}
    ink = dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color"), INK)
    with mpl.rc_context(style | ink):
        figure = Figure(figsize=size_in, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=INK, alpha=0.12, linewidth=0.6)
        plot(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Chart(title, meaning, for_page(out.getvalue(), title, meaning))


def numbered(svg: str, number: int) -> str:
    """The chart with ids of its own: two charts of one page may be the same, and ids are the whole page's."""
    return svg.replace(f"{OWN}-", f"chart{number}-")


def percent_axis(axis: Any) -> None:
    """Label a share's axis in percent."""
    axis.set_major_formatter(lambda share, _: f"{100 * share:.6g} %")


def _attributes(style: re.Match[str]) -> str:
    """What an element's style says as attributes, of the same names in SVG: a page that lets no style in shows them."""
    said = (one.partition(":") for one in style[1].split(";"))
    return "".join(f' {name.strip()}="{value.strip()}"' for name, _, value in said)


def for_page(svg: str, title: str, meaning: str) -> str:
    """Matplotlib's file as an element of a page: named for screen readers, without what nobody sees.

    Only ids that something refers to are kept, under a prefix that `numbered` makes the chart's own.
    """
    svg = _STYLE.sub(_attributes, _NOT_SHOWN.sub("", svg[svg.index("<svg") :]))
    used = set(_REFERENCE.findall(svg))
    svg = _ID.sub(lambda found: f' id="{OWN}-{found[1]}"' if found[1] in used else "", svg)
    svg = _REFERENCE.sub(lambda found: found[0].replace("#", f"#{OWN}-"), svg)
    name = f'role="img" aria-labelledby="{OWN}-t {OWN}-d" stroke-linejoin="round"'
    words = f'<title id="{OWN}-t">{escape(title)}</title><desc id="{OWN}-d">{escape(meaning)}</desc>'
    svg = svg.replace("<svg ", f"<svg {name} ", 1).replace(">", f">{words}", 1)
    return re.sub(r">\s+<", "><", svg).replace(INK, "currentColor")
