"""What a person may have meant: ids, files and columns that are there under nearly the name that was given.

A hint is part of a sentence, and nothing is ever renamed or matched by it: another letter may be another woman. So names
with other digits, or with one letter in the place of another (left and right), are never suggested.
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from deepqct.scans.formats import files_of, may_be_calibrated
from deepqct.terms import BONES, KNOWN, SAME_PATIENT, UNITS

# Ids and pseudonyms become file names, and must not be read as a missing value.
ID = r"^(?!(?i:na|nan|null|none|n-a)$)[A-Za-z0-9][A-Za-z0-9-]*$"
ALLOW = ", or allow it (outside=allow in a run, --outside of check)"  # the end of a sentence about such files
# Other usual names of our columns, without capitals and signs.
_USUAL = {
    "participant_id": "id subject subjectid subjectcode sub patient patientid patid pid studyid participant code",
    "site": "location region scansite bodypart",
    "side": "laterality limb scanside leftright",
    "file": "filename path filepath scan scanfile image",
    "fracture": "fx frac fractures fragilityfracture incidentfracture prevalentfracture anyfracture mof fracturestatus",
    SAME_PATIENT: "patientgroup family familyid twinpair pairid",
    "age": "ageyears ageyear ageyrs ageyr agey ageatscan ageatvisit ageatbaseline ageatexam",
    "height_cm": "height bodyheight heightm heightmm stature staturecm",
    "weight_kg": "weight bodyweight bodyweightkg bodymass bodymasskg mass masskg weightlb",
    "bmi": "bodymassindex bmikgm2 bmikgm",
    "parental_hip_fracture": "parentalfracture parenthipfracture parentalhipfx parentfracturedhip familyhipfracture",
    "smoking": "smoker currentsmoker currentsmoking smokes smokingcurrent smokingstatus",
    "glucocorticoids": "glucocorticoid corticosteroids corticosteroid steroids steroiduse cortisone",
    "rheumatoid_arthritis": "ra arthritis rheumatoid",
    "alcohol": "alcohol3units alcohol3ormoreunits alcoholuse alcohol3unitsday",
    "frax_major": "fraxmof mof10y fraxmajorosteoporotic fraxmajorfracture majorfrax fraxmajor10y",
    "frax_hip": "fraxhf hipfrax fraxhipfracture fraxhip10y",
    "bmd_lumbar_spine": "bmdls lsbmd bmdspine spinebmd lumbarspinebmd abmdlumbarspine abmdls",
    "bmd_femoral_neck": "bmdfn fnbmd bmdneck femoralneckbmd abmdfemoralneck abmdfn",
    "bmd_total_hip": "bmdth thbmd bmdhip hipbmd totalhipbmd abmdtotalhip abmdth",
    "t_lumbar_spine": "tscorelumbarspine tscorels tscorespine lumbarspinetscore tls lstscore",
    "t_femoral_neck": "tscorefemoralneck tscorefn tscoreneck femoralnecktscore tfn fntscore",
    "t_total_hip": "tscoretotalhip tscoreth tscorehip totalhiptscore tth thtscore",
}  # fmt: skip


def alike(text: str) -> str:
    """The text as a file system without capitals and accents would keep it: two names alike may be one file."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold().strip()


def plain(name: str) -> str:
    """The name of a column without capitals, signs and blanks: ``Tb_Th`` and ``Tb.Th*`` are both ``tbth``."""
    return re.sub(r"[\W_]+", "", alike(name))


def other_spelling(wanted: str, names: Iterable[str]) -> str:
    """The name among `names` that usually stands for the column `wanted`; empty if none does."""
    usual = {plain(wanted), *_USUAL.get(wanted, "").split()}
    return next((name for name in names if plain(name) in usual), "") or next(
        iter(difflib.get_close_matches(wanted, list(names), n=1)), ""
    )


def spelling_advice(columns: Iterable[str], *, described: Iterable[str] = ()) -> list[str]:
    """Advice on columns of participants.tsv that may be known ones under another name; empty if there is none.

    Parameters
    ----------
    columns : iterable of str
        The names of the columns.
    described : iterable of str
        Those that participants.json describes or that are the outcome, whose names a person chose.
    """
    names = list(columns)
    other = [name for name in names if name not in (*KNOWN, SAME_PATIENT, "participant_id", *described)]
    lines = []
    for wanted, (meaning, _, _, unit, _) in KNOWN.items():
        usual = {plain(wanted), *_USUAL[wanted].split()}
        given = "" if wanted in names else next((name for name in other if plain(name) in usual), "")
        if given:
            what = f"in {unit}" if unit else "as 0 or 1" if KNOWN[wanted][1:3] == (0, 1) else "as a number"
            lines.append(f"There is no column {wanted!r}; rename {given!r} to {wanted!r} if it holds {meaning} {what}.")
    if SAME_PATIENT not in names:
        given = next((name for name in other if plain(name) in _USUAL[SAME_PATIENT].split()), "")
        if given:
            lines.append(
                f"Rename {given!r} to {SAME_PATIENT!r} if rows with one value of it are of one woman or family, so that no "
                "fold parts them."
            )
    symbols = {plain(symbol): symbol for symbol in UNITS}
    for name in other:
        symbol = symbols.get(re.sub("|".join(BONES), "", plain(name)))
        if symbol:
            lines.append(
                f"{name!r} looks like the index {symbol}; the scanner's indices go into indices.tsv, one row a bone."
            )
    return lines


def unlisted_ids(given: Iterable[Any], known: set[str]) -> dict[str, str]:
    """For each id that is not listed, what may have been meant, such as ``did you mean '0041'?``; empty if unknown.

    Parameters
    ----------
    given : iterable
        Ids as a table has them; what is no text is passed over.
    known : set of str
        The ids that are listed.
    """
    hints, index = {}, _index(frozenset(known))
    for name in {text for text in given if isinstance(text, str)} - known:
        meant = _nearest(name, index)
        zeros = meant and re.sub(r"\D+", "", meant) != re.sub(r"\D+", "", name)
        hints[name] = f"did you mean {meant!r}{' (spreadsheets drop leading zeros)' if zeros else ''}?" if meant else ""
    return hints


def leaves_folder(file: str) -> bool:
    """True if the path of a table leads out of the cohort folder, also as Windows writes it."""
    return bool(PureWindowsPath(file).anchor) or ".." in PureWindowsPath(file).parts


def leads_outside(path: Path, folder: Path) -> bool:
    """True if a file, or one of those that a scan is made of, is kept outside of the cohort folder by a link.

    Parameters
    ----------
    path : Path
        A table, a scan or a contour; one that is not there leads nowhere.
    folder : Path
        The cohort folder, which may be reached by a link itself.
    """
    if not is_there(path):
        return False
    inside = folder.resolve()
    if not path.resolve().is_relative_to(inside):
        return True
    linked = [part for part in files_of(path) if part.is_symlink()] if may_be_calibrated(path) is not None else []
    return any(not part.resolve().is_relative_to(inside) for part in linked)


def missing_files(files: Iterable[Any], folder: Path, *, anywhere: bool = False) -> dict[str, str]:
    """For each file that is not there, what may have been meant, such as ``did you mean 'scans/P1.AIM'?``.

    Parameters
    ----------
    files : iterable
        Paths within the cohort folder as a table has them; what is no text is passed over.
    folder : Path
        The cohort folder.
    anywhere : bool
        True if files may lie outside of it.

    Returns
    -------
    dict of str to str
        Only files that are not there; empty where nothing alike is there either.
    """
    given = {file for file in files if isinstance(file, str) and (anywhere or not leaves_folder(file))}
    names = functools.cache(_names)
    missing = {}
    for file in given:
        if is_there(folder / file):
            continue
        meant = _meant(file, folder, names)
        if "\\" in file:
            missing[file] = f"write / between folders, not \\{f', as in {meant!r}' if meant else ''}."
        elif not meant or meant in given:  # a file of another row is not this one
            missing[file] = ""
        elif unicodedata.normalize("NFC", meant) == unicodedata.normalize("NFC", file):
            missing[file] = (
                f"did you mean {meant!r}, whose accents are stored in another form (paste the file's own name)?"
            )
        else:
            missing[file] = f"did you mean {meant!r}?"
    return missing


def is_there(path: Path) -> bool:
    """True if the file or folder is there and may be looked at."""
    try:
        return path.exists()
    except OSError:  # a name that is too long, or a folder that is closed to this user
        return False


def _names(folder: Path) -> frozenset[str]:
    """The names in a folder; none if it is no folder that can be read."""
    try:
        return frozenset(path.name for path in folder.iterdir())
    except OSError:
        return frozenset()


def _meant(file: str, folder: Path, names: Any) -> str:
    """The path within the cohort folder that is there under nearly the name given; empty if none is."""
    parts = PurePosixPath(file.replace("\\", "/")).parts
    if len(parts) > 1 and parts[0] == folder.resolve().name:  # given from above the cohort folder
        parts = parts[1:]
    places = [PurePosixPath()]
    if len(parts) == 1:
        places += [PurePosixPath(name) for name in sorted(names(folder)) if (folder / name).is_dir()]
    for place in places:
        path = place
        for part in parts:
            there = names(folder / path)
            step = part if part in there else _nearest(part, _index(there))
            if not step:
                break
            path = path / step
        else:
            return str(path)
    return ""


class _Index(NamedTuple):
    """Names by their `_key` and by their digits, to look many up among many."""

    by_key: dict[str, list[str]]
    by_digits: dict[str, list[str]]


@functools.lru_cache(maxsize=64)
def _index(names: frozenset[str]) -> _Index:
    """The names as `_nearest` looks them up."""
    index = _Index({}, {})
    for name in sorted(names):
        index.by_key.setdefault(_key(name), []).append(name)
        index.by_digits.setdefault(_digits(name), []).append(name)
    return index


def _nearest(name: str, index: _Index) -> str:
    """The one name that differs by capitals, accents, signs, leading zeros or an ending, or by a slip of the keyboard."""
    same = index.by_key.get(_key(name), [])
    if len(same) > 1:
        same = [other for other in same if alike(other) == alike(name)]
    if same:
        return same[0] if len(same) == 1 else ""
    close = [
        other
        for other in index.by_digits.get(_digits(name), [])
        if len(other) != len(name) or sorted(other) == sorted(name)
    ]
    return next(iter(difflib.get_close_matches(name, close, n=1, cutoff=0.8)), "")


def _digits(name: str) -> str:
    """The digits of a name, without leading zeros."""
    return re.sub(r"\D+", "", name).lstrip("0")


@functools.lru_cache(maxsize=100_000)
def _key(name: str) -> str:
    """What stays of an id or a file's name without capitals, accents, ``sub-``, signs, leading zeros and ending."""
    text = re.split(r"[.;]", alike(name).removeprefix("sub-"))[0]
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]+", "", text))
