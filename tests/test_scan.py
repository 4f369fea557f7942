"""Reading scanner files: calibrated by their own log, nothing about the patient, errors that tell what to do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from deepqct.scan import INTERCEPT, MU_SCALING, SLOPE, Scan, ScanError, read_scan, to_native, write_aim

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
    (tmp_path / "scan.nii").touch()
    with pytest.raises(ScanError, match="not an AIM by its name"):
        read_scan(tmp_path / "scan.nii")


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


@pytest.mark.skipif(not REAL.exists(), reason="the real scanner files are not beside this checkout")
def test_a_real_scan_follows_its_own_log():
    """The log states the native mean and the calibration; ours must agree with both."""
    scan = read_scan(REAL)
    assert scan.native.shape == (49, 58, 108)
    assert scan.voxel_mm == pytest.approx((0.0607, 0.0607, 0.0607), abs=1e-5)
    assert (scan.site, scan.side) == ("wrist", "left")
    assert scan.density.mean(dtype=float) == pytest.approx(2517.37402 / 8192 * 1662.52405 - 398.609009, abs=0.01)
