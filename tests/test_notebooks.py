"""The notebooks' anatomy: what makes them readable by hand and runnable headlessly."""

from __future__ import annotations

import ast
import os
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from tqdm.notebook import tqdm as tqdm_notebook

from deepqct.folder import Job, Run, write_json
from deepqct.run import STAGES, Stage, start
from deepqct.run.app import PAGES, SHOWN
from deepqct.run.parameters import declared_parameters

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NO_STAGES = ("06_new_patients", "07_external_validation", "08_study_planner", "review")


def test_every_stage_has_its_notebook():
    """A notebook that no stage names would never run; these alone are no stages."""
    assert [path.stem for path in NOTEBOOKS] == [*STAGES, *NO_STAGES]


@pytest.mark.parametrize("name", PAGES.values())
def test_every_page_of_the_application_shows_a_cell(name):
    """A tag that got lost would leave an empty page."""
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    cells = nbformat.read(path, as_version=4).cells
    assert sum(SHOWN in cell.metadata.get("tags", []) and cell.cell_type == "code" for cell in cells) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_anatomy(path):
    """One H1, one parameters cell, the portable kernel, no outputs, nothing defined, short cells."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    headings = [line for c in notebook.cells if c.cell_type == "markdown" for line in c.source.splitlines()]
    assert sum(line.startswith("# ") for line in headings) == 1
    assert notebook.cells[0].source.startswith("# ")
    assert "**Reads**" in notebook.cells[0].source
    assert "**Writes**" in notebook.cells[0].source
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.metadata.get("tags", []) for c in code].count(["parameters"]) == 1
    assert code[0].metadata.tags == ["parameters"]
    assert f'dq.start("{path.stem}", globals())' in code[1].source
    assert code[-1].source == "stage.finish()"
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None
        assert len(cell.source.splitlines()) <= 15 or cell.metadata.get("tags") == ["parameters"]
        assert not any(line.startswith(("def ", "class ", "!", "%")) for line in cell.source.splitlines())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_name_in_braces_is_filled_in(path):
    """A caption whose second half lost its f would stand as code in every report."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    texts = [node.value for source in cells for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    assert [text for text in texts if isinstance(text, str) and re.search(r"\{\w+\}", text)] == []


@pytest.mark.parametrize(("covariates", "said"), [(None, "2 women"), ("ages", "2 women, indices adjusted for age")])
def test_figures_of_groups_say_what_was_taken_out_of_their_indices(covariates, said):
    """A mean of adjusted indices that is called one of indices is read as low bone density."""
    (path,) = (path for path in NOTEBOOKS if path.stem == "04_clustering")
    lines = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells).splitlines()
    (line,) = (line for line in lines if line.startswith("women = "))
    names = {"found": SimpleNamespace(labels=[1, 2]), "covariates": covariates, "adjust_for": "age"}
    exec(line, names)
    assert names["women"] == said


@pytest.mark.parametrize("stage", [*STAGES, *NO_STAGES])
def test_parameters_are_literals_with_types_and_notes(stage):
    """The parameters cell is the interface of papermill, of the command line and of the person who reads it."""
    parameters = declared_parameters(stage)
    assert parameters["run_dir"].default == ("reports/study" if stage == "08_study_planner" else "reports/quick")
    assert parameters["interactive"].default is True
    for parameter in parameters.values():
        assert parameter.note, parameter.name
        assert parameter.parse(parameter.default, stage=stage) == parameter.default


def test_the_defaults_by_hand_are_the_quick_preset():
    """Whoever opens a notebook after `make report` must see what the report shows."""
    for stage, values in yaml.safe_load(
        (ROOT / "deepqct" / "run" / "presets" / "quick.yaml").read_text(encoding="utf-8")
    ).items():
        defaults = {name: parameter.default for name, parameter in declared_parameters(stage).items()}
        assert values == {name: defaults[name] for name in values}


def test_a_stage_run_by_hand_with_other_parameters_is_done_again(tmp_path, capsys):
    """The report would describe 6 folds, over tables of 3."""
    values = {name: p.default for name, p in declared_parameters("05_explore").items()} | {"run_dir": str(tmp_path)}
    run = Run(tmp_path)
    for other, redone in ((values, False), (values | {"patient": "sub-0001"}, True)):
        write_json(run.parameters("05_explore"), {"parameters": other | {"interactive": False}})
        os.utime(run.parameters("05_explore"), (1, 1))
        start("05_explore", values).finish()
        assert (run.parameters("05_explore").stat().st_mtime > 1) is redone
        assert ("does this stage again" in capsys.readouterr().out) is redone


def test_tables_show_their_texts_whole(tmp_path):
    """A definition or a reason that ends in the middle is none."""
    values = {name: p.default for name, p in declared_parameters("05_explore").items()} | {"run_dir": str(tmp_path)}
    text = "of all spheres " * 20 + "the largest"
    with pd.option_context("display.max_colwidth", 50, "display.precision", 6):
        assert text not in pd.DataFrame({"definition": [text]})._repr_html_()
        start("05_explore", values)
        assert text in pd.DataFrame({"definition": [text]})._repr_html_()


@pytest.mark.parametrize("interactive", [True, False])
def test_a_person_sees_no_twin_of_a_widget_and_the_report_has_it(tmp_path, monkeypatch, interactive):
    """By hand the widget is enough; where papermill runs the notebook there is no widget."""
    seen: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda *shown: seen.extend(shown))
    stage = Stage(Job("05_explore"), Run(tmp_path), {"interactive": interactive}, 0.0)
    words = {"title": "Slices", "caption": "Arrow keys move them."}
    stage.slider("<p>slices</p>", name="slices", twin=True, **words)
    stage.figure(plt.figure().subplots(), name="women", twin=True, **words)
    assert bool(seen) is not interactive
    kept = {file.name for file in Run(tmp_path).figures("05_explore").iterdir()}
    assert {"slices.html", "slices.json", "women.png", "women.json"} <= kept
    stage.slider("<p>slices</p>", name="slices", **words)
    assert seen


@pytest.mark.parametrize("interactive", [True, False])
def test_parameters_are_shown_once(tmp_path, monkeypatch, interactive):
    """A person has them in the cell above; the executed page of a run shows what papermill gave."""
    seen: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda *shown: seen.extend(shown))
    cell = {"run_dir": str(tmp_path), "patient": "highest", "first_bone": "ulna", "threshold": 0.4, "threads": 1}
    start("05_explore", cell | {"interactive": interactive})
    assert len(seen) == (0 if interactive else 1)


def test_a_bar_of_progress_has_a_width(tmp_path, monkeypatch):
    """Made without a total, tqdm's bar was 20 pixels wide for good."""
    made = []
    monkeypatch.setattr("tqdm.auto.tqdm", lambda **how: made.append(tqdm_notebook(display=False, **how)) or made[0])
    move = Stage(Job("05_explore"), Run(tmp_path), {"interactive": True}, 0.0).progress("scans")
    assert made[0].container.children[1].layout.width == "20px"
    began = made[0].start_t
    move(1, 4)
    move(2, 4)
    assert made[0].container.children[1].layout.width is None
    assert (made[0].n, made[0].total, made[0].start_t) == (2, 4, began)
    move(4, 4)
