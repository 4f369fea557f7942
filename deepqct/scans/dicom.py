"""DICOM: a series of slices, or one file of many frames, put together by what each slice says of its place.

Slices are ordered by their places along the normal of their plane, never by name or number. What HR-pQCT has not (tilt,
uneven steps, planes that are oblique to the body) is refused, and so is what would shift or stretch a bone in silence.
Scanco's own exports carry their density calibration in private elements (0029,1000 to 1005); others carry none.
"""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepqct.scans.stored import (
    SOFTWARE,
    Head,
    ScanError,
    Stored,
    check_calibration,
    check_voxel,
    to_body_axes,
    version_of,
)

if TYPE_CHECKING:
    from pydicom import Dataset

STEP = 0.05  # of a step between slices, by which places may be off: they are rounded
SHIFT = 0.1  # of a voxel, by which slices may be off sideways
_MOST_FRAMES = 10_000  # our choice; a scan has some hundred
# Times the length of a compressed file that its pixels may be; RLE packs to a 64th at best; our choice.
_MOST_PACKED = 100
_PRIVATE = {
    "scaling": 0x00291000,
    "unit": 0x00291003,
    "slope": 0x00291004,
    "intercept": 0x00291005,
    "water": 0x00291006,
}
_SAME = ("Rows", "Columns", "BitsAllocated", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation")


@dataclass(frozen=True)
class _Slice:
    """Where one slice lies: its file, its frame there, first pixel and plane in the patient's coordinates (mm).

    Its `rescale` is the slope and intercept that it states for its own numbers.
    """

    path: Path
    frame: int
    first: NDArray[np.float64]
    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    spacing: tuple[float, float]  # between rows, between columns
    rescale: tuple[float, float]

    @property
    def name(self) -> str:
        """What to call it in an error."""
        return self.path.name if self.frame < 0 else f"frame {self.frame + 1} of {self.path.name}"

    @property
    def normal(self) -> NDArray[np.float64]:
        """The way up from its plane."""
        return np.cross(self.along_row, self.along_column)


def read_dicom(path: Path, *, unusual: bool = False) -> Stored:
    """Read a folder with one DICOM series, one of its files, or a file of many frames.

    Parameters
    ----------
    path : Path
        The folder or file.
    unusual : bool
        Allow voxels and calibrations that no HR-pQCT scanner has.

    Raises
    ------
    ScanError
        If slices are missing, twice, uneven, tilted, oblique, unlike each other, do not say where they lie, or cannot be
        read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(path, unusual=unusual)
    except ScanError:
        raise
    except Exception as error:  # whatever pydicom raises on a damaged file
        raise ScanError(f"{path} has a damaged DICOM header; export it again.") from error


def _read(path: Path, *, unusual: bool) -> Stored:
    """As `read_dicom`, where an element that cannot be understood may be any error."""
    heads = _heads(path)
    for file, head in heads.items():
        _check_room(file, head)
    slices = [image for file, head in heads.items() for image in _slices(file, head)]
    slices = _in_order(slices, path)
    slices, voxels = _stack(slices, heads, path)
    step = _check_steps(slices, path)
    first, (row_mm, column_mm) = slices[0], slices[0].spacing
    calibrations = {_scanco_calibration(head, path) for head in heads.values()}
    for calibration in calibrations:
        if calibration is not None:
            check_calibration(calibration, path, unusual=unusual)
    calibration = calibrations.pop()
    if calibrations:
        raise ScanError(f"{path} has a density calibration that changes from slice to slice; export it again.")
    if calibration is None:
        voxels = _rescaled(voxels, slices)
    turned, voxel_mm, origin = to_body_axes(
        voxels, directions=np.stack([first.along_row, first.along_column, first.normal], axis=1), origin=first.first,
        edges=np.array([column_mm, row_mm, step]), path=path,
    )  # fmt: skip
    check_voxel(voxel_mm, path, unusual=unusual)
    return Stored(turned, calibration, voxel_mm, origin_mm=origin)


def read_dicom_head(path: Path, *, unusual: bool = False) -> Head:
    """What the first slice of a series says; the others are read with their pixels only.

    Parameters
    ----------
    path, unusual
        As for `read_dicom`.

    Raises
    ------
    ScanError
        If there is no slice, or it states what cannot be.
    """
    files = _files(path) if path.is_dir() else [path]
    head = next((head for file in files if (head := _head(file)) is not None), None)
    if head is None:
        raise ScanError(f"{path} holds no DICOM slices; copy the series again.")
    try:
        calibration, bits = _scanco_calibration(head, path), int(head.get("BitsAllocated") or 0)
    except ScanError:
        raise
    except Exception as error:  # whatever pydicom raises on a damaged file
        raise ScanError(f"{path} has a damaged DICOM header; export it again.") from error
    if calibration is not None:
        check_calibration(calibration, path, unusual=unusual)
    return Head(calibration=calibration, mask=bits in (1, 8), protocol=_protocol(head))


def _protocol(head: Dataset) -> dict[str, float | str]:
    """How a series was made, as far as its first slice says; nothing that could be a date or a name."""
    said: dict[str, float | str] = {}
    for name, tag, factor in (("energy, kV", "KVP", 1.0), ("current, µA", "XRayTubeCurrent", 1000.0)):
        with suppress(TypeError, ValueError):
            if number := float(head.get(tag) or 0) * factor:
                said[name] = number
    stated = head.get("SoftwareVersions")
    several = [stated] if isinstance(stated, str) or stated is None else list(stated)  # an element may have many values
    return said | ({SOFTWARE: version} if (version := version_of(several[0] if several else None)) else {})


def _heads(path: Path) -> dict[Path, Dataset]:
    """The headers of the files that make up one scan."""
    if path.is_file():
        head = _head(path)
        if head is None:
            raise ScanError(f"{path} is no DICOM file; export the series again.")
        if int(head.get("NumberOfFrames") or 1) > 1:
            return {path: head}
        beside = {file: h for file in _files(path.parent) if (h := _head(file)) is not None}
        same = {file: h for file, h in beside.items() if h.get("SeriesInstanceUID") == head.get("SeriesInstanceUID")}
        return {file: h for file, h in same.items() if int(h.get("NumberOfFrames") or 1) == 1}
    heads = {file: head for file in _files(path) if (head := _head(file)) is not None}
    if not heads:
        raise ScanError(f"{path} is a folder without DICOM slices; copy the series again.")
    series = {str(head.get("SeriesInstanceUID")) for head in heads.values()}
    if len(series) > 1:
        raise ScanError(f"{path} holds {len(series)} DICOM series; give a folder with one.")
    if len(heads) > 1 and any(int(head.get("NumberOfFrames") or 1) > 1 for head in heads.values()):
        raise ScanError(f"{path} holds several files of many frames; name one of them as the scan.")
    return heads


def _files(folder: Path) -> list[Path]:
    """The files of a folder that may be slices, in the order of their names."""
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


class Within(io.BufferedReader):
    """A file of which no more is asked for than it holds: an element may state any length, and memory is taken for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or those that are left."""
        left = max(self._size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def series_files(path: Path) -> list[Path]:
    """The files that `read_dicom` reads: those of a folder that may be slices, or the slices beside one that is named.

    Parameters
    ----------
    path : Path
        As for `read_dicom`.
    """
    if path.is_dir():
        return _files(path)
    series = _series_of(path)
    if series is None or series.frames > 1:
        return [path]
    beside = {file: _series_of(file) for file in _files(path.parent)}
    # Of a slice that cannot be read nobody knows whose it is, and reading ends there.
    return [
        file
        for file, other in beside.items()
        if file == path or (other is not None and other.uid in (series.uid, _BAD))
    ]


@dataclass(frozen=True)
class _Series:
    """The series that a file says it belongs to, and how many frames it has."""

    uid: str
    frames: int


_BAD = "damaged"  # no series has letters in its number


def _series_of(path: Path) -> _Series | None:
    """The series of a file; None for one that is no DICOM image, or is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _series_kept(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=1 << 18)
def _series_kept(path: Path, *_: int) -> _Series | None:
    """As `_series_of`, for a file that did not change since."""
    try:
        head = _head(path)
        if head is None:
            return None
        return _Series(str(head.get("SeriesInstanceUID")), int(head.get("NumberOfFrames") or 1))
    except Exception:  # reading says what is wrong
        return _Series(_BAD, 1)


def dataset(path: Path, **how: Any) -> Dataset:
    """A DICOM file as pydicom reads it, unless it is packed as a whole, to any size that its length does not tell.

    Parameters
    ----------
    path : Path
        The file.
    **how
        As `pydicom.dcmread` takes it.
    """
    import pydicom
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with Within(path) as file:
        read_preamble(file, force=False)
        if _read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise ScanError(f"{path} is a DICOM file that is compressed as a whole; export it uncompressed.")
        file.seek(0)
        return pydicom.dcmread(file, **how)


def _check_room(path: Path, head: Dataset) -> None:
    """Refuse a file that states more pixels than its length can hold, before any of them is asked for."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    frames, rows, columns, samples, bits = (
        int(head.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    )
    if not 1 <= frames <= _MOST_FRAMES:
        raise ScanError(f"{path} states {frames} frames, which no HR-pQCT scan has; export it again.")
    needed, there = frames * rows * columns * samples * bits // 8, path.stat().st_size
    plain = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
    if needed > there * (1 if head.file_meta.get("TransferSyntaxUID", plain[0]) in plain else _MOST_PACKED):
        raise ScanError(
            f"{path} states {needed} bytes of pixels, more than its {there} bytes can hold; it is cut off or damaged, so "
            "copy it again."
        )


def _head(path: Path) -> Dataset | None:
    """A file's header without its pixels; None for one that is no image in DICOM."""
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = dataset(path, stop_before_pixels=True)
            if "Rows" in head and "Columns" in head:
                return head
            kind = head.file_meta.get("MediaStorageSOPClassUID")
            if kind is None or not str(kind.name).endswith("Image Storage"):
                return None
    except InvalidDicomError:
        if path.suffix.lower() not in (".dcm", ".ima"):
            return None
        raise ScanError(f"{path} is no DICOM file, or is cut off; copy it again.") from None
    except ScanError:
        raise
    except Exception as error:  # whatever pydicom raises on a damaged file
        raise ScanError(f"{path} is a damaged DICOM file; copy it again.") from error
    raise ScanError(f"{path} is a DICOM image that is cut off; copy it again.")


def _slices(path: Path, head: Dataset) -> list[_Slice]:
    """The slices of one file with their places."""
    frames = int(head.get("NumberOfFrames") or 1)
    if frames > 1:
        return _frames(path, head, frames)
    first, spacing = _vector(head, "ImagePositionPatient", 3, path), _spacing(head, path)
    return [_Slice(path, -1, first, *_plane(head, path), spacing, _rescale(head, path))]


def _frames(path: Path, head: Dataset, frames: int) -> list[_Slice]:
    """The frames of a file with their places: each one's own, or equal steps that the file states."""
    shared = (head.get("SharedFunctionalGroupsSequence") or [None])[0]
    each = list(head.get("PerFrameFunctionalGroupsSequence") or [])
    if len(each) not in (0, frames):
        raise ScanError(f"{path} says where {len(each)} of its {frames} frames lie; export it again.")
    frame_groups = each or [None] * frames
    measures, planes, lines = (
        [group if (group := _group(shared, frame, name)) is not None else head for frame in frame_groups]
        for name in ("PixelMeasuresSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence")
    )
    axes = [_plane(plane, path) for plane in planes]
    places = [_group(shared, frame, "PlanePositionSequence") for frame in frame_groups]
    if all(place is not None for place in places):
        firsts = [_vector(place, "ImagePositionPatient", 3, path) for place in places]
    else:
        step = measures[0].get("SpacingBetweenSlices")
        if step is None:
            raise ScanError(
                f"{path} holds {frames} frames and does not say how far apart they are; export it as single slices, or "
                "with Spacing Between Slices."
            )
        start = _vector(head, "ImagePositionPatient", 3, path) if head.get("ImagePositionPatient") else np.zeros(3)
        firsts = [start + k * float(step) * np.cross(*axes[0]) for k in range(frames)]
    return [
        _Slice(path, k, firsts[k], *axes[k], _spacing(measures[k], path), _rescale(lines[k], path))
        for k in range(frames)
    ]


def _group(shared: Any, frame: Any, name: str) -> Any:
    """A functional group of one frame, or of all frames; None if there is none."""
    for holder in (frame, shared):
        if holder is not None and holder.get(name):
            return holder.get(name)[0]
    return None


def _vector(holder: Any, name: str, size: int, path: Path) -> NDArray[np.float64]:
    """Some numbers of a header."""
    value = holder.get(name)
    if value is None or value == "" or len(value) != size:
        raise ScanError(
            f"{path} has no {_words(name)}, so that nobody knows where its slice lies; export it again with it."
        )
    vector = np.array([float(part) for part in value])
    if not np.isfinite(vector).all():
        raise ScanError(f"{path} has a {_words(name)} that is no number; export it again.")
    return vector


def _plane(holder: Any, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ways along a row and along a column, of length 1."""
    numbers = _vector(holder, "ImageOrientationPatient", 6, path)
    lengths = np.linalg.norm(numbers.reshape(2, 3), axis=1)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(numbers[:3] @ numbers[3:]) > 5e-3:
        raise ScanError(f"{path} has an Image Orientation (Patient) that is none; export it again.")
    row, column = numbers.reshape(2, 3) / lengths[:, None]
    return row, column


def _spacing(holder: Any, path: Path) -> tuple[float, float]:
    """Distance between rows and between columns, in mm."""
    rows, columns = _vector(holder, "PixelSpacing", 2, path)
    return float(rows), float(columns)


def _rescale(holder: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept that a slice states for its numbers; 1 and 0 where it states none."""
    stated = (holder.get("RescaleSlope"), holder.get("RescaleIntercept"))
    slope, intercept = (
        usual if number in (None, "") else float(number) for number, usual in zip(stated, (1, 0), strict=True)
    )
    if not np.isfinite(slope) or not np.isfinite(intercept) or slope == 0:
        raise ScanError(f"{path} has a rescale of {slope:g} and {intercept:g}, which cannot be; export it again.")
    return float(slope), float(intercept)


def _words(name: str) -> str:
    """An element's name as DICOM writes it."""
    return {
        "ImagePositionPatient": "Image Position (Patient)", "ImageOrientationPatient": "Image Orientation (Patient)",
        "PixelSpacing": "Pixel Spacing",
    }[name]  # fmt: skip


def _in_order(slices: list[_Slice], path: Path) -> list[_Slice]:
    """Slices of one plane and pixel by their places along the normal."""
    first = slices[0]
    for image in slices[1:]:
        if not np.allclose(image.along_row, first.along_row, atol=1e-3) or not np.allclose(
            image.along_column, first.along_column, atol=1e-3
        ):
            raise ScanError(
                f"{path}: {image.name} lies in another plane than {first.name}; give a folder with one series."
            )
        if not np.allclose(image.spacing, first.spacing, rtol=1e-3):
            raise ScanError(f"{path}: {image.name} has other pixels than {first.name}; give a folder with one series.")
    return sorted(slices, key=lambda image: float(image.first @ first.normal))


def _stack(
    slices: list[_Slice], heads: dict[Path, Dataset], path: Path
) -> tuple[list[_Slice], NDArray[Any]]:  # fmt: skip
    """The pixels of all slices, one that lies twice in the folder taken once."""
    for file, head in heads.items():
        for name in _SAME:
            if head.get(name) != next(iter(heads.values())).get(name):
                raise ScanError(
                    f"{path}: {file.name} differs in {name} from the other slices; give a folder with one series."
                )
    kept: list[_Slice] = []
    planes: list[NDArray[Any]] = []
    pixels: dict[Path, NDArray[Any]] = {}
    for image in slices:
        if image.path not in pixels:
            pixels = {image.path: _pixels(image.path, heads[image.path])}
        whole = pixels[image.path]
        plane = whole if image.frame < 0 else whole[image.frame]
        if kept and float((image.first - kept[-1].first) @ image.normal) < 1e-3 * min(image.spacing):
            same = (
                np.allclose(image.first, kept[-1].first, atol=1e-3 * min(image.spacing))
                and image.rescale == kept[-1].rescale
            )
            if not same or not np.array_equal(plane, planes[-1]):
                raise ScanError(f"{path}: {kept[-1].name} and {image.name} lie at the same place; remove one of them.")
            continue
        kept.append(image)
        planes.append(plane)
    if any(plane.ndim != 2 for plane in planes):
        raise ScanError(f"{path} holds colour images; a scan has one number a voxel.")
    return kept, np.stack(planes)


def _pixels(path: Path, head: Dataset) -> NDArray[Any]:
    """The pixels of one file, as stored."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.MAX_IMAGE_PIXELS = int(head.Rows) * int(head.Columns)  # a packed picture has a header of its own
            return np.asarray(dataset(path).pixel_array)
    except Exception as error:  # whatever pydicom raises on a damaged file
        raise ScanError(
            f"{path} has pixels that cannot be read: it is cut off, damaged or compressed; copy it again, or export it "
            "uncompressed."
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_steps(slices: list[_Slice], path: Path) -> float:
    """The step from slice to slice in mm.

    Raises
    ------
    ScanError
        If slices are missing or uneven, or lie aside of each other.
    """
    if len(slices) < 2:
        raise ScanError(f"{path} holds one slice; give the whole series.")
    places = np.array([image.first for image in slices])
    steps = np.diff(places @ slices[0].normal)
    step = float(np.quantile(steps, 0.5, method="lower"))
    off = np.flatnonzero(np.abs(steps - step) > STEP * step)
    if len(off):
        after, much = slices[int(off[0])].name, steps[off[0]] / step
        if much > 1.5:
            raise ScanError(
                f"{path} lacks slices after {after} ({len(slices)} are there); copy the whole series again."
            )
        raise ScanError(
            f"{path} has uneven steps: after {after} one of {much:.2f} times the others; it is no HR-pQCT scan."
        )
    aside = places - places[0] - np.outer((places - places[0]) @ slices[0].normal, slices[0].normal)
    if np.abs(aside).max() > SHIFT * min(slices[0].spacing):
        raise ScanError(f"{path} is tilted: its slices lie aside of each other; give the scan as the scanner wrote it.")
    return float(steps.mean())


def _scanco_calibration(head: Dataset, path: Path) -> tuple[float, float] | None:
    """Slope and intercept from stored numbers to mgHA/cm³ of Scanco's private elements; None where there are none.

    Raises
    ------
    ScanError
        If the rescale of the file is not the one that belongs to them: then its numbers are others.
    """
    values = {name: _private(head, tag) for name, tag in _PRIVATE.items()}
    if "HA" not in str(values["unit"] or "HA") or any(
        values[name] is None for name in ("scaling", "slope", "intercept")
    ):
        return None
    try:
        scaling, slope, intercept = (float(str(values[name])) for name in ("scaling", "slope", "intercept"))
        water = float(str(values["water"])) if values["water"] else None
    except ValueError:
        return None
    if not scaling > 0:
        return None
    rescale = _rescale(head, path)
    # Scanco's rescale gives Hounsfield units: 1000 × (native / Mu_Scaling − water) / water.
    if (
        rescale != (1.0, 0.0)
        and water
        and not np.allclose(rescale, (1000 / (scaling * water), -1000), rtol=0.01, atol=1e-6)
    ):
        raise ScanError(
            f"{path} has a rescale of {rescale[0]:.4g} and {rescale[1]:.4g} that does not belong to its density "
            "calibration; export it again from the scanner."
        )
    return slope / scaling, intercept


def _private(head: Dataset, tag: int) -> str | None:
    """The text of a private element, whatever its representation says."""
    if tag not in head:
        return None
    value = head[tag].value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.strip("\0 ") or None


def _rescaled(voxels: NDArray[Any], slices: list[_Slice]) -> NDArray[Any]:
    """Numbers after the rescale that each slice states; integers where it is whole."""
    lines = [image.rescale for image in slices]
    if set(lines) == {(1.0, 0.0)}:
        return voxels
    slope, intercept = (np.array(part)[:, None, None] for part in zip(*lines, strict=True))
    if (slope == 1).all() and (intercept % 1 == 0).all():
        whole = voxels.astype(np.int32) + intercept.astype(np.int32)
        return whole.astype(np.int16) if np.abs(whole).max() < 32768 else whole
    return (voxels * slope + intercept).astype(np.float32)
