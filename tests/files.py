"""Scanner files as scanners write them, patient and all, for tests."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SECRETS = ("Jane", "Mustermann", "19500229", "PID-778899", "St. Elsewhere", "aching wrist")


def write_isq_header(shape: tuple[int, int, int], *, um: float, name: str = "Doe^Jane") -> bytes:
    """The header of an ISQ, five blocks, for voxels of 16 bits."""
    header = bytearray(2560)
    z, y, x = shape
    header[:16] = b"CTDATA-HEADER_V1"
    edges = [round(um * n) for n in (x, y, z)]
    numbers = [3, min(2 * x * y * z, 2**31 - 1), 0, 4242, 9, 0, 0, x, y, z, *edges]
    header[16 : 16 + 4 * len(numbers)] = struct.pack(f"<{len(numbers)}i", *numbers)
    header[128:168] = name.encode().ljust(40)
    header[508:512] = struct.pack("<i", 4)
    return bytes(header)


def write_isq(
    path: Path, native: NDArray[np.int16], *, pad: bool = True, um: float = 82, name: str = "Doe^Jane"
) -> Path:
    """An ISQ of the scanner's own layout: the header, then the voxels."""
    data = write_isq_header(native.shape, um=um, name=name) + native.astype("<i2").tobytes()
    path.write_bytes(data + bytes(-len(data) % 512 if pad else 0))
    return path


def write_dicom(folder: Path, native: NDArray[np.int16], *, voxel_mm: tuple[float, float, float]) -> Path:
    """A series of DICOM slices full of words about a patient."""
    import SimpleITK

    folder.mkdir(parents=True)
    image = SimpleITK.GetImageFromArray(native)
    image.SetSpacing(voxel_mm[::-1])
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    about = {
        "0010|0010": f"{SECRETS[1]}^{SECRETS[0]}", "0010|0030": SECRETS[2], "0010|0020": SECRETS[3],
        "0008|0080": SECRETS[4], "0008|103e": SECRETS[5], "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
        "0020|000d": "1.2.826.0.1.3680043.2.1125.2", "0008|0060": "CT",
    }  # fmt: skip
    for z in range(len(native)):
        one = image[:, :, z]
        place = "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, z))))
        for tag, value in {**about, "0020|0032": place, "0020|0013": str(z)}.items():
            one.SetMetaData(tag, value)
        one.SetMetaData("0008|0018", f"1.2.826.0.1.3680043.2.1125.3.{z + 1}")
        writer.SetFileName(str(folder / f"{z:04d}.dcm"))
        writer.Execute(one)
    return folder


def name_the_patient(aim: Path) -> Path:
    """Plant words about a patient in the log of an AIM, in place of lines of the same length."""
    data = aim.read_bytes()
    start = data.index(b"Created by")
    end = data.index(b"\n", start)
    words = f"Patient Name  {' '.join(SECRETS)}".encode()
    assert len(words) <= end - start
    aim.write_bytes(data[:start] + words.ljust(end - start) + data[end:])
    return aim
