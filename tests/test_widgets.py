"""What is moved by hand: slices in true proportions and in time, women in pictures."""

from __future__ import annotations

import base64
import re
import time
from io import BytesIO

import ipywidgets as widgets
import numpy as np
import pytest
import synthetic
from PIL import Image

from deepqct.folder import read_table, write_json
from deepqct.networks import Explained, keep_explained
from deepqct.scans import Scan
from deepqct.widgets import Explorer, SliceViewer, link, slice_slider
from deepqct.widgets.bone import thinned
from deepqct.widgets.pictures import Faults
from deepqct.widgets.slices import OUTLINES, PLANES, _letters, pixel_picture, slice_picture


def cuboid(shape: tuple[int, int, int] = (10, 40, 60), *, voxel_mm=(0.5, 0.25, 0.25)) -> Scan:
    """A bright block in a dark field."""
    native = np.zeros(shape, np.int16)
    native[:, 10:20, 30:50] = 1000
    return Scan(native=native, slope=1.0, intercept=0.0, voxel_mm=voxel_mm)


def pixels(widget) -> np.ndarray:
    """What an image widget shows."""
    return np.asarray(Image.open(BytesIO(widget.value)).convert("RGB"), int)


def test_planes_have_true_proportions_and_one_density_scale():
    """A bone stretched in one plane would mislead; a slice scaled by itself would hide its density."""
    scan = cuboid()
    sizes = {plane: slice_picture(scan, plane=plane, at=(5, 15, 40), size=300).size for plane in
             ("axial", "coronal", "sagittal")}  # fmt: skip
    assert sizes == {"axial": (300, 200), "coronal": (300, 100), "sagittal": (300, 150)}
    picture = np.asarray(slice_picture(scan, plane="axial", at=(5, 0, 0), window=(0.0, 2000.0), size=60), int)
    assert picture[15, 40].tolist() == [127, 127, 127]
    assert picture[5, 5].tolist() == [0, 0, 0]
    labels = np.where(scan.native > 0, 2, 0).astype(np.uint8)
    outlined = np.asarray(slice_picture(scan, plane="axial", at=(5, 0, 0), labels=labels, size=60), int)
    edge = (outlined == OUTLINES[1]).all(axis=2)
    assert edge.sum() == 2 * (10 + 20) - 4
    assert not edge[15, 40]


def test_a_thinned_bone_keeps_its_size_and_mean_density():
    """A bone that a browser can turn must be the same bone."""
    density = np.random.default_rng(0).integers(-400, 1400, (40, 200, 120))
    mask = np.full(density.shape, 2, np.uint8)
    small, labels, voxel_mm = thinned(density, mask, voxel_mm=(0.12, 0.06, 0.06), longest=50)
    assert small.shape == labels.shape == (20, 50, 30)
    assert voxel_mm == pytest.approx((0.24, 0.24, 0.24))
    assert small.mean() == pytest.approx(density.mean(), rel=1e-5)
    same, _, voxel_mm = thinned(density, mask, voxel_mm=(0.12, 0.06, 0.06), longest=500)
    assert same.shape == density.shape
    assert voxel_mm == (0.12, 0.06, 0.06)


def test_controls_move_the_pictures_and_the_read_out():
    """The read-out is the density at the cross, in its unit."""
    viewer = SliceViewer(cuboid(), labels=np.where(cuboid().native > 0, 1, 0).astype(np.uint8))
    viewer.cross.value = False
    viewer.y.value, viewer.x.value = 15, 40
    assert "1000 mgHA/cm³, trabecular compartment" in viewer.read_out.value
    viewer.x.value = 5
    assert ": 0 mgHA/cm³" in viewer.read_out.value
    viewer.outlines.value = False
    before = pixels(viewer.planes["axial"])
    viewer.preset.value = "full"
    assert viewer.window == (0.0, 1000.0)
    inside = (15, 40, 0)
    assert pixels(viewer.planes["axial"])[inside] > before[inside] + 20
    viewer.level.value = 5000.0
    assert pixels(viewer.planes["axial"])[:100].max() < 20
    virtual = SliceViewer(cuboid(), virtual=True)
    assert "virtual woman" in virtual.read_out.value


@pytest.mark.parametrize("plane", PLANES)
def test_the_voxel_under_the_mouse_is_the_one_that_is_drawn_there(plane):
    """A read-out beside the mouse, or of a mirrored voxel, would be believed."""
    native = np.zeros((10, 40, 60), np.int16)
    native[6, 11, 47] = 1000
    scan = Scan(native=native, slope=1.0, intercept=0.0, voxel_mm=(0.5, 0.25, 0.25))
    viewer = SliceViewer(scan, size=300)
    viewer.z.value, viewer.y.value, viewer.x.value = 6, 11, 47
    picture = np.asarray(pixel_picture(scan, plane=plane, at=viewer.at, window=(0.0, 1000.0)))
    down, across = (int(found[0]) for found in np.nonzero(picture == 255))
    viewer.z.value, viewer.y.value, viewer.x.value = (6, 11, 47) if plane == "axial" else (0, 11, 47)
    viewer.mouse({"type": "click", "at": [across + 0.9, down + 0.1]}, plane=plane)
    assert viewer.at == (6, 11, 47)
    viewer.mouse({"type": "click", "at": [-5, -5]}, plane=plane)
    assert min(viewer.at) == 0


def test_the_mouse_moves_the_voxel_turns_slices_and_reads_out():
    """What a click, the wheel with Shift and a moving mouse send."""
    viewer = SliceViewer(cuboid(), size=300)
    axial = viewer.planes["axial"].value
    viewer.mouse({"type": "click", "at": [40.5, 15.2]}, plane="axial")
    assert viewer.at == (5, 15, 40)
    assert viewer.planes["axial"].cross == [40, 15]
    assert viewer.planes["axial"].value == axial, "the cross moves in the browser"
    assert "1000 mgHA/cm³" in viewer.read_out.value
    viewer.mouse({"type": "step", "by": 1}, plane="axial")
    viewer.mouse({"type": "step", "by": 1}, plane="coronal")
    assert viewer.at == (6, 16, 40)
    viewer.mouse({"type": "over", "at": [0.5, 0.5]}, plane="axial")
    assert "z 6, y 0, x 0: 0 mgHA/cm³" in viewer.under.value
    viewer.show(cuboid())
    assert viewer.under.value == "", "of the scan before"
    for _ in range(20):
        viewer.mouse({"type": "step", "by": -1}, plane="axial")
    assert viewer.z.value == 0


def test_the_ruler_measures_in_mm_along_both_edges():
    """Slices are thicker than pixels are wide: a ruler in pixels would be wrong in the planes that cut them."""
    viewer = SliceViewer(cuboid())
    viewer.planes["axial"].ruler = [10.0, 10.0, 22.0, 10.0]
    assert "axial: 3.00 mm" in viewer.under.value
    viewer.planes["coronal"].ruler = [0.0, 0.0, 16.0, 6.0]
    assert "coronal: 5.00 mm" in viewer.under.value
    viewer.show(cuboid())
    assert viewer.planes["axial"].ruler == []


def test_a_large_axial_plane_has_its_own_pixels_and_begins_at_the_bones():
    """What a reader judges is not made smaller or smoother on its way to her."""
    viewer = SliceViewer(cuboid(), height="400px")
    axial = viewer.planes["axial"]
    assert (axial.zoom_to, axial.layout.height) == ("pixels", "400px")
    assert pixels(axial).shape == (40, 60, 3)
    assert axial.centre == pytest.approx([39.5, 14.5])
    assert viewer.planes["coronal"].zoom_to == "window"
    before = pixels(axial)
    viewer.preset.value = "soft tissue"
    assert viewer.window == (-350.0, 350.0)
    assert pixels(axial)[5, 5, 0] > before[5, 5, 0] + 40
    viewer.width.value = 900.0
    assert viewer.preset.value == "by hand"


def test_units_and_bars_are_written_in_full():
    """Boxes in place of − and ³, and a bar whose words are cut off in a thin plane."""
    shapes = {bytes(np.asarray(_letters().getmask(letter))) for letter in "−³\U0010fffe"}
    assert len(shapes) == 3, "the last is the box that a font shows for what it does not have"
    thin = cuboid((6, 40, 200))
    picture = np.asarray(slice_picture(thin, plane="coronal", at=(5, 5, 0), size=300), int)
    assert picture.shape[0] == 18
    white = np.argwhere((picture > 240).all(axis=2))
    assert white[:, 0].min() > 0, "the words end within the picture"
    assert white[:, 1].max() > 6 + 10 * 300 / 50, "beside the bar"


def test_a_slider_of_slices_is_whole_and_has_no_script():
    """It stands in the report, which shows no script and asks nobody."""
    scan = cuboid((50, 40, 60))
    html = slice_slider(
        scan, name="A <bone>", labels=np.where(scan.native > 0, 2, 0).astype(np.uint8), most=7, virtual=True
    )
    assert html.count('type="radio"') == html.count("<img") == 7
    assert html.count(" checked") == 1
    assert "slice 1 of 50" in html
    assert "slice 50 of 50, 24.50 mm · virtual woman" in html
    assert "<script" not in html
    assert "A &lt;bone&gt;" in html
    data = re.findall(r"base64,([\w+/=]+)", html)[3]
    picture = np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"), int)
    assert picture.shape[:2] == (173, 260)
    assert picture[60:75, 150:200].mean() > picture[:30, :60].mean() + 60
    assert slice_slider(scan, name="a") != slice_slider(scan, name="b")


def test_linked_viewers_move_together_also_when_they_differ_in_length():
    """Left and right limb, or before and after: the same share of the height, the same window."""
    one, other = SliceViewer(cuboid((11, 40, 60))), SliceViewer(cuboid((21, 40, 60)))
    link(one, other)
    one.z.value = 3
    assert other.z.value == 6
    other.z.value = 20
    assert one.z.value == 10
    one.level.value = 300.0
    assert other.level.value == 300.0


def test_a_slice_of_a_full_scan_takes_under_a_tenth_of_a_second(tmp_path):
    """Otherwise nobody turns the wheel through 168 slices."""
    path = tmp_path / "scan.npy"
    native = np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=(168, 700, 1000))
    native[:] = np.random.default_rng(0).integers(-400, 1400, (1, 700, 1000))
    native.flush()
    scan = Scan(native=np.load(path, mmap_mode="r"), slope=1.0, intercept=0.0, voxel_mm=(0.0607,) * 3)
    viewer = SliceViewer(scan)
    seconds = []
    for z in range(10, 160, 6):
        start = time.perf_counter()
        viewer.z.value = z
        seconds.append(time.perf_counter() - start)
    print(f"slice: median {1000 * np.median(seconds):.0f} ms, worst {1000 * max(seconds):.0f} ms")  # noqa: T201
    assert np.median(seconds) < 0.1


@pytest.fixture
def explorer(tmp_path) -> Explorer:
    """Sixty women of random numbers, one of them with a bone and what a network saw in it."""
    run = synthetic.explored_run(tmp_path / "run")
    synthetic.keep_bone(run, "sub-0003", "tibia")
    even = np.full((96, 96), 1 / 96**2, np.float32)
    keep_explained(run, [Explained("sub-0003", 0, 1.5, even * 9e5, even > 0, even)], bone="tibia")
    return Explorer(run, size=120)


def test_a_click_on_a_woman_shows_her(explorer):
    """Her name, her numbers, her bone, and where the network looked; somebody else's would be a disaster."""
    names = explorer.pictures.image.names
    assert len(names) == 2 * synthetic.WOMEN
    for which in (2, 2 + synthetic.WOMEN):
        across, down = explorer.pictures.points[which // synthetic.WOMEN][2]
        assert explorer.pictures.image.points[which] == [across, down]
        assert names[which].startswith("sub-0003, risk ")
        explorer.pictures.mouse({"type": "pick", "which": which, "at": [across, down]})
        assert explorer.patient.value == "sub-0003"
        explorer.patient.value = "sub-0001"
    explorer.patient.value = "sub-0003"
    woman = explorer.woman
    assert "sub-0003" in woman.about.value
    assert f"<strong>{explorer.table.loc['sub-0003', 'risk']:.2f}</strong>" in woman.about.value
    assert "others of like risk" in woman.about.value
    assert "There is no radius of her" in woman.bone_place.children[0].value
    explorer.bone.value = "tibia"
    assert woman.bone_place.children == (woman.viewer,)
    assert pixels(woman.saliency).shape[1] > 300
    assert "sub-0003" in woman.saliency.alt
    assert pixels(woman.profile).std() > 5


def test_a_bone_that_was_tidied_away_is_said_and_her_map_stays(explorer):
    """Who opens a run of last year must not take a removed stack for a woman without the bone."""
    run = explorer.woman._run
    write_json(run.tidied, {"bones/sub-0003_tibia.npy": "2026-01-05", "bones/sub-0002_tibia.npy": "2026-01-05"})
    run.stack("sub-0003", "tibia").unlink()
    explorer.woman.show_bone("sub-0003", bone="tibia")
    assert "Her tibia was removed by deepqct tidy" in explorer.woman.bone_place.children[0].value
    assert pixels(explorer.woman.saliency).shape[1] > 300


def test_the_list_is_searched_and_she_who_is_shown_stays_in_it(explorer):
    """Among two hundred women nobody scrolls; and a search must not show somebody else."""
    explorer.patient.value = "sub-0003"
    explorer.search.value = "SUB-002"
    assert [name for _, name in explorer.patient.options] == ["sub-0003", *(f"sub-{i:04d}" for i in range(20, 30))]
    assert explorer.patient.value == "sub-0003"
    explorer.pictures.mouse({"type": "pick", "which": 49, "at": [0, 0]})
    assert explorer.patient.value == "sub-0050", "a click on a woman who is not listed"
    assert len(explorer.patient.options) == synthetic.WOMEN


def test_two_women_are_side_by_side_and_their_slices_move_together(explorer):
    """The same share of the bone of both; and the pictures come back."""
    synthetic.keep_bone(explorer._run, "sub-0005", "tibia")
    explorer.bone.value = "tibia"
    explorer.patient.value = "sub-0003"
    explorer.beside.value = "sub-0005"
    assert explorer._main.children[1:] == (explorer.woman, explorer.other)
    assert "sub-0005" in explorer.other.about.value
    explorer.woman.viewer.z.value = 1
    assert explorer.other.viewer.z.value == 1
    explorer.beside.value = "nobody"
    assert explorer.pictures.image in explorer._main.children[0].children


def test_the_points_are_where_they_are_drawn(explorer):
    """Pixels that a click is compared with must be those of the picture."""
    picture = pixels(explorer.pictures.image)
    for points in explorer.pictures.points:
        coloured = [np.ptp(picture[round(y), round(x)]) > 60 for x, y in points if np.isfinite(x)]
        assert np.mean(coloured) > 0.9


def test_a_box_selects_and_a_button_keeps(explorer):
    """A selection is a table first and a file when somebody says so."""
    points = explorer.pictures.points[0]
    low, high = (points.min(axis=0) - 2).tolist(), (points.max(axis=0) + 2).tolist()
    explorer.pictures.mouse({"type": "box", "from": [high[0], low[1]], "to": [low[0], high[1]]})
    assert len(explorer.selection) == synthetic.WOMEN
    assert "60 selected, 20 with fracture" in explorer.selected.value
    assert not explorer._run.selection.exists()
    explorer.save.click()
    kept = read_table(explorer._run.selection)
    assert kept["participant_id"].tolist() == explorer.selection
    assert {"family", "model", "risk", "outcome", "group", "z tibia Tb.N"} <= set(kept)
    explorer.select([])
    assert explorer.save.disabled


def test_the_numbers_follow_the_threshold_and_the_model(explorer):
    """Another threshold calls other women; another model has other risks."""
    before, shown = explorer.figures.value, explorer.pictures.image.value
    explorer.threshold.value = 0.7
    assert explorer.figures.value != before
    changed = int(explorer.table["risk"].between(0.5, 0.7, inclusive="left").sum())
    assert f"{changed} of 60 change side against 0.50" in explorer.figures.value
    assert explorer.pictures.image.value != shown
    risks = explorer.table["risk"]
    explorer.model.value = ("BMD", "femoral neck")
    assert not np.allclose(explorer.table["risk"], risks)
    assert len(explorer.patient.options) == synthetic.WOMEN


def test_a_selection_that_was_not_kept_is_said(explorer):
    """A file where a folder should be, as in a folder that cannot be written."""
    explorer.select(explorer.table.index[:3].tolist())
    explorer._run.selection.mkdir()
    explorer.save.click()
    assert "selection.csv cannot be written (Is a directory)" in explorer.selected.value
    assert "3 selected" in explorer.selected.value
    explorer._run.selection.rmdir()
    explorer.save.click()
    assert "cannot" not in explorer.selected.value
    assert "3 women are in selection.csv" in explorer.selected.value


def test_an_error_that_nobody_foresaw_is_shown_and_logged():
    """And one within another callback ends that one too, and is said once."""
    said, slider = widgets.HTML("<p>all well</p>"), widgets.IntSlider()
    told = Faults(said).told
    slider.observe(told(lambda change: {}[change["new"]]), names="value")
    with pytest.raises(KeyError):
        told(lambda: setattr(slider, "value", 3))()
    assert said.value == "<p><strong>This did not work (KeyError: 3).</strong></p><p>all well</p>"
    told(lambda: None)()
    assert said.value == "<p>all well</p>"
