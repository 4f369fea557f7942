"""What widgets share: images at their own size, and pictures and figures as bytes."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from deepqct.plots.style import mark_virtual


def image_widget(kind: str = "png") -> widgets.Image:
    """An empty image that keeps its own size: a flexible box would stretch it to its neighbours' height."""
    layout = widgets.Layout(flex="0 0 auto", align_self="flex-start", width="auto", height="auto")
    return widgets.Image(format=kind, layout=layout)


def picture_bytes(picture: Image.Image, kind: str = "PNG") -> bytes:
    """A picture as a browser takes it, quickly."""
    out = BytesIO()
    picture.save(out, kind, **({"quality": 92, "subsampling": 0} if kind == "JPEG" else {"compress_level": 1}))
    return out.getvalue()


def figure_bytes(axes: Any, *, virtual: bool, dpi: int = 80) -> bytes:
    """A figure of `deepqct.plots` as PNG, marked if it is of virtual women, and closed."""
    import matplotlib.pyplot as plt

    figure = np.ravel(np.asarray(axes, dtype=object))[0].get_figure()
    if virtual:
        mark_virtual(figure)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight")
    plt.close(figure)
    return drawn.getvalue()
