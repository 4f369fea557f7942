"""A folder to work in without a checkout: the notebooks, a page that says how to begin, places for cohort and reports."""

from __future__ import annotations

import shutil
from pathlib import Path

from deepqct.folder import PACKAGE, write_text
from deepqct.run.parameters import shipped_notebooks

_README = """\
# HR-pQCT scans to fracture risk with deepqct

- **By hand:** type `jupyter lab` in this folder and open a notebook in `notebooks/`; its first code cell has its settings.
- **A first look:** `deepqct run virtual` takes 60 virtual women through all notebooks, in about 10 minutes.
- **Your scans:** participants.tsv and scans.tsv go into `cohort/`, scans into `cohort/scans/`; then `deepqct check cohort`.
- **A run of them:** `deepqct run cohort --preset paper --out reports/ours`; given again, it does only what is out of date.
- **On a cluster with Slurm:** `SNAKEMAKE_PROFILE=profiles/slurm deepqct run …`; partitions are named in the profile.
- **Reports:** open `reports/ours/index.html` (of the first look `reports/quick/index.html`); it needs no internet.
- **Pages without code** for readers: `deepqct app reports/ours`. Every command explains itself with `--help`.
- Runs take the notebooks of this folder; where a setting in a cell and the preset differ, the preset counts.
- Cohort and reports are patient data: keep both out of git and mail, and choose ids that name nobody.
"""


def init_folder(folder: str | Path) -> Path:
    """Make a folder for analysts: notebooks, a README, a cluster's profile, the folders ``cohort/scans`` and ``reports``.

    Commands that are given in that folder, and JupyterLab opened in it, take its notebooks and not those of the
    installation.

    Parameters
    ----------
    folder : str or Path
        A new folder, or one that holds none of ``notebooks``, ``README.md`` and ``profiles``; a relative path starts
        at the working directory.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OSError
        If something would be overwritten, or the folder cannot be written; nothing that was there is changed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import deepqct as dq
    >>> folder = dq.run.init_folder(Path(tempfile.mkdtemp()) / "hip-study")
    >>> sorted(path.name for path in folder.iterdir())
    ['README.md', 'cohort', 'notebooks', 'profiles', 'reports']
    >>> try:
    ...     dq.run.init_folder(folder)
    ... except OSError as error:
    ...     print(str(error).partition("hip-study")[2])
     holds notebooks and README.md and profiles already, which init never overwrites; give a new folder.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give a new folder.")
    there = [name for name in ("notebooks", "README.md", "profiles") if (folder / name).exists()]
    there += [name for name in ("cohort", "reports") if (folder / name).is_file()]
    if there:
        raise FileExistsError(
            f"{folder} holds {' and '.join(there)} already, which init never overwrites; give a new folder."
        )
    try:
        for notebook in sorted(shipped_notebooks().glob("*.ipynb")):
            write_text(folder / "notebooks" / notebook.name, notebook.read_text(encoding="utf-8"))
        for profile in sorted((PACKAGE / "run" / "profiles").glob("*/config.yaml")):
            text = profile.read_text(encoding="utf-8")
            write_text(folder / "profiles" / profile.parent.name / profile.name, text)
        write_text(folder / "README.md", _README)
    except OSError:
        for ours in ("notebooks", "profiles"):
            shutil.rmtree(folder / ours, ignore_errors=True)  # ours alone: else a second try would be refused
        raise
    for place in (folder / "cohort" / "scans", folder / "reports"):
        place.mkdir(parents=True, exist_ok=True)
    return folder
