"""The wings' faces: what they hand on, how light they are, and what depends on what lies behind them."""

from __future__ import annotations

import ast
import importlib
import inspect
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from deepqct import reach
from deepqct.run import STAGES
from deepqct.run.jobs import stage_hash

PACKAGE = ROOT / "deepqct"
WINGS = ["", *sorted(path.parent.name for path in PACKAGE.glob("*/__init__.pyi"))]


def stub_names(wing: str) -> dict[str, str]:
    """What a wing's stub hands on: name, and the module that defines it."""
    stub = ast.parse((PACKAGE / wing / "__init__.pyi").read_text(encoding="utf-8"))
    nodes = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in nodes for alias in node.names}


@pytest.mark.parametrize("wing", WINGS)
def test_every_name_on_a_face_is_there(wing):
    """A stub that names what was moved away would break at a user's only."""
    module = importlib.import_module(f"deepqct.{wing}" if wing else "deepqct")
    for name in stub_names(wing):
        assert getattr(module, name) is not None
        assert name in dir(module)
    assert set(stub_names(wing)) <= set(module.__all__)


@pytest.mark.parametrize("wing", WINGS)
def test_no_name_on_a_face_is_a_module_beside_it(wing):
    """Importing such a module would put it in the place of the function of its name."""
    modules = {path.stem for path in (PACKAGE / wing).glob("*.py")} | {
        path.name for path in (PACKAGE / wing).glob("*/")
    }
    assert not {name for name, module in stub_names(wing).items() if module and name in modules}


@pytest.mark.parametrize("wing", WINGS[1:])
def test_every_function_on_a_face_has_an_example(wing):
    """An example says more than a list of parameters, and the suite runs every one of them."""
    module = importlib.import_module(f"deepqct.{wing}")
    named = {name: getattr(module, name) for name in stub_names(wing)}
    shown = {name: thing for name, thing in named.items() if inspect.isfunction(thing) or inspect.isclass(thing)}
    assert not [name for name, thing in shown.items() if ">>>" not in (thing.__doc__ or "")]


def test_no_docstring_is_a_riddle_of_two_words():
    """“How.” and “Of both.” are understood by whoever wrote them."""
    short = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                words = (ast.get_docstring(node) or "at least four words").split("\n\n")[0].split()
                short += [f"{path.name}: {' '.join(words)}"] * (len(words) < 4)
    assert not short


def loaded_by(code: str) -> set[str]:
    """The modules that are there after some code, in a process of its own."""
    line = f"{code}\nimport sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", line], encoding="utf-8", cwd=ROOT).split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import deepqct", ("torch", "fastai", "itk", "matplotlib", "pandas", "numpy")),
        ("import deepqct as dq; dq.Recipe()", ("torch", "fastai", "matplotlib")),
        ("import deepqct as dq; repr(dq.Recipe()), dq.Recipe()._repr_html_()", ("torch", "matplotlib", "PIL")),
        ("import deepqct as dq; dq.Scan, dq.Run, dq.load_cohort", ("torch", "matplotlib", "PIL")),
        ("import deepqct as dq; dq.networks.load_explained", ("torch", "fastai", "matplotlib")),
        ("import deepqct as dq; dq.find_groups", ("umap", "torch", "matplotlib")),
        ("import deepqct as dq; dq.load_cohort", ("numba", "torch", "matplotlib", "SimpleITK")),
        ("import deepqct as dq; dq.evaluation.auc", ("torch", "matplotlib", "numba")),
    ],
)
def test_what_is_named_loads_no_more_than_it_needs(code, absent):
    """A statistician who judges scores should not wait for torch, nor a check of tables for compiled spheres."""
    assert not loaded_by(code) & set(absent)


def test_completion_finds_the_wings():
    """In a notebook, `dq.` and the tab key are the table of contents."""
    done = subprocess.check_output(
        [sys.executable, "-c", "import deepqct; print(*dir(deepqct))"], encoding="utf-8", cwd=ROOT
    )
    assert {"bones", "networks", "read_scan", "cross_validate"} <= set(done.split())


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("plots/comparisons.py", {"03_fusion_and_baselines"}),
        ("plots/groups.py", {"04_clustering"}),
        ("plots/women.py", {"05_explore"}),
        ("bones/thickness.py", {"01_data_curation"}),
        ("networks/training.py", {"02_train_bone"}),
        ("networks/recipe.py", {"02_train_bone"}),
        ("models/predict.py", {"03_fusion_and_baselines"}),
        ("groups/methods.py", {"04_clustering"}),
        ("report/tripod.py", set()),
        ("terms.py", set(STAGES)),
    ],
)
def test_a_change_behind_a_face_reaches_the_stages_that_use_it(file, changed, tmp_path, monkeypatch):
    """A caption must not train networks again, and a sphere that is measured otherwise must not go unnoticed."""
    scratch = tmp_path / "deepqct"
    shutil.copytree(PACKAGE, scratch, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(reach, "PACKAGE", scratch)
    before = {stage: stage_hash(stage) for stage in STAGES}
    (scratch / file).write_text((scratch / file).read_text(encoding="utf-8") + "\nCHANGED = True\n", encoding="utf-8")
    assert {stage for stage in STAGES if stage_hash(stage) != before[stage]} == changed


def test_a_better_word_makes_nothing_out_of_date(tmp_path, monkeypatch):
    """Who mends a docstring or a comment should not have to wait for networks to train again."""
    scratch = tmp_path / "deepqct"
    shutil.copytree(PACKAGE, scratch, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(reach, "PACKAGE", scratch)
    before, file = stage_hash("02_train_bone"), scratch / "networks" / "recipe.py"
    file.write_text(file.read_text(encoding="utf-8").replace('"""', '"""Anew: ', 1) + "\n# changed\n", encoding="utf-8")
    assert stage_hash("02_train_bone") == before


def test_a_trained_fold_depends_on_recipe_and_stacks_and_not_on_figures():
    """What decides the images and the training trains again; what draws or judges them does not."""
    reached = reach.code_reached("from deepqct.networks.training import train_fold\ntrain_fold")
    files = {file.relative_to(PACKAGE).as_posix() for file in reached}
    assert {"networks/recipe.py", "networks/images.py", "networks/data.py", "curation/stacks.py"} <= files
    assert not {file for file in files if file.startswith(("plots/", "report/", "run/", "models/", "widgets/"))}


def test_a_wing_that_is_used_as_a_whole_stands_for_all_of_it(tmp_path):
    """Better too much is done again than too little."""
    by_name = reach.code_reached("import deepqct as dq\ndq.plots.roc")
    as_a_whole = reach.code_reached("from deepqct import plots\ndraw = plots\ngetattr(draw, 'roc')")
    assert {file.name for file in by_name} < {file.name for file in as_a_whole}
    assert PACKAGE / "plots" / "women.py" in as_a_whole
    assert reach.code_reached("import numpy as np\nnp.zeros(3)") == []
