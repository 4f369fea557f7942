"""Pages without code: what they show, and of which run."""

from __future__ import annotations

import nbformat
import pytest
import synthetic

from deepqct.folder import Run, write_json
from deepqct.run.app import app_notebooks

CURATION = {"parameters": {"cohort_dir": "data/ours", "outcome": "hip"}}


def test_a_page_has_the_parameters_of_its_run_and_no_more_than_it_shows(tmp_path):
    """A page of another run, or one that curates again when somebody opens it, would be worse than none."""
    run = synthetic.explored_run(tmp_path / "run")
    write_json(run.parameters("01_data_curation"), CURATION)
    own = {
        "run_dir": "x",
        "patient": "highest",
        "first_bone": "tibia",
        "threshold": 0.2,
        "threads": 1,
        "interactive": False,
    }
    write_json(run.parameters("05_explore"), {"parameters": own})
    paths = app_notebooks(run, tmp_path / "pages")
    assert [path.stem for path in paths] == ["Look at single women", "Judge the scans"]
    explore, review = (nbformat.read(path, as_version=4) for path in paths)
    for page in (explore, review):
        nbformat.validate(page)
        assert f"run_dir: str = {str(run.folder)!r}" in page.cells[1].source
        assert "no patient is behind any number" in page.cells[0].source
        assert "**Reads**" not in page.cells[0].source
    assert "threshold: float = 0.2" in explore.cells[1].source
    assert "first_bone: str = 'tibia'" in explore.cells[1].source
    assert "interactive: bool = True" in explore.cells[1].source
    assert "data/ours" in review.cells[1].source
    assert "outcome: str = 'hip'" in review.cells[1].source
    assert "Explorer(" in explore.cells[-1].source
    assert "ReviewPanel(" in review.cells[-1].source
    assert "reader_agreement(" not in "".join(cell.source for cell in review.cells)


def test_a_page_leaves_the_figures_of_the_run_and_shows_no_parameters(tmp_path, capsys):
    """Opening a page must not empty the report."""
    run = synthetic.explored_run(tmp_path / "run")
    write_json(run.parameters("01_data_curation"), CURATION)
    write_json(run.figures("05_explore") / "women.json", {"title": "a", "caption": "b", "order": 0})
    path, _ = app_notebooks(run, tmp_path / "pages")
    cells = nbformat.read(path, as_version=4).cells
    exec("\n".join(cell.source for cell in cells[1:3]), {})
    assert (run.figures("05_explore") / "women.json").exists()
    assert capsys.readouterr().out == ""


def test_before_the_groups_there_is_the_review_alone_and_before_the_curation_nothing(tmp_path):
    """Readers judge while the networks train; without a curation there is nothing to show."""
    run = synthetic.explored_run(tmp_path / "run", virtual=False)
    run.phenotypes.unlink()
    write_json(run.parameters("01_data_curation"), CURATION)
    (path,) = app_notebooks(run, tmp_path / "pages")
    assert path.stem == "Judge the scans"
    assert "irtual" not in path.read_text(encoding="utf-8").replace("virtual/cohort", "")
    run.parameters("01_data_curation").unlink()
    with pytest.raises(FileNotFoundError, match="does not say of which cohort it is"):
        app_notebooks(run, tmp_path / "pages")
    with pytest.raises(FileNotFoundError, match="run 01_data_curation"):
        app_notebooks(Run(tmp_path / "none"), tmp_path / "pages")
