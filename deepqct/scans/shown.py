"""How a scan, and what is made of it, shows itself in a notebook: a small picture, a few rows, and what to call next."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = (-400.0, 1400.0)  # mgHA/cm³ drawn black and white, as in all figures
MOST_PIXELS = 320  # along an edge of a picture; finer slices are averaged
_EDGE = 220  # the longer edge of a picture on the screen, in pixels


def card(title: str, rows: Mapping[str, object], *, then: Mapping[str, str], picture: str = "") -> str:
    """Return a small piece of HTML that says what a thing is and what to do with it.

    Parameters
    ----------
    title : str
        What it is.
    rows : mapping
        Names and values; values are written as text.
    then : mapping of str to str
        What to call next, and what each call does.
    picture : str
        HTML of a picture, from `slice_picture`; none if empty.

    Examples
    --------
    >>> from deepqct.scans.shown import card
    >>> card("Scan", {"side": "left"}, then={"dq.find_bones(scan)": "cuts its bones out"}).count("<tr>")
    1
    """
    table = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows.items())
    calls = "".join(f"<br><code>{escape(call)}</code> {escape(what)}" for call, what in then.items())
    return (
        '<div style="display: flex; gap: 1em; align-items: flex-start; text-align: left">'
        f"{picture}<div><b>{escape(title)}</b><table>{table}</table>Next:{calls}</div></div>"
    )


def slice_picture(
    density: NDArray[np.floating[Any]],
    *,
    pixel_mm: tuple[float, float],
    outlines: Mapping[str, NDArray[np.bool_]] | None = None,
) -> str:
    """Return one slice as an HTML picture, in the density window of all figures.

    Parameters
    ----------
    density : (y, x), mgHA/cm³
        The slice.
    pixel_mm : (y, x) mm
        Edge lengths of a pixel.
    outlines : mapping of str to (y, x) bool, optional
        What is outlined, by its colour, such as ``#F0E442``.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.scans.shown import slice_picture
    >>> slice_picture(np.zeros((8, 16), np.float32), pixel_mm=(0.1, 0.1))[:33]
    '<img width="220" height="110" alt'
    """
    from base64 import b64encode
    from io import BytesIO

    from PIL import Image
    from scipy.ndimage import binary_erosion

    low, high = WINDOW
    grey = Image.fromarray((np.clip((density - low) / (high - low), 0, 1) * 255).astype(np.uint8))
    step = max(-(-max(density.shape) // MOST_PIXELS), 1)
    pixels = np.array(grey.reduce(step).convert("RGB"))
    for colour, mask in (outlines or {}).items():
        inside = mask[::step, ::step]
        pixels[inside & ~binary_erosion(inside)] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    sides = [n * mm for n, mm in zip(density.shape, pixel_mm, strict=True)]
    height, width = (max(round(_EDGE * side / max(sides)), 1) for side in sides)
    return (
        f'<img width="{width}" height="{height}" alt="the middle slice, {low:g} to {high:g} mgHA/cm³" '
        f'src="data:image/png;base64,{b64encode(out.getvalue()).decode()}">'
    )


def sizes(shape: tuple[int, ...], voxel_mm: tuple[float, ...]) -> dict[str, str]:
    """The rows of a `card` that say how large an array and its voxels are.

    Parameters
    ----------
    shape : (z, y, x)
        Voxels along each axis.
    voxel_mm : (z, y, x) mm
        Edge lengths of a voxel.

    Examples
    --------
    >>> from deepqct.scans.shown import sizes
    >>> sizes((2, 100, 200), (0.1, 0.1, 0.1))["size (z, y, x)"]
    '0.2 × 10.0 × 20.0 mm'
    """
    return {
        "voxels (z, y, x)": times(shape, "d"),
        "voxel (z, y, x)": f"{times(voxel_mm, '.4f')} mm",
        "size (z, y, x)": f"{times([n * mm for n, mm in zip(shape, voxel_mm, strict=True)], '.1f')} mm",
    }


def times(numbers: Any, form: str) -> str:
    """Numbers with × between them, each in the same format.

    Parameters
    ----------
    numbers : iterable of numbers
        Such as the shape of an array.
    form : str
        Python's format, such as ``.4f``.

    Examples
    --------
    >>> from deepqct.scans.shown import times
    >>> times((0.061, 0.061), ".2f")
    '0.06 × 0.06'
    """
    return " × ".join(format(number, form) for number in numbers)
