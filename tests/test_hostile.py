"""Inputs of strangers: paths that leave, files that never end, numbers and nestings that cannot be: each a sentence."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from files import dicom_slice, edit, refused, write_picture, write_series

from deepqct.cohort import check_cohort, load_cohort
from deepqct.cohort.keep import kept
from deepqct.curation.one_scan import Task, curate_scan
from deepqct.folder import FileError, Job, Run, file_hash, read_json, write_json
from deepqct.run.parameters import ParameterError
from deepqct.run.plan import load_preset, plan_run
from deepqct.run.record import status_of
from deepqct.scans import ScanError, read_mask, read_scan

DEEP = '{"age": ' + "[" * 100_000


def faults(folder: Path, **how: str) -> str:
    """What `check` says of a cohort folder, in one line each."""
    return "\n".join(check_cohort(folder, **how)[1])


# Paths that leave the cohort folder


@pytest.fixture
def outside(make_cohort, tmp_path) -> Path:
    """A cohort folder, one scan of which lies beside it; the file is still named as before."""
    folder = make_cohort()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(folder / "scans" / "sub-0000_wrist.AIM", tmp_path / "elsewhere" / "a.AIM")
    return folder


def place(folder: Path, how: str) -> None:
    """Let scans.tsv lead to the scan that lies outside."""
    elsewhere = folder.parent / "elsewhere"
    link = folder / "scans" / "link.AIM"
    if how == "a link":
        link.symlink_to(elsewhere / "a.AIM")
    elif how == "a relative link":
        link.symlink_to(Path("..", "..", "elsewhere", "a.AIM"))
    elif how == "a link to a folder":
        (folder / "linked").symlink_to(elsewhere)
    file = {
        "absolute": str(elsewhere / "a.AIM"), "up": "../elsewhere/a.AIM", "in and up": "scans/../../elsewhere/a.AIM",
        "a link to a folder": "linked/a.AIM",
    }.get(how, "scans/link.AIM")  # fmt: skip
    edit(folder / "scans.tsv", 2, "file", file)


LEAVING = ["absolute", "up", "in and up", "a link", "a relative link", "a link to a folder"]


@pytest.mark.parametrize("how", LEAVING)
def test_a_scan_outside_of_the_cohort_folder_is_refused_unless_allowed(outside, how):
    place(outside, how)
    said = faults(outside)
    assert said.count("\n") == 0
    assert "leaves the cohort folder" in said
    assert "outside=allow" in said
    assert faults(outside, outside="allow") == ""
    assert len(load_cohort(outside, outside="allow").scans) == 8


def test_a_link_within_the_cohort_folder_is_no_fault(make_cohort, tmp_path):
    folder = make_cohort()
    real = folder / "scans" / "sub-0000_wrist.AIM"
    real.rename(folder / "there.AIM")
    real.symlink_to(Path("..", "there.AIM"))
    assert faults(folder) == ""
    (tmp_path / "way").symlink_to(folder)  # and the folder itself may be reached by one
    assert faults(tmp_path / "way") == ""


def test_voxels_and_slices_that_are_links_out_are_refused(make_cohort, tmp_path):
    folder = make_cohort()
    voxels = np.zeros((4, 6, 6), np.int16)
    header = write_picture(folder / "scans" / "a.mhd", voxels)
    raw = header.with_suffix(".raw")
    shutil.move(raw, tmp_path / "secret.raw")
    raw.symlink_to(tmp_path / "secret.raw")
    (folder / "scans" / "series").mkdir()
    (tmp_path / "secret.dcm").write_bytes(b"x")
    (folder / "scans" / "series" / "0.dcm").symlink_to(tmp_path / "secret.dcm")
    edit(folder / "scans.tsv", 2, "file", "scans/a.mhd")
    edit(folder / "scans.tsv", 3, "file", "scans/series")
    said = faults(folder)
    assert "row 2 (sub-0000): scans/a.mhd is or holds a link that leaves" in said
    assert "row 3 (sub-0001): scans/series is or holds a link that leaves" in said


@pytest.mark.parametrize("name", ["participants.tsv", "scans.tsv", "participants.json", "review.csv", "indices.tsv"])
def test_a_table_that_is_a_link_out_is_refused_before_it_is_read(make_cohort, tmp_path, name):
    folder = make_cohort()
    secret = tmp_path / "secret"
    secret.write_text((folder / name).read_text() if (folder / name).exists() else "root:x:0:0", encoding="utf-8")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    said = faults(folder)
    assert f"{name} is a link that leaves the cohort folder" in said
    assert "root" not in said


@pytest.mark.parametrize("file", ["../a.AIM", "/etc/passwd", "scans/link.AIM"])
def test_contours_stay_in_the_cohort_folder_too(make_cohort, tmp_path, file):
    folder = make_cohort()
    (tmp_path / "a.AIM").write_bytes(b"x")
    (folder / "scans" / "link.AIM").symlink_to(tmp_path / "a.AIM")
    (folder / "contours.tsv").write_text(
        f"participant_id\tbone\tcompartment\tfile\nsub-0000\tradius\ttotal\t{file}\n", encoding="utf-8"
    )
    assert "leaves the cohort folder" in faults(folder)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_plain_file_is_refused_and_never_waited_for(make_cohort, kind):
    folder = make_cohort()
    path = folder / "scans" / "never.AIM"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as one, pytest.MonkeyPatch.context() as patch:
            patch.chdir(path.parent)  # a socket's path may be short only
            one.bind(path.name)
    else:
        path.symlink_to("/dev/zero")
    edit(folder / "scans.tsv", 2, "file", "scans/never.AIM")
    assert "scans/never.AIM is no plain file; copy the scan itself there." in faults(folder, outside="allow")
    with pytest.raises(OSError, match="is no plain file"):
        file_hash(path)
    task = Task("P1", "wrist", "left", path, None, Run(folder / "run"), 32, {}, "ours", False, "each", "none", "x")
    row = curate_scan(task)
    assert row["status"] == "failed"
    assert "is no plain file" in row["reason"]


# Numbers that cannot be


@pytest.mark.parametrize("value", ["inf", "-inf", "1e999", "Infinity", "nan0"])
def test_infinite_numbers_are_faults(make_cohort, value):
    folder = make_cohort()
    edit(folder / "participants.tsv", 2, "age", value)
    assert f"row 2 (sub-0000): age is {value!r}, not a number" in faults(folder)
    (folder / "participants.json").write_text('{"grip": {"Role": "clinical"}}', encoding="utf-8")
    lines = (folder / "participants.tsv").read_text(encoding="utf-8").splitlines()
    lines = [f"{line}\t{'grip' if not k else value if k == 3 else k}" for k, line in enumerate(lines)]
    (folder / "participants.tsv").write_text("\n".join(lines), encoding="utf-8")
    assert f"row 4 (sub-0002): grip is {value!r}, not a number" in faults(folder)


@pytest.mark.parametrize(("name", "value", "words"), [
    ("Tb.Th", "-0.2", "cannot be below 0"), ("Tb.Th", "inf", "not a number"), ("Tt.vBMD", "1e400", "not a number"),
    ("Ct.Po", "-1", "cannot be below 0"),
])  # fmt: skip
def test_the_scanners_indices_are_numbers_that_can_be(make_cohort, name, value, words):
    folder = make_cohort()
    (folder / "indices.tsv").write_text(f"participant_id\tbone\t{name}\nsub-0000\tradius\t{value}\n", encoding="utf-8")
    assert f"row 2: {name} is {value!r}" in faults(folder)
    assert words in faults(folder)


def test_a_density_below_water_is_none_of_these(make_cohort):
    """The inner part of an old woman's tibia may be."""
    folder = make_cohort()
    (folder / "indices.tsv").write_text("participant_id\tbone\tTb.Inn.vBMD\nsub-0000\tradius\t-12\n", encoding="utf-8")
    assert faults(folder) == ""


# JSON and YAML


@pytest.mark.parametrize(("text", "why"), [
    ("", "it is empty"), ("  \n", "it is empty"), ('{"a"', "line 1"), (DEEP, "nested too deeply"),
    ('{"a": ' + "9" * 5000 + "}", "a number of too many digits"),
])  # fmt: skip
def test_json_that_is_none_names_its_file(make_cohort, tmp_path, text, why):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError) as error:
        read_json(path)
    assert str(error.value) == f"{path} is not valid JSON ({why}); correct it or remove the file."
    folder = make_cohort()
    (folder / "participants.json").write_text(text, encoding="utf-8")
    assert f"participants.json is not valid JSON ({why}); correct it or remove the file." in faults(folder)


def test_files_of_a_run_that_a_crash_left_empty_are_made_anew_or_named(tmp_path):
    from deepqct.run.jobs import write_inputs, write_jobs

    plan = plan_run("virtual", out=tmp_path / "run", preset="smoke")
    job = Job("05_explore")
    for path in (plan.run.parameters(job), plan.run.settings, plan.run.inputs, plan.run.status(job)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    write_jobs(plan)
    write_inputs(plan.run, [plan.run.settings])
    for path in (plan.run.parameters(job), plan.run.settings, plan.run.inputs):
        assert read_json(path)
    assert status_of(plan.run, job) == {"status": "unreadable"}


@pytest.mark.parametrize(("text", "words"), [
    ("[" * 5000, "nested too deeply"), ("!!python/object/apply:os.system ['touch pwned']", "is no YAML"),
    ("a: !!python/name:os.system", "is no YAML"), ("epochs: " + "9" * 5000, "is no YAML"),
    ("a: 2001-99-99", "is no YAML"),
])  # fmt: skip
def test_yaml_makes_no_objects_and_no_depth_breaks_it(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError, match=words):
        load_preset(str(path))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("text", [
    "epochs:\n" + "".join(f"- &a{k} [{', '.join([f'*a{k - 1}'] * 8) if k else 'x'}]\n" for k in range(12)),
    "epochs: 0x" + "f" * 9000, "lr: .inf", "lr: .nan", "lr: 1e999",
])  # fmt: skip
def test_values_that_cannot_be_are_one_short_sentence(tmp_path, text):
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError) as error:
        plan_run("virtual", out=tmp_path / "run", preset=str(tmp_path / "own.yaml"))
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["voxel_mm", "prevalence"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_no_plan_is_made_with_numbers_that_are_none(tmp_path, name, value):
    with pytest.raises(ParameterError, match=f"{name} of 00_virtual_cohort is .*, not a number"):
        plan_run("virtual", out=tmp_path / "run", overrides=[f"{name}={value}"])


# Files that ask for more than they hold


def gobj(path: Path, slices: list[tuple[int, int, int, int, int]]) -> Path:
    """Contours as rectangles (z, y, x of the middle, height, width)."""
    from test_manufacturer import write_gobj

    return write_gobj(path, slices)


@pytest.mark.parametrize(("last", "words"), [
    ((5, 740, 860, 2_000_000, 31), "states contours of"), ((90_000, 740, 860, 21, 31), "states contours of"),
    ((5, 2740, 860, 21, 31), "lie apart"), ((5, 740, 860, 21, 2900), "lie apart"), ((60, 740, 860, 21, 31), "lie over"),
])  # fmt: skip
def test_contours_that_would_fill_the_memory_are_refused(tmp_path, last, words):
    path = gobj(tmp_path / "a.GOBJ", [(3, 740, 860, 21, 31), (4, 740, 860, 21, 31), last])
    with pytest.raises(ScanError, match=words):
        read_mask(path)


def test_contours_as_they_are_drawn_are_read(tmp_path):
    path = gobj(tmp_path / "a.GOBJ", [(z, 740 + z, 860, 21 + z, 31) for z in range(3, 40, 2)])
    mask, _ = read_mask(path)
    assert mask.shape[0] == 37
    assert mask.any(axis=(1, 2)).sum() == 19


def test_a_header_that_states_a_giant_is_refused_by_the_length_of_its_file(tmp_path):
    path = write_picture(tmp_path / "a.nii", np.zeros((4, 6, 6), np.int16))
    data = bytearray(path.read_bytes())
    struct.pack_into("<3h", data, 42, 400, 400, 400)
    path.write_bytes(data)
    assert "bytes for" in refused(path, unit="density")


def test_an_element_that_states_two_gigabytes_takes_no_memory(tmp_path):
    """Memory is taken for what is asked of a file, before it is read."""
    import tracemalloc

    folder = write_series(
        tmp_path / "series", [dicom_slice(np.zeros((4, 5), np.int16), (0, 0, 0.1 * k)) for k in range(4)]
    )
    path = folder / "002.dcm"
    data = path.read_bytes()
    at = data.index(b"\x20\x00\x32\x00DS")  # its place
    lie = struct.pack("<2H2sHI", 0x0019, 0x1001, b"UN", 0, 2**31 - 2)
    path.write_bytes(data[:at] + lie + data[at:])
    tracemalloc.start()
    try:
        said = refused(folder, unit="density")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
    assert "DICOM" in said


def test_a_woman_without_an_id_is_a_fault(make_cohort):
    folder = make_cohort()
    edit(folder / "participants.tsv", 3, "participant_id", "")
    said = faults(folder)
    assert "participants.tsv, row 3: participant_id is missing; fill it in." in said
    assert "'sub-0001' is not in participants.tsv" in said


def test_scaled_numbers_of_a_nifti_are_as_the_header_says(tmp_path):
    path = write_picture(tmp_path / "a.nii", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    data = bytearray(path.read_bytes())
    struct.pack_into("<2f", data, 112, 0.5, -7.0)
    path.write_bytes(data)
    np.testing.assert_allclose(read_scan(path, unit="density").density.ravel(), np.arange(24) * 0.5 - 7)


# What leaves the cohort folder


def test_who_belongs_together_is_a_number_and_no_hospitals_id(make_cohort):
    folder = make_cohort()
    lines = (folder / "participants.tsv").read_text(encoding="utf-8").splitlines()
    groups = ["patient_group", "MRN-778899", "MRN-778899", "", "Mustermann", "", "x", "x", "y"]
    (folder / "participants.tsv").write_text(
        "\n".join(f"{line}\t{group}" for line, group in zip(lines, groups, strict=True)), encoding="utf-8"
    )
    people = kept(load_cohort(folder))
    assert people["patient_group"].fillna(0).tolist() == [1, 1, 0, 2, 0, 3, 3, 4]
    text = people.to_csv()
    assert "MRN" not in text
    assert "Mustermann" not in text


@pytest.mark.long
def test_a_stage_that_was_done_by_hand_is_done_again(tmp_path):
    """Snakemake takes a file of the same content for an old one, whatever its time."""
    from deepqct.run.jobs import write_jobs
    from deepqct.run.stage import do_again

    plan = plan_run("virtual", out=tmp_path / "run", preset="smoke")
    write_jobs(plan)
    job = Job("04_clustering")
    path = plan.run.parameters(job)
    before = path.read_bytes()
    do_again(plan.run, job)
    asked = path.read_bytes()
    assert asked != before
    write_jobs(plan)  # the next run keeps that until the stage is done
    assert path.read_bytes() == asked
    write_json(plan.run.status(job), {"status": "done"} | json.loads(before))
    from deepqct.run.record import _stages

    assert _stages(plan.run, plan.parameters)["04_clustering"]["status"] == "out of date"
    write_json(plan.run.status(job), {"status": "done"} | json.loads(asked))
    assert pd.Series(_stages(plan.run, {job: plan.parameters[job]})["04_clustering"])["status"] == "done"
