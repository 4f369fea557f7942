"""Where every file of a run lies, and how files are written: whole or not at all.

Nobody else in the package or in a notebook builds a path by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

BONES = ("radius", "ulna", "tibia", "fibula")
SITES = {"wrist": ("radius", "ulna"), "ankle": ("tibia", "fibula")}


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

    def figures(self, job: str) -> Path:
        """The folder of one job's figures; a job is a stage, or a stage of one bone."""
        return self.folder / "figures" / job

    def notebook(self, job: str) -> Path:
        """The executed notebook of one job."""
        return self.folder / "notebooks" / f"{job}.ipynb"

    def page(self, job: str) -> Path:
        """The executed notebook of one job as an HTML page."""
        return self.folder / "notebooks" / f"{job}.html"

    def parameters(self, job: str) -> Path:
        """The parameters of one job; it changes only when they do."""
        return self.folder / "jobs" / f"{job}.json"

    def status(self, job: str) -> Path:
        """How one job ended: done or failed, seconds, error."""
        return self.folder / "jobs" / f"{job}_status.json"

    def log(self, job: str) -> Path:
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


def virtual_of(run: Run) -> dict[str, Any]:
    """What a run's participants.json says of a virtual cohort (scenario, attainable_auc); empty for a real one."""
    content = read_json(run.dictionary) if run.dictionary.exists() else {}
    return dict(content.get("virtual") or {})


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


def say(line: str) -> None:
    """Print one plain line at once, so that a log tells where a long job is."""
    print(line, flush=True)  # noqa: T201


def bones_of(run: Run) -> tuple[str, ...]:
    """The bones that a run was asked for; all four where nobody asked."""
    asked = read_json(run.settings).get("bones") if run.settings.exists() else None
    return BONES if asked is None else tuple(bone for bone in BONES if bone in asked)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; of a folder, that of its files' names and hashes."""
    if path.is_dir():
        names = "".join(f"{file.name} {file_hash(file)}\n" for file in sorted(path.iterdir()) if file.is_file())
        return hashlib.sha256(names.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
