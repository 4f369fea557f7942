"""The cohort's checks: tables and scans."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from files import edit, write_isq

from deepqct.cohort import CohortError, check_cohort, check_heads, load_cohort, reviews
from deepqct.cohort.pseudonyms import read_key
from deepqct.cohort.scan_files import one_scan_twice
from deepqct.cohort.tsv import like_dates
from deepqct.scans import read_scan, write_dicom
from deepqct.terms import columns_by_role


def test_a_sound_cohort_has_no_faults(make_cohort):
    """A false alarm would keep a good cohort out."""
    cohort, faults = check_cohort(make_cohort())
    assert faults == []
    assert cohort is not None
    assert cohort.participants["age"].tolist() == [60.0 + i for i in range(8)]
    assert columns_by_role(cohort.dictionary, "bmd") == ["bmd_total_hip"]
    assert columns_by_role(cohort.dictionary, "outcome") == ["fracture"]
    assert cohort.virtual is None


def test_six_planted_faults_are_all_named_at_once(make_cohort):
    """A person mends a cohort in one go only if every fault is named by file, row and value."""
    folder = make_cohort()
    edit(folder / "participants.tsv", 2, "age", "212")
    edit(folder / "participants.tsv", 3, "bmd_total_hip", "dense")
    edit(folder / "participants.tsv", 5, "participant_id", "sub-0002")
    edit(folder / "participants.tsv", 6, "fracture", "")
    edit(folder / "scans.tsv", 9, "participant_id", "sub-0099")
    (folder / "scans" / "sub-0001_wrist.AIM").unlink()
    cohort, faults = check_cohort(folder)
    assert cohort is None
    text = "\n".join(faults)
    assert "participants.tsv, row 2 (sub-0000): age is 212, outside 18–110 years; correct it or leave it empty." in text
    assert "participants.tsv, row 3 (sub-0001): bmd_total_hip is 'dense', not a number" in text
    assert "participants.tsv, row 5: participant_id 'sub-0002' stands already in row 4" in text
    assert "participants.tsv, row 6 (sub-0004): fracture is missing" in text
    assert "scans.tsv, row 9: 'sub-0099' is not in participants.tsv" in text
    assert "scans.tsv, row 3 (sub-0001): scans/sub-0001_wrist.AIM does not exist" in text
    # The overwritten id leaves its own scan unknown, which is a seventh fault of its own.
    assert len(faults) == 7


@pytest.mark.parametrize(
    ("file", "row", "column", "value", "sentence"),
    [
        ("scans.tsv", 2, "site", "wrst", "site is 'wrst', not one of wrist, ankle"),
        ("scans.tsv", 2, "side", "L", "side is 'L', not one of left, right"),
        ("scans.tsv", 2, "file", "../secret.AIM", "leaves the cohort folder"),
        ("scans.tsv", 3, "participant_id", "sub-0000", "a second wrist scan"),
        ("participants.tsv", 2, "fracture", "2", "fracture is '2', not one of 0, 1"),
        ("participants.tsv", 2, "participant_id", "sub 0000/x", "characters other than letters"),
    ],
)
def test_each_kind_of_fault_is_a_sentence(make_cohort, file, row, column, value, sentence):
    """Each fault names the row and says what to do."""
    folder = make_cohort()
    edit(folder / file, row, column, value)
    with pytest.raises(CohortError, match=r"row \d") as error:
        load_cohort(folder)
    assert sentence in str(error.value)


def test_scans_that_no_stage_could_read_are_faults(make_cohort):
    """Two hundred files without a unit would fail one by one in the curation."""
    folder = make_cohort()
    for row, name in ((2, "a.nii.gz"), (3, "b.txt"), (4, "c.NRRD"), (5, "d.mha")):
        (folder / "scans" / name).write_bytes(b"x")
        edit(folder / "scans.tsv", row, "file", f"scans/{name}")
    faults = check_cohort(folder)[1]
    assert len(faults) == 4
    for row, file in ((2, "a.nii.gz"), (4, "c.NRRD"), (5, "d.mha")):
        assert any(
            f"row {row} " in f and f"scans/{file} has no calibration of its own; write density" in f for f in faults
        )
    assert any("scans/b.txt is no AIM, ISQ, DICOM" in fault for fault in faults)
    text = (folder / "scans.tsv").read_text(encoding="utf-8").splitlines()
    lines = [text[0] + "\tunit", *(f"{line}\tdensity" if "nii" in line else f"{line}\t" for line in text[1:])]
    (folder / "scans.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert len(check_cohort(folder)[1]) == 3


def test_missing_files_and_columns_are_named(make_cohort):
    """A folder that is no cohort yet must say what it lacks."""
    folder = make_cohort()
    (folder / "scans.tsv").unlink()
    text = (folder / "participants.tsv").read_text(encoding="utf-8")
    (folder / "participants.tsv").write_text(text.replace("fracture", "fractures"), encoding="utf-8")
    edit(folder / "participants.tsv", 2, "age", "212")
    _, faults = check_cohort(folder)
    assert any("age is 212" in fault for fault in faults), "the other columns are checked all the same"
    assert any("scans.tsv is missing" in fault for fault in faults)
    assert any("did you mean 'fractures'?" in fault for fault in faults)
    assert check_cohort(folder / "nowhere")[1][0].endswith("participants.tsv and scans.tsv.")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda text: text.replace("\t", ";").encode(), "has its columns separated by ';'; save it again as tab-separated"),
        (lambda text: text.replace("\t", ",").encode(), "has its columns separated by ','"),
        (lambda text: text.encode("utf-16"), "is UTF-16, which Excel calls Unicode Text"),
        (lambda text: text.encode() + b"sub-9\t\xfc\t0.6\t1\n",
         "row 10 has a letter that is not UTF-8"),
        (lambda text: text.replace("sub-0003\t63", "sub-0003\t63\tyes").encode(), "row 5 has 5 cells, and the header 4"),
        (lambda text: text.replace("sub-0003", '"sub-0003').encode(), "is never closed; remove it"),
        (
            lambda text: text.replace("0.6", "0,6").encode(),
            "bmd_total_hip has decimal commas in 8 rows, the first row 2 ('0,6')",
        ),
        (lambda text: text.replace("age", "fracture").encode(), "has two columns 'fracture'; keep one"),
        (lambda text: text.replace("sub-0003", "NA").encode(), "participant_id 'NA' has characters"),
        (lambda text: b"", "has no column 'participant_id'"),
    ],
)  # fmt: skip
def test_what_spreadsheets_make_of_a_table_is_one_sentence(make_cohort, spoil, sentence):
    """Whoever saved it so cannot know what a delimiter or an index is."""
    file = make_cohort() / "participants.tsv"
    file.write_bytes(spoil(file.read_text(encoding="utf-8")))
    faults = [
        fault for fault in check_cohort(file.parent)[1] if "participants.tsv" in fault and "scans.tsv" not in fault
    ]
    assert len(faults) == 1
    assert sentence in faults[0]


def test_harmless_habits_of_spreadsheets_are_no_faults(make_cohort):
    """A byte order mark, Windows' line ends, tabs at the end of every row, an empty last line."""
    folder = make_cohort()
    for name in ("participants.tsv", "scans.tsv"):
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        text = "\ufeff" + "\r\n".join(f"{line}\t\t" for line in [*lines, ""])
        (folder / name).write_bytes(text.encode())
    cohort, faults = check_cohort(folder)
    assert faults == []
    assert cohort.participants.columns.tolist() == ["participant_id", "age", "bmd_total_hip", "fracture"]


def test_a_table_under_another_name_is_pointed_at(make_cohort):
    """The form says .tsv, and Excel saves .csv."""
    folder = make_cohort()
    (folder / "participants.tsv").rename(folder / "participants.csv")
    assert (
        "participants.tsv is missing from the cohort folder; save participants.csv as tab-separated"
        in check_cohort(folder)[1][0]
    )


def test_one_outcome_for_all_is_a_fault(make_cohort):
    """Nothing could be told apart."""
    folder = make_cohort()
    for row in range(2, 10):
        edit(folder / "participants.tsv", row, "fracture", "0")
    assert check_cohort(folder)[1] == ["participants.tsv: fracture is 0 in every row; a model needs both."]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            b"J\xfcrgen,sub-0001,wrist,reject,,,2026,0\n",
            "row 2 has a letter that is not UTF-8; save it again as CSV UTF-8",
        ),
        (b"AB,sub-0099,wrist,reject,,,2026,0\n", "row 2: scans.tsv has no wrist of 'sub-0099'; correct the id"),
        (None, "is empty or no table"),
    ],
)
def test_a_rejection_is_never_lost_in_silence(make_cohort, line, sentence):
    """Excel rewrites review.csv, ids are renamed; a scan that was rejected must not come back unseen."""
    folder = make_cohort()
    header = ",".join(reviews.COLUMNS).encode() + b"\n"
    (folder / reviews.REVIEWS).write_bytes(b"" if line is None else header + line)
    edit(folder / "participants.tsv", 2, "age", "212")
    faults = check_cohort(folder)[1]
    assert len(faults) == 2, "the other faults are said all the same"
    assert sentence in faults[-1]
    if line is not None and b"sub-0099" in line:
        lines = [line.replace(b"reject", decision) for decision in (b"reject", b"undo", b"accept")]
        (folder / reviews.REVIEWS).write_bytes(header + b"".join(lines))
        assert len(check_cohort(folder)[1]) == 1, "what was taken back or accepted loses nothing"


def test_heads_of_scans_tell_what_will_fail(make_cohort):
    """A copy that broke off, a file filed under the other site, a unit filled down: found in seconds."""
    folder = make_cohort()
    scans = folder / "scans"
    whole = (scans / "sub-0000_wrist.AIM").read_bytes()
    (scans / "sub-0000_wrist.AIM").write_bytes(b"")
    (scans / "sub-0001_wrist.AIM").write_bytes(whole[:-20])
    (scans / "sub-0002_wrist.AIM").write_bytes(whole.replace(b"Density: slope", b"Density: slip "))
    edit(folder / "scans.tsv", 5, "site", "ankle")
    write_isq(scans / "raw.ISQ", np.zeros((3, 4, 4), np.int16))
    edit(folder / "scans.tsv", 6, "file", "scans/raw.ISQ")
    (scans / "series").mkdir()
    edit(folder / "scans.tsv", 7, "file", "scans/series")
    lines = (folder / "scans.tsv").read_text(encoding="utf-8").splitlines()
    unit = ["unit", *["", "", "", "", "", "density", "density", ""]]
    (folder / "scans.tsv").write_text(
        "\n".join(f"{a}\t{b}" for a, b in zip(lines, unit, strict=True)), encoding="utf-8"
    )
    cohort, faults = check_cohort(folder)
    assert faults == []
    said = check_heads(cohort)
    words = (
        "row 2 (sub-0000): scans/sub-0000_wrist.AIM is empty",
        "row 3 (sub-0001): scans/sub-0001_wrist.AIM ends after 2 of 3 slices",
        "row 4 (sub-0002): scans/sub-0002_wrist.AIM has no calibration of its own; write density",
        "row 5 (sub-0003): scans/sub-0003_wrist.AIM is a scan of the wrist, not of the ankle",
        "row 6 (sub-0004): scans/raw.ISQ has no calibration of its own",
        "row 7 (sub-0005): scans/series holds no DICOM slices",
        "row 8 (sub-0006): scans/sub-0006_wrist.AIM has a calibration of its own; leave its unit empty",
    )
    assert len(said) == len(words)
    assert all(word in fault for word, fault in zip(words, said, strict=True))


SAME, COPY = "is the same scan on disk as", "is a copy, byte for byte, of"


def linked(folder: Path) -> str:
    """Another name of the first scan, as a link."""
    (folder / "scans" / "link.AIM").symlink_to(folder / "scans" / "sub-0000_wrist.AIM")
    return "scans/link.AIM"


def hard_linked(folder: Path) -> str:
    """Another name of the first scan, as the file itself."""
    os.link(folder / "scans" / "sub-0000_wrist.AIM", folder / "scans" / "hard.AIM")
    return "scans/hard.AIM"


def copy(folder: Path) -> str:
    """A copy of the first scan."""
    shutil.copy(folder / "scans" / "sub-0000_wrist.AIM", folder / "scans" / "copy.AIM")
    return "scans/copy.AIM"


@pytest.mark.parametrize(
    ("another", "words"),
    [
        (lambda folder: "./scans/sub-0000_wrist.AIM", SAME),
        (lambda folder: "scans//sub-0000_wrist.AIM", SAME),
        (linked, SAME),
        (hard_linked, SAME),
        (copy, COPY),
    ],
)
@pytest.mark.parametrize("person", ["sub-0003", "sub-0000"])
def test_one_scan_under_two_rows_is_a_fault(make_cohort, another, words, person):
    """One woman in two folds gives her outcome away, and one bone as wrist and ankle is measured twice."""
    folder = make_cohort()
    if person == "sub-0000":
        edit(folder / "scans.tsv", 5, "participant_id", person)
        edit(folder / "scans.tsv", 5, "site", "ankle")
    file = another(folder)
    edit(folder / "scans.tsv", 5, "file", file)
    cohort, faults = check_cohort(folder)
    faults += [] if cohort is None else [fault for fault in check_heads(cohort) if "scan of the" not in fault]
    assert len(faults) == 1
    assert faults[0].startswith(
        f"scans.tsv, row 5 ({person}): {file} {words} scans/sub-0000_wrist.AIM of row 2 (sub-0000);"
    )


def test_a_series_under_two_rows_is_a_fault(make_cohort):
    """As a folder, by one of its slices, by two of them, or copied with other names and the litter of a system."""
    folder = make_cohort()
    scans = folder / "scans"
    write_dicom(scans / "a", read_scan(scans / "sub-0001_wrist.AIM"))
    (scans / "b").mkdir()
    slices = sorted((scans / "a").iterdir())
    for number, file in enumerate(reversed(slices)):
        shutil.copy(file, scans / "b" / f"other{number}.dcm")
    (scans / "b" / ".DS_Store").write_bytes(b"x")
    one, two = (f"scans/a/{file.name}" for file in slices[:2])
    for first, second, words in (
        ("scans/a", "scans/a/", SAME),
        ("scans/a", one, SAME),
        (one, "scans/a", SAME),
        (one, two, SAME),
        ("scans/a", "scans/b", COPY),
    ):
        edit(folder / "scans.tsv", 3, "file", first)
        edit(folder / "scans.tsv", 6, "file", second)
        cohort, faults = check_cohort(folder)
        faults += [] if cohort is None else one_scan_twice(cohort)
        (fault,) = (fault for fault in faults if "calibration" not in fault)
        assert fault.startswith(f"scans.tsv, row 6 (sub-0004): {second} {words} {first} of row 3 (sub-0001);")


def test_a_scan_that_cannot_be_read_is_passed_over(make_cohort):
    """Its header's check says what is wrong with it, and the others are compared all the same."""
    folder = make_cohort()
    edit(folder / "scans.tsv", 4, "file", copy(folder))
    cohort = load_cohort(folder)
    for name in ("sub-0003", "sub-0004"):
        (folder / "scans" / f"{name}_wrist.AIM").write_bytes(b"")
    (folder / "scans" / "sub-0005_wrist.AIM").unlink()
    (folder / "scans" / "sub-0006_wrist.AIM").unlink()
    (folder / "scans" / "sub-0006_wrist.AIM").symlink_to("sub-0006_wrist.AIM")
    assert [fault for fault in check_heads(cohort) if SAME in fault or COPY in fault] == [
        "scans.tsv, row 4 (sub-0002): scans/copy.AIM is a copy, byte for byte, of scans/sub-0000_wrist.AIM of row 2 "
        "(sub-0000); give the scan that belongs to this row, or remove the row."
    ]


def spaced(path: Path) -> None:
    """A table with a blank line between any two of its rows, so that its second row is row 4 of the file."""
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, *("\n".join((row, "")) for row in rows)]) + "\n", encoding="utf-8")


def test_rows_are_those_of_the_file_also_after_blank_lines(make_cohort, tmp_path):
    """In every table: a person goes to the row that a sentence names."""
    folder = make_cohort()
    edit(folder / "participants.tsv", 3, "age", "212")
    edit(folder / "participants.tsv", 4, "age", "60,5")
    edit(folder / "participants.tsv", 5, "participant_id", "sub-0002")
    edit(folder / "participants.tsv", 6, "bmd_total_hip", "dense")
    edit(folder / "participants.tsv", 9, "participant_id", "SUB-0000")
    edit(folder / "scans.tsv", 3, "site", "wrst")
    contours = "participant_id\tbone\tcompartment\tfile\nsub-0000\tradius\ttotal\t{}\nsub-0000\tradius\ttotal\t{}\n"
    scan = "scans/sub-0000_wrist.AIM"
    (folder / "contours.tsv").write_text(contours.format(scan, scan))
    (folder / "indices.tsv").write_text("participant_id\tbone\tTb.Th\nsub-0000\tradius\t0.2\nsub-0001\tradius\tx\n")
    for name in ("participants.tsv", "scans.tsv", "contours.tsv", "indices.tsv"):
        spaced(folder / name)
    text = "\n".join(check_cohort(folder)[1])
    for said in (
        "participants.tsv, row 4 (sub-0001): age is 212",
        "participants.tsv: age has decimal commas in row 6 ('60,5')",
        "participants.tsv, row 8: participant_id 'sub-0002' stands already in row 6",
        "participants.tsv, row 10 (sub-0004): bmd_total_hip is 'dense'",
        "participants.tsv, row 16: participant_id 'SUB-0000' differs from 'sub-0000' in row 2",
        "scans.tsv, row 4 (sub-0001): site is 'wrst'",
        "contours.tsv, row 4: participant_id, bone, compartment stand already in an earlier row",
        "indices.tsv, row 4: Tb.Th is 'x', not a number",
    ):
        assert said in text, said
    folder.rename(tmp_path / "first")
    other = make_cohort()
    line = "AB,sub-0099,wrist,reject,,,2026-01-01,0.1.0"
    (other / "review.csv").write_text(f"{','.join(reviews.COLUMNS)}\n\n\n{line}\n")
    assert check_cohort(other)[1][0].startswith("review.csv, row 4: scans.tsv has no wrist of 'sub-0099'")
    (other / "review.csv").write_text(f"{','.join(reviews.COLUMNS)}\n\n{line.replace('reject', 'maybe')}\n")
    assert "review.csv, row 3: decision is 'maybe'" in check_cohort(other)[1][0]
    key = tmp_path / "key.tsv"
    key.write_text("participant_id\tpseudonym\n\nsub-0000\ta b\n")
    with pytest.raises(CohortError, match=r"key.tsv, row 3"):
        read_key(key)


def test_a_woman_who_is_left_out_does_not_move_the_rows_of_the_others(make_cohort):
    """Her number is not known: a fault in a later scan is still named by the row of scans.tsv, and blank ones count."""
    folder = make_cohort()
    edit(folder / "participants.tsv", 2, "age", "n/a")
    file = folder / "scans" / "sub-0005_wrist.AIM"
    file.write_bytes(file.read_bytes()[:200])
    for spread, row in ((False, 7), (True, 12)):
        if spread:
            spaced(folder / "scans.tsv")
            spaced(folder / "participants.tsv")
        cohort, faults = check_cohort(folder, outcome="age")
        assert faults == [] and cohort.without_outcome == 1 and len(cohort.scans) == 7
        assert cohort.participants.index.tolist() == list(range(7))
        (fault,) = check_heads(cohort)
        assert fault.startswith(f"scans.tsv, row {row} (sub-0005): "), fault


def test_ids_that_look_like_dates_are_a_word():
    """A date of birth is a bad name for a file."""
    for one in ("1950-03-12", "19500312", "12-03-1950"):
        assert f"1 of 2 ids look like dates, the first {one!r}" in like_dates(pd.Series(["sub-0001", one]))
    assert like_dates(pd.Series(["sub-0001", "P0042", "20260042", "1234-56-78"])) == ""


@pytest.mark.parametrize(
    ("cell", "words"), [('"0.7', "row 5: a quotation mark"), ("7" * 200_000, "row 5: a cell is longer")]
)
def test_a_fault_in_a_large_table_is_a_sentence_too(make_cohort, cell, words):
    """A reader of tables gives up at cells of some 131 thousand letters."""
    folder = make_cohort()
    rows = [f"sub-{i:04d}\t60\t{'0.7' if i != 3 else cell}\t{i % 2}\t20.1\t3.1" for i in range(7000)]
    lines = ["participant_id\tage\tbmd_total_hip\tfracture\tfrax_major\tfrax_hip", *rows]
    (folder / "participants.tsv").write_text("\n".join(lines), encoding="utf-8")
    assert [fault for fault in check_cohort(folder)[1] if fault.startswith(f"participants.tsv, {words}")]
