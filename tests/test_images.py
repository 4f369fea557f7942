"""NIfTI, MHA and NRRD: read whole or refused, turned to the body's axes, contours laid where their headers say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from files import SECRETS, refused, write_aim_bytes, write_picture

from deepqct.bones import BoneError, contoured_bone
from deepqct.scans import ScanError, read_mask, read_scan
from deepqct.scans.formats import files_of, read_head, scan_hash
from deepqct.scans.scan import read_mask_at

# Names of files; in those that begin with p the voxels are compressed.
NAMES = ["a.nii", "a.nii.gz", "a.mha", "p.mha", "a.mhd", "p.mhd", "a.nrrd", "p.nrrd", "a.nhdr", "p.nhdr"]
ONE_EACH = ["a.nii", "a.mha", "a.nrrd"]
VOXELS = np.random.default_rng(0).integers(-500, 3000, (4, 5, 6)).astype(np.int16)
TURN = np.array([[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]])  # x runs to the front, y up, z to the right


def write(folder: Path, name: str, voxels: np.ndarray = VOXELS, **place) -> Path:
    return write_picture(folder / name, voxels, packed=name.startswith("p"), **place)


@pytest.mark.parametrize(("name", "old", "new"), [
    ("a.mhd", b"ElementDataFile", b"elementdatafile = a.nii\nElementDataFile"),
    ("a.mha", b"LOCAL", b"a.raw"), ("a.nrrd", b"encoding:", b"data file: a.raw\nencoding:"),
])  # fmt: skip
def test_the_voxels_that_are_read_are_those_that_are_hashed(tmp_path, name, old, new):
    """Whatever the ending says of where they lie."""
    write(tmp_path, "a.mhd")
    write(tmp_path, "a.nii")
    path = write(tmp_path, name)
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    assert files_of(path) == [path, tmp_path / "a.raw"]
    before, numbers = scan_hash(path), read_scan(path, unit="density").native
    data = bytearray((tmp_path / "a.raw").read_bytes())
    data[0] ^= 1
    (tmp_path / "a.raw").write_bytes(data)
    assert (read_scan(path, unit="density").native != numbers).sum() == 1
    assert scan_hash(path) != before


@pytest.mark.parametrize("how", ["encoding: bzip2", "encoding: gzip\nbyte skip: 8", "encoding: gzip\nline skip: 1",
                                 "encoding: gzip\nbyte skip: 0"])  # fmt: skip
def test_an_nrrd_is_unpacked_to_no_more_than_it_states(tmp_path, how):
    import bz2
    import gzip
    import tracemalloc

    packed = (bz2 if "bzip2" in how else gzip).compress(bytes(100_000_000), 9)
    path = tmp_path / "a.nrrd"
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 90 90 90\n{how}\nendian: little\nspacings: 0.1 0.1 0.1\n\n"
    path.write_bytes(head.encode() + packed)
    tracemalloc.start()
    try:
        assert any(words in refused(path, unit="density") for words in ("save it again", "copy it again"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize("skip", [-1, 0, 8])
def test_bytes_before_the_voxels_of_an_nrrd_are_skipped(tmp_path, skip):
    path = write(tmp_path, "a.nrrd")
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nendian: little\nspacings: 0.1 0.1 0.1\n"
    numbers = np.arange(24, dtype="<i2").reshape(2, 3, 4)
    path.write_bytes(head + f"byte skip: {skip}\n\n".encode() + bytes(8 if skip else 0) + numbers.tobytes())
    np.testing.assert_array_equal(read_scan(path, unit="density").native, numbers)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read(tmp_path, name):
    """Voxels, edges and place; an axis that is mixed up would make another bone."""
    path = write(tmp_path, name, voxel_mm=(0.12, 0.082, 0.061), origin_mm=(-3.0, 4.0, 55.0))
    scan = read_scan(path, unit="density")
    np.testing.assert_array_equal(scan.native, VOXELS)
    assert scan.native.dtype == np.int16
    assert scan.voxel_mm == pytest.approx((0.12, 0.082, 0.061))
    assert scan.origin_mm == pytest.approx((-3.0, 4.0, 55.0))
    assert read_head(path).voxel_mm == pytest.approx(scan.voxel_mm)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.03])
def test_a_file_that_was_cut_off_is_refused(tmp_path, name, kept):
    """Lost slices would be air, or what lay in memory: another patient's bone."""
    whole = files_of(write(tmp_path, name))[-1]
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * kept)])
    refused(tmp_path / name, unit="density")


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_the_voxels_changes_none(tmp_path, name):
    whole = files_of(write(tmp_path, name))[-1]
    whole.write_bytes(whole.read_bytes() + b"\1\2\3\4\5\6\7")
    try:
        scan = read_scan(tmp_path / name, unit="density")
    except ScanError:
        assert name == "a.nii.gz"  # which counts what follows as a damaged stream
    else:
        np.testing.assert_array_equal(scan.native, VOXELS)


@pytest.mark.parametrize("name", ["p.mha", "p.nrrd", "a.nii.gz"])
def test_a_compressed_stream_with_another_sum_is_refused(tmp_path, name):
    path = write(tmp_path, name)
    data = path.read_bytes()
    path.write_bytes(data[:-6] + bytes(byte ^ 0x5A for byte in data[-6:]))
    refused(path, unit="density")


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, 1), (1, 1, -1), (-1, 1, 1)])
@pytest.mark.parametrize("turn", [np.eye(3), TURN])
def test_axes_of_any_order_and_way_come_back_as_the_bodys(tmp_path, name, flip, turn):
    """A bone seen in a mirror is one of the other side, and one that lies has another thickness along z."""
    axes = turn @ np.diag(np.array(flip, float))
    # Every voxel holds where it lies: centimetres to the left, back and up.
    edges, origin = np.array([0.061, 0.082, 0.12]), np.array([5.0, -7.0, 11.0])
    k, j, i = np.indices((4, 5, 6))
    for body in range(3):
        steps = np.stack([i, j, k], axis=-1) * edges
        place = (steps @ axes.T + origin)[..., body].astype(np.float32)
        path = write_picture(
            tmp_path / name, place, voxel_mm=tuple(edges[::-1]), origin_mm=tuple(origin[::-1]), axes=axes
        )
        scan = read_scan(path, unit="density")
        axis = 2 - body
        along = np.moveaxis(scan.native, axis, 0).reshape(scan.native.shape[axis], -1)
        np.testing.assert_allclose(along, np.broadcast_to(along[:, :1], along.shape), atol=1e-5)
        assert along[0, 0] == pytest.approx(scan.origin_mm[axis], abs=1e-5)
        assert np.diff(along[:, 0]) == pytest.approx(scan.voxel_mm[axis], abs=1e-5)


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize(
    ("axes", "word"),
    [
        (np.array([[1, 0, 0.2], [0, 1, 0], [0, 0, 1]]), "sheared"),
        (np.array([[1, 0, 0], [0, 1, 0], [0.02, 0, 1]]), "sheared"),
        (turned(2), "oblique"),
        (turned(45), "oblique"),
        (turned(30) @ TURN, "oblique"),
    ],
)
def test_sheared_and_oblique_axes_are_refused(tmp_path, name, axes, word):
    assert word in refused(write(tmp_path, name, axes=axes), unit="density")


@pytest.mark.parametrize("name", ONE_EACH)
def test_rounded_axes_are_read(tmp_path, name):
    path = write(tmp_path, name, axes=np.eye(3) + 2e-5)
    np.testing.assert_array_equal(read_scan(path, unit="density").native, VOXELS)


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("edge", [0.01, 0.6, 1.0, 61.0, 82.0])
def test_voxels_of_no_such_scanner_need_a_word(tmp_path, name, edge):
    """1 mm where none was stated, or micrometres: every thickness would be wrong by a thousand."""
    path = write(tmp_path, name, voxel_mm=(edge, edge, edge))
    for read in (lambda: read_scan(path, unit="density"), lambda: read_head(path)):
        with pytest.raises(ScanError, match=f"states voxels of {edge:g} × {edge:g} × {edge:g} mm, outside of"):
            read()
    assert read_scan(path, unit="density", unusual=True).voxel_mm == pytest.approx((edge,) * 3)
    assert read_head(path, unusual=True).voxel_mm == pytest.approx((edge,) * 3)


def spoil(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert data.count(old) == 1, old
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("unusual", [False, True])
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.mha", b"ElementSpacing = 0.1 0.1 0.1", b"ElementSpacing = 0.1 0 0.1"),
        ("a.mha", b"ElementSpacing = 0.1 0.1 0.1", b"ElementSpacing = 0.1 0.1 -0.1"),
        ("a.mha", b"ElementSpacing = 0.1 0.1 0.1", b"ElementSpacing = 0.1 0.1 nan"),
        ("a.mha", b"ElementSpacing = 0.1 0.1 0.1", b"ElementSpacing = 0.1 0.1"),
        ("a.mha", b"ElementSpacing = 0.1 0.1 0.1\n", b""),
        ("a.mha", b"Offset = 0 0 0", b"Offset = 0 0"),
        ("a.mha", b"Offset = 0 0 0", b"Offset = 0 nan 0"),
        ("a.mha", b"BinaryData = True", b"BinaryData = False"),
        ("a.mha", b"NDims = 3", b"NDims = -1"),
        ("a.mha", b"DimSize = 6 5 4", b"DimSize = 0 0 0"),
        ("a.mha", b"DimSize = 6 5 4", b"DimSize = 6 5 1000000000"),
        ("a.mha", b"DimSize = 6 5 4", b"DimSize = 400 400 400"),
        ("a.mha", b"MET_SHORT", b"MET_STRANGE"),
        ("a.mha", b"TransformMatrix = 1 0 0", b"TransformMatrix = nan 0 0"),
        ("a.mha", b"TransformMatrix = 1 0 0", b"TransformMatrix = 0 0 0"),
        ("a.mha", b"= LOCAL", b"= L\xa0\xc8\xeb"),
        ("a.mhd", b"= a.raw", b"= ../a.raw"),
        ("a.mhd", b"= a.raw", b"= /etc/hostname"),
        ("a.mhd", b"= a.raw", b"= LIST"),
        ("a.nhdr", b": a.raw", b": ../a.raw"),
        ("a.nhdr", b": a.raw", b": other.raw"),
        ("a.nrrd", b"(0.1,0,0)", b"(0,0,0)"),
        ("a.nrrd", b"(0.1,0,0)", b"(nan,0,0)"),
        ("a.nrrd", b"(0.1,0,0)", b"none"),
        ("a.nrrd", b"(0,0,0)", b"(0,nan,0)"),
        ("a.nrrd", b"left-posterior-superior", b"of Jane Mustermann"),
        ("a.nrrd", b"sizes: 6 5 4", b"sizes: 6 5 0"),
        ("a.nrrd", b"sizes: 6 5 4", b"sizes: 6 50 40"),
        ("a.nrrd", b"type: short", b"type: block"),
        ("a.nrrd", b"NRRD0004", b"NRRD9999"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path, name, old, new, unusual):
    """Also where unusual voxels are allowed, and never with the header's own words."""
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in", name)
    (tmp_path / "a.raw").write_bytes(VOXELS.tobytes())
    refused(spoil(path, old, new), unit="density", unusual=unusual)


@pytest.mark.parametrize("unusual", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"pixdim": [1, 0, 0.1, 0.1, 0, 0, 0, 0], "sform_code": 0, "qform_code": 0},
        {"pixdim": [1, np.nan, 0.1, 0.1, 0, 0, 0, 0], "sform_code": 0, "qform_code": 0},
        {"srow_x": [0, 0, 0, 0]},
        {"srow_x": [np.nan, 0, 0, 0]},
        {"srow_x": [-0.1, 0, 0, np.inf]},
        {"srow_x": [-0.1, 0, 0, 0], "dim": [3, 400, 400, 400, 1, 1, 1, 1]},
        {"dim": [3, 6, 5, -4, 1, 1, 1, 1]},
        {"dim": [4, 6, 5, 2, 2, 1, 1, 1]},
        {"vox_offset": 0},
        {"vox_offset": 100},
        {"vox_offset": np.nan},
        {"datatype": 128, "bitpix": 24, "dim": [3, 2, 5, 4, 1, 1, 1, 1]},  # colours
        {"datatype": 32, "bitpix": 64, "dim": [3, 1, 5, 4, 1, 1, 1, 1]},  # complex numbers
        {"datatype": 7},
        {"magic": b"ni1"},  # the voxels lie in another file
    ],
)
def test_a_nifti_that_cannot_be_is_refused(tmp_path, changes, unusual):
    import nibabel

    path = write(tmp_path, "a.nii")
    data = path.read_bytes()
    header = nibabel.Nifti1Header(data[:348])
    for name, value in changes.items():
        header.structarr[name] = value
    path.write_bytes(header.binaryblock + data[348:])
    refused(path, unit="density", unusual=unusual)


def test_a_nifti_says_its_unit_and_its_scale(tmp_path):
    """Micrometres are read as such where the header says so."""
    import nibabel

    picture = nibabel.Nifti1Image(VOXELS.transpose(), np.diag([-61.0, -61.0, 61.0, 1]))
    picture.header.set_xyzt_units("micron")
    picture.header.set_slope_inter(0.5, 3)
    nibabel.save(picture, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii", unit="density")
    assert scan.voxel_mm == pytest.approx((0.061,) * 3)
    np.testing.assert_allclose(scan.native, VOXELS * 0.5 + 3)


@pytest.mark.parametrize("name", ["a.mha", "p.mha", "a.nrrd", "a.nii"])
@pytest.mark.parametrize("kind", ["i2", "u2", "f4"])
def test_big_endian_numbers_are_the_same_numbers(tmp_path, name, kind):
    voxels = np.abs(VOXELS).astype(f">{kind}")
    if name == "a.nii":
        import nibabel

        header = nibabel.Nifti1Header(endianness=">")
        header.set_data_dtype(voxels.dtype)
        nibabel.save(nibabel.Nifti1Image(voxels.transpose(), np.diag([-0.1, -0.1, 0.1, 1]), header), tmp_path / name)
    else:
        write(tmp_path, name, voxels)
    scan = read_scan(tmp_path / name, unit="density")
    np.testing.assert_array_equal(scan.density, np.abs(VOXELS))
    assert scan.native.dtype == (np.int16 if kind == "i2" else np.float32)
    assert scan.native.dtype.isnative


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.mha", b"NDims = 3\n", "NDims = 3\nComment = Müßig, Jane Mustermann\n".encode("latin-1")),
        ("a.nrrd", b"NRRD0004\n", "NRRD0004\n# Müßig, Jane Mustermann\n".encode("latin-1")),
        ("a.nrrd", b"endian", "patient:=Müßig, Jane Mustermann\nendian".encode("latin-1")),
    ],
)
def test_letters_of_one_byte_in_a_header_do_no_harm(tmp_path, name, old, new):
    path = spoil(write(tmp_path, name), old, new)
    scan = read_scan(path, unit="density")
    np.testing.assert_array_equal(scan.native, VOXELS)
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, unit="density")


def test_letters_of_one_byte_in_a_nifti_do_no_harm(tmp_path):
    path = write(tmp_path, "a.nii")
    data = bytearray(path.read_bytes())
    data[148:158] = "Müßig Jane".encode("latin-1")
    path.write_bytes(data)
    np.testing.assert_array_equal(read_scan(path, unit="density").native, VOXELS)
    path.write_bytes(data[:-20])
    assert SECRETS[0] not in refused(path, unit="density")


def test_files_of_one_stem_are_not_mixed_up(tmp_path):
    """The wrist as NIfTI, the same packed, and a contour of it: each is read by its own name."""
    names = ["a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.mhd"]
    for number, name in enumerate(names):
        write(tmp_path, name, np.full((2, 3, 4), number, np.int16))
    write_aim_bytes(tmp_path / "a.AIM", np.full((2, 3, 4), 7, np.int16))
    for number, name in enumerate(names):
        assert (read_scan(tmp_path / name, unit="density").native == number).all()
    assert (read_scan(tmp_path / "a.AIM").native == 7).all()
    assert files_of(tmp_path / "a.mhd") == [tmp_path / "a.mhd", tmp_path / "a.raw"]
    assert files_of(tmp_path / "a.mha") == [tmp_path / "a.mha"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["i1", "u1"])
def test_a_mask_is_no_scan(tmp_path, name, kind):
    path = write(tmp_path, name, (VOXELS > 1000).astype(kind))
    assert "holds 8-bit voxels, as masks do" in refused(path)
    assert read_head(path).mask
    np.testing.assert_array_equal(read_mask(path)[0], VOXELS > 1000)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["i2", "f4"])
def test_a_scan_is_no_mask(tmp_path, name, kind):
    path = write(tmp_path, name, np.arange(-300, 300).reshape(5, 10, 12).astype(kind))
    with pytest.raises(ScanError, match="holds a scan and no mask"):
        read_mask(path)


def block() -> np.ndarray:
    density = np.full((6, 60, 60), 30, np.float32)
    density[:, 20:40, 30:50] = 900
    density[:, 25:35, 35:45] = 100
    return density


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (-8.0, 7.0, 120.0)])
def test_a_cropped_contour_lies_where_its_header_says(tmp_path, name, origin):
    """Laid onto the corner of the scan it would measure muscle."""
    scan = read_scan(write(tmp_path, f"s{name}", block(), origin_mm=origin), unit="density")
    scan = replace(scan, site="wrist", side="right")
    mask = np.zeros((6, 24, 26), np.uint8)
    mask[:, 2:22, 3:23] = 1
    place = (origin[0], origin[1] + 1.8, origin[2] + 2.7)
    bone = contoured_bone(scan, "radius", {"total": write(tmp_path, name, mask, origin_mm=place)})
    assert tuple(np.argwhere(bone.total).min(axis=0) + bone.origin) == (0, 20, 30)
    assert bone.density[bone.total].mean() == pytest.approx(700)
    stored = read_mask_at(tmp_path / name)
    assert stored.origin_mm == pytest.approx(place, abs=1e-5)


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize(
    ("place", "edge", "words"),
    [
        ((0, 1.85, 2.75), 0.1, "does not lie on the scan's voxels but between them"),
        ((0, 900, 0), 0.1, "lies outside of the scan"),
        ((0, 5.0, 2.7), 0.1, "reaches beyond the scan"),
        ((0, 1.8, 2.7), 0.11, "has voxels of 0.1100 mm and the scan of 0.1000 mm"),
    ],
)
def test_a_contour_that_cannot_be_placed_is_refused(tmp_path, name, place, edge, words):
    scan = replace(read_scan(write(tmp_path, f"s{name}", block()), unit="density"), site="wrist", side="right")
    mask = np.zeros((6, 24, 26), np.uint8)
    mask[:, 2:22, 3:23] = 1
    path = write(tmp_path, name, mask, origin_mm=place, voxel_mm=(edge,) * 3)
    with pytest.raises(BoneError) as error:
        contoured_bone(scan, "radius", {"total": path})
    assert words in str(error.value)


def test_nothing_is_said_of_a_damaged_header(tmp_path, capfd):
    """A library's words on a header would stand in the logs of a run, with what the header holds."""
    path = write_picture(tmp_path / "a.nii", np.zeros((2, 3, 4), np.int16))
    data = bytearray(path.read_bytes())
    data[344:348], data[252:256] = b"Anna", b"Anna"
    path.write_bytes(data)
    assert "cannot be read" in refused(path, unit="density")
    assert capfd.readouterr() == ("", "")
