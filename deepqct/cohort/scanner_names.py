"""Names and units under which the scanner's software and laboratories export indices, in the toolkit's terms.

Only what a name says for certain is taken. A name that leaves open which volume was evaluated is suggested, never taken.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from deepqct.cohort.hints import plain
from deepqct.terms import STRENGTH_UNITS, UNITS

INDEX_UNITS = {**UNITS, **STRENGTH_UNITS}  # of what indices.tsv may hold
# Names that evaluation programmes of the XtremeCT print, letter by letter.
ALIASES = {
    "Tt.BMD": "Tt.vBMD", "D100": "Tt.vBMD", "Tb.BMD": "Tb.vBMD", "Dtrab": "Tb.vBMD", "Ct.BMD": "Ct.vBMD",
    "Dcomp": "Ct.vBMD", "Tb.Meta.BMD": "Tb.Meta.vBMD", "Meta.Tb.BMD": "Tb.Meta.vBMD", "Dmeta": "Tb.Meta.vBMD",
    "Tb.Inn.BMD": "Tb.Inn.vBMD", "Inn.Tb.BMD": "Tb.Inn.vBMD", "Dinn": "Tb.Inn.vBMD", "BV/TV": "Tb.BV/TV",
    "1/N.SD": "Tb.1/N.SD", "Tb.N.SD": "Tb.1/N.SD",
}  # fmt: skip
# Names of laboratories' exports (IPL's lists, evaluation logs, statistics programmes), of any capitals, signs and blanks.
EXPORTED = {
    "Tot.vBMD": "Tt.vBMD", "DT-Tb.N": "Tb.N", "DT-Tb.Th": "Tb.Th", "DT-Tb.Sp": "Tb.Sp", "DT-Tb.1/N.SD": "Tb.1/N.SD",
    "DT-Tb.(1/N).SD": "Tb.1/N.SD", "Inhomogeneity.Tb.network": "Tb.1/N.SD", "SD of 1/Tb.N": "Tb.1/N.SD",
    "Tb.BVTV": "Tb.BV/TV", "Failure.load": "F.Load", "F.Load": "F.Load", "Fmax at failure": "F.Load",
    "Estimated failure load": "F.Load", "Stiffness": "Stiffness", "App.modulus": "E.App", "Apparent modulus": "E.App",
}  # fmt: skip
# What stands in IPL's lists for the two columns that say whose bone it is.
COLUMNS = {"Samp. Name": "participant_id", "SampName": "participant_id", "Site": "bone"}
SITE_CODES = {"20": "radius", "21": "radius", "38": "tibia", "39": "tibia"}  # of the scanner: left and right of each
# Of the measurement; neither an index nor of a person.
PASSED_OVER = (
    "SampNo", "MeasNo", "MeasDate", "ListDate", "Sigma", "Support", "Threshold", "Unit", "Data-Threshold", "Mean-Units",
    "Energy-I-Code", "Integr.Time", "ControlfileNo", "Ctrlf-Name", "MeasNumSlices", "Voxel Size X", "Voxel Size Y",
    "Voxel Size Z", "Dim-X", "Dim-Y", "Dim-Z", "Pos-X", "Pos-Y", "Pos-Z", "ScannerID", "Site",
)  # fmt: skip
# Units as they are written, by ours: what a value in them is multiplied with.
_WRITTEN: dict[str, dict[str, float]] = {
    "mgHA/cm³": {"mgHA/cm³": 1, "mg HA/cm³": 1, "mg/cm³": 1, "mg HA/ccm": 1, "mgHA/ccm": 1, "g/cm³": 1000},
    "mm²": {"mm²": 1, "cm²": 100},
    "mm": {"mm": 1, "µm": 0.001, "um": 0.001},
    "1/mm": {"1/mm": 1, "mm⁻¹": 1},
    "1": {"1": 1, "-": 1, "%": 0.01},
    "kN": {"kN": 1, "N": 0.001},
    "kN/mm": {"kN/mm": 1, "N/mm": 0.001},
    "MPa": {"MPa": 1, "N/mm²": 1, "GPa": 1000},
}
# Without a unit, the size of a force says which it is: no bone of forearm or leg fails under 100 N or bears 100 kN, and
# none is pressed together by a millimetre with less than 1 kN, or only with more than 1,000 kN.
_IN_NEWTONS_ABOVE = {"F.Load": 100.0, "Stiffness": 1000.0}
_PRESSED = ("F.Load",)  # exported with a minus sign, since the bone is pressed
# What else evaluation programmes and papers print, without capitals and signs. It is suggested only: which volume was
# evaluated, a name does not say.
_MAY_BE = {
    "totbmd": "Tt.vBMD", "vbmdtot": "Tt.vBMD", "mean1": "Tt.vBMD, Tb.vBMD", "trabvbmd": "Tb.vBMD",
    "trabbmd": "Tb.vBMD", "cortvbmd": "Ct.vBMD", "cortbmd": "Ct.vBMD", "totar": "Tt.Ar", "totarea": "Tt.Ar",
    "ttarea": "Tt.Ar", "cortar": "Ct.Ar", "cortarea": "Ct.Ar", "ctarea": "Ct.Ar", "trabar": "Tb.Ar", "trabarea": "Tb.Ar",
    "tbarea": "Tb.Ar", "cpm": "Ct.Pm", "cortpm": "Ct.Pm", "ctperimeter": "Ct.Pm", "cortth": "Ct.Th", "dtctth": "Ct.Th",
    "copo": "Ct.Po", "cortpo": "Ct.Po", "porosity": "Ct.Po", "ctporosity": "Ct.Po", "copodm": "Ct.Po.Dm",
    "podm": "Ct.Po.Dm", "voxbvtv": "Tb.BV/TV", "trabbvtv": "Tb.BV/TV", "trabn": "Tb.N", "trabth": "Tb.Th",
    "trabsp": "Tb.Sp", "dt1nsd": "Tb.1/N.SD",
}  # fmt: skip
# Parts of names of what is not one of ours, though its name is near one: other densities, spreads, other structure.
_OTHERS = re.compile(r"tmd|sd$|smi|conn|^mean|^[bt]v$|^da$|matv?bmd|^vox|^tri|csa|xct[12i]")
_BRACKETS = re.compile(r"\s*[(\[]\s*([^()\[\]]+?)\s*[)\]]$")
_PERCENT = re.compile(r"\s+%$|(?<=\w)%$")


class Meaning(NamedTuple):
    """What a column holds: the symbol, and what its values are multiplied with; None where their size has to tell."""

    symbol: str
    factor: float | None


def meaning_of(name: str) -> Meaning | None:
    """What a column of indices.tsv holds, as far as its name says so for certain.

    Parameters
    ----------
    name : str
        The name of the column, perhaps with a unit in brackets, or with % at its end.

    Returns
    -------
    Meaning or None
        None where the name says nothing for certain, or its unit is none of this index.

    Examples
    --------
    >>> from deepqct.cohort.scanner_names import meaning_of
    >>> meaning_of("DT-Tb.Th [µm]"), meaning_of("failure.load"), meaning_of("Mean1")
    (Meaning(symbol='Tb.Th', factor=0.001), Meaning(symbol='F.Load', factor=None), None)
    """
    bare, unit = name, ""
    if found := _BRACKETS.search(name):
        bare, unit = name[: found.start()], found.group(1)
    elif found := _PERCENT.search(name):
        bare, unit = name[: found.start()], "%"
    symbol = ALIASES.get(bare, bare)
    if symbol not in INDEX_UNITS:
        exported = {plain(key): value for key, value in EXPORTED.items()}
        symbol = exported.get(plain(name)) or exported.get(plain(bare), "")  # brackets may be part of the name
        unit = "" if exported.get(plain(name)) else unit
    if not symbol:
        return None
    if not unit:
        return Meaning(symbol, None if symbol in _IN_NEWTONS_ABOVE else 1.0)
    written = {_spelt(each): factor for each, factor in _WRITTEN[INDEX_UNITS[symbol]].items()}
    return Meaning(symbol, written[_spelt(unit)]) if _spelt(unit) in written else None


def factor_by_size(symbol: str, highest: float, lowest: float) -> float | None:
    """Whether forces without a unit are newtons or kilonewtons, by their size.

    Parameters
    ----------
    symbol : str
        F.Load or Stiffness.
    highest, lowest : float
        The largest and the smallest of the values, without their sign.

    Returns
    -------
    float or None
        0.001 for newtons, 1 for kilonewtons; None where some values are of the one size and some of the other.

    Examples
    --------
    >>> from deepqct.cohort.scanner_names import factor_by_size
    >>> factor_by_size("F.Load", 3529.0, 1003.0), factor_by_size("F.Load", 3.5, 1.0), factor_by_size("F.Load", 3500.0, 2.1)
    (0.001, 1.0, None)
    """
    limit = _IN_NEWTONS_ABOVE[symbol]
    if lowest > limit:
        return 0.001
    return 1.0 if highest < limit else None


def without_direction(symbol: str) -> bool:
    """True for what is exported with a minus sign since the bone is pressed, which is taken away."""
    return symbol in _PRESSED


def advice_on(name: str) -> str:
    """What to do about a column that no index is called: rename it, if it may be one of ours, or remove it.

    Parameters
    ----------
    name : str
        The name of the column.

    Examples
    --------
    >>> from deepqct.cohort.scanner_names import advice_on
    >>> advice_on("VOX-BV/TV"), advice_on("Ct.TMD")
    ("rename it to 'Tb.BV/TV' if it is that index, or remove it", 'remove it')
    """
    bare = ALIASES.get(_PERCENT.sub("", name), _PERCENT.sub("", name))
    key = plain(_BRACKETS.sub("", bare))  # without a unit
    maybe = [known for known in (*INDEX_UNITS, *ALIASES) if plain(known) == key][:1]
    if not maybe and key in _MAY_BE:
        maybe = _MAY_BE[key].split(", ")
    if not maybe and not _OTHERS.search(key):
        maybe = difflib.get_close_matches(bare, [*INDEX_UNITS, *ALIASES], n=1)
    if not maybe:
        return "remove it"
    unit = INDEX_UNITS[ALIASES.get(maybe[0], maybe[0])]
    return (
        f"rename it to {' or '.join(map(repr, maybe))} if it is that index{f' in {unit}' * (unit != '1')}, or remove it"
    )


def _spelt(unit: str) -> str:
    """A unit without blanks and raised numbers."""
    for sign, other in (("²", "2"), ("³", "3"), ("⁻¹", "-1"), ("^", ""), (" ", ""), ("μ", "µ")):
        unit = unit.replace(sign, other)
    return unit.lower()
