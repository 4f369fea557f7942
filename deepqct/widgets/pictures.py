"""What widgets share: pictures and figures as bytes, and errors that are seen."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from deepqct.plots.style import mark_virtual


def picture_bytes(picture: Image.Image, kind: str = "PNG") -> bytes:
    """Return a picture as the bytes of an image file, compressed so that it is fast rather than small.

    Parameters
    ----------
    picture : PIL.Image.Image
        The picture.
    kind : {"PNG", "JPEG"}
        Format of the file.

    Returns
    -------
    bytes

    Examples
    --------
    >>> from PIL import Image
    >>> from deepqct.widgets.pictures import picture_bytes
    >>> picture_bytes(Image.new("RGB", (4, 3)))[1:4]
    b'PNG'
    """
    out = BytesIO()
    picture.save(out, kind, **({"quality": 92, "subsampling": 0} if kind == "JPEG" else {"compress_level": 1}))
    return out.getvalue()


def figure_bytes(axes: Any, *, virtual: bool, dpi: int = 80) -> bytes:
    """Return a figure of `deepqct.plots` as the bytes of a PNG file, and close the figure.

    Parameters
    ----------
    axes : matplotlib Axes, or an array or list of them
        What a function of `deepqct.plots` returned.
    virtual : bool
        Whether the figure is marked as of virtual women.
    dpi : int
        Pixels per inch.

    Returns
    -------
    bytes

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from deepqct.widgets.pictures import figure_bytes
    >>> figure_bytes(plt.figure().subplots(), virtual=True)[1:4]
    b'PNG'
    """
    import matplotlib.pyplot as plt

    figure = np.ravel(np.asarray(axes, dtype=object))[0].get_figure()
    if virtual:
        mark_virtual(figure)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight")
    plt.close(figure)
    return drawn.getvalue()


class Faults:
    """Shows what goes wrong after a click as one sentence at the head of a text; ipywidgets itself tells nobody.

    Parameters
    ----------
    place : ipywidgets.HTML
        The text; the sentence goes away with the next click that works.

    Examples
    --------
    >>> import ipywidgets
    >>> from deepqct.widgets.pictures import Faults
    >>> def save(_):
    ...     raise OSError("The disk is full; free space on it.")
    >>> button, said = ipywidgets.Button(), ipywidgets.HTML("<p>3 selected</p>")
    >>> button.on_click(Faults(said).told(save))
    >>> button.click()
    >>> said.value
    '<p><strong>The disk is full; free space on it.</strong></p><p>3 selected</p>'
    """

    def __init__(self, place: widgets.HTML) -> None:
        self._place, self._shown, self._within = place, "", False

    def told(self, act: Callable[..., None]) -> Callable[..., None]:
        """Return a callback that does `act` and shows its error.

        Parameters
        ----------
        act : callable
            What a click or a changed value does. An error that nobody foresaw is shown and raised, for the log.
        """

        def follow(*given: Any, **named: Any) -> None:
            if self._within:  # a value that another callback sets: its error ends that one too
                act(*given, **named)
                return
            self._place.value = self._place.value.removeprefix(self._shown)
            self._shown, self._within = "", True
            try:
                act(*given, **named)
            except (OSError, ValueError) as error:
                self._show(str(error))
            except Exception as error:
                self._show(f"This did not work ({type(error).__name__}: {error}).")
                raise
            finally:
                self._within = False

        return follow

    def _show(self, sentence: str) -> None:
        self._shown = f"<p><strong>{escape(sentence)}</strong></p>"
        self._place.value = self._shown + self._place.value
