"""Reading scanner files: calibrated by their own log, nothing about the patient, errors that tell what to do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from files import dicom_slice, write_aim_bytes, write_dicom, write_isq, write_picture, write_series

from deepqct.scans import Scan, ScanError, read_mask, read_scan, write_aim, write_image
from deepqct.scans.formats import read_head
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE, to_native

REAL = ROOT.parent / "shared" / "real" / "TRAB_1237.AIM"


@pytest.fixture
def scan() -> Scan:
    """A small left ankle with every part of the native range."""
    native = np.random.default_rng(0).integers(-3000, 12000, (7, 20, 30)).astype(np.int16)
    return Scan(native, SLOPE / MU_SCALING, INTERCEPT, (0.082, 0.061, 0.12), "ankle", "left")


def test_an_aim_comes_back_as_it_was_written(scan, tmp_path):
    """A voxel, a calibration or an axis that changes on the way would change every index."""
    back = read_scan(write_aim(tmp_path / "a.AIM", scan))
    np.testing.assert_array_equal(back.native, scan.native)
    assert back.voxel_mm == pytest.approx(scan.voxel_mm, abs=1e-6)
    assert (back.site, back.side) == ("ankle", "left")
    np.testing.assert_allclose(back.density, scan.density, atol=1e-3)


def test_a_unit_never_replaces_the_calibration_of_the_header(scan, tmp_path):
    """A column filled down in a spreadsheet would make densities of native numbers, ten times too high."""
    path = write_aim(tmp_path / "a.AIM", scan)
    with pytest.raises(ScanError, match="calibrated by its own header; leave its unit empty"):
        read_scan(path, unit="density")


def test_density_is_native_over_scaling_times_slope_plus_intercept(scan):
    """Forgetting Mu_Scaling makes densities thousands of times too steep."""
    expected = scan.native.astype(float) / MU_SCALING * SLOPE + INTERCEPT
    np.testing.assert_allclose(scan.density, expected, atol=1e-2)
    assert scan.density.dtype == np.float32
    np.testing.assert_array_equal(to_native(scan.density), scan.native)


def test_patient_text_never_enters_a_scan(scan, tmp_path):
    """Names, dates and numbers of a header must not travel into logs or reports."""
    path = write_aim(tmp_path / "a.AIM", scan)
    secrets = [b"Created by                    deepqct", b"Patient Name                  Doe^Jane"]
    path.write_bytes(path.read_bytes().replace(*secrets))
    assert b"Doe^Jane" in path.read_bytes()
    back = read_scan(path)
    assert "Doe" not in repr(back) + str(asdict(back))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: b"", "is empty; copy it again"),
        (lambda data: b"participant_id\tage\n" * 20, "does not begin like an AIM"),
        (lambda data: data[:-3000], "ends after 4 of 7 slices; copy it again from the scanner"),
        (lambda data: data.replace(b"Density: slope", b"Density: slip "), "has no density calibration"),
    ],
)
def test_spoilt_files_are_named_in_one_sentence(scan, tmp_path, spoil, sentence):
    """A researcher must know from the message which file to copy again."""
    path = write_aim(tmp_path / "a.AIM", scan)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ScanError, match=r"a\.AIM") as error:
        read_scan(path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path):
    """Only what can be read right is read."""
    with pytest.raises(ScanError, match="does not exist"):
        read_scan(tmp_path / "none.AIM")
    (tmp_path / "scan.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(ScanError, match="a name that no reader knows"):
        read_scan(tmp_path / "scan.txt")
    (tmp_path / "scan.nii").write_text("hello", encoding="utf-8")
    with pytest.raises(ScanError, match=r"scan\.nii cannot be read; it is cut off, damaged or not what its name says"):
        read_scan(tmp_path / "scan.nii", unit="density")
    (tmp_path / "scan.isq").write_text("hello, I am text", encoding="utf-8")
    with pytest.raises(ScanError, match="does not begin like an ISQ"):
        read_scan(tmp_path / "scan.isq")
    with pytest.raises(ScanError, match="is a folder without DICOM slices"):
        read_scan(tmp_path, unit="density")


def test_a_failed_write_leaves_the_old_file(scan, tmp_path, monkeypatch):
    """A write that breaks off must not cost the scan that was there."""
    import py_aimio

    path = write_aim(tmp_path / "a.AIM", scan)
    before = path.read_bytes()

    def broken(part: str, *_: object, **__: object) -> None:
        Path(part).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(py_aimio, "write_aim", broken)
    with pytest.raises(OSError, match="disk full"):
        write_aim(path, scan)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.AIM"]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_images_come_back_with_their_densities_and_need_a_unit(scan, tmp_path, ending):
    """These formats carry no calibration: a guess would make another bone of Hounsfield units."""
    path = write_image(tmp_path / f"a{ending}", scan)
    back = read_scan(path, unit="density")
    np.testing.assert_array_equal(back.density, scan.density)
    assert back.voxel_mm == pytest.approx(scan.voxel_mm, abs=1e-6)
    with pytest.raises(ScanError, match="has no density calibration; state the unit density"):
        read_scan(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "stated",
    [
        b"space directions: (0.1,0,0) (0,0,0.1)",
        b"space directions: (0.1,0) (0,0.1) (0,0)",
        b"spacings: 0.1 0.1",
        b"space directions: (0.1,0,0,0) (0,0.1,0,0) (0,0,0.1,0)",
    ],
)
def test_an_image_without_three_axes_of_three_numbers_is_a_sentence(tmp_path, stated):
    """One of 20,000 headers with random faults has them."""
    path = write_picture(tmp_path / "a.nrrd", np.zeros((3, 4, 5), np.int16))
    path.write_bytes(path.read_bytes().replace(b"space directions: (0.1,0,0) (0,0.1,0) (0,0,0.1)", stated))
    for read in (read_head, lambda path: read_scan(path, unit="density")):
        with pytest.raises(ScanError, match="export it"):
            read(path)


@pytest.mark.parametrize("pad", [True, False])
def test_an_isq_is_mapped_not_loaded_and_its_last_voxels_are_its_own(tmp_path, pad):
    """A whole ISQ is 1.8 GB; and a file that is not padded to 512 bytes must not end in garbage."""
    native = np.random.default_rng(1).integers(-500, 9000, (5, 20, 30)).astype(np.int16)
    path = tmp_path / "A.ISQ;1"
    write_isq(path, native, pad=pad)
    back = read_scan(path, unit="density")
    assert isinstance(back.native, np.memmap)
    np.testing.assert_array_equal(back.native, native)
    assert back.voxel_mm == pytest.approx((0.082,) * 3)
    assert "Doe" not in repr(back) + str(asdict(back))
    path.write_bytes(path.read_bytes()[: 2560 + 3 * 20 * 30 * 2 + 7])
    with pytest.raises(ScanError, match="ends after 3 of 5 slices"):
        read_scan(path, unit="density")


def test_masks_have_no_density(scan, tmp_path):
    """0 and 127 calibrated would be bone of -391 and -366 mgHA/cm³."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray((scan.native > 0).astype(np.uint8) * 127)
    image.SetSpacing(scan.voxel_mm[::-1])
    SimpleITK.WriteImage(image, str(tmp_path / "m.nii"))
    mask, _ = read_mask(tmp_path / "m.nii")
    np.testing.assert_array_equal(mask, scan.native > 0)
    with pytest.raises(ScanError, match="as masks do, which have no density; give the scan itself"):
        read_scan(tmp_path / "m.nii")


FORMATS = REAL.parent / "io_formats"


@pytest.mark.skipif(not FORMATS.exists(), reason="the real scanner files are not beside this checkout")
@pytest.mark.parametrize(
    "name", ["test_aim.AIM", "test_isq.ISQ", "test_mha.mha", "test_nii.nii", "test_nrrd.nrrd", "test_dicom"]
)
def test_every_format_reads_to_the_same_array(name):
    """One volume in six formats; one of them is an ISQ that is not padded."""
    scan = read_scan(FORMATS / name, unit="density")
    assert scan.native.shape == (25, 25, 25)
    np.testing.assert_array_equal(scan.density, read_scan(FORMATS / "test_aim.AIM", unit="density").density)
    assert scan.density.sum() == 81
    assert scan.voxel_mm == pytest.approx((0.0607,) * 3, abs=3e-5)


@pytest.mark.skipif(not FORMATS.exists(), reason="the real scanner files are not beside this checkout")
def test_an_isq_is_calibrated_by_its_own_header():
    """Leaving Mu_Scaling out of the equation makes densities a thousand times too steep here."""
    with pytest.raises(ScanError, match=r"states density = native × 0\.002 \+3 mgHA/cm³, outside of"):
        read_scan(FORMATS / "test_isq_calibrated_binary_25.ISQ")
    scan = read_scan(FORMATS / "test_isq_calibrated_binary_25.ISQ", unusual=True)
    np.testing.assert_allclose(scan.density, scan.native * 0.002 + 3)
    assert (scan.native != 0).sum() == 547


@pytest.mark.skipif(not REAL.exists(), reason="the real scanner files are not beside this checkout")
def test_a_real_scan_follows_its_own_log():
    """The log states the native mean and the calibration; ours must agree with both."""
    scan = read_scan(REAL)
    assert scan.native.shape == (49, 58, 108)
    assert scan.voxel_mm == pytest.approx((0.0607, 0.0607, 0.0607), abs=1e-5)
    assert (scan.site, scan.side) == ("wrist", "left")
    assert scan.density.mean(dtype=float) == pytest.approx(2517.37402 / 8192 * 1662.52405 - 398.609009, abs=0.01)


def test_the_repr_tells_what_is_known(scan):
    """The first thing that a person sees of a scan by hand."""
    words = repr(scan)
    assert "7 × 20 × 30 voxels of 0.0820 × 0.0610 × 0.1200 mm (z, y, x), ankle, left, scanner not stated" in words
    assert "density = native × 0.195742 − 391.209 mgHA/cm³ by the header" in words


@pytest.mark.skipif(not REAL.exists(), reason="the real scanner files are not beside this checkout")
def test_a_real_scan_names_its_generation_and_its_place():
    scan = read_scan(REAL)
    assert scan.scanner == "XtremeCT II"
    assert any(scan.position)


def test_a_dicom_series_with_a_missing_slice_is_refused(tmp_path):
    """A stack that lacks a slice is shorter, and every thickness along it wrong."""
    native = np.random.default_rng(0).integers(-100, 3000, (6, 20, 30)).astype(np.int16)
    folder = write_dicom(tmp_path / "series", native, voxel_mm=(0.2, 0.06, 0.07))
    scan = read_scan(folder, unit="density")
    np.testing.assert_array_equal(scan.native, native)
    assert scan.voxel_mm == pytest.approx((0.2, 0.06, 0.07))
    (folder / "0003.dcm").unlink()
    with pytest.raises(ScanError, match=r"lacks slices after 0002\.dcm \(5 are there\); copy the whole"):
        read_scan(folder, unit="density")


def test_axes_of_an_image_follow_the_body_whatever_the_order_in_the_file(scan, tmp_path):
    """A NIfTI may store x before z or from right to left; a flipped bone is one of the other side."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(scan.density)
    image.SetSpacing(scan.voxel_mm[::-1])
    for order in ("LPS", "RAS", "SPL"):
        SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, order), str(tmp_path / f"{order}.nii"))
        back = read_scan(tmp_path / f"{order}.nii", unit="density")
        np.testing.assert_array_equal(back.native, scan.density)
        assert back.voxel_mm == pytest.approx(scan.voxel_mm, abs=1e-6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.AIM", "a.ISQ", "series"])
def test_a_damaged_header_is_a_scan_error_or_none_at_all(scan, tmp_path, name):
    """Whatever a library raises on a damaged file would end a program that reads an archive."""
    voxels = scan.native[:3, :4, :5]
    path = file = tmp_path / name
    if name == "a.AIM":
        write_aim_bytes(path, voxels)
    elif name == "a.ISQ":
        write_isq(path, voxels)
    elif name == "series":
        file = write_series(path, [dicom_slice(v, (0, 0, k / 10)) for k, v in enumerate(voxels)]) / "001.dcm"
    else:
        write_picture(path, voxels)
    rng, whole = np.random.default_rng(0), file.read_bytes()
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), 2560 if name == "a.ISQ" else 700), rng.integers(1, 5)):
            data[at] = rng.integers(256)
        file.write_bytes(data)
        for read in (lambda: read_scan(path, unit=None if name == "a.AIM" else "density"), lambda: read_head(path)):
            try:
                read()
                outcomes.add("read")
            except ScanError:
                outcomes.add("refused")
    assert "refused" in outcomes
