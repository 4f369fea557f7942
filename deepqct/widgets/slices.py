"""A scan slice by slice: three planes through one voxel, in a density window, with outlines and a read-out."""

from __future__ import annotations

from functools import partial
from typing import Any

import ipywidgets as widgets
import numpy as np
from ipyevents import Event
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from deepqct.scans.scan import Scan
from deepqct.widgets.pictures import Faults, image_widget, picture_bytes

# Density windows in mgHA/cm³; our choice. None: the range of the slice's densities.
WINDOWS: dict[str, tuple[float, float] | None] = {"bone": (-400.0, 1400.0), "trabecular": (-200.0, 700.0), "full": None}
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # the axis that each plane cuts
OUTLINES = ((0, 158, 115), (230, 159, 0), (86, 180, 233))  # trabecular, cortical, another bone (Okabe and Ito 2008)
_CROSS = (204, 121, 167)
_BAR_MM = 10
_WAIT_MS = 60  # between two events of the mouse: more of them would queue up behind the pictures


def slice_picture(
    scan: Scan,
    *,
    plane: str,
    at: tuple[int, int, int],
    window: tuple[float, float] | None = WINDOWS["bone"],
    labels: NDArray[np.uint8] | None = None,
    cross: bool = False,
    size: int = 380,
) -> Image.Image:
    """Return a picture of one slice through a voxel, in true proportions, with a bar of 10 mm.

    Parameters
    ----------
    scan : Scan
        The scan. Of a memory-mapped one only the slice itself is read.
    plane : {"axial", "coronal", "sagittal"}
        Shown as (y, x), (z, x) or (z, y), the first axis downwards.
    at : (z, y, x)
        The voxel that the slice goes through.
    window : (low, high) mgHA/cm³, or None
        Densities shown as black and as white; None for the range of the slice's densities.
    labels : (z, y, x) uint8, optional
        Compartments to outline: 1 trabecular, 2 cortical, 3 another bone.
    cross : bool
        Whether two lines mark the voxel.
    size : int
        Pixels along the longer edge.

    Returns
    -------
    PIL.Image.Image
        In RGB.

    Examples
    --------
    >>> import deepqct as dq
    >>> import numpy as np
    >>> from deepqct.widgets.slices import slice_picture
    >>> scan = dq.Scan(np.zeros((10, 40, 60), np.int16), 1.0, 0.0, voxel_mm=(0.5, 0.25, 0.25))
    >>> [slice_picture(scan, plane=plane, at=(5, 20, 30), size=300).size for plane in ("axial", "coronal", "sagittal")]
    [(300, 200), (300, 100), (300, 150)]
    """
    axis = PLANES[plane]
    place: tuple[Any, ...] = tuple(at[a] if a == axis else slice(None) for a in range(3))
    rest = [a for a in range(3) if a != axis]
    scale = _pixels_a_mm(scan, plane=plane, size=size)
    height, width = (max(1, round(scan.native.shape[a] * scan.voxel_mm[a] * scale)) for a in rest)
    density = scan.density_of(place)
    low, high = (float(density.min()), float(density.max())) if window is None else window
    grey = np.clip((density - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    picture = Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("RGB")
    if labels is not None:
        small = np.asarray(Image.fromarray(labels[place]).resize((width, height), Image.Resampling.NEAREST))
        pixels = np.array(picture)
        for label, colour in enumerate(OUTLINES, start=1):
            inside = small == label
            pixels[inside & ~ndimage.binary_erosion(inside)] = colour
        picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    if cross:
        row, column = ((at[a] + 0.5) * scan.voxel_mm[a] * scale for a in rest)
        draw.line([(0, row), (width, row)], fill=_CROSS)
        draw.line([(column, 0), (column, height)], fill=_CROSS)
    if width > _BAR_MM * scale + 12:
        bottom = height - 7
        draw.line([(6, bottom), (6 + _BAR_MM * scale, bottom)], fill=(255, 255, 255), width=3)
        draw.text((6, bottom - 14), f"{_BAR_MM} mm", fill=(255, 255, 255))
    return picture


def voxel_under(
    scan: Scan, *, plane: str, at: tuple[int, int, int], pixel: tuple[float, float], size: int = 380
) -> tuple[int, int, int]:
    """Return the voxel under a pixel of a picture by `slice_picture`; beyond the scan it is the nearest voxel inside.

    Parameters
    ----------
    scan : Scan
        The scan that is shown.
    plane : {"axial", "coronal", "sagittal"}
        The plane that is shown.
    at : (z, y, x)
        The voxel that the picture was drawn through.
    pixel : (across, down)
        Pixels from the upper left corner of the picture.
    size : int
        Pixels along the longer edge of the picture.

    Returns
    -------
    (z, y, x)
        The voxel.

    Examples
    --------
    >>> import deepqct as dq
    >>> import numpy as np
    >>> from deepqct.widgets.slices import voxel_under
    >>> scan = dq.Scan(np.zeros((10, 40, 60), np.int16), 1.0, 0.0, voxel_mm=(0.5, 0.25, 0.25))
    >>> voxel_under(scan, plane="axial", at=(5, 20, 30), pixel=(200, 75), size=300)
    (5, 15, 40)
    """
    scale = _pixels_a_mm(scan, plane=plane, size=size)
    voxel = list(at)
    for a, place in zip((a for a in range(3) if a != PLANES[plane]), pixel[::-1], strict=True):
        voxel[a] = min(max(int(place / (scale * scan.voxel_mm[a])), 0), scan.native.shape[a] - 1)
    z, y, x = voxel
    return z, y, x


def _pixels_a_mm(scan: Scan, *, plane: str, size: int) -> float:
    """Pixels per mm at which the longer edge of a plane takes `size` pixels."""
    return size / max(scan.native.shape[a] * scan.voxel_mm[a] for a in range(3) if a != PLANES[plane])


def histogram_picture(density: NDArray[np.floating], *, window: tuple[float, float], size: int = 260) -> Image.Image:
    """Return a small histogram of a slice: log counts over densities from −1000 to 2000 mgHA/cm³, the window shaded.

    Parameters
    ----------
    density : array of any shape, mgHA/cm³
        Densities of the slice.
    window : (low, high) mgHA/cm³
        Densities shown as black and as white.
    size : int
        Width of the picture in pixels; its height is 90.

    Returns
    -------
    PIL.Image.Image
        In RGB.

    Examples
    --------
    >>> import numpy as np
    >>> from deepqct.widgets.slices import histogram_picture
    >>> histogram_picture(np.full((40, 60), 900.0), window=(-400, 1400)).size
    (260, 90)
    """
    low, high = -1000.0, 2000.0
    counts = np.log1p(np.histogram(density, bins=size, range=(low, high))[0])
    height = 90
    picture = Image.new("RGB", (size, height), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    left, right = ((min(max(edge, low), high) - low) / (high - low) * (size - 1) for edge in window)
    draw.rectangle([left, 0, right, height - 14], fill=(255, 236, 200))
    for column, tall in enumerate(counts / max(counts.max(), 1e-9) * (height - 18)):
        draw.line([(column, height - 14 - tall), (column, height - 14)], fill=(60, 60, 60))
    for mark in (-1000, 0, 1000):
        text = f"{mark} mgHA/cm³" if mark == 1000 else str(mark).replace("-", "−")
        draw.text(((mark - low) / (high - low) * (size - 1) + 1, height - 12), text, fill=(60, 60, 60))
    draw.text((2, 1), "log count", fill=(60, 60, 60))
    return picture


class SliceViewer(widgets.VBox):
    """A widget that shows three planes through one voxel of a scan.

    Its controls are the attributes `z`, `y`, `x`, `preset`, `level`, `width`, `outlines` and `cross`. A click in a
    picture moves the voxel, the wheel goes from slice to slice, and the density under the mouse is shown below the
    read-out.

    Parameters
    ----------
    scan : Scan
        The scan to show; memory-mapped scans are read slice by slice.
    labels : (z, y, x) uint8, optional
        Compartments to outline: 1 trabecular, 2 cortical, 3 another bone.
    size : int
        Pixels along the longer edge of each plane.
    virtual : bool
        Whether the read-out says that the woman is virtual.

    Examples
    --------
    >>> import deepqct as dq
    >>> woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    >>> scan = dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1)
    >>> viewer = dq.SliceViewer(scan, virtual=True)
    >>> viewer.z.value = 2
    >>> viewer.at, viewer.window
    ((2, 60, 93), (-400.0, 1400.0))
    """

    def __init__(
        self, scan: Scan, *, labels: NDArray[np.uint8] | None = None, size: int = 380, virtual: bool = False
    ) -> None:
        self.planes = {plane: image_widget("jpeg") for plane in PLANES}
        self.histogram = image_widget()
        self.read_out, self.under = widgets.HTML(), widgets.HTML()
        self.z, self.y, self.x = (
            widgets.IntSlider(description=f"{name} (voxel)", continuous_update=True, max=1) for name in "zyx"
        )
        self.preset = widgets.Dropdown(options=[*WINDOWS, "by hand"], value="bone", description="Window")
        self.level = widgets.FloatSlider(
            value=500,
            min=-1000,
            max=2000,
            step=10,
            description="Level",
            description_tooltip="mgHA/cm³",
        )
        self.width = widgets.FloatSlider(
            value=1800, min=50, max=4000, step=10, description="Width", description_tooltip="mgHA/cm³"
        )
        self.outlines = widgets.Checkbox(value=True, description="Compartments")
        self.cross = widgets.Checkbox(value=True, description="Cross")
        self._size, self._virtual, self._still = size, virtual, False
        told = Faults(self.under).told
        for plane, image in self.planes.items():
            mouse = Event(
                source=image, watched_events=["click", "wheel", "mousemove"], prevent_default_action=True, wait=_WAIT_MS
            )
            mouse.on_dom_event(told(partial(self.mouse, plane=plane)))
        self.show(scan, labels=labels)
        for control in (self.z, self.y, self.x, self.level, self.width, self.outlines, self.cross):
            control.observe(told(self._draw), names="value")
        self.preset.observe(told(self._take_preset), names="value")
        controls = widgets.VBox([self.z, self.y, self.x, self.preset, self.level, self.width,
                                 widgets.HBox([self.outlines, self.cross])])  # fmt: skip
        beside = widgets.VBox([self.histogram, self.read_out, self.under])
        row = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
        super().__init__([widgets.HBox(list(self.planes.values()), layout=row), widgets.HBox([controls, beside])])

    def show(self, scan: Scan, *, labels: NDArray[np.uint8] | None = None) -> None:
        """Show another scan, starting at its middle voxel.

        Parameters
        ----------
        scan : Scan
            The scan to show.
        labels : (z, y, x) uint8, optional
            Compartments to outline.
        """
        self.under.value = ""
        self._scan, self._labels, self._still = scan, labels, True
        self.outlines.layout.display = "none" if labels is None else ""
        for slider, count in zip((self.z, self.y, self.x), scan.native.shape, strict=True):
            slider.max = count - 1
            slider.value = count // 2
        self._still = False
        self._draw()

    @property
    def at(self) -> tuple[int, int, int]:
        """The voxel (z, y, x) that all planes go through."""
        return self.z.value, self.y.value, self.x.value

    @property
    def window(self) -> tuple[float, float]:
        """The densities (low, high) shown as black and as white, in mgHA/cm³."""
        return self.level.value - self.width.value / 2, self.level.value + self.width.value / 2

    def mouse(self, event: dict[str, Any], *, plane: str) -> None:
        """Follow one event of the mouse in the picture of a plane.

        Parameters
        ----------
        event : dict
            The event as ipyevents sends it: ``type``, ``dataX``, ``dataY``, of the wheel also ``deltaY``.
        plane : {"axial", "coronal", "sagittal"}
            The plane whose picture it happened in.
        """
        pixel = float(event.get("dataX", 0)), float(event.get("dataY", 0))
        point = voxel_under(self._scan, plane=plane, at=self.at, pixel=pixel, size=self._size)
        if event["type"] == "wheel":
            slider = (self.z, self.y, self.x)[PLANES[plane]]
            slider.value = min(max(slider.value + (1 if event["deltaY"] > 0 else -1), 0), slider.max)
        elif event["type"] == "click":
            self._still = True
            self.z.value, self.y.value, self.x.value = point
            self._still = False
            self._draw()
        else:
            z, y, x = point
            density = float(self._scan.density_of((z, slice(y, y + 1), slice(x, x + 1))).item())
            self.under.value = f"<p>Mouse: {self._words(point, density)}</p>"

    def _words(self, point: tuple[int, int, int], density: float) -> str:
        """The read-out: a voxel, its density and its compartment."""
        label = 0 if self._labels is None else int(self._labels[point])
        named = ("", ", trabecular compartment", ", cortical compartment", ", another bone")[label]
        return f"z {point[0]}, y {point[1]}, x {point[2]}: {density:.0f} mgHA/cm³{named}"

    def _take_preset(self, _: Any = None) -> None:
        """Set level and width to those of the chosen preset; ``full`` is the range of the axial slice."""
        if self.preset.value == "by hand":
            return
        window = WINDOWS[self.preset.value]
        if window is None:
            density = self._scan.density_of((self.z.value,))
            window = float(density.min()), float(density.max())
        self._still = True
        self.level.value, self.width.value = sum(window) / 2, window[1] - window[0]
        self._still = False
        self._draw()

    def _draw(self, _: Any = None) -> None:
        """Draw all pictures and the read-out for the present voxel anew."""
        if self._still:
            return
        labels = self._labels if self.outlines.value else None
        how: dict[str, Any] = {"at": self.at, "window": self.window, "labels": labels, "cross": self.cross.value}
        for plane, image in self.planes.items():
            image.value = picture_bytes(slice_picture(self._scan, plane=plane, size=self._size, **how), "JPEG")
        axial = self._scan.density_of((self.z.value,))
        self.histogram.value = picture_bytes(histogram_picture(axial, window=self.window))
        mark = "<br><em>virtual woman</em>" if self._virtual else ""
        words = self._words(self.at, float(axial[self.y.value, self.x.value]))
        self.read_out.value = f"<p>{words}{mark}</p>"


def link(one: SliceViewer, other: SliceViewer) -> widgets.HBox:
    """Return two viewers side by side that move together, in place and in density window.

    Where the scans differ in size, the same share of each edge is shown, such as the middle of both.

    Parameters
    ----------
    one, other : SliceViewer
        The two viewers; their scans may have any shapes.

    Returns
    -------
    ipywidgets.HBox

    Examples
    --------
    >>> import deepqct as dq
    >>> import numpy as np
    >>> short, long = (dq.Scan(np.zeros((n, 40, 60), np.int16), 1.0, 0.0, voxel_mm=(0.1, 0.1, 0.1)) for n in (11, 21))
    >>> one, other = dq.SliceViewer(short), dq.SliceViewer(long)
    >>> pair = dq.widgets.link(one, other)
    >>> one.z.value = 3
    >>> other.z.value
    6
    """

    def follow(source: SliceViewer, target: SliceViewer) -> None:
        def move(_: Any = None) -> None:
            for name in "zyx":
                a, b = getattr(source, name), getattr(target, name)
                wanted = round(a.value / max(a.max, 1) * b.max)
                if round(b.value / max(b.max, 1) * a.max) != a.value and b.value != wanted:
                    b.value = wanted

        for name in "zyx":
            getattr(source, name).observe(move, names="value")

    follow(one, other)
    follow(other, one)
    for name in ("level", "width", "outlines"):
        widgets.link((getattr(one, name), "value"), (getattr(other, name), "value"))
    return widgets.HBox([one, other])
