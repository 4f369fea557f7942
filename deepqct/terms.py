"""The words of the field, in one place: bones and sites, indices and their units, known columns of participants.tsv."""

from __future__ import annotations

from typing import Any

ROLES = ("id", "group", "clinical", "frax", "bmd", "outcome", "other")
LEFT_OUT = "left out"  # of a column that is neither known nor described in participants.json
# Rows of one patient (a second visit, the other limb) or of one family share the value of this column.
SAME_PATIENT = "patient_group"
# Column: (name, lowest, highest, unit, role). Ranges catch slips of the keyboard, not unusual women; our choice.
KNOWN: dict[str, tuple[str, float, float, str, str]] = {
    "age": ("age", 18, 110, "years", "clinical"),
    "height_cm": ("height", 100, 220, "cm", "other"),
    "weight_kg": ("weight", 25, 250, "kg", "other"),
    "bmi": ("body mass index", 10, 80, "kg/m²", "clinical"),
    "parental_hip_fracture": ("parental hip fracture", 0, 1, "", "clinical"),
    "smoking": ("smoking", 0, 1, "", "clinical"),
    "glucocorticoids": ("glucocorticoids", 0, 1, "", "clinical"),
    "rheumatoid_arthritis": ("rheumatoid arthritis", 0, 1, "", "clinical"),
    "alcohol": ("alcohol, 3 or more units a day", 0, 1, "", "clinical"),
    "frax_major": ("FRAX probability of a major fracture", 0, 100, "%", "frax"),
    "frax_hip": ("FRAX probability of a hip fracture", 0, 100, "%", "frax"),
    "bmd_lumbar_spine": ("aBMD lumbar spine", 0.2, 2.5, "g/cm²", "bmd"),
    "bmd_femoral_neck": ("aBMD femoral neck", 0.2, 2.0, "g/cm²", "bmd"),
    "bmd_total_hip": ("aBMD total hip", 0.2, 2.0, "g/cm²", "bmd"),
    "t_lumbar_spine": ("T-score lumbar spine", -8, 8, "", "other"),
    "t_femoral_neck": ("T-score femoral neck", -8, 8, "", "other"),
    "t_total_hip": ("T-score total hip", -8, 8, "", "other"),
}
BINARY = [name for name, (_, low, high, _, _) in KNOWN.items() if (low, high) == (0, 1)]
BONES = ("radius", "ulna", "tibia", "fibula")
COMPARTMENTS = ("total", "cortical", "trabecular")
SITES = {"wrist": ("radius", "ulna"), "ankle": ("tibia", "fibula")}
UNITS = {
    "Tt.vBMD": "mgHA/cm³",
    "Tb.vBMD": "mgHA/cm³",
    "Ct.vBMD": "mgHA/cm³",
    "Tb.Meta.vBMD": "mgHA/cm³",
    "Tb.Inn.vBMD": "mgHA/cm³",
    "Tt.Ar": "mm²",
    "Ct.Ar": "mm²",
    "Tb.Ar": "mm²",
    "Ct.Pm": "mm",
    "Ct.Th": "mm",
    "Ct.Po": "1",
    "Ct.Po.Dm": "mm",
    "Tb.BV/TV": "1",
    "Tb.N": "1/mm",
    "Tb.Th": "mm",
    "Tb.Sp": "mm",
    "Tb.1/N.SD": "mm",
}
# Of micro-finite elements, which are computed only where they are asked for.
STRENGTH_UNITS = {
    "Stiffness": "kN/mm",
    "F.Load": "kN",
    "E.App": "MPa",
    "Ct.Load.Dist": "1",
    "Ct.Load.Mid": "1",
    "Ct.Load.Prox": "1",
}
FALL_UNITS = {"Load/Strength": "1"}  # of strength and the woman's weight, so that it is no feature of a scan


def columns_by_role(dictionary: dict[str, Any], role: str) -> list[str]:
    """Find the columns of one role in the completed data dictionary of a cohort.

    Parameters
    ----------
    dictionary : dict
        The content of a run's participants.json: an entry for each column, with its ``Role``.
    role : str
        One of `ROLES`, such as ``clinical``.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.terms.columns_by_role({"age": {"Role": "clinical"}, "fracture": {"Role": "outcome"}}, "outcome")
    ['fracture']
    """
    return [name for name, entry in dictionary.items() if name != "virtual" and entry.get("Role") == role]
