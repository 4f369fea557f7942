"""Curation: bones, stacks and indices of a cohort; failures are rows, reruns do only what is missing."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepqct.cohort import Cohort, keep_cohort, keep_splits, load_cohort
from deepqct.curation import (
    CurationError,
    bone_under_load,
    compare_with_scanner,
    curate,
    curate_repeats,
    example_stacks,
    load_stack,
    of_bone,
)  # fmt: skip
from deepqct.curation.stacks import FIELD_MM
from deepqct.folder import Run, read_json, read_table, write_text
from deepqct.run_tables import run_outcome
from deepqct.scans import read_scan, write_dicom, write_image
from deepqct.terms import SITES, STRENGTH_UNITS
from deepqct.virtual import new_cohort
from deepqct.work import side_by_side


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory) -> Path:
    """Five virtual women at coarse voxels."""
    return new_cohort(tmp_path_factory.mktemp("virtual"), n=5, voxel_mm=0.3, slices=4, seed=4)


def test_every_scan_becomes_two_stacks_and_two_rows(cohort_folder, tmp_path):
    """What the networks and the index models read must be there for each bone, in the stated form."""
    run, cohort = Run(tmp_path), load_cohort(cohort_folder)
    table = curate(cohort, run, image_px=48)
    assert table["status"].tolist() == ["curated"] * 10
    assert len(read_table(run.indices)) == 20
    density, mask, voxel_mm = load_stack(run, "sub-0003", "tibia")
    assert density.shape == mask.shape == (4, 48, 48)
    assert (density.dtype, mask.dtype) == (np.int16, np.uint8)
    assert voxel_mm == pytest.approx((0.3, FIELD_MM["tibia"] / 48, FIELD_MM["tibia"] / 48))
    area = of_bone(mask).sum() / 4 * voxel_mm[1] * voxel_mm[2]
    measured = read_table(run.indices).query("participant_id == 'sub-0003' and bone == 'tibia'")["Tt.Ar"].item()
    assert area == pytest.approx(measured, rel=0.05)
    assert set(example_stacks(run, bone="ulna", most=3)) == {"sub-0001", "sub-0002", "sub-0003"}


def test_results_do_not_depend_on_the_workers_and_a_rerun_reads_no_scan(cohort_folder, tmp_path, monkeypatch):
    """Two machines must agree, and a second call must cost nothing."""
    cohort = load_cohort(cohort_folder)
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    first = curate(cohort, one, image_px=32, workers=2)
    curate(cohort, two, image_px=32)
    assert one.indices.read_bytes() == two.indices.read_bytes()
    monkeypatch.setattr("deepqct.curation.one_scan.read_scan", lambda path: pytest.fail(f"{path} was read again"))
    pd.testing.assert_frame_equal(curate(cohort, one, image_px=32), first)


def test_strength_is_a_part_of_the_indices_where_it_is_asked_for(cohort_folder, tmp_path, monkeypatch):
    """Beside the other indices of its bone; a bone without one is a note, and the others go on."""
    cohort, run = load_cohort(cohort_folder), Run(tmp_path)
    cohort = replace(cohort, scans=cohort.scans.query("participant_id == 'sub-0003'"))
    with pytest.raises(ValueError, match="strength is 'fine'; use one of none, coarse, full"):
        curate(cohort, run, image_px=32, strength="fine")
    curate(cohort, run, image_px=32)
    plain = read_table(run.indices)
    assert not set(STRENGTH_UNITS) & set(plain)
    curate(cohort, run, image_px=32, strength="coarse")
    found = read_table(run.indices)
    pd.testing.assert_frame_equal(found[plain.columns.tolist()], plain)
    loads = found.set_index("bone")["F.Load"]
    assert loads["tibia"] > loads["radius"] > 0
    assert loads["tibia"] > loads["fibula"] > 0
    ratio = found.set_index("bone")["Load/Strength"]
    weight = cohort.participants.set_index("participant_id").loc["sub-0003", "weight_kg"]
    assert ratio["radius"] == pytest.approx(1.7 * 9.81 * weight / 1000 / loads["radius"])
    assert ratio.drop("radius").isna().all()
    person, bone, mask, energy = bone_under_load(cohort, run)
    assert (person, bone.name) == ("sub-0003", "radius")
    assert energy.shape == mask.shape == bone.density.shape
    assert set(np.unique(mask[energy > 0])) == {1, 2}
    bare = replace(cohort, participants=cohort.participants.drop(columns="weight_kg"))
    curate(bare, run, image_px=32, strength="coarse")
    assert read_table(run.indices)["Load/Strength"].isna().all()
    monkeypatch.setattr("deepqct.curation.one_scan.scan_code", lambda: "changed")
    monkeypatch.setattr("deepqct.curation.curation.scan_code", lambda: "changed")

    def in_pieces(bone, *, mode):
        raise ValueError("No part of the model joins its bottom to its top; give another.")

    monkeypatch.setattr("deepqct.curation.one_scan.strength", in_pieces)
    table = curate(cohort, run, image_px=32, strength="coarse")
    assert table["notes"].str.contains("no strength: No part of the model joins its bottom to its top").all()
    assert read_table(run.indices)["F.Load"].isna().all()
    assert bone_under_load(cohort, run) is None


def test_a_scan_that_is_no_longer_listed_leaves_nothing_behind(cohort_folder, tmp_path):
    """Who takes back her consent must not go on teaching networks, nor lie in the run folder as slices."""
    cohort, run = load_cohort(cohort_folder), Run(tmp_path)
    curate(cohort, run, image_px=32)
    gone = cohort.scans["participant_id"] == "sub-0002"
    curate(replace(cohort, scans=cohort.scans[~gone]), run, image_px=32)
    left = {path.name.split("_")[0] for path in run.bones.iterdir()}
    assert left == set(cohort.participants["participant_id"]) - {"sub-0002"}


def test_a_stack_that_was_removed_is_cut_out_again(cohort_folder, tmp_path):
    """Its record alone does not stand for it; another scan is left as it is."""
    run, cohort = Run(tmp_path), load_cohort(cohort_folder)
    cohort = replace(cohort, scans=cohort.scans.head(2))
    curate(cohort, run, image_px=32)
    stack, record = run.stack("sub-0001", "radius"), run.stack_record("sub-0001", "radius")
    before, kept, other = stack.read_bytes(), record.read_bytes(), run.stack("sub-0001", "tibia").stat().st_mtime_ns
    stack.unlink()
    curate(cohort, run, image_px=32)
    assert stack.read_bytes() == before
    assert record.read_bytes() == kept
    assert run.stack("sub-0001", "tibia").stat().st_mtime_ns == other


def test_a_cohort_without_one_good_scan_stops_with_the_reason(cohort_folder, tmp_path):
    """An index out of bounds some cells later tells a clinician nothing."""
    cohort, run = load_cohort(cohort_folder), Run(tmp_path / "run")
    (tmp_path / "scans").mkdir()
    for file in cohort.scans["file"]:
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(CurationError, match="None of 10 scans could be curated; the first: the scan is empty"):
        curate(replace(cohort, folder=tmp_path), run, image_px=32)
    assert (read_table(run.curation)["status"] == "failed").all()


def test_names_of_files_stay_in_the_cohort_folder(cohort_folder, tmp_path):
    """A file may be called after a patient, or a folder after a hospital; the report is passed on."""
    cohort, run = load_cohort(cohort_folder), Run(tmp_path / "run")
    own = tmp_path / "St-Anna" / "scans"
    own.mkdir(parents=True)
    for file in cohort.scans["file"]:
        (tmp_path / "St-Anna" / file).write_bytes((cohort_folder / file).read_bytes())
    (own / "MUELLER_ANNA.AIM").write_bytes(b"")
    contour = tmp_path / "St-Anna" / "BEISPIEL_BERTA.AIM"
    contour.write_bytes(b"nothing")
    person, site = cohort.scans.loc[1, ["participant_id", "site"]]
    bone = SITES[site][0]
    contours = pd.DataFrame(
        {"participant_id": [person], "bone": [bone], "compartment": ["total"], "file": [contour.name]}
    )
    scans = cohort.scans.assign(file=cohort.scans["file"].mask(cohort.scans.index == 0, "scans/MUELLER_ANNA.AIM"))
    ours = replace(cohort, folder=tmp_path / "St-Anna", scans=scans, contours=contours)
    table = curate(ours, run, image_px=32, contours="both").query("status == 'failed'")
    assert len(table) == 2
    assert table["reason"].str.contains("the scan|total contour").all()
    for word in ("MUELLER", "BEISPIEL", "Anna", str(tmp_path)):
        assert word not in run.curation.read_text(encoding="utf-8")


def test_a_side_that_the_header_denies_is_a_flag(cohort_folder, tmp_path):
    """A bone on the wrong side is mirrored, and nothing else would show it."""
    cohort = load_cohort(cohort_folder)
    other = cohort.scans["side"].map({"left": "right", "right": "left"})
    scans = cohort.scans.assign(side=cohort.scans["side"].where(cohort.scans.index > 0, other)).iloc[:2]
    flags = curate(replace(cohort, scans=scans), Run(tmp_path), image_px=32)["flags"]
    assert flags.str.contains("its header says").sum() == 1
    assert flags.str.contains(f"scans.tsv {other[0]} (which is it?)", regex=False).any()


def test_a_corrected_side_is_curated_again(cohort_folder, tmp_path):
    """Left bones are mirrored: whose side was wrong has been looked at the wrong way round."""
    cohort, run = load_cohort(cohort_folder), Run(tmp_path)
    curate(cohort, run, image_px=32)
    person, site, side = cohort.scans.loc[0, ["participant_id", "site", "side"]]
    bone = SITES[site][0]
    before = np.load(run.stack(person, bone)), read_json(run.stack_record(person, bone))["mirrored"]
    other = {"left": "right", "right": "left"}[side]
    scans = cohort.scans.assign(side=cohort.scans["side"].mask(cohort.scans.index == 0, other))
    table = curate(replace(cohort, scans=scans), run, image_px=32).set_index(["participant_id", "site"])
    assert table.loc[(person, site), "side"] == other
    assert read_json(run.stack_record(person, bone))["mirrored"] is not before[1]
    assert not np.array_equal(np.load(run.stack(person, bone)), before[0])


def test_a_failed_scan_is_a_row_with_its_reason_and_the_others_go_on(cohort_folder, tmp_path):
    """One broken file must not cost a night's work, and its folder is nobody's business."""
    cohort = load_cohort(cohort_folder)
    broken = tmp_path / "broken"
    (broken / "scans").mkdir(parents=True)
    for file in cohort.scans["file"]:
        (broken / file).write_bytes((cohort_folder / file).read_bytes())
    scan = broken / "scans" / "sub-0002_ankle.AIM"
    scan.write_bytes(scan.read_bytes()[:-5000])
    run = Run(tmp_path / "run")
    table = curate(
        type(cohort)(broken, cohort.participants, cohort.scans, cohort.dictionary, "fracture"), run, image_px=32
    )
    failed = table.query("status == 'failed'")
    assert len(failed) == 1
    assert failed["reason"].item().startswith("the scan ends after 3 of 4 slices")
    assert str(tmp_path) not in run.curation.read_text(encoding="utf-8")
    assert len(read_table(run.indices)) == 18


def test_a_scan_of_the_wrong_site_is_refused(cohort_folder, tmp_path):
    """A wrist filed as an ankle would put a radius among the tibias."""
    cohort = load_cohort(cohort_folder)
    scans = cohort.scans.head(1).assign(site="ankle")
    wrong = type(cohort)(cohort_folder, cohort.participants, scans, cohort.dictionary, "fracture")
    with pytest.raises(CurationError, match=r"is a scan of the wrist, and scans.tsv says ankle"):
        curate(wrong, Run(tmp_path), image_px=32)


def test_the_kept_tables_serve_the_later_stages(cohort_folder, tmp_path):
    """Later stages read the run folder alone."""
    run, cohort = Run(tmp_path), load_cohort(cohort_folder)
    table = keep_cohort(cohort, run)
    assert table["variable"].iloc[0] == "n"
    assert read_json(run.dictionary)["virtual"]["scenario"] == "literature"
    outcome = run_outcome(run)
    assert outcome.name == "fracture"
    assert outcome.tolist() == cohort.participants["fracture"].tolist()
    counts = keep_splits(cohort, run, protocols="all", folds=2, repeats=1, test_fraction=0.1, seed=1)
    assert counts["patients"].sum() == 5
    assert len(read_table(run.splits)) == 5


def test_every_kind_of_spoilt_file_is_one_sentence_and_the_others_go_on(cohort_folder, tmp_path):
    """What a copied archive holds: cut off, padded, renamed, empty, something else altogether."""
    cohort = load_cohort(cohort_folder)
    good = cohort.scans.query("site == 'wrist'")["file"]
    data = (cohort_folder / good.iloc[0]).read_bytes()
    folder = tmp_path / "archive"
    spoilt = {
        "whole.AIM": data,
        "padded.AIM": data + bytes(4096),
        "cut.AIM": data[:-5000],
        "empty.AIM": b"",
        "text.AIM": b"dear colleague, please find attached\n" * 40,
        "renamed.ISQ": data,
        "renamed.nii": data,
        "image.mha": b"NDims = 3\nDimSize = 0 0 0\n",
    }
    folder.mkdir()
    for name, content in spoilt.items():
        (folder / name).write_bytes(content)
    people = [f"sub-{i:04d}" for i in range(len(spoilt))]
    scans = pd.DataFrame({"participant_id": people, "site": "wrist", "side": "left", "file": list(spoilt)})
    scans["unit"] = ["density" if name.endswith((".nii", ".mha")) else None for name in spoilt]
    scans["side"] = cohort.scans.set_index("file")["side"][good.iloc[0]]
    whole = type(cohort)(folder, cohort.participants, scans, cohort.dictionary, "fracture")
    table = curate(whole, Run(tmp_path / "run"), image_px=32).assign(file=list(spoilt)).set_index("file")
    assert table["status"].to_dict() == {
        name: "curated" if name in ("whole.AIM", "padded.AIM") else "failed" for name in spoilt
    }
    words = {
        "cut.AIM": "ends after", "empty.AIM": "is empty; copy it again", "text.AIM": "does not begin like an AIM",
        "renamed.ISQ": "does not begin like an ISQ", "renamed.nii": "damaged or not what its name says",
        "image.mha": "has no line ElementDataFile as a MetaImage has",
    }  # fmt: skip
    for name, word in words.items():
        reason = table.loc[name, "reason"]
        assert reason.startswith("the scan"), reason
        assert word in reason
        assert reason.count(".") <= 3
        assert "\n" not in reason


def archive(folder: Path, cohort: Cohort, names: list[str]) -> Cohort:
    """A cohort of the same good wrist under other names; the tests spoil some of them."""
    good = cohort.scans.query("site == 'wrist'").iloc[0]
    scan = read_scan(cohort.folder / good["file"])
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".AIM"):
            (folder / name).write_bytes((cohort.folder / good["file"]).read_bytes())
        elif name.endswith(".nrrd"):
            write_image(folder / name, scan)
        else:
            write_dicom(folder / name, scan)
    people = [f"sub-{i:04d}" for i in range(len(names))]
    scans = pd.DataFrame({"participant_id": people, "site": "wrist", "side": good["side"], "file": names})
    scans["unit"] = [None if name.endswith(".AIM") else "density" for name in names]
    return type(cohort)(folder, cohort.participants, scans, cohort.dictionary, "fracture")


def test_a_file_that_ends_its_process_costs_its_own_scan_only(cohort_folder, tmp_path, monkeypatch):
    """A library that crashes on one file of an archive must not cost the night's work."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "nrrd.py").write_text("import os\nos._exit(139)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "library")  # the processes that curate look there too
    names = ["a.AIM", "MUELLER_ANNA.nrrd", "b.AIM", "c.AIM"]
    cohort, run = archive(tmp_path / "archive", load_cohort(cohort_folder), names), Run(tmp_path / "run")
    table = curate(cohort, run, image_px=32, workers=2)
    assert table["status"].tolist() == ["curated", "failed", "curated", "curated"]
    assert "its process crashed; look at the file with deepqct inspect" in table["reason"][1]
    assert "MUELLER" not in run.curation.read_text(encoding="utf-8")
    assert len(read_table(run.indices)) == 6


def test_names_of_slices_stay_in_the_cohort_folder(cohort_folder, tmp_path):
    """A slice may be called after a patient, spaces and all."""
    cohort = archive(tmp_path / "archive", load_cohort(cohort_folder), ["a.AIM", "MUELLER/series", "one/series"])
    for folder in ("MUELLER", "one"):
        series = tmp_path / "archive" / folder / "series"
        for file in list(series.iterdir()):
            file.rename(file.with_name(f"MUELLER ANNA, {file.name}"))
        first, second, *_, last = sorted(series.iterdir())
        second.unlink()
        if folder == "one":
            last.write_bytes(last.read_bytes()[:-100])
    cohort.scans.loc[2, "file"] = f"one/series/{first.name}"
    run = Run(tmp_path / "run")
    table = curate(cohort, run, image_px=32)
    assert table["status"].tolist() == ["curated", "failed", "failed"]
    assert "lacks slices after one of its slices" in table["reason"][1]
    assert "has pixels that cannot be read" in table["reason"][2]
    for word in ("MUELLER", "ANNA", str(tmp_path)):
        assert word not in run.curation.read_text(encoding="utf-8")


def told(task: float, why: str) -> tuple[float, str]:
    return task, why


def halve(number: int) -> float:
    return 1 / number


def test_lost_tasks_are_told_and_the_others_are_done():
    """A process that dies, and one that does not come back."""
    died = list(side_by_side(os._exit, [3, 4], workers=2, lost=told))
    assert sorted(died) == [(3, "crashed"), (4, "crashed")]
    slow = list(side_by_side(time.sleep, [600], workers=1, lost=told, limit_s=2))
    assert slow == [(600, "took longer than 0 minutes and was stopped")]
    with pytest.raises(RuntimeError, match="A process at work crashed"):
        list(side_by_side(os._exit, [1], workers=1))


def test_an_error_in_a_process_is_the_same_error_here():
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(halve, [1, 0], workers=1))


def test_a_copy_under_another_id_is_flagged(cohort_folder, tmp_path):
    """The check of a run refuses it; by hand the curation is often the first that sees it."""
    cohort = load_cohort(cohort_folder)
    wrists = cohort.scans[cohort.scans["site"] == "wrist"].head(3)
    files = [wrists["file"].iloc[0], wrists["file"].iloc[0], wrists["file"].iloc[2]]
    table = curate(replace(cohort, scans=wrists.assign(file=files, side="right")), Run(tmp_path), image_px=32)
    first, second = table["participant_id"].iloc[:2]
    copied = [f"the same file as {second} wrist", f"the same file as {first} wrist", ""]
    assert [flags.partition(";")[0] if "same file" in flags else "" for flags in table["flags"]] == copied


def test_sessions_and_indices_that_a_cohort_no_longer_has_leave_the_run(tmp_path):
    """They would be read as if they were of this cohort."""
    new_cohort(tmp_path, n=2, voxel_mm=0.3, slices=6, workers=1)
    cohort, new = load_cohort(tmp_path / "cohort"), Run(tmp_path / "run")
    cohort = replace(cohort, scans=cohort.scans.head(1))
    write_text(new.session("2").curation, "participant_id,site,sha256")
    write_text(new.folder / "sessions" / "registered" / "a.json", "{}")
    write_text(new.scanner_indices, "participant_id,bone,source")
    write_text(new.agreement, "source")
    curate(cohort, new, image_px=16)
    assert not new.scanner_indices.exists()
    assert compare_with_scanner(new).empty
    assert curate_repeats(cohort, new).empty
    assert not new.agreement.exists()
    assert [path.name for path in (new.folder / "sessions").iterdir()] == ["registered"]
