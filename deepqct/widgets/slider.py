"""A slider of slices as HTML, without a script and without a server: what a page shows instead of the slice viewer."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from deepqct.scans.scan import Scan
from deepqct.widgets.slices import WINDOWS, slice_picture

MOST = 24  # slices in one page; our choice, so that an executed notebook stays small
# Radio buttons are the slider: arrow keys move along them, and the checked one shows the slice that belongs to it.
# Where a page is not trusted and loses its buttons and style, all slices are shown one below the other.
_STYLE = (
    ".dq-slices{display:flex;flex-wrap:wrap;align-items:center;width:%dpx;max-width:100%%}"
    ".dq-slices input{order:1;flex:1 1 6px;min-width:6px;width:6px;margin:0 0 6px;height:18px;cursor:ew-resize}"
    ".dq-slices span{order:2;flex:0 0 100%%;display:none;font-size:13px;color:inherit}"
    ".dq-slices input:checked+span{display:block}.dq-slices img{display:block;max-width:100%%;height:auto}"
)


def slice_slider(
    scan: Scan,
    *,
    name: str,
    labels: NDArray[np.uint8] | None = None,
    window: tuple[float, float] | None = WINDOWS["bone"],
    size: int = 260,
    most: int = MOST,
    virtual: bool = False,
) -> str:
    """Return axial slices of a scan with a slider, as HTML that needs no script and no other file.

    Parameters
    ----------
    scan : Scan
        The scan to show; only the slices that are shown are read.
    name : str
        What the scan is, for the caption of each slice.
    labels : (z, y, x) uint8, optional
        Compartments to outline: 1 trabecular, 2 cortical, 3 another bone.
    window : (low, high) mgHA/cm³, or None
        Densities shown as black and as white; None for the range of each slice's densities.
    size : int
        Pixels along the longer edge.
    most : int
        At most so many slices, at even distances.
    virtual : bool
        Whether each caption says that the woman is virtual.

    Returns
    -------
    str
        The HTML.

    Examples
    --------
    >>> import deepqct as dq
    >>> import numpy as np
    >>> scan = dq.Scan(np.zeros((50, 40, 60), np.int16), 1.0, 0.0, voxel_mm=(0.5, 0.25, 0.25))
    >>> html = dq.widgets.slice_slider(scan, name="Wrist", most=7)
    >>> html.count("<img"), "Wrist, slice 50 of 50, 24.50 mm" in html
    (7, True)
    """
    count = scan.native.shape[0]
    shown = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
    group = hashlib.sha256(f"{name} {scan.native.shape} {size}".encode()).hexdigest()[:12]
    mark = " · virtual woman" if virtual else ""
    middle = shown[len(shown) // 2]
    slides = []
    for z in shown:
        at = (int(z), scan.native.shape[1] // 2, scan.native.shape[2] // 2)
        drawn = BytesIO()
        picture = slice_picture(scan, plane="axial", at=at, window=window, labels=labels, size=size)
        picture.save(drawn, "JPEG", quality=82, optimize=True)
        data = base64.b64encode(drawn.getvalue()).decode()
        words = f"{escape(name)}, slice {z + 1} of {count}, {z * scan.voxel_mm[0]:.2f} mm{mark}"
        slides.append(
            f'<input type="radio" name="dq-{group}" aria-label="{words}"{" checked" if z == middle else ""}>'
            f'<span><img src="data:image/jpeg;base64,{data}" width="{picture.width}" height="{picture.height}" '
            f'alt="{words}">{words}</span>'
        )
    return f'<style>{_STYLE % size}</style><div class="dq-slices" role="group">{"".join(slides)}</div>'
