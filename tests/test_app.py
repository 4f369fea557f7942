"""Pages without code: what they show, and of which run."""

from __future__ import annotations

import nbformat
import pytest
import synthetic

from deepqct.app import app_notebooks
from deepqct.folder import Run, write_json

CURATION = {"parameters": {"cohort_dir": "data/ours", "outcome": "hip"}}


def test_a_page_has_the_parameters_of_its_run_and_no_more_than_it_shows(tmp_path):
    """A page of another run, or one that curates again when somebody opens it, would be worse than none."""
    run = synthetic.explored_run(tmp_path / "run")
    write_json(run.parameters("01_data_curation"), CURATION)
    paths = app_notebooks(run, tmp_path / "pages")
    assert [path.stem for path in paths] == ["Look at single women", "Judge the scans"]
    explore, review = (nbformat.read(path, as_version=4) for path in paths)
    for page in (explore, review):
        nbformat.validate(page)
        assert f"run_dir: str = {str(run.folder)!r}" in page.cells[1].source
        assert page.cells[2].source.startswith("%%capture")
        assert "no patient is behind any number" in page.cells[0].source
        assert "**Reads**" not in page.cells[0].source
    assert "data/ours" in review.cells[1].source
    assert "outcome: str = 'hip'" in review.cells[1].source
    assert "Explorer(" in explore.cells[-1].source
    assert "ReviewPanel(" in review.cells[-1].source
    assert "reader_agreement(" not in "".join(cell.source for cell in review.cells)


def test_before_the_groups_there_is_the_review_alone_and_before_the_curation_nothing(tmp_path):
    """Readers judge while the networks train; without a curation there is nothing to show."""
    run = synthetic.explored_run(tmp_path / "run", virtual=False)
    run.phenotypes.unlink()
    write_json(run.parameters("01_data_curation"), CURATION)
    (path,) = app_notebooks(run, tmp_path / "pages")
    assert path.stem == "Judge the scans"
    assert "irtual" not in path.read_text(encoding="utf-8").replace("virtual/cohort", "")
    with pytest.raises(FileNotFoundError, match="run 01_data_curation"):
        app_notebooks(Run(tmp_path / "none"), tmp_path / "pages")
