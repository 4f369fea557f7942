"""The colours of a bone in 3D: what the key says is what the view and its picture show."""

from __future__ import annotations

import re
import sys
from html import unescape
from io import BytesIO
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
import traitlets
from matplotlib.colors import to_hex, to_rgb
from PIL import Image
from test_colours import SEEN, lab, linear

from deepqct.curation.stacks import LABELS
from deepqct.plots import strength
from deepqct.widgets import bone_view
from deepqct.widgets.bone import _BLEND, _means, one_further
from deepqct.widgets.bone_key import (
    CLASSES,
    COMPARTMENTS,
    ENERGY_COLOURS,
    Key,
    energy_classes,
    energy_key,
    energy_limits,
)
from deepqct.widgets.lab import viewer_files
from deepqct.widgets.live import Figure
from deepqct.widgets.slices import OUTLINES

ENERGY = energy_key((0.011, 0.034, 0.117, 0.2))


def rows(html: str) -> dict[str, list[str]]:
    """Colour and words of each row of a key, in their order."""
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", html):
        (colour,) = re.findall(r"background:(#[0-9a-f]{6})", row)
        found[colour] = [unescape(words) for words in re.findall(r">([^<>]+)</td>", row)]
    return found


def tube() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Densities, compartments and strain energies of a cortex around trabecular bone, of which the cortex is loaded."""
    _, y, x = np.mgrid[:12, :40, :40]
    far = np.hypot(y - 20, x - 20)
    mask = np.select([far < 10, far < 15], [1, 2], 0).astype(np.uint8)
    energy = np.where(mask == 2, np.random.default_rng(0).gamma(0.5, 0.02, mask.shape), 0).astype(np.float32)
    return np.select([mask == 1, mask == 2], [250, 1000], -100), mask, energy


KEYS = pytest.mark.parametrize("key", [COMPARTMENTS, ENERGY], ids=["compartments", "energy"])


@KEYS
def test_the_key_names_the_colours_that_the_viewer_is_sent(key: Key):
    """A key that says green where the bone is orange is worse than none."""
    labels = range(1, len(key.colours) + 1)
    kind, *sent = key.lut.split(" ")
    assert kind == "Custom", "the viewer refuses other words, and remoteEntry.js leaves them to it"
    assert tuple(sent) == key.colours
    told = rows(key.html(labels))
    assert told == {key.colours[label - 1]: list(key.words[label - 1]) for label in labels}
    assert list(told) == list(key.colours[:: -1 if key.rising else 1])
    assert key.title in key.html(labels)
    assert list(rows(key.html([2]))) == [key.colours[1]], "a label that is nowhere has no row"


@KEYS
@pytest.mark.parametrize("cones", SEEN)
def test_the_colours_of_a_bone_are_told_apart(key: Key, cones: str):
    """As the bones' own: 10 in L*a*b* are two colours at a glance, and these lie mixed with grey."""
    for one, other in combinations(key.colours, 2):
        assert np.linalg.norm(lab(SEEN[cones] @ linear(one)) - lab(SEEN[cones] @ linear(other))) >= 25, (one, other)


def test_compartments_have_the_colours_of_their_outlines_in_the_slices():
    """One colour for one thing in all views of a scan."""
    assert dict(zip(COMPARTMENTS.names, COMPARTMENTS.colours, strict=True)) == {
        name: to_hex(np.array(OUTLINES[label - 1]) / 255) for name, label in LABELS.items() if label != 3
    }


def test_energies_are_ordered_in_colour_as_in_the_figure_of_them():
    """More energy is lighter, whatever cones one has; and the same quantity has the same colours twice."""
    assert ENERGY_COLOURS == strength._COLOURS
    assert len(ENERGY.colours) == len(CLASSES) + 1
    for cones in SEEN.values():
        lightness = [lab(cones @ linear(colour))[0] for colour in ENERGY.colours]
        assert np.diff(lightness).min() > 10


def test_each_class_lies_within_the_limits_that_the_key_says():
    """The limits are read as numbers, so they must hold for every voxel, and the shares for the bone."""
    energy = np.random.default_rng(0).gamma(0.5, 0.02, (20, 30, 30)).astype(np.float32)
    energy[:, :5] = 0
    limits = energy_limits(energy)
    classes = energy_classes(energy, limits=limits)
    assert np.array_equal(classes == 0, energy == 0)
    for label, (low, high) in enumerate(zip((0, *limits), limits, strict=False), start=1):
        inside = energy[classes == label]
        assert low < inside.min()
        assert inside.max() <= np.float32(high)
    share = np.bincount(classes.ravel())[1:] / (energy > 0).sum()
    assert share == pytest.approx([0.5, 0.3, 0.18, 0.02], abs=1e-3)
    words = [row[0] for row in energy_key(limits).words]
    numbers = [[float(number) for number in re.findall(r"[\d.]+", word)] for word in words]
    assert [ends[-1] for ends in numbers] == pytest.approx(limits, rel=0.06)
    assert [ends[0] for ends in numbers[1:]] == [ends[-1] for ends in numbers[:-1]]
    assert all("MPa" in word and "e-" not in word for word in words)
    assert energy_limits(np.zeros((2, 2, 2), np.float32)) == (0, 0, 0, 0)
    assert not energy_classes(np.zeros((2, 2, 2), np.float32), limits=(0, 0, 0, 0)).any()


def test_marrow_in_a_block_does_not_lower_its_energy():
    """Else every thin trabecula, and every surface, would look as if nothing loaded it."""
    energy = np.zeros((2, 4, 4), np.float32)
    energy[0, 0, 0], energy[:, :2, 2:] = 0.3, 0.1
    means = _means(energy, voxel_mm=(1.0, 1.0, 1.0), longest=2)
    assert means.ravel() == pytest.approx([0.3, 0.1, 0, 0])
    key = energy_key((0.1, 0.2, 0.3, 0.4), blocks_mm=(0.49, 0.494, 0.486))
    assert key.title.endswith("mean of the bone in blocks of 0.49 mm")
    assert energy_key((0.1, 0.2, 0.3, 0.4), blocks_mm=(0.5, 0.4, 0.4)).title.endswith("0.5 × 0.4 × 0.4 mm")


def test_no_third_colour_lies_on_the_surface_of_a_bone():
    """The viewer blends neighbours: between outside (0) and the highest energies (4) it would show 1, 2 and 3."""
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4, 2:4, 2:4], labels[2, 2, 2] = 4, 1
    further = one_further(labels)
    assert np.array_equal(further[labels > 0], labels[labels > 0])
    assert (further > 0).sum() == 4**3
    assert set(np.unique(further)) == {0, 1, 4}
    assert further[1, 1, 1] == 1
    assert further[4, 4, 4] == 4
    assert not one_further(np.zeros_like(labels)).any()


def test_the_viewer_takes_colours_as_words_and_leaves_them_to_us():
    """What remoteEntry.js mends and calls must be in the installed itkwidgets; another release may paint by itself."""
    bundle = (viewer_files() / "index.js").read_text(encoding="utf-8")
    for used in ("lut_changed:function", "getViewProxy", "getRGBTransferFunction", "addRGBPointLong", "renderLater"):
        assert used in bundle
    own = bundle[bundle.index("lut_changed:function") :][:400]
    assert "setLookupTable" in own
    assert "addRGBPoint" not in own
    assert "setRGBPoints" not in own.split("vmin_changed")[0]


class Viewer(widgets.DOMWidget):
    """Stands for the viewer of itkwidgets, which takes seconds to import and no warnings as errors."""

    lut, label_image_blend, opacity_gaussians = traitlets.Unicode(), traitlets.Float(), traitlets.List()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each viewer was made of: arrays in place of ITK's images."""
    made = []

    class Sized(np.ndarray):
        def SetSpacing(self, spacing: tuple[float, ...]) -> None:  # noqa: N802
            assert len(spacing) == self.ndim

    def view(**given: Any) -> Viewer:
        made.append(given)
        return Viewer(lut=given["lut"], label_image_blend=given["label_image_blend"])

    monkeypatch.setitem(sys.modules, "itk", SimpleNamespace(image_from_array=lambda array: array.view(Sized)))
    monkeypatch.setitem(sys.modules, "itkwidgets", SimpleNamespace(view=view))
    return made


def picture_of(figure: Figure) -> np.ndarray:
    """What a picture shows."""
    return np.asarray(Image.open(BytesIO(figure.value)).convert("RGB"), int)


@pytest.mark.parametrize("what", ["Compartments", "Strain energy"])
def test_the_tick_colours_view_picture_and_key_at_once(sent, what):
    """Without WebGL the picture is all there is; it must show the same colours under the same key."""
    density, mask, energy = tube()
    extra = {"energy": energy} if what == "Strain energy" else {}
    viewer, shown, legend, picture = bone_view(density, mask, voxel_mm=(0.4, 0.4, 0.4), longest=20, **extra).children
    assert shown.description == what
    assert (legend.layout.display, viewer.label_image_blend) == ("none", 0)
    grey = picture_of(picture)
    shown.value = True
    assert (legend.layout.display, viewer.label_image_blend) == (None, _BLEND)
    colours = list(rows(legend.value))
    assert viewer.lut.split(" ")[1:] == (colours[::-1] if extra else colours)
    coloured = picture_of(picture)
    changed = np.unique(coloured[(coloured != grey).any(axis=2)], axis=0)
    blend = 1 if extra else _BLEND
    for colour in colours:  # mixed with the density, which in this bone has two values: black to white by the window
        mixed = [blend * np.array(to_rgb(colour)) * 255 + (1 - blend) * 255 * (value + 400) / 1800 for value in
                 (250, 1000)]  # fmt: skip
        assert min(np.abs(changed - one).max(axis=1).min() for one in mixed) <= 4, colour
    assert what.lower() in picture.alt
    viewer.lut = "glasbey"  # as the viewer's own panel does
    assert viewer.lut.split(" ")[1:] == (colours[::-1] if extra else colours)
    firm = viewer.opacity_gaussians
    shown.value = False
    assert firm == [] or firm != viewer.opacity_gaussians, "the opacity of grey is the viewer's own again"
    assert np.array_equal(picture_of(picture), grey)


def test_the_labels_of_the_view_are_those_of_the_bone(sent):
    """Colours go to labels by their number, and the words beside the mouse too."""
    density, mask, energy = tube()
    mask[:, :3] = 3  # another bone
    bone_view(density, mask, voxel_mm=(0.4, 0.4, 0.4), longest=20)
    bone_view(density, mask, voxel_mm=(0.4, 0.4, 0.4), longest=20, energy=energy)
    compartments, loaded = sent
    assert set(np.unique(compartments["label_image"])) == {0, 1, 2}
    assert compartments["label_image_names"] == [(1, "trabecular"), (2, "cortical")]
    assert set(np.unique(loaded["label_image"])) == {0, 1, 2, 3, 4}
    assert next(name for _, name in loaded["label_image_names"]).startswith("up to")
