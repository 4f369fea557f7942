"""The files of a bundle, read from a folder or a zip without trusting them.

A bundle may come from anywhere. Its manifest lists every file with size and SHA-256; only what is listed is read, under
names that stay inside, as plain files and not as links, never more bytes than listed, and nothing is ever unpickled. In a
zip the files lie as they are, uncompressed, so that none can unfold into more than the zip itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deepqct.folder import file_hash, write_json, write_whole

MANIFEST = "manifest.json"
FORMAT, VERSION = "deepqct-bundle", 1
_MOST_FILES, _MOST_JSON = 4096, 64 * 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ENDINGS = (".json", ".html", ".safetensors")
_SHA = re.compile(r"[0-9a-f]{64}")
_CHUNK = 2**20
_DATE = (1980, 1, 1, 0, 0, 0)  # of every file in a zip, so that the same bundle gives the same bytes


class BundleError(ValueError):
    """A bundle that cannot be trusted or read; the message says which file, and what is wrong with it.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.load_bundle("/nowhere")
    Traceback (most recent call last):
    deepqct.bundles.source.BundleError: /nowhere is no bundle: there is neither a folder nor a zip; correct the path.
    """


@dataclass(frozen=True)
class Source:
    """A folder or a zip with the files that its manifest lists.

    Parameters
    ----------
    path : Path
        The folder or the zip.
    files : dict of str to (int, str)
        The size in bytes and the SHA-256 of each file, by its name.
    fingerprint : str
        SHA-256 of the manifest: it names the whole bundle.
    """

    path: Path
    files: dict[str, tuple[int, str]]
    fingerprint: str

    @classmethod
    def open(cls, path: Path) -> Source:
        """The bundle at a path, after every listed file was found with the size and the bytes that are listed.

        Parameters
        ----------
        path : Path
            A folder or a zip.

        Raises
        ------
        BundleError
            If anything is not as it should be.
        """
        if not path.exists():
            raise BundleError(f"{path} is no bundle: there is neither a folder nor a zip; correct the path.")
        content = _read(path, MANIFEST, most=_MOST_JSON)
        source = cls(path, _listed(content), hashlib.sha256(content).hexdigest())
        if not path.is_dir():
            _check_zip(path)
        for name in source.files:
            source._check(name)
        return source

    def read(self, name: str) -> bytes:
        """The bytes of one file, compared once more with the manifest.

        Parameters
        ----------
        name : str
            As in the manifest.

        Raises
        ------
        BundleError
            If it is not listed, or not as listed.
        """
        if name not in self.files:
            raise BundleError(f"{MANIFEST} lists no {name}; make the bundle again.")
        size, sha = self.files[name]
        content = _read(self.path, name, most=size)
        if len(content) != size:
            raise BundleError(f"{name} has {len(content)} bytes and {MANIFEST} says {size}; {_AGAIN}.")
        if hashlib.sha256(content).hexdigest() != sha:
            raise BundleError(f"{name} is not as {MANIFEST} says (its SHA-256 differs); {_AGAIN}.")
        return content

    def read_json(self, name: str) -> Any:
        """The content of a JSON file of plain, finite numbers.

        Parameters
        ----------
        name : str
            As in the manifest.

        Raises
        ------
        BundleError
            As `read`, and if it is no such JSON.
        """
        size = self.files.get(name, (0, ""))[0]
        if size > _MOST_JSON:
            raise BundleError(f"{name} has {size} bytes, more than the {_MOST_JSON} of any bundle; {_AGAIN}.")
        return parse_json(self.read(name), name=name)

    def _check(self, name: str) -> None:
        """Refuse a file whose size or bytes differ from the manifest; a large one is never held in memory."""
        size, sha = self.files[name]
        digest, seen = hashlib.sha256(), 0
        with _opened(self.path, name) as file:
            while seen <= size and (chunk := file.read(min(_CHUNK, size + 1 - seen))):
                digest.update(chunk)
                seen += len(chunk)
        if seen != size:
            raise BundleError(
                f"{name} has {'more' if seen > size else seen} bytes and {MANIFEST} says {size}; {_AGAIN}."
            )
        if digest.hexdigest() != sha:
            raise BundleError(f"{name} is not as {MANIFEST} says (its SHA-256 differs); {_AGAIN}.")


_AGAIN = "copy the bundle again from where it was made"


def parse_json(content: bytes, *, name: str) -> Any:
    """JSON without NaN, infinities and doubled keys.

    Parameters
    ----------
    content : bytes
        UTF-8.
    name : str
        The file's name, for the message of an error.

    Raises
    ------
    BundleError
        If it is no such JSON.
    """

    def refuse(word: str) -> Any:
        raise ValueError(word)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name twice")
        return dict(pairs)

    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} is no plain JSON; {_AGAIN}.") from error


def safe_name(name: str) -> bool:
    """True for a relative name of plain words that stays within the bundle, of a kind of file that bundles have.

    Parameters
    ----------
    name : str
        A name with ``/`` between its parts.
    """
    parts = name.split("/")
    return len(name) <= 200 and all(_NAME.fullmatch(part) for part in parts) and name.endswith(_ENDINGS)


def seal(folder: Path) -> Path:
    """Write the manifest of a folder, which makes it a bundle.

    Parameters
    ----------
    folder : Path
        With all other files of the bundle.

    Returns
    -------
    Path
        The manifest.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listed = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_hash(folder / name)}
        for name in names
        if name != MANIFEST
    }
    return write_json(folder / MANIFEST, {"format": FORMAT, "version": VERSION, "files": listed})


def write_zip(folder: Path, path: Path) -> Path:
    """Write a bundle's folder as one zip, uncompressed.

    Parameters
    ----------
    folder : Path
        The bundle.
    path : Path
        The zip.
    """
    with write_whole(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _DATE)
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                with archive.open(entry, "w", force_zip64=True) as target, file.open("rb") as source:
                    while chunk := source.read(_CHUNK):
                        target.write(chunk)
    return path


def _listed(content: bytes) -> dict[str, tuple[int, str]]:
    """The files that a manifest lists, if all of it is as it should be."""
    manifest = parse_json(content, name=MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{MANIFEST} is not that of a bundle of deepqct; give the folder or zip of deepqct bundle.")
    if manifest.get("version") != VERSION:
        raise BundleError(
            f"{MANIFEST} is of version {str(manifest.get('version'))[:20]} and this deepqct reads version {VERSION}; "
            "install the deepqct that made the bundle."
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not 0 < len(files) <= _MOST_FILES:
        raise BundleError(f"{MANIFEST} lists no files, or too many; {_AGAIN}.")
    listed: dict[str, tuple[int, str]] = {}
    for name, entry in files.items():
        if not safe_name(name) or name == MANIFEST:
            raise BundleError(f"{MANIFEST} lists {name[:80]!r}, which is no name of a bundle's file; do not trust it.")
        size, sha = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if type(size) is not int or size < 0 or not isinstance(sha, str) or not _SHA.fullmatch(sha):
            raise BundleError(f"{MANIFEST} gives no size and SHA-256 of {name}; {_AGAIN}.")
        listed[name] = (size, sha)
    return listed


def _read(path: Path, name: str, *, most: int) -> bytes:
    """The bytes of a file, at most one more than allowed."""
    with _opened(path, name) as file:
        content: bytes = file.read(most + 1)
    if len(content) > most:
        raise BundleError(f"{name} has more than {most} bytes; {_AGAIN}.")
    return content


def _opened(path: Path, name: str) -> Any:
    """A file of a bundle, open to be read."""
    if path.is_dir():
        return _plain_file(path, name).open("rb")
    return _Entry.of(path, name)


def _plain_file(folder: Path, name: str) -> Path:
    """The path of a file in a folder, none of whose parts is a link."""
    at = folder
    for part in PurePosixPath(name).parts:
        at = at / part
        try:
            mode = at.lstat().st_mode
        except OSError as error:
            raise BundleError(f"{name} is missing; {_AGAIN}.") from error
        if stat.S_ISLNK(mode):
            raise BundleError(f"{name} is a link, which no bundle holds; do not trust it.")
    if not stat.S_ISREG(mode):
        raise BundleError(f"{name} is no plain file; do not trust the bundle.")
    return at


@dataclass
class _Entry:
    """A file within a zip, read in pieces."""

    archive: zipfile.ZipFile
    file: Any
    name: str

    @classmethod
    def of(cls, path: Path, name: str) -> _Entry:
        archive = _zip(path)
        try:
            info = archive.getinfo(name)
        except KeyError as error:
            archive.close()
            raise BundleError(f"{name} is missing; {_AGAIN}.") from error
        try:
            _check_entry(info)
            return cls(archive, archive.open(info), name)
        except BundleError:
            archive.close()
            raise
        except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:
            archive.close()
            raise BundleError(f"{name} cannot be read from the zip; {_AGAIN}.") from error

    def read(self, most: int) -> bytes:
        try:
            return bytes(self.file.read(most))
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise BundleError(f"{self.name} is damaged in the zip; {_AGAIN}.") from error

    def __enter__(self) -> _Entry:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.archive.close()


def _zip(path: Path) -> zipfile.ZipFile:
    """A zip, open to be read."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path.name} is neither a folder nor a zip; give what deepqct bundle made.") from error


def _check_zip(path: Path) -> None:
    """Refuse a zip whose entries have unsafe or doubled names, are links or compressed, or are more than the zip holds."""
    with _zip(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise BundleError("The zip has two files of one name; do not trust it.")
    if len(names) > _MOST_FILES:
        raise BundleError(f"The zip has {len(names)} files, more than any bundle; do not trust it.")
    for entry in entries:
        if not safe_name(entry.filename):
            raise BundleError(
                f"The zip holds {entry.filename[:80]!r}, which is no name of a bundle's file; do not trust it."
            )
        _check_entry(entry)
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise BundleError("The zip says that it holds more bytes than it has; do not trust it.")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    """Refuse an entry of a zip that is no plain file, or that is packed."""
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where whoever made the zip kept no modes
    if kind not in (0, stat.S_IFREG):
        raise BundleError(f"{entry.filename[:80]} is a link or no plain file; do not trust the bundle.")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
        raise BundleError(
            f"{entry.filename[:80]} is compressed or encrypted, and files of a bundle lie in its zip as they are; make it "
            "with deepqct bundle."
        )
