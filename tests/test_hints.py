"""What a person may have meant: ids, files and columns of nearly the same name."""

from __future__ import annotations

import unicodedata

import pytest
from files import edit

from deepqct.cohort import check_cohort, load_cohort, reviews
from deepqct.cohort.hints import missing_files, spelling_advice, unlisted_ids


@pytest.mark.parametrize("other", ["SUB-0000", "Sub-0000", "súb-0000", "su\u0301b-0000", "sub-0000 "])
def test_ids_that_one_file_system_keeps_as_one_are_a_fault(make_cohort, other):
    """On macOS and Windows, the stack of one woman would be written over that of the other."""
    folder = make_cohort()
    edit(folder / "participants.tsv", 4, "participant_id", other)
    said = [fault for fault in check_cohort(folder)[1] if "differs from 'sub-0000' in row 2" in fault]
    assert len(said) == 1
    assert said[0].startswith(f"participants.tsv, row 4: participant_id {other!r} differs")


@pytest.mark.parametrize(
    ("given", "listed", "meant"),
    [
        ("41", "0041", "did you mean '0041' (spreadsheets drop leading zeros)?"),
        ("41.0", "0041", "did you mean '0041' (spreadsheets drop leading zeros)?"),
        ("41", "sub-0041", "did you mean 'sub-0041' (spreadsheets drop leading zeros)?"),
        ("P7", "p7", "did you mean 'p7'?"),
        ("P_7", "P-7", "did you mean 'P-7'?"),
        ("Muller", "Müller", "did you mean 'Müller'?"),
        ("sbu-0041", "sub-0041", "did you mean 'sub-0041'?"),
        ("sub-0042", "sub-0041", ""),
        ("P1-L", "P1-R", ""),
    ],
)
def test_an_id_that_is_not_listed_gets_a_hint(given, listed, meant):
    """The id may be there in other words; another number or side is another scan, and never suggested."""
    assert unlisted_ids([given, listed, None], {listed, "sub-0107"}) == {given: meant}


def test_hints_at_ids_are_given_in_every_table(make_cohort):
    """A spreadsheet spoils ids wherever they stand."""
    folder = make_cohort()
    edit(folder / "scans.tsv", 3, "participant_id", "sub-1")
    for name, columns, rest in (
        ("contours.tsv", "bone\tcompartment\tfile", "radius\ttotal\tscans\\sub-0002_wrist.AIM"),
        ("indices.tsv", "bone\tTb.N", "radius\t1.2"),
    ):
        (folder / name).write_text(f"participant_id\t{columns}\nsub-2\t{rest}\n", encoding="utf-8")
    (folder / reviews.REVIEWS).write_text(
        ",".join(reviews.COLUMNS) + "\nAB,SUB-0003,wrist,reject,,,2026,0\n", encoding="utf-8"
    )
    said = check_cohort(folder)[1]
    zeros = "(spreadsheets drop leading zeros)?"
    assert said == [
        f"scans.tsv, row 3: 'sub-1' is not in participants.tsv; did you mean 'sub-0001' {zeros}",
        f"contours.tsv, row 2 (sub-2): 'sub-2' is not in participants.tsv; did you mean 'sub-0002' {zeros}",
        "contours.tsv, row 2 (sub-2): scans\\sub-0002_wrist.AIM does not exist; write / between folders, not \\, as in "
        "'scans/sub-0002_wrist.AIM'.",
        f"indices.tsv, row 2 (sub-2): 'sub-2' is not in participants.tsv; did you mean 'sub-0002' {zeros}",
        "review.csv, row 2: scans.tsv has no wrist of 'SUB-0003'; did you mean 'sub-0003'?",
    ]


@pytest.mark.parametrize(
    ("given", "there", "meant"),
    [
        ("scans\\P1.AIM", "scans/P1.AIM", "write / between folders, not \\, as in 'scans/P1.AIM'."),
        ("scans\\P9.AIM", "scans/P1.AIM", "write / between folders, not \\."),
        ("Scans/p1.aim", "scans/P1.AIM", "did you mean 'scans/P1.AIM'?"),
        ("P1.AIM", "scans/P1.AIM", "did you mean 'scans/P1.AIM'?"),
        ("ours/scans/P1.AIM", "scans/P1.AIM", "did you mean 'scans/P1.AIM'?"),
        ("scans/P1.AIM", "scans/P1.AIM;1", "did you mean 'scans/P1.AIM;1'?"),
        ("scans/P3", "scans/P3.nii.gz", "did you mean 'scans/P3.nii.gz'?"),
        ("scans/41.AIM", "scans/0041.AIM", "did you mean 'scans/0041.AIM'?"),
        ("scans/P1_L.AIM", "scans/P1_R.AIM", ""),
        ("scans/P2.AIM", "scans/P1.AIM", ""),
    ],
)
def test_a_file_that_is_not_there_gets_a_hint(tmp_path, given, there, meant):
    """It may lie there under nearly that name; another number or side is another scan."""
    folder = tmp_path / "ours"
    (folder / "scans").mkdir(parents=True)
    (folder / there).touch()
    assert missing_files([given], folder) == {given: meant}
    assert missing_files([given, there], folder)[given] in ("", meant), "a file of another row is not suggested"


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_another_unicode_form_gets_a_hint(tmp_path, form, other):
    """Both look the same on a screen."""
    given, there = (unicodedata.normalize(one, "Mü.AIM") for one in (form, other))
    (tmp_path / there).touch()
    assert "whose accents are stored in another form" in missing_files([given], tmp_path)[given]


@pytest.mark.parametrize(
    "file", ["C:\\scans\\P1.AIM", "C:P1.AIM", "\\\\server\\P1.AIM", "\\P1.AIM", "scans\\..\\..\\P1.AIM", "/P1.AIM"]
)
def test_paths_of_windows_leave_the_cohort_folder_too(make_cohort, file):
    """Whoever moves the folder to another machine would lose the scan."""
    folder = make_cohort()
    edit(folder / "scans.tsv", 2, "file", file)
    assert [f"file {file!r} leaves the cohort folder" in fault for fault in check_cohort(folder)[1]] == [True]


def test_a_dictionary_as_windows_saves_it(make_cohort):
    """Notepad writes a mark before UTF-8, or UTF-16 with a mark, and other programs UTF-16 without one."""
    folder = make_cohort()
    text = '{"age": {"Description": "Alter in Jahren, gezählt"}}'
    (folder / "participants.json").write_bytes(text.encode("utf-8-sig"))
    assert load_cohort(folder).dictionary["age"]["Description"] == "Alter in Jahren, gezählt"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "latin-1"):
        (folder / "participants.json").write_bytes(text.encode(encoding))
        assert check_cohort(folder)[1] == ["participants.json is not text in UTF-8; save it again as UTF-8."]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("age_years", "There is no column 'age'; rename 'age_years' to 'age' if it holds age in years."),
        ("Age", "rename 'Age' to 'age'"),
        ("Age (years)", "rename 'Age (years)' to 'age'"),
        ("BMI", "rename 'BMI' to 'bmi' if it holds body mass index in kg/m²."),
        ("Height_cm", "rename 'Height_cm' to 'height_cm' if it holds height in cm."),
        ("Weight", "rename 'Weight' to 'weight_kg' if it holds weight in kg."),
        ("Smoker", "rename 'Smoker' to 'smoking' if it holds smoking as 0 or 1."),
        ("FN-BMD", "rename 'FN-BMD' to 'bmd_femoral_neck'"),
        ("T-score FN", "rename 'T-score FN' to 't_femoral_neck'"),
        ("family_id", "Rename 'family_id' to 'patient_group'"),
        ("Tb_Th", "'Tb_Th' looks like the index Tb.Th; the scanner's indices go into indices.tsv"),
        ("radius_Ct.Th", "'radius_Ct.Th' looks like the index Ct.Th"),
    ],
)
def test_usual_names_of_columns_get_advice(columns, words):
    """A model without age is another model; but only a person knows what a column holds."""
    (line,) = spelling_advice(["participant_id", columns])
    assert words in line
    assert spelling_advice(["participant_id", columns], described=[columns]) == []


def test_a_known_column_needs_no_advice():
    """Two columns of ages may be there, and one is ours."""
    assert spelling_advice(["participant_id", "age", "age_years", "centre", "group"]) == []


@pytest.mark.parametrize("name", ["ID", "subject_id", "Patient ID", "PARTICIPANT_ID", "participants_id"])
def test_a_column_that_must_be_there_is_found_by_other_names(make_cohort, name):
    """Every table of a hospital calls its patients otherwise."""
    file = make_cohort() / "participants.tsv"
    file.write_text(file.read_text(encoding="utf-8").replace("participant_id", name), encoding="utf-8")
    assert f"participants.tsv has no column 'participant_id'; rename {name!r}." in check_cohort(file.parent)[1]


@pytest.mark.parametrize("name", ["Fracture", "fragility_fracture", "fx", "MOF"])
def test_an_outcome_by_another_name_is_found(make_cohort, name):
    """The option that names it is one way, its own name the other."""
    file = make_cohort() / "participants.tsv"
    file.write_text(file.read_text(encoding="utf-8").replace("fracture", name), encoding="utf-8")
    assert check_cohort(file.parent)[1] == [
        f"participants.tsv has no outcome column 'fracture'; did you mean {name!r}?"
    ]


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("Tb.N*", "rename it to 'Tb.N' if it is that index in 1/mm, or remove it"),
        ("Tb_Th", "rename it to 'Tb.Th' if it is that index in mm"),
        ("Tb.Th [inch]", "rename it to 'Tb.Th' if it is that index in mm"),
        ("DT-1/N.SD", "rename it to 'Tb.1/N.SD'"),
        ("VOX-BV/TV", "rename it to 'Tb.BV/TV' if it is that index, or remove it"),
        ("Tot.BMD", "rename it to 'Tt.vBMD' if it is that index in mgHA/cm³"),
        ("d100", "rename it to 'D100'"),
        ("Mean1", "rename it to 'Tt.vBMD' or 'Tb.vBMD' if it is that index"),
        ("TV", "remove it"),
        ("Tb.Sp.SD", "remove it"),
        ("Ct.TMD", "remove it"),
        ("Conn.D", "remove it"),
    ],
)
def test_indices_by_the_scanners_names_get_a_hint(make_cohort, name, mend):
    """What is near in name may be far in meaning: a spread is no thickness."""
    folder = make_cohort()
    (folder / "indices.tsv").write_text(f"participant_id\tbone\t{name}\nsub-0001\tradius\t0.2\n", encoding="utf-8")
    (fault,) = check_cohort(folder)[1]
    assert f"indices.tsv: no index is called {name!r}; {mend}" in fault
    assert mend != "remove it" or fault.endswith("; remove it.")


def test_one_index_in_two_columns_is_a_fault(make_cohort):
    """The second would take the place of the first in silence."""
    folder = make_cohort()
    (folder / "indices.tsv").write_text(
        "participant_id\tbone\tTt.vBMD\tD100\nsub-0001\tradius\t300\t310\n", encoding="utf-8"
    )
    assert check_cohort(folder)[1] == ["indices.tsv: 'D100' is Tt.vBMD, and another column is too; keep one."]
