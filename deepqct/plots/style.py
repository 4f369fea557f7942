"""What all figures share: one palette, one style, dots, the mark of virtual data, and how a figure is kept."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from deepqct.folder import write_json, write_whole

_SCREEN = 96 / 150  # figures are saved at 150 dots an inch, and a screen's pixel is 1/96 inch

# The one palette of all figures. On white each colour of marks has a contrast of 3:1 or more, and each of text 4.5:1 (WCAG
# 2.2); the bones' colours also differ in lightness, for colour blindness and for grey paper: blues for the wrist, oranges
# for the ankle. Families and groups are never told apart by colour alone: they are named, or have marks of their own.
INK, SOFT, GREY, ALARM, VIRTUAL = "#000000", "#595959", "#767676", "#B00020", "#5B2A86"
BONE_COLOURS = {"radius": "#003D73", "ulna": "#2F8FCB", "tibia": "#8A2E00", "fibula": "#D97706"}
BONE_MARKERS = {"radius": "o", "ulna": "s", "tibia": "^", "fibula": "D"}
FAMILY_COLOURS = {
    "Clinical": "#5F5F5F", "FRAX": "#8C6D00", "BMD": "#C2568F", "pQCT-index": "#00A076", "Strength": "#2962FF",
    "Texture": "#4B3F8F", "DeepQCT": INK,
}  # fmt: skip
OTHER_COLOURS = (INK, "#00A076", "#C2568F", "#5F5F5F", "#8C6D00", "#4B3F8F")
CALLED, NOT_CALLED = "#8A2E00", "#2F8FCB"  # women above and below a threshold
ONE = "#0072B2"  # of a single series that is neither a bone nor a family
FAINT = "#D9D9D9"  # behind what is shown: nothing is read off it
ON_DARK = ("#F0E442", "#56B4E9")  # outlines on slices
STYLE: Any = {
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.facecolor": "white",
    "font.size": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters as letters of an embedded font, which journals ask for
    "text.parse_math": False,  # a column may be called $x_{$
    "svg.hashsalt": "deepqct",  # the same figure gives the same bytes
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}
P = ParamSpec("P")
R = TypeVar("R")


def set_style() -> None:
    """Give all later figures of this session the style that the functions of `deepqct.plots` use for theirs.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import deepqct as dq
    >>> with plt.rc_context():  # so that the style ends here
    ...     dq.plots.set_style()
    ...     plt.rcParams["axes.titlesize"], plt.rcParams["legend.frameon"]
    (11.0, False)
    """
    plt.rcParams.update(STYLE)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Return a function that draws in the style of this module and leaves the session's style as it was.

    Parameters
    ----------
    draw : callable
        A function that draws a figure.

    Returns
    -------
    callable
        It takes and returns what `draw` does.
    """

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with plt.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


def mark_virtual(figure: Figure, *, within: bool = False) -> None:
    """Write "virtual cohort" below the right corner of a figure, where it covers nothing.

    Parameters
    ----------
    figure : Figure
        The figure to mark; unless `within`, it is laid out first and keeps this layout.
    within : bool
        Write inside the lower right corner instead, for a figure that may not grow.

    Examples
    --------
    >>> import deepqct as dq
    >>> figure = dq.plots.montage({})[0].get_figure()
    >>> dq.plots.mark_virtual(figure)
    >>> [text.get_text() for text in figure.texts]
    ['virtual cohort']
    """
    how: dict[str, Any] = {"ha": "right", "fontsize": 10, "color": VIRTUAL, "style": "italic"}
    if within:
        figure.text(0.995, 0.01, "virtual cohort", va="bottom", **how)
        return
    _lay_out(figure)
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    figure.text(box.x1 / width, (box.y0 - 0.05) / height, "virtual cohort", va="top", **how)


def save(
    drawn: Axes | NDArray[Any] | Figure, folder: Path, *, name: str, title: str, caption: str, order: int, virtual: bool
) -> Path:
    """Write a figure as PNG, SVG and PDF with a JSON of its title and caption beside them, and close it.

    Either all four files are written or none. The same figure gives the same bytes.

    Parameters
    ----------
    drawn : Axes, array of Axes, or Figure
        The figure, or the axes that a function of `deepqct.plots` returns.
    folder : Path
        The folder in which the files are written, such as `Run.figures` of a job.
    name : str
        The files' name, without ending.
    title, caption : str
        What the figure shows, and what to look for in it.
    order : int
        The figure's place among those of its job.
    virtual : bool
        Mark the figure as one of a virtual cohort.

    Returns
    -------
    Path
        The PNG file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> axes, words = dq.plots.montage({}), {"title": "Stacks", "caption": "There are none."}
    >>> png = dq.plots.save(axes, Path(tempfile.mkdtemp()), name="stacks", order=0, virtual=False, **words)
    >>> sorted(file.name for file in png.parent.iterdir())
    ['stacks.json', 'stacks.pdf', 'stacks.png', 'stacks.svg']
    """
    figure = drawn if isinstance(drawn, Figure) else np.ravel(np.asarray(drawn, dtype=object))[0].get_figure()
    _lay_out(figure)
    if virtual:
        mark_virtual(figure)
    png, svg, pdf, record = (folder / f"{name}{ending}" for ending in (".png", ".svg", ".pdf", ".json"))
    keep: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.12}
    # The files get their names in reverse order: the record comes last, so that whoever finds it finds its pictures.
    with (
        plt.rc_context(STYLE),
        write_whole(record) as d,
        write_whole(pdf) as c,
        write_whole(svg) as b,
        write_whole(png) as a,
    ):
        _write_png(figure, a, title=title, caption=caption, **keep)
        figure.savefig(b, metadata={"Date": None, "Creator": None, "Title": title, "Description": caption}, **keep)
        about = {"Creator": None, "Producer": None, "CreationDate": None, "Title": title, "Subject": caption}
        figure.savefig(c, format="pdf", metadata=about, **keep)
        write_json(d, {"title": title, "caption": caption, "order": order})
    plt.close(figure)
    return png


def _write_png(figure: Figure, path: Path, *, title: str, caption: str, **keep: Any) -> None:
    """Write a PNG of 256 colours: half the size without a visible difference, so that executed notebooks stay small."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=150, **keep)
    text = PngInfo()
    text.add_itxt("Title", title)
    text.add_itxt("Description", caption)
    with Image.open(drawn) as image:
        small = image.convert("RGB").quantize(
            256, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
        )
        small.save(path, format="png", optimize=True, pnginfo=text, dpi=(150, 150))


def _lay_out(figure: Figure) -> None:
    """Compute the figure's layout once and fix it: each later drawing would compute it again, slowly."""
    if not isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def dots(
    axes: Axes,
    values: pd.Series,
    *,
    at: float,
    colour: str,
    filled: bool,
    reach: float,
    size: float = 16,
    flat: bool = False,
) -> None:
    """Draw one dot for each value, spread more widely where values are dense, and a line at their median.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    values : Series
        The values; missing ones are left out.
    at : float
        The place of the dots' middle on the other axis.
    colour : str
        The dots' colour.
    filled : bool
        Draw filled dots instead of hollow ones.
    reach : float
        The largest distance of a dot from `at`.
    size : float
        The dots' area in points².
    flat : bool
        Draw the values along x instead of y.
    """
    known = np.sort(values.dropna().to_numpy(float))
    if not len(known):
        return
    across = at + reach * _spread(known)
    face, edge, line = (colour, "white", 0.4) if filled else ("white", colour, 1.1)
    middle, ends = [float(np.median(known))] * 2, [at - reach * 1.1, at + reach * 1.1]
    along = (known, across) if flat else (across, known)
    axes.scatter(along[0], along[1], s=size, facecolor=face, edgecolor=edge, linewidth=line, zorder=2)
    axes.plot(*((middle, ends) if flat else (ends, middle)), color=INK, linewidth=1.8, zorder=3, solid_capstyle="butt")


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A place between −1 and 1 for each sorted value: an evenly filling fixed sequence, times the local density."""
    bits = max(int(np.ceil(np.log2(len(values) + 1))), 1)
    ranks = np.arange(1, len(values) + 1)
    even = sum(((ranks >> bit) & 1) / 2.0 ** (bit + 1) for bit in range(bits)) * 2 - 1
    width = (values[-1] - values[0]) / 8 or 1.0
    near = np.exp(-(((values[:, None] - values[None, :]) / width) ** 2) / 2).sum(axis=1)
    return np.asarray(even * near / near.max())


def outcome_legend(
    counts: pd.Series, name: str, *, without: str = "", colour: str = SOFT
) -> tuple[list[Line2D], list[str]]:
    """Return handles and labels of a legend: hollow dots without the event, filled dots with it, a bar for the median.

    Parameters
    ----------
    counts : Series
        The number of women with the event (``yes``) and without it (``no``).
    name : str
        The event's name.
    without : str
        What women without it are called; ``no`` and the name if empty.
    colour : str
        The colour of the dots.

    Returns
    -------
    list of Line2D
        The three handles.
    list of str
        Their labels, with the numbers of women.
    """
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 7}
    handles = [
        Line2D([], [], markerfacecolor="white", markeredgecolor=colour, **dot),
        Line2D([], [], color=colour, **dot),
        Line2D([], [], color=INK, linewidth=1.8),
    ]
    events, others = int(counts.get("yes", 0)), int(counts.get("no", 0))
    without = without or f"no {name}"
    return handles, [f"{without} ({others} of {others + events})", f"{name} ({events} of {others + events})", "median"]


def screen_size(png: Path) -> dict[str, int]:
    """Return the width and height in screen pixels at which a saved figure has the size that it was drawn for.

    Parameters
    ----------
    png : Path
        A PNG that `save` wrote.

    Returns
    -------
    dict of str to int
        ``width`` and ``height``.
    """
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    return {"width": round(width * _SCREEN), "height": round(height * _SCREEN)}
