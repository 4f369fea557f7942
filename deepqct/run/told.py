"""What a run folder keeps of an error: no file or folder of the cohort, and under pseudonyms no id.

A run folder is passed on. An error's own text, which may name women and files, is for the terminal alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deepqct.folder import FileError, Job, Run, read_json, resolve
from deepqct.run.inputs import TABLES
from deepqct.run.record import FOLDERS, KEY, bare_name

_OF_TABLES = ("CohortError", "ReviewError")  # each line of these is a fault, perhaps with a value of any cell
_FILE, _WOMAN = "a file of the cohort", "a woman"
_OURS = frozenset({"scans", "contours", *TABLES})  # names that say nothing
_CLUSTER = "SLURM_JOB_ID"  # what its jobs print stands in logs in the run folder


@dataclass(frozen=True)
class Mask:
    """What must not be in a text, each with the words in its place.

    Parameters
    ----------
    places : dict of str to str
        Spellings of folders and the key file, by the bare names that a run keeps of them.
    cohort : tuple of str
        Those of the cohort folder.
    files : frozenset of str
        Names and paths of its files and folders.
    ids : frozenset of str
        What its tables and the key file call women; none where the run has ids itself.
    complete : bool
        False where the ids cannot be known: then no text is kept.

    Examples
    --------
    >>> from deepqct.run.told import Mask
    >>> mask = Mask({"/data/hip": "hip"}, ("/data/hip",), frozenset({"scans/Doe.AIM", "Doe.AIM"}), frozenset({"Doe"}))
    >>> mask.kept("KeyError", "'Doe'"), mask.kept("ScanError", "/data/hip/scans/Doe.AIM is empty.")
    ("KeyError: 'a woman'", 'ScanError: a file of the cohort is empty.')
    """

    places: dict[str, str]
    cohort: tuple[str, ...]
    files: frozenset[str]
    ids: frozenset[str]
    complete: bool = True

    @classmethod
    def of(cls, run: Run) -> Mask:
        """The mask of a run: of its cohort as it is now, which somebody may have changed since the run read it.

        Parameters
        ----------
        run : Run
            The run folder, which holds the parameters of 01.
        """
        try:
            asked = read_json(run.parameters(Job("01_data_curation")))["parameters"]
        except (OSError, FileError, KeyError, TypeError):
            asked = {}
        places = {
            one: bare_name(given) for name in (*FOLDERS, KEY) if (given := asked.get(name)) for one in spelled(given)
        }
        places |= dict.fromkeys(spelled(str(run.folder)), run.folder.name)
        given = asked.get("cohort_dir")
        if not given or resolve(given).resolve().is_relative_to(run.folder.resolve()):  # virtual women
            return cls(places, (), frozenset(), frozenset())
        folder, key = resolve(given), asked.get(KEY)
        tables = [folder / name for name in TABLES if (folder / name).suffix in (".tsv", ".csv")]
        named = {cell for table in tables for cell in _column(table, "file")}
        there = {Path(place, name).relative_to(folder).as_posix()
                 for place, inner, names in os.walk(folder) for name in (*inner, *names)}  # fmt: skip
        files = {part for path in named | there for part in (path, *PurePosixPath(path).parts)}
        files |= {PurePosixPath(path).stem for path in named}
        if not key:
            return cls(places, tuple(spelled(given)), _telling(files), frozenset())
        known = list(_column(resolve(key), "participant_id"))
        ids = {*known, *(cell for table in tables for cell in _column(table, "participant_id"))}
        return cls(places, tuple(spelled(given)), _telling(files), frozenset(ids), bool(known))

    def kept(self, kind: str, text: str) -> str:
        """The sentence of an error as files keep it.

        Parameters
        ----------
        kind : str
            The name of its class.
        text : str
            What it says.
        """
        if kind in _OF_TABLES:
            faults = len(text.splitlines())
            which = "1 fault" if faults == 1 else f"{faults} faults"
            return (
                f"{kind}: {which} in the cohort's tables, or in its key file; call deepqct check with the cohort folder, "
                "which names each."
            )
        if not self.complete:
            return f"{kind} in deepqct; its text, which may name women, was printed where the run was started."
        return f"{kind}: {self.masked(text)}"

    def masked(self, text: str) -> str:
        """The text without folders, files and ids.

        Parameters
        ----------
        text : str
            Any.
        """
        for folder in sorted(self.cohort, key=len, reverse=True):
            start = re.escape(folder) + re.escape(os.sep)
            for name in _within(self.files, text):
                text = re.sub(rf"{start}{re.escape(name)}(?![\w-])", _FILE, text)
            # What is there no more and in no table: to the end of the quotation, or of the word.
            text = re.sub(rf"(?<=(['\"])){start}.*?(?=\1)", _FILE, text)
            text = re.sub(rf"{start}[^\s'\",:;]+", _FILE, text)
        for names, words in ((self.files, _FILE), (self.ids, _WOMAN)):
            for name in _within(names, text):
                text = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", words, text)
        for place, name in sorted(self.places.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(place, name)
        return text

    def mask_errors(self, notebook: dict[str, Any]) -> None:
        """Replace the errors of an executed notebook's cells by what files keep of them.

        Parameters
        ----------
        notebook : dict
            Its content; it is changed.
        """
        outputs = [output for cell in notebook["cells"] if isinstance(cell, dict) for output in cell.get("outputs", [])]
        for output in outputs:
            if output.get("output_type") != "error":
                continue
            trace = "\n".join(output["traceback"])
            sentence = self.kept(output["ename"], output["evalue"])
            hidden = not self.complete or any(kind in trace for kind in _OF_TABLES)  # perhaps as the cause of another
            output["traceback"] = [sentence] if hidden else [self.masked(line) for line in output["traceback"]]
            output["evalue"] = sentence.removeprefix(f"{output['ename']}: ")


def in_terminal(own: str, kept: str) -> str:
    """An error's own words where a terminal shows them, and those that files keep where the output becomes a file.

    Parameters
    ----------
    own, kept : str
        The two.

    Examples
    --------
    >>> from deepqct.run.told import in_terminal
    >>> in_terminal("'Doe'", "'a woman'")  # no job of a cluster
    "'Doe'"
    """
    return kept if os.environ.get(_CLUSTER) else own


def spelled(path: str) -> list[str]:
    """The ways in which a text may name a folder or file: as it was given, and whole.

    Parameters
    ----------
    path : str
        As a parameter spells it.

    Examples
    --------
    >>> from deepqct.run.told import spelled
    >>> spelled("/data/ours/../hip")[:2]
    ['/data/ours/../hip', '/data/hip']
    """
    whole = resolve(path)
    told = os.sep in path and Path(path).name != os.pardir  # ".", ".." and a bare name tell no place
    return list(dict.fromkeys([*([path] if told else []), str(whole), os.path.normpath(whole), str(whole.resolve())]))


def _telling(names: set[str]) -> frozenset[str]:
    """The names that may tell whose a file is: no number, and none that every cohort has."""
    return frozenset(name for name in names if name not in _OURS and len(name) > 2 and not name.isdigit())


def _within(names: frozenset[str], text: str) -> list[str]:
    """The names that a text holds, the longest first, since one may be a part of another."""
    return sorted((name for name in names if name in text), key=len, reverse=True)


def _column(table: Path, name: str) -> Iterator[str]:
    """The cells of one column of a table, whatever is wrong with it; none where it cannot be read or has no such column."""
    try:
        lines = table.read_bytes().decode("utf-8-sig", "replace").splitlines()
    except OSError:
        return
    sign = "\t" if table.suffix == ".tsv" else ","
    rows = [[cell.strip().strip('"') for cell in line.split(sign)] for line in lines]
    if rows and name in rows[0]:
        place = rows[0].index(name)
        yield from (row[place] for row in rows[1:] if len(row) > place and row[place])
