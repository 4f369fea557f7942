"""Precision of real repeat scans and phantoms of 13 sites, beside what was published.

`make bench-precision`. The data lie beside the checkout in shared/real/repeat_scans; without them it says so.
They are those of Mikolajewicz et al. (2021), Bone 147:115880: people with osteogenesis imperfecta, XtremeCT I and II.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from measure import table

from deepqct.evaluation import lines_of_sites, people_for_precision, precision

DATA = Path(__file__).resolve().parents[3] / "shared" / "real" / "repeat_scans"
# What XcalRep calls the indices, and what we call them; those of the two generations' own scripts come under one name.
NAMES = {
    "Tt.vBMD": "Tt.vBMD", "Tb.vBMD": "Tb.vBMD", "Ct.vBMD.XCT2": "Ct.vBMD", "Tb.BVTV": "Tb.BV/TV", "Tb.N": "Tb.N",
    "Tb.Th": "Tb.Th", "Tb.Sp": "Tb.Sp", "Ct.Th.XCT2": "Ct.Th", "Ct.Po": "Ct.Po", "Tb.Ar": "Tb.Ar", "Ct.Ar.XCT2": "Ct.Ar",
    "stiffness": "stiffness", "failure.load": "failure load",
}  # fmt: skip
# RMS-CV in %. Neeteson 2023 (Sci Rep 13:252, contours by an expert; XtremeCT II, 71 radii and 85 tibiae, registered, motion
# 1 to 3), and Poncioni (doi:10.5281/zenodo.16882057; XtremeCT II, several stacks).
PUBLISHED = {
    ("radius", "Neeteson"): {"Tt.vBMD": 0.70, "Ct.vBMD": 0.79, "Tb.vBMD": 0.61, "Ct.Th": 0.80, "Ct.Po": 9.55, "Tb.N": 1.41,
                             "Tb.BV/TV": 1.06, "Tb.Th": 0.72, "Tb.Sp": 1.07, "Ct.Ar": 1.17, "Tb.Ar": 1.27},
    ("tibia", "Neeteson"): {"Tt.vBMD": 0.48, "Ct.vBMD": 0.45, "Tb.vBMD": 0.69, "Ct.Th": 0.74, "Ct.Po": 11.67, "Tb.N": 2.98,
                            "Tb.BV/TV": 0.82, "Tb.Th": 0.67, "Tb.Sp": 2.21, "Ct.Ar": 0.66, "Tb.Ar": 0.16},
    ("radius", "Poncioni"): {"Tt.vBMD": 0.59, "Ct.vBMD": 1.25, "Tb.vBMD": 3.31, "Ct.Th": 1.84, "Ct.Po": 11.3, "Tb.N": 2.80,
                             "Tb.Sp": 2.87, "Tb.Th": 1.96},
    ("tibia", "Poncioni"): {"Tt.vBMD": 0.43, "Ct.vBMD": 0.37, "Tb.vBMD": 0.51, "Ct.Th": 1.39, "Ct.Po": 5.2, "Tb.N": 2.03,
                            "Tb.Sp": 1.56, "Tb.Th": 0.61},
}  # fmt: skip
BURGHARDT = (
    "Burghardt 2013 (J Bone Miner Res 28:524), phantoms, XtremeCT I, short term: below 1 % but for Ct.Th 1.1, "
    "porosity 6 to 8 %.\nIn vivo numbers of MacNeil & Boyd 2008 and of Whittier 2020 could not be read, and are not given."
)


def repeats() -> pd.DataFrame:
    """The repeat scans: one row a value, with ``key`` for what may be set beside each other."""
    rows = pd.read_csv(DATA / "in_vivo.csv")
    rows = rows[rows["parameter"].isin(NAMES)].assign(symbol=lambda t: t["parameter"].map(NAMES))
    # Scans of one time are repeats; between times, people may have changed.
    key = rows[["person", "scanner", "time_point"]].astype(str).agg(" ".join, axis=1)
    return rows.assign(key=key, registered=np.where(rows["registration"] == "unregistered", "no", "yes"))


def _part(rows: pd.DataFrame, **of: object) -> pd.DataFrame:
    """The rows in which these columns have these values."""
    return rows[np.logical_and.reduce([rows[name] == value for name, value in of.items()])]


def in_vivo() -> None:
    """RMS-CV and LSC by bone and index, registered and not, by scanner and by motion grade."""
    rows = repeats()
    print(f"  {rows['person'].nunique()} people; LSC in the index's unit, 95 % intervals; each person at one time")
    for bone in ("radius", "tibia"):
        lines = []
        for symbol in NAMES.values():
            line: list[object] = [symbol]
            for registered in ("no", "yes"):
                part = _part(rows, bone=bone, symbol=symbol, registered=registered)
                found = precision(part["key"], part["value"])
                cv = f"{100 * found.rms_cv:.2f} ({100 * found.rms_cv_low:.2f}–{100 * found.rms_cv_high:.2f})"
                line += [cv, f"{found.lsc:.3g}", found.degrees_of_freedom]
            line += [PUBLISHED[bone, who].get(symbol, "–") for who in ("Neeteson", "Poncioni")]
            lines.append(line)
        head = ["", "RMS-CV %, as scanned", "LSC", "df", "RMS-CV %, registered", "LSC", "df", "Neeteson", "Poncioni"]
        table(f"{bone.capitalize()}.", head, lines)
    print(BURGHARDT)


def by_scanner() -> None:
    """The same for each scanner generation, registered."""
    rows = repeats().query("registered == 'yes'")
    lines = []
    for symbol in NAMES.values():
        line: list[object] = [symbol]
        for bone in ("radius", "tibia"):
            for scanner in ("XCT1", "XCT2"):
                part = _part(rows, bone=bone, symbol=symbol, scanner=scanner)
                found = precision(part["key"], part["value"])
                line.append(f"{100 * found.rms_cv:.2f} ({found.degrees_of_freedom})")
        lines.append(line)
    head = ["RMS-CV % (df), registered", "radius I", "radius II", "tibia I", "tibia II"]
    table("By scanner generation.", head, lines)


def by_motion() -> None:
    """Unregistered repeats by the worse motion grade of each person's scans."""
    rows = repeats().query("registered == 'no'")
    rows = rows.assign(worst=rows.groupby(["key", "bone"])["motion_grade"].transform("max"))
    lines = []
    for symbol in NAMES.values():
        line: list[object] = [symbol]
        for bone in ("radius", "tibia"):
            for grade in (1, 2, 3):
                part = _part(rows, bone=bone, symbol=symbol, worst=grade)
                found = precision(part["key"], part["value"])
                line.append(f"{100 * found.rms_cv:.2f} ({found.degrees_of_freedom})" if found.n else "–")
        lines.append(line)
    head = ["RMS-CV % (df), as scanned", *(f"{bone} {grade}" for bone in ("radius", "tibia") for grade in (1, 2, 3))]
    table("By the worse motion grade of a person's scans.", head, lines)


def needs() -> None:
    """How many people for how narrow an interval."""
    lines = [
        [
            f"{100 * within:.0f} %",
            *(people_for_precision(within=within, repeats=k, power=p) for k in (2, 3) for p in (0.5, 0.8)),
        ]
        for within in (0.5, 0.4, 0.3, 0.2, 0.1)
    ]
    head = [
        "upper end above the truth by at most",
        "2 scans, half of studies",
        "2 scans, 80 %",
        "3 scans, half",
        "3 scans, 80 %",
    ]
    table("People that a precision study needs.", head, lines)


def phantoms() -> None:
    """Slope and intercept of each site, and whether one that measures 5 % more is found."""
    rows = pd.read_csv(DATA / "phantom_qc1.csv")
    found = lines_of_sites(rows["site"], rows["section"], rows["value"])
    lines = [
        [r.site, f"{r.slope:.3f} ({r.slope_low:.3f}–{r.slope_high:.3f})",
         f"{r.intercept:+.1f} ({r.intercept_low:+.1f} to {r.intercept_high:+.1f})", f"{100 * r.change:+.1f}",
         f"{100 * r.usual_low:+.1f} to {100 * r.usual_high:+.1f}", "odd" if r.odd else ""]
        for r in found.itertuples()
    ]  # fmt: skip
    head = ["QC1, mgHA/cm³", "slope (95 %)", "intercept (95 %)", "change %", "usual", ""]
    table("13 sites on one kind of phantom, each against the median of the others.", head, lines)
    hits = []
    for site in found["site"]:
        planted = rows["value"] * np.where(rows["site"] == site, 1.05, 1)
        again = lines_of_sites(rows["site"], rows["section"], planted).set_index("site")["odd"]
        hits.append(bool(again[site]))
    print(f"  a planted 5 % at one site is found at {sum(hits)} of {len(hits)} sites")


def main() -> None:
    """One part or all."""
    parts = {"in_vivo": in_vivo, "by_scanner": by_scanner, "by_motion": by_motion, "needs": needs, "phantoms": phantoms}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=parts)
    chosen = parser.parse_args().part or parts
    if not DATA.is_dir():
        print(f"There are no repeat scans in {DATA}; only the needs of a study are shown.")
        chosen = ["needs"]
    for part in chosen:
        parts[part]()


if __name__ == "__main__":
    sys.exit(main())
