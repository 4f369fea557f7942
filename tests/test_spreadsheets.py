"""Tables that people open: a spreadsheet reads them right and runs nothing, and pandas reads them all the same."""

from __future__ import annotations

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


@pytest.mark.parametrize("write", [write_table, write_spreadsheet])
@pytest.mark.parametrize("formula", ["=1+1", "@SUM(A1)", "+1+cmd|' /C calc'!A0", "-2+3", "\t=1", " =1", "−2+3"])
def test_no_text_is_run_as_a_formula(tmp_path, write, formula):
    """Whoever may name a column or a file would run code on the machine of whoever opens the table."""
    written = write(tmp_path / "a.csv", pd.DataFrame({"reason": [formula, "fine"], formula: [1, 2]}))
    table = pd.read_csv(written)
    began = formula.replace("−", "-") if write is write_spreadsheet else formula
    assert table["reason"].iloc[1] == "fine"
    for text in (table["reason"].iloc[0], table.columns[1]):
        assert text == (began if began.startswith("−") else f"'{began}")


@pytest.mark.parametrize(
    "number", ["-0.4", "+0.01 (−0.19 to +0.20)", "-1.67 (1.04)", "-5 %", "-2.2e-16", "a-b", "DeepQCT"]
)
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
