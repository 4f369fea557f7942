"""Pages without code: what they show, and of which run."""

from __future__ import annotations

from unittest.mock import patch

import nbformat
import pytest
import synthetic
from typer.testing import CliRunner

import deepqct as dq
from deepqct.cli import app
from deepqct.cohort import decide
from deepqct.folder import Run, write_json
from deepqct.run.app import _free, app_notebooks, overview
from deepqct.run.inputs import cohort_folder

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


def test_a_page_says_in_one_sentence_what_went_wrong(tmp_path):
    """Somebody who never saw a notebook reads no traceback."""
    run = synthetic.explored_run(tmp_path / "run")
    write_json(run.parameters("01_data_curation"), CURATION)
    _, review = app_notebooks(run, tmp_path / "pages")
    cell = nbformat.read(review, as_version=4).cells[-1]
    said: list[str] = []
    with patch("IPython.display.display", lambda shown: said.append(shown.data)):
        exec(
            cell.source,
            {
                "dq": dq,
                "cohort_dir": str(tmp_path / "nowhere"),
                "outcome": "hip",
                "outside": "refuse",
                "pseudonyms": "",
            },
        )
    assert len(said) == 1
    assert "nowhere" in said[0] or "missing" in said[0]
    assert "\n" not in said[0]
    assert "Traceback" not in said[0]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_the_cohort_is_found_from_every_working_directory(tmp_path, monkeypatch, where):
    """A run keeps relative places; the app used to look for them where it was started."""
    run = Run(tmp_path / "study" / "reports" / "ours")
    given = {"run_dir": "reports/ours", "cohort_dir": "data/ours"}
    write_json(run.parameters("01_data_curation"), {"parameters": given})
    (tmp_path / where).mkdir()
    monkeypatch.chdir(tmp_path / where)
    assert cohort_folder(run) == (tmp_path / "study" / "data" / "ours").resolve()
    write_json(run.parameters("01_data_curation"), {"parameters": given | {"cohort_dir": str(tmp_path / "far")}})
    assert cohort_folder(run) == tmp_path / "far"


def test_the_start_page_counts_what_stands(tmp_path):
    """What was taken back is not judged, and a spoilt table is said."""
    run = synthetic.explored_run(tmp_path / "run")
    write_json(run.parameters("01_data_curation"), {"parameters": {"run_dir": "run", "cohort_dir": "cohort"}})
    folder = tmp_path / "cohort"
    folder.mkdir()
    first = synthetic.curation().iloc[0]
    for decision in ("accept", "undo", "reject"):
        decide(folder, reviewer="AB", participant_id=first["participant_id"], site=first["site"], decision=decision)
        assert overview(run)["judged"] == int(decision != "undo")
    n = len(synthetic.curation())
    assert overview(run)["readers"] == [f"AB: 1 judged, {n - 1} left"]
    (folder / "review.csv").write_text("who\n", encoding="utf-8")
    assert "review.csv has the columns who" in overview(run)["fault"]


@pytest.mark.parametrize("port", [0, -1, 65536, 70000])
def test_a_port_that_cannot_be_is_one_sentence(port):
    """A socket would raise an error of its own, or take any port for 0."""
    with pytest.raises(ValueError, match=rf"^There is no port {port}; give one from 1 to 65535 with --port\.$"):
        _free(port)
    assert CliRunner().invoke(app, ["app", "reports/none", "--port", str(port)]).exit_code == 2


def test_the_last_ports_are_tried_and_no_further():
    """Above them there is none."""
    assert 65500 <= _free(65500) <= 65535
