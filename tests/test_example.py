"""The example report of this repository, and what `deepqct report` packs: small, whole, and silent about the machine."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
import synthetic
from conftest import ROOT
from typer.testing import CliRunner

from deepqct.cli import app
from deepqct.folder import Run, write_json, write_text
from deepqct.report import example_report, pack_report

EXAMPLE = ROOT / "reports" / "example"
_LINK = re.compile(r'(?:href|src)="([^"#][^"]*)"')


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An example made of a run of random numbers."""
    folder = tmp_path_factory.mktemp("example")
    run = synthetic.finished_run(folder / "run")
    page = write_text(run.page("01_data_curation"), "<p>step by step</p>")
    assert page.exists()
    return example_report(run, folder / "example").parent


@pytest.fixture(params=["kept", "made"])
def example(request) -> Path:
    """The example in the repository, and one made now."""
    return EXAMPLE if request.param == "kept" else request.getfixturevalue("made")


def test_it_is_small(example):
    """Everybody who clones the repository carries it."""
    files = [path for path in example.rglob("*") if path.is_file()]
    assert (example / "index.html") in files
    assert (example / "table_one.csv") in files
    assert sum(path.stat().st_size for path in files) < 3_000_000


def test_its_links_lead_to_its_own_files(example):
    """A link to a notebook that is not there makes the first page that anybody sees a broken one."""
    links = _LINK.findall((example / "index.html").read_text(encoding="utf-8"))
    own = [link for link in links if not link.startswith(("data:", "https://doi.org/"))]
    assert "performance.csv" in own
    for link in own:
        target = (example / link).resolve()
        assert target.is_relative_to(example.resolve()), link
        assert target.exists(), link


def test_it_says_that_it_is_virtual(example):
    """Whoever finds it by a search engine must not take its women for patients."""
    page = (example / "index.html").read_text(encoding="utf-8")
    assert "<strong>Virtual cohort</strong>" in page
    assert "no patient is behind any number" in page


def test_it_names_no_place_of_the_machine(example):
    """A path can name a person or a project that nobody should know of."""
    for path in example.rglob("*"):
        if path.suffix in (".html", ".csv", ".json"):
            text = re.sub(r"data:[\w/+]+;base64,[\w+/=]+", "", path.read_text(encoding="utf-8-sig"))
            found = re.search(r"(?<![\w.~:/<…-])/(?:home|root|tmp|work|Users|mnt|opt|usr|var)/\S*|[A-Z]:\\\S+", text)
            assert found is None, (path.name, found)


def test_an_example_takes_no_place_of_other_files_and_no_patients(made, tmp_path):
    """A mistyped folder would be emptied, and a hospital's report published."""
    run = synthetic.finished_run(tmp_path / "run", figures=())
    kept = write_text(tmp_path / "thesis" / "chapter.html", "years of work")
    with pytest.raises(ValueError, match=r"holds chapter\.html"):
        example_report(run, kept.parent)
    assert kept.exists()
    again = example_report(Run(made.parent / "run"), made)  # over an earlier example
    assert again.exists()
    write_json(run.record, {"stages": {}, "virtual": False})
    with pytest.raises(ValueError, match="run of patients"):
        example_report(run, tmp_path / "example")


def test_a_packed_report_keeps_its_links(tmp_path):
    """A mailed page loses its notebooks and tables; what is packed with them does not."""
    run = synthetic.finished_run(tmp_path / "quick")
    write_text(run.page("01_data_curation"), "<p>step by step</p>")
    write_text(run.folder / "bones" / "sub-0001_radius.npy", "voxels")
    with zipfile.ZipFile(pack_report(run, tmp_path / "quick-report.zip")) as packed:
        packed.extractall(tmp_path / "elsewhere")
    page = tmp_path / "elsewhere" / "quick" / "index.html"
    links = [
        link for link in _LINK.findall(page.read_text(encoding="utf-8")) if not link.startswith(("data:", "https:"))
    ]
    assert "notebooks/01_data_curation.html" in links
    assert "predictions.csv" in links
    assert all((page.parent / link).exists() for link in links)
    names = {path.suffix for path in page.parent.rglob("*")}
    assert {".pdf", ".svg", ".png", ".csv"} <= names
    assert ".npy" not in names
    assert (page.parent / "performance.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_the_command_writes_each_of_them(tmp_path):
    """What the help promises."""
    run = synthetic.finished_run(tmp_path / "quick", figures=())
    for call in ([], ["--zip"], ["--example", str(tmp_path / "example")]):
        done = CliRunner().invoke(app, ["report", str(run.folder), *call])
        assert done.exit_code == 0, done.output
    for written in (run.report, tmp_path / "quick-report.zip", tmp_path / "example" / "index.html"):
        assert written.exists()
    missing = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere")])
    assert "run deepqct run on this run folder first" in str(missing.exception)
