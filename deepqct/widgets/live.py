"""Pictures that answer the hand in the browser: one of a scan to zoom, move and measure, and a figure to point at.

What they do in the browser is written in ``labextension/static/live.js``.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import numpy as np
import traitlets

_VERSION = "0.1.0"  # of the widgets in live.js


class _Live(widgets.DOMWidget):
    """What both kinds of picture share: bytes of an image file, and words for who does not see it."""

    _model_module = traitlets.Unicode("deepqct").tag(sync=True)
    _view_module = traitlets.Unicode("deepqct").tag(sync=True)
    _model_module_version = traitlets.Unicode(_VERSION).tag(sync=True)
    _view_module_version = traitlets.Unicode(_VERSION).tag(sync=True)
    value = traitlets.Bytes(b"").tag(sync=True, to_json=lambda v, _: memoryview(v))
    format = traitlets.Unicode("png").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)


class Picture(_Live):
    """A picture of a slice: the wheel zooms, a drag moves it or measures, a double click puts it back.

    One pixel of `value` is one pixel of the scan. The browser tells which `serial` stands on the screen (`shown`), and
    sends messages: ``click``, ``over`` (the mouse), ``step`` (to another slice), ``key``.

    Parameters
    ----------
    zoom_to : {"pixels", "window"}
        How a new picture lies in its window: at a whole multiple of its pixels, or as large as the window.
    keys : sequence of str
        The keys that are sent; none of them while somebody types into a field. A held key is sent once. In JupyterLab
        they count after a click into the output, on a page of `deepqct app` everywhere.
    alt : str
        What the picture shows, for people who do not see it.
    **layout
        Traits of its `ipywidgets.Layout`, such as ``width`` and ``height``, in CSS.

    Examples
    --------
    >>> from deepqct.widgets.live import Picture
    >>> picture = Picture(keys="ar", height="300px")
    >>> picture.pixel_mm, picture.ruler = (0.5, 0.25), (0, 0, 4, 0)
    >>> picture.distance_mm, picture.ready
    (1.0, True)
    """

    _model_name = traitlets.Unicode("PictureModel").tag(sync=True)
    _view_name = traitlets.Unicode("PictureView").tag(sync=True)
    serial = traitlets.Int(0).tag(sync=True)
    shown = traitlets.Int(-1).tag(sync=True)
    pixel_mm = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(1.0, 1.0)).tag(sync=True)
    zoom_to = traitlets.Unicode("pixels").tag(sync=True)
    centre = traitlets.List(default_value=None, allow_none=True).tag(sync=True)
    cross = traitlets.List(default_value=None, allow_none=True).tag(sync=True)
    ruler = traitlets.List(traitlets.Float()).tag(sync=True)
    measuring = traitlets.Bool(False).tag(sync=True)
    heard_keys = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, *, zoom_to: str = "pixels", keys: Any = (), alt: str = "", **layout: Any) -> None:
        super().__init__(
            format="jpeg", zoom_to=zoom_to, heard_keys=list(keys), alt=alt, layout=widgets.Layout(**layout)
        )

    @property
    def ready(self) -> bool:
        """Whether the present picture stands on the screen; True too where no browser shows any."""
        return self.shown in (-1, self.serial)

    @property
    def distance_mm(self) -> float:
        """Length of the ruler in mm; 0 without one."""
        if len(self.ruler) != 4:
            return 0.0
        from_x, from_y, to_x, to_y = self.ruler
        down, across = self.pixel_mm
        return float(np.hypot((to_x - from_x) * across, (to_y - from_y) * down))


class Figure(_Live):
    """A figure whose points have names: the mouse over one shows its name, and a click or a dragged box is sent.

    The messages are ``pick`` (with ``which``, the number of the point, and ``at``) and ``box`` (``from``, ``to``), in
    pixels of the figure.

    Parameters
    ----------
    alt : str
        What the figure shows, for people who do not see it.
    **layout
        Traits of its `ipywidgets.Layout`, in CSS.

    Examples
    --------
    >>> from deepqct.widgets.live import Figure
    >>> Figure(alt="Risk over age").alt
    'Risk over age'
    """

    _model_name = traitlets.Unicode("FigureModel").tag(sync=True)
    _view_name = traitlets.Unicode("FigureView").tag(sync=True)
    points = traitlets.List().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, *, alt: str = "", **layout: Any) -> None:
        # A flexible box would stretch it to its neighbours' height.
        own = {
            "flex": "0 0 auto",
            "align_self": "flex-start",
            "width": "auto",
            "height": "auto",
            "max_width": "100%",
        } | layout
        super().__init__(alt=alt, layout=widgets.Layout(**own))
