"""What leaves a run folder as a whole: the report with all that its links lead to, or a small example of a report."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from deepqct.folder import Run, read_json, write_spreadsheet, write_text, write_whole
from deepqct.report.pages import without_paths
from deepqct.report.report import TABLES, write_report
from deepqct.report.tables import read

# The tables of an example report: those that the page says something about, without a row for each woman or threshold.
_MAIN = (
    "table_one.csv", "models.csv", "performance.csv", "comparisons.csv", "subgroups.csv", "optimism.csv", "sample_size.csv",
    "curation.csv", "group_comparison.csv", "groups_beside_preprint.csv",
)  # fmt: skip
_PICTURES = ("01_data_curation/bones", "03_fusion_and_baselines/bones", "03_fusion_and_baselines/scores",
             "03_fusion_and_baselines/saliency", "03_fusion_and_baselines/differences")  # fmt: skip


def pack_report(run: Run, archive: Path) -> Path:
    """Pack a run's report with the notebooks' pages, its tables and figures into one archive that can be sent.

    The report is written anew from what lies in the run folder. Tables are written for spreadsheets. Neither scans nor
    stacks nor networks are packed; of a real cohort, ids, values and slices of patients are: share it as you would the
    scans.

    Parameters
    ----------
    run : Run
        A run with run.json.
    archive : Path
        The zip file that is written.

    Returns
    -------
    Path
        `archive`.

    Examples
    --------
    >>> import tempfile, zipfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = dq.folder.write_json(folder / "run" / "run.json", {"preset": "smoke", "stages": {}})
    >>> zipfile.ZipFile(dq.report.pack_report(dq.Run(folder / "run"), folder / "a.zip")).namelist()
    ['run/index.html', 'run/run.json']
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / run.folder.resolve().name
        _copy(run, folder, names=TABLES)
        for page in sorted((run.folder / "notebooks").glob("*.html")):
            _copied(page, folder / "notebooks" / page.name)
        for figure in sorted((run.folder / "figures").glob("*/*")):
            if figure.suffix in (".png", ".svg", ".pdf"):
                _copied(figure, folder / figure.relative_to(run.folder))
        write_report(run, folder=folder)
        with write_whole(archive) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                packed.write(file, file.relative_to(folder.parent).as_posix())
    return archive


def example_report(run: Run, folder: Path) -> Path:
    """Write a small report to show what one looks like: the page, its main tables and a few pictures as files.

    Parameters
    ----------
    run : Run
        A run of virtual women.
    folder : Path
        Where it goes; what an earlier example left there is removed first.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ValueError
        If the run is of patients, whose report is nobody's example, or if `folder` holds anything but an example.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> folder = Path(tempfile.mkdtemp())
    >>> record = {"preset": "smoke", "stages": {}, "virtual": True}
    >>> _ = dq.folder.write_json(folder / "run" / "run.json", record)
    >>> dq.report.example_report(dq.Run(folder / "run"), folder / "example").name
    'index.html'
    """
    if not read_json(run.record).get("virtual"):
        raise ValueError(f"{run.folder} is a run of patients; take one of virtual women as an example.")
    old, new = run.folder.resolve(), folder.resolve()
    if old.is_relative_to(new) or new.is_relative_to(old):  # what is there would be removed first
        raise ValueError(f"{folder} is, holds or lies in the run folder that is reported; give another folder.")
    strangers = [path for path in folder.rglob("*") if path.is_file() and not _of_example(path, folder)]
    if strangers:
        raise ValueError(f"{folder} holds {strangers[0].name}, which no example report has; give an empty folder.")
    if folder.exists():
        shutil.rmtree(folder)
    _copy(run, folder, names=_MAIN)
    for name in _PICTURES:
        picture = run.folder / "figures" / f"{name}.png"
        if picture.exists():
            _copied(picture, folder / "pictures" / f"{name.replace('/', '_')}.png")
    return write_report(run, folder=folder)


def _copy(run: Run, folder: Path, *, names: tuple[str, ...]) -> None:
    """Copy the run record and some tables, as spreadsheets read them and without a path of the machine."""
    write_text(folder / "run.json", without_paths(run.record.read_text(encoding="utf-8"), run.folder))
    for name in names:
        path = run.folder / name
        if path.suffix == ".csv" and path.exists():
            write_spreadsheet(folder / name, read(path))
        elif path.exists():
            _copied(path, folder / name)


def _copied(path: Path, target: Path) -> None:
    """Copy one file into a folder that need not be there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _of_example(path: Path, folder: Path) -> bool:
    """Whether a file of a folder is one that an example report has."""
    place = path.relative_to(folder).parts
    if len(place) == 1:
        return place[0] in ("index.html", "run.json", *_MAIN)
    return place[0] == "pictures" and path.suffix == ".png"
