"""Index tables under the names that laboratories export: taken where the name is certain, listed where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepqct.cohort.scanner_names import factor_by_size, meaning_of
from deepqct.cohort.scanner_tables import read_index_table
from deepqct.curation import compare_with_scanner
from deepqct.curation.beside_scanner import in_place_of
from deepqct.folder import Run, write_table
from deepqct.plots import bland_altman
from deepqct.terms import STRENGTH_UNITS

REAL = Path(__file__).parents[2] / "shared" / "real" / "repeat_scans" / "in_vivo.csv"
# A list as IPL and an evaluation log would give it, both joined by a laboratory.
EXPORT = {
    "SampNo": [4711, 4712, 4713], "Samp. Name": ["P1", "P2", "P3"], "MeasNo": [1, 2, 3], "Site": [20, 21, 39],
    "Tot.vBMD": [296.1, 250.0, 268.4], "DT-Tb.N": [1.391, 1.2, 1.324], "DT-Tb.Th [µm]": [223, 210, 261],
    "Tb.BVTV": [0.21, 0.18, 0.24], "Ct.Po (%)": [0.9, 1.5, 3.8], "DT-Tb.(1/N).SD": [0.3, 0.4, 0.35],
    "failure.load": [-2149.3, -1003.5, -6340.9], "Stiffness": [41395.4, 19140.9, 119547.0],
    "app.modulus": [1000, 578, 1480],
}  # fmt: skip


def read(tmp_path: Path, columns: dict) -> tuple[pd.DataFrame | None, list[str]]:
    """The table of these columns, and its faults."""
    pd.DataFrame(columns).to_csv(tmp_path / "indices.tsv", sep="\t", index=False)
    faults: list[str] = []
    return read_index_table(tmp_path, people={"P1", "P2", "P3"}, faults=faults), faults


def test_an_export_is_read_as_it_is(tmp_path):
    """Renaming forty columns by hand is where a slip happens."""
    table, faults = read(tmp_path, EXPORT)
    assert faults == []
    assert table["participant_id"].tolist() == ["P1", "P2", "P3"]
    assert table["bone"].tolist() == ["radius", "radius", "tibia"]
    assert table["Tt.vBMD"].tolist() == [296.1, 250.0, 268.4]
    assert table["Tb.Th"].tolist() == pytest.approx([0.223, 0.21, 0.261])
    assert table["Ct.Po"].tolist() == pytest.approx([0.009, 0.015, 0.038])
    assert table["F.Load"].tolist() == pytest.approx([2.1493, 1.0035, 6.3409])
    assert table["Stiffness"].tolist() == pytest.approx([41.3954, 19.1409, 119.547])
    assert table["E.App"].tolist() == [1000, 578, 1480]
    assert {"Tb.N", "Tb.BV/TV", "Tb.1/N.SD"} < set(table)
    assert len(table.columns) == 11


def test_what_is_not_known_is_listed_once_and_nothing_is_guessed(tmp_path):
    """All names in one sentence: a fault for each would bury the one that matters."""
    more = {"TRI-SMI": [1, 2, 3], "CSA.failure.load": [1, 2, 3], "S-DOB": ["a", "b", "c"], "Mean1": [300, 310, 320]}
    table, faults = read(tmp_path, EXPORT | more)
    assert table is None
    assert "indices.tsv: no index is called 'TRI-SMI', 'CSA.failure.load', 'S-DOB'; remove them." in faults
    assert any("'Mean1'; rename it to 'Tt.vBMD' or 'Tb.vBMD' if it is that index" in fault for fault in faults)
    assert len(faults) == 2


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        (
            "failure.load",
            [-2149.3, 1003.5, -6340.9],
            "failure.load has values above and below 0; give all loads one sign",
        ),
        ("failure.load", [2149.3, 1.0, 6340.9], "failure.load has values of N and of kN; name the column"),
        ("F.Load [lbf]", [2149.3, 1003.5, 6340.9], "no index is called 'F.Load [lbf]'; rename it to 'F.Load' if it is"),
        ("F.Load [N]", [2149.3, 1003.5, 6340.9], "'F.Load [N]' is F.Load, and another column is too; keep one"),
        ("Samp. Name", ["P1", "P2", "Q3"], "row 4 (Q3): 'Q3' is not in participants.tsv"),
        ("Site", [20, 21, 22], "row 4 (P3): bone is '22', not one of radius"),
    ],
)
def test_what_is_not_certain_is_a_fault(tmp_path, name, values, said):
    table, faults = read(tmp_path, EXPORT | {name: values})
    assert table is None
    assert any(said in fault for fault in faults), faults


def test_forces_are_told_by_their_size_alone_where_it_is_beyond_doubt():
    """A thousand apart, newtons and kilonewtons of a bone do not overlap."""
    assert factor_by_size("F.Load", 12000.0, 400.0) == 0.001
    assert factor_by_size("F.Load", 12.0, 0.4) == 1
    assert factor_by_size("Stiffness", 160000.0, 19000.0) == 0.001
    assert factor_by_size("Stiffness", 400.0, 19.0) == 1
    assert factor_by_size("F.Load", 100.0, 0.4) is None
    assert meaning_of("Stiffness [N/mm]").factor == 0.001
    assert meaning_of("Stiffness [kN/mm]").factor == 1


def test_the_scanners_strength_stands_beside_ours_or_in_its_place(tmp_path):
    """Bias and limits as for any other index; where we measured none, its values are taken."""
    theirs, _ = read(tmp_path, EXPORT)
    key = ["participant_id", "bone"]
    ours = theirs[key].assign(
        **{"Tt.vBMD": 300.0, "F.Load": theirs["F.Load"] + 0.5, "Stiffness": np.nan, "E.App": 900.0}
    )
    run = Run(tmp_path / "run")
    write_table(run.indices, pd.concat([ours, ours.assign(bone="ulna")]))
    write_table(run.scanner_indices, theirs.assign(source="table"))
    compared = compare_with_scanner(run).set_index(["bone", "symbol"])
    assert compared.loc[("radius", "F.Load"), "n"] == 2
    assert compared.loc[("radius", "F.Load"), "unit"] == "kN"
    assert "Tb.N" not in compared.index.get_level_values("symbol")  # we have none
    axes = bland_altman(ours, theirs, names=["F.Load"])
    assert axes[0].get_title() == "n 3; bias 0.5"
    placed = in_place_of(ours, theirs, names=STRENGTH_UNITS)
    assert placed["Stiffness"].tolist() == theirs["Stiffness"].tolist()
    assert placed["Ct.Load.Mid"].isna().all()


@pytest.mark.skipif(not REAL.exists(), reason="the real table of repeat scans is not beside this checkout")
def test_a_real_export_is_read(tmp_path):
    """28 people on two scanners, under the names of their laboratory."""
    long = pd.read_csv(REAL).query("scanner == 'XCT2' and registration == 'unregistered' and time_point == 0")
    wide = long.pivot_table(index=["person", "bone"], columns="parameter", values="value").reset_index()
    known = ["Tb.BVTV", "Tb.N", "Tb.Sp", "Tb.Th", "Tb.vBMD", "Tt.Ar", "Tt.vBMD", "Tb.Ar", "Ct.Po", "failure.load",
             "stiffness", "app.modulus", "inhomogeneity.Tb.network"]  # fmt: skip
    unknown = [name for name in wide if name not in (*known, "person", "bone")]
    assert {"Ct.Ar.XCT2", "Ct.Th.XCT2", "Ct.vBMD.XCT2", "peripheral.medullary.Tb.BD"} <= set(unknown)
    wide = wide.rename(columns={"person": "participant_id"})
    people = set(wide["participant_id"])
    wide.to_csv(tmp_path / "indices.tsv", sep="\t", index=False)
    faults: list[str] = []
    assert read_index_table(tmp_path, people=people, faults=faults) is None
    assert faults == [f"indices.tsv: no index is called {', '.join(map(repr, unknown))}; remove them."]
    wide.drop(columns=unknown).to_csv(tmp_path / "indices.tsv", sep="\t", index=False)
    faults.clear()
    table = read_index_table(tmp_path, people=people, faults=faults)
    assert faults == []
    assert len(table) == len(wide) >= 25
    radius, tibia = (table.loc[table["bone"] == bone, "F.Load"] for bone in ("radius", "tibia"))
    assert radius.between(0.9, 4).all()
    assert tibia.between(4, 9).all()
    assert (table["Stiffness"] / table["F.Load"]).between(10, 30).all()
