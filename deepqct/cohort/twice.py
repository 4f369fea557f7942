"""One scan under two rows: the same file by two names, or a copy of it; in two folds, it would give the outcome away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from deepqct.folder import file_hash
from deepqct.scans.formats import files_of

_END = 65_536  # bytes at each end of a file that are compared before the whole of it
_SLICE = 4_096  # bytes of each slice of a series: its header, where each slice has a number of its own
_JUNK = ("thumbs.db", "desktop.ini")  # what Windows adds to a folder


class Named(NamedTuple):
    """A row of scans.tsv: its number in the file, whose scan it is, the path as written, and the path on disk."""

    row: int
    person: Any
    file: str
    path: Path

    def __str__(self) -> str:
        """Where the row is, for a sentence."""
        return f"row {self.row}" + (f" ({self.person})" if isinstance(self.person, str) else "")


def named_twice(rows: Iterable[Named]) -> list[str]:
    """A fault for each row whose file, folder or voxels an earlier row names too, by whatever path or link.

    Parameters
    ----------
    rows : iterable of Named
        Rows whose files are there.
    """
    first: dict[tuple[int, int], Named] = {}
    faults = []
    # Folders first: a slice in a folder that is a scan belongs to that scan.
    for scan in sorted(rows, key=lambda scan: (not scan.path.is_dir(), scan.row)):
        try:
            parts = [_on_disk(path) for path in ([scan.path] if scan.path.is_dir() else _parts(scan.path))]
            around = [_on_disk(scan.path.resolve().parent)] if _is_slice(scan.path) else []
        except OSError:  # the reader of its header says why
            continue
        before = next((first[part] for part in (*parts, *around) if part in first), None)
        if before is None:
            first |= dict.fromkeys(parts, scan)
        elif before.file != scan.file:  # the same words twice are a fault of the column already
            faults.append(_same(*sorted((before, scan))))
    return faults


def copied(rows: Iterable[Named]) -> list[str]:
    """A fault for each row whose scan is, byte for byte, that of an earlier row, or a slice of the same series.

    Scans are told apart by the sizes of their files, then by a part of each, and only then by all bytes.

    Parameters
    ----------
    rows : iterable of Named
        Rows whose files are there; what cannot be read is passed over.
    """
    rows = list(rows)
    groups = [rows]
    for look in (_sizes, _glance, _content):
        groups = [alike for group in groups for alike in _split(group, look)]
    faults = {
        again: f"scans.tsv, {again}: {again.file} is a copy, byte for byte, of {first.file} of {first}; give the scan that "
        "belongs to this row, or remove the row."
        for first, *more in groups
        for again in more
    }
    faults |= {
        again: _same(first, again)
        for first, *more in _split([scan for scan in rows if _is_slice(scan.path)], _series)
        for again in more
    }
    return [faults[again] for again in sorted(faults)]


def _same(before: Named, again: Named) -> str:
    """The fault of a row that names the scan of an earlier one."""
    return (
        f"scans.tsv, {again}: {again.file} is the same scan on disk as {before.file} of {before}; name each scan in one "
        "row only."
    )


def _split(rows: list[Named], look: Callable[[Path], Hashable]) -> list[list[Named]]:
    """The rows that look alike, in groups of two and more."""
    groups: dict[Hashable, list[Named]] = {}
    for scan in rows:
        try:
            seen = look(scan.path)
        except OSError:
            continue
        if seen is not None:
            groups.setdefault(seen, []).append(scan)
    return [group for group in groups.values() if len(group) > 1]


def _parts(path: Path) -> list[Path]:
    """The files that are a scan's own; of a DICOM file that is named alone, only itself: others may be of other series."""
    if path.is_dir():
        return [f for f in files_of(path) if not f.name.startswith(".") and f.name.lower() not in _JUNK]
    return [path] if _is_slice(path) else files_of(path)[-1:]  # of a detached header, the voxels


def _is_slice(path: Path) -> bool:
    """True for a DICOM file that is named alone."""
    return path.name.lower().endswith((".dcm", ".ima")) and not path.is_dir()


def _series(path: Path) -> Hashable:
    """The folder and the series of a slice; None if it says none, or holds all frames of a scan itself."""
    from deepqct.scans.dicom import dataset

    try:
        head = dataset(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "NumberOfFrames"])
        if int(head.get("NumberOfFrames") or 1) > 1 or not head.get("SeriesInstanceUID"):
            return None
        return _on_disk(path.resolve().parent), str(head.SeriesInstanceUID)
    except Exception:  # whatever it is, the reader of its header says why
        return None


def _on_disk(path: Path) -> tuple[int, int]:
    """The place of a file or folder on disk, the same by whatever path or link it is reached."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _sizes(path: Path) -> Hashable:
    """The sizes of a scan's files; None if nothing is in them, of which the header's check speaks."""
    sizes = sorted(part.stat().st_size for part in _parts(path))
    return tuple(sizes) if any(sizes) else None


def _glance(path: Path) -> Hashable:
    """Both ends of a scan's file, or the beginning of each slice, as hashes."""
    parts, seen = _parts(path), []
    for part in parts:
        with part.open("rb") as file:
            begin = file.read(_END if len(parts) == 1 else _SLICE)
            if len(parts) == 1:
                file.seek(max(0, part.stat().st_size - _END))
                begin += file.read(_END)
        seen.append(hashlib.sha256(begin).digest())
    return tuple(sorted(seen))


def _content(path: Path) -> Hashable:
    """All bytes of a scan's files, as hashes; their names and order do not count."""
    return tuple(sorted(file_hash(part) for part in _parts(path)))
