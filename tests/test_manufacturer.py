"""Contours and tables of the scanner's own software: in place of ours, or beside them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapes

from deepqct.bones import BoneError, contoured_bone, dice, find_bones
from deepqct.cohort import check_cohort, load_cohort
from deepqct.curation import compare_with_scanner, curate, curate_repeats, precision_table
from deepqct.evaluation import limits_of_agreement
from deepqct.folder import Run, read_json, read_table
from deepqct.plots import bland_altman
from deepqct.scans import Scan, write_aim
from deepqct.scans.scan import read_mask_at
from deepqct.scans.write import INTERCEPT, MU_SCALING, SLOPE, to_native

VOXEL = 0.2


def wrist(side: str = "left") -> tuple[Scan, dict[str, np.ndarray]]:
    """A wrist whose bones are known."""
    density, truth = shapes.two_bones(
        "wrist", gap=20, angle=0.4, voxel_mm=VOXEL, slices=5, rng=np.random.default_rng(0)
    )
    place = ("wrist", side, "XtremeCT II", "header", (3 * VOXEL, 700 * VOXEL, 800 * VOXEL))
    return Scan(to_native(density), SLOPE / MU_SCALING, INTERCEPT, (VOXEL,) * 3, *place), truth


def write_mask(path: Path, mask: np.ndarray, scan: Scan) -> Path:
    """A mask as an AIM of the part of the grid that holds it."""
    (box,) = [tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(mask))]
    z, y, x = (mm + s.start * VOXEL for mm, s in zip(scan.origin_mm, box, strict=True))
    return write_aim(path, replace(scan, native=(mask[box] * 127).astype(np.int16), origin_mm=(z, y, x)))


def write_gobj(path: Path, boxes: list[tuple[int, int, int, int, int]]) -> Path:
    """A GOBJ of one rectangle (z, y, x of its middle, height, width) a slice, as read by the open reader of the format."""
    header = bytearray(512)
    header[:16] = b"CTDATA-HEADER_V1"
    struct.pack_into("<i", header, 16, 6)
    struct.pack_into("<6i", header, 32, 2304, 2304, 168, 2304 * 200, 2304 * 200, 168 * 200)
    body = b""
    for z, y, x, height, width in boxes:
        body += struct.pack("<13i", 1, x, y, z, width, height, 0, 3, 20, 0, 0, 16512, 16512)
        body += struct.pack("<10i", 0, 4, x, y, z, width, height, 0, 3, 0)
    path.write_bytes(bytes(header) + body + bytes(64))
    return path


def test_masks_are_laid_where_they_belong_and_taken_as_they_are(tmp_path):
    """A contour that is off by its crop would measure muscle."""
    scan, truth = wrist()
    path = write_mask(tmp_path / "radius.AIM", truth["radius"], scan)
    bone = contoured_bone(scan, "radius", {"total": path})
    whole = np.zeros(scan.native.shape, bool)
    mask = bone.total[:, :, ::-1]  # a left one is mirrored
    whole[tuple(slice(o, o + n) for o, n in zip(bone.origin, mask.shape, strict=True))] = mask
    np.testing.assert_array_equal(whole, truth["radius"])
    assert bone.trabecular.any()
    assert bone.cortical.any()
    ours = find_bones(scan)["radius"]
    assert dice(ours, bone, compartment="total") > 0.98
    assert dice(bone, bone, compartment="cortical") == 1


def test_compartments_may_be_given_too(tmp_path):
    scan, truth = wrist("right")
    inner = find_bones(scan)["radius"]
    trabecular = np.zeros(scan.native.shape, bool)
    trabecular[tuple(slice(o, o + n) for o, n in zip(inner.origin, inner.total.shape, strict=True))] = inner.trabecular
    total = truth["radius"] | trabecular
    files = {
        "cortical": write_mask(tmp_path / "c.AIM", total & ~trabecular, scan),
        "trabecular": write_mask(tmp_path / "t.AIM", trabecular, scan),
    }
    bone = contoured_bone(scan, "radius", files)
    assert bone.total.sum() == total.sum()
    assert bone.trabecular.sum() == trabecular.sum()
    with pytest.raises(BoneError, match="has only a cortical contour; give total, or cortical and trabecular"):
        contoured_bone(scan, "radius", {"cortical": files["cortical"]})


def test_a_gobj_is_drawn_in_its_place(tmp_path):
    path = write_gobj(tmp_path / "a.GOBJ;1", [(4, 740, 860, 21, 31), (5, 740, 860, 21, 31)])
    stored = read_mask_at(path)
    assert stored.voxels.shape == (2, 21, 31)
    assert stored.voxels.all()
    assert stored.origin_mm == pytest.approx((4 * VOXEL, 730 * VOXEL, 845 * VOXEL))
    assert stored.voxel_mm == pytest.approx((VOXEL,) * 3)
    scan, _ = wrist("right")
    bone = contoured_bone(scan, "radius", {"total": path})
    assert bone.total.sum() == 2 * 21 * 31
    assert "missing in some slices" in bone.flags


def test_a_mask_of_another_scan_is_refused(tmp_path):
    scan, truth = wrist()
    path = write_mask(tmp_path / "radius.AIM", truth["radius"], scan)
    with pytest.raises(BoneError, match=r"radius\.AIM lies outside of the scan"):
        contoured_bone(replace(scan, origin_mm=(900 * VOXEL, 0, 0)), "radius", {"total": path})
    with pytest.raises(BoneError, match=r"radius\.AIM has voxels of 0\.2000 mm and the scan of 0\.0607 mm"):
        contoured_bone(replace(scan, voxel_mm=(0.0607,) * 3), "radius", {"total": path})


@pytest.fixture
def hospital(tmp_path):
    """Three women with a wrist each, contours of the radius and a table of the manufacturer's names."""
    folder = tmp_path / "hospital"
    (folder / "scans").mkdir(parents=True)
    rows, contours = ["participant_id\tsite\tside\tfile"], ["participant_id\tbone\tcompartment\tfile"]
    for i in range(3):
        scan, truth = wrist()
        write_aim(folder / "scans" / f"{i}.AIM", replace(scan, native=scan.native + np.int16(40 * i)))
        write_mask(folder / "scans" / f"{i}_total.AIM", truth["radius"], scan)
        rows.append(f"sub-{i}\twrist\tleft\tscans/{i}.AIM")
        contours.append(f"sub-{i}\tradius\ttotal\tscans/{i}_total.AIM")
    table = "participant_id\tbone\tTt.BMD\tCt.Po %\nsub-0\tradius\t300\t1.5\nsub-1\tradius\t310\t2.5\n"
    people = "participant_id\tfracture\n" + "".join(f"sub-{i}\t{i % 2}\n" for i in range(3))
    for name, text in {
        "participants": people, "scans": "\n".join(rows) + "\n", "contours": "\n".join(contours) + "\n",
        "indices": table,
    }.items():  # fmt: skip
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def test_both_stand_beside_ours_with_their_agreement(hospital, tmp_path):
    """What a laboratory needs before it changes its software."""
    cohort, run = load_cohort(hospital), Run(tmp_path / "run")
    table = curate(cohort, run, image_px=32, contours="both")
    assert table["status"].tolist() == ["curated"] * 3
    theirs = read_table(run.scanner_indices)
    assert theirs.groupby("source").size().to_dict() == {"contours": 3, "table": 2}
    assert theirs.query("source == 'table'")["Ct.Po"].tolist() == [0.015, 0.025]
    assert set(theirs["bone"]) == {"radius"}
    compared = compare_with_scanner(run).set_index(["source", "symbol"])
    assert compared.loc[("contours", "Tt.Ar"), "n"] == 3
    ours = read_table(run.indices).query("bone == 'radius'")["Tt.Ar"]
    other = theirs.query("source == 'contours'")["Tt.Ar"]
    assert compared.loc[("contours", "Tt.Ar"), "bias"] == pytest.approx(ours.mean() - other.mean())
    assert np.isnan(compared.loc[("table", "Tt.vBMD"), "bias"])  # two pairs are too few
    record = read_json(run.stack_record("sub-0", "radius"))
    assert record["dice"]["total"] > 0.98
    assert read_json(run.stack_record("sub-0", "ulna"))["dice"] is None
    axes = bland_altman(read_table(run.indices), theirs.query("source == 'contours'"), names=["Tt.Ar", "Tt.vBMD"])
    assert axes[0].get_title().startswith("n 3; bias")


def test_the_scanners_work_can_stand_in_place_of_ours(hospital, tmp_path):
    cohort, run = load_cohort(hospital), Run(tmp_path / "run")
    curate(cohort, run, image_px=32, contours="scanner", indices="scanner")
    radius = read_table(run.indices).query("bone == 'radius'")
    assert radius["Tt.vBMD"].tolist()[:2] == [300, 310]
    assert radius["Tt.vBMD"].iloc[2] not in (300, 310)
    _, truth = wrist()
    assert radius["Tt.Ar"].tolist() == pytest.approx([truth["radius"].sum() / 5 * VOXEL**2] * 3)
    assert len(read_table(run.indices)) == 6


@pytest.mark.parametrize("how", [{"indices": "scanner"}, {"contours": "scanner"}])
def test_the_scanners_work_is_no_repeat_of_ours(hospital, tmp_path, how):
    """Three sessions by the same files differ by nothing, though the first has the manufacturer's values or contours."""
    cohort, run = load_cohort(hospital), Run(tmp_path / "run")
    again = [
        cohort.scans.assign(session=name).set_axis(cohort.scans.index + 10 * int(name)) for name in ("1", "2", "3")
    ]
    cohort = replace(cohort, scans=again[0], repeats=pd.concat(again[1:]))
    curate(cohort, run, image_px=32, **how)
    curate_repeats(cohort, run, image_px=32)
    table = precision_table(cohort, run).set_index(["bone", "symbol"])
    assert table.loc[("radius", "Tt.vBMD"), "rms_sd"] == table.loc[("radius", "Tt.Ar"), "rms_sd"] == 0
    sessions = read_table(run.repeats).groupby("bone")["session"].agg(lambda names: "".join(sorted(set(names))))
    assert sessions.to_dict() == {"radius": "23" if "contours" in how else "123", "ulna": "123"}


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("contours.tsv", "total\tscans/1", "rim\tscans/1", "row 3 (sub-1): compartment is 'rim', not one of total"),
        ("contours.tsv", "scans/1_total.AIM", "scans/9.AIM", "row 3 (sub-1): scans/9.AIM does not exist"),
        ("contours.tsv", "scans/1_total", "../1_total", "leaves the cohort folder"),
        ("indices.tsv", "sub-1\tradius", "sub-1\tfemur", "row 3 (sub-1): bone is 'femur', not one of radius"),
        ("indices.tsv", "sub-1", "sub-7", "'sub-7' is not in participants.tsv"),
        ("indices.tsv", "Ct.Po %", "Ct.Po", "Ct.Po has values over 1; if they are percent, name the column 'Ct.Po %'"),
        ("indices.tsv", "Tt.BMD", "Tt.BNDX", "no index is called 'Tt.BNDX'; rename it to 'Tt.BMD'"),
        ("indices.tsv", "310", "many", "row 3: Tt.BMD is 'many', not a number"),
        ("indices.tsv", "sub-1", "sub-0", "row 3: participant_id, bone stand already in an earlier row"),
    ],
)
def test_faults_of_the_tables_are_named(hospital, file, old, new, sentence):
    path = hospital / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    cohort, faults = check_cohort(hospital, outcome="fracture")
    assert cohort is None
    assert any(sentence in fault for fault in faults), faults


def test_what_the_folder_does_not_have_is_refused(hospital, tmp_path):
    (hospital / "contours.tsv").unlink()
    with pytest.raises(ValueError, match=r"contours is 'both', and the cohort folder has no contours\.tsv"):
        curate(load_cohort(hospital), Run(tmp_path), contours="both")


def test_agreement_covers_its_truth():
    """Limits of normal differences with a known bias: the interval of the bias holds it in 95 of 100 samples."""
    rng = np.random.default_rng(0)
    held = {"bias": 0, "lower": 0, "upper": 0}
    truth = {"bias": 2.0, "lower": 2 - 1.959964 * 3, "upper": 2 + 1.959964 * 3}
    for _ in range(400):
        a = rng.normal(50, 10, 15)
        found = limits_of_agreement(a + rng.normal(2, 3, 15), a)
        for name, value in truth.items():
            held[name] += found[f"{name}_low"] <= value <= found[f"{name}_high"]
    assert all(0.92 <= count / 400 <= 0.98 for count in held.values()), held
    assert limits_of_agreement([1, 2, np.nan], [1, np.nan, 3])["n"] == 1
    pd.testing.assert_series_equal(
        pd.Series(limits_of_agreement([1.0, 2, 3, 5], [1.0, 2, 3, 5])).filter(["n", "bias", "sd", "r"]),
        pd.Series({"n": 4.0, "bias": 0.0, "sd": 0.0, "r": 1.0}),
    )
