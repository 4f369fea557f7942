"""AIM, ISQ and GOBJ of the scanner's own software: headers held against the file, places, calibration, generation."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from files import LOG, SECRETS, refused, write_aim_bytes

from deepqct.bones import bone_within, contoured_bone, ring_score
from deepqct.scans import Scan, ScanError, crop, read_mask, read_scan, write_aim, write_isq
from deepqct.scans.formats import read_head
from deepqct.scans.scan import read_mask_at
from deepqct.scans.stored import generation

VOXELS = np.random.default_rng(0).integers(-500, 9000, (4, 5, 6)).astype(np.int16)
SCAN = Scan(VOXELS, 1600 / 8192, -390.0, (0.0607,) * 3, "wrist", "left", "XtremeCT II")


@pytest.mark.parametrize("version", [20, 30])
@pytest.mark.parametrize(("kind", "code"), [("<i2", 0x20002), ("<i4", 0x30004), ("<f4", 0x1A0004)])
def test_an_aim_is_read_byte_by_byte(tmp_path, version, kind, code):
    """Whole numbers and the floats that ITK writes, calibrated by the log and placed by the header."""
    path = write_aim_bytes(
        tmp_path / "a.AIM", VOXELS.astype(kind), kind=code, version=version, position=(1300, 960, 64)
    )
    scan = read_scan(path)
    np.testing.assert_allclose(scan.density, VOXELS * (1600 / 8192) - 390, atol=1e-3)
    assert scan.voxel_mm == pytest.approx((0.0607,) * 3, rel=1e-6)
    assert (scan.site, scan.side) == ("wrist", "left")
    assert scan.position == (64, 960, 1300)
    head = read_head(path)
    assert head.voxel_mm == pytest.approx(scan.voxel_mm)
    assert (head.site, head.side, head.mask) == ("wrist", "left", False)


@pytest.mark.parametrize("version", [20, 30])
def test_the_margin_of_an_aim_is_no_part_of_the_image(tmp_path, version):
    path = write_aim_bytes(tmp_path / "a.AIM", VOXELS, version=version, position=(10, -20, 30), margin=(2, 1, 0))
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.native, VOXELS[:, 1:-1, 2:-2])
    assert scan.position == (30, -19, 12)


def aim_with(path: Path, at: int, kind: str, *values: int) -> Path:
    """An AIM of version 030 with other numbers in its header."""
    data = bytearray(write_aim_bytes(path, VOXELS).read_bytes())
    struct.pack_into(kind, data, at, *values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("unusual", [False, True])
@pytest.mark.parametrize(
    ("at", "kind", "values", "words"),
    [
        (96, "<3q", (6, 5, 40), "holds 4 of 40 slices"),
        (96, "<3q", (6, 5, 2), "holds 4 of 2 slices"),
        (96, "<3q", (6, 5, 0), "states 6 × 5 × 0 voxels"),
        (96, "<3q", (6, 5, -4), "states 6 × 5 × -4 voxels"),
        (96, "<3q", (10**9, 10**9, 10**9), "voxels; export it again"),
        (40, "<q", (10**9,), "ends after 0 of 4 slices"),
        (40, "<q", (-1,), "ends before"),
        (40, "<q", (0,), "holds 0 of 4 slices"),
        (32, "<q", (10**12,), "ends before"),
        (24, "<q", (-100,), "ends before"),
        (120, "<3q", (3, 0, 0), "states a margin"),
        (120, "<3q", (-1, 0, 0), "states a margin"),
        (240, "<3q", (0, 60700, 60700), "which cannot be"),
        (240, "<3q", (-60700, 60700, 60700), "which cannot be"),
        (68, "<i", (0x00990002,), "type 0x990002"),
        (68, "<i", (0x00150001,), "could not be read"),
    ],
)
def test_an_aim_whose_header_lies_is_refused(tmp_path, at, kind, values, words, unusual):
    """Before a library sees it, which would end the whole program."""
    path = aim_with(tmp_path / "a.AIM", at, kind, *values)
    if values[0] == 0x00150001:  # voxels beyond all that so few bytes can hold
        path = aim_with(path, 68, "<i", 0x00150001)
        data = bytearray(path.read_bytes())
        struct.pack_into("<3q", data, 96, 600, 500, 400)
        path.write_bytes(data)
        words = "more than its 240 bytes can hold"
    assert words in refused(path, unusual=unusual)


@pytest.mark.parametrize("write", [write_aim, write_isq])
@pytest.mark.parametrize(
    ("kept", "slices"), [(-1, 3), (-2 * 30, 3), (-5 * 30, 1), (-8 * 30, 0), (100, None), (0, None)]
)
def test_what_was_cut_off_is_refused_with_what_is_left(tmp_path, write, kept, slices):
    name = "a.AIM" if write is write_aim else "a.ISQ"
    path = write(tmp_path / name, SCAN)
    data = path.read_bytes()
    if write is write_isq:
        data = data[: 2560 + VOXELS.nbytes]  # without its padding
    path.write_bytes(data[:kept] if kept else b"")
    words = refused(path)
    assert slices is None or f"ends after {slices} of 4 slices" in words
    with pytest.raises(ScanError):
        read_head(path)
    path.write_bytes(data + bytes(777))
    np.testing.assert_array_equal(read_scan(path).native, VOXELS)


@pytest.mark.parametrize("write", [write_aim, write_isq])
@pytest.mark.parametrize("edge", [1.0, 0.01, 82.0])
def test_voxels_of_no_such_scanner_need_a_word(tmp_path, write, edge):
    path = write(tmp_path / f"a.{write.__name__[-3:]}", replace(SCAN, voxel_mm=(edge,) * 3))
    assert f"states voxels of {edge:g} × {edge:g} × {edge:g} mm, outside of" in refused(path)
    assert read_scan(path, unusual=True).voxel_mm == pytest.approx((edge,) * 3)


@pytest.mark.parametrize("write", [write_aim, write_isq])
@pytest.mark.parametrize(
    ("line", "usual"),
    [((1.5, -390), False), ((0.01, -390), False), ((0.2, -1000), False), ((0.2, 150), False), ((0.4, -320), True)],
)
def test_calibrations_of_no_such_scanner_need_a_word(tmp_path, write, line, usual):
    """The line of Hounsfield units in place of that of densities."""
    path = write(tmp_path / f"a.{write.__name__[-3:]}", replace(SCAN, slope=line[0], intercept=line[1]))
    if not usual:
        assert "mgHA/cm³, outside of slopes" in refused(path)
        with pytest.raises(ScanError, match="outside of slopes"):
            read_head(path)
    scan = read_scan(path, unusual=not usual)
    assert (scan.slope, scan.intercept) == pytest.approx(line, rel=1e-5)


@pytest.mark.parametrize("unusual", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Mu_Scaling  8192", "Mu_Scaling  0"),
        ("Mu_Scaling  8192", "Mu_Scaling  -8192"),
        ("Mu_Scaling  8192", "Mu_Scaling  nan"),
        ("slope  1600", "slope  0"),
        ("slope  1600", "slope  -1600"),
        ("slope  1600", "slope  inf"),
        ("intercept  -390", "intercept  nan"),
    ],
)
def test_calibrations_that_cannot_be_are_refused(tmp_path, old, new, unusual):
    refused(write_aim_bytes(tmp_path / "a.AIM", VOXELS, log=LOG.replace(old, new)), unusual=unusual)


@pytest.mark.parametrize("words", ["many", "", "nan inf nan", "1e400 2"])
@pytest.mark.parametrize("line", ["Site", "Scanner type", "Orig-ISQ-Dim-p", "Energy [V]"])
def test_lines_of_the_log_that_are_no_numbers_are_let_go(tmp_path, line, words):
    scan = read_scan(
        write_aim_bytes(tmp_path / "a.AIM", VOXELS, log=LOG.replace("Site  20\n", "") + f"{line} {words}\n")
    )
    assert (scan.site, scan.scanner, scan.grid) == (None, None, None)


@pytest.mark.parametrize("version", [20, 30])
def test_letters_of_one_byte_in_a_log_do_no_harm(tmp_path, version):
    """A patient called Müßig, as the scanner's computer writes it, is no damage to her scan."""
    log = f"Patient Name  Müßig^{SECRETS[0]}\n{LOG}Comment  é ø {SECRETS[1]}\n"
    path = write_aim_bytes(tmp_path / "a.AIM", VOXELS, version=version, log=log)
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.native, VOXELS)
    assert not any(word in repr(scan) for word in ("Müßig", *SECRETS[:2]))
    path.write_bytes(path.read_bytes()[:-60])
    assert "ends after 3 of 4 slices" in refused(path)


def test_letters_of_one_byte_in_an_isq_do_no_harm(tmp_path):
    path = write_isq(tmp_path / "a.ISQ", SCAN)
    data = bytearray(path.read_bytes())
    data[128:168] = "Müßig^Jane ø".encode("latin-1").ljust(40)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_scan(path).native, VOXELS)
    path.write_bytes(data[:2600])
    refused(path)


@pytest.mark.parametrize(
    ("at", "kind", "values", "words"),
    [
        (508, "<i", (-2,), "voxels begin at byte"),
        (508, "<i", (-1,), "voxels begin at byte"),
        (508, "<i", (10**6,), "voxels begin at byte"),
        (44, "<3i", (10**9,) * 3, "voxels; export it again"),
        (44, "<3i", (46341,) * 3, "ends after 0 of 46341 slices"),
        (44, "<3i", (6, -5, 4), "states 6 × -5 × 4 voxels"),
        (56, "<i", (0,), "which cannot be"),
        (56, "<i", (-364,), "which cannot be"),
        (56, "<i", (10**9,), "outside of"),
        (16, "<i", (2,), "type 2"),
        (88, "<i", (0,), "Mu_Scaling 0"),
        (88, "<i", (-1,), "Mu_Scaling -1"),
        (88, "<i", (1,), "outside of slopes"),
        (2200, "<4H", (0x7FFF,) * 4, "export it again"),
    ],
)
def test_an_isq_whose_header_lies_is_refused(tmp_path, at, kind, values, words):
    path = write_isq(tmp_path / "a.ISQ", SCAN)
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, at, *values)
    path.write_bytes(data)
    assert words in refused(path)
    with pytest.raises(ScanError):
        read_head(path)


@pytest.mark.parametrize(
    ("voxel", "grid", "tube", "name"),
    [
        (0.0607, 2304, 68_000, "XtremeCT II"),
        (0.0607, None, None, "XtremeCT II"),
        (0.082, 1536, 60_000, "XtremeCT"),
        (0.082, None, 59_400, "XtremeCT"),
        (0.2, 1536, None, "XtremeCT"),  # averaged, of the older grid
        (0.2, None, 68_000, "XtremeCT II"),
        (0.2, None, None, None),
        (0.0607, 1536, None, "unclear"),
        (0.0607, 2304, 60_000, "unclear"),
        (0.082, 2304, 68_000, "unclear"),
    ],
)
def test_the_generation_is_that_of_voxel_grid_and_tube_together(tmp_path, voxel, grid, tube, name):
    """One type code stands on the headers of both; where they disagree, no range of one of them holds."""
    assert generation(voxel_mm=voxel, grid=grid, tube_v=tube, code=9) == name
    assert generation(voxel_mm=voxel, grid=grid, tube_v=tube, code=None) is None
    log = LOG + "Scanner type  9\n"
    log += f"Orig-ISQ-Dim-p  {grid} {grid} 168\n" if grid else ""
    log += f"Energy [V]  {tube}\n" if tube else ""
    scan = read_scan(write_aim_bytes(tmp_path / "a.AIM", VOXELS, edge_mm=voxel, log=log))
    assert scan.scanner == name
    assert scan.grid == ((grid, grid) if grid else None)


@pytest.mark.parametrize(
    ("um", "tube", "name"), [(60.7, 68_000, "XtremeCT II"), (82, 60_000, "XtremeCT"), (82, 68_000, "unclear")]
)
def test_an_isq_says_its_generation_too(tmp_path, um, tube, name):
    path = write_isq(
        tmp_path / "a.ISQ", replace(SCAN, native=np.zeros((2, 100, 100), np.int16), voxel_mm=(um / 1000,) * 3)
    )
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, 168, tube)
    path.write_bytes(data)
    assert read_scan(path).scanner == name


@pytest.mark.parametrize("code", [0x10001, 0x160001])
@pytest.mark.parametrize("version", [20, 30])
def test_a_mask_is_no_scan_and_a_scan_no_mask(tmp_path, code, version):
    """127 calibrated would be a bone of −366 mgHA/cm³."""
    mask = ((VOXELS > 3000) * 127).astype(np.int8)
    path = write_aim_bytes(tmp_path / "a.AIM", mask, kind=code, version=version)
    assert "holds 8-bit voxels, as masks do" in refused(path)
    assert read_head(path).mask
    np.testing.assert_array_equal(read_mask(path)[0], VOXELS > 3000)
    for scan in (write_aim_bytes(tmp_path / "s.AIM", VOXELS), write_isq(tmp_path / "s.ISQ", SCAN)):
        with pytest.raises(ScanError, match="holds a scan and no mask"):
            read_mask(scan)


@pytest.mark.parametrize("code", [0x150001, 0x60003, 0x80002])
def test_a_compressed_mask_is_known_by_its_header(tmp_path, code):
    """Whatever its bytes: it is a mask and never gets the calibration of its log."""
    path = write_aim_bytes(tmp_path / "a.AIM", np.ones((2, 4, 4), np.int8), kind=code)
    head = read_head(path)
    assert head.mask
    assert head.calibration is None
    refused(path)


@pytest.fixture
def packed_mask(tmp_path) -> tuple[Path, np.ndarray]:
    """A mask as the scanner's software saves it: compressed, with the calibration of its scan in the log."""
    import py_aimio

    mask = (np.indices((9, 20, 20)).sum(axis=0) % 7 > 2).astype(np.int8) * 127
    place = {"dimensions": (20, 20, 9), "position": (4, 5, 6), "offset": (0, 0, 0), "element_size": (0.1, 0.1, 0.1)}
    py_aimio.write_aim(
        str(tmp_path / "m.AIM"), mask, place | {"processing_log_raw": LOG, "processing_log": {}}, unit="native"
    )
    return tmp_path / "m.AIM", mask != 0


def test_a_mask_as_the_scanners_software_saves_it_is_no_scan(packed_mask):
    path, mask = packed_mask
    assert path.stat().st_size < mask.size
    assert "holds 8-bit voxels, as masks do" in refused(path)
    assert read_head(path).mask
    stored = read_mask_at(path)
    np.testing.assert_array_equal(stored.voxels != 0, mask)
    assert stored.origin_mm == pytest.approx((0.6, 0.5, 0.4))


@pytest.mark.parametrize("kept", [0.99, 0.8, 0.5])
def test_a_compressed_mask_that_was_cut_off_is_refused(packed_mask, kept):
    path, _ = packed_mask
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ScanError, match=r"ends (after|before)"):
        read_mask(path)


@pytest.mark.parametrize("position", [(0, 0, 0), (1300, 960, 64), (-40, 7, 0)])
@pytest.mark.parametrize("margin", [(0, 0, 0), (2, 1, 0)])
def test_a_contour_lies_where_position_and_margin_say(tmp_path, position, margin):
    density = np.full((6, 60, 60), 2200, np.int16)
    density[:, 20:40, 30:50] = 6600
    density[:, 25:35, 35:45] = 2500
    whole = write_aim_bytes(tmp_path / "s.AIM", density, position=position, edge_mm=0.1)
    scan = replace(read_scan(whole), site="wrist", side="right")
    mask = np.zeros((6, 24, 26), np.int8)
    mask[:, 2:22, 3:23] = 127
    place = (position[0] + 27, position[1] + 18, position[2])
    path = write_aim_bytes(tmp_path / "m.AIM", mask, kind=0x10001, position=place, margin=margin, edge_mm=0.1)
    assert read_mask_at(path).voxels.shape == (6, 24 - 2 * margin[1], 26 - 2 * margin[0])
    bone = contoured_bone(scan, "radius", {"total": path})
    assert tuple(np.argwhere(bone.total).min(axis=0) + bone.origin) == (0, 20, 30)


@pytest.mark.parametrize("kept", [0, 100, 511, 530, 560])
def test_contours_that_were_cut_off_are_refused(tmp_path, kept):
    from test_manufacturer import write_gobj

    path = write_gobj(tmp_path / "a.GOBJ", [(4, 740, 860, 21, 31), (5, 740, 860, 21, 31)])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ScanError) as error:
        read_mask(path)
    assert "\n" not in str(error.value)


def ringed(width: int) -> tuple[Scan, tuple[slice, slice, slice]]:
    """A slab of soft tissue with rings around the middle of a whole grid, and a box of it."""
    near = slice(width // 2 + 40, width // 2 + 200)
    y, x = np.ogrid[:width, :width]
    radius = np.hypot(y - (width - 1) / 2, x - (width - 1) / 2)
    native = np.repeat(np.where(radius % 10 < 5, 0, 60).astype(np.int16)[None], 3, axis=0)
    return Scan(native, 1.0, 0.0, (0.082,) * 3, "wrist", "right", grid=(width, width)), (slice(None), near, near)


def test_the_axis_of_rings_follows_the_whole_grid_into_a_box():
    """A box taken for the whole would have its axis in its own middle, and no rings."""
    scan, box = ringed(1536)
    total = np.zeros((3, 160, 160), bool)
    total[:, 60:100, 60:100] = True
    part = crop(scan, box)
    assert (part.grid, part.position) == ((1536, 1536), (0, 808, 808))
    found = {
        "box": part,
        "box by its scanner": replace(part, grid=None, scanner="XtremeCT"),
        "box of a box": crop(crop(scan, (box[0], slice(800, None), slice(None))), (box[0], slice(8, 168), box[2])),
    }
    for name, one in found.items():
        bone = bone_within(one, "radius", total=total, trabecular=total)
        assert ring_score(one, {"radius": bone}) > 10, name
    bone = bone_within(part, "radius", total=total, trabecular=total)
    for unknown in (replace(part, grid=None), replace(part, grid=None, scanner="unclear")):
        assert np.isnan(ring_score(unknown, {"radius": bone}))


def test_the_axis_of_a_whole_image_is_its_middle_wherever_the_patient_lies():
    """A DICOM series states the patient's coordinates, which say nothing of the scanner's axis."""
    scan, box = ringed(1536)
    total = np.zeros(scan.native.shape, bool)
    total[(box[0], slice(868, 908), slice(868, 908))] = True
    bone = bone_within(scan, "radius", total=total, trabecular=total)
    expected = ring_score(scan, {"radius": bone})
    moved = replace(scan, grid=None, origin_mm=(50.0, -63.0, -63.0))
    assert ring_score(moved, {"radius": bone}) == pytest.approx(expected)
    assert expected > 10
