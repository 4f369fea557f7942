"""DICOM: slices put together by their places; what is missing, twice, tilted or mixed is refused."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from files import SECRETS, dicom_slice, refused, write_series
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from deepqct.bones import contoured_bone
from deepqct.scans import ScanError, read_mask, read_scan
from deepqct.scans.formats import files_of, read_head, scan_hash

if TYPE_CHECKING:
    from pydicom import Dataset

VOXELS = np.random.default_rng(0).integers(-500, 3000, (6, 5, 7)).astype(np.int16)
CORONAL = {"row": (1, 0, 0), "column": (0, 0, -1)}
SAGITTAL = {"row": (0, 1, 0), "column": (0, 0, -1)}


def axial(voxels: np.ndarray = VOXELS, *, step: float = 0.2, **how) -> list[Dataset]:
    return [dicom_slice(pixels, (-3, 4, 50 + step * k), **how) for k, pixels in enumerate(voxels)]


def read(folder: Path):
    return read_scan(folder, unit="density")


def test_a_series_is_read_by_its_places_whatever_its_names_and_order(tmp_path):
    slices = axial()
    folder = write_series(tmp_path / "s", [slices[k] for k in (3, 0, 5, 1, 4, 2)])
    for path in (folder, folder / "002.dcm"):  # or one of its files
        scan = read(path)
        np.testing.assert_array_equal(scan.native, VOXELS)
        assert scan.native.dtype == np.int16
        assert scan.voxel_mm == pytest.approx((0.2, 0.1, 0.1))
        assert scan.origin_mm == pytest.approx((50, 4, -3))
        assert not any(secret in repr(scan) for secret in SECRETS)
    assert "has no density calibration" in refused(folder)


def test_files_of_a_series_without_endings_are_read(tmp_path):
    folder = write_series(tmp_path / "s", axial())
    for file in list(folder.iterdir()):
        file.rename(file.with_suffix(""))
    (folder / "notes.txt").write_text("of the day", encoding="utf-8")
    np.testing.assert_array_equal(read(folder).native, VOXELS)


@pytest.mark.parametrize(
    ("how", "first", "step", "turn"),
    [
        (CORONAL, (-3, 4, 50), (0, 0.2, 0), lambda v: v.transpose(1, 0, 2)[::-1]),
        (SAGITTAL, (-3, 4, 50), (0.2, 0, 0), lambda v: v.transpose(1, 2, 0)[::-1]),
        ({"row": (-1, 0, 0), "column": (0, -1, 0)}, (-3, 4, 50), (0, 0, 0.2), lambda v: v[:, ::-1, ::-1]),
        ({"row": (1, 0, 0), "column": (0, -1, 0)}, (-3, 4, 50), (0, 0, 0.2), lambda v: v[:, ::-1]),
    ],
)
def test_planes_of_any_way_come_back_with_the_long_axis_along_z(tmp_path, how, first, step, turn):
    slices = [dicom_slice(pixels, tuple(np.add(first, np.multiply(step, k))), **how) for k, pixels in enumerate(VOXELS)]
    scan = read(write_series(tmp_path / "s", slices))
    np.testing.assert_array_equal(scan.native, turn(VOXELS))
    del slices[3]
    assert "lacks slices after" in refused(write_series(tmp_path / "t", slices), unit="density")


def without(*numbers: int) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda slices: [one for k, one in enumerate(slices) if k not in numbers]


def moved(k: int, **by: float) -> Callable[[list[Dataset]], list[Dataset]]:
    """Slice `k` moved along x, y or z."""

    def move(slices: list[Dataset]) -> list[Dataset]:
        place = [float(n) for n in slices[k].ImagePositionPatient]
        slices[k].ImagePositionPatient = [n + by.get(axis, 0) for n, axis in zip(place, "xyz", strict=True)]
        return slices

    return move


def tilted(slices: list[Dataset]) -> list[Dataset]:
    for k in range(len(slices)):
        moved(k, y=0.02 * k)(slices)
    return slices


def stated(k: int | None, **elements: object) -> Callable[[list[Dataset]], list[Dataset]]:
    """Other elements in slice `k`, or in all; None takes one away."""

    def state(slices: list[Dataset]) -> list[Dataset]:
        for one in slices if k is None else [slices[k]]:
            for name, value in elements.items():
                if value is None:
                    delattr(one, name)
                else:
                    setattr(one, name, value)
        return slices

    return state


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without(3), "lacks slices after 002.dcm (5 are there)"),
        (without(1, 2), "lacks slices after"),
        (without(1, 4, 5), "lacks slices after 000.dcm (3 are there)"),
        (without(1, 2, 3, 4, 5), "holds one slice"),
        (moved(3, z=0.05), "uneven steps"),
        (moved(3, z=-0.05), "uneven steps"),
        (moved(3, z=0.2), "lie at the same place"),
        (tilted, "is tilted"),
        (moved(2, x=0.03), "is tilted"),
        (stated(2, ImagePositionPatient=None), "has no Image Position (Patient)"),
        (stated(None, ImagePositionPatient=None), "has no Image Position (Patient)"),
        (stated(None, ImageOrientationPatient=None), "has no Image Orientation (Patient)"),
        (stated(None, PixelSpacing=None), "has no Pixel Spacing"),
        (stated(None, ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), "Image Orientation (Patient) that is none"),
        (stated(None, ImageOrientationPatient=[1, 0, 0, 0.1, 0.9949874, 0]), "Image Orientation (Patient) that is none"),
        (stated(None, ImageOrientationPatient=[1, 0, 0, 0, 0.9659258, 0.2588190]), "is tilted"),
        (stated(None, ImageOrientationPatient=[0.8660254, 0.5, 0, -0.5, 0.8660254, 0]), "oblique"),
        (stated(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "lies in another plane"),
        (stated(3, PixelSpacing=[0.1, 0.11]), "has other pixels"),
        (stated(3, SeriesInstanceUID="1.2.3"), "holds 2 DICOM series"),
        (stated(3, Rows=4), "differs in Rows"),
        (stated(3, PixelRepresentation=0), "differs in PixelRepresentation"),
        (stated(None, PixelSpacing=[1, 1]), "states voxels of 0.2 × 1 × 1 mm, outside of"),
        (stated(None, PixelSpacing=[61, 61]), "states voxels of 0.2 × 61 × 61 mm, outside of"),
        (stated(None, PixelSpacing=[0, 0]), "which cannot be"),
        (stated(None, RescaleSlope=0, RescaleIntercept=0), "has a rescale of 0 and 0"),
        (stated(None, SamplesPerPixel=3), "cannot be read"),
    ],
)  # fmt: skip
def test_a_series_that_is_none_is_refused(tmp_path, spoil, words):
    """What shifts, stretches or mixes slices would be measured without a word."""
    assert words in refused(write_series(tmp_path / "s", spoil(axial())), unit="density")


@pytest.mark.parametrize("value", [[1.0, 1.0], [61.0, 61.0], [0.01, 0.01]])
def test_unusual_pixels_can_be_allowed_and_impossible_ones_not(tmp_path, value):
    folder = write_series(tmp_path / "s", stated(None, PixelSpacing=value)(axial()))
    assert read_scan(folder, unit="density", unusual=True).voxel_mm == pytest.approx((0.2, *value))
    folder = write_series(tmp_path / "t", stated(None, PixelSpacing=[0, 0.1])(axial()))
    assert "cannot be" in refused(folder, unit="density", unusual=True)


def test_a_slice_that_lies_twice_in_its_folder_counts_once(tmp_path):
    """A slice more makes the others thinner; with other voxels at its place nobody knows which is right."""
    folder = write_series(tmp_path / "s", axial())
    shutil.copy(folder / "002.dcm", folder / "002 (copy).dcm")
    scan = read(folder)
    np.testing.assert_array_equal(scan.native, VOXELS)
    assert scan.voxel_mm[0] == pytest.approx(0.2)
    for other in (
        dicom_slice(VOXELS[2] + np.int16(1), (-3, 4, 50.4)),
        stated(0, RescaleSlope=2, RescaleIntercept=0)([dicom_slice(VOXELS[2], (-3, 4, 50.4))])[0],
        dicom_slice(VOXELS[2], (-2, 4, 50.4)),
    ):
        other.save_as(folder / "002 (copy).dcm", enforce_file_format=True)
        words = refused(folder, unit="density")
        assert "002.dcm" in words
        assert "002 (copy).dcm" in words


def test_two_series_in_a_folder_need_a_name(tmp_path):
    folder = write_series(tmp_path / "s", [*axial(), *axial(VOXELS + np.int16(1), series=2)])
    assert "holds 2 DICOM series" in refused(folder, unit="density")
    np.testing.assert_array_equal(read(folder / "008.dcm").native, VOXELS + 1)


@pytest.mark.parametrize("at", [0, 3, 5])
@pytest.mark.parametrize("kept", [0, 60, 200, 330, 500, -1, -20])
def test_a_slice_that_was_cut_off_is_refused_wherever_it_lies(tmp_path, at, kept):
    """The last slice left out is a shorter scan that nobody notices."""
    folder = write_series(tmp_path / "s", axial())
    file = folder / f"{at:03d}.dcm"
    file.write_bytes(file.read_bytes()[:kept])
    refused(folder, unit="density")


def test_what_follows_the_pixels_changes_none(tmp_path):
    folder = write_series(tmp_path / "s", axial())
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes() + bytes(64))
    try:
        np.testing.assert_array_equal(read(folder).native, VOXELS)
    except ScanError as error:
        assert "damaged" in str(error)


def test_a_rescale_that_changes_from_slice_to_slice_is_followed(tmp_path):
    slices = axial()
    for k, one in enumerate(slices):
        one.RescaleSlope, one.RescaleIntercept = 1 + k, -10.5
    expected = VOXELS * np.arange(1, 7)[:, None, None] - 10.5
    np.testing.assert_allclose(read(write_series(tmp_path / "s", slices)).density, expected)
    for one in slices:
        one.RescaleSlope, one.RescaleIntercept = 1, -1000
    scan = read(write_series(tmp_path / "t", slices))
    np.testing.assert_array_equal(scan.native, VOXELS - 1000)
    assert scan.native.dtype == np.int16


@pytest.mark.parametrize("tag", ["RescaleSlope", "ImagePositionPatient", "PixelSpacing", "NumberOfFrames"])
def test_words_in_place_of_numbers_are_refused_without_saying_them(tmp_path, tag):
    from pydicom import config

    slices = axial()
    before = config.settings.writing_validation_mode, config.settings.reading_validation_mode
    config.settings.writing_validation_mode = config.settings.reading_validation_mode = config.IGNORE
    try:
        for one in slices:
            one.RescaleSlope, one.RescaleIntercept, one.NumberOfFrames = 2, 0, 1
            one[tag]._value = SECRETS[0]
            one[tag].VR = "LO"
        folder = write_series(tmp_path / "s", slices)
    finally:
        config.settings.writing_validation_mode, config.settings.reading_validation_mode = before
    refused(folder, unit="density")


@pytest.mark.parametrize(
    ("version", "kept"),
    [("V6.1", True), (["6.6", "x"], True), ("12.03.1950", False), ("Doe^Jane", False), (None, False)],
)
def test_the_protocol_of_a_series_is_read_and_holds_no_date_and_no_name(tmp_path, version, kept):
    """Energy, current and a version of software; what could be a day or a word about a patient is left out."""
    slices = axial()
    for one in slices:
        one.KVP, one.XRayTubeCurrent = "68", 2
        one.SoftwareVersions = version
    said = read_head(write_series(tmp_path / "s", slices)).protocol
    assert (said["energy, kV"], said["current, µA"]) == (68.0, 2000.0) and ("software version" in said) is kept


@pytest.mark.parametrize("charset", [None, "ISO_IR 100"])
def test_names_in_letters_of_one_byte_do_no_harm(tmp_path, charset):
    slices = axial()
    for one in slices:
        one.SpecificCharacterSet = "ISO_IR 100"
        one.PatientName = "Müßig^Jane"
    folder = write_series(tmp_path / "s", slices)
    if charset is None:
        for file in folder.iterdir():
            file.write_bytes(file.read_bytes().replace(b"ISO_IR 100", b"          "))
    scan = read(folder)
    np.testing.assert_array_equal(scan.native, VOXELS)
    assert "Jane" not in repr(scan)


def of_frames(*, places: bool = True, measures: list[float] | None = None, turns: int | None = None) -> Dataset:
    """An enhanced DICOM whose frames say where they lie, or are equal steps."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def group(name: str, **elements: object) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for key, value in elements.items():
            setattr(inner, key, value)
        setattr(outer, name, Sequence([inner]))
        return outer

    one = dicom_slice(VOXELS, (-3, 4, 50))
    shared = group("PixelMeasuresSequence", PixelSpacing=[0.1, 0.1], SpacingBetweenSlices=0.2)
    shared.update(group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    shared.update(group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-5))
    del one.PixelSpacing, one.ImageOrientationPatient
    frames = []
    for k in range(len(VOXELS)):
        frame = group("PlanePositionSequence", ImagePositionPatient=[-3, 4, 50 + 0.2 * k])
        if measures:
            frame.update(group("PixelMeasuresSequence", PixelSpacing=[measures[k]] * 2))
        if turns == k:
            frame.update(group("PlaneOrientationSequence", ImageOrientationPatient=[0, 1, 0, -1, 0, 0]))
        frames.append(frame)
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    if places:
        one.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return one


@pytest.mark.parametrize("places", [True, False])
def test_many_frames_are_read_as_their_groups_say(tmp_path, places):
    """Edges, steps and rescale stand in sequences, not at the top."""
    folder = write_series(tmp_path / "s", [of_frames(places=places)])
    for path in (folder, folder / "000.dcm"):
        scan = read(path)
        np.testing.assert_array_equal(scan.density, VOXELS * 2.0 - 5)
        assert scan.voxel_mm == pytest.approx((0.2, 0.1, 0.1))
        assert scan.origin_mm == pytest.approx((50, 4, -3))


def bare_frames(**elements: object) -> Dataset:
    return stated(0, **elements)([dicom_slice(VOXELS, (0, 0, 0))])[0]


def short_of_places() -> Dataset:
    one = of_frames()
    one.PerFrameFunctionalGroupsSequence = one.PerFrameFunctionalGroupsSequence[:4]
    return one


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: of_frames(measures=[0.1, 0.1, 0.1, 0.2, 0.1, 0.1]), "has other pixels"),
        (lambda: of_frames(turns=3), "lies in another plane"),
        (short_of_places, "says where 4 of its 6 frames lie"),
        (bare_frames, "holds 6 frames and does not say how far apart they are"),
        (lambda: bare_frames(SpacingBetweenSlices=0), "000.dcm"),
        (lambda: bare_frames(SpacingBetweenSlices=0.2, NumberOfFrames=9), "cannot be read"),
    ],
)
def test_frames_that_are_unlike_or_nowhere_are_refused(tmp_path, make, words):
    assert words in refused(write_series(tmp_path / "s", [make()]) / "000.dcm", unit="density")


def test_several_files_of_many_frames_need_a_name(tmp_path):
    folder = write_series(tmp_path / "s", [of_frames(), of_frames()])
    assert "several files of many frames" in refused(folder, unit="density")
    assert read(folder / "001.dcm").native.shape == VOXELS.shape


def scanco(slices: list[Dataset], *, rescale: tuple[float, float] | None = None, **values: object) -> list[Dataset]:
    """Slices with Scanco's private elements."""
    stated_values = {0x00: "8192", 0x03: "mg HA/ccm", 0x04: "1600.0", 0x05: "-390.0", 0x06: "0.2409"}
    stated_values |= {int(name[1:], 16): value for name, value in values.items()}
    for one in slices:
        for element, value in stated_values.items():
            if value is not None:
                one.add_new(0x00291000 + element, "LO", value)
        if rescale:
            one.RescaleSlope, one.RescaleIntercept = (f"{n:.10g}" for n in rescale)
    return slices


@pytest.mark.parametrize("rescale", [None, (1, 0), (1000 / (8192 * 0.2409), -1000)])
def test_scancos_own_elements_calibrate(tmp_path, rescale):
    """Hounsfield units of the rescale are no densities; the stored numbers are native."""
    folder = write_series(tmp_path / "s", scanco(axial(), rescale=rescale))
    scan = read_scan(folder)
    np.testing.assert_array_equal(scan.native, VOXELS)
    assert (scan.slope, scan.intercept) == pytest.approx((1600 / 8192, -390))
    assert scan.calibrated_by == "header"
    assert read_head(folder).calibration == pytest.approx((scan.slope, scan.intercept))
    assert "calibrated by its own header" in refused(folder, unit="density")


def test_scancos_elements_of_another_unit_or_none_are_no_calibration(tmp_path):
    for k, values in enumerate(({"x03": "1/cm"}, {"x04": None}, {"x00": SECRETS[0]}, {"x00": "0"})):
        folder = write_series(tmp_path / str(k), scanco(axial(), **values))
        assert "has no density calibration" in refused(folder)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rescale": (2, -300)}, "does not belong to its density calibration"),
        ({"x04": "160000"}, "states density = native × 19.53 -390 mgHA/cm³, outside of"),
        ({"x05": "-1000"}, "outside of"),
        ({"x04": "-1600"}, "which cannot be"),
        ({"x04": "nan"}, "which cannot be"),
    ],
)
def test_scancos_elements_that_cannot_be_are_refused(tmp_path, values, words):
    folder = write_series(tmp_path / "s", scanco(axial(), **values))
    assert words in refused(folder)
    if "outside of" in words:
        assert read_scan(folder, unusual=True).calibrated_by == "header"


@pytest.mark.parametrize("values", [{"x04": "1700"}, {"x05": "-300"}, {"x04": None}, {"rescale": (2, -300)}])
def test_a_calibration_that_changes_between_slices_is_refused(tmp_path, values):
    slices = scanco(axial())
    slices[3] = scanco([dicom_slice(VOXELS[3], (-3, 4, 50.6))], **values)[0]
    assert "density calibration" in refused(write_series(tmp_path / "s", slices))


@pytest.mark.parametrize("kind", ["i1", "u1"])
def test_a_mask_is_no_scan_and_a_scan_no_mask(tmp_path, kind):
    mask = (VOXELS > 1000).astype(kind) * 127
    folder = write_series(tmp_path / "m", axial(np.pad(mask, ((0, 0), (0, 0), (0, 1)))))
    assert "holds 8-bit voxels" in refused(folder)
    assert read_head(folder).mask
    np.testing.assert_array_equal(read_mask(folder)[0][:, :, :-1], mask != 0)
    with pytest.raises(ScanError, match="holds a scan and no mask"):
        read_mask(write_series(tmp_path / "s", axial()))


def test_a_contour_lies_where_its_positions_say(tmp_path):
    density = np.full((6, 60, 60), 30, np.int16)
    density[:, 20:40, 30:50] = 900
    density[:, 25:35, 35:45] = 100
    scan = replace(read(write_series(tmp_path / "s", axial(density))), site="wrist", side="right")
    mask = np.zeros((6, 24, 26), np.uint8)
    mask[:, 2:22, 3:23] = 1
    slices = [dicom_slice(pixels, (-3 + 2.7, 4 + 1.8, 50 + 0.2 * k)) for k, pixels in enumerate(mask)]
    bone = contoured_bone(scan, "radius", {"total": write_series(tmp_path / "m", slices)})
    assert tuple(np.argwhere(bone.total).min(axis=0) + bone.origin) == (0, 20, 30)


def test_every_slice_belongs_to_the_scan_that_one_of_them_names(tmp_path):
    """A rerun must see that another slice was copied again."""
    folder = write_series(tmp_path / "s", axial())
    assert files_of(folder / "000.dcm") == files_of(folder) == sorted(folder.iterdir())


def test_a_scan_is_hashed_by_exactly_the_slices_that_are_read(tmp_path):
    """Also those of another ending, or none; and not the slices of other series, nor what a system leaves there."""
    folder = write_series(tmp_path / "s", axial())
    named, odd = folder / "000.dcm", folder / "IM3"
    (folder / "002.dcm").rename(odd)
    other = write_series(tmp_path / "o", axial()) / "001.dcm"
    spoilt(other, SeriesInstanceUID="1.2.3.9").rename(folder / "900.dcm")
    (folder / ".DS_Store").write_bytes(b"x")
    slices = sorted(path for path in folder.iterdir() if path.name not in ("900.dcm", ".DS_Store"))
    assert files_of(named) == slices
    before, numbers = scan_hash(named), read(named).native
    (folder / ".DS_Store").write_bytes(b"y")
    assert scan_hash(named) == before
    data = bytearray(odd.read_bytes())
    data[-2] ^= 1
    odd.write_bytes(data)
    assert (read(named).native != numbers).sum() == 1
    assert scan_hash(named) != before
    assert files_of(folder / "gone.dcm") == [folder / "gone.dcm"]


def spoilt(path: Path, **changes: object) -> Path:
    """A DICOM file with other elements."""
    head = pydicom.dcmread(path)
    for name, value in changes.items():
        setattr(head, name, value)
    head.save_as(path)
    return path


@pytest.mark.parametrize("how", ["frames", "many", "size", "rle", "deflated"])
def test_a_header_that_states_more_than_its_file_holds_takes_neither_time_nor_memory(tmp_path, how):
    import time
    import tracemalloc

    folder = write_series(tmp_path / "s", axial())
    path = folder / "000.dcm"
    match how:
        case "frames" | "many":
            spoilt(path, NumberOfFrames=200_000 if how == "many" else 9_000, SpacingBetweenSlices=0.1)
        case "size":
            spoilt(path, Rows=12_000, Columns=12_000)
        case "rle":
            head = pydicom.dcmread(path)
            head.Rows = head.Columns = 12_000
            head.file_meta.TransferSyntaxUID = RLELossless
            head.PixelData = encapsulate([struct.pack("<16L", 2, 64, 66, *[0] * 13) + b"\x81\x00\x81\x00"])
            head["PixelData"].VR = "OB"
            head["PixelData"].is_undefined_length = True
            head.save_as(path)
        case "deflated":
            head = pydicom.dcmread(path)
            head.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            head.PixelData = bytes(100_000_000)
            head.save_as(path)
    tracemalloc.start()
    began = time.monotonic()
    try:
        said = refused(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert any(words in said for words in ("can hold", "which no HR-pQCT scan has", "compressed as a whole"))
    assert time.monotonic() - began < 5
    assert peak < 20e6


def test_slices_that_are_packed_by_runs_are_read(tmp_path):
    folder = write_series(tmp_path / "s", axial())
    numbers = read(folder).native
    for path in folder.iterdir():
        head = pydicom.dcmread(path)
        head.compress(RLELossless)
        head.save_as(path)
    np.testing.assert_array_equal(read(folder).native, numbers)
