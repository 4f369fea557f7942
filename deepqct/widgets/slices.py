"""A scan slice by slice: three planes through one voxel, in a density window, with outlines and a read-out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from deepqct.scans.scan import Scan
from deepqct.widgets.live import Figure, Picture
from deepqct.widgets.pictures import Faults, picture_bytes

# Density windows in mgHA/cm³; our choice. Streaks of motion are seen in soft tissue. None: the slice's own range.
WINDOWS: dict[str, tuple[float, float] | None] = {
    "bone": (-400.0, 1400.0), "trabecular": (-200.0, 700.0), "soft tissue": (-350.0, 350.0), "full": None,
}  # fmt: skip
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # the axis that each plane cuts
OUTLINES = ((0, 158, 115), (230, 159, 0), (86, 180, 233))  # trabecular, cortical, another bone (Okabe and Ito 2008)
_CROSS = (204, 121, 167)
_BAR_MM = 10
_LOW = 30  # a picture of fewer rows has the words of its bar beside it
_DENSE = 600.0  # mgHA/cm³; where the bones are, for a scan that is larger than its window
_COLUMN = "330px"  # the width of all that stands beside a large axial plane


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
    grey = Image.fromarray(_grey(scan.density_of(place), window))
    picture = grey.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("RGB")
    if labels is not None:
        small = np.asarray(Image.fromarray(labels[place]).resize((width, height), Image.Resampling.NEAREST))
        picture = _outlined(picture, small)
    draw = ImageDraw.Draw(picture)
    if cross:
        row, column = ((at[a] + 0.5) * scan.voxel_mm[a] * scale for a in rest)
        draw.line([(0, row), (width, row)], fill=_CROSS)
        draw.line([(column, 0), (column, height)], fill=_CROSS)
    if width > _BAR_MM * scale + 12:
        bottom = height - 7
        draw.line([(6, bottom), (6 + _BAR_MM * scale, bottom)], fill=(255, 255, 255), width=3)
        place_of_words = (12 + _BAR_MM * scale, bottom + 1) if height < _LOW else (6, bottom - 4)
        words = {"font": _letters(), "fill": (255, 255, 255), "stroke_width": 1, "stroke_fill": (0, 0, 0)}
        draw.text(place_of_words, f"{_BAR_MM} mm", anchor="lm" if height < _LOW else "ls", **words)
    return picture


def pixel_picture(
    scan: Scan,
    *,
    plane: str,
    at: tuple[int, int, int],
    window: tuple[float, float] | None = WINDOWS["bone"],
    labels: NDArray[np.uint8] | None = None,
) -> Image.Image:
    """Return a picture of one slice through a voxel, in which one pixel is one voxel, without bar or cross.

    Parameters
    ----------
    scan, plane, at, window, labels
        As in `slice_picture`.

    Returns
    -------
    PIL.Image.Image
        In grey, or in RGB with outlines.

    Examples
    --------
    >>> import deepqct as dq
    >>> import numpy as np
    >>> from deepqct.widgets.slices import pixel_picture
    >>> scan = dq.Scan(np.zeros((10, 40, 60), np.int16), 1.0, 0.0, voxel_mm=(0.5, 0.25, 0.25))
    >>> [pixel_picture(scan, plane=plane, at=(5, 20, 30)).size for plane in ("axial", "coronal", "sagittal")]
    [(60, 40), (60, 10), (40, 10)]
    """
    place: tuple[Any, ...] = tuple(at[a] if a == PLANES[plane] else slice(None) for a in range(3))
    picture = Image.fromarray(_grey(scan.density_of(place), window))
    return picture if labels is None else _outlined(picture.convert("RGB"), np.asarray(labels[place]))


def _grey(density: NDArray[np.floating], window: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Densities as grey levels, black to white over a window, or over their own range."""
    low, high = (float(density.min()), float(density.max())) if window is None else window
    return np.clip((density - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)


def _outlined(picture: Image.Image, labels: NDArray[np.uint8]) -> Image.Image:
    """A picture in RGB with the edge of each compartment in its colour."""
    pixels = np.array(picture)
    for label, colour in enumerate(OUTLINES, start=1):
        inside = labels == label
        pixels[inside & ~ndimage.binary_erosion(inside)] = colour
    return Image.fromarray(pixels)


@cache
def _letters(size: int = 11) -> Any:
    """A font that has the letters of our units; the one of Pillow shows boxes in place of − and ³."""
    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


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
    words = {"font": _letters(10), "fill": (60, 60, 60)}
    for mark in (-1000, 0, 1000):
        text = f"{mark} mgHA/cm³" if mark == 1000 else str(mark).replace("-", "−")
        across = min((mark - low) / (high - low) * (size - 1) + 1, size - 1 - draw.textlength(text, font=_letters(10)))
        draw.text((across, height - 12), text, **words)
    draw.text((2, 1), "log count", **words)
    return picture


class SliceViewer(widgets.VBox):
    """A widget that shows three planes through one voxel of a scan.

    Its controls are the attributes `z`, `y`, `x`, `preset`, `level`, `width`, `outlines`, `cross` and `ruler`. In a
    picture the wheel zooms, a drag moves it, a double click puts it back, and a click moves the voxel; the wheel with
    Shift goes from slice to slice. While the ruler is pressed, a drag measures a distance in mm. The density under the
    mouse is shown below the read-out.

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
    height : str, optional
        The height of the axial plane in CSS. With it that plane is as wide as the page leaves and begins at its own
        pixels, one or a whole number of screen pixels each, and the rest stands in a column beside it.
    keys : sequence of str
        Keys that the axial plane sends, see `live.Picture`; with any, the arrow keys go from slice to slice too.

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
        self,
        scan: Scan,
        *,
        labels: NDArray[np.uint8] | None = None,
        size: int = 380,
        virtual: bool = False,
        height: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        self._size, self._large = size, height is not None
        large: dict[str, Any] = {"zoom_to": "pixels", "height": height, "flex": "1 1 0", "min_width": "300px"}
        own = {"zoom_to": "window", "flex": "0 0 auto", "margin": "2px"}
        self.planes = {
            plane: Picture(keys=keys if plane == "axial" else (), **(large if height and plane == "axial" else own))
            for plane in PLANES
        }
        self.histogram = Figure(alt="Histogram of the densities of the axial slice, with the window shaded")
        self.read_out, self.under = widgets.HTML(), widgets.HTML()
        self.z, self.y, self.x = (
            widgets.IntSlider(description=f"{name} (voxel)", continuous_update=True, max=1) for name in "zyx"
        )
        self.preset = widgets.Dropdown(options=[*WINDOWS, "by hand"], value="bone", description="Window")
        tip = {"description_tooltip": "mgHA/cm³", "step": 10, "readout_format": ".0f"}
        self.level = widgets.FloatSlider(value=500, min=-1000, max=2000, description="Level", **tip)
        self.width = widgets.FloatSlider(value=1800, min=50, max=4000, description="Width", **tip)
        short = widgets.Layout(width="auto")
        self.outlines = widgets.Checkbox(value=True, description="Compartments", indent=False, layout=short)
        self.cross = widgets.Checkbox(value=True, description="Cross", indent=False, layout=short)
        self.ruler = widgets.ToggleButton(
            description="Ruler",
            tooltip="Drag in a picture to measure a distance in mm",
            layout=widgets.Layout(width="7em"),
        )
        self._virtual, self._still = virtual, False
        self._drawn: dict[str, object] = {}
        told = Faults(self.under).told
        for plane, picture in self.planes.items():
            picture.on_msg(partial(self._heard, told=told, plane=plane))
            picture.observe(told(partial(self._measured, plane=plane)), names="ruler")
            widgets.jslink((self.ruler, "value"), (picture, "measuring"))
        self.show(scan, labels=labels)
        for control in (self.z, self.y, self.x, self.outlines, self.cross):
            control.observe(told(self._draw), names="value")
        for control in (self.level, self.width):
            control.observe(told(self._take_window), names="value")
        self.preset.observe(told(self._take_preset), names="value")
        super().__init__(self._arranged())

    def _arranged(self) -> list[widgets.Widget]:
        """The pictures beside each other, or a large one with a column beside it."""
        tools = widgets.HBox([self.ruler, self.outlines, self.cross], layout=widgets.Layout(align_items="center"))
        beside = [self.planes["coronal"], self.planes["sagittal"]]
        row = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
        if self._large:
            told = [self.z, self.preset, self.level, self.width, tools, *beside, self.read_out, self.under]
            # Not wider than its place, or it would have a bar of its own to scroll with.
            fixed = widgets.Layout(flex=f"0 0 {_COLUMN}", width=_COLUMN, padding="0 0 0 8px", overflow="hidden")
            self.column = widgets.VBox(told, layout=fixed)
            return [widgets.HBox([self.planes["axial"], self.column], layout=widgets.Layout(align_items="flex-start"))]
        # Its own width, or a long line of text would put it below the axial plane.
        narrow = widgets.Layout(flex="0 0 auto", width=f"{max(self._size, 200) + 6}px", overflow="hidden")
        text = widgets.VBox([*beside, self.histogram, self.read_out, self.under], layout=narrow)
        planes = widgets.HBox([self.planes["axial"], text], layout=row)
        return [planes, self.z, self.y, self.x, self.preset, self.level, self.width, tools]

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
        self._drawn.clear()
        centre = _middle_of_bones(scan)
        for plane, picture in self.planes.items():
            down, across = (a for a in range(3) if a != PLANES[plane])
            with picture.hold_sync():
                picture.serial += 1
                picture.ruler = []
                picture.pixel_mm = scan.voxel_mm[down], scan.voxel_mm[across]
                picture.centre = centre if plane == "axial" else None
                if not (self._large and plane == "axial"):
                    scale = _pixels_a_mm(scan, plane=plane, size=self._size)
                    wide, tall = (
                        max(1, round(scan.native.shape[a] * scan.voxel_mm[a] * scale)) for a in (across, down)
                    )
                    picture.layout.width, picture.layout.height = f"{wide}px", f"{tall}px"
                self._draw_plane(plane)
        self._tell()

    def blank(self) -> None:
        """Show nothing, for a scan that cannot be read; the keys still work."""
        for picture in self.planes.values():
            with picture.hold_sync():
                picture.serial += 1
                picture.ruler, picture.value, picture.alt = [], b"", "No scan"
        self.read_out.value = self.under.value = ""

    @property
    def at(self) -> tuple[int, int, int]:
        """The voxel (z, y, x) that all planes go through."""
        return self.z.value, self.y.value, self.x.value

    @property
    def window(self) -> tuple[float, float]:
        """The densities (low, high) shown as black and as white, in mgHA/cm³."""
        return self.level.value - self.width.value / 2, self.level.value + self.width.value / 2

    def _heard(self, _: Any, message: dict[str, Any], __: Any, *, told: Any, plane: str) -> None:
        told(self.mouse)(message, plane=plane)

    def mouse(self, message: dict[str, Any], *, plane: str) -> None:
        """Follow one message of the picture of a plane.

        Parameters
        ----------
        message : dict
            As `live.Picture` sends it: ``type`` (click, over, step), ``at`` (pixels across and down) or ``by``.
        plane : {"axial", "coronal", "sagittal"}
            The plane whose picture it happened in.
        """
        if message["type"] == "step":
            slider = (self.z, self.y, self.x)[PLANES[plane]]
            slider.value = min(max(slider.value + int(message["by"]), 0), slider.max)
        elif message["type"] == "click":
            self._still = True
            self.z.value, self.y.value, self.x.value = self._voxel(message["at"], plane=plane)
            self._still = False
            self._draw()
        elif message["type"] == "over":
            z, y, x = self._voxel(message["at"], plane=plane)
            density = float(self._scan.density_of((z, slice(y, y + 1), slice(x, x + 1))).item())
            self.under.value = f'<div style="line-height:1.35">Mouse: {self._words((z, y, x), density)}</div>'

    def _voxel(self, at: Sequence[float], *, plane: str) -> tuple[int, int, int]:
        """The voxel under a place in a picture, in its pixels across and down; beyond the scan the nearest one."""
        voxel = list(self.at)
        for a, place in zip((a for a in range(3) if a != PLANES[plane]), reversed(at), strict=True):
            voxel[a] = min(max(int(np.floor(place)), 0), self._scan.native.shape[a] - 1)
        z, y, x = voxel
        return z, y, x

    def _measured(self, _: Any = None, *, plane: str) -> None:
        if distance := self.planes[plane].distance_mm:
            self.under.value = f"Ruler, {plane}: {distance:.2f} mm"

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

    def _take_window(self, _: Any = None) -> None:
        if not self._still:
            self.preset.value = "by hand"
            self._draw()

    def _draw(self, _: Any = None) -> None:
        """Draw what the present voxel and window change, and the read-out."""
        if self._still:
            return
        for plane in PLANES:
            self._draw_plane(plane)
        self._tell()

    def _draw_plane(self, plane: str) -> None:
        """Draw one plane anew, if it is another slice or looks otherwise; its cross moves by itself."""
        picture, at = self.planes[plane], self.at
        labels = self._labels if self.outlines.value else None
        down, across = (a for a in range(3) if a != PLANES[plane])
        picture.cross = [at[across], at[down]] if self.cross.value else None
        now = (at[PLANES[plane]], self.window, labels is not None)
        if self._drawn.get(plane) != now:
            self._drawn[plane] = now
            drawn = pixel_picture(self._scan, plane=plane, at=at, window=self.window, labels=labels)
            picture.alt = (
                f"{plane.capitalize()} slice {at[PLANES[plane]] + 1} of {self._scan.native.shape[PLANES[plane]]}"
            )
            picture.value = picture_bytes(drawn, "JPEG")

    def _tell(self) -> None:
        axial = self._scan.density_of((self.z.value,))
        if not self._large:
            self.histogram.value = picture_bytes(
                histogram_picture(axial, window=self.window, size=min(260, self._size))
            )
        mark = " · <em>virtual woman</em>" if self._virtual else ""
        words = self._words(self.at, float(axial[self.y.value, self.x.value]))
        self.read_out.value = f'<div style="line-height:1.35">{words}{mark}</div>'


def _middle_of_bones(scan: Scan) -> list[float] | None:
    """The middle of what is dense in the middle slice, in voxels across and down; None if nothing is."""
    rows, columns = np.nonzero(scan.density_of((scan.native.shape[0] // 2,)) > _DENSE)
    return [float(columns.mean()), float(rows.mean())] if len(rows) else None


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
