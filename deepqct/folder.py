"""Where every file of a run lies (no other code builds a path), how files are written, and what results depend on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepqct.terms import BONES

# Columns of our tables that are text.
_TEXT = (
    "participant_id", "session", "centre", "fold", "held_out", "reason", "flags", "notes", "sha256", "bones",
)  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT)  # no space left, or none for this person
_OS_ERROR = re.compile(r"\(os error \d+\)")  # how safetensors says what the system said
_FORMULA = re.compile(r"\s*[=@+\-]|[\t\r]")  # how a text begins that a spreadsheet runs, unless it is a number:
_NUMBER = re.compile(r"[+-]\d*\.?\d+(e[+-]?\d+)?( ?%)?( ?\([^()=|!]*\))?")  # perhaps with its interval or SD
# What would be run where a spreadsheet divides the text at one of these signs; figures like "; −0.2 (0.1)" are none.
_INNER_FORMULA = re.compile(r"([;,\t\n]\s*)(?=[=@]|[+\-]\s*[^\d.\s)∞]|[+\-][^;,\t\n]*[|!]|[+\-]\s*[\d.]+\s*[+\-*/^&])")
PACKAGE = Path(__file__).parent  # where deepqct itself lies, with the data that it brings


class FileError(ValueError):
    """A file that is not what its place demands; the message names it and says what to do.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> path = dq.folder.write_text(Path(tempfile.mkdtemp()) / "settings.json", "")
    >>> try:
    ...     dq.folder.read_json(path)
    ... except dq.folder.FileError as error:
    ...     print(str(error).replace(str(path), path.name))
    settings.json is not valid JSON (it is empty); correct it or remove the file.
    """


@dataclass(frozen=True)
class Job:
    """One job of a run: a stage, or a stage for one bone.

    Parameters
    ----------
    stage : str
        The name of its notebook, such as 02_train_bone.
    bone : str
        The bone it is for; empty for a stage of all bones.

    Examples
    --------
    >>> import deepqct as dq
    >>> str(dq.folder.Job("02_train_bone", "radius"))
    '02_train_bone_radius'
    """

    stage: str
    bone: str = ""

    def __str__(self) -> str:
        """The job's name, which the names of its files begin with."""
        return f"{self.stage}_{self.bone}" if self.bone else self.stage


@dataclass(frozen=True)
class Run:
    """One run folder: the files that the stages pass to each other.

    Parameters
    ----------
    folder : Path
        The run folder, for instance ``reports/quick``.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> dq.Run(Path("reports/quick")).stack("sub-0001", "radius").as_posix()
    'reports/quick/bones/sub-0001_radius.npy'
    >>> dq.Run(Path("reports/quick"))
    Run(reports/quick)
    """

    folder: Path

    def __repr__(self) -> str:
        """The folder alone; nothing in it is looked at."""
        return f"Run({self.folder})"

    @property
    def virtual(self) -> Path:
        """Where 00_virtual_cohort writes: ``virtual/cohort``, as a hospital would have it, and ``virtual/truth``."""
        return self.folder / "virtual"

    @property
    def settings(self) -> Path:
        """``settings.json``: cohort and a hash of its place, preset, outcome and bones, as resolved before the run."""
        return self.folder / "settings.json"

    @property
    def inputs(self) -> Path:
        """``jobs/inputs.json``: in what state the cohort's files were; it changes only when they do."""
        return self.folder / "jobs" / "inputs.json"

    @property
    def running(self) -> Path:
        """``jobs/running.json``: host and process of the run that is at work in the folder; gone when it ends."""
        return self.folder / "jobs" / "running.json"

    @property
    def record(self) -> Path:
        """``run.json``: what was run, where, on which inputs, with which parameters and versions; hashes of all files."""
        return self.folder / "run.json"

    @property
    def tidied(self) -> Path:
        """``jobs/tidied.json``: what `deepqct tidy` removed, and when."""
        return self.folder / "jobs" / "tidied.json"

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
    def protocol(self) -> Path:
        """``protocol.csv``: how the scans were made, by their headers, and what differs; no date, no name."""
        return self.folder / "protocol.csv"

    @property
    def scanners(self) -> Path:
        """``scanners.csv``: whether scanner or centre goes with the outcome; both are numbered."""
        return self.folder / "scanners.csv"

    @property
    def indices(self) -> Path:
        """``indices.csv``: one row a bone, the standard HR-pQCT outcome set."""
        return self.folder / "indices.csv"

    @property
    def texture(self) -> Path:
        """``texture.csv``: one row a bone, the texture features of `deepqct.bones.measure_texture`."""
        return self.folder / "texture.csv"

    @property
    def scanner_indices(self) -> Path:
        """``indices_scanner.csv``: indices of the same bones by the scanner's software, where the cohort has them."""
        return self.folder / "indices_scanner.csv"

    @property
    def agreement(self) -> Path:
        """``agreement.csv``: how far our indices agree with the scanner's, by bone and index."""
        return self.folder / "agreement.csv"

    def session(self, session: str) -> Run:
        """The folder of another session of the same women: their curation, which serves precision and no model."""
        return Run(self.folder / "sessions" / session)

    def registered_pair(self, participant_id: str, site: str) -> Path:
        """``sessions/registered/…``: two scans of one woman, measured in the region that both show."""
        return self.folder / "sessions" / "registered" / f"{participant_id}_{site}.json"

    @property
    def repeats(self) -> Path:
        """``repeats.csv``: indices of every session of women scanned several times, one row a bone and session."""
        return self.folder / "repeats.csv"

    def repeat_scores(self, bone: str) -> Path:
        """``scores_<bone>_repeats.csv``: scores of every session by the network that did not see her."""
        return self.folder / f"scores_{bone}_repeats.csv"

    @property
    def noise_costs(self) -> Path:
        """``noise_costs.csv``: what the noise of a scan costs the AUC of networks and of fused risks."""
        return self.folder / "noise_costs.csv"

    @property
    def repeat_risks(self) -> Path:
        """``risks_repeats.csv``: scores and risks of every session by the models of the fold that held her out."""
        return self.folder / "risks_repeats.csv"

    @property
    def precision(self) -> Path:
        """``precision.csv``: precision of each index from women scanned several times, and which change is noise."""
        return self.folder / "precision.csv"

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
        """The record of one bone's stack: voxel in mm, place in the scan, flags and indices."""
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

    def training(self, bone: str) -> Path:
        """``training_<bone>.csv``: the AUC of one bone's networks in the women of their training and in those held out."""
        return self.folder / f"training_{bone}.csv"

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
        """``models.csv``: what each model is: family, columns, bones, whether it is fused or the family's headline."""
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
        """``optimism.csv``: how much AUCs may owe to chance or overfitting: best of k models, permutation, .632+."""
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
    def study(self) -> Path:
        """``study.csv``: what a planned study can show."""
        return self.folder / "study.csv"

    @property
    def thresholds(self) -> Path:
        """``thresholds.csv``: what calling women from each risk upwards would do."""
        return self.folder / "thresholds.csv"

    @property
    def selection(self) -> Path:
        """``selection.csv``: the women chosen by hand in 05_explore."""
        return self.folder / "selection.csv"

    @property
    def bundle(self) -> Path:
        """``bundle``: the trained model as it leaves its cohort."""
        return self.folder / "bundle"

    @property
    def new_women(self) -> Path:
        """``new_women``: what 06_new_patients says of women who are not in the run; virtual ones are drawn there."""
        return self.folder / "new_women"

    @property
    def external(self) -> Path:
        """``external``: how the bundle does on another cohort (07); a virtual one is drawn there."""
        return self.folder / "external"

    def figures(self, job: Job | str) -> Path:
        """The folder of one job's figures; here and below, a stage of all bones may be given by its name."""
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

    def part(self, part: object) -> Path:
        """What one part of a job did before it: a batch of scans, or the networks of a fold; written when it is done."""
        return self.folder / "jobs" / "parts" / f"{part}.json"

    def failure(self, part: object) -> Path:
        """Why one part of a job failed."""
        return self.folder / "jobs" / "parts" / f"{part}_failed.json"

    def at_work(self, job: object) -> Path:
        """Where one job or part is at work; removed when it ends, so that one that was killed is known by it."""
        return self.folder / "jobs" / "at_work" / f"{job}.json"

    def _repr_html_(self) -> str:
        """What each stage has left in the run folder, and what to call next, for a notebook; no table is opened."""
        trained = ", ".join(path.name for path in map(self.scores, BONES) if path.exists())
        last = (self.indices, self.performance, self.phenotypes, self.thresholds, self.report)
        there = [path.name if path.exists() else "" for path in last]
        names = ("01 curation", "02 networks", "03 models", "04 groups", "05 explorer", "report")
        found = dict(zip(names, (there[0], trained, *there[1:]), strict=True))
        rows = "".join(f"<tr><th>{name}</th><td>{file or 'not yet'}</td></tr>" for name, file in found.items())
        complete = "<code>dq.folder.read_table(run.performance)</code> is each model's figures, with n and events"
        missing = "<code>deepqct run COHORT --out RUN</code> in a terminal makes what is not there yet"
        then = complete if self.performance.exists() else missing
        return f"<div><b>Run</b> {escape(str(self.folder))}<table>{rows}</table>Next:<br>{then}</div>"

    def require(self, path: Path, *, written_by: str) -> Path:
        """Return `path` if it exists; `written_by` is the stage that writes it.

        Raises
        ------
        FileNotFoundError
            If it is missing; the message names that stage, or says that the run was tidied.
        """
        if not path.exists() and path.relative_to(self.folder).as_posix() in self.tidied_files():
            raise FileNotFoundError(
                f"{path} was removed by deepqct tidy; give the deepqct run command of this run again, which makes it anew."
            )
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; run {written_by} on this run folder first.")
        return path

    def tidied_files(self) -> dict[str, str]:
        """The files that `deepqct tidy` removed and that are not there, by their path in the folder, with the day."""
        if not self.tidied.exists():
            return {}
        return {name: when for name, when in read_json(self.tidied).items() if not (self.folder / name).exists()}


def project_root() -> Path:
    """The folder that relative paths start from, wherever Jupyter's working directory is.

    It is the nearest folder above the working directory that holds the notebooks; without one, the working directory.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.folder.project_root() == dq.folder.resolve(".")
    True
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks" / "01_data_curation.ipynb").exists():
            return folder
    return here


def resolve(path: str | Path) -> Path:
    """`path` as an absolute path; a relative one starts at the project root.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.folder.resolve("reports/quick").relative_to(dq.folder.project_root()).as_posix()
    'reports/quick'
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


class NotWrittenError(OSError):
    """A file that could not be written, as when its disk is full: no fault of what was to be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> try:
    ...     dq.folder.write_text(Path("/dev/null/note.txt"), "two words")
    ... except dq.folder.NotWrittenError as error:
    ...     print(str(error).partition(" (")[0])
    /dev/null/note.txt cannot be written
    """


@contextmanager
def write_whole(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Give a temporary path to write to; the file takes the place of `path` only if the block ends without an error.

    Who may read and write it, `mode` says, less what the umask forbids, from its first byte on.

    Raises
    ------
    NotWrittenError
        If the folder cannot be written, or its disk is full; the message names the file and says why.

    Examples
    --------
    >>> import tempfile
    >>> import deepqct as dq
    >>> path = dq.folder.resolve(tempfile.mkdtemp()) / "note.txt"
    >>> with dq.folder.write_whole(path) as unfinished:
    ...     _ = unfinished.write_text("two words")
    >>> path.read_text()
    'two words'
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.parent / f".part-{secrets.token_hex(8)}{''.join(path.suffixes)}"
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    except OSError as error:
        raise not_written(path, error) from error
    try:
        yield unfinished
        unfinished.replace(path)
    except NotWrittenError:  # of another file within this one
        raise
    except OSError as error:
        # Of a file that is read meanwhile, the system says the name; of bytes that it does not take, none.
        if (
            error.filename is None
            or {error.filename, error.filename2} & {str(unfinished), unfinished}
            or is_full(error)
        ):
            raise not_written(path, error) from error
        raise
    except Exception as error:
        if _OS_ERROR.search(str(error)):
            raise not_written(path, error) from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk is full, or the part of it that a person may use.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.folder.is_full(OSError(28, "No space left on device"))
    True
    """
    return isinstance(error, OSError) and error.errno in _FULL


def not_written(path: Path, error: Exception) -> NotWrittenError:
    """The error of a file or folder that cannot be written, in one sentence.

    Examples
    --------
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> print(dq.folder.not_written(Path("reports/ours"), OSError(30, "Read-only file system")))
    reports/ours cannot be written (Read-only file system); free space on its disk, or take a folder that you may ...
    """
    why = " ".join(str(getattr(error, "strerror", None) or error).split())
    return NotWrittenError(
        f"{path} cannot be written ({why}); free space on its disk, or take a folder that you may write to."
    )


def write_text(path: Path, text: str, *, time_ns: int | None = None) -> Path:
    """Write `text` to `path` as UTF-8, whole or not at all, and return `path`; `time_ns` is the file's time if not now.

    Examples
    --------
    >>> import tempfile
    >>> import deepqct as dq
    >>> path = dq.folder.resolve(tempfile.mkdtemp()) / "note.txt"
    >>> dq.folder.write_text(path, "two words").read_text()
    'two words'
    """
    with write_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
        if time_ns is not None:
            os.utime(unfinished, ns=(time_ns, time_ns))
    return path


def write_json(path: Path, content: Any, *, time_ns: int | None = None) -> Path:
    """Write `content` to `path` as indented JSON, and return `path`; `time_ns` as in `write_text`.

    Examples
    --------
    >>> import tempfile
    >>> import deepqct as dq
    >>> path = dq.folder.resolve(tempfile.mkdtemp()) / "woman.json"
    >>> dq.folder.write_json(path, {"age": 62}).read_text().split()
    ['{', '"age":', '62', '}']
    """
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n", time_ns=time_ns)


def write_array(path: Path, array: NDArray[Any]) -> Path:
    """Write `array` to `path` as .npy, whole or not at all, and return `path`.

    What numpy itself writes to a file may lack its last bytes on a full disk, and nothing is said.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import deepqct as dq
    >>> path = dq.folder.resolve(tempfile.mkdtemp()) / "stack.npy"
    >>> np.load(dq.folder.write_array(path, np.arange(3))).tolist()
    [0, 1, 2]
    """
    with write_whole(path) as unfinished, unfinished.open("wb") as file:
        np.save(SimpleNamespace(write=file.write), array)
    return path


def read_json(path: Path) -> Any:
    """The content of the JSON file at `path`, with or without the mark that Notepad writes before UTF-8.

    Raises
    ------
    FileError
        If it is empty, cut off, nested without end or no JSON in UTF-8; the message names it.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.folder.read_json(dq.run.example_run().dictionary)["age"]["Units"]
    'years'
    """
    data = path.read_bytes()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        # UTF-16 may come without the mark that would say so, and its letters are then followed by zeros.
        if isinstance(error, UnicodeDecodeError) or b"\0" in data:
            raise FileError(f"{path} is not text in UTF-8; save it again as UTF-8.") from error
        why = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "a number of too many digits"
        why = "it is empty" if not data.strip() else "nested too deeply" if isinstance(error, RecursionError) else why
        raise FileError(f"{path} is not valid JSON ({why}); correct it or remove the file.") from error


def write_table(path: Path, table: pd.DataFrame, *, mode: int = 0o666) -> Path:
    """Write `table` to `path` without its index, tab-separated if the name ends in .tsv, and return `path`.

    A text that a spreadsheet would run as a formula gets an apostrophe before it; `mode` is as of `write_whole`.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> path = dq.folder.resolve(tempfile.mkdtemp()) / "scores.csv"
    >>> dq.folder.write_table(path, pd.DataFrame({"fold": ["0"], "score": [0.4]})).read_text().split()
    ['fold,score', '0,0.4']
    """
    with write_whole(path, mode=mode) as unfinished:
        sep = "\t" if path.suffix == ".tsv" else ","
        _for_spreadsheets(table).to_csv(unfinished, index=False, sep=sep, lineterminator="\n")
    return path


def write_spreadsheet(path: Path, table: pd.DataFrame) -> Path:
    r"""Write `table` to `path` for people: with the mark by which spreadsheets know UTF-8, and plain minus signs.

    `read_table` and pandas read it as any other table.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> import deepqct as dq
    >>> path = dq.folder.resolve(tempfile.mkdtemp()) / "table_one.csv"
    >>> table = pd.DataFrame({"variable": ["T-score"], "all": ["−2.1 (0.9)"]})
    >>> dq.folder.write_spreadsheet(path, table).read_bytes()[:3]
    b'\xef\xbb\xbf'
    >>> dq.folder.read_table(path)["all"].tolist()
    ['-2.1 (0.9)']
    """
    with write_whole(path) as unfinished:
        _for_spreadsheets(table, minus=True).to_csv(unfinished, index=False, lineterminator="\n", encoding="utf-8-sig")
    return path


def inert(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet would run, and without carriage returns.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.folder.inert("=1+1"), dq.folder.inert("-1.5"), dq.folder.inert("it is well")
    ("'=1+1", '-1.5', 'it is well')
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    divided = _INNER_FORMULA.sub(r"\1'", plain)
    return f"'{divided}" if _FORMULA.match(plain) and not _NUMBER.fullmatch(plain) else divided


def _for_spreadsheets(table: pd.DataFrame, *, minus: bool = False) -> pd.DataFrame:
    """The table with an apostrophe before each text that a spreadsheet would run, and plain minus signs if `minus`.

    A carriage return would begin a row, as pandas does not quote it, and some spreadsheets divide at semicolons, too.
    """

    def safe(text: Any) -> Any:
        return inert(text.replace("−", "-") if minus else text) if isinstance(text, str) else text

    changed = {}
    for name in table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]:
        new = {value: safe(value) for value in table[name].dropna().unique() if safe(value) != value}
        if new:
            changed[name] = table[name].map(lambda value, new=new: new.get(value, value))
    return table.assign(**changed).rename(columns=safe)


def read_table(path: Path) -> pd.DataFrame:
    """The table at `path`; its columns of ids, folds and words are text, also where they are empty.

    Only an empty cell is a missing value: a centre may be called NA.

    Examples
    --------
    >>> import deepqct as dq
    >>> dq.folder.read_table(dq.run.example_run().splits)["fold"].unique().tolist()
    ['0', '1']
    """
    sep = "\t" if path.suffix == ".tsv" else ","
    return pd.read_csv(path, sep=sep, dtype=dict.fromkeys(_TEXT, "string"), keep_default_na=False, na_values=[""])


def file_hash(path: Path) -> str:
    """SHA-256 of the bytes of the file at `path`, in hexadecimal; of a folder, that of its files' names and hashes.

    Examples
    --------
    >>> import tempfile
    >>> import deepqct as dq
    >>> path = dq.folder.resolve(tempfile.mkdtemp()) / "note.txt"
    >>> dq.folder.file_hash(dq.folder.write_text(path, "two words"))[:8]
    'a03f1d61'
    """
    if path.is_dir():
        names = "".join(f"{file.name} {file_hash(file)}\n" for file in sorted(path.iterdir()) if file.is_file())
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()  # a name may be of any bytes
    if path.exists() and not path.is_file():  # it may never end
        raise OSError(f"{path} is no plain file; copy it there itself.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
