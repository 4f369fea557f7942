"""Two runs of the same plan beside each other: table by table, network by network, by how much they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.folder import Run, file_hash, read_json, read_table
from deepqct.run.written import is_within, job_of

EXACT = 0.0
# On another processor, or by other versions, sums are rounded otherwise, and training makes much of little; our choice.
MEASURED, LEARNED = 1e-6, 0.05
FAULTS = ("differs", "missing")
_BEFORE_NETWORKS = ("00_virtual_cohort", "01_data_curation", "run")
COLUMNS = ("what", "kind", "values", "differing", "largest", "where", "tolerance", "verdict")


@dataclass(frozen=True)
class Tolerance:
    """How far two runs may differ: of what was measured, and of what networks had a part in.

    A difference of two numbers is held against the tolerance times the larger of 1 and the number's size.

    Parameters
    ----------
    measured, learned : float
        Of tables and stacks up to the curation; of networks, and of whatever follows from them.
    why : str
        A sentence that says which it is and why.

    Examples
    --------
    >>> from deepqct.run.compare import Tolerance
    >>> same = {"stages": {"01": {"processor": "A"}}, "versions": {"torch": "2"}, "device": "cpu"}
    >>> Tolerance.of(same, same).learned
    0.0
    >>> Tolerance.of(same, same | {"versions": {"torch": "3"}}).why
    'Tolerance 1e-06 before the networks and 0.05 after them (our choice), since versions differ: torch 2 and 3.'
    """

    measured: float
    learned: float
    why: str

    @classmethod
    def of(cls, before: Mapping[str, Any], after: Mapping[str, Any], asked: float | None = None) -> Tolerance:
        """The tolerance for two runs: what was asked for, else 0 on one processor with one set of versions.

        Parameters
        ----------
        before, after : mapping
            The records of the two runs.
        asked : float, optional
            Holds for everything.
        """
        if asked is not None:
            return cls(asked, asked, f"Tolerance {asked:g}, as asked for.")
        if reason := _reason(before, after):
            words = (
                f"Tolerance {MEASURED:g} before the networks and {LEARNED:g} after them (our choice), since {reason}."
            )
            return cls(MEASURED, LEARNED, words)
        return cls(EXACT, EXACT, "Tolerance 0: the same processor, and the same versions of everything.")


def compare_runs(before: Run, after: Run, *, tolerance: Tolerance) -> pd.DataFrame:
    """Compare the tables, stacks and networks of two runs that were made with the same parameters.

    Parameters
    ----------
    before, after : Run
        Two runs with run.json.
    tolerance : Tolerance
        How far they may differ.

    Returns
    -------
    DataFrame
        One row a file, and one for all inputs and all stacks of a bone each: what, kind (input, table, stack, network,
        map), values (how many were compared), differing (how many are not the same), largest (of the absolute
        differences of numbers), where (the column with it), tolerance, and verdict: identical, within tolerance, differs,
        missing (from the second run), new (in the second run alone).

    Examples
    --------
    >>> import shutil, tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> from deepqct.run.compare import Tolerance, compare_runs
    >>> from deepqct.run.written import hashes
    >>> one, two = dq.run.example_run(), dq.Run(Path(tempfile.mkdtemp()) / "run")
    >>> _ = shutil.copytree(one.folder, two.folder)
    >>> record = {"inputs": {}, "stages": {}, "files": hashes(one, before={}, finished={})}
    >>> first, second = (dq.Run(Path(tempfile.mkdtemp())) for _ in range(2))
    >>> for run in (one, two):
    ...     _ = dq.folder.write_json(run.record, record)
    >>> found = compare_runs(one, two, tolerance=Tolerance.of(record, record))
    >>> one.record.unlink()
    >>> found["verdict"].unique().tolist()
    ['identical']
    """
    first, second = (read_json(run.require(run.record, written_by="deepqct run")) for run in (before, after))
    rows = [_inputs(first["inputs"], second["inputs"])] if first["inputs"] else []
    files, others = ({k: v for k, v in record["files"].items() if _kind(k)} for record in (first, second))
    stacks: dict[str, list[dict[str, Any]]] = {}
    for name in dict.fromkeys([*files, *others]):
        kind = _kind(name)
        measured = job_of(before, before.folder / name) in _BEFORE_NETWORKS
        row = _file(before, after, name, kind=kind, hashes=(files.get(name), others.get(name)))
        row |= {"tolerance": tolerance.measured if measured else tolerance.learned}
        if kind == "stack":
            stacks.setdefault(Path(name).stem.removesuffix("_mask").rpartition("_")[2], []).append(row)
        else:
            rows.append(row)
    rows += [_together(bone, parts) for bone, parts in stacks.items()]
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS[:-1]))
    return table.assign(verdict=[_verdict(row) for row in table.to_dict("records")])


def _reason(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Why two runs may differ; empty if nothing does."""
    reasons = []
    one, two = (sorted({str(s.get("processor")) for s in r["stages"].values()}) for r in (before, after))
    if one != two:
        reasons.append(f"the processor is another: {' and '.join((', '.join(one), ', '.join(two)))}")
    versions = [{**r.get("packages", {}), **r.get("versions", {})} for r in (before, after)]
    other = [name for name in versions[0] if versions[0][name] != versions[1].get(name)]
    if other:
        named = ", ".join(f"{name} {versions[0][name]} and {versions[1].get(name, 'none')}" for name in other[:3])
        reasons.append(f"versions differ: {named}{' and others' if len(other) > 3 else ''}")
    code = [{name: s.get("code") for name, s in r["stages"].items()} for r in (before, after)]
    if not other and code[0] != code[1]:
        reasons.append("the code of deepqct is another")
    if {before.get("device"), after.get("device")} - {"cpu", "none used", None}:
        reasons.append("networks were trained on a graphics card, which does not repeat itself to the last digit")
    return ", and ".join(reasons)


def _kind(name: str) -> str:
    """What a file of a run is; empty for what is not compared: pictures, notebooks, pages, settings, records of parts."""
    path = Path(name)
    if path.parts[:1] in (("figures",), ("notebooks",)) or name == "settings.json":
        return ""
    if path.suffix == ".json" and len(path.parts) > 1:
        return ""
    return {".csv": "table", ".json": "table", ".npy": "stack", ".safetensors": "network", ".npz": "map"}.get(
        path.suffix, ""
    )


def _inputs(one: Mapping[str, str], two: Mapping[str, str]) -> dict[str, Any]:
    """The row of all inputs."""
    other = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    row = {"what": "inputs", "kind": "input", "values": len(one), "differing": len(other), "largest": np.nan}
    return row | {"where": ", ".join(other[:3]), "tolerance": EXACT}


def _file(before: Run, after: Run, name: str, *, kind: str, hashes: tuple[str | None, str | None]) -> dict[str, Any]:
    """The row of one file, without tolerance and verdict."""
    row: dict[str, Any] = {"what": name, "kind": kind, "values": 0, "differing": 0, "largest": np.nan, "where": ""}
    ours, theirs = hashes
    if not is_within(before, name) or not is_within(after, name):
        return row | {"values": 1, "differing": 1, "where": "it leads out of the run folder, and was not looked at"}
    if ours is None or theirs is None or not (after.folder / name).exists():
        return row | {"where": "new" if ours is None else "missing"}
    if ours == theirs:
        return row | {"values": 1, "largest": 0.0}
    if not (before.folder / name).exists() or file_hash(before.folder / name) != ours:
        return row | {"values": 1, "differing": 1, "where": "the first run's file is not there as it was written"}
    return row | _differences(before.folder / name, after.folder / name)


def _differences(one: Path, two: Path) -> dict[str, Any]:
    """How many values of two files there are and differ, the largest difference, and where it is."""
    first, second = (_values(path) for path in (one, two))
    names = dict.fromkeys([*first, *second])
    values, differing, largest, where = 0, 0, 0.0, ""
    for name in names:
        a, b = first.get(name), second.get(name)
        if a is None or b is None or a.shape != b.shape:
            values, differing = values + 1, differing + 1
            largest, where = np.inf, name
            continue
        other, apart = _apart(a, b)
        values, differing = values + a.size, differing + other
        if other and (apart > largest or not where):
            largest, where = max(apart, largest), name
    return {"values": values, "differing": differing, "largest": largest, "where": where}


def _apart(a: NDArray[Any], b: NDArray[Any]) -> tuple[int, float]:
    """How many of two arrays' values differ, and the largest difference over the larger of 1 and the value's size."""
    if a.dtype.kind in "biuf" and b.dtype.kind in "biuf":
        x, y = a.astype(float), b.astype(float)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):
            apart = np.abs(x - y) / np.maximum(1.0, np.abs(x))
        apart = np.where(same, 0.0, np.nan_to_num(apart, nan=np.inf))
        return int((~same).sum()), float(apart.max(initial=0.0))
    other = int((a.astype(str) != b.astype(str)).sum())
    return other, np.inf if other else 0.0


def _values(path: Path) -> dict[str, NDArray[Any]]:
    """What a file holds, as arrays by name."""
    if path.suffix == ".csv":
        table = read_table(path)
        return {str(name): table[name].to_numpy(dtype=None if _is_number(table[name]) else object) for name in table}
    if path.suffix == ".npy":
        return {"voxels": np.load(path, allow_pickle=False)}
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return dict(load_file(path))
    return {name: np.array([value]) for name, value in _flat(read_json(path)).items()}


def _is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers."""
    return pd.api.types.is_numeric_dtype(column.dtype)


def _flat(content: Any, name: str = "") -> dict[str, Any]:
    """The single values of a JSON document by their places in it."""
    if isinstance(content, dict):
        return {k: v for key, value in content.items() for k, v in _flat(value, f"{name}.{key}".strip(".")).items()}
    if isinstance(content, list):
        return {k: v for number, value in enumerate(content) for k, v in _flat(value, f"{name}[{number}]").items()}
    return {name: content if isinstance(content, bool | int | float) else json.dumps(content)}


def _together(bone: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for all stacks of a bone."""
    worst = max(
        parts,
        key=lambda row: (
            row["where"] == "missing", row["differing"] > 0, np.nan_to_num(row["largest"], nan=np.inf),
            row["where"] == "new",
        ),
    )  # fmt: skip
    row = {"what": f"bones: {bone}", "kind": "stack", "tolerance": worst["tolerance"], "largest": worst["largest"]}
    row |= {key: sum(part[key] for part in parts) for key in ("values", "differing")}
    where = worst["where"] if worst["where"] in ("missing", "new") else worst["what"] if worst["differing"] else ""
    return row | {"where": where}


def _verdict(row: Mapping[Any, Any]) -> str:
    """What the differences of one row amount to."""
    if row["where"] in ("new", "missing"):
        return str(row["where"])
    if not row["differing"]:
        return "identical"
    return "within tolerance" if row["largest"] <= row["tolerance"] else "differs"
