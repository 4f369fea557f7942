"""Where every file of a run lies, how files are written (whole or not at all), and what results depend on (hashes).

Nobody else in the package or in a notebook builds a path by hand.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

PACKAGE = Path(__file__).parent  # where deepqct itself lies, with the data that it brings


@dataclass(frozen=True)
class Job:
    """What runs by itself: a stage, or a stage of one bone.

    Parameters
    ----------
    stage : str
        Its notebook, such as 02_train_bone.
    bone : str
        Of which bone; empty for a stage of all.
    """

    stage: str
    bone: str = ""

    def __str__(self) -> str:
        """Its name, by which its files are called."""
        return f"{self.stage}_{self.bone}" if self.bone else self.stage


@dataclass(frozen=True)
class Run:
    """One run folder: the files that the stages pass to each other.

    Parameters
    ----------
    folder : Path
        The run folder, for instance ``reports/quick``.
    """

    folder: Path

    @property
    def virtual(self) -> Path:
        """Where 00_virtual_cohort writes: ``virtual/cohort``, as a hospital would have it, and ``virtual/truth``."""
        return self.folder / "virtual"

    @property
    def settings(self) -> Path:
        """``settings.json``: cohort, preset, outcome and bones, as resolved before the run."""
        return self.folder / "settings.json"

    @property
    def record(self) -> Path:
        """``run.json``: what was run, on what, with what."""
        return self.folder / "run.json"

    @property
    def report(self) -> Path:
        """``index.html``: the offline report."""
        return self.folder / "index.html"

    @property
    def participants(self) -> Path:
        """``participants.csv``: the checked table of the cohort, as later stages read it."""
        return self.folder / "participants.csv"

    @property
    def dictionary(self) -> Path:
        """``participants.json``: the cohort's data dictionary."""
        return self.folder / "participants.json"

    @property
    def table_one(self) -> Path:
        """``table_one.csv``: the cohort by outcome."""
        return self.folder / "table_one.csv"

    @property
    def curation(self) -> Path:
        """``curation.csv``: one row a scan, with its flags or its reason of failure."""
        return self.folder / "curation.csv"

    @property
    def indices(self) -> Path:
        """``indices.csv``: one row a bone, the standard HR-pQCT outcome set."""
        return self.folder / "indices.csv"

    @property
    def scanner_indices(self) -> Path:
        """``indices_scanner.csv``: the same bones by the scanner's software, where the cohort has its work."""
        return self.folder / "indices_scanner.csv"

    @property
    def agreement(self) -> Path:
        """``agreement.csv``: ours beside the scanner's, by bone and index."""
        return self.folder / "agreement.csv"

    @property
    def splits(self) -> Path:
        """``splits.csv``: protocol, repeat, participant_id, fold; read by every later stage."""
        return self.folder / "splits.csv"

    @property
    def bones(self) -> Path:
        """The folder of the bones' density stacks."""
        return self.folder / "bones"

    def stack(self, participant_id: str, bone: str) -> Path:
        """The density stack of one bone: int16 mgHA/cm³, (z, y, x)."""
        return self.bones / f"{participant_id}_{bone}.npy"

    def stack_mask(self, participant_id: str, bone: str) -> Path:
        """The labels of one bone's stack: uint8, 1 trabecular, 2 cortical, 3 another bone."""
        return self.bones / f"{participant_id}_{bone}_mask.npy"

    def stack_record(self, participant_id: str, bone: str) -> Path:
        """Voxel in mm, transform to the scan, flags and indices of one bone's stack."""
        return self.bones / f"{participant_id}_{bone}.json"

    def models(self, bone: str) -> Path:
        """The folder of one bone's trained networks."""
        return self.folder / "models" / bone

    def scores(self, bone: str) -> Path:
        """``scores_<bone>.csv``: out-of-fold and test scores of one bone."""
        return self.folder / f"scores_{bone}.csv"

    def inner_scores(self, bone: str) -> Path:
        """``scores_<bone>_inner.csv``: scores by networks that saw neither of two folds, for strict stacking."""
        return self.folder / f"scores_{bone}_inner.csv"

    def saliency(self, bone: str) -> Path:
        """``saliency_<bone>.npz``: where the networks looked in each held-out woman (heatmaps.py)."""
        return self.folder / f"saliency_{bone}.npz"

    def controls(self, bone: str) -> Path:
        """``controls_<bone>.csv``: what one bone's networks score without the bone, or without its outcome."""
        return self.folder / f"controls_{bone}.csv"

    @property
    def predictions(self) -> Path:
        """``predictions.csv``: score and risk of each patient by each model."""
        return self.folder / "predictions.csv"

    @property
    def models_table(self) -> Path:
        """``models.csv``: what each model is: family, columns, bones, whether it is fused, and its family's headline."""
        return self.folder / "models.csv"

    @property
    def performance(self) -> Path:
        """``performance.csv``: each model's figures with interval, n and events."""
        return self.folder / "performance.csv"

    @property
    def comparisons(self) -> Path:
        """``comparisons.csv``: the planned differences between models, with p values and margins."""
        return self.folder / "comparisons.csv"

    @property
    def curves(self) -> Path:
        """``curves.csv``: smooth calibration curves and decision curves of the families' widest models."""
        return self.folder / "curves.csv"

    @property
    def reclassification(self) -> Path:
        """``reclassification.csv``: women who change side when one model replaces another."""
        return self.folder / "reclassification.csv"

    @property
    def subgroups(self) -> Path:
        """``subgroups.csv``: the AUC by age and by osteoporosis."""
        return self.folder / "subgroups.csv"

    @property
    def optimism(self) -> Path:
        """``optimism.csv``: the best model by chance, permutation, .632+."""
        return self.folder / "optimism.csv"

    @property
    def sample_size(self) -> Path:
        """``sample_size.csv``: how many women each fitted model would need."""
        return self.folder / "sample_size.csv"

    @property
    def classifiers(self) -> Path:
        """``classifiers.csv``: the tabular models by other classifiers."""
        return self.folder / "classifiers.csv"

    @property
    def phenotypes(self) -> Path:
        """``phenotypes.csv``: the group and the embedding of each patient."""
        return self.folder / "phenotypes.csv"

    @property
    def phenotypes_record(self) -> Path:
        """``phenotypes.json``: how groups and picture were made, and what the groups are worth."""
        return self.folder / "phenotypes.json"

    @property
    def groups_beside_preprint(self) -> Path:
        """``groups_beside_preprint.csv``: the group of higher risk, beside what the preprint's abstract says of it."""
        return self.folder / "groups_beside_preprint.csv"

    @property
    def group_comparison(self) -> Path:
        """``group_comparison.csv``: how the patient groups differ."""
        return self.folder / "group_comparison.csv"

    @property
    def thresholds(self) -> Path:
        """``thresholds.csv``: what calling women from each risk upwards would do."""
        return self.folder / "thresholds.csv"

    @property
    def selection(self) -> Path:
        """``selection.csv``: the women chosen by hand in 05_explore."""
        return self.folder / "selection.csv"

    def figures(self, job: Job | str) -> Path:
        """The folder of one job's figures; a stage of all bones may be given by its name, here and below."""
        return self.folder / "figures" / str(job)

    def notebook(self, job: Job | str) -> Path:
        """The executed notebook of one job."""
        return self.folder / "notebooks" / f"{job}.ipynb"

    def page(self, job: Job | str) -> Path:
        """The executed notebook of one job as an HTML page."""
        return self.folder / "notebooks" / f"{job}.html"

    def parameters(self, job: Job | str) -> Path:
        """The parameters of one job; it changes only when they do."""
        return self.folder / "jobs" / f"{job}.json"

    def status(self, job: Job | str) -> Path:
        """How one job ended: done or failed, seconds, error."""
        return self.folder / "jobs" / f"{job}_status.json"

    def log(self, job: Job | str) -> Path:
        """What one job printed."""
        return self.folder / "jobs" / f"{job}.log"

    def require(self, path: Path, *, written_by: str) -> Path:
        """Return `path` if it is there.

        Raises
        ------
        FileNotFoundError
            If it is missing; the message names the stage that writes it.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; run {written_by} on this run folder first.")
        return path


def project_root() -> Path:
    """The folder that relative paths start from, wherever Jupyter's working directory is.

    It is the nearest folder above the working directory that holds the notebooks; without one, the working directory.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks" / "01_data_curation.ipynb").exists():
            return folder
    return here


def resolve(path: str | Path) -> Path:
    """`path` as an absolute path; a relative one starts at the project root."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and put it in place only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix="".join(path.suffixes))
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write `text` to `path`, whole or not at all."""
    with write_whole(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, content: Any) -> Path:
    """Write `content` to `path` as indented JSON."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write `table` to `path` without its index; tab-separated if the name ends in .tsv."""
    with write_whole(path) as part:
        table.to_csv(part, index=False, sep="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
    return path


def read_table(path: Path) -> pd.DataFrame:
    """The table at `path`; ``participant_id``, ``fold`` and ``held_out`` stay text."""
    sep = "\t" if path.suffix == ".tsv" else ","
    return pd.read_csv(path, sep=sep, dtype=dict.fromkeys(("participant_id", "fold", "held_out"), "string"))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; of a folder, that of its files' names and hashes."""
    if path.is_dir():
        names = "".join(f"{file.name} {file_hash(file)}\n" for file in sorted(path.iterdir()) if file.is_file())
        return hashlib.sha256(names.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_reached(code: str) -> list[Path]:
    """The files of deepqct that some code reaches by import, sorted.

    A name on the face of a wing (`__init__.pyi`) stands for the file that defines it, so that code that draws one figure
    does not depend on every other figure.

    Parameters
    ----------
    code : str
        Python source.
    """
    reached: set[Path] = set()
    waiting = _imported(code)
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting |= _imported(file.read_text(encoding="utf-8"))
    return sorted(reached)


def code_hash(code: str) -> str:
    """SHA-256 of some code and of every file of deepqct that it reaches by import, in hexadecimal."""
    digest = hashlib.sha256(code.encode())
    for file in code_reached(code):
        digest.update(file.read_bytes())
    return digest.hexdigest()


class _Uses(ast.NodeVisitor):
    """Every use of a name with what is taken from it: ``dq.plots.roc`` is one use, of three parts."""

    def __init__(self) -> None:
        self.found: list[list[str]] = []

    def visit_Name(self, node: ast.Name) -> None:
        self.found.append([node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts, inner = [inner.attr, *parts], inner.value
        if isinstance(inner, ast.Name):
            self.found.append([inner.id, *parts])
        else:
            self.visit(inner)


def _imported(code: str) -> set[Path]:
    """The files of deepqct that this code imports itself."""
    tree, uses = ast.parse(code), _Uses()
    uses.visit(tree)
    places: dict[str, list[str]] = {}  # a name in this code: where it lies in the package
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            places |= {a.asname or PACKAGE.name: [] for a in node.names if a.name.split(".")[0] == PACKAGE.name}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            places |= {a.asname or a.name: [*node.module.split(".")[1:], a.name] for a in node.names}
    files: set[Path] = set()
    for name, place in places.items():
        taken = [use[1:] for use in uses.found if use[0] == name]
        files = files.union(*(_defining(PACKAGE, [*place, *parts]) for parts in taken))
    return files


def _defining(folder: Path, place: list[str]) -> set[Path]:
    """The file that defines a name, by its place in a wing; for a wing as a whole every file on its face."""
    face = _face(folder)
    if not place:
        return set[Path]().union(*(_defining(folder, [*module, name]) for name, module in face.items()))
    name, *rest = place
    if (folder / name / "__init__.py").exists():
        return _defining(folder / name, rest)
    if (folder / f"{name}.py").exists():
        return {folder / f"{name}.py"}
    return _defining(folder, [*face[name], *place]) if face.get(name) else {folder / "__init__.py"}


@cache
def _face(folder: Path) -> dict[str, list[str]]:
    """The names that a wing hands on, with the module of each; no module for a module itself."""
    stub = folder / "__init__.pyi"
    nodes = ast.parse(stub.read_text(encoding="utf-8")).body if stub.exists() else []
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {a.name: node.module.split(".") if node.module else [] for node in imports for a in node.names}
