"""Tables that people open: a spreadsheet reads them right and runs nothing, and pandas reads them all the same."""

from __future__ import annotations

import re
import shutil
import subprocess

import pandas as pd
import pytest

from deepqct.cohort import check_cohort
from deepqct.folder import read_table, write_spreadsheet, write_table


def test_spreadsheets_see_letters_and_minus_signs(tmp_path):
    """Without a byte-order mark Excel shows kg/mÂ², and a typographic minus makes a text of a number."""
    table = pd.DataFrame({"variable": ["body mass index, kg/m²"], "all": ["−1.67 (1.04)"], "missing": [2]})
    path = write_spreadsheet(tmp_path / "table_one.csv", table)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert "kg/m²" in path.read_text(encoding="utf-8-sig")
    assert "−" not in path.read_text(encoding="utf-8-sig")
    again = read_table(path)
    assert again.columns.tolist() == ["variable", "all", "missing"]
    assert again["all"].tolist() == ["-1.67 (1.04)"]
    assert again["missing"].tolist() == [2]


FORMULAS = ["=1+1", "@SUM(A1)", "+1+cmd|' /C calc'!A0", "-2+3", "\t=1", " =1", "−2+3"]


@pytest.mark.parametrize("write", [write_table, write_spreadsheet])
@pytest.mark.parametrize("formula", FORMULAS)
def test_no_text_is_run_as_a_formula(tmp_path, write, formula):
    """Whoever may name a column or a file would run code on the machine of whoever opens the table."""
    written = write(tmp_path / "a.csv", pd.DataFrame({"reason": [formula, "fine"], formula: [1, 2]}))
    table = pd.read_csv(written)
    began = formula.replace("−", "-") if write is write_spreadsheet else formula
    began = began.replace("\t", "\t'")  # a spreadsheet may divide here
    assert table["reason"].iloc[1] == "fine"
    for text in (table["reason"].iloc[0], table.columns[1]):
        assert text == (began if began.startswith("−") else f"'{began}")


@pytest.mark.parametrize("write", [write_table, write_spreadsheet])
@pytest.mark.parametrize("text", ["a\r=1+1", "a\r\nb", "\r=1"])
def test_no_text_begins_a_row(tmp_path, write, text):
    """A carriage return that nothing quotes does, in spreadsheets."""
    path = write(tmp_path / "a.csv", pd.DataFrame({"reason": [text, "fine"], text: [1, 2]}))
    assert b"\r" not in path.read_bytes()
    assert pd.read_csv(path).shape == (2, 2)


@pytest.mark.parametrize("text", ["a;=1+1", "a; @b", "a,=1", "a\t=1", "a;+1+cmd|' /C calc'!A0", "a;-2+3", "a; -B1"])
def test_no_text_is_a_formula_where_it_is_divided(tmp_path, text):
    """Some spreadsheets divide at semicolons, too: then it stands in a cell of its own."""
    written = pd.read_csv(write_table(tmp_path / "a.csv", pd.DataFrame({"reason": [text]})))["reason"].iloc[0]
    assert written.replace("'", "", 1) == text
    assert written[2:].lstrip().startswith("'")


@pytest.mark.parametrize(
    "number",
    ["-0.4", "+0.01 (−0.19 to +0.20)", "-1.67 (1.04)", "-5 %", "-2.2e-16", "a-b", "DeepQCT", "0.1 (-0.2, +0.3)",
     "0.1; -0.2 (0.1)", "(-inf, -2.5]", "1, -", "[0, +∞)"],
)  # fmt: skip
def test_numbers_and_words_stay_as_they_are(tmp_path, number):
    """A guard that changes figures is worse than what it guards against."""
    path = write_table(tmp_path / "a.csv", pd.DataFrame({"value": [number], "score": [-0.25]}))
    assert pd.read_csv(path, dtype={"value": str}).iloc[0].tolist() == [number, -0.25]


@pytest.mark.parametrize("person", ["=HYPERLINK(1)", "+1", "-1", "@a"])
def test_an_id_cannot_be_a_formula(make_cohort, person):
    """An id stands in every table of a run, and in those that people make of them."""
    folder = make_cohort()
    for name in ("participants.tsv", "scans.tsv"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("sub-0001\t", f"{person}\t"), encoding="utf-8")
    cohort, faults = check_cohort(folder)
    assert cohort is None
    assert any(person in fault for fault in faults)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not installed")
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_libreoffice_runs_no_formula(tmp_path, name):
    """Neither in a cell nor in a heading; in the same table as pandas writes it, it does."""
    ends = ["\r", "\n", "\r\n", "\v", "\f", "\x85", "\u2028", ",", ";", "\t", '"', "'", '","', '"\n', '"\r']
    breaks = [f"{before}{end}=1+1" for before in ("", "a") for end in ends]
    shapes = [*FORMULAS, *breaks, "=WEBSERVICE(1)", '=HYPERLINK("a")', "＝1+1", "=1+1\n=2+2"]
    table = pd.DataFrame({"text": [*shapes, "fine"], **{shape: range(len(shapes) + 1) for shape in shapes}})
    for divided in ("44", "9", "59", "44/9/59"):
        assert formulas_run(write_table(tmp_path / name, table), divided) == []
        assert formulas_run(write_spreadsheet(tmp_path / "for_people.csv", table), divided) == []
        table.to_csv(tmp_path / "plain.csv", index=False)
        assert len(formulas_run(tmp_path / "plain.csv", divided)) >= 6


def formulas_run(path, divided):
    """What LibreOffice takes for a formula of a table, divided at comma (44), tab (9), semicolon (59), as UTF-8."""
    subprocess.run(
        ["soffice", "--headless", f"-env:UserInstallation={(path.parent / 'office').as_uri()}",
         f"--infilter=CSV:{divided},34,76,1", "--convert-to", "fods", "--outdir", path.parent / path.stem, path],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    sheet = (path.parent / path.stem / path.stem).with_suffix(".fods").read_text(encoding="utf-8")
    assert "fine" in sheet
    return re.findall(r'table:formula="([^"]*)"', sheet)


@pytest.mark.parametrize("name", ["NA", "N/A", "None", "null", "nan", "NULL", "<NA>", "#N/A"])
def test_a_name_that_others_take_for_missing_is_read_as_it_was_written(tmp_path, name):
    """A centre of Naples, say: its women would have none. Empty cells are missing, and numbers stay numbers."""
    table = pd.DataFrame({"centre": [name, "Bern", None], "scanner": [name, None, "x"], "value": [1.5, None, 2.0]})
    found = read_table(write_table(tmp_path / "a.csv", table))
    assert found["centre"].fillna("").tolist() == [name, "Bern", ""] and found["scanner"].iloc[0] == name
    assert found["scanner"].isna().tolist() == [False, True, False] and found["value"].dtype == float
